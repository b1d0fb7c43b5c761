//! Gated attention on the CPU (flex, f32): fused, over the (token, head) pairs that are on, forward and backward.
//!
//! **What is skipped.** The tokens of a head whose scale is not zero are gathered; a head without any costs nothing. A
//! plan, made from the shapes and the scales of each call, says what is computed and how the threads divide it.
//!
//! **Memory.** A softmax is computed while the keys go by (largest score and sum so far), so that no more scores exist
//! than those of one block per thread. For the backward pass two numbers per row and the result are kept; it computes
//! the scores again.
//!
//! **Large scores.** The gradients of a row's scores sum up to zero. Their sum in f32 is subtracted from the gradients of queries
//! and keys at the end, row by row, because it is multiplied by keys and queries, which are large where scores are large.
//!
//! **No unneeded copies.** Queries, keys and values stay where the projections left them; only for the scores the keys are
//! transposed (backward the values, too), some at a time; the next rows are prefetched meanwhile. Products take any number of
//! rows, so that the cost of a head is proportional to its rows. The threads share the heads, and also the keys of a head if
//! there are too few heads to keep all threads busy to the end.
//!
//! **Determinism.** Every sum has a fixed order; with another number of threads the keys are divided otherwise, and numbers
//! may differ by rounding.

mod blocks;
mod matrix;
mod plan;
mod product;
mod turned;

use std::sync::Arc;

use burn::{
    backend::{
        Autodiff, DispatchKindConversion, DispatchTensor, Flex,
        autodiff::{
            checkpoint::{
                base::Checkpointer,
                strategy::{BalancedCheckpointing, CheckpointStrategy, NoCheckpointing},
            },
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
    },
    prelude::*,
    tensor::{DType, GradientCheckpointingStrategy},
};

use super::{Kernel, View, fitting_sizes, graph_strategy};
use crate::graph::{FlexTensor, flex_tensor, lift};
use blocks::{Forward, Inputs};
use plan::Plan;

/// Gated attention by the fused kernel, whatever its size; arguments as in [`gated_attention`](super::gated_attention).
/// `None` where the kernel does not run: another backend, another float type than f32, tensors
/// without elements, shapes that do not fit.
pub fn fused_attention(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    view: View<'_>,
    head_scales: Option<&Tensor<3>>,
) -> Option<(Tensor<4>, Kernel)> {
    let (sizes, key_sizes) = fitting_sizes([q, k, v], view, head_scales).filter(|_| q.dtype() == DType::F32)?;
    let hidden = match view.hidden {
        Some(hidden) => Some(bool_memory(hidden)?),
        None => None,
    };
    let hidden_pairs = match view.hidden_pairs {
        Some(hidden) => Some(bool_memory(hidden)?),
        None => None,
    };
    let inputs = |q, k, v, scales: Option<FlexTensor>| {
        let [q, k, v] = [q, k, v].map(forward_strides);
        let scales = scales.map(|scales| scales.to_contiguous().storage::<f32>().to_vec());
        let plan = Plan::new(sizes, scales.as_deref());
        Inputs { q, k, v, hidden, hidden_pairs, scales, causal: view.causal, sizes, key_sizes, plan }
    };
    let Some(strategy) = graph_strategy([q, k, v], head_scales) else {
        let plain = |tensor: &Tensor<4>| tensor.clone().try_into_primitive::<Flex>().ok();
        let scales = match head_scales {
            Some(scales) => Some(scales.clone().try_into_primitive::<Flex>().ok()?),
            None => None,
        };
        let inputs = inputs(plain(q)?, plain(k)?, plain(v)?, scales);
        let output = flex_tensor(in_the_pool(|| inputs.forward()).output, sizes);
        return Some((Tensor::from_primitive::<Flex>(output), inputs.plan.kernel));
    };
    let tensors = [q, k, v].map(|tensor| lift(tensor.clone(), strategy));
    // Without scales, another tensor that is not tracked takes their place in the graph.
    let scales = head_scales.cloned().unwrap_or_else(|| Tensor::zeros([1; 3], &Device::flex()));
    let (scales, scaled) = (lift(scales, strategy), head_scales.is_some());
    // The strategy is part of the backend's type; the kernel keeps no activations that could be computed again.
    match strategy {
        GradientCheckpointingStrategy::Disabled => tracked_attention::<NoCheckpointing>(tensors, scales, scaled, inputs),
        GradientCheckpointingStrategy::Balanced => tracked_attention::<BalancedCheckpointing>(tensors, scales, scaled, inputs),
    }
}

/// [`fused_attention`] in the graph of a backward pass.
fn tracked_attention<C: CheckpointStrategy>(
    tensors: [Tensor<4>; 3],
    scales: Tensor<3>,
    scaled: bool,
    inputs: impl FnOnce(FlexTensor, FlexTensor, FlexTensor, Option<FlexTensor>) -> Inputs,
) -> Option<(Tensor<4>, Kernel)>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let [q, k, v] = tensors.map(|tensor| tensor.try_into_primitive::<Autodiff<Flex, C>>().ok());
    let (q, k, v, scales) = (q?, k?, v?, scales.try_into_primitive::<Autodiff<Flex, C>>().ok()?);
    let nodes = [q.node(), k.node(), v.node(), scales.node()];
    let scales = scaled.then(|| scales.into_primitive());
    let inputs = inputs(q.into_primitive(), k.into_primitive(), v.into_primitive(), scales);
    let (kernel, sizes) = (inputs.plan.kernel, inputs.sizes);
    let output = match GatedAttention.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(operation) => {
            let forward = in_the_pool(|| inputs.forward());
            let output = flex_tensor(forward.output.clone(), sizes);
            operation.finish(Arc::new((inputs, forward)), output)
        }
        OpsKind::UnTracked(operation) => operation.finish(flex_tensor(in_the_pool(|| inputs.forward()).output, sizes)),
    };
    Some((Tensor::from_primitive::<Autodiff<Flex, C>>(output), kernel))
}

/// The numbers of a tensor that is stored in CPU memory as f32.
pub(super) fn float_memory(tensor: &Tensor<3>) -> Option<Vec<f32>> {
    let plain = if tensor.device().is_autodiff() { tensor.clone().inner() } else { tensor.clone() };
    let memory = plain.try_into_primitive::<Flex>().ok().filter(|memory| memory.dtype() == DType::F32)?;
    Some(memory.to_contiguous().storage::<f32>().to_vec())
}

fn bool_memory<const D: usize>(tensor: &Tensor<D, Bool>) -> Option<Vec<u8>> {
    let plain = if tensor.device().is_autodiff() { tensor.clone().inner() } else { tensor.clone() };
    let memory = plain.try_into_primitive::<Flex>().ok()?;
    Some(memory.to_contiguous().storage::<u8>().to_vec())
}

/// The tensor, in order if it ran backwards.
fn forward_strides(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().strides().iter().all(|&stride| stride >= 0) { tensor } else { tensor.to_contiguous() }
}

/// What it finds, on a thread of the pool: a thread outside waits once, not for every step that is divided.
fn in_the_pool<R: Send>(find: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| find())
}

#[derive(Debug)]
struct GatedAttention;

impl Backward<Flex, 4> for GatedAttention {
    type State = Arc<(Inputs, Forward)>;

    fn backward(self, ops: Ops<Self::State, 4>, tape: &mut Gradients, _: &mut Checkpointer) {
        let slope = tape.consume::<Flex>(&ops.node).to_contiguous();
        let (inputs, forward) = &*ops.state;
        let slopes = in_the_pool(|| inputs.backward(forward, slope.storage::<f32>()));
        let [batch, heads, tokens, _] = inputs.sizes;
        let [q, k, v, scales] = ops.parents;
        let whole = [(q, slopes.q, inputs.sizes), (k, slopes.k, inputs.key_sizes), (v, slopes.v, inputs.key_sizes)];
        for (node, slope, sizes) in whole {
            if let Some(node) = node {
                tape.register::<Flex>(node.id, flex_tensor(slope, sizes));
            }
        }
        if let Some(node) = scales {
            tape.register::<Flex>(node.id, flex_tensor(slopes.scales, [batch, heads, tokens]));
        }
    }
}
