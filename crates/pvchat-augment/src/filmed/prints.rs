//! Which files show the same footage, whatever its size, crop, mirror image, colours, stretch and compression.
//!
//! A still room looks the same in every clip that was filmed in it, so pictures alone are not enough; the changes over time
//! decide. Two files are the same where, in some part of the picture and at some offset in time, the brightness of all places
//! changes in the same way over time (the correlation of what is left without the mean of each place).

use std::ops::Range;

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{RgbImage, imageops};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::quality::luma;

/// The longest side of the pictures that are kept, in pixels.
const SMALL: u32 = 48;
/// Places across and down that are compared, and points of each across and down.
const PLACES: usize = 12;
const POINTS: usize = 3;
/// Less similar mean pictures (correlation) are not looked at closer.
const ALIKE: f32 = 0.75;
/// From this correlation of the changes on two files show the same. Copies of six clips that were cropped, mirrored,
/// scaled, darkened and compressed have 0.69 and more; of 990 pairs of other clips, many of one person in one room, all of this
/// length have 0.58 and less.
const SAME: f32 = 0.64;
/// The least number of pictures that overlap, and their share of the shorter file.
const LEAST: usize = 10;
const OVERLAP: f32 = 0.66;
/// Less change than this, as a standard deviation in grey levels, is noise; without change mean pictures must be this similar.
const STILL: f32 = 0.4;
const EQUAL: f32 = 0.98;
/// The parts of a picture that are tried: their width and height as shares of it, and how many places across and down.
const PARTS: [([f32; 2], [usize; 2]); 9] = [
    ([1.0, 1.0], [1, 1]),
    ([0.9, 0.9], [3, 3]),
    ([0.8, 0.8], [3, 3]),
    ([0.7, 0.7], [3, 3]),
    ([0.6, 0.6], [3, 3]),
    ([0.75, 1.0], [3, 1]),
    ([0.5625, 1.0], [3, 1]),
    ([1.0, 0.9], [1, 3]),
    ([1.0, 0.75], [1, 3]),
];

/// Small grey pictures of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Prints {
    /// Width and height of a picture.
    size: [usize; 2],
    /// One picture after the other.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pictures: Vec<u8>,
}

fn as_text<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// The brightness of each place of a part of a picture.
type Places = [f32; PLACES * PLACES];

/// A part of a picture: left, top, width and height as shares of it, and whether it is mirrored.
#[derive(Clone, Copy)]
struct Part {
    area: [f32; 4],
    mirrored: bool,
}

const WHOLE: Part = Part { area: [0.0, 0.0, 1.0, 1.0], mirrored: false };

fn parts() -> impl Iterator<Item = Part> {
    let step = |place: usize, count: usize, room: f32| match count {
        1 => room / 2.0,
        count => room * place as f32 / (count - 1) as f32,
    };
    PARTS.into_iter().flat_map(move |([width, height], [columns, rows])| {
        (0..2 * columns * rows).map(move |number| {
            let place = number / 2;
            let (left, top) = (step(place % columns, columns, 1.0 - width), step(place / columns, rows, 1.0 - height));
            Part { area: [left, top, width, height], mirrored: number % 2 == 1 }
        })
    })
}

impl Prints {
    /// Of pictures at even distances in time.
    pub(super) fn of(frames: &[RgbImage]) -> Self {
        let Some(first) = frames.first() else { return Self::default() };
        let factor = SMALL as f32 / first.width().max(first.height()).max(1) as f32;
        let [width, height] = [first.width(), first.height()].map(|side| ((side as f32 * factor).round() as u32).max(1));
        let mut pictures = Vec::with_capacity(frames.len() * (width * height) as usize);
        for frame in frames {
            let small = imageops::thumbnail(frame, width, height);
            pictures.extend(small.pixels().map(|pixel| (luma(pixel.0) + 0.5) as u8));
        }
        Self { size: [width, height].map(|side| side as usize), pictures }
    }

    fn pictures(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.pictures.chunks_exact((self.size[0] * self.size[1]).max(1))
    }

    /// The mean of all pictures.
    fn mean(&self) -> Vec<f32> {
        let mut mean = vec![0.0; self.size[0] * self.size[1]];
        let count = self.pictures().len().max(1) as f32;
        for picture in self.pictures() {
            mean.iter_mut().zip(picture).for_each(|(sum, value)| *sum += f32::from(*value) / count);
        }
        mean
    }

    /// The places of a part, of a picture whose values are given by their place.
    fn places(&self, value: impl Fn(usize) -> f32, part: Part) -> Places {
        let [width, height] = self.size;
        let [left, top, across, down] = part.area;
        let along = |place: usize, point: usize| (place as f32 + (point as f32 + 0.5) / POINTS as f32) / PLACES as f32;
        let neighbours = |share: f32, side: usize| {
            let at = (share * side as f32 - 0.5).clamp(0.0, (side - 1) as f32);
            (at as usize, (at as usize + 1).min(side - 1), at.fract())
        };
        std::array::from_fn(|place| {
            let mut sum = 0.0;
            for point in 0..POINTS * POINTS {
                let x = along(place % PLACES, point % POINTS);
                let (x, y) = (if part.mirrored { 1.0 - x } else { x }, along(place / PLACES, point / POINTS));
                let (one, other, share) = neighbours(left + across * x, width);
                let (upper, lower, depth) = neighbours(top + down * y, height);
                let row = |y: usize| value(y * width + one) * (1.0 - share) + value(y * width + other) * share;
                sum += row(upper) * (1.0 - depth) + row(lower) * depth;
            }
            sum / (POINTS * POINTS) as f32
        })
    }

    fn all_places(&self, part: Part) -> Vec<Places> {
        self.pictures().map(|picture| self.places(|at| f32::from(picture[at]), part)).collect()
    }

    /// Whether one of two files shows what the other does, or a part of it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let enough = self.pictures().len().min(other.pictures().len()) >= LEAST;
        enough && (self.is_in(other) || other.is_in(self))
    }

    fn is_in(&self, larger: &Self) -> bool {
        let (ours, theirs) = (self.mean(), larger.mean());
        let mean = self.places(|at| ours[at], WHOLE);
        let mut own: Option<(Vec<Places>, bool)> = None;
        parts().any(|part| {
            let alike = correlation(&mean, &larger.places(|at| theirs[at], part));
            if alike < ALIKE {
                return false;
            }
            let (own, is_still) = own.get_or_insert_with(|| {
                let own = self.all_places(WHOLE);
                let is_still = change(&own) < STILL;
                (own, is_still)
            });
            let others = larger.all_places(part);
            match (*is_still, change(&others) < STILL) {
                (false, false) => changes_alike(own, &others) >= SAME,
                (true, true) => alike >= EQUAL,
                _ => false,
            }
        })
    }
}

fn correlation(one: &Places, other: &Places) -> f32 {
    let mean = |places: &Places| places.iter().sum::<f32>() / places.len() as f32;
    let (ours, theirs) = (mean(one), mean(other));
    let (mut both, mut first, mut second) = (0.0, 0.0, 0.0);
    for (one, other) in one.iter().zip(other) {
        let (one, other) = (one - ours, other - theirs);
        both += one * other;
        first += one * one;
        second += other * other;
    }
    both / (first * second).sqrt().max(1e-6)
}

/// How much places change over time, as a standard deviation.
fn change(pictures: &[Places]) -> f32 {
    let sums = sums(pictures, 0..pictures.len(), pictures, 0);
    (sums[1] / (pictures.len() * PLACES * PLACES).max(1) as f32).max(0.0).sqrt()
}

/// The greatest correlation over time of the changes of all places, at any offset.
fn changes_alike(one: &[Places], other: &[Places]) -> f32 {
    let shorter = one.len().min(other.len());
    let least = LEAST.max((OVERLAP * shorter as f32) as usize);
    let mut greatest = -1.0f32;
    for offset in -(one.len() as isize)..other.len() as isize {
        let from = (-offset).max(0) as usize;
        let to = one.len().min((other.len() as isize - offset).max(0) as usize);
        if to >= from + least {
            let [both, first, second] = sums(one, from..to, other, offset);
            greatest = greatest.max(both / (first * second).sqrt().max(1e-6));
        }
    }
    greatest
}

/// Sums over all places and times of products of the deviations from the mean over time: of both, of the one, of the other.
fn sums(one: &[Places], range: Range<usize>, other: &[Places], offset: isize) -> [f32; 3] {
    let (mut all, count) = ([0.0; 3], range.len().max(1) as f32);
    for place in 0..PLACES * PLACES {
        let (mut means, mut squares) = ([0.0f32; 2], [0.0f32; 3]);
        for time in range.clone() {
            let Some(theirs) = other.get((time as isize + offset) as usize) else { continue };
            let (one, other) = (one[time][place], theirs[place]);
            means[0] += one;
            means[1] += other;
            squares.iter_mut().zip([one * other, one * one, other * other]).for_each(|(sum, value)| *sum += value);
        }
        let products = [means[0] * means[1], means[0] * means[0], means[1] * means[1]];
        all.iter_mut().zip(squares.iter().zip(products)).for_each(|(all, (sum, product))| *all += sum - product / count);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use pvchat_data::random::SeededStream;

    /// A room of some blobs, in which one is now here and now there; in another take elsewhere.
    fn frames(room: u32, take: u32) -> Vec<RgbImage> {
        let blob = |number: u32, centre: Option<[f32; 2]>, x: f32, y: f32| {
            let turn = |factor: u32| ((room * 7919 + number * factor) % 97) as f32 / 97.0;
            let [left, top] = centre.unwrap_or([turn(31), turn(57)]);
            let apart = ((x - left).powi(2) + (y - top).powi(2)) / (0.01 + 0.05 * turn(71));
            (100.0 * turn(43) - 30.0) * (-apart).exp()
        };
        (0..40)
            .map(|time| {
                let mut stream = SeededStream::new(u64::from(take)).derive(time);
                let walk = [stream.unit() - 0.5, stream.unit() - 0.5];
                RgbImage::from_fn(320, 180, |x, y| {
                    let (x, y) = (x as f32 / 320.0, y as f32 / 180.0);
                    let room: f32 = (0..9).map(|number| blob(number, None, x, y)).sum();
                    let walker = 90.0 * (-((x - 0.5 - 0.3 * walk[0]).powi(2) + (y - 0.5 - 0.3 * walk[1]).powi(2)) / 0.02).exp();
                    Rgb([(90.0 + room + walker).clamp(30.0, 255.0) as u8; 3])
                })
            })
            .collect()
    }

    #[test]
    fn what_was_cropped_scaled_mirrored_darkened_barred_or_shortened_is_the_same_and_another_take_is_not() {
        let reference = frames(1, 0);
        let of = |change: &dyn Fn(&RgbImage) -> RgbImage| Prints::of(&reference.iter().map(change).collect::<Vec<_>>());
        let whole = Prints::of(&reference);
        let changed = [
            of(&|frame| imageops::thumbnail(frame, 97, 61)),
            of(&|frame| imageops::crop_imm(frame, 20, 9, 272, 153).to_image()),
            of(&|frame| imageops::crop_imm(frame, 70, 0, 180, 180).to_image()),
            of(&|frame| imageops::flip_horizontal(frame)),
            of(&|frame| RgbImage::from_fn(320, 180, |x, y| Rgb(frame.get_pixel(x, y).0.map(|value| value / 2 + 20)))),
            of(&|frame| {
                let mut barred = RgbImage::new(320, 240);
                imageops::replace(&mut barred, frame, 0, 30);
                barred
            }),
            Prints::of(&reference[3..]),
        ];
        for (number, changed) in changed.iter().enumerate() {
            assert!(whole.is_same(changed) && changed.is_same(&whole), "{number}");
        }
        for take in 1..6 {
            assert!(!whole.is_same(&Prints::of(&frames(1, take))), "{take}");
        }
        for room in 2..6 {
            assert!(!whole.is_same(&Prints::of(&frames(room, room))), "{room}");
        }
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Prints>(&text).unwrap(), whole);
    }

    #[test]
    fn still_footage_is_the_same_by_its_picture_and_little_footage_says_nothing() {
        let still = |room: u32, count: usize| Prints::of(&vec![frames(room, 0)[0].clone(); count]);
        assert!(still(1, 12).is_same(&still(1, 14)) && !still(1, 12).is_same(&still(2, 12)));
        assert!(!still(1, 12).is_same(&Prints::of(&frames(1, 0))));
        assert!(!still(1, 9).is_same(&still(1, 9)));
        assert!(!Prints::default().is_same(&Prints::default()));
    }
}
