#![doc = include_str!("../README.md")]

mod dataset;
mod error;
mod exchanged;
mod folders;
mod learner;
mod looks;
mod material;
mod options;
pub mod remember;
mod shots;
mod together;
mod unfinished;
mod untouched;

pub use error::{Error, Result};
pub use folders::LearningFolders;
pub use learner::{Enrol, LearnEvent, Learned, Learner, Personalizer, cosine, identities};
pub use options::{LearnOptions, Start};
pub use remember::Remember;
pub use shots::{LearnedFrom, Shot};
pub use together::LearnedTogether;
pub use unfinished::Unfinished;
