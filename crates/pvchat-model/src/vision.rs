//! Vision encoders behind one trait.

use crate::{Error, Result};
use burn::prelude::*;
use pvchat_nn::{
    operations::LayerNorm,
    packed::{Precision, Weights},
    trace::Trace,
};

/// Epsilon of [`vision_layernorm`].
pub const VISION_LAYERNORM_EPSILON: f64 = 1e-12;

/// An encoder's output for a batch of clips.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// `[batch, tokens, width]`.
    pub tokens: Tensor<3>,
    /// Unit-length identity embeddings of the people `[batch, people, identity_width]`; empty for encoders that do not
    /// distinguish people.
    pub identity: Tensor<3>,
}

/// Numbers as the alternatives of a regular expression.
pub(crate) fn alternatives(range: std::ops::Range<usize>) -> String {
    range.map(|index| index.to_string()).collect::<Vec<_>>().join("|")
}

/// The names of the states of an encoder of that many layers: its tokens, those after each layer, and what it returns.
pub(crate) fn layer_states(layers: usize) -> Vec<String> {
    let inside = (0..layers).map(|layer| format!("vision.layer{layer}"));
    ["vision.embeddings".to_string()].into_iter().chain(inside).chain(["vision.last_hidden_state".into()]).collect()
}

/// Something that turns frames into a sequence of tokens for the Q-Former.
pub trait VisionEncoder {
    /// The part that stays frozen whatever is trained: `pixels` `[batch, channels, frames, height, width]`, normalised
    /// as the encoder was trained ([`PreprocessConfig`](crate::preprocess::PreprocessConfig)), to tokens
    /// `[batch, tokens, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the pixels do not fit the encoder.
    fn lower(&self, pixels: Tensor<5>) -> Result<Tensor<3>> {
        self.lower_traced(pixels, &mut Trace::off())
    }

    /// The rest, from what [`lower`](Self::lower) gave: the tokens that the Q-Former reads, and the identity
    /// embeddings of the people. Encoders that do not tell people apart give empty ones, `[batch, 0, 0]`.
    fn upper(&self, lower: Tensor<3>) -> Encoded {
        self.upper_traced(lower, &mut Trace::off())
    }

    /// [`lower`](Self::lower) that shows the states of its layers.
    ///
    /// # Errors
    /// As [`lower`](Self::lower).
    fn lower_traced(&self, pixels: Tensor<5>, trace: &mut Trace<'_>) -> Result<Tensor<3>>;

    /// [`upper`](Self::upper) that shows the states of its layers.
    fn upper_traced(&self, lower: Tensor<3>, trace: &mut Trace<'_>) -> Encoded;

    /// The names of the states that are shown, in the order of computation.
    fn states(&self) -> Vec<String>;

    /// The encoder's output for pixels that another program prepared, `[images, frames, channels, height, width]`, every
    /// state shown. `mask` `[images, frames, height, width]` is 0 where a pixel is padding.
    ///
    /// # Errors
    /// As [`lower`](Self::lower), and [`Error::Config`] for a mask where the encoder knows no padding.
    fn encode_watched(&self, pixels: Tensor<5>, mask: Option<Tensor<4>>, trace: &mut Trace<'_>) -> Result<Encoded> {
        if mask.is_some() {
            let remedy = "this encoder reads every pixel; leave the mask out".into();
            return Err(Error::Config { key: "pixel_attention_mask", value: "given".into(), remedy });
        }
        let lower = self.lower_traced(pixels.swap_dims(1, 2), trace)?;
        Ok(self.upper_traced(lower, trace))
    }

    /// Encodes `pixels` into the tokens that the Q-Former reads, `[batch, tokens, width]`.
    ///
    /// # Errors
    /// As [`lower`](Self::lower).
    fn encode(&self, pixels: Tensor<5>) -> Result<Tensor<3>> {
        Ok(self.upper(self.lower(pixels)?).tokens)
    }

    /// Width of a token.
    fn width(&self) -> usize;

    /// Number of tokens of a clip with that many frames.
    fn tokens(&self, frames: usize) -> usize;

    /// Whether [`pack`](Self::pack) asks for the parameter of this name; of none where the weights cannot be packed.
    fn packs(&self, _parameter: &str) -> bool {
        false
    }

    /// Whether they are: then it cannot be trained or saved.
    fn is_packed(&self) -> bool {
        false
    }

    /// Packs its weights for inference on the CPU; `weights` is asked for each matrix by the name of its parameter.
    ///
    /// # Errors
    /// Those of `weights`; [`Error::Config`] for an encoder that cannot be packed.
    fn pack(&mut self, _precision: Precision, _weights: &mut dyn FnMut(&str) -> Result<Weights>) -> Result<()> {
        let remedy = "only the language model of this base can be packed".into();
        Err(Error::Config { key: "packed weights", value: "in this encoder".into(), remedy })
    }
}

/// The layer norm between a vision encoder and the Q-Former: over the last axis of all tokens,
/// `vision_layernorm` of the public checkpoint (weight 1 and bias 0 at the start).
pub fn vision_layernorm(width: usize, device: &Device) -> LayerNorm {
    LayerNorm::new(width, VISION_LAYERNORM_EPSILON, device)
}

/// The patches of `images` `[images, channels, height, width]` as rows, `[images, patches, channels * patch * patch]`: patch by
/// patch along the rows of an image, each in the memory layout of a kernel `[channels, patch, patch]`, so that a convolution
/// whose stride is its kernel is one matrix product. Pixels on the right and below that fill no patch are left out.
pub(crate) fn unfold_patches(images: Tensor<4>, patch: usize) -> Tensor<3> {
    let [count, channels, height, width] = images.dims();
    let (rows, columns) = (height / patch, width / patch);
    images
        .narrow(2, 0, rows * patch)
        .narrow(3, 0, columns * patch)
        .reshape([count, channels, rows, patch, columns, patch])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([count, rows * columns, channels * patch * patch])
}
