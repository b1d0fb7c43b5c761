//! How a person is learned: steps, what is trained, and the learning rate of each part.

use burn::{
    module::ParamGroup,
    optim::{AdamWConfig, ModuleOptimizer},
};
use pvchat_model::{
    adaptation::{self, Trains},
    families::VisionConfig,
};
use pvchat_nn::language::{LoraConfig, RoutedHeadsConfig};
use serde::{Deserialize, Serialize};

use super::parameters::{ROWS, personal_group};
use crate::{
    Error, Result,
    objective::ObjectiveConfig,
    run::{RateGroup, RunConfig, Schedule},
};

/// Where the rates end, as a share of their height.
const LAST_RATE: f64 = 0.1;

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
    /// Questions about a clip that a step asks at most, drawn again in every step; without a number all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub questions: Option<usize>,
    /// Learning rate of the tokens and rows.
    pub learning_rate: f64,
    /// Learning rate of the rows, where it is another than that of the tokens; zero freezes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_rate: Option<f64>,
    /// Learning rate of the identity embedding.
    pub identity_rate: f64,
    /// Rates of what [`trains`](Self::trains) adds to tokens and rows.
    pub adaptation: AdaptationConfig,
    /// What holds the routed heads to their target share.
    pub objective: ObjectiveConfig,
    /// Steps until the rates are at their height.
    pub warm_up: usize,
    /// What the rates end at, as a share of their height, along a cosine from the first step on; 1 keeps them.
    #[serde(skip_serializing_if = "is_usual_end")]
    pub last_rate: f64,
    /// Limit of the joint gradient norm; zero for none.
    pub clip: f64,
    /// Weight decay of tokens, rows and routers, times their learning rate per step.
    #[serde(skip_serializing_if = "is_zero")]
    pub personal_decay: f64,
    /// Pull of tokens and rows back to where learning started, per squared unit.
    pub anchor: f64,
    /// Computes cheap activations again in the backward pass instead of keeping them: less memory, more time, the same result.
    /// Activations of matrix products are kept anyway.
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
    /// Learning rate of that projection, where it is another than that of the Q-Former; zero freezes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection_rate: Option<f64>,
    /// Learning rate of the upper part of the vision encoder, which is frozen while learning is on images.
    pub vision_rate: f64,
    /// What the adapter of the language model's head acts on.
    #[serde(skip_serializing_if = "HeadAdapter::is_default")]
    pub head: HeadAdapter,
    /// Heads of the decoder that get routers; without a choice those of
    /// [`RoutedHeadsConfig::for_decoder`] where the base has no Q-Former, and none where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routed: Option<RoutedHeadsConfig>,
    /// Weight decay of adapters, bridge and encoder, times their learning rate per step; that of routers, tokens and rows is
    /// [`LearnConfig::personal_decay`].
    pub weight_decay: f64,
}

/// What the adapter of the language model's head acts on, in bases with a Q-Former; in others the head has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadAdapter {
    /// The words of the vocabulary.
    #[default]
    Words,
    /// The subject's row too, which it leaves as it is at first.
    WordsAndSubject,
    /// Nothing: there is none. The released code drops it when it adds the subject's row.
    Absent,
}

impl HeadAdapter {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn is_usual_end(share: &f64) -> bool {
    *share == LAST_RATE
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Default for LearnConfig {
    fn default() -> Self {
        Self {
            trains: Trains::Composable,
            image_steps: 8,
            clip_steps: 24,
            batch: 16,
            accumulation: 1,
            questions: None,
            learning_rate: 0.03,
            row_rate: None,
            identity_rate: 0.0,
            adaptation: AdaptationConfig::default(),
            objective: ObjectiveConfig { initial_lambda: 1e-4, adaptation_rate: 0.01, ..ObjectiveConfig::straight_through() },
            warm_up: 5,
            last_rate: LAST_RATE,
            clip: 1.0,
            personal_decay: 0.0,
            anchor: 0.0,
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
            projection_rate: None,
            vision_rate: 3e-5,
            head: HeadAdapter::Words,
            routed: None,
            weight_decay: 0.02,
        }
    }
}

impl LearnConfig {
    /// For bases without a Q-Former: rows of the word table and the head, routers and LoRA in the decoder, with the objective
    /// of the paper's follow-up. A step works on one clip after another, so that the activations of one are in memory, and asks
    /// six questions about each: a clip of a dataset has about twenty, which together cost as much as its frames.
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
            questions: Some(6),
            learning_rate: 1e-3,
            objective: ObjectiveConfig::follow_up(),
            anchor: 0.0,
            adaptation: AdaptationConfig { lora_rate: 2e-4, router_rate: 1e-3, weight_decay: 0.0, ..AdaptationConfig::default() },
            threads: 1,
            ..Self::default()
        }
    }

    /// As the released code trains: the tokens, the Q-Former without the projection behind it, routers and adapters, at constant
    /// rates and without clipping, AdamW with the same weight decay on all of them. The subject's rows get no gradient there, the
    /// vision encoder neither, and the head loses its adapter.
    ///
    /// The released weights are bf16, in which steps of these rates mostly round away; here what is trained is f32.
    pub fn released() -> Self {
        const DECAY: f64 = 0.01;
        Self {
            trains: Trains::PersonalAndBridge,
            batch: 2,
            learning_rate: 1e-4,
            row_rate: Some(0.0),
            objective: ObjectiveConfig::released(),
            warm_up: 0,
            last_rate: 1.0,
            clip: 0.0,
            personal_decay: DECAY,
            anchor: 0.0,
            adaptation: AdaptationConfig {
                lora: LoraConfig::full(),
                lora_rate: 1e-5,
                router_rate: 1e-6,
                bridge_rate: 1e-5,
                projection_rate: Some(0.0),
                vision_rate: 0.0,
                routed: None,
                head: HeadAdapter::Absent,
                weight_decay: DECAY,
            },
            ..Self::default()
        }
    }

    /// What the paper describes, at the rates of the released code: as [`released`](Self::released), and the subject's rows are
    /// trained, the upper part of the vision encoder from the second stage on, the head keeps its adapter, and HAE has a gradient.
    /// The paper names no rate for the encoder; it is that of the Q-Former.
    pub fn paper() -> Self {
        let released = Self::released();
        Self {
            trains: Trains::PersonalBridgeAndVision,
            row_rate: None,
            objective: ObjectiveConfig::straight_through(),
            adaptation: AdaptationConfig {
                vision_rate: released.adaptation.bridge_rate,
                head: HeadAdapter::WordsAndSubject,
                ..released.adaptation
            },
            ..released
        }
    }

    /// The run that trains this: stages, rates and schedule, without checkpoints.
    ///
    /// # Errors
    /// As [`Trains::group`].
    pub fn run_config(&self, vision: &VisionConfig) -> Result<RunConfig> {
        let its = &self.adaptation;
        let mut groups = vec![
            RateGroup::new("rows", ParamGroup::from_paths(ROWS.to_vec()), self.row_rate.unwrap_or(self.learning_rate)),
            RateGroup::new("identity", ParamGroup::from_path("personal.identity"), self.identity_rate),
        ];
        if matches!(self.trains, Trains::PersonalAndBridge | Trains::PersonalBridgeAndVision) {
            groups.push(RateGroup::new("bridge", adaptation::bridge()?, its.bridge_rate));
            let rate = its.projection_rate.unwrap_or(its.bridge_rate);
            groups.push(RateGroup::new("projection", adaptation::projection()?, rate));
        }
        if self.trains.trains_vision() {
            let upper = RateGroup::new("vision", adaptation::vision(vision)?, its.vision_rate);
            groups.push(RateGroup { first: self.image_steps, ..upper });
        }
        if !self.trains.is_composable() {
            groups.push(RateGroup::new("adapters", adaptation::adapters()?, its.lora_rate));
            groups.push(RateGroup::new("routers", adaptation::routers()?, its.router_rate));
        }
        Ok(RunConfig {
            steps: self.steps(),
            learning_rate: self.learning_rate,
            groups,
            schedule: Schedule { warm_up: self.warm_up, constant: 0.0, last: self.last_rate },
            clip: self.clip,
            checkpoints: None,
            checkpoint_every: std::time::Duration::MAX,
            fingerprint: Default::default(),
        })
    }

    /// AdamW with the weight decay of every group.
    ///
    /// # Errors
    /// As [`Trains::group`].
    pub fn optimizer(&self, vision: &VisionConfig) -> Result<ModuleOptimizer> {
        let adamw = |decay: f64| AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(decay as f32);
        let optimizer = adamw(self.personal_decay).init();
        if self.trains.is_composable() {
            return Ok(optimizer);
        }
        let base = adaptation::adapters()?.fuse(&adaptation::bridge()?).fuse(&adaptation::vision(vision)?);
        let optimizer = optimizer.with_group(base, adamw(self.adaptation.weight_decay).build(), None);
        Ok(optimizer.with_group(adaptation::routers()?, adamw(self.personal_decay).build(), None))
    }

    /// The names that checkpoints need: everything that is trained.
    ///
    /// # Errors
    /// As [`Trains::group`].
    pub(super) fn trained(&self, vision: &VisionConfig) -> Result<ParamGroup> {
        let own = personal_group();
        Ok(match self.trains.group(vision)? {
            Some(group) => group.fuse(&own),
            None => own,
        })
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
        for (key, count) in [
            ("batch", self.batch),
            ("accumulation", self.accumulation),
            ("questions", self.questions.unwrap_or(1)),
            ("threads", self.threads),
        ] {
            if count == 0 {
                return wrong(key, "0".into(), "use at least 1");
            }
        }
        let adaptation = &self.adaptation;
        for (key, value) in [
            ("learning_rate", self.learning_rate),
            ("identity_rate", self.identity_rate),
            ("row_rate", self.row_rate.unwrap_or(0.0)),
            ("last_rate", self.last_rate),
            ("clip", self.clip),
            ("personal_decay", self.personal_decay),
            ("anchor", self.anchor),
            ("adaptation.lora_rate", adaptation.lora_rate),
            ("adaptation.router_rate", adaptation.router_rate),
            ("adaptation.bridge_rate", adaptation.bridge_rate),
            ("adaptation.projection_rate", adaptation.projection_rate.unwrap_or(0.0)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_carry_the_published_constants() {
        for preset in [LearnConfig::released(), LearnConfig::paper()] {
            preset.validate().unwrap();
            let its = &preset.adaptation;
            assert_eq!([preset.learning_rate, its.bridge_rate, its.lora_rate, its.router_rate], [1e-4, 1e-5, 1e-5, 1e-6]);
            assert_eq!([preset.personal_decay, its.weight_decay, preset.clip, preset.last_rate], [0.01, 0.01, 0.0, 1.0]);
            assert_eq!((its.lora, its.projection_rate, preset.warm_up), (LoraConfig::full(), Some(0.0), 0));
        }
    }

    #[test]
    fn what_is_as_usual_is_not_written() {
        let written = serde_json::to_value(LearnConfig::default()).unwrap();
        let keys = ["questions", "row_rate", "last_rate", "personal_decay"];
        assert!(keys.iter().all(|key| written.get(key).is_none()), "{written}");
        let keys = ["projection_rate", "head"];
        assert!(keys.iter().all(|key| written["adaptation"].get(key).is_none()), "{written}");
        for config in [LearnConfig::default(), LearnConfig::released(), LearnConfig::paper()] {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<LearnConfig>(&text).unwrap(), config);
        }
    }
}
