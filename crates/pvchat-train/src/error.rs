//! The error of this crate: what was wrong, with which key or value, and what to do.

use std::path::PathBuf;

/// Everything that can go wrong in `pvchat-train`.
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
        what: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that would fit, in words.
        expected: String,
    },
    /// The number of routed modules differs from the number that the adaptive state was made for.
    #[error(
        "{found} routed modules where the objective holds the state of {expected}; make it for this model, or load its own checkpoint"
    )]
    Modules {
        /// Modules given.
        found: usize,
        /// Modules that the state is for.
        expected: usize,
    },
    /// A router produced a value that is not a number or infinite. The adaptive state was not moved.
    #[error(
        "the router of module {module} produced a value that is not finite; lower the learning rate or go back to the last checkpoint"
    )]
    NotFinite {
        /// Index of the module.
        module: usize,
    },
    /// A tensor could not be read from its device.
    #[error("reading {what} from its device failed: {problem}")]
    Device {
        /// The tensor.
        what: &'static str,
        /// The backend's answer.
        problem: String,
    },
    /// A checkpoint that cannot be written or read.
    #[error("checkpoint {}: {problem}; {remedy}", path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A checkpoint that belongs to another run.
    #[error("checkpoint {} was made by another run: {differences}; delete the folder to start over", path.display())]
    OtherRun {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What differs, as `key: here, there`.
        differences: String,
    },
    /// The loss is not a number any more.
    #[error("the loss became {loss} at step {step}; lower the learning rate")]
    Diverged {
        /// The step.
        step: usize,
        /// The loss.
        loss: f32,
    },
    /// The observer asked to stop.
    #[error("stopped at step {step} as asked")]
    Stopped {
        /// The first step that was not done.
        step: usize,
    },
    /// The model reported an error.
    #[error(transparent)]
    Model(#[from] pvchat_model::Error),
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
