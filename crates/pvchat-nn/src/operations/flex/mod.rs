//! Kernels for the CPU: one pass over memory, forward and backward, in the widest registers and on all threads.

mod norm;

pub(super) use norm::norm;

use std::fmt::Debug;

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
use rayon::prelude::*;

use crate::{
    graph::{FlexTensor, flex_tensor},
    simd::{exponential, exponentials, for_the_widest_registers, largest, multiply_add, product_sum},
};

/// Numbers that one task works on: enough that starting it costs little, few enough that they stay in a cache.
const NUMBERS_OF_A_TASK: usize = 1 << 14;

/// An operation that turns every row (the last axis) into one of the same length.
pub(super) trait RowOperation: Clone + Copy + Debug + Send + Sync + 'static {
    /// Whether the backward pass reads the result; else it reads the input.
    const KEEPS_RESULT: bool;
    /// `to` of `from`, rows of `width` one after another.
    fn forward(from: &[f32], to: &mut [f32], width: usize);
    /// In place of the gradients of the result, `slopes`, those of the input, given what was kept.
    fn backward(kept: &[f32], slopes: &mut [f32], width: usize);
}

/// See [`gelu`](super::gelu).
#[derive(Clone, Copy, Debug)]
pub(super) struct Gelu;

impl RowOperation for Gelu {
    const KEEPS_RESULT: bool = false;

    fn forward(from: &[f32], to: &mut [f32], _: usize) {
        gelu(from, to);
    }

    fn backward(kept: &[f32], slopes: &mut [f32], _: usize) {
        gelu_backward(kept, slopes);
    }
}

/// See [`gelu_tanh`](super::gelu_tanh).
#[derive(Clone, Copy, Debug)]
pub(super) struct GeluTanh;

impl RowOperation for GeluTanh {
    const KEEPS_RESULT: bool = false;

    fn forward(from: &[f32], to: &mut [f32], _: usize) {
        gelu_tanh(from, to);
    }

    fn backward(kept: &[f32], slopes: &mut [f32], _: usize) {
        gelu_tanh_backward(kept, slopes);
    }
}

/// See [`silu`](super::silu).
#[derive(Clone, Copy, Debug)]
pub(super) struct Silu;

impl RowOperation for Silu {
    const KEEPS_RESULT: bool = false;

    fn forward(from: &[f32], to: &mut [f32], _: usize) {
        silu(from, to);
    }

    fn backward(kept: &[f32], slopes: &mut [f32], _: usize) {
        silu_backward(kept, slopes);
    }
}

/// See [`softmax`](super::softmax).
#[derive(Clone, Copy, Debug)]
pub(super) struct Softmax;

impl RowOperation for Softmax {
    const KEEPS_RESULT: bool = true;

    fn forward(from: &[f32], to: &mut [f32], width: usize) {
        for (from, to) in from.chunks_exact(width).zip(to.chunks_exact_mut(width)) {
            to.copy_from_slice(from);
            let maximum = largest(from);
            let sum = exponentials(to, maximum);
            to.iter_mut().for_each(|value| *value /= sum);
        }
    }

    fn backward(kept: &[f32], slopes: &mut [f32], width: usize) {
        for (kept, slopes) in kept.chunks_exact(width).zip(slopes.chunks_exact_mut(width)) {
            let sum = product_sum(kept, slopes);
            slopes.iter_mut().zip(kept).for_each(|(slope, value)| *slope = value * (*slope - sum));
        }
    }
}

for_the_widest_registers! {
    fn gelu(from: &[f32], to: &mut [f32]) = gelu_of
}

#[inline(always)]
fn gelu_of<const FUSED: bool>(from: &[f32], to: &mut [f32]) {
    for (&x, to) in from.iter().zip(to) {
        *to = x * below::<FUSED>(x);
    }
}

for_the_widest_registers! {
    fn gelu_backward(kept: &[f32], slopes: &mut [f32]) = gelu_backward_of
}

#[inline(always)]
fn gelu_backward_of<const FUSED: bool>(kept: &[f32], slopes: &mut [f32]) {
    /// Density of the standard normal at zero.
    const PEAK: f32 = 0.398_942_3;
    for (&x, slope) in kept.iter().zip(slopes) {
        let density = PEAK * exponential::<FUSED>(-0.5 * x * x);
        *slope *= multiply_add::<FUSED>(x, density, below::<FUSED>(x));
    }
}

/// The share of a standard normal below `x`, `(1 + erf(x / sqrt 2)) / 2`.
///
/// The error function as an odd rational function (Eigen's coefficients) of its argument cut to [-4, 4], where f32 has
/// no values between it and one any more.
#[inline(always)]
fn below<const FUSED: bool>(x: f32) -> f32 {
    let argument = x * std::f32::consts::FRAC_1_SQRT_2;
    let argument = if argument > 4.0 { 4.0 } else { argument };
    let argument = if argument < -4.0 { -4.0 } else { argument };
    let square = argument * argument;
    let mut above = -2.726_142e-10;
    for coefficient in [2.770_681_4e-8, -2.101_024e-6, -5.692_506_5e-5, -7.349_906_3e-4, -2.954_6e-3, -1.609_603_3e-2] {
        above = multiply_add::<FUSED>(above, square, coefficient);
    }
    let mut under = -1.456_607_2e-5;
    for coefficient in [-2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_474e-2] {
        under = multiply_add::<FUSED>(under, square, coefficient);
    }
    let share = multiply_add::<FUSED>(0.5 * argument, above / under, 0.5);
    if argument <= -4.0 { 0.0 } else { share }
}

/// `2 sqrt(2/pi)`: half of one plus the hyperbolic tangent is the logistic function of twice the argument.
const TWICE_ROOT: f32 = 1.595_769;
/// The same times 0.044715.
const OF_THE_CUBE: f32 = 0.071_354_82;

for_the_widest_registers! {
    fn gelu_tanh(from: &[f32], to: &mut [f32]) = gelu_tanh_of
}

#[inline(always)]
fn gelu_tanh_of<const FUSED: bool>(from: &[f32], to: &mut [f32]) {
    for (&x, to) in from.iter().zip(to) {
        let near = cut(x);
        *to = x * logistic::<FUSED>(near * multiply_add::<FUSED>(OF_THE_CUBE, near * near, TWICE_ROOT));
    }
}

for_the_widest_registers! {
    fn gelu_tanh_backward(kept: &[f32], slopes: &mut [f32]) = gelu_tanh_backward_of
}

#[inline(always)]
fn gelu_tanh_backward_of<const FUSED: bool>(kept: &[f32], slopes: &mut [f32]) {
    for (&x, slope) in kept.iter().zip(slopes) {
        let near = cut(x);
        let square = near * near;
        let share = logistic::<FUSED>(near * multiply_add::<FUSED>(OF_THE_CUBE, square, TWICE_ROOT));
        let steepness = multiply_add::<FUSED>(3.0 * OF_THE_CUBE, square, TWICE_ROOT);
        *slope *= multiply_add::<FUSED>(near * share * (1.0 - share), steepness, share);
    }
}

/// `x` within [-20, 20], beyond which the tangent is one or minus one and only its argument would grow out of f32.
#[inline(always)]
fn cut(x: f32) -> f32 {
    let x = if x > 20.0 { 20.0 } else { x };
    if x < -20.0 { -20.0 } else { x }
}

for_the_widest_registers! {
    fn silu(from: &[f32], to: &mut [f32]) = silu_of
}

#[inline(always)]
fn silu_of<const FUSED: bool>(from: &[f32], to: &mut [f32]) {
    for (&x, to) in from.iter().zip(to) {
        *to = x * logistic::<FUSED>(x);
    }
}

for_the_widest_registers! {
    fn silu_backward(kept: &[f32], slopes: &mut [f32]) = silu_backward_of
}

#[inline(always)]
fn silu_backward_of<const FUSED: bool>(kept: &[f32], slopes: &mut [f32]) {
    for (&x, slope) in kept.iter().zip(slopes) {
        let share = logistic::<FUSED>(x);
        *slope *= multiply_add::<FUSED>(x * share, 1.0 - share, share);
    }
}

/// `1 / (1 + exp(-x))`, by the exponential of a number that is not positive.
#[inline(always)]
fn logistic<const FUSED: bool>(x: f32) -> f32 {
    let small = exponential::<FUSED>(-x.abs());
    let above = 1.0 / (1.0 + small);
    if x < 0.0 { small * above } else { above }
}

/// Applies an operation; `None` where it does not run: another backend, another type than f32, no elements.
pub(super) fn apply<const D: usize, R: RowOperation>(x: &Tensor<D>, operation: R) -> Option<Tensor<D>> {
    if x.dtype() != DType::F32 || x.shape().num_elements() == 0 {
        return None;
    }
    match x.gradient_checkpointing_strategy() {
        None => {
            let input = x.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
            Some(Tensor::from_primitive::<Flex>(forward::<R>(&input)))
        }
        Some(GradientCheckpointingStrategy::Disabled) => tracked::<D, R, NoCheckpointing>(x, operation),
        Some(GradientCheckpointingStrategy::Balanced) => tracked::<D, R, BalancedCheckpointing>(x, operation),
    }
}

fn tracked<const D: usize, R: RowOperation, C: CheckpointStrategy>(x: &Tensor<D>, operation: R) -> Option<Tensor<D>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let input = x.clone().try_into_primitive::<Autodiff<Flex, C>>().ok()?;
    let node = input.node();
    let input = input.into_primitive().to_contiguous();
    let output = forward::<R>(&input);
    let result = match RowBackward(operation).prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(graph) => graph.finish(if R::KEEPS_RESULT { output.clone() } else { input }, output),
        OpsKind::UnTracked(graph) => graph.finish(output),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(result))
}

#[derive(Clone, Debug)]
struct RowBackward<R>(R);

impl<R: RowOperation> Backward<Flex, 1> for RowBackward<R> {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 1>, tape: &mut Gradients, _: &mut Checkpointer) {
        let slope = tape.consume::<Flex>(&ops.node).to_contiguous();
        let [parent] = ops.parents;
        if let Some(node) = parent {
            let (kept, width) = (numbers(&ops.state), width(&ops.state));
            let mut slopes = numbers(&slope).to_vec();
            let size = task_size(width);
            let parts = slopes.par_chunks_mut(size).zip(kept.par_chunks(size));
            parts.for_each(|(slopes, kept)| R::backward(kept, slopes, width));
            tape.register::<Flex>(node.id, flex_tensor(slopes, slope.layout().shape().clone()));
        }
    }
}

fn forward<R: RowOperation>(input: &FlexTensor) -> FlexTensor {
    let (from, width) = (numbers(input), width(input));
    let mut to = vec![0.0; from.len()];
    let size = task_size(width);
    to.par_chunks_mut(size).zip(from.par_chunks(size)).for_each(|(to, from)| R::forward(from, to, width));
    flex_tensor(to, input.layout().shape().clone())
}

/// Whole rows only.
fn task_size(width: usize) -> usize {
    (NUMBERS_OF_A_TASK / width).max(1) * width
}

/// The elements of a contiguous tensor.
fn numbers(tensor: &FlexTensor) -> &[f32] {
    let (layout, storage) = (tensor.layout(), tensor.storage::<f32>());
    &storage[layout.start_offset()..][..layout.num_elements()]
}

fn width(tensor: &FlexTensor) -> usize {
    let shape = tensor.layout().shape();
    shape.iter().next_back().copied().unwrap_or(1)
}
