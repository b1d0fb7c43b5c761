//! The files that a generator says it wrote: whether they are its own, and what they contain.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use image::{ImageFormat, ImageReader, RgbImage};
use pvchat_video::{ReadOptions, VideoReader};

use super::{Fault, Kind, Request};

/// The greatest width and height of a file in pixels.
const MOST_SIDE: u32 = 4096;
/// The longest clip in seconds, and the most frames that it may have.
const MOST_SECONDS: f64 = 60.0;
const MOST_FRAMES: usize = 10_000;
/// The greatest frame rate.
const MOST_RATE: f64 = 240.0;

/// Checks a path of a reply: it leads to a regular file below `output` which has no other name, and no part of it is a link.
pub(super) fn own(output: &Path, listed: &str) -> Result<PathBuf, Fault> {
    let outside = || Fault::Outside { path: listed.to_string() };
    let relative = Path::new(listed);
    let mut parts = 0;
    let mut path = output.to_path_buf();
    let mut metadata = None;
    for part in relative.components() {
        let Component::Normal(part) = part else { return Err(outside()) };
        path.push(part);
        parts += 1;
        let found = fs::symlink_metadata(&path).map_err(|_| Fault::NotThere { path: listed.to_string() })?;
        if found.is_symlink() {
            return Err(outside());
        }
        metadata = Some(found);
    }
    match metadata {
        Some(metadata) if parts > 0 && metadata.is_file() && names(&metadata) == 1 => Ok(path),
        _ => Err(outside()),
    }
}

/// How many names (hard links) a file has: a second one can be anywhere.
fn names(metadata: &fs::Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::nlink(metadata);
    #[cfg(not(unix))]
    return u64::from(metadata.is_file());
}

/// Decodes a file, all of it, and checks that it is what was asked for.
pub(super) fn check(path: &Path, listed: &str, request: &Request) -> Result<(), Fault> {
    let unreadable = |problem: String| {
        // The whole path of a folder that is gone soon helps nobody.
        Fault::Unreadable { path: listed.to_string(), problem: problem.replace(&path.display().to_string(), "the file") }
    };
    let within = |what: &'static str, found: f64, least: f64, most: f64| match (least..=most).contains(&found) {
        true => Ok(()),
        false => Err(Fault::Unfit { path: listed.to_string(), what, found, expected: [least, most] }),
    };
    let sides = |width: u32, height: u32| {
        within("width", f64::from(width), f64::from(request.size[0]), f64::from(MOST_SIDE))?;
        within("height", f64::from(height), f64::from(request.size[1]), f64::from(MOST_SIDE))
    };
    if request.kind == Kind::PortraitStills {
        let still = still(path).map_err(unreadable)?;
        return sides(still.width(), still.height());
    }
    let mut options = ReadOptions::default();
    options.limits.frame_pixels = u64::from(MOST_SIDE).pow(2);
    options.limits.frames = MOST_FRAMES;
    let mut reader = VideoReader::open_with(path, options).map_err(|error| unreadable(error.to_string()))?;
    let info = reader.info();
    let (width, height, rate) = (info.width, info.height, info.frame_rate);
    sides(width, height)?;
    let (mut frames, mut last) = (0usize, 0.0f64);
    for frame in reader.frames() {
        let frame = frame.map_err(|error| unreadable(error.to_string()))?;
        frames += 1;
        last = frame.seconds;
        within("seconds", last, 0.0, MOST_SECONDS)?;
    }
    // The header may say anything; the frames are there.
    let seconds = if frames > 1 { last * frames as f64 / (frames - 1) as f64 } else { 0.0 };
    // The last frame may be shown for less than the others.
    within("seconds", seconds, (request.seconds - 1.0 / request.fps.max(1.0)).max(0.0), MOST_SECONDS)?;
    let counted = if last > 0.0 { (frames - 1) as f64 / last } else { rate };
    within("fps", counted, 0.95 * request.fps, MOST_RATE)
}

/// Decodes a still.
pub(crate) fn still(path: &Path) -> Result<RgbImage, String> {
    let mut reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(|error| error.to_string())?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err("it is neither PNG nor JPEG".into());
    }
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MOST_SIDE), Some(MOST_SIDE));
    reader.limits(limits);
    reader.decode().map(|picture| picture.to_rgb8()).map_err(|error| error.to_string())
}
