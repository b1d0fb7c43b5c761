//! An aligned face to a vector whose direction says who it is.

use burn::prelude::*;
use image::RgbImage;

use crate::{
    Result,
    layers::Maps,
    networks::{DlibResNet, MobileFaceNet},
    unit::normalise,
};

/// The shortest embedding of MobileFaceNet that distinguishes people, before it is scaled: sharp faces have 55 to 90, of 24
/// pixels 49 to 73; those that blur made unlike themselves have at most 50 (docs/people-benchmarks.md).
const TELLING: f32 = 52.0;

/// The network that embeds faces.
#[derive(Debug)]
pub(crate) enum Embedder {
    MobileFaceNet(Box<MobileFaceNet>),
    Dlib(Box<DlibResNet>),
    #[cfg(feature = "onnx")]
    Own(Box<crate::onnx::Embedder>),
}

impl Embedder {
    /// Side of an aligned face in pixels.
    pub(crate) fn side(&self) -> usize {
        match self {
            Self::MobileFaceNet(_) => MobileFaceNet::SIDE,
            Self::Dlib(_) => DlibResNet::SIDE,
            #[cfg(feature = "onnx")]
            Self::Own(network) => network.side(),
        }
    }

    /// Whether the length of an embedding says how much was found in the face.
    pub(crate) fn has_strength(&self) -> bool {
        matches!(self, Self::MobileFaceNet(_))
    }

    /// Numbers of an embedding.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::MobileFaceNet(_) => MobileFaceNet::WIDTH,
            Self::Dlib(_) => DlibResNet::WIDTH,
            #[cfg(feature = "onnx")]
            Self::Own(network) => network.width(),
        }
    }

    /// The embedding of an aligned face, of unit length, and [`Quality::strength`](crate::Quality::strength).
    pub(crate) fn embed(&self, aligned: &RgbImage, device: &Device) -> Result<(Vec<f32>, f32)> {
        let normalised: fn((usize, &u8)) -> f32 = match self {
            Self::MobileFaceNet(_) => |(_, level)| (f32::from(*level) - 127.5) / 128.0,
            Self::Dlib(_) => |(place, level)| (f32::from(*level) - DlibResNet::MEAN[place % 3]) / 255.0,
            #[cfg(feature = "onnx")]
            Self::Own(network) => return Ok((network.embed(aligned)?, 1.0)),
        };
        let side = self.side();
        let values = aligned.as_raw().iter().enumerate().map(normalised).collect();
        let mut embedding = self.forward(&Maps::of_points(values, [1, side, side, 3], device))?.points("the face embedder")?;
        let length = embedding.iter().map(|value| value * value).sum::<f32>().sqrt();
        normalise(&mut embedding);
        let strength = if self.has_strength() { length / TELLING } else { 1.0 };
        Ok((embedding, strength))
    }

    /// `[n, 3, side, side]`, normalised as the network wants it, to `[n, width, 1, 1]`; shipped networks only.
    pub(crate) fn forward(&self, faces: &Maps) -> Result<Maps> {
        match self {
            Self::MobileFaceNet(network) => Ok(network.forward(faces)),
            Self::Dlib(network) => Ok(network.forward(faces)),
            #[cfg(feature = "onnx")]
            Self::Own(_) => Err(crate::onnx::not_shipped(crate::networks::Network::Embedder)),
        }
    }
}
