//! A clip: the frames of one file that were picked, and where they come from.

use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::{Result, SamplingPlan, VideoReader};

/// Frames of one file, with their numbers and times.
#[derive(Debug, Clone, PartialEq)]
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

impl Clip {
    /// Opens a file and keeps `segments` evenly spread frames ([`SamplingPlan::Uniform`]).
    ///
    /// # Errors
    /// Those of [`VideoReader::open`] and [`VideoReader::sample`].
    pub fn open(path: impl AsRef<Path>, segments: usize) -> Result<Self> {
        VideoReader::open(path)?.sample(&SamplingPlan::Uniform(segments))
    }
}
