//! Where the person is: a mask for every frame of a clip of one person, from colours alone.
//!
//! What stands at the left and right border of a frame is background, and so is everything else in the same row with
//! one of its colours; the largest central patch of the rest is the person. A heuristic: it fails where furniture stands
//! only behind the person, which is why a mask has to be [`plausible`] and every positive made with it is checked.

use std::ops::RangeInclusive;

use image::{GrayImage, ImageBuffer, Luma, RgbImage};
use imageproc::morphology::{Mask, grayscale_close, grayscale_dilate, grayscale_erode};
use imageproc::region_labelling::{Connectivity, connected_components};

use crate::{Error, Result};

/// The share of the width, on both sides, whose colours are background.
const BORDER_SHARE: f32 = 0.14;
/// The L1 distance in red, green and blue (0 to 765) beyond which a colour is another one.
const COLOUR_DISTANCE: i16 = 42;
/// Border colours that are this close count as one; well below [`COLOUR_DISTANCE`].
const SAME_COLOUR: i16 = 6;
/// Mask value of the person.
const PERSON: Luma<u8> = Luma([255]);
/// Mask value of everything else.
const ELSEWHERE: Luma<u8> = Luma([0]);

type Colour = [i16; 3];

/// Finds the person in every frame: masks of the frames' size, 255 on the person and 0 elsewhere.
///
/// A mask is all 0 when nothing stands out from the border.
///
/// # Errors
/// [`Error::NoFrames`], [`Error::EmptyFrame`], [`Error::FrameSize`].
pub fn person_masks(frames: &[RgbImage]) -> Result<Vec<GrayImage>> {
    check_sizes(frames, "the clip", frames.first().map(RgbImage::dimensions))?;
    let structure = Structure::new();
    Ok(frames.iter().map(|frame| person_mask(frame, &structure)).collect())
}

/// The share of a mask's pixels that are on the person, 0 to 1.
pub fn area_share(mask: &GrayImage) -> f32 {
    let person = mask.pixels().filter(|&&pixel| pixel == PERSON).count();
    person as f32 / mask.pixels().len().max(1) as f32
}

/// Whether every mask covers a share of its frame that a person may cover.
pub fn plausible(masks: &[GrayImage], shares: RangeInclusive<f32>) -> bool {
    !masks.is_empty() && masks.iter().all(|mask| shares.contains(&area_share(mask)))
}

/// The first and the last row of a mask with a pixel of the person; `None` when there is none.
pub fn person_rows(mask: &GrayImage) -> Option<(u32, u32)> {
    let mut rows = mask.rows().enumerate().filter(|(_, row)| row.clone().any(|&pixel| pixel == PERSON));
    let first = rows.next()?.0 as u32;
    Some((first, rows.last().map_or(first, |(row, _)| row as u32)))
}

/// Checks that a clip has frames and that all are of the expected size and not empty.
pub(crate) fn check_sizes(frames: &[RgbImage], clip: &str, expected: Option<(u32, u32)>) -> Result<()> {
    let Some(expected) = expected.filter(|_| !frames.is_empty()) else {
        return Err(Error::NoFrames { clip: clip.into() });
    };
    for (frame, found) in frames.iter().map(RgbImage::dimensions).enumerate() {
        if found.0 == 0 || found.1 == 0 {
            return Err(Error::EmptyFrame { clip: clip.into(), frame });
        }
        if found != expected {
            return Err(Error::FrameSize { clip: clip.into(), frame, found, expected });
        }
    }
    Ok(())
}

/// The structuring elements of the morphology.
struct Structure {
    three: Mask,
    two: Mask,
    /// `two` turned by 180 degrees, so that an opening with this even element does not move the mask.
    two_turned: Mask,
}

impl Structure {
    fn new() -> Self {
        let square = GrayImage::from_pixel(2, 2, PERSON);
        Self { three: Mask::square(1), two: Mask::from_image(&square, 0, 0), two_turned: Mask::from_image(&square, 1, 1) }
    }
}

fn person_mask(frame: &RgbImage, structure: &Structure) -> GrayImage {
    let closed = grayscale_close(&unlike_border(frame), &structure.three);
    let opened = grayscale_dilate(&grayscale_erode(&closed, &structure.two), &structure.two_turned);
    fill_holes(central_component(&opened))
}

/// The pixels whose colour is found nowhere in the outer columns of their own row and the rows above and below it.
fn unlike_border(frame: &RgbImage) -> GrayImage {
    let (width, height) = frame.dimensions();
    let rows: Vec<Vec<Colour>> = (0..height).map(|row| border_colours(frame, row)).collect();
    let mut mask = GrayImage::new(width, height);
    let mut colours: Vec<Colour> = Vec::new();
    for row in 0..height {
        colours.clear();
        for near in row.saturating_sub(1)..=(row + 1).min(height - 1) {
            for &colour in &rows[near as usize] {
                add_colour(&mut colours, colour);
            }
        }
        for column in 0..width {
            let colour = colour_at(frame, column, row);
            if colours.iter().all(|&other| distance(colour, other) > COLOUR_DISTANCE) {
                mask.put_pixel(column, row, PERSON);
            }
        }
    }
    mask
}

fn border_colours(frame: &RgbImage, row: u32) -> Vec<Colour> {
    let width = frame.width();
    let border = ((width as f32 * BORDER_SHARE).round() as u32).clamp(1, width);
    let mut colours = Vec::new();
    for column in (0..border).chain(width - border..width) {
        add_colour(&mut colours, colour_at(frame, column, row));
    }
    colours
}

fn add_colour(colours: &mut Vec<Colour>, colour: Colour) {
    if colours.iter().all(|&known| distance(known, colour) > SAME_COLOUR) {
        colours.push(colour);
    }
}

fn colour_at(frame: &RgbImage, column: u32, row: u32) -> Colour {
    frame.get_pixel(column, row).0.map(i16::from)
}

fn distance(one: Colour, other: Colour) -> i16 {
    (one[0] - other[0]).abs() + (one[1] - other[1]).abs() + (one[2] - other[2]).abs()
}

/// Keeps the connected patch that is largest when area counts less the further its centre is from the middle column.
fn central_component(mask: &GrayImage) -> GrayImage {
    let labels = patches_unlike(mask, Connectivity::Eight, ELSEWHERE);
    let mut patches: Vec<(f32, f32)> = Vec::new();
    for (column, _, label) in labels.enumerate_pixels() {
        let label = label.0[0] as usize;
        if patches.len() <= label {
            patches.resize(label + 1, (0.0, 0.0));
        }
        patches[label].0 += 1.0;
        patches[label].1 += column as f32 + 0.5;
    }
    let width = mask.width() as f32;
    let weight = |&(area, columns): &(f32, f32)| {
        let off_centre = (columns / area.max(1.0) - width / 2.0) / (width / 4.0);
        area * (-off_centre * off_centre).exp()
    };
    // Label 0 is the background.
    let best = (1..patches.len()).max_by(|&one, &other| weight(&patches[one]).total_cmp(&weight(&patches[other])));
    let mut person = GrayImage::new(mask.width(), mask.height());
    for (pixel, label) in person.pixels_mut().zip(labels.pixels()) {
        if Some(label.0[0] as usize) == best {
            *pixel = PERSON;
        }
    }
    person
}

/// Makes everything part of the mask that the mask encloses.
fn fill_holes(mut mask: GrayImage) -> GrayImage {
    let labels = patches_unlike(&mask, Connectivity::Four, PERSON);
    let (right, bottom) = (mask.width().saturating_sub(1), mask.height().saturating_sub(1));
    let mut outside = vec![false; labels.pixels().map(|label| label.0[0] as usize + 1).max().unwrap_or(0)];
    for (column, row, label) in labels.enumerate_pixels() {
        if column == 0 || row == 0 || column == right || row == bottom {
            outside[label.0[0] as usize] = true;
        }
    }
    for (pixel, label) in mask.pixels_mut().zip(labels.pixels()) {
        if !outside[label.0[0] as usize] {
            *pixel = PERSON;
        }
    }
    mask
}

/// Numbers the connected patches of pixels that are not `background`, from 1; 0 is the background.
fn patches_unlike(mask: &GrayImage, connectivity: Connectivity, background: Luma<u8>) -> ImageBuffer<Luma<u32>, Vec<u32>> {
    if mask.pixels().len() < 2 {
        // imageproc 0.27 panics on a single pixel, which no person fills anyway.
        return ImageBuffer::new(mask.width(), mask.height());
    }
    connected_components(mask, connectivity, background)
}
