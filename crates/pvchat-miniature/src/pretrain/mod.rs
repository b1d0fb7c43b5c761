//! Training the base model of the miniature world from scratch: first the encoder, then the bridge
//! and the language model on the frozen encoder's features.

pub mod answer;
pub mod answer_run;
pub mod clips;
pub mod encoder;
pub mod encoder_run;
pub mod encoder_task;
pub mod validation;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use burn::module::ParamGroup;
use pvchat_train::{
    checkpoint::CheckpointFolder,
    run::{RateGroup, RunConfig, Schedule},
};

/// Time between checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

/// What a run of either phase has in common with the other: schedule, clipping, checkpoints. `muon` are the matrices that
/// Muon trains, and their learning rate.
fn run_config(
    steps: usize,
    learning_rate: f64,
    muon: Option<(ParamGroup, f64)>,
    checkpoints: Option<&PathBuf>,
    fingerprint: BTreeMap<String, String>,
) -> pvchat_train::Result<RunConfig> {
    Ok(RunConfig {
        steps,
        learning_rate,
        groups: muon.into_iter().map(|(matrices, rate)| RateGroup::new("matrices", matrices, rate)).collect(),
        schedule: Schedule { warm_up: 50, constant: 0.5, last: 0.02 },
        clip: 1.0,
        checkpoints: checkpoints.map(CheckpointFolder::new).transpose()?,
        checkpoint_every: CHECKPOINT_EVERY,
        fingerprint,
    })
}
