//! What clips are put together from: figures, which are people cut out of their footage, and places, which are footage without
//! its people.

use image::{GrayImage, RgbImage, imageops};

use super::{
    Eyes,
    quality::luma,
    source::{Bound, Look, Source, Span, read},
};
use crate::{Error, Result};

/// How far a figure reaches beyond the face: to each side in widths of the face, above and below in heights.
const BODY: [f32; 3] = [2.2, 1.0, 4.5];
/// Figures are kept this much larger than clips, places that much, so that most are shrunk and few enlarged.
const FIGURE_SCALE: f32 = 1.5;
const PLACE_SCALE: f32 = 1.25;
/// From this matte value on a pixel is the person's, 0 to 255.
const PERSON: u8 = 128;
/// The share of a face that its matte must cover.
const FACE_COVERED: f32 = 0.8;
/// The greatest share of a place that is guessed from what is around it.
const MOST_GUESSED: f32 = 0.75;
/// The greatest mean change, in levels, between frames of a camera that does not move.
const STILL: f32 = 7.0;

/// Somebody cut out of footage.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) frames: Vec<RgbImage>,
    /// How much of each pixel is the person's.
    pub(super) mattes: Vec<GrayImage>,
    /// The time of each frame, 0 for the first, in seconds.
    pub(super) seconds: Vec<f64>,
    /// The face in each frame: left, top, right, bottom in pixels.
    pub(super) faces: Vec<[f32; 4]>,
    /// The five points of the face in each frame in pixels, see [`FaceSeen::points`](super::FaceSeen::points).
    pub(super) points: Vec<[[f32; 2]; 5]>,
    /// Whether the person reaches the left, upper, right and lower edge, where the footage cuts the body off.
    pub(super) cut: [bool; 4],
    /// The person's mean colour, 0 to 255.
    pub(super) colour: [f32; 3],
    /// The mean colour of the middle of the face, 0 to 255.
    pub(super) skin: [f32; 3],
    /// How blurred the footage is, see [`blur`].
    pub(super) blur: f32,
}

/// Footage without its people, square.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) frames: Vec<RgbImage>,
    /// The time of each frame, 0 for the first, in seconds.
    pub(super) seconds: Vec<f64>,
    /// Its mean colour, 0 to 255.
    pub(super) colour: [f32; 3],
    pub(super) spot: Spot,
}

/// Where the person of a place was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spot {
    /// The middle of the face as shares of the square.
    pub(super) centre: [f32; 2],
    /// The width of the face as a share of the square's side.
    pub(super) face: f32,
}

/// Why footage gives no figure or place, in words.
pub(super) type Unusable = String;

/// The last frame whose time is not after `seconds`.
pub(super) fn frame_at(times: &[f64], seconds: f64) -> usize {
    times.partition_point(|&time| time <= seconds + 1e-6).saturating_sub(1)
}

impl Figure {
    /// Cuts a person out of a stretch of footage.
    pub(super) fn cut(
        source: &Source,
        look: &Look,
        person: usize,
        span: Span,
        [rate, size]: [u32; 2],
        eyes: &dyn Eyes,
    ) -> Result<std::result::Result<Self, Unusable>> {
        let most = (FIGURE_SCALE * size as f32) as u32;
        let Some(window) = body(look, person, span) else { return Ok(Err("the face is not seen".into())) };
        let mut figure = Self {
            frames: Vec::new(),
            mattes: Vec::new(),
            seconds: Vec::new(),
            faces: Vec::new(),
            points: Vec::new(),
            cut: [false; 4],
            colour: [0.0; 3],
            skin: [0.0; 3],
            blur: 0.0,
        };
        let mut covered = 0;
        read(&source.path, f64::from(rate), span, Bound::Longest((2 * most).max(640)), |frame, seconds| {
            let [width, height] = [frame.width(), frame.height()].map(|side| side as f32);
            let Some([left, top, right, bottom]) = whole(window, width, height) else { return Ok(()) };
            let Some((face, points)) = look.face_at(person, seconds).zip(look.points_at(person, seconds)) else { return Ok(()) };
            let mut part = imageops::crop_imm(&frame, left, top, right - left, bottom - top).to_image();
            let factor = (most as f32 / part.width().max(part.height()) as f32).min(1.0);
            if factor < 1.0 {
                let [across, down] = [part.width(), part.height()].map(|side| ((side as f32 * factor) as u32).max(1));
                part = imageops::thumbnail(&part, across, down);
            }
            let shifted = [face[0] * width - left as f32, face[1] * height - top as f32];
            let face = [shifted[0], shifted[1], face[2] * width - left as f32, face[3] * height - top as f32];
            let face = face.map(|edge| edge * factor);
            let mut matte = eyes.matte(&part).map_err(Error::Eyes)?;
            keep_connected(&mut matte, &face);
            covered += usize::from(mean_inside(&matte, &face) >= 255.0 * FACE_COVERED);
            figure.seconds.push(seconds);
            figure.frames.push(part);
            figure.mattes.push(matte);
            figure.faces.push(face);
            figure.points.push(points.map(|[x, y]| [(x * width - left as f32) * factor, (y * height - top as f32) * factor]));
            Ok(())
        })?;
        let first = figure.seconds.first().copied().unwrap_or(0.0);
        figure.seconds.iter_mut().for_each(|seconds| *seconds -= first);
        let count = figure.frames.len();
        if count == 0 {
            return Ok(Err("no frame can be read".into()));
        }
        if covered * 5 < count * 4 {
            return Ok(Err(format!("the person cannot be told from the background in {} of {count} frames", count - covered)));
        }
        figure.cut = touched(&figure.mattes);
        let middle = count / 2;
        figure.colour = mean_colour(&figure.frames[middle], |place| f32::from(figure.mattes[middle].as_raw()[place]) / 255.0);
        figure.skin = skin(&figure.frames[middle], &figure.faces[middle]);
        figure.blur = blur(&figure.frames[middle], &figure.mattes[middle], &figure.faces[middle]);
        Ok(Ok(figure))
    }
}

/// The part of the frame around a person for the whole of a span, as shares of the frame.
fn body(look: &Look, person: usize, [from, to]: Span) -> Option<[f32; 4]> {
    let [aside, above, below] = BODY;
    let inside = |seconds: f64| (from - 1e-6..=to + 1e-6).contains(&seconds);
    let faces = look.people.get(person)?.faces.iter().filter(|face| look.seconds.get(face.frame).is_some_and(|at| inside(*at)));
    let [width, height] = look.size.map(|side| side.max(1) as f32);
    let mut window: Option<[f32; 4]> = None;
    for face in faces {
        let [left, top, right, bottom] = face.bounds;
        let (across, down) = (right - left, bottom - top);
        let around = [left - aside * across, top - above * down, right + aside * across, bottom + below * down];
        let shares = [around[0] / width, around[1] / height, around[2] / width, around[3] / height];
        let known = window.unwrap_or(shares);
        let joined = [known[0].min(shares[0]), known[1].min(shares[1]), known[2].max(shares[2]), known[3].max(shares[3])];
        window = Some(joined);
    }
    window.map(|window| window.map(|edge| edge.clamp(0.0, 1.0)))
}

/// Shares of a frame as whole pixels: left, top, right, bottom. `None` for less than 16 pixels.
fn whole(window: [f32; 4], width: f32, height: f32) -> Option<[u32; 4]> {
    let inside = |share: f32, side: f32| (share * side).round().clamp(0.0, side) as u32;
    let window = [inside(window[0], width), inside(window[1], height), inside(window[2], width), inside(window[3], height)];
    (window[2] >= window[0] + 16 && window[3] >= window[1] + 16).then_some(window)
}

/// Keeps what is connected with the face, so that nobody else and no furniture comes along.
fn keep_connected(matte: &mut GrayImage, face: &[f32; 4]) {
    const PART: u8 = 64;
    let (width, height) = (matte.width() as usize, matte.height() as usize);
    let inside = |value: f32, side: usize| if value.is_finite() { value.clamp(0.0, side as f32) as usize } else { 0 };
    let mut reached = vec![false; width * height];
    let mut open = Vec::new();
    for y in inside(face[1], height)..inside(face[3], height) {
        for x in inside(face[0], width)..inside(face[2], width) {
            if matte.as_raw()[y * width + x] >= PERSON {
                reached[y * width + x] = true;
                open.push(y * width + x);
            }
        }
    }
    while let Some(place) = open.pop() {
        let x = place % width;
        let sides = [
            (x > 0).then(|| place - 1),
            (x + 1 < width).then_some(place + 1),
            place.checked_sub(width),
            Some(place + width).filter(|&below| below < reached.len()),
        ];
        for near in sides.into_iter().flatten() {
            if !reached[near] && matte.as_raw()[near] >= PART {
                reached[near] = true;
                open.push(near);
            }
        }
    }
    // The soft edge beyond the connected part stays.
    let soft = grown(&reached, width, 3);
    matte.iter_mut().zip(soft).for_each(|(value, near)| *value = if near { *value } else { 0 });
}

/// Marks that are also set for everything at most `reach` pixels away across or down.
pub(super) fn grown(marks: &[bool], width: usize, reach: usize) -> Vec<bool> {
    let height = marks.len() / width.max(1);
    let mut across = vec![false; marks.len()];
    for (to, from) in across.chunks_exact_mut(width).zip(marks.chunks_exact(width)) {
        spread(|place| from[place], width, reach, |place| to[place] = true);
    }
    let mut both = vec![false; marks.len()];
    for x in 0..width {
        spread(|y| across[y * width + x], height, reach, |y| both[y * width + x] = true);
    }
    both
}

/// Sets everything at most `reach` places from a mark of a line.
fn spread(is_set: impl Fn(usize) -> bool, length: usize, reach: usize, mut set: impl FnMut(usize)) {
    let mut done = 0;
    for place in (0..length).filter(|&place| is_set(place)) {
        let end = (place + reach + 1).min(length);
        (place.saturating_sub(reach).max(done)..end).for_each(&mut set);
        done = end;
    }
}

/// The mean of a matte inside a box.
fn mean_inside(matte: &GrayImage, face: &[f32; 4]) -> f32 {
    let inside = |value: f32, side: u32| if value.is_finite() { value.clamp(0.0, side as f32) as u32 } else { 0 };
    let (left, right) = (inside(face[0], matte.width()), inside(face[2], matte.width()));
    let (top, bottom) = (inside(face[1], matte.height()), inside(face[3], matte.height()));
    let (mut sum, mut count) = (0.0, 0.0f32);
    for y in top..bottom {
        for x in left..right {
            sum += f32::from(matte.get_pixel(x, y).0[0]);
            count += 1.0;
        }
    }
    sum / count.max(1.0)
}

/// Whether mattes reach the left, upper, right and lower edge.
fn touched(mattes: &[GrayImage]) -> [bool; 4] {
    let reaches = |matte: &GrayImage, edge: usize| {
        let (width, height) = matte.dimensions();
        let on = |x: u32, y: u32| u32::from(matte.get_pixel(x, y).0[0] >= PERSON);
        let (count, side) = match edge {
            0 => ((0..height).map(|y| on(0, y)).sum::<u32>(), height),
            1 => ((0..width).map(|x| on(x, 0)).sum(), width),
            2 => ((0..height).map(|y| on(width - 1, y)).sum(), height),
            _ => ((0..width).map(|x| on(x, height - 1)).sum(), width),
        };
        count * 50 > side
    };
    std::array::from_fn(|edge| mattes.iter().any(|matte| reaches(matte, edge)))
}

/// The mean colour of a picture, each pixel weighed.
fn mean_colour(picture: &RgbImage, weight: impl Fn(usize) -> f32) -> [f32; 3] {
    let (mut sum, mut all) = ([0.0f64; 3], 0.0f64);
    for (place, pixel) in picture.pixels().enumerate() {
        let weight = f64::from(weight(place));
        all += weight;
        sum.iter_mut().zip(pixel.0).for_each(|(sum, value)| *sum += weight * f64::from(value));
    }
    sum.map(|sum| (sum / all.max(1e-9)) as f32)
}

/// The mean colour of the middle of a face.
fn skin(frame: &RgbImage, face: &[f32; 4]) -> [f32; 3] {
    let (width, third) = (frame.width() as usize, [(face[2] - face[0]) / 4.0, (face[3] - face[1]) / 4.0]);
    mean_colour(frame, |place| {
        let (x, y) = ((place % width) as f32, (place / width) as f32);
        let across = (face[0] + third[0]..=face[2] - third[0]).contains(&x);
        f32::from(across && (face[1] + third[1]..=face[3] - third[1]).contains(&y))
    })
}

/// How blurred a person is: the standard deviation of a Gaussian as a share of the width of the face, so that it does not depend on
/// the size of the picture.
///
/// Across a step that such a blur with the deviation `s` in pixels has softened, the second derivative sums up to `0.8 / s` times the
/// first, whatever the height of the step; differences over two pixels are twice the first.
pub(super) fn blur(frame: &RgbImage, matte: &GrayImage, face: &[f32; 4]) -> f32 {
    /// A weaker change, in levels over two pixels, is noise.
    const LEAST: f32 = 6.0;
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let grey: Vec<f32> = frame.pixels().map(|pixel| luma(pixel.0)).collect();
    let mut changes = Vec::new();
    for y in 1..height.saturating_sub(1) {
        for x in 1..width - 1 {
            let at = y * width + x;
            if matte.as_raw()[at] < PERSON {
                continue;
            }
            let around = [at - 1, at + 1, at - width, at + width];
            let gradient = (grey[at + 1] - grey[at - 1]).hypot(grey[at + width] - grey[at - width]);
            let second = (around.iter().map(|&other| grey[other]).sum::<f32>() - 4.0 * grey[at]).abs();
            changes.push((gradient, second));
        }
    }
    // Only the strongest edges count: weak ones are shading, which says nothing about the blur.
    let place = changes.len() * 49 / 50;
    let strong = match changes.is_empty() {
        true => LEAST,
        false => LEAST.max(0.35 * changes.select_nth_unstable_by(place, |one, other| one.0.total_cmp(&other.0)).1.0),
    };
    // Where nothing is strong, the blur is a pixel or two.
    let (mut first, mut second) = (20.0f32, 5.0f32);
    for (gradient, curvature) in changes.into_iter().filter(|(gradient, _)| *gradient > strong) {
        first += gradient;
        second += curvature;
    }
    0.4 * first / second / (face[2] - face[0]).max(1.0)
}

/// A square part of footage, as it is.
#[derive(Debug)]
pub(super) struct Square {
    pub(super) frames: Vec<RgbImage>,
    /// The time of each frame, 0 for the first, in seconds.
    pub(super) seconds: Vec<f64>,
    /// For each frame the faces in it: left, top, right, bottom in pixels.
    faces: Vec<Vec<[f32; 4]>>,
}

impl Square {
    /// Reads a square around a person, or in the middle of footage without people, as high or wide as the footage.
    pub(super) fn read(source: &Source, look: &Look, person: Option<usize>, span: Span, [rate, size]: [u32; 2]) -> Result<Self> {
        let side = (PLACE_SCALE * size as f32) as u32;
        let middle = person.and_then(|person| look.face_at(person, (span[0] + span[1]) / 2.0));
        let [x, y] = middle.map_or([0.5, 0.5], |face| [(face[0] + face[2]) / 2.0, (face[1] + face[3]) / 2.0]);
        let mut square = Self { frames: Vec::new(), seconds: Vec::new(), faces: Vec::new() };
        read(&source.path, f64::from(rate), span, Bound::Shortest(side), |frame, seconds| {
            let (width, height) = frame.dimensions();
            let side = width.min(height);
            let begin = |share: f32, length: u32, before: f32| {
                (share * length as f32 - before * side as f32).clamp(0.0, (length - side) as f32) as u32
            };
            // Upright pictures have more room below the face than above.
            let (left, top) = (begin(x, width, 0.5), begin(y, height, 0.35));
            let seen = (0..look.people.len()).filter(|&person| look.is_seen(person, seconds));
            let faces = seen.filter_map(|person| look.face_at(person, seconds)).map(|face| {
                let [width, height] = [width as f32, height as f32];
                let (left, top) = (left as f32, top as f32);
                [face[0] * width - left, face[1] * height - top, face[2] * width - left, face[3] * height - top]
            });
            square.faces.push(faces.collect());
            square.frames.push(imageops::crop_imm(&frame, left, top, side, side).to_image());
            square.seconds.push(seconds);
            Ok(())
        })?;
        let first = square.seconds.first().copied().unwrap_or(0.0);
        square.seconds.iter_mut().for_each(|seconds| *seconds -= first);
        Ok(square)
    }

    /// Where people are in each frame.
    fn mattes(&self, eyes: &dyn Eyes) -> Result<Vec<GrayImage>> {
        let [aside, above, below] = BODY;
        let mut mattes = Vec::with_capacity(self.frames.len());
        for (frame, faces) in self.frames.iter().zip(&self.faces) {
            let mut matte = eyes.matte(frame).map_err(Error::Eyes)?;
            let [width, height] = [frame.width(), frame.height()].map(|side| side as f32);
            for face in faces {
                let (across, down) = (face[2] - face[0], face[3] - face[1]);
                // The network sees people who fill the picture; small ones are shown to it by themselves.
                if across > 0.15 * width {
                    continue;
                }
                let window = [face[0] - aside * across, face[1] - above * down, face[2] + aside * across, face[3] + below * down];
                let shares = [window[0] / width, window[1] / height, window[2] / width, window[3] / height];
                let Some([left, top, right, bottom]) = whole(shares.map(|share| share.clamp(0.0, 1.0)), width, height) else {
                    continue;
                };
                let part = imageops::crop_imm(frame, left, top, right - left, bottom - top).to_image();
                let part = eyes.matte(&part).map_err(Error::Eyes)?;
                for (x, y, value) in part.enumerate_pixels() {
                    let known = &mut matte.get_pixel_mut(left + x, top + y).0[0];
                    *known = (*known).max(value.0[0]);
                }
            }
            mattes.push(matte);
        }
        Ok(mattes)
    }
}

impl Place {
    /// Takes the people out of a stretch of footage. Where the camera does not move, what is behind them is what is seen there
    /// at other times; elsewhere, and where they never move away, it is guessed from what is around.
    pub(super) fn clear(
        source: &Source,
        look: &Look,
        person: Option<usize>,
        span: Span,
        sizes: [u32; 2],
        eyes: &dyn Eyes,
    ) -> Result<std::result::Result<Self, Unusable>> {
        let square = Square::read(source, look, person, span, sizes)?;
        let Some(first) = square.frames.first() else { return Ok(Err("no frame can be read".into())) };
        let side = first.width() as usize;
        let reach = (side / 40).max(2);
        let mattes = square.mattes(eyes)?;
        let masks: Vec<Vec<bool>> =
            mattes.iter().map(|matte| grown(&matte.iter().map(|&value| value >= 48).collect::<Vec<_>>(), side, reach)).collect();
        let spot = square.spot(person, look, side as f32);
        let still = is_still(&square.frames, &masks);
        let behind = if still { Some(behind(&square.frames, &masks)) } else { None };
        let mut guessed = 0.0f32;
        let mut frames = Vec::with_capacity(square.frames.len());
        for (frame, mask) in square.frames.iter().zip(&masks) {
            let filled = match &behind {
                Some((picture, unknown)) => {
                    guessed += unknown.iter().zip(mask).filter(|(unknown, mask)| **unknown && **mask).count() as f32;
                    picture.clone()
                }
                None => {
                    guessed += mask.iter().filter(|mask| **mask).count() as f32;
                    guess(frame, mask)
                }
            };
            frames.push(blended(frame, &filled, mask, side, reach));
        }
        let share = guessed / (side * side * frames.len()).max(1) as f32;
        if share > MOST_GUESSED {
            return Ok(Err(format!("people hide {:.0} % of what is behind them all the time", 100.0 * share)));
        }
        let colour = mean_colour(&frames[frames.len() / 2], |_| 1.0);
        Ok(Ok(Self { frames, seconds: square.seconds, colour, spot }))
    }
}

impl Square {
    /// Where the person is; somewhere sensible where there is nobody.
    fn spot(&self, person: Option<usize>, look: &Look, side: f32) -> Spot {
        let nobody = Spot { centre: [0.5, 0.38], face: 0.2 };
        if person.is_none() || look.people.is_empty() {
            return nobody;
        }
        let all: Vec<&[f32; 4]> = self.faces.iter().filter_map(|faces| faces.first()).collect();
        if all.is_empty() {
            return nobody;
        }
        let mean = |value: fn(&[f32; 4]) -> f32| all.iter().map(|face| value(face)).sum::<f32>() / (all.len() as f32 * side);
        let centre = [mean(|face| (face[0] + face[2]) / 2.0), mean(|face| (face[1] + face[3]) / 2.0)];
        Spot { centre: centre.map(|share| share.clamp(0.2, 0.8)), face: mean(|face| face[2] - face[0]) }
    }
}

/// Whether what is not hidden stays where it is.
fn is_still(frames: &[RgbImage], masks: &[Vec<bool>]) -> bool {
    let (Some(first), Some(first_mask)) = (frames.first(), masks.first()) else { return true };
    let (mut sum, mut count) = (0.0f64, 0.0f64);
    for (frame, mask) in frames.iter().zip(masks).skip(1) {
        let pixels = frame.pixels().zip(first.pixels()).zip(mask.iter().zip(first_mask)).step_by(7);
        for ((one, other), _) in pixels.filter(|(_, (now, then))| !**now && !**then) {
            sum += one.0.iter().zip(other.0).map(|(a, b)| f64::from(a.abs_diff(b))).sum::<f64>() / 3.0;
            count += 1.0;
        }
    }
    sum <= f64::from(STILL) * count
}

/// What is behind the people: the median over time of what is seen in each place, and where nothing ever is.
fn behind(frames: &[RgbImage], masks: &[Vec<bool>]) -> (RgbImage, Vec<bool>) {
    let least = frames.len().div_ceil(8).max(1);
    let (width, height) = frames.first().map_or((1, 1), RgbImage::dimensions);
    let mut picture = RgbImage::new(width, height);
    let mut unknown = vec![false; (width * height) as usize];
    let mut seen: [Vec<u8>; 3] = Default::default();
    for (place, (pixel, unknown)) in picture.pixels_mut().zip(&mut unknown).enumerate() {
        seen.iter_mut().for_each(Vec::clear);
        for (frame, _) in frames.iter().zip(masks).filter(|(_, mask)| !mask[place]) {
            let at = 3 * place;
            seen.iter_mut().zip(&frame.as_raw()[at..at + 3]).for_each(|(seen, value)| seen.push(*value));
        }
        *unknown = seen[0].len() < least;
        if !*unknown {
            for (value, seen) in pixel.0.iter_mut().zip(&mut seen) {
                let middle = seen.len() / 2;
                *value = *seen.select_nth_unstable(middle).1;
            }
        }
    }
    (guess(&picture, &unknown), unknown)
}

/// A picture with the masked part guessed from what is around it, smoothly: averages over ever larger squares (pull), and from
/// them back (push).
fn guess(picture: &RgbImage, mask: &[bool]) -> RgbImage {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let known: Vec<[f32; 4]> = picture
        .pixels()
        .zip(mask)
        .map(|(pixel, masked)| match masked {
            true => [0.0; 4],
            false => [f32::from(pixel.0[0]), f32::from(pixel.0[1]), f32::from(pixel.0[2]), 1.0],
        })
        .collect();
    let filled = pushed(&known, [width, height]);
    let bytes = filled.iter().flat_map(|pixel| [0, 1, 2].map(|channel| (pixel[channel] + 0.5) as u8)).collect();
    RgbImage::from_raw(picture.width(), picture.height(), bytes).unwrap_or_else(|| picture.clone())
}

/// Fills in values of weight 0, of colours that are multiplied by their weights.
fn pushed(values: &[[f32; 4]], [width, height]: [usize; 2]) -> Vec<[f32; 4]> {
    let plain = |value: &[f32; 4]| {
        let weight = value[3].max(1e-6);
        [value[0] / weight, value[1] / weight, value[2] / weight, 1.0]
    };
    if values.iter().all(|value| value[3] >= 1.0) || (width <= 1 && height <= 1) {
        return values.iter().map(plain).collect();
    }
    let [across, down] = [width.div_ceil(2), height.div_ceil(2)];
    let mut smaller = vec![[0.0f32; 4]; across * down];
    for (place, value) in values.iter().enumerate() {
        let to = &mut smaller[place / width / 2 * across + place % width / 2];
        to.iter_mut().zip(value).for_each(|(sum, value)| *sum += value);
    }
    for value in &mut smaller {
        let most = value[3].max(1.0);
        value.iter_mut().for_each(|value| *value /= most);
    }
    let larger = pushed(&smaller, [across, down]);
    let mixed = |place: usize, count: usize| {
        let from = (place as f32 + 0.5) / 2.0 - 0.5;
        let first = from.floor().max(0.0) as usize;
        (first.min(count - 1), (first + 1).min(count - 1), (from - first as f32).clamp(0.0, 1.0))
    };
    let pixel = |(place, value): (usize, &[f32; 4])| {
        if value[3] >= 1.0 {
            return *value;
        }
        let ((left, right, x), (top, bottom, y)) = (mixed(place % width, across), mixed(place / width, down));
        let at = |row: usize, column: usize, channel: usize| larger[row * across + column][channel];
        let mut result = [1.0; 4];
        for (channel, result) in result.iter_mut().enumerate().take(3) {
            let above = at(top, left, channel) * (1.0 - x) + at(top, right, channel) * x;
            let below = at(bottom, left, channel) * (1.0 - x) + at(bottom, right, channel) * x;
            *result = value[channel] + (1.0 - value[3]) * (above * (1.0 - y) + below * y);
        }
        result
    };
    values.iter().enumerate().map(pixel).collect()
}

/// A frame with the masked part from another picture, softly joined.
fn blended(frame: &RgbImage, other: &RgbImage, mask: &[bool], side: usize, reach: usize) -> RgbImage {
    let hard = mask.iter().map(|&masked| if masked { 255 } else { 0 }).collect();
    let Some(hard) = GrayImage::from_raw(side as u32, (mask.len() / side.max(1)) as u32, hard) else { return frame.clone() };
    let soft = imageops::fast_blur(&hard, reach as f32 / 2.0);
    let mut result = frame.clone();
    for ((pixel, other), share) in result.pixels_mut().zip(other.pixels()).zip(soft.pixels()) {
        let share = f32::from(share.0[0]) / 255.0;
        if share > 0.0 {
            for (value, other) in pixel.0.iter_mut().zip(other.0) {
                *value = (f32::from(*value) * (1.0 - share) + f32::from(other) * share + 0.5) as u8;
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgb};

    #[test]
    fn a_hole_is_guessed_from_around_and_the_rest_stays() {
        let picture = RgbImage::from_fn(33, 20, |x, _| Rgb([(x * 7) as u8, 50, 200]));
        let mask: Vec<bool> =
            (0..33 * 20).map(|place| (10..20).contains(&(place % 33)) && (5..15).contains(&(place / 33))).collect();
        let broken =
            RgbImage::from_fn(33, 20, |x, y| if mask[(y * 33 + x) as usize] { Rgb([0; 3]) } else { *picture.get_pixel(x, y) });
        let filled = guess(&broken, &mask);
        for ((x, y, filled), masked) in filled.enumerate_pixels().zip(&mask) {
            let truth = picture.get_pixel(x, y);
            if *masked {
                assert!(filled.0[0].abs_diff(truth.0[0]) < 40 && filled.0[1].abs_diff(50) < 2, "{x},{y}: {filled:?}");
            } else {
                assert_eq!(filled, truth);
            }
        }
    }

    #[test]
    fn what_is_behind_somebody_who_moves_is_seen_at_other_times() {
        let frames: Vec<RgbImage> = (0..6)
            .map(|time| RgbImage::from_fn(30, 10, |x, _| if x / 5 == time { Rgb([255, 0, 0]) } else { Rgb([0, x as u8, 90]) }))
            .collect();
        let masks: Vec<Vec<bool>> = (0..6).map(|time| (0..300).map(|place| place % 30 / 5 == time).collect()).collect();
        assert!(is_still(&frames, &masks));
        let (picture, unknown) = behind(&frames, &masks);
        assert!(unknown.iter().all(|unknown| !unknown));
        assert!(picture.enumerate_pixels().all(|(x, _, pixel)| *pixel == Rgb([0, x as u8, 90])));
    }

    #[test]
    fn only_what_is_connected_with_the_face_is_cut_out() {
        let mut matte = GrayImage::from_fn(40, 20, |x, _| Luma([if !(12..28).contains(&x) { 255 } else { 0 }]));
        keep_connected(&mut matte, &[2.0, 2.0, 8.0, 8.0]);
        assert!(matte.enumerate_pixels().all(|(x, _, value)| value.0[0] == if x < 12 { 255 } else { 0 }));
        assert_eq!(touched(&[matte]), [true, true, false, true]);
    }

    #[test]
    fn marks_grow_in_both_directions() {
        let mut marks = vec![false; 81];
        marks[4 * 9 + 4] = true;
        let grown = grown(&marks, 9, 2);
        assert_eq!(grown.iter().filter(|mark| **mark).count(), 25);
        assert!(grown[2 * 9 + 2] && grown[6 * 9 + 6] && !grown[9 + 4]);
    }
}
