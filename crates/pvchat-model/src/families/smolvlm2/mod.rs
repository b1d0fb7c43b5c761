//! SmolVLM2: a SigLIP encoder that sees every frame by itself, a connector that joins neighbouring patches, and a language
//! model of Mistral's kind.
//!
//! ```text
//! config.rs      the published config.json and the files beside it
//! frames.rs      which frames of a clip are shown, and when they were on the screen
//! preprocess.rs  frames and images to squares of bytes, by the resize of lanczos.rs
//! prompt.rs      a conversation to token ids and places for pictures
//! ```

pub mod config;
pub mod frames;
mod lanczos;
pub mod preprocess;
pub mod prompt;

pub use config::{SmolVlm2Config, VisionSizes};
pub use frames::FrameSampling;
pub use preprocess::{ImageTiles, Preprocess};
pub use prompt::{Conversation, Message, Part, PromptCodec, Role, Segment};
