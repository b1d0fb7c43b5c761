//! The folder that keeps subjects: one file each, which its owner can see, copy and delete, and next to it a folder while
//! somebody is being learned.

use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use pvchat_augment::TrainingSet;
use pvchat_data::SubjectName;
use pvchat_learn::LearningFolders;
use pvchat_model::{subject::Subject, vilm::Vilm};
use pvchat_train::checkpoint::CheckpointFolder;

use crate::{
    Error, LearnEvent, LearnOptions, Learned, LearnedFrom, LearnedTogether, Pvchat, Result, SeenClip, Shot, Unfinished,
    receipt::{Kept, Receipt},
};

const EXTENSION: &str = "subject.safetensors";
/// Frames per second of the clips that [`SubjectFolder::keep_data`] writes.
const FRAMES_PER_SECOND: f64 = 8.0;

/// A folder of subjects. Everything that is stored about a subject `<Aa>` is in it, under names that begin with that name:
///
/// - `Aa.subject.safetensors`, the subject;
/// - `Aa.learning/`, the checkpoints of its learning, until that has ended;
/// - `Aa+Bb.learning/`, the checkpoints of learning several people together, until that has ended;
/// - `Aa.data/`, the clips and questions it was learned from, where [`keep_data`](Self::keep_data) was asked for them.
///
/// [`forget`](Self::forget) deletes it all.
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

    /// Learning that is going on in the folder or was interrupted, in alphabetical order of its folders. People who are only
    /// being learned are not among the [`names`](Self::names) yet.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read; a folder that does not exist is empty.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>> {
        Ok(self.learnings().unfinished()?)
    }

    /// Saves a subject, replacing one of that name; returns its file.
    ///
    /// # Errors
    /// [`pvchat_train::Error::Busy`] while somebody of that name is being learned, who would replace it; [`Error::Model`] when it
    /// cannot be written; nothing half-written remains.
    pub fn save(&self, subject: &Subject) -> Result<PathBuf> {
        let _held = self.learnings().hold(&subject.info.name)?;
        Ok(self.write(subject)?)
    }

    fn write(&self, subject: &Subject) -> pvchat_model::Result<PathBuf> {
        let file = self.file(&subject.info.name);
        subject.save(&file)?;
        Ok(file)
    }

    /// Loads a subject for a model.
    ///
    /// # Errors
    /// [`Error::UnknownSubject`], [`Error::OtherName`] for a copy of another subject's file, or [`Error::Model`] for a file that
    /// is damaged or of another base model.
    pub fn load(&self, name: &SubjectName, vilm: &Vilm) -> Result<Subject> {
        self.load_by(name, |file| Subject::load(file, vilm.fingerprint()))
    }

    /// Loads a subject of whatever base model, to list, rename or copy it.
    ///
    /// # Errors
    /// As [`load`](Self::load), but for another base model.
    pub fn load_any(&self, name: &SubjectName) -> Result<Subject> {
        self.load_by(name, Subject::load_any)
    }

    fn load_by(&self, name: &SubjectName, load: impl FnOnce(&Path) -> pvchat_model::Result<Subject>) -> Result<Subject> {
        let file = self.file(name);
        if !file.exists() {
            let known = self.names()?.iter().map(SubjectName::to_string).collect::<Vec<_>>().join(" ");
            let known = if known.is_empty() { "none yet".to_string() } else { known };
            return Err(Error::UnknownSubject { name: name.to_string(), folder: self.0.clone(), known });
        }
        let subject = load(&file)?;
        if subject.info.name != *name {
            return Err(Error::OtherName { file, found: subject.info.name.to_string() });
        }
        Ok(subject)
    }

    /// Loads everyone.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_all(&self, vilm: &Vilm) -> Result<Vec<Subject>> {
        self.names()?.iter().map(|name| self.load(name, vilm)).collect()
    }

    /// The folder that a subject is learned in; what is put there is forgotten with it.
    pub fn learning(&self, name: &SubjectName) -> PathBuf {
        self.learnings().path(std::slice::from_ref(name))
    }

    fn learnings(&self) -> LearningFolders<'_> {
        LearningFolders::new(&self.0)
    }

    /// The folder for what a subject was learned from; what is put there is forgotten with it.
    pub fn data(&self, name: &SubjectName) -> PathBuf {
        self.0.join(format!("{}.data", name.bare()))
    }

    /// Learns the person in a clip and saves the subject. Checkpoints are kept in [`learning`](Self::learning) until then: when
    /// this was interrupted, another call with the same clip, name and options continues it.
    ///
    /// # Errors
    /// As [`Pvchat::learn`] and [`save`](Self::save); [`pvchat_train::Error::Busy`] when the subject is being learned already,
    /// [`Error::OtherLearning`] when its learning was begun with another clip, options or base.
    pub fn learn(
        &self,
        pvchat: &Pvchat,
        clip: &SeenClip,
        name: &SubjectName,
        options: &LearnOptions,
        observe: impl FnMut(LearnEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Learned> {
        clip.check_person()?;
        let work = |held| pvchat.learn_in(Some(held), clip, name, options, observe);
        self.learn_with(std::slice::from_ref(name), work, |learned| std::slice::from_ref(&learned.subject))
    }

    /// As [`learn`](Self::learn), from clips of the caller's; see [`Pvchat::learn_from`].
    ///
    /// # Errors
    /// As [`Pvchat::learn_from`] and [`learn`](Self::learn).
    pub fn learn_from(
        &self,
        pvchat: &Pvchat,
        shots: &[Shot],
        name: &SubjectName,
        options: &LearnOptions,
        observe: impl FnMut(LearnEvent<'_>) -> ControlFlow<()>,
    ) -> Result<LearnedFrom> {
        pvchat.check_shots(shots)?;
        let work = |held| pvchat.learn_from_in(Some(held), shots, name, options, observe);
        self.learn_with(std::slice::from_ref(name), work, |learned| std::slice::from_ref(&learned.subject))
    }

    /// Learns the people in clips in one run and saves the subjects. Checkpoints are kept in a folder under all of their names
    /// until then: after an interruption, a call with the same clips, names in the same order, and options resumes where it
    /// stopped.
    ///
    /// # Errors
    /// As [`Pvchat::learn_together`] and [`save`](Self::save); [`pvchat_train::Error::Busy`] when one of them is being learned
    /// already, [`Error::OtherLearning`] when their learning was begun with other clips, options or base.
    pub fn learn_together(
        &self,
        pvchat: &Pvchat,
        people: &[(&SeenClip, &SubjectName)],
        options: &LearnOptions,
        observe: impl FnMut(LearnEvent<'_>) -> ControlFlow<()>,
    ) -> Result<LearnedTogether> {
        people.iter().try_for_each(|(clip, _)| clip.check_person())?;
        let names: Vec<SubjectName> = people.iter().map(|(_, name)| (*name).clone()).collect();
        let work = |held| pvchat.learn_together_in(Some(held), people, options, observe);
        self.learn_with(&names, work, |learned| &learned.subjects)
    }

    /// Learns people in the folder of checkpoints under their names and saves the subjects that come of it.
    fn learn_with<T>(
        &self,
        names: &[SubjectName],
        work: impl FnOnce(CheckpointFolder) -> pvchat_learn::Result<T>,
        subjects: impl Fn(&T) -> &[Subject],
    ) -> Result<T> {
        let save = |learned: &T| {
            for subject in subjects(learned) {
                self.write(subject)?;
            }
            Ok(())
        };
        Ok(self.learnings().run(names, work, save)?)
    }

    /// Writes the clips and questions that a subject was learned from, to be looked at; returns their folder.
    ///
    /// # Errors
    /// [`Error::Video`], [`Error::Data`] and [`Error::Io`] when they cannot be written.
    pub fn keep_data(&self, set: &TrainingSet) -> Result<PathBuf> {
        let folder = self.data(&set.subject);
        fs::create_dir_all(&folder).map_err(|source| Error::Io { path: folder.clone(), source })?;
        let dataset = set.to_dataset(&folder);
        for (video, clip) in dataset.videos.iter().zip(&set.clips) {
            pvchat_video::write_clip(&video.path, &clip.frames, FRAMES_PER_SECOND)?;
        }
        dataset.write(&folder.join("dataset.json"))?;
        Ok(folder)
    }

    /// Gives a subject another name; returns its file. What [`keep_data`](Self::keep_data) wrote holds the old name and is
    /// deleted.
    ///
    /// # Errors
    /// [`Error::NameTaken`], [`Error::Unfinished`] while it is being learned under the old name, those of
    /// [`load`](Self::load) and [`save`](Self::save), and [`Error::Model`] for a name that is a token of the model.
    pub fn rename(&self, from: &SubjectName, to: &SubjectName, vilm: &Vilm) -> Result<PathBuf> {
        let subject = self.load(from, vilm)?;
        vilm.codec().check_name(to)?;
        self.rename_loaded(subject, to)
    }

    /// As [`rename`](Self::rename), without the base model: whether the new name is a token of it shows when somebody asks.
    ///
    /// # Errors
    /// As [`rename`](Self::rename), but for another base model and its tokens.
    pub fn rename_any(&self, from: &SubjectName, to: &SubjectName) -> Result<PathBuf> {
        self.rename_loaded(self.load_any(from)?, to)
    }

    fn rename_loaded(&self, subject: Subject, to: &SubjectName) -> Result<PathBuf> {
        let from = &subject.info.name.clone();
        if [self.file(to), self.learning(to), self.data(to)].iter().any(|path| path.exists()) {
            return Err(Error::NameTaken { name: to.to_string(), folder: self.0.clone() });
        }
        if let Some(folder) = self.learnings().of(from)?.into_iter().next() {
            return Err(Error::Unfinished { name: from.to_string(), folder });
        }
        // The new file first: whatever happens in between, the subject is there under one of its names.
        let file = self.save(&subject.renamed(to.clone()))?;
        self.forget(from)?;
        Ok(file)
    }

    /// Deletes everything stored about a subject: its file, the checkpoints (also of learning together with others, which then
    /// starts again), everything else in its folders, and unfinished files of a killed process. The receipt lists what was
    /// deleted; it is empty if there was nothing.
    ///
    /// # Errors
    /// [`pvchat_train::Error::Busy`] while the subject is being learned, and nothing is deleted then; [`Error::Io`] when
    /// something cannot be deleted.
    pub fn forget(&self, name: &SubjectName) -> Result<Receipt> {
        let mut receipt = Receipt::new(name.clone(), self.0.clone());
        if !self.0.exists() {
            return Ok(receipt);
        }
        let held = self.learnings().hold(name)?;
        let file = self.file(name);
        let half_written = format!(".{}.{EXTENSION}.", name.bare());
        let entries = fs::read_dir(&self.0).map_err(|source| Error::Io { path: self.0.clone(), source })?;
        let leftovers: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&half_written))
            .map(|entry| entry.path())
            .collect();
        let parts = [(file, Kept::Subject)]
            .into_iter()
            .chain(held.iter().map(|folder| (folder.path().to_path_buf(), Kept::Learning)))
            .chain([(self.data(name), Kept::Data)])
            .chain(leftovers.into_iter().map(|path| (path, Kept::HalfWritten)));
        for (path, kept) in parts {
            delete(&path, kept, &mut receipt)?;
        }
        Ok(receipt)
    }
}

/// Deletes a file, or a folder with everything in it, entry by entry for the receipt. Links are deleted, not followed.
fn delete(path: &Path, kept: Kept, receipt: &mut Receipt) -> Result<()> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io(source)),
    };
    if about.is_dir() {
        let entries: io::Result<Vec<PathBuf>> = fs::read_dir(path).map_err(io)?.map(|entry| Ok(entry?.path())).collect();
        let mut entries = entries.map_err(io)?;
        entries.sort();
        for entry in entries {
            delete(&entry, kept, receipt)?;
        }
        return fs::remove_dir(path).map_err(io);
    }
    fs::remove_file(path).map_err(io)?;
    receipt.add(path, kept, about.len());
    Ok(())
}
