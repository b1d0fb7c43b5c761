//! Both passes over the rows of one head, block by block; no more scores than one block exist at any time.

use crate::graph::FlexTensor;
use rayon::prelude::*;

use super::super::reference::HIDDEN;
use crate::simd::exponentials;

/// Query rows of a block.
pub(super) const ROWS: usize = 64;
/// Keys of a block: its scores fit the second-level cache.
const KEYS: usize = 512;

/// Rows are far apart, and a copy of them pays, from these numbers on; see [`Matrix::close`].
const FAR: usize = 256;
const MANY: usize = 128;

/// A matrix somewhere in a tensor's memory: element `(row, column)` is `row * row_stride + column * column_stride` on.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    memory: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    fn new(memory: &'a [f32], width: usize) -> Self {
        Self { memory, row_stride: width, column_stride: 1 }
    }

    /// Head `head` of sequence `batch` of a tensor `[batch, heads, rows, width]` with non-negative strides.
    fn of(tensor: &'a FlexTensor, batch: usize, head: usize) -> Self {
        let layout = tensor.layout();
        let stride = |axis: usize| layout.strides()[axis].unsigned_abs();
        let start = layout.start_offset() + batch * stride(0) + head * stride(1);
        Self { memory: &tensor.storage::<f32>()[start..], row_stride: stride(2), column_stride: stride(3) }
    }

    fn starting_at(self, row: usize) -> Self {
        Self { memory: &self.memory[row * self.row_stride..], ..self }
    }

    fn transposed(self) -> Self {
        Self { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    /// `count` rows of `width` from `first` on; copied to `memory` where reading down a column would hit few lines of the
    /// cache only, because the rows lie a multiple of a large power of two apart (heads split by swapping axes do).
    fn close(self, [first, count, width]: [usize; 3], memory: &'a mut Vec<f32>) -> Self {
        if !self.row_stride.is_multiple_of(FAR) || self.column_stride != 1 || count < MANY {
            return self.starting_at(first);
        }
        memory.clear();
        for row in first..first + count {
            memory.extend_from_slice(&self.memory[row * self.row_stride..][..width]);
        }
        Matrix::new(memory, width)
    }

    fn copy_row(self, row: usize, factor: f32, to: &mut [f32]) {
        for (column, value) in to.iter_mut().enumerate() {
            *value = factor * self.memory[row * self.row_stride + column * self.column_stride];
        }
    }
}

/// `out [rows, columns] = factor * left [rows, inner] right [inner, columns]`, added to what is there if `add`.
fn product(out: &mut [f32], [rows, inner, columns]: [usize; 3], left: Matrix, right: Matrix, factor: f32, add: bool) {
    if rows == 0 || inner == 0 || columns == 0 {
        return;
    }
    let last =
        |matrix: Matrix, rows: usize, columns: usize| (rows - 1) * matrix.row_stride + (columns - 1) * matrix.column_stride;
    assert!(
        rows * columns <= out.len()
            && last(left, rows, inner) < left.memory.len()
            && last(right, inner, columns) < right.memory.len(),
        "a product reads and writes inside its matrices"
    );
    // SAFETY: by the assertion all elements of the three matrices lie in their slices; `out` is borrowed mutably, so it
    // overlaps neither of the others.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            columns as isize,
            add,
            left.memory.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.memory.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// What both passes read. Shapes `[batch, heads, tokens, width]`, `[batch, key heads, keys, width]`.
#[derive(Clone, Debug)]
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
}

/// Rows of one head that are computed together, and what they look at.
struct Block {
    batch: usize,
    head: usize,
    tokens: Vec<usize>,
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

impl Inputs {
    fn scale(&self, row: usize) -> f32 {
        self.scales.as_ref().map_or(1.0, |scales| scales[row])
    }

    fn row(&self, batch: usize, head: usize, token: usize) -> usize {
        (batch * self.sizes[1] + head) * self.sizes[2] + token
    }

    /// The tokens of a head whose scale is not zero (a NaN is not), in blocks.
    fn blocks(&self, batch: usize, head: usize) -> Vec<Block> {
        let tokens: Vec<usize> = (0..self.sizes[2]).filter(|&token| self.scale(self.row(batch, head, token)) != 0.0).collect();
        tokens.chunks(ROWS).map(|tokens| Block { batch, head, tokens: tokens.to_vec() }).collect()
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

    /// Scores of a block with `keys`, which are `count` from `first` on; hidden ones replaced.
    fn scores(&self, block: &Block, queries: &[f32], keys: Matrix, [first, count]: [usize; 2], scores: &mut [f32]) {
        let (rows, width) = (block.tokens.len(), self.sizes[3]);
        product(scores, [rows, width, count], Matrix::new(queries, width), keys.transposed(), 1.0, false);
        self.fill_hidden(block, first, count, scores, HIDDEN);
    }

    fn fill_hidden(&self, block: &Block, first: usize, count: usize, scores: &mut [f32], value: f32) {
        if self.masked() {
            for (scores, &token) in scores.chunks_exact_mut(count).zip(&block.tokens) {
                for (key, score) in scores.iter_mut().enumerate() {
                    if self.hides(block.batch, token, first + key) {
                        *score = value;
                    }
                }
            }
        }
    }

    /// Key and value matrices that a head looks at.
    fn keys_and_values(&self, batch: usize, head: usize) -> [Matrix<'_>; 2] {
        let head = head / (self.sizes[1] / self.key_sizes[1]);
        [Matrix::of(&self.k, batch, head), Matrix::of(&self.v, batch, head)]
    }

    /// Context (divided by the sums) and statistics of the block's rows.
    fn forward_block(&self, block: &Block) -> (Vec<f32>, Vec<[f32; 2]>) {
        let (rows, width, keys) = (block.tokens.len(), self.sizes[3], self.key_sizes[2]);
        let [k, v] = self.keys_and_values(block.batch, block.head);
        let queries = self.queries(block);
        let mut context = vec![0.0; rows * width];
        let mut statistics = vec![[f32::NEG_INFINITY, 0.0]; rows];
        let (mut memory, mut near_keys) = (vec![0.0; rows * KEYS.min(keys)], Vec::new());
        for first in (0..keys).step_by(KEYS) {
            let count = KEYS.min(keys - first);
            let scores = &mut memory[..rows * count];
            let near = k.close([first, count, width], &mut near_keys);
            self.scores(block, &queries, near, [first, count], scores);
            let parts = scores.chunks_exact_mut(count).zip(context.chunks_exact_mut(width)).zip(&mut statistics);
            for ((scores, context), [maximum, sum]) in parts {
                let next = scores.iter().copied().fold(*maximum, f32::max);
                // Before the first block nothing is kept, and infinity less infinity is no number.
                let kept = if *maximum == next { 1.0 } else { (*maximum - next).exp() };
                *sum = *sum * kept + exponentials(scores, next);
                *maximum = next;
                if kept != 1.0 {
                    context.iter_mut().for_each(|value| *value *= kept);
                }
            }
            product(&mut context, [rows, count, width], Matrix::new(scores, count), v.starting_at(first), 1.0, true);
        }
        for (context, [_, sum]) in context.chunks_exact_mut(width).zip(&statistics) {
            context.iter_mut().for_each(|value| *value /= sum);
        }
        (context, statistics)
    }

    /// Attention of all (token, head) pairs that are on. `keep`: a backward pass will follow.
    pub(super) fn forward(&self, keep: bool) -> Forward {
        let [batch, heads, tokens, width] = self.sizes;
        let blocks: Vec<Block> = (0..batch * heads).flat_map(|index| self.blocks(index / heads, index % heads)).collect();
        let results: Vec<_> = blocks.par_iter().with_max_len(1).map(|block| self.forward_block(block)).collect();
        let rows = batch * heads * tokens;
        let mut output = vec![0.0; rows * width];
        let mut context = (keep && self.scales.is_some()).then(|| vec![0.0; rows * width]);
        let mut statistics = vec![[0.0; 2]; if keep { rows } else { 0 }];
        for (block, (found, numbers)) in blocks.iter().zip(results) {
            for ((&token, found), numbers) in block.tokens.iter().zip(found.chunks_exact(width)).zip(numbers) {
                let row = self.row(block.batch, block.head, token);
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

    /// Gradients of a block: those of its queries and scales returned, those of keys and values added.
    fn backward_block(&self, block: &Block, forward: &Forward, slope: &[f32], dk: &mut [f32], dv: &mut [f32]) -> [Vec<f32>; 2] {
        let (rows, width, keys) = (block.tokens.len(), self.sizes[3], self.key_sizes[2]);
        let [k, v] = self.keys_and_values(block.batch, block.head);
        let queries = self.queries(block);
        let context = forward.context.as_ref().unwrap_or(&forward.output);
        let row = |token: usize| self.row(block.batch, block.head, token);
        // The gradient of the unscaled context, and its product with the context (the softmax takes it off).
        let (mut slopes, mut gates, mut offsets) = (vec![0.0; rows * width], Vec::new(), Vec::new());
        for (to, &token) in slopes.chunks_exact_mut(width).zip(&block.tokens) {
            let (scale, place) = (self.scale(row(token)), row(token) * width..(row(token) + 1) * width);
            let gate: f32 = slope[place.clone()].iter().zip(&context[place.clone()]).map(|(a, b)| a * b).sum();
            gates.push(gate);
            offsets.push(gate * scale);
            to.iter_mut().zip(&slope[place]).for_each(|(to, slope)| *to = slope * scale);
        }
        let (slopes_matrix, factor) = (Matrix::new(&slopes, width), (width as f32).sqrt().recip());
        let mut dq = vec![0.0; rows * width];
        let size = rows * KEYS.min(keys);
        let (mut memory, mut changes) = (vec![0.0; size], vec![0.0; size]);
        let (mut near_keys, mut near_values) = (Vec::new(), Vec::new());
        for first in (0..keys).step_by(KEYS) {
            let count = KEYS.min(keys - first);
            let (weights, changes) = (&mut memory[..rows * count], &mut changes[..rows * count]);
            let k = k.close([first, count, width], &mut near_keys);
            let v = v.close([first, count, width], &mut near_values);
            self.scores(block, &queries, k, [first, count], weights);
            for (weights, &token) in weights.chunks_exact_mut(count).zip(&block.tokens) {
                let [maximum, sum] = forward.statistics[row(token)];
                exponentials(weights, maximum);
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
            let place = first * width..(first + count) * width;
            let weights_matrix = Matrix::new(weights, count).transposed();
            product(&mut dv[place.clone()], [count, rows, width], weights_matrix, slopes_matrix, 1.0, true);
            product(changes, [rows, width, count], slopes_matrix, v.transposed(), 1.0, false);
            let parts = changes.chunks_exact_mut(count).zip(weights.chunks_exact(count)).zip(&offsets);
            for ((changes, weights), offset) in parts {
                changes.iter_mut().zip(weights).for_each(|(change, weight)| *change = weight * (*change - offset));
            }
            // A replaced score passes nothing on, also in a row whose keys are all hidden.
            self.fill_hidden(block, first, count, changes, 0.0);
            product(&mut dq, [rows, count, width], Matrix::new(changes, count), k, factor, true);
            let changes_matrix = Matrix::new(changes, count).transposed();
            product(&mut dk[place], [count, rows, width], changes_matrix, Matrix::new(&queries, width), 1.0, true);
        }
        [dq, gates]
    }

    /// All gradients, scores computed again block by block. `slope` is that of the output, in order.
    ///
    /// The rows of one key head are divided among as many tasks as keep the threads busy. The first adds to the key and
    /// value gradients in place, the others to some of their own that are then summed in order: equal inputs give equal
    /// bits on one machine.
    pub(super) fn backward(&self, forward: &Forward, slope: &[f32]) -> Slopes {
        let ([batch, heads, tokens, width], [_, key_heads, keys, _]) = (self.sizes, self.key_sizes);
        let (pairs, group, key_size) = (batch * key_heads, heads / key_heads, keys * width);
        let share = (2 * rayon::current_num_threads()).div_ceil(pairs);
        let (mut k, mut v) = (vec![0.0; pairs * key_size], vec![0.0; pairs * key_size]);
        let mut tasks = Vec::new();
        for (pair, (dk, dv)) in k.chunks_exact_mut(key_size).zip(v.chunks_exact_mut(key_size)).enumerate() {
            let (batch, first) = (pair / key_heads, pair % key_heads * group);
            let mut blocks: Vec<Block> = (first..first + group).flat_map(|head| self.blocks(batch, head)).collect();
            let length = blocks.len().div_ceil(share).max(1);
            let mut in_place = Some((dk, dv));
            while !blocks.is_empty() {
                let rest = blocks.split_off(length.min(blocks.len()));
                tasks.push((pair, std::mem::replace(&mut blocks, rest), in_place.take()));
            }
        }
        let results: Vec<_> = tasks
            .into_par_iter()
            .with_max_len(1)
            .map(|(pair, blocks, in_place)| {
                let size = if in_place.is_some() { 0 } else { key_size };
                let mut own = [vec![0.0; size], vec![0.0; size]];
                let [own_k, own_v] = &mut own;
                let (dk, dv) = in_place.unwrap_or((own_k, own_v));
                let run = |block| self.backward_block(block, forward, slope, dk, dv);
                let found: Vec<[Vec<f32>; 2]> = blocks.iter().map(run).collect();
                (pair, blocks, found, own)
            })
            .collect();
        let rows = batch * heads * tokens;
        let scaled = if self.scales.is_some() { rows } else { 0 };
        let (mut q, mut scales) = (vec![0.0; rows * width], vec![0.0; scaled]);
        for (pair, blocks, found, [own_k, own_v]) in results {
            k[pair * key_size..].iter_mut().zip(own_k).for_each(|(to, value)| *to += value);
            v[pair * key_size..].iter_mut().zip(own_v).for_each(|(to, value)| *to += value);
            for (block, [dq, gates]) in blocks.iter().zip(found) {
                for ((&token, dq), gate) in block.tokens.iter().zip(dq.chunks_exact(width)).zip(gates) {
                    let row = self.row(block.batch, block.head, token);
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
