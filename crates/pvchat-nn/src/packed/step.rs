//! Attention of one new token on what a decoder has read.

use rayon::prelude::*;

use super::KeyWeights;
use crate::{
    Error, Result,
    simd::{exponentials, for_the_widest_registers, largest, multiply_add},
};

/// Keys that one task takes: the order of all sums depends on it and not on the number of threads.
const BLOCK: usize = 128;
const LANES: usize = 16;

/// What a block of keys adds to the result: for each head the largest score and the sum of the exponentials, then the weighted sum
/// of the values.
type Partial = (Vec<[f32; 2]>, Vec<f32>);

/// `softmax(q kᵀ / sqrt(width)) v` of one token: `q [heads * width]` on `k` and `v [keys, kv_heads * width]`, of which the first
/// serve the first `heads / kv_heads` heads. Shares are `weighed` in the same pass. Gives `[heads * width]`.
///
/// # Errors
/// [`Error::Shape`] where a size is zero or a slice has another length.
pub fn step_attention(
    q: &[f32],
    [k, v]: [&[f32]; 2],
    [heads, kv_heads, width]: [usize; 3],
    weighed: Option<KeyWeights<'_>>,
) -> Result<Vec<f32>> {
    let row = kv_heads * width;
    if row == 0 || heads == 0 || !heads.is_multiple_of(kv_heads) || q.len() != heads * width {
        let expected = format!("{heads} heads of width {width}, a multiple of {kv_heads},");
        return Err(Error::Shape { what: "a query", found: vec![q.len()], expected });
    }
    if k.is_empty() || k.len() != v.len() || !k.len().is_multiple_of(row) {
        return Err(Error::Shape { what: "keys and values", found: vec![k.len(), v.len()], expected: format!("rows of {row}") });
    }
    KeyWeights::check(weighed.as_ref(), [1, heads, k.len() / row])?;
    let factor = (width as f32).sqrt().recip();
    let q: Vec<f32> = q.iter().map(|number| number * factor).collect();
    let block = BLOCK * row;
    let partials: Vec<Partial> = k
        .par_chunks(block)
        .zip(v.par_chunks(block))
        .enumerate()
        .map(|(number, (k, v))| {
            let weighed = weighed.map(|weighed| KeyWeights { keys: &weighed.keys[number * BLOCK..], ..weighed });
            attend(&q, k, v, kv_heads, width, weighed)
        })
        .collect();
    let mut out = vec![0.0; heads * width];
    for (head, out) in out.chunks_exact_mut(width).enumerate() {
        let largest = partials.iter().map(|(scales, _)| scales[head][0]).fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (scales, values) in &partials {
            let [most, part] = scales[head];
            let scale = (most - largest).exp();
            sum += scale * part;
            out.iter_mut().zip(&values[head * width..]).for_each(|(out, value)| *out += scale * value);
        }
        out.iter_mut().for_each(|out| *out /= sum);
    }
    Ok(out)
}

for_the_widest_registers! {
    fn attend(q: &[f32], k: &[f32], v: &[f32], kv_heads: usize, width: usize, weighed: Option<KeyWeights<'_>>) -> Partial = attend_by
}

#[inline(always)]
fn attend_by<const FUSED: bool>(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    kv_heads: usize,
    width: usize,
    weighed: Option<KeyWeights<'_>>,
) -> Partial {
    let (heads, row) = (q.len() / width, kv_heads * width);
    let (group, keys) = (heads / kv_heads, k.len() / row);
    let mut scores = vec![0.0; heads * keys];
    for (key, k) in k.chunks_exact(row).enumerate() {
        for head in 0..heads {
            let k = &k[head / group * width..][..width];
            scores[head * keys + key] = dot::<FUSED>(&q[head * width..][..width], k);
        }
    }
    let mut scales = Vec::with_capacity(heads);
    for (head, scores) in scores.chunks_exact_mut(keys).enumerate() {
        let largest = largest(scores);
        scales.push([largest, exponentials(scores, largest)]);
        if let Some(weighed) = weighed {
            weighed.weigh(weighed.weights[head], scores);
        }
    }
    let mut out = vec![0.0; heads * width];
    for (key, v) in v.chunks_exact(row).enumerate() {
        for head in 0..heads {
            let (share, v) = (scores[head * keys + key], &v[head / group * width..][..width]);
            let out = &mut out[head * width..][..width];
            out.iter_mut().zip(v).for_each(|(out, value)| *out = multiply_add::<FUSED>(share, *value, *out));
        }
    }
    (scales, out)
}

#[inline(always)]
fn dot<const FUSED: bool>(x: &[f32], y: &[f32]) -> f32 {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (x, y) in x.iter().zip(y) {
        for lane in 0..LANES {
            sums[lane] = multiply_add::<FUSED>(x[lane], y[lane], sums[lane]);
        }
    }
    let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}
