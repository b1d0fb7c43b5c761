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
    #[error("checkpoint {} was made by another run: {}; delete the folder to start over", path.display(), listed(differences))]
    OtherRun {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// The folder of checkpoints is held by another training.
    #[error(
        "{} is in use{}; wait for that training or stop it, or choose another folder",
        folder.display(),
        if process.is_empty() { String::new() } else { format!(" by process {process}") }
    )]
    Busy {
        /// The folder.
        folder: PathBuf,
        /// The process that holds it, as far as it said so.
        process: String,
    },
    /// The loss, its gradient or the parameters are not numbers any more.
    #[error(
        "the {what} became {value} at step {step} ({batch}); lower the learning rate, or look at that batch; {}",
        kept.map_or("no checkpoint had been written".to_string(), |step| format!("the checkpoint of step {step} is kept"))
    )]
    Diverged {
        /// The step, counted from 0.
        step: usize,
        /// "loss", "norm of the gradients" or "sum of the parameters".
        what: &'static str,
        /// Its value.
        value: f64,
        /// The batch, in the task's words.
        batch: String,
        /// Steps done in the newest checkpoint, if there is one.
        kept: Option<usize>,
    },
    /// The observer asked to stop.
    #[error("stopped at step {step} as asked")]
    Stopped {
        /// The first step that was not done.
        step: usize,
    },
    /// The time that was given is used up.
    #[error(
        "the time budget of {seconds} s was used up before step {step}; give more, or resume from the checkpoints if there are any"
    )]
    OutOfTime {
        /// The first step that was not done.
        step: usize,
        /// The budget.
        seconds: f64,
    },
    /// Features that did not fit into memory could not be written or read again.
    #[error("features of clips in {}: {source}; free some space, choose another folder, or allow more memory", folder.display())]
    Features {
        /// The folder that holds them.
        folder: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The model reported an error.
    #[error(transparent)]
    Model(#[from] pvchat_model::Error),
}

/// What identifies a run and is another thing in its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub key: String,
    /// Its value in the run, "nothing" without one.
    pub here: String,
    /// Its value in the checkpoint, "nothing" without one.
    pub there: String,
}

fn listed(differences: &[Difference]) -> String {
    let said = differences.iter().map(|Difference { key, here, there }| format!("{key}: {here} here, {there} there"));
    said.collect::<Vec<_>>().join("; ")
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl From<pvchat_nn::Error> for Error {
    fn from(error: pvchat_nn::Error) -> Self {
        Self::Model(error.into())
    }
}
