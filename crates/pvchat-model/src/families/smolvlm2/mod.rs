//! SmolVLM2: a SigLIP encoder that sees every frame by itself, a connector that joins neighbouring patches, and a language
//! model of Llama's kind ([`Decoder`](pvchat_nn::language::Decoder)).
//!
//! ```text
//! config.rs      the published config.json and the files beside it
//! family.rs      the whole model: its files, its names, its prompts
//! frames.rs      which frames of a clip are shown, and when they were on the screen
//! preprocess.rs  frames and images to squares of bytes, by the resize of lanczos.rs
//! vision.rs      the encoder; packed.rs: with packed weights
//! connector.rs   from its tokens to the language model's
//! prompt.rs      a conversation to token ids and places for pictures
//! ```

pub mod config;
pub mod connector;
mod family;
pub mod frames;
mod lanczos;
mod packed;
pub mod preprocess;
pub mod prompt;
pub mod vision;

pub use config::SmolVlm2Config;
pub use connector::{Connector, ConnectorConfig};
pub use family::{FAMILY, config};
pub use frames::FrameSampling;
pub use packed::PackedTower;
pub use preprocess::{ImageTiles, Preprocess};
pub use prompt::{Conversation, Message, Part, PromptCodec, Role};
pub use vision::{SiglipConfig, SiglipTower};

/// Standard deviation of initial weights.
const INITIAL_DEVIATION: f32 = 0.02;
