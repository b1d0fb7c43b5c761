//! Everything after the vision encoder: from what a clip looks like to words about it.

mod config;

use std::ops::ControlFlow;

use burn::{module::Param, nn::Linear, prelude::*};
use pvchat_data::SubjectName;

pub use config::AnswerConfig;

use crate::{
    Error, Result,
    personal::{PersonalBridge, PersonalTensors},
    prompt::{EncodedText, TILE, TextCodec},
    qformer::QFormer,
    vision::miniature::Readout,
};
use pvchat_nn::{
    language::{FinishReason, GenerationOptions, KeyValueCache, Labels, Mistral, Packing, Prompt, generate, loss::label_losses},
    moh::Gates,
};

/// What later stages see of a batch of clips; made once per clip.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Vision tokens `[batch, tiles * tokens, encoder_width]`, tile by tile.
    pub tokens: Tensor<3>,
    /// Unit-length identity embeddings of the people `[batch, people, identity_width]`; empty for
    /// encoders that do not tell people apart.
    pub identity: Tensor<3>,
}

/// The visual part of a prompt.
#[derive(Clone, Debug)]
pub struct Visual {
    /// `[batch, tiles * queries, hidden]` in the language model's space, tile by tile.
    pub embeddings: Tensor<3>,
    /// The routed attentions' gates, by module name; their first axis is `batch * tiles`.
    pub gates: Vec<(String, Gates)>,
    /// The personal queries' last states `[batch * tiles, subjects, tokens, width]`.
    pub personal_states: Option<Tensor<4>>,
}

/// Tokens of question and answer that a cache has room for before it grows.
const QUESTION_ROOM: usize = 96;

/// The Q-Former, the projector, the language model and the personal part.
#[derive(Module, Debug)]
pub struct AnswerModel {
    /// `[1, queries, width]`.
    pub query_tokens: Param<Tensor<3>>,
    /// `[1, queries, width]`.
    pub extra_query_tokens: Option<Param<Tensor<3>>>,
    /// `[1, tokens, width]`, where every subject starts from.
    pub personal_query_tokens: Param<Tensor<3>>,
    memory_positions: Option<Param<Tensor<2>>>,
    /// The amortised personal part.
    pub personal: Option<PersonalBridge>,
    /// The Q-Former.
    pub qformer: QFormer,
    /// From the Q-Former's width to the language model's.
    pub project_up: Linear,
    /// The language model.
    pub lm: Mistral,
    tiles: usize,
}

/// What [`AnswerModel::losses`] returns.
#[derive(Clone, Debug)]
pub struct AnswerLosses {
    /// Cross entropy of every answer token, `[labels]`.
    pub tokens: Tensor<1>,
    /// The labels, in the same order.
    pub labels: Vec<i32>,
}

impl AnswerModel {
    /// Parameters of a new subject from one look; see [`PersonalBridge::enrol`]. `None` for a model
    /// without an amortised part.
    pub fn enrol(&self, readout: Tensor<3>, identity: Tensor<3>) -> Option<PersonalTensors> {
        self.personal.as_ref().map(|personal| personal.enrol(self.personal_query_tokens.val(), readout, identity))
    }

    /// The subjects' rows of the word table and of the head, both `[batch, subjects, hidden]`.
    pub fn rows(&self, subjects: &PersonalTensors, slots: Tensor<2, Int>) -> [Tensor<3>; 2] {
        match &self.personal {
            Some(personal) => personal.rows(subjects, slots),
            None => [subjects.word_row.clone(), subjects.head_row.clone()],
        }
    }

    /// The visual tokens of clips for the subjects that the questions are about; `slots`
    /// `[batch, subjects]` is each subject's name slot. Without subjects only the general queries
    /// take part.
    ///
    /// # Errors
    /// [`Error::Shape`] when the memory does not fit the Q-Former.
    pub fn visual(&self, memory: &Sight, subjects: Option<(&PersonalTensors, Tensor<2, Int>)>) -> Result<Visual> {
        let [batch, count, width] = memory.tokens.dims();
        let tiles = self.tiles;
        if !count.is_multiple_of(tiles) {
            let expected = format!("[batch, a multiple of {tiles} tiles, width]");
            return Err(Error::Shape { what: "memory", found: vec![batch, count, width], expected });
        }
        let general = |tokens: &Param<Tensor<3>>| {
            let [_, count, width] = tokens.dims();
            tokens.val().expand([batch, count, width])
        };
        let mut queries = vec![general(&self.query_tokens)];
        queries.extend(self.extra_query_tokens.as_ref().map(general));
        let shared: usize = queries.iter().map(|part| part.dims()[1]).sum();
        if let Some((subjects, slots)) = &subjects {
            queries.push(match &self.personal {
                Some(personal) => personal.queries(subjects, memory.identity.clone(), slots.clone()),
                None => subjects.tokens.clone().flatten::<3>(1, 2),
            });
        }
        let (mut queries, mut tokens) = (Tensor::cat(queries, 1), self.placed(memory)?);
        if tiles > 1 {
            // Every tile is read by itself, with the same queries.
            let [_, asked, query_width] = queries.dims();
            let shape = [batch, tiles, asked, query_width];
            queries = queries.unsqueeze_dim::<4>(1).expand(shape).reshape([batch * tiles, asked, query_width]);
            tokens = tokens.reshape([batch * tiles, count / tiles, width]);
        }
        let output = self.qformer.forward(queries, tokens, None)?;
        let personal_states = subjects.map(|(personal, _)| {
            let [_, subjects, tokens, width] = personal.tokens.dims();
            output.query_states.clone().narrow(1, shared, subjects * tokens).reshape([batch * tiles, subjects, tokens, width])
        });
        let mut embeddings = self.project_up.forward(output.query_states);
        if tiles > 1 {
            let [_, queries, hidden] = embeddings.dims();
            embeddings = embeddings.reshape([batch, tiles * queries, hidden]);
        }
        Ok(Visual { embeddings, gates: output.gates, personal_states })
    }

    /// What stands in front of a question, `[batch, prefix, hidden]`: the visual tokens of every tile, each
    /// behind its piece of `begin` (a [prefix](TextCodec::prefix)).
    fn prefix(&self, visual: &Visual, begin: &[u32]) -> Result<Tensor<3>> {
        let [batch, tokens, _] = visual.embeddings.dims();
        let pieces: Vec<&[u32]> = begin.split(|id| *id == TILE).collect();
        if pieces.len() != self.tiles {
            let expected = format!("the pieces of text in front of {} tiles", self.tiles);
            return Err(Error::Shape { what: "prefix", found: vec![pieces.len()], expected });
        }
        let (device, queries) = (visual.embeddings.device(), tokens / self.tiles);
        let embeddings = visual.embeddings.clone().cast(self.lm.dtype());
        let mut parts = Vec::with_capacity(2 * pieces.len());
        for (tile, piece) in pieces.into_iter().enumerate() {
            if !piece.is_empty() {
                let ids: Vec<i32> = piece.iter().map(|&id| id as i32).collect();
                let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [piece.len()]), &device);
                parts.push(self.lm.embed(ids.unsqueeze_dim::<2>(0).expand([batch, piece.len()])));
            }
            parts.push(embeddings.clone().narrow(1, tile * queries, queries));
        }
        Ok(Tensor::cat(parts, 1))
    }

    /// The memory with its positions, and with the identity of the people added to their read-outs:
    /// the first of those at the end of the memory say who they are, the next what they wear and do.
    /// A subject's queries, which hold its identity too, so find both in one step.
    fn placed(&self, memory: &Sight) -> Result<Tensor<3>> {
        let (Some(positions), Some(personal)) = (&self.memory_positions, &self.personal) else {
            return Ok(memory.tokens.clone());
        };
        let [batch, count, width] = memory.tokens.dims();
        let expected = positions.dims();
        if [count, width] != expected {
            let expected = format!("[batch, {}, {}]", expected[0], expected[1]);
            return Err(Error::Shape { what: "memory", found: vec![batch, count, width], expected });
        }
        let identity = personal.project_identity(memory.identity.clone());
        let people = identity.dims()[1];
        let first = count - Readout::COUNT;
        let tokens = memory.tokens.clone() + positions.val().unsqueeze_dim::<3>(0);
        let seen = tokens.clone().narrow(1, first, 2 * people) + identity.repeat_dim(1, 2);
        let rest = first + 2 * people;
        Ok(Tensor::cat(vec![tokens.clone().narrow(1, 0, first), seen, tokens.narrow(1, rest, count - rest)], 1))
    }

    /// Cross entropy of every answer token of packed questions: row `i` of `texts` asks about row
    /// `i` of `visual`. `begin` is the [prefix](TextCodec::prefix).
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Config`] when rows do not fit each other.
    pub fn losses(
        &self,
        visual: &Visual,
        begin: &[u32],
        texts: &[Vec<EncodedText>],
        subjects: Option<(&PersonalTensors, Tensor<2, Int>)>,
    ) -> Result<AnswerLosses> {
        let batch = visual.embeddings.dims()[0];
        let count = texts.iter().map(Vec::len).max().unwrap_or(0);
        let length = texts.iter().flatten().map(|text| text.ids.len()).max().unwrap_or(0);
        let before = self.prefix(visual, begin)?;
        let prefix = before.dims()[1];
        let packing = Packing::uniform(batch, prefix, count, length)?;
        let mut ids = Vec::with_capacity(batch * count * length);
        for row in texts {
            for place in 0..count {
                let text = row.get(place).map_or(&[][..], |text| &text.ids);
                ids.extend((0..length).map(|at| text.get(at).map_or(0, |&id| id as i32)));
            }
        }
        let device = visual.embeddings.device();
        let rows = subjects.map(|(personal, slots)| self.rows(personal, slots));
        let (words, head) = rows.map_or((None, None), |[words, head]| (Some(words), Some(head)));
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [batch, count * length]), &device);
        let embeddings = Tensor::cat(vec![before, self.lm.embed_with(ids, words)], 1);
        let hidden = self.lm.forward_packed(embeddings, &packing)?;
        let labels: Vec<Vec<i64>> = texts
            .iter()
            .map(|row| {
                let mut labels = vec![pvchat_nn::language::loss::IGNORED; prefix];
                row.iter().for_each(|text| labels.extend(text.labels(length)));
                labels.resize(packing.tokens(), pvchat_nn::language::loss::IGNORED);
                labels
            })
            .collect();
        let labels = Labels::next_token(&labels)?;
        let tokens = label_losses(&self.lm, hidden, &labels, head)?;
        Ok(AnswerLosses { tokens, labels: labels.targets().to_vec() })
    }

    /// Reads a clip's visual tokens into a cache that any number of questions can be asked on.
    /// `visual` holds one clip, `begin` is the [prefix](TextCodec::prefix). Without visual tokens the text of `begin` alone is
    /// read, for what the language model says of a clip that nobody looked at.
    ///
    /// # Errors
    /// [`Error::Shape`] when `begin` was made for another number of tiles.
    pub fn read(&self, visual: Option<&Visual>, begin: &[u32]) -> Result<KeyValueCache> {
        let device = visual.map_or_else(|| self.lm.device().inner(), |visual| visual.embeddings.device());
        let embeddings = match visual {
            Some(visual) => self.prefix(visual, begin)?,
            None => {
                let ids: Vec<i32> = begin.iter().filter(|id| **id != TILE).map(|&id| id as i32).collect();
                if ids.is_empty() {
                    return Ok(self.lm.cache(QUESTION_ROOM));
                }
                let shape = [1, ids.len()];
                self.lm.embed(Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &device))
            }
        };
        let prefix = embeddings.dims()[1];
        let mut cache = self.lm.cache(prefix + QUESTION_ROOM);
        let positions = Tensor::<1, Int>::arange(0..prefix as i64, &device).unsqueeze_dim::<2>(0);
        self.lm.forward(embeddings, positions, None, Some(&mut cache));
        Ok(cache)
    }

    /// A question's word embeddings `[1, tokens, hidden]`, and the subjects' rows.
    fn question(
        &self,
        codec: &TextCodec,
        question: &str,
        names: &[SubjectName],
        subjects: Option<(&PersonalTensors, Tensor<2, Int>)>,
    ) -> Result<(Tensor<3>, Option<[Tensor<3>; 2]>)> {
        let ids: Vec<i32> = codec.encode_question(question, None, names)?.ids.into_iter().map(|id| id as i32).collect();
        let count = ids.len();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, count]), &self.lm.device().inner());
        let rows = subjects.map(|(personal, slots)| self.rows(personal, slots));
        Ok((self.lm.embed_with(ids, rows.as_ref().map(|rows| rows[0].clone())), rows))
    }

    /// Answers one question on a cache made by [`read`](Self::read).
    ///
    /// `subjects` is a single row. The callback gets the answer's ids as they are chosen.
    ///
    /// # Errors
    /// Those of [`TextCodec::encode_question`] and of [`generate()`].
    #[allow(clippy::too_many_arguments)] // the parts of a prompt
    pub fn answer(
        &self,
        cache: &KeyValueCache,
        codec: &TextCodec,
        question: &str,
        names: &[SubjectName],
        subjects: Option<(&PersonalTensors, Tensor<2, Int>)>,
        options: &GenerationOptions,
        on_token: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<GeneratedAnswer> {
        let (embeddings, rows) = self.question(codec, question, names, subjects)?;
        let mut prompt = Prompt::from_embeddings(embeddings).with_prefix(cache.clone());
        if let Some([words, head]) = rows {
            prompt = prompt.with_subjects(words, head);
        }
        let generated = generate(&self.lm, prompt, options, on_token)?;
        Ok(GeneratedAnswer {
            text: codec.decode(&generated.tokens, names)?,
            probabilities: generated.probabilities,
            complete: generated.finish == FinishReason::EndToken,
        })
    }

    /// The probability of each of `choices` as the first token of the answer, relative to their sum.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn first_token_choice(
        &self,
        cache: &KeyValueCache,
        codec: &TextCodec,
        question: &str,
        names: &[SubjectName],
        subjects: Option<(&PersonalTensors, Tensor<2, Int>)>,
        choices: &[u32],
    ) -> Result<Vec<f32>> {
        let (embeddings, _) = self.question(codec, question, names, subjects)?;
        let (count, device) = (embeddings.dims()[1], embeddings.device());
        let mut cache = cache.clone();
        let start = cache.len();
        let positions = Tensor::<1, Int>::arange(start as i64..(start + count) as i64, &device).unsqueeze_dim::<2>(0);
        let hidden = self.lm.forward(embeddings, positions, None, Some(&mut cache));
        let logits: Vec<f32> = self.lm.logits(hidden.narrow(1, count - 1, 1), None).into_data().iter::<f32>().collect();
        let chosen: Vec<f32> = choices.iter().map(|&id| logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY)).collect();
        let highest = chosen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = chosen.iter().map(|logit| (logit - highest).exp()).collect();
        let sum: f32 = weights.iter().sum();
        Ok(weights.into_iter().map(|weight| weight / sum.max(f32::MIN_POSITIVE)).collect())
    }
}

/// A generated answer as text.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedAnswer {
    /// The answer.
    pub text: String,
    /// The probability of each of its tokens.
    pub probabilities: Vec<f32>,
    /// Whether it ended by itself.
    pub complete: bool,
}
