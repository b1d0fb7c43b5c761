//! Which vision encoder a model has, as configuration and as module.

use burn::prelude::*;
use pvchat_nn::packed::{Precision, Weights};
use serde::{Deserialize, Serialize};

use super::{Encoded, EncoderConfig, VisionEncoder};
use crate::{
    Result,
    families::{
        internvideo2_chat::{InternVideo2, InternVideo2Config},
        miniature::{MiniatureEncoder, MiniatureEncoderConfig},
        smolvlm2::{SiglipTower, SmolVlm2Config},
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

impl std::ops::Deref for VisionConfig {
    type Target = dyn EncoderConfig;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Miniature(config) => config,
            Self::InternVideo2(config) => config,
            Self::SmolVlm2(config) => &**config,
        }
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

    fn can_pack(&self) -> bool {
        either!(self, encoder => encoder.can_pack())
    }

    fn is_packed(&self) -> bool {
        either!(self, encoder => encoder.is_packed())
    }

    fn pack(&mut self, precision: Precision, weights: &mut dyn FnMut(&str) -> Result<Weights>) -> Result<()> {
        either!(self, encoder => VisionEncoder::pack(encoder, precision, weights))
    }
}

module_enum!(VisionTower { Miniature, InternVideo2, SmolVlm2 });
