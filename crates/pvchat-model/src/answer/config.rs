//! Sizes of everything after the vision encoder, and how it is drawn.

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::AnswerModel;
use crate::{
    Error, Result,
    personal::{PersonalBridge, PersonalConfig},
    qformer::QFormerConfig,
};
use pvchat_nn::{init, language::MistralConfig};

/// The largest number of query tokens of one kind, and of tiles, that is believed.
const MOST_QUERIES: usize = 1 << 16;

/// Sizes of an [`AnswerModel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerConfig {
    /// Images per frame; the Q-Former reads the tokens of each apart, and what it makes of them stands
    /// in the prompt one after another.
    pub tiles: usize,
    /// General query tokens.
    pub query_tokens: usize,
    /// Further general query tokens (zero at the start); 0 leaves them out.
    pub extra_query_tokens: usize,
    /// Personal query tokens per subject.
    pub personal_query_tokens: usize,
    /// Standard deviation of the initial general and personal query tokens.
    pub query_deviation: f32,
    /// The amortised personal part, for encoders that tell people apart; without it a subject's
    /// tokens and rows are used as they are, as published.
    pub personal: Option<PersonalConfig>,
    /// The Q-Former.
    pub qformer: QFormerConfig,
    /// The language model.
    pub language: MistralConfig,
}

impl AnswerConfig {
    /// The published one: 96 general and 16 personal queries on each of three tiles, a Q-Former of BERT's
    /// shape, Mistral-7B with adapters; a subject's tokens and rows are used as they are.
    pub fn full() -> Self {
        Self {
            tiles: 3,
            query_tokens: 32,
            extra_query_tokens: 64,
            personal_query_tokens: 16,
            query_deviation: 0.02,
            personal: None,
            qformer: QFormerConfig::full(),
            language: MistralConfig::full(),
        }
    }

    /// Checks every part by itself.
    ///
    /// # Errors
    /// [`Error::Config`] with the value at fault.
    pub fn validate(&self) -> Result<()> {
        self.qformer.validate()?;
        self.language.validate()?;
        for (key, value, least) in [
            ("tiles", self.tiles, 1),
            ("query_tokens", self.query_tokens, 1),
            ("extra_query_tokens", self.extra_query_tokens, 0),
            ("personal_query_tokens", self.personal_query_tokens, 1),
        ] {
            if !(least..=MOST_QUERIES).contains(&value) {
                let remedy = format!("it must lie in {least}..={MOST_QUERIES}");
                return Err(Error::Config { key, value: value.to_string(), remedy });
            }
        }
        Ok(())
    }

    /// Draws a new model.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<AnswerModel> {
        self.validate()?;
        let (width, hidden) = (self.qformer.hidden, self.language.hidden);
        let queries = |label: &str, count: usize, deviation: f32| {
            init::normal_param(&mut stream.derive(label), [1, count, width], deviation, device)
        };
        let memory_positions = self.personal.as_ref().map(|personal| {
            let shape = [personal.memory_tokens, self.qformer.encoder_width];
            init::normal_param(&mut stream.derive("memory_positions"), shape, 0.1, device)
        });
        Ok(AnswerModel {
            query_tokens: queries("query_tokens", self.query_tokens, self.query_deviation),
            extra_query_tokens: (self.extra_query_tokens > 0)
                .then(|| queries("extra_query_tokens", self.extra_query_tokens, 0.0)),
            personal_query_tokens: queries("personal_query_tokens", self.personal_query_tokens, self.query_deviation),
            memory_positions,
            personal: self.personal.as_ref().map(|personal| {
                PersonalBridge::init(personal, self.personal_query_tokens, [width, hidden], &stream.derive("personal"), device)
            }),
            qformer: self.qformer.init(&stream.derive("qformer"), device)?,
            project_up: init::linear(&mut stream.derive("project_up"), width, hidden, true, (width as f32).powf(-0.5), device),
            lm: self.language.init(&stream.derive("lm"), device)?,
            tiles: self.tiles,
        })
    }
}
