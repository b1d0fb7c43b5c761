//! The video language model: vision encoder, bridge to the language model, prompts and subjects.

pub mod adaptation;
pub mod answer;
pub mod error;
pub mod personal;
pub mod preprocess;
pub mod prompt;
pub mod qformer;
pub mod subject;
pub mod vilm;
pub mod vision;
pub mod weights;

pub use error::{Error, Result};
