//! What all precisions share: tiles of a few rows times a panel of [`PANEL`] outputs, whose sums stay in registers from the first
//! input to the last.
//!
//! Rows are rearranged first: 16 bytes of each row of a tile side by side, then the next 16 bytes. So a tile reads its rows and
//! its panel from the first byte to the last, whatever the width of the matrix is: rows a multiple of 4096 bytes apart would
//! take each other's place in the cache.

use std::ops::Range;

use super::{
    finish::{Finish, gated},
    vector::{LANES, Vector},
};

/// Outputs whose weights are stored together.
pub(super) const PANEL: usize = 2 * LANES;
/// Bytes of a row that are stored together.
pub(super) const CHUNK: usize = 16;

/// How a tile is computed, for one precision and kind of processor.
pub(super) trait Kernel {
    type Vector: Vector;
    /// Rows of a tile, at most 12.
    const ROWS: usize;

    /// Bytes that a rearranged row takes.
    fn row_bytes(inputs: usize) -> usize;

    /// Rearranges rows for a tile of `M`; those that `rows [.., inputs]` lacks are zeros.
    ///
    /// # Safety
    /// `to` must have room for `M` rows, `rows` hold at most as many.
    unsafe fn arrange<const M: usize>(rows: &[f32], inputs: usize, to: *mut u8);

    /// The products of `M` rows with a panel.
    ///
    /// # Safety
    /// `rows` and `panel` must have been arranged for this kernel and this number of inputs.
    unsafe fn tile<const M: usize>(inputs: usize, rows: *const u8, panel: *const u8) -> [[Self::Vector; 2]; M];
}

/// A product of rows with a whole matrix.
pub(super) struct Product<'a> {
    pub inputs: usize,
    /// Length of a row of the result.
    pub outputs: usize,
    /// Whether a panel holds half of a gate and half of what it lets through.
    pub is_gated: bool,
    pub panel_bytes: usize,
    pub panels: &'a [u8],
    pub bias: Option<&'a [f32]>,
    pub finish: Finish<'a>,
}

/// A [`Kernel`], compiled for the instructions that it needs. Both functions may only be called where the processor has them.
#[derive(Clone, Copy)]
pub(super) struct Routine {
    /// Rows of a tile.
    pub rows: usize,
    /// Bytes that a rearranged row takes, given the inputs.
    pub row_bytes: fn(usize) -> usize,
    /// Rearranges `rows [count, inputs]`.
    pub arrange: unsafe fn(&[f32], usize, *mut u8),
    /// Multiplies rearranged rows by these panels; see [`multiply_by`].
    pub multiply: unsafe fn(&Product<'_>, *const u8, Range<usize>, Range<usize>, *mut f32),
}

/// Makes a [`Routine`] of a kernel.
macro_rules! routine {
    ($kernel:ty $(, $features:literal)?) => {{
        $(#[target_feature(enable = $features)])?
        unsafe fn arrange(rows: &[f32], inputs: usize, to: *mut u8) {
            // SAFETY: as the caller promises.
            unsafe { $crate::packed::tile::arrange_by::<$kernel>(rows, inputs, to) }
        }
        $(#[target_feature(enable = $features)])?
        unsafe fn multiply(
            product: &$crate::packed::tile::Product<'_>,
            arranged: *const u8,
            rows: std::ops::Range<usize>,
            panels: std::ops::Range<usize>,
            out: *mut f32,
        ) {
            // SAFETY: as the caller promises.
            unsafe { $crate::packed::tile::multiply_by::<$kernel>(product, arranged, rows, panels, out) }
        }
        $crate::packed::tile::Routine {
            rows: <$kernel as $crate::packed::tile::Kernel>::ROWS,
            row_bytes: <$kernel as $crate::packed::tile::Kernel>::row_bytes,
            arrange,
            multiply,
        }
    }};
}
pub(super) use routine;

/// Calls a function of `M`, the least number of rows that there is a tile for and that is at least the given one.
macro_rules! with_rows {
    ($height:expr, $most:expr, $function:ident::<$kernel:ty>($($argument:expr),* $(,)?)) => {
        match $height {
            0..=1 => $function::<$kernel, 1>($($argument),*),
            2 if $most >= 2 => $function::<$kernel, 2>($($argument),*),
            3 if $most >= 3 => $function::<$kernel, 3>($($argument),*),
            4 if $most >= 4 => $function::<$kernel, 4>($($argument),*),
            5..=6 if $most >= 6 => $function::<$kernel, 6>($($argument),*),
            7..=8 if $most >= 8 => $function::<$kernel, 8>($($argument),*),
            _ if $most >= 9 => $function::<$kernel, 12>($($argument),*),
            _ => unreachable!("tiles have at most {} rows", $most),
        }
    };
}

pub(super) use with_rows;

/// # Safety
/// `to` must have room for the rows, and for those that fill up the last tile.
#[inline(always)]
pub(super) unsafe fn arrange_by<K: Kernel>(rows: &[f32], inputs: usize, to: *mut u8) {
    let bytes = K::row_bytes(inputs);
    for (tile, rows) in rows.chunks(K::ROWS * inputs).enumerate() {
        let height = rows.len() / inputs;
        // SAFETY: the tile is one of those that there is room for.
        unsafe {
            let to = to.add(tile * K::ROWS * bytes);
            with_rows!(height, K::ROWS, arrange_tile::<K>(rows, inputs, to));
        }
    }
}

#[inline(always)]
unsafe fn arrange_tile<K: Kernel, const M: usize>(rows: &[f32], inputs: usize, to: *mut u8) {
    // SAFETY: as the caller promises.
    unsafe { K::arrange::<M>(rows, inputs, to) }
}

/// Products of the rearranged rows number `rows` with these panels; the first one begins at `arranged`, and its outputs at `out`.
///
/// # Safety
/// The rows must have been arranged by the same kernel, the panels be some of the product's, and `out` have room for
/// `[rows, outputs]`, of which nobody else touches the columns of these panels.
#[inline(always)]
pub(super) unsafe fn multiply_by<K: Kernel>(
    product: &Product<'_>,
    arranged: *const u8,
    rows: Range<usize>,
    panels: Range<usize>,
    out: *mut f32,
) {
    let bytes = K::row_bytes(product.inputs);
    for panel in panels {
        for first in rows.clone().step_by(K::ROWS) {
            let height = K::ROWS.min(rows.end - first);
            // SAFETY: as the caller promises.
            unsafe {
                let arranged = arranged.add((first - rows.start) * bytes);
                let out = out.add((first - rows.start) * product.outputs);
                with_rows!(height, K::ROWS, multiply_tile::<K>(product, arranged, first..first + height, panel, out));
            }
        }
    }
}

#[inline(always)]
unsafe fn multiply_tile<K: Kernel, const M: usize>(
    product: &Product<'_>,
    arranged: *const u8,
    rows: Range<usize>,
    panel: usize,
    out: *mut f32,
) {
    let width = if product.is_gated { LANES } else { PANEL };
    let first = panel * width;
    let width = width.min(product.outputs - first);
    let height = rows.len();
    let place = |row: usize| (rows.start + row) * product.outputs + first;
    // What is added lies a row apart in memory, where the processor does not foresee it: it is fetched while the sums are made.
    (0..height).for_each(|row| product.finish.prefetch(place(row), width));
    // SAFETY: as the caller promises.
    let sums = unsafe { K::tile::<M>(product.inputs, arranged, product.panels.as_ptr().add(panel * product.panel_bytes)) };
    for (row, sums) in sums.iter().enumerate() {
        let mut numbers = [0.0; PANEL];
        if product.is_gated {
            numbers[..LANES].copy_from_slice(&gated::<K::Vector>(sums[0].lanes(), sums[1].lanes()));
        } else {
            numbers[..LANES].copy_from_slice(&sums[0].lanes());
            numbers[LANES..].copy_from_slice(&sums[1].lanes());
        }
        if row < height {
            if let Some(bias) = product.bias {
                numbers.iter_mut().zip(&bias[first..first + width]).for_each(|(sum, bias)| *sum += bias);
            }
            product.finish.apply::<K::Vector>(&mut numbers, place(row), width);
            // SAFETY: as the caller promises.
            unsafe {
                let out = out.add(row * product.outputs + first);
                match width {
                    PANEL => out.cast::<[f32; PANEL]>().write_unaligned(numbers),
                    LANES => out.copy_from_nonoverlapping(numbers.as_ptr(), LANES),
                    _ => out.copy_from_nonoverlapping(numbers.as_ptr(), width),
                }
            }
        }
    }
}
