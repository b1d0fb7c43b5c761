//! The error of this crate: what was wrong, with which file, key or value, and what to do.

use std::path::PathBuf;

/// Everything that can go wrong in `pvchat-model`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration value that cannot work.
    #[error("configuration: `{key}` is {value}, {remedy}")]
    Config {
        /// The key at fault.
        key: &'static str,
        /// Its value, as text.
        value: String,
        /// What would be accepted.
        remedy: String,
    },
    /// A tensor whose shape does not fit.
    #[error("{what} has shape {found:?} where {expected} is needed")]
    Shape {
        /// The tensor.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that would fit, in words.
        expected: String,
    },
    /// A weights, tokenizer or subject file that cannot be used.
    #[error("{}: {problem}; {remedy}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A prompt, question or name that cannot be used.
    #[error("{what} {value:?} {problem}")]
    Text {
        /// "question", "subject name" and so on.
        what: &'static str,
        /// The text at fault, shortened.
        value: String,
        /// What is wrong and what would be accepted.
        problem: String,
    },
    /// Subjects that cannot be asked about together, or with this view of the base.
    #[error("{name}, learned with the choice `{trains}`, cannot be asked about here: {remedy}")]
    NotComposable {
        /// The subject.
        name: String,
        /// What was trained.
        trains: crate::adaptation::Trains,
        /// What to do instead.
        remedy: &'static str,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
