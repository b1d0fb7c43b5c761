//! How well a face in a picture can identify a person, and what limits it.

use std::fmt;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::detect::Face;

/// Measures of one face.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Width of the box in pixels.
    pub size: f32,
    /// Detail of the aligned face: twice the root mean square of the second difference, across or down, the smaller of the two
    /// (motion blurs one of them), as a share of the contrast. Blurred faces have less than [`Limits::sharpness`].
    pub sharpness: f32,
    /// Mean brightness of the aligned face, 0 to 255.
    pub brightness: f32,
    /// How far the nose is from the middle between the eyes, as a share of the distance from eyes to mouth: 0 facing the
    /// camera, 0.3 turned far, beyond 0.5 in profile. Negative toward the left of the picture.
    pub turn: f32,
    /// The angle of the line through the eyes in degrees.
    pub tilt: f32,
    /// The share of the box that is inside the picture, 0 to 1.
    pub visible: f32,
    /// How much the embedder found in the face: below 1 it is too blurred to say who it is not, though it may still say who it
    /// is. The length of the embedding before it is scaled, as a share of the shortest length of a face that distinguishes
    /// people; 1 for a face that was not embedded, and for embedders whose length says nothing.
    pub strength: f32,
}

/// From which measures on a face is good enough to be learned or recognised; the figures come from docs/people-benchmarks.md.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The least width in pixels.
    pub size: f32,
    /// The least sharpness.
    pub sharpness: f32,
    /// The least brightness.
    pub brightness: f32,
    /// The greatest turn.
    pub turn: f32,
    /// The greatest tilt in degrees.
    pub tilt: f32,
    /// The least share inside the picture.
    pub visible: f32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: 20.0, sharpness: 0.1, brightness: 16.0, turn: 0.45, tilt: 50.0, visible: 0.8 }
    }
}

/// The least width in pixels of a face that is good enough, in pictures of this width and height: larger pictures are shrunk
/// before faces are looked for.
pub fn least_face([width, height]: [u32; 2]) -> u32 {
    (Limits::default().size as u32).max(width.max(height).div_ceil(80))
}

/// Why a face is not good enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Flaw {
    /// Narrower than the limit; pixels.
    Small(f32),
    /// Less sharp than the limit.
    Blurred(f32),
    /// Darker than the limit; 0 to 255.
    Dark(f32),
    /// Turned away.
    Turned(f32),
    /// Tilted; degrees.
    Tilted(f32),
    /// Cut off by the edge of the picture; the share that is visible.
    CutOff(f32),
    /// Too blurred to say who it is not; [`Quality::strength`].
    Faint(f32),
    /// Upside down: the finder sees a face in it, but not the one that is there.
    UpsideDown,
}

impl fmt::Display for Flaw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Small(pixels) => write!(formatter, "too small ({pixels:.0} pixels wide)"),
            Self::Blurred(sharpness) => write!(formatter, "too blurred (sharpness {sharpness:.2})"),
            Self::Dark(brightness) => write!(formatter, "too dark (brightness {brightness:.0} of 255)"),
            Self::Turned(turn) => write!(formatter, "turned away (nose {:.0} % off the middle)", 100.0 * turn.abs()),
            Self::Tilted(degrees) => write!(formatter, "tilted by {:.0} degrees", degrees.abs()),
            Self::Faint(strength) => write!(formatter, "too blurred to tell people apart (detail {strength:.2} of 1)"),
            Self::UpsideDown => write!(formatter, "upside down (the picture may be turned by 180 degrees)"),
            Self::CutOff(visible) => write!(formatter, "cut off ({:.0} % in the picture)", 100.0 * visible),
        }
    }
}

impl Quality {
    /// Measures a face, given its aligned crop of any size.
    pub(crate) fn measure(face: &Face, aligned: &RgbImage, [width, height]: [u32; 2]) -> Self {
        let [[left_x, left_y], [right_x, right_y], nose, mouth_left, mouth_right] = face.landmarks;
        let (across, down) = (right_x - left_x, right_y - left_y);
        let tilt = down.atan2(across).to_degrees();
        let length = across.hypot(down).max(1e-6);
        let unit = [across / length, down / length];
        let middle = [(left_x + right_x) / 2.0, (left_y + right_y) / 2.0];
        let mouth = [(mouth_left[0] + mouth_right[0]) / 2.0, (mouth_left[1] + mouth_right[1]) / 2.0];
        let face_height = (mouth[0] - middle[0]).hypot(mouth[1] - middle[1]).max(1e-6);
        // The middle line goes from between the eyes to between the corners of the mouth; the nose is near it.
        let centre = [(middle[0] + mouth[0]) / 2.0, (middle[1] + mouth[1]) / 2.0];
        let turn = ((nose[0] - centre[0]) * unit[0] + (nose[1] - centre[1]) * unit[1]) / face_height;
        let picture = crate::Bounds::new(0.0, 0.0, width as f32, height as f32);
        let (sharpness, brightness) = detail(aligned, face.bounds.width());
        Self {
            size: face.bounds.width(),
            sharpness,
            brightness,
            turn,
            tilt,
            visible: face.bounds.intersection(&picture) / face.bounds.area().max(1e-6),
            strength: 1.0,
        }
    }

    /// Whether the face also says who it is not.
    pub fn is_telling(&self) -> bool {
        self.strength >= 1.0
    }

    /// What falls short of the limits.
    pub fn flaws(&self, limits: &Limits) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        let mut check = |bad: bool, flaw: Flaw| {
            if bad {
                flaws.push(flaw);
            }
        };
        check(self.size < limits.size, Flaw::Small(self.size));
        check(self.sharpness < limits.sharpness, Flaw::Blurred(self.sharpness));
        check(self.brightness < limits.brightness, Flaw::Dark(self.brightness));
        check(self.turn.abs() > limits.turn, Flaw::Turned(self.turn));
        check(self.tilt.abs() > limits.tilt, Flaw::Tilted(self.tilt));
        check(self.visible < limits.visible, Flaw::CutOff(self.visible));
        flaws
    }

    /// One number to choose the best of several faces by: larger, sharper and more frontal is greater.
    pub fn rank(&self) -> f32 {
        self.size.min(120.0) / 120.0 * (1.0 - self.turn.abs().min(1.0)) * self.sharpness.min(0.5) * self.visible
    }
}

/// Sharpness and brightness of the middle of an aligned face that was `size` pixels wide in its picture. Small faces are
/// measured at their own scale: enlarged, every one of them would look blurred.
fn detail(aligned: &RgbImage, size: f32) -> (f32, f32) {
    let side = aligned.width().min(aligned.height());
    let scale = (size / side as f32).clamp(0.2, 1.0);
    let small = ((side as f32 * scale).round() as u32).max(8);
    let shrunk;
    let face = if small < side {
        shrunk = image::imageops::thumbnail(aligned, small, small);
        &shrunk
    } else {
        aligned
    };
    let side = face.width() as usize;
    let luma: Vec<f32> = face
        .pixels()
        .map(|pixel| 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]))
        .collect();
    let inner = side / 6..side - side / 6;
    let (mut count, mut sum, mut squares) = (0.0f32, 0.0f32, 0.0f32);
    let (mut across, mut down) = (0.0f32, 0.0f32);
    for y in inner.clone() {
        for x in inner.clone() {
            let at = y * side + x;
            let value = luma[at];
            count += 1.0;
            sum += value;
            squares += value * value;
            across += (luma[at - 1] + luma[at + 1] - 2.0 * value).powi(2);
            down += (luma[at - side] + luma[at + side] - 2.0 * value).powi(2);
        }
    }
    let mean = sum / count.max(1.0);
    let contrast = (squares / count.max(1.0) - mean * mean).max(1.0).sqrt();
    (2.0 * (across.min(down) / count.max(1.0)).sqrt() / contrast, mean)
}
