//! What was deleted when somebody was forgotten.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use pvchat_data::SubjectName;
use serde::Serialize;

/// What a deleted file was kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// The subject itself.
    Subject,
    /// Its learning: checkpoints and their lock.
    Learning,
    /// What it was learned from.
    Data,
    /// What a killed process left.
    HalfWritten,
}

impl fmt::Display for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Subject => "subject",
            Self::Learning => "learning",
            Self::Data => "data",
            Self::HalfWritten => "half-written",
        })
    }
}

/// A deleted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// Where it was, within the folder of subjects.
    pub path: PathBuf,
    /// What it was kept for.
    pub kept: Kept,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What [`SubjectFolder::forget`](crate::SubjectFolder::forget) deleted; prints as a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Who was forgotten.
    pub name: SubjectName,
    /// The folder of subjects.
    pub folder: PathBuf,
    /// Every file.
    pub deleted: Vec<Deleted>,
}

impl Receipt {
    pub(crate) fn new(name: SubjectName, folder: PathBuf) -> Self {
        Self { name, folder, deleted: Vec::new() }
    }

    pub(crate) fn add(&mut self, path: &Path, kept: Kept, bytes: u64) {
        let path = path.strip_prefix(&self.folder).unwrap_or(path).to_path_buf();
        self.deleted.push(Deleted { path, kept, bytes });
    }

    /// Whether there was nothing to delete.
    pub fn is_empty(&self) -> bool {
        self.deleted.is_empty()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.deleted.iter().map(|file| file.bytes).sum()
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(formatter, "nothing was kept of {} in {}", self.name, self.folder.display());
        }
        let files = self.deleted.len();
        let plural = if files == 1 { "" } else { "s" };
        write!(
            formatter,
            "{} is forgotten: {files} file{plural}, {} bytes, deleted in {}",
            self.name,
            self.bytes(),
            self.folder.display()
        )?;
        for Deleted { path, kept, bytes } in &self.deleted {
            write!(formatter, "\n  {kept:<12} {bytes:>9}  {}", path.display())?;
        }
        Ok(())
    }
}
