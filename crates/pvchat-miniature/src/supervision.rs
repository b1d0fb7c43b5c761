//! What a base is taught about people.

use pvchat_model::families::miniature::MiniatureEncoderConfig;

use crate::words;

/// The labels that the encoder gets about the people of its clips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supervision {
    /// Every attribute, and which clips show the same person.
    #[default]
    People,
    /// What descriptions name, and nothing about who anybody is: everybody is a stranger in every clip.
    Descriptions,
}

impl Supervision {
    /// Sizes of the encoder: without identities it has no identity embedding.
    pub fn encoder(self) -> MiniatureEncoderConfig {
        let config = MiniatureEncoderConfig::default();
        match self {
            Self::People => config,
            Self::Descriptions => MiniatureEncoderConfig { identity_width: None, ..config },
        }
    }

    /// The labels for an encoder of these sizes: they depend on whether it has an identity embedding.
    pub fn of(config: &MiniatureEncoderConfig) -> Self {
        if config.identity_width.is_some() { Self::People } else { Self::Descriptions }
    }

    /// Whether the attribute of that index is a label.
    pub(crate) fn tells(self, attribute: usize) -> bool {
        self == Self::People || words::DESCRIBED_ATTRIBUTES.contains(&attribute)
    }
}
