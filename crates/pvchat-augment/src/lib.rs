#![doc = include_str!("../README.md")]

pub mod clip_kind;
mod colour_odds;
pub mod error;
pub mod exchange;
mod fault;
#[cfg(test)]
mod figures;
pub mod filmed;
pub mod foreground;
pub mod free_text;
pub mod generator;
mod mask;
pub mod negatives;
mod pixels;
pub mod positive_config;
pub mod positives;
pub mod questions;
pub mod similarity;
#[cfg(test)]
mod tests;
pub mod together;
pub mod training_set;

pub use clip_kind::{ClipKind, ClipKinds};
pub use error::{Error, Failure, Result};
pub use negatives::{Corpus, Negative, NegativeConfig, NegativeKind, Nobody, choose_negatives};
pub use positive_config::PositiveConfig;
pub use positives::{Positive, PositiveMaker, Positives, Step, image_clip};
pub use questions::Aspect;
pub use similarity::SimilarityScale;
pub use together::{Together, side_by_side};
pub use training_set::{Origin, TrainingClip, TrainingSet, TrainingSetBuilder};
