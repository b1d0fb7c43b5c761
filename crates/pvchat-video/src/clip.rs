//! A clip: the frames of one file that were picked, and where they come from.

use std::path::PathBuf;

use image::RgbImage;

/// Frames of one file, with their numbers and times.
#[derive(Clone, PartialEq)]
pub struct Clip {
    /// The frames, upright RGB, all of one size, in the order of the plan.
    pub frames: Vec<RgbImage>,
    /// The number of each frame in its file, counted from 0.
    pub indices: Vec<usize>,
    /// The time of display of each frame in seconds, 0 for the first of the file.
    pub times: Vec<f64>,
    /// Average frame rate of the file in frames per second.
    pub frame_rate: f64,
    /// The file.
    pub source: PathBuf,
}

impl std::fmt::Debug for Clip {
    /// The sizes of the frames in place of their pixels.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Clip")
            .field("frames", &self.frames.iter().map(RgbImage::dimensions).collect::<Vec<_>>())
            .field("indices", &self.indices)
            .field("times", &self.times)
            .field("frame_rate", &self.frame_rate)
            .field("source", &self.source)
            .finish()
    }
}
