//! The attention module: projections, router, gated heads.

use super::{
    kernel::{self, Kernel, View},
    router::{Gates, RouterAlpha, Routing, head_scales},
};
use crate::{Error, Result, init};
use burn::{nn::Linear, prelude::*};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

/// Sizes and routing of one attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MohAttentionConfig {
    /// Width of the tokens that ask (and that the router reads).
    pub query_width: usize,
    /// Width of the tokens that are looked at; equal to `query_width` in self-attention.
    pub key_width: usize,
    /// Width of all heads together.
    pub hidden: usize,
    /// Number of heads.
    pub heads: usize,
    /// How heads are chosen.
    pub routing: Routing,
    /// Standard deviation of the initial weights (0.02 in BERT).
    pub initial_deviation: f32,
}

impl MohAttentionConfig {
    /// Self-attention of width `hidden`.
    pub fn new(hidden: usize, heads: usize, routing: Routing) -> Self {
        Self { query_width: hidden, key_width: hidden, hidden, heads, routing, initial_deviation: 0.02 }
    }

    /// The same, looking at tokens of another width.
    pub fn with_key_width(mut self, key_width: usize) -> Self {
        self.key_width = key_width;
        self
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::Config`] with the two numbers that contradict each other.
    pub fn validate(&self) -> Result<()> {
        if self.heads == 0 || !self.hidden.is_multiple_of(self.heads) || self.hidden == 0 {
            return Err(Error::Config {
                key: "hidden",
                value: self.hidden.to_string(),
                remedy: format!("it must be a positive multiple of the {} heads", self.heads),
            });
        }
        for (key, width) in [("query_width", self.query_width), ("key_width", self.key_width)] {
            if width == 0 {
                return Err(Error::Config {
                    key,
                    value: "0".into(),
                    remedy: format!("heads of width {} need an input", self.hidden),
                });
            }
        }
        self.routing.validate(self.heads)
    }

    /// Builds the module; parameters are a function of the stream's seed.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<MohAttention> {
        self.validate()?;
        let linear =
            |label, width| init::linear(&mut stream.derive(label), width, self.hidden, true, self.initial_deviation, device);
        let router = || {
            let stream = stream.derive("router_alpha");
            RouterAlpha::new(&stream, self.query_width, self.heads, self.routing, self.initial_deviation, device)
        };
        Ok(MohAttention {
            query: linear("query", self.query_width),
            key: linear("key", self.key_width),
            value: linear("value", self.key_width),
            router_alpha: (self.routing != Routing::Dense).then(router),
            heads: self.heads,
            routing: self.routing,
        })
    }
}

/// Self- or cross-attention whose heads are gated per token; see the [module documentation](super).
///
/// There is no output projection here: that, the residual and the norm belong to the block around it.
#[derive(Module, Debug)]
pub struct MohAttention {
    /// `[query_width] -> [hidden]`.
    pub query: Linear,
    /// `[key_width] -> [hidden]`.
    pub key: Linear,
    /// `[key_width] -> [hidden]`.
    pub value: Linear,
    /// Absent in dense attention.
    pub router_alpha: Option<RouterAlpha>,
    heads: usize,
    #[module(skip)]
    routing: Routing,
}

/// What attention returns.
#[derive(Clone, Debug)]
pub struct MohOutput {
    /// `[batch, tokens, hidden]`: heads gated and merged, before any output projection.
    pub context: Tensor<3>,
    /// What the router decided; `None` in dense attention.
    pub gates: Option<Gates>,
    /// What computed it.
    pub kernel: Kernel,
}

impl MohAttention {
    /// Attends from `x` `[batch, tokens, query_width]` to `keys` `[batch, keys, key_width]`.
    ///
    /// `mask` `[batch, keys]` is true where a key is hidden (burn's convention, and that of
    /// [`kernel`]), the same for every head and query token.
    pub fn forward(&self, x: Tensor<3>, keys: Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> MohOutput {
        let gates = self.gates(x.clone());
        let scales = gates.as_ref().map(|gates| head_scales(gates, self.routing, self.heads));
        let [batch, tokens, _] = x.dims();
        let [q, k, v] = self.project(x, keys);
        let hidden = q.dims()[3] * self.heads;
        let view = View { hidden: mask, causal: false };
        let (context, kernel) = kernel::gated_attention(q, k, v, view, scales);
        MohOutput { context: context.swap_dims(1, 2).reshape([batch, tokens, hidden]), gates, kernel }
    }

    /// What the router decides for `x`, without attending; `None` in dense attention.
    pub fn gates(&self, x: Tensor<3>) -> Option<Gates> {
        self.router_alpha.as_ref().map(|router| router.forward(x, self.routing))
    }

    /// Attention weights before gating, `[batch, heads, tokens, keys]`.
    pub fn probabilities(&self, x: Tensor<3>, keys: Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Tensor<4> {
        let [q, k, _] = self.project(x, keys);
        kernel::attention_probabilities(q, k, View { hidden: mask, causal: false })
    }

    /// How this attention chooses heads.
    pub fn routing(&self) -> Routing {
        self.routing
    }

    fn project(&self, x: Tensor<3>, keys: Tensor<3>) -> [Tensor<4>; 3] {
        let split = |states: Tensor<3>| {
            let [batch, tokens, hidden] = states.dims();
            states.reshape([batch, tokens, self.heads, hidden / self.heads]).swap_dims(1, 2)
        };
        [split(self.query.forward(x)), split(self.key.forward(keys.clone())), split(self.value.forward(keys))]
    }
}
