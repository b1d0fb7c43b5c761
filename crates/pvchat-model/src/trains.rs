//! The choice of what is trained when a person is learned.

use serde::{Deserialize, Serialize};

/// What is trained when a person is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trains {
    /// The person's tokens and rows: subjects learned so can be asked about together. The default.
    #[default]
    Composable,
    /// Also the routers, and LoRA on every linear layer of the language model. The routers are those of the Q-Former; a base
    /// without one gets them in the decoder, and then none of the adapters is on the head.
    Personal,
    /// Also the Q-Former and the projection behind it, or the base's other connection of the two networks: what the paper trains in its first stage.
    PersonalAndBridge,
    /// Also the upper part of the vision encoder ([`VisionEncoder::upper`](crate::vision::VisionEncoder::upper)), as in
    /// the paper's second stage.
    PersonalBridgeAndVision,
}

impl std::fmt::Display for Trains {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Composable => "composable",
            Self::Personal => "personal",
            Self::PersonalAndBridge => "personal-and-bridge",
            Self::PersonalBridgeAndVision => "personal-bridge-and-vision",
        })
    }
}

impl Trains {
    /// Whether subjects learned so can be asked about together.
    pub fn is_composable(self) -> bool {
        self == Self::Composable
    }

    /// Whether the upper part of the vision encoder is trained.
    pub fn trains_vision(self) -> bool {
        self == Self::PersonalBridgeAndVision
    }
}
