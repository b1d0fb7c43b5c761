//! The error of this crate: what was wrong, with which file, key or value, and what to do.

use std::path::PathBuf;

use burn::tensor::DType;

/// Everything that can go wrong in `pvchat-nn`.
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
    /// A tensor that is stored where a kernel cannot read it.
    #[error("{what} must lie in the memory of the CPU, without gradients: move the tensor to flex, or take its inner tensor")]
    NotOnCpu {
        /// The tensor.
        what: &'static str,
    },
    /// A weights file, or another file that is read with it, that cannot be used.
    #[error("{}: {problem}; {remedy}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
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

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
