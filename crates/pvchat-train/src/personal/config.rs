//! How a person is learned: steps, what trains, and how fast each part of it does.

use pvchat_model::adaptation::Trains;
use pvchat_nn::language::{LoraConfig, RoutedHeadsConfig};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, objective::ObjectiveConfig};

/// How a person is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearnConfig {
    /// What is trained.
    pub trains: Trains,
    /// Optimiser steps on images.
    pub image_steps: usize,
    /// Optimiser steps on clips.
    pub clip_steps: usize,
    /// Clips per step, half of them with the person.
    pub batch: usize,
    /// Rounds that the clips of a step are worked on in, one after another: more rounds take less memory.
    pub accumulation: usize,
    /// Learning rate of the tokens and rows.
    pub learning_rate: f64,
    /// Learning rate of the identity embedding.
    pub identity_rate: f64,
    /// Rates of what [`trains`](Self::trains) adds to tokens and rows.
    pub adaptation: AdaptationConfig,
    /// What holds the routed heads to their target share.
    pub objective: ObjectiveConfig,
    /// Steps until the rates are at their height.
    pub warm_up: usize,
    /// Limit of the joint gradient norm.
    pub clip: f64,
    /// Pull of tokens and rows back to where learning started, per squared unit.
    pub anchor: f64,
    /// Computes cheap activations again in the backward pass instead of keeping them: less memory, more time, the same result.
    /// Activations of matrix products are kept all the same.
    pub activation_checkpointing: bool,
    /// Threads.
    pub threads: usize,
    /// Seed of the batches.
    pub seed: u64,
}

/// Sizes and rates of the trained parts of the base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptationConfig {
    /// The adapters of the language model.
    pub lora: LoraConfig,
    /// Learning rate of the adapters.
    pub lora_rate: f64,
    /// Learning rate of the routers.
    pub router_rate: f64,
    /// Learning rate of the Q-Former and the projection behind it.
    pub bridge_rate: f64,
    /// Learning rate of the upper part of the vision encoder.
    pub vision_rate: f64,
    /// Heads of the decoder that get routers; without a choice those of
    /// [`RoutedHeadsConfig::for_decoder`] where the base has no Q-Former, and none where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routed: Option<RoutedHeadsConfig>,
    /// Weight decay of adapters, bridge and encoder, times their learning rate per step. Routers, tokens and rows have none.
    pub weight_decay: f64,
}

impl Default for LearnConfig {
    fn default() -> Self {
        Self {
            trains: Trains::Composable,
            image_steps: 8,
            clip_steps: 24,
            batch: 16,
            accumulation: 1,
            learning_rate: 3e-4,
            identity_rate: 0.0,
            adaptation: AdaptationConfig::default(),
            objective: ObjectiveConfig { initial_lambda: 1e-4, adaptation_rate: 0.01, ..ObjectiveConfig::straight_through() },
            warm_up: 5,
            clip: 1.0,
            anchor: 0.01,
            activation_checkpointing: false,
            threads: 2,
            seed: 0,
        }
    }
}

impl Default for AdaptationConfig {
    fn default() -> Self {
        Self {
            lora: LoraConfig { rank: 8, alpha: 16.0, dropout: 0.0 },
            lora_rate: 3e-4,
            router_rate: 3e-4,
            bridge_rate: 1e-4,
            vision_rate: 3e-5,
            routed: None,
            weight_decay: 0.02,
        }
    }
}

impl LearnConfig {
    /// For bases without a Q-Former: rows of the word table and the head, routers and LoRA in the decoder, with the objective
    /// of the paper's follow-up. A step works on one clip after another, so that the activations of one are in memory.
    ///
    /// The follow-up's rates (1e-4 for the rows, 1e-6 for routers and adapters, over thousands of steps) move nothing in as few
    /// steps as these; the rates here are larger.
    pub fn in_decoder() -> Self {
        Self {
            trains: Trains::Personal,
            image_steps: 40,
            clip_steps: 30,
            batch: 4,
            accumulation: 4,
            learning_rate: 1e-3,
            objective: ObjectiveConfig::follow_up(),
            anchor: 0.0,
            adaptation: AdaptationConfig { lora_rate: 2e-4, router_rate: 1e-3, weight_decay: 0.0, ..AdaptationConfig::default() },
            threads: 1,
            ..Self::default()
        }
    }

    /// Steps of both stages.
    pub fn steps(&self) -> usize {
        self.image_steps + self.clip_steps
    }

    /// Refuses numbers that cannot work.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first key at fault.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key, value: String, remedy: &str| Err(Error::Config { key, value, remedy: remedy.into() });
        for (key, count) in [("batch", self.batch), ("accumulation", self.accumulation), ("threads", self.threads)] {
            if count == 0 {
                return wrong(key, "0".into(), "use at least 1");
            }
        }
        let adaptation = &self.adaptation;
        for (key, value) in [
            ("learning_rate", self.learning_rate),
            ("identity_rate", self.identity_rate),
            ("clip", self.clip),
            ("anchor", self.anchor),
            ("adaptation.lora_rate", adaptation.lora_rate),
            ("adaptation.router_rate", adaptation.router_rate),
            ("adaptation.bridge_rate", adaptation.bridge_rate),
            ("adaptation.vision_rate", adaptation.vision_rate),
            ("adaptation.weight_decay", adaptation.weight_decay),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(key, value.to_string(), "use zero or a positive number");
            }
        }
        self.objective.validate()?;
        Ok(adaptation.lora.validate()?)
    }
}
