//! From one reference clip to a training set: positives, hard negatives, questions and answers.
//!
//! [`PositiveMaker`] makes other clips of the same person out of the reference alone, [`choose_negatives`] picks from a
//! [`Corpus`] the clips to set against them, [`TrainingSetBuilder`] asks the questions of [`questions`] and puts all of it
//! together. This crate knows pictures and texts; embeddings, self-checks and descriptions come from the caller.
//!
//! ```
//! use image::{Rgb, RgbImage};
//! use pvchat_augment::{PositiveConfig, PositiveMaker, TrainingSetBuilder};
//! use pvchat_data::random::SeededStream;
//! let reference = vec![RgbImage::from_pixel(64, 64, Rgb([90, 120, 150])); 8];
//! let mut stream = SeededStream::new(7);
//! let maker = PositiveMaker::new(&reference, &[], PositiveConfig::default())?;
//! let made = maker.positives(3, &mut stream, |shown| Ok(vec![true; shown.len()]))?;
//! let set = TrainingSetBuilder::new("Aa".parse()?, reference)?
//!     .positives(made.positives)
//!     .build(&mut stream, |_frames, _aspect| Ok(None))?;
//! assert_eq!(set.clips.len(), 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod colour_odds;
pub mod error;
#[cfg(test)]
mod figures;
pub mod foreground;
pub mod free_text;
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

pub use error::{Error, Failure, Result};
pub use negatives::{Corpus, Negative, NegativeConfig, NegativeKind, choose_negatives};
pub use positive_config::PositiveConfig;
pub use positives::{Positive, PositiveMaker, Positives, Step, image_clip};
pub use questions::Aspect;
pub use similarity::SimilarityScale;
pub use together::{Together, side_by_side};
pub use training_set::{Origin, TrainingClip, TrainingSet, TrainingSetBuilder};
