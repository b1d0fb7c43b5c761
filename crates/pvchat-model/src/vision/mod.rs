//! Vision encoders behind one trait.

pub mod internvideo2;
pub mod miniature;
pub mod positions;

pub use internvideo2::{InternVideo2, InternVideo2Config};

use crate::{Result, init};
use burn::{nn::LayerNorm, prelude::*};

/// Epsilon of [`vision_layernorm`].
pub const VISION_LAYERNORM_EPSILON: f64 = 1e-12;

/// Something that turns frames into a sequence of tokens for the Q-Former.
pub trait VisionEncoder {
    /// Encodes `pixels` `[batch, channels, frames, height, width]` (normalised) into `[batch, tokens, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the pixels do not fit the encoder.
    fn encode(&self, pixels: Tensor<5>) -> Result<Tensor<3>>;

    /// Width of a token.
    fn width(&self) -> usize;

    /// Number of tokens of a clip with that many frames.
    fn tokens(&self, frames: usize) -> usize;
}

/// The layer norm that stands between a vision encoder and the Q-Former: over the last axis of all tokens,
/// `vision_layernorm` of the public checkpoint (weight 1 and bias 0 at the start).
pub fn vision_layernorm(width: usize, device: &Device) -> LayerNorm {
    init::layer_norm(width, VISION_LAYERNORM_EPSILON, device)
}
