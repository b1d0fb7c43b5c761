//! The video language model of PVChat: vision encoder, Q-Former with Mixture-of-Heads attention,
//! language model, personal tokens.

pub mod adaptation;
pub mod answer;
pub mod device;
pub mod dropout;
pub mod error;
pub mod file;
#[cfg(any(feature = "flex", feature = "cube"))]
mod graph;
pub mod init;
pub mod language;
pub mod moh;
pub mod operations;
#[cfg(feature = "flex")]
pub mod packed;
pub mod personal;
pub mod preprocess;
pub mod prompt;
pub mod qformer;
#[cfg(feature = "flex")]
mod simd;
pub mod subject;
pub mod vilm;
pub mod vision;
pub mod weights;

pub use error::{Error, Result};
