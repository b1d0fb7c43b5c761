//! Attention where every token sees every key, or those up to its own, for inference: the softmax of a few queries over all keys
//! stays in the second-level cache, keys and values of a head are packed as weights are.

use std::mem::MaybeUninit;

use super::{
    Level, Precision, bf16, f32,
    memory::{Line, Shared, with_memory},
    team::share,
    tile::{Kernel, PANEL, with_rows},
    vector::{LANES, Lanes, Vector},
};
use crate::{Error, Result, simd::multiply_add};

/// Queries, keys or values of all heads, in memory of somebody else.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    numbers: &'a [f32],
    /// From one sequence, head and token to the next.
    strides: [usize; 3],
}

impl<'a> Heads<'a> {
    /// Of `[batch, heads, tokens, width]`, with these `[heads, tokens, width]`.
    pub fn apart(numbers: &'a [f32], [heads, tokens, width]: [usize; 3]) -> Self {
        Self { numbers, strides: [heads * tokens * width, tokens * width, width] }
    }

    /// Of `[batch, tokens, row]`, in which the heads of `width` are side by side from column `first` on: with these
    /// `[tokens, row, width]`.
    pub fn side_by_side(numbers: &'a [f32], first: usize, [tokens, row, width]: [usize; 3]) -> Self {
        Self { numbers: numbers.get(first..).unwrap_or_default(), strides: [tokens * row, width, row] }
    }

    fn holds(&self, [batch, heads, tokens, width]: [usize; 4]) -> bool {
        let last = [batch, heads, tokens].iter().zip(self.strides).try_fold(width, |last: usize, (count, stride)| {
            count.checked_sub(1).and_then(|count| count.checked_mul(stride)).and_then(|offset| last.checked_add(offset))
        });
        last.is_some_and(|last| last <= self.numbers.len())
    }

    /// The row of a token. [`holds`](Self::holds) must have said so.
    #[inline(always)]
    fn row(&self, batch: usize, head: usize, token: usize, width: usize) -> &'a [f32] {
        let [of_batch, of_head, of_token] = self.strides;
        &self.numbers[batch * of_batch + head * of_head + token * of_token..][..width]
    }
}

/// `softmax(q kᵀ / sqrt(width)) v`, of queries `[batch, heads, tokens, width]` and `keys` keys and values:
/// `[batch, tokens, heads * width]`, in f32 or, where the precision is any other and the processor has them, by products of bf16.
///
/// # Errors
/// [`Error::Shape`] where a size is zero or there are fewer numbers than the sizes say.
pub fn attention([q, k, v]: [Heads<'_>; 3], sizes: [usize; 4], keys: usize, precision: Precision) -> Result<Vec<f32>> {
    attention_at(Level::best(), [q, k, v], sizes, keys, precision)
}

/// [`attention`] in place of what `out` holds; its memory is used again.
///
/// # Errors
/// As [`attention`]; `out` then is empty.
pub fn attention_into(
    heads: [Heads<'_>; 3],
    [batch, all, tokens, width]: [usize; 4],
    keys: usize,
    precision: Precision,
    out: &mut Vec<f32>,
) -> Result<()> {
    let sizes = Sizes { batch, heads: all, kv_heads: all, tokens, keys, width, is_causal: false };
    attend(Level::best(), heads, sizes, None, precision, out)
}

/// [`attention`] with fewer instructions than there are; more than there are count as those.
///
/// # Errors
/// As [`attention`].
pub fn attention_at(
    level: Level,
    heads: [Heads<'_>; 3],
    [batch, all, tokens, width]: [usize; 4],
    keys: usize,
    precision: Precision,
) -> Result<Vec<f32>> {
    let sizes = Sizes { batch, heads: all, kv_heads: all, tokens, keys, width, is_causal: false };
    let mut out = Vec::new();
    attend(level, heads, sizes, None, precision, &mut out)?;
    Ok(out)
}

/// What heads weigh apart: after the softmax, the shares of some keys are multiplied by the weight that the head has for the token.
#[derive(Clone, Copy, Debug)]
pub struct KeyWeights<'a> {
    /// One for each new token and head, `[tokens, heads]`.
    pub weights: &'a [f32],
    /// Whether a key is one of them.
    pub keys: &'a [bool],
}

impl KeyWeights<'_> {
    /// Refuses those of other sizes.
    pub(super) fn check(this: Option<&Self>, [tokens, heads, keys]: [usize; 3]) -> Result<()> {
        match this {
            Some(weighed) if weighed.weights.len() != tokens * heads || weighed.keys.len() != keys => Err(Error::Shape {
                what: "weights of keys",
                found: vec![weighed.weights.len(), weighed.keys.len()],
                expected: format!("[{tokens} tokens of {heads} heads, {keys} keys]"),
            }),
            _ => Ok(()),
        }
    }

    /// Weighs the shares of the keys.
    #[inline(always)]
    pub(super) fn weigh(&self, weight: f32, shares: &mut [f32]) {
        if weight != 1.0 {
            shares.iter_mut().zip(self.keys).for_each(|(share, weighed)| *share *= if *weighed { weight } else { 1.0 });
        }
    }
}

/// [`attention`] of one sequence whose tokens are the last of the keys: each sees the keys up to its own. `heads` heads of queries
/// share `kv_heads` of keys and values, as many neighbours each. Sizes are `[heads, kv_heads, tokens, width]`. Shares are `weighed`
/// in the same pass. The result takes the place of what `out` holds.
///
/// # Errors
/// As [`attention`]; also where there are fewer keys than tokens, the heads are no multiple of those of the keys, or the weights are
/// those of other sizes.
pub fn causal_attention_into(
    heads: [Heads<'_>; 3],
    [all, kv_heads, tokens, width]: [usize; 4],
    keys: usize,
    weighed: Option<KeyWeights<'_>>,
    precision: Precision,
    out: &mut Vec<f32>,
) -> Result<()> {
    out.clear();
    if keys < tokens || kv_heads == 0 || !all.is_multiple_of(kv_heads) {
        let expected = "as many keys as tokens or more, heads a multiple of those of the keys".into();
        return Err(Error::Shape { what: "causal attention", found: vec![all, kv_heads, tokens, keys], expected });
    }
    KeyWeights::check(weighed.as_ref(), [tokens, all, keys])?;
    let sizes = Sizes { batch: 1, heads: all, kv_heads, tokens, keys, width, is_causal: true };
    attend(Level::best(), heads, sizes, weighed, precision, out)
}

struct Sizes {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    tokens: usize,
    keys: usize,
    width: usize,
    is_causal: bool,
}

fn attend(
    level: Level,
    [q, k, v]: [Heads<'_>; 3],
    sizes: Sizes,
    weighed: Option<KeyWeights<'_>>,
    precision: Precision,
    out: &mut Vec<f32>,
) -> Result<()> {
    out.clear();
    let Sizes { batch, heads, kv_heads, tokens, keys, width, is_causal } = sizes;
    let key_sizes = [batch, kv_heads, keys, width];
    for (what, heads, sizes) in [("queries", q, [batch, heads, tokens, width]), ("keys", k, key_sizes), ("values", v, key_sizes)]
    {
        if sizes.contains(&0) || !heads.holds(sizes) {
            let expected = format!("{sizes:?}, no size zero,");
            return Err(Error::Shape { what, found: vec![heads.numbers.len()], expected });
        }
    }
    let routine = match level.min(Level::best()) {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 if precision != Precision::F32 => routine!(bf16::Dot, "avx512f,avx512bw,avx512vl,avx512bf16"),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vnni | Level::Avx512Bf16 => {
            routine!(f32::F32<super::vector::x86::Avx512>, "avx512f,avx512bw,avx512vl")
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => routine!(f32::F32<super::vector::x86::Avx2>, "avx2,fma"),
        Level::Portable => routine!(f32::F32<Lanes>),
    };
    out.reserve(batch * tokens * heads * width);
    let result = Shared(out.spare_capacity_mut().as_mut_ptr());
    // Where there are few heads, parts of their queries are tasks, too; where later ones see more, smaller parts, the longest first.
    let tasks = if is_causal { 8 } else { 2 } * rayon::current_num_threads();
    let parts = tasks.div_ceil(batch * kv_heads).min(tokens.div_ceil(routine.rows));
    let part = tokens.div_ceil(parts).next_multiple_of(routine.rows);
    let parts = tokens.div_ceil(part);
    share(batch * kv_heads * parts, |task| {
        let (head, first) = (task % (batch * kv_heads), (parts - 1 - task / (batch * kv_heads)) * part);
        let part = first..(first + part).min(tokens);
        // A token does not see those behind it.
        let (keys, hidden) = if is_causal { (keys - (tokens - part.end), part.len()) } else { (keys, 0) };
        let padded = keys.next_multiple_of(PANEL);
        let task = Task {
            heads: [q, k, v],
            place: [head / kv_heads, head % kv_heads],
            group: heads / kv_heads,
            tokens: part,
            keys: [keys, padded],
            hidden,
            width,
            weighed,
            row: heads * width,
            out: result.at(head / kv_heads * tokens * heads * width),
        };
        with_memory((routine.memory)([padded, width]), |memory| {
            // SAFETY: the level has the instructions; the sizes have been checked; each task writes its own rows and columns.
            unsafe { (routine.attend)(&task, memory) }
        });
    });
    // SAFETY: the tasks have written every row of every head.
    unsafe { out.set_len(batch * tokens * heads * width) };
    Ok(())
}

/// Queries of the heads that share a head of keys, with all of its keys.
struct Task<'a> {
    heads: [Heads<'a>; 3],
    /// Sequence and head of keys.
    place: [usize; 2],
    /// Heads of queries for each of the keys.
    group: usize,
    tokens: std::ops::Range<usize>,
    /// How many, and as many as fill their panels.
    keys: [usize; 2],
    /// The tokens of this part when a token sees no key behind its own, else 0.
    hidden: usize,
    width: usize,
    weighed: Option<KeyWeights<'a>>,
    /// Length of a row of the result.
    row: usize,
    /// Where the first token of the sequence begins.
    out: *mut MaybeUninit<f32>,
}

/// Attention, compiled for the instructions of a kernel.
#[derive(Clone, Copy)]
struct Routine {
    rows: usize,
    memory: fn([usize; 2]) -> usize,
    attend: unsafe fn(&Task<'_>, &mut [Line]),
}

macro_rules! routine {
    ($kernel:ty $(, $features:literal)?) => {{
        $(#[target_feature(enable = $features)])?
        unsafe fn attend(task: &Task<'_>, memory: &mut [Line]) {
            // SAFETY: as the caller promises.
            unsafe { attend_by::<$kernel>(task, memory) }
        }
        Routine { rows: <$kernel>::ROWS, memory: |sizes| parts_of::<$kernel>(sizes).iter().sum(), attend }
    }};
}
use routine;

/// A kernel whose panels are packed fast enough to be used once.
pub(super) trait Packing: Kernel {
    /// Bytes of a panel.
    fn panel_bytes(inputs: usize) -> usize;

    /// Packs `weights` given by their row of an output, at most [`PANEL`] of them; the others are zeros.
    ///
    /// # Safety
    /// `to` must have room for a panel; the processor must have the instructions of the kernel.
    unsafe fn pack_outputs<'a>(count: usize, inputs: usize, row: impl Fn(usize) -> &'a [f32], to: *mut u8);

    /// Packs some outputs of `weights` given by their row of an input, `count` of them; the others are zeros.
    ///
    /// # Safety
    /// As [`pack_outputs`](Self::pack_outputs).
    unsafe fn pack_inputs<'a>(count: usize, inputs: usize, row: impl Fn(usize) -> &'a [f32], to: *mut u8);
}

/// Bytes of the packed keys and values, a tile of queries, its scores and those rearranged; each begins on a line of the cache.
#[inline(always)]
fn parts_of<K: Packing>([keys, width]: [usize; 2]) -> [usize; 5] {
    let all = [
        keys / PANEL * K::panel_bytes(width),
        width.div_ceil(PANEL) * K::panel_bytes(keys),
        K::ROWS * K::row_bytes(width),
        K::ROWS * keys.max(width) * 4,
        K::ROWS * K::row_bytes(keys),
    ];
    all.map(|bytes| bytes.next_multiple_of(size_of::<Line>()))
}

/// # Safety
/// The sizes of the task must have been checked, the processor have the instructions.
#[inline(always)]
unsafe fn attend_by<K: Packing>(task: &Task<'_>, memory: &mut [Line]) {
    let ([keys, padded], width) = (task.keys, task.width);
    let mut begin = memory.as_mut_ptr().cast::<u8>();
    let [of_keys, of_values, queries, scores, shares] = parts_of::<K>([padded, width]).map(|bytes| {
        let part = begin;
        begin = begin.wrapping_add(bytes);
        part
    });
    let [batch, head] = task.place;
    let [_, k, v] = task.heads;
    for first in (0..padded).step_by(PANEL) {
        // SAFETY: the memory has a panel for these keys.
        unsafe {
            let to = of_keys.add(first / PANEL * K::panel_bytes(width));
            K::pack_outputs(PANEL.min(keys - first), width, |key| k.row(batch, head, first + key, width), to);
        }
    }
    for first in (0..width).step_by(PANEL) {
        let count = PANEL.min(width - first);
        // SAFETY: the memory has a panel for these columns.
        unsafe {
            let to = of_values.add(first / PANEL * K::panel_bytes(padded));
            K::pack_inputs(keys, padded, |key| &v.row(batch, head, key, width)[first..first + count], to);
        }
    }
    let parts = [of_keys, of_values, queries, scores, shares];
    for head in head * task.group..(head + 1) * task.group {
        for first in task.tokens.clone().step_by(K::ROWS) {
            let count = K::ROWS.min(task.tokens.end - first);
            // SAFETY: the parts of the memory are as large as they must be.
            unsafe { with_rows!(count, K::ROWS, attend_tile::<K>(task, parts, head, first, count)) };
        }
    }
}

/// # Safety
/// As [`attend_by`], with its parts of the memory.
#[inline(always)]
unsafe fn attend_tile<K: Packing, const M: usize>(task: &Task<'_>, parts: [*mut u8; 5], head: usize, first: usize, count: usize) {
    let ([all, all_padded], width, batch) = (task.keys, task.width, task.place[0]);
    let [of_keys, of_values, queries, scores, shares] = parts;
    // Keys that a row of the tile sees.
    let seen = |row: usize| all - task.hidden.saturating_sub(first + row - task.tokens.start + 1);
    let keys = seen(count - 1);
    let padded = keys.next_multiple_of(PANEL);
    // SAFETY: the memory has room for a tile of queries and of scores, the panels hold all keys; the rows of these queries are
    // written by nobody else.
    unsafe {
        let scores = std::slice::from_raw_parts_mut(scores.cast::<f32>(), M * padded.max(width));
        for (row, to) in scores.chunks_exact_mut(width).enumerate().take(count) {
            to.copy_from_slice(task.heads[0].row(batch, head, first + row, width));
        }
        K::arrange::<M>(&scores[..count * width], width, queries);
        for panel in 0..padded / PANEL {
            let sums = K::tile::<M>(width, queries, of_keys.add(panel * K::panel_bytes(width)));
            for (row, sums) in sums.iter().enumerate() {
                let to = scores.as_mut_ptr().add(row * padded + panel * PANEL);
                to.cast::<Lanes>().write_unaligned(sums[0].lanes());
                to.add(LANES).cast::<Lanes>().write_unaligned(sums[1].lanes());
            }
        }
        let factor = (width as f32).sqrt().recip();
        let mut inverses = [0.0; M];
        for ((row, scores), inverse) in scores.chunks_exact_mut(padded).enumerate().zip(&mut inverses) {
            let keys = seen(row.min(count - 1));
            let sum = if K::Vector::FUSED {
                exponentials::<true>(scores, keys, factor)
            } else {
                exponentials::<false>(scores, keys, factor)
            };
            *inverse = sum.recip();
            if let Some(weighed) = task.weighed.filter(|_| row < count) {
                weighed.weigh(weighed.weights[(first + row) * (task.row / width) + head], &mut scores[..keys]);
            }
        }
        K::arrange::<M>(&scores[..count * padded], padded, shares);
        for panel in 0..width.div_ceil(PANEL) {
            let sums = K::tile::<M>(padded, shares, of_values.add(panel * K::panel_bytes(all_padded)));
            let columns = PANEL.min(width - panel * PANEL);
            for (row, (sums, inverse)) in sums.iter().zip(inverses).enumerate() {
                let mut numbers = [0.0; PANEL];
                let inverse = K::Vector::splat(inverse);
                numbers[..LANES].copy_from_slice(&sums[0].multiply(inverse).lanes());
                numbers[LANES..].copy_from_slice(&sums[1].multiply(inverse).lanes());
                if row < count {
                    let out = task.out.add((first + row) * task.row + head * width + panel * PANEL).cast::<f32>();
                    if columns == PANEL {
                        out.cast::<[f32; PANEL]>().write_unaligned(numbers);
                    } else {
                        out.copy_from_nonoverlapping(numbers.as_ptr(), columns);
                    }
                }
            }
        }
    }
}

/// Replaces the first `keys` scores by `exp(factor (score - the largest))`, the others by nothing that counts; returns the sum.
#[inline(always)]
fn exponentials<const FUSED: bool>(scores: &mut [f32], keys: usize, factor: f32) -> f32 {
    scores[keys..].fill(f32::NEG_INFINITY);
    let (blocks, _) = scores.as_chunks_mut::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks.iter() {
        for (lane, &score) in lanes.iter_mut().zip(block) {
            *lane = if score > *lane { score } else { *lane };
        }
    }
    let factor = factor * std::f32::consts::LOG2_E;
    let largest = factor * lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0; LANES];
    for block in blocks {
        for (score, sum) in block.iter_mut().zip(&mut sums) {
            *score = power_of_two::<FUSED>(multiply_add::<FUSED>(factor, *score, -largest));
            *sum += *score;
        }
    }
    sums.iter().sum()
}

/// `2^x` for `x` that is hardly positive, not less than `2^-126`: a power by its exponent times a polynomial (Cephes' coefficients)
/// on what is left, at most a half.
#[inline(always)]
fn power_of_two<const FUSED: bool>(x: f32) -> f32 {
    /// Adding this rounds to a whole number, whose two's complement is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -126.0 { -126.0 } else { x };
    let rounded = x + ROUND;
    let rest = x - (rounded - ROUND);
    let mut sum = 1.535_336_2e-4;
    for coefficient in [1.339_887_4e-3, 9.618_437e-3, 5.550_332_5e-2, 2.402_264_8e-1, 6.931_472e-1, 1.0] {
        sum = multiply_add::<FUSED>(sum, rest, coefficient);
    }
    sum * f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23))
}
