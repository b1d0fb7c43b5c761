#![doc = include_str!("../README.md")]

mod error;
mod learner;
mod options;
pub mod remember;
mod shots;
mod together;

pub use error::{Error, Result};
pub use learner::{Enrol, LearnEvent, Learned, Learner, Personalizer, cosine, identities};
pub use options::{LearnOptions, Start};
pub use remember::Remember;
pub use shots::{LearnedFrom, Shot};
pub use together::LearnedTogether;
