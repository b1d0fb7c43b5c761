//! Everything that can go wrong when people are found, stored and compared.

use std::path::{Path, PathBuf};

use crate::models;

/// The error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Model files are absent, damaged or cannot be fetched.
    #[error(transparent)]
    Models(#[from] models::Error),
    /// A file of weights is not what its network needs.
    #[error("{}: {problem}; run `pvchat models get people` to replace it", file.display())]
    Weights {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The device cannot compute what was asked.
    #[error("the device gave no result for {what}: {problem}; lower the number of frames, or use the processor")]
    Device {
        /// What was computed.
        what: &'static str,
        /// What the device said.
        problem: String,
    },
    /// Templates of another embedding model.
    #[error(
        "{name} was enrolled with the model {found}, this program compares with {expected}; replace these looks: \
         pvchat enrol CLIP --name {name} --replace"
    )]
    OtherModel {
        /// The person.
        name: String,
        /// The model of the person's templates.
        found: String,
        /// The model that is loaded.
        expected: String,
    },
    /// Somebody who is not known.
    #[error("nobody called {name} in {}; enrolled: {known}", folder.display())]
    Unknown {
        /// Who was asked for.
        name: String,
        /// The folder of people.
        folder: PathBuf,
        /// Who is there.
        known: String,
    },
    /// A file that is not what it should be.
    #[error("{}: {problem}; {remedy}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}; {}", path.display(), pvchat_data::remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A JSON file cannot be read or written.
    #[error(transparent)]
    Data(#[from] pvchat_data::Error),
    /// A request that does not fit the person.
    #[error("{name}: {problem}; {remedy}")]
    Person {
        /// The person.
        name: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A network of the user's own, or its description, that cannot be used.
    #[cfg(feature = "onnx")]
    #[error("{}: {key}: {problem}; {remedy}", file.display())]
    Onnx {
        /// The ONNX file, or its description where that cannot be read.
        file: PathBuf,
        /// The key of the description, or the part of the network: `network`, `input`, `outputs`, or the name of an output.
        key: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A setting out of its range.
    #[error("{key} is {value}; {remedy}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What to do.
        remedy: String,
    },
}

impl Error {
    pub(crate) fn weights(file: &Path, problem: impl Into<String>) -> Self {
        Self::Weights { file: file.to_path_buf(), problem: problem.into() }
    }

    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
