//! Which vision encoder a model has, as configuration and as module.

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_nn::packed::{Precision, Weights};
use serde::{Deserialize, Serialize};

use super::{Encoded, VisionEncoder};
use crate::{
    Error, Result,
    families::{
        internvideo2_chat::{self, InternVideo2, InternVideo2Config, first_upper_block},
        miniature::{self, MiniatureEncoder, MiniatureEncoderConfig},
        smolvlm2::{self, SiglipTower, SmolVlm2Config},
    },
    module_enum::module_enum,
};

/// The vision encoder of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum VisionConfig {
    /// The miniature's.
    #[serde(rename = "miniature")]
    Miniature(MiniatureEncoderConfig),
    /// The published one.
    #[serde(rename = "internvideo2")]
    InternVideo2(InternVideo2Config),
    /// SmolVLM2's, in its published form.
    #[serde(skip)]
    SmolVlm2(Box<SmolVlm2Config>),
}

impl VisionConfig {
    /// The family whose encoder it is.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Miniature(_) => miniature::NAME,
            Self::InternVideo2(_) => internvideo2_chat::NAME,
            Self::SmolVlm2(_) => smolvlm2::NAME,
        }
    }

    /// Whether a [layer norm](super::vision_layernorm) stands behind the encoder.
    pub fn has_layernorm(&self) -> bool {
        matches!(self, Self::InternVideo2(_))
    }

    /// The most frames of a clip, for encoders that see every frame by itself and so take any number; `None` for those that
    /// take exactly [`frames`](Self::frames).
    pub fn most_frames(&self) -> Option<usize> {
        match self {
            Self::Miniature(_) | Self::InternVideo2(_) => None,
            Self::SmolVlm2(_) => Some(smolvlm2::MOST_FRAMES),
        }
    }

    /// Whether it has no form in half precision.
    pub fn needs_f32(&self) -> bool {
        matches!(self, Self::Miniature(_))
    }

    /// Layers, and the width inside their feed-forward networks.
    pub(crate) fn depth_and_feed_forward(&self) -> (usize, usize) {
        match self {
            Self::Miniature(config) => (config.blocks_inside.saturating_add(config.blocks_across), config.intermediate),
            Self::InternVideo2(config) => (config.depth, config.mlp_hidden),
            Self::SmolVlm2(config) => (config.vision.layers, config.vision.mlp_hidden),
        }
    }

    /// Height and width of the images that the encoder sees, in pixels.
    pub fn image_size(&self) -> usize {
        match self {
            Self::Miniature(config) => config.frame_side,
            Self::InternVideo2(config) => config.image_size,
            Self::SmolVlm2(config) => config.vision.image_size,
        }
    }

    /// Frames per clip.
    pub fn frames(&self) -> usize {
        match self {
            Self::Miniature(config) => config.frames,
            Self::InternVideo2(config) => config.frames,
            Self::SmolVlm2(config) => config.sampling.most.min(smolvlm2::FRAMES),
        }
    }

    /// Width of a token.
    pub fn width(&self) -> usize {
        match self {
            Self::Miniature(config) => config.width,
            Self::InternVideo2(config) => config.width,
            Self::SmolVlm2(config) => config.vision.width,
        }
    }

    /// Tokens of one clip of images; of one frame for encoders that see every frame by itself.
    pub fn tokens(&self) -> usize {
        match self {
            Self::Miniature(config) => config.memory_tokens(),
            Self::InternVideo2(config) => config.tokens(config.frames),
            Self::SmolVlm2(config) => config.vision.tokens(),
        }
    }

    /// Width of the identity embedding of a person; `None` for encoders that do not tell people apart.
    pub fn identity_width(&self) -> Option<usize> {
        match self {
            Self::Miniature(config) => Some(config.identity_width),
            Self::InternVideo2(_) | Self::SmolVlm2(_) => None,
        }
    }

    /// A regular expression for the names of the parameters that [`VisionEncoder::upper`] uses, without
    /// what names the encoder in a model.
    pub fn upper_part(&self) -> String {
        let blocks = |range: std::ops::Range<usize>| range.map(|index| index.to_string()).collect::<Vec<_>>().join("|");
        match self {
            Self::Miniature(config) => {
                let across = config.blocks_inside..config.blocks_inside + config.blocks_across;
                format!(r"(blocks\.({})\.|norm\.|readout\.)", blocks(across))
            }
            Self::InternVideo2(config) => {
                let built = config.built_blocks();
                format!(r"blocks\.({})\.", blocks(first_upper_block(built)..built))
            }
            Self::SmolVlm2(config) => {
                let layers = config.vision.layers;
                format!(r"encoder\.layers\.({})\.", blocks(layers / 2..layers))
            }
        }
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with the value at fault.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Miniature(config) => config.validate(),
            Self::InternVideo2(config) => config.validate(),
            Self::SmolVlm2(config) => config.validate(),
        }
    }

    /// Builds the encoder; parameters are a function of the stream.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, stream: &mut SeededStream, device: &Device) -> Result<VisionTower> {
        self.validate()?;
        Ok(match self {
            Self::Miniature(config) => VisionTower::Miniature(config.init(stream, device)),
            Self::InternVideo2(config) => VisionTower::InternVideo2(config.init(stream, device)?),
            Self::SmolVlm2(config) => VisionTower::SmolVlm2(config.vision.init(stream, device)?),
        })
    }
}

/// The vision encoder of a model. As a module it is the encoder itself.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // there is one per model
pub enum VisionTower {
    /// The miniature's.
    Miniature(MiniatureEncoder),
    /// The published one.
    InternVideo2(InternVideo2),
    /// SmolVLM2's.
    SmolVlm2(SiglipTower),
}

impl VisionTower {
    /// Whether its weights can be packed.
    pub fn can_pack(&self) -> bool {
        matches!(self, Self::SmolVlm2(_))
    }

    /// Packs its weights; see [`SiglipTower::pack`].
    ///
    /// # Errors
    /// As there, and [`Error::Config`] for an encoder that cannot be packed.
    pub fn pack(&mut self, precision: Precision, weights: &mut dyn FnMut(&str) -> Result<Weights>) -> Result<()> {
        match self {
            Self::SmolVlm2(tower) => tower.pack(precision, weights),
            Self::Miniature(_) | Self::InternVideo2(_) => Err(Error::Config {
                key: "packed weights",
                value: "in this encoder".into(),
                remedy: "only the language model of this base can be packed".into(),
            }),
        }
    }
}

/// `$body` with the encoder of a [`VisionTower`] as `$encoder`.
macro_rules! either {
    ($tower:expr, $encoder:ident => $body:expr) => {
        match $tower {
            VisionTower::Miniature($encoder) => $body,
            VisionTower::InternVideo2($encoder) => $body,
            VisionTower::SmolVlm2($encoder) => $body,
        }
    };
}

impl VisionEncoder for VisionTower {
    fn lower(&self, pixels: Tensor<5>) -> Result<Tensor<3>> {
        either!(self, encoder => encoder.lower(pixels))
    }

    fn upper(&self, lower: Tensor<3>) -> Encoded {
        either!(self, encoder => encoder.upper(lower))
    }

    fn width(&self) -> usize {
        either!(self, encoder => encoder.width())
    }

    fn tokens(&self, frames: usize) -> usize {
        either!(self, encoder => encoder.tokens(frames))
    }
}

module_enum!(VisionTower { Miniature, InternVideo2, SmolVlm2 });
