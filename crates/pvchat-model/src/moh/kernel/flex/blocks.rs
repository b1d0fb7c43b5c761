//! Both passes over blocks of rows, some keys at a time: what is made ready of these keys serves every block of a task, and no
//! more scores than those of one block and these keys exist at any time.

use rayon::prelude::*;

use super::{
    super::reference::HIDDEN,
    matrix::{Matrix, padded, product},
    plan::{Block, Plan},
};
use crate::{
    graph::FlexTensor,
    simd::{exponentials, for_the_widest_registers, largest, product_sum},
};

/// Keys that are looked at together: with the scores of a block they fit the second-level cache. Of 256 and 512, and of 64 and
/// 128 rows, 256 keys and 128 rows are the fastest on a Zen core with AVX-512.
const KEYS: usize = 256;

/// What both passes read. Shapes `[batch, heads, tokens, width]`, `[batch, key heads, keys, width]`.
#[derive(Debug)]
pub(super) struct Inputs {
    pub q: FlexTensor,
    pub k: FlexTensor,
    pub v: FlexTensor,
    /// `[batch, keys]`, one where a key is hidden.
    pub hidden: Option<Vec<u8>>,
    /// `[batch, tokens, keys]`, one where a key is hidden from a token.
    pub hidden_pairs: Option<Vec<u8>>,
    /// `[batch, heads, tokens]`.
    pub scales: Option<Vec<f32>>,
    pub causal: bool,
    pub sizes: [usize; 4],
    pub key_sizes: [usize; 4],
    pub plan: Plan,
}

/// What the forward pass leaves: memory linear in the tokens.
#[derive(Debug)]
pub(super) struct Forward {
    /// Times its scale, `[batch, heads, tokens, width]`.
    pub output: Vec<f32>,
    /// Before scaling, where that is another thing.
    pub context: Option<Vec<f32>>,
    /// Largest score and sum of exponentials of each row.
    pub statistics: Vec<[f32; 2]>,
}

/// Gradients in the order of the parents; that of the scales is empty where there are none.
pub(super) struct Slopes {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    pub scales: Vec<f32>,
}

/// Memory of a task for copies and scores.
#[derive(Default)]
struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    changes: Vec<f32>,
}

/// A block in the forward pass.
struct Ahead<'a> {
    block: &'a Block,
    queries: Vec<f32>,
    context: Vec<f32>,
    statistics: Vec<[f32; 2]>,
}

/// A block in the backward pass.
struct Back<'a> {
    block: &'a Block,
    queries: Vec<f32>,
    /// Of the context before scaling.
    slopes: Vec<f32>,
    /// Product of those with the context, which the softmax takes off.
    offsets: Vec<f32>,
    /// Gradients of the scales.
    gates: Vec<f32>,
    /// Gradients of the queries.
    dq: Vec<f32>,
}

impl Inputs {
    fn scale(&self, row: usize) -> f32 {
        self.scales.as_ref().map_or(1.0, |scales| scales[row])
    }

    fn row(&self, block: &Block, token: usize) -> usize {
        (block.batch * self.sizes[1] + block.head) * self.sizes[2] + token
    }

    /// Whether `token` may not see `key`.
    fn hides(&self, batch: usize, token: usize, key: usize) -> bool {
        let [.., tokens, _] = self.sizes;
        let keys = self.key_sizes[2];
        let is_set = |mask: &Option<Vec<u8>>, row: usize| mask.as_ref().is_some_and(|mask| mask[row * keys + key] != 0);
        self.causal && key + tokens > keys + token
            || is_set(&self.hidden, batch)
            || is_set(&self.hidden_pairs, batch * tokens + token)
    }

    fn masked(&self) -> bool {
        self.causal || self.hidden.is_some() || self.hidden_pairs.is_some()
    }

    /// Scaled queries of a block, in order.
    fn queries(&self, block: &Block) -> Vec<f32> {
        let width = self.sizes[3];
        let factor = (width as f32).sqrt().recip();
        let source = Matrix::of(&self.q, block.batch, block.head);
        let mut queries = vec![0.0; block.tokens.len() * width];
        for (to, &token) in queries.chunks_exact_mut(width).zip(&block.tokens) {
            source.copy_row(token, factor, to);
        }
        queries
    }

    /// Replaces what is hidden in scores `[rows, stride]` of a block with `count` keys from `first` on.
    fn fill_hidden(&self, block: &Block, [first, count]: [usize; 2], (scores, stride): (&mut [f32], usize), value: f32) {
        if self.masked() {
            for (scores, &token) in scores.chunks_exact_mut(stride).zip(&block.tokens) {
                for (key, score) in scores[..count].iter_mut().enumerate() {
                    if self.hides(block.batch, token, first + key) {
                        *score = value;
                    }
                }
            }
        }
    }

    /// Key and value matrices that a head looks at.
    fn keys_and_values(&self, block: &Block) -> [Matrix<'_>; 2] {
        let head = block.head / (self.sizes[1] / self.key_sizes[1]);
        [Matrix::of(&self.k, block.batch, head), Matrix::of(&self.v, block.batch, head)]
    }

    /// Context (divided by the sums) and statistics of blocks of one head.
    fn forward_task<'a>(&self, blocks: &'a [Block]) -> Vec<Ahead<'a>> {
        let (width, keys) = (self.sizes[3], self.key_sizes[2]);
        let Some(first_block) = blocks.first() else { return Vec::new() };
        let [k, v] = self.keys_and_values(first_block);
        let mut states: Vec<Ahead> = blocks
            .iter()
            .map(|block| Ahead {
                block,
                queries: self.queries(block),
                context: vec![0.0; block.tokens.len() * width],
                statistics: vec![[f32::NEG_INFINITY, 0.0]; block.tokens.len()],
            })
            .collect();
        let mut scratch = Scratch::default();
        for first in (0..keys).step_by(KEYS) {
            let count = KEYS.min(keys - first);
            let stride = padded(count);
            // A copy pays where it is read more than once.
            let keys = k.starting_at(first);
            let keys = if states.len() > 1 { keys.close([count, width], &mut scratch.keys) } else { keys };
            let values = v.starting_at(first).close([count, width], &mut scratch.values);
            for state in &mut states {
                let rows = state.block.tokens.len();
                scratch.scores.resize(rows * stride, 0.0);
                let scores = &mut scratch.scores;
                let queries = Matrix::new(&state.queries, width);
                product((&mut *scores, stride), [rows, width, count], queries, keys.transposed(), 1.0, false);
                self.fill_hidden(state.block, [first, count], (&mut *scores, stride), HIDDEN);
                let parts = scores.chunks_exact_mut(stride).zip(state.context.chunks_exact_mut(width)).zip(&mut state.statistics);
                for ((scores, context), [maximum, sum]) in parts {
                    let scores = &mut scores[..count];
                    let next = largest(scores).max(*maximum);
                    // Before the first keys nothing is kept, and infinity less infinity is no number.
                    let kept = if *maximum == next { 1.0 } else { (*maximum - next).exp() };
                    *sum = *sum * kept + exponentials(scores, next);
                    *maximum = next;
                    if kept != 1.0 {
                        context.iter_mut().for_each(|value| *value *= kept);
                    }
                }
                let weights = Matrix::new(scores, stride);
                product((&mut state.context, width), [rows, count, width], weights, values, 1.0, true);
            }
        }
        for state in &mut states {
            for (context, [_, sum]) in state.context.chunks_exact_mut(width).zip(&state.statistics) {
                context.iter_mut().for_each(|value| *value /= sum);
            }
        }
        states
    }

    /// Attention of all (token, head) pairs that are on. `keep`: a backward pass will follow.
    pub fn forward(&self, keep: bool) -> Forward {
        let [batch, heads, tokens, width] = self.sizes;
        let tasks = self.plan.forward();
        let results: Vec<_> = tasks.into_par_iter().with_max_len(1).map(|blocks| self.forward_task(blocks)).collect();
        let rows = batch * heads * tokens;
        let mut output = vec![0.0; rows * width];
        let mut context = (keep && self.scales.is_some()).then(|| vec![0.0; rows * width]);
        let mut statistics = vec![[0.0; 2]; if keep { rows } else { 0 }];
        for state in results.into_iter().flatten() {
            let found = state.context.chunks_exact(width).zip(state.statistics);
            for (&token, (found, numbers)) in state.block.tokens.iter().zip(found) {
                let row = self.row(state.block, token);
                let (scale, place) = (self.scale(row), row * width..(row + 1) * width);
                for (to, value) in output[place.clone()].iter_mut().zip(found) {
                    *to = value * scale;
                }
                if let Some(context) = &mut context {
                    context[place].copy_from_slice(found);
                }
                if keep {
                    statistics[row] = numbers;
                }
            }
        }
        Forward { output, context, statistics }
    }

    /// What the backward pass of a block starts from; `slope` is that of the output.
    fn back<'a>(&self, block: &'a Block, forward: &Forward, slope: &[f32]) -> Back<'a> {
        let (rows, width) = (block.tokens.len(), self.sizes[3]);
        let context = forward.context.as_ref().unwrap_or(&forward.output);
        let (mut slopes, mut gates, mut offsets) = (vec![0.0; rows * width], Vec::new(), Vec::new());
        for (to, &token) in slopes.chunks_exact_mut(width).zip(&block.tokens) {
            let row = self.row(block, token);
            let (scale, place) = (self.scale(row), row * width..(row + 1) * width);
            let gate = product_sum(&slope[place.clone()], &context[place.clone()]);
            gates.push(gate);
            offsets.push(gate * scale);
            to.iter_mut().zip(&slope[place]).for_each(|(to, slope)| *to = slope * scale);
        }
        Back { block, queries: self.queries(block), slopes, offsets, gates, dq: vec![0.0; rows * width] }
    }

    /// Gradients of blocks that look at the same keys: those of queries and scales returned, those of keys and values written to
    /// `dk` and `dv` `[keys, width]` unless there is no block.
    fn backward_task<'a>(
        &self,
        blocks: &[&'a Block],
        forward: &Forward,
        slope: &[f32],
        [dk, dv]: [&mut [f32]; 2],
    ) -> Vec<Back<'a>> {
        let (width, keys) = (self.sizes[3], self.key_sizes[2]);
        let Some(first_block) = blocks.first() else { return Vec::new() };
        let [k, v] = self.keys_and_values(first_block);
        let factor = (width as f32).sqrt().recip();
        let mut states: Vec<Back> = blocks.iter().map(|block| self.back(block, forward, slope)).collect();
        let mut scratch = Scratch::default();
        for first in (0..keys).step_by(KEYS) {
            let count = KEYS.min(keys - first);
            let (stride, place) = (padded(count), first * width..(first + count) * width);
            let k = k.starting_at(first).close([count, width], &mut scratch.keys);
            let v = v.starting_at(first);
            let v = if states.len() > 1 { v.close([count, width], &mut scratch.values) } else { v };
            for (index, state) in states.iter_mut().enumerate() {
                let rows = state.block.tokens.len();
                scratch.scores.resize(rows * stride, 0.0);
                scratch.changes.resize(rows * stride, 0.0);
                let (weights, changes) = (&mut scratch.scores, &mut scratch.changes);
                let [queries, slopes] = [&state.queries, &state.slopes].map(|rows| Matrix::new(rows, width));
                product((&mut *weights, stride), [rows, width, count], queries, k.transposed(), 1.0, false);
                self.fill_hidden(state.block, [first, count], (&mut *weights, stride), HIDDEN);
                product((&mut *changes, stride), [rows, width, count], slopes, v.transposed(), 1.0, false);
                let parts = weights.chunks_exact_mut(stride).zip(changes.chunks_exact_mut(stride));
                for ((weights, changes), (&token, &offset)) in parts.zip(state.block.tokens.iter().zip(&state.offsets)) {
                    let [maximum, sum] = forward.statistics[self.row(state.block, token)];
                    let (weights, changes) = (&mut weights[..count], &mut changes[..count]);
                    exponentials(weights, maximum);
                    softmax_slopes(weights, changes, sum.recip(), offset);
                }
                // A replaced score passes nothing on, also in a row whose keys are all hidden.
                self.fill_hidden(state.block, [first, count], (&mut *changes, stride), 0.0);
                let [weights, changes] = [&*weights, &*changes].map(|scores| Matrix::new(scores, stride));
                product((&mut dv[place.clone()], width), [count, rows, width], weights.transposed(), slopes, 1.0, index > 0);
                product((&mut dk[place.clone()], width), [count, rows, width], changes.transposed(), queries, 1.0, index > 0);
                product((&mut state.dq, width), [rows, count, width], changes, k, factor, true);
            }
        }
        states
    }

    /// All gradients, scores computed again block by block. `slope` is that of the output, in order.
    ///
    /// Of the tasks of one key head the first writes the key and value gradients in place, the others some of their own
    /// that are then added in order: equal inputs give equal bits on one machine.
    pub fn backward(&self, forward: &Forward, slope: &[f32]) -> Slopes {
        let ([batch, heads, tokens, width], [_, key_heads, keys, _]) = (self.sizes, self.key_sizes);
        let (pairs, key_size) = (batch * key_heads, keys * width);
        let (mut k, mut v) = (vec![0.0; pairs * key_size], vec![0.0; pairs * key_size]);
        let mut tasks = Vec::new();
        let places = k.chunks_exact_mut(key_size).zip(v.chunks_exact_mut(key_size));
        for ((pair, place), divided) in places.enumerate().zip(self.plan.backward(pairs, rayon::current_num_threads())) {
            let mut in_place = Some(place);
            tasks.extend(divided.into_iter().map(|blocks| (pair, blocks, in_place.take())));
        }
        let results: Vec<_> = tasks
            .into_par_iter()
            .with_max_len(1)
            .map(|(pair, blocks, in_place)| {
                let size = if in_place.is_some() { 0 } else { key_size };
                let mut own = [vec![0.0; size], vec![0.0; size]];
                let [own_k, own_v] = &mut own;
                let (dk, dv) = in_place.unwrap_or((own_k, own_v));
                let found = self.backward_task(&blocks, forward, slope, [dk, dv]);
                (pair, found, own)
            })
            .collect();
        let rows = batch * heads * tokens;
        let scaled = if self.scales.is_some() { rows } else { 0 };
        let (mut q, mut scales) = (vec![0.0; rows * width], vec![0.0; scaled]);
        for (pair, found, [own_k, own_v]) in results {
            k[pair * key_size..].iter_mut().zip(own_k).for_each(|(to, value)| *to += value);
            v[pair * key_size..].iter_mut().zip(own_v).for_each(|(to, value)| *to += value);
            for state in found {
                for ((&token, dq), gate) in state.block.tokens.iter().zip(state.dq.chunks_exact(width)).zip(state.gates) {
                    let row = self.row(state.block, token);
                    q[row * width..(row + 1) * width].copy_from_slice(dq);
                    if let Some(scale) = scales.get_mut(row) {
                        *scale = gate;
                    }
                }
            }
        }
        Slopes { q, k, v, scales }
    }
}

for_the_widest_registers! {
    /// Exponentials times `factor` in place of `weights`; in place of their gradients, `changes`, those of the scores.
    fn softmax_slopes(weights: &mut [f32], changes: &mut [f32], factor: f32, offset: f32) = softmax_slopes_of
}

#[inline(always)]
fn softmax_slopes_of<const FUSED: bool>(weights: &mut [f32], changes: &mut [f32], factor: f32, offset: f32) {
    for (weight, change) in weights.iter_mut().zip(changes) {
        *weight *= factor;
        *change = *weight * (*change - offset);
    }
}
