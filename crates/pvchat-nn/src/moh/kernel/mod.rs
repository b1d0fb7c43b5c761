//! Attention with gated heads: the reference, and the kernels that skip what the router switched off.
//!
//! | kernel | where | what it computes |
//! |---|---|---|
//! | [`Kernel::Reference`] | every backend, every float type | every head in full, times its scale |
//! | [`Kernel::DenseFused`], [`Kernel::Sparse`], [`Kernel::WholeHead`] | flex; f32 | the (token, head) pairs whose scale is not zero; no score matrix |
//! | [`Kernel::Cube`] | CUDA and Vulkan; f32, and f16 and bf16 where the device has them | the (token, head) pairs whose scale is not zero; no score matrix |
//!
//! The gradient of a scale that is zero is zero in the kernels that skip, while that of [`reference_attention`] is not:
//! below a router the two are the same, because a closed gate passes nothing on (ReLU has slope zero there, top-k
//! masks it).

#[cfg(feature = "cube")]
pub mod cube;
#[cfg(feature = "flex")]
mod flex;
mod reference;

#[cfg(feature = "flex")]
pub use flex::fused_attention;
pub use reference::{attention_probabilities, reference_attention};

use crate::Result;
use burn::prelude::*;
#[cfg(any(feature = "flex", feature = "cube"))]
use burn::tensor::GradientCheckpointingStrategy;

/// Which code computed an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kernel {
    /// [`reference_attention`].
    Reference,
    /// The fused kernel of the CPU; all (token, head) pairs were on.
    DenseFused,
    /// The fused kernel of the CPU, without the pairs that were off.
    Sparse,
    /// The fused kernel of the CPU; each head of a sequence was on or off for all of its tokens.
    WholeHead,
    /// The kernels for GPUs, over the (token, head) pairs that are on.
    Cube,
}

/// Below this many scores (batch x heads x tokens x keys) attention stays with the reference, where there may be gradients below
/// twice as many. Measured on two cores with AVX-512, 2 to 12 heads of 32 and 64: the fused kernel draws level at 3000 to 8000
/// (1.1 to 1.9 times as fast at 8192 to 12 288), with gradients at 8000 to 25 000 (0.9 to 1.3 times at 16 384).
#[cfg(feature = "flex")]
const FEW_SCORES: usize = 1 << 13;

/// What an attention uses apart from its tensors.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a> {
    /// `[batch, keys]`, true where a key is hidden from all tokens.
    pub hidden: Option<&'a Tensor<2, Bool>>,
    /// `[batch, tokens, keys]`, true where a key is hidden from a token.
    pub hidden_pairs: Option<&'a Tensor<3, Bool>>,
    /// Whether token `i` of `t` sees only the first `keys - t + i + 1` keys: all tokens before it and itself, after
    /// any number of keys that were there before (a cache).
    pub causal: bool,
}

impl<'a> View<'a> {
    /// Everything but the keys where `hidden` `[batch, keys]` is true.
    pub fn without(hidden: Option<&'a Tensor<2, Bool>>) -> Self {
        Self { hidden, ..Self::default() }
    }
}

/// Gated attention by the fastest kernel there is for these tensors.
///
/// `q` `[batch, heads, tokens, width]`; `k`, `v` `[batch, key heads, keys, width]`, where the key heads divide the heads
/// (grouped queries: head `i` looks at key head `i / (heads / key heads)`); `head_scales` `[batch, heads, tokens]`, `None`
/// for plain attention. Returns `[batch, heads, tokens, width]` and which kernel it was.
pub fn gated_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    view: View<'_>,
    head_scales: Option<Tensor<3>>,
) -> (Tensor<4>, Kernel) {
    #[cfg(feature = "cube")]
    if let Some(context) = cube::attention(&q, &k, &v, view, head_scales.as_ref()) {
        tracing::trace!(kernel = ?Kernel::Cube, "attention");
        return (context, Kernel::Cube);
    }
    #[cfg(feature = "flex")]
    {
        let ([batch, heads, tokens, _], [_, _, keys, _]) = (q.dims(), k.dims());
        let scores = [heads, tokens, keys].into_iter().fold(batch, usize::saturating_mul);
        let few = if q.device().is_autodiff() { 2 * FEW_SCORES } else { FEW_SCORES };
        if scores >= few
            && let Some((context, kernel)) = fused_attention(&q, &k, &v, view, head_scales.as_ref())
        {
            tracing::trace!(?kernel, batch, heads, tokens, keys, "attention");
            return (context, kernel);
        }
    }
    tracing::trace!(kernel = ?Kernel::Reference, "attention");
    (reference_attention(q, k, v, view, head_scales), Kernel::Reference)
}

/// The sizes of `q` and of `k` where a kernel can run: all shapes fit each other, no tensor is empty, all floats are of one type.
/// Everything else is left to the reference.
#[cfg(any(feature = "flex", feature = "cube"))]
fn fitting_sizes(
    [q, k, v]: [&Tensor<4>; 3],
    view: View<'_>,
    head_scales: Option<&Tensor<3>>,
) -> Option<([usize; 4], [usize; 4])> {
    let (sizes @ [batch, heads, tokens, width], key_sizes @ [key_batch, key_heads, keys, key_width]) = (q.dims(), k.dims());
    let fit = [k.dtype(), v.dtype()] == [q.dtype(); 2]
        && v.dims() == key_sizes
        && [key_batch, key_width] == [batch, width]
        && !sizes.contains(&0)
        && !key_sizes.contains(&0)
        && heads.is_multiple_of(key_heads)
        && head_scales.is_none_or(|scales| scales.dims() == [batch, heads, tokens] && scales.dtype() == q.dtype())
        && view.hidden.is_none_or(|hidden| hidden.dims() == [batch, keys])
        && view.hidden_pairs.is_none_or(|hidden| hidden.dims() == [batch, tokens, keys]);
    fit.then_some((sizes, key_sizes))
}

/// Which heads any token uses, out of `scales` `[batch, heads, tokens]`; `None` where they are not in the memory of the CPU.
///
/// # Errors
/// [`NotANumber`](crate::Error::NotANumber) with the place of the first NaN among them.
#[cfg(feature = "flex")]
pub(super) fn check_numbers(scales: &Tensor<3>) -> Result<Option<Vec<bool>>> {
    let Some(values) = flex::float_memory(scales) else { return Ok(None) };
    let [_, heads, tokens] = scales.dims();
    let mut used = vec![false; heads];
    for (row, values) in values.chunks_exact(tokens.max(1)).enumerate() {
        if let Some(token) = values.iter().position(|value| value.is_nan()) {
            let place = format!("sequence {}, head {}, token {token}", row / heads, row % heads);
            return Err(crate::Error::NotANumber { what: "the gates of an attention", place });
        }
        used[row % heads] |= values.iter().any(|&value| value != 0.0);
    }
    Ok(Some(used))
}

/// Not known: the scales are in the memory of another device.
#[cfg(not(feature = "flex"))]
pub(super) fn check_numbers(_scales: &Tensor<3>) -> Result<Option<Vec<bool>>> {
    Ok(None)
}

/// Whether and how the first of these that is part of a graph keeps activations; `None` without a graph.
#[cfg(any(feature = "flex", feature = "cube"))]
fn graph_strategy(tensors: [&Tensor<4>; 3], head_scales: Option<&Tensor<3>>) -> Option<GradientCheckpointingStrategy> {
    let scales = head_scales.and_then(Tensor::gradient_checkpointing_strategy);
    tensors.into_iter().find_map(Tensor::gradient_checkpointing_strategy).or(scales)
}
