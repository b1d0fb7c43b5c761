//! Gated attention on GPUs, in CubeCL: the same source for CUDA and Vulkan, forward and backward.
//!
//! **What is skipped.** A first, small kernel sorts the tokens of every (batch, head): those with a scale first. The
//! other kernels give one unit to each row in that order, so that the units of switched-off pairs are neighbours and
//! whole groups of them stop at once: they read nothing but that order and write zeros. In the backward pass for keys
//! and values a unit loops over the tokens that are on only. Hidden keys (mask, causal) are passed over too.
//!
//! **Memory.** No score is written anywhere: apart from the tensors themselves there are, per (token, head), one index and
//! two numbers of the softmax kept for the backward pass, and one more during it. Inputs that are views (heads split by
//! swapping axes) are copied into order first. The backward pass computes scores again, twice.
//!
//! **Determinism.** Nothing is added atomically: every gradient is a sum in a fixed order by one unit.
//!
//! **What is not there.** Shared memory, planes (subgroups) and matrix instructions: a unit keeps its row in registers
//! and reads keys and values through the caches, which is simple and correct on every driver but not fast;
//! few tokens leave a large GPU mostly idle, because keys are not divided among units. The backward kernels spill registers,
//! and from a width of 88 on the forward one too (`make ptx` prints how much on NVIDIA's GPUs). Every width of a head is a
//! separate kernel, unrolled, which a driver takes up to seconds to compile once per process. The kernels are tested in f32 on
//! Vulkan's CPU driver and assembled for CUDA in f32, f16 and bf16; none was ever run on a GPU, nor in f16 or bf16, and no speed
//! is claimed. Tensors of 2^32 elements or more go to the reference.
//!
//! Sums are in f32 for every type. As everywhere below a router, the gradient of a scale that is zero is zero.

mod kernels;

use burn::{
    backend::{
        Autodiff, Backend,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
            grads::Gradients as Tape,
            ops::{Backward, Ops, OpsKind},
        },
        cubecl::dtype_to_storage_type,
    },
    prelude::*,
    tensor::{DType, Shape},
};
use burn_cubecl::{CubeBackend, kernel::into_contiguous, ops::numeric::empty_device_contiguous_dtype, tensor::CubeTensor};
use cubecl::{
    calculate_cube_count_elemwise,
    prelude::{CubeCount, CubeDim},
};

use super::{View, fitting_sizes, graph_strategy};
use crate::graph::lift;
use kernels::{SizesLaunch, UNITS};

/// A tensor in the memory of a GPU.
type Memory = CubeTensor;

/// All that both passes read; tensors in the order of their shapes.
#[derive(Clone, Debug)]
struct Inputs {
    q: Memory,
    k: Memory,
    v: Memory,
    hidden: Memory,
    scales: Memory,
    causal: bool,
    sizes: [usize; 4],
    key_sizes: [usize; 4],
}

/// What the forward pass leaves to the backward pass.
#[derive(Clone, Debug)]
struct Forward {
    order: Memory,
    counts: Memory,
    output: Memory,
    statistics: Memory,
}

/// Gradients in the order of the parents: `q`, `k`, `v`, `head_scales`.
struct Slopes([Memory; 4]);

/// Gated attention, shapes as in [`gated_attention`](super::gated_attention); `None` where these kernels do not run:
/// another backend, a float type that the device lacks, tensors without elements or too large.
pub fn attention(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    view: View<'_>,
    head_scales: Option<&Tensor<3>>,
) -> Option<Tensor<4>> {
    let (sizes @ [batch, heads, tokens, _], key_sizes @ [_, _, keys, _]) = fitting_sizes([q, k, v], view, head_scales)?;
    let dtype = q.dtype();
    if view.hidden_pairs.is_some() {
        return None; // these kernels know no mask of pairs: the reference takes it
    }
    let large = |sizes: [usize; 4]| u32::try_from(sizes.into_iter().fold(1, usize::saturating_mul)).is_err();
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) || large(sizes) || large(key_sizes) {
        return None;
    }
    let hidden = match view.hidden {
        Some(hidden) => bool_memory(hidden)?,
        None => bool_memory(&Tensor::zeros([batch, keys], &q.device()))?,
    };
    let scales = head_scales.cloned().unwrap_or_else(|| Tensor::ones([batch, heads, tokens], (&q.device(), dtype)));
    let inputs = |q, k, v, scales| {
        let [q, k, v, hidden, scales] = [q, k, v, hidden, scales].map(into_contiguous);
        Inputs { q, k, v, hidden, scales, causal: view.causal, sizes, key_sizes }
    };
    let Some(strategy) = graph_strategy([q, k, v], Some(&scales)) else {
        let plain = |tensor: &Tensor<4>| tensor.clone().try_into_primitive::<CubeBackend>().ok();
        let (q, k, v) = (plain(q)?, plain(k)?, plain(v)?);
        let scales = scales.try_into_primitive::<CubeBackend>().ok()?;
        let inputs = inputs(q, k, v, scales);
        return inputs.runs().then(|| Tensor::from_primitive::<CubeBackend>(inputs.forward().output));
    };
    let lifted = |tensor: &Tensor<4>| lift(tensor.clone(), strategy).try_into_primitive::<Autodiff<CubeBackend>>().ok();
    let (q, k, v) = (lifted(q)?, lifted(k)?, lifted(v)?);
    let scales = lift(scales, strategy).try_into_primitive::<Autodiff<CubeBackend>>().ok()?;
    let nodes = [q.node(), k.node(), v.node(), scales.node()];
    let inputs = inputs(q.into_primitive(), k.into_primitive(), v.into_primitive(), scales.into_primitive());
    if !inputs.runs() {
        return None;
    }
    let output = match GatedAttention.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(operation) => {
            let forward = inputs.forward();
            let output = forward.output.clone();
            operation.finish((inputs, forward), output)
        }
        OpsKind::UnTracked(operation) => operation.finish(inputs.forward().output),
    };
    Some(Tensor::from_primitive::<Autodiff<CubeBackend>>(output))
}

fn bool_memory(tensor: &Tensor<2, Bool>) -> Option<Memory> {
    let plain = tensor.clone().try_into_primitive::<CubeBackend>().ok();
    plain.or_else(|| tensor.clone().try_into_primitive::<Autodiff<CubeBackend>>().ok())
}

#[derive(Debug)]
struct GatedAttention;

impl Backward<CubeBackend, 4> for GatedAttention {
    type State = (Inputs, Forward);

    fn backward(self, ops: Ops<Self::State, 4>, tape: &mut Tape, _: &mut Checkpointer) {
        let slope = into_contiguous(tape.consume::<CubeBackend>(&ops.node));
        let (inputs, forward) = ops.state;
        let Slopes(slopes) = inputs.backward(&forward, &slope);
        for (node, slope) in ops.parents.into_iter().zip(slopes) {
            if let Some(node) = node {
                tape.register::<CubeBackend>(node.id, slope);
            }
        }
    }
}

impl Inputs {
    /// Whether the device computes with these types.
    fn runs(&self) -> bool {
        CubeBackend::supports_dtype(&self.q.device, self.q.dtype)
    }

    fn empty<const D: usize>(&self, sizes: [usize; D], dtype: DType) -> Memory {
        empty_device_contiguous_dtype(self.q.client.clone(), self.q.device.clone(), Shape::from(sizes), dtype)
    }

    /// The size of a launch with one unit per row.
    fn units(&self, rows: usize) -> (CubeCount, CubeDim) {
        let dim = CubeDim::new_1d(UNITS);
        (calculate_cube_count_elemwise(&self.q.client, rows, dim), dim)
    }

    fn launch_sizes(&self, rows: usize) -> SizesLaunch {
        let ([_, heads, tokens, width], [_, key_heads, keys, _]) = (self.sizes, self.key_sizes);
        SizesLaunch::new(heads, key_heads, tokens, keys, rows, (width as f32).sqrt().recip())
    }

    fn forward(&self) -> Forward {
        let [batch, heads, tokens, width] = self.sizes;
        let client = &self.q.client;
        let (float, bool) = (dtype_to_storage_type(self.q.dtype), dtype_to_storage_type(self.hidden.dtype));
        let (order, counts) = (self.empty([batch, heads, tokens], DType::U32), self.empty([batch, heads], DType::U32));
        let (count, dim) = self.units(batch * heads);
        kernels::order_tokens::launch(
            client,
            count,
            dim,
            self.scales.clone().into_tensor_arg(),
            order.clone().into_tensor_arg(),
            counts.clone().into_tensor_arg(),
            tokens,
            batch * heads,
            float,
        );
        let output = self.empty(self.sizes, self.q.dtype);
        let statistics = self.empty([batch, heads, tokens, 2], DType::F32);
        let rows = batch * heads * tokens;
        let (count, dim) = self.units(rows);
        kernels::forward::launch(
            client,
            count,
            dim,
            self.q.clone().into_tensor_arg(),
            self.k.clone().into_tensor_arg(),
            self.v.clone().into_tensor_arg(),
            self.hidden.clone().into_tensor_arg(),
            self.scales.clone().into_tensor_arg(),
            order.clone().into_tensor_arg(),
            counts.clone().into_tensor_arg(),
            output.clone().into_tensor_arg(),
            statistics.clone().into_tensor_arg(),
            self.launch_sizes(rows),
            width,
            self.causal,
            [float, bool],
        );
        Forward { order, counts, output, statistics }
    }

    fn backward(&self, forward: &Forward, slope: &Memory) -> Slopes {
        let ([batch, heads, tokens, width], [_, key_heads, keys, _]) = (self.sizes, self.key_sizes);
        let client = &self.q.client;
        let dtypes = [dtype_to_storage_type(self.q.dtype), dtype_to_storage_type(self.hidden.dtype)];
        let (q_slope, scale_slope) = (self.empty(self.sizes, self.q.dtype), self.empty([batch, heads, tokens], self.q.dtype));
        let products = self.empty([batch, heads, tokens], DType::F32);
        let rows = batch * heads * tokens;
        let (count, dim) = self.units(rows);
        kernels::backward_queries::launch(
            client,
            count,
            dim,
            self.q.clone().into_tensor_arg(),
            self.k.clone().into_tensor_arg(),
            self.v.clone().into_tensor_arg(),
            self.hidden.clone().into_tensor_arg(),
            self.scales.clone().into_tensor_arg(),
            forward.order.clone().into_tensor_arg(),
            forward.counts.clone().into_tensor_arg(),
            forward.output.clone().into_tensor_arg(),
            forward.statistics.clone().into_tensor_arg(),
            slope.clone().into_tensor_arg(),
            q_slope.clone().into_tensor_arg(),
            scale_slope.clone().into_tensor_arg(),
            products.clone().into_tensor_arg(),
            self.launch_sizes(rows),
            width,
            self.causal,
            dtypes,
        );
        let (k_slope, v_slope) = (self.empty(self.key_sizes, self.q.dtype), self.empty(self.key_sizes, self.q.dtype));
        let rows = batch * key_heads * keys;
        let (count, dim) = self.units(rows);
        kernels::backward_keys::launch(
            client,
            count,
            dim,
            self.q.clone().into_tensor_arg(),
            self.k.clone().into_tensor_arg(),
            self.v.clone().into_tensor_arg(),
            self.hidden.clone().into_tensor_arg(),
            self.scales.clone().into_tensor_arg(),
            forward.order.clone().into_tensor_arg(),
            forward.counts.clone().into_tensor_arg(),
            forward.statistics.clone().into_tensor_arg(),
            products.into_tensor_arg(),
            slope.clone().into_tensor_arg(),
            k_slope.clone().into_tensor_arg(),
            v_slope.clone().into_tensor_arg(),
            self.launch_sizes(rows),
            width,
            self.causal,
            dtypes,
        );
        Slopes([q_slope, k_slope, v_slope, scale_slope])
    }
}
