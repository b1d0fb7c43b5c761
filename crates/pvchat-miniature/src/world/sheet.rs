//! Contact sheets: many clips in one picture, for documents and for visual checks.

use image::{RgbImage, imageops};

use super::clip::Scene;
use super::render::FRAMES;

/// The first frame of every scene, in rows of `columns`, each `side` pixels wide.
pub fn contact_sheet(scenes: &[Scene], side: u32, columns: usize) -> RgbImage {
    tile(scenes.iter().filter_map(|scene| scene.render(side).frames.into_iter().next()), side, columns, scenes.len())
}

/// All frames of every scene, one row per scene.
pub fn film_strip(scenes: &[Scene], side: u32) -> RgbImage {
    tile(scenes.iter().flat_map(|scene| scene.render(side).frames), side, FRAMES, scenes.len() * FRAMES)
}

fn tile(pictures: impl Iterator<Item = RgbImage>, side: u32, columns: usize, count: usize) -> RgbImage {
    let side = side.clamp(64, 512);
    let columns = columns.max(1).min(count.max(1));
    let mut sheet = RgbImage::new(columns as u32 * side, count.div_ceil(columns).max(1) as u32 * side);
    for (number, picture) in pictures.enumerate() {
        let (column, row) = (number % columns, number / columns);
        imageops::replace(&mut sheet, &picture, i64::from(column as u32 * side), i64::from(row as u32 * side));
    }
    sheet
}
