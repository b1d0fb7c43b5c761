//! Grouped-query self-attention with rotary positions, an optional cache and arbitrary masks.

use burn::{
    prelude::*,
    tensor::{DType, s},
};

use crate::{moh::Gates, operations::softmax};

use super::{
    HeadRouter, KeyValueCache, LoraLinear,
    rope::Rotation,
    routed::{Reach, changes_nothing},
};

/// What all layers of one forward pass share.
#[derive(Debug)]
pub struct AttentionContext {
    /// Rotations of the tokens' positions.
    pub rotation: Rotation,
    /// Who sees whom.
    pub view: View,
    /// Where routers act; `None` leaves every layer as in the base.
    pub(super) reach: Option<Reach>,
}

/// Which keys the tokens of a forward pass see.
#[derive(Debug)]
pub enum View {
    /// Every key.
    Everything,
    /// What an addend for the scores leaves over, `[batch or 1, 1, tokens, keys]`.
    Masked(Box<Tensor<4>>),
    /// `texts` texts of `length` tokens behind a prefix of `prefix` tokens: everything is causal, a
    /// text sees the prefix and itself.
    SharedPrefix {
        /// Tokens before the first text.
        prefix: usize,
        /// Number of texts.
        texts: usize,
        /// Tokens of each text.
        length: usize,
        /// Causal addends of the prefix, `[1, 1, prefix, prefix]`, and of a text.
        biases: Box<[Tensor<4>; 2]>,
    },
}

impl View {
    /// The view that a mask `[batch or 1, tokens, keys]`, true = hidden, leaves over.
    pub fn masked(mask: Tensor<3, Bool>, dtype: DType) -> Self {
        Self::Masked(Box::new(bias_of_mask(mask, dtype)))
    }

    /// The view of rows that are laid out as one prefix and texts of the same length.
    pub fn shared_prefix(prefix: usize, texts: usize, length: usize, dtype: DType, device: &Device) -> Self {
        let bias = |tokens: usize| bias_of_mask(causal_mask(tokens, tokens, device), dtype);
        Self::SharedPrefix { prefix, texts, length, biases: Box::new([bias(prefix), bias(length)]) }
    }
}

/// Self-attention of one layer.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Hidden to queries, `[hidden, heads * head_dim]`.
    pub q_proj: LoraLinear,
    /// Hidden to keys, `[hidden, kv_heads * head_dim]`.
    pub k_proj: LoraLinear,
    /// Hidden to values, `[hidden, kv_heads * head_dim]`.
    pub v_proj: LoraLinear,
    /// Heads to hidden, `[heads * head_dim, hidden]`.
    pub o_proj: LoraLinear,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads in a row.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// The router of the heads, absent in the base model.
    pub routed: Option<HeadRouter>,
}

impl SelfAttention {
    /// `[batch, tokens, hidden]` to the same shape, and what the router decided where there is one that acts; `layer` is the
    /// place in the cache.
    pub fn forward(
        &self,
        x: Tensor<3>,
        context: &AttentionContext,
        cache: Option<&mut KeyValueCache>,
        layer: usize,
    ) -> (Tensor<3>, Option<Gates>) {
        let [batch, tokens, _] = x.dims();
        let (heads, kv_heads, head_dim) = (self.heads, self.kv_heads, self.head_dim);
        let reach = context.reach.as_ref();
        let gates = reach.and(self.routed.as_ref()).map(|router| router.gates(x.clone()));
        let weights = gates.as_ref().zip(self.routed.as_ref()).map(|(gates, router)| router.weights(gates, heads));
        let weights = weights.filter(|weights| !changes_nothing(weights));
        let split = |x: Tensor<3>, heads| x.reshape([batch, tokens, heads, head_dim]).swap_dims(1, 2);

        let queries = split(context.rotation.query(self.q_proj.forward(x.clone())), heads);
        let keys = split(context.rotation.key(self.k_proj.forward(x.clone())), kv_heads);
        let values = split(self.v_proj.forward(x), kv_heads);
        let [keys, values] = match cache {
            Some(cache) => cache.append(layer, keys, values),
            None => [keys, values],
        };
        let reweighted = reach.zip(weights);
        let values = match &reweighted {
            Some((reach, _)) => reach.beside(values),
            None => values,
        };
        let mixed = match &context.view {
            View::Everything => attend(queries, keys, values, None),
            View::Masked(bias) => attend(queries, keys, values, Some(bias)),
            View::SharedPrefix { prefix, texts, length, biases } => {
                let [prefix_bias, text_bias] = &**biases;
                let start = *prefix;
                let part = |x: &Tensor<4>, text: bool| match text {
                    true => x.clone().slice(s![.., .., start..]),
                    false => x.clone().slice(s![.., .., ..start]),
                };
                let [prefix_keys, prefix_values] = [part(&keys, false), part(&values, false)];
                let texts = [*texts, *length];
                let own = [part(&keys, true), part(&values, true)];
                let shared = [prefix_keys.clone(), prefix_values.clone()];
                let mixed_texts = attend_behind_prefix(part(&queries, true), shared, own, texts, text_bias);
                let mixed_prefix = attend(part(&queries, false), prefix_keys, prefix_values, Some(prefix_bias));
                Tensor::cat(vec![mixed_prefix, mixed_texts], 2)
            }
        };
        let mixed = match reweighted {
            Some((reach, weights)) => reach.reweight(mixed, weights.swap_dims(1, 2).unsqueeze_dim(3)),
            None => mixed,
        };
        let output = self.o_proj.forward(mixed.swap_dims(1, 2).reshape([batch, tokens, heads * head_dim]));
        (output, gates)
    }
}

/// Queries `[batch, heads, tokens, width]` on keys `[batch, kv_heads, keys, width]` and values, whose width may differ.
fn attend(queries: Tensor<4>, keys: Tensor<4>, values: Tensor<4>, bias: Option<&Tensor<4>>) -> Tensor<4> {
    let [batch, heads, tokens, width] = queries.dims();
    let [_, kv_heads, length, _] = keys.dims();
    let value_width = values.dims()[3];
    // The query heads of one group are rows of one product, so keys are never copied per head.
    let rows = heads / kv_heads * tokens;
    let scores = queries.reshape([batch, kv_heads, rows, width]).matmul(keys.swap_dims(2, 3));
    let scores = scores.reshape([batch, heads, tokens, length]);
    let scores = match bias {
        Some(bias) => scores + bias.clone(),
        None => scores,
    };
    let weights = softmax(scores).reshape([batch, kv_heads, rows, length]);
    weights.matmul(values).reshape([batch, heads, tokens, value_width])
}

/// Like [`attend`] for the texts behind a prefix: scores exist for the prefix and for the own text
/// only. With ten short questions behind one clip that is well under half of the full square.
fn attend_behind_prefix(
    queries: Tensor<4>,
    [prefix_keys, prefix_values]: [Tensor<4>; 2],
    [keys, values]: [Tensor<4>; 2],
    [texts, length]: [usize; 2],
    bias: &Tensor<4>,
) -> Tensor<4> {
    let [batch, heads, tokens, width] = queries.dims();
    let [_, kv_heads, prefix, _] = prefix_keys.dims();
    let value_width = values.dims()[3];
    let group = heads / kv_heads;
    let (blocks, rows) = (batch * kv_heads * texts, group * length);
    // Rows in the order [batch, kv head, text, head of the group, token].
    let queries = queries.reshape([batch * kv_heads, group, texts, length, width]).swap_dims(1, 2);
    let on_prefix = queries.clone().reshape([batch, kv_heads, texts * rows, width]).matmul(prefix_keys.swap_dims(2, 3));
    let keys = keys.reshape([blocks, length, width]).swap_dims(1, 2);
    let on_own = queries.reshape([blocks, rows, width]).matmul(keys).reshape([blocks, group, length, length]) + bias.clone();
    let scores = Tensor::cat(vec![on_prefix.reshape([blocks, rows, prefix]), on_own.reshape([blocks, rows, length])], 2);
    let weights = softmax(scores);
    let from_prefix = weights.clone().slice(s![.., .., ..prefix]).reshape([batch, kv_heads, texts * rows, prefix]);
    let from_prefix = from_prefix.matmul(prefix_values).reshape([blocks, rows, value_width]);
    let from_own = weights.slice(s![.., .., prefix..]).matmul(values.reshape([blocks, length, value_width]));
    let mixed = (from_prefix + from_own).reshape([batch * kv_heads, texts, group, length, value_width]).swap_dims(1, 2);
    mixed.reshape([batch, heads, tokens, value_width])
}

/// The mask `[batch, tokens, keys]`, true = hidden, as an addend for the scores.
///
/// An addend has a cheaper gradient than a fill. It is minus infinity, whose exponential is found
/// at once where that of a huge number takes the slow way through underflow. A token that may see
/// nothing (padding) sees everything instead, because its softmax would not be a number.
pub fn bias_of_mask(mask: Tensor<3, Bool>, dtype: DType) -> Tensor<4> {
    let mask = mask.inner();
    let shape = mask.dims();
    let blind = mask.clone().all_dim(2).expand(shape);
    let bias = Tensor::<3>::zeros(shape, (&mask.device(), dtype));
    bias.mask_fill(mask.bool_and(blind.bool_not()), f32::NEG_INFINITY).unsqueeze_dim::<4>(1)
}

/// The causal mask `[1, tokens, keys]` of the last `tokens` of `keys` tokens, true = hidden.
pub fn causal_mask(tokens: usize, keys: usize, device: &Device) -> Tensor<3, Bool> {
    Tensor::<2, Bool>::tril_mask([tokens, keys], keys as i64 - tokens as i64, device).unsqueeze()
}
