//! Simple drawn figures for this crate's tests.

use image::{GrayImage, Luma, Rgb, RgbImage};

/// A wall and a floor that drift by a pixel per frame, and a figure that steps to the right.
pub(crate) fn clip(side: u32) -> (Vec<RgbImage>, Vec<GrayImage>) {
    (0..8).map(|time| frame(side, time)).unzip()
}

/// The same without the figure.
pub(crate) fn scene(side: u32, wall: [u8; 3]) -> Vec<RgbImage> {
    (0..8).map(|_| RgbImage::from_pixel(side, side, Rgb(wall))).collect()
}

fn frame(side: u32, time: u32) -> (RgbImage, GrayImage) {
    let unit = side as f32 / 64.0;
    let mut frame = RgbImage::new(side, side);
    let mut truth = GrayImage::new(side, side);
    for (column, row, pixel) in frame.enumerate_pixels_mut() {
        let (x, y) = (column as f32 / unit - 28.0 - time as f32 * 0.7, row as f32 / unit);
        // Tiles that every row's border shows too.
        let tile = ((column + time) / 3 + row / 3) % 2;
        let mut colour = if y < 44.0 { [190 + 8 * tile as u8, 200, 210] } else { [120, 90 + 8 * tile as u8, 60] };
        let head = (x / 8.0).powi(2) + ((y - 20.0) / 9.0).powi(2) <= 1.0;
        let body = x.abs() <= 6.5 && (28.0..46.0).contains(&y);
        let legs = (2.0..5.5).contains(&x.abs()) && (46.0..56.0).contains(&y);
        if head {
            colour = [225, 170, 120];
        } else if body {
            colour = [210, 40, 50];
        } else if legs {
            colour = [40, 40, 90];
        }
        if head || body || legs {
            truth.put_pixel(column, row, Luma([255]));
        }
        *pixel = Rgb(colour);
    }
    (frame, truth)
}

/// Intersection over union of two masks.
pub(crate) fn overlap(one: &GrayImage, other: &GrayImage) -> f32 {
    let pairs = || one.pixels().zip(other.pixels()).map(|(one, other)| (one.0[0] > 127, other.0[0] > 127));
    let both = pairs().filter(|&(one, other)| one && other).count();
    let either = pairs().filter(|&(one, other)| one || other).count();
    both as f32 / either.max(1) as f32
}
