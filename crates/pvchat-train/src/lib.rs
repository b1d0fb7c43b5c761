//! Objectives and the two-stage training schedule of personalised video chat.

pub mod checkpoint;
pub mod error;
pub mod gradients;
pub mod run;

pub use error::{Error, Result};
