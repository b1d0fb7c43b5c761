//! Bars around a picture, as in a film or a video of a phone held upright. They have no content, and an encoder that stretches
//! the whole frame sees everything else squeezed.

use image::{GenericImageView, RgbImage};

/// How far a byte of a bar may be from the bar's colour; video compression leaves such traces.
const TOLERANCE: u8 = 12;
/// How far the bytes of one line of a bar may be from it on average.
const MEAN_TOLERANCE: f32 = 3.0;
/// The thinnest bar, in pixels.
const THINNEST: u32 = 2;
/// What has to be left between two bars, as a share of the frame: of a dark scene something always remains.
const LEAST_CONTENT: f32 = 0.25;

/// The part of every frame that is picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentBox {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// The picture between bars: above and below it, left and right of it, or both. `None` for frames without bars, of different
/// sizes or empty.
///
/// Bars come in pairs of one colour and about one thickness, and are the same in all frames; a plain sky or wall is not taken
/// for one.
pub fn content_box(frames: &[RgbImage]) -> Option<ContentBox> {
    let (width, height) = frames.first()?.dimensions();
    if width == 0 || height == 0 || frames.iter().any(|frame| frame.dimensions() != (width, height)) {
        return None;
    }
    let whole = ContentBox { x: 0, y: 0, width, height };
    let (y, inner_height) = between_bars(height, |place| line(frames, whole, Lines::Rows, place));
    let rows = ContentBox { y, height: inner_height, ..whole };
    let (x, inner_width) = between_bars(width, |place| line(frames, rows, Lines::Columns, place));
    let found = ContentBox { x, width: inner_width, ..rows };
    (found != whole).then_some(found)
}

/// Frames without their bars; as they are where there are none.
pub fn without_bars(frames: &[RgbImage]) -> Vec<RgbImage> {
    match content_box(frames) {
        None => frames.to_vec(),
        Some(ContentBox { x, y, width, height }) => {
            frames.iter().map(|frame| frame.view(x, y, width, height).to_image()).collect()
        }
    }
}

#[derive(Clone, Copy)]
enum Lines {
    Rows,
    Columns,
}

/// The one colour of a line in all frames, when it has one.
fn line(frames: &[RgbImage], within: ContentBox, lines: Lines, place: u32) -> Option<[f32; 3]> {
    let length = if matches!(lines, Lines::Rows) { within.width } else { within.height };
    let pixel = |frame: &RgbImage, along: u32| match lines {
        Lines::Rows => frame.get_pixel(within.x + along, within.y + place).0,
        Lines::Columns => frame.get_pixel(within.x + place, within.y + along).0,
    };
    let all = || frames.iter().flat_map(|frame| (0..length).map(move |along| pixel(frame, along)));
    let first = all().next()?;
    let count = (frames.len() * length as usize) as f32;
    let (mut sums, mut deviation) = ([0.0_f32; 3], 0.0);
    for pixel in all() {
        for channel in 0..3 {
            // Stops at the first pixel of a picture, which is nearly always the first.
            let distance = pixel[channel].abs_diff(first[channel]);
            if distance > 2 * TOLERANCE {
                return None;
            }
            sums[channel] += f32::from(pixel[channel]);
            deviation += f32::from(distance);
        }
    }
    let colour = sums.map(|sum| sum / count);
    let off = |pixel: [u8; 3]| (0..3).any(|channel| (f32::from(pixel[channel]) - colour[channel]).abs() > f32::from(TOLERANCE));
    (deviation / (3.0 * count) <= MEAN_TOLERANCE && !all().any(off)).then_some(colour)
}

/// Where the picture begins and how much there is of it, along an axis of `length` lines.
fn between_bars(length: u32, colour_of: impl Fn(u32) -> Option<[f32; 3]>) -> (u32, u32) {
    let whole = (0, length);
    let Some(colour) = colour_of(0) else { return whole };
    let is_bar =
        |place: u32| colour_of(place).is_some_and(|other| colour.iter().zip(other).all(|(a, b)| (a - b).abs() <= MEAN_TOLERANCE));
    let before = (0..length).take_while(|&place| is_bar(place)).count() as u32;
    let after = (0..length - before).take_while(|&place| is_bar(length - 1 - place)).count() as u32;
    let (thin, thick) = (before.min(after), before.max(after));
    let content = length - before - after;
    let paired = thin >= THINNEST && thick - thin <= THINNEST.max(thick / 8);
    if paired && content as f32 >= LEAST_CONTENT * length as f32 { (before, content) } else { whole }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    /// Frames of noise within `content`, and `bar` around it.
    fn boxed(size: (u32, u32), content: ContentBox, bar: [u8; 3]) -> Vec<RgbImage> {
        let inside = |x: u32, y: u32| {
            (content.x..content.x + content.width).contains(&x) && (content.y..content.y + content.height).contains(&y)
        };
        (0..3_u32)
            .map(|frame| {
                RgbImage::from_fn(size.0, size.1, |x, y| {
                    let noise = (x * 31 + y * 17 + frame * 57) % 200;
                    // Compression leaves bars not quite even.
                    let trace = ((x + y + frame) % 3) as u8;
                    if inside(x, y) { Rgb([noise as u8, 90, 30]) } else { Rgb(bar.map(|byte| byte.saturating_add(trace))) }
                })
            })
            .collect()
    }

    #[test]
    fn bars_of_any_colour_are_cut_and_nothing_else_is() {
        for (size, content) in [
            ((64, 80), ContentBox { x: 0, y: 8, width: 64, height: 64 }),
            ((120, 64), ContentBox { x: 28, y: 0, width: 64, height: 64 }),
            ((100, 90), ContentBox { x: 20, y: 13, width: 60, height: 64 }),
            ((64, 81), ContentBox { x: 0, y: 8, width: 64, height: 64 }),
        ] {
            for bar in [[0; 3], [250, 250, 250], [20, 40, 200]] {
                let frames = boxed(size, content, bar);
                assert_eq!(content_box(&frames), Some(content), "{size:?} {bar:?}");
                let cut = without_bars(&frames);
                assert_eq!(cut[0].dimensions(), (content.width, content.height));
                assert_eq!(cut[2].get_pixel(0, 0), frames[2].get_pixel(content.x, content.y));
            }
        }
    }

    #[test]
    fn dark_scenes_skies_and_what_moves_are_left_alone() {
        let size = (64, 64);
        let none = |frames: &[RgbImage], why: &str| {
            assert_eq!(content_box(frames), None, "{why}");
            assert_eq!(without_bars(frames), frames, "{why}");
        };
        none(&vec![RgbImage::new(64, 64); 3], "all black");
        none(&boxed(size, ContentBox { x: 30, y: 30, width: 4, height: 4 }, [0; 3]), "a light in the dark");
        none(&boxed(size, ContentBox { x: 0, y: 20, width: 64, height: 44 }, [90, 120, 250]), "a plain sky");
        let mut lit = boxed(size, ContentBox { x: 0, y: 8, width: 64, height: 48 }, [0; 3]);
        lit[2] = boxed(size, ContentBox { x: 0, y: 0, width: 64, height: 64 }, [0; 3]).swap_remove(2);
        none(&lit, "dark at the beginning only");
        none(&[RgbImage::new(8, 8), RgbImage::new(9, 8)], "different sizes");
        none(&[], "no frames");
        none(&[RgbImage::new(0, 4)], "no pixels");
    }
}
