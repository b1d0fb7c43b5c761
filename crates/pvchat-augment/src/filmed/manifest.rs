//! The records about a dataset, and where unfinished work is stored.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use pvchat_data::{SubjectName, file::write_atomically};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Blind, DatasetOptions, FrameVerdict, Half, Judged, Making, ModelUsed, Recipe, Spared, Thresholds,
    blind::Features,
    source::{Span, hash},
};
use crate::{
    Error, Result,
    generator::{Kind, Provenance},
};

/// Changes whenever the same sources and options would give other clips, or the identity gate would judge them in another way.
pub(super) const MAKING_VERSION: u32 = 4;
/// The manifest's name.
pub(super) const MANIFEST: &str = "manifest.json";
/// The folder of half-done work; deleting it costs time and nothing else.
pub(super) const WORK: &str = "work";
/// The folder in it in which programs are run.
const RUNNING: &str = "running";

/// Everything that a dataset was made from and how, in `manifest.json`. It holds no time and no path of the machine: the same
/// footage, options and versions give the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format.
    pub format_version: u32,
    /// The version of pvchat.
    pub pvchat: String,
    /// The version of the FFmpeg libraries that read and wrote the clips.
    pub ffmpeg: String,
    /// Whom the dataset is about; of several people the first, see [`others`](Self::others).
    pub subject: SubjectName,
    /// The options, with the seed.
    pub options: DatasetOptions,
    /// From which similarity on somebody is the person, and below which somebody else.
    pub thresholds: Thresholds,
    /// The networks.
    pub models: Vec<ModelUsed>,
    /// What described positives, if anything did.
    pub describer: Option<String>,
    /// What rewrote the descriptions, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refiner: Option<String>,
    /// The clip of the person.
    pub reference: SourceRecord,
    /// What the filter says of each frame of it that was looked at.
    pub looks: Vec<FrameVerdict>,
    /// The stretches of the person for training and testing, in seconds. Where they are the same, testing shows nothing new.
    pub spans: Vec<(Half, Span)>,
    /// The other people whom the dataset is about, if it is about several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<PersonRecord>,
    /// The footage of others that was used.
    pub corpus: Vec<SourceRecord>,
    /// The footage that was looked at and not used, and why; [`NOT_NEEDED`] where it could be.
    pub left_out: Vec<LeftOut>,
    /// What an index of the corpus spared, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spared: Option<Spared>,
    /// The clips, in the order of their names.
    pub clips: Vec<ClipRecord>,
    /// Clips that were made and dropped.
    pub dropped: Vec<Dropped>,
    /// What can be guessed about the clips for training without seeing the person.
    pub blind: Blind,
    /// The generators that were asked, and what became of what they made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generators: Vec<GeneratorUsed>,
    /// The other files and their SHA-256.
    pub files: Vec<(String, String)>,
}

impl Manifest {
    /// Whom the dataset is about, in the order in which they were given.
    pub fn names(&self) -> Vec<SubjectName> {
        std::iter::once(&self.subject).chain(self.others.iter().map(|person| &person.subject)).cloned().collect()
    }
}

/// One of several people whom a dataset is about, with what the manifest says of the first itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonRecord {
    /// Who it is.
    pub subject: SubjectName,
    /// The clip of the person.
    pub reference: SourceRecord,
    /// What the filter says of each frame of it that was looked at.
    pub looks: Vec<FrameVerdict>,
    /// The stretches of the person for training and testing, in seconds.
    pub spans: Vec<(Half, Span)>,
    /// What can be guessed about the person's presence in the clips for training without seeing anybody.
    pub blind: Blind,
}

/// What a clip or a still was generated of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// The generator's name in its description.
    pub generator: String,
    /// What the program says of itself.
    pub provenance: Provenance,
    /// What was to be seen.
    pub prompt: String,
    /// What was not to be seen.
    pub negative_prompt: String,
    /// What every random choice followed from.
    pub seed: u64,
    /// The name of the clip whose movements it has.
    pub driving: Option<String>,
    /// What the picture that was animated was generated of; `None` for a look at the person.
    pub still: Option<Box<Generated>>,
}

/// A generator, and what became of what it made; each number is of the person and of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorUsed {
    /// Its name in its description.
    pub name: String,
    /// What it makes.
    pub kind: Kind,
    /// Clips that were asked for.
    pub asked: [usize; 2],
    /// Clips of these that passed the identity gate, at the second or third try some of them.
    pub passed: [usize; 2],
    /// Clips that are in the dataset: as many of those that passed as give both the same proportion.
    pub used: [usize; 2],
}

/// A file of footage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// Its name below the folder that it was found in.
    pub name: String,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its licence, where the corpus's `licences.json` says it.
    pub licence: Option<String>,
}

/// Why a file of footage was not used that could be.
pub const NOT_NEEDED: &str = "not needed";

/// A file of footage that was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Why, in words.
    pub reason: String,
}

/// A clip of the dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipRecord {
    /// Its name, which says nothing about it.
    pub name: String,
    /// The file, relative to the dataset.
    pub file: String,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// The file that repeats its middle frame, for the first stage of training.
    pub still: Option<String>,
    /// The SHA-256 of that.
    pub still_sha256: Option<String>,
    /// What it is for.
    pub half: Half,
    /// Whether it shows the person, or any of several.
    pub positive: bool,
    /// Whom it shows of several people whom the dataset is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub present: Vec<SubjectName>,
    /// Whether it shows one of the most similar strangers, where there are others.
    pub hard: bool,
    /// How it was made.
    pub making: Making,
    /// The footage of whom it shows, and the stretch of it in seconds.
    pub figure: (String, Span),
    /// The footage of whose body it shows, and the stretch of it in seconds, where that is somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<(String, Span)>,
    /// The footage of whoever stands beside, and the stretches of it in seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub company: Vec<(String, Span)>,
    /// The footage of where it is set.
    pub place: String,
    /// What the identity gate saw.
    pub judged: Judged,
    /// How often it was drawn before.
    pub attempt: usize,
    /// How it was composed.
    pub recipe: Option<Recipe>,
    /// What generated it, and of what, where a generator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
    /// SHA-256 of everything that it follows from.
    pub key: String,
}

impl ClipRecord {
    /// Whether it shows this one of the people whom the dataset is about.
    pub fn shows(&self, name: &SubjectName) -> bool {
        // A dataset of one person need not say who it is.
        self.positive && (self.present.is_empty() || self.present.contains(name))
    }

    /// The footage that it was made of.
    pub(super) fn footage(&self) -> impl Iterator<Item = &str> {
        let company = self.body.iter().chain(&self.company).map(|(name, _)| name.as_str());
        [self.figure.0.as_str(), self.place.as_str()].into_iter().chain(company)
    }
}

/// A clip that was made and dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropped {
    /// What it was for.
    pub half: Half,
    /// Whether it was to show the person, or any of several.
    pub positive: bool,
    /// Whom it was to show of several people whom the dataset is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub present: Vec<SubjectName>,
    /// How it was made.
    pub making: Making,
    /// The footage of whom it was to show.
    pub figure: String,
    /// The footage of where it was set.
    pub place: String,
    /// How often it was drawn before.
    pub attempt: usize,
    /// What the identity gate saw, with the reason.
    pub judged: Judged,
    /// Some of its frames, for the report; the clip itself is not kept.
    #[serde(skip)]
    pub(super) picture: Option<String>,
}

/// What became of one drawing of a clip; kept, so that a resumed run need not make it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outcome {
    pub(super) judged: Judged,
    pub(super) sha256: String,
    pub(super) still_sha256: Option<String>,
    pub(super) features: Features,
    /// Some frames of a clip that was dropped, see [`strip`](super::report::strip).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) picture: Option<String>,
}

impl Outcome {
    /// Of a clip that is dropped.
    pub(super) fn refused(judged: Judged, picture: Option<String>) -> Self {
        Self { judged, sha256: String::new(), still_sha256: None, features: Features::default(), picture }
    }
}

/// Keeps half-done work under the hash of what it follows from.
pub(super) struct Store {
    folder: PathBuf,
    used: Mutex<BTreeSet<PathBuf>>,
}

impl Store {
    pub(super) fn new(dataset: &Path) -> Self {
        Self { folder: dataset.join(WORK), used: Mutex::default() }
    }

    /// What was made of this key before, or what is made now. Both come out of the same text, so that numbers are the same to
    /// the last bit. What `fits` refuses is made again.
    pub(super) fn get<T: Serialize + DeserializeOwned>(
        &self,
        stage: &str,
        key: &str,
        fits: impl Fn(&T) -> bool,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Some(known) = self.known(stage, key).filter(|known| fits(known)) {
            return Ok(known);
        }
        self.put(stage, key, &make()?)
    }

    /// What was made of this key before.
    pub(super) fn known<T: DeserializeOwned>(&self, stage: &str, key: &str) -> Option<T> {
        let file = self.file(stage, &format!("{}.json", hash(key)));
        pvchat_data::file::read_json(&file, pvchat_data::file::LARGEST).ok()
    }

    /// Keeps what was made of a key; gives it as it will be read.
    pub(super) fn put<T: Serialize + DeserializeOwned>(&self, stage: &str, key: &str, made: &T) -> Result<T> {
        let folder = self.folder.join(stage);
        fs::create_dir_all(&folder).map_err(|source| Error::Io { path: folder, source })?;
        let file = self.file(stage, &format!("{}.json", hash(key)));
        pvchat_data::file::write_json(&file, made)?;
        Ok(pvchat_data::file::read_json(&file, pvchat_data::file::LARGEST)?)
    }

    /// The path of a file of a stage, which stays because this run asks for it.
    pub(super) fn file(&self, stage: &str, name: &str) -> PathBuf {
        let file = self.folder.join(stage).join(name);
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(file.clone());
        file
    }

    /// The folder in which this process runs programs; what a killed run left is deleted, as far as a program that outlived it
    /// lets that happen. It cannot write into the new one.
    pub(super) fn running(&self) -> PathBuf {
        let folder = self.folder.join(RUNNING);
        let _ = fs::remove_dir_all(&folder);
        folder.join(std::process::id().to_string())
    }

    /// Deletes what this run did not use: work of other options.
    pub(super) fn sweep(&self) -> Result<()> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        for stage in entries(&self.folder)? {
            if is_left_over(&stage) {
                remove(&stage)?;
                continue;
            }
            if stage.ends_with(RUNNING) {
                let _ = fs::remove_dir_all(&stage);
                continue;
            }
            for file in entries(&stage)? {
                if !used.contains(&file) {
                    remove(&file)?;
                }
            }
        }
        Ok(())
    }
}

/// The files and folders in a folder; none if it does not exist.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect()),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(source) => Err(Error::Io { path: folder.to_path_buf(), source }),
    }
}

/// Whether a file is what a killed process was writing before it gave it its name.
pub(super) fn is_left_over(file: &Path) -> bool {
    file.is_file() && file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".tmp"))
}

pub(super) fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Io { path: file.to_path_buf(), source }),
        _ => Ok(()),
    }
}

/// Begins a dataset in a folder that is new, empty, or holds one.
pub(super) fn begin(folder: &Path) -> Result<()> {
    let io = |source| Error::Io { path: folder.to_path_buf(), source };
    let is_ours = folder.join(WORK).is_dir() || folder.join(MANIFEST).is_file();
    if !is_ours && !entries(folder)?.is_empty() {
        return Err(Error::NotADataset { folder: folder.to_path_buf() });
    }
    for part in ["clips", "stills"] {
        fs::create_dir_all(folder.join(part)).map_err(io)?;
    }
    // It holds the templates of everybody in the corpus.
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder.join(WORK)).map_err(io)?;
    // Whoever copies a dataset need not copy this.
    write_atomically(
        &folder.join(WORK).join("README"),
        b"Half-done work of `pvchat dataset make`, with face embeddings of the people in the corpus. Deleting it costs time only.\n",
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_the_templates_in_half_done_work() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        begin(&folder.path().join("data")).unwrap();
        let work = fs::metadata(folder.path().join("data").join(WORK)).unwrap();
        assert_eq!(work.permissions().mode() & 0o777, 0o700);
    }
}
