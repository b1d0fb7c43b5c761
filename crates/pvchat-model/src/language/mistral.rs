//! The language model: configuration, layers, word table and head.

use burn::{
    module::ParamGroup,
    nn::{Embedding, EmbeddingConfig, Initializer, RmsNorm},
    prelude::*,
    tensor::activation::silu,
};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::{
    KeyValueCache, LoraAdapter, LoraConfig, LoraLinear, Packing, SelfAttention,
    attention::{AttentionContext, View, bias_of_mask, causal_mask},
    rope::Rotation,
};
use crate::{Error, Result, init};

/// Sizes and constants of a Mistral-style language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MistralConfig {
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
    /// Adapters on every linear layer and on the head, or none.
    pub lora: Option<LoraConfig>,
}

impl MistralConfig {
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

    /// A model with N(0, 0.02) weights, a function of the stream's seed.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<Mistral> {
        const STD: f32 = 0.02;
        let mut model = MistralConfig { lora: None, ..self.clone() }.init_zeros(device)?;
        let table = [self.vocabulary, self.hidden];
        model.embed_tokens.weight = init::normal_param(&mut stream.derive("embed_tokens"), table, STD, device);
        for (name, layer) in model.linears_mut() {
            let [inputs, outputs] = layer.sizes();
            *layer = LoraLinear::new(&mut stream.derive(&name), inputs, outputs, STD, device);
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
    pub fn init_zeros(&self, device: &Device) -> Result<Mistral> {
        self.validate()?;
        let (hidden, head_dim) = (self.hidden, self.head_dim);
        let linear = |inputs, outputs| {
            let mut layer = LoraLinear::zeros(inputs, outputs, device);
            layer.lora = self.lora.map(|lora| LoraAdapter::zeros(inputs, outputs, lora, device));
            layer
        };
        let norm = || init::rms_norm(hidden, self.rms_norm_epsilon, device);
        let layer = |_| MistralLayer {
            input_layernorm: norm(),
            self_attn: SelfAttention {
                q_proj: linear(hidden, self.heads * head_dim),
                k_proj: linear(hidden, self.kv_heads * head_dim),
                v_proj: linear(hidden, self.kv_heads * head_dim),
                o_proj: linear(self.heads * head_dim, hidden),
                heads: self.heads,
                kv_heads: self.kv_heads,
                head_dim,
            },
            post_attention_layernorm: norm(),
            mlp: MistralMlp {
                gate_proj: linear(hidden, self.intermediate),
                up_proj: linear(hidden, self.intermediate),
                down_proj: linear(self.intermediate, hidden),
            },
        };
        Ok(Mistral {
            embed_tokens: EmbeddingConfig::new(self.vocabulary, hidden).with_initializer(Initializer::Zeros).init(device),
            layers: (0..self.layers).map(layer).collect(),
            norm: norm(),
            lm_head: linear(hidden, self.vocabulary),
            config: self.clone(),
        })
    }
}

/// One decoder layer: attention and a gated feed-forward network, each behind a norm.
#[derive(Module, Debug)]
pub struct MistralLayer {
    /// Norm before the attention.
    pub input_layernorm: RmsNorm,
    /// The attention.
    pub self_attn: SelfAttention,
    /// Norm before the feed-forward network.
    pub post_attention_layernorm: RmsNorm,
    /// The feed-forward network.
    pub mlp: MistralMlp,
}

/// `down(silu(gate(x)) * up(x))`.
#[derive(Module, Debug)]
pub struct MistralMlp {
    /// `[hidden, intermediate]`, through SiLU.
    pub gate_proj: LoraLinear,
    /// `[hidden, intermediate]`.
    pub up_proj: LoraLinear,
    /// `[intermediate, hidden]`.
    pub down_proj: LoraLinear,
}

impl MistralMlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down_proj.forward(silu(self.gate_proj.forward(x.clone())) * self.up_proj.forward(x))
    }
}

/// The language model. Parameter paths are the public names (`layers.0.self_attn.q_proj`, ..) with
/// `.base.weight` for the frozen weight and `.lora.a.weight`, `.lora.b.weight` for the adapters.
#[derive(Module, Debug)]
pub struct Mistral {
    /// The word table `[vocabulary, hidden]`.
    pub embed_tokens: Embedding,
    /// The decoder layers.
    pub layers: Vec<MistralLayer>,
    /// Norm after the last layer.
    pub norm: RmsNorm,
    /// Hidden states to logits, `[hidden, vocabulary]`, not tied to the word table.
    pub lm_head: LoraLinear,
    /// The sizes it was made with; adapters that came or went later do not change it.
    #[module(skip)]
    pub config: MistralConfig,
}

impl Mistral {
    /// The device of the parameters.
    pub fn device(&self) -> Device {
        self.embed_tokens.weight.lazy_device()
    }

    /// An empty cache that fits this model and `capacity` tokens.
    pub fn cache(&self, capacity: usize) -> KeyValueCache {
        KeyValueCache::new(self.layers.len(), capacity)
    }

    /// Word embeddings `[batch, tokens, hidden]` of ids `[batch, tokens]` below the vocabulary size.
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.embed_tokens.forward(ids)
    }

    /// Word embeddings where the ids `vocabulary`, `vocabulary + 1`, .. take the rows of the active
    /// subjects, `extra_rows` `[batch or 1, subjects, hidden]`. Differentiable in these rows. Ids
    /// beyond the last subject give zeros.
    pub fn embed_with(&self, ids: Tensor<2, Int>, extra_rows: Option<Tensor<3>>) -> Tensor<3> {
        let Some(rows) = extra_rows else { return self.embed(ids) };
        let vocabulary = self.config.vocabulary as i64;
        let [batch, tokens] = ids.dims();
        let [row_batch, subjects, hidden] = rows.dims();
        let words = self.embed(ids.clone().clamp(0, vocabulary - 1));
        let personal = ids.clone().greater_equal_elem(vocabulary).unsqueeze_dim::<3>(2).expand([batch, tokens, hidden]);
        let places = Tensor::<1, Int>::arange(vocabulary..vocabulary + subjects as i64, &ids.device()).reshape([1, 1, subjects]);
        let chosen = ids.unsqueeze_dim::<3>(2).expand([batch, tokens, subjects]);
        let chosen = chosen.equal(places.expand([batch, tokens, subjects])).float().cast(rows.dtype());
        let personal_words = if row_batch == 1 && batch > 1 {
            chosen.reshape([1, batch * tokens, subjects]).matmul(rows).reshape([batch, tokens, hidden])
        } else {
            chosen.matmul(rows)
        };
        words.mask_fill(personal, 0.0) + personal_words
    }

    /// Hidden states after the final norm, `[batch, tokens, hidden]`.
    ///
    /// `positions` `[batch, tokens]` are the rotary positions. `mask` `[batch or 1, tokens, keys]`
    /// is true where a token must not look, with one key per cached and per new token, the cached
    /// ones first; without a mask the tokens are causal. New keys and values are added to `cache`.
    pub fn forward(
        &self,
        embeddings: Tensor<3>,
        positions: Tensor<2, Int>,
        mask: Option<Tensor<3, Bool>>,
        cache: Option<&mut KeyValueCache>,
    ) -> Tensor<3> {
        let [_, tokens, _] = embeddings.dims();
        let keys = tokens + cache.as_ref().map_or(0, |cache| cache.len());
        let dtype = embeddings.dtype();
        let view = match mask {
            Some(mask) => View::Masked(bias_of_mask(mask, dtype)),
            None if tokens > 1 => View::Masked(bias_of_mask(causal_mask(tokens, keys, &embeddings.device().inner()), dtype)),
            None => View::Everything,
        };
        self.run(embeddings, positions, view, cache)
    }

    /// Like [`forward`](Self::forward) for rows of texts behind a shared prefix, `[batch, tokens,
    /// hidden]` as laid out by the packing. Where all rows have the same layout
    /// ([`Packing::uniform`]) the parts of the attention that nobody sees are not computed at all.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when the embeddings are not laid out by the packing.
    pub fn forward_packed(&self, embeddings: Tensor<3>, packing: &Packing) -> Result<Tensor<3>> {
        let found = embeddings.dims();
        if found[..2] != [packing.rows(), packing.tokens()] {
            let expected = format!("[{}, {}, hidden], as packed", packing.rows(), packing.tokens());
            return Err(Error::Shape { what: "packed embeddings", found: found.to_vec(), expected });
        }
        let (device, dtype) = (embeddings.device().inner(), embeddings.dtype());
        let view = match packing.uniform_layout() {
            Some([prefix, texts, length]) => View::shared_prefix(prefix, texts, length, dtype, &device),
            None => View::Masked(bias_of_mask(packing.mask(&device), dtype)),
        };
        Ok(self.run(embeddings, packing.positions(&device), view, None))
    }

    fn run(
        &self,
        embeddings: Tensor<3>,
        positions: Tensor<2, Int>,
        view: View,
        mut cache: Option<&mut KeyValueCache>,
    ) -> Tensor<3> {
        let config = &self.config;
        let (tokens, dtype) = (embeddings.dims()[1], embeddings.dtype());
        let rotation = Rotation::new(positions, config.heads, config.kv_heads, config.head_dim, config.rope_theta, dtype);
        let context = AttentionContext { rotation, view };
        let mut hidden = embeddings;
        for (index, layer) in self.layers.iter().enumerate() {
            let normalised = layer.input_layernorm.forward(hidden.clone());
            hidden = hidden + layer.self_attn.forward(normalised, &context, cache.as_deref_mut(), index);
            let normalised = layer.post_attention_layernorm.forward(hidden.clone());
            hidden = hidden + layer.mlp.forward(normalised);
        }
        if let Some(cache) = cache {
            cache.advance(tokens);
        }
        self.norm.forward(hidden)
    }

    /// Logits `[batch, tokens, vocabulary + subjects]` of hidden states `[batch, tokens, hidden]`.
    ///
    /// `extra_rows` `[batch or 1, subjects, hidden]` are the head's rows of the active subjects, for
    /// the ids `vocabulary`, `vocabulary + 1`, ..; the adapter of the head does not act on them.
    pub fn logits(&self, hidden: Tensor<3>, extra_rows: Option<Tensor<3>>) -> Tensor<3> {
        let words = self.lm_head.forward(hidden.clone());
        let Some(rows) = extra_rows else { return words };
        let [batch, tokens, width] = hidden.dims();
        let [row_batch, subjects, _] = rows.dims();
        let columns = rows.swap_dims(1, 2);
        let personal = if row_batch == 1 && batch > 1 {
            hidden.reshape([1, batch * tokens, width]).matmul(columns).reshape([batch, tokens, subjects])
        } else {
            hidden.matmul(columns)
        };
        Tensor::cat(vec![words, personal], 2)
    }

    /// Every linear layer with its public name: `layers.0.self_attn.q_proj`, .., `lm_head`.
    pub fn linears(&self) -> Vec<(String, &LoraLinear)> {
        let mut all = Vec::with_capacity(self.layers.len() * 7 + 1);
        for (index, layer) in self.layers.iter().enumerate() {
            let (attention, mlp) = (&layer.self_attn, &layer.mlp);
            let projections = [&attention.q_proj, &attention.k_proj, &attention.v_proj, &attention.o_proj];
            all.extend(ATTENTION.iter().zip(projections).map(|(name, x)| (format!("layers.{index}.self_attn.{name}"), x)));
            let projections = [&mlp.gate_proj, &mlp.up_proj, &mlp.down_proj];
            all.extend(MLP.iter().zip(projections).map(|(name, x)| (format!("layers.{index}.mlp.{name}"), x)));
        }
        all.push(("lm_head".into(), &self.lm_head));
        all
    }

    /// Like [`linears`](Self::linears), to be changed.
    pub fn linears_mut(&mut self) -> Vec<(String, &mut LoraLinear)> {
        let mut all = Vec::with_capacity(self.layers.len() * 7 + 1);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let (attention, mlp) = (&mut layer.self_attn, &mut layer.mlp);
            let projections = [&mut attention.q_proj, &mut attention.k_proj, &mut attention.v_proj, &mut attention.o_proj];
            all.extend(ATTENTION.iter().zip(projections).map(|(name, x)| (format!("layers.{index}.self_attn.{name}"), x)));
            let projections = [&mut mlp.gate_proj, &mut mlp.up_proj, &mut mlp.down_proj];
            all.extend(MLP.iter().zip(projections).map(|(name, x)| (format!("layers.{index}.mlp.{name}"), x)));
        }
        all.push(("lm_head".into(), &mut self.lm_head));
        all
    }

    /// Puts a fresh adapter on every linear layer, each from its own stream.
    ///
    /// # Errors
    ///
    /// Those of [`LoraConfig::validate`].
    pub fn attach(&mut self, stream: &SeededStream, config: LoraConfig) -> Result<()> {
        config.validate()?;
        for (name, layer) in self.linears_mut() {
            layer.attach(&mut stream.derive(format_args!("{name}.lora")), config);
        }
        Ok(())
    }

    /// Takes all adapters off, with the public names of their layers.
    pub fn detach(&mut self) -> Vec<(String, LoraAdapter)> {
        self.linears_mut().into_iter().filter_map(|(name, layer)| layer.detach().map(|lora| (name, lora))).collect()
    }

    /// The adapters, with the public names of their layers: all that a subject's file needs of
    /// this model. Tensors are shared, not copied.
    pub fn adapters(&self) -> Vec<(String, LoraAdapter)> {
        self.linears().into_iter().filter_map(|(name, layer)| layer.lora.clone().map(|lora| (name, lora))).collect()
    }

    /// Puts adapters on the layers that they are named after, replacing those that are there.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for the name of a layer that does not exist, [`Error::Shape`] for an
    /// adapter of another size; adapters named before the one at fault are in place then.
    pub fn insert_adapters(&mut self, adapters: impl IntoIterator<Item = (String, LoraAdapter)>) -> Result<()> {
        let mut layers: std::collections::HashMap<_, _> = self.linears_mut().into_iter().collect();
        for (name, adapter) in adapters {
            let Some(layer) = layers.get_mut(&name) else {
                let remedy = format!("use a linear layer of this model, which has {} decoder layers", self.config.layers);
                return Err(Error::Config { key: "adapter", value: name, remedy });
            };
            layer.insert(adapter)?;
        }
        Ok(())
    }

    /// The base frozen, the adapters trained: how the paper trains the language model.
    pub fn train_adapters_only(self) -> Self {
        let frozen = self.set_require_grad(false);
        match ParamGroup::from_regexes(vec![r"\.lora\."]) {
            Ok(adapters) => frozen.set_require_grad_group(adapters, true),
            Err(_) => frozen, // not reached: the pattern is a constant
        }
    }

    /// The same function as a model without adapters.
    pub fn merge(mut self) -> Self {
        for (_, layer) in self.linears_mut() {
            *layer = layer.clone().merge();
        }
        self
    }
}

const ATTENTION: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];
const MLP: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];
