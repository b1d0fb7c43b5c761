//! What makes a clip look other than the reference: smaller people, light, colours, what is in front of a face, how a clip was
//! stored. Clips with the person and clips without are treated alike, so that a treatment says nothing about who is there.

use image::{Rgb, RgbImage, imageops};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::Figure;
use crate::pixels;

/// Factor on the size of people of [`Treatment::Small`].
const SMALL: [f32; 2] = [0.45, 0.75];
/// People of [`Treatment::Crowd`], and the width that each has if they are `n`, as a factor on `1 / n`.
const CROWD: [usize; 2] = [3, 6];
/// See [`CROWD`].
const CROWD_SCALE: [f32; 2] = [2.1, 2.6];
/// Width of a post of [`Treatment::Covered`], and how far from the middle of a head it begins, in heights of the body.
const POST: [[f32; 2]; 2] = [[0.2, 0.4], [0.0, 0.12]];
/// What is left of the colours of [`Treatment::Grey`].
const COLOURFUL: [f32; 2] = [0.0, 0.25];
/// Factor on the light of [`Treatment::Dark`].
const DARK: [f32; 2] = [0.2, 0.6];
/// Of [`Treatment::Drawn`]: the light of an outline, what is left of colours, their lift on the 0 to 255 scale, and the width of
/// figures.
const DRAWN: [[f32; 2]; 4] = [[0.2, 0.8], [0.5, 0.9], [0.0, 30.0], [0.78, 1.15]];
/// The L1 distance of neighbouring colours beyond which there is an outline.
const OUTLINE: i32 = 60;
/// The share of the frame that [`Treatment::Barred`] leaves.
const BARRED: [f32; 2] = [0.56, 0.8];
/// The share of the frame's size that [`Treatment::Coarse`] goes through.
const COARSE: [f32; 2] = [0.45, 0.8];
/// Weights of red, green and blue in a grey.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// A way to look other than the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// People at 45 to 75 % of their size.
    Small,
    /// A post in front of a half of everybody's face.
    Covered,
    /// Three to five people.
    Crowd,
    /// Nobody is there at the beginning, or at the end.
    Half,
    /// With little or no colour.
    Grey,
    /// At 20 to 60 % of the light.
    Dark,
    /// With dark outlines, pale colours and narrower or wider figures.
    Drawn,
    /// Between black bars, on two sides.
    Barred,
    /// With few details, as after strong compression.
    Coarse,
}

/// Where people of a crowd stand.
pub(super) struct Places {
    /// Factor on their size.
    pub(super) scale: f32,
    /// Shares of the frame's width, in an order that says nothing.
    pub(super) middles: Vec<f32>,
}

impl Treatment {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::Small, Self::Covered, Self::Crowd, Self::Half, Self::Grey, Self::Dark, Self::Drawn, Self::Barred, Self::Coarse];

    /// Whether it is done while a clip is composed, not to the frames of a finished one.
    pub(super) fn is_composed(self) -> bool {
        matches!(self, Self::Small | Self::Covered | Self::Crowd | Self::Half)
    }

    /// Draws a size for [`Small`](Self::Small).
    pub(super) fn size(stream: &mut SeededStream) -> f32 {
        stream.range(SMALL[0], SMALL[1])
    }

    /// Draws where three to five people stand.
    pub(super) fn places(stream: &mut SeededStream) -> Places {
        let count = stream.range(CROWD[0], CROWD[1]);
        let width = 1.0 / count as f32;
        let mut middles: Vec<f32> = (0..count).map(|place| (place as f32 + stream.range(0.4, 0.6)) * width).collect();
        stream.shuffle(&mut middles);
        Places { scale: (stream.range(CROWD_SCALE[0], CROWD_SCALE[1]) * width).min(0.9), middles }
    }

    /// Draws which of `count` frames show nobody. The middle one, which stands for the clip as a picture, always shows somebody.
    pub(super) fn empty(count: usize, stream: &mut SeededStream) -> std::ops::Range<usize> {
        if stream.chance(0.5) { 0..count / 2 } else { count / 2 + 1..count }
    }

    /// Does to finished frames what is not [done while composing](Self::is_composed).
    pub(super) fn finish(self, frames: &mut [RgbImage], stream: &mut SeededStream) {
        let mut within = |[least, greatest]: [f32; 2]| stream.range(least, greatest);
        match self {
            Self::Small | Self::Covered | Self::Crowd | Self::Half => {}
            Self::Grey => {
                let left = within(COLOURFUL);
                frames.iter_mut().flat_map(|frame| frame.pixels_mut()).for_each(|pixel| pixel.0 = paler(pixel.0, left, 0.0));
            }
            Self::Dark => {
                let light = within(DARK);
                frames.iter_mut().for_each(|frame| pixels::tone(frame, [light; 3], 0.0));
            }
            Self::Drawn => {
                let [outline, left, lift, width] = DRAWN.map(within);
                frames.iter_mut().for_each(|frame| *frame = drawn(frame, outline, left, lift, width));
            }
            Self::Barred => {
                let (share, wide) = (within(BARRED), stream.chance(0.5));
                frames.iter_mut().for_each(|frame| *frame = barred(frame, share, wide));
            }
            Self::Coarse => {
                let share = within(COARSE);
                frames.iter_mut().for_each(|frame| *frame = coarse(frame, share));
            }
        }
    }
}

impl Figure {
    /// A post in front of one half of the head, in every frame.
    pub(super) fn cover(&self, frames: &mut [RgbImage], stream: &mut SeededStream) {
        let [width, begin] = POST.map(|[least, greatest]| stream.range(least, greatest));
        let right = stream.chance(0.5);
        let level = stream.range(40.0, 200.0);
        let colour = Rgb(std::array::from_fn(|_| (level + stream.range(-20.0, 20.0)) as u8));
        for (frame, head) in frames.iter_mut().zip(&self.heads) {
            let near = head.middle + if right { begin } else { -begin - width } * head.body;
            let (left, last) = (near.max(0.0) as u32, (near + width * head.body).max(0.0) as u32);
            for column in left..last.min(frame.width()) {
                (0..frame.height()).for_each(|row| frame.put_pixel(column, row, colour));
            }
        }
    }
}

/// A colour of which a share is left, and that is lighter by `lift`.
fn paler(colour: [u8; 3], left: f32, lift: f32) -> [u8; 3] {
    let grey: f32 = colour.iter().zip(LUMA).map(|(&channel, weight)| f32::from(channel) * weight).sum();
    colour.map(|channel| (left * f32::from(channel) + (1.0 - left) * grey + lift + 0.5) as u8)
}

/// Outlines where neighbouring colours differ, over paler colours, and figures of another width.
fn drawn(frame: &RgbImage, outline: f32, left: f32, lift: f32, wider: f32) -> RgbImage {
    let (width, height) = frame.dimensions();
    let at = |x: u32, y: u32| frame.get_pixel(x.min(width - 1), y.min(height - 1)).0;
    let lined = RgbImage::from_fn(width, height, |x, y| {
        let colour = at(x, y);
        let apart = super::distance(colour, at(x + 1, y)).max(super::distance(colour, at(x, y + 1)));
        let light = if apart > OUTLINE { outline } else { 1.0 };
        Rgb(paler(colour, left, lift).map(|channel| (f32::from(channel) * light) as u8))
    });
    let squeezed = imageops::resize(&lined, (width as f32 * wider) as u32, height, imageops::FilterType::Triangle);
    // Wider figures lose what is beyond the frame; beside narrower ones the edge is repeated.
    let first = (width as f32 - squeezed.width() as f32) / 2.0;
    let last = squeezed.width() as i64 - 1;
    RgbImage::from_fn(width, height, |x, y| *squeezed.get_pixel((i64::from(x) - first as i64).clamp(0, last) as u32, y))
}

/// The middle of a frame between two black bars, at the sides or above and below; nothing is cut away.
fn barred(frame: &RgbImage, share: f32, wide: bool) -> RgbImage {
    let (width, height) = frame.dimensions();
    let inner = [width, height].map(|side| ((side as f32 * share) as u32).max(1));
    let (across, down) = if wide { (width, inner[1]) } else { (inner[0], height) };
    let picture = imageops::resize(frame, across, down, imageops::FilterType::Triangle);
    let mut whole = RgbImage::new(width, height);
    imageops::replace(&mut whole, &picture, i64::from((width - across) / 2), i64::from((height - down) / 2));
    whole
}

/// A frame that went through a smaller one.
fn coarse(frame: &RgbImage, share: f32) -> RgbImage {
    let (width, height) = frame.dimensions();
    let [across, down] = [width, height].map(|side| ((side as f32 * share) as u32).max(1));
    let small = imageops::resize(frame, across, down, imageops::FilterType::Triangle);
    imageops::resize(&small, width, height, imageops::FilterType::Triangle)
}
