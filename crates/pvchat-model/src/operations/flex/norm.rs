//! The root-mean-square norm. Taken apart into burn's operations it reads and writes its rows a dozen times under
//! autodiff; here it is one pass forward and one backward.

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
    simd::{for_the_widest_registers, multiply_add, product_sum},
};

/// See [`rms_norm`](super::super::rms_norm); `None` where it does not run: another backend, another type than f32, no
/// elements, a `gamma` of another length than the rows.
pub(in super::super) fn rms_norm<const D: usize>(x: &Tensor<D>, gamma: &Tensor<1>, epsilon: f64) -> Option<Tensor<D>> {
    let fits = [x.dtype(), gamma.dtype()] == [DType::F32; 2] && x.dims().last() == Some(&gamma.dims()[0]);
    if !fits || x.shape().num_elements() == 0 {
        return None;
    }
    let epsilon = epsilon as f32;
    match x.gradient_checkpointing_strategy().or(gamma.gradient_checkpointing_strategy()) {
        None => {
            let x = x.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
            let gamma = gamma.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
            Some(Tensor::from_primitive::<Flex>(forward(&x, &gamma, epsilon)))
        }
        Some(strategy) => {
            let (x, gamma) = (lift(x.clone(), strategy), lift(gamma.clone(), strategy));
            match strategy {
                GradientCheckpointingStrategy::Disabled => tracked::<D, NoCheckpointing>(x, gamma, epsilon),
                GradientCheckpointingStrategy::Balanced => tracked::<D, BalancedCheckpointing>(x, gamma, epsilon),
            }
        }
    }
}

fn tracked<const D: usize, C: CheckpointStrategy>(x: Tensor<D>, gamma: Tensor<1>, epsilon: f32) -> Option<Tensor<D>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let x = x.try_into_primitive::<Autodiff<Flex, C>>().ok()?;
    let gamma = gamma.try_into_primitive::<Autodiff<Flex, C>>().ok()?;
    let nodes = [x.node(), gamma.node()];
    let (x, gamma) = (x.into_primitive().to_contiguous(), gamma.into_primitive().to_contiguous());
    let output = forward(&x, &gamma, epsilon);
    let result = match RmsNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(graph) => graph.finish((x, gamma, epsilon), output),
        OpsKind::UnTracked(graph) => graph.finish(output),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(result))
}

#[derive(Debug)]
struct RmsNormBackward;

impl Backward<Flex, 2> for RmsNormBackward {
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 2>, tape: &mut Gradients, _: &mut Checkpointer) {
        let slope = tape.consume::<Flex>(&ops.node).to_contiguous();
        let (x, gamma, epsilon) = &ops.state;
        let (x, gamma) = (numbers(x), numbers(gamma));
        let size = task_size(gamma.len());
        let mut slopes = numbers(&slope).to_vec();
        // Partial sums in a fixed order: the threads change no number.
        let sums: Vec<Vec<f32>> = slopes
            .par_chunks_mut(size)
            .zip(x.par_chunks(size))
            .map(|(slopes, x)| {
                let mut sums = vec![0.0; gamma.len()];
                for (slopes, x) in slopes.chunks_exact_mut(gamma.len()).zip(x.chunks_exact(gamma.len())) {
                    backward_row(x, gamma, slopes, &mut sums, *epsilon);
                }
                sums
            })
            .collect();
        let [of_x, of_gamma] = ops.parents;
        if let Some(node) = of_x {
            tape.register::<Flex>(node.id, flex_tensor(slopes, slope.layout().shape().clone()));
        }
        if let Some(node) = of_gamma {
            let mut total = vec![0.0; gamma.len()];
            sums.iter().for_each(|sums| total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum));
            tape.register::<Flex>(node.id, flex_tensor(total, [gamma.len()]));
        }
    }
}

fn forward(x: &FlexTensor, gamma: &FlexTensor, epsilon: f32) -> FlexTensor {
    let (from, gamma) = (numbers(x), numbers(gamma));
    let mut to = vec![0.0; from.len()];
    let size = task_size(gamma.len());
    to.par_chunks_mut(size).zip(from.par_chunks(size)).for_each(|(to, from)| {
        for (to, from) in to.chunks_exact_mut(gamma.len()).zip(from.chunks_exact(gamma.len())) {
            let factor = factor(from, epsilon);
            to.iter_mut().zip(from).zip(gamma).for_each(|((to, from), gamma)| *to = from * factor * gamma);
        }
    });
    flex_tensor(to, x.layout().shape().clone())
}

/// One over the root of the mean square.
fn factor(row: &[f32], epsilon: f32) -> f32 {
    (product_sum(row, row) / row.len() as f32 + epsilon).sqrt().recip()
}

for_the_widest_registers! {
    /// In place of the gradients of a row's result those of the row; adds those of `gamma`.
    fn backward_row(x: &[f32], gamma: &[f32], slopes: &mut [f32], sums: &mut [f32], epsilon: f32) = backward_row_of
}

#[inline(always)]
fn backward_row_of<const FUSED: bool>(x: &[f32], gamma: &[f32], slopes: &mut [f32], sums: &mut [f32], epsilon: f32) {
    let factor = factor(x, epsilon);
    for (((slope, sum), x), gamma) in slopes.iter_mut().zip(sums).zip(x).zip(gamma) {
        *sum = multiply_add::<FUSED>(*slope, x * factor, *sum);
        *slope *= gamma;
    }
    let along = product_sum(slopes, x) * factor * factor / x.len() as f32;
    for (slope, x) in slopes.iter_mut().zip(x) {
        *slope = factor * multiply_add::<FUSED>(-along, *x, *slope);
    }
}
