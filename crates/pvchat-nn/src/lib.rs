//! The layers that a video language model is made of: Mixture-of-Heads attention and its kernels, the decoder with
//! LoRA and key-value cache, fused operations, and reading weights. Nothing here knows people or a whole model.

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
pub mod packed;
mod rows;
mod simd;
pub mod trace;
pub mod weights;

pub use error::{Error, Result};
