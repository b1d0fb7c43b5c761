//! The error of this crate: what was wrong, with which file, key or value, and what to do.

use std::path::PathBuf;

use burn::tensor::DType;

use crate::weights::listed;

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
    /// A device that this build cannot compute on.
    #[error(
        "{key} {value:?} {problem}; this build has: {}; name one of them, leave the choice out, or build with the cargo feature of another",
        if available.is_empty() { "none" } else { available.as_str() }
    )]
    Device {
        /// Where the choice came from: "device" or the environment variable.
        key: &'static str,
        /// The choice.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What is compiled in.
        available: String,
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
    /// A tensor of another float type than the weights that it meets.
    #[error("{what} is {found:?} where the weights are {expected:?}: cast one of them")]
    FloatType {
        /// The tensor.
        what: &'static str,
        /// Its type.
        found: DType,
        /// That of the weights.
        expected: DType,
    },
    /// A tensor with an element that is no number.
    #[error("{what} hold NaN at {place}: the weights or the input before them are damaged, or a training step was too large")]
    NotANumber {
        /// The tensor.
        what: &'static str,
        /// Where in it.
        place: String,
    },
    /// Weights that cannot be rounded.
    #[error("{what} hold {value} at number {place}: the file before them is damaged; pack weights without infinities and NaN")]
    NotFinite {
        /// The weights.
        what: &'static str,
        /// Which of them, in their order.
        place: usize,
        /// The number there.
        value: f32,
    },
    /// A tensor that lies where a kernel cannot read it.
    #[error("{what} must lie in the memory of the CPU, without gradients: move the tensor to flex, or take its inner tensor")]
    NotOnCpu {
        /// The tensor.
        what: &'static str,
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
        trains: crate::adaptation::Trains,
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
