//! What happens to outputs while they are still in the cache.

use super::{
    tile::PANEL,
    vector::{LANES, Lanes, Vector},
};
use crate::simd::{exponential, multiply_add};

/// What becomes of the outputs of a product, its bias added.
#[derive(Clone, Copy, Debug, Default)]
pub enum Finish<'a> {
    /// They are the result.
    #[default]
    Nothing,
    /// The Gaussian error linear unit in its form with the hyperbolic tangent (arXiv 1606.08415).
    GeluTanh,
    /// These numbers, `[rows, outputs]`, are added.
    Add(&'a [f32]),
}

impl Finish<'_> {
    /// Asks for what [`apply`](Self::apply) will need.
    #[inline(always)]
    pub(super) fn prefetch(self, place: usize, width: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Self::Add(others) = self {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for first in (0..width).step_by(LANES) {
                // SAFETY: a hint, which reads nothing and takes any address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(others.as_ptr().wrapping_add(place + first).cast()) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (place, width);
    }

    /// For `width` numbers, of which the first is number `place` of the result.
    #[inline(always)]
    pub(super) fn apply<V: Vector>(self, numbers: &mut [f32; PANEL], place: usize, width: usize) {
        match self {
            Self::Nothing => {}
            Self::GeluTanh => {
                for number in numbers {
                    *number = if V::FUSED { gelu_tanh::<true>(*number) } else { gelu_tanh::<false>(*number) };
                }
            }
            Self::Add(others) => {
                numbers.iter_mut().zip(&others[place..place + width]).for_each(|(number, other)| *number += other);
            }
        }
    }
}

/// `x (1 + tanh z) / 2` with `z = sqrt(2 / pi) (x + 0.044715 x³)`, which is `x` times the logistic function of `2 z`.
#[inline(always)]
fn gelu_tanh<const FUSED: bool>(x: f32) -> f32 {
    const LINEAR: f32 = 1.595_769_2;
    const CUBIC: f32 = LINEAR * 0.044_715;
    x * logistic::<FUSED>(x * multiply_add::<FUSED>(CUBIC, x * x, LINEAR))
}

/// `1 / (1 + exp(-x))`, by the exponential of a number that is not positive.
#[inline(always)]
fn logistic<const FUSED: bool>(x: f32) -> f32 {
    let small = exponential::<FUSED>(-x.abs());
    let above = 1.0 / (1.0 + small);
    if x < 0.0 { small * above } else { above }
}

/// `gate` times its logistic function, times `up`.
#[inline(always)]
pub(super) fn gated<V: Vector>(gate: Lanes, up: Lanes) -> Lanes {
    let mut out = [0.0; LANES];
    // No closures: they would not be compiled for the instructions of the caller.
    for lane in 0..LANES {
        let share = if V::FUSED { logistic::<true>(gate[lane]) } else { logistic::<false>(gate[lane]) };
        out[lane] = gate[lane] * share * up[lane];
    }
    out
}
