//! A whole run of phase A: a vision encoder from scratch.

use std::{ops::ControlFlow, path::PathBuf};

use burn::prelude::*;
use pvchat_augment::Failure;
use pvchat_data::random::SeededStream;
use pvchat_model::families::miniature::MiniatureEncoderConfig;
use pvchat_train::run::{Progress, run};

use super::{
    encoder::{EncoderLosses, EncoderPretraining},
    encoder_task::{self, EncoderTask},
    run_config,
};

/// A run of phase A.
#[derive(Clone, Debug)]
pub struct EncoderRun {
    /// Sizes of the encoder.
    pub config: MiniatureEncoderConfig,
    /// Seed of everything random.
    pub seed: u64,
    /// Optimiser steps of 32 clips.
    pub steps: usize,
    /// Where checkpoints are kept, if anywhere; a killed run resumes from them.
    pub checkpoints: Option<PathBuf>,
}

impl EncoderRun {
    /// Trains an encoder on clips that are rendered as they are needed.
    ///
    /// # Errors
    /// What the run reports; it also refuses checkpoints of another configuration or seed.
    pub fn train(
        &self,
        device: &Device,
        observe: impl FnMut(Progress<'_, EncoderPretraining, EncoderLosses>) -> ControlFlow<()>,
    ) -> Result<EncoderPretraining, Failure> {
        let device = device.clone().autodiff();
        let stream = SeededStream::new(self.seed).derive("encoder");
        let model = EncoderPretraining::init(&self.config, &mut stream.derive("initial"), &device);
        let mut task = EncoderTask {
            config: self.config.clone(),
            groups: 4,
            shards: 2,
            stream: stream.derive("data"),
            device: device.clone().inner(),
        };
        let muon = encoder_task::muon_group().map(|group| (group, encoder_task::MUON_RATE));
        let fingerprint =
            [("seed".to_string(), self.seed.to_string()), ("config".to_string(), format!("{:?}", self.config))].into();
        let run_config = run_config(self.steps, encoder_task::ADAMW_RATE, muon, self.checkpoints.as_ref(), fingerprint)?;
        Ok(run(model, encoder_task::optimizer(), &run_config, &mut task, &device, observe)?)
    }
}
