//! The layer norm. burn has a fused one for the CPU, but under autodiff it takes it apart; here it is one pass forward and
//! one backward.

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

use super::{numbers, task_size};
use crate::{
    graph::{FlexTensor, flex_tensor, lift},
    simd::{for_the_widest_registers, multiply_add, product_sum, sum},
};

/// See [`LayerNorm`](super::super::LayerNorm); `None` where it does not run: another backend, another type than f32, no
/// elements, parameters of another length than the rows.
pub(in super::super) fn layer_norm<const D: usize>(
    x: &Tensor<D>,
    gamma: &Tensor<1>,
    beta: &Tensor<1>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    let fits = [x.dtype(), gamma.dtype(), beta.dtype()] == [DType::F32; 3]
        && [gamma.dims()[0], beta.dims()[0]] == [*x.dims().last()?; 2];
    if !fits || x.shape().num_elements() == 0 {
        return None;
    }
    let epsilon = epsilon as f32;
    let of_parameters = || [gamma, beta].into_iter().find_map(Tensor::gradient_checkpointing_strategy);
    match x.gradient_checkpointing_strategy().or_else(of_parameters) {
        None => {
            let x = x.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
            let [gamma, beta] = [gamma, beta].map(|parameter| parameter.clone().try_into_primitive::<Flex>().ok());
            let output = forward(&x, &gamma?.to_contiguous(), &beta?.to_contiguous(), epsilon);
            Some(Tensor::from_primitive::<Flex>(output))
        }
        Some(strategy) => {
            let x = lift(x.clone(), strategy);
            let parameters = [gamma, beta].map(|parameter| lift(parameter.clone(), strategy));
            match strategy {
                GradientCheckpointingStrategy::Disabled => tracked::<D, NoCheckpointing>(x, parameters, epsilon),
                GradientCheckpointingStrategy::Balanced => tracked::<D, BalancedCheckpointing>(x, parameters, epsilon),
            }
        }
    }
}

fn tracked<const D: usize, C: CheckpointStrategy>(x: Tensor<D>, parameters: [Tensor<1>; 2], epsilon: f32) -> Option<Tensor<D>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let x = x.try_into_primitive::<Autodiff<Flex, C>>().ok()?;
    let [gamma, beta] = parameters.map(|parameter| parameter.try_into_primitive::<Autodiff<Flex, C>>().ok());
    let (gamma, beta) = (gamma?, beta?);
    let nodes = [x.node(), gamma.node(), beta.node()];
    let [x, gamma, beta] = [x, gamma, beta].map(|tensor| tensor.into_primitive().to_contiguous());
    let output = forward(&x, &gamma, &beta, epsilon);
    let result = match LayerNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(graph) => graph.finish((x, gamma, epsilon), output),
        OpsKind::UnTracked(graph) => graph.finish(output),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(result))
}

#[derive(Debug)]
struct LayerNormBackward;

impl Backward<Flex, 3> for LayerNormBackward {
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 3>, tape: &mut Gradients, _: &mut Checkpointer) {
        let slope = tape.consume::<Flex>(&ops.node).to_contiguous();
        let (x, gamma, epsilon) = &ops.state;
        let (x, gamma) = (numbers(x), numbers(gamma));
        let width = gamma.len();
        let size = task_size(width);
        let mut slopes = numbers(&slope).to_vec();
        // Partial sums in a fixed order: the threads change no number.
        let sums: Vec<[Vec<f32>; 2]> = slopes
            .par_chunks_mut(size)
            .zip(x.par_chunks(size))
            .map(|(slopes, x)| {
                let mut sums = [vec![0.0; width], vec![0.0; width]];
                for (slopes, x) in slopes.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let [of_gamma, of_beta] = &mut sums;
                    backward_row(x, gamma, slopes, of_gamma, of_beta, *epsilon);
                }
                sums
            })
            .collect();
        let [of_x, of_gamma, of_beta] = ops.parents;
        if let Some(node) = of_x {
            tape.register::<Flex>(node.id, flex_tensor(slopes, slope.layout().shape().clone()));
        }
        for (parameter, node) in [of_gamma, of_beta].into_iter().enumerate() {
            if let Some(node) = node {
                let mut total = vec![0.0; width];
                sums.iter().for_each(|sums| total.iter_mut().zip(&sums[parameter]).for_each(|(total, sum)| *total += sum));
                tape.register::<Flex>(node.id, flex_tensor(total, [width]));
            }
        }
    }
}

fn forward(x: &FlexTensor, gamma: &FlexTensor, beta: &FlexTensor, epsilon: f32) -> FlexTensor {
    let (from, gamma, beta) = (numbers(x), numbers(gamma), numbers(beta));
    let mut to = vec![0.0; from.len()];
    let size = task_size(gamma.len());
    to.par_chunks_mut(size).zip(from.par_chunks(size)).for_each(|(to, from)| {
        for (to, from) in to.chunks_exact_mut(gamma.len()).zip(from.chunks_exact(gamma.len())) {
            forward_row(from, gamma, beta, to, epsilon);
        }
    });
    flex_tensor(to, x.layout().shape().clone())
}

for_the_widest_registers! {
    fn forward_row(from: &[f32], gamma: &[f32], beta: &[f32], to: &mut [f32], epsilon: f32) = forward_row_of
}

#[inline(always)]
fn forward_row_of<const FUSED: bool>(from: &[f32], gamma: &[f32], beta: &[f32], to: &mut [f32], epsilon: f32) {
    centre(from, to);
    let factor = factor(to, epsilon);
    for ((to, gamma), beta) in to.iter_mut().zip(gamma).zip(beta) {
        *to = multiply_add::<FUSED>(*to * factor, *gamma, *beta);
    }
}

/// The row less its mean.
#[inline(always)]
fn centre(from: &[f32], to: &mut [f32]) {
    let mean = sum(from) / from.len() as f32;
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from - mean);
}

/// One over the root of the mean square.
fn factor(centred: &[f32], epsilon: f32) -> f32 {
    (product_sum(centred, centred) / centred.len() as f32 + epsilon).sqrt().recip()
}

for_the_widest_registers! {
    /// In place of the gradients of a row's result those of the row; adds those of the parameters.
    fn backward_row(x: &[f32], gamma: &[f32], slopes: &mut [f32], of_gamma: &mut [f32], of_beta: &mut [f32], epsilon: f32)
        = backward_row_of
}

#[inline(always)]
fn backward_row_of<const FUSED: bool>(
    x: &[f32],
    gamma: &[f32],
    slopes: &mut [f32],
    of_gamma: &mut [f32],
    of_beta: &mut [f32],
    epsilon: f32,
) {
    let mut normal = vec![0.0; x.len()];
    centre(x, &mut normal);
    let factor = factor(&normal, epsilon);
    for ((((slope, normal), gamma), of_gamma), of_beta) in
        slopes.iter_mut().zip(&mut normal).zip(gamma).zip(of_gamma).zip(of_beta)
    {
        *normal *= factor;
        *of_gamma = multiply_add::<FUSED>(*slope, *normal, *of_gamma);
        *of_beta += *slope;
        *slope *= gamma;
    }
    let count = x.len() as f32;
    let (mean, along) = (sum(slopes) / count, product_sum(slopes, &normal) / count);
    for (slope, normal) in slopes.iter_mut().zip(&normal) {
        *slope = factor * (multiply_add::<FUSED>(-along, *normal, *slope) - mean);
    }
}
