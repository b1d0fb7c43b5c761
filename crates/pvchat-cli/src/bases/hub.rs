//! The files of bases in the cache of the Hugging Face hub, which other programs share. Only `get` opens a connection.

use std::{
    env,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use directories::BaseDirs;
use hf_hub::{
    Cache, Repo, RepoType,
    api::{
        Progress,
        sync::{Api, ApiBuilder, ApiError},
    },
};
use indicatif::ProgressBar;
use pvchat::data::file::write_atomically;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BaseFile, Known, Origin};
use crate::{
    failure::{Exit, Failure, Outcome},
    folders::make_private,
    progress::begin_file,
    words,
};

/// How often a connection that was cut is made again before the command ends.
const RETRIES: usize = 3;
/// Digits of a SHA-256.
const DIGITS: usize = 64;

/// The hub and its cache, as the environment has them.
#[derive(Clone, Debug)]
pub struct Hub {
    cache: PathBuf,
    endpoint: Option<String>,
    is_offline: bool,
}

/// How much of a base is in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every file, of the right size.
    Installed,
    /// Some files, or a part of one.
    Incomplete,
    /// Nothing.
    Absent,
}

/// A file whose checksum was compared. While its size and time stay the same it is not read again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CheckedFile {
    name: String,
    bytes: u64,
    /// In nanoseconds since 1970.
    modified: u64,
    sha256: String,
}

/// What is kept of an installed base: where it comes from, under which licence, and that its files were checked.
#[derive(Deserialize, Serialize)]
struct Record {
    name: String,
    repository: String,
    revision: String,
    licence: String,
    files: Vec<CheckedFile>,
}

/// A file that is not what was published.
pub struct Damage {
    pub file: PathBuf,
    pub problem: String,
}

/// What keeps an installed file from being used.
enum Flaw {
    Absent,
    Damaged(Damage),
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

impl Hub {
    /// `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else that in the user's cache; `HF_HUB_OFFLINE` and `HF_ENDPOINT`.
    pub fn from_environment() -> Outcome<Self> {
        let home = || {
            let shared = variable("XDG_CACHE_HOME").map(PathBuf::from);
            let cache = shared.or_else(|| Some(BaseDirs::new()?.home_dir().join(".cache")))?;
            Some(cache.join("huggingface"))
        };
        let cache = match variable("HF_HUB_CACHE") {
            Some(cache) => Some(PathBuf::from(cache)),
            None => variable("HF_HOME").map(PathBuf::from).or_else(home).map(|home| home.join("hub")),
        };
        let cache = cache.ok_or_else(|| Failure::failed("this user has no home folder; name the hub's cache by HF_HOME"))?;
        // The links in the cache are relative to absolute places.
        let cache = std::path::absolute(&cache).map_err(|error| Failure::file(&cache, &error))?;
        Ok(Self { cache, endpoint: variable("HF_ENDPOINT"), is_offline: is_offline() })
    }

    /// Whether nothing may be fetched.
    pub fn is_offline(&self) -> bool {
        self.is_offline
    }

    /// The folder of all bases.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    fn repository(&self, origin: &Origin) -> PathBuf {
        self.cache.join(Repo::model(origin.repository.clone()).folder_name())
    }

    /// The folder of a base's files, whether it is there or not.
    pub fn folder(&self, origin: &Origin) -> PathBuf {
        self.repository(origin).join("snapshots").join(&origin.revision)
    }

    /// How much of a base is there, from sizes alone.
    pub fn state(&self, origin: &Origin) -> State {
        let folder = self.folder(origin);
        let there = origin.files.iter().filter(|file| is_there(&folder.join(&file.name), file.bytes)).count();
        let blobs = || fs::read_dir(self.repository(origin).join("blobs")).is_ok_and(|mut blobs| blobs.next().is_some());
        match there {
            all if all == origin.files.len() => State::Installed,
            0 if !blobs() => State::Absent,
            _ => State::Incomplete,
        }
    }

    /// Fetches what is absent or damaged, checks everything, and writes the record.
    pub fn get(&self, known: &Known, origin: &Origin, record: &Path, bar: &ProgressBar) -> Outcome<()> {
        let mut files = Vec::new();
        for file in &origin.files {
            let path = self.folder(origin).join(&file.name);
            let found = match is_there(&path, None) {
                true => check(&path, file, bar)?.map_err(Flaw::Damaged),
                false => Err(Flaw::Absent),
            };
            let checked = match found {
                Ok(checked) => checked,
                Err(flaw) if self.is_offline => return Err(needs_network(known, &flaw)),
                Err(_) => {
                    remove(&path)?;
                    self.fetch(known, origin, file, bar)?;
                    check(&path, file, bar)?.map_err(|damage| {
                        // What is kept would be taken for a part of the right file.
                        let _ = remove(&path);
                        damaged(&known.name, &damage)
                    })?
                }
            };
            files.push(checked);
        }
        write_record(known, origin, files, record)
    }

    /// Checks an installed base where that was not done yet; `Err` names what is damaged.
    pub fn check_once(&self, known: &Known, origin: &Origin, record: &Path, bar: &ProgressBar) -> Outcome<Result<(), Damage>> {
        let folder = self.folder(origin);
        let before = fs::read(record).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        let before = before.filter(|record| record.revision == origin.revision).map(|record| record.files).unwrap_or_default();
        let mut files = Vec::new();
        for file in &origin.files {
            let path = folder.join(&file.name);
            let (bytes, modified) = size_and_time(&path)?;
            let is_same =
                |checked: &&CheckedFile| checked.name == file.name && (checked.bytes, checked.modified) == (bytes, modified);
            match before.iter().find(is_same) {
                Some(checked) => files.push(checked.clone()),
                None => match check(&path, file, bar)? {
                    Ok(checked) => files.push(checked),
                    Err(damage) => return Ok(Err(damage)),
                },
            }
        }
        if files != before {
            // Without a record it is only checked again the next time.
            let _ = write_record(known, origin, files, record);
        }
        Ok(Ok(()))
    }

    fn fetch(&self, known: &Known, origin: &Origin, file: &BaseFile, bar: &ProgressBar) -> Outcome<()> {
        let wrong = |problem: String| {
            let (repository, name, base) = (&origin.repository, &file.name, &known.name);
            let message = format!(
                "{name} of {repository} {problem}; check the network, the same command resumes the download: \
                 `pvchat base get {base}`"
            );
            let message = words::clean(&message.split_whitespace().collect::<Vec<_>>().join(" "));
            Failure { exit: Exit::Failed, reason: "not_fetched", message, is_silent: false, is_in_json: false }
        };
        let not_fetched = |error: ApiError| wrong(format!("cannot be fetched ({})", cause(&error)));
        let api = self.api().map_err(not_fetched)?;
        let repository = Repo::with_revision(origin.repository.clone(), RepoType::Model, origin.revision.clone());
        let repo = api.repo(repository);
        let found = api.metadata(&repo.url(&file.name)).map_err(not_fetched)?;
        if found.commit_hash() != origin.revision {
            return Err(wrong(format!("is offered from {:?}, not from the revision that is pinned", found.commit_hash())));
        }
        if file.bytes.is_some_and(|bytes| bytes != found.size() as u64) {
            return Err(wrong(format!("is offered with {} bytes, which are not those of the published file", found.size())));
        }
        // It becomes the name of a file.
        let etag = found.etag();
        if etag.is_empty() || !etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(wrong(format!("is offered under the tag {etag:?}, which is none")));
        }
        // A part that is complete was not renamed, and a longer one is of something else: neither can be resumed.
        let part = self.repository(origin).join("blobs").join(format!("{etag}.part"));
        if fs::metadata(&part).is_ok_and(|part| part.len() >= found.size() as u64) {
            fs::remove_file(&part).map_err(|error| Failure::file(&part, &error))?;
        }
        begin_file(bar, &file.name, found.size() as u64);
        let fetched = repo.download_with_progress(&file.name, Bar { bar: bar.clone(), is_begun: false });
        fetched.map(|_| ()).map_err(not_fetched)
    }

    fn api(&self) -> Result<Api, ApiError> {
        let builder = ApiBuilder::from_cache(Cache::new(self.cache.clone()));
        let builder = match &self.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint.trim_end_matches('/').into()),
            None => builder,
        };
        // Everything that is fetched is public: no token is sent.
        builder.with_token(None).with_retries(RETRIES).with_user_agent("pvchat", env!("CARGO_PKG_VERSION")).build()
    }
}

/// The command that fetches a base, also where the environment forbids it otherwise.
pub fn get_command(name: &str) -> String {
    let allowed = if is_offline() { "HF_HUB_OFFLINE=0 " } else { "" };
    format!("{allowed}pvchat base get {name}")
}

/// Whether `HF_HUB_OFFLINE` forbids the network.
fn is_offline() -> bool {
    variable("HF_HUB_OFFLINE").is_some_and(|value| matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"))
}

/// The message of a base that would have to be fetched.
fn needs_network(known: &Known, flaw: &Flaw) -> Failure {
    let name = &known.name;
    let (reason, problem) = match flaw {
        Flaw::Absent => ("base_absent", format!("{name} is not installed")),
        Flaw::Damaged(Damage { file, problem }) => ("base_damaged", format!("{} {problem}", words::shown(file))),
    };
    Failure::refused(reason, format!("{problem}, and HF_HUB_OFFLINE forbids the download: `{}`", get_command(name)))
}

/// The message of an installed base with a damaged file.
pub fn damaged(name: &str, damage: &Damage) -> Failure {
    let message = format!("{} {}; fetch it again: `{}`", words::shown(&damage.file), damage.problem, get_command(name));
    Failure::refused("base_damaged", message)
}

/// The error in the words of the network, without those of its wrappers.
fn cause(error: &ApiError) -> String {
    match error {
        ApiError::TooManyRetries(error) => cause(error),
        ApiError::RequestError(error) => error.to_string(),
        ApiError::IoError(error) => error.to_string(),
        ApiError::LockAcquisition(_) => "another program is fetching it".into(),
        error => error.to_string(),
    }
}

fn is_there(path: &Path, bytes: Option<u64>) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && bytes.is_none_or(|bytes| bytes == found.len()))
}

fn size_and_time(path: &Path) -> Outcome<(u64, u64)> {
    let found = fs::metadata(path).map_err(|error| Failure::file(path, &error))?;
    let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok((found.len(), modified.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))))
}

/// The checksum that a file has to have: the one that is known, else the one that the hub's cache names large files by.
fn expected(path: &Path, file: &BaseFile) -> Option<String> {
    let blob = || {
        let blob = fs::read_link(path).ok()?.file_name()?.to_str()?.to_string();
        (blob.len() == DIGITS && blob.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(blob)
    };
    file.sha256.clone().or_else(blob)
}

/// Reads a file whole and compares its size and checksum.
fn check(path: &Path, file: &BaseFile, bar: &ProgressBar) -> Outcome<Result<CheckedFile, Damage>> {
    let (bytes, modified) = size_and_time(path)?;
    let damage = |problem: String| Ok(Err(Damage { file: path.into(), problem }));
    if let Some(expected) = file.bytes.filter(|expected| *expected != bytes) {
        return damage(format!("has {bytes} bytes where {expected} were published"));
    }
    let sha256 = sha256(path, bytes, bar).map_err(|error| Failure::file(path, &error))?;
    match expected(path, file).filter(|expected| !expected.eq_ignore_ascii_case(&sha256)) {
        Some(_) => damage("is damaged: its SHA-256 is not that of the published file".into()),
        None => Ok(Ok(CheckedFile { name: file.name.clone(), bytes, modified, sha256 })),
    }
}

fn sha256(path: &Path, bytes: u64, bar: &ProgressBar) -> io::Result<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    begin_file(bar, &format!("checking {name}"), bytes);
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                hash.update(&buffer[..count]);
                bar.inc(count as u64);
            }
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Removes a damaged file of the cache with what its link leads to; where there is none, that is fine.
fn remove(path: &Path) -> Outcome<()> {
    let remove = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::file(path, &error)),
        _ => Ok(()),
    };
    if let (Ok(target), Some(parent)) = (fs::read_link(path), path.parent()) {
        remove(&parent.join(target))?;
    }
    remove(path)
}

fn write_record(known: &Known, origin: &Origin, files: Vec<CheckedFile>, path: &Path) -> Outcome<()> {
    let Origin { repository, revision, .. } = origin.clone();
    let record = Record { name: known.name.clone(), repository, revision, licence: known.licence.clone(), files };
    if let Some(folder) = path.parent() {
        make_private(folder)?;
    }
    Ok(write_atomically(path, &serde_json::to_vec_pretty(&record)?)?)
}

/// How far a file is fetched.
struct Bar {
    bar: ProgressBar,
    /// Whether the start of the download was reported.
    is_begun: bool,
}

impl Progress for Bar {
    fn init(&mut self, size: usize, _name: &str) {
        self.bar.set_length(size as u64);
        self.is_begun = false;
    }

    fn update(&mut self, size: usize) {
        if self.is_begun {
            self.bar.inc(size as u64);
        } else {
            // What was fetched before says nothing about the time that is left.
            self.bar.set_position(size as u64);
            self.bar.reset_eta();
            self.is_begun = true;
        }
    }

    fn finish(&mut self) {}
}
