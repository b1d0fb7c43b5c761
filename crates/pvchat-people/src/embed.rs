//! An aligned face to a vector whose direction says who it is.

use burn::prelude::*;
use image::RgbImage;

use crate::{
    Result,
    layers::Maps,
    networks::{DlibResNet, MobileFaceNet},
};

/// The network that embeds faces.
#[derive(Debug)]
pub(crate) enum Embedder {
    MobileFaceNet(Box<MobileFaceNet>),
    Dlib(Box<DlibResNet>),
}

impl Embedder {
    /// Side of an aligned face in pixels.
    pub(crate) fn side(&self) -> usize {
        match self {
            Self::MobileFaceNet(_) => MobileFaceNet::SIDE,
            Self::Dlib(_) => DlibResNet::SIDE,
        }
    }

    /// Numbers of an embedding.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::MobileFaceNet(_) => MobileFaceNet::WIDTH,
            Self::Dlib(_) => DlibResNet::WIDTH,
        }
    }

    /// The embedding of an aligned face, of unit length.
    pub(crate) fn embed(&self, aligned: &RgbImage, device: &Device) -> Result<Vec<f32>> {
        let side = self.side();
        let normalised = |(place, value): (usize, &u8)| match self {
            Self::MobileFaceNet(_) => (f32::from(*value) - 127.5) / 128.0,
            Self::Dlib(_) => (f32::from(*value) - DlibResNet::MEAN[place % 3]) / 255.0,
        };
        let values = aligned.as_raw().iter().enumerate().map(normalised).collect();
        let mut embedding = self.forward(&Maps::of_points(values, [1, side, side, 3], device)).points("the face embedder")?;
        normalise(&mut embedding);
        Ok(embedding)
    }

    /// `[n, 3, side, side]`, normalised as the network wants it, to `[n, width, 1, 1]`.
    pub(crate) fn forward(&self, faces: &Maps) -> Maps {
        match self {
            Self::MobileFaceNet(network) => network.forward(faces),
            Self::Dlib(network) => network.forward(faces),
        }
    }
}

/// Scales a vector to unit length; a zero vector stays.
pub(crate) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

/// The cosine of two unit vectors, -1 to 1; 0 where their widths differ.
pub fn cosine(one: &[f32], other: &[f32]) -> f32 {
    if one.len() != other.len() {
        return 0.0;
    }
    one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>().clamp(-1.0, 1.0)
}
