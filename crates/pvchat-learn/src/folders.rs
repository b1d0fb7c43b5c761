//! The folders in which people are being learned, until that has ended.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pvchat_data::SubjectName;
use pvchat_train::checkpoint::CheckpointFolder;

use crate::{Error, Result, Unfinished, looks::KeptLooks, unfinished::begun_with};

/// What the name of a folder of learning ends with.
const LEARNING: &str = ".learning";
/// The separator between the names of people who are learned together; no name has it.
const TOGETHER: &str = "+";

/// The folders of learning within a folder of subjects: `Aa.learning/`, or `Aa+Bb.learning/` where people are learned together.
/// Each holds the checkpoints of one run until that has ended, and stays where the run was interrupted.
#[derive(Clone, Copy, Debug)]
pub struct LearningFolders<'a>(&'a Path);

impl<'a> LearningFolders<'a> {
    /// Those within a folder of subjects, which need not exist yet.
    pub fn new(subjects: &'a Path) -> Self {
        Self(subjects)
    }

    /// The folder in which these people are learned, one or several together.
    pub fn path(&self, names: &[SubjectName]) -> PathBuf {
        let bare: Vec<&str> = names.iter().map(SubjectName::bare).collect();
        self.0.join(format!("{}{LEARNING}", bare.join(TOGETHER)))
    }

    /// Learning that is going on or was interrupted, in alphabetical order of its folders.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read; a folder that does not exist is empty.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let about = |(folder, names): (PathBuf, Vec<SubjectName>)| {
            let checkpoints = CheckpointFolder::new(&folder)?;
            let steps = checkpoints.state().ok().flatten().map(|state| state.step);
            let running = matches!(checkpoints.locked(), Err(pvchat_train::Error::Busy { .. }));
            Ok(Unfinished { names, folder, steps, running })
        };
        self.all()?.into_iter().map(about).collect()
    }

    /// The folders in which somebody is, or was, learned alone or together with others, in alphabetical order.
    ///
    /// # Errors
    /// As [`unfinished`](Self::unfinished).
    pub fn of(&self, name: &SubjectName) -> Result<Vec<PathBuf>> {
        let its = self.all()?.into_iter().filter(|(_, names)| names.contains(name));
        Ok(its.map(|(folder, _)| folder).collect())
    }

    /// The same folders, held for this process while the result lives: meanwhile nobody learns in them.
    ///
    /// # Errors
    /// [`pvchat_train::Error::Busy`] while somebody learns in one of them, and as [`of`](Self::of).
    pub fn hold(&self, name: &SubjectName) -> Result<Vec<CheckpointFolder>> {
        hold(&self.of(name)?)
    }

    /// Learns people in their folder, which is deleted once `save` has kept what `work` learned. `work` is given the folder, held
    /// for this process; those in which one of the people is learned with others are held meanwhile too. A folder that nothing can
    /// be resumed from does not stay: one without a checkpoint or a look at a clip, or of learning whose outcome was refused.
    ///
    /// # Errors
    /// What `work` and `save` report; [`pvchat_train::Error::Busy`] when one of the people is being learned already,
    /// [`Error::OtherLearning`] when their learning was begun with something else, [`Error::Io`] for folders that cannot be read or
    /// deleted.
    pub fn run<T>(
        &self,
        names: &[SubjectName],
        work: impl FnOnce(CheckpointFolder) -> Result<T>,
        save: impl FnOnce(&T) -> Result<()>,
    ) -> Result<T> {
        let path = self.path(names);
        let held = CheckpointFolder::new(&path)?.locked()?;
        let mut others = Vec::new();
        for name in names {
            others.extend(self.of(name)?.into_iter().filter(|folder| *folder != path));
        }
        others.sort();
        others.dedup();
        let learned = match hold(&others) {
            Ok(_others) => work(held.clone()),
            Err(error) => Err(error),
        };
        let learned = learned.map_err(|error| ended(error, names, &held))?;
        save(&learned)?;
        fs::remove_dir_all(&path).map_err(|source| Error::Io { path, source })?;
        Ok(learned)
    }

    /// All folders of learning, with who is learned in each.
    fn all(&self) -> Result<Vec<(PathBuf, Vec<SubjectName>)>> {
        let entries = match fs::read_dir(self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::Io { path: self.0.to_path_buf(), source }),
        };
        let people = |path: &Path| -> Option<Vec<SubjectName>> {
            path.file_name()?.to_str()?.strip_suffix(LEARNING)?.split(TOGETHER).map(|name| name.parse().ok()).collect()
        };
        let folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
        let mut found: Vec<_> = folders.filter_map(|path| people(&path).map(|names| (path, names))).collect();
        found.sort();
        Ok(found)
    }
}

/// Holds folders of learning for this process while the result lives.
fn hold(folders: &[PathBuf]) -> Result<Vec<CheckpointFolder>> {
    folders.iter().map(|folder| Ok(CheckpointFolder::new(folder)?.locked()?)).collect()
}

/// The error that learning ended with, in the words of this crate. A folder that nothing can be resumed from is deleted: one
/// without a checkpoint or a look at a clip, or of learning that came to its end.
fn ended(error: Error, names: &[SubjectName], held: &CheckpointFolder) -> Error {
    let is_empty = matches!(held.state(), Ok(None)) && !KeptLooks::are_in(held.path());
    if is_empty || matches!(error, Error::NotLearned { .. }) {
        // What cannot be deleted does not matter: it is in use by nobody.
        let _ = fs::remove_dir_all(held.path());
    }
    match error {
        Error::Train(pvchat_train::Error::OtherRun { differences, .. }) => Error::OtherLearning {
            name: names.iter().map(SubjectName::to_string).collect::<Vec<_>>().join(" and "),
            folder: held.path().to_path_buf(),
            begun_with: begun_with(&differences),
        },
        error => error,
    }
}
