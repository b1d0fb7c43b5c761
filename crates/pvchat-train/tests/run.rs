//! The training loop: shards add up, a stopped run resumes to the same parameters, another run's
//! checkpoint is refused.
#![cfg(feature = "flex")]

use std::{collections::BTreeMap, ops::ControlFlow, path::Path, time::Duration};

use burn::{
    module::{Module, Param, ParamGroup},
    optim::AdamWConfig,
    prelude::*,
};
use pvchat_data::random::SeededStream;
use pvchat_train::{
    Error,
    checkpoint::CheckpointFolder,
    gradients::{batch_gradients, clip_global},
    run::{RateGroup, RunConfig, Schedule, Task, run},
};

#[derive(Module, Debug)]
struct Line {
    weight: Param<Tensor<2>>,
}

impl Line {
    fn new(device: &Device) -> Self {
        Self { weight: Param::from_tensor(Tensor::from_data([[0.5_f32], [-0.25], [2.0]], device)) }
    }

    fn values(&self) -> Vec<f32> {
        self.weight.val().into_data().iter::<f32>().collect()
    }
}

/// Fits a line to points that every step draws anew; counts its steps as state.
#[derive(Default)]
struct Fit {
    shards: usize,
    steps_seen: u64,
    /// Rounds that the shards are worked on in; 0 is one.
    rounds: usize,
    /// The step at which the data holds something that is not a number.
    poisoned: Option<usize>,
}

impl Task<Line> for Fit {
    type Shard = (Vec<f32>, usize);
    type Report = ();

    fn shards(&self, step: usize) -> Vec<Self::Shard> {
        let mut stream = SeededStream::new(4).derive(step);
        let mut points: Vec<f32> = (0..12).map(|_| stream.normal()).collect();
        if self.poisoned == Some(step) {
            points[7] = f32::NAN;
        }
        points.chunks(12 / self.shards).map(|part| (part.to_vec(), self.shards)).collect()
    }

    fn loss(&self, model: &Line, (points, shards): Self::Shard) -> (Tensor<1>, ()) {
        let rows = points.len() / 3;
        let points = Tensor::<2>::from_data(TensorData::new(points, [rows, 3]), &Device::flex());
        let target = points.clone().sum_dim(1);
        ((points.matmul(model.weight.val()) - target).square().mean() / shards as f32, ())
    }

    fn rounds(&self) -> usize {
        self.rounds
    }

    fn batch(&self, step: usize) -> String {
        format!("points of step {step}")
    }

    fn after_step(&mut self, _step: usize, _reports: &[()]) {
        self.steps_seen += 1;
    }

    fn state(&self) -> serde_json::Value {
        self.steps_seen.into()
    }

    fn restore(&mut self, state: serde_json::Value) {
        self.steps_seen = state.as_u64().unwrap();
    }
}

fn config(folder: Option<&Path>, steps: usize, seed: &str) -> RunConfig {
    RunConfig {
        steps,
        learning_rate: 0.05,
        groups: Vec::new(),
        schedule: Schedule { warm_up: 2, constant: 0.5, last: 0.1 },
        clip: 1.0,
        checkpoints: folder.map(|folder| CheckpointFolder::new(folder).unwrap()),
        checkpoint_every: Duration::MAX,
        fingerprint: BTreeMap::from([("seed".to_string(), seed.to_string())]),
    }
}

fn train(config: &RunConfig, task: &mut Fit, stop_at: usize) -> pvchat_train::Result<Line> {
    let device = Device::flex().autodiff();
    let optimizer = AdamWConfig::new().init();
    run(Line::new(&device), optimizer, config, task, &device, |progress| {
        if progress.step == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

#[test]
fn shards_on_threads_add_up_to_the_whole_batch() {
    let device = Device::flex().autodiff();
    let model = Line::new(&device);
    let gradient = |shards: usize| {
        let task = Fit { shards, ..Fit::default() };
        let result = batch_gradients(&model, task.shards(0), &device, |model: &Line, shard| task.loss(model, shard));
        result.gradients.get::<2>(model.weight.id).unwrap().into_data().iter::<f32>().collect::<Vec<_>>()
    };
    let whole = gradient(1);
    for shards in [2, 4] {
        for (a, b) in gradient(shards).iter().zip(&whole) {
            assert!((a - b).abs() < 1e-6, "{shards} shards: {a} against {b}");
        }
    }
}

#[test]
fn clipping_scales_the_joint_norm() {
    let device = Device::flex().autodiff();
    let model = Line::new(&device);
    let task = Fit { shards: 1, ..Fit::default() };
    let mut gradients = batch_gradients(&model, task.shards(0), &device, |model: &Line, shard| task.loss(model, shard)).gradients;
    let before = clip_global(&model, &mut gradients, 1e9);
    clip_global(&model, &mut gradients, before / 2.0);
    let after = clip_global(&model, &mut gradients, 1e9);
    assert!((after / before - 0.5).abs() < 1e-4, "{before} {after}");
}

#[test]
fn a_stopped_run_resumes_to_the_very_same_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole_task = Fit { shards: 2, ..Fit::default() };
    let whole = train(&config(None, 9, "1"), &mut whole_task, 0).unwrap();
    let mut task = Fit { shards: 2, ..Fit::default() };
    for stop_at in [2, 5] {
        let stopped = train(&config(Some(folder.path()), 9, "1"), &mut task, stop_at);
        assert!(matches!(stopped, Err(Error::Stopped { step }) if step == stop_at), "{stopped:?}");
        task.steps_seen = 1000; // what is in memory is lost; the checkpoint knows
    }
    let resumed = train(&config(Some(folder.path()), 9, "1"), &mut task, 0).unwrap();
    assert_eq!(resumed.values(), whole.values());
    assert_eq!(task.steps_seen, whole_task.steps_seen);
    let mut left: Vec<String> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["latest.json", "lock", "step-00000009"]);
}

#[test]
fn another_runs_checkpoint_is_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let mut task = Fit { shards: 1, ..Fit::default() };
    train(&config(Some(folder.path()), 3, "1"), &mut task, 0).unwrap();
    let error = train(&config(Some(folder.path()), 3, "2"), &mut task, 0).unwrap_err();
    assert!(matches!(error, Error::OtherRun { .. }) && error.to_string().contains("seed: 2 here, 1 there"), "{error}");
}

#[test]
fn keys_that_only_one_of_two_runs_has_are_told_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut task = Fit { shards: 1, ..Fit::default() };
    let mut first = config(Some(folder.path()), 3, "1");
    first.fingerprint.insert("old".into(), "a".into());
    train(&first, &mut task, 0).unwrap();
    let mut second = config(Some(folder.path()), 3, "1");
    second.fingerprint.insert("new".into(), "b".into());
    let error = train(&second, &mut task, 0).unwrap_err().to_string();
    assert!(error.contains("new: b here, nothing there; old: nothing here, a there"), "{error}");
}

#[test]
fn a_folder_is_held_by_one_run_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let held = CheckpointFolder::new(folder.path()).unwrap().locked().unwrap();
    let mut task = Fit { shards: 1, ..Fit::default() };
    let error = train(&config(Some(folder.path()), 3, "1"), &mut task, 0).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }) && error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(held);
    train(&config(Some(folder.path()), 3, "1"), &mut task, 0).unwrap();
}

#[test]
fn leftovers_of_a_killed_process_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join(".partial-step-00000007");
    std::fs::create_dir(&partial).unwrap();
    std::fs::write(partial.join("model.bpk"), "half a").unwrap();
    std::fs::write(folder.path().join(".tmpAbC"), "\"step-").unwrap();
    std::fs::write(folder.path().join("lock"), "4294967295").unwrap();
    let _held = CheckpointFolder::new(folder.path()).unwrap().locked().unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[test]
fn a_loss_that_is_no_number_names_step_and_batch_and_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut task = Fit { shards: 2, poisoned: Some(4), ..Fit::default() };
    let mut every_step = config(Some(folder.path()), 9, "1");
    every_step.checkpoint_every = Duration::ZERO;
    let error = train(&every_step, &mut task, 0).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 4, kept: Some(4), .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("step 4 (points of step 4)") && text.contains("checkpoint of step 4 is kept"), "{text}");
    // What is kept is good: with the data mended, the run ends where it would have.
    let whole = train(&config(None, 9, "1"), &mut Fit { shards: 2, ..Fit::default() }, 0).unwrap();
    let resumed = train(&every_step, &mut Fit { shards: 2, ..Fit::default() }, 0).unwrap();
    assert_eq!(resumed.values(), whole.values());
}

#[test]
fn parameters_that_are_no_numbers_are_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut too_fast = config(Some(folder.path()), 9, "1");
    (too_fast.learning_rate, too_fast.checkpoint_every) = (f64::INFINITY, Duration::ZERO);
    let error = train(&too_fast, &mut Fit { shards: 1, ..Fit::default() }, 0).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 0, what: "sum of the parameters", kept: None, .. }), "{error:?}");
    assert!(CheckpointFolder::new(folder.path()).unwrap().state().unwrap().is_none());
}

#[test]
fn gradients_accumulate_over_rounds() {
    let once = train(&config(None, 5, "1"), &mut Fit { shards: 4, ..Fit::default() }, 0).unwrap();
    let rounds = train(&config(None, 5, "1"), &mut Fit { shards: 4, rounds: 2, ..Fit::default() }, 0).unwrap();
    for (a, b) in once.values().iter().zip(rounds.values()) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn a_damaged_checkpoint_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let mut task = Fit { shards: 1, ..Fit::default() };
    train(&config(Some(folder.path()), 3, "1"), &mut task, 0).unwrap();
    let step = folder.path().join("step-00000003");
    for file in ["model.bpk", "optimizer.bpk", "state.json"] {
        let whole = std::fs::read(step.join(file)).unwrap();
        std::fs::write(step.join(file), &whole[..whole.len() / 2]).unwrap();
        let error = train(&config(Some(folder.path()), 3, "1"), &mut task, 0).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{file}: {error:?}");
        std::fs::write(step.join(file), whole).unwrap();
    }
    std::fs::write(folder.path().join("latest.json"), "\"../elsewhere\"").unwrap();
    assert!(matches!(train(&config(Some(folder.path()), 3, "1"), &mut task, 0), Err(Error::Checkpoint { .. })));
}

#[test]
fn the_schedule_warms_up_stays_and_falls() {
    let schedule = Schedule { warm_up: 10, constant: 0.5, last: 0.1 };
    assert!((schedule.factor(0, 100) - 0.1).abs() < 1e-9);
    assert!((schedule.factor(30, 100) - 1.0).abs() < 1e-9);
    assert!(schedule.factor(99, 100) < 0.11 && schedule.factor(99, 100) >= 0.1);
}

/// Two numbers that are pulled to one.
#[derive(Module, Debug)]
struct Pair {
    early: Param<Tensor<1>>,
    late: Param<Tensor<1>>,
}

struct Pull;

impl Task<Pair> for Pull {
    type Shard = ();
    type Report = ();

    fn shards(&self, _step: usize) -> Vec<()> {
        vec![()]
    }

    fn loss(&self, model: &Pair, (): ()) -> (Tensor<1>, ()) {
        ((model.early.val() - 1.0).square() + (model.late.val() - 1.0).square() * 9.0, ())
    }
}

/// What `late` was after every step, and the norm of its gradient; with a folder the run stops and goes on after each step.
fn late_steps(folder: Option<&Path>) -> Vec<(f32, f64)> {
    const STEPS: usize = 4;
    let device = Device::flex().autodiff();
    let zero = || Param::from_tensor(Tensor::<1>::zeros([1], &device));
    let late = RateGroup { first: 2, ..RateGroup::new("late", ParamGroup::from_path("late"), 0.01) };
    let config = RunConfig { schedule: Schedule::CONSTANT, groups: vec![late], clip: 0.0, ..config(folder, STEPS, "late") };
    let mut seen = Vec::new();
    for _ in 0..STEPS {
        let model = Pair { early: zero(), late: zero() };
        let result = run(model, AdamWConfig::new().with_weight_decay(0.0).init(), &config, &mut Pull, &device, |progress| {
            seen.push((progress.model.late.val().into_scalar::<f32>(), progress.group_norms[0]));
            let all = progress.group_norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt();
            assert!((progress.gradient_norm - all).abs() < 1e-9 && progress.group_norms[1] > 1.0);
            if folder.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if result.is_ok() {
            break;
        }
    }
    seen
}

#[test]
fn a_group_is_frozen_before_its_first_step_and_the_optimiser_begins_with_it_there() {
    let steps = late_steps(None);
    assert_eq!(steps[..2], [(0.0, 0.0); 2]);
    // A first step of AdamW is as long as the rate, whatever the gradient; a later one would not be.
    assert!((steps[2].0 - 0.01).abs() < 1e-6 && (steps[2].1 - 18.0).abs() < 1e-4, "{steps:?}");
    assert!(steps[3].0 > steps[2].0);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(late_steps(Some(folder.path())), steps, "stopped and resumed after every step");
}

/// A run that is resumed writes the same state as one that was not stopped, down to the last digit of its reports.
#[test]
fn numbers_in_the_state_of_a_run_come_back_exactly() {
    for text in ["1.0512710963760241e-8", "1.0598442151006717", "0.9483511882291897", "0.0038563877313691174"] {
        let number: f64 = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&number).unwrap(), text);
    }
}
