//! A whole run of phase B: from a trained encoder to a base model, for any [`Design`].

use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
    path::PathBuf,
    sync::Arc,
};

use burn::{module::Module, prelude::*};
use pvchat_augment::Failure;
use pvchat_data::random::SeededStream;
use pvchat_model::{
    answer::AnswerModel,
    families::{
        VisionTower,
        miniature::{MiniatureEncoder, MiniatureEncoderConfig, prompt_format},
    },
    prompt::TextCodec,
    vilm::{Vilm, VilmParameters},
};
use pvchat_nn::weights;
use pvchat_train::{
    objective::Objective,
    run::{Progress, run},
};

use super::{
    answer::{self, AnswerPretraining, AnswerReport, AnswerTask},
    clips::EncodedClips,
    run_config,
    validation::{Validation, Validator},
};
use crate::{base::Design, tokenizer};

/// Groups of six clips that phase B is validated on, with separate people and clips.
const VALIDATION_GROUPS: usize = 150;
/// Batches of validation.
const VALIDATION_BATCHES: usize = 36;
/// Steps between two validations.
const VALIDATE_EVERY: usize = 250;
/// The clips of phase B, encoded once; runs on one encoder and seed share them.
#[derive(Clone)]
pub struct AnswerClips {
    seed: u64,
    groups: usize,
    training: Arc<EncodedClips>,
    validation: Arc<EncodedClips>,
}

impl AnswerClips {
    /// Draws and encodes `groups` groups of six clips and those of the validation, telling `progress` how many more clips
    /// are done.
    pub fn make(encoder: &MiniatureEncoder, seed: u64, groups: usize, device: &Device, progress: impl Fn(usize) + Sync) -> Self {
        let (stream, device) = (answer_stream(seed), device.clone().inner());
        let side = MiniatureEncoderConfig::default().frame_side as u32;
        let encode = |range: Range<usize>, label: &str| {
            Arc::new(EncodedClips::make(encoder, side, range, &stream.derive(label), &device, &progress))
        };
        Self { seed, groups, training: encode(0..groups, "clips"), validation: encode(0..VALIDATION_GROUPS, "validation") }
    }
}

/// What a run of phase B reports.
pub enum AnswerEvent<'a> {
    /// The parameters of the model that is about to be trained.
    Parameters(usize),
    /// A step.
    Step(Progress<'a, AnswerPretraining, AnswerReport>),
    /// Answers about other people and clips, every 250 steps and at the end.
    Validation(pvchat_model::Result<Validation>),
}

/// A run of phase B.
#[derive(Clone, Debug)]
pub struct AnswerRun {
    /// What is trained.
    pub design: Design,
    /// Optimiser steps of 32 clips.
    pub steps: usize,
    /// Where checkpoints are kept, if anywhere; a killed run resumes from them.
    pub checkpoints: Option<PathBuf>,
}

impl AnswerRun {
    /// Trains everything after the encoder on the clips that it has seen.
    ///
    /// # Errors
    /// What the model and the run report; the run also refuses checkpoints of another design, seed or data.
    pub fn train(
        &self,
        clips: &AnswerClips,
        device: &Device,
        mut observe: impl FnMut(AnswerEvent<'_>) -> ControlFlow<()>,
    ) -> Result<AnswerModel, Failure> {
        let (device, plain) = (device.clone().autodiff(), device.clone().inner());
        let mut task = self.task(clips, plain)?;
        let config = self.design.config(task.codec.vocabulary());
        let model = AnswerPretraining::init(&config.answer, &answer_stream(clips.seed).derive("initial"), &device)?;
        let mut flow = observe(AnswerEvent::Parameters(model.num_params()));
        let validator = Validator::new(&task, clips.validation.clone(), VALIDATION_BATCHES)?;
        let fingerprint = BTreeMap::from([
            ("seed".to_string(), clips.seed.to_string()),
            ("config".to_string(), format!("{config:?} {}", clips.groups)),
            ("encoder, by what it saw".to_string(), format!("{:016x}", clips.validation.fingerprint())),
            ("objective".to_string(), serde_json::to_string(&self.design.objective)?),
        ]);
        let muon = answer::muon_group().map(|group| (group, answer::MUON_RATE));
        let run_config = run_config(self.steps, answer::ADAMW_RATE, muon, self.checkpoints.as_ref(), fingerprint)?;
        let trained = run(model, answer::optimizer(), &run_config, &mut task, &device, |progress| {
            let (model, step, steps) = (progress.model, progress.step, progress.steps);
            let mut tell = |event: AnswerEvent<'_>| {
                if observe(event).is_break() {
                    flow = ControlFlow::Break(());
                }
            };
            tell(AnswerEvent::Step(progress));
            if step.is_multiple_of(VALIDATE_EVERY) || step == steps {
                tell(AnswerEvent::Validation(validator.judge(&model.model)));
            }
            flow
        })?;
        Ok(trained.model.valid())
    }

    /// Validates a model of this design as for [`AnswerEvent::Validation`]; `clips` may have no groups to train on.
    ///
    /// # Errors
    /// What the model reports.
    pub fn validate(&self, clips: &AnswerClips, model: &AnswerModel, device: &Device) -> Result<Validation, Failure> {
        let task = self.task(clips, device.clone().inner())?;
        Ok(Validator::new(&task, clips.validation.clone(), VALIDATION_BATCHES)?.judge(model)?)
    }

    fn task(&self, clips: &AnswerClips, device: Device) -> Result<AnswerTask, Failure> {
        let (codec, _) = codec()?;
        let config = self.design.config(codec.vocabulary());
        Ok(AnswerTask {
            people: self.design.people,
            clips: clips.training.clone(),
            codec,
            slots: config.answer.slots(),
            batch: 16,
            shards: 2,
            questions: 6,
            objective: Objective::new(self.design.objective.clone(), self.design.routed_modules())?,
            stream: answer_stream(clips.seed).derive("episodes"),
            device,
        })
    }
}

/// Puts an encoder and an answer model of this design together as a base model, rounded as in its file.
///
/// # Errors
/// What the model reports.
pub fn assemble(design: &Design, encoder: &MiniatureEncoder, answer: AnswerModel, device: &Device) -> Result<Vilm, Failure> {
    let (codec, tokenizer) = codec()?;
    let config = serde_json::to_vec(&design.config(codec.vocabulary()))?;
    let vision_encoder = VisionTower::Miniature(encoder.clone());
    let parameters = VilmParameters { vision_encoder, vision_layernorm: None, answer };
    Ok(Vilm::from_bytes(&config, tokenizer.as_bytes(), weights::to_bytes(&parameters)?, device)?)
}

/// The miniature's tokenizer with its prompt format, and its file.
fn codec() -> Result<(TextCodec, String), Failure> {
    let tokenizer = tokenizer::train()?;
    Ok((TextCodec::from_bytes("tokenizer.json", tokenizer.as_bytes(), prompt_format())?, tokenizer))
}

fn answer_stream(seed: u64) -> SeededStream {
    SeededStream::new(seed).derive("answer")
}
