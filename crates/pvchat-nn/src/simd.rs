//! Loops over plain numbers, compiled for the widest registers that the processor has.

/// Defines a function that runs `$body::<FUSED>` (an `#[inline(always)]` function) in a version for AVX-512, AVX2 or
/// whatever else the processor has. `FUSED` says whether there is an instruction that multiplies and adds.
macro_rules! for_the_widest_registers {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)? = $body:ident) => {
        $(#[$attribute])*
        $visibility fn $name($($argument: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($argument: $kind),*) $(-> $result)? {
                    $body::<true>($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $kind),*) $(-> $result)? {
                    $body::<true>($($argument),*)
                }
                if std::arch::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has the feature that the function is compiled for.
                    return unsafe { avx512($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has the features that the function is compiled for.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $body::<false>($($argument),*)
        }
    };
}

pub(crate) use for_the_widest_registers;

/// `a b + c`.
#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `exp(x)` for `x <= 0`, zero below -87 (where f32 ends); relative error about 2e-7. Two to the power of a whole number,
/// times a polynomial (Cephes' coefficients) on what is left of the exponent, at most `ln 2 / 2`.
#[inline(always)]
pub(crate) fn exponential<const FUSED: bool>(x: f32) -> f32 {
    /// Adding this rounds to a whole number, whose two's complement is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let bounded = if x < -87.0 { -87.0 } else { x };
    let rounded = multiply_add::<FUSED>(bounded, std::f32::consts::LOG2_E, ROUND);
    let whole = rounded - ROUND;
    let rest = multiply_add::<FUSED>(whole, -0.693_359_4, bounded);
    let rest = multiply_add::<FUSED>(whole, 2.121_944_4e-4, rest);
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = multiply_add::<FUSED>(sum, rest, coefficient);
    }
    let value = multiply_add::<FUSED>(sum * rest, rest, rest + 1.0);
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { value * power }
}

for_the_widest_registers! {
    /// Replaces `row` by `exp(row - maximum)` and returns its sum. No element may exceed `maximum`; NaN stays NaN.
    pub(crate) fn exponentials(row: &mut [f32], maximum: f32) -> f32 = exponentials_of
}

/// Sixteen sums, which the compiler keeps in registers.
#[inline(always)]
fn exponentials_of<const FUSED: bool>(row: &mut [f32], maximum: f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let mut blocks = row.chunks_exact_mut(16);
    for block in &mut blocks {
        for (value, sum) in block.iter_mut().zip(&mut sums) {
            *value = exponential::<FUSED>(*value - maximum);
            *sum += *value;
        }
    }
    for (value, sum) in blocks.into_remainder().iter_mut().zip(&mut sums) {
        *value = exponential::<FUSED>(*value - maximum);
        *sum += *value;
    }
    sums.iter().sum()
}

for_the_widest_registers! {
    /// The largest number, minus infinity of none; NaN is passed over.
    pub(crate) fn largest(row: &[f32]) -> f32 = largest_of
}

#[inline(always)]
fn largest_of<const FUSED: bool>(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (blocks, rest) = row.as_chunks::<16>();
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

for_the_widest_registers! {
    /// The sum, of sixteen in registers.
    pub(crate) fn sum(row: &[f32]) -> f32 = sum_of
}

#[inline(always)]
fn sum_of<const FUSED: bool>(row: &[f32]) -> f32 {
    let mut lanes = [0.0; 16];
    let (blocks, rest) = row.as_chunks::<16>();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, value)| *lane += value);
    }
    lanes.iter().chain(rest).sum()
}

for_the_widest_registers! {
    /// Sum of the products of two rows of one length.
    pub(crate) fn product_sum(one: &[f32], other: &[f32]) -> f32 = product_sum_of
}

#[inline(always)]
fn product_sum_of<const FUSED: bool>(one: &[f32], other: &[f32]) -> f32 {
    let mut lanes = [0.0; 16];
    let ((ones, rest), (others, other_rest)) = (one.as_chunks::<16>(), other.as_chunks::<16>());
    for (one, other) in ones.iter().zip(others) {
        for ((lane, &one), &other) in lanes.iter_mut().zip(one).zip(other) {
            *lane = multiply_add::<FUSED>(one, other, *lane);
        }
    }
    let rest: f32 = rest.iter().zip(other_rest).map(|(one, other)| one * other).sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_a_few_units_and_keep_nan() {
        for start in 0..40 {
            let mut row: Vec<f32> = (0..start * 7 + 1).map(|index| -0.37 * index as f32).collect();
            let exact: Vec<f64> = row.iter().map(|&x| f64::from(x).exp()).collect();
            let sum = exponentials(&mut row, 0.0);
            for (found, exact) in row.iter().zip(&exact) {
                assert!((f64::from(*found) - exact).abs() <= 4e-7 * exact + 2e-38, "{found} {exact}");
            }
            assert!((f64::from(sum) - exact.iter().sum::<f64>()).abs() < 1e-5);
        }
        let mut row = [f32::NAN, 0.0];
        assert!(exponentials(&mut row, 0.0).is_nan() && row[0].is_nan() && row[1] == 1.0);
    }
}
