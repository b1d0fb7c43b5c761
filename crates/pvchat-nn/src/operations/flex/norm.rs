//! Norms of rows. Under autodiff burn takes them apart into operations that read and write the rows a dozen times; here it is
//! one pass forward and one backward.

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
    rows::{Settings, centre, factor, forward_row},
    simd::{for_the_widest_registers, multiply_add, product_sum, sum},
};

/// With `beta` a [`LayerNorm`](super::super::LayerNorm), else an [`rms_norm`](super::super::rms_norm), which is the same without
/// taking the mean off. `None` where it does not run: another backend, another type than f32, no elements, parameters of
/// another length than the rows.
pub(in super::super) fn norm<const D: usize>(
    x: &Tensor<D>,
    gamma: &Tensor<1>,
    beta: Option<&Tensor<1>>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    let [width] = gamma.dims();
    let settings = Settings { centred: beta.is_some(), epsilon: epsilon as f32 };
    // What is not there adds nothing, and is nobody's in a graph.
    let parameters = [gamma.clone(), beta.cloned().unwrap_or_else(|| Tensor::zeros([width], &Device::flex()))];
    let fits = |parameter: &Tensor<1>| parameter.dtype() == DType::F32 && parameter.dims() == [width];
    if x.dtype() != DType::F32 || x.dims().last() != Some(&width) || !parameters.iter().all(fits) || x.shape().num_elements() == 0
    {
        return None;
    }
    let of_parameters = || parameters.iter().find_map(Tensor::gradient_checkpointing_strategy);
    match x.gradient_checkpointing_strategy().or_else(of_parameters) {
        None => {
            let x = x.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
            let [gamma, beta] = parameters.map(|parameter| parameter.try_into_primitive::<Flex>().ok());
            let output = forward(&x, &gamma?.to_contiguous(), &beta?.to_contiguous(), settings);
            Some(Tensor::from_primitive::<Flex>(output))
        }
        Some(strategy) => {
            let x = lift(x.clone(), strategy);
            let parameters = parameters.map(|parameter| lift(parameter, strategy));
            match strategy {
                GradientCheckpointingStrategy::Disabled => tracked::<D, NoCheckpointing>(x, parameters, settings),
                GradientCheckpointingStrategy::Balanced => tracked::<D, BalancedCheckpointing>(x, parameters, settings),
            }
        }
    }
}

fn tracked<const D: usize, C: CheckpointStrategy>(
    x: Tensor<D>,
    parameters: [Tensor<1>; 2],
    settings: Settings,
) -> Option<Tensor<D>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let x = x.try_into_primitive::<Autodiff<Flex, C>>().ok()?;
    let [gamma, beta] = parameters.map(|parameter| parameter.try_into_primitive::<Autodiff<Flex, C>>().ok());
    let (gamma, beta) = (gamma?, beta?);
    let nodes = [x.node(), gamma.node(), beta.node()];
    let [x, gamma, beta] = [x, gamma, beta].map(|tensor| tensor.into_primitive().to_contiguous());
    let output = forward(&x, &gamma, &beta, settings);
    let result = match NormBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(graph) => graph.finish((x, gamma, settings), output),
        OpsKind::UnTracked(graph) => graph.finish(output),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(result))
}

#[derive(Debug)]
struct NormBackward;

impl Backward<Flex, 3> for NormBackward {
    type State = (FlexTensor, FlexTensor, Settings);

    fn backward(self, ops: Ops<Self::State, 3>, tape: &mut Gradients, _: &mut Checkpointer) {
        let slope = tape.consume::<Flex>(&ops.node).to_contiguous();
        let (x, gamma, settings) = &ops.state;
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
                let mut normal = vec![0.0; width];
                for (slopes, x) in slopes.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let [of_gamma, of_beta] = &mut sums;
                    backward_row(x, gamma, slopes, of_gamma, of_beta, &mut normal, *settings);
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

fn forward(x: &FlexTensor, gamma: &FlexTensor, beta: &FlexTensor, settings: Settings) -> FlexTensor {
    let (from, gamma, beta) = (numbers(x), numbers(gamma), numbers(beta));
    let mut to = vec![0.0; from.len()];
    let size = task_size(gamma.len());
    to.par_chunks_mut(size).zip(from.par_chunks(size)).for_each(|(to, from)| {
        for (to, from) in to.chunks_exact_mut(gamma.len()).zip(from.chunks_exact(gamma.len())) {
            forward_row(from, gamma, beta, to, settings);
        }
    });
    flex_tensor(to, x.layout().shape().clone())
}

for_the_widest_registers! {
    /// In place of the gradients of a row's result those of the row; adds those of the parameters. `normal` is for its own use.
    fn backward_row(
        x: &[f32], gamma: &[f32], slopes: &mut [f32], of_gamma: &mut [f32], of_beta: &mut [f32], normal: &mut [f32], settings: Settings
    ) = backward_row_of
}

#[inline(always)]
fn backward_row_of<const FUSED: bool>(
    x: &[f32],
    gamma: &[f32],
    slopes: &mut [f32],
    of_gamma: &mut [f32],
    of_beta: &mut [f32],
    normal: &mut [f32],
    settings: Settings,
) {
    centre(x, normal, settings);
    let factor = factor(normal, settings);
    for ((((slope, normal), gamma), of_gamma), of_beta) in
        slopes.iter_mut().zip(&mut *normal).zip(gamma).zip(of_gamma).zip(of_beta)
    {
        *normal *= factor;
        *of_gamma = multiply_add::<FUSED>(*slope, *normal, *of_gamma);
        *of_beta += *slope;
        *slope *= gamma;
    }
    let count = x.len() as f32;
    let mean = if settings.centred { sum(slopes) / count } else { 0.0 };
    let along = product_sum(slopes, normal) / count;
    for (slope, normal) in slopes.iter_mut().zip(&*normal) {
        *slope = factor * (multiply_add::<FUSED>(-along, *normal, *slope) - mean);
    }
}
