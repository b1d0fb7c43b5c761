//! Clips that are not of the drawn world: imitations of footage, and cuttings of filmed clips. The classifier that separates
//! drawn from filmed clips is fitted to them.

use image::{RgbImage, imageops};
use pvchat_data::random::SeededStream;

use crate::world::FRAMES;

/// Side of the imitations, in pixels.
const SIDE: u32 = 64;
/// Cells across of the grids that a texture is summed from.
const OCTAVES: [usize; 6] = [2, 4, 8, 16, 32, 64];

/// A clip of noise, of smooth gradients with grain, or of textures whose fine detail is fainter than their coarse detail, as in
/// photographs, with a blob that moves before them.
pub fn imitation(stream: &mut SeededStream) -> Vec<RgbImage> {
    match stream.below(5) {
        0 => noise(stream),
        1 => gradient(stream),
        _ => textures(stream),
    }
}

/// A frame from a colour for every pixel, of coordinates from 0 to 1.
fn frame(mut colour: impl FnMut(f32, f32) -> [f32; 3]) -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let [x, y] = [x, y].map(|place| place as f32 / (SIDE - 1) as f32);
        // The cast saturates at 0 and 255.
        image::Rgb(colour(x, y).map(|value| value as u8))
    })
}

fn noise(stream: &mut SeededStream) -> Vec<RgbImage> {
    let (mean, spread) = (stream.range(60.0, 200.0), stream.range(8.0, 120.0));
    (0..FRAMES).map(|_| frame(|_, _| std::array::from_fn(|_| mean + spread * stream.normal()))).collect()
}

fn gradient(stream: &mut SeededStream) -> Vec<RgbImage> {
    let corners: [[f32; 3]; 4] = std::array::from_fn(|_| std::array::from_fn(|_| stream.range(0.0, 255.0)));
    let grain = stream.range(0.0, 6.0);
    let mixed = |x: f32, y: f32, channel: usize| {
        let [one, two, three, four] = corners.map(|corner| corner[channel]);
        (one * (1.0 - x) + two * x) * (1.0 - y) + (three * (1.0 - x) + four * x) * y
    };
    (0..FRAMES).map(|_| frame(|x, y| std::array::from_fn(|channel| mixed(x, y, channel) + grain * stream.normal()))).collect()
}

/// A texture that repeats after a unit in both directions.
struct Texture(Vec<(usize, f32, Vec<f32>)>);

impl Texture {
    fn random(fall: f32, stream: &mut SeededStream) -> Self {
        Self(
            OCTAVES
                .map(|cells| (cells, (cells as f32 / 2.0).powf(-fall), (0..cells * cells).map(|_| stream.normal()).collect()))
                .into(),
        )
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let octave = |(cells, size, values): &(usize, f32, Vec<f32>)| {
            let [x, y] = [x, y].map(|place| place.rem_euclid(1.0) * *cells as f32);
            let (column, row) = (x as usize, y as usize);
            let (right, below) = (x - column as f32, y - row as f32);
            let value = |column: usize, row: usize| values[row % cells * cells + column % cells];
            let mixed = |row: usize| value(column, row) * (1.0 - right) + value(column + 1, row) * right;
            size * (mixed(row) * (1.0 - below) + mixed(row + 1) * below)
        };
        self.0.iter().map(octave).sum()
    }
}

/// Light and colours of a surface that moves.
struct Surface {
    light: Texture,
    colours: [Texture; 3],
    mean: [f32; 3],
    contrast: f32,
    colourful: f32,
    speed: [f32; 2],
}

impl Surface {
    fn random(fall: f32, stream: &mut SeededStream) -> Self {
        Self {
            light: Texture::random(fall, stream),
            colours: std::array::from_fn(|_| Texture::random(fall, stream)),
            mean: std::array::from_fn(|_| stream.range(30.0, 225.0)),
            contrast: stream.range(20.0, 60.0),
            colourful: stream.range(2.0, 20.0),
            speed: std::array::from_fn(|_| stream.range(-0.02, 0.02)),
        }
    }

    fn colour(&self, x: f32, y: f32, time: f32) -> [f32; 3] {
        let (x, y) = (x + self.speed[0] * time, y + self.speed[1] * time);
        let light = self.contrast * self.light.at(x, y);
        std::array::from_fn(|channel| self.mean[channel] + light + self.colourful * self.colours[channel].at(x, y))
    }
}

fn textures(stream: &mut SeededStream) -> Vec<RgbImage> {
    let fall = stream.range(0.4, 1.2);
    let [back, front] = std::array::from_fn(|_| Surface::random(fall, stream));
    let (centre, radius) = ([stream.range(0.3, 0.7), stream.range(0.3, 0.8)], [stream.range(0.1, 0.35), stream.range(0.2, 0.5)]);
    let grain = stream.range(0.0, 5.0);
    let one = |time: f32, stream: &mut SeededStream| {
        frame(|x, y| {
            let away = ((x - centre[0] - front.speed[0] * time) / radius[0]).powi(2) + ((y - centre[1]) / radius[1]).powi(2);
            let share = 1.0 / (1.0 + (8.0 * (away - 1.0)).exp());
            let (back, front) = (back.colour(x, y, time), front.colour(x, y, time));
            std::array::from_fn(|channel| back[channel] * (1.0 - share) + front[channel] * share + grain * stream.normal())
        })
    };
    (0..FRAMES).map(|time| one(time as f32, stream)).collect()
}

/// `count` clips of square parts of the frames of a longer clip, at various speeds, mirrored and brightened at random; none of
/// no frames.
pub fn cuttings(frames: &[RgbImage], count: usize, stream: &mut SeededStream) -> Vec<Vec<RgbImage>> {
    let Some(first) = frames.first() else { return Vec::new() };
    let (width, height) = first.dimensions();
    let cutting = |stream: &mut SeededStream| {
        let step = 1 + stream.below(6);
        let start = stream.below(frames.len().saturating_sub(step * (FRAMES - 1)).max(1));
        let side = ((width.min(height) as f32 * stream.range(0.45, 1.0)) as u32).max(1);
        let [left, top] = [width, height].map(|length| stream.below((length - side + 1) as usize) as u32);
        let (mirrored, gain, offset) = (stream.chance(0.5), stream.range(0.6, 1.3), stream.range(-20.0, 20.0));
        let one = |time: usize| {
            let frame = &frames[(start + time * step).min(frames.len() - 1)];
            let part = imageops::crop_imm(frame, left, top, side, side).to_image();
            let mut part = if mirrored { imageops::flip_horizontal(&part) } else { part };
            // The cast saturates at 0 and 255.
            part.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|value| (f32::from(value) * gain + offset) as u8));
            part
        };
        (0..FRAMES).map(one).collect()
    };
    (0..count).map(|_| cutting(stream)).collect()
}
