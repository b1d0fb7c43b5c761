//! Exchanged heads: one person's head on another's body, and heads of which one part is somebody else's.
//!
//! A model that is shown made clips of a person and untouched clips of strangers learns the traces of the making, not who is
//! there. Here both are made: the person's head on the bodies of strangers is a positive, a stranger's head on the same bodies a
//! negative, and the person's head with the hair, the eyes, the mouth or a colour of a stranger a look-alike. All of them pass
//! through the same [`compose`].

mod maker;
#[cfg(test)]
mod tests;
mod treatment;

use std::collections::HashMap;

use image::{GrayImage, Luma, Rgb, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    foreground::{check_sizes, person_masks, person_rows, plausible},
    mask::PERSON,
    pixels::{self, Movement},
};

pub use maker::{ExchangeConfig, ExchangeMaker, Exchanged, Making, Strangers};
pub use treatment::Treatment;

/// Masks are looked for in frames of this width: their morphology is made for it.
const MASK_WIDTH: u32 = 64;
/// Where the neck may be, as shares of the figure's height from its top.
const NECK: [f32; 2] = [0.46, 0.60];
/// What a row away from the middle of that range counts for, in columns of the figure's width.
const UNSEEN: f32 = 0.5;
/// The share of the frame that a figure covers.
const AREA: std::ops::RangeInclusive<f32> = 0.04..=0.45;
/// The lower edge of the eyes' part and that of the hair, above the neck, in heights of the body.
const PARTS: [f32; 2] = [0.36, 0.66];
/// The reach of a head to either side of its middle, in heights of the body.
const HEAD_REACH: f32 = 0.7;
/// The L1 distance in red, green and blue within which a pixel has a colour.
const SAME_COLOUR: i32 = 90;

/// A part of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Everything above the eyes, and the hair next to them.
    Hair,
    /// The band of the eyes, glasses included.
    Eyes,
    /// Everything below the eyes.
    Mouth,
    /// The colour of the hair.
    HairColour,
    /// The colour of the skin.
    SkinColour,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Hair, Self::Eyes, Self::Mouth, Self::HairColour, Self::SkinColour];
}

/// A person of a clip, with the head found.
#[derive(Clone, Debug)]
pub struct Figure {
    frames: Vec<RgbImage>,
    masks: Vec<GrayImage>,
    heads: Vec<Head>,
    skin: [u8; 3],
    hair: [u8; 3],
}

/// Where a head is in a frame, in pixels.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// The row below the chin.
    neck: f32,
    /// The middle column.
    middle: f32,
    /// From the neck to the feet: what a figure is measured by, because hair does not change it.
    body: f32,
}

impl Figure {
    /// Finds the lone person of a clip; `None` where nobody stands out clearly enough.
    ///
    /// # Errors
    /// [`Error::NoFrames`](crate::Error::NoFrames), [`Error::EmptyFrame`](crate::Error::EmptyFrame),
    /// [`Error::FrameSize`](crate::Error::FrameSize).
    pub fn find(frames: &[RgbImage]) -> Result<Option<Self>> {
        check_sizes(frames, "the clip", frames.first().map(RgbImage::dimensions))?;
        let masks = masks(frames)?;
        if !plausible(&masks, AREA) {
            return Ok(None);
        }
        let Some(heads) = masks.iter().map(head).collect::<Option<Vec<Head>>>() else { return Ok(None) };
        let heads = steady(&heads);
        let colour = |above: [f32; 2], reach: f32| common_colour(frames, &masks, &heads, above, reach);
        // The cheeks, and the top of the head.
        let skin = colour([0.12, PARTS[0]], 0.3);
        let hair = colour([PARTS[1], 1.2], 0.4);
        let Some((skin, hair)) = skin.zip(hair) else { return Ok(None) };
        Ok(Some(Self { frames: frames.to_vec(), masks, heads, skin, hair }))
    }

    /// The figure scaled about the middle of the frame, with its own middle at a share of the frame's width: for clips of two.
    #[must_use]
    pub fn placed(&self, scale: f32, target: f32) -> Self {
        self.moved_to(scale, target, 0.0)
    }

    /// The figure scaled about its lowest row, so that it stands where it stood, with its middle at a share of the frame's width.
    #[must_use]
    pub fn standing(&self, scale: f32, target: f32) -> Self {
        let centre = (self.frames[0].height() as f32 - 1.0) / 2.0;
        let feet = self.heads.iter().map(|head| head.neck + head.body).fold(0.0, f32::max);
        self.moved_to(scale, target, (feet - centre) * (1.0 - scale))
    }

    /// Scaled about the middle of the frame, with the own middle at a share of the frame's width, and moved down by pixels.
    fn moved_to(&self, scale: f32, target: f32, down: f32) -> Self {
        let (width, height) = self.frames[0].dimensions();
        let centre = [(width as f32 - 1.0) / 2.0, (height as f32 - 1.0) / 2.0];
        let middle = self.heads.iter().map(|head| head.middle).sum::<f32>() / self.heads.len() as f32;
        let shift = target * width as f32 - (centre[0] + (middle - centre[0]) * scale);
        let movement = Movement::new(width, height, scale, [shift, down]);
        let moved = |head: &Head| Head {
            neck: centre[1] + (head.neck - centre[1]) * scale + down,
            middle: centre[0] + (head.middle - centre[0]) * scale + shift,
            body: head.body * scale,
        };
        Self {
            frames: self.frames.iter().map(|frame| movement.frame(frame)).collect(),
            masks: self.masks.iter().map(|mask| movement.mask(mask)).collect(),
            heads: self.heads.iter().map(moved).collect(),
            ..*self
        }
    }

    /// The most common colours of the face and of what is above it: the skin twice, where there is no hair.
    pub fn colours(&self) -> [[u8; 3]; 2] {
        [self.skin, self.hair]
    }

    /// Whether hair can be distinguished from skin.
    fn has_hair(&self) -> bool {
        distance(self.skin, self.hair) > SAME_COLOUR
    }
}

/// What a composed clip shows.
#[derive(Clone, Copy, Debug)]
pub struct Cast<'a> {
    /// Whose body.
    pub body: &'a Figure,
    /// Whose head; its frames are repeated where the body has more.
    pub head: &'a Figure,
    /// The part of the head that is somebody else's.
    pub other: Option<(Part, &'a Figure)>,
}

/// Puts a head on a body in front of empty `scene` frames, all of one size: as many frames as the body has.
///
/// A part is exchanged where that changes anything: hair colour only where both have hair. `None` otherwise, and without
/// scene frames.
pub fn compose(cast: Cast<'_>, scene: &[RgbImage]) -> Option<Vec<RgbImage>> {
    let Cast { body, head, other } = cast;
    if let Some((part, other)) = other {
        let changes = match part {
            Part::HairColour => head.has_hair() && other.has_hair() && distance(head.hair, other.hair) > SAME_COLOUR,
            Part::SkinColour => distance(head.skin, other.skin) > SAME_COLOUR / 3,
            _ => true,
        };
        if !changes {
            return None;
        }
    }
    let made = scene.iter().cycle().zip(body.frames.iter().zip(&body.masks).zip(&body.heads)).enumerate();
    let frames = made.map(|(time, (scene, ((frame, mask), at)))| {
        let below = without_head(mask, at);
        let mut picture = pixels::composite(frame, &below, scene);
        let (layer, its_mask) = head_layer(head, other, time, at, frame.dimensions());
        picture = pixels::composite(&layer, &its_mask, &picture);
        picture
    });
    let frames: Vec<RgbImage> = frames.collect();
    (!scene.is_empty() && !frames.is_empty()).then_some(frames)
}

/// Masks of a clip's frames, in their size.
fn masks(frames: &[RgbImage]) -> Result<Vec<GrayImage>> {
    let (width, height) = frames[0].dimensions();
    if width <= MASK_WIDTH {
        return person_masks(frames);
    }
    let small = |frame: &RgbImage| {
        let rows = (height * MASK_WIDTH / width).max(1);
        imageops::resize(frame, MASK_WIDTH, rows, imageops::FilterType::Triangle)
    };
    let found = person_masks(&frames.iter().map(small).collect::<Vec<_>>())?;
    let large = |mask: &GrayImage| {
        let mut mask = imageops::resize(mask, width, height, imageops::FilterType::Triangle);
        mask.iter_mut().for_each(|pixel| *pixel = if *pixel > 127 { PERSON } else { 0 });
        mask
    };
    Ok(found.iter().map(large).collect())
}

/// The head of a mask's figure: the neck is its narrowest row around the middle of its height.
fn head(mask: &GrayImage) -> Option<Head> {
    let (top, bottom) = person_rows(mask)?;
    let height = (bottom + 1 - top) as f32;
    let columns = |row: u32| -> Vec<u32> { (0..mask.width()).filter(|&column| mask.get_pixel(column, row).0[0] > 0).collect() };
    // The upper part of a head is free of arms.
    let upper: Vec<u32> = (top + (0.1 * height) as u32..top + (0.36 * height) as u32).flat_map(columns).collect();
    let middle = upper.iter().map(|&column| column as f32).sum::<f32>() / upper.len().max(1) as f32;
    let width = |row: u32| {
        // The run of the figure's pixels through the middle.
        let on = |column: i64| column >= 0 && column < i64::from(mask.width()) && mask.get_pixel(column as u32, row).0[0] > 0;
        let run = |step: i64| (0..).take_while(|&far| on(middle as i64 + step * far)).count();
        run(1) + run(-1)
    };
    let [first, last] = NECK.map(|share| top + (share * height) as u32);
    // Long hair hides a neck: then it is in the middle of where it may be.
    let cost = |row: u32| width(row) as f32 + UNSEEN * row.abs_diff((first + last) / 2) as f32;
    let neck = (first..=last.min(bottom)).min_by(|&one, &other| cost(one).total_cmp(&cost(other)))?;
    (bottom > neck && !upper.is_empty()).then_some(Head { neck: neck as f32, middle, body: (bottom - neck) as f32 })
}

/// Heads of one clip: the height of the body is the median of all, because a jump or a raised arm may hide a neck.
fn steady(heads: &[Head]) -> Vec<Head> {
    let mut bodies: Vec<f32> = heads.iter().map(|head| head.body).collect();
    bodies.sort_by(f32::total_cmp);
    let body = bodies[bodies.len() / 2].max(1.0);
    heads.iter().map(|head| Head { neck: head.neck + (head.body - body), body, ..*head }).collect()
}

/// The most common colour of a figure between two heights above the neck and within a reach of the middle, both in heights of
/// the body.
fn common_colour(frames: &[RgbImage], masks: &[GrayImage], heads: &[Head], above: [f32; 2], reach: f32) -> Option<[u8; 3]> {
    let mut counts: HashMap<[u8; 3], (usize, [u32; 3])> = HashMap::new();
    for ((frame, mask), head) in frames.iter().zip(masks).zip(heads) {
        for ((column, row, pixel), on) in frame.enumerate_pixels().zip(mask.iter()) {
            let height = (head.neck - row as f32) / head.body;
            let aside = (column as f32 - head.middle).abs() / head.body;
            if *on > 0 && (above[0]..above[1]).contains(&height) && aside < reach {
                let count = counts.entry(pixel.0.map(|channel| channel / 24)).or_default();
                count.0 += 1;
                count.1.iter_mut().zip(pixel.0).for_each(|(sum, channel)| *sum += u32::from(channel));
            }
        }
    }
    let (_, (count, sum)) = counts.into_iter().max_by_key(|(key, (count, _))| (*count, *key))?;
    Some(sum.map(|channel| (channel / count as u32) as u8))
}

fn distance(one: [u8; 3], other: [u8; 3]) -> i32 {
    one.iter().zip(other).map(|(&a, b)| (i32::from(a) - i32::from(b)).abs()).sum()
}

/// The mask of a figure without its head: what is below the neck, and arms next to the head.
fn without_head(mask: &GrayImage, at: &Head) -> GrayImage {
    let mut below = mask.clone();
    for (column, row, pixel) in below.enumerate_pixels_mut() {
        let aside = (column as f32 - at.middle).abs() / at.body;
        if (row as f32) < at.neck && aside < HEAD_REACH {
            *pixel = Luma([0]);
        }
    }
    below
}

/// The head of frame `time`, placed over a body's frame of that size: a picture and its mask.
fn head_layer(
    head: &Figure,
    other: Option<(Part, &Figure)>,
    time: usize,
    at: &Head,
    (width, height): (u32, u32),
) -> (RgbImage, GrayImage) {
    let own = View::of(head, time);
    let exchanged = other.map(|(part, figure)| (part, figure, View::of(figure, time)));
    let (mut layer, mut mask) = (RgbImage::new(width, height), GrayImage::new(width, height));
    for (column, row, pixel) in layer.enumerate_pixels_mut() {
        let (aside, above) = ((column as f32 - at.middle) / at.body, (at.neck - row as f32) / at.body);
        if above <= 0.0 || aside.abs() >= HEAD_REACH {
            continue;
        }
        let (mut colour, mut on) = own.at(aside, above);
        if let Some((part, figure, view)) = &exchanged {
            match part {
                Part::HairColour => colour = moved(colour, head.hair, figure.hair),
                Part::SkinColour => colour = moved(colour, head.skin, figure.skin),
                _ if part_of(above) == *part => {
                    (colour, on) = view.at(aside, above);
                    // A seam of two skins would give the exchange away.
                    colour = moved(colour, figure.skin, head.skin);
                }
                _ => {}
            }
        }
        *pixel = Rgb(colour);
        mask.put_pixel(column, row, Luma([on]));
    }
    (layer, mask)
}

/// The part of a head at a height above the neck, in heights of the body.
fn part_of(above: f32) -> Part {
    match above {
        _ if above < PARTS[0] => Part::Mouth,
        _ if above < PARTS[1] => Part::Eyes,
        _ => Part::Hair,
    }
}

/// A colour near `from` as it would be near `to`; shades keep their brightness against it.
fn moved(colour: [u8; 3], from: [u8; 3], to: [u8; 3]) -> [u8; 3] {
    let brightness = |colour: [u8; 3]| colour.iter().map(|&channel| f32::from(channel)).sum::<f32>().max(1.0);
    let share = (brightness(colour) / brightness(from)).clamp(0.4, 1.3);
    let shaded = from.map(|channel| (f32::from(channel) * share).min(255.0) as u8);
    if distance(colour, shaded) > SAME_COLOUR / 2 {
        return colour;
    }
    std::array::from_fn(|channel| {
        let offset = f32::from(colour[channel]) - f32::from(shaded[channel]);
        (f32::from(to[channel]) * share + offset + 0.5).clamp(0.0, 255.0) as u8
    })
}

/// A head to be read at places given in heights of its body.
struct View<'a> {
    frame: &'a RgbImage,
    mask: &'a GrayImage,
    head: Head,
}

impl<'a> View<'a> {
    /// The head of frame `time`, counted round past the last.
    fn of(figure: &'a Figure, time: usize) -> Self {
        let time = time % figure.frames.len();
        Self { frame: &figure.frames[time], mask: &figure.masks[time], head: figure.heads[time] }
    }

    /// Colour and mask at a place, between pixels bilinearly.
    fn at(&self, aside: f32, above: f32) -> ([u8; 3], u8) {
        let (x, y) = (self.head.middle + aside * self.head.body, self.head.neck - above * self.head.body);
        let (width, height) = self.frame.dimensions();
        if x < 0.0 || y < 0.0 || x > (width - 1) as f32 || y > (height - 1) as f32 {
            return ([0; 3], 0);
        }
        let (left, top) = (x as u32, y as u32);
        let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
        let shares = [x.fract(), y.fract()];
        let corners = [(left, top), (right, top), (left, bottom), (right, bottom)];
        let weights = [
            (1.0 - shares[0]) * (1.0 - shares[1]),
            shares[0] * (1.0 - shares[1]),
            (1.0 - shares[0]) * shares[1],
            shares[0] * shares[1],
        ];
        let (mut colour, mut on) = ([0.0_f32; 3], 0.0);
        for ((column, row), weight) in corners.into_iter().zip(weights) {
            let pixel = self.frame.get_pixel(column, row).0;
            colour.iter_mut().zip(pixel).for_each(|(sum, channel)| *sum += weight * f32::from(channel));
            on += weight * f32::from(self.mask.get_pixel(column, row).0[0]);
        }
        (colour.map(|channel| (channel + 0.5) as u8), (on + 0.5) as u8)
    }
}
