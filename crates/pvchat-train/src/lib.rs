//! Objectives and the two-stage training schedule of personalised video chat.
//!
//! [`objective::Objective`] holds the routers of the Mixture-of-Heads attention to a target share of
//! active heads; its loss is added to that of the language model.

pub mod error;
pub mod objective;

pub use error::{Error, Result};
