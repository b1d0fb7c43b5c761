//! The pixels of a made clip: a figure in a place, light, colours, and what happens to pictures on their way.

use image::{GrayImage, RgbImage};

use super::{
    assets::{Figure, Place, Square, frame_at},
    recipe::Recipe,
};

/// A made clip.
pub(super) struct Composed {
    pub(super) frames: Vec<RgbImage>,
    /// How much of each pixel of the middle frame is the person's.
    pub(super) matte: GrayImage,
}

/// The blur that sampling leaves in any picture, as a standard deviation in pixels.
const LEAST_BLUR: f32 = 0.5;
/// A figure is softened at most so often: that makes a blur of three pixels.
const MOST_PASSES: f32 = 18.0;
/// The least and greatest width of a face as a share of the picture, where the figure allows it.
const FACE: [f32; 2] = [0.14, 0.42];
/// Clothes begin between these shares of a face's height below the chin.
const COLLAR: [f32; 2] = [0.05, 0.45];
/// Up to the first of these differences of the shares of red and green a colour is skin, from the second on it is cloth.
const SKIN: [f32; 2] = [0.05, 0.12];
/// A face stays above this share of the picture's height where the body is cut off below.
const LOWEST: f32 = 0.62;

/// Where neighbouring points of a picture are mixed: the first, the second, the share of the second.
#[derive(Clone, Copy)]
struct Tap {
    first: usize,
    second: usize,
    share: f32,
    /// Whether the point is in the picture at all.
    inside: bool,
}

/// The taps of `count` points over a length of `length` from `begin`, in a picture with `side` points.
fn taps(count: usize, begin: f32, length: f32, side: usize, mirror: bool) -> Vec<Tap> {
    let last = side.saturating_sub(1) as f32;
    let tap = |place: usize| {
        let share = (place as f32 + 0.5) / count as f32;
        let at = begin + length * if mirror { 1.0 - share } else { share } - 0.5;
        let clamped = at.clamp(0.0, last);
        let first = clamped as usize;
        let inside = at > -0.75 && at < last + 0.75;
        Tap { first, second: (first + 1).min(last as usize), share: clamped - first as f32, inside }
    };
    (0..count).map(tap).collect()
}

/// The square of the figure's footage that fills the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    left: f32,
    top: f32,
    side: f32,
}

impl Window {
    /// Gives the face about this width and place, and keeps edges where the footage cuts the body off out of view.
    fn around(figure: &Figure, frames: &[usize], face_share: f32, [x, y]: [f32; 2]) -> Self {
        let faces = || frames.iter().filter_map(|&frame| figure.faces.get(frame));
        let count = frames.len().max(1) as f32;
        let mean = |value: fn(&[f32; 4]) -> f32| faces().map(value).sum::<f32>() / count;
        let (centre_x, centre_y) = (mean(|face| (face[0] + face[2]) / 2.0), mean(|face| (face[1] + face[3]) / 2.0));
        let face = mean(|face| face[2] - face[0]).max(1.0);
        let [width, height] = figure.frames.first().map_or([1.0; 2], |frame| [frame.width() as f32, frame.height() as f32]);
        let [left, top, right, bottom] = figure.cut;
        let mut side = face / face_share.clamp(FACE[0], FACE[1]);
        if bottom {
            side = side.min((height - centre_y).max(1.0) / (1.0 - LOWEST));
        }
        if left && right {
            side = side.min(width);
        }
        if top && bottom {
            side = side.min(height);
        }
        let mut window = Self { left: centre_x - x * side, top: centre_y - y * side, side };
        if right {
            window.left = window.left.min(width - side);
        }
        if left {
            window.left = window.left.max(0.0);
        }
        if bottom {
            window.top = window.top.min(height - side);
        }
        if top {
            window.top = window.top.max(0.0);
        }
        window
    }

    /// How blurred a figure with a face of this width (in pixels of its footage) is when this square fills a picture of `side` pixels:
    /// the standard deviation in pixels of that picture.
    fn blur(&self, figure: &Figure, face: f32, side: usize) -> f32 {
        (figure.blur * face * side as f32 / self.side).max(LEAST_BLUR)
    }

    /// A smaller square inside, around a point of the picture.
    fn closer(&self, zoom: f32, [x, y]: [f32; 2]) -> Self {
        let cut = self.side * (1.0 - zoom);
        Self { left: self.left + x * cut, top: self.top + y * cut, side: self.side * zoom }
    }
}

/// What happens to every pixel: brightness and colour.
struct Tone([[u8; 256]; 3]);

impl Tone {
    fn new(recipe: &Recipe) -> Self {
        let table = |gain: f32| -> [u8; 256] {
            std::array::from_fn(|level| (255.0 * (level as f32 / 255.0).powf(recipe.gamma) * gain + 0.5) as u8)
        };
        Self(recipe.gain.map(table))
    }

    fn apply(&self, frame: &mut RgbImage, is_grey: bool) {
        for pixel in frame.pixels_mut() {
            for (value, table) in pixel.0.iter_mut().zip(&self.0) {
                *value = table[usize::from(*value)];
            }
            if is_grey {
                pixel.0 = [(super::quality::luma(pixel.0) + 0.5) as u8; 3];
            }
        }
    }
}

/// Factors on the figure's colours that bring its light nearer to the place's.
fn relight(figure: [f32; 3], place: [f32; 3], strength: f32) -> [f32; 3] {
    let luma = |[red, green, blue]: [f32; 3]| (0.299 * red + 0.587 * green + 0.114 * blue).max(1.0);
    let (ours, theirs) = (luma(figure), luma(place));
    let brightness = (theirs / ours).clamp(0.5, 2.0).powf(strength);
    std::array::from_fn(|channel| {
        let cast = (place[channel].max(1.0) / theirs) / (figure[channel].max(1.0) / ours);
        brightness * cast.clamp(0.7, 1.4).powf(0.4 * strength)
    })
}

/// How far a colour is from that of the face, whatever its brightness: 0 for skin, 1 for clothes.
fn is_cloth(colour: [f32; 3], skin: [f32; 3]) -> f32 {
    let shares = |[red, green, blue]: [f32; 3]| {
        let sum = (red + green + blue).max(1.0);
        [red / sum, green / sum]
    };
    let ([red, green], [skin_red, skin_green]) = (shares(colour), shares(skin));
    let apart = (red - skin_red).abs() + (green - skin_green).abs();
    ((apart - SKIN[0]) / (SKIN[1] - SKIN[0])).clamp(0.0, 1.0)
}

/// The greatest width of a face, as a share of the picture, times the people in it: wanted, and where figures allow no other.
const BESIDE: [f32; 2] = [0.42, 0.75];
/// How far from its place among others a face may be, as a share of the room of one.
const ASTRAY: f32 = 0.3;

/// A figure in the picture: which frames of it, what part of them, and how bright.
struct Layer<'a> {
    figure: &'a Figure,
    frames: Vec<usize>,
    window: Window,
    /// Where the face is in the window, as shares of it.
    target: [f32; 2],
    mirror: bool,
    light: [f32; 3],
    /// The least blur, as a standard deviation in pixels of the made picture.
    blur: f32,
}

/// The square of a figure's footage that brings the face to about this place of several, the first from the left; `None` where edges
/// at which the footage cuts the body off would come into view.
fn beside(
    figure: &Figure,
    frames: &[usize],
    share: f32,
    [x, y]: [f32; 2],
    mirror: bool,
    count: usize,
) -> Option<(Window, [f32; 2])> {
    let target = [if mirror { 1.0 - x } else { x }, y];
    let window = Window::around(figure, frames, share.min(BESIDE[0] / count as f32), target);
    let faces = || frames.iter().filter_map(|&frame| figure.faces.get(frame));
    let mean = |value: fn(&[f32; 4]) -> f32| faces().map(value).sum::<f32>() / frames.len().max(1) as f32 / window.side;
    let astray = (mean(|face| (face[0] + face[2]) / 2.0) - window.left / window.side - target[0]).abs();
    let fits = mean(|face| face[2] - face[0]) <= BESIDE[1] / count as f32 && astray <= ASTRAY / count as f32;
    fits.then_some((window, target))
}

/// The middle of a place among others, the first from the left.
fn column(place: usize, count: usize) -> f32 {
    (place as f32 + 0.5) / count as f32
}

/// Why a figure cannot stand beside others, `count` people in all, if so.
pub(super) fn company_problem(figure: &Figure, count: usize) -> Option<String> {
    let frames: Vec<usize> = (0..figure.frames.len()).collect();
    let fits = |place: usize| {
        let at = [column(place, count), 0.4];
        [false, true].into_iter().any(|mirror| beside(figure, &frames, FACE[1], at, mirror, count).is_some())
    };
    (!(0..count).any(fits)).then(|| "the body does not fit beside others".to_string())
}

/// All orders of some numbers.
fn orders(count: usize) -> Vec<Vec<usize>> {
    match count {
        0 => vec![Vec::new()],
        _ => orders(count - 1)
            .into_iter()
            .flat_map(|order| {
                (0..count).map(move |place| {
                    let mut order = order.clone();
                    order.insert(place, count - 1);
                    order
                })
            })
            .collect(),
    }
}

/// The frames of footage that a clip of `count` frames shows, from a share of what there is to begin at. Where the footage would end
/// before the clip, it is shown more slowly: a picture that stands still would show whose footage is short.
fn frames_of(seconds: &[f64], start: f32, tempo: f32, rate: u32, count: usize) -> Vec<usize> {
    let length = seconds.last().copied().unwrap_or(0.0);
    let lasts = count.saturating_sub(1) as f64 / f64::from(rate);
    let tempo = f64::from(tempo).min(length / lasts.max(1e-9));
    let begin = f64::from(start) * (length - tempo * lasts).max(0.0);
    (0..count).map(|frame| frame_at(seconds, begin + tempo * frame as f64 / f64::from(rate))).collect()
}

/// Puts figures into a place: one where the place's own person was, several side by side. Or why they do not fit, in words. None
/// is sharper than the figure that they are to be `like` would be in their place.
pub(super) fn compose(
    figures: &[&Figure],
    like: Option<&Figure>,
    place: &Place,
    recipe: &Recipe,
    [rate, size]: [u32; 2],
    count: usize,
) -> std::result::Result<Composed, String> {
    let scenery = frames_of(&place.seconds, recipe.place_start, 1.0, rate, count);
    let side = size as usize;
    let place_side = place.frames.first().map_or(1.0, |frame| frame.width() as f32);
    let seen = place_side * recipe.place_zoom;
    let view = Window {
        left: recipe.place_shift[0] * (place_side - seen),
        top: recipe.place_shift[1] * (place_side - seen),
        side: seen,
    };
    let share = place.spot.face * recipe.scale / recipe.place_zoom;
    let target = [0, 1].map(|axis| (place.spot.centre[axis] + recipe.shift[axis]).clamp(0.25, 0.75));
    let frames: Vec<Vec<usize>> =
        figures.iter().map(|figure| frames_of(&figure.seconds, recipe.start, recipe.tempo, rate, count)).collect();
    let placed = match figures {
        [figure] => vec![(Window::around(figure, &frames[0], share, target), target, recipe.mirror)],
        several => {
            let mut orders = orders(several.len());
            let first = (recipe.seed % orders.len() as u64) as usize;
            orders.rotate_left(first);
            let placed = |order: &Vec<usize>| {
                let of = |(number, place): (usize, &usize)| {
                    let at = [column(*place, several.len()), target[1]];
                    [recipe.mirror, !recipe.mirror].into_iter().find_map(|mirror| {
                        let (window, target) = beside(several[number], &frames[number], share, at, mirror, several.len())?;
                        Some((window, target, mirror))
                    })
                };
                order.iter().enumerate().map(of).collect::<Option<Vec<_>>>()
            };
            orders.iter().find_map(placed).ok_or("the bodies do not fit beside each other")?
        }
    };
    let blur = like.map_or(0.0, |like| {
        let frames: Vec<usize> = (0..like.frames.len()).collect();
        let window = Window::around(like, &frames, share, target);
        let faces = like.faces.iter().map(|face| face[2] - face[0]).sum::<f32>() / like.faces.len().max(1) as f32;
        window.blur(like, faces, side)
    });
    let layers = figures.iter().zip(frames).zip(placed).map(|((figure, frames), (window, target, mirror))| {
        let light = relight(figure.colour, place.colour, recipe.light);
        Layer { figure, frames, window, target, mirror, light, blur }
    });
    let layers: Vec<Layer<'_>> = layers.collect();
    let tone = Tone::new(recipe);
    let mut composed = Composed { frames: Vec::with_capacity(count), matte: GrayImage::new(size, size) };
    for (number, &behind) in scenery.iter().enumerate() {
        let along = number as f32 / (count.max(2) - 1) as f32;
        let closeness = if recipe.approach >= 0.0 { along } else { 1.0 - along };
        let zoom = 1.0 - recipe.approach.abs() * closeness;
        let view = view.closer(zoom, [0.5, 0.5]);
        let behind = &place.frames[behind.min(place.frames.len() - 1)];
        let mut result = RgbImage::new(size, size);
        let edge = behind.width() as usize;
        let (behind_columns, behind_rows) =
            (taps(side, view.left, view.side, edge, recipe.place_mirror), taps(side, view.top, view.side, edge, false));
        let is_middle = number == count / 2;
        let people: Vec<Drawn<'_>> = layers.iter().map(|layer| layer.drawn(layer.frames[number], zoom, side)).collect();
        for (y, pixels) in result.chunks_exact_mut(3 * side).enumerate() {
            for (x, pixel) in pixels.chunks_exact_mut(3).enumerate() {
                let mut colour = mixed(behind, behind_columns[x], behind_rows[y]);
                for Drawn { layer, picture, blurred, collar, columns, rows, shares, .. } in &people {
                    let (share, row) = (shares[y * side + x], rows[y]);
                    if share > 0.0 {
                        let mut person = match blurred {
                            Some(blurred) => blurred.get_pixel(x as u32, y as u32).0.map(f32::from),
                            None => mixed(picture, columns[x], row),
                        };
                        if let Some(dye) = recipe.clothes
                            && row.first as f32 > collar[0]
                        {
                            // Little by little, so that no line is seen across the neck.
                            let below = ((row.first as f32 - collar[0]) / (collar[1] - collar[0]).max(1.0)).min(1.0);
                            let strength = below * is_cloth(person, layer.figure.skin);
                            person.iter_mut().zip(dye).for_each(|(value, dye)| *value *= 1.0 + (dye - 1.0) * strength);
                        }
                        for ((colour, person), light) in colour.iter_mut().zip(person).zip(layer.light) {
                            *colour = *colour * (1.0 - share) + (person * light).min(255.0) * share;
                        }
                        if is_middle {
                            let known = &mut composed.matte.as_mut()[y * side + x];
                            *known = (*known).max((255.0 * share) as u8);
                        }
                    }
                }
                pixel.iter_mut().zip(colour).for_each(|(to, value)| *to = (value + 0.5) as u8);
            }
        }
        let faces: Vec<[f32; 4]> = people.iter().map(|person| person.face).collect();
        occlude(&mut result, recipe, &faces);
        finish(&mut result, recipe, &tone, number);
        composed.frames.push(result);
    }
    Ok(composed)
}

/// A layer of one frame of a made clip.
struct Drawn<'a> {
    layer: &'a Layer<'a>,
    picture: &'a RgbImage,
    /// The made picture full of it, where it is blurred.
    blurred: Option<RgbImage>,
    /// Where clothes begin, in rows of the figure's picture.
    collar: [f32; 2],
    columns: Vec<Tap>,
    rows: Vec<Tap>,
    /// How much of each pixel is the person's.
    shares: Vec<f32>,
    /// Left, top, right and bottom of the face as shares of the made picture.
    face: [f32; 4],
}

impl Layer<'_> {
    /// A frame of the figure as it comes to lie in a picture of that side.
    fn drawn(&self, frame: usize, zoom: f32, side: usize) -> Drawn<'_> {
        let window = self.window.closer(zoom, self.target);
        let (picture, matte, face) = (&self.figure.frames[frame], &self.figure.mattes[frame], &self.figure.faces[frame]);
        let collar = COLLAR.map(|share| face[3] + share * (face[3] - face[1]));
        let [width, height] = [picture.width() as usize, picture.height() as usize];
        let (columns, rows) =
            (taps(side, window.left, window.side, width, self.mirror), taps(side, window.top, window.side, height, false));
        let shares = outline(matte, &columns, &rows);
        // A pass of softening adds half a squared pixel to the variance of the blur.
        let variance = self.blur.powi(2) - window.blur(self.figure, face[2] - face[0], side).powi(2);
        let passes = (2.0 * variance).round().clamp(0.0, MOST_PASSES) as usize;
        let blurred = (passes > 0).then(|| {
            let mut blurred = sampled(picture, &columns, &rows);
            (0..passes).for_each(|_| soften(&mut blurred));
            blurred
        });
        let to_picture = |edge: f32, begin: f32| (edge - begin) / window.side;
        let (left, right) = (to_picture(face[0], window.left), to_picture(face[2], window.left));
        let across = if self.mirror { [1.0 - right, 1.0 - left] } else { [left, right] };
        let down = [to_picture(face[1], window.top), to_picture(face[3], window.top)];
        let face = [across[0], down[0], across[1], down[1]];
        Drawn { layer: self, picture, blurred, collar, columns, rows, shares, face }
    }
}

/// Crops nothing and changes nothing but the size.
pub(super) fn untouched(square: &Square, start: f32, [rate, size]: [u32; 2], count: usize) -> Vec<RgbImage> {
    let frame = |number: usize| {
        let frame = &square.frames[number];
        let side = frame.width() as usize;
        let taps = taps(size as usize, 0.0, side as f32, side, false);
        sampled(frame, &taps, &taps)
    };
    frames_of(&square.seconds, start, 1.0, rate, count).into_iter().map(frame).collect()
}

/// A picture of the points of another.
fn sampled(picture: &RgbImage, columns: &[Tap], rows: &[Tap]) -> RgbImage {
    let mut result = RgbImage::new(columns.len() as u32, rows.len() as u32);
    for (row, pixels) in rows.iter().zip(result.chunks_exact_mut(3 * columns.len())) {
        for (column, pixel) in columns.iter().zip(pixels.chunks_exact_mut(3)) {
            let colour = mixed(picture, *column, *row);
            pixel.iter_mut().zip(colour).for_each(|(to, value)| *to = (value + 0.5) as u8);
        }
    }
    result
}

/// A colour between four neighbours.
#[inline]
fn mixed(picture: &RgbImage, column: Tap, row: Tap) -> [f32; 3] {
    let (bytes, width) = (picture.as_raw(), picture.width() as usize);
    let at = |y: usize, x: usize| 3 * (y * width + x);
    let (a, b) = (at(row.first, column.first), at(row.first, column.second));
    let (c, d) = (at(row.second, column.first), at(row.second, column.second));
    std::array::from_fn(|channel| {
        let value = |place: usize| f32::from(bytes[place + channel]);
        let above = value(a) + (value(b) - value(a)) * column.share;
        let below = value(c) + (value(d) - value(c)) * column.share;
        above + (below - above) * row.share
    })
}

/// How much of each pixel of the picture is the person's. Every outline becomes equally soft, whatever the hair and the footage:
/// an individual edge would reveal who it is.
fn outline(matte: &GrayImage, columns: &[Tap], rows: &[Tap]) -> Vec<f32> {
    let (side, width) = (columns.len(), matte.width() as usize);
    let mut shares = vec![0.0f32; side * rows.len()];
    for (row, shares) in rows.iter().zip(shares.chunks_exact_mut(side)) {
        for (column, share) in columns.iter().zip(shares) {
            if row.inside && column.inside {
                // The outer part of the soft edge has the colour of the old background.
                *share = ((matte_at(matte, width, *column, *row) / 255.0 - 0.5) / 0.2).clamp(0.0, 1.0);
            }
        }
    }
    let mut other = shares.clone();
    for _ in 0..2 {
        for (to, from) in other.chunks_exact_mut(side).zip(shares.chunks_exact(side)) {
            for x in 0..side {
                to[x] = 0.25 * from[x.saturating_sub(1)] + 0.5 * from[x] + 0.25 * from[(x + 1).min(side - 1)];
            }
        }
        for y in 0..rows.len() {
            let (above, below) = (y.saturating_sub(1) * side, (y + 1).min(rows.len() - 1) * side);
            for x in 0..side {
                shares[y * side + x] = 0.25 * other[above + x] + 0.5 * other[y * side + x] + 0.25 * other[below + x];
            }
        }
    }
    shares
}

/// A value of a matte between four neighbours.
#[inline]
fn matte_at(matte: &GrayImage, width: usize, column: Tap, row: Tap) -> f32 {
    let bytes = matte.as_raw();
    let value = |y: usize, x: usize| f32::from(bytes[y * width + x]);
    let above = value(row.first, column.first) * (1.0 - column.share) + value(row.first, column.second) * column.share;
    let below = value(row.second, column.first) * (1.0 - column.share) + value(row.second, column.second) * column.share;
    above * (1.0 - row.share) + below * row.share
}

/// Puts something in front, and bars around, where they leave every face free.
fn occlude(frame: &mut RgbImage, recipe: &Recipe, faces: &[[f32; 4]]) {
    let size = frame.width() as f32;
    let mut cover = |[from_x, from_y, to_x, to_y]: [f32; 4], colour: [u8; 3]| {
        let is_free = |[left, top, right, bottom]: &[f32; 4]| {
            let margin = 0.15 * (right - left);
            from_x > right + margin || to_x < left - margin || from_y > bottom + margin || to_y < top - margin
        };
        if !faces.iter().all(is_free) {
            return;
        }
        let whole = |share: f32| (share * size).round().clamp(0.0, size) as u32;
        for y in whole(from_y)..whole(to_y) {
            for x in whole(from_x)..whole(to_x) {
                frame.put_pixel(x, y, image::Rgb(colour));
            }
        }
    };
    if let Some(occluder) = recipe.occluder {
        let share = occluder.share;
        let area = [[0.0, 0.0, share, 1.0], [1.0 - share, 0.0, 1.0, 1.0], [0.0, 1.0 - share, 1.0, 1.0]];
        cover(area[occluder.side.min(2)], occluder.colour);
    }
    if let Some((lie, share)) = recipe.bars {
        let areas = match lie {
            true => [[0.0, 0.0, 1.0, share], [0.0, 1.0 - share, 1.0, 1.0]],
            false => [[0.0, 0.0, share, 1.0], [1.0 - share, 0.0, 1.0, 1.0]],
        };
        areas.into_iter().for_each(|area| cover(area, [0; 3]));
    }
}

/// Colours, blur and noise of the whole picture.
fn finish(frame: &mut RgbImage, recipe: &Recipe, tone: &Tone, number: usize) {
    tone.apply(frame, recipe.grey);
    for _ in 0..recipe.blur {
        soften(frame);
    }
    if recipe.noise > 0.0 {
        // Xorshift: a stream for every pixel would take longer than all the rest.
        let mut state = (recipe.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
        for value in frame.iter_mut() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // The sum of four uniform numbers is nearly normal, with a deviation of 147.8 for bytes.
            let sum: i32 = state.to_le_bytes().iter().take(4).map(|&byte| i32::from(byte)).sum();
            let moved = f32::from(*value) + (sum - 510) as f32 / 147.8 * recipe.noise;
            *value = (moved + 0.5) as u8;
        }
    }
}

/// Each pixel with its neighbours, 1 : 2 : 1 in both directions.
fn soften(frame: &mut RgbImage) {
    let (width, height) = (3 * frame.width() as usize, frame.height() as usize);
    let mut across = frame.as_raw().clone();
    for (to, from) in across.chunks_exact_mut(width).zip(frame.as_raw().chunks_exact(width)) {
        for place in 3..width - 3 {
            let sum = u16::from(from[place - 3]) + 2 * u16::from(from[place]) + u16::from(from[place + 3]) + 2;
            to[place] = (sum / 4) as u8;
        }
    }
    for y in 1..height.saturating_sub(1) {
        for x in 0..width {
            let at = y * width + x;
            let sum = u16::from(across[at - width]) + 2 * u16::from(across[at]) + u16::from(across[at + width]) + 2;
            frame.as_mut()[at] = (sum / 4) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filmed::{
        assets::{Spot, blur},
        recipe::Occluder,
    };
    use image::{Luma, Rgb};
    use pvchat_data::random::SeededStream;
    use std::collections::BTreeSet;

    /// A red body with a green face on the left half of wide footage, cut off below.
    fn figure() -> Figure {
        let face = [20.0, 20.0, 40.0, 44.0];
        let frame = RgbImage::from_fn(120, 100, |x, y| {
            let in_face = (20..40).contains(&x) && (20..44).contains(&y);
            if in_face {
                Rgb([60, 200, 60])
            } else if (10..50).contains(&x) && y >= 44 {
                Rgb([220, 40, 40])
            } else {
                Rgb([9; 3])
            }
        });
        let matte = GrayImage::from_fn(120, 100, |x, y| Luma([if frame.get_pixel(x, y).0[0] > 9 { 255 } else { 0 }]));
        Figure {
            frames: vec![frame; 4],
            mattes: vec![matte; 4],
            seconds: vec![0.0, 0.25, 0.5, 0.75],
            faces: vec![face; 4],
            points: vec![[[25.0, 28.0], [35.0, 28.0], [30.0, 33.0], [26.0, 39.0], [34.0, 39.0]]; 4],
            cut: [false, false, false, true],
            colour: [100.0; 3],
            skin: [60.0, 200.0, 60.0],
            blur: 0.02,
        }
    }

    fn place() -> Place {
        let frames = vec![RgbImage::from_pixel(80, 80, Rgb([100; 3])); 4];
        let spot = Spot { centre: [0.5, 0.4], face: 0.2 };
        Place { frames, seconds: vec![0.0, 0.25, 0.5, 0.75], colour: [100.0; 3], spot }
    }

    /// A recipe that changes as little as possible.
    fn plain() -> Recipe {
        let mut recipe = Recipe::draw(&SeededStream::new(1));
        recipe.mirror = false;
        recipe.clothes = None;
        (recipe.scale, recipe.shift, recipe.approach, recipe.light) = (1.0, [0.0; 2], 0.0, 0.0);
        (recipe.gain, recipe.gamma, recipe.grey, recipe.blur, recipe.noise) = ([1.0; 3], 1.0, false, 0, 0.0);
        (recipe.occluder, recipe.bars, recipe.place_zoom) = (None, None, 1.0);
        recipe
    }

    fn alone(figure: &Figure, recipe: &Recipe, count: usize) -> Composed {
        compose(&[figure], None, &place(), recipe, [4, 100], count).unwrap()
    }

    /// A person in stripes, filmed at four times the size and blurred like that.
    fn striped(deviation: f32) -> Figure {
        let plain = figure();
        let frame = RgbImage::from_fn(480, 400, |x, y| {
            let Rgb(colour) = *plain.frames[0].get_pixel(x / 4, y / 4);
            let is_stripe = colour[0] > 9 && (x / 24 + y / 24) % 2 == 0;
            Rgb(if is_stripe { [30; 3] } else { colour })
        });
        let frame = image::imageops::blur(&frame, deviation);
        let scaled = image::imageops::resize(&plain.mattes[0], 480, 400, image::imageops::FilterType::Nearest);
        let face = plain.faces[0].map(|edge| 4.0 * edge);
        let blur = blur(&frame, &scaled, &face);
        Figure { frames: vec![frame; 4], mattes: vec![scaled; 4], faces: vec![face; 4], blur, ..plain }
    }

    /// However sharp the footage is, two people in made clips are as sharp as the more blurred one of them.
    #[test]
    fn nobody_is_sharper_than_whom_a_clip_is_made_like() {
        let (sharp, blurred) = (striped(1.0), striped(5.0));
        // The deviation as a share of a face of 80 pixels.
        assert!(
            (0.005..0.025).contains(&sharp.blur) && (0.045..0.085).contains(&blurred.blur),
            "{} {}",
            sharp.blur,
            blurred.blur
        );
        let made = |figure: &Figure, like: Option<&Figure>| {
            let place = Place { spot: Spot { centre: [0.5, 0.4], face: 0.3 }, ..place() };
            let composed = compose(&[figure], like, &place, &plain(), [4, 200], 1).unwrap();
            let all =
                GrayImage::from_fn(200, 200, |x, y| Luma([if composed.matte.get_pixel(x, y).0[0] == 255 { 255 } else { 0 }]));
            blur(&composed.frames[0], &all, &[0.0, 0.0, 60.0, 60.0])
        };
        let own = [&sharp, &blurred].map(|figure| made(figure, None));
        assert!(own[1] > 2.0 * own[0], "{own:?}");
        let like = [made(&sharp, Some(&blurred)), made(&blurred, Some(&sharp))];
        assert!((like[0] / like[1] - 1.0).abs() < 0.2, "{like:?}");
        assert_eq!(like[1], own[1], "nothing becomes sharper");
    }

    #[test]
    fn the_face_comes_to_the_place_of_the_old_one_and_the_body_reaches_the_edge() {
        let composed = alone(&figure(), &plain(), 4);
        assert_eq!(composed.frames.len(), 4);
        let frame = &composed.frames[0];
        let green: Vec<(u32, u32)> = frame.enumerate_pixels().filter(|(_, _, p)| p.0[1] > 180).map(|(x, y, _)| (x, y)).collect();
        let (left, right) = (green.iter().map(|at| at.0).min().unwrap(), green.iter().map(|at| at.0).max().unwrap());
        assert!((15..=22).contains(&(right - left)) && (46..=54).contains(&((left + right) / 2)), "{left} to {right}");
        // The body goes down to the last row, the background is the place's.
        assert!(frame.get_pixel(50, 99).0[0] > 200 && frame.get_pixel(2, 50).0 == [100; 3], "{:?}", frame.get_pixel(50, 99));
        assert!(composed.matte.get_pixel(50, 99).0[0] == 255 && composed.matte.get_pixel(2, 50).0[0] == 0);
    }

    #[test]
    fn edges_at_which_the_body_is_cut_off_stay_out_of_view() {
        let mut figure = figure();
        figure.cut = [true, false, true, true];
        for share in [0.05, 0.2, 0.4] {
            let window = Window::around(&figure, &[0], share, [0.5, 0.4]);
            assert!(
                window.left >= 0.0 && window.left + window.side <= 120.001 && window.top + window.side <= 100.001,
                "{window:?}"
            );
            assert!((44.0 - window.top) / window.side < 0.9);
        }
    }

    #[test]
    fn clothes_change_and_skin_does_not() {
        let mut recipe = plain();
        recipe.clothes = Some([0.5, 1.0, 1.0]);
        let (before, after) = (alone(&figure(), &plain(), 1), alone(&figure(), &recipe, 1));
        let (before, after) = (&before.frames[0], &after.frames[0]);
        assert_eq!(before.get_pixel(50, 40), after.get_pixel(50, 40));
        assert!(after.get_pixel(50, 95).0[0] < before.get_pixel(50, 95).0[0] - 80);
    }

    #[test]
    fn nothing_is_put_in_front_of_the_face() {
        let mut recipe = plain();
        recipe.bars = Some((true, 0.3));
        let mut frame = RgbImage::from_pixel(50, 50, Rgb([200; 3]));
        occlude(&mut frame, &recipe, &[[0.4, 0.2, 0.6, 0.4]]);
        // The upper bar would cover the face, the lower one does not.
        assert_eq!((frame.get_pixel(2, 2).0, frame.get_pixel(2, 48).0), ([200; 3], [0; 3]));
    }

    #[test]
    fn footage_that_is_too_short_is_shown_more_slowly() {
        let seconds: Vec<f64> = (0..14).map(|frame| f64::from(frame) / 8.0).collect();
        // 16 frames at eight a second last 1.875 s, at the greatest tempo 2.25 s; there are 1.625 s.
        let frames = frames_of(&seconds, 0.5, 1.2, 8, 16);
        assert_eq!((frames[0], frames[15]), (0, 13));
        let still = frames.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(still == 2 && frames.windows(3).all(|frames| frames[0] < frames[2]), "{frames:?}");
        let long: Vec<f64> = (0..40).map(|frame| f64::from(frame) / 8.0).collect();
        assert_eq!(frames_of(&long, 1.0, 1.0, 8, 16), (24..40).collect::<Vec<usize>>());
    }

    #[test]
    fn a_greater_tempo_shows_later_frames() {
        let mut figure = figure();
        for (number, frame) in figure.frames.iter_mut().enumerate() {
            frame.pixels_mut().filter(|p| p.0[1] > 180).for_each(|p| p.0[2] = 60 + 40 * number as u8);
        }
        let mut recipe = plain();
        (recipe.start, recipe.tempo) = (0.0, 2.0);
        let blue = |recipe: &Recipe| -> Vec<u8> {
            alone(&figure, recipe, 2).frames.iter().map(|frame| frame.get_pixel(50, 40).0[2]).collect()
        };
        assert_eq!(blue(&recipe), [60, 140]);
        recipe.tempo = 1.0;
        assert_eq!(blue(&recipe), [60, 100]);
    }

    /// The mean colour of the figure in the first frame.
    fn mean_of_figure(composed: &Composed) -> [f32; 3] {
        let pixels = composed.frames[0].pixels().zip(composed.matte.pixels()).filter(|(_, share)| share.0[0] == 255);
        let (mut sum, mut count) = ([0.0; 3], 0.0);
        for (pixel, _) in pixels {
            count += 1.0;
            sum.iter_mut().zip(pixel.0).for_each(|(sum, value)| *sum += f32::from(value));
        }
        sum.map(|sum: f32| sum / count)
    }

    #[test]
    fn light_moves_the_figure_towards_the_place() {
        let colour = [40.0, 50.0, 90.0];
        let frames = vec![RgbImage::from_pixel(80, 80, Rgb(colour.map(|value| value as u8))); 4];
        let place = Place { frames, colour, ..place() };
        let lit = |light: f32| {
            let composed = compose(&[&figure()], None, &place, &Recipe { light, ..plain() }, [4, 100], 1).unwrap();
            assert_eq!(composed.frames[0].get_pixel(2, 2).0, [40, 50, 90], "the place keeps its light");
            mean_of_figure(&composed)
        };
        let apart = |mean: [f32; 3]| mean.iter().zip(colour).map(|(mean, of)| (mean - of).powi(2)).sum::<f32>().sqrt();
        let blue = |[red, green, blue]: [f32; 3]| blue / (red + green + blue);
        let [none, half, whole] = [0.0, 0.5, 1.0].map(lit);
        assert!(apart(whole) < apart(half) - 10.0 && apart(half) < apart(none) - 10.0, "{none:?} {half:?} {whole:?}");
        assert!(blue(none) < blue(half) && blue(half) < blue(whole), "{none:?} {half:?} {whole:?}");
    }

    #[test]
    fn mirroring_the_person_leaves_the_place_and_the_other_way_round() {
        let mut figure = figure();
        // Something on one side of the body.
        let patch = |x: u32, y: u32| (12..22).contains(&x) && y > 60;
        figure.frames.iter_mut().for_each(|frame| {
            let pixels = frame.enumerate_pixels_mut().filter(|(x, y, _)| patch(*x, *y));
            pixels.for_each(|(_, _, pixel)| *pixel = Rgb([200, 40, 200]));
        });
        let mut place = place();
        let striped = RgbImage::from_fn(80, 80, |x, _| Rgb([if x < 20 { 60 } else { 100 }; 3]));
        place.frames = vec![striped; 4];
        let made = |mirror: bool, place_mirror: bool| {
            let recipe = Recipe { mirror, place_mirror, ..plain() };
            compose(&[&figure], None, &place, &recipe, [4, 100], 1).unwrap().frames.remove(0)
        };
        let sides = |frame: &RgbImage, is: fn(&Rgb<u8>) -> bool| {
            let all: Vec<u32> = frame.enumerate_pixels().filter(|(_, _, pixel)| is(pixel)).map(|(x, ..)| x).collect();
            assert!(!all.is_empty());
            2 * all.iter().sum::<u32>() < 100 * all.len() as u32
        };
        let is_patch = |pixel: &Rgb<u8>| pixel.0[0] > 150 && pixel.0[2] > 150;
        let is_dark = |pixel: &Rgb<u8>| pixel.0 == [60; 3];
        for (mirror, place_mirror) in [(false, false), (true, false), (false, true), (true, true)] {
            let frame = made(mirror, place_mirror);
            assert_eq!((sides(&frame, is_patch), sides(&frame, is_dark)), (!mirror, !place_mirror), "{mirror} {place_mirror}");
        }
        // Both together mirror the whole picture.
        let (both, none) = (made(true, true), image::imageops::flip_horizontal(&made(false, false)));
        assert!(both.iter().zip(none.iter()).all(|(one, other)| one.abs_diff(*other) <= 1));
    }

    #[test]
    fn grey_gain_blur_and_noise_change_the_pixels_that_they_should() {
        let before = alone(&figure(), &plain(), 2).frames;
        let made = |change: fn(&mut Recipe)| {
            let mut recipe = plain();
            change(&mut recipe);
            alone(&figure(), &recipe, 2).frames
        };
        assert_eq!(before, made(|_| ()));
        let (face, wall) = ((50, 40), (2, 50));
        let at = |frame: &RgbImage, (x, y): (u32, u32)| frame.get_pixel(x, y).0;

        let grey = made(|recipe| recipe.grey = true);
        assert!(grey.iter().flat_map(RgbImage::pixels).all(|pixel| pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2]));
        let [red, green, blue] = at(&before[0], face).map(f32::from);
        assert!((f32::from(at(&grey[0], face)[0]) - (0.299 * red + 0.587 * green + 0.114 * blue)).abs() <= 1.0);

        let gain = made(|recipe| recipe.gain = [1.1, 1.0, 0.8]);
        assert_eq!((at(&before[0], wall), at(&gain[0], wall)), ([100; 3], [110, 100, 80]));
        let dark = made(|recipe| recipe.gamma = 1.14);
        assert!(at(&dark[0], wall).iter().all(|value| (80..95).contains(value)), "{:?}", at(&dark[0], wall));

        // What is even stays, and edges are less steep.
        let blur = made(|recipe| recipe.blur = 2);
        assert_eq!((at(&blur[0], wall), at(&blur[0], face)), (at(&before[0], wall), at(&before[0], face)));
        let steepest = |frame: &RgbImage| {
            // The outermost pixels stay as they are.
            let steps = (3..97).flat_map(|x| (3..97).map(move |y| (x, y)));
            steps.map(|(x, y)| at(frame, (x, y))[0].abs_diff(at(frame, (x - 1, y))[0])).max().unwrap()
        };
        assert!(steepest(&blur[0]) + 10 < steepest(&before[0]), "{} {}", steepest(&blur[0]), steepest(&before[0]));

        let noise = made(|recipe| recipe.noise = 4.0);
        let of_wall = |frame: &RgbImage| -> Vec<f32> {
            let columns = (0..12).flat_map(|x| (0..100).map(move |y| (x, y)));
            columns.flat_map(|place| at(frame, place)).map(|value| f32::from(value) - 100.0).collect()
        };
        let (first, second) = (of_wall(&noise[0]), of_wall(&noise[1]));
        let mean = first.iter().sum::<f32>() / first.len() as f32;
        let deviation = (first.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / first.len() as f32).sqrt();
        assert!(mean.abs() < 0.5 && (3.6..4.4).contains(&deviation), "{mean} {deviation}");
        assert_ne!(first, second, "noise moves");
    }

    #[test]
    fn an_occluder_is_drawn_on_its_side_where_there_is_room() {
        let colour = [10, 20, 30];
        let with = |side: usize, share: f32| {
            let recipe = Recipe { occluder: Some(Occluder { side, share, colour }), ..plain() };
            alone(&figure(), &recipe, 1).frames.remove(0)
        };
        let before = alone(&figure(), &plain(), 1).frames.remove(0);
        for (side, covers) in [(0, (2, 50)), (1, (97, 50)), (2, (2, 97))] {
            let frame = with(side, 0.2);
            assert_eq!(frame.get_pixel(covers.0, covers.1).0, colour);
            let covered = frame.pixels().filter(|pixel| pixel.0 == colour).count();
            assert_eq!(covered, 20 * 100, "side {side}");
            assert_eq!(frame.get_pixel(50, 40), before.get_pixel(50, 40), "the face stays free");
            // There it would cover the face.
            assert_eq!(with(side, 0.55), before, "side {side}");
        }
    }

    #[test]
    fn two_stand_side_by_side_with_whole_faces_and_who_is_cut_off_at_both_sides_does_not() {
        let mut other = figure();
        for frame in &mut other.frames {
            frame.pixels_mut().filter(|pixel| pixel.0[1] > 180).for_each(|pixel| pixel.0 = [60, 60, 200]);
        }
        other.skin = [60.0, 60.0, 200.0];
        let mut sides = BTreeSet::new();
        for seed in 0..8 {
            let recipe = Recipe { seed, mirror: seed % 3 == 0, ..plain() };
            let composed = compose(&[&figure(), &other], None, &place(), &recipe, [4, 100], 2).unwrap();
            let middle = |channel: usize| {
                let all = composed.frames[0].enumerate_pixels();
                let face: Vec<u32> =
                    all.filter(|(_, _, pixel)| pixel.0[channel] > 180 && pixel.0[0] < 100).map(|at| at.0).collect();
                assert!(face.len() > 150, "{}", face.len());
                face.iter().sum::<u32>() as f32 / face.len() as f32
            };
            let (green, blue) = (middle(1), middle(2));
            let (left, right) = (green.min(blue), green.max(blue));
            assert!((15.0..35.0).contains(&left) && (65.0..85.0).contains(&right), "{green} and {blue}");
            // The seed says who is on which side.
            sides.insert(green < blue);
        }
        assert_eq!(sides.len(), 2);
        let mut close = figure();
        close.cut = [true, false, true, true];
        close.frames.iter_mut().for_each(|frame| *frame = image::imageops::crop_imm(frame, 0, 0, 60, 100).to_image());
        close.mattes.iter_mut().for_each(|matte| *matte = image::imageops::crop_imm(matte, 0, 0, 60, 100).to_image());
        assert_eq!((company_problem(&figure(), 2), company_problem(&close, 2).is_some()), (None, true));
        assert!(compose(&[&figure(), &close], None, &place(), &plain(), [4, 100], 2).is_err());
        // One side can be turned outwards.
        close.cut = [false, false, true, true];
        assert_eq!(company_problem(&close, 2), None);
        assert_eq!(orders(3).len(), 6);
    }
}
