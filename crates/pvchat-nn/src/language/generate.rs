//! Generation: from a prompt to an answer, one token at a time.

use std::{borrow::Cow, collections::BTreeSet, ops::ControlFlow};

use burn::{prelude::*, tensor::s};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::{
    Decoder, Filters, KeyValueCache,
    beams::search,
    sampling::{argmax, draw, penalise, probability, softmax},
    sequences::Sequences,
};
use crate::{Error, Result};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Strategy {
    /// The most probable token.
    Greedy,
    /// A draw from the filtered distribution, the same for the same seed.
    Sample {
        /// What may be drawn.
        filters: Filters,
        /// Seed of the draws.
        seed: u64,
    },
    /// Beam search, by the rules of the transformers library.
    Beams {
        /// Number of beams.
        beams: usize,
        /// A finished answer scores the sum of its log-probabilities over `length^length_penalty`.
        length_penalty: f32,
        /// Draws candidates from filtered distributions instead of taking the best, with a seed.
        sampling: Option<(Filters, u64)>,
    },
}

/// What bounds and shapes a generated answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationOptions {
    /// At most that many tokens.
    pub max_new_tokens: usize,
    /// The end token is not chosen before that many tokens.
    pub min_new_tokens: usize,
    /// How a token is chosen.
    pub strategy: Strategy,
    /// Above 1 makes tokens less likely that were seen before; 1 changes nothing.
    pub repetition_penalty: f32,
    /// The token that ends an answer; 2 in Mistral's vocabulary.
    pub end_token: u32,
    /// Tokens that end an answer as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_end_tokens: Vec<u32>,
}

impl Default for GenerationOptions {
    /// 200 tokens, greedy, no penalty, end token 2: repeatable, where the released code samples.
    fn default() -> Self {
        Self {
            max_new_tokens: 200,
            min_new_tokens: 0,
            strategy: Strategy::Greedy,
            repetition_penalty: 1.0,
            end_token: 2,
            other_end_tokens: Vec::new(),
        }
    }
}

impl GenerationOptions {
    /// Whether an answer ends with this token, which does not belong to it.
    pub fn ends(&self, token: u32) -> bool {
        token == self.end_token || self.other_end_tokens.contains(&token)
    }

    /// Checks that the options fit together.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the key and value at fault.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key, value: String, remedy: String| Err(Error::Config { key, value, remedy });
        if self.min_new_tokens > self.max_new_tokens {
            let remedy = format!("use at most `max_new_tokens`, which is {}", self.max_new_tokens);
            return wrong("min_new_tokens", self.min_new_tokens.to_string(), remedy);
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return wrong("repetition_penalty", self.repetition_penalty.to_string(), "use a positive number".into());
        }
        match self.strategy {
            Strategy::Greedy => Ok(()),
            Strategy::Sample { filters, .. } => filters.validate(),
            Strategy::Beams { beams: 0, .. } => wrong("beams", "0".into(), "use at least 1".into()),
            Strategy::Beams { length_penalty, .. } if !length_penalty.is_finite() => {
                wrong("length_penalty", length_penalty.to_string(), "use a finite number".into())
            }
            Strategy::Beams { sampling, .. } => sampling.map_or(Ok(()), |(filters, _)| filters.validate()),
        }
    }
}

/// What to continue.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub(super) embeddings: Tensor<3>,
    pub(super) padding: Vec<usize>,
    pub(super) seen: Vec<BTreeSet<u32>>,
    pub(super) prefix: Option<KeyValueCache>,
    pub(super) subjects: Option<[Tensor<3>; 2]>,
}

impl Prompt {
    /// From embeddings `[batch, tokens, hidden]`; the repetition penalty sees generated tokens only.
    pub fn from_embeddings(embeddings: Tensor<3>) -> Self {
        let batch = embeddings.dims()[0];
        let embeddings = embeddings.inner();
        Self { embeddings, padding: vec![0; batch], seen: vec![BTreeSet::new(); batch], prefix: None, subjects: None }
    }

    /// From token ids below the vocabulary size, padded on the left with `pad`. The repetition
    /// penalty sees every id of the padded prompt, the padding included, as in transformers.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when there is no prompt, an empty one, or an id beyond the vocabulary.
    pub fn from_tokens(model: &Decoder, prompts: &[Vec<u32>], pad: u32) -> Result<Self> {
        let wrong = |value: String, remedy: String| Error::Config { key: "prompt", value, remedy };
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        if prompts.iter().any(Vec::is_empty) || longest == 0 {
            return Err(wrong("without tokens".into(), "give at least one prompt and one token in each".into()));
        }
        let vocabulary = model.config.vocabulary;
        if let Some(id) = prompts.iter().flatten().chain([&pad]).find(|id| **id as usize >= vocabulary) {
            return Err(wrong(format!("token {id}"), format!("use ids below the vocabulary size {vocabulary}")));
        }
        let padding: Vec<usize> = prompts.iter().map(|prompt| longest - prompt.len()).collect();
        let rows: Vec<Vec<u32>> = prompts.iter().zip(&padding).map(|(p, &n)| [vec![pad; n], p.clone()].concat()).collect();
        let ids: Vec<i32> = rows.iter().flatten().map(|id| *id as i32).collect();
        let ids = Tensor::from_data(TensorData::new(ids, [prompts.len(), longest]), &model.device().inner());
        let seen = rows.into_iter().map(|row| row.into_iter().collect()).collect();
        Ok(Self { padding, seen, ..Self::from_embeddings(model.embed(ids)) })
    }

    /// The leading embeddings of each row that are padding, to be ignored.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when it is not one number per row, each below the prompt's length.
    pub fn with_left_padding(self, padding: Vec<usize>) -> Result<Self> {
        let [batch, tokens, _] = self.embeddings.dims();
        if padding.len() != batch || padding.iter().any(|&n| n >= tokens) {
            let expected = format!("{batch} numbers below {tokens}");
            return Err(Error::Shape { what: "left padding", found: padding, expected });
        }
        Ok(Self { padding, ..self })
    }

    /// A prefix that was read before, such as a clip's visual tokens; its positions start at 0.
    /// It must hold one sequence, for all rows, or one per row.
    pub fn with_prefix(self, prefix: KeyValueCache) -> Self {
        Self { prefix: Some(prefix), ..self }
    }

    /// The rows of the active subjects in the word table and in the head, both
    /// `[batch or 1, subjects, hidden]`, so that answers can name them.
    pub fn with_subjects(self, words: Tensor<3>, head: Tensor<3>) -> Self {
        Self { subjects: Some([words.inner(), head.inner()]), ..self }
    }

    fn validate(&self, model: &Decoder) -> Result<()> {
        let [batch, tokens, width] = self.embeddings.dims();
        let hidden = model.config.hidden;
        if batch == 0 || tokens == 0 || width != hidden {
            let expected = format!("[at least 1, at least 1, {hidden}]");
            return Err(Error::Shape { what: "prompt", found: vec![batch, tokens, width], expected });
        }
        let held = self.prefix.as_ref().map_or(0, KeyValueCache::batch);
        if held != 0 && held != 1 && held != batch {
            return Err(Error::Shape { what: "prefix", found: vec![held], expected: format!("1 or {batch} sequences") });
        }
        for rows in self.subjects.iter().flatten() {
            let [row_batch, subjects, width] = rows.dims();
            if (row_batch != 1 && row_batch != batch) || width != hidden {
                let expected = format!("[1 or {batch}, subjects, {hidden}]");
                return Err(Error::Shape { what: "subject rows", found: vec![row_batch, subjects, width], expected });
            }
        }
        Ok(())
    }

    /// One row alone, without its padding.
    fn row(&self, row: usize) -> Self {
        let pick = |x: &Tensor<3>| if x.dims()[0] == 1 { x.clone() } else { x.clone().slice(s![row..row + 1]) };
        let prefix = self.prefix.as_ref().map(|prefix| if prefix.batch() > 1 { prefix.select(&[row]) } else { prefix.clone() });
        Self {
            embeddings: self.embeddings.clone().slice(s![row..row + 1, self.padding[row]..]),
            padding: vec![0],
            seen: vec![self.seen[row].clone()],
            prefix,
            subjects: self.subjects.as_ref().map(|[words, head]| [pick(words), pick(head)]),
        }
    }
}

/// Why generation of an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The end token was chosen.
    EndToken,
    /// The longest allowed answer was reached.
    Length,
    /// The callback asked for it.
    Stopped,
}

/// A generated answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The tokens, without the end token.
    pub tokens: Vec<u32>,
    /// The model's probability of each token, before penalty and filters.
    pub probabilities: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
    /// The score of the best beam; only with [`Strategy::Beams`].
    pub score: Option<f32>,
}

/// Continues one prompt. `on_token` is called with each token as it is chosen (with beams: at the
/// end) and can stop the generation; the end token is not reported.
///
/// # Errors
///
/// [`Error::Config`] for options that do not fit together, [`Error::Shape`] when the prompt does
/// not fit the model or has more than one row.
pub fn generate(
    model: &Decoder,
    prompt: Prompt,
    options: &GenerationOptions,
    mut on_token: impl FnMut(u32) -> ControlFlow<()>,
) -> Result<Generated> {
    let found = prompt.embeddings.dims().to_vec();
    if found[0] != 1 {
        return Err(Error::Shape { what: "prompt", found, expected: "one row; use `generate_batch` for several".into() });
    }
    let answers = generate_batch(model, prompt, options, |_, token| on_token(token))?;
    answers.into_iter().next().ok_or_else(|| Error::Shape { what: "prompt", found, expected: "one row".into() })
}

/// Continues every row of a prompt; `on_token` gets the row and the token and can stop that row.
///
/// # Errors
///
/// Those of [`generate`], except for the number of rows.
pub fn generate_batch(
    model: &Decoder,
    prompt: Prompt,
    options: &GenerationOptions,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Generated>> {
    options.validate()?;
    prompt.validate(model)?;
    // Autodiff would store every step of a function that is never differentiated.
    let model = if model.device().is_autodiff() { Cow::Owned(model.valid()) } else { Cow::Borrowed(model) };
    if let Strategy::Beams { beams, length_penalty, sampling } = options.strategy {
        let rows = 0..prompt.embeddings.dims()[0];
        return Ok(rows
            .map(|row| {
                // Rows one by one: without padding the numbers are the same, and memory stays small.
                let sampling = sampling.map(|(filters, seed)| (filters, SeededStream::new(seed).derive(row)));
                let mut answer = search(&model, prompt.row(row), options, beams, length_penalty, sampling);
                report(&mut answer, |token| on_token(row, token));
                answer
            })
            .collect());
    }
    Ok(choose_one_by_one(&model, prompt, options, on_token))
}

fn choose_one_by_one(
    model: &Decoder,
    prompt: Prompt,
    options: &GenerationOptions,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Vec<Generated> {
    let batch = prompt.embeddings.dims()[0];
    let mut answers = vec![Generated { tokens: vec![], probabilities: vec![], finish: FinishReason::Length, score: None }; batch];
    if options.max_new_tokens == 0 {
        return answers;
    }
    let mut streams: Vec<SeededStream> = match options.strategy {
        Strategy::Sample { seed, .. } => (0..batch).map(|row| SeededStream::new(seed).derive(row)).collect(),
        _ => vec![],
    };
    let mut seen = prompt.seen.clone();
    let mut running = vec![true; batch];
    let (mut sequences, mut logits) = Sequences::start(model, prompt, options.max_new_tokens);
    for step in 0..options.max_new_tokens {
        let mut next = vec![options.end_token; batch];
        for row in (0..batch).filter(|&row| running[row]).collect::<Vec<_>>() {
            let mut scores = logits[row].clone();
            penalise(&mut scores, &seen[row], options.repetition_penalty);
            forbid_early_end(&mut scores, step, options);
            let index = match options.strategy {
                Strategy::Sample { filters, .. } => {
                    filters.apply(&mut scores, 1);
                    draw(&softmax(&scores), &mut streams[row])
                }
                _ => argmax(&scores),
            };
            let (token, answer) = (index as u32, &mut answers[row]);
            if options.ends(token) {
                (answer.finish, running[row]) = (FinishReason::EndToken, false);
                continue;
            }
            answer.tokens.push(token);
            answer.probabilities.push(probability(&logits[row], index));
            seen[row].insert(token);
            next[row] = token;
            if on_token(row, token).is_break() {
                (answer.finish, running[row]) = (FinishReason::Stopped, false);
            }
        }
        if step + 1 == options.max_new_tokens || !running.contains(&true) {
            break;
        }
        logits = sequences.step(&next);
    }
    answers
}

/// Keeps the end token from being chosen while the answer is shorter than allowed.
pub(super) fn forbid_early_end(scores: &mut [f32], generated: usize, options: &GenerationOptions) {
    if generated < options.min_new_tokens {
        for &token in std::iter::once(&options.end_token).chain(&options.other_end_tokens) {
            if let Some(score) = scores.get_mut(token as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// Hands the tokens of a finished answer to the callback, and cuts it where the callback stops.
fn report(answer: &mut Generated, mut on_token: impl FnMut(u32) -> ControlFlow<()>) {
    if let Some(last) = answer.tokens.iter().position(|&token| on_token(token).is_break()) {
        answer.tokens.truncate(last + 1);
        answer.probabilities.truncate(last + 1);
        answer.finish = FinishReason::Stopped;
    }
}
