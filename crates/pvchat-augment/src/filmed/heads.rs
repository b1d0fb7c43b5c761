//! Somebody's head on somebody else's body, so that clothes and build do not say who it is.

use image::{GrayImage, RgbImage};

use super::assets::{Figure, Unusable, blur};

/// Where a head ends, in distances of the eyes' middle from the mouth's: below the eyes in the middle of the face, how much less
/// far down beside it (times the square of the distance from the middle), and to each side.
const CHIN: f32 = 1.72;
const JAW: f32 = 0.28;
const ASIDE: f32 = 2.4;
/// Farther below the eyes than the first, a head is at most the second to each side, so that no collar comes along; above, it
/// may be wider by the third times the distance.
const COLLAR: [f32; 3] = [1.25, 1.25, 3.0];
/// The head becomes transparent over this much of the same distance.
const SOFT: f32 = 0.3;
/// The least and greatest factor by which a head is scaled: beyond, one of the two is too small to be cut out well.
const SCALE: [f32; 2] = [0.4, 2.5];
/// The greatest mean distance of two points of a face that were laid over each other, as a share of the eyes' distance from the
/// mouth: beyond, the faces look to different sides.
const MOST_APART: f32 = 0.22;
/// The share of the frames in which the faces must fit.
const FITTING: f32 = 0.8;
/// Where hair beside the neck would be seen, in the same distances below the eyes and beside the middle, and the share of it that
/// must be free: longer hair would stay on the body when the head goes.
const NECK: [[f32; 2]; 2] = [[1.45, 1.95], [1.05, 1.4]];
const FREE: f32 = 0.5;
/// How far the head's light follows the body's, 0 to 1: its brightness and its colour.
const LIGHT: [f32; 2] = [0.8, 0.5];

/// A turn with a scale and a move of the plane.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Similarity {
    /// The first column of the matrix: scale times cosine and sine.
    turn: [f32; 2],
    offset: [f32; 2],
}

impl Similarity {
    /// The one that brings points nearest to others (least squares); with the mean distance that is left. `None` where the points
    /// are one.
    fn between(from: &[[f32; 2]; 5], to: &[[f32; 2]; 5]) -> Option<(Self, f32)> {
        let mean = |points: &[[f32; 2]; 5]| [0, 1].map(|axis| points.iter().map(|point| point[axis]).sum::<f32>() / 5.0);
        let (middle, target) = (mean(from), mean(to));
        let (mut dot, mut cross, mut length) = (0.0, 0.0, 0.0);
        for (one, other) in from.iter().zip(to) {
            let ([x, y], [u, v]) = ([one[0] - middle[0], one[1] - middle[1]], [other[0] - target[0], other[1] - target[1]]);
            dot += x * u + y * v;
            cross += x * v - y * u;
            length += x * x + y * y;
        }
        if length.is_nan() || length <= 1e-6 {
            return None;
        }
        let turn = [dot / length, cross / length];
        let mut similarity = Self { turn, offset: [0.0; 2] };
        let moved = similarity.of(middle);
        similarity.offset = [target[0] - moved[0], target[1] - moved[1]];
        let apart = |(one, other): (&[f32; 2], &[f32; 2])| {
            let [x, y] = similarity.of(*one);
            (x - other[0]).hypot(y - other[1])
        };
        Some((similarity, from.iter().zip(to).map(apart).sum::<f32>() / 5.0))
    }

    fn of(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [cosine, sine] = self.turn;
        [cosine * x - sine * y + self.offset[0], sine * x + cosine * y + self.offset[1]]
    }

    fn scale(&self) -> f32 {
        self.turn[0].hypot(self.turn[1])
    }
}

/// Where a head is: its middle, the direction down with the length of the eyes' distance from the mouth.
#[derive(Clone, Copy)]
struct Head {
    eyes: [f32; 2],
    down: [f32; 2],
    length: f32,
}

impl Head {
    fn of(points: &[[f32; 2]; 5]) -> Option<Self> {
        let middle = |one: usize, other: usize| [0, 1].map(|axis| (points[one][axis] + points[other][axis]) / 2.0);
        let (eyes, mouth) = (middle(0, 1), middle(3, 4));
        let down = [mouth[0] - eyes[0], mouth[1] - eyes[1]];
        let length = down[0].hypot(down[1]);
        (length > 2.0).then_some(Self { eyes, down: down.map(|value| value / length), length })
    }

    /// How far a point is below the eyes and beside the middle.
    fn place(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [x, y] = [(x - self.eyes[0]) / self.length, (y - self.eyes[1]) / self.length];
        [x * self.down[0] + y * self.down[1], x * self.down[1] - y * self.down[0]]
    }

    /// How much of a point is taken of the head, and how much is taken away of the body, 0 to 1.
    fn shares(&self, at: [f32; 2]) -> [f32; 2] {
        let [below, aside] = self.place(at);
        let away = Self::share([below, aside]);
        let [jaw, narrow, wider] = COLLAR;
        let widest = narrow + wider * (jaw - below).max(0.0);
        [away * ((widest - aside.abs()) / SOFT).clamp(0.0, 1.0), away]
    }

    /// How much a place belongs to the head and not to the body, 0 to 1.
    fn share([below, aside]: [f32; 2]) -> f32 {
        let chin = CHIN - JAW * aside * aside;
        let above = ((chin - below) / SOFT).clamp(0.0, 1.0);
        above * ((ASIDE - aside.abs()) / SOFT).clamp(0.0, 1.0)
    }
}

/// Why the head of one figure cannot be put on the body of another, if so.
pub(super) fn problem(head: &Figure, body: &Figure) -> Option<Unusable> {
    let count = head.frames.len().min(body.frames.len());
    if head.cut[1] {
        return Some("the footage cuts the head off".into());
    }
    let fits = |frame: usize| {
        let (ours, theirs) = (&head.points[frame], &body.points[frame]);
        let laid = Similarity::between(theirs, ours).zip(Head::of(theirs));
        laid.is_some_and(|((to_head, apart), place)| {
            (SCALE[0]..=SCALE[1]).contains(&to_head.scale()) && apart <= MOST_APART * place.length * to_head.scale()
        })
    };
    let fitting = (0..count).filter(|&frame| fits(frame)).count();
    if fitting == 0 || (fitting as f32) < FITTING * count as f32 {
        return Some(format!("the faces look to different sides in {} of {count} frames", count - fitting));
    }
    let middle = count / 2;
    let (mut all, mut free) = (0, 0);
    if let Some(place) = Head::of(&body.points[middle]) {
        let [height, width] = NECK;
        for (x, y, value) in body.mattes[middle].enumerate_pixels() {
            let [below, aside] = place.place([x as f32, y as f32]);
            if (height[0]..height[1]).contains(&below) && (width[0]..width[1]).contains(&aside.abs()) {
                all += 1;
                free += usize::from(value.0[0] < 128);
            }
        }
    }
    ((free as f32) < FREE * all as f32).then(|| "hair hangs beside the neck of the body".into())
}

/// Puts the head of one figure on the body of another, frame by frame from the first on.
pub(super) fn exchanged(head: &Figure, body: &Figure) -> Result<Figure, Unusable> {
    if let Some(problem) = problem(head, body) {
        return Err(problem);
    }
    let count = head.frames.len().min(body.frames.len());
    let light = light(head.skin, body.skin);
    let mut figure = Figure {
        frames: Vec::with_capacity(count),
        mattes: Vec::with_capacity(count),
        seconds: body.seconds[..count].to_vec(),
        faces: body.faces[..count].to_vec(),
        points: body.points[..count].to_vec(),
        cut: body.cut,
        colour: body.colour,
        skin: body.skin,
        blur: 0.0,
    };
    for frame in 0..count {
        let (ours, theirs) = (&head.points[frame], &body.points[frame]);
        let Some(((to_head, _), place)) = Similarity::between(theirs, ours).zip(Head::of(theirs)) else {
            return Err("the points of a face are one".into());
        };
        let (picture, matte) = joined(head, body, frame, &to_head, &place, light);
        figure.frames.push(picture);
        figure.mattes.push(matte);
    }
    let middle = count / 2;
    if let (Some(frame), Some(matte)) = (figure.frames.get(middle), figure.mattes.get(middle)) {
        figure.blur = blur(frame, matte, &figure.faces[middle]);
    }
    Ok(figure)
}

/// One frame: below the chin the body, above it the head, and between them both.
fn joined(
    head: &Figure,
    body: &Figure,
    frame: usize,
    to_head: &Similarity,
    place: &Head,
    light: [f32; 3],
) -> (RgbImage, GrayImage) {
    let (ours, our_matte) = (&head.frames[frame], &head.mattes[frame]);
    let (mut picture, mut matte) = (body.frames[frame].clone(), body.mattes[frame].clone());
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let at = [x as f32, y as f32];
        let [share, away] = place.shares(at);
        if away <= 0.0 {
            continue;
        }
        let value = &mut matte.get_pixel_mut(x, y).0[0];
        let (colour, covered) = sample(ours, our_matte, to_head.of(at));
        let (head, body) = (share * covered, (1.0 - away) * f32::from(*value) / 255.0);
        let both = head + body;
        *value = (255.0 * both.min(1.0) + 0.5) as u8;
        if both > 0.0 {
            for ((value, colour), light) in pixel.0.iter_mut().zip(colour).zip(light) {
                *value = ((head * (colour * light).min(255.0) + body * f32::from(*value)) / both + 0.5) as u8;
            }
        }
    }
    (picture, matte)
}

/// The colour and matte (0 to 1) at a point, between its four neighbours; nothing outside.
fn sample(picture: &RgbImage, matte: &GrayImage, [x, y]: [f32; 2]) -> ([f32; 3], f32) {
    let (width, height) = picture.dimensions();
    if !(x >= 0.0 && y >= 0.0 && x <= (width - 1) as f32 && y <= (height - 1) as f32) {
        return ([0.0; 3], 0.0);
    }
    let (left, top) = (x as u32, y as u32);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (across, down) = (x - left as f32, y - top as f32);
    let corners = [
        (left, top, (1.0 - across) * (1.0 - down)),
        (right, top, across * (1.0 - down)),
        (left, bottom, (1.0 - across) * down),
        (right, bottom, across * down),
    ];
    let (mut colour, mut covered) = ([0.0; 3], 0.0);
    for (x, y, weight) in corners {
        colour.iter_mut().zip(picture.get_pixel(x, y).0).for_each(|(sum, value)| *sum += weight * f32::from(value));
        covered += weight * f32::from(matte.get_pixel(x, y).0[0]) / 255.0;
    }
    (colour, covered)
}

/// Factors on the head's colours that bring its light nearer to the body's, from the skin of both faces.
fn light(head: [f32; 3], body: [f32; 3]) -> [f32; 3] {
    let bright = |[red, green, blue]: [f32; 3]| (0.299 * red + 0.587 * green + 0.114 * blue).max(1.0);
    let (ours, theirs) = (bright(head), bright(body));
    let brightness = (theirs / ours).clamp(0.5, 2.0).powf(LIGHT[0]);
    std::array::from_fn(|channel| {
        let cast = (body[channel].max(1.0) / theirs) / (head[channel].max(1.0) / ours);
        brightness * cast.clamp(0.7, 1.4).powf(LIGHT[1])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgb};

    const POINTS: [[f32; 2]; 5] = [[40.0, 40.0], [60.0, 40.0], [50.0, 52.0], [42.0, 60.0], [58.0, 60.0]];

    /// A head of one colour on a body of another, scaled and moved.
    fn figure(head: [u8; 3], body: [u8; 3], scale: f32, offset: [f32; 2]) -> Figure {
        let back = |at: u32, axis: usize| (at as f32 - offset[axis]) / scale;
        let part = |x: u32, y: u32| {
            let (x, y) = (back(x, 0), back(y, 1));
            let in_head = ((x - 50.0) / 20.0).powi(2) + ((y - 48.0) / 28.0).powi(2) <= 1.0;
            let in_body = y > 72.0 && (x - 50.0).abs() < if y < 82.0 { 16.0 } else { 38.0 };
            (in_head, in_body)
        };
        let frame = RgbImage::from_fn(160, 160, |x, y| match part(x, y) {
            (true, _) => Rgb(head),
            (_, true) => Rgb(body),
            _ => Rgb([0; 3]),
        });
        let matte = GrayImage::from_fn(160, 160, |x, y| match part(x, y) {
            (false, false) => Luma([0]),
            _ => Luma([255]),
        });
        let points = POINTS.map(|[x, y]| [x * scale + offset[0], y * scale + offset[1]]);
        Figure {
            frames: vec![frame; 3],
            mattes: vec![matte; 3],
            seconds: vec![0.0, 0.125, 0.25],
            faces: vec![[30.0, 20.0, 70.0, 76.0]; 3],
            points: vec![points; 3],
            cut: [false, false, false, true],
            colour: [100.0; 3],
            skin: head.map(f32::from),
            blur: 0.02,
        }
    }

    #[test]
    fn a_head_comes_onto_the_other_body_in_its_size_and_light() {
        let (ours, theirs) =
            (figure([200, 80, 80], [10, 200, 10], 1.4, [9.0, 5.0]), figure([100, 90, 80], [10, 10, 200], 1.0, [20.0, 8.0]));
        let both = exchanged(&ours, &theirs).unwrap();
        let at = |x: u32, y: u32| both.frames[1].get_pixel(x, y).0;
        // In the middle of the other face, darker than it was, and still the redder one.
        let face = at(70, 50);
        assert!(face[0] > face[1] + 20 && face[0] < 170, "{face:?}");
        assert_eq!(at(70, 130), [10, 10, 200]);
        // Nothing of the other head is left beside the narrower one, and nothing of the own body comes along.
        assert!(both.frames.iter().all(|frame| frame.pixels().all(|pixel| pixel.0[1] < 190)));
        assert_eq!(both.mattes[0].get_pixel(70, 50).0[0], 255);
        assert_eq!((both.frames.len(), both.cut), (3, theirs.cut));
    }

    #[test]
    fn a_wider_head_does_not_show_beside_a_narrower_one() {
        let (ours, mut theirs) =
            (figure([200, 80, 80], [10, 200, 10], 1.0, [0.0; 2]), figure([100, 90, 80], [10, 10, 200], 1.0, [0.0; 2]));
        // Hair to the sides of the other head.
        for (frame, matte) in theirs.frames.iter_mut().zip(&mut theirs.mattes) {
            for (x, y) in (20..80).flat_map(|x| (20..50).map(move |y| (x, y))) {
                frame.put_pixel(x, y, Rgb([255, 255, 0]));
                matte.put_pixel(x, y, Luma([255]));
            }
        }
        let both = exchanged(&ours, &theirs).unwrap();
        assert_eq!((both.mattes[0].get_pixel(24, 30).0[0], both.mattes[0].get_pixel(50, 40).0[0]), (0, 255));
    }

    #[test]
    fn faces_that_do_not_fit_are_refused_with_the_reason() {
        let (ours, mut theirs) = (figure([200, 80, 80], [0; 3], 1.0, [0.0; 2]), figure([100, 90, 80], [1; 3], 1.0, [0.0; 2]));
        theirs.points.iter_mut().for_each(|points| points[2] = [78.0, 52.0]);
        assert!(exchanged(&ours, &theirs).unwrap_err().contains("different sides in 3 of 3"));
        let small = figure([100, 90, 80], [1; 3], 0.2, [0.0; 2]);
        assert!(exchanged(&ours, &small).is_err());
        let mut cut = figure([200, 80, 80], [0; 3], 1.0, [0.0; 2]);
        cut.cut[1] = true;
        assert!(exchanged(&cut, &ours).unwrap_err().contains("cuts the head off"));
        assert!(exchanged(&ours, &cut).is_ok());
        // The other way round it is fine: the hair is the head's.
        let mut hairy = figure([200, 80, 80], [0; 3], 1.0, [0.0; 2]);
        for (x, y) in (16..34).chain(66..84).flat_map(|x| (40..90).map(move |y| (x, y))) {
            hairy.mattes.iter_mut().for_each(|matte| matte.put_pixel(x, y, Luma([255])));
        }
        assert!(exchanged(&ours, &hairy).unwrap_err().contains("beside the neck") && exchanged(&hairy, &ours).is_ok());
    }

    #[test]
    fn points_are_laid_over_each_other() {
        let turn = Similarity { turn: [0.0, 2.0], offset: [3.0, -4.0] };
        let (found, apart) = Similarity::between(&POINTS, &POINTS.map(|point| turn.of(point))).unwrap();
        assert!((found.turn[0]).abs() < 1e-4 && (found.turn[1] - 2.0).abs() < 1e-4 && apart < 1e-3, "{found:?}");
        assert!((found.offset[0] - 3.0).abs() < 1e-3 && (found.scale() - 2.0).abs() < 1e-4);
        assert!(Similarity::between(&[[1.0; 2]; 5], &POINTS).is_none());
    }
}
