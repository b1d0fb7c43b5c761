//! What makes a dataset unfit for training, all problems at once.

use crate::{Dataset, Error, QaKind, Result, SubjectName};
use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::{Path, PathBuf},
};

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

impl Dataset {
    /// Everything that speaks against training on this dataset, in the order of the videos.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.videos.is_empty() {
            problems.push(Problem::NoVideos);
        }
        let mut seen: HashMap<&Path, usize> = HashMap::new();
        for (index, video) in self.videos.iter().enumerate() {
            if video.path.as_os_str().is_empty() {
                problems.push(Problem::NoPath { video: index });
            } else if let Some(&first) = seen.get(video.path.as_path()) {
                problems.push(Problem::DuplicatePath { path: video.path.clone(), first, second: index });
            } else {
                seen.insert(&video.path, index);
            }
            if video.subjects.is_empty() {
                problems.push(Problem::NoSubject { video: index });
            }
            for names in [&video.subjects, &video.present] {
                let mut once = HashSet::new();
                let twice = names.iter().filter(|name| !once.insert(*name));
                problems.extend(twice.map(|name| Problem::DuplicateSubject { video: index, subject: name.clone() }));
            }
            let strangers = video.present.iter().filter(|name| !video.subjects.contains(name));
            problems.extend(strangers.map(|name| Problem::StrangerPresent { video: index, subject: name.clone() }));
            if video.qa_pairs.is_empty() {
                problems.push(Problem::NoQuestions { video: index });
            }
            for (pair, qa) in video.qa_pairs.iter().enumerate() {
                for (field, text) in [("question", &qa.question), ("answer", &qa.answer)] {
                    if text.trim().is_empty() {
                        problems.push(Problem::EmptyText { video: index, pair, field });
                    }
                }
                if qa.kind.is_some_and(|kind| (kind == QaKind::Existence) != qa.is_special) {
                    problems.push(Problem::KindMismatch { video: index, pair });
                }
            }
        }
        for subject in self.subjects() {
            let shown = self.videos.iter().filter(|video| video.shows(&subject)).count();
            let about = self.videos.iter().filter(|video| video.subjects.contains(&subject)).count();
            if shown == 0 {
                problems.push(Problem::NoPositive { subject });
            } else if shown == about {
                problems.push(Problem::NoNegative { subject });
            }
        }
        problems
    }

    /// Refuses a dataset with any problem but a missing class: fit for testing.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all problems.
    pub fn validate(&self) -> Result<()> {
        refuse(self.problems().into_iter().filter(|problem| !problem.concerns_balance()).collect())
    }

    /// Refuses a dataset with any problem: fit for training, so every subject has positives and negatives.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all problems.
    pub fn validate_for_training(&self) -> Result<()> {
        refuse(self.problems())
    }
}

fn refuse(problems: Vec<Problem>) -> Result<()> {
    if problems.is_empty() { Ok(()) } else { Err(Error::Invalid { problems }) }
}
