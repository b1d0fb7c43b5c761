//! Both passes over blocks of rows, some keys at a time: the prepared keys serve every block of a task, and only the scores of
//! one block and these keys exist at any time.

use std::{mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::{
    super::reference::HIDDEN,
    matrix::Matrix,
    plan::{Block, Plan, keys_of_a_task, longest_first, rows_of},
    product::{LANES, PART, Sum, padded, product},
    turned::Turned,
};
use crate::{
    graph::FlexTensor,
    simd::{exponentials, for_the_widest_registers, largest, multiply_add, product_sum},
};

/// Keys that are looked at together: with the scores of a block they fit the second-level cache. Of 128, 192, 256 and 512, and of 64
/// and 128 rows, 256 keys and 128 rows are the fastest on a Zen core with AVX-512; more keys for fewer rows gain nothing.
const KEYS: usize = 256;

/// A weight above this share of a row's makes its key heavy; there are fewer than sixteen of them.
const HEAVY: f32 = 1.0 / 16.0;

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
    keys: Turned,
    values: Turned,
    scores: Vec<f32>,
    changes: Vec<f32>,
}

/// A block in the forward pass, after some keys.
struct Ahead<'a> {
    block: &'a Block,
    queries: Vec<f32>,
    /// Not yet divided by the sums.
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
    /// Gradients of the scaled queries.
    dq: Vec<f32>,
    /// What the gradients of the scores sum up to, row by row, so far as these keys go.
    rests: Vec<f32>,
    /// Keys with much of a row's weight: the row, the key, the weight.
    heavy: Vec<(usize, usize, f32)>,
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

    /// For each head of each sequence what there is for blocks of it.
    fn by_head<'a, S>(&self, states: impl Iterator<Item = (&'a Block, S)>) -> Vec<Vec<S>> {
        let mut of_heads: Vec<Vec<S>> = (0..self.sizes[0] * self.sizes[1]).map(|_| Vec::new()).collect();
        for (block, state) in states {
            of_heads[block.batch * self.sizes[1] + block.head].push(state);
        }
        of_heads
    }

    /// Context and statistics of blocks of one head, as far as they come from these keys.
    fn forward_task<'a>(&self, blocks: &'a [Block], keys: Range<usize>) -> Vec<Ahead<'a>> {
        let width = self.sizes[3];
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
        for first in keys.clone().step_by(KEYS) {
            let count = KEYS.min(keys.end - first);
            let stride = padded(count);
            let (of_keys, of_values) = (k.rows(first..first + count, width), v.rows(first..first + count, width));
            let next = k.rows(first + count..keys.end.min(first + count + PART), width);
            let last = states.len() - 1;
            for (index, state) in states.iter_mut().enumerate() {
                let rows = state.block.tokens.len();
                scratch.scores.resize(rows * stride, 0.0);
                let scores = &mut scratch.scores;
                let coming = (index == 0).then_some(&of_values);
                let queries = Matrix::new(&state.queries, width);
                scratch.keys.product((&mut *scores, stride), queries, rows, &of_keys, index > 0, coming);
                self.fill_hidden(state.block, [first, count], (&mut *scores, stride), HIDDEN);
                let parts = scores.chunks_exact_mut(stride).zip(state.context.chunks_exact_mut(width)).zip(&mut state.statistics);
                for ((scores, context), [maximum, sum]) in parts {
                    let scores = &mut scores[..count];
                    let next = largest(scores).max(*maximum);
                    let kept = shrinks(*maximum, next);
                    *sum = *sum * kept + exponentials(scores, next);
                    *maximum = next;
                    if kept != 1.0 {
                        context.iter_mut().for_each(|value| *value *= kept);
                    }
                }
                let weights = Matrix::new(scores, stride);
                let mut coming = (index == last).then(|| next.clone());
                let sizes = [rows, count, width];
                let values = v.starting_at(first);
                product((&mut state.context, width), sizes, weights, values, true, coming.as_mut_slice());
            }
        }
        states
    }

    /// Attention of all (token, head) pairs that are on.
    pub fn forward(&self) -> Forward {
        let ([batch, heads, tokens, width], keys) = (self.sizes, self.key_sizes[2]);
        let divided = self.plan.forward();
        let count = keys_of_a_task([divided.len(), keys], rayon::current_num_threads());
        let tasks = divided.iter().flat_map(|&blocks| {
            let rows = rows_of(blocks);
            (0..keys).step_by(count).map(move |first| {
                let keys = first..keys.min(first + count);
                (rows * keys.len(), move || self.forward_task(blocks, keys))
            })
        });
        let rows = batch * heads * tokens;
        let mut output = vec![0.0; rows * width];
        let mut statistics = vec![[f32::NEG_INFINITY, 0.0]; rows];
        let of_heads = self.by_head(longest_first(tasks.collect()).into_iter().flatten().map(|state| (state.block, state)));
        let parts = output.par_chunks_exact_mut(tokens * width).zip(statistics.par_chunks_exact_mut(tokens)).zip(of_heads);
        parts.enumerate().for_each(|(head, ((output, statistics), states))| {
            for state in states {
                for ((&token, found), [maximum, sum]) in
                    state.block.tokens.iter().zip(state.context.chunks_exact(width)).zip(state.statistics)
                {
                    let [largest, total] = &mut statistics[token];
                    let next = maximum.max(*largest);
                    let (kept, new) = (shrinks(*largest, next), shrinks(maximum, next));
                    for (value, found) in output[token * width..(token + 1) * width].iter_mut().zip(found) {
                        *value = *value * kept + found * new;
                    }
                    (*largest, *total) = (next, *total * kept + sum * new);
                }
            }
            for (token, (output, [_, sum])) in output.chunks_exact_mut(width).zip(statistics).enumerate() {
                // What is off has looked at no key.
                if *sum != 0.0 {
                    let factor = self.scale(head * tokens + token) / *sum;
                    output.iter_mut().for_each(|value| *value *= factor);
                }
            }
        });
        Forward { output, statistics }
    }

    /// What the backward pass of a block starts from; `slope` is that of the output.
    fn back<'a>(&self, block: &'a Block, forward: &Forward, slope: &[f32]) -> Back<'a> {
        let (rows, width) = (block.tokens.len(), self.sizes[3]);
        let (mut slopes, mut gates, mut offsets) = (vec![0.0; rows * width], Vec::new(), Vec::new());
        for (to, &token) in slopes.chunks_exact_mut(width).zip(&block.tokens) {
            let row = self.row(block, token);
            let (scale, place) = (self.scale(row), row * width..(row + 1) * width);
            let offset = product_sum(&slope[place.clone()], &forward.output[place.clone()]);
            gates.push(offset / scale);
            offsets.push(offset);
            to.iter_mut().zip(&slope[place]).for_each(|(to, slope)| *to = slope * scale);
        }
        let (dq, rests) = (vec![0.0; rows * width], vec![0.0; rows]);
        Back { block, queries: self.queries(block), slopes, offsets, gates, dq, rests, heavy: Vec::new() }
    }

    /// Gradients of blocks that look at the same keys, as far as they come from the keys from `start` on that `dk` and `dv`
    /// `[some keys, width]` are for: those of queries and scales returned, those of the keys and their values written there.
    fn backward_task<'a>(
        &self,
        blocks: &[&'a Block],
        forward: &Forward,
        slope: &[f32],
        start: usize,
        [dk, dv]: [&mut [MaybeUninit<f32>]; 2],
    ) -> Vec<Back<'a>> {
        let width = self.sizes[3];
        let Some(first_block) = blocks.first() else {
            for numbers in [dk, dv] {
                numbers.fill(MaybeUninit::new(0.0));
            }
            return Vec::new();
        };
        let [k, v] = self.keys_and_values(first_block).map(|matrix| matrix.starting_at(start));
        let mut states: Vec<Back> = blocks.iter().map(|block| self.back(block, forward, slope)).collect();
        let mut scratch = Scratch::default();
        let all = dk.len() / width;
        let places = dk.chunks_mut(KEYS * width).zip(dv.chunks_mut(KEYS * width));
        for (first, (dk, dv)) in (0..).step_by(KEYS).zip(places) {
            let count = dk.len() / width;
            let stride = padded(count);
            let [mut dk, mut dv] = [dk, dv].map(Sum::New);
            let (of_keys, of_values) = (k.rows(first..first + count, width), v.rows(first..first + count, width));
            let first_of_values = v.rows(first..first + count.min(PART), width);
            let next = k.rows(first + count..all.min(first + count + PART), width);
            let last = states.len() - 1;
            for (index, state) in states.iter_mut().enumerate() {
                let rows = state.block.tokens.len();
                scratch.scores.resize(rows * stride, 0.0);
                scratch.changes.resize(rows * stride, 0.0);
                let (weights, changes) = (&mut scratch.scores, &mut scratch.changes);
                let [queries, slopes] = [&state.queries, &state.slopes].map(|rows| Matrix::new(rows, width));
                let coming = (index == 0).then_some(&first_of_values);
                scratch.keys.product((&mut *weights, stride), queries, rows, &of_keys, index > 0, coming);
                self.fill_hidden(state.block, [start + first, count], (&mut *weights, stride), HIDDEN);
                scratch.values.product((&mut *changes, stride), slopes, rows, &of_values, index > 0, None);
                let parts = weights.chunks_exact_mut(stride).zip(changes.chunks_exact_mut(stride));
                let rows_of_tokens = state.block.tokens.iter().zip(&state.offsets).enumerate();
                for ((weights, changes), (row, (&token, &offset))) in parts.zip(rows_of_tokens) {
                    let [maximum, sum] = forward.statistics[self.row(state.block, token)];
                    let (weights, changes) = (&mut weights[..count], &mut changes[..count]);
                    exponentials(weights, maximum);
                    let rest = softmax_slopes(weights, changes, sum.recip(), offset);
                    // A row whose keys are all hidden passes nothing on.
                    if maximum > HIDDEN {
                        state.rests[row] += rest;
                        // Its largest weight.
                        if sum.recip() > HEAVY {
                            heavy(weights, [row, start + first], &mut state.heavy);
                        }
                    }
                }
                // A replaced score passes nothing on, also in a row whose keys are all hidden.
                self.fill_hidden(state.block, [start + first, count], (&mut *changes, stride), 0.0);
                let [weights, changes] = [&*weights, &*changes].map(|scores| Matrix::new(scores, stride));
                dv = dv.add([count, rows, width], weights.transposed(), slopes);
                dk = dk.add([count, rows, width], changes.transposed(), queries);
                let mut coming = (index == last).then(|| next.clone());
                let (sizes, keys) = ([rows, count, width], k.starting_at(first));
                product((&mut state.dq, width), sizes, changes, keys, true, coming.as_mut_slice());
            }
        }
        states
    }

    /// All gradients, scores computed again block by block. `slope` is that of the output, in order.
    ///
    /// Every task has its own keys, whose gradients it writes in place; what it finds for the queries is added in the order
    /// of the keys: equal inputs give equal bits on one machine.
    pub fn backward(&self, forward: &Forward, slope: &[f32]) -> Slopes {
        let ([batch, heads, tokens, width], [_, key_heads, keys, _]) = (self.sizes, self.key_sizes);
        let blocks = self.plan.of_key_heads(batch * key_heads);
        let busy = blocks.iter().filter(|blocks| !blocks.is_empty()).count();
        let count = keys_of_a_task([busy, keys], rayon::current_num_threads());
        let size = blocks.len() * keys * width;
        // The tasks write every number, also to fetch its memory on all threads.
        let [mut k, mut v] = [Vec::with_capacity(size), Vec::with_capacity(size)];
        let mut tasks = Vec::new();
        let [dk, dv] = [&mut k, &mut v].map(|numbers| numbers.spare_capacity_mut()[..size].chunks_exact_mut(keys * width));
        for (blocks, (dk, dv)) in blocks.iter().zip(dk.zip(dv)) {
            let rows = rows_of(blocks.iter().copied());
            for (first, (dk, dv)) in (0..).step_by(count).zip(dk.chunks_mut(count * width).zip(dv.chunks_mut(count * width))) {
                tasks.push((rows * dk.len(), move || self.backward_task(blocks, forward, slope, first, [dk, dv])));
            }
        }
        let results = longest_first(tasks);
        // SAFETY: the memory has room for all of them, each in the place of a task, and every task has written all of its own.
        unsafe {
            k.set_len(size);
            v.set_len(size);
        }
        let rows = batch * heads * tokens;
        let scaled = if self.scales.is_some() { rows } else { 0 };
        let (mut q, mut scales) = (vec![0.0; rows * width], vec![0.0; scaled]);
        let factor = (width as f32).sqrt().recip();
        let of_heads = self.by_head(results.into_iter().flatten().map(|state| (state.block, state)));
        let group = heads / key_heads;
        let of_key_heads = q.par_chunks_exact_mut(group * tokens * width).zip(k.par_chunks_exact_mut(keys * width));
        of_key_heads.zip(of_heads.par_chunks(group)).enumerate().for_each(|(pair, ((q, dk), of_heads))| {
            let matrix = Matrix::of(&self.k, pair / key_heads, pair % key_heads);
            let middle = self.middle(pair / key_heads, matrix);
            for (q, states) in q.chunks_exact_mut(tokens * width).zip(of_heads) {
                for state in states {
                    for (&token, dq) in state.block.tokens.iter().zip(state.dq.chunks_exact(width)) {
                        q[token * width..(token + 1) * width].iter_mut().zip(dq).for_each(|(to, value)| *to += factor * value);
                    }
                }
                self.take_rests(states, q, dk, matrix, &middle);
            }
        });
        for (scales, states) in scales.chunks_exact_mut(tokens).zip(of_heads) {
            for state in states {
                state.block.tokens.iter().zip(state.gates).for_each(|(&token, gate)| scales[token] = gate);
            }
        }
        Slopes { q, k, v, scales }
    }
}

impl Inputs {
    /// Takes from the gradients `q` of a head's queries and `dk` of its keys what comes from offsets that are not quite those of
    /// the weights.
    ///
    /// The gradients of a row's scores sum up to zero in exact numbers. Here the offset is found from the context, not from the
    /// very products that it is subtracted from, and a rest stays, which is multiplied by a mean of the keys: much where keys are
    /// large. Every key owes its weight's share of the rest; those with much weight pay it themselves, the others are taken
    /// together as if they were in the `middle` of all keys.
    fn take_rests(&self, states: &[Back], q: &mut [f32], dk: &mut [f32], keys: Matrix, middle: &[f32]) {
        let [.., tokens, width] = self.sizes;
        let factor = (width as f32).sqrt().recip();
        let (mut rests, mut others) = (vec![0.0; tokens], vec![1.0; tokens]);
        for state in states {
            state.block.tokens.iter().zip(&state.rests).for_each(|(&token, rest)| rests[token] += rest);
        }
        let mut key_row = vec![0.0; width];
        for state in states {
            for &(row, key, weight) in &state.heavy {
                let token = state.block.tokens[row];
                let share = -rests[token] * weight;
                others[token] -= weight;
                keys.copy_row(key, factor, &mut key_row);
                add(&mut q[token * width..][..width], share, &key_row);
                add(&mut dk[key * width..][..width], share, &state.queries[row * width..][..width]);
            }
        }
        for (q, (rest, share)) in q.chunks_exact_mut(width).zip(rests.into_iter().zip(others)) {
            if rest != 0.0 {
                add(q, -rest * share * factor, middle);
            }
        }
    }

    /// The mean of the keys of a head that are not hidden from all tokens.
    fn middle(&self, batch: usize, matrix: Matrix) -> Vec<f32> {
        let (keys, width) = (self.key_sizes[2], self.sizes[3]);
        let seen = |key: &usize| self.hidden.as_ref().is_none_or(|hidden| hidden[batch * keys + key] == 0);
        let (mut middle, mut row, mut count) = (vec![0.0; width], vec![0.0; width], 0.0);
        for key in (0..keys).filter(seen) {
            if matrix.column_stride == 1 {
                add(&mut middle, 1.0, &matrix.starting_at(key).memory[..width]);
            } else {
                matrix.copy_row(key, 1.0, &mut row);
                add(&mut middle, 1.0, &row);
            }
            count += 1.0f32;
        }
        middle.iter_mut().for_each(|value| *value /= count.max(1.0));
        middle
    }
}

for_the_widest_registers! {
    /// Adds `factor` times `from`.
    fn add(to: &mut [f32], factor: f32, from: &[f32]) = add_of
}

#[inline(always)]
fn add_of<const FUSED: bool>(to: &mut [f32], factor: f32, from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = multiply_add::<FUSED>(factor, from, *to));
}

for_the_widest_registers! {
    /// Adds the row, the key and the weight of every heavy key to `found`; the row and the first key are given.
    fn heavy(weights: &[f32], first: [usize; 2], found: &mut Vec<(usize, usize, f32)>) = heavy_of
}

#[inline(always)]
fn heavy_of<const FUSED: bool>(weights: &[f32], [row, first]: [usize; 2], found: &mut Vec<(usize, usize, f32)>) {
    let mut collect = |first: usize, weights: &[f32]| {
        let heavy = weights.iter().enumerate().filter(|(_, weight)| **weight > HEAVY);
        found.extend(heavy.map(|(key, &weight)| (row, first + key, weight)));
    };
    // Whole vectors are compared at once; few hold a heavy key.
    let (blocks, rest) = weights.as_chunks::<LANES>();
    for (block, weights) in blocks.iter().enumerate() {
        if weights.iter().fold(false, |any, weight| any | (*weight > HEAVY)) {
            collect(first + block * LANES, weights);
        }
    }
    collect(first + blocks.len() * LANES, rest);
}

/// The factor for exponentials less `maximum` that makes them those less `next`, which is not smaller.
fn shrinks(maximum: f32, next: f32) -> f32 {
    // Before the first keys there is nothing, and infinity less infinity is no number.
    if maximum == next { 1.0 } else { (maximum - next).exp() }
}

for_the_widest_registers! {
    /// Exponentials times `factor` in place of `weights`; in place of their gradients, `changes`, those of the scores, whose sum
    /// is returned.
    fn softmax_slopes(weights: &mut [f32], changes: &mut [f32], factor: f32, offset: f32) -> f32 = softmax_slopes_of
}

#[inline(always)]
fn softmax_slopes_of<const FUSED: bool>(weights: &mut [f32], changes: &mut [f32], factor: f32, offset: f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let one = |weight: &mut f32, change: &mut f32, sum: &mut f32| {
        *weight *= factor;
        *change = *weight * (*change - offset);
        *sum += *change;
    };
    let ((blocks, rest), (others, other_rest)) = (weights.as_chunks_mut::<LANES>(), changes.as_chunks_mut::<LANES>());
    for (weights, changes) in blocks.iter_mut().zip(others) {
        for ((weight, change), sum) in weights.iter_mut().zip(changes).zip(&mut sums) {
            one(weight, change, sum);
        }
    }
    for ((weight, change), sum) in rest.iter_mut().zip(other_rest).zip(&mut sums) {
        one(weight, change, sum);
    }
    sums.iter().sum()
}
