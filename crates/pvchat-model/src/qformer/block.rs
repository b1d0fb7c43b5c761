//! One layer: self-attention, cross-attention, feed-forward, each with its residual and norm.

use super::config::{Activation, DropoutRates, NormPlacement, QFormerConfig};
use crate::Result;
use burn::{module::Param, nn::Linear, prelude::*, tensor::activation};
use pvchat_data::random::SeededStream;
use pvchat_nn::{
    dropout::{self, drop_path, dropout},
    init,
    moh::{
        Gates, MohAttention, MohAttentionConfig, MohOutput,
        kernel::{Kernel, View},
    },
    operations::{self, LayerNorm},
};

/// The way out of a sub-layer: projection, residual sum, and the sub-layer's norm.
#[derive(Module, Debug)]
pub struct Output {
    /// Back to `[hidden]`.
    pub dense: Linear,
    /// After the sum with [`NormPlacement::Post`], before the sub-layer with [`NormPlacement::Pre`].
    pub norm: LayerNorm,
}

/// Gated attention with its output projection.
#[derive(Module, Debug)]
pub struct Attention {
    /// `attention.self` of the checkpoint.
    pub heads: MohAttention,
    /// Projection and norm.
    pub output: Output,
}

/// The way into a feed-forward.
#[derive(Module, Debug)]
pub struct Intermediate {
    /// `[hidden] -> [intermediate]`.
    pub dense: Linear,
}

/// One layer of the Q-Former.
#[derive(Module, Debug)]
pub struct Layer {
    /// Self-attention over queries and text.
    pub attention: Attention,
    /// Cross-attention of the queries to the vision tokens.
    pub crossattention: Option<Attention>,
    /// Feed-forward of text rows.
    pub intermediate: Option<Intermediate>,
    /// Feed-forward of text rows.
    pub output: Option<Output>,
    /// Feed-forward of query rows.
    pub intermediate_query: Intermediate,
    /// Feed-forward of query rows.
    pub output_query: Output,
    #[module(skip)]
    norm: NormPlacement,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    dropout: DropoutRates,
}

impl Layer {
    pub(super) fn new(config: &QFormerConfig, index: usize, stream: &SeededStream, device: &Device) -> Result<Self> {
        let (hidden, inner) = (config.hidden, config.intermediate);
        let linear = |label: &str, inputs, outputs| {
            init::linear(&mut stream.derive(label), inputs, outputs, true, config.initial_deviation, device)
        };
        let output = |label: &str, inputs| Output {
            dense: linear(label, inputs, hidden),
            norm: LayerNorm::new(hidden, config.layer_norm_epsilon, device),
        };
        let attention = |label: &str, sizes: MohAttentionConfig| {
            let heads = sizes.init(&stream.derive(label), device)?;
            Result::Ok(Attention { heads, output: output(&format!("{label}.output"), hidden) })
        };
        let mut crossattention = match config.cross_attention(index) {
            Some(sizes) => Some(attention("crossattention", sizes)?),
            None => None,
        };
        if let (true, Some(cross)) = (config.tie_key_to_query_at_start, &mut crossattention) {
            // A copy with its own identity: the two are trained separately.
            cross.heads.key.weight = Param::from_tensor(cross.heads.query.weight.val().detach());
        }
        let text = config.vocabulary.is_some();
        Ok(Self {
            attention: attention("attention", config.self_attention(index))?,
            crossattention,
            intermediate: text.then(|| Intermediate { dense: linear("intermediate", hidden, inner) }),
            output: text.then(|| output("output", inner)),
            intermediate_query: Intermediate { dense: linear("intermediate_query", hidden, inner) },
            output_query: output("output_query", inner),
            norm: config.norm,
            activation: config.activation,
            dropout: config.layer_dropout(index),
        })
    }

    /// One layer over `states` `[batch, queries + text, hidden]`, of which the first `queries` rows are queries.
    ///
    /// `record` is called with the name and the gates of each attention, in the order of computation.
    pub fn forward(
        &self,
        states: Tensor<3>,
        queries: usize,
        memory: &Tensor<3>,
        mask: Option<&Tensor<2, Bool>>,
        record: &mut impl FnMut(&str, Option<Gates>),
    ) -> Result<Tensor<3>> {
        let states = self.residual(states, &self.attention.output, |x| {
            let attended = self.attend(&self.attention.heads, x.clone(), x, mask)?;
            record("attention", attended.gates);
            Ok(attended.context)
        })?;
        let total = states.dims()[1];
        let text = (total > queries).then(|| states.clone().narrow(1, queries, total - queries));
        let mut query_rows = states.narrow(1, 0, queries);
        if let Some(cross) = &self.crossattention {
            query_rows = self.residual(query_rows, &cross.output, |x| {
                let attended = self.attend(&cross.heads, x, memory.clone(), None)?;
                record("crossattention", attended.gates);
                Ok(attended.context)
            })?;
        }
        let query_rows = self.feed_forward(query_rows, &self.intermediate_query, &self.output_query)?;
        match (text, &self.intermediate, &self.output) {
            (Some(text), Some(intermediate), Some(output)) => {
                Ok(Tensor::cat(vec![query_rows, self.feed_forward(text, intermediate, output)?], 1))
            }
            _ => Ok(query_rows),
        }
    }

    fn feed_forward(&self, states: Tensor<3>, intermediate: &Intermediate, output: &Output) -> Result<Tensor<3>> {
        self.residual(states, output, |x| {
            let inner = intermediate.dense.forward(x);
            Ok(match self.activation {
                Activation::Gelu => operations::gelu(inner),
                Activation::Relu => activation::relu(inner),
            })
        })
    }

    /// `norm(x + drop(dense(sub_layer(x))))`, or `x + drop(dense(sub_layer(norm(x))))` with pre-norm.
    fn residual(
        &self,
        x: Tensor<3>,
        output: &Output,
        sub_layer: impl FnOnce(Tensor<3>) -> Result<Tensor<3>>,
    ) -> Result<Tensor<3>> {
        let drop = |added: Tensor<3>| drop_path(dropout(added, self.dropout.hidden), self.dropout.path);
        Ok(match self.norm {
            NormPlacement::Post => output.norm.forward(x.clone() + drop(output.dense.forward(sub_layer(x)?))),
            NormPlacement::Pre => x.clone() + drop(output.dense.forward(sub_layer(output.norm.forward(x))?)),
        })
    }

    /// Attention, in training passes with dropout on its weights. Those are handed out by no fast
    /// kernel, so that such a pass computes every head in full.
    fn attend(&self, heads: &MohAttention, x: Tensor<3>, keys: Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Result<MohOutput> {
        let view = View::without(mask);
        if self.dropout.attention == 0.0 || !dropout::is_active() {
            return Ok(heads.forward(x, keys, view)?);
        }
        let weights = dropout(heads.probabilities(x.clone(), keys.clone(), view)?, self.dropout.attention);
        let [_, values] = heads.keys_and_values(keys);
        let gates = heads.gates(x);
        let context = weights.matmul(values);
        let context = match &gates {
            Some(gates) => context * heads.scales(gates).unsqueeze_dim(3),
            None => context,
        };
        let [batch, count, tokens, width] = context.dims();
        let context = context.swap_dims(1, 2).reshape([batch, tokens, count * width]);
        Ok(MohOutput { context, gates, kernel: Kernel::Reference, left_out: Vec::new() })
    }
}
