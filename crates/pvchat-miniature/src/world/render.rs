//! From a scene to pixels: the place once per clip, the people in every frame, then the film's look.

use std::sync::OnceLock;

use image::RgbImage;
use pvchat_data::random::SeededStream;

use super::canvas::Canvas;
use super::clip::{Action, Scene, WORLD_WIDTH};
use super::{body, place, pose};

/// The number of frames of every clip.
pub const FRAMES: usize = 8;

/// Space around the world on the background canvas for panning and shake, in units.
const BORDER: f32 = 4.0;
/// Height of the background canvas, in units.
const WORLD_HEIGHT: f32 = 76.0;
/// Length of the table of normal numbers that the pixel noise is read from.
const NOISE_TABLE: usize = 1 << 16;

/// A drawn clip with its truth.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The frames, [`FRAMES`] squares of the asked side.
    pub frames: Vec<RgbImage>,
    /// Where the people are in them.
    pub truth: Truth,
}

/// What the picture itself cannot say: where heads and torsos are.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// For every person from left to right, for every frame.
    pub people: Vec<[PersonTruth; FRAMES]>,
}

/// Where a person is in one frame, in units (1/64 of the side) from the left top corner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PersonTruth {
    /// Centre of the head, x and y.
    pub head: [f32; 2],
    /// Centre of the torso, x and y.
    pub torso: [f32; 2],
}

impl Scene {
    /// Draws the clip in frames of `side` pixels (kept within 64 to 512).
    ///
    /// The result depends on the scene and the side only.
    pub fn render(&self, side: u32) -> Rendered {
        let side = side.clamp(64, 512) as usize;
        let unit = side as f32 / 64.0;
        let root = SeededStream::new(self.seed);
        let background = self.background(unit, &root);
        let mut shake = root.derive("shake");
        let mut noise = root.derive("noise");
        let mut canvas = Canvas::new(side, side);
        let mut frames = Vec::with_capacity(FRAMES);
        let mut truth = vec![[PersonTruth::default(); FRAMES]; self.people.len()];
        for frame in 0..FRAMES {
            let middle = frame as f32 - (FRAMES - 1) as f32 / 2.0;
            let x = self.camera.x + self.camera.pan * middle + self.camera.shake * shake.range(-1.0, 1.0);
            let y = self.camera.y + self.camera.shake * shake.range(-1.0, 1.0);
            copy_window(&background, (x + BORDER) * unit, (y + BORDER) * unit, &mut canvas);
            for (person, truth) in self.people.iter().zip(&mut truth) {
                let pose = pose::pose(person, frame);
                let walked = if person.action == Action::Walking { person.side * person.pace * middle } else { 0.0 };
                let (at_x, at_y) = (person.x + walked - x, person.feet - y);
                body::draw(&mut canvas.pen(at_x * unit, at_y * unit, person.scale * unit), person, &pose);
                let place = |point: (f32, f32)| [at_x + person.scale * point.0, at_y + person.scale * point.1];
                truth[frame] = PersonTruth { head: place(pose.head), torso: place(pose.torso_centre()) };
            }
            frames.push(self.develop(&canvas, &mut noise));
        }
        Rendered { frames, truth: Truth { people: truth } }
    }

    fn background(&self, unit: f32, root: &SeededStream) -> Canvas {
        let width = ((WORLD_WIDTH + 2.0 * BORDER) * unit).ceil() as usize;
        let mut canvas = Canvas::new(width, (WORLD_HEIGHT * unit).ceil() as usize);
        let mut pen = canvas.pen(BORDER * unit, BORDER * unit, unit);
        place::draw(&mut pen, self.place, self.ground, &mut root.derive("place"));
        canvas
    }

    /// Applies gain, tint, offset and noise.
    fn develop(&self, canvas: &Canvas, noise: &mut SeededStream) -> RgbImage {
        let camera = &self.camera;
        let factor = camera.tint.map(|tint| tint * camera.gain);
        let table = noise_table();
        let mut bytes = vec![0_u8; canvas.width * canvas.height * 3];
        let row_length = canvas.width * 3;
        for (row, source) in bytes.chunks_exact_mut(row_length).zip(canvas.pixels.chunks_exact(canvas.width * 4)) {
            // A row of noise is a window of the table at a random place: as good as fresh draws to the eye and much cheaper.
            let start = noise.below(NOISE_TABLE - row_length);
            let grain = table[start..start + row_length].chunks_exact(3);
            for ((pixel, source), grain) in row.chunks_exact_mut(3).zip(source.chunks_exact(4)).zip(grain) {
                for channel in 0..3 {
                    let value = f32::from(source[channel]) * factor[channel] + camera.offset + camera.noise * grain[channel];
                    // The cast saturates at 0 and 255.
                    pixel[channel] = (value + 0.5) as u8;
                }
            }
        }
        RgbImage::from_raw(canvas.width as u32, canvas.height as u32, bytes).unwrap_or_default()
    }
}

/// Copies the window of `from` whose left top corner is at `(x, y)` pixels onto all of `to`, between pixels bilinearly.
fn copy_window(from: &Canvas, x: f32, y: f32, to: &mut Canvas) {
    let left = (x.max(0.0) as usize).min(from.width - to.width - 1);
    let top = (y.max(0.0) as usize).min(from.height - to.height - 1);
    let right_share = ((x - left as f32).clamp(0.0, 1.0) * 16.0).round() as u16;
    let below_share = ((y - top as f32).clamp(0.0, 1.0) * 16.0).round() as u16;
    let (left_share, above_share) = (16 - right_share, 16 - below_share);
    let length = to.width * 4;
    for (number, row) in to.pixels.chunks_exact_mut(length).enumerate() {
        let start = ((top + number) * from.width + left) * 4;
        let above = &from.pixels[start..start + length + 4];
        let below = &from.pixels[start + from.width * 4..start + from.width * 4 + length + 4];
        for place in 0..length {
            let upper = u16::from(above[place]) * left_share + u16::from(above[place + 4]) * right_share;
            let lower = u16::from(below[place]) * left_share + u16::from(below[place + 4]) * right_share;
            row[place] = ((upper * above_share + lower * below_share + 128) >> 8) as u8;
        }
    }
}

fn noise_table() -> &'static [f32] {
    static TABLE: OnceLock<Vec<f32>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut stream = SeededStream::new(0).derive("pixel noise");
        (0..NOISE_TABLE).map(|_| stream.normal()).collect()
    })
}
