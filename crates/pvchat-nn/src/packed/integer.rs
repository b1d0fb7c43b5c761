//! What the precisions of whole numbers share: weights and rows are whole numbers times a scale for each group of inputs; the
//! products of a group are summed exactly and then scaled.
//!
//! A panel holds, group by group, the scales of its outputs (bf16) and then the weights, four inputs of an output side by side.
//! Weights are kept unsigned, with an offset that is taken out again by the sum of the row: where the sums of a group begin.

use std::marker::PhantomData;

use super::{
    tile::{CHUNK, Kernel, PANEL},
    vector::{LANES, Vector, Whole},
};

/// The largest whole number of a row.
const LARGEST: f32 = 127.0;
/// Numbers below this count as zero: the inverse of their scale would be infinite.
const SMALLEST: f32 = 1e-30;
/// Adding this rounds to a whole number, whose two's complement is then in the lowest bits.
const ROUND: f32 = 12_582_912.0;
/// Scales that are tried for weights of few bits, in shares of the one with which no weight is cut.
const SHARES: [f32; 6] = [1.0, 0.96, 0.92, 0.87, 0.82, 0.76];
/// Inputs of a row that are adjacent.
const INPUTS: usize = CHUNK;

/// How weights of one precision are kept.
pub(super) trait Format {
    /// Inputs of a group, a multiple of 16.
    const GROUP: usize;
    /// The largest weight, in steps of the scale.
    const LARGEST: f32;
    /// How much further from zero the least one is.
    const ONE_MORE: f32;
    /// Whether a weight takes half a byte, with an offset of 8, rather than a byte, with one of 128.
    const NIBBLES: bool;
}

/// Bytes of the weights of four inputs for a panel.
const fn step_bytes<F: Format>() -> usize {
    if F::NIBBLES { PANEL * 2 } else { PANEL * 4 }
}

const fn group_bytes<F: Format>() -> usize {
    PANEL * 2 + F::GROUP / 4 * step_bytes::<F>()
}

/// Bytes of a panel.
pub(super) fn panel_bytes<F: Format>(inputs: usize) -> usize {
    inputs.div_ceil(F::GROUP) * group_bytes::<F>()
}

/// Writes a panel of `weights [inputs, PANEL]`, all of them finite.
pub(super) fn encode<F: Format>(weights: &[f32], to: &mut [u8]) {
    let offset = if F::NIBBLES { 8.0 } else { 128.0 };
    for (weights, to) in weights.chunks(F::GROUP * PANEL).zip(to.chunks_exact_mut(group_bytes::<F>())) {
        let (scales, steps) = to.split_at_mut(PANEL * 2);
        steps.fill(if F::NIBBLES { 0x88 } else { 0x80 });
        for output in 0..PANEL {
            let group = || weights.iter().skip(output).step_by(PANEL);
            let largest = group().fold(0.0, |largest: f32, weight| largest.max(weight.abs()));
            if largest < SMALLEST {
                scales[2 * output..][..2].fill(0);
                continue;
            }
            let scale = if F::NIBBLES {
                best_scale::<F>(group(), largest)
            } else {
                // Rounded up, so that the largest weight does not pass the largest whole number.
                f32::from_bits((((largest / F::LARGEST).to_bits() + 0xffff) >> 16) << 16)
            };
            scales[2 * output..][..2].copy_from_slice(&((scale.to_bits() >> 16) as u16).to_le_bytes());
            for (input, weight) in group().enumerate() {
                let whole = whole::<F>(*weight, scale) + offset;
                let (step, place) = (input / 4, input % 4);
                if F::NIBBLES {
                    let byte = &mut steps[step * step_bytes::<F>() + output % LANES * 4 + place];
                    *byte = if output < LANES { *byte & 0xf0 | whole as u8 } else { *byte & 0x0f | (whole as u8) << 4 };
                } else {
                    steps[step * step_bytes::<F>() + output * 4 + place] = whole as u8;
                }
            }
        }
    }
}

/// A weight in steps of a scale.
#[inline(always)]
fn whole<F: Format>(weight: f32, scale: f32) -> f32 {
    ((weight / scale + ROUND) - ROUND).clamp(-F::LARGEST - F::ONE_MORE, F::LARGEST)
}

/// The scale, in bf16, with which the squares of what rounding changes in a group add up to the least, of a few: those with which the
/// largest weight is the last step on its side, and some less, with which it is cut.
fn best_scale<'a, F: Format>(group: impl Iterator<Item = &'a f32> + Clone, largest: f32) -> f32 {
    let is_negative = group.clone().any(|weight| *weight == -largest);
    let sign = if is_negative { 1.0 } else { -1.0 };
    let mut best = (f32::INFINITY, 0.0);
    for share in SHARES {
        for scale in [largest / F::LARGEST, sign * largest / (F::LARGEST + F::ONE_MORE)] {
            let scale = f32::from_bits(((scale * share).to_bits() + 0x8000) & 0xffff_0000);
            let square = |weight: &f32| (weight - scale * whole::<F>(*weight, scale)).powi(2);
            let error = group.clone().map(square).sum::<f32>();
            if error < best.0 {
                best = (error, scale);
            }
        }
    }
    best.1
}

/// Reads the `weights [inputs, PANEL]` of a panel.
pub(super) fn decode<F: Format>(panel: &[u8], weights: &mut [f32]) {
    for (weights, from) in weights.chunks_mut(F::GROUP * PANEL).zip(panel.chunks_exact(group_bytes::<F>())) {
        let (scales, steps) = from.split_at(PANEL * 2);
        for (index, weight) in weights.iter_mut().enumerate() {
            let (input, output) = (index / PANEL, index % PANEL);
            let scale = f32::from_bits(u32::from(u16::from_le_bytes([scales[2 * output], scales[2 * output + 1]])) << 16);
            let (step, place) = (input / 4 * step_bytes::<F>(), input % 4);
            let whole = match (F::NIBBLES, output < LANES) {
                (false, _) => i32::from(steps[step + output * 4 + place]) - 128,
                (true, true) => i32::from(steps[step + output * 4 + place] & 15) - 8,
                (true, false) => i32::from(steps[step + (output - LANES) * 4 + place] >> 4) - 8,
            };
            *weight = whole as f32 * scale;
        }
    }
}

/// Rows and weights of whole numbers, whose sums are `W`.
pub(super) struct Scaled<F, W>(PhantomData<(F, W)>);

impl<F: Format, W: Whole> Kernel for Scaled<F, W> {
    type Vector = W::Vector;
    const ROWS: usize = W::Vector::WHOLE_ROWS;

    fn row_bytes(inputs: usize) -> usize {
        inputs.div_ceil(F::GROUP) * (8 + F::GROUP)
    }

    /// Group by group: the scales of all rows, where their sums begin, then the numbers.
    #[inline(always)]
    unsafe fn arrange<const M: usize>(rows: &[f32], inputs: usize, to: *mut u8) {
        let offset = if F::NIBBLES { 8 } else { W::OFFSET };
        for (index, first) in (0..inputs).step_by(F::GROUP).enumerate() {
            let width = F::GROUP.min(inputs - first);
            for row in 0..M {
                let numbers = rows.get(row * inputs + first..row * inputs + first + width).unwrap_or_default();
                // SAFETY: as the caller promises.
                unsafe {
                    let to = to.add(index * M * (8 + F::GROUP));
                    let chunks = to.add(M * 8 + row * CHUNK);
                    let (scale, sum) = round_group::<M>(numbers, F::GROUP, chunks);
                    to.cast::<f32>().add(row).write_unaligned(scale);
                    to.cast::<i32>().add(M + row).write_unaligned(-offset * sum);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<const M: usize>(inputs: usize, mut rows: *const u8, mut panel: *const u8) -> [[W::Vector; 2]; M] {
        let mut sums = [[W::Vector::splat(0.0); 2]; M];
        for _ in 0..inputs.div_ceil(F::GROUP) {
            // SAFETY: the rows and the panel have that many groups.
            unsafe {
                let scales = [W::Vector::load_halves(panel), W::Vector::load_halves(panel.add(LANES * 2))];
                panel = panel.add(PANEL * 2);
                let (row_scales, begins) = (rows.cast::<f32>(), rows.cast::<i32>().add(M));
                rows = rows.add(M * 8);
                let mut whole = [[W::splat(0); 2]; M];
                for (row, whole) in whole.iter_mut().enumerate() {
                    *whole = [W::splat(begins.add(row).read_unaligned()); 2];
                }
                // Hidden from the compiler, which would unroll the loop and run out of registers.
                for _ in 0..std::hint::black_box(F::GROUP / INPUTS) {
                    for step in 0..INPUTS / 4 {
                        let weights = if F::NIBBLES {
                            W::load_nibbles(panel.add(step * step_bytes::<F>()))
                        } else {
                            let weights = panel.add(step * step_bytes::<F>());
                            [W::load(weights), W::load(weights.add(LANES * 4))]
                        };
                        for (row, whole) in whole.iter_mut().enumerate() {
                            let inputs = rows.add(row * CHUNK + step * 4);
                            for (sum, weights) in whole.iter_mut().zip(weights) {
                                *sum = if F::NIBBLES {
                                    sum.add_products::<true>(inputs, weights)
                                } else {
                                    sum.add_products::<false>(inputs, weights)
                                };
                            }
                        }
                    }
                    rows = rows.add(M * CHUNK);
                    panel = panel.add(INPUTS / 4 * step_bytes::<F>());
                }
                for (row, (sums, whole)) in sums.iter_mut().zip(whole).enumerate() {
                    let scale = W::Vector::splat(row_scales.add(row).read_unaligned());
                    for ((sum, whole), scales) in sums.iter_mut().zip(whole).zip(scales) {
                        *sum = sum.multiply_add(whole.to_floats(), scales.multiply(scale));
                    }
                }
            }
        }
        sums
    }
}

/// Writes the numbers of a group as bytes, 16 at a time `M` chunks apart, with zeros after the end; returns their scale and the
/// sum of the bytes. The scale is NaN where one of the numbers is not finite.
///
/// # Safety
/// `to` must have room for a group of a tile of `M` rows.
#[inline(always)]
unsafe fn round_group<const M: usize>(numbers: &[f32], group: usize, to: *mut u8) -> (f32, i32) {
    // As whole numbers, so that infinity and NaN are the largest.
    let (blocks, rest) = numbers.as_chunks::<INPUTS>();
    let mut lanes = [0u32; INPUTS];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, number)| *lane = (*lane).max(number.to_bits() & 0x7fff_ffff));
    }
    let largest = lanes.iter().copied().chain(rest.iter().map(|number| number.to_bits() & 0x7fff_ffff)).fold(0, u32::max);
    let largest = f32::from_bits(largest);
    let (scale, steps) = if !largest.is_finite() {
        (f32::NAN, 0.0)
    } else if largest < SMALLEST {
        (0.0, 0.0)
    } else {
        (largest / LARGEST, LARGEST / largest)
    };
    let mut sums = [0i32; INPUTS];
    for chunk in 0..group / INPUTS {
        let mut last = [0.0; INPUTS];
        let block = blocks.get(chunk).unwrap_or_else(|| {
            let rest = if chunk == blocks.len() { rest } else { &[] };
            last[..rest.len()].copy_from_slice(rest);
            &last
        });
        let mut bytes = [0u8; INPUTS];
        for ((byte, sum), number) in bytes.iter_mut().zip(&mut sums).zip(block) {
            let whole = (number * steps + ROUND).to_bits() as u8;
            *byte = whole;
            *sum += i32::from(whole.cast_signed());
        }
        // SAFETY: as the caller promises.
        unsafe { to.add(chunk * M * CHUNK).cast::<[u8; INPUTS]>().write_unaligned(bytes) };
    }
    (scale, sums.iter().sum())
}
