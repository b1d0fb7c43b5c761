//! The error of this crate: what went wrong in which part, or why nobody was learned.

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
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
