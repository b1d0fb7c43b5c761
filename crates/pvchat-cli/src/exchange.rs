//! Export, import and deletion of people in the folder.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use pvchat::{
    Pvchat, Subject, SubjectName,
    data::file::write_atomically,
    faces::{Person, Template, models},
    forget_person,
};
use serde::Serialize;

use crate::{
    bases::Base,
    common::Common,
    failure::{Exit, Failure, Outcome},
    folders::make_private,
    kept::{Kinds, kinds, resolved, unknown},
    learned::LearnedOn,
    words,
};

/// The largest file of a person that is imported, in bytes; the same as the gallery reads.
const LARGEST: u64 = 16 << 20;
/// The largest file of somebody who was learned; the same as the library reads.
const LARGEST_LEARNED: u64 = 64 << 20;

#[derive(Args)]
pub struct ExportArguments {
    /// The person.
    name: SubjectName,
    /// The file to write; it must not exist.
    file: PathBuf,
    /// Exports what was learned on this base, in place of the face.
    #[arg(long, value_name = "BASE")]
    base: Option<Base>,
}

#[derive(Args)]
pub struct ImportArguments {
    /// A file that `export` wrote.
    file: PathBuf,
    /// A name to use instead of the one in the file.
    #[arg(long, value_name = "NAME")]
    name: Option<SubjectName>,
    /// The base that the person was learned on; needed for a file of what was learned on a base for footage.
    #[arg(long, value_name = "BASE")]
    base: Option<Base>,
}

#[derive(Serialize)]
struct ExchangedBody<'a> {
    name: &'a str,
    by: &'static str,
    #[serde(serialize_with = "words::lossy")]
    file: &'a Path,
    bytes: u64,
}

impl ExportArguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        let (name, file) = (&resolved(common, &self.name)?, &self.file);
        let Kinds { is_real, is_drawn, learned } = kinds(common, name)?;
        let key = self.base.as_ref().map(Base::key).transpose()?;
        let finished: Vec<&LearnedOn> = learned.iter().filter(|on| on.folder.file(name).exists()).collect();
        let bases: Vec<&str> = finished.iter().map(|on| on.base.as_str()).collect();
        let (by, bytes) = match (&key, finished.as_slice()) {
            (None, _) if is_real => ("face", common.gallery()?.load(name)?.to_bytes()?),
            (Some(key), found) if found.iter().any(|on| on.base == *key) => ("learned", learned_on(common, key, name)?),
            (Some(key), _) => {
                let message = format!("{} was not learned on {key}; learned on: {}", name.bare(), words::list(&bases));
                return Err(Failure::refused("unknown_person", message));
            }
            (None, [on]) if !is_drawn => ("learned", learned_on(common, &on.base, name)?),
            (None, _) if !is_drawn => {
                let message = format!("{} was learned on: {}; choose by --base", name.bare(), words::list(&bases));
                return Err(Failure::refused("refused", message));
            }
            (None, _) => ("drawn", {
                let folder = common.drawn_subjects()?;
                folder.load(name, Pvchat::miniature()?.vilm())?;
                let kept = folder.file(name);
                fs::read(&kept).map_err(|error| Failure::file(&kept, &error))?
            }),
        };
        if fs::symlink_metadata(file).is_ok() {
            let message = format!("{} exists already; choose another name, or remove it first", words::shown(file));
            return Err(Failure::refused("file_exists", message));
        }
        write_atomically(file, &bytes)?;
        let body = ExchangedBody { name: name.bare(), by, file, bytes: bytes.len() as u64 };
        let text = format!("{} is in {}, {}", name.bare(), words::shown(file), words::bytes(body.bytes));
        common.output().result("exported", &body, text)?;
        Ok(Exit::Answered)
    }
}

impl ImportArguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        let bytes = read(&self.file)?;
        let (name, by) = match is_subject(&bytes) {
            true => self.import_subject(common)?,
            false => (self.import(common, &bytes)?, "face"),
        };
        let body = ExchangedBody { name: name.bare(), by, file: &self.file, bytes: bytes.len() as u64 };
        common.output().result("imported", &body, format!("imported {}", name.bare()))?;
        Ok(Exit::Answered)
    }

    fn import(&self, common: &Common, bytes: &[u8]) -> Outcome<SubjectName> {
        if bytes.len() as u64 > LARGEST {
            return Err(self.refused("it is too large for a person"));
        }
        let gallery = common.gallery()?;
        let mut person = Person::from_bytes(bytes, &self.file)?;
        check(&person).map_err(|problem| self.refused(&problem))?;
        if let Some(name) = &self.name {
            person.name = name.clone();
        }
        self.check_free(&person.name, gallery.file(&person.name).exists(), gallery.path())?;
        gallery.save(&person, &format!("imported {}", person.name.bare()))?;
        Ok(person.name)
    }

    /// Somebody who was learned, on a base for footage or on the miniature.
    fn import_subject(&self, common: &Common) -> Outcome<(SubjectName, &'static str)> {
        let pvchat = Pvchat::miniature()?;
        let mut subject = Subject::load_any(&self.file)?;
        let is_drawn = subject.info.base == pvchat.vilm().fingerprint();
        let folder = match &self.base {
            _ if is_drawn => common.drawn_subjects()?,
            Some(base) if !base.is_miniature() => common.learned_on(&base.key()?)?,
            _ => {
                let base = words::clean(&subject.info.base);
                let file = words::shown(&self.file);
                let message = format!("{file} was learned on a base for footage ({base}); name it by --base");
                return Err(Failure::refused("file_refused", message));
            }
        };
        if let Some(name) = &self.name {
            pvchat.vilm().codec().check_name(name)?;
            subject = subject.renamed(name.clone());
        }
        let name = subject.info.name.clone();
        self.check_free(&name, folder.file(&name).exists(), folder.path())?;
        make_private(folder.path())?;
        folder.save(&subject)?;
        Ok((name, if is_drawn { "drawn" } else { "learned" }))
    }

    fn check_free(&self, name: &SubjectName, is_taken: bool, folder: &Path) -> Outcome<()> {
        if !is_taken {
            return Ok(());
        }
        let (name, folder) = (name.bare(), words::shown(folder));
        let message = format!("{folder} already holds {name}; give another name by --name, or forget that one first");
        Err(Failure::refused("name_taken", message))
    }

    fn refused(&self, problem: &str) -> Failure {
        let message = format!("{}: {problem}; export the person again", words::shown(&self.file));
        Failure::refused("file_refused", message)
    }
}

/// What was learned of somebody on a base, as it is kept.
fn learned_on(common: &Common, base: &str, name: &SubjectName) -> Outcome<Vec<u8>> {
    let folder = common.learned_on(base)?;
    folder.load_any(name)?;
    let kept = folder.file(name);
    fs::read(&kept).map_err(|error| Failure::file(&kept, &error))
}

/// Whether a file holds somebody who was learned: a safetensors file without the entry of a person.
fn is_subject(bytes: &[u8]) -> bool {
    let header = bytes.get(8..).unwrap_or_default();
    let has = |text: &[u8]| header.windows(text.len()).take(1 << 16).any(|window| window == text);
    has(b"\"__metadata__\"") && !has(b"\"person\"")
}

/// What a person's file must fulfil apart from its checksum: an attacker who makes a file can make a checksum too.
fn check(person: &Person) -> Result<(), String> {
    let known = models::catalogue().iter().find(|model| model.id() == person.model);
    let known =
        known.ok_or_else(|| format!("it is of the model {}, which this version does not have", words::clean(&person.model)))?;
    let width = known.network.rsplit('-').next().and_then(|width| width.parse().ok()).unwrap_or(0);
    let is_unit = |template: &Template| {
        let length = template.embedding.iter().map(|value| value * value).sum::<f32>().sqrt();
        template.embedding.len() == width && (length - 1.0).abs() < 0.01
    };
    let is_measured = |template: &Template| {
        let (start, end) = template.span;
        start.is_finite() && end.is_finite() && template.size.is_finite() && template.sharpness.is_finite()
    };
    match person.templates.iter().chain(&person.not).all(|template| is_unit(template) && is_measured(template)) {
        true => Ok(()),
        false => Err(format!("its looks are no embeddings of {}", words::network(&person.model))),
    }
}

/// The bytes of a regular file of limited size.
fn read(file: &Path) -> Outcome<Vec<u8>> {
    let io = |error| Failure::file(file, &error);
    let opened = fs::File::open(file).map_err(io)?;
    if !opened.metadata().map_err(io)?.is_file() {
        return Err(Failure::failed(format!("{} is not a regular file; give one that export wrote", words::shown(file))));
    }
    let mut bytes = Vec::new();
    opened.take(LARGEST_LEARNED + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > LARGEST_LEARNED {
        let limit = words::bytes(LARGEST_LEARNED);
        return Err(Failure::refused(
            "file_refused",
            format!("{} is larger than {limit}; give a file that export wrote", words::shown(file)),
        ));
    }
    Ok(bytes)
}

#[derive(Serialize)]
struct DeletedBody {
    #[serde(serialize_with = "words::lossy")]
    file: PathBuf,
    bytes: u64,
}

#[derive(Serialize)]
struct ForgottenBody<'a> {
    name: &'a str,
    #[serde(serialize_with = "words::lossy")]
    folder: &'a Path,
    deleted: &'a [DeletedBody],
    bytes: u64,
}

/// Deletes everything that the folder of people stores about somebody, real, learned and drawn, and says what it deleted.
pub fn forget(common: &Common, name: &SubjectName) -> Outcome<Exit> {
    let gallery = common.gallery()?;
    let folder = gallery.path();
    gallery.check_current(name).map_err(pvchat::Error::from)?;
    // While somebody is being learned nothing is deleted: that comes first.
    let (mut deleted, learned) = (Vec::new(), common.learned_folders()?.into_iter().map(|on| on.folder));
    for kept in learned.chain([common.drawn_subjects()?]) {
        let files = kept.forget(name)?.deleted.into_iter();
        deleted.extend(files.map(|file| DeletedBody { file: kept.path().join(file.path), bytes: file.bytes }));
    }
    let person = forget_person(&gallery, name)?.into_iter().map(|(file, bytes)| DeletedBody { file, bytes });
    deleted.splice(0..0, person);
    if deleted.is_empty() {
        return Err(unknown(common, name)?);
    }
    let bytes = deleted.iter().map(|file| file.bytes).sum();
    let row = |file: &DeletedBody| {
        let shown = file.file.strip_prefix(folder).unwrap_or(&file.file);
        format!("  {:>10}  {}", words::bytes(file.bytes), words::shown(shown))
    };
    let files: Vec<String> = deleted.iter().map(row).collect();
    let (count, total) = (words::count(files.len(), "file"), words::bytes(bytes));
    // Which folders were indexed is not kept.
    let text = format!(
        "{} is forgotten: {count}, {total}, deleted in {}\n{}\nIndices of folders keep faces without names: pvchat index DIR --delete",
        name.bare(),
        words::shown(folder),
        files.join("\n")
    );
    common.output().result("forgotten", &ForgottenBody { name: name.bare(), folder, deleted: &deleted, bytes }, text)?;
    Ok(Exit::Answered)
}
