//! The decoder with packed weights, for inference on the CPU: plain numbers from the embeddings to the hidden states.

use std::{collections::HashMap, sync::Arc};

use burn::{prelude::*, tensor::DType};

use super::{Decoder, DecoderConfig, DecoderLayer, HeadRouter, KeyValueCache, LoraAdapter, TokenKind};
use crate::{
    Error, Result,
    packed::{
        BlockMemory, Finish, Heads, KeyWeights, Norm, Order, PackedMatrix, Precision, Weights, causal_attention_into, numbers,
        share_rows, step_attention, together,
    },
    trace::Trace,
};

/// The layers and the head of a [`Decoder`], their weights packed.
#[derive(Debug)]
pub struct PackedDecoder {
    config: DecoderConfig,
    precision: Precision,
    layers: Vec<Layer>,
    norm: Norm,
    head: Arc<PackedMatrix>,
}

#[derive(Clone, Debug)]
struct Layer {
    input_norm: Norm,
    /// Queries, keys and values side by side.
    projections: Product,
    output: Product,
    feed_forward_norm: Norm,
    gate_and_up: Product,
    down: Product,
}

/// A packed matrix and, where it is adapted, what narrows its inputs for the adapters.
///
/// `x W + scale (x A) B` is one product `[x, scale x A] [W; B]`: the rows of `B` are the last ones of the matrix. So adapters
/// reach a gated matrix too, of whose halves only the joint result can be had.
#[derive(Clone, Debug)]
struct Product {
    matrix: Arc<PackedMatrix>,
    /// `scale A` of all adapters side by side, `[inputs, ranks]`, in f32.
    narrow: Option<Arc<PackedMatrix>>,
}

/// Where the outputs of an adapter are: in which half of a gated matrix, and from which column on.
type Place = (usize, usize);

impl From<PackedMatrix> for Product {
    fn from(matrix: PackedMatrix) -> Self {
        Self { matrix: Arc::new(matrix), narrow: None }
    }
}

impl Product {
    fn bytes(&self) -> usize {
        self.matrix.bytes() + self.narrow.as_ref().map_or(0, |narrow| narrow.bytes())
    }

    /// As [`PackedMatrix::forward_into`], without a bias.
    fn forward_into(&self, rows: &[f32], count: usize, finish: Finish<'_>, out: &mut Vec<f32>) -> Result<()> {
        let Some(narrow) = &self.narrow else { return self.matrix.forward_into(rows, count, None, finish, out) };
        let (inputs, ranks) = (narrow.inputs(), narrow.outputs());
        let side = narrow.forward_new(rows, count, None, Finish::Nothing)?;
        let mut wide = Vec::with_capacity(count * (inputs + ranks));
        for (row, side) in rows.chunks_exact(inputs).zip(side.chunks_exact(ranks)) {
            wide.extend_from_slice(row);
            wide.extend_from_slice(side);
        }
        self.matrix.forward_into(&wide, count, None, finish, out)
    }

    /// The same matrix with these adapters.
    fn adapted(&self, adapters: &[(LoraAdapter, Place)]) -> Result<Self> {
        if adapters.is_empty() {
            return Ok(self.clone());
        }
        let (inputs, outputs, precision) = (self.matrix.inputs(), self.matrix.outputs(), self.matrix.precision());
        let ranks: usize = adapters.iter().map(|(adapter, _)| adapter.sizes()[1]).sum();
        let mut halves = self.matrix.unpacked();
        halves.iter_mut().for_each(|half| half.resize((inputs + ranks) * outputs, 0.0));
        let mut narrow = vec![0.0; inputs * ranks];
        let mut first = 0;
        for (adapter, (half, column)) in adapters {
            let [_, rank, width] = adapter.sizes();
            let (a, b) = (numbers(&adapter.a.weight), numbers(&adapter.b.weight));
            for (to, from) in narrow.chunks_exact_mut(ranks).zip(a.chunks_exact(rank)) {
                to[first..].iter_mut().zip(from).for_each(|(to, from)| *to = *from * adapter.scale as f32);
            }
            for (to, from) in halves[*half][(inputs + first) * outputs..].chunks_exact_mut(outputs).zip(b.chunks_exact(width)) {
                to[*column..][..width].copy_from_slice(from);
            }
            first += rank;
        }
        let (order, sizes) = (Order::InputsOutputs, [inputs + ranks, outputs]);
        let matrix = match halves.as_slice() {
            [gate, up] => PackedMatrix::pack_gated(gate, up, order, sizes, precision)?,
            halves => PackedMatrix::pack_ordered(&halves.concat(), order, sizes, precision)?,
        };
        let narrow = PackedMatrix::pack_ordered(&narrow, order, [inputs, ranks], Precision::F32)?;
        Ok(Self { matrix: Arc::new(matrix), narrow: Some(Arc::new(narrow)) })
    }
}

/// Keys and values of one sequence, for each layer `[tokens, kv_heads * head_dim]`. A clone shares its memory until it is written to.
pub(super) type Sequence = Arc<Vec<[Vec<f32>; 2]>>;

impl PackedDecoder {
    /// Packs the decoder of `model`, whose norms are used as they are; its matrices come from `weights`, which is asked for each
    /// by the name of its parameter (`layers.0.self_attn.q_proj.base.weight`, .., `lm_head.base.weight`), so that never more than
    /// one layer of them needs to be in memory. Adapters are merged.
    ///
    /// # Errors
    /// Those of `weights`; [`Error::Shape`] for a matrix of another size, [`Error::NotFinite`] for weights that cannot be
    /// rounded, [`Error::Config`] for a model with routers or a wider adapter.
    pub fn new(model: &Decoder, precision: Precision, weights: &mut dyn FnMut(&str) -> Result<Weights>) -> Result<Self> {
        if model.layers.iter().any(|layer| layer.self_attn.routed.is_some()) {
            return Err(refused("with routed heads", "pack the base and ask about subjects without routers, or use f32"));
        }
        let config = &model.config;
        let (own, shared) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let adapters: HashMap<String, LoraAdapter> = model.adapters().into_iter().collect();
        let mut get = |name: String, sizes: [usize; 2]| {
            let mut weights = weights(&name)?;
            if weights.sizes != sizes {
                let expected = format!("{sizes:?}, as `{name}`,");
                return Err(Error::Shape { what: "a weight to be packed", found: weights.sizes.to_vec(), expected });
            }
            if let Some(adapter) = name.strip_suffix(".base.weight").and_then(|layer| adapters.get(layer)) {
                if adapter.sizes()[2] != sizes[1] {
                    return Err(refused("with an adapter that is wider than its layer", "ask with the model as it was opened"));
                }
                weights.add(adapter);
            }
            Ok(weights)
        };
        let (hidden, intermediate) = (config.hidden, config.intermediate);
        // The largest matrix comes first, when nothing else takes memory. What is lost in the head is lost of every word: four bits are too few.
        let of_head = if precision == Precision::Int4 { Precision::Int8 } else { precision };
        let head = Arc::new(get("lm_head.base.weight".into(), [hidden, config.vocabulary])?.pack(of_head)?);
        let mut layers = Vec::with_capacity(model.layers.len());
        for (index, layer) in model.layers.iter().enumerate() {
            let mut of = |name: &str, sizes| get(format!("layers.{index}.{name}.base.weight"), sizes);
            let projections = Weights::join(vec![
                of("self_attn.q_proj", [hidden, own])?,
                of("self_attn.k_proj", [hidden, shared])?,
                of("self_attn.v_proj", [hidden, shared])?,
            ])?
            .pack(precision)?
            .into();
            let output = of("self_attn.o_proj", [own, hidden])?.pack(precision)?.into();
            let [gate, up] = [of("mlp.gate_proj", [hidden, intermediate])?, of("mlp.up_proj", [hidden, intermediate])?];
            if gate.order != up.order {
                let expected = "the order of the gate's".into();
                return Err(Error::Shape { what: "a weight to be packed", found: up.sizes.to_vec(), expected });
            }
            let gate_and_up = PackedMatrix::pack_gated(&gate.numbers, &up.numbers, gate.order, gate.sizes, precision)?.into();
            drop([gate, up]);
            layers.push(Layer {
                input_norm: Norm::rms(&layer.input_layernorm),
                projections,
                output,
                feed_forward_norm: Norm::rms(&layer.post_attention_layernorm),
                gate_and_up,
                down: of("mlp.down_proj", [intermediate, hidden])?.pack(precision)?.into(),
            });
        }
        Ok(Self { config: config.clone(), precision, layers, norm: Norm::rms(&model.norm), head })
    }

    /// The same decoder with adapters added to its products, by the names of their layers (`layers.0.self_attn.q_proj`, ..). The
    /// matrices of adapted layers are copied, because the adapters' rows become theirs, in their precision; all others are shared.
    ///
    /// # Errors
    /// [`Error::Config`] for an adapter of the head, or of a layer that does not exist; [`Error::Shape`] for one of another size.
    pub(super) fn adapted(&self, adapters: Vec<(String, LoraAdapter)>) -> Result<Self> {
        let mut given: HashMap<String, LoraAdapter> = HashMap::with_capacity(adapters.len());
        for (name, adapter) in adapters {
            let Some([inputs, outputs]) = self.config.linear_sizes(&name).filter(|_| name != "lm_head") else {
                let remedy = "open the base without packing it to ask about this subject";
                return Err(refused(&format!("with an adapter of {name}"), remedy));
            };
            let sizes @ [found_inputs, _, found_outputs] = adapter.sizes();
            if [found_inputs, found_outputs] != [inputs, outputs] {
                let expected = format!("[{inputs}, rank, {outputs}], as {name} has");
                return Err(Error::Shape { what: "LoRA adapter", found: sizes.to_vec(), expected });
            }
            given.insert(name, adapter);
        }
        let (own, shared) = (self.config.heads * self.config.head_dim, self.config.kv_heads * self.config.head_dim);
        let mut layers = self.layers.clone();
        for (index, layer) in layers.iter_mut().enumerate() {
            let mut take = |parts: &[(&str, Place)]| -> Vec<(LoraAdapter, Place)> {
                let found = |(name, place): &(&str, Place)| Some((given.remove(&format!("layers.{index}.{name}"))?, *place));
                parts.iter().filter_map(found).collect()
            };
            let attention =
                [("self_attn.q_proj", (0, 0)), ("self_attn.k_proj", (0, own)), ("self_attn.v_proj", (0, own + shared))];
            layer.projections = layer.projections.adapted(&take(&attention))?;
            layer.output = layer.output.adapted(&take(&[("self_attn.o_proj", (0, 0))]))?;
            layer.gate_and_up = layer.gate_and_up.adapted(&take(&[("mlp.gate_proj", (0, 0)), ("mlp.up_proj", (1, 0))]))?;
            layer.down = layer.down.adapted(&take(&[("mlp.down_proj", (0, 0))]))?;
        }
        Ok(Self {
            config: self.config.clone(),
            precision: self.precision,
            layers,
            norm: self.norm.clone(),
            head: self.head.clone(),
        })
    }

    /// How the weights are kept.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Memory that the weights take, in bytes.
    pub fn bytes(&self) -> usize {
        let layer = |layer: &Layer| {
            [&layer.projections, &layer.output, &layer.gate_and_up, &layer.down].map(Product::bytes).iter().sum::<usize>()
        };
        self.layers.iter().map(layer).sum::<usize>() + self.head.bytes()
    }

    /// As [`Decoder::forward_traced`], with the routers of `layers` where there are some; `kinds` are those of the new tokens.
    #[allow(clippy::too_many_arguments)] // what a forward pass takes
    pub(super) fn forward(
        &self,
        layers: &[DecoderLayer],
        embeddings: Tensor<3>,
        positions: Tensor<2, Int>,
        mask: Option<Tensor<3, Bool>>,
        kinds: Option<&[Vec<TokenKind>]>,
        cache: Option<&mut KeyValueCache>,
        trace: &mut Trace<'_>,
    ) -> Result<Tensor<3>> {
        let ([_, tokens, hidden], device) = (embeddings.dims(), embeddings.device().inner());
        let mut states = self.run(layers, embeddings, positions, mask, kinds, cache, trace, Wanted::HiddenStates)?;
        states.iter_mut().for_each(|state| *state = self.norm.forward(state));
        let normalised = tensor_of(&states, [tokens, hidden], &device);
        trace.show(format_args!("text.normalized"), &normalised);
        Ok(normalised)
    }

    /// As [`Decoder::fill`].
    pub(super) fn fill(
        &self,
        layers: &[DecoderLayer],
        embeddings: Tensor<3>,
        positions: Tensor<2, Int>,
        kinds: &[Vec<TokenKind>],
        cache: &mut KeyValueCache,
    ) -> Result<()> {
        let (kinds, cache) = (Some(kinds), Some(cache));
        self.run(layers, embeddings, positions, None, kinds, cache, &mut Trace::off(), Wanted::KeysAndValues).map(|_| ())
    }

    /// The states behind the last layer, of every sequence, if those are wanted.
    #[allow(clippy::too_many_arguments)] // what a forward pass takes
    fn run(
        &self,
        layers: &[DecoderLayer],
        embeddings: Tensor<3>,
        positions: Tensor<2, Int>,
        mask: Option<Tensor<3, Bool>>,
        kinds: Option<&[Vec<TokenKind>]>,
        cache: Option<&mut KeyValueCache>,
        trace: &mut Trace<'_>,
        wanted: Wanted,
    ) -> Result<Vec<Vec<f32>>> {
        let ([batch, tokens, hidden], device) = (embeddings.dims(), embeddings.device().inner());
        let mut own = KeyValueCache::new(self.layers.len(), tokens);
        let cache = cache.unwrap_or(&mut own);
        let is_routed = layers.iter().any(|layer| layer.self_attn.routed.is_some());
        let kinds = if is_routed { cache.kinds_with(kinds, tokens).map(<[_]>::to_vec) } else { None };
        let (held, planned, sequences) = cache.sequences(batch, self.layers.len(), tokens);
        let positions: Vec<i32> = positions.into_data().iter::<i32>().collect();
        let mask: Option<Vec<bool>> = mask.map(|mask| mask.into_data().iter::<bool>().collect());
        let rows = numbers_of(embeddings);
        let mut states: Vec<Vec<f32>> = rows.chunks(tokens * hidden).map(<[f32]>::to_vec).collect();
        let keys = held + tokens;
        let rotations: Vec<Rotations> =
            positions.chunks(tokens).map(|positions| Rotations::new(positions, &self.config)).collect();
        let room = planned * self.config.kv_heads * self.config.head_dim;
        sequences.iter_mut().for_each(|sequence| make_own(sequence, room));
        let mut memory = BlockMemory::default();
        together(|| {
            self.layers.iter().enumerate().try_for_each(|(index, layer)| {
                for (row, state) in states.iter_mut().enumerate() {
                    let rotations = rotations.get(row).or(rotations.first());
                    let mask = mask.as_ref().map(|mask| {
                        let each = tokens * keys;
                        &mask[if mask.len() > each { row * each..(row + 1) * each } else { 0..each }]
                    });
                    let cache = &mut Arc::make_mut(&mut sequences[row])[index];
                    let router = layers.get(index).and_then(|layer| layer.self_attn.routed.as_ref());
                    let kinds = kinds.as_ref().and_then(|kinds| kinds.get(row).or(kinds.first()));
                    let routed = router.zip(kinds).map(|(router, kinds)| Routed { router, kinds, device: &device });
                    // Nothing reads the last layer's output for tokens whose hidden states are not requested.
                    let of_layer = if index + 1 == self.layers.len() { wanted } else { Wanted::HiddenStates };
                    self.layer(layer, state, rotations, mask, routed, held, cache, &mut memory, of_layer)?;
                }
                if trace.is_on() {
                    trace.show(format_args!("text.layer{index}"), &tensor_of(&states, [tokens, hidden], &device));
                }
                Ok(())
            })
        })?;
        cache.advance(tokens);
        Ok(states)
    }

    /// One layer, of the `[tokens, hidden]` states of one sequence.
    #[allow(clippy::too_many_arguments)] // the state of one step
    fn layer(
        &self,
        layer: &Layer,
        state: &mut Vec<f32>,
        rotations: Option<&Rotations>,
        mask: Option<&[bool]>,
        routed: Option<Routed<'_>>,
        held: usize,
        [keys, values]: &mut [Vec<f32>; 2],
        memory: &mut BlockMemory,
        wanted: Wanted,
    ) -> Result<()> {
        let BlockMemory { normalised, projected: all, mixed, attended, fed_forward: inner } = memory;
        let DecoderConfig { heads, kv_heads, head_dim, hidden, .. } = self.config;
        let (own, shared) = (heads * head_dim, kv_heads * head_dim);
        let (row, tokens) = (own + 2 * shared, state.len() / hidden);
        layer.input_norm.forward_into(state, normalised);
        layer.projections.forward_into(normalised, tokens, Finish::Nothing, all)?;
        // What was cut off the cache is still there.
        [&mut *keys, &mut *values].into_iter().for_each(|numbers| numbers.truncate(held * shared));
        if let Some(rotations) = rotations {
            share_rows(all, row, |token, all| {
                all[..own + shared].chunks_exact_mut(head_dim).for_each(|head| rotations.turn(token, head));
            });
        }
        for all in all.chunks_exact(row) {
            keys.extend_from_slice(&all[own..own + shared]);
            values.extend_from_slice(&all[own + shared..]);
        }
        if wanted == Wanted::KeysAndValues {
            return Ok(());
        }
        let count = held + tokens;
        let weights = routed.map(|routed| routed.weights(normalised, [tokens, hidden, heads], [held, count]));
        let weighed = weights.as_ref().map(|(weights, keys)| KeyWeights { weights, keys });
        match mask {
            Some(mask) => *mixed = masked_attention(all, row, [keys, values], mask, weighed, &self.config),
            None if tokens == 1 => {
                *mixed = step_attention(&all[..own], [keys, values], [heads, kv_heads, head_dim], weighed)?;
            }
            None => {
                let queries = Heads::side_by_side(all, 0, [tokens, row, head_dim]);
                let [keys, values] = [&*keys, &*values].map(|held| Heads::side_by_side(held, 0, [count, shared, head_dim]));
                let sizes = [heads, kv_heads, tokens, head_dim];
                causal_attention_into([queries, keys, values], sizes, count, weighed, self.precision, mixed)?;
            }
        }
        layer.output.forward_into(mixed, tokens, Finish::Add(state), attended)?;
        layer.feed_forward_norm.forward_into(attended, normalised);
        layer.gate_and_up.forward_into(normalised, tokens, Finish::Nothing, inner)?;
        layer.down.forward_into(inner, tokens, Finish::Add(attended), state)?;
        Ok(())
    }

    /// Logits of the words, `[batch, tokens, vocabulary]`, of hidden states.
    pub(super) fn logits(&self, hidden: Tensor<3>) -> Result<Tensor<3>> {
        let ([batch, tokens, _], device) = (hidden.dims(), hidden.device().inner());
        let logits = self.head.forward_new(&numbers_of(hidden), batch * tokens, None, Finish::Nothing)?;
        Ok(Tensor::from_data(TensorData::new(logits, [batch, tokens, self.head.outputs()]), &device))
    }
}

/// What is computed of new tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    HiddenStates,
    /// What goes into the cache.
    KeysAndValues,
}

/// The router of a layer, and what the tokens are to it: those held, then the new ones.
struct Routed<'a> {
    router: &'a HeadRouter,
    kinds: &'a [TokenKind],
    device: &'a Device,
}

impl Routed<'_> {
    /// The weight of every head for every new token, `[tokens, heads]`, of the attention's input, and which keys are visual: what
    /// text reads from those is weighed, visual tokens read as in the base.
    fn weights(
        &self,
        normalised: &[f32],
        [tokens, hidden, heads]: [usize; 3],
        [held, count]: [usize; 2],
    ) -> (Vec<f32>, Vec<bool>) {
        let x = Tensor::<3>::from_data(TensorData::new(normalised.to_vec(), [1, tokens, hidden]), self.device);
        let gates = self.router.gates(x);
        let mut weights: Vec<f32> = self.router.weights(&gates, heads).into_data().iter::<f32>().collect();
        for (token, weights) in weights.chunks_exact_mut(heads).enumerate() {
            if self.kinds.get(held + token) != Some(&TokenKind::Text) {
                weights.fill(1.0);
            }
        }
        (weights, (0..count).map(|key| self.kinds.get(key) == Some(&TokenKind::Visual)).collect())
    }
}

/// Makes a sequence unshared, with room for `room` numbers in each of its parts.
fn make_own(sequence: &mut Sequence, room: usize) {
    match Arc::get_mut(sequence) {
        Some(own) => {
            own.iter_mut().flatten().for_each(|numbers| numbers.reserve_exact(room.saturating_sub(numbers.len())));
        }
        None => {
            let copy = |numbers: &Vec<f32>| {
                let mut copy = Vec::with_capacity(room.max(numbers.len()));
                copy.extend_from_slice(numbers);
                copy
            };
            *sequence = Arc::new(sequence.iter().map(|parts| parts.each_ref().map(copy)).collect());
        }
    }
}

impl Weights {
    /// Adds what an adapter does, `scale A B`.
    fn add(&mut self, adapter: &LoraAdapter) {
        let [a, b] = [&adapter.a, &adapter.b].map(|layer| layer.weight.val().inner().cast(DType::F32));
        if b.clone().abs().max().into_scalar::<f32>() == 0.0 {
            return; // a fresh one does nothing
        }
        let delta = a.matmul(b) * adapter.scale;
        let delta = if self.order == Order::OutputsInputs { delta.transpose() } else { delta };
        let delta = delta.into_data();
        self.numbers.iter_mut().zip(delta.iter::<f32>()).for_each(|(number, delta)| *number += delta);
    }
}

/// The error of something that packed weights cannot do.
pub(super) fn refused(value: &str, remedy: &str) -> Error {
    Error::Config { key: "packed weights", value: value.into(), remedy: remedy.into() }
}

/// The matrices of a model in memory, as [`PackedDecoder::new`] wants them.
pub(super) fn weights_of(model: &Decoder, name: &str) -> Result<Weights> {
    let layer = model.linears().into_iter().find(|(layer, _)| name.strip_suffix(".base.weight") == Some(layer));
    let (_, layer) = layer.ok_or_else(|| refused(name, "ask for a linear layer of the model"))?;
    Ok(Weights { numbers: numbers(&layer.base.weight), order: Order::InputsOutputs, sizes: layer.base.weight.val().dims() })
}

fn numbers_of(tensor: Tensor<3>) -> Vec<f32> {
    let data = tensor.inner().into_data().convert::<f32>();
    data.try_to_vec().unwrap_or_default()
}

fn tensor_of(states: &[Vec<f32>], [tokens, hidden]: [usize; 2], device: &Device) -> Tensor<3> {
    Tensor::from_data(TensorData::new(states.concat(), [states.len(), tokens, hidden]), device)
}

/// Cosines and sines of the positions of some tokens, each `[tokens, head_dim / 2]`.
struct Rotations {
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Rotations {
    fn new(positions: &[i32], config: &DecoderConfig) -> Self {
        let half = config.head_dim / 2;
        let frequency = |place: usize| config.rope_theta.powf(-2.0 * place as f64 / config.head_dim as f64) as f32;
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let angles = positions.iter().flat_map(|&position| frequencies.iter().map(move |frequency| position as f32 * frequency));
        let (sines, cosines) = angles.map(f32::sin_cos).unzip();
        Self { half, cosines, sines }
    }

    /// Turns one head of a token: number `i` of the first half and number `i` of the second are a point in the plane.
    fn turn(&self, token: usize, head: &mut [f32]) {
        let angles = token * self.half..(token + 1) * self.half;
        let (first, second) = head.split_at_mut(self.half);
        let angles = self.cosines[angles.clone()].iter().zip(&self.sines[angles]);
        for ((x, y), (cosine, sine)) in first.iter_mut().zip(second).zip(angles) {
            (*x, *y) = (*x * cosine - *y * sine, *y * cosine + *x * sine);
        }
    }
}

/// Attention under a mask `[tokens, keys]`, true = hidden; a token that may see nothing sees everything. Only prompts with padding
/// have one.
fn masked_attention(
    all: &[f32],
    row: usize,
    [keys, values]: [&[f32]; 2],
    mask: &[bool],
    weighed: Option<KeyWeights<'_>>,
    config: &DecoderConfig,
) -> Vec<f32> {
    let (heads, width, shared) = (config.heads, config.head_dim, config.kv_heads * config.head_dim);
    let group = heads / config.kv_heads;
    let count = keys.len() / shared;
    let mut out = vec![0.0; all.len() / row * heads * width];
    for (token, (all, out)) in all.chunks_exact(row).zip(out.chunks_exact_mut(heads * width)).enumerate() {
        let mask = &mask[token * count..][..count];
        let is_blind = mask.iter().all(|hidden| *hidden);
        for (head, out) in out.chunks_exact_mut(width).enumerate() {
            let (query, place) = (&all[head * width..][..width], head / group * width);
            let seen = (0..count).filter(|&key| is_blind || !mask[key]);
            let scores: Vec<(usize, f32)> = seen
                .map(|key| {
                    let dot: f32 = query.iter().zip(&keys[key * shared + place..]).map(|(x, y)| x * y).sum();
                    (key, dot / (width as f32).sqrt())
                })
                .collect();
            let largest = scores.iter().map(|(_, score)| *score).fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = scores.iter().map(|(_, score)| (score - largest).exp()).sum();
            for (key, score) in scores {
                let weight =
                    weighed.map_or(1.0, |weighed| if weighed.keys[key] { weighed.weights[token * heads + head] } else { 1.0 });
                let share = weight * (score - largest).exp() / sum;
                out.iter_mut().zip(&values[key * shared + place..]).for_each(|(out, value)| *out += share * value);
            }
        }
    }
    out
}
