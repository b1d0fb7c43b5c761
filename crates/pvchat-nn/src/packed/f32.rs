//! Weights as they are.

use std::marker::PhantomData;

use super::{
    attention::Packing,
    level::Level,
    tile::{CHUNK, Kernel, PANEL, Routine, routine},
    vector::{LANES, Lanes, Vector},
};

/// Inputs of a chunk of a row.
const INPUTS: usize = CHUNK / 4;

/// Bytes of a panel.
pub(super) fn panel_bytes(inputs: usize) -> usize {
    inputs.next_multiple_of(INPUTS) * PANEL * 4
}

/// Writes a panel of `weights [inputs, PANEL]`.
pub(super) fn encode(weights: &[f32], to: &mut [u8]) {
    for (to, weight) in to.chunks_exact_mut(4).zip(weights) {
        to.copy_from_slice(&weight.to_ne_bytes());
    }
}

/// Reads the `weights [inputs, PANEL]` of a panel.
pub(super) fn decode(panel: &[u8], weights: &mut [f32]) {
    for (weight, from) in weights.iter_mut().zip(panel.as_chunks::<4>().0) {
        *weight = f32::from_ne_bytes(*from);
    }
}

pub(super) fn routine_for(level: Level) -> Routine {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vnni | Level::Avx512Bf16 => {
            routine!(F32<super::vector::x86::Avx512>, "avx512f,avx512bw,avx512vl")
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => routine!(F32<super::vector::x86::Avx2>, "avx2,fma"),
        _ => routine!(F32<Lanes>),
    }
}

pub(super) struct F32<V>(PhantomData<V>);

impl<V: Vector> Kernel for F32<V> {
    type Vector = V;
    const ROWS: usize = V::ROWS;

    fn row_bytes(inputs: usize) -> usize {
        inputs.div_ceil(INPUTS) * CHUNK
    }

    #[inline(always)]
    unsafe fn arrange<const M: usize>(rows: &[f32], inputs: usize, to: *mut u8) {
        // SAFETY: as the caller promises.
        unsafe { arrange_numbers::<M>(rows, inputs, inputs.div_ceil(INPUTS), to) }
    }

    #[inline(always)]
    unsafe fn tile<const M: usize>(inputs: usize, mut rows: *const u8, mut panel: *const u8) -> [[V; 2]; M] {
        let mut sums = [[V::splat(0.0); 2]; M];
        for _ in 0..inputs.div_ceil(INPUTS) {
            // SAFETY: the rows and the panel have that many chunks.
            unsafe {
                for input in 0..INPUTS {
                    let weights: *const f32 = panel.cast::<f32>().add(input * PANEL);
                    let weights = [V::load(weights), V::load(weights.add(LANES))];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = V::splat(rows.cast::<f32>().add(row * INPUTS + input).read_unaligned());
                        for (sum, weights) in sums.iter_mut().zip(weights) {
                            *sum = sum.multiply_add(x, weights);
                        }
                    }
                }
                rows = rows.add(M * CHUNK);
                panel = panel.add(INPUTS * PANEL * 4);
            }
        }
        sums
    }
}

impl<V: Vector> Packing for F32<V> {
    fn panel_bytes(inputs: usize) -> usize {
        panel_bytes(inputs)
    }

    #[inline(always)]
    unsafe fn pack_outputs<'a>(count: usize, inputs: usize, row: impl Fn(usize) -> &'a [f32], to: *mut u8) {
        // SAFETY: as the caller promises.
        let panel = unsafe { std::slice::from_raw_parts_mut(to.cast::<f32>(), panel_bytes(inputs) / 4) };
        if count < PANEL || !inputs.is_multiple_of(INPUTS) {
            panel.fill(0.0);
        }
        for output in 0..count {
            let places = panel.chunks_exact_mut(PANEL);
            places.zip(row(output)).for_each(|(place, number)| place[output] = *number);
        }
    }

    #[inline(always)]
    unsafe fn pack_inputs<'a>(count: usize, inputs: usize, row: impl Fn(usize) -> &'a [f32], to: *mut u8) {
        // SAFETY: as the caller promises.
        let panel = unsafe { std::slice::from_raw_parts_mut(to.cast::<f32>(), panel_bytes(inputs) / 4) };
        for (input, place) in panel.chunks_exact_mut(PANEL).enumerate() {
            let numbers = if input < count { row(input) } else { &[] };
            match <&[f32; PANEL]>::try_from(numbers) {
                Ok(numbers) => place.copy_from_slice(numbers),
                Err(_) => {
                    place.fill(0.0);
                    place[..numbers.len()].copy_from_slice(numbers);
                }
            }
        }
    }
}

/// Four numbers of each row side by side, that many times, with zeros after the end.
///
/// # Safety
/// `to` must have room for `M` rows of this many chunks.
#[inline(always)]
pub(super) unsafe fn arrange_numbers<const M: usize>(rows: &[f32], inputs: usize, chunks: usize, to: *mut u8) {
    for row in 0..M {
        let numbers = rows.get(row * inputs..(row + 1) * inputs).unwrap_or_default();
        let (whole, rest) = numbers.as_chunks::<INPUTS>();
        for chunk in 0..chunks {
            let numbers = match whole.get(chunk) {
                Some(numbers) => *numbers,
                None => {
                    let rest = if chunk == whole.len() { rest } else { &[] };
                    std::array::from_fn(|index| rest.get(index).copied().unwrap_or(0.0))
                }
            };
            // SAFETY: as the caller promises.
            unsafe { to.add((chunk * M + row) * CHUNK).cast::<[f32; INPUTS]>().write_unaligned(numbers) };
        }
    }
}
