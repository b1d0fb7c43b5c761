//! The list of the families, one line each, with what is made of it: [`FAMILIES`], and their vision encoders as configuration and as
//! module.

use burn::prelude::*;
use image::RgbImage;
use pvchat_data::random::SeededStream;
use pvchat_nn::{
    packed::{Precision, Weights},
    trace::Trace,
};
use serde::{Deserialize, Serialize};

use super::Family;
use crate::{
    Result,
    module_enum::module_enum,
    preprocess::ImageTiles,
    vision::{Encoded, VisionEncoder},
};

/// The sizes of an encoder, of which it is made: what a family says about its own.
pub trait EncoderConfig {
    /// The family whose encoder it is.
    fn family(&self) -> &'static str;

    /// Whether a [layer norm](crate::vision::vision_layernorm) follows the encoder.
    fn has_layernorm(&self) -> bool {
        false
    }

    /// The most frames of a clip, for encoders that see every frame by itself and so take any number; `None` for those that
    /// take exactly [`frames`](Self::frames).
    fn most_frames(&self) -> Option<usize> {
        None
    }

    /// Whether it has no form in half precision.
    fn needs_f32(&self) -> bool {
        false
    }

    /// Layers, and the width inside their feed-forward networks.
    fn depth_and_feed_forward(&self) -> (usize, usize);

    /// Height and width of the images that the encoder sees, in pixels.
    fn image_size(&self) -> usize;

    /// Frames per clip.
    fn frames(&self) -> usize;

    /// Frames of a stretch of that many seconds, [`frames`](Self::frames) at most: for encoders that take any number.
    fn frames_of(&self, _seconds: f64) -> usize {
        self.frames()
    }

    /// The squares of an image by itself; `None` for encoders that see clips only.
    ///
    /// # Errors
    /// As [`SquaresConfig::image_tiles`](crate::preprocess::SquaresConfig::image_tiles).
    fn image_tiles(&self, _image: &RgbImage) -> Result<Option<ImageTiles>> {
        Ok(None)
    }

    /// Width of a token.
    fn width(&self) -> usize;

    /// Tokens of one clip of images; of one frame for encoders that see every frame by itself.
    fn tokens(&self) -> usize;

    /// Width of the identity embedding of a person; `None` for encoders that do not distinguish people.
    fn identity_width(&self) -> Option<usize> {
        None
    }

    /// The token of the vocabulary that represents a visual token in the prompts of other programs; `None` where none does.
    fn visual_token(&self) -> Option<u32> {
        None
    }

    /// A regular expression for the names of the parameters that [`VisionEncoder::upper`] uses, without
    /// what names the encoder in a model.
    fn upper_part(&self) -> String;

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with the value at fault.
    fn check(&self) -> Result<()>;

    /// Builds the encoder; parameters are a function of the stream.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn tower(&self, stream: &mut SeededStream, device: &Device) -> Result<VisionTower>;
}

/// Makes [`FAMILIES`], [`VisionConfig`] and [`VisionTower`] of the list of families: the folder, what its encoder is called, the
/// encoder's sizes and the module.
macro_rules! families {
    ($($(#[$form:meta])* $family:ident: $variant:ident($config:ident => $encoder:ident), $about:literal;)+) => {
        /// Every family, in the order in which a config.json is offered to them.
        pub const FAMILIES: &[Family] = &[$(super::$family::FAMILY),+];

        /// The vision encoder of a configuration.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[allow(clippy::large_enum_variant)] // there is one per model
        pub enum VisionConfig {
            $(#[doc = $about] $(#[$form])* $variant(super::$family::$config),)+
        }

        impl std::ops::Deref for VisionConfig {
            type Target = dyn EncoderConfig;

            fn deref(&self) -> &Self::Target {
                match self { $(Self::$variant(config) => config,)+ }
            }
        }

        /// The vision encoder of a model. As a module it is the encoder itself.
        #[derive(Clone, Debug)]
        #[allow(clippy::large_enum_variant)] // there is one per model
        pub enum VisionTower {
            $(#[doc = $about] $variant(super::$family::$encoder),)+
        }

        impl VisionTower {
            fn encoder(&self) -> &dyn VisionEncoder {
                match self { $(Self::$variant(encoder) => encoder,)+ }
            }

            fn encoder_mut(&mut self) -> &mut dyn VisionEncoder {
                match self { $(Self::$variant(encoder) => encoder,)+ }
            }
        }

        module_enum!(VisionTower { $($variant),+ });
    };
}

// The attribute is the name in this project's own config.json; without one the encoder has its published form alone.
families! {
    #[serde(rename = "miniature")]
    miniature: Miniature(MiniatureEncoderConfig => MiniatureEncoder), "The miniature's.";
    #[serde(rename = "internvideo2")]
    internvideo2_chat: InternVideo2(InternVideo2Config => InternVideo2), "That of the paper's base.";
    #[serde(skip)]
    smolvlm2: SmolVlm2(SmolVlm2Config => SiglipTower), "SmolVLM2's.";
}

impl VisionEncoder for VisionTower {
    fn lower_traced(&self, pixels: Tensor<5>, trace: &mut Trace<'_>) -> Result<Tensor<3>> {
        self.encoder().lower_traced(pixels, trace)
    }

    fn upper_traced(&self, lower: Tensor<3>, trace: &mut Trace<'_>) -> Encoded {
        self.encoder().upper_traced(lower, trace)
    }

    fn states(&self) -> Vec<String> {
        self.encoder().states()
    }

    fn encode_watched(&self, pixels: Tensor<5>, mask: Option<Tensor<4>>, trace: &mut Trace<'_>) -> Result<Encoded> {
        self.encoder().encode_watched(pixels, mask, trace)
    }

    fn width(&self) -> usize {
        self.encoder().width()
    }

    fn tokens(&self, frames: usize) -> usize {
        self.encoder().tokens(frames)
    }

    fn packs(&self, parameter: &str) -> bool {
        self.encoder().packs(parameter)
    }

    fn is_packed(&self) -> bool {
        self.encoder().is_packed()
    }

    fn pack(&mut self, precision: Precision, weights: &mut dyn FnMut(&str) -> Result<Weights>) -> Result<()> {
        self.encoder_mut().pack(precision, weights)
    }
}
