//! SmolVLM2: a SigLIP encoder that sees every frame by itself, a connector that joins neighbouring patches, and a language
//! model of Llama's kind ([`Decoder`](pvchat_nn::language::Decoder)). The connector is [`Connector`](crate::bridge::Connector), frames
//! and images are brought to size by [`SquaresConfig`](crate::preprocess::SquaresConfig).
//!
//! ```text
//! config.rs      the published config.json and the files next to it
//! family.rs      the whole model: its files, its names, its prompts
//! frames.rs      which frames of a clip are shown, and when they were on the screen
//! vision.rs      the encoder; packed.rs: with packed weights
//! prompt.rs      a conversation to token ids and places for pictures
//! ```

pub mod config;
mod family;
pub mod frames;
mod packed;
pub mod prompt;
pub mod vision;

pub use config::SmolVlm2Config;
pub use family::{FAMILY, config};
pub use frames::FrameSampling;
pub use packed::PackedTower;
pub use prompt::{Conversation, Message, Part, PromptCodec, Role};
pub use vision::{SiglipConfig, SiglipTower};

/// Standard deviation of initial weights.
const INITIAL_DEVIATION: f32 = 0.02;
