//! Which heads a token uses, and how much.

use crate::{Error, Result, init};
use burn::{nn::Linear, prelude::*, tensor::activation};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

/// Router logits are cut to this range before the ReLU; no gradient passes outside it.
pub const GATE_RANGE: (f32, f32) = (-1.0, 10.0);
/// Logits of the shared/routed balance are cut to this range before the softmax.
pub const ALPHA_RANGE: (f32, f32) = (-1.0, 1.0);

/// How heads are chosen for a token.
///
/// `shared` heads are always on, at least one; the remaining ones are routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Routing {
    /// Plain multi-head attention: no router, every head with weight one.
    Dense,
    /// MoH (arXiv 2410.11842): softmax over the routed logits, the `active` highest scores are kept.
    ///
    /// Scales: `2 a1` for a shared head, `2 a2 * routed * score` for a kept one, where the paper prints `a1 * score`
    /// and `a2 * score`. The factors keep an undecided router near plain attention (MoH's own code multiplies by two
    /// and by head counts for the same reason); shared heads have no scores, as in ReMoH.
    TopK {
        /// Heads that are always on.
        shared: usize,
        /// Routed heads that are on for each token.
        active: usize,
    },
    /// ReMoH: the ReLU of the routed logits is the gate, so the number of open heads is learned.
    Relu {
        /// Heads that are always on (8 of 12 in PVChat).
        shared: usize,
        /// Scale by `2 a1` and `2 a2` and start the router's bias at one, so that training starts
        /// (nearly) at plain attention. The published model does neither.
        rescale: bool,
    },
}

impl Routing {
    /// The number of heads that are always on, out of `heads`.
    pub fn shared(&self, heads: usize) -> usize {
        match *self {
            Self::Dense => heads,
            Self::TopK { shared, .. } | Self::Relu { shared, .. } => shared,
        }
    }

    /// The number of routed heads, out of `heads`.
    pub fn routed(&self, heads: usize) -> usize {
        heads.saturating_sub(self.shared(heads))
    }

    /// Checks the routing against a number of heads.
    ///
    /// # Errors
    /// [`Error::Config`] with both numbers when no head is left to route or more are asked for than there are.
    pub fn validate(&self, heads: usize) -> Result<()> {
        let wrong = |key, value: usize, remedy: String| Err(Error::Config { key, value: value.to_string(), remedy });
        match *self {
            Self::Dense => Ok(()),
            Self::TopK { shared, .. } | Self::Relu { shared, .. } if shared == 0 || shared >= heads => {
                let remedy = format!("of the {heads} heads at least one must be shared and at least one left to route");
                wrong("routing.shared", shared, remedy)
            }
            Self::TopK { shared, active } if active == 0 || active > heads - shared => wrong(
                "routing.active",
                active,
                format!("it must lie in 1..={}: {shared} of the {heads} heads are shared", heads - shared),
            ),
            _ => Ok(()),
        }
    }
}

/// What a router decided for every token; nothing of it is kept in the module.
#[derive(Clone, Debug)]
pub struct Gates {
    /// Raw router output `[batch, tokens, routed]`, before clamp and ReLU (or softmax).
    pub logits: Tensor<3>,
    /// `[batch, tokens, routed]`: after clamp to [-1, 10] and ReLU, or the kept softmax scores of top-k.
    pub gates: Tensor<3>,
    /// `[batch, tokens, 2]`: weight of the shared and of the routed heads, summing to one.
    pub alpha: Tensor<3>,
}

impl Gates {
    /// Share of (batch, token, routed head) whose gate is open, the activation rate `R`.
    pub fn activation(&self) -> Tensor<1> {
        self.gates.clone().detach().greater_elem(0.0).float().mean()
    }
}

/// The router of one attention: gate logits of the routed heads, and the balance of shared and routed heads.
#[derive(Module, Debug)]
pub struct RouterAlpha {
    /// `[width] -> [routed]`, with bias.
    pub router: Linear,
    /// `[width] -> [2]`, without bias.
    pub alpha_proj: Linear,
}

impl RouterAlpha {
    /// A router with N(0, `deviation`) weights; its bias is one with `rescale` and zero otherwise.
    pub(super) fn new(
        stream: &SeededStream,
        width: usize,
        heads: usize,
        routing: Routing,
        deviation: f32,
        device: &Device,
    ) -> Self {
        let routed = routing.routed(heads);
        let mut router = init::linear(&mut stream.derive("router"), width, routed, true, deviation, device);
        if matches!(routing, Routing::Relu { rescale: true, .. }) {
            router.bias = Some(init::constant_param([routed], 1.0, device));
        }
        let alpha_proj = init::linear(&mut stream.derive("alpha_proj"), width, 2, false, deviation, device);
        Self { router, alpha_proj }
    }

    /// Gates for `x` `[batch, tokens, width]`, the tensor that feeds the query projection.
    pub fn forward(&self, x: Tensor<3>, routing: Routing) -> Gates {
        let logits = self.router.forward(x.clone());
        let gates = match routing {
            Routing::TopK { active, .. } => keep_highest(activation::softmax(logits.clone(), 2), active),
            _ => activation::relu(logits.clone().clamp(GATE_RANGE.0, GATE_RANGE.1)),
        };
        let alpha = activation::softmax(self.alpha_proj.forward(x).clamp(ALPHA_RANGE.0, ALPHA_RANGE.1), 2);
        Gates { logits, gates, alpha }
    }
}

/// The factor of every head `[batch, heads, tokens]`, shared heads first.
pub fn head_scales(gates: &Gates, routing: Routing, heads: usize) -> Tensor<3> {
    let [batch, tokens, routed] = gates.gates.dims();
    let shared = routing.shared(heads);
    let (shared_factor, routed_factor) = match routing {
        Routing::Relu { rescale: true, .. } => (2.0, 2.0),
        Routing::TopK { .. } => (2.0, 2.0 * routed as f32),
        _ => (1.0, 1.0),
    };
    let alpha = gates.alpha.clone();
    let always = alpha.clone().narrow(2, 0, 1) * shared_factor;
    let chosen = gates.gates.clone() * alpha.narrow(2, 1, 1) * routed_factor;
    Tensor::cat(vec![always.expand([batch, tokens, shared]), chosen], 2).swap_dims(1, 2)
}

/// Zeroes all but the `active` highest entries of the last axis; of equal entries the first are kept.
fn keep_highest(scores: Tensor<3>, active: usize) -> Tensor<3> {
    let kept = scores.clone().detach().argsort_descending(2).narrow(2, 0, active);
    let ones = kept.clone().float().ones_like().cast(scores.dtype());
    let mask = scores.clone().detach().zeros_like().scatter(2, kept, ones, burn::tensor::IndexingUpdateOp::Add);
    scores * mask
}
