//! The training loop: shards add up, a stopped run resumes to the same parameters, another run's
//! checkpoint is refused.
#![cfg(feature = "flex")]

use std::{collections::BTreeMap, ops::ControlFlow, path::Path, time::Duration};

use burn::{
    module::{Module, Param},
    optim::AdamWConfig,
    prelude::*,
};
use pvchat_data::random::SeededStream;
use pvchat_train::{
    Error,
    checkpoint::CheckpointFolder,
    gradients::{batch_gradients, clip_global},
    run::{RunConfig, Schedule, Task, run},
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
struct Fit {
    shards: usize,
    steps_seen: u64,
}

impl Task<Line> for Fit {
    type Shard = (Vec<f32>, usize);
    type Report = ();

    fn shards(&self, step: usize) -> Vec<Self::Shard> {
        let mut stream = SeededStream::new(4).derive(step);
        let points: Vec<f32> = (0..12).map(|_| stream.normal()).collect();
        points.chunks(12 / self.shards).map(|part| (part.to_vec(), self.shards)).collect()
    }

    fn loss(&self, model: &Line, (points, shards): Self::Shard) -> (Tensor<1>, ()) {
        let rows = points.len() / 3;
        let points = Tensor::<2>::from_data(TensorData::new(points, [rows, 3]), &Device::flex());
        let target = points.clone().sum_dim(1);
        ((points.matmul(model.weight.val()) - target).square().mean() / shards as f32, ())
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
        let task = Fit { shards, steps_seen: 0 };
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
    let task = Fit { shards: 1, steps_seen: 0 };
    let mut gradients = batch_gradients(&model, task.shards(0), &device, |model: &Line, shard| task.loss(model, shard)).gradients;
    let before = clip_global(&model, &mut gradients, 1e9);
    clip_global(&model, &mut gradients, before / 2.0);
    let after = clip_global(&model, &mut gradients, 1e9);
    assert!((after / before - 0.5).abs() < 1e-4, "{before} {after}");
}

#[test]
fn a_stopped_run_resumes_to_the_very_same_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole_task = Fit { shards: 2, steps_seen: 0 };
    let whole = train(&config(None, 9, "1"), &mut whole_task, 0).unwrap();
    let mut task = Fit { shards: 2, steps_seen: 0 };
    for stop_at in [2, 5] {
        let stopped = train(&config(Some(folder.path()), 9, "1"), &mut task, stop_at);
        assert!(matches!(stopped, Err(Error::Stopped { step }) if step == stop_at), "{stopped:?}");
        task.steps_seen = 1000; // what is in memory is lost; the checkpoint knows
    }
    let resumed = train(&config(Some(folder.path()), 9, "1"), &mut task, 0).unwrap();
    assert_eq!(resumed.values(), whole.values());
    assert_eq!(task.steps_seen, whole_task.steps_seen);
    let checkpoints = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(checkpoints, 2, "the newest checkpoint and the file that names it");
}

#[test]
fn another_runs_checkpoint_is_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let mut task = Fit { shards: 1, steps_seen: 0 };
    train(&config(Some(folder.path()), 3, "1"), &mut task, 0).unwrap();
    let error = train(&config(Some(folder.path()), 3, "2"), &mut task, 0).unwrap_err();
    assert!(matches!(error, Error::OtherRun { .. }) && error.to_string().contains("seed: 2 here, 1 there"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let mut task = Fit { shards: 1, steps_seen: 0 };
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
