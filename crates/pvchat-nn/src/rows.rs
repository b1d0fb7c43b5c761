//! Norms of rows of plain numbers.

use crate::simd::{for_the_widest_registers, multiply_add, product_sum, sum};

/// Which norm it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Whether the mean is taken off.
    pub(crate) centred: bool,
    pub(crate) epsilon: f32,
}

for_the_widest_registers! {
    pub(crate) fn forward_row(from: &[f32], gamma: &[f32], beta: &[f32], to: &mut [f32], settings: Settings) = forward_row_of
}

#[inline(always)]
fn forward_row_of<const FUSED: bool>(from: &[f32], gamma: &[f32], beta: &[f32], to: &mut [f32], settings: Settings) {
    centre(from, to, settings);
    let factor = factor(to, settings);
    for ((to, gamma), beta) in to.iter_mut().zip(gamma).zip(beta) {
        *to = multiply_add::<FUSED>(*to * factor, *gamma, *beta);
    }
}

/// The row, less its mean if that is taken off.
#[inline(always)]
pub(crate) fn centre(from: &[f32], to: &mut [f32], settings: Settings) {
    let mean = if settings.centred { sum(from) / from.len() as f32 } else { 0.0 };
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from - mean);
}

/// One over the root of the mean square.
#[inline(always)]
pub(crate) fn factor(centred: &[f32], settings: Settings) -> f32 {
    (product_sum(centred, centred) / centred.len() as f32 + settings.epsilon).sqrt().recip()
}
