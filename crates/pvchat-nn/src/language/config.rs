//! Sizes and constants of the language model, and the model that they make.

use burn::{
    nn::{EmbeddingConfig, Initializer},
    prelude::*,
};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::{Decoder, DecoderLayer, DecoderMlp, LoraAdapter, LoraConfig, LoraLinear, SelfAttention};
use crate::{Error, Result, init};

/// Sizes and constants of a language model of the Mistral and Llama kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Rows of the word table, without subject tokens.
    pub vocabulary: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads per layer.
    pub heads: usize,
    /// Key and value heads per layer, a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of a head, even.
    pub head_dim: usize,
    /// Width of the gated feed-forward network.
    pub intermediate: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in the norms.
    pub rms_norm_epsilon: f64,
    /// Standard deviation of the initial weights.
    pub initial_deviation: f32,
    /// Adapters on every linear layer and on the head, or none.
    pub lora: Option<LoraConfig>,
}

impl DecoderConfig {
    /// Mistral-7B-Instruct-v0.3 with the adapters of the paper.
    pub fn full() -> Self {
        Self {
            vocabulary: 32_768,
            hidden: 4096,
            layers: 32,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            intermediate: 14_336,
            rope_theta: 1e6,
            rms_norm_epsilon: 1e-5,
            initial_deviation: 0.02,
            lora: Some(LoraConfig::full()),
        }
    }

    /// Checks that the numbers fit together.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], which names the key, its value and what would be accepted.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key, value: String, remedy: String| Err(Error::Config { key, value, remedy });
        let sizes = [
            ("vocabulary", self.vocabulary),
            ("hidden", self.hidden),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate", self.intermediate),
        ];
        if let Some((key, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return wrong(key, "0".into(), "use at least 1".into());
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return wrong("kv_heads", self.kv_heads.to_string(), format!("use a divisor of `heads`, which is {}", self.heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            let remedy = "use an even number, because rotary positions turn pairs".into();
            return wrong("head_dim", self.head_dim.to_string(), remedy);
        }
        if !(self.rope_theta > 0.0 && self.rope_theta.is_finite()) {
            return wrong("rope_theta", self.rope_theta.to_string(), "use a positive number".into());
        }
        if !(self.rms_norm_epsilon > 0.0 && self.rms_norm_epsilon.is_finite()) {
            return wrong("rms_norm_epsilon", self.rms_norm_epsilon.to_string(), "use a positive number".into());
        }
        self.lora.map_or(Ok(()), |lora| lora.validate())
    }

    /// `[inputs, outputs]` of a linear layer by its public name (`layers.0.self_attn.q_proj`, .., `lm_head`); `None` for others.
    pub fn linear_sizes(&self, name: &str) -> Option<[usize; 2]> {
        let (hidden, own, shared) = (self.hidden, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        if name == "lm_head" {
            return Some([hidden, self.vocabulary]);
        }
        let (index, layer) = name.strip_prefix("layers.")?.split_once('.')?;
        index.parse().ok().filter(|index: &usize| *index < self.layers)?;
        match layer {
            "self_attn.q_proj" => Some([hidden, own]),
            "self_attn.k_proj" | "self_attn.v_proj" => Some([hidden, shared]),
            "self_attn.o_proj" => Some([own, hidden]),
            "mlp.gate_proj" | "mlp.up_proj" => Some([hidden, self.intermediate]),
            "mlp.down_proj" => Some([self.intermediate, hidden]),
            _ => None,
        }
    }

    /// A model with N(0, `initial_deviation`) weights, a function of the stream's seed.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<Decoder> {
        let deviation = self.initial_deviation;
        let mut model = DecoderConfig { lora: None, ..self.clone() }.init_zeros(device)?;
        let table = [self.vocabulary, self.hidden];
        model.embed_tokens.weight = init::normal_param(&mut stream.derive("embed_tokens"), table, deviation, device);
        for (name, layer) in model.linears_mut() {
            let [inputs, outputs] = layer.sizes();
            *layer = LoraLinear::new(&mut stream.derive(&name), inputs, outputs, deviation, device);
        }
        if let Some(lora) = self.lora {
            model.attach(stream, lora)?;
        }
        Ok(model)
    }

    /// The frame of a model, whose zeros are allocated only if they are used before a weights file
    /// replaces them. Adapters are zero too: this is no state to train adapters from.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    pub fn init_zeros(&self, device: &Device) -> Result<Decoder> {
        self.validate()?;
        let (hidden, head_dim) = (self.hidden, self.head_dim);
        let linear = |inputs, outputs| {
            let mut layer = LoraLinear::zeros(inputs, outputs, device);
            layer.lora = self.lora.map(|lora| LoraAdapter::zeros(inputs, outputs, lora, device));
            layer
        };
        let norm = || init::rms_norm(hidden, self.rms_norm_epsilon, device);
        let layer = |_| DecoderLayer {
            input_layernorm: norm(),
            self_attn: SelfAttention {
                q_proj: linear(hidden, self.heads * head_dim),
                k_proj: linear(hidden, self.kv_heads * head_dim),
                v_proj: linear(hidden, self.kv_heads * head_dim),
                o_proj: linear(self.heads * head_dim, hidden),
                heads: self.heads,
                kv_heads: self.kv_heads,
                head_dim,
                routed: None,
            },
            post_attention_layernorm: norm(),
            mlp: DecoderMlp {
                gate_proj: linear(hidden, self.intermediate),
                up_proj: linear(hidden, self.intermediate),
                down_proj: linear(self.intermediate, hidden),
            },
        };
        Ok(Decoder {
            embed_tokens: EmbeddingConfig::new(self.vocabulary, hidden).with_initializer(Initializer::Zeros).init(device),
            layers: (0..self.layers).map(layer).collect(),
            norm: norm(),
            lm_head: linear(hidden, self.vocabulary),
            config: self.clone(),
            packed: None,
        })
    }
}
