//! The pictures of the demo: what was learned from, and how training went.

use image::{Rgb, RgbImage, imageops};
use pvchat::{
    augment::{Origin, TrainingSet},
    eval::plot::LineChart,
    train::personal::LearnProgress,
};

/// Frames are shown enlarged by this factor.
const ENLARGED: u32 = 2;
/// Frames in a row of the contact sheet.
const COLUMNS: usize = 12;
/// White space between the groups, in pixels.
const GAP: u32 = 10;

/// The clips of a training set in four groups from top to bottom: the reference (all its frames), then
/// one frame per clip of up to two rows of made positives, of similar strangers, of random strangers.
pub fn contact_sheet(set: &TrainingSet) -> RgbImage {
    let mut groups: [Vec<&RgbImage>; 4] = Default::default();
    for clip in &set.clips {
        let group = match clip.origin {
            Origin::Reference => {
                groups[0].extend(&clip.frames);
                continue;
            }
            Origin::Positive { .. } => 1,
            Origin::HardNegative { .. } => 2,
            Origin::RandomNegative { .. } => 3,
            Origin::Exchanged { .. } | Origin::Nobody => continue,
        };
        groups[group].extend(clip.frames.get(clip.frames.len() / 2));
    }
    groups.iter_mut().for_each(|group| group.truncate(2 * COLUMNS));
    let side = ENLARGED * groups.iter().flatten().map(|frame| frame.width().max(frame.height())).max().unwrap_or(1);
    let rows: u32 = groups.iter().map(|group| group.len().div_ceil(COLUMNS) as u32).sum();
    let filled = groups.iter().filter(|group| !group.is_empty()).count() as u32;
    let (width, height) = (COLUMNS as u32 * side + 2 * GAP, rows * side + (filled + 1) * GAP);
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    let mut top = GAP;
    for group in groups.iter().filter(|group| !group.is_empty()) {
        for (number, frame) in group.iter().enumerate() {
            let (column, row) = ((number % COLUMNS) as u32, (number / COLUMNS) as u32);
            let (wide, high) = (frame.width() * ENLARGED, frame.height() * ENLARGED);
            let enlarged = imageops::resize(*frame, wide, high, imageops::FilterType::Nearest);
            imageops::replace(&mut sheet, &enlarged, i64::from(GAP + column * side), i64::from(top + row * side));
        }
        top += group.len().div_ceil(COLUMNS) as u32 * side + GAP;
    }
    sheet
}

/// Loss and head activation over the steps of training.
pub fn training_chart(steps: &[LearnProgress]) -> LineChart {
    let points =
        |value: fn(&LearnProgress) -> f64| steps.iter().map(move |step| (step.step as f64, value(step))).collect::<Vec<_>>();
    LineChart::new("Learning one person", "step", "loss, share of routed heads that are on")
        .series("loss", points(|step| f64::from(step.loss)))
        .series("head activation", points(|step| step.objective.activation()))
}
