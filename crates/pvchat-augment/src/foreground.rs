//! Where the person is: a mask for every frame of a clip of one person, from colours alone.
//!
//! What is at the left and right border of a frame is background, and so is everything else in the same row with
//! one of its colours; the largest central patch of the rest is a first guess. It takes furniture behind the person for
//! the person and loses hair or skin that has a colour of the border. Statistics of each colour over all frames correct both:
//! whether it is mostly seen in guesses and near their centre, or elsewhere. This is a heuristic, so a mask has to be
//! [`plausible`], and every positive made with it is checked.

use std::ops::RangeInclusive;

use image::{GrayImage, Luma, RgbImage};

use crate::colour_odds::ColourOdds;
use crate::mask::{PERSON, close, fill_holes, keep_central_patch, open};
use crate::{Error, Result};

/// The share of the width, on both sides, whose colours are background.
const BORDER_SHARE: f32 = 0.14;
/// The L1 distance in red, green and blue (0 to 765) beyond which a colour is another one.
const COLOUR_DISTANCE: i16 = 42;
/// Border colours that are this close count as one; well below [`COLOUR_DISTANCE`].
const SAME_COLOUR: i16 = 14;

/// How often the masks are mended by the colours that they hold.
const ROUNDS: usize = 2;
/// The distance from the mask's centre, in widths of the frame, where the weight of a pixel's colour has dropped to 1/e.
const TRUSTED_REACH: f32 = 0.12;
/// The distance from the mask's centre, in widths of the frame, where a pixel's log odds are lower by 1.
const BODY_REACH: f32 = 0.16;
/// The logarithm of the odds at the mask's centre for a colour seen as often on the person as elsewhere.
const CENTRE_ODDS: f32 = 3.0;
/// What the first guess adds to the logarithm of the odds, or takes from it.
const GUESS_ODDS: f32 = 0.2;

type Colour = [i16; 3];

/// Finds the person in every frame: masks of the frames' size, 255 on the person and 0 elsewhere.
///
/// A mask is all 0 when nothing stands out from the border.
///
/// # Errors
/// [`Error::NoFrames`], [`Error::EmptyFrame`], [`Error::FrameSize`].
pub fn person_masks(frames: &[RgbImage]) -> Result<Vec<GrayImage>> {
    check_sizes(frames, "the clip", frames.first().map(RgbImage::dimensions))?;
    let guesses: Vec<GrayImage> = frames.iter().map(unlike_border).collect();
    let mut masks: Vec<GrayImage> = guesses.iter().map(clean).collect();
    if masks.iter().all(|mask| area_share(mask) == 0.0) {
        return Ok(masks);
    }
    for _ in 0..ROUNDS {
        masks = refine(frames, &guesses, &masks);
    }
    Ok(masks)
}

/// The share of a mask's pixels that are on the person, 0 to 1.
pub fn area_share(mask: &GrayImage) -> f32 {
    let person = mask.iter().filter(|&&pixel| pixel == PERSON).count();
    person as f32 / mask.len().max(1) as f32
}

/// Whether every mask covers a share of its frame that a person may cover.
pub fn plausible(masks: &[GrayImage], shares: RangeInclusive<f32>) -> bool {
    !masks.is_empty() && masks.iter().all(|mask| shares.contains(&area_share(mask)))
}

/// The first and the last row of a mask with a pixel of the person; `None` when there is none.
pub fn person_rows(mask: &GrayImage) -> Option<(u32, u32)> {
    let mut rows = mask.rows().enumerate().filter(|(_, row)| row.clone().any(|pixel| pixel.0[0] == PERSON));
    let first = rows.next()?.0 as u32;
    Some((first, rows.next_back().map_or(first, |(row, _)| row as u32)))
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

/// Fills gaps, drops specks and keeps the one patch that is most likely a person.
fn clean(mask: &GrayImage) -> GrayImage {
    let mut mask = open(&close(mask));
    keep_central_patch(&mut mask);
    fill_holes(&mut mask);
    mask
}

/// New masks from the first guesses, the colours of the masks so far and the distance from their centres.
fn refine(frames: &[RgbImage], guesses: &[GrayImage], masks: &[GrayImage]) -> Vec<GrayImage> {
    let centres: Vec<f32> = masks.iter().map(centre_column).collect();
    let odds = ColourOdds::count(frames, masks, &centres, |off| (-(off / TRUSTED_REACH).powi(2)).exp());
    let mut refined = Vec::with_capacity(masks.len());
    for ((frame, guess), centre) in frames.iter().zip(guesses).zip(centres) {
        let width = frame.width() as f32;
        let place = |column: u32| CENTRE_ODDS - ((column as f32 - centre) / (width * BODY_REACH)).powi(2);
        let places: Vec<f32> = (0..frame.width()).map(place).collect();
        let mut mask = GrayImage::new(frame.width(), frame.height());
        for (((column, _, pixel), guess), on) in frame.enumerate_pixels().zip(guess.iter()).zip(mask.iter_mut()) {
            let guessed = if *guess > 0 { GUESS_ODDS } else { -GUESS_ODDS };
            if odds.of(pixel.0) + places[column as usize] + guessed > 0.0 {
                *on = PERSON;
            }
        }
        refined.push(clean(&mask));
    }
    refined
}

/// The mean column of a mask; the middle when it is empty.
pub(crate) fn centre_column(mask: &GrayImage) -> f32 {
    let on = mask.enumerate_pixels().filter(|(_, _, pixel)| pixel.0[0] > 0);
    let (count, sum) = on.fold((0.0_f32, 0.0), |(count, sum), (column, _, _)| (count + 1.0, sum + column as f32));
    if count > 0.0 { sum / count } else { mask.width() as f32 / 2.0 }
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
                mask.put_pixel(column, row, Luma([PERSON]));
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
