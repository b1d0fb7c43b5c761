//! Routed heads inside a pretrained decoder: a router re-weights what text reads from a clip, head by head.
//!
//! With the attention of a head split by its keys, `o = o_text + o_visual`, a token of text receives
//!
//! ```text
//! o' = o + (w o_visual - o_visual)      w_i = 2 a_0 for a shared head i,  2 a_1 relu(l_j) for routed head j
//! [a_0, a_1] = softmax(W_a x)           l = W_r x + b_r, without a clamp
//! ```
//!
//! where `x` is the input of the attention, after its norm. Everything else is as in the base: what visual tokens read, and
//! what text reads from text. A new router has `W_a = 0`, `W_r = 0`, `b_r = 1`, so that every weight is exactly 1 and the
//! model is its base, yet its gradients are not zero. Source: the follow-up of the PVChat paper, PVChat-R1.

use burn::{
    nn::Linear,
    prelude::*,
    tensor::{DType, activation, s},
};
use serde::{Deserialize, Serialize};

use super::{Decoder, lora::zero_linear};
use crate::{Error, Result, init, moh::Gates};

/// Which heads of which decoder layers are routed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutedHeadsConfig {
    /// Decoder layers that get a router, counted from 0.
    pub layers: Vec<usize>,
    /// Query heads of such a layer that are routed, counted from 0; the others are shared.
    pub heads: Vec<usize>,
}

impl RoutedHeadsConfig {
    /// The follow-up's choice: every fourth layer from layer 7 to layer 19, and every fourth of 16 heads.
    pub fn follow_up() -> Self {
        Self { layers: vec![7, 11, 15, 19], heads: vec![3, 7, 11, 15] }
    }

    /// The [follow-up's choice](Self::follow_up) as far as a decoder of that many layers and query heads has it, and the last
    /// layer or head where it has none of them. `None` for a decoder whose layers have one head, which has to stay shared.
    pub fn for_decoder(layers: usize, heads: usize) -> Option<Self> {
        let within = |chosen: Vec<usize>, count: usize| {
            let found: Vec<usize> = chosen.into_iter().filter(|&index| index < count).collect();
            if found.is_empty() { vec![count.saturating_sub(1)] } else { found }
        };
        let every_fourth = (3..heads).step_by(4).collect();
        let chosen = Self { layers: within(Self::follow_up().layers, layers), heads: within(every_fourth, heads) };
        (layers > 0 && heads > 1).then_some(chosen)
    }

    /// The routers that are attached to a decoder; `None` where there are none.
    pub fn of(model: &Decoder) -> Option<Self> {
        let layers = model.layers.iter().enumerate();
        let attached: Vec<(usize, &HeadRouter)> =
            layers.filter_map(|(index, layer)| Some((index, layer.self_attn.routed.as_ref()?))).collect();
        let (_, first) = attached.first()?;
        Some(Self { layers: attached.iter().map(|(index, _)| *index).collect(), heads: first.heads.clone() })
    }

    /// Checks the choice against a decoder's number of layers and query heads.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty list, a number that is there twice or too large, and when no head stays shared.
    pub fn validate(&self, layers: usize, heads: usize) -> Result<()> {
        for (key, chosen, count) in [("routed.layers", &self.layers, layers), ("routed.heads", &self.heads, heads)] {
            let distinct: std::collections::BTreeSet<_> = chosen.iter().collect();
            if chosen.is_empty() || distinct.len() < chosen.len() || chosen.iter().any(|&index| index >= count) {
                let remedy = format!("list different numbers below {count}, at least one");
                return Err(Error::Config { key, value: format!("{chosen:?}"), remedy });
            }
        }
        if self.heads.len() == heads {
            let remedy = "leave at least one head to be shared".into();
            return Err(Error::Config { key: "routed.heads", value: format!("{:?}", self.heads), remedy });
        }
        Ok(())
    }
}

/// What a token is to the routed heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Read with the router's weights.
    Text,
    /// What these weights act on.
    Visual,
    /// Neither.
    Padding,
}

impl TokenKind {
    /// 1 where a token is text, 0 elsewhere, `[rows, tokens]`: the tokens whose gates act, as a mask for the objectives.
    ///
    /// # Errors
    /// [`Error::Shape`] when rows differ in length or there is none.
    pub fn text_mask(rows: &[Vec<Self>], device: &Device) -> Result<Tensor<2>> {
        let tokens = rows.first().map_or(0, Vec::len);
        if let Some(wrong) = rows.iter().find(|row| row.len() != tokens || row.is_empty()) {
            let expected = format!("{tokens} kinds of tokens, as in the first row, at least one");
            return Err(Error::Shape { what: "row of token kinds", found: vec![wrong.len()], expected });
        }
        Ok(indicator(rows, Self::Text, 0..tokens, (device, DType::F32)))
    }
}

fn indicator(rows: &[Vec<TokenKind>], kind: TokenKind, range: std::ops::Range<usize>, options: (&Device, DType)) -> Tensor<2> {
    let is_kind = |found: Option<&TokenKind>| f32::from(u8::from(found == Some(&kind)));
    let values: Vec<f32> = rows.iter().flat_map(|row| range.clone().map(move |place| is_kind(row.get(place)))).collect();
    Tensor::from_data(TensorData::new(values, [rows.len(), range.len()]), options)
}

/// Where the routers of one forward pass act.
#[derive(Debug)]
pub(super) struct Reach {
    /// 1 for a visual key, `[batch or 1, 1, keys, 1]`.
    visual_keys: Tensor<4>,
    /// 1 for a token of text among the new ones, `[batch or 1, 1, tokens, 1]`.
    text_queries: Tensor<4>,
}

impl Reach {
    /// From the kinds of all keys; the last `tokens` of them are the new ones.
    pub(super) fn new(rows: &[Vec<TokenKind>], tokens: usize, device: &Device, dtype: DType) -> Self {
        let keys = rows.first().map_or(0, Vec::len);
        let column = |kind, range: std::ops::Range<usize>| {
            let shape = [rows.len(), 1, range.len(), 1];
            indicator(rows, kind, range, (device, dtype)).reshape(shape)
        };
        let new = keys.saturating_sub(tokens)..keys;
        Self { visual_keys: column(TokenKind::Visual, 0..keys), text_queries: column(TokenKind::Text, new) }
    }

    /// Values `[batch, kv_heads, keys, width]` and next to them those of visual keys alone, `[batch, kv_heads, keys, 2 width]`:
    /// one attention gives both sums.
    pub(super) fn beside(&self, values: Tensor<4>) -> Tensor<4> {
        let visual = values.clone() * self.visual_keys.clone();
        Tensor::cat(vec![values, visual], 3)
    }

    /// The heads' outputs `[batch, heads, tokens, width]` from the two sums side by side and weights `[batch, heads, tokens, 1]`.
    pub(super) fn reweight(&self, sums: Tensor<4>, weights: Tensor<4>) -> Tensor<4> {
        let width = sums.dims()[3] / 2;
        let all = sums.clone().slice(s![.., .., .., ..width]);
        let visual = sums.slice(s![.., .., .., width..]);
        let weights = weights.cast(visual.dtype());
        all + (weights * visual.clone() - visual) * self.text_queries.clone()
    }
}

/// The router of one decoder layer.
#[derive(Module, Debug)]
pub struct HeadRouter {
    /// `[hidden, 2]` without bias: the balance of shared and routed heads.
    pub alpha: Linear,
    /// `[hidden, routed heads]` with bias: the gates.
    pub router: Linear,
    /// The routed query heads, in the order of the gates.
    #[module(skip)]
    pub heads: Vec<usize>,
}

impl HeadRouter {
    /// A router whose weights are all exactly 1.
    pub fn new(hidden: usize, heads: &[usize], device: &Device) -> Self {
        let mut router = zero_linear(hidden, heads.len(), device);
        router.bias = Some(init::constant_param([heads.len()], 1.0, device));
        Self { alpha: zero_linear(hidden, 2, device), router, heads: heads.to_vec() }
    }

    /// Gates for the attention's input `[batch, tokens, hidden]`, in the router's float type.
    pub fn gates(&self, x: Tensor<3>) -> Gates {
        let [batch, tokens, hidden] = x.dims();
        // One product of all rows; a batched one would repeat the weight under autodiff.
        let rows = x.reshape([batch * tokens, hidden]).cast(self.router.weight.val().dtype());
        let logits = self.router.forward(rows.clone()).reshape([batch, tokens, self.heads.len()]);
        let balance = self.alpha.forward(rows);
        let dtype = balance.dtype();
        let alpha = activation::softmax(balance.cast(DType::F32), 1).cast(dtype).reshape([batch, tokens, 2]);
        Gates { gates: activation::relu(logits.clone()), logits, alpha }
    }

    /// The weight of each of `heads` query heads, `[batch, tokens, heads]`.
    pub fn weights(&self, gates: &Gates, heads: usize) -> Tensor<3> {
        let shared = gates.alpha.clone().narrow(2, 0, 1) * 2.0;
        let routed = gates.alpha.clone().narrow(2, 1, 1) * 2.0 * gates.gates.clone();
        let place = |head| self.heads.iter().position(|&routed| routed == head).map_or(0, |index| index as i32 + 1);
        let places: Vec<i32> = (0..heads).map(place).collect();
        let places = Tensor::<1, Int>::from_ints(places.as_slice(), &shared.device());
        Tensor::cat(vec![shared, routed], 2).select(2, places)
    }
}

/// Whether every weight is exactly 1 and no gradient is asked of them: the layer is that of the base then.
pub(super) fn changes_nothing(weights: &Tensor<3>) -> bool {
    !weights.is_autodiff() && weights.clone().equal_elem(1.0).all().into_scalar::<bool>()
}

/// What [`Decoder::forward_routed`](super::Decoder::forward_routed) returns.
#[derive(Clone, Debug)]
pub struct RoutedOutput {
    /// Hidden states after the final norm, `[batch, tokens, hidden]`.
    pub hidden: Tensor<3>,
    /// What the routers decided for the new tokens, layer by layer.
    pub gates: Vec<Gates>,
}
