//! Gradients of a batch: shards computed on separate threads, summed, clipped.

use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamGroup},
    optim::GradientsParams,
    prelude::*,
    tensor::GradientCheckpointingStrategy,
};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The gradients of one batch and what each shard reported.
pub struct BatchGradients<R> {
    /// Sum of the shards' gradients.
    pub gradients: GradientsParams,
    /// What the closure returned in addition to the loss, in shard order.
    pub reports: Vec<R>,
}

/// Computes `loss(model, shard)` and its gradients for every shard at the same time, one thread a
/// shard, and sums the gradients in shard order, so that the result does not depend on timing.
///
/// Each thread works on a fork of the model (same parameter ids, its own graph) and inside a
/// thread pool of one, so that the shards do not wait for each other inside tensor operations. The
/// closure divides its loss so that the sum over shards is the batch's loss.
///
/// On a device with gradient checkpointing (`device.autodiff().gradient_checkpointing()`), what memory-bound operations give
/// is computed again in the backward pass and not kept: less memory, more time, the same gradients.
pub fn batch_gradients<M, S, R>(
    model: &M,
    shards: Vec<S>,
    device: &Device,
    loss: impl Fn(&M, S) -> (Tensor<1>, R) + Sync,
) -> BatchGradients<R>
where
    M: Module + Send,
    S: Send,
    R: Send,
{
    let one = |model: M, shard: S| {
        let model = checkpointed(model, device);
        let (value, report) = loss(&model, shard);
        (GradientsParams::from_grads(value.backward(), &model), report)
    };
    let mut results: Vec<(GradientsParams, R)> = if shards.len() == 1 {
        shards.into_iter().map(|shard| one(model.clone(), shard)).collect()
    } else {
        let pools = pools(shards.len());
        std::thread::scope(|scope| {
            let threads: Vec<_> = shards
                .into_iter()
                .enumerate()
                .map(|(index, shard)| {
                    let fork = model.clone().fork(device);
                    let (one, pool) = (&one, pools.get(index).cloned());
                    scope.spawn(move || match pool {
                        Some(pool) => pool.install(|| one(fork, shard)),
                        None => one(fork, shard),
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    };
    let (mut gradients, first) = results.remove(0);
    let mut reports = vec![first];
    for (other, report) in results {
        add(model, &mut gradients, other);
        reports.push(report);
    }
    BatchGradients { gradients, reports }
}

/// The model as the device wants its activations: tensors that are moved, or updated by an optimiser, keep or lose their setting,
/// and tensors with different settings cannot be combined.
fn checkpointed<M: Module>(model: M, device: &Device) -> M {
    struct Checkpointed(GradientCheckpointingStrategy);
    impl ModuleMapper for Checkpointed {
        fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
            parameter.map(
                |tensor| {
                    if tensor.is_autodiff() { tensor.with_gradient_checkpointing_strategy(self.0) } else { tensor }
                },
            )
        }
    }
    match device.gradient_checkpointing_strategy() {
        Some(strategy @ GradientCheckpointingStrategy::Balanced) => model.map(&mut Checkpointed(strategy)),
        _ => model,
    }
}

/// Thread pools of one thread, kept for the life of the process: a pool that takes in the thread that makes it is never
/// freed, so that one a step would be a leak. Fewer than `count` where the system has no more threads.
fn pools(count: usize) -> Vec<Arc<ThreadPool>> {
    static POOLS: Mutex<Vec<Arc<ThreadPool>>> = Mutex::new(Vec::new());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    while pools.len() < count {
        let Ok(pool) = ThreadPoolBuilder::new().num_threads(1).build() else { break };
        pools.push(Arc::new(pool));
    }
    pools.iter().take(count).cloned().collect()
}

/// Adds `other` to `sum`, parameter by parameter.
pub fn add<M: Module>(model: &M, sum: &mut GradientsParams, other: GradientsParams) {
    struct Add<'a>(&'a mut GradientsParams, GradientsParams);
    impl ModuleVisitor for Add<'_> {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            if let Some(new) = self.1.remove::<D>(parameter.id) {
                let total = match self.0.remove::<D>(parameter.id) {
                    Some(old) => old + new,
                    None => new,
                };
                self.0.register(parameter.id, total);
            }
        }
    }
    model.visit(&mut Add(sum, other));
}

/// The norm of the gradients of each of `groups`, and last that of all other parameters; a parameter belongs to the last group
/// that it matches. The joint norm is the norm of these.
pub fn group_norms<M: Module>(model: &M, gradients: &GradientsParams, groups: &[&ParamGroup]) -> Vec<f64> {
    struct Squares<'a> {
        gradients: &'a GradientsParams,
        groups: &'a [&'a ParamGroup],
        path: Vec<String>,
        sums: Vec<f64>,
    }
    impl ModuleVisitor for Squares<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.into());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(parameter.id) {
                let path = self.path.join(".");
                let place = self.groups.iter().rposition(|group| group.matches(&parameter.id, Some(&path)));
                let sum = f64::from(gradient.square().sum().into_scalar::<f32>());
                self.sums[place.unwrap_or(self.groups.len())] += sum;
            }
        }
    }
    let mut squares = Squares { gradients, groups, path: Vec::new(), sums: vec![0.0; groups.len() + 1] };
    model.visit(&mut squares);
    squares.sums.into_iter().map(f64::sqrt).collect()
}

/// Scales all gradients so that their joint norm is at most `limit`; returns the norm before.
pub fn clip_global<M: Module>(model: &M, gradients: &mut GradientsParams, limit: f64) -> f64 {
    let norm = group_norms(model, gradients, &[])[0];
    shorten(model, gradients, norm, limit);
    norm
}

/// Scales gradients with the joint norm `norm` so that it is at most `limit`.
pub(crate) fn shorten<M: Module>(model: &M, gradients: &mut GradientsParams, norm: f64, limit: f64) {
    struct Scale<'a>(&'a mut GradientsParams, f64);
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(parameter.id) {
                self.0.register(parameter.id, gradient * self.1);
            }
        }
    }
    if norm > limit {
        model.visit(&mut Scale(gradients, limit / (norm + 1e-6)));
    }
}
