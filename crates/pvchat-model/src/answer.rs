//! Everything after the vision encoder: from what a clip looks like to words about it.

mod config;

use std::ops::ControlFlow;

use burn::{
    module::{Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor},
    prelude::*,
};
use pvchat_data::SubjectName;
use pvchat_nn::{
    language::{
        Decoder, FinishReason, Generated, GenerationOptions, KeyValueCache, Labels, Packing, Prompt, RoutedHeadsConfig,
        RoutedOutput, TokenKind, generate, loss::label_losses,
    },
    moh::Gates,
};

pub use config::AnswerConfig;

use crate::{
    Error, Result,
    bridge::{Asked, Bridge, Visual},
    prompt::{EncodedText, Segment, TextCodec},
    sight::Sight,
};

/// Tokens of question and answer that a cache has room for before it grows.
const QUESTION_ROOM: usize = 96;

/// Everything after the vision encoder. As a module its parameters are those of the bridge, and under `lm` those of the
/// language model.
#[derive(Clone, Debug)]
pub struct AnswerModel {
    /// From the encoder's tokens to what the language model reads.
    pub bridge: Bridge,
    /// The language model.
    pub lm: Decoder,
}

/// The field of the language model, as the beginning of a parameter's name.
const LANGUAGE: &str = "lm";
/// The name of this kind of module for a visitor.
const CONTAINER: &str = "Struct:AnswerModel";

impl Module for AnswerModel {
    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        self.lm.collect_devices(self.bridge.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        Self { bridge: self.bridge.fork(device), lm: self.lm.fork(device) }
    }

    fn to_device(self, device: &Device) -> Self {
        Self { bridge: self.bridge.to_device(device), lm: self.lm.to_device(device) }
    }

    fn train(self) -> Self {
        Self { bridge: self.bridge.train(), lm: self.lm.train() }
    }

    fn valid(&self) -> Self {
        Self { bridge: self.bridge.valid(), lm: self.lm.valid() }
    }

    fn materialize(self) -> Self {
        Self { bridge: self.bridge.materialize(), lm: self.lm.materialize() }
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        Module::visit(&self.bridge, visitor);
        visitor.enter_module(LANGUAGE, CONTAINER);
        Module::visit(&self.lm, visitor);
        visitor.exit_module(LANGUAGE, CONTAINER);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let bridge = Module::map(self.bridge, mapper);
        mapper.enter_module(LANGUAGE, CONTAINER);
        let lm = Module::map(self.lm, mapper);
        mapper.exit_module(LANGUAGE, CONTAINER);
        Self { bridge, lm }
    }
}

impl ModuleDisplayDefault for AnswerModel {
    fn content(&self, content: Content) -> Option<Content> {
        content.add("bridge", &self.bridge).add("lm", &self.lm).optional()
    }

    fn num_params(&self) -> usize {
        Module::num_params(&self.bridge) + Module::num_params(&self.lm)
    }
}

impl ModuleDisplay for AnswerModel {}

/// What [`AnswerModel::losses`] returns.
#[derive(Clone, Debug)]
pub struct AnswerLosses {
    /// Cross entropy of every answer token, `[labels]`.
    pub tokens: Tensor<1>,
    /// The labels, in the same order.
    pub labels: Vec<i32>,
    /// What the routers of the language model decided, layer by layer; empty without routers.
    pub gates: Vec<Gates>,
    /// What each token of each row is: the gates act where it is text.
    pub kinds: Vec<Vec<TokenKind>>,
}

impl AnswerModel {
    /// The visual tokens of clips for the subjects that the questions are about; see [`Bridge::visual`].
    ///
    /// # Errors
    /// [`Error::Shape`] when the sight does not fit the bridge.
    pub fn visual(&self, sight: &Sight, subjects: Option<Asked<'_>>) -> Result<Visual> {
        self.bridge.visual(sight, subjects)
    }

    /// The prefix of a question, `[batch, prefix, hidden]`: text and the visual tokens of every picture in the
    /// order of `begin` (a [prefix](TextCodec::prefix)), and which is which.
    fn prefix(&self, visual: &Visual, begin: &[Segment]) -> Result<(Tensor<3>, Vec<TokenKind>)> {
        let [batch, tokens, _] = visual.embeddings.dims();
        let shown = begin.iter().filter(|segment| matches!(segment, Segment::Visual)).count();
        if shown != visual.pictures || shown == 0 {
            let expected = format!("places for {} pictures", visual.pictures);
            return Err(Error::Shape { what: "prefix", found: vec![shown], expected });
        }
        let (device, each) = (visual.embeddings.device(), tokens / shown);
        let embeddings = visual.embeddings.clone().cast(self.lm.dtype());
        let mut parts = Vec::with_capacity(begin.len());
        let (mut picture, mut kinds) = (0, Vec::new());
        for segment in begin {
            match segment {
                Segment::Text(ids) if ids.is_empty() => {}
                Segment::Text(ids) => {
                    parts.push(self.lm.embed(row(ids, &device).expand([batch, ids.len()])));
                    kinds.resize(kinds.len() + ids.len(), TokenKind::Text);
                }
                Segment::Visual => {
                    parts.push(embeddings.clone().narrow(1, picture * each, each));
                    kinds.resize(kinds.len() + each, TokenKind::Visual);
                    picture += 1;
                }
            }
        }
        Ok((Tensor::cat(parts, 1), kinds))
    }

    /// Cross entropy of every answer token of packed questions: row `i` of `texts` asks about row
    /// `i` of `visual`. `begin` is the [prefix](TextCodec::prefix).
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Config`] when rows do not fit each other.
    pub fn losses(
        &self,
        visual: &Visual,
        begin: &[Segment],
        texts: &[Vec<EncodedText>],
        subjects: Option<Asked<'_>>,
    ) -> Result<AnswerLosses> {
        let batch = visual.embeddings.dims()[0];
        let count = texts.iter().map(Vec::len).max().unwrap_or(0);
        let length = texts.iter().flatten().map(|text| text.ids.len()).max().unwrap_or(0);
        let (before, before_kinds) = self.prefix(visual, begin)?;
        let prefix = before.dims()[1];
        let packing = Packing::uniform(batch, prefix, count, length)?;
        let mut ids = Vec::with_capacity(batch * count * length);
        let mut kinds = vec![before_kinds; texts.len()];
        for (row, kinds) in texts.iter().zip(&mut kinds) {
            for place in 0..count {
                let text = row.get(place).map_or(&[][..], |text| &text.ids);
                ids.extend((0..length).map(|at| text.get(at).map_or(0, |&id| id as i32)));
                kinds.extend((0..length).map(|at| if at < text.len() { TokenKind::Text } else { TokenKind::Padding }));
            }
        }
        let device = visual.embeddings.device();
        let rows = subjects.map(|asked| self.bridge.rows(asked));
        let (words, head) = rows.map_or((None, None), |[words, head]| (Some(words), Some(head)));
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [batch, count * length]), &device);
        let embeddings = Tensor::cat(vec![before, self.lm.embed_with(ids, words)], 1);
        let RoutedOutput { hidden, gates } = self.lm.forward_packed_routed(embeddings, &packing, &kinds)?;
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
        Ok(AnswerLosses { tokens, labels: labels.targets().to_vec(), gates, kinds })
    }

    /// Reads a clip's visual tokens into a cache that any number of questions can be asked on.
    /// `visual` holds one clip, `begin` is the [prefix](TextCodec::prefix). Without visual tokens the text of `begin` alone is
    /// read, for what the language model says of a clip that nobody looked at.
    ///
    /// # Errors
    /// [`Error::Shape`] when `begin` was made for another number of pictures.
    pub fn read(&self, visual: Option<&Visual>, begin: &[Segment]) -> Result<KeyValueCache> {
        let device = visual.map_or_else(|| self.lm.device().inner(), |visual| visual.embeddings.device());
        let (embeddings, kinds) = match visual {
            Some(visual) => self.prefix(visual, begin)?,
            None => {
                let ids = text_of(begin);
                if ids.is_empty() {
                    return Ok(self.lm.cache(QUESTION_ROOM));
                }
                (self.lm.embed(row(&ids, &device)), vec![TokenKind::Text; ids.len()])
            }
        };
        let mut cache = self.lm.cache(kinds.len() + QUESTION_ROOM);
        self.read_into(&mut cache, embeddings, kinds)?;
        Ok(cache)
    }

    /// Reads the first tokens of a sequence into an empty cache, which keeps in mind what they are for the routers.
    fn read_into(&self, cache: &mut KeyValueCache, embeddings: Tensor<3>, kinds: Vec<TokenKind>) -> Result<()> {
        let positions = Tensor::<1, Int>::arange(0..kinds.len() as i64, &embeddings.device()).unsqueeze_dim::<2>(0);
        Ok(self.lm.fill(cache, embeddings, positions, &[kinds])?)
    }

    /// Continues a whole prompt, with text and pictures in any order; `codec` decodes the text.
    ///
    /// # Errors
    /// [`Error::Shape`] when the prompt has places for another number of pictures, and those of [`generate()`].
    pub fn complete(
        &self,
        visual: Option<&Visual>,
        prompt: &[Segment],
        codec: &TextCodec,
        options: &GenerationOptions,
        on_token: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<GeneratedAnswer> {
        let device = self.lm.device().inner();
        let prompt = match visual {
            Some(visual) => {
                let (embeddings, mut kinds) = self.prefix(visual, prompt)?;
                let tokens = kinds.len();
                match RoutedHeadsConfig::of(&self.lm) {
                    // The routers know only from a cache what a token is.
                    Some(_) if tokens > 1 => {
                        kinds.truncate(tokens - 1);
                        let mut cache = self.lm.cache(tokens + options.max_new_tokens);
                        self.read_into(&mut cache, embeddings.clone().narrow(1, 0, tokens - 1), kinds)?;
                        Prompt::from_embeddings(embeddings.narrow(1, tokens - 1, 1)).with_prefix(cache)
                    }
                    _ => Prompt::from_embeddings(embeddings),
                }
            }
            None => Prompt::from_embeddings(self.lm.embed(row(&text_of(prompt), &device))),
        };
        let generated = generate(&self.lm, prompt, options, on_token)?;
        GeneratedAnswer::of(&generated, codec, &[])
    }

    /// A question's word embeddings `[1, tokens, hidden]`, and the subjects' rows.
    fn question(
        &self,
        codec: &TextCodec,
        [joint, question]: [&str; 2],
        names: &[SubjectName],
        subjects: Option<Asked<'_>>,
    ) -> Result<(Tensor<3>, Option<[Tensor<3>; 2]>)> {
        let ids = row(&codec.encode_joined(joint, question, None, names)?.ids, &self.lm.device().inner());
        let rows = subjects.map(|asked| self.bridge.rows(asked));
        Ok((self.lm.embed_with(ids, rows.as_ref().map(|rows| rows[0].clone())), rows))
    }

    /// Answers one question on a cache made by [`read`](Self::read): what joins the two, and the question.
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
        question: [&str; 2],
        names: &[SubjectName],
        subjects: Option<Asked<'_>>,
        options: &GenerationOptions,
        on_token: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<GeneratedAnswer> {
        let (embeddings, rows) = self.question(codec, question, names, subjects)?;
        let mut prompt = Prompt::from_embeddings(embeddings).with_prefix(cache.clone());
        if let Some([words, head]) = rows {
            prompt = prompt.with_subjects(words, head);
        }
        let generated = generate(&self.lm, prompt, options, on_token)?;
        GeneratedAnswer::of(&generated, codec, names)
    }

    /// The probability of each of `choices` as the first token of the answer, relative to their sum.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn first_token_choice(
        &self,
        cache: &KeyValueCache,
        codec: &TextCodec,
        question: [&str; 2],
        names: &[SubjectName],
        subjects: Option<Asked<'_>>,
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

/// The ids of a prompt, without its pictures.
fn text_of(prompt: &[Segment]) -> Vec<u32> {
    prompt.iter().flat_map(|segment| if let Segment::Text(ids) = segment { ids.clone() } else { Vec::new() }).collect()
}

/// Ids as one row, `[1, tokens]`.
fn row(ids: &[u32], device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let count = ids.len();
    Tensor::from_data(TensorData::new(ids, [1, count]), device)
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

impl GeneratedAnswer {
    fn of(generated: &Generated, codec: &TextCodec, names: &[SubjectName]) -> Result<Self> {
        Ok(Self {
            text: codec.decode(&generated.tokens, names)?,
            probabilities: generated.probabilities.clone(),
            complete: generated.finish == FinishReason::EndToken,
        })
    }
}
