//! Attention of one new token on what a decoder has read.

#[cfg(target_arch = "x86_64")]
use super::vector::x86::{Avx2, Avx512};
use super::{
    KeyWeights, Level,
    memory::Shared,
    team::share,
    vector::{LANES, Lanes, Vector},
};
use crate::{
    Error, Result,
    simd::{exponentials, largest},
};

/// Keys that one task takes: the order of all sums depends on it and not on the number of threads.
const BLOCK: usize = 128;
/// Rows of values that every head mixes before any goes on.
const VALUES: usize = 16;
/// Vectors of a head that are mixed together.
const VECTORS: usize = 4;

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
    let (count, block) = (k.len() / row, BLOCK * row);
    // What each block of keys adds to the result: for each head the weighted sum of the values, the largest score, and the sum of
    // the exponentials.
    let part = heads * (width + 2);
    let mut parts = vec![0.0; count.div_ceil(BLOCK) * part];
    let routine = routine_for(Level::best());
    let shared = Shared(parts.as_mut_ptr());
    share(count.div_ceil(BLOCK), |number| {
        let place = number * block..k.len().min((number + 1) * block);
        let weighed = weighed.map(|weighed| KeyWeights { keys: &weighed.keys[number * BLOCK..], ..weighed });
        // SAFETY: each task writes its own part.
        let part = unsafe { std::slice::from_raw_parts_mut(shared.at(number * part), part) };
        let block = Block { q: &q, k: &k[place.clone()], v: &v[place], heads, kv_heads, width, weighed };
        // SAFETY: the routine is one for this processor.
        unsafe { routine(&block, part) };
    });
    let mut out = vec![0.0; heads * width];
    for (head, out) in out.chunks_exact_mut(width).enumerate() {
        let of_head = || parts.chunks_exact(part).map(|part| &part[head * (width + 2)..][..width + 2]);
        let largest = of_head().map(|part| part[width]).fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for part in of_head() {
            let scale = (part[width] - largest).exp();
            sum += scale * part[width + 1];
            out.iter_mut().zip(part).for_each(|(out, value)| *out += scale * value);
        }
        out.iter_mut().for_each(|out| *out /= sum);
    }
    Ok(out)
}

/// What a block of keys adds to the result.
struct Block<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    heads: usize,
    kv_heads: usize,
    width: usize,
    weighed: Option<KeyWeights<'a>>,
}

/// [`attend_by`], compiled for the instructions of a kind of vector.
type Routine = unsafe fn(&Block<'_>, &mut [f32]);

macro_rules! routine {
    ($vector:ty $(, $features:literal)?) => {{
        $(#[target_feature(enable = $features)])?
        unsafe fn attend(block: &Block<'_>, out: &mut [f32]) {
            // SAFETY: as the caller promises.
            unsafe { attend_by::<$vector>(block, out) }
        }
        attend
    }};
}

fn routine_for(level: Level) -> Routine {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vnni | Level::Avx512Bf16 => routine!(Avx512, "avx512f,avx512bw,avx512vl"),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => routine!(Avx2, "avx2,fma"),
        Level::Portable => routine!(Lanes),
    }
}

/// Writes, for each head, the weighted sum of the values, the largest score and the sum of the exponentials over zeros.
///
/// # Safety
/// The processor must have the instructions of the vectors.
#[inline(always)]
unsafe fn attend_by<V: Vector>(block: &Block<'_>, out: &mut [f32]) {
    let Block { q, k, v, heads, kv_heads, width, weighed } = *block;
    let (row, group, out_row) = (kv_heads * width, heads / kv_heads, width + 2);
    let keys = k.len() / row;
    // Memory is read from the first byte to the last: each key by all heads before the next one.
    let mut scores = vec![0.0; heads * keys];
    for (key, k) in k.chunks_exact(row).enumerate() {
        for (kv_head, k) in k.chunks_exact(width).enumerate() {
            for head in kv_head * group..(kv_head + 1) * group {
                // SAFETY: as the caller promises.
                scores[head * keys + key] = unsafe { product_sum::<V>(&q[head * width..][..width], k) };
            }
        }
    }
    for (head, scores) in scores.chunks_exact_mut(keys).enumerate() {
        let largest = largest(scores);
        out[head * out_row + width] = largest;
        out[head * out_row + width + 1] = exponentials(scores, largest);
        if let Some(weighed) = weighed {
            weighed.weigh(weighed.weights[head], scores);
        }
    }
    for (number, v) in v.chunks(VALUES * row).enumerate() {
        for (head, (shares, out)) in scores.chunks_exact(keys).zip(out.chunks_exact_mut(out_row)).enumerate() {
            let shares = &shares[number * VALUES..][..v.len() / row];
            // SAFETY: as the caller promises.
            unsafe { mix::<V>(shares, &v[head / group * width..], row, &mut out[..width]) };
        }
    }
}

/// The sum of the products of two rows.
///
/// # Safety
/// The processor must have the instructions of the vectors.
#[inline(always)]
unsafe fn product_sum<V: Vector>(one: &[f32], other: &[f32]) -> f32 {
    let ((ones, rest), (others, other_rest)) = (one.as_chunks::<LANES>(), other.as_chunks::<LANES>());
    let mut sum = V::splat(0.0);
    for (one, other) in ones.iter().zip(others) {
        // SAFETY: both are sixteen numbers.
        sum = unsafe { sum.multiply_add(V::load(one.as_ptr()), V::load(other.as_ptr())) };
    }
    let mut all = sum.sum();
    for (one, other) in rest.iter().zip(other_rest) {
        all += one * other;
    }
    all
}

/// Adds the first `out.len()` numbers of each row, times its share, to `out`.
///
/// # Safety
/// As [`product_sum`].
#[inline(always)]
unsafe fn mix<V: Vector>(shares: &[f32], rows: &[f32], row: usize, out: &mut [f32]) {
    let width = out.len();
    let (blocks, rest) = out.as_chunks_mut::<{ VECTORS * LANES }>();
    for (number, out) in blocks.iter_mut().enumerate() {
        let (out, _) = out.as_chunks_mut::<LANES>();
        let mut sums = [V::splat(0.0); VECTORS];
        for (sum, out) in sums.iter_mut().zip(out.iter()) {
            // SAFETY: there are sixteen numbers.
            *sum = unsafe { V::load(out.as_ptr()) };
        }
        for (key, share) in shares.iter().enumerate() {
            let (share, values) = (V::splat(*share), &rows[key * row + number * VECTORS * LANES..][..VECTORS * LANES]);
            for (vector, sum) in sums.iter_mut().enumerate() {
                // SAFETY: there are as many vectors of values.
                *sum = unsafe { sum.multiply_add(share, V::load(values.as_ptr().add(vector * LANES))) };
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = sum.lanes();
        }
    }
    let place = width - rest.len();
    for (key, share) in shares.iter().enumerate() {
        for (sum, value) in rest.iter_mut().zip(&rows[key * row + place..]) {
            *sum += share * value;
        }
    }
}
