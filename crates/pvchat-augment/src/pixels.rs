//! What is done to the pixels of one frame: new clothes, another place in the frame, another background, other light.

use image::{GrayImage, RgbImage};
use imageproc::filter::gaussian_blur_f32;
use imageproc::geometric_transformations::{Border, Interpolation, Projection, warp};

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

/// Scales about the centre, then shifts by pixels (right and down); beyond the edge the edge is repeated.
pub(crate) fn movement(width: u32, height: u32, scale: f32, shift: [f32; 2]) -> Projection {
    let centre = [(width as f32 - 1.0) / 2.0, (height as f32 - 1.0) / 2.0];
    Projection::translate(centre[0] + shift[0], centre[1] + shift[1])
        * Projection::scale(scale, scale)
        * Projection::translate(-centre[0], -centre[1])
}

/// Moves a frame.
pub(crate) fn move_frame(frame: &RgbImage, movement: Projection) -> RgbImage {
    warp(frame, movement, Interpolation::Bilinear, Border::Replicate)
}

/// Moves a mask; its edge becomes soft.
pub(crate) fn move_mask(mask: &GrayImage, movement: Projection) -> GrayImage {
    warp(mask, movement, Interpolation::Bilinear, Border::Replicate)
}

/// The person of `frame` in front of `scene`, blended along the blurred mask; all three of one size.
pub(crate) fn composite(frame: &RgbImage, mask: &GrayImage, scene: &RgbImage) -> RgbImage {
    let soft = gaussian_blur_f32(mask, (frame.width() as f32 * EDGE_SOFTNESS).max(0.3));
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
        let shifted = move_frame(&frame, movement(9, 9, 1.0, [2.0, -1.0]));
        assert_eq!(shifted.get_pixel(5, 3).0, [30, 40, 7]);
        assert_eq!(shifted.get_pixel(0, 8).0, [0, 80, 7]);
        let larger = move_frame(&frame, movement(9, 9, 2.0, [0.0, 0.0]));
        assert_eq!(larger.get_pixel(4, 4).0, [40, 40, 7]);
        assert_eq!(larger.get_pixel(8, 0).0, [60, 20, 7]);
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
