//! What the benchmark of finding people and its comparison with other runtimes have in common.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use burn::prelude::*;
use image::{Rgb, RgbImage, imageops};
use pvchat::{
    faces::{EmbedderKind, EyeContours, FindOptions, Finder, Network, Search},
    video::{SamplingPlan, VideoReader},
};
use pvchat_data::random::SeededStream;

/// The sizes, width and height, that PNet is run on for a picture of 640 x 360 pixels.
pub const PYRAMID: [[usize; 2]; 9] =
    [[384, 216], [273, 154], [194, 109], [137, 77], [98, 55], [69, 39], [49, 28], [35, 20], [25, 14]];

/// The networks by their names, with the shapes of the inputs of one measurement.
pub fn networks() -> [(&'static str, Network, Vec<[usize; 4]>); 6] {
    [
        ("blazeface", Network::BlazeFace, vec![[1, 3, 256, 256]]),
        ("pnet", Network::PNet, PYRAMID.iter().map(|[width, height]| [1, 3, *height, *width]).collect()),
        ("rnet", Network::RNet, vec![[32, 3, 24, 24]]),
        ("onet", Network::ONet, vec![[8, 3, 48, 48]]),
        ("mobilefacenet", Network::Embedder, vec![[1, 3, 112, 112]]),
        ("dlib", Network::Embedder, vec![[1, 3, 150, 150]]),
    ]
}

/// Values between -1 and 1, the same for the same shape.
pub fn noise(shape: [usize; 4]) -> Vec<f32> {
    let mut stream = SeededStream::new(1);
    (0..shape.iter().product()).map(|_| 2.0 * stream.unit() - 1.0).collect()
}

/// A finder on the processor.
///
/// # Errors
/// Those of [`Finder::open`]: the models are in the folder that `PVCHAT_MODELS` names, or where `pvchat models get people`
/// puts them.
pub fn finder(embedder: EmbedderKind, search: Search, threads: usize) -> Result<Finder, pvchat::faces::Error> {
    let options = FindOptions { search, threads, ..FindOptions::default() };
    Finder::open(&models(), embedder, options, &Device::flex())
}

/// What measures how open eyes are, on the processor.
///
/// # Errors
/// Those of [`EyeContours::open`], with the models of [`finder`].
pub fn eye_contours() -> Result<EyeContours, pvchat::faces::Error> {
    EyeContours::open(&models(), &Device::flex())
}

fn models() -> PathBuf {
    let home = || std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
    let data = || std::env::var_os("XDG_DATA_HOME").map_or_else(|| home().join(".local/share"), PathBuf::from);
    std::env::var_os("PVCHAT_MODELS").map_or_else(|| data().join("pvchat/models"), PathBuf::from)
}

/// Up to 30 pictures of the first clip of the folder `PVCHAT_CLIPS`, in the order of names; a drawn picture without one, in
/// which a search finds no face and looks everywhere.
fn pictures() -> &'static [RgbImage] {
    static PICTURES: OnceLock<Vec<RgbImage>> = OnceLock::new();
    PICTURES.get_or_init(|| {
        let drawn = || vec![RgbImage::from_fn(640, 360, |x, y| Rgb([(x * y / 99) as u8, (x / 3) as u8, (y / 2) as u8]))];
        std::env::var_os("PVCHAT_CLIPS").and_then(|folder| clip(Path::new(&folder))).unwrap_or_else(drawn)
    })
}

fn clip(folder: &Path) -> Option<Vec<RgbImage>> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut clips: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|extension| extension == "mp4")).collect();
    clips.sort();
    Some(VideoReader::open(clips.first()?).ok()?.sample(&SamplingPlan::Uniform(30)).ok()?.frames)
}

/// Frames of this size, each with a picture of the clip, or the drawn one, as large as it fits in.
pub fn frames(width: u32, height: u32, count: usize) -> Vec<RgbImage> {
    let fitted: Vec<RgbImage> = pictures()
        .iter()
        .take(count)
        .map(|picture| {
            let factor = (f64::from(width) / f64::from(picture.width())).min(f64::from(height) / f64::from(picture.height()));
            let [inner_width, inner_height] =
                [picture.width(), picture.height()].map(|side| ((f64::from(side) * factor).round() as u32).max(1));
            let inner = imageops::resize(picture, inner_width, inner_height, imageops::FilterType::Triangle);
            let mut frame = RgbImage::new(width, height);
            let [left, top] = [width.saturating_sub(inner_width) / 2, height.saturating_sub(inner_height) / 2];
            imageops::replace(&mut frame, &inner, i64::from(left), i64::from(top));
            frame
        })
        .collect();
    fitted.iter().cycle().take(count).cloned().collect()
}
