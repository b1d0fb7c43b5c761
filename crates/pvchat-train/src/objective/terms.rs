//! The terms of SPR and HAE on plain tensors, differentiable where the method says so.

use super::config::Surrogate;
use burn::prelude::*;

/// The squared norm below which the mean router output counts as zero, so that its gradient stays finite.
const TINY_SQUARE: f64 = 1e-24;

/// Sum over rows of `values` `[rows, heads]`, rows weighted by `mask` `[rows, 1]` if given. Gives `[heads]`.
pub fn head_sums(values: Tensor<2>, mask: Option<&Tensor<2>>) -> Tensor<1> {
    let heads = values.dims()[1];
    let values = match mask {
        Some(mask) => values * mask.clone(),
        None => values,
    };
    values.sum_dim(0).reshape([heads])
}

/// Which gates `[rows, heads]` are on, as 0 and 1. Without gradient.
pub fn active(gates: Tensor<2>) -> Tensor<2> {
    gates.detach().greater_elem(0.0).float()
}

/// A smooth approximation of "this head is on" of logits `[rows, heads]`: only its slope is used.
///
/// `sigmoid(steepness * x) + tail * min(x, 0)`; with `clamp` the sigmoid alone, of the clamped logit.
pub fn surrogate(logits: Tensor<2>, shape: &Surrogate, gate_range: [f64; 2]) -> Tensor<2> {
    let sigmoid = |x: Tensor<2>| burn::tensor::activation::sigmoid(x * shape.steepness);
    if shape.clamp {
        sigmoid(logits.clamp(gate_range[0], gate_range[1]))
    } else {
        sigmoid(logits.clone()) + logits.clamp_max(0.0) * shape.tail
    }
}

/// SPR as printed: norm over heads of the mean router output, from its sums `[heads]` over `count` rows.
pub fn router_mean_norm(logit_sums: Tensor<1>, count: f64) -> Tensor<1> {
    (logit_sums / count).square().sum().clamp_min(TINY_SQUARE).sqrt()
}

/// SPR as released: `sum_h f_h * g_h` with constant active shares, from gate sums `[heads]` over `count` rows.
pub fn load_balance(gate_sums: Tensor<1>, active_share: &[f64], count: f64) -> Tensor<1> {
    let device = gate_sums.device();
    let share: Vec<f32> = active_share.iter().map(|&share| share as f32).collect();
    (gate_sums * Tensor::<1>::from_data(TensorData::from(share.as_slice()), &device) / count).sum()
}

/// MoH's load balance of top-k routing: `sum_h f_h * P_h` of logits `[rows, heads]`, with `P_h` the mean score of head h
/// (softmax over the routed heads, kept or not) and the share `f_h` of rows that keep it as a constant.
pub fn score_balance(logits: Tensor<2>, gates: Tensor<2>, mask: Option<&Tensor<2>>, count: f64) -> Tensor<1> {
    let share = head_sums(active(gates), mask) / count;
    let scores = head_sums(burn::tensor::activation::softmax(logits, 1), mask) / count;
    (scores * share).sum()
}

/// SPR of the straight-through variant: the mean gate, from gate sums `[heads]` over `count` rows.
pub fn mean_gate(gate_sums: Tensor<1>, count: f64) -> Tensor<1> {
    gate_sums.mean() / count
}

/// HAE, `exp(sharpness * (target - activation)) - 1` while the activation is below its target, else nothing.
///
/// The value is that of the hard `activation`; `carrier` is a zero that carries the gradient of the activation.
pub fn hae(activation: f64, carrier: Option<Tensor<1>>, target: f64, sharpness: f64, device: &Device) -> Tensor<1> {
    let gap = target - activation;
    match carrier {
        _ if gap <= 0.0 => Tensor::zeros([1], device),
        None => Tensor::full([1], (sharpness * gap).exp_m1(), device),
        Some(carrier) => (carrier * -sharpness + sharpness * gap).exp() - 1.0,
    }
}
