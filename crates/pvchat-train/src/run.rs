//! The training loop: steps, schedule, clipping, checkpoints. A [`Task`] defines the parameters, the data and the loss.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use burn::{
    lr_scheduler::module_lr_scheduler::ModuleLrScheduler,
    module::{Module, ModuleVisitor, Param, ParamGroup},
    optim::{GradientsParams, ModuleOptimizer},
    prelude::*,
};

use crate::{
    Error, Result,
    checkpoint::{CheckpointFolder, RunState},
    gradients::{add, batch_gradients, group_norms, shorten},
};

/// What a run trains: where its batches come from and what their loss is.
pub trait Task<M: Module>: Sync {
    /// A part of a batch that one thread works on.
    type Shard: Send;
    /// What is reported about a shard in addition to its loss.
    type Report: Send;

    /// The batch of a step, a function of the step alone, in shards.
    fn shards(&self, step: usize) -> Vec<Self::Shard>;

    /// The shard's share of the batch's loss.
    fn loss(&self, model: &M, shard: Self::Shard) -> (Tensor<1>, Self::Report);

    /// Rounds in which the shards of a step are worked on, one after another: gradient accumulation.
    fn rounds(&self) -> usize {
        1
    }

    /// The batch of a step in words, for the error that ends a run.
    fn batch(&self, step: usize) -> String {
        format!("batch {step}")
    }

    /// Why a loss is not a number, when a report of its batch knows better.
    fn failure(&self, _reports: Vec<Self::Report>) -> Option<Error> {
        None
    }

    /// Sees the reports after a step; adaptive weights move here.
    fn after_step(&mut self, _step: usize, _reports: &[Self::Report]) {}

    /// State that a checkpoint keeps.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Takes back the state of a checkpoint.
    fn restore(&mut self, _state: serde_json::Value) {}
}

/// How the learning rate moves over a run: warm-up, a constant part, then a cosine to `last`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Steps of linear warm-up.
    pub warm_up: usize,
    /// Share of the steps before the rate starts to fall.
    pub constant: f64,
    /// The factor at the end.
    pub last: f64,
}

impl Schedule {
    /// The factor on every learning rate at `step` of `steps`.
    pub fn factor(&self, step: usize, steps: usize) -> f64 {
        let warm = if self.warm_up == 0 { 1.0 } else { ((step + 1) as f64 / self.warm_up as f64).min(1.0) };
        let share = (step as f64 + 0.5) / steps.max(1) as f64;
        let fall = ((share - self.constant) / (1.0 - self.constant).max(1e-9)).clamp(0.0, 1.0);
        warm * (self.last + (1.0 - self.last) * 0.5 * (1.0 + (std::f64::consts::PI * fall).cos()))
    }
}

impl Schedule {
    /// The same rates from the first step to the last.
    pub const CONSTANT: Self = Self { warm_up: 0, constant: 0.0, last: 1.0 };
}

/// Parameters that are trained alike.
#[derive(Clone, Debug)]
pub struct RateGroup {
    /// Their name in reports of gradients.
    pub name: &'static str,
    /// Which they are.
    pub parameters: ParamGroup,
    /// Their learning rate.
    pub rate: f64,
    /// The step that they are trained from, counted from 0: before, they are frozen, and the optimiser knows nothing of them.
    pub first: usize,
}

impl RateGroup {
    /// Parameters that are trained from the first step on.
    pub fn new(name: &'static str, parameters: ParamGroup, rate: f64) -> Self {
        Self { name, parameters, rate, first: 0 }
    }
}

/// Everything about a run that is not its task.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// Learning rate of everything outside `groups`.
    pub learning_rate: f64,
    /// Parameter groups with their own learning rates; the last that matches wins.
    pub groups: Vec<RateGroup>,
    /// How the rates move.
    pub schedule: Schedule,
    /// Limit of the joint gradient norm; zero for none.
    pub clip: f64,
    /// Where checkpoints are kept, if anywhere.
    pub checkpoints: Option<CheckpointFolder>,
    /// Time between checkpoints.
    pub checkpoint_every: Duration,
    /// What identifies the run; a checkpoint with another fingerprint is refused.
    pub fingerprint: BTreeMap<String, String>,
}

impl RunConfig {
    /// `model` with the parameters frozen that are not trained yet at `step`, and those trained whose first step it is.
    pub fn at_step<M: Module>(&self, model: M, step: usize) -> M {
        let late = self.groups.iter().filter(|group| group.first > 0);
        late.fold(model, |model, group| model.set_require_grad_group(group.parameters.clone(), step >= group.first))
    }
}

/// What the observer gets after every step.
#[derive(Debug)]
pub struct Progress<'a, M, R> {
    /// The model after the step.
    pub model: &'a M,
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The batch's loss.
    pub loss: f32,
    /// Joint gradient norm before clipping.
    pub gradient_norm: f64,
    /// The same of the parameters of each group, and last of those of none.
    pub group_norms: &'a [f64],
    /// The shards' reports.
    pub reports: &'a [R],
}

/// Trains `model`, resuming from the newest checkpoint when there is one.
///
/// The observer may stop the run; a checkpoint is written first, if there is a folder for it. The folder is held for
/// this run until it ends.
///
/// # Errors
/// [`Error::Busy`] when another run holds the folder, [`Error::OtherRun`] when its checkpoint is that of another run,
/// [`Error::Checkpoint`] when one cannot be read or written, [`Error::Diverged`] when the loss, the gradients or the
/// parameters are not numbers any more, [`Error::Stopped`]. Whatever ends the run, the newest checkpoint is good.
pub fn run<M, T>(
    mut model: M,
    mut optimizer: ModuleOptimizer,
    config: &RunConfig,
    task: &mut T,
    device: &Device,
    mut observe: impl FnMut(Progress<'_, M, T::Report>) -> ControlFlow<()>,
) -> Result<M>
where
    M: Module + Send,
    T: Task<M>,
{
    let (mut first, mut earlier, mut kept) = (0, 0.0, None);
    let started = Instant::now();
    let folder = config.checkpoints.as_ref().map(CheckpointFolder::locked).transpose()?;
    if let Some(folder) = &folder {
        let (loaded, restored, state) = folder.load(model, optimizer, &config.fingerprint)?;
        (model, optimizer) = (loaded, restored);
        if let Some(state) = state {
            (first, earlier, kept) = (state.step, state.seconds, Some(state.step));
            task.restore(state.task);
        }
    }
    let mut saved = Instant::now();
    model = config.at_step(model, first);
    let groups: Vec<&ParamGroup> = config.groups.iter().map(|group| &group.parameters).collect();
    for step in first..config.steps {
        if config.groups.iter().any(|group| group.first == step) {
            model = config.at_step(model, step);
        }
        let (mut gradients, losses, reports) = gradients(&model, task, step, device);
        let diverged = |task: &T, what, value| Error::Diverged { step, what, value, batch: task.batch(step), kept };
        let loss: f32 = losses.iter().sum();
        if !loss.is_finite() {
            return Err(task.failure(reports).unwrap_or_else(|| diverged(task, "loss", f64::from(loss))));
        }
        let group_norms = group_norms(&model, &gradients, &groups);
        let gradient_norm = group_norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt();
        if !gradient_norm.is_finite() {
            return Err(diverged(task, "norm of the gradients", gradient_norm));
        }
        if config.clip > 0.0 {
            shorten(&model, &mut gradients, gradient_norm, config.clip);
        }
        let factor = config.schedule.factor(step, config.steps);
        let mut rates = ModuleLrScheduler::new(config.learning_rate * factor);
        for group in &config.groups {
            rates = rates.with_group(group.parameters.clone(), group.rate * factor);
        }
        model = optimizer.step(rates.step(), model, gradients);
        task.after_step(step, &reports);
        let flow = observe(Progress {
            model: &model,
            step: step + 1,
            steps: config.steps,
            loss,
            gradient_norm,
            group_norms: &group_norms,
            reports: &reports,
        });
        if let Some(folder) = &folder
            && (flow.is_break() || step + 1 == config.steps || saved.elapsed() >= config.checkpoint_every)
        {
            // A step too far would show in the next loss only, when the last good checkpoint is gone.
            let sum = parameter_sum(&model);
            if !sum.is_finite() {
                return Err(diverged(task, "sum of the parameters", sum));
            }
            let seconds = earlier + started.elapsed().as_secs_f64();
            let state = RunState { step: step + 1, seconds, fingerprint: config.fingerprint.clone(), task: task.state() };
            folder.save(&model, &optimizer, &state)?;
            (saved, kept) = (Instant::now(), Some(step + 1));
        }
        if flow.is_break() && step + 1 < config.steps {
            return Err(Error::Stopped { step: step + 1 });
        }
    }
    Ok(model)
}

/// The gradients of a step, round by round, with every shard's loss and report.
fn gradients<M, T>(model: &M, task: &T, step: usize, device: &Device) -> (GradientsParams, Vec<f32>, Vec<T::Report>)
where
    M: Module + Send,
    T: Task<M>,
{
    let mut shards = task.shards(step);
    let size = shards.len().div_ceil(task.rounds().max(1)).max(1);
    let (mut sum, mut losses, mut reports) = (GradientsParams::new(), Vec::new(), Vec::new());
    while !shards.is_empty() {
        let rest = shards.split_off(size.min(shards.len()));
        let round = batch_gradients(model, std::mem::replace(&mut shards, rest), device, |model: &M, shard| {
            let (loss, report) = task.loss(model, shard);
            let value = loss.clone().into_scalar::<f32>();
            (loss, (value, report))
        });
        if losses.is_empty() {
            sum = round.gradients;
        } else {
            add(model, &mut sum, round.gradients);
        }
        for (loss, report) in round.reports {
            losses.push(loss);
            reports.push(report);
        }
    }
    (sum, losses, reports)
}

/// The sum of all parameters that are trained: finite exactly when each of them is, short of an overflow that would be as bad.
fn parameter_sum<M: Module>(model: &M) -> f64 {
    struct Sum(f64);
    impl ModuleVisitor for Sum {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            if parameter.is_require_grad() {
                self.0 += f64::from(parameter.val().inner().sum().into_scalar::<f32>());
            }
        }
    }
    let mut sum = Sum(0.0);
    model.visit(&mut sum);
    sum.0
}
