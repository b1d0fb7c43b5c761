//! Frames to tensors: resize, normalise, cut into tiles.
//!
//! ```text
//! T frames, any size ── bicubic stretch to 2r x r ── normalise ─┬─ left  [T, 3, r, r]
//!                                                               ├─ right [T, 3, r, r]
//!                                                               └─ whole, shrunk again [T, 3, r, r]
//! ```
//!
//! That is what the published model was trained on ([`PreprocessConfig::full`], r = 224). Other models use one square per frame,
//! shrunk by averaging areas ([`Resize::Area`]) or resized twice ([`squares`]).

pub mod bars;
pub mod bicubic;
mod lanczos;
pub mod squares;
pub mod tiles;

use crate::{Error, Result};
use bicubic::resized_rgb;
use burn::prelude::*;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use squares::normalised;
pub use squares::{ImageTiles, SquaresConfig};
use tiles::{Normalisation, left_right_whole, square};

/// Which images are made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tiling {
    /// The frame stretched to one square.
    Square,
    /// The frame stretched to 2:1: its left half, its right half, and the whole shrunk to a square, in this order.
    LeftRightGlobal,
}

/// How a frame is brought to another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// PyTorch's bicubic interpolation, in floats and without clamping (the published model).
    Bicubic,
    /// Every pixel is the mean of the area that it covers, rounded to a byte: what is drawn in
    /// flat colours keeps them.
    Area,
}

/// How frames become the input of a vision encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreprocessConfig {
    /// Height and width of an image that the encoder sees, in pixels.
    pub resolution: usize,
    /// Which images are made of a frame.
    pub tiling: Tiling,
    /// How a frame is brought to size.
    pub resize: Resize,
    /// Mean of red, green and blue on the scale 0..1; subtracted.
    pub mean: [f32; 3],
    /// Standard deviation of the same; divided by.
    pub deviation: [f32; 3],
}

impl PreprocessConfig {
    /// The published preprocessing: tiles of 224 pixels, ImageNet statistics.
    pub fn full() -> Self {
        Self { tiling: Tiling::LeftRightGlobal, ..Self::square(224) }
    }

    /// One square per frame, ImageNet statistics.
    pub fn square(resolution: usize) -> Self {
        Self {
            resolution,
            tiling: Tiling::Square,
            resize: Resize::Bicubic,
            mean: [0.485, 0.456, 0.406],
            deviation: [0.229, 0.224, 0.225],
        }
    }

    /// Images per frame.
    pub fn tiles(&self) -> usize {
        match self.tiling {
            Tiling::Square => 1,
            Tiling::LeftRightGlobal => 3,
        }
    }

    /// A frame as it is stored together with the encoder's output for it: with [`Resize::Area`] already at its
    /// size, because shrinking twice would blur; as it is otherwise.
    pub fn kept_frame(&self, frame: &RgbImage) -> RgbImage {
        let (width, height) = self.canvas();
        let size = (width as u32, height as u32);
        if self.resize == Resize::Bicubic || frame.dimensions() == size {
            return frame.clone();
        }
        image::imageops::thumbnail(frame, size.0, size.1)
    }

    /// Size of the resized frame, width and height.
    fn canvas(&self) -> (usize, usize) {
        match self.tiling {
            Tiling::Square => (self.resolution, self.resolution),
            Tiling::LeftRightGlobal => (2 * self.resolution, self.resolution),
        }
    }

    /// The clip tensor `[1, tiles, frames, 3, resolution, resolution]` of frames of one size.
    ///
    /// # Errors
    /// [`Error::Shape`] without frames, with empty frames or frames of different sizes; [`Error::Config`] for a
    /// resolution of zero or a deviation that cannot be divided by.
    pub fn clip_tensor(&self, frames: &[RgbImage], device: &Device) -> Result<Tensor<6>> {
        self.validate()?;
        check_frames(frames)?;
        let (tiles, resolution) = (self.tiles(), self.resolution);
        let image = 3 * resolution * resolution;
        let mut values = vec![0.0; tiles * frames.len() * image];
        // The places of each frame's images: one in every tile.
        let mut places: Vec<Vec<&mut [f32]>> = frames.iter().map(|_| Vec::with_capacity(tiles)).collect();
        for (number, place) in values.chunks_exact_mut(image).enumerate() {
            places[number % frames.len()].push(place);
        }
        frames.par_iter().zip(places).for_each(|(frame, places)| self.write_images(frame, places));
        let shape = [1, tiles, frames.len(), 3, resolution, resolution];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// Checks that the numbers can work.
    ///
    /// # Errors
    /// [`Error::Config`] with the value at fault.
    pub fn validate(&self) -> Result<()> {
        if self.resolution == 0 {
            return Err(Error::Config { key: "resolution", value: "0".into(), remedy: "it must be at least 1 pixel".into() });
        }
        if let Some(zero) = self.deviation.iter().find(|value| !value.is_normal()) {
            return Err(Error::Config { key: "deviation", value: zero.to_string(), remedy: "pixels are divided by it".into() });
        }
        Ok(())
    }

    /// Writes all images of one frame, `[3, resolution, resolution]` each.
    fn write_images(&self, frame: &RgbImage, mut places: Vec<&mut [f32]>) {
        let shrunk = (self.resize == Resize::Area).then(|| self.kept_frame(frame));
        // A frame that has its size already stays as it is.
        let frame = shrunk.as_ref().unwrap_or(frame);
        let normalisation = Normalisation { mean: self.mean, deviation: self.deviation };
        let (pixels, width, side) = (frame.as_raw(), frame.width() as usize, self.resolution);
        match (self.tiling, places.as_mut_slice()) {
            (Tiling::Square, [image]) => square(pixels, width, side, &normalisation, image),
            (Tiling::LeftRightGlobal, [left, right, whole]) => {
                left_right_whole(pixels, width, side, &normalisation, [left, right, whole]);
            }
            _ => {}
        }
    }
}

/// How the frames of a model become pixels.
#[derive(Clone, Debug, PartialEq)]
pub enum Preprocessing {
    /// Every frame as tiles of floats.
    Tiles(PreprocessConfig),
    /// Every frame as one square of bytes, by two resizes.
    Squares(SquaresConfig),
}

impl Preprocessing {
    /// Images per frame.
    pub fn tiles(&self) -> usize {
        match self {
            Self::Tiles(config) => config.tiles(),
            Self::Squares(_) => 1,
        }
    }

    /// Height and width of an image that the encoder sees, in pixels.
    pub fn resolution(&self) -> usize {
        match self {
            Self::Tiles(config) => config.resolution,
            Self::Squares(config) => config.side,
        }
    }

    /// Frames as they are stored together with the encoder's output for them: for tiles without [bars] around the picture and as
    /// [`PreprocessConfig::kept_frame`] says, else as they are.
    pub fn kept_frames(&self, frames: &[RgbImage]) -> Vec<RgbImage> {
        match self {
            Self::Tiles(config) => bars::without_bars(frames).iter().map(|frame| config.kept_frame(frame)).collect(),
            Self::Squares(_) => frames.to_vec(),
        }
    }

    /// What the encoder sees of a clip, `[tiles, 3, frames, resolution, resolution]`.
    ///
    /// # Errors
    /// [`Error::Shape`] without frames, and for frames that are empty or do not fit each other.
    pub fn pixels(&self, frames: &[RgbImage], device: &Device) -> Result<Tensor<5>> {
        match self {
            Self::Tiles(config) => Ok(encoder_pixels(config.clip_tensor(frames, device)?)),
            Self::Squares(config) => {
                if frames.is_empty() {
                    let expected = "at least one frame".into();
                    return Err(Error::Shape { what: "clip", found: vec![0], expected });
                }
                let values = normalised(&config.clip_pixels(frames)?);
                let shape = [1, frames.len(), 3, config.side, config.side];
                Ok(Tensor::<5>::from_data(TensorData::new(values, shape), device).swap_dims(1, 2))
            }
        }
    }

    /// Checks that the numbers can work.
    ///
    /// # Errors
    /// [`Error::Config`] with the value at fault.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Tiles(config) => config.validate(),
            Self::Squares(config) => config.validate(),
        }
    }
}

/// Frames stretched to a size, `[frames, 3, height, width]` on the scale 0..255, neither clamped nor normalised.
///
/// # Errors
/// [`Error::Shape`] without frames, with empty frames or frames of different sizes.
pub fn resize_frames(frames: &[RgbImage], width: usize, height: usize) -> Result<Vec<f32>> {
    check_frames(frames)?;
    let resized =
        |frame: &RgbImage| resized_rgb(frame.as_raw(), frame.width() as usize, width, height).map(|plane| plane.values).concat();
    Ok(frames.par_iter().map(resized).collect::<Vec<Vec<f32>>>().concat())
}

/// Clip tensors `[batch, tiles, frames, 3, r, r]` as the encoder takes them, `[batch * tiles, 3, frames, r, r]`.
pub fn encoder_pixels(clips: Tensor<6>) -> Tensor<5> {
    clips.flatten::<5>(0, 1).swap_dims(1, 2)
}

fn check_frames(frames: &[RgbImage]) -> Result<()> {
    let size = frames.first().map_or((0, 0), RgbImage::dimensions);
    let found = frames.iter().find(|frame| frame.dimensions() != size).map_or(size, RgbImage::dimensions);
    if found != size || size.0 == 0 || size.1 == 0 {
        let expected = match size {
            (0, 0) => "at least one frame that is not empty".to_string(),
            (width, height) => format!("[frames, {height}, {width}, 3] like the first frame, and not empty"),
        };
        return Err(Error::Shape { what: "clip", found: vec![frames.len(), found.1 as usize, found.0 as usize, 3], expected });
    }
    Ok(())
}
