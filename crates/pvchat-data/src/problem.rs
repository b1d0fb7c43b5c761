//! The reasons against training on a dataset, each with its place and its remedy.

use crate::SubjectName;
use std::{fmt, path::PathBuf};

/// One reason why a dataset should not be trained on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// There is no video.
    NoVideos,
    /// A video without a path.
    NoPath {
        /// Index of the video.
        video: usize,
    },
    /// A file that two videos share.
    DuplicatePath {
        /// The file.
        path: PathBuf,
        /// Index of its first video.
        first: usize,
        /// Index of the other.
        second: usize,
    },
    /// A video that is about nobody.
    NoSubject {
        /// Index of the video.
        video: usize,
    },
    /// A subject that a video names twice.
    DuplicateSubject {
        /// Index of the video.
        video: usize,
        /// The name.
        subject: SubjectName,
    },
    /// A subject said to be present in a video that is not about that subject.
    StrangerPresent {
        /// Index of the video.
        video: usize,
        /// The name.
        subject: SubjectName,
    },
    /// A video without questions.
    NoQuestions {
        /// Index of the video.
        video: usize,
    },
    /// A question or answer without text.
    EmptyText {
        /// Index of the video.
        video: usize,
        /// Index of the pair.
        pair: usize,
        /// `question` or `answer`.
        field: &'static str,
    },
    /// A pair whose kind and `is_special` contradict each other.
    KindMismatch {
        /// Index of the video.
        video: usize,
        /// Index of the pair.
        pair: usize,
    },
    /// A subject without a clip that shows it.
    NoPositive {
        /// The name.
        subject: SubjectName,
    },
    /// A subject without a clip of somebody else.
    NoNegative {
        /// The name.
        subject: SubjectName,
    },
}

impl Problem {
    /// Whether only training suffers: a test file may well hold one class.
    pub fn concerns_balance(&self) -> bool {
        matches!(self, Self::NoPositive { .. } | Self::NoNegative { .. })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVideos => write!(formatter, "there is no video; add at least one with questions"),
            Self::NoPath { video } => write!(formatter, "videos[{video}]: `video_path` is empty; name the file"),
            Self::DuplicatePath { path, first, second } => {
                write!(formatter, "videos[{second}]: {} is already videos[{first}]; merge their questions", path.display())
            }
            Self::NoSubject { video } => {
                write!(formatter, "videos[{video}]: it is about nobody; name the subject in `sks_present`")
            }
            Self::DuplicateSubject { video, subject } => {
                write!(formatter, "videos[{video}]: {subject} is named twice; name it once")
            }
            Self::StrangerPresent { video, subject } => {
                write!(formatter, "videos[{video}]: {subject} is present but not among its subjects; add it there")
            }
            Self::NoQuestions { video } => {
                write!(formatter, "videos[{video}]: `qa_pairs` is empty; add a question or drop the video")
            }
            Self::EmptyText { video, pair, field } => {
                write!(formatter, "videos[{video}].qa_pairs[{pair}].{field}: it is empty; fill it or drop the pair")
            }
            Self::KindMismatch { video, pair } => {
                write!(formatter, "videos[{video}].qa_pairs[{pair}]: `is_special` must be true exactly for the kind existence")
            }
            Self::NoPositive { subject } => {
                write!(formatter, "{subject} is in no clip; add positives, or there is nothing to learn")
            }
            Self::NoNegative { subject } => {
                write!(formatter, "{subject} is in every clip; add clips of others, or the model learns to say yes always")
            }
        }
    }
}
