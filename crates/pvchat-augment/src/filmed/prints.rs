//! Which files show the same pictures, whatever their size, crop, mirror image and compression.
//!
//! A picture's print is 63 bits: which of its slowest waves (a discrete cosine transform of 32 x 32 grey values, eight waves across
//! and down without the mean) are above their median. Parts of a picture have prints too, so that a crop is found in the whole.

use std::f32::consts::PI;

use image::{GrayImage, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use super::quality::luma;

/// Grey values across and down that a print is made of, and waves that are kept.
const SIDE: usize = 32;
const WAVES: usize = 8;
/// The longest side of the picture that parts are cut from, in pixels.
const SMALL: u32 = 160;
/// Prints per second.
const RATE: f64 = 2.0;
/// Up to this many different bits two prints are of one picture.
const APART: u32 = 8;
/// A picture with a smaller standard deviation, in grey levels, shows nothing to go by.
const FLAT: f32 = 6.0;
/// The least number of prints that say something.
const LEAST: usize = 4;
/// A file shows what another does when this share of its prints is found there.
const SAME: f64 = 0.6;
/// The parts of a picture: their width and height as shares of it, and how many places across and down.
const PARTS: [([f32; 2], [usize; 2]); 8] = [
    ([0.9, 0.9], [3, 3]),
    ([0.8, 0.8], [3, 3]),
    ([0.7, 0.7], [3, 3]),
    ([0.6, 0.6], [3, 3]),
    ([0.75, 1.0], [3, 1]),
    ([0.5625, 1.0], [3, 1]),
    ([1.0, 0.9], [1, 3]),
    ([1.0, 0.75], [1, 3]),
];

/// The prints of one picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Print {
    whole: u64,
    /// Of the mirrored picture.
    mirrored: u64,
    parts: Vec<u64>,
}

/// The prints of a file's pictures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Prints(Vec<Print>);

impl Prints {
    /// Of pictures in the order of time.
    pub(super) fn of(frames: &[RgbImage], seconds: &[f64]) -> Self {
        let mut prints = Vec::new();
        let mut next = f64::NEG_INFINITY;
        for (frame, &at) in frames.iter().zip(seconds) {
            if at >= next {
                next = at + 1.0 / RATE - 1e-6;
                prints.extend(Print::of(frame));
            }
        }
        Self(prints)
    }

    /// The share of these prints that are those of pictures of another file or of parts of them, or the other way round: the
    /// greater one, 0 to 1. 0 with too few prints to say.
    fn shared(&self, other: &Self) -> f64 {
        if self.0.len() < LEAST || other.0.len() < LEAST {
            return 0.0;
        }
        self.found_in(other).max(other.found_in(self))
    }

    fn found_in(&self, larger: &Self) -> f64 {
        let near = |one: u64, other: u64| (one ^ other).count_ones() <= APART;
        let found = self.0.iter().filter(|print| {
            let mut all = larger.0.iter().flat_map(|other| std::iter::once(&other.whole).chain(&other.parts));
            all.any(|&other| near(print.whole, other) || near(print.mirrored, other))
        });
        found.count() as f64 / self.0.len() as f64
    }

    /// Whether one of two files shows what the other does.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.shared(other) >= SAME
    }
}

impl Print {
    /// `None` for a picture in which there is nothing to see.
    fn of(frame: &RgbImage) -> Option<Self> {
        let frame = inside_of_bars(frame);
        let factor = (SMALL as f32 / frame.width().max(frame.height()).max(1) as f32).min(1.0);
        let [width, height] = [frame.width(), frame.height()].map(|side| ((side as f32 * factor) as u32).max(1));
        let small = imageops::thumbnail(&frame, width, height);
        let grey = GrayImage::from_fn(width, height, |x, y| image::Luma([luma(small.get_pixel(x, y).0) as u8]));
        let waves = waves(&grey)?;
        let mut parts = Vec::new();
        for ([across, down], [columns, rows]) in PARTS {
            let size = [across * width as f32, down * height as f32].map(|side| (side as u32).max(1));
            let step = |place: usize, count: usize, room: u32| (room as usize * place).checked_div(count - 1).unwrap_or(0) as u32;
            for place in 0..columns * rows {
                let (x, y) = (
                    step(place % columns, columns.max(2), width - size[0]),
                    step(place / columns, rows.max(2), height - size[1]),
                );
                let part = imageops::crop_imm(&grey, x, y, size[0], size[1]).to_image();
                parts.extend(self::waves(&part).map(|waves| bits(&waves)));
            }
        }
        // In a mirror every second wave across changes its sign.
        let mirrored: Vec<f32> =
            waves.iter().enumerate().map(|(wave, value)| if wave % WAVES % 2 == 1 { -value } else { *value }).collect();
        Some(Self { whole: bits(&waves), mirrored: bits(&mirrored), parts })
    }
}

/// A picture without black bars around it.
fn inside_of_bars(frame: &RgbImage) -> RgbImage {
    const BLACK: u8 = 24;
    let (width, height) = frame.dimensions();
    let is_black = |x: u32, y: u32| frame.get_pixel(x, y).0.iter().all(|value| *value < BLACK);
    let row = |y: &u32| (0..width).step_by(4).all(|x| is_black(x, *y));
    let column = |x: &u32| (0..height).step_by(4).all(|y| is_black(*x, y));
    let (top, left) = ((0..height).take_while(row).count() as u32, (0..width).take_while(column).count() as u32);
    let bottom = (0..height).rev().take_while(row).count() as u32;
    let right = (0..width).rev().take_while(column).count() as u32;
    if top + bottom + 16 > height || left + right + 16 > width {
        return frame.clone();
    }
    imageops::crop_imm(frame, left, top, width - left - right, height - top - bottom).to_image()
}

/// The slowest waves of a picture, without the mean; `None` where it is flat.
fn waves(picture: &GrayImage) -> Option<Vec<f32>> {
    // Enlarging would add nothing, but small parts need as many values.
    let small = imageops::resize(picture, SIDE as u32, SIDE as u32, imageops::FilterType::Triangle);
    let values: Vec<f32> = small.iter().map(|value| f32::from(*value)).collect();
    let count = values.len() as f32;
    let mean = values.iter().sum::<f32>() / count;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count).sqrt();
    if deviation < FLAT {
        return None;
    }
    let cosine = |wave: usize, place: usize| (PI * wave as f32 * (place as f32 + 0.5) / SIDE as f32).cos();
    let table: Vec<f32> = (0..WAVES * SIDE).map(|at| cosine(at / SIDE, at % SIDE)).collect();
    let dot = |wave: usize, values: &mut dyn Iterator<Item = f32>| -> f32 {
        values.zip(&table[wave * SIDE..(wave + 1) * SIDE]).map(|(value, cosine)| value * cosine).sum()
    };
    let across: Vec<f32> =
        (0..SIDE * WAVES).map(|at| dot(at % WAVES, &mut values[at / WAVES * SIDE..][..SIDE].iter().copied())).collect();
    let both = |at: usize| dot(at / WAVES, &mut (0..SIDE).map(|row| across[row * WAVES + at % WAVES]));
    let mut waves: Vec<f32> = (0..WAVES * WAVES).map(both).collect();
    waves[0] = 0.0;
    Some(waves)
}

/// Which waves are above their median.
fn bits(waves: &[f32]) -> u64 {
    let mut sorted: Vec<f32> = waves.iter().skip(1).copied().collect();
    sorted.sort_by(f32::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    waves.iter().skip(1).fold(0, |bits, wave| bits << 1 | u64::from(*wave > median))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// A picture of some blobs, moved a little by time.
    fn frames(scene: u32, count: usize) -> Vec<RgbImage> {
        let blob = |number: u32, x: f32, y: f32, time: f32| {
            let turn = |factor: u32| ((scene * 7919 + number * factor) % 97) as f32 / 97.0;
            let centre = [turn(31) + 0.004 * time, turn(57)];
            let apart = ((x - centre[0]).powi(2) + (y - centre[1]).powi(2)) / (0.01 + 0.05 * turn(71));
            (100.0 * turn(43) - 30.0) * (-apart).exp()
        };
        (0..count)
            .map(|time| {
                RgbImage::from_fn(320, 180, |x, y| {
                    let (x, y) = (x as f32 / 320.0, y as f32 / 180.0);
                    let value = 90.0 + (0..9).map(|number| blob(number, x, y, time as f32)).sum::<f32>();
                    Rgb([value.clamp(30.0, 255.0) as u8; 3])
                })
            })
            .collect()
    }

    fn prints(frames: &[RgbImage]) -> Prints {
        let seconds: Vec<f64> = (0..frames.len()).map(|number| number as f64 / 2.0).collect();
        Prints::of(frames, &seconds)
    }

    #[test]
    fn what_was_cropped_scaled_mirrored_darkened_or_barred_is_the_same_and_other_scenes_are_not() {
        let reference = frames(1, 8);
        let of = |change: &dyn Fn(&RgbImage) -> RgbImage| prints(&reference.iter().map(change).collect::<Vec<_>>());
        let whole = prints(&reference);
        let changed = [
            of(&|frame| imageops::thumbnail(frame, 97, 61)),
            of(&|frame| imageops::crop_imm(frame, 20, 9, 272, 153).to_image()),
            of(&|frame| imageops::crop_imm(frame, 70, 0, 180, 180).to_image()),
            of(&|frame| imageops::flip_horizontal(frame)),
            of(&|frame| RgbImage::from_fn(320, 180, |x, y| Rgb(frame.get_pixel(x, y).0.map(|value| value / 2 + 20)))),
            of(&|frame| {
                let mut barred = RgbImage::new(320, 240);
                imageops::replace(&mut barred, frame, 0, 30);
                barred
            }),
        ];
        for (number, changed) in changed.iter().enumerate() {
            assert!(whole.is_same(changed) && changed.is_same(&whole), "{number}: {}", whole.shared(changed));
        }
        for scene in 2..12 {
            assert!(!whole.is_same(&prints(&frames(scene, 8))), "{scene}");
        }
    }

    #[test]
    fn flat_pictures_and_few_pictures_say_nothing() {
        let flat = vec![RgbImage::from_pixel(64, 64, Rgb([120; 3])); 8];
        assert_eq!(prints(&flat), Prints::default());
        assert!(!prints(&flat).is_same(&prints(&flat)));
        let few = prints(&frames(1, 3));
        assert!(!few.is_same(&few));
    }
}
