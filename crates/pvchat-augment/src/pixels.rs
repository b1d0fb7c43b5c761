//! What is done to the pixels of one frame: new clothes, another place in the frame, another background, other light.

use image::{GrayImage, RgbImage, imageops};

use crate::foreground::person_rows;

/// How soft the edge of a composited person is, as a share of the frame's width (0.8 pixels of 64).
const EDGE_SOFTNESS: f32 = 0.0125;

/// New colours for everything on the mask below half its height.
///
/// `hue` is added in degrees, `saturation` and `value` are factors (HSV).
pub(crate) fn recolour(frame: &mut RgbImage, mask: &GrayImage, hue: f32, saturation: f32, value: f32) {
    let Some((top, bottom)) = person_rows(mask) else { return };
    let waist = top + (bottom + 1 - top) / 2;
    for ((_, row, pixel), on) in frame.enumerate_pixels_mut().zip(mask.pixels()) {
        if row >= waist && on.0[0] > 0 {
            let [old_hue, old_saturation, old_value] = to_hsv(pixel.0);
            pixel.0 = from_hsv([
                (old_hue + hue).rem_euclid(360.0),
                (old_saturation * saturation).min(1.0),
                (old_value * value).min(1.0),
            ]);
        }
    }
}

/// Where every column and row of a moved frame comes from: scaled about the centre, then shifted; beyond the edge the
/// edge is repeated.
pub(crate) struct Movement {
    columns: Vec<Tap>,
    rows: Vec<Tap>,
}

/// Two neighbouring places and the share of the second, in 256ths.
struct Tap {
    first: usize,
    second: usize,
    share: u32,
}

impl Movement {
    /// A movement of frames of this size; `shift` is in pixels, right and down.
    pub(crate) fn new(width: u32, height: u32, scale: f32, shift: [f32; 2]) -> Self {
        let taps = |side: u32, shift: f32| {
            let (centre, last) = ((side as f32 - 1.0) / 2.0, side.saturating_sub(1) as f32);
            let tap = |place: u32| {
                let from = ((place as f32 - centre - shift) / scale + centre).clamp(0.0, last);
                let first = from as usize;
                Tap { first, second: (first + 1).min(last as usize), share: (from.fract() * 256.0).round() as u32 }
            };
            (0..side).map(tap).collect()
        };
        Self { columns: taps(width, shift[0]), rows: taps(height, shift[1]) }
    }

    /// Moves a frame.
    pub(crate) fn frame(&self, frame: &RgbImage) -> RgbImage {
        let mut moved = frame.clone();
        self.bytes::<3>(frame, &mut moved);
        moved
    }

    /// Moves a mask; its edge becomes soft.
    pub(crate) fn mask(&self, mask: &GrayImage) -> GrayImage {
        let mut moved = mask.clone();
        self.bytes::<1>(mask, &mut moved);
        moved
    }

    /// Bilinear, in pixels of `CHANNELS` bytes.
    fn bytes<const CHANNELS: usize>(&self, from: &[u8], to: &mut [u8]) {
        let length = self.columns.len() * CHANNELS;
        for (row, to) in self.rows.iter().zip(to.chunks_exact_mut(length)) {
            let (above, below) = (&from[row.first * length..][..length], &from[row.second * length..][..length]);
            for (column, to) in self.columns.iter().zip(to.chunks_exact_mut(CHANNELS)) {
                for (channel, to) in to.iter_mut().enumerate() {
                    let between = |line: &[u8]| {
                        let at = |place: usize| u32::from(line[place * CHANNELS + channel]);
                        at(column.first) * (256 - column.share) + at(column.second) * column.share
                    };
                    let sum = between(above) * (256 - row.share) + between(below) * row.share;
                    *to = ((sum + (1 << 15)) >> 16) as u8;
                }
            }
        }
    }
}

/// The person of `frame` in front of `scene`, blended along the blurred mask; all three of one size.
pub(crate) fn composite(frame: &RgbImage, mask: &GrayImage, scene: &RgbImage) -> RgbImage {
    let soft = imageops::blur(mask, (frame.width() as f32 * EDGE_SOFTNESS).max(0.3));
    let mut result = scene.clone();
    for ((pixel, person), share) in result.pixels_mut().zip(frame.pixels()).zip(soft.pixels()) {
        let share = f32::from(share.0[0]) / 255.0;
        for (below, above) in pixel.0.iter_mut().zip(person.0) {
            *below = byte(f32::from(above) * share + f32::from(*below) * (1.0 - share));
        }
    }
    result
}

/// Multiplies every channel by its factor and adds `offset` (0 to 255 scale).
pub(crate) fn tone(frame: &mut RgbImage, factors: [f32; 3], offset: f32) {
    let tables = factors.map(|factor| -> [u8; 256] { std::array::from_fn(|old| byte(old as f32 * factor + offset)) });
    for pixel in frame.pixels_mut() {
        for (channel, table) in pixel.0.iter_mut().zip(&tables) {
            *channel = table[usize::from(*channel)];
        }
    }
}

/// The nearest byte.
fn byte(value: f32) -> u8 {
    // The cast saturates at 0 and 255.
    (value + 0.5) as u8
}

/// Hue in degrees (0 for greys), saturation and value from 0 to 1.
fn to_hsv(colour: [u8; 3]) -> [f32; 3] {
    let [red, green, blue] = colour.map(|channel| f32::from(channel) / 255.0);
    let value = red.max(green).max(blue);
    let range = value - red.min(green).min(blue);
    if range <= 0.0 {
        return [0.0, 0.0, value];
    }
    let sextant = if value == red {
        ((green - blue) / range).rem_euclid(6.0)
    } else if value == green {
        (blue - red) / range + 2.0
    } else {
        (red - green) / range + 4.0
    };
    [60.0 * sextant, range / value, value]
}

/// The inverse of [`to_hsv`]; the channel formula is the common closed form of the HSV hexcone.
fn from_hsv([hue, saturation, value]: [f32; 3]) -> [u8; 3] {
    [5.0, 3.0, 1.0].map(|turn: f32| {
        let place = (turn + hue / 60.0).rem_euclid(6.0);
        byte(255.0 * (value - value * saturation * place.min(4.0 - place).clamp(0.0, 1.0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgb};

    #[test]
    fn hsv_round_trips_and_turns_red_to_green() {
        for colour in [[0, 0, 0], [255, 255, 255], [215, 40, 40], [45, 80, 215], [12, 200, 77], [245, 140, 30]] {
            assert_eq!(from_hsv(to_hsv(colour)), colour);
        }
        assert_eq!(to_hsv([255, 0, 0]), [0.0, 1.0, 1.0]);
        assert_eq!(from_hsv([120.0, 1.0, 1.0]), [0, 255, 0]);
        assert_eq!(from_hsv([240.0, 0.5, 1.0]), [128, 128, 255]);
    }

    #[test]
    fn tone_multiplies_adds_and_saturates() {
        let mut frame = RgbImage::from_pixel(1, 1, Rgb([100, 200, 5]));
        tone(&mut frame, [1.1, 1.5, 1.0], -10.0);
        assert_eq!(frame.get_pixel(0, 0).0, [100, 255, 0]);
    }

    #[test]
    fn movement_repeats_the_edge_and_scales_about_the_centre() {
        let frame = RgbImage::from_fn(9, 9, |column, row| Rgb([column as u8 * 10, row as u8 * 10, 7]));
        let shifted = Movement::new(9, 9, 1.0, [2.0, -1.0]).frame(&frame);
        assert_eq!(shifted.get_pixel(5, 3).0, [30, 40, 7]);
        assert_eq!(shifted.get_pixel(0, 8).0, [0, 80, 7]);
        let larger = Movement::new(9, 9, 2.0, [0.0, 0.0]).frame(&frame);
        assert_eq!(larger.get_pixel(4, 4).0, [40, 40, 7]);
        assert_eq!(larger.get_pixel(8, 0).0, [60, 20, 7]);
        // Half a pixel is between its neighbours.
        let half = Movement::new(9, 9, 1.0, [0.5, 0.0]).frame(&frame);
        assert_eq!(half.get_pixel(5, 3).0, [45, 30, 7]);
        assert_eq!(Movement::new(9, 9, 1.0, [0.0, 0.0]).frame(&frame), frame);
    }

    #[test]
    fn composite_keeps_the_person_inside_and_the_scene_outside() {
        let mask = GrayImage::from_fn(32, 32, |column, _| Luma([if (8..24).contains(&column) { 255 } else { 0 }]));
        let (red, blue) = (Rgb([200, 0, 0]), Rgb([0, 0, 200]));
        let result = composite(&RgbImage::from_pixel(32, 32, red), &mask, &RgbImage::from_pixel(32, 32, blue));
        assert_eq!((result.get_pixel(16, 9), result.get_pixel(2, 9)), (&red, &blue));
        let edge = result.get_pixel(8, 9).0;
        assert!(edge[0] > 100 && edge[2] > 5, "{edge:?}");
    }
}
