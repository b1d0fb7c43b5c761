//! The kernels. One unit computes one row; units of one (batch, head) are next to each other, those of switched-off
//! tokens at the end, so that whole groups of units have nothing to do.

// The macro takes the fields of its launch arguments apart; its output is not ours to shorten.
#![allow(clippy::too_many_arguments)]

use cubecl::prelude::*;

/// Units that run together. A constant: another number is another kernel to compile.
pub(super) const UNITS: u32 = 64;
/// In place of a hidden score: the reference's number, so that a row whose keys are all hidden attends evenly here too.
const HIDDEN: f32 = -1e30;
/// A running maximum below this says that no visible key has been met.
const NOTHING_SEEN: f32 = -1e29;

/// Sorts the tokens of each (batch, head): first those that are on, in order, then the others in reverse order.
///
/// `scales` and `order` `[batch, heads, tokens]`, `counts` `[batch, heads]`: how many are on. A scale that is not a
/// number counts as on, so that it is seen.
#[cube(launch)]
pub(super) fn order_tokens<E: Float>(
    scales: &Tensor<E>,
    order: &mut Tensor<u32>,
    counts: &mut Tensor<u32>,
    tokens: usize,
    rows: usize,
    #[define(E)] _dtype: ElemType,
) {
    let head = ABSOLUTE_POS;
    if head >= rows {
        terminate!();
    }
    let start = head * tokens;
    let mut on = 0usize;
    let mut off = 0usize;
    for token in 0..tokens {
        if scales[start + token] == E::from_int(0) {
            off += 1;
            order[start + tokens - off] = token as u32;
        } else {
            order[start + on] = token as u32;
            on += 1;
        }
    }
    counts[head] = on as u32;
}

/// Sizes that every kernel needs, as runtime values: only the width of a head is compiled in.
#[derive(CubeType, CubeLaunch, Clone)]
pub(super) struct Sizes {
    pub heads: usize,
    pub key_heads: usize,
    pub tokens: usize,
    pub keys: usize,
    /// Number of units that have work.
    pub rows: usize,
    /// `1 / sqrt(width)`.
    pub root: f32,
}

/// Whether `token` sees `key`; `hidden` is nonzero where no token does.
#[cube]
fn sees<M: Int>(hidden: M, token: usize, key: usize, tokens: usize, keys: usize, #[comptime] causal: bool) -> bool {
    let mut visible = hidden == M::from_int(0);
    if causal {
        visible = visible && key + tokens <= token + keys;
    }
    visible
}

/// The inner product of the row of `x` that begins at `start` with `row`.
///
/// Not skipped for the few hidden keys that a kernel looks at: with a branch around it, the compiler for CUDA keeps the address
/// of every element in registers until that row is read again, and spills far more (see `make ptx`).
#[cube]
fn product<E: Float>(x: &Tensor<E>, start: usize, row: &Array<f32>, #[comptime] width: usize) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for i in 0..width {
        sum += f32::cast_from(x[start + i]) * row[i];
    }
    sum
}

/// Attention of one (token, head) with the running maximum and sum of the softmax; also writes those two.
///
/// `output` as `q`; `statistics` `[batch, heads, tokens, 2]` is left alone where the scale is zero.
#[cube(launch)]
pub(super) fn forward<E: Float, M: Int>(
    q: &Tensor<E>,
    k: &Tensor<E>,
    v: &Tensor<E>,
    hidden: &Tensor<M>,
    scales: &Tensor<E>,
    order: &Tensor<u32>,
    counts: &Tensor<u32>,
    output: &mut Tensor<E>,
    statistics: &mut Tensor<f32>,
    sizes: Sizes,
    #[comptime] width: usize,
    #[comptime] causal: bool,
    #[define(E, M)] _dtypes: [ElemType; 2],
) {
    if ABSOLUTE_POS >= sizes.rows {
        terminate!();
    }
    let tokens = sizes.tokens;
    let keys = sizes.keys;
    let head = ABSOLUTE_POS / tokens;
    let token = order[ABSOLUTE_POS] as usize;
    let row = head * tokens + token;
    if ABSOLUTE_POS % tokens >= counts[head] as usize {
        #[unroll]
        for i in 0..width {
            output[row * width + i] = E::from_int(0);
        }
        terminate!();
    }
    let batch = head / sizes.heads;
    let key_head = batch * sizes.key_heads + (head % sizes.heads) / (sizes.heads / sizes.key_heads);
    let mut query = Array::<f32>::new(width);
    let mut context = Array::<f32>::new(width);
    #[unroll]
    for i in 0..width {
        query[i] = f32::cast_from(q[row * width + i]) * sizes.root;
        context[i] = 0.0f32;
    }
    let mut maximum = f32::new(-3e38);
    let mut sum = 0.0f32;
    for key in 0..keys {
        let visible = sees::<M>(hidden[batch * keys + key], token, key, tokens, keys, causal);
        if visible || maximum < NOTHING_SEEN {
            let start = (key_head * keys + key) * width;
            let mut score = product::<E>(k, start, &query, width);
            if !visible {
                score = f32::new(HIDDEN);
            }
            let larger = max(maximum, score);
            let kept = (maximum - larger).exp();
            let weight = (score - larger).exp();
            maximum = larger;
            sum = sum * kept + weight;
            #[unroll]
            for i in 0..width {
                context[i] = context[i] * kept + weight * f32::cast_from(v[start + i]);
            }
        }
    }
    statistics[row * 2] = maximum;
    statistics[row * 2 + 1] = sum;
    let factor = f32::cast_from(scales[row]) / sum;
    #[unroll]
    for i in 0..width {
        output[row * width + i] = E::cast_from(context[i] * factor);
    }
}

/// Gradients of one (token, head): of its query and of its scale, and the product of output and slope for
/// [`backward_keys`], `[batch, heads, tokens]`.
#[cube(launch)]
pub(super) fn backward_queries<E: Float, M: Int>(
    q: &Tensor<E>,
    k: &Tensor<E>,
    v: &Tensor<E>,
    hidden: &Tensor<M>,
    scales: &Tensor<E>,
    order: &Tensor<u32>,
    counts: &Tensor<u32>,
    output: &Tensor<E>,
    statistics: &Tensor<f32>,
    slope: &Tensor<E>,
    q_slope: &mut Tensor<E>,
    scale_slope: &mut Tensor<E>,
    products: &mut Tensor<f32>,
    sizes: Sizes,
    #[comptime] width: usize,
    #[comptime] causal: bool,
    #[define(E, M)] _dtypes: [ElemType; 2],
) {
    if ABSOLUTE_POS >= sizes.rows {
        terminate!();
    }
    let tokens = sizes.tokens;
    let keys = sizes.keys;
    let head = ABSOLUTE_POS / tokens;
    let token = order[ABSOLUTE_POS] as usize;
    let row = head * tokens + token;
    if ABSOLUTE_POS % tokens >= counts[head] as usize {
        #[unroll]
        for i in 0..width {
            q_slope[row * width + i] = E::from_int(0);
        }
        scale_slope[row] = E::from_int(0);
        terminate!();
    }
    let batch = head / sizes.heads;
    let key_head = batch * sizes.key_heads + (head % sizes.heads) / (sizes.heads / sizes.key_heads);
    let mut query = Array::<f32>::new(width);
    let mut upstream = Array::<f32>::new(width);
    let mut found = Array::<f32>::new(width);
    let mut along = 0.0f32;
    #[unroll]
    for i in 0..width {
        query[i] = f32::cast_from(q[row * width + i]) * sizes.root;
        upstream[i] = f32::cast_from(slope[row * width + i]);
        found[i] = 0.0f32;
        along += upstream[i] * f32::cast_from(output[row * width + i]);
    }
    products[row] = along;
    let maximum = statistics[row * 2];
    let sum = statistics[row * 2 + 1];
    let scale = f32::cast_from(scales[row]);
    let mut scale_found = 0.0f32;
    for key in 0..keys {
        let visible = sees::<M>(hidden[batch * keys + key], token, key, tokens, keys, causal);
        if visible || maximum < NOTHING_SEEN {
            let start = (key_head * keys + key) * width;
            let mut score = product::<E>(k, start, &query, width);
            if !visible {
                score = f32::new(HIDDEN);
            }
            let probability = (score - maximum).exp() / sum;
            let toward = product::<E>(v, start, &upstream, width);
            scale_found += probability * toward;
            if visible {
                let change = probability * (toward * scale - along) * sizes.root;
                #[unroll]
                for i in 0..width {
                    found[i] += change * f32::cast_from(k[start + i]);
                }
            }
        }
    }
    #[unroll]
    for i in 0..width {
        q_slope[row * width + i] = E::cast_from(found[i]);
    }
    scale_slope[row] = E::cast_from(scale_found);
}

/// Gradients of one key and its value: a sum over the tokens that are on, of every head that looks at it, always in the
/// same order.
#[cube(launch)]
pub(super) fn backward_keys<E: Float, M: Int>(
    q: &Tensor<E>,
    k: &Tensor<E>,
    v: &Tensor<E>,
    hidden: &Tensor<M>,
    scales: &Tensor<E>,
    order: &Tensor<u32>,
    counts: &Tensor<u32>,
    statistics: &Tensor<f32>,
    products: &Tensor<f32>,
    slope: &Tensor<E>,
    k_slope: &mut Tensor<E>,
    v_slope: &mut Tensor<E>,
    sizes: Sizes,
    #[comptime] width: usize,
    #[comptime] causal: bool,
    #[define(E, M)] _dtypes: [ElemType; 2],
) {
    if ABSOLUTE_POS >= sizes.rows {
        terminate!();
    }
    let tokens = sizes.tokens;
    let keys = sizes.keys;
    let key = ABSOLUTE_POS % keys;
    let key_head = ABSOLUTE_POS / keys;
    let batch = key_head / sizes.key_heads;
    let group = sizes.heads / sizes.key_heads;
    let first = batch * sizes.heads + (key_head % sizes.key_heads) * group;
    let start = ABSOLUTE_POS * width;
    let mut at = Array::<f32>::new(width);
    let mut value = Array::<f32>::new(width);
    let mut k_found = Array::<f32>::new(width);
    let mut v_found = Array::<f32>::new(width);
    #[unroll]
    for i in 0..width {
        at[i] = f32::cast_from(k[start + i]) * sizes.root;
        value[i] = f32::cast_from(v[start + i]);
        k_found[i] = 0.0f32;
        v_found[i] = 0.0f32;
    }
    let off = hidden[batch * keys + key];
    for member in 0..group {
        let head = first + member;
        let count = counts[head] as usize;
        for place in 0..count {
            let token = order[head * tokens + place] as usize;
            let row = head * tokens + token;
            let visible = sees::<M>(off, token, key, tokens, keys, causal);
            let maximum = statistics[row * 2];
            if visible || maximum < NOTHING_SEEN {
                let mut score = product::<E>(q, row * width, &at, width);
                if !visible {
                    score = f32::new(HIDDEN);
                }
                let probability = (score - maximum).exp() / statistics[row * 2 + 1];
                let scale = f32::cast_from(scales[row]);
                if visible {
                    let toward = product::<E>(slope, row * width, &value, width);
                    let change = probability * (toward * scale - products[row]) * sizes.root;
                    #[unroll]
                    for i in 0..width {
                        k_found[i] += change * f32::cast_from(q[row * width + i]);
                    }
                }
                let weight = probability * scale;
                #[unroll]
                for i in 0..width {
                    v_found[i] += weight * f32::cast_from(slope[row * width + i]);
                }
            }
        }
    }
    #[unroll]
    for i in 0..width {
        k_slope[start + i] = E::cast_from(k_found[i]);
        v_slope[start + i] = E::cast_from(v_found[i]);
    }
}
