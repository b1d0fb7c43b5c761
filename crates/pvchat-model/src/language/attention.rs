//! Grouped-query self-attention with rotary positions, an optional cache and arbitrary masks.

use burn::{
    prelude::*,
    tensor::{DType, activation::softmax},
};

use super::{KeyValueCache, LoraLinear, rope::Rotation};

/// What all layers of one forward pass share.
#[derive(Debug)]
pub struct AttentionContext {
    /// Rotations of the tokens' positions.
    pub rotation: Rotation,
    /// Added to the scores, `[batch or 1, 1, tokens, keys]`; absent when every key may be seen.
    pub bias: Option<Tensor<4>>,
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
}

impl SelfAttention {
    /// `[batch, tokens, hidden]` to the same shape; `layer` is the place in the cache.
    pub fn forward(
        &self,
        x: Tensor<3>,
        context: &AttentionContext,
        cache: Option<&mut KeyValueCache>,
        layer: usize,
    ) -> Tensor<3> {
        let [batch, tokens, _] = x.dims();
        let (heads, kv_heads, head_dim) = (self.heads, self.kv_heads, self.head_dim);
        let group = heads / kv_heads;
        let split = |x: Tensor<3>, heads| x.reshape([batch, tokens, heads, head_dim]).swap_dims(1, 2);

        let queries = split(context.rotation.query(self.q_proj.forward(x.clone())), heads);
        let keys = split(context.rotation.key(self.k_proj.forward(x.clone())), kv_heads);
        let values = split(self.v_proj.forward(x), kv_heads);
        let [keys, values] = match cache {
            Some(cache) => cache.append(layer, keys, values),
            None => [keys, values],
        };
        let length = keys.dims()[2];

        // The query heads of one group are rows of one product, so keys are never copied per head.
        let queries = queries.reshape([batch, kv_heads, group * tokens, head_dim]);
        let scores = queries.matmul(keys.swap_dims(2, 3)).reshape([batch, heads, tokens, length]);
        let scores = match &context.bias {
            Some(bias) => scores + bias.clone(),
            None => scores,
        };
        let weights = softmax(scores, 3).reshape([batch, kv_heads, group * tokens, length]);
        let mixed = weights.matmul(values).reshape([batch, heads, tokens, head_dim]);
        self.o_proj.forward(mixed.swap_dims(1, 2).reshape([batch, tokens, heads * head_dim]))
    }
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
