//! Sizes and choices of a Q-Former.

use super::{Embeddings, Encoder, Layer, QFormer};
use crate::{Error, Result};
use burn::{nn::EmbeddingConfig, prelude::*};
use pvchat_data::random::SeededStream;
use pvchat_nn::{
    dropout, init,
    moh::{MohAttentionConfig, Routing},
    operations::LayerNorm,
};
use serde::{Deserialize, Serialize};

/// Where the norms of a layer are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlacement {
    /// After each residual sum, and after the embeddings (BERT; the public checkpoint).
    Post,
    /// Before each sub-layer, and once after the last layer: trains from scratch without warm-up.
    Pre,
}

/// The non-linearity of the feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Exact GELU (erf; the public checkpoint).
    Gelu,
    /// ReLU, many times cheaper on a CPU.
    Relu,
}

/// What training passes drop ([`dropout`]); nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropoutRates {
    /// Share of the first states and of every sub-layer's output.
    pub hidden: f64,
    /// Share of the attention weights.
    pub attention: f64,
    /// Share of the samples for which a sub-layer of the last layer is skipped; it grows linearly
    /// from 0 in the first layer.
    pub path: f64,
}

/// Everything that decides the shape of a [`QFormer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QFormerConfig {
    /// Width of query and text states.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward.
    pub intermediate: usize,
    /// Width of the vision tokens that are read.
    pub encoder_width: usize,
    /// Cross-attention is in layers 0, n, 2n, ...
    pub cross_attention_every: usize,
    /// The first layer whose attentions are routed.
    pub routed_from_layer: usize,
    /// Routing of those attentions; earlier ones are dense.
    pub routing: Routing,
    /// Where the norms are placed.
    pub norm: NormPlacement,
    /// Non-linearity of the feed-forward.
    pub activation: Activation,
    /// Epsilon of every layer norm.
    pub layer_norm_epsilon: f64,
    /// Rows of the word table; `None` leaves the text branch (tables and text feed-forward) out.
    pub vocabulary: Option<usize>,
    /// The longest text, in tokens.
    pub max_positions: usize,
    /// Start the key weights of cross-attention as a copy of its query weights, so that a query begins by
    /// looking at what resembles it. Needs `encoder_width == hidden`.
    pub tie_key_to_query_at_start: bool,
    /// Standard deviation of the initial weights.
    pub initial_deviation: f32,
    /// What training passes drop.
    #[serde(default)]
    pub dropout: DropoutRates,
}

impl QFormerConfig {
    /// The published one: BERT-base shape, ReMoH from layer 6, 8 shared and 4 routed heads.
    pub fn full() -> Self {
        Self {
            hidden: 768,
            layers: 12,
            heads: 12,
            intermediate: 3072,
            encoder_width: 1408,
            cross_attention_every: 2,
            routed_from_layer: 6,
            routing: Routing::Relu { shared: 8, rescale: false },
            norm: NormPlacement::Post,
            activation: Activation::Gelu,
            layer_norm_epsilon: 1e-12,
            vocabulary: Some(30523),
            max_positions: 512,
            tie_key_to_query_at_start: false,
            initial_deviation: 0.02,
            dropout: DropoutRates { hidden: 0.1, attention: 0.1, path: 0.2 },
        }
    }

    /// What training passes drop in a layer.
    pub(super) fn layer_dropout(&self, layer: usize) -> DropoutRates {
        let last = self.layers.saturating_sub(1).max(1);
        DropoutRates { path: self.dropout.path * layer as f64 / last as f64, ..self.dropout }
    }

    /// The number of routed attentions, those that return gates.
    pub fn routed_modules(&self) -> usize {
        if self.routing == Routing::Dense {
            return 0;
        }
        (self.routed_from_layer..self.layers).map(|layer| 1 + usize::from(layer.is_multiple_of(self.cross_attention_every))).sum()
    }

    /// Self-attention of a layer.
    pub(super) fn self_attention(&self, layer: usize) -> MohAttentionConfig {
        let routing = if layer < self.routed_from_layer { Routing::Dense } else { self.routing };
        let mut config = MohAttentionConfig::new(self.hidden, self.heads, routing);
        config.initial_deviation = self.initial_deviation;
        config
    }

    /// Cross-attention of a layer, if it has one.
    pub(super) fn cross_attention(&self, layer: usize) -> Option<MohAttentionConfig> {
        layer.is_multiple_of(self.cross_attention_every).then(|| self.self_attention(layer).with_key_width(self.encoder_width))
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::Config`] with the numbers that contradict each other.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key, value: usize, remedy: String| Err(Error::Config { key, value: value.to_string(), remedy });
        for (key, value) in [
            ("layers", self.layers),
            ("intermediate", self.intermediate),
            ("encoder_width", self.encoder_width),
            ("cross_attention_every", self.cross_attention_every),
            ("vocabulary", self.vocabulary.unwrap_or(1)),
        ] {
            if value == 0 {
                return wrong(key, 0, "it must be at least 1".into());
            }
        }
        for (key, rate) in [
            ("dropout.hidden", self.dropout.hidden),
            ("dropout.attention", self.dropout.attention),
            ("dropout.path", self.dropout.path),
        ] {
            dropout::validate(key, rate)?;
        }
        if self.tie_key_to_query_at_start && self.encoder_width != self.hidden {
            let remedy = format!("keys can only start as queries when it equals hidden = {}", self.hidden);
            return wrong("encoder_width", self.encoder_width, remedy);
        }
        // The routing is checked even when no layer uses it, so that a typing error is not silent.
        let routed = MohAttentionConfig::new(self.hidden, self.heads, self.routing);
        Ok(routed.validate()?)
    }

    /// Builds the module; parameters are a function of the stream's seed.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<QFormer> {
        self.validate()?;
        let table = |label, rows| {
            let mut table = EmbeddingConfig::new(rows, self.hidden).init(device);
            table.weight = init::normal_param(&mut stream.derive(label), [rows, self.hidden], self.initial_deviation, device);
            table
        };
        let norm = || LayerNorm::new(self.hidden, self.layer_norm_epsilon, device);
        let embeddings = Embeddings {
            word_embeddings: self.vocabulary.map(|rows| table("word_embeddings", rows)),
            position_embeddings: self.vocabulary.map(|_| table("position_embeddings", self.max_positions)),
            norm: (self.norm == NormPlacement::Post).then(norm),
        };
        let layer = (0..self.layers)
            .map(|index| Layer::new(self, index, &stream.derive(format!("layer.{index}")), device))
            .collect::<Result<_>>()?;
        let final_norm = (self.norm == NormPlacement::Pre).then(norm);
        Ok(QFormer {
            embeddings,
            encoder: Encoder { layer, final_norm },
            hidden: self.hidden,
            encoder_width: self.encoder_width,
            max_positions: self.max_positions,
            hidden_dropout: self.dropout.hidden,
        })
    }
}
