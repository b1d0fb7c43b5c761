//! Gated attention itself: the reference that every faster kernel is held to.

use burn::{prelude::*, tensor::activation};

/// Softmax attention weights `[batch, heads, tokens, keys]` of `q` `[batch, heads, tokens, head_dim]`
/// and `k` `[batch, heads, keys, head_dim]`.
///
/// `mask` `[batch, keys]` is true where a key is hidden. A sequence whose keys are all hidden attends evenly.
pub fn attention_probabilities(q: Tensor<4>, k: Tensor<4>, mask: Option<&Tensor<2, Bool>>) -> Tensor<4> {
    let scale = (q.dims()[3] as f32).sqrt().recip();
    let scores = q.mul_scalar(scale).matmul(k.transpose());
    let scores = match mask {
        Some(hidden) => {
            let [batch, heads, tokens, keys] = scores.dims();
            // Finite, so that a fully hidden row stays a number; exp() of it is zero beside any visible key.
            scores.mask_fill(hidden.clone().reshape([batch, 1, 1, keys]).expand([batch, heads, tokens, keys]), -1e30)
        }
        None => scores,
    };
    activation::softmax(scores, 3)
}

/// Gated attention, written down: every head in full, multiplied by its scale.
///
/// `q` `[batch, heads, tokens, head_dim]`, `k` and `v` `[batch, heads, keys, head_dim]`, `mask` `[batch, keys]` (true =
/// hidden), `head_scales` `[batch, heads, tokens]`, `None` for plain attention. Returns `[batch, heads, tokens, head_dim]`.
pub fn reference_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<&Tensor<2, Bool>>,
    head_scales: Option<Tensor<3>>,
) -> Tensor<4> {
    let context = attention_probabilities(q, k, mask).matmul(v);
    match head_scales {
        Some(scales) => context * scales.unsqueeze_dim(3),
        None => context,
    }
}
