//! Somebody in a clip who can be enrolled.

use image::RgbImage;

/// Somebody in a clip who can be enrolled.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The number to choose the person by, counted from 1.
    pub number: usize,
    /// The first and last time in seconds.
    pub span: (f64, f64),
    /// Frames with the face.
    pub faces: usize,
    /// Frames with a good face.
    pub good_faces: usize,
    /// Mean width of the good faces in pixels, or of all where none is good.
    pub size: f32,
    /// Mean sharpness of the same faces.
    pub sharpness: f32,
    /// The best face's box and time.
    pub best: (pvchat_people::Bounds, f64),
    /// Why faces are not good, each reason once, the commonest first.
    pub flaws: Vec<pvchat_people::Flaw>,
    /// The best face, aligned.
    pub portrait: Option<RgbImage>,
    /// The mean embedding of the good faces.
    pub(crate) embedding: Option<Vec<f32>>,
}
