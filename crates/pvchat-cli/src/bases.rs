//! The bases: models that describe what people wear and do. `pvchat base` lists and installs them.

use std::{
    ffi::OsString,
    fs,
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::{
    common::Common,
    failure::{Exit, Failure, Outcome},
    folders,
    interrupt::Stoppable,
    output::Output,
    progress::byte_bar,
    words,
};
use hub::{Hub, State};

pub mod hub;

/// The bases that the program knows.
const KNOWN: &str = include_str!("bases.json");
/// Names another list, in the same form; its bases are added, or take the place of those with the same name.
const MORE: &str = "PVCHAT_BASES";
/// The one that is built in.
const MINIATURE: &str = "miniature";

/// A base that is known by name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    about: String,
    licence: String,
    repository: Option<String>,
    revision: Option<String>,
    #[serde(default)]
    files: Vec<BaseFile>,
}

/// A file of a base.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseFile {
    pub name: String,
    /// Its size, where it is known.
    pub bytes: Option<u64>,
    /// Its SHA-256, where it is known; large files have it in the hub's cache too.
    pub sha256: Option<String>,
}

/// A base that is known by name.
#[derive(Clone, Debug)]
pub struct Known {
    pub name: String,
    pub about: String,
    pub licence: String,
    /// `None` for the built-in one, and for one that is opened from a folder only.
    pub origin: Option<Origin>,
}

/// Where a base is published.
#[derive(Clone, Debug)]
pub struct Origin {
    /// On the Hugging Face hub: owner/name.
    pub repository: String,
    /// A commit.
    pub revision: String,
    pub files: Vec<BaseFile>,
}

impl Origin {
    /// The size of all files, as far as it is known.
    pub fn bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.bytes).sum()
    }
}

impl Known {
    /// The bases that are known, in the order of the list.
    pub fn all() -> Outcome<Vec<Self>> {
        let mut all = read("bases.json", KNOWN.as_bytes())?;
        if let Some(path) = std::env::var_os(MORE).filter(|path| !path.is_empty()).map(PathBuf::from) {
            let bytes = fs::read(&path).map_err(|error| Failure::file(&path, &error))?;
            for base in read(&words::shown(&path), &bytes)? {
                match all.iter_mut().find(|known| known.name == base.name) {
                    Some(known) => *known = base,
                    None => all.push(base),
                }
            }
        }
        Ok(all)
    }

    /// The base of that name.
    pub fn find(name: &str) -> Outcome<Option<Self>> {
        Ok(Self::all()?.into_iter().find(|base| base.name == name))
    }

    /// Where it is noted that a base was checked, and its licence.
    pub fn record(&self) -> Outcome<PathBuf> {
        Ok(folders::records()?.join(format!("{}.json", self.name)))
    }

    fn state(&self, hub: &Hub) -> &'static str {
        match &self.origin {
            None if self.name == MINIATURE => "built in",
            None => "folder only",
            Some(origin) => match hub.state(origin) {
                State::Installed => "installed",
                State::Incomplete => "incomplete",
                State::Absent => "absent",
            },
        }
    }

    fn size(&self) -> String {
        self.origin.as_ref().map_or_else(String::new, |origin| words::bytes(origin.bytes()))
    }

    /// It is not installed, or not whole.
    pub fn absent(&self, state: State) -> Failure {
        let (name, size, licence) = (&self.name, self.size(), &self.licence);
        let what = if state == State::Incomplete { "is not complete; resume with" } else { "is not installed:" };
        Failure::refused("base_absent", format!("{name} {what} `{}` ({size}, {licence})", hub::get_command(name)))
    }

    /// It is in no place that this program fetches from.
    pub fn folder_only(&self) -> Failure {
        let name = &self.name;
        let message = format!("{name} is opened from a folder with its published files: --base FOLDER; see docs/bases.md");
        Failure::refused("base_not_usable", message)
    }
}

/// Reads a list of bases.
fn read(file: &str, bytes: &[u8]) -> Outcome<Vec<Known>> {
    let wrong = |problem: String| Failure::failed(format!("{file} is no list of bases ({problem}); see docs/bases.md"));
    let listed: Vec<Listed> = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    // These become names of files and folders.
    let is_plain = |text: &str| {
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        !text.is_empty() && !text.starts_with('.') && text.chars().all(is_letter)
    };
    let checked = |listed: Listed| {
        let Listed { name, about, licence, repository, revision, files } = listed;
        let origin = match (repository, revision) {
            (Some(repository), Some(revision)) if !files.is_empty() => Some(Origin { repository, revision, files }),
            (None, None) => None,
            _ => return Err(wrong(format!("{name} needs repository, revision and files, or none of them"))),
        };
        let mut texts = vec![name.as_str()];
        if let Some(origin) = &origin {
            texts.extend(origin.repository.split('/').chain([origin.revision.as_str()]));
            texts.extend(origin.files.iter().map(|file| file.name.as_str()));
        }
        match texts.into_iter().find(|text| !is_plain(text)) {
            Some(text) => Err(wrong(format!("{text:?} cannot be a name"))),
            None => Ok(Known { name, about, licence, origin }),
        }
    };
    listed.into_iter().map(checked).collect()
}

/// What a user calls a base: a name of the list, or a folder.
#[derive(Clone, Debug)]
pub struct Base(PathBuf);

impl From<OsString> for Base {
    fn from(text: OsString) -> Self {
        Self(text.into())
    }
}

impl Base {
    /// Whether it is the one for drawn clips.
    pub fn is_miniature(&self) -> bool {
        self.0.as_os_str() == MINIATURE
    }

    /// Whether it was left empty, as variables are.
    pub fn is_empty(&self) -> bool {
        self.0.as_os_str().is_empty()
    }

    /// The name under which people who were learned on it are kept: that of the list, or of its folder.
    pub fn key(&self) -> Outcome<String> {
        if let Some(known) = self.known()? {
            return Ok(known.name);
        }
        let path = self.folder()?;
        let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
        let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        let name: String = name.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
        let name = name.trim_start_matches('.');
        Ok(if name.is_empty() { "base".into() } else { name.into() })
    }

    /// The known base of that name.
    pub fn known(&self) -> Outcome<Option<Known>> {
        self.0.to_str().map_or(Ok(None), Known::find)
    }

    /// As a shell takes it.
    pub fn quoted(&self) -> String {
        words::quoted(&self.0)
    }

    /// The folder.
    pub fn folder(&self) -> Outcome<&PathBuf> {
        let is_word = self.0.components().count() == 1 && !self.0.exists();
        match is_word {
            true => {
                let (name, known) = (words::shown(&self.0), names(&Known::all()?));
                let message = format!("{name} is neither a base nor a folder; bases are {known}");
                Err(Failure::refused("unknown_base", message))
            }
            false => Ok(&self.0),
        }
    }
}

fn names(all: &[Known]) -> String {
    words::list(&all.iter().map(|base| base.name.as_str()).collect::<Vec<_>>())
}

/// A base of the list, as an argument.
fn known_name(text: &str) -> Result<Known, String> {
    let all = Known::all().map_err(|failure| failure.message)?;
    let known = names(&all);
    all.into_iter().find(|base| base.name == text).ok_or_else(|| format!("bases are {known}"))
}

const EXAMPLES: &str = "\
Examples:
  pvchat base list
  pvchat base get smolvlm2-256m                      once; 1.0 GB, Apache-2.0
  pvchat ask lunch.mp4 \"What is Aa wearing?\"         an installed base is used automatically
  pvchat ask lunch.mp4 \"What is Aa doing?\" --base smolvlm2-500m
  pvchat base path smolvlm2-256m

Bases are kept in the cache of the Hugging Face hub (HF_HUB_CACHE, HF_HOME), which other programs share. Only `get` opens a
network connection; with HF_HUB_OFFLINE=1 it opens none. Recognising people needs no base: see `pvchat models`.";

/// The commands about bases.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// Lists the bases, what each can do, and whether it is installed.
    #[command(after_help = EXAMPLES)]
    List,
    /// Installs a base from the Hugging Face hub and verifies its files; resumes after an interruption.
    #[command(after_help = EXAMPLES)]
    Get(NameArguments),
    /// Prints the folder of an installed base.
    #[command(after_help = EXAMPLES)]
    Path(NameArguments),
}

#[derive(Args)]
pub struct NameArguments {
    /// The base, as `pvchat base list` names it.
    #[arg(value_name = "NAME", value_parser = known_name)]
    base: Known,
}

#[derive(Serialize)]
struct BaseBody<'a> {
    name: &'a str,
    about: &'a str,
    /// Whether it can be used at once.
    usable: bool,
    installed: bool,
    state: &'static str,
    licence: &'a str,
    repository: Option<&'a str>,
    revision: Option<&'a str>,
    /// The size of its files, as far as it is known.
    bytes: Option<u64>,
    /// Where it is, once it is installed.
    folder: Option<String>,
}

#[derive(Serialize)]
struct BasesBody<'a> {
    cache: String,
    bases: Vec<BaseBody<'a>>,
}

impl<'a> BaseBody<'a> {
    fn of(base: &'a Known, hub: &Hub) -> Self {
        let (origin, state) = (base.origin.as_ref(), base.state(hub));
        let installed = matches!(state, "installed" | "built in");
        Self {
            name: &base.name,
            about: &base.about,
            usable: installed,
            installed,
            state,
            licence: &base.licence,
            repository: origin.map(|origin| origin.repository.as_str()),
            revision: origin.map(|origin| origin.revision.as_str()),
            bytes: origin.map(Origin::bytes),
            folder: origin.filter(|_| installed).map(|origin| hub.folder(origin).to_string_lossy().into_owned()),
        }
    }
}

impl Command {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        let (output, hub) = (common.output(), Hub::from_environment()?);
        match self {
            Self::List => {
                let all = Known::all()?;
                let row = |base: &Known| {
                    let columns = [&base.name, base.state(&hub), &base.size(), &base.licence, &base.about];
                    columns.map(String::from).to_vec()
                };
                let body = BasesBody {
                    cache: hub.cache().to_string_lossy().into_owned(),
                    bases: all.iter().map(|base| BaseBody::of(base, &hub)).collect(),
                };
                let table = words::table(&all.iter().map(row).collect::<Vec<_>>());
                output.result("bases", &body, format!("in {}:\n{table}", words::shown(hub.cache())))?;
            }
            Self::Get(NameArguments { base }) => get(base, common, &hub)?,
            Self::Path(NameArguments { base }) => {
                let Some(origin) = &base.origin else {
                    return Err(if base.name == MINIATURE { built_in() } else { base.folder_only() });
                };
                let state = hub.state(origin);
                if state != State::Installed {
                    return Err(base.absent(state));
                }
                output.result("base", &BaseBody::of(base, &hub), hub.folder(origin).display())?;
            }
        }
        Ok(Exit::Answered)
    }
}

fn built_in() -> Failure {
    Failure::refused("base_not_usable", "miniature is built in and in no folder; use it by name: --base miniature")
}

fn get(base: &Known, common: &Common, hub: &Hub) -> Outcome<()> {
    let output = common.output();
    let Some(origin) = &base.origin else {
        if base.name != MINIATURE {
            return Err(base.folder_only());
        }
        return output.result("base", &BaseBody::of(base, hub), "miniature is built in; there is nothing to fetch");
    };
    let (name, licence, repository) = (&base.name, &base.licence, &origin.repository);
    if hub.state(origin) != State::Installed && !hub.is_offline() {
        output.note(format!("{name}: {repository}, {}, licence {licence}", words::bytes(origin.bytes())));
    }
    fetch(base, origin, hub, &output)?;
    let folder = words::shown(&hub.folder(origin));
    let text = format!("{name} is installed and intact, in {folder}\nlicence {licence}; {repository} at {}", origin.revision);
    output.result("base", &BaseBody::of(base, hub), text)
}

/// Downloads in another thread, so that this one can react to an interruption.
fn fetch(base: &Known, origin: &Origin, hub: &Hub, output: &Output) -> Outcome<()> {
    let (stoppable, bar, (sender, done)) = (Stoppable::begin(), byte_bar(output), mpsc::channel());
    let (known, origin, record) = (base.clone(), origin.clone(), base.record()?);
    let (hub, shown) = (hub.clone(), bar.clone());
    std::thread::spawn(move || {
        // Nobody waits any more after an interruption.
        let _ = sender.send(hub.get(&known, &origin, &record, &shown));
    });
    let outcome = loop {
        match done.recv_timeout(Duration::from_millis(100)) {
            Ok(outcome) => break outcome,
            Err(RecvTimeoutError::Timeout) if !stoppable.is_stopped() => {}
            Err(RecvTimeoutError::Timeout) => {
                let name = &base.name;
                let message = format!("interrupted; what was fetched is kept; resume with `pvchat base get {name}`");
                break Err(Failure { exit: Exit::Interrupted, reason: "interrupted", ..Failure::failed(message) });
            }
            Err(RecvTimeoutError::Disconnected) => break Err(Failure::failed("fetching ended without a reason; try again")),
        }
    };
    bar.finish_and_clear();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole() {
        let all = read("bases.json", KNOWN.as_bytes()).unwrap();
        assert_eq!(names(&all), "miniature, smolvlm2-256m, smolvlm2-500m, smolvlm2-2.2b and internvideo2_chat");
        let sizes: Vec<u64> = all.iter().filter_map(|base| base.origin.as_ref()).map(Origin::bytes).collect();
        assert!(sizes.is_sorted() && sizes[0] > 1_000_000_000, "{sizes:?}");
        for origin in all.iter().filter_map(|base| base.origin.as_ref()) {
            assert_eq!(origin.revision.len(), 40, "a commit, not a branch");
            for checksum in origin.files.iter().filter_map(|file| file.sha256.as_ref()) {
                assert!(checksum.len() == 64 && checksum.bytes().all(|byte| byte.is_ascii_hexdigit()), "{checksum}");
            }
        }
    }

    #[test]
    fn names_that_leave_their_folder_are_refused() {
        let list = |name: &str, file: &str| {
            format!(
                r#"[{{"name": "{name}", "about": "", "licence": "", "repository": "a/b", "revision": "c", "files": [{{"name": "{file}"}}]}}]"#
            )
        };
        assert!(read("x", list("a", "config.json").as_bytes()).is_ok());
        for (name, file) in [("../a", "b"), ("a", "../b"), ("a", "/b"), ("", "b"), ("a", "..")] {
            assert!(read("x", list(name, file).as_bytes()).is_err(), "{name} {file}");
        }
    }
}
