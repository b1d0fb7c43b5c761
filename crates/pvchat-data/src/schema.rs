//! Videos, their subjects and their questions: one schema for one person and for several.
//!
//! Files of one person carry `sks_present` (the name, in every video) and `is_positive`. Files of several persons
//! carry `sks_present1`, `sks_present2`, ... and `sample_type`. Both are read into the same lists of subjects, and written so.
//! What the published files cannot say (two of three people in a video, or more than three) has the lists `subjects` and `present`.

use crate::SubjectName;
use raw::RawVideo;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, path::PathBuf};

mod raw;

/// All videos with their questions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// The videos; called `data` in intermediate files.
    #[serde(alias = "data")]
    pub videos: Vec<Video>,
}

impl Dataset {
    /// Every subject that some video is about, sorted.
    pub fn subjects(&self) -> Vec<SubjectName> {
        self.videos.iter().flat_map(|video| video.subjects.iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The number of questions.
    pub fn question_count(&self) -> usize {
        self.videos.iter().map(|video| video.qa_pairs.len()).sum()
    }

    /// Renames a subject everywhere, in the texts too: this is how `<sks>` of an intermediate file gets its name.
    pub fn rename(&mut self, from: &SubjectName, to: &SubjectName) {
        let (old, new) = (from.to_string(), to.to_string());
        for video in &mut self.videos {
            for name in video.subjects.iter_mut().chain(&mut video.present).filter(|name| *name == from) {
                *name = to.clone();
            }
            for pair in &mut video.qa_pairs {
                pair.question = pair.question.replace(&old, &new);
                pair.answer = pair.answer.replace(&old, &new);
            }
        }
    }
}

/// One clip, who it is about, who is in it, and what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawVideo", into = "RawVideo")]
pub struct Video {
    /// A short name, usually the file's.
    pub name: String,
    /// The video file.
    pub path: PathBuf,
    /// The subjects that its questions are about, present or not.
    pub subjects: Vec<SubjectName>,
    /// Those of them who are in the clip.
    pub present: Vec<SubjectName>,
    /// Gender of the reference person, if known.
    pub gender: Option<Gender>,
    /// Age group of the reference person, if known.
    pub age: Option<Age>,
    /// The questions with their answers.
    pub qa_pairs: Vec<QaPair>,
}

impl Video {
    /// A clip about one subject, named after its file.
    pub fn of(subject: &SubjectName, path: impl Into<PathBuf>, present: bool, qa_pairs: Vec<QaPair>) -> Self {
        let subjects = vec![subject.clone()];
        let present = if present { subjects.clone() } else { Vec::new() };
        Self::about(subjects, path, present, qa_pairs)
    }

    /// A clip about one or several subjects, some of whom are present, named after its file.
    pub fn about(subjects: Vec<SubjectName>, path: impl Into<PathBuf>, present: Vec<SubjectName>, qa_pairs: Vec<QaPair>) -> Self {
        let path = path.into();
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self { name, path, subjects, present, gender: None, age: None, qa_pairs }
    }

    /// Whether any subject is in the clip.
    pub fn is_positive(&self) -> bool {
        !self.present.is_empty()
    }

    /// Whether this subject is in the clip.
    pub fn shows(&self, subject: &SubjectName) -> bool {
        self.present.contains(subject)
    }
}

/// A question and its reference answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QaPair {
    /// The question; it names subjects as `<Aa>`.
    pub question: String,
    /// The reference answer.
    pub answer: String,
    /// Whether it asks for the presence of a subject.
    pub is_special: bool,
    /// What it asks for; released files do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<QaKind>,
}

impl QaPair {
    /// A question of a known kind; `is_special` follows from it.
    pub fn new(kind: QaKind, question: impl Into<String>, answer: impl Into<String>) -> Self {
        Self { question: question.into(), answer: answer.into(), is_special: kind == QaKind::Existence, kind: Some(kind) }
    }

    /// The kind if it is stated or follows from `is_special`.
    pub fn known_kind(&self) -> Option<QaKind> {
        self.kind.or(self.is_special.then_some(QaKind::Existence))
    }
}

/// What a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QaKind {
    /// Is the subject there?
    Existence,
    /// What does the subject look like or wear?
    Appearance,
    /// What is the subject doing?
    Action,
    /// Where is the subject?
    Location,
    /// How does the subject feel? Not among the four of the paper, but of its follow-up.
    Emotion,
}

impl QaKind {
    /// All kinds, in the order of the paper.
    pub const ALL: [Self; 4] = [Self::Existence, Self::Appearance, Self::Action, Self::Location];
}

impl fmt::Display for QaKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Existence => "existence",
            Self::Appearance => "appearance",
            Self::Action => "action",
            Self::Location => "location",
            Self::Emotion => "emotion",
        })
    }
}

/// Gender as the prompt library of the augmentation knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gender {
    /// Male.
    Male,
    /// Female.
    Female,
}

/// Age group as the prompt library of the augmentation knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Age {
    /// Child.
    Child,
    /// Young.
    Young,
    /// Middle-aged.
    MiddleAged,
    /// Elderly.
    Elderly,
}
