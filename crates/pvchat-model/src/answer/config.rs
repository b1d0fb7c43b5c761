//! Sizes of everything after the vision encoder, and its initialisation.

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_nn::language::DecoderConfig;

use super::AnswerModel;
use crate::{
    Result,
    bridge::{Bridge, BridgeConfig, QFormerBridgeConfig},
    personal::PersonalConfig,
};

/// Sizes of an [`AnswerModel`].
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerConfig {
    /// From the encoder's tokens to what the language model reads.
    pub bridge: BridgeConfig,
    /// The language model.
    pub language: DecoderConfig,
}

impl AnswerConfig {
    /// The published one: a Q-Former of BERT's shape on three tiles, Mistral-7B with adapters.
    pub fn full() -> Self {
        Self { bridge: BridgeConfig::QFormer(QFormerBridgeConfig::full()), language: DecoderConfig::full() }
    }

    /// The Q-Former bridge, where the model has one.
    pub fn qformer(&self) -> Option<&QFormerBridgeConfig> {
        match &self.bridge {
            BridgeConfig::QFormer(bridge) => Some(bridge),
            BridgeConfig::PixelShuffle(_) => None,
        }
    }

    /// The Q-Former bridge, to be changed.
    pub fn qformer_mut(&mut self) -> Option<&mut QFormerBridgeConfig> {
        match &mut self.bridge {
            BridgeConfig::QFormer(bridge) => Some(bridge),
            BridgeConfig::PixelShuffle(_) => None,
        }
    }

    /// The amortised personal part, where the model has one.
    pub fn personal(&self) -> Option<&PersonalConfig> {
        self.qformer().and_then(|bridge| bridge.personal.as_ref())
    }

    /// How many subjects one question can be about.
    pub fn slots(&self) -> usize {
        self.personal().map_or(1, |personal| personal.slots)
    }

    /// Checks every part by itself.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with the value at fault.
    pub fn validate(&self) -> Result<()> {
        match &self.bridge {
            BridgeConfig::QFormer(bridge) => bridge.validate()?,
            BridgeConfig::PixelShuffle(connector) => connector.validate()?,
        }
        Ok(self.language.validate()?)
    }

    /// Draws a new model.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<AnswerModel> {
        self.validate()?;
        let hidden = self.language.hidden;
        let bridge = match &self.bridge {
            BridgeConfig::QFormer(bridge) => Bridge::QFormer(bridge.init(hidden, stream, device)?),
            BridgeConfig::PixelShuffle(connector) => Bridge::PixelShuffle(connector.init(stream, device)?),
        };
        Ok(AnswerModel { bridge, lm: self.language.init(&stream.derive("lm"), device)? })
    }
}
