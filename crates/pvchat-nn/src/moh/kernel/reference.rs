//! Gated attention, written plainly: the reference for every faster kernel.

use burn::{
    prelude::*,
    tensor::{DType, activation},
};

use super::View;

/// In place of a hidden score. Finite, so that a fully hidden row stays a number; exp() of it is zero next to any visible key.
pub(super) const HIDDEN: f32 = -1e30;
/// The same in f16, which ends at 65504.
const HIDDEN_F16: f32 = -6e4;

/// Softmax attention weights `[batch, heads, tokens, keys]` of `q` `[batch, heads, tokens, head_dim]`
/// and `k` `[batch, key heads, keys, head_dim]`.
///
/// A token whose keys are all hidden attends evenly.
pub fn attention_probabilities(q: Tensor<4>, k: Tensor<4>, view: View<'_>) -> Tensor<4> {
    let heads = q.dims()[1];
    let scale = (q.dims()[3] as f32).sqrt().recip();
    let mut scores = q.mul_scalar(scale).matmul(for_every_head(k, heads).transpose());
    let [batch, heads, tokens, keys] = scores.dims();
    let replaced = if scores.dtype() == DType::F16 { HIDDEN_F16 } else { HIDDEN };
    if let Some(hidden) = view.hidden {
        let hidden = hidden.clone().reshape([batch, 1, 1, keys]).expand([batch, heads, tokens, keys]);
        scores = scores.mask_fill(hidden, replaced);
    }
    if let Some(hidden) = view.hidden_pairs {
        let hidden = hidden.clone().reshape([batch, 1, tokens, keys]).expand([batch, heads, tokens, keys]);
        scores = scores.mask_fill(hidden, replaced);
    }
    if view.causal {
        let later = Tensor::<2, Bool>::tril_mask([tokens, keys], keys as i64 - tokens as i64, &scores.device());
        scores = scores.mask_fill(later.reshape([1, 1, tokens, keys]).expand([batch, heads, tokens, keys]), replaced);
    }
    activation::softmax(scores, 3)
}

/// Every head in full, multiplied by its scale; shapes as in [`gated_attention`](super::gated_attention).
pub fn reference_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    view: View<'_>,
    head_scales: Option<Tensor<3>>,
) -> Tensor<4> {
    let heads = q.dims()[1];
    let context = attention_probabilities(q, k, view).matmul(for_every_head(v, heads));
    match head_scales {
        Some(scales) => context * scales.unsqueeze_dim(3),
        None => context,
    }
}

/// Keys or values with one head for each of `heads`.
fn for_every_head(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, key_heads, keys, width] = x.dims();
    if key_heads == heads {
        return x;
    }
    let group = heads / key_heads;
    x.unsqueeze_dim::<5>(2).expand([batch, key_heads, group, keys, width]).reshape([batch, heads, keys, width])
}
