//! Sizes and routing of one attention, checked before anything is built.

use super::{
    attention::MohAttention,
    router::{RouterAlpha, Routing},
};
use crate::{Error, Result, init};
use burn::prelude::*;
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

/// Sizes and routing of one attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MohAttentionConfig {
    /// Width of the tokens that ask (and that the router reads).
    pub query_width: usize,
    /// Width of the tokens that are looked at; equal to `query_width` in self-attention.
    pub key_width: usize,
    /// Width of all heads together.
    pub hidden: usize,
    /// Number of heads.
    pub heads: usize,
    /// Number of key and value heads; each serves `heads / key_heads` heads in a row (grouped queries).
    pub key_heads: usize,
    /// Whether the projections have a bias.
    pub bias: bool,
    /// How heads are chosen.
    pub routing: Routing,
    /// Which heads are shared, as many as `routing` says; `None`: the first ones.
    pub shared_heads: Option<Vec<usize>>,
    /// Standard deviation of the initial weights (0.02 in BERT).
    pub initial_deviation: f32,
}

impl MohAttentionConfig {
    /// Self-attention of width `hidden`.
    pub fn new(hidden: usize, heads: usize, routing: Routing) -> Self {
        Self {
            query_width: hidden,
            key_width: hidden,
            hidden,
            heads,
            key_heads: heads,
            bias: true,
            routing,
            shared_heads: None,
            initial_deviation: 0.02,
        }
    }

    /// The same, looking at tokens of another width.
    pub fn with_key_width(mut self, key_width: usize) -> Self {
        self.key_width = key_width;
        self
    }

    /// The same with grouped queries.
    pub fn with_key_heads(mut self, key_heads: usize) -> Self {
        self.key_heads = key_heads;
        self
    }

    /// The same with these heads as the shared ones.
    pub fn with_shared_heads(mut self, heads: impl IntoIterator<Item = usize>) -> Self {
        self.shared_heads = Some(heads.into_iter().collect());
        self
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::Config`] with the two numbers that contradict each other.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key, value: String, remedy: String| Err(Error::Config { key, value, remedy });
        if self.heads == 0 || !self.hidden.is_multiple_of(self.heads) || self.hidden == 0 {
            let remedy = format!("it must be a positive multiple of the {} heads", self.heads);
            return wrong("hidden", self.hidden.to_string(), remedy);
        }
        if self.key_heads == 0 || !self.heads.is_multiple_of(self.key_heads) {
            let remedy = format!("it must divide the {} heads", self.heads);
            return wrong("key_heads", self.key_heads.to_string(), remedy);
        }
        for (key, width) in [("query_width", self.query_width), ("key_width", self.key_width)] {
            if width == 0 {
                return wrong(key, "0".into(), format!("heads of width {} need an input", self.hidden));
            }
        }
        self.routing.validate(self.heads)?;
        head_order(self.routing, self.heads, self.shared_heads.as_deref()).map(|_| ())
    }

    /// Builds the module; parameters are a function of the stream's seed.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<MohAttention> {
        self.validate()?;
        let key_hidden = self.hidden / self.heads * self.key_heads;
        let linear = |label, width, outputs| {
            init::linear(&mut stream.derive(label), width, outputs, self.bias, self.initial_deviation, device)
        };
        let router = || {
            let stream = stream.derive("router_alpha");
            RouterAlpha::new(&stream, self.query_width, self.heads, self.routing, self.initial_deviation, device)
        };
        Ok(MohAttention {
            query: linear("query", self.query_width, self.hidden),
            key: linear("key", self.key_width, key_hidden),
            value: linear("value", self.key_width, key_hidden),
            router_alpha: (self.routing != Routing::Dense).then(router),
            heads: self.heads,
            key_heads: self.key_heads,
            routing: self.routing,
            head_order: head_order(self.routing, self.heads, self.shared_heads.as_deref())?,
        })
    }
}

/// For every head its place among the shared heads followed by the routed ones; `None` where that is its own number.
pub(super) fn head_order(routing: Routing, heads: usize, shared_heads: Option<&[usize]>) -> Result<Option<Vec<usize>>> {
    let Some(chosen) = shared_heads else { return Ok(None) };
    let shared = routing.shared(heads);
    let twice = |(place, head): (usize, &usize)| chosen[..place].contains(head);
    if chosen.len() != shared || chosen.iter().any(|&head| head >= heads) || chosen.iter().enumerate().any(twice) {
        return Err(Error::Config {
            key: "shared_heads",
            value: format!("{chosen:?}"),
            remedy: format!("it must name {shared} different heads (as many as `routing` shares) of 0..{heads}"),
        });
    }
    let routed = (0..heads).filter(|head| !chosen.contains(head));
    let mut order = vec![0; heads];
    for (place, head) in chosen.iter().copied().chain(routed).enumerate() {
        order[head] = place;
    }
    Ok(order.iter().enumerate().any(|(head, &place)| head != place).then_some(order))
}
