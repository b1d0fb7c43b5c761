//! Known people: templates to compare faces with, stored in one file per person.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use pvchat_data::{SubjectName, file::write_atomically};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result, unit::cosine};

/// What files of people end with.
pub const EXTENSION: &str = "person.safetensors";
/// The version of the file format.
pub const FORMAT_VERSION: u32 = 1;
/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 16 << 20;
/// The most templates of one person, so that comparing stays cheap and a file small.
pub const MOST_TEMPLATES: usize = 256;
/// From this cosine on a correction may be of the person whom it is merged with.
const OVERRULED: f32 = 0.6;
/// How many changes can be undone.
const MOST_CHANGES: usize = 32;
const HISTORY: &str = "history";
const ENTRY: &str = "person";
const CHANGE: &str = "change.json";
/// What the history says where somebody was forgotten; the name would be a trace.
const FORGETTING: &str = "forgetting somebody";

/// The mean of good faces from one clip or picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Unit-length embedding; kept as a tensor of the file.
    #[serde(skip)]
    pub embedding: Vec<f32>,
    /// When it was made, in seconds since 1970.
    pub added: u64,
    /// SHA-256 of the file that it was made from, in hexadecimal.
    pub source: String,
    /// The part of the file, in seconds; kept to microseconds.
    #[serde(with = "microseconds")]
    pub span: (f64, f64),
    /// How many good faces it is the mean of.
    pub faces: usize,
    /// Their mean width in pixels.
    pub size: f32,
    /// Their mean sharpness, see [`Quality`](crate::Quality).
    pub sharpness: f32,
}

/// A known person.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// The name.
    pub name: SubjectName,
    /// The embedding model of the templates, see [`Finder::model`](crate::Finder::model).
    pub model: String,
    /// What the person looks like; one or more.
    pub templates: Vec<Template>,
    /// Who the person is not: corrections.
    pub not: Vec<Template>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    format_version: u32,
    name: SubjectName,
    model: String,
    templates: Vec<Template>,
    not: Vec<Template>,
    /// Over the rest of this entry and all tensors.
    sha256: String,
}

impl Person {
    /// Somebody with a first template.
    pub fn new(name: SubjectName, model: String, template: Template) -> Self {
        Self { name, model, templates: vec![template], not: Vec::new() }
    }

    /// The greatest cosine with a template, -1 to 1; 0 where there is none.
    pub fn similarity(&self, embedding: &[f32]) -> f32 {
        nearest(&self.templates, embedding).unwrap_or(0.0)
    }

    /// Whether a correction says that a face is not this person: it is more similar to one of the corrections than to every
    /// template.
    pub fn refuses(&self, embedding: &[f32]) -> bool {
        nearest(&self.not, embedding).is_some_and(|not| not > self.similarity(embedding))
    }

    /// What identifies the templates and corrections: changes whenever one of them does.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.model.as_bytes());
        for (kind, templates) in [(b"+", &self.templates), (b"-", &self.not)] {
            for template in templates {
                hash.update(kind);
                template.embedding.iter().for_each(|value| hash.update(value.to_le_bytes()));
            }
        }
        hex(&hash.finalize())
    }

    /// The bytes of the person's file.
    ///
    /// # Errors
    /// [`Error::Person`] for templates of different widths.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let width = self.templates.first().map_or(0, |template| template.embedding.len());
        let flat = |templates: &[Template]| -> Vec<u8> {
            templates.iter().flat_map(|template| template.embedding.iter().flat_map(|value| value.to_le_bytes())).collect()
        };
        let (templates, not) = (flat(&self.templates), flat(&self.not));
        let failed = |problem: String| self.refused(problem, "enrol the person again");
        if templates.len() != 4 * width * self.templates.len() || not.len() != 4 * width * self.not.len() {
            return Err(failed("templates have different widths".into()));
        }
        let mut entry = Entry {
            format_version: FORMAT_VERSION,
            name: self.name.clone(),
            model: self.model.clone(),
            templates: self.templates.clone(),
            not: self.not.clone(),
            sha256: String::new(),
        };
        entry.sha256 = entry.checksum(&templates, &not).map_err(|error| failed(error.to_string()))?;
        let text = serde_json::to_string(&entry).map_err(|error| failed(error.to_string()))?;
        let view = |bytes, count| TensorView::new(Dtype::F32, vec![count, width], bytes);
        let tensors = [
            ("templates", view(&templates, self.templates.len()).map_err(|error| failed(error.to_string()))?),
            ("not", view(&not, self.not.len()).map_err(|error| failed(error.to_string()))?),
        ];
        let header = HashMap::from([(ENTRY.to_string(), text)]);
        safetensors::serialize(tensors, Some(header)).map_err(|error| failed(error.to_string()))
    }

    /// Reads a person's file; `file` is what errors name.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is no person, is damaged, or of another version.
    pub fn from_bytes(bytes: &[u8], file: &Path) -> Result<Self> {
        let broken = |problem: String| Error::File {
            file: file.to_path_buf(),
            problem: format!("is damaged or not a person's file ({problem})"),
            remedy: "restore it from a copy, or enrol the person again".into(),
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| broken(error.to_string()))?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(ENTRY));
        let text = text.ok_or_else(|| broken("it has no entry `person`".into()))?;
        let mut entry: Entry = serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
        if entry.format_version != FORMAT_VERSION {
            return Err(Error::File {
                file: file.to_path_buf(),
                problem: format!("has format version {}, this program reads {FORMAT_VERSION}", entry.format_version),
                remedy: "use the program that wrote it, or enrol the person again".into(),
            });
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
        let read = |name: &str, into: &mut Vec<Template>| -> Result<Vec<u8>> {
            let view = tensors.tensor(name).map_err(|error| broken(error.to_string()))?;
            let &[count, width] = view.shape() else { return Err(broken(format!("`{name}` is no matrix"))) };
            if view.dtype() != Dtype::F32 || count != into.len() || into.len() > MOST_TEMPLATES {
                return Err(broken(format!("`{name}` does not fit its entry")));
            }
            for (template, row) in into.iter_mut().zip(view.data().chunks(4 * width.max(1))) {
                template.embedding =
                    row.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
                let length = template.embedding.iter().map(|value| value * value).sum::<f32>().sqrt();
                // Any other, or none, would make similarities of anything.
                if !(0.99..=1.01).contains(&length) {
                    return Err(broken(format!("`{name}` holds an embedding of length {length:e}, not of length 1")));
                }
            }
            Ok(view.data().to_vec())
        };
        let templates = read("templates", &mut entry.templates)?;
        let not = read("not", &mut entry.not)?;
        let found = std::mem::take(&mut entry.sha256);
        if entry.checksum(&templates, &not).map_err(|error| broken(error.to_string()))? != found {
            return Err(broken("its checksum does not fit".into()));
        }
        let Entry { name, model, templates, not, .. } = entry;
        if templates.is_empty() {
            return Err(broken("it has no template".into()));
        }
        Ok(Self { name, model, templates, not })
    }

    /// Adds a template, or a correction, of the person's own model.
    ///
    /// # Errors
    /// [`Error::OtherModel`] for another model, [`Error::Person`] when there are too many.
    pub fn add(&mut self, template: Template, model: &str, correction: bool) -> Result<()> {
        self.check_model(model)?;
        let list = if correction { &self.not } else { &self.templates };
        if list.len() >= MOST_TEMPLATES {
            let problem = format!("already has {MOST_TEMPLATES} templates");
            return Err(self.refused(problem, "remove one by `pvchat subjects split`, or enrol the person again"));
        }
        if correction { &mut self.not } else { &mut self.templates }.push(template);
        Ok(())
    }

    /// Refuses a person whose templates come from another model.
    ///
    /// # Errors
    /// [`Error::OtherModel`].
    pub fn check_model(&self, model: &str) -> Result<()> {
        if self.model == model {
            return Ok(());
        }
        let name = self.name.bare().to_string();
        Err(Error::OtherModel { name, found: self.model.clone(), expected: model.into() })
    }

    fn refused(&self, problem: impl Into<String>, remedy: &str) -> Error {
        Error::Person { name: self.name.bare().into(), problem: problem.into(), remedy: remedy.into() }
    }
}

impl Entry {
    /// The checksum over this entry without its checksum, and the tensors.
    fn checksum(&self, templates: &[u8], not: &[u8]) -> serde_json::Result<String> {
        let plain = serde_json::to_vec(&(&self.format_version, &self.name, &self.model, &self.templates, &self.not))?;
        let mut hash = Sha256::new();
        [&plain, templates, not].into_iter().for_each(|part| hash.update(part));
        Ok(hex(&hash.finalize()))
    }
}

/// Seconds as whole microseconds: numbers that JSON gives back exactly, which the checksum needs.
mod microseconds {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(&(start, end): &(f64, f64), serializer: S) -> Result<S::Ok, S::Error> {
        [start, end].map(|seconds| (1e6 * seconds).round() as i64).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(f64, f64), D::Error> {
        let [start, end] = <[i64; 2]>::deserialize(deserializer)?.map(|microseconds| microseconds as f64 / 1e6);
        Ok((start, end))
    }
}

fn nearest(templates: &[Template], embedding: &[f32]) -> Option<f32> {
    templates.iter().map(|template| cosine(&template.embedding, embedding)).reduce(f32::max)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder of people: `NAME.person.safetensors` for each, and in `history/` what the last changes replaced, so that they can
/// be undone. [`forget`](Self::forget) deletes a person from both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gallery(PathBuf);

/// A change that can be undone: what it did, and which files it replaced.
#[derive(Serialize, Deserialize)]
struct Change {
    what: String,
    /// Names of files; those that were not there before have no copy next to this entry. None where somebody was forgotten.
    files: Vec<String>,
}

impl Change {
    /// Whether it only says that somebody was forgotten.
    fn is_mark(&self) -> bool {
        self.files.is_empty()
    }
}

impl Gallery {
    /// Uses a folder; it is made, readable by its owner only, when the first person is saved.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file of a person, who may be named in other capitals, see [`resolve`](Self::resolve).
    pub fn file(&self, name: &SubjectName) -> PathBuf {
        self.own_file(&self.resolve(name).unwrap_or_else(|_| name.clone()))
    }

    fn own_file(&self, name: &SubjectName) -> PathBuf {
        self.0.join(format!("{}.{EXTENSION}", name.bare()))
    }

    /// The name under which somebody is kept, see [`SubjectName::resolve`].
    ///
    /// # Errors
    /// As [`names`](Self::names).
    pub fn resolve(&self, name: &SubjectName) -> Result<SubjectName> {
        Ok(name.resolve(&self.names()?))
    }

    /// Everybody, in alphabetical order.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read; one that does not exist is empty.
    pub fn names(&self) -> Result<Vec<SubjectName>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::io(&self.0, source)),
        };
        let name = |entry: io::Result<fs::DirEntry>| -> Option<SubjectName> {
            entry.ok()?.file_name().to_str()?.strip_suffix(&format!(".{EXTENSION}"))?.parse().ok()
        };
        let mut names: Vec<SubjectName> = entries.filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// Loads a person, who may be named in other capitals, see [`resolve`](Self::resolve).
    ///
    /// # Errors
    /// [`Error::Unknown`] for somebody who is not there, [`Error::File`] for a file that is damaged or holds somebody else.
    pub fn load(&self, name: &SubjectName) -> Result<Person> {
        self.load_own(&self.resolve(name)?)
    }

    fn load_own(&self, name: &SubjectName) -> Result<Person> {
        let file = self.own_file(name);
        let bytes = match read(&file)? {
            Some(bytes) => bytes,
            None => {
                let known = self.names()?.iter().map(SubjectName::bare).collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() { "nobody yet".into() } else { known };
                return Err(Error::Unknown { name: name.bare().into(), folder: self.0.clone(), known });
            }
        };
        let person = Person::from_bytes(&bytes, &file)?;
        if person.name != *name {
            return Err(Error::File {
                problem: format!("holds {}", person.name.bare()),
                remedy: format!("rename it to {}, or import it", self.own_file(&person.name).display()),
                file,
            });
        }
        Ok(person)
    }

    /// Loads everybody.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_all(&self) -> Result<Vec<Person>> {
        self.names()?.iter().map(|name| self.load_own(name)).collect()
    }

    /// Saves a person, replacing one of that name; `what` says in words what changed, for [`undo`](Self::undo).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Person`]; nothing half-written remains.
    pub fn save(&self, person: &Person, what: &str) -> Result<PathBuf> {
        self.replace(what, &[(&person.name, Some(person))])?;
        Ok(self.own_file(&person.name))
    }

    /// Gives a person another name.
    ///
    /// # Errors
    /// [`Error::Person`] where the other name is taken; those of [`load`](Self::load) and [`save`](Self::save).
    pub fn rename(&self, from: &SubjectName, to: &SubjectName) -> Result<()> {
        let mut person = self.load(from)?;
        let from = &person.name.clone();
        self.check_free(to, Some(from))?;
        person.name = to.clone();
        self.replace(&format!("renamed {} to {}", from.bare(), to.bare()), &[(to, Some(&person)), (from, None)])
    }

    /// Puts all templates and corrections of one person into another, who stays; the first is gone.
    ///
    /// # Errors
    /// [`Error::OtherModel`], [`Error::Person`]; those of [`load`](Self::load) and [`save`](Self::save).
    pub fn merge(&self, from: &SubjectName, into: &SubjectName) -> Result<Person> {
        let (other, mut person) = (self.load(from)?, self.load(into)?);
        let (from, into) = (&other.name.clone(), &person.name.clone());
        if from == into {
            return Err(person.refused("cannot be merged with itself", "give two names"));
        }
        // "Not Bb" was said of Aa, whom Bb is now: it would hide Aa.
        let overruled = |not: &Template, own: &[Template], others: &[Template]| {
            let (own, others) = (nearest(own, &not.embedding), nearest(others, &not.embedding));
            others.is_some_and(|others| others >= OVERRULED && own.is_none_or(|own| others > own))
        };
        person.not.retain(|not| !overruled(not, &person.templates, &other.templates));
        let mut further = other.not;
        further.retain(|not| !overruled(not, &other.templates, &person.templates));
        for (templates, correction) in [(other.templates, false), (further, true)] {
            for template in templates {
                person.add(template, &other.model, correction)?;
            }
        }
        let what = format!("merged {} into {}", from.bare(), into.bare());
        self.replace(&what, &[(into, Some(&person)), (from, None)])?;
        Ok(person)
    }

    /// Takes templates (by number, counted from 0) out of a person and makes another person of them.
    ///
    /// # Errors
    /// [`Error::Person`] for numbers that are not there, or when nothing would be left; those of [`load`](Self::load) and
    /// [`save`](Self::save).
    pub fn split(&self, from: &SubjectName, templates: &[usize], to: &SubjectName) -> Result<Person> {
        let mut person = self.load(from)?;
        let from = &person.name.clone();
        self.check_free(to, None)?;
        if let Some(missing) = templates.iter().find(|&&number| number >= person.templates.len()) {
            let (problem, looks) = (format!("has no look {}", missing + 1), person.templates.len());
            let remedy = if looks == 1 { "it has one look only".into() } else { format!("choose from 1 to {looks}") };
            return Err(person.refused(problem, &remedy));
        }
        let kept = |number: &usize| !templates.contains(number);
        let (stay, go): (Vec<_>, Vec<_>) = (0..person.templates.len()).partition(kept);
        if stay.is_empty() || go.is_empty() {
            return Err(person
                .refused("would be left without a look", "name some of its looks, not all; to rename: pvchat subjects rename"));
        }
        let pick = |numbers: Vec<usize>| numbers.into_iter().map(|number| person.templates[number].clone()).collect();
        let other = Person { name: to.clone(), model: person.model.clone(), templates: pick(go), not: Vec::new() };
        person.templates = pick(stay);
        let what = format!("split {} from {}", to.bare(), from.bare());
        self.replace(&what, &[(to, Some(&other)), (from, Some(&person))])?;
        Ok(other)
    }

    /// Takes back the last change and says what it was; `None` when there is none. After somebody was [forgotten](Self::forget) it
    /// refuses once, so that nobody takes back an older change without knowing it.
    ///
    /// # Errors
    /// [`Error::Io`] when files cannot be replaced, [`Error::Person`] where the last change was to forget somebody.
    pub fn undo(&self) -> Result<Option<String>> {
        let mut changes = self.changes()?;
        let Some(entry) = changes.pop() else { return Ok(None) };
        let change = read_change(&entry)?;
        if change.is_mark() {
            fs::remove_dir_all(&entry).map_err(|source| Error::io(&entry, source))?;
            let before = changes.last().and_then(|entry| read_change(entry).ok());
            return Err(Error::Person {
                name: FORGETTING.into(),
                problem: "cannot be undone".into(),
                remedy: match before {
                    Some(before) => format!("the change before it is: {}; run undo again to take that back", before.what),
                    None => "there is no change before it".into(),
                },
            });
        }
        for name in &change.files {
            let file = self.0.join(name);
            match read(&entry.join(name))? {
                Some(before) => write(&file, &before)?,
                None => remove(&file)?,
            }
        }
        fs::remove_dir_all(&entry).map_err(|source| Error::io(&entry, source))?;
        Ok(Some(change.what))
    }

    /// The names under which templates of a person are or were kept: a person who was renamed, merged or split shares them with
    /// the names of those changes. The given one is the first, in the capitals of the person who has it.
    ///
    /// # Errors
    /// [`Error::Io`] when the history cannot be read.
    pub fn related(&self, name: &SubjectName) -> Result<Vec<SubjectName>> {
        let bare = |file: &String| file.strip_suffix(&format!(".{EXTENSION}")).and_then(|bare| bare.parse().ok());
        let people = |entry: &PathBuf| read_change(entry).map_or_else(|_| Vec::new(), |change| change.files);
        let changes: Vec<Vec<SubjectName>> =
            self.changes()?.iter().map(|entry| people(entry).iter().filter_map(bare).collect()).collect();
        let mut related = vec![self.resolve(name)?];
        let mut place = 0;
        while let Some(name) = related.get(place).cloned() {
            for other in changes.iter().filter(|names| names.contains(&name)).flatten() {
                if !related.contains(other) {
                    related.push(other.clone());
                }
            }
            place += 1;
        }
        Ok(related)
    }

    /// Refuses a name that a person had before another one.
    ///
    /// # Errors
    /// [`Error::Person`] with the new name; [`Error::Io`] when the folder cannot be read.
    pub fn check_current(&self, name: &SubjectName) -> Result<()> {
        let (related, names) = (self.related(name)?, self.names()?);
        let now: Vec<&str> = related.iter().filter(|other| names.contains(other)).map(SubjectName::bare).collect();
        match (related.first(), now.first()) {
            (Some(name), Some(one)) if !names.contains(name) => {
                let quote = if one.contains(' ') { "'" } else { "" };
                Err(Error::Person {
                    name: name.bare().into(),
                    problem: format!("nobody is called that any more; that person is now {}", now.join(" or ")),
                    remedy: format!("pvchat subjects forget {quote}{one}{quote}"),
                })
            }
            _ => Ok(()),
        }
    }

    /// Deletes everything stored about a person: the file, and every old version that may hold the person's templates, also under
    /// other names ([`related`](Self::related)). Gives the files with their sizes in bytes. Where older changes remain, the history
    /// records that somebody was forgotten, but not who, see [`undo`](Self::undo).
    ///
    /// # Errors
    /// [`Error::Io`] when something cannot be deleted, and as [`check_current`](Self::check_current): nothing is deleted then.
    pub fn forget(&self, name: &SubjectName) -> Result<Vec<(PathBuf, u64)>> {
        self.check_current(name)?;
        let related = self.related(name)?;
        let mut files: Vec<PathBuf> = related.first().map(|name| self.own_file(name)).into_iter().collect();
        let related: Vec<String> = related.iter().map(|name| format!("{}.{EXTENSION}", name.bare())).collect();
        let mut entries = Vec::new();
        for entry in self.changes()? {
            // A change that cannot be read may hold anybody.
            let concerns = read_change(&entry).map_or(true, |change| change.files.iter().any(|file| related.contains(file)));
            if concerns {
                let inside = fs::read_dir(&entry).map_err(|source| Error::io(&entry, source))?;
                files.extend(inside.filter_map(|file| Some(file.ok()?.path())));
                entries.push(entry);
            }
        }
        let mut deleted = Vec::new();
        for file in files {
            if let Ok(metadata) = fs::symlink_metadata(&file) {
                remove(&file)?;
                deleted.push((file, metadata.len()));
            }
        }
        for entry in entries {
            fs::remove_dir(&entry).map_err(|source| Error::io(&entry, source))?;
        }
        let before = self.changes()?;
        let is_marked = before.last().is_none_or(|entry| read_change(entry).is_ok_and(|change| change.is_mark()));
        if !deleted.is_empty() && !is_marked {
            let entry = self.new_entry(&before)?;
            let mark = Change { what: FORGETTING.into(), files: Vec::new() };
            pvchat_data::file::write_json(&entry.join(CHANGE), &mark)?;
        }
        Ok(deleted)
    }

    /// Refuses a name that somebody has, be it in other capitals; those of `except` may be changed.
    fn check_free(&self, name: &SubjectName, except: Option<&SubjectName>) -> Result<()> {
        let names = self.names()?;
        let is_taken = |other: &&SubjectName| *other == name || (other.is_alike(name) && Some(*other) != except);
        let Some(other) = names.iter().find(is_taken) else { return Ok(()) };
        Err(Error::Person {
            name: other.bare().into(),
            problem: format!("is already somebody in {}", self.0.display()),
            remedy: "choose another name, or merge the two".into(),
        })
    }

    /// A folder for the change that follows these.
    fn new_entry(&self, changes: &[PathBuf]) -> Result<PathBuf> {
        let last = changes.last().and_then(|entry| entry.file_name()?.to_str()?.parse::<u64>().ok()).unwrap_or(0);
        let entry = self.0.join(HISTORY).join(format!("{:06}", last + 1));
        make_private(&entry)?;
        Ok(entry)
    }

    /// Replaces files after copying what they held into the history. New files come first, so that whatever happens in
    /// between nobody is lost.
    fn replace(&self, what: &str, people: &[(&SubjectName, Option<&Person>)]) -> Result<()> {
        make_private(&self.0)?;
        let mut changes = self.changes()?;
        let entry = self.new_entry(&changes)?;
        let files: Vec<String> = people.iter().map(|(name, _)| format!("{}.{EXTENSION}", name.bare())).collect();
        for name in &files {
            if let Some(before) = read(&self.0.join(name))? {
                write(&entry.join(name), &before)?;
            }
        }
        let change = Change { what: what.into(), files };
        pvchat_data::file::write_json(&entry.join(CHANGE), &change)?;
        for (name, person) in people {
            match person {
                Some(person) => write(&self.own_file(name), &person.to_bytes()?)?,
                None => remove(&self.own_file(name))?,
            }
        }
        let old = (changes.len() + 1).saturating_sub(MOST_CHANGES);
        for entry in changes.drain(..old) {
            fs::remove_dir_all(&entry).map_err(|source| Error::io(&entry, source))?;
        }
        Ok(())
    }

    /// The folders of changes, oldest first.
    fn changes(&self) -> Result<Vec<PathBuf>> {
        let history = self.0.join(HISTORY);
        let entries = match fs::read_dir(&history) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::io(&history, source)),
        };
        let mut folders: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
        folders.sort();
        Ok(folders)
    }
}

fn read_change(entry: &Path) -> Result<Change> {
    Ok(pvchat_data::file::read_json(&entry.join(CHANGE), 1 << 20)?)
}

/// The bytes of a regular file; `None` where there is none.
fn read(file: &Path) -> Result<Option<Vec<u8>>> {
    let refused = |problem: &str| Error::File {
        file: file.to_path_buf(),
        problem: problem.into(),
        remedy: "give a person's file as `pvchat enrol` writes it".into(),
    };
    match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(file, source)),
        Ok(metadata) if !metadata.is_file() => Err(refused("is not a regular file")),
        Ok(metadata) if metadata.len() > LARGEST_FILE => Err(refused("is larger than a person's file can be")),
        Ok(_) => fs::read(file).map(Some).map_err(|source| Error::io(file, source)),
    }
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    Ok(write_atomically(file, bytes)?)
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(file, error)),
        _ => Ok(()),
    }
}

/// Makes a folder that only its owner may read.
fn make_private(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| Error::io(folder, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(axis: usize) -> Template {
        let mut embedding = vec![0.0; 4];
        embedding[axis] = 1.0;
        Template { embedding, added: 1_700_000_000 + axis as u64, source: "ab".into(), faces: 3, ..Template::default() }
    }

    fn name(text: &str) -> SubjectName {
        text.parse().unwrap()
    }

    fn person(text: &str, axis: usize) -> Person {
        Person::new(name(text), "m".into(), template(axis))
    }

    fn gallery() -> (tempfile::TempDir, Gallery) {
        let folder = tempfile::tempdir().unwrap();
        let gallery = Gallery::new(folder.path().join("people"));
        (folder, gallery)
    }

    #[test]
    fn a_person_of_any_time_and_quality_can_be_read_again() {
        for frame in 0..2_000 {
            let mut aa = person("Aa", 0);
            let seconds = f64::from(frame) * 1001.0 / 30_000.0;
            aa.templates[0].span = (seconds / 3.0, seconds);
            (aa.templates[0].size, aa.templates[0].sharpness) = (seconds as f32 / 7.0, seconds as f32 / 11.0);
            let read = Person::from_bytes(&aa.to_bytes().unwrap(), Path::new("x")).unwrap();
            assert!((read.templates[0].span.1 - seconds).abs() < 1e-6 && read.templates[0].size == aa.templates[0].size);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut aa = person("Aa", 0);
        aa.not.push(template(1));
        let bytes = aa.to_bytes().unwrap();
        assert_eq!(Person::from_bytes(&bytes, Path::new("x")).unwrap(), aa);
        for byte in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 1 << (byte % 8);
            // Spaces around the header's JSON mean nothing.
            let read = Person::from_bytes(&damaged, Path::new("x"));
            assert!(read.is_err() || read.as_ref().is_ok_and(|read| *read == aa), "byte {byte}");
            assert!(Person::from_bytes(&bytes[..byte], Path::new("x")).is_err());
        }
    }

    #[test]
    fn embeddings_that_are_not_of_unit_length_are_refused_with_their_tensor() {
        for (value, corrected) in [(1e30, false), (f32::NAN, false), (0.0, false), (2.0, true)] {
            let mut aa = person("Aa", 0);
            aa.not.push(template(1));
            if corrected { &mut aa.not[0] } else { &mut aa.templates[0] }.embedding[usize::from(corrected)] = value;
            // The checksum fits: the file was written so.
            let error = Person::from_bytes(&aa.to_bytes().unwrap(), Path::new("Aa.person")).unwrap_err().to_string();
            let tensor = if corrected { "`not`" } else { "`templates`" };
            assert!(error.contains(tensor) && error.contains("Aa.person") && error.contains("enrol the person again"), "{error}");
        }
    }

    #[test]
    fn changes_can_be_undone_one_by_one() {
        let (_folder, gallery) = gallery();
        gallery.save(&person("Aa", 0), "enrolled Aa").unwrap();
        gallery.save(&person("Bb", 1), "enrolled Bb").unwrap();
        gallery.merge(&name("Bb"), &name("Aa")).unwrap();
        assert_eq!(gallery.names().unwrap(), [name("Aa")]);
        assert_eq!(gallery.load(&name("Aa")).unwrap().templates.len(), 2);
        gallery.split(&name("Aa"), &[0], &name("Cc")).unwrap();
        gallery.rename(&name("Cc"), &name("Dd")).unwrap();
        assert_eq!(gallery.load(&name("Dd")).unwrap().templates, [template(0)]);
        let undone: Vec<String> = std::iter::from_fn(|| gallery.undo().unwrap()).collect();
        assert_eq!(undone, ["renamed Cc to Dd", "split Cc from Aa", "merged Bb into Aa", "enrolled Bb", "enrolled Aa"]);
        assert!(gallery.names().unwrap().is_empty());
    }

    #[test]
    fn forgetting_leaves_no_trace() {
        let (folder, gallery) = gallery();
        gallery.save(&person("Aa", 0), "enrolled Aa").unwrap();
        gallery.save(&person("Bb", 1), "enrolled Bb").unwrap();
        gallery.save(&person("Aa", 2), "enrolled Aa again").unwrap();
        assert!(gallery.forget(&name("Aa")).unwrap().len() >= 3);
        let mut left = Vec::new();
        let mut folders = vec![folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { left.push(path) }
            }
        }
        assert!(left.iter().all(|path| !path.to_string_lossy().contains("Aa.")), "{left:?}");
        assert_eq!(gallery.names().unwrap(), [name("Bb")]);
    }

    #[test]
    fn forgetting_reaches_what_was_kept_under_other_names() {
        let (_folder, gallery) = gallery();
        gallery.save(&person("Aa", 0), "enrolled Aa").unwrap();
        gallery.save(&person("Aa", 1), "enrolled Aa again").unwrap();
        gallery.rename(&name("Aa"), &name("Bb")).unwrap();
        gallery.save(&person("Cc", 2), "enrolled Cc").unwrap();
        gallery.save(&person("Cc", 3), "enrolled Cc again").unwrap();
        assert_eq!(gallery.related(&name("Bb")).unwrap(), [name("Bb"), name("Aa")]);
        gallery.forget(&name("Bb")).unwrap();
        let kept: Vec<Change> = gallery.changes().unwrap().iter().map(|entry| read_change(entry).unwrap()).collect();
        let of_cc = |change: &&Change| change.files == ["Cc.person.safetensors"];
        assert!(kept.iter().all(|change| of_cc(&change) || change.is_mark()), "an old version of Aa is left");
        assert_eq!((kept.iter().filter(of_cc).count(), gallery.names().unwrap()), (2, vec![name("Cc")]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (_folder, gallery) = gallery();
        assert!(matches!(gallery.load(&name("Aa")), Err(Error::Unknown { .. })));
        gallery.save(&person("Aa", 0), "enrolled Aa").unwrap();
        gallery.save(&Person { model: "other".into(), ..person("Bb", 1) }, "enrolled Bb").unwrap();
        assert!(matches!(gallery.merge(&name("Bb"), &name("Aa")), Err(Error::OtherModel { .. })));
        assert!(matches!(gallery.merge(&name("Aa"), &name("Aa")), Err(Error::Person { .. })));
        assert!(matches!(gallery.rename(&name("Aa"), &name("Bb")), Err(Error::Person { .. })));
        for numbers in [&[0][..], &[1], &[]] {
            assert!(matches!(gallery.split(&name("Aa"), numbers, &name("Cc")), Err(Error::Person { .. })), "{numbers:?}");
        }
        fs::copy(gallery.file(&name("Aa")), gallery.file(&name("Cc"))).unwrap();
        assert!(matches!(gallery.load(&name("Cc")), Err(Error::File { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_is_its_owners_only() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, gallery) = gallery();
        gallery.save(&person("Aa", 0), "enrolled Aa").unwrap();
        assert_eq!(fs::metadata(gallery.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
