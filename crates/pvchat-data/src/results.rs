//! Answers of a model together with the reference answers: the input of metrics.

use crate::{QaKind, Result, file};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The answers of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// A name of the model for tables.
    pub model_name: String,
    /// One entry per video.
    pub results: Vec<VideoResult>,
}

/// The answers about one video.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoResult {
    /// The video file, as in the dataset.
    pub video_path: PathBuf,
    /// The questions with both answers.
    pub qa_pairs: Vec<AnsweredPair>,
}

/// A question with its reference answer and the model's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredPair {
    /// The question.
    pub question: String,
    /// The reference answer.
    pub answer: String,
    /// The model's answer.
    pub generated_answer: String,
    /// Whether it asks for the presence of a subject.
    pub is_special: bool,
    /// What it asks for; released files do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<QaKind>,
}

impl Results {
    /// Reads results.
    ///
    /// # Errors
    /// Those of [`file::read_json`].
    pub fn read(path: &Path) -> Result<Self> {
        file::read_json(path, file::LARGEST)
    }

    /// Writes results, to a temporary name first.
    ///
    /// # Errors
    /// Those of [`file::write_json`].
    pub fn write(&self, path: &Path) -> Result<()> {
        file::write_json(path, self)
    }
}
