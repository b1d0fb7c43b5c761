#![doc = include_str!("../README.md")]

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
