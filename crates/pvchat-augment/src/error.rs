//! The error of this crate: what was wrong with which clip, frame or value, and what to do.

/// Why something that the caller supplied (a corpus, a self-check, a describer) did not do its part.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Everything that can go wrong in `pvchat-augment`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A clip without frames.
    #[error("{clip} has no frames; give at least one")]
    NoFrames {
        /// Which clip it was.
        clip: String,
    },
    /// A frame without pixels.
    #[error("frame {frame} of {clip} has no pixels; decode the clip again")]
    EmptyFrame {
        /// Which clip it was.
        clip: String,
        /// The frame's place in the clip.
        frame: usize,
    },
    /// A frame of another size than the first frame of the reference.
    #[error(
        "frame {frame} of {clip} is {} x {} pixels, expected {} x {}; scale all clips to one size first",
        found.0, found.1, expected.0, expected.1
    )]
    FrameSize {
        /// Which clip it was.
        clip: String,
        /// The frame's place in the clip.
        frame: usize,
        /// Its width and height.
        found: (u32, u32),
        /// The width and height wanted.
        expected: (u32, u32),
    },
    /// A setting outside its range.
    #[error("`{key}` is {value}; give {expected}")]
    Setting {
        /// The setting's key.
        key: &'static str,
        /// The value given.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A self-check that did not judge every positive exactly once.
    #[error("the self-check was shown {shown} positives and returned {returned} verdicts; return one for each, in their order")]
    Verdicts {
        /// The number of positives shown.
        shown: usize,
        /// The number of verdicts returned.
        returned: usize,
    },
    /// A self-check that failed.
    #[error("the self-check of the positives failed: {0}")]
    SelfCheck(#[source] Failure),
    /// A corpus without clips.
    #[error("the corpus of negatives has no clips; give one with other people's clips")]
    EmptyCorpus,
    /// A corpus in which every clip may show the learned person.
    #[error(
        "none of the {clips} clips of the corpus is below the similarity ceiling of {ceiling}; raise `ceiling` or use another corpus"
    )]
    NoStrangers {
        /// The number of clips.
        clips: usize,
        /// The ceiling.
        ceiling: f32,
    },
    /// An embedding of another width than the reference's.
    #[error("the embedding of {of} has {found} numbers, the reference has {expected}; compute both with the same encoder")]
    EmbeddingWidth {
        /// Whose embedding it is.
        of: String,
        /// Its width.
        found: usize,
        /// The reference's width.
        expected: usize,
    },
    /// An embedding without a direction: empty, all zeros, or with a number that is not finite.
    #[error("the embedding of {of} is empty, all zeros or not finite; compute it again")]
    Embedding {
        /// Whose embedding it is.
        of: String,
    },
    /// A corpus that could not give the frames of a clip.
    #[error("the frames of clip {clip} of the corpus cannot be had: {source}")]
    Corpus {
        /// The clip's place in the corpus.
        clip: usize,
        /// The corpus's reason.
        source: Failure,
    },
    /// A describer that failed.
    #[error("the description of clip {clip} of the training set failed: {source}")]
    Describe {
        /// The clip's place in the training set.
        clip: usize,
        /// The describer's reason.
        source: Failure,
    },
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
