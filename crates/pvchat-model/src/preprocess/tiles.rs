//! The images that an encoder sees of one frame, written where the clip has them.

use super::bicubic::{Pixel, RowResize, resized_rows};

/// Mean and standard deviation of red, green and blue on the scale 0..1.
#[derive(Clone, Copy, Debug)]
pub struct Normalisation {
    /// Subtracted.
    pub mean: [f32; 3],
    /// Divided by.
    pub deviation: [f32; 3],
}

/// Writes row `y` of an image `[3, side, side]` from the scale 0..255.
fn put(image: &mut [f32], side: usize, y: usize, row: &[Pixel], normalisation: &Normalisation) {
    for (channel, plane) in image.chunks_exact_mut(side * side).take(3).enumerate() {
        let (mean, deviation) = (normalisation.mean[channel], normalisation.deviation[channel]);
        let (scale, offset) = (1.0 / (255.0 * deviation), -mean / deviation);
        let line = &mut plane[y * side..(y + 1) * side];
        line.iter_mut().zip(row).for_each(|(to, pixel)| *to = pixel[channel] * scale + offset);
    }
}

/// The frame (bytes, three per pixel, `width` pixels a row) stretched to one square, `[3, side, side]`.
pub fn square(pixels: &[u8], width: usize, side: usize, normalisation: &Normalisation, image: &mut [f32]) {
    resized_rows(pixels, width, side, side, |y, row| put(image, side, y, row, normalisation));
}

/// The frame stretched to 2:1: its left half, its right half, and the whole shrunk to a square, `[3, side, side]` each.
pub fn left_right_whole(pixels: &[u8], width: usize, side: usize, normalisation: &Normalisation, images: [&mut [f32]; 3]) {
    let [left, right, whole] = images;
    let shrink = RowResize::new(2 * side, side);
    let mut shrunk = vec![Pixel::default(); side];
    resized_rows(pixels, width, 2 * side, side, |y, row| {
        shrink.apply(row, &mut shrunk);
        put(left, side, y, &row[..side], normalisation);
        put(right, side, y, &row[side..], normalisation);
        put(whole, side, y, &shrunk, normalisation);
    });
}
