//! The language model: layers, word table and head.

use std::sync::Arc;

use burn::{
    module::{Param, ParamGroup},
    nn::{Embedding, RmsNorm},
    prelude::*,
    tensor::DType,
};
use pvchat_data::random::SeededStream;

use super::{
    DecoderConfig, HeadRouter, KeyValueCache, LoraAdapter, LoraConfig, LoraLinear, PackedDecoder, Packing, RoutedHeadsConfig,
    RoutedOutput, SelfAttention, TokenKind,
    attention::{AttentionContext, View, causal_mask},
    packed::{refused, weights_of},
    rope::Rotation,
    routed::Reach,
};
use crate::{
    Error, Result,
    operations::{rms_norm, silu},
    packed::{Precision, Weights},
    trace::Trace,
};

/// One decoder layer: attention and a gated feed-forward network, each behind a norm.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Norm before the attention.
    pub input_layernorm: RmsNorm,
    /// The attention.
    pub self_attn: SelfAttention,
    /// Norm before the feed-forward network.
    pub post_attention_layernorm: RmsNorm,
    /// The feed-forward network.
    pub mlp: DecoderMlp,
}

/// `down(silu(gate(x)) * up(x))`.
#[derive(Module, Debug)]
pub struct DecoderMlp {
    /// `[hidden, intermediate]`, through SiLU.
    pub gate_proj: LoraLinear,
    /// `[hidden, intermediate]`.
    pub up_proj: LoraLinear,
    /// `[intermediate, hidden]`.
    pub down_proj: LoraLinear,
}

impl DecoderMlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down_proj.forward(silu(self.gate_proj.forward(x.clone())) * self.up_proj.forward(x))
    }
}

/// The language model. Parameter paths are the public names (`layers.0.self_attn.q_proj`, ..) with
/// `.base.weight` for the frozen weight and `.lora.a.weight`, `.lora.b.weight` for the adapters. Routers of heads, where they
/// are attached, are `layers.N.self_attn.routed.alpha.weight`, `.router.weight` and `.router.bias`.
#[derive(Module, Debug)]
pub struct Decoder {
    /// The word table `[vocabulary, hidden]`.
    pub embed_tokens: Embedding,
    /// The decoder layers.
    pub layers: Vec<DecoderLayer>,
    /// Norm after the last layer.
    pub norm: RmsNorm,
    /// Hidden states to logits, `[hidden, vocabulary]`, not tied to the word table.
    pub lm_head: LoraLinear,
    /// The sizes it was made with; adapters that came or went later do not change it.
    #[module(skip)]
    pub config: DecoderConfig,
    /// Layers and head with packed weights; the linear layers then are empty.
    #[module(skip)]
    pub(super) packed: Option<Arc<PackedDecoder>>,
}

impl Decoder {
    /// The device of the parameters.
    pub fn device(&self) -> Device {
        self.embed_tokens.weight.lazy_device()
    }

    /// The float type of embeddings and hidden states.
    pub fn dtype(&self) -> DType {
        match self.packed {
            Some(_) => DType::F32,
            None => self.embed_tokens.weight.val().dtype(),
        }
    }

    /// Packs the weights of layers and head for inference on the CPU, each asked for by the name of its parameter; see
    /// [`PackedDecoder::new`]. Afterwards it reads and generates as before, in f32 between the products, and cannot be trained or
    /// saved. Routers can be attached, and adapters that were trained elsewhere can be added to the products
    /// ([`pack_adapters`](Self::pack_adapters)).
    ///
    /// # Errors
    ///
    /// Those of [`PackedDecoder::new`].
    pub fn pack(&mut self, precision: Precision, weights: &mut dyn FnMut(&str) -> Result<Weights>) -> Result<()> {
        let packed = PackedDecoder::new(self, precision, weights)?;
        let device = self.device();
        self.detach();
        for (_, layer) in self.linears_mut() {
            layer.base.weight = Param::from_tensor(Tensor::zeros([0, 0], &device)).set_require_grad(false);
        }
        self.packed = Some(Arc::new(packed));
        Ok(())
    }

    /// Packs the weights that it has.
    ///
    /// # Errors
    ///
    /// Those of [`PackedDecoder::new`].
    pub fn pack_own(&mut self, precision: Precision) -> Result<()> {
        let model = self.clone();
        self.pack(precision, &mut |name| weights_of(&model, name))
    }

    /// Adds the adapters that are attached to the linear layers to the products of packed weights, and removes them from the
    /// layers. The matrices of adapted layers are copied, all others shared; adapters from an earlier call are no longer there.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] without packed weights, and for an adapter of the head; [`Error::Shape`] for an adapter of another size.
    pub fn pack_adapters(&mut self) -> Result<()> {
        let Some(packed) = self.packed.clone() else {
            return Err(refused("of a model that has none", "its layers use their adapters as they are"));
        };
        self.packed = Some(Arc::new(packed.adapted(self.detach())?));
        Ok(())
    }

    /// The packed weights, where they are.
    pub fn packed(&self) -> Option<&PackedDecoder> {
        self.packed.as_deref()
    }

    /// An empty cache that fits this model and `capacity` tokens.
    pub fn cache(&self, capacity: usize) -> KeyValueCache {
        KeyValueCache::new(self.layers.len(), capacity)
    }

    /// Word embeddings `[batch, tokens, hidden]` of ids `[batch, tokens]` below the vocabulary size.
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let words = self.embed_tokens.forward(ids);
        if self.packed.is_some() { words.cast(DType::F32) } else { words }
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
        let dtype = words.dtype();
        words.mask_fill(personal, 0.0) + personal_words.cast(dtype)
    }

    /// Hidden states after the final norm, `[batch, tokens, hidden]`.
    ///
    /// `positions` `[batch, tokens]` are the rotary positions. `mask` `[batch or 1, tokens, keys]`
    /// is true where a token must not look, with one key per cached and per new token, the cached
    /// ones first; without a mask the tokens are causal. New keys and values are added to `cache`.
    ///
    /// # Panics
    ///
    /// When a size does not fit, as burn's operations do.
    pub fn forward(
        &self,
        embeddings: Tensor<3>,
        positions: Tensor<2, Int>,
        mask: Option<Tensor<3, Bool>>,
        cache: Option<&mut KeyValueCache>,
    ) -> Tensor<3> {
        self.forward_traced(embeddings, positions, mask, cache, &mut Trace::off())
    }

    /// [`forward`](Self::forward) that shows the state after every layer (`text.layer0`, ..) and what it returns
    /// (`text.normalized`).
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_traced(
        &self,
        embeddings: Tensor<3>,
        positions: Tensor<2, Int>,
        mask: Option<Tensor<3, Bool>>,
        cache: Option<&mut KeyValueCache>,
        trace: &mut Trace<'_>,
    ) -> Tensor<3> {
        if let Some(packed) = &self.packed {
            let hidden = packed.forward(&self.layers, embeddings, positions, mask, None, cache, trace);
            return hidden.unwrap_or_else(|error| panic!("{error}"));
        }
        let view = view_of(mask, &embeddings, cache.as_deref());
        self.run(embeddings, positions, view, None, cache, trace).hidden
    }

    /// [`forward_traced`](Self::forward_traced) where the [attached](Self::attach_routers) routers act, with what they decided.
    ///
    /// `kinds`, one row or one for each sequence, says what the new tokens are; the cache remembers it, so that the tokens
    /// that [`forward`](Self::forward) adds to the cache later are text that reads these visual tokens.
    ///
    /// # Errors
    /// [`Error::Shape`] when the kinds are not as many as the tokens.
    pub fn forward_routed(
        &self,
        embeddings: Tensor<3>,
        positions: Tensor<2, Int>,
        mask: Option<Tensor<3, Bool>>,
        kinds: &[Vec<TokenKind>],
        cache: Option<&mut KeyValueCache>,
        trace: &mut Trace<'_>,
    ) -> Result<RoutedOutput> {
        check_kinds(kinds, &embeddings)?;
        if let Some(packed) = &self.packed {
            let hidden = packed.forward(&self.layers, embeddings, positions, mask, Some(kinds), cache, trace)?;
            return Ok(RoutedOutput { hidden, gates: Vec::new() });
        }
        let view = view_of(mask, &embeddings, cache.as_deref());
        Ok(self.run(embeddings, positions, view, Some(kinds), cache, trace))
    }

    /// Adds the keys and values of new tokens to `cache`, for texts that continue them; `kinds` as in
    /// [`forward_routed`](Self::forward_routed). With packed weights, what the last layer computes for hidden states alone is
    /// left out.
    ///
    /// # Errors
    /// As [`forward_routed`](Self::forward_routed).
    pub fn fill(
        &self,
        cache: &mut KeyValueCache,
        embeddings: Tensor<3>,
        positions: Tensor<2, Int>,
        kinds: &[Vec<TokenKind>],
    ) -> Result<()> {
        match &self.packed {
            Some(packed) => {
                check_kinds(kinds, &embeddings)?;
                packed.fill(&self.layers, embeddings, positions, kinds, cache)
            }
            None => self.forward_routed(embeddings, positions, None, kinds, Some(cache), &mut Trace::off()).map(|_| ()),
        }
    }

    /// Like [`forward`](Self::forward) for rows of texts behind a shared prefix, `[batch, tokens,
    /// hidden]` as laid out by the packing. Where all rows have the same layout
    /// ([`Packing::uniform`]) the parts of the attention that nobody sees are not computed at all.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when the embeddings are not laid out by the packing.
    pub fn forward_packed(&self, embeddings: Tensor<3>, packing: &Packing) -> Result<Tensor<3>> {
        Ok(self.run_packed(embeddings, packing, None)?.hidden)
    }

    /// [`forward_packed`](Self::forward_packed) where the attached routers act; `kinds` as in
    /// [`forward_routed`](Self::forward_routed).
    ///
    /// # Errors
    ///
    /// As [`forward_packed`](Self::forward_packed), and [`Error::Shape`] when the kinds are not as many as the tokens.
    pub fn forward_packed_routed(
        &self,
        embeddings: Tensor<3>,
        packing: &Packing,
        kinds: &[Vec<TokenKind>],
    ) -> Result<RoutedOutput> {
        check_kinds(kinds, &embeddings)?;
        self.run_packed(embeddings, packing, Some(kinds))
    }

    fn run_packed(&self, embeddings: Tensor<3>, packing: &Packing, kinds: Option<&[Vec<TokenKind>]>) -> Result<RoutedOutput> {
        if self.packed.is_some() {
            return Err(refused("in training", "open the model without packing it to learn"));
        }
        let found = embeddings.dims();
        if found[..2] != [packing.rows(), packing.tokens()] {
            let expected = format!("[{}, {}, hidden], as packed", packing.rows(), packing.tokens());
            return Err(Error::Shape { what: "packed embeddings", found: found.to_vec(), expected });
        }
        let (device, dtype) = (embeddings.device().inner(), embeddings.dtype());
        let view = match packing.uniform_layout() {
            Some([prefix, texts, length]) => View::shared_prefix(prefix, texts, length, dtype, &device),
            None => View::masked(packing.mask(&device), dtype),
        };
        Ok(self.run(embeddings, packing.positions(&device), view, kinds, None, &mut Trace::off()))
    }

    fn run(
        &self,
        embeddings: Tensor<3>,
        positions: Tensor<2, Int>,
        view: View,
        kinds: Option<&[Vec<TokenKind>]>,
        mut cache: Option<&mut KeyValueCache>,
        trace: &mut Trace<'_>,
    ) -> RoutedOutput {
        let config = &self.config;
        let (tokens, dtype) = (embeddings.dims()[1], embeddings.dtype());
        let rotation = Rotation::new(positions, config.heads, config.kv_heads, config.head_dim, config.rope_theta, dtype);
        let kinds = match cache.as_deref_mut() {
            Some(cache) => cache.kinds_with(kinds, tokens),
            None => kinds,
        };
        let is_routed = self.layers.iter().any(|layer| layer.self_attn.routed.is_some());
        let kinds = kinds.filter(|_| is_routed);
        let reach = kinds.map(|kinds| Reach::new(kinds, tokens, &embeddings.device().inner(), dtype));
        let context = AttentionContext { rotation, view, reach };
        let (mut hidden, mut gates) = (embeddings, Vec::new());
        for (index, layer) in self.layers.iter().enumerate() {
            let normalised = rms_norm(&layer.input_layernorm, hidden.clone());
            let (attended, decided) = layer.self_attn.forward(normalised, &context, cache.as_deref_mut(), index);
            hidden = hidden + attended;
            gates.extend(decided);
            let normalised = rms_norm(&layer.post_attention_layernorm, hidden.clone());
            hidden = hidden + layer.mlp.forward(normalised);
            trace.show(format_args!("text.layer{index}"), &hidden);
        }
        if let Some(cache) = cache {
            cache.advance(tokens);
        }
        let normalised = rms_norm(&self.norm, hidden);
        trace.show(format_args!("text.normalized"), &normalised);
        RoutedOutput { hidden: normalised, gates }
    }

    /// Logits `[batch, tokens, vocabulary + subjects]` of hidden states `[batch, tokens, hidden]`.
    ///
    /// `extra_rows` `[batch or 1, subjects, hidden]` are the head's rows of the active subjects, for
    /// the ids `vocabulary`, `vocabulary + 1`, ..; the adapter of the head does not act on them, if it was not
    /// [widened](LoraLinear::widen) for as many.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn logits(&self, hidden: Tensor<3>, extra_rows: Option<Tensor<3>>) -> Tensor<3> {
        let (words, beyond) = match &self.packed {
            Some(packed) => (packed.logits(hidden.clone()).unwrap_or_else(|error| panic!("{error}")), None),
            None => self.lm_head.forward_beyond(hidden.clone()),
        };
        let Some(rows) = extra_rows else { return words };
        let [batch, tokens, width] = hidden.dims();
        let [row_batch, subjects, _] = rows.dims();
        let columns = rows.cast(hidden.dtype()).swap_dims(1, 2);
        let personal = if row_batch == 1 && batch > 1 {
            hidden.reshape([1, batch * tokens, width]).matmul(columns).reshape([batch, tokens, subjects])
        } else {
            hidden.matmul(columns)
        };
        let personal = match beyond {
            Some(beyond) => personal + beyond,
            None => personal,
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
        if self.packed.is_some() {
            return Err(refused("with LoRA adapters", "open the model without packing it to adapt it"));
        }
        for (name, layer) in self.linears_mut() {
            layer.attach(&stream.derive(format_args!("{name}.lora")), config);
        }
        Ok(())
    }

    /// [`attach`](Self::attach) for the layers without an adapter; the others keep theirs, which then drops as much.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach).
    pub fn attach_missing(&mut self, stream: &SeededStream, config: LoraConfig) -> Result<()> {
        let found = self.adapters();
        self.attach(stream, config)?;
        for (name, layer) in self.linears_mut() {
            if let Some((_, adapter)) = found.iter().find(|(found, _)| *found == name) {
                layer.lora = Some(LoraAdapter { dropout: config.dropout, ..adapter.clone() });
            }
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

    /// Puts fresh routers on the chosen heads, with which the model still is its base.
    ///
    /// # Errors
    ///
    /// Those of [`RoutedHeadsConfig::validate`].
    pub fn attach_routers(&mut self, config: &RoutedHeadsConfig) -> Result<()> {
        config.validate(self.layers.len(), self.config.heads)?;
        let device = self.device();
        for &index in &config.layers {
            self.layers[index].self_attn.routed = Some(HeadRouter::new(self.config.hidden, &config.heads, &device));
        }
        Ok(())
    }

    /// The base frozen, the adapters and routers trained: how the paper and its follow-up train the language model.
    pub fn train_adapters_only(self) -> Self {
        let frozen = self.set_require_grad(false);
        match ParamGroup::from_any_regexes(vec![r"\.lora\.", r"\.routed\."]) {
            Ok(adapters) => frozen.set_require_grad_group(adapters, true),
            Err(_) => frozen, // not reached: the pattern is a constant
        }
    }

    /// The same function as a model without adapters, but for [wider](LoraLinear::widen) ones, which stay.
    pub fn merge(mut self) -> Self {
        for (_, layer) in self.linears_mut() {
            *layer = layer.clone().merge();
        }
        self
    }
}

/// The view of a mask, causal without one; a single token without one sees everything.
fn view_of(mask: Option<Tensor<3, Bool>>, embeddings: &Tensor<3>, cache: Option<&KeyValueCache>) -> View {
    let ([_, tokens, _], dtype) = (embeddings.dims(), embeddings.dtype());
    let keys = tokens + cache.map_or(0, KeyValueCache::len);
    match mask {
        Some(mask) => View::masked(mask, dtype),
        None if tokens > 1 => View::masked(causal_mask(tokens, keys, &embeddings.device().inner()), dtype),
        None => View::Everything,
    }
}

fn check_kinds(kinds: &[Vec<TokenKind>], embeddings: &Tensor<3>) -> Result<()> {
    let [batch, tokens, _] = embeddings.dims();
    let longest = kinds.iter().map(Vec::len).find(|&length| length != tokens).unwrap_or(tokens);
    if ![1, batch].contains(&kinds.len()) || longest != tokens {
        let expected = format!("[1 or {batch}, {tokens}], as the embeddings");
        return Err(Error::Shape { what: "token kinds", found: vec![kinds.len(), longest], expected });
    }
    Ok(())
}

const ATTENTION: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];
const MLP: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];
