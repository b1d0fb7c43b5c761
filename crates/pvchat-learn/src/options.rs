//! How a person is learned.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use image::RgbImage;
use pvchat_augment::{NegativeConfig, PositiveConfig};
use pvchat_train::{
    checkpoint::CheckpointFolder,
    features::FeatureCache,
    personal::{LearnConfig, LearnRun},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Result;

/// What learning starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// One look at the clip: the enrolled subject.
    #[default]
    Look,
    /// Noise, as in the paper. What was learned is kept when the self-check judges it better than noise; else the enrolled
    /// subject is returned.
    Noise,
}

/// How a person is learned; the defaults are those of the figures in docs/results.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearnOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// What learning starts from.
    pub start: Start,
    /// Positives made from the clip.
    pub positives: usize,
    /// How clips are varied.
    pub variation: PositiveConfig,
    /// How negatives are chosen.
    pub negatives: NegativeConfig,
    /// Clips with exchanged heads beside these, half of them with the person; unused where several people are learned together.
    pub exchanged: usize,
    /// Whose heads and bodies they are made with.
    pub strangers: NegativeConfig,
    /// The share of them that looks other than the reference, see [`Treatment`](pvchat_augment::exchange::Treatment).
    pub treated: f32,
    /// Clips made of every two people who are learned together; unused where one is learned.
    pub together: usize,
    /// The share of the clips with the person that are trained on that is asked about again with tokens and rows zeroed, where the
    /// answer is no, so that the person is not found without them. Only for learning from clips of the caller's
    /// ([`Learner::learn_from`] and [`learn_from_each`](crate::Learner::learn_from_each)), where parts of the base are trained.
    ///
    /// [`Learner::learn_from`]: crate::Learner::learn_from
    pub zeroed: f32,
    /// The same with tokens and rows of [nobody](pvchat_train::personal::AskedWith::Others), so that the person is not found with
    /// others either.
    pub other_tokens: f32,
    /// A made positive whose identity embedding is less similar to the clip's is drawn again.
    pub least_similarity: f32,
    /// The training.
    pub training: LearnConfig,
    /// The folder for the checkpoints of this run. Learning with the same clip, name and options resumes from them after any
    /// interruption, and gives the same result as without one. Without a folder nothing is kept.
    pub checkpoints: Option<PathBuf>,
    /// Seconds between checkpoints; 0 writes one after every step.
    pub checkpoint_seconds: f64,
    /// Bytes of the frozen encoder's output for the clips that stay in memory; the rest is stored in a file without a name, in
    /// the folder of checkpoints or the system's for temporary files, and ends with the process. Without a number all stays in
    /// memory. The result is the same.
    pub feature_memory: Option<usize>,
    /// Seconds that learning may take, data making included; then it stops with
    /// [`OutOfTime`](pvchat_train::Error::OutOfTime), after a checkpoint.
    pub time_budget_seconds: Option<f64>,
}

impl Default for LearnOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            start: Start::default(),
            positives: 31,
            variation: PositiveConfig::default(),
            negatives: NegativeConfig { hard: 24, random: 8, ..NegativeConfig::default() },
            exchanged: 0,
            strangers: NegativeConfig { hard: 40, random: 80, ..NegativeConfig::default() },
            treated: 0.6,
            together: 16,
            zeroed: 0.0,
            other_tokens: 0.0,
            least_similarity: 0.55,
            training: LearnConfig::default(),
            checkpoints: None,
            checkpoint_seconds: 2.0,
            feature_memory: None,
            time_budget_seconds: None,
        }
    }
}

impl LearnOptions {
    /// For a base that enrols, where clips may look other than the reference: partly hidden, dark, grey, drawn otherwise, with small
    /// figures or many people. Tokens and rows are trained on clips with exchanged heads too, 60 % of which are
    /// [treated](Self::treated); it takes about five times as long as the default.
    pub fn other_looks() -> Self {
        let training = LearnConfig { image_steps: 8, clip_steps: 80, batch: 32, questions: Some(2), ..LearnConfig::default() };
        let negatives = NegativeConfig { hard: 48, random: 32, ..NegativeConfig::default() };
        Self { negatives, exchanged: 400, training, ..Self::default() }
    }

    /// The folder of [`checkpoints`](Self::checkpoints), if there is to be one, held for this process while the result lives.
    ///
    /// # Errors
    /// [`pvchat_train::Error::Busy`] while another process learns in it, or when it cannot be made.
    pub fn held_checkpoints(&self) -> Result<Option<CheckpointFolder>> {
        match &self.checkpoints {
            Some(folder) => Ok(Some(CheckpointFolder::new(folder)?.locked()?)),
            None => Ok(None),
        }
    }

    /// When to write checkpoints, and the time that is left from now on.
    pub(crate) fn run(&self, checkpoints: Option<CheckpointFolder>) -> Result<LearnRun> {
        let seconds = |key, value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| pvchat_train::Error::Config {
                key,
                value: value.to_string(),
                remedy: "give a number of seconds, zero or more".into(),
            })
        };
        let deadline = match self.time_budget_seconds {
            Some(budget) => {
                let budget = seconds("time_budget_seconds", budget)?;
                Instant::now().checked_add(budget).map(|deadline| (deadline, budget))
            }
            None => None,
        };
        Ok(LearnRun { checkpoints, checkpoint_every: seconds("checkpoint_seconds", self.checkpoint_seconds)?, deadline })
    }

    /// Where the encoder's output for clips is stored.
    pub(crate) fn features(&self, keep: &LearnRun) -> Result<FeatureCache> {
        let Some(bytes) = self.feature_memory else { return Ok(FeatureCache::in_memory()) };
        let folder = keep.checkpoints.as_ref().map_or_else(std::env::temp_dir, |folder| folder.path().to_path_buf());
        Ok(FeatureCache::spilling(&folder, bytes)?)
    }

    /// What the data is made from, for the fingerprint of the run.
    pub(crate) fn source<'a>(&self, frames: impl IntoIterator<Item = &'a RgbImage>) -> Result<BTreeMap<String, String>> {
        let mut hash = Sha256::new();
        frames.into_iter().for_each(|frame| hash.update(frame.as_raw()));
        let digest: String = hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let json = |error: serde_json::Error| pvchat_train::Error::Config {
            key: "options",
            value: error.to_string(),
            remedy: "use numbers that JSON can hold".into(),
        };
        Ok(BTreeMap::from([
            ("reference clip".into(), digest),
            ("seed".into(), self.seed.to_string()),
            ("positives".into(), self.positives.to_string()),
            ("variation".into(), serde_json::to_string(&self.variation).map_err(json)?),
            ("negatives".into(), serde_json::to_string(&self.negatives).map_err(json)?),
            ("exchanged".into(), self.exchanged.to_string()),
            ("strangers".into(), serde_json::to_string(&self.strangers).map_err(json)?),
            ("treated".into(), self.treated.to_string()),
            ("zeroed".into(), self.zeroed.to_string()),
            ("other tokens".into(), self.other_tokens.to_string()),
            ("least similarity".into(), self.least_similarity.to_string()),
        ]))
    }
}
