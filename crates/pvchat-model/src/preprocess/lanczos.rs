//! The LANCZOS resize of torchvision (0.27 and later, on CPUs): antialiased, the horizontal pass first, every pass
//! rounded to bytes, weights of 16 bits. Equal to it byte for byte.
//!
//! Pillow's filter of the same name has finer weights and sometimes swaps the passes: up to three levels away.

use std::{borrow::Cow, f64::consts::PI};

use rayon::prelude::*;

/// The lobes of the kernel on each side.
const LOBES: f64 = 3.0;
/// The most bits that a weight has behind the point.
const MOST_BITS: u32 = 22;
/// Columns that are turned into rows at once: few enough for the cache.
const TURNED: usize = 16;

/// Size of a picture in pixels.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub width: usize,
    pub height: usize,
}

impl Size {
    pub fn square(side: usize) -> Self {
        Self { width: side, height: side }
    }

    fn turned(self) -> Self {
        Self { width: self.height, height: self.width }
    }
}

/// A picture (red, green and blue bytes, row by row) brought to another size; as it is where it has the size. A picture whose
/// bytes are not those of its size, or an empty size, gives none.
pub(super) fn resize(pixels: &[u8], from: Size, to: Size) -> Cow<'_, [u8]> {
    let empty = [from.width, from.height, to.width, to.height].contains(&0);
    if empty || pixels.len() != from.width.saturating_mul(from.height).saturating_mul(3) {
        return Cow::Owned(Vec::new());
    }
    let wide = if from.width == to.width {
        Cow::Borrowed(pixels)
    } else {
        // The pass across is the pass down of the turned picture.
        let turned = resize_rows(&transposed(pixels, from), from.turned(), to.width);
        Cow::Owned(transposed(&turned, Size { width: from.height, height: to.width }))
    };
    if from.height == to.height { wide } else { Cow::Owned(resize_rows(&wide, Size { width: to.width, ..from }, to.height)) }
}

/// The rows and columns of a picture exchanged.
fn transposed(pixels: &[u8], size: Size) -> Vec<u8> {
    let pixels = pixels.as_chunks::<3>().0;
    let mut turned = vec![[0; 3]; pixels.len()];
    turned.par_chunks_mut(TURNED * size.height).enumerate().for_each(|(block, columns)| {
        for (y, row) in pixels.chunks_exact(size.width).enumerate() {
            for (column, pixel) in columns.chunks_exact_mut(size.height).zip(&row[block * TURNED..]) {
                column[y] = *pixel;
            }
        }
    });
    turned.into_flattened()
}

/// A picture brought to another number of rows.
fn resize_rows(pixels: &[u8], from: Size, to_height: usize) -> Vec<u8> {
    let row = from.width * 3;
    let taps = Taps::new(from.height, to_height);
    let mut resized = vec![0; row * to_height];
    let sums = || vec![0; row];
    resized.par_chunks_exact_mut(row).zip(&taps.rows).for_each_init(sums, |sums, (to, (first, weights))| {
        sums.fill(taps.half());
        for (row, &weight) in pixels[first * row..].chunks_exact(row).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, byte)| *sum += i32::from(weight) * i32::from(*byte));
        }
        to.iter_mut().zip(sums).for_each(|(to, sum)| *to = (*sum >> taps.bits).clamp(0, 255) as u8);
    });
    resized
}

/// For every row of the result the first row that it is mixed of, and the weight of that and each row after it.
struct Taps {
    rows: Vec<(usize, Vec<i16>)>,
    /// How many bits of a weight are behind the point: as many as let the largest weight fit.
    bits: u32,
}

impl Taps {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = LOBES * stretch;
        let row = |row: usize| {
            let centre = (row as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weights: Vec<f64> = (first..end).map(|tap| kernel((tap as f64 - centre + 0.5) / stretch)).collect();
            let total: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|weight| weight / total).collect::<Vec<f64>>())
        };
        let rows: Vec<(usize, Vec<f64>)> = (0..to).map(row).collect();
        let largest = rows.iter().flat_map(|(_, weights)| weights).copied().fold(0.0, f64::max);
        let fits = |bits: &u32| largest * f64::from(1u32 << bits) + 0.5 < f64::from(1u32 << 15);
        let bits = (1..=MOST_BITS).take_while(fits).last().unwrap_or(0);
        let one = f64::from(1u32 << bits);
        let whole = |weight: f64| (weight * one).round() as i16;
        let rows = rows.into_iter().map(|(first, weights)| (first, weights.into_iter().map(whole).collect())).collect();
        Self { rows, bits }
    }

    /// What a sum begins with, so that cutting the bits behind the point rounds. The absolute weights add up to less than
    /// twice one, so that no sum leaves 32 bits.
    fn half(&self) -> i32 {
        (1 << self.bits) >> 1
    }
}

/// Lanczos' kernel: a sinc in the window of a wider one.
fn kernel(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    if (-LOBES..LOBES).contains(&x) { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}
