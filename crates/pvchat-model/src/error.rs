//! The error of this crate: what was wrong, with which file, key or value, and what to do.

use std::path::PathBuf;

use pvchat_nn::weights::listed;

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
    /// A checkpoint whose keys are not those of the model. The keys are the checkpoint's.
    #[error("{}: {}; use the weights of this configuration, or the configuration of these weights", file.display(), keys_at_fault(missing, unexpected, mismatched))]
    Checkpoint {
        /// The file.
        file: PathBuf,
        /// Keys that the model needs and the checkpoint lacks.
        missing: Vec<String>,
        /// Keys that the model has no place for.
        unexpected: Vec<String>,
        /// Keys of another shape.
        mismatched: Vec<ShapeMismatch>,
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
        trains: crate::trains::Trains,
        /// What to do instead.
        remedy: &'static str,
    },
    /// Reading or writing failed.
    #[error("{}: {source}; {}", file.display(), pvchat_data::remedy(source))]
    Io {
        /// The file.
        file: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// What the layers report of devices, float types and numbers.
    #[error(transparent)]
    Nn(pvchat_nn::Error),
}

/// A faulty configuration, shape or file gives the same message in every layer.
impl From<pvchat_nn::Error> for Error {
    fn from(error: pvchat_nn::Error) -> Self {
        use pvchat_nn::Error as Nn;
        match error {
            Nn::Config { key, value, remedy } => Self::Config { key, value, remedy },
            Nn::Shape { what, found, expected } => Self::Shape { what, found, expected },
            Nn::File { file, problem, remedy } => Self::File { file, problem, remedy },
            Nn::Io { file, source } => Self::Io { file, source },
            other => Self::Nn(other),
        }
    }
}

/// A tensor of a checkpoint whose shape is not that of its parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// The checkpoint's key.
    pub key: String,
    /// The shape in the checkpoint.
    pub found: Vec<usize>,
    /// The shape of the parameter in the checkpoint's layout.
    pub expected: Vec<usize>,
}

fn keys_at_fault(missing: &[String], unexpected: &[String], mismatched: &[ShapeMismatch]) -> String {
    let shapes = |mismatch: &ShapeMismatch| {
        format!("{} has shape {:?} where {:?} is needed", mismatch.key, mismatch.found, mismatch.expected)
    };
    let mismatched: Vec<String> = mismatched.iter().map(shapes).collect();
    let parts = [("lacks ", missing), ("has no use for ", unexpected), ("", mismatched.as_slice())];
    let said = parts.into_iter().filter(|(_, keys)| !keys.is_empty()).map(|(verb, keys)| format!("{verb}{}", listed(keys)));
    said.collect::<Vec<_>>().join("; ").replace('`', "")
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
