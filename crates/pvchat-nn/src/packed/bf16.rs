//! Weights in bf16. Two inputs of an output are adjacent, as the instruction for products of bf16 wants them; without it, and
//! for a single row, which waits for memory anyway, weights become f32 in registers and rows stay as they are.

use std::marker::PhantomData;

use super::{
    f32::arrange_numbers,
    level::Level,
    tile::{CHUNK, Kernel, PANEL, Routine, routine},
    vector::{LANES, Lanes, Vector},
};

/// Inputs of a chunk of a row in bf16; as many fill up a panel.
const INPUTS: usize = CHUNK / 2;

/// Bytes of a panel.
pub(super) fn panel_bytes(inputs: usize) -> usize {
    inputs.next_multiple_of(INPUTS) * PANEL * 2
}

/// Writes a panel of `weights [inputs, PANEL]`.
pub(super) fn encode(weights: &[f32], to: &mut [u8]) {
    to.fill(0);
    for (input, weights) in weights.chunks_exact(PANEL).enumerate() {
        let pairs = to[input / 2 * PANEL * 4..].chunks_exact_mut(4);
        for (pair, weight) in pairs.zip(weights) {
            pair[input % 2 * 2..][..2].copy_from_slice(&rounded(*weight).to_le_bytes());
        }
    }
}

/// Reads the `weights [inputs, PANEL]` of a panel.
pub(super) fn decode(panel: &[u8], weights: &mut [f32]) {
    for (input, weights) in weights.chunks_exact_mut(PANEL).enumerate() {
        for (weight, pair) in weights.iter_mut().zip(panel[input / 2 * PANEL * 4..].as_chunks::<4>().0) {
            *weight = f32::from_bits((u32::from_le_bytes(*pair) >> (input % 2 * 16)) << 16);
        }
    }
}

/// The nearest number of bf16, of two the even one.
pub(super) fn rounded(number: f32) -> u16 {
    let bits = number.to_bits();
    if number.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

pub(super) fn routine_for(level: Level, rows: usize) -> Routine {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 if rows > 1 => routine!(Dot, "avx512f,avx512bw,avx512vl,avx512bf16"),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vnni | Level::Avx512Bf16 => {
            routine!(Widened<super::vector::x86::Avx512>, "avx512f,avx512bw,avx512vl")
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => routine!(Widened<super::vector::x86::Avx2>, "avx2,fma"),
        _ => routine!(Widened<Lanes>),
    }
}

/// Weights that become f32 in registers.
struct Widened<V>(PhantomData<V>);

impl<V: Vector> Kernel for Widened<V> {
    type Vector = V;
    const ROWS: usize = V::ROWS;

    fn row_bytes(inputs: usize) -> usize {
        inputs.next_multiple_of(INPUTS) * 4
    }

    #[inline(always)]
    unsafe fn arrange<const M: usize>(rows: &[f32], inputs: usize, to: *mut u8) {
        // SAFETY: as the caller promises.
        unsafe { arrange_numbers::<M>(rows, inputs, Self::row_bytes(inputs) / CHUNK, to) }
    }

    #[inline(always)]
    unsafe fn tile<const M: usize>(inputs: usize, mut rows: *const u8, mut panel: *const u8) -> [[V; 2]; M] {
        let mut sums = [[V::splat(0.0); 2]; M];
        for _ in 0..Self::row_bytes(inputs) / CHUNK {
            // SAFETY: the rows and the panel have that many chunks.
            unsafe {
                for pair in 0..2 {
                    let weights = panel.add(pair * PANEL * 4);
                    let [[first, third], [second, fourth]] = [V::load_pairs(weights), V::load_pairs(weights.add(LANES * 4))];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let numbers = rows.cast::<f32>().add(row * CHUNK / 4 + 2 * pair);
                        let [x, y] = [V::splat(numbers.read_unaligned()), V::splat(numbers.add(1).read_unaligned())];
                        sums[0] = sums[0].multiply_add(x, first).multiply_add(y, third);
                        sums[1] = sums[1].multiply_add(x, second).multiply_add(y, fourth);
                    }
                }
                rows = rows.add(M * CHUNK);
                panel = panel.add(2 * PANEL * 4);
            }
        }
        sums
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use dot::Dot;

#[cfg(target_arch = "x86_64")]
mod dot {
    use std::arch::x86_64::{
        __m128bh, __m128i, __m256bh, __m256i, _mm_storeu_si128, _mm256_cvtneps_pbh, _mm256_loadu_ps, _mm512_cvtepu16_epi32,
        _mm512_cvtneps_pbh, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_or_si512, _mm512_slli_epi32, _mm512_storeu_si512,
    };

    use super::{
        super::{attention::Packing, vector::x86::Avx512},
        CHUNK, INPUTS, Kernel, LANES, PANEL, Vector, panel_bytes,
    };

    /// Rows in bf16, by the instruction for its products.
    pub(in super::super) struct Dot;

    impl Kernel for Dot {
        type Vector = Avx512;
        const ROWS: usize = Avx512::ROWS;

        fn row_bytes(inputs: usize) -> usize {
            inputs.next_multiple_of(INPUTS) * 2
        }

        #[inline(always)]
        unsafe fn arrange<const M: usize>(rows: &[f32], inputs: usize, to: *mut u8) {
            for row in 0..M {
                let numbers = rows.get(row * inputs..(row + 1) * inputs).unwrap_or_default();
                let (whole, rest) = numbers.as_chunks::<INPUTS>();
                for chunk in 0..inputs.div_ceil(INPUTS) {
                    let mut last = [0.0; INPUTS];
                    let numbers = whole.get(chunk).unwrap_or_else(|| {
                        let rest = if chunk == whole.len() { rest } else { &[] };
                        last[..rest.len()].copy_from_slice(rest);
                        &last
                    });
                    // SAFETY: the caller has made sure of the instructions and of the room.
                    unsafe {
                        let halves = _mm256_cvtneps_pbh(_mm256_loadu_ps(numbers.as_ptr()));
                        _mm_storeu_si128(
                            to.add((chunk * M + row) * CHUNK).cast(),
                            std::mem::transmute::<__m128bh, __m128i>(halves),
                        );
                    }
                }
            }
        }

        #[inline(always)]
        unsafe fn tile<const M: usize>(inputs: usize, mut rows: *const u8, mut panel: *const u8) -> [[Avx512; 2]; M] {
            let mut sums = [[Avx512::splat(0.0); 2]; M];
            for _ in 0..inputs.div_ceil(INPUTS) {
                // SAFETY: the rows and the panel have that many chunks.
                unsafe {
                    for pair in 0..INPUTS / 2 {
                        let weights = panel.add(pair * PANEL * 4);
                        let weights = [_mm512_loadu_si512(weights.cast()), _mm512_loadu_si512(weights.add(LANES * 4).cast())];
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let inputs = rows.add(row * CHUNK + 4 * pair);
                            for (sum, weights) in sums.iter_mut().zip(weights) {
                                *sum = sum.add_pairs(inputs, weights);
                            }
                        }
                    }
                    rows = rows.add(M * CHUNK);
                    panel = panel.add(INPUTS / 2 * PANEL * 4);
                }
            }
            sums
        }
    }

    impl Packing for Dot {
        fn panel_bytes(inputs: usize) -> usize {
            panel_bytes(inputs)
        }

        #[inline(always)]
        unsafe fn pack_outputs<'a>(count: usize, inputs: usize, row: impl Fn(usize) -> &'a [f32], to: *mut u8) {
            // SAFETY: as the caller promises.
            let panel = unsafe { std::slice::from_raw_parts_mut(to.cast::<u32>(), panel_bytes(inputs) / 4) };
            if count < PANEL || !inputs.is_multiple_of(INPUTS) {
                panel.fill(0);
            }
            for output in 0..count {
                let numbers = row(output);
                let (blocks, rest) = numbers.as_chunks::<LANES>();
                let mut last = [0.0; LANES];
                last[..rest.len()].copy_from_slice(rest);
                let places = panel.chunks_mut(LANES / 2 * PANEL);
                for (places, block) in places.zip(blocks.iter().chain((!rest.is_empty()).then_some(&last))) {
                    // SAFETY: the caller has made sure of the instructions.
                    let pairs: [u32; LANES / 2] =
                        unsafe { std::mem::transmute(_mm512_cvtneps_pbh(_mm512_loadu_ps(block.as_ptr()))) };
                    places.chunks_exact_mut(PANEL).zip(pairs).for_each(|(place, pair)| place[output] = pair);
                }
            }
        }

        #[inline(always)]
        unsafe fn pack_inputs<'a>(count: usize, inputs: usize, row: impl Fn(usize) -> &'a [f32], to: *mut u8) {
            // SAFETY: as the caller promises.
            let panel = unsafe { std::slice::from_raw_parts_mut(to.cast::<u32>(), panel_bytes(inputs) / 4) };
            for (pair, place) in panel.chunks_exact_mut(PANEL).enumerate() {
                let mut numbers = [[0.0; PANEL]; 2];
                for (input, numbers) in (2 * pair..count.min(2 * pair + 2)).zip(&mut numbers) {
                    let row = row(input);
                    numbers[..row.len()].copy_from_slice(row);
                }
                for (half, place) in place.chunks_exact_mut(LANES).enumerate() {
                    // SAFETY: the caller has made sure of the instructions.
                    unsafe {
                        let [first, second] = [0, 1].map(|input| {
                            let numbers = _mm512_loadu_ps(numbers[input].as_ptr().add(half * LANES));
                            _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(numbers)))
                        });
                        let pairs = _mm512_or_si512(first, _mm512_slli_epi32::<16>(second));
                        _mm512_storeu_si512(place.as_mut_ptr().cast(), pairs);
                    }
                }
            }
        }
    }
}
