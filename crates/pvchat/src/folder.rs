//! The folder that keeps subjects: one file each, which its owner can see, copy and delete.

use std::path::{Path, PathBuf};

use pvchat_data::SubjectName;
use pvchat_model::{subject::Subject, vilm::Vilm};

use crate::{Error, Result};

const EXTENSION: &str = "subject.safetensors";

/// A folder of subjects.
#[derive(Clone, Debug)]
pub struct SubjectFolder(PathBuf);

impl SubjectFolder {
    /// Uses a folder; it is created when the first subject is saved.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file of a subject.
    pub fn file(&self, name: &SubjectName) -> PathBuf {
        self.0.join(format!("{}.{EXTENSION}", name.bare()))
    }

    /// Everyone in the folder, in alphabetical order.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read; a folder that does not exist is empty.
    pub fn names(&self) -> Result<Vec<SubjectName>> {
        let io = |source| Error::Io { path: self.0.clone(), source };
        if !self.0.exists() {
            return Ok(Vec::new());
        }
        let mut names: Vec<SubjectName> = std::fs::read_dir(&self.0)
            .map_err(io)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(&format!(".{EXTENSION}"))?.parse().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Saves a subject, replacing one of that name; returns its file.
    ///
    /// # Errors
    /// [`Error::Model`] when it cannot be written; nothing half-written remains.
    pub fn save(&self, subject: &Subject) -> Result<PathBuf> {
        let file = self.file(&subject.info.name);
        subject.save(&file)?;
        Ok(file)
    }

    /// Loads a subject for a model.
    ///
    /// # Errors
    /// [`Error::UnknownSubject`], or [`Error::Model`] for a file that is damaged or of another base model.
    pub fn load(&self, name: &SubjectName, vilm: &Vilm) -> Result<Subject> {
        let file = self.file(name);
        if !file.exists() {
            let known = self.names()?.iter().map(SubjectName::to_string).collect::<Vec<_>>().join(" ");
            let known = if known.is_empty() { "none yet".to_string() } else { known };
            return Err(Error::UnknownSubject { name: name.to_string(), folder: self.0.clone(), known });
        }
        Ok(Subject::load(&file, vilm.fingerprint())?)
    }

    /// Loads everyone.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_all(&self, vilm: &Vilm) -> Result<Vec<Subject>> {
        self.names()?.iter().map(|name| self.load(name, vilm)).collect()
    }

    /// Deletes a subject's file: with it, everything that was kept of the person. Returns whether
    /// there was one.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be deleted.
    pub fn forget(&self, name: &SubjectName) -> Result<bool> {
        let path = self.file(name);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::Io { path, source }),
        }
    }
}
