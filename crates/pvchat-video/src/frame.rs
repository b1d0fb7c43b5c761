//! One frame of a video.

use image::RgbImage;

/// One frame of a video.
#[derive(Clone, PartialEq)]
pub struct Frame {
    /// Its number, counted from 0.
    pub index: usize,
    /// Its time of display in seconds, 0 for the first frame.
    pub seconds: f64,
    /// Its upright picture.
    pub image: RgbImage,
}

impl std::fmt::Debug for Frame {
    /// The size of the picture in place of its pixels.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = self.image.dimensions();
        formatter.debug_struct("Frame").field("index", &self.index).field("seconds", &self.seconds).field("image", &size).finish()
    }
}
