//! Which looks at the person are good ones: the filter of the published pipeline, on five points of the face and on the outlines of
//! its eyes.

use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

use super::FaceSeen;

/// Below this a face is turned away; that of the published pipeline.
const LEAST_FRONTAL: f32 = 0.3;
/// The least share of the face inside the picture; that of the published pipeline.
const LEAST_VISIBLE: f32 = 0.8;
/// The distance of the eyes as a share of the width of a face. The published score is in widths of a picture that the face
/// fills; dividing by the distance of the eyes makes it hold for every crop, and this share brings the threshold along. In the boxes of
/// the finder, which end at the cheeks, the share is 0.48 (docs/dataset.md).
const EYES_APART: f32 = 0.42;
/// Below this both eyes are closed. The published pipeline asks for 0.25 of either eye, of points that hardly follow the lids: it
/// refuses more looks with open eyes than with closed ones (docs/dataset.md has the figures).
const LEAST_OPEN: f32 = 0.17;
/// The variance of the Laplacian that counts as sharp; that of the published pipeline.
const SHARP: f32 = 500.0;
/// The side of the face that sharpness is measured on, in pixels.
const FACE: u32 = 112;

/// What the filter says about the person in one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameVerdict {
    /// The frame's time in seconds.
    pub seconds: f64,
    /// Left, top, right and bottom of the face in pixels of the frame that was looked at; `None` where the person is not seen.
    pub bounds: Option<[f32; 4]>,
    /// How open the eyes are, see [`Eyes::openness`](super::Eyes::openness); `None` where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openness: Option<f32>,
    /// How good the face is, 0 to 100: 50 for facing the camera, 25 for sharpness, 25 for being in the picture as a whole.
    pub score: f32,
    /// Why the frame is not used; empty for a good one.
    pub reasons: Vec<String>,
}

impl FrameVerdict {
    /// What it says where the person's face is not seen.
    pub(super) fn unseen(seconds: f64) -> Self {
        Self { seconds, bounds: None, openness: None, score: 0.0, reasons: vec!["the face is not seen".into()] }
    }
}

/// What a face is judged by, beside what the finder says about it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Measured {
    /// The variance of the Laplacian, see [`detail`].
    pub(super) detail: f32,
    /// How open the eyes are, see [`Eyes::openness`](super::Eyes::openness).
    pub(super) openness: Option<f32>,
}

/// How much a face faces the camera, 0 to 1, from its five points: 1 less how far the nose is from the middle of the eyes.
pub fn frontal(points: &[[f32; 2]; 5]) -> f32 {
    let [[left_x, left_y], [right_x, right_y], [nose_x, nose_y], ..] = *points;
    let (across, down) = (right_x - left_x, right_y - left_y);
    let apart = across.hypot(down);
    if apart < 1e-3 || !apart.is_finite() {
        return 0.0;
    }
    let (x, y) = (nose_x - (left_x + right_x) / 2.0, nose_y - (left_y + right_y) / 2.0);
    let aside = (x * across + y * down) / apart;
    (1.0 - 3.0 * EYES_APART * (aside / apart).abs()).clamp(0.0, 1.0)
}

/// The variance of the Laplacian of a face, in grey levels squared, at 112 pixels or its own size if that is less.
pub(super) fn detail(frame: &RgbImage, bounds: &[f32; 4]) -> f32 {
    let inside = |value: f32, most: u32| if value.is_finite() { value.clamp(0.0, most as f32) as u32 } else { 0 };
    let (left, right) = (inside(bounds[0], frame.width()), inside(bounds[2], frame.width()));
    let (top, bottom) = (inside(bounds[1], frame.height()), inside(bounds[3], frame.height()));
    if right < left + 3 || bottom < top + 3 {
        return 0.0;
    }
    let face = imageops::crop_imm(frame, left, top, right - left, bottom - top).to_image();
    let face = if face.width().max(face.height()) > FACE { imageops::thumbnail(&face, FACE, FACE) } else { face };
    let (width, height) = (face.width() as usize, face.height() as usize);
    let grey: Vec<f32> = face.pixels().map(|pixel| luma(pixel.0)).collect();
    let (mut count, mut sum, mut squares) = (0.0f32, 0.0f32, 0.0f32);
    for y in 1..height - 1 {
        for x in 1..width - 1 {
            let at = y * width + x;
            let value = grey[at - 1] + grey[at + 1] + grey[at - width] + grey[at + width] - 4.0 * grey[at];
            count += 1.0;
            sum += value;
            squares += value * value;
        }
    }
    let mean = sum / count.max(1.0);
    (squares / count.max(1.0) - mean * mean).max(0.0)
}

/// The brightness of a colour, 0 to 255.
pub(super) fn luma([red, green, blue]: [u8; 3]) -> f32 {
    0.299 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue)
}

/// What the filter says about a face.
pub(super) fn judge(face: &FaceSeen, measured: &Measured, seconds: f64) -> FrameVerdict {
    let frontal = frontal(&face.points);
    let mut reasons = face.flaws.clone();
    if frontal <= LEAST_FRONTAL && !reasons.iter().any(|reason| reason.starts_with("turned")) {
        reasons.push(format!("turned away (frontal score {frontal:.2})"));
    }
    if face.visible < LEAST_VISIBLE && !reasons.iter().any(|reason| reason.starts_with("cut off")) {
        reasons.push(format!("cut off ({:.0} % in the picture)", 100.0 * face.visible));
    }
    if let Some(openness) = measured.openness.filter(|openness| *openness < LEAST_OPEN) {
        reasons.push(format!("eyes closed (openness {openness:.2})"));
    }
    let score = 50.0 * frontal + 25.0 * (measured.detail / SHARP).min(1.0) + 25.0 * face.visible.clamp(0.0, 1.0);
    FrameVerdict { seconds, bounds: Some(face.bounds), openness: measured.openness, score, reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACING: [[f32; 2]; 5] = [[40.0, 50.0], [74.0, 50.0], [57.0, 70.0], [44.0, 90.0], [70.0, 90.0]];

    const SHARP_AND_OPEN: Measured = Measured { detail: 500.0, openness: Some(0.3) };

    fn face(points: [[f32; 2]; 5], visible: f32) -> FaceSeen {
        FaceSeen { frame: 0, bounds: [20.0, 20.0, 100.0, 120.0], points, visible, flaws: Vec::new() }
    }

    #[test]
    fn turned_and_cut_off_faces_are_refused_with_the_reason() {
        assert_eq!(frontal(&FACING), 1.0);
        let judge = |face: FaceSeen| super::judge(&face, &SHARP_AND_OPEN, 0.0);
        assert!(judge(face(FACING, 1.0)).reasons.is_empty());
        assert_eq!(judge(face(FACING, 1.0)).score, 100.0);
        let mut turned = FACING;
        turned[2][0] = 79.0;
        assert!(judge(face(turned, 1.0)).reasons[0].starts_with("turned away"));
        assert!(judge(face(FACING, 0.7)).reasons[0].starts_with("cut off"));
        assert_eq!(frontal(&[[3.0; 2]; 5]), 0.0);
    }

    #[test]
    fn closed_eyes_are_refused_and_unmeasured_ones_are_not() {
        let reasons = |openness| judge(&face(FACING, 1.0), &Measured { openness, ..SHARP_AND_OPEN }, 0.0).reasons;
        assert_eq!(reasons(Some(0.08)), ["eyes closed (openness 0.08)"]);
        assert!(reasons(Some(0.2)).is_empty());
        assert!(reasons(None).is_empty());
    }

    #[test]
    fn a_blurred_face_has_less_detail() {
        let sharp = RgbImage::from_fn(60, 60, |x, y| image::Rgb([if (x / 3 + y / 3) % 2 == 0 { 40 } else { 200 }; 3]));
        let blurred = imageops::blur(&sharp, 2.0);
        let bounds = [0.0, 0.0, 60.0, 60.0];
        assert!(detail(&sharp, &bounds) > 10.0 * detail(&blurred, &bounds));
        assert_eq!(detail(&sharp, &[f32::NAN, 0.0, 60.0, 60.0]), detail(&sharp, &bounds));
        assert_eq!(detail(&sharp, &[59.0, 0.0, 60.0, 60.0]), 0.0);
    }
}
