//! Objectives and the two-stage training schedule of personalised video chat.
//!
//! [`objective::Objective`] holds the routers of the Mixture-of-Heads attention to a target share of
//! active heads; its loss is added to that of the language model. [`run::run`] is the training loop,
//! with checkpoints that a killed process resumes from. [`personal::learn`] trains one person, [`personal::learn_together`]
//! several; [`features::FeatureCache`] holds what the frozen encoder made of their clips.

pub mod checkpoint;
pub mod error;
pub mod features;
pub mod gradients;
pub mod objective;
pub mod personal;
pub mod run;

pub use error::{Error, Result};
