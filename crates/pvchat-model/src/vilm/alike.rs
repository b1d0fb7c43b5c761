//! Frames that look like an earlier one: a camera that does not move, in front of a scene in which nothing moves.

use image::{RgbImage, imageops};

/// Frames are compared as pictures of this many pixels a side: noise of the sensor averages out, what moves does not.
const SIDE: u32 = 64;
/// The greatest mean difference, in levels of 255.
const MEAN: f32 = 1.0;
/// The greatest difference of one pixel of the small picture, in levels: a mouth that opens is more.
const GREATEST: u8 = 6;

/// The frames without those that look like an earlier one, and for each frame the place of its like among them.
pub(super) fn distinct(frames: &[RgbImage]) -> (Vec<RgbImage>, Vec<usize>) {
    let (mut kept, mut small, mut places): (Vec<RgbImage>, Vec<RgbImage>, Vec<usize>) = (Vec::new(), Vec::new(), Vec::new());
    for frame in frames {
        let shrunk = imageops::thumbnail(frame, SIDE.min(frame.width().max(1)), SIDE.min(frame.height().max(1)));
        let is_like = |place: &usize| kept[*place].dimensions() == frame.dimensions() && is_like(&small[*place], &shrunk);
        let place = (0..kept.len()).find(is_like).unwrap_or(kept.len());
        if place == kept.len() {
            kept.push(frame.clone());
            small.push(shrunk);
        }
        places.push(place);
    }
    (kept, places)
}

fn is_like(one: &RgbImage, other: &RgbImage) -> bool {
    let differences = || one.as_raw().iter().zip(other.as_raw()).map(|(one, other)| one.abs_diff(*other));
    let sum: f32 = differences().map(f32::from).sum();
    differences().all(|difference| difference <= GREATEST) && sum <= MEAN * one.as_raw().len() as f32
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    /// A picture of blocks with up to `noise` levels of noise, and a bright spot of 16 pixels that begins at `spot`.
    fn picture(seed: u32, noise: u32, spot: Option<u32>) -> RgbImage {
        RgbImage::from_fn(256, 192, |x, y| {
            let level = 60 + 40 * ((x / 32 + y / 32) % 3);
            let random = (x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663) ^ seed.wrapping_mul(83_492_791)) >> 7;
            let is_spot = spot.is_some_and(|at| (at..at + 16).contains(&x) && (80..96).contains(&y));
            let level = if is_spot { 230 } else { level + random % (noise + 1) };
            Rgb([level as u8; 3])
        })
    }

    #[test]
    fn noise_is_no_other_picture_and_movement_is() {
        let frames = [
            picture(1, 6, None),
            picture(2, 6, None),
            picture(3, 6, Some(100)),
            picture(4, 6, Some(116)),
            picture(5, 6, None),
            picture(6, 6, Some(100)),
        ];
        let (kept, places) = distinct(&frames);
        assert_eq!(places, [0, 0, 1, 2, 0, 1]);
        assert_eq!(kept.len(), 3);
    }

    #[test]
    fn frames_of_other_sizes_are_other_frames() {
        let frames = [RgbImage::new(64, 48), RgbImage::new(48, 64), RgbImage::new(64, 48)];
        assert_eq!(distinct(&frames).1, [0, 1, 0]);
        assert!(distinct(&[]).1.is_empty());
    }
}
