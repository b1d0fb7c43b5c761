//! The error of this crate: what went wrong in which part, or why nobody was learned.

use std::path::PathBuf;

/// Everything that can go wrong in `pvchat-learn`. It can be matched exhaustively, so that a facade hands every case on as its own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model, or a name or question that it cannot use.
    #[error(transparent)]
    Model(#[from] pvchat_model::Error),
    /// Making training clips failed.
    #[error(transparent)]
    Augment(#[from] pvchat_augment::Error),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] pvchat_train::Error),
    /// A name or a dataset is not usable.
    #[error(transparent)]
    Data(#[from] pvchat_data::Error),
    /// A dataset that nobody can be learned from.
    #[error("{} cannot be learned from: {}", file.display(), problems.join("; "))]
    Unfit {
        /// The dataset.
        file: PathBuf,
        /// Everything that is wrong with it.
        problems: Vec<String>,
    },
    /// Learning that was interrupted and is called again with something else than it was begun with.
    #[error(
        "learning {name}, in {}, was begun with {begun_with}; give it the same to resume it, or forget {name} to begin anew",
        folder.display()
    )]
    OtherLearning {
        /// Who is being learned.
        name: String,
        /// Where that is kept.
        folder: PathBuf,
        /// What differs, in words.
        begun_with: String,
    },
    /// The clips that learning held back say that nothing was learned.
    #[error(
        "{name} was not learned: with and without {name} in a clip, {:.0} % of those held back are judged rightly, and guessing gives 50 %; use a clip that shows the person alone and clearly, or enrol without this check",
        100.0 * accuracy
    )]
    NotLearned {
        /// Who was to be learned.
        name: String,
        /// Balanced accuracy on the clips held back, of what would have been kept; 0.5 is chance.
        accuracy: f32,
    },
    /// Two people who are to be learned together could not be put into one clip.
    #[error(
        "no clip with {first} and {second} together could be made of their clips; use clips that show each alone in front of a calmer background, or learn them apart"
    )]
    NotTogether {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// A folder of subjects, or of learning in it, cannot be read or changed.
    #[error("{}: {source}; {}", path.display(), pvchat_data::remedy(source))]
    Io {
        /// The folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
