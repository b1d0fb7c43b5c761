//! Learning one person: the personal parameters are trained on clips made from one clip, in two
//! stages, images then video, with everything else frozen and every clip's features computed once.

use std::ops::ControlFlow;

use burn::{
    module::{Module, Param, ParamGroup},
    optim::AdamWConfig,
    prelude::*,
};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    answer::Memory,
    personal::PersonalTensors,
    prompt::EncodedText,
    subject::{Origin, Subject},
    vilm::Vilm,
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    objective::{Objective, ObjectiveConfig, ObjectiveReport, RoutedHeads},
    run::{RunConfig, Schedule, Task, run},
};

/// A clip to learn from: what the frozen encoder made of it, and the questions about it.
#[derive(Clone, Debug)]
pub struct LearnClip {
    /// `[memory tokens, width]`, row by row.
    pub tokens: Vec<f32>,
    /// `[people, identity width]`, row by row.
    pub identity: Vec<f32>,
    /// Whether the person is in it.
    pub present: bool,
    /// Questions with answers; all clips of a stage have equally many.
    pub texts: Vec<EncodedText>,
}

/// Everything to learn one person from.
#[derive(Clone, Debug, Default)]
pub struct LearnData {
    /// Images: one frame repeated, existence and appearance.
    pub images: Vec<LearnClip>,
    /// Clips, all kinds of questions.
    pub clips: Vec<LearnClip>,
    /// Clips for the self-check, never trained on.
    pub held_back: Vec<LearnClip>,
    /// Shape of a clip's tokens.
    pub token_shape: [usize; 2],
    /// Shape of a clip's identity embeddings.
    pub identity_shape: [usize; 2],
}

/// How a person is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearnConfig {
    /// Optimiser steps on images.
    pub image_steps: usize,
    /// Optimiser steps on clips.
    pub clip_steps: usize,
    /// Clips per step, half of them with the person.
    pub batch: usize,
    /// Learning rate of the tokens and rows.
    pub learning_rate: f64,
    /// Learning rate of the identity embedding.
    pub identity_rate: f64,
    /// Pull back to where learning started, per squared unit.
    pub anchor: f64,
    /// Threads.
    pub threads: usize,
    /// Seed of the batches.
    pub seed: u64,
}

impl Default for LearnConfig {
    fn default() -> Self {
        Self {
            image_steps: 8,
            clip_steps: 24,
            batch: 16,
            learning_rate: 3e-4,
            identity_rate: 0.0,
            anchor: 0.01,
            threads: 2,
            seed: 0,
        }
    }
}

/// Where learning stands, for progress bars and plots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnProgress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Whether this step was on clips (stage 2) or images (stage 1).
    pub video: bool,
    /// Mean cross entropy of the answers.
    pub loss: f32,
    /// The routed heads: activation, SPR, HAE.
    pub objective: ObjectiveReport,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnReport {
    /// How the enrolled parameters judge the held-back clips.
    pub before: SelfCheck,
    /// How the learned ones do.
    pub after: SelfCheck,
    /// Whether the learned parameters were kept.
    pub kept_learned: bool,
    /// Every step.
    pub steps: Vec<LearnProgress>,
}

/// How well held-back clips are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfCheck {
    /// Mean of the shares right on clips with and on clips without the person.
    pub balanced_accuracy: f32,
    /// Mean cross entropy of presence, both kinds weighing the same.
    pub loss: f32,
}

/// The parameters that are trained.
#[derive(Module, Debug)]
struct PersonalParameters {
    tokens: Param<Tensor<4>>,
    identity: Param<Tensor<3>>,
    word_row: Param<Tensor<3>>,
    head_row: Param<Tensor<3>>,
}

impl PersonalParameters {
    fn new(start: &PersonalTensors, device: &Device) -> Self {
        let parameter = |tensor: &Tensor<3>| Param::from_tensor(Tensor::from_data(tensor.to_data(), device));
        Self {
            tokens: Param::from_tensor(Tensor::from_data(start.tokens.to_data(), device)),
            identity: parameter(&start.identity),
            word_row: parameter(&start.word_row),
            head_row: parameter(&start.head_row),
        }
    }

    /// The parameters for a batch, the identity brought back to unit length.
    fn tensors(&self, batch: usize) -> PersonalTensors {
        let repeat = |tensor: Tensor<3>| {
            let [_, subjects, width] = tensor.dims();
            tensor.expand([batch, subjects, width])
        };
        let identity = self.identity.val();
        let length = identity.clone().square().sum_dim(2).add_scalar(1e-6).sqrt();
        let [_, subjects, tokens, width] = self.tokens.dims();
        PersonalTensors {
            tokens: self.tokens.val().expand([batch, subjects, tokens, width]),
            identity: repeat(identity / length),
            word_row: repeat(self.word_row.val()),
            head_row: repeat(self.head_row.val()),
        }
    }

    fn distance(&self, start: &PersonalTensors) -> Tensor<1> {
        let apart = |tensor: Tensor<3>, start: &Tensor<3>| (tensor - start.clone()).square().sum();
        (self.tokens.val() - start.tokens.clone()).square().sum()
            + apart(self.identity.val(), &start.identity)
            + apart(self.word_row.val(), &start.word_row)
            + apart(self.head_row.val(), &start.head_row)
    }
}

struct LearnTask<'a> {
    vilm: &'a Vilm,
    data: &'a LearnData,
    config: &'a LearnConfig,
    start: PersonalTensors,
    objective: Objective,
    stream: SeededStream,
    begin: Vec<u32>,
}

type Shard = Vec<(bool, usize)>;

impl LearnTask<'_> {
    fn losses(&self, model: &PersonalParameters, shard: Shard) -> Result<(Tensor<1>, (f32, ObjectiveReport))> {
        let clips: Vec<&LearnClip> = shard
            .iter()
            .filter_map(|&(video, index)| if video { self.data.clips.get(index) } else { self.data.images.get(index) })
            .collect();
        let device = self.vilm.device();
        let memory = memory(&clips, self.data, device);
        let personal = model.tensors(clips.len());
        let slots = Tensor::<2, Int>::zeros([clips.len(), 1], device);
        let answer = &self.vilm.parameters().answer;
        let visual = answer.visual(&memory, Some((&personal, slots.clone())))?;
        let texts: Vec<Vec<EncodedText>> = clips.iter().map(|clip| clip.texts.clone()).collect();
        let answers = answer.losses(&visual, &self.begin, &texts, Some((&personal, slots)))?;
        let loss = answers.tokens.mean();
        let value = loss.clone().into_scalar::<f32>();
        let routed: Vec<RoutedHeads> = visual.gates.iter().map(|(_, gates)| RoutedHeads::from(gates)).collect();
        let auxiliary = self.objective.clone().train(&routed)?;
        let total = match auxiliary.loss {
            Some(loss_of_heads) => loss + loss_of_heads,
            None => loss,
        };
        let total = total + model.distance(&self.start) * self.config.anchor;
        Ok((total / self.config.threads as f32, (value, auxiliary.report)))
    }
}

fn memory(clips: &[&LearnClip], data: &LearnData, device: &Device) -> Memory {
    let gather = |part: fn(&LearnClip) -> &[f32], shape: [usize; 2]| {
        let values: Vec<f32> = clips.iter().flat_map(|clip| part(clip).iter().copied()).collect();
        Tensor::<3>::from_data(TensorData::new(values, [clips.len(), shape[0], shape[1]]), device)
    };
    Memory { tokens: gather(|clip| &clip.tokens, data.token_shape), identity: gather(|clip| &clip.identity, data.identity_shape) }
}

impl Task<PersonalParameters> for LearnTask<'_> {
    type Shard = Shard;
    type Report = Result<(f32, ObjectiveReport)>;

    fn shards(&self, step: usize) -> Vec<Shard> {
        let video = step >= self.config.image_steps;
        let source = if video { &self.data.clips } else { &self.data.images };
        let mut stream = self.stream.derive(format_args!("step {step}"));
        let of = |present: bool| {
            source.iter().enumerate().filter(|(_, clip)| clip.present == present).map(|(index, _)| index).collect::<Vec<_>>()
        };
        let (with, without) = (of(true), of(false));
        let mut all: Shard = (0..self.config.batch)
            .filter_map(|row| stream.choose(if row % 2 == 0 { &with } else { &without }).map(|&index| (video, index)))
            .collect();
        let size = all.len().div_ceil(self.config.threads.max(1)).max(1);
        let mut shards = Vec::new();
        while !all.is_empty() {
            let rest = all.split_off(size.min(all.len()));
            shards.push(std::mem::replace(&mut all, rest));
        }
        shards
    }

    fn loss(&self, model: &PersonalParameters, shard: Shard) -> (Tensor<1>, Self::Report) {
        match self.losses(model, shard) {
            Ok((loss, report)) => (loss, Ok(report)),
            // The run ends at a loss that is not a number; the report says why.
            Err(error) => (model.identity.val().sum() * f32::NAN, Err(error)),
        }
    }

    fn after_step(&mut self, _step: usize, reports: &[Self::Report]) {
        let reports: Vec<ObjectiveReport> = reports.iter().flatten().map(|report| report.1.clone()).collect();
        self.objective.advance(&reports);
    }
}

/// Learns a person, starting from `start` (an enrolled subject), and keeps the result only if it
/// judges the held-back clips better than `start` does.
///
/// On equal accuracy `start` stays: held-back positives are made from the one clip too and flatter
/// the parameters that were trained on their siblings.
///
/// When the observer asks to stop, learning ends with [`Error::Stopped`].
///
/// # Errors
/// [`Error::Config`] when there is nothing to learn from; what the model and the run report.
pub fn learn(
    vilm: &Vilm,
    start: &Subject,
    data: &LearnData,
    config: &LearnConfig,
    mut observe: impl FnMut(&LearnProgress) -> ControlFlow<()>,
) -> Result<(Subject, LearnReport)> {
    for (key, clips) in [("images", &data.images), ("clips", &data.clips)] {
        if !clips.iter().any(|clip| clip.present) || clips.iter().all(|clip| clip.present) {
            let remedy = "learning needs clips with the person and clips without".into();
            return Err(Error::Config { key, value: format!("{} clips", clips.len()), remedy });
        }
    }
    let device = vilm.device().clone().autodiff();
    let begin = vilm.codec().before_tiles(1)?.concat();
    let tensors = Subject::tensors(std::slice::from_ref(start), vilm.device())?;
    let model = PersonalParameters::new(&tensors, &device);
    let modules = vilm.config().answer.qformer.routed_modules();
    let mut task = LearnTask {
        vilm,
        data,
        config,
        start: tensors.clone(),
        objective: Objective::new(
            ObjectiveConfig { initial_lambda: 1e-4, adaptation_rate: 0.01, ..ObjectiveConfig::straight_through() },
            modules,
        )?,
        stream: SeededStream::new(config.seed).derive("learn"),
        begin: begin.clone(),
    };
    let identity = ParamGroup::from_path("identity");
    let run_config = RunConfig {
        steps: config.image_steps + config.clip_steps,
        learning_rate: config.learning_rate,
        groups: vec![(identity, config.identity_rate)],
        schedule: Schedule { warm_up: 5, constant: 0.0, last: 0.1 },
        clip: 1.0,
        checkpoints: None,
        checkpoint_every: std::time::Duration::MAX,
        fingerprint: Default::default(),
    };
    let optimizer = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.0).init();
    let mut steps = Vec::new();
    let trained = run(model, optimizer, &run_config, &mut task, &device, |progress| {
        let reports: Vec<&(f32, ObjectiveReport)> = progress.reports.iter().flatten().collect();
        let Some(first) = reports.first() else { return ControlFlow::Continue(()) };
        let loss = reports.iter().map(|report| report.0).sum::<f32>() / reports.len() as f32;
        let now = LearnProgress {
            step: progress.step,
            steps: progress.steps,
            video: progress.step > config.image_steps,
            loss,
            objective: first.1.clone(),
        };
        let flow = observe(&now);
        steps.push(now);
        flow
    })?;
    let learned = trained.valid().tensors(1);
    let mut info = vilm.subject_info(&start.info.name, Origin::Learned);
    let learned = Subject::from_tensors(info.clone(), &learned);
    let (before, after) = (check(vilm, start, data)?, check(vilm, &learned, data)?);
    let kept_learned = after.balanced_accuracy > before.balanced_accuracy;
    let kept = if kept_learned { learned } else { start.clone() };
    info.origin = kept.info.origin;
    let last = steps.last().map_or(0.0, |step| f64::from(step.loss));
    info.training = [
        ("steps", steps.len() as f64),
        ("last_loss", last),
        ("self_check_before", f64::from(before.balanced_accuracy)),
        ("self_check_after", f64::from(after.balanced_accuracy)),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .into();
    Ok((Subject { info, ..kept }, LearnReport { before, after, kept_learned, steps }))
}

/// How well a subject's parameters judge the held-back clips.
fn check(vilm: &Vilm, subject: &Subject, data: &LearnData) -> Result<SelfCheck> {
    let subjects = std::slice::from_ref(subject);
    let view = vilm.with_subjects(subjects);
    let mut sums = [[0.0_f32; 3]; 2];
    for clip in &data.held_back {
        let memory = memory(&[clip], data, vilm.device());
        let reading = view.read(&memory, &[subject])?;
        let presence = view.presence(&reading, 0)?;
        let truth = if clip.present { presence } else { 1.0 - presence };
        let sum = &mut sums[usize::from(clip.present)];
        sum[0] += 1.0;
        sum[1] += f32::from(truth > 0.5);
        sum[2] -= truth.max(1e-6).ln();
    }
    let mean = |part: usize| 0.5 * (sums[0][part] / sums[0][0].max(1.0) + sums[1][part] / sums[1][0].max(1.0));
    Ok(SelfCheck { balanced_accuracy: mean(1), loss: mean(2) })
}
