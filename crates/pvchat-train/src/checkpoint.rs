//! Checkpoints that a killed process cannot damage: a folder per checkpoint, complete and on the disk before a small
//! file that names it is renamed into place. One process at a time works in a folder.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::{
    module::{Module, ParamGroup},
    optim::ModuleOptimizer,
    store::ModuleRecord,
};
use pvchat_nn::file::{LARGEST_TEXT_FILE, read_regular};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, error::Difference};

/// What a checkpoint holds in addition to the parameters and the optimiser.
///
/// The sampler's position and the random state need no entries: the batch of a step, and
/// whatever is drawn in it, come from a stream that is derived from the run's seed (in the fingerprint) and the step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Steps done.
    pub step: usize,
    /// Wall-clock seconds of training so far, over all resumptions.
    #[serde(default)]
    pub seconds: f64,
    /// Names and values that identify the run: configuration, data, seed.
    pub fingerprint: BTreeMap<String, String>,
    /// State of the task, for example adaptive weights.
    pub task: serde_json::Value,
}

/// The folder that keeps a run's newest checkpoint.
#[derive(Clone, Debug)]
pub struct CheckpointFolder {
    path: PathBuf,
    group: Option<ParamGroup>,
    /// Held by the operating system for as long as the file is open, so that it ends with its process however that ends.
    lock: Option<Arc<File>>,
}

const LATEST: &str = "latest.json";
const LOCK: &str = "lock";
const PARTIAL: &str = ".partial-";
const REMEDY: &str = "delete the folder to start over";
const MAKE_ROOM: &str = "free some space or choose another folder; no checkpoint had been written before";
const MAKE_ROOM_AGAIN: &str = "free some space or choose another folder; the checkpoint before it is still good";

impl CheckpointFolder {
    /// Uses (and creates when needed) a folder.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it cannot be created.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self> {
        let path = folder.into();
        fs::create_dir_all(&path).map_err(|error| failure(&path, &error, "choose a folder that can be written"))?;
        Ok(Self { path, group: None, lock: None })
    }

    /// Writes and reads only these parameters; the others are expected to be the same whenever the run is resumed.
    pub fn only(self, group: ParamGroup) -> Self {
        Self { group: Some(group), ..self }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder, held for this process until the last clone of the result is gone. What a killed
    /// process left half-written is removed.
    ///
    /// # Errors
    /// [`Error::Busy`] when a living process, or another part of this one, holds it.
    pub fn locked(&self) -> Result<Self> {
        if self.lock.is_some() {
            return Ok(self.clone());
        }
        let path = self.path.join(LOCK);
        let broken = |error: &std::io::Error| failure(&path, error, "choose a folder that can be written");
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(|error| broken(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.take(20).read_to_string(&mut holder);
                return Err(Error::Busy { folder: self.path.clone(), process: holder.trim().to_string() });
            }
            Err(TryLockError::Error(error)) => return Err(broken(&error)),
        }
        // Only for the message of a second process: the lock is the operating system's.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(PARTIAL) {
                let _ = fs::remove_dir_all(entry.path());
            } else if name.starts_with(".tmp") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { lock: Some(Arc::new(file)), ..self.clone() })
    }

    /// Writes a checkpoint and removes older ones.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it cannot be written (a full disk, for example); the one before is then untouched and
    /// nothing half-written remains.
    pub fn save<M: Module>(&self, model: &M, optimizer: &ModuleOptimizer, state: &RunState) -> Result<()> {
        let latest = self.latest()?;
        let mut name = format!("step-{:08}", state.step);
        let remedy = if latest.is_some() { MAKE_ROOM_AGAIN } else { MAKE_ROOM };
        if latest.is_some_and(|latest| latest.ends_with(&name)) {
            name.push_str("-again");
        }
        let (folder, partial) = (self.path.join(&name), self.path.join(format!("{PARTIAL}{name}")));
        let write = || -> std::result::Result<(), Box<dyn std::error::Error>> {
            let _ = fs::remove_dir_all(&partial);
            fs::create_dir(&partial)?;
            let record = match &self.group {
                Some(group) => model.clone().into_record_group(group.clone()),
                None => model.clone().into_record(),
            };
            write_file(&partial.join("model.bpk"), &record.into_bytes()?)?;
            write_file(&partial.join("optimizer.bpk"), &optimizer.into_bytes()?)?;
            write_file(&partial.join("state.json"), &serde_json::to_vec_pretty(state)?)?;
            let _ = fs::remove_dir_all(&folder);
            fs::rename(&partial, &folder)?;
            let mut latest = tempfile::NamedTempFile::new_in(&self.path)?;
            serde_json::to_writer(&mut latest, &name)?;
            latest.as_file().sync_all()?;
            latest.persist(self.path.join(LATEST))?;
            sync_folder(&self.path)?;
            Ok(())
        };
        if let Err(error) = write() {
            let _ = fs::remove_dir_all(&partial);
            return Err(failure(&folder, error.as_ref(), remedy));
        }
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let other = entry.file_name();
            if other.to_string_lossy().starts_with("step-") && other != *name {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    /// Loads the newest checkpoint into a model and an optimiser of the same build; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::OtherRun`] when the checkpoint's fingerprint is another one, with everything that differs;
    /// [`Error::Checkpoint`] when it is damaged.
    pub fn load<M: Module>(
        &self,
        model: M,
        optimizer: ModuleOptimizer,
        fingerprint: &BTreeMap<String, String>,
    ) -> Result<(M, ModuleOptimizer, Option<RunState>)> {
        let Some(folder) = self.latest()? else { return Ok((model, optimizer, None)) };
        let state = read_state(&folder)?;
        let differences = differences(fingerprint, &state.fingerprint);
        if !differences.is_empty() {
            return Err(Error::OtherRun { path: folder, differences });
        }
        let record = ModuleRecord::load(folder.join("model.bpk")).map_err(|error| failure(&folder, &error, REMEDY))?;
        let record = record.allow_partial(self.group.is_some());
        let model = model.try_load_record(record).map_err(|error| failure(&folder, &error, REMEDY))?;
        let optimizer = optimizer.load(folder.join("optimizer.bpk")).map_err(|error| failure(&folder, &error, REMEDY))?;
        Ok((model, optimizer, Some(state)))
    }

    /// Loads only the newest checkpoint's parameters; `None` when there is no checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is damaged.
    pub fn load_model<M: Module>(&self, model: M) -> Result<Option<M>> {
        let Some(folder) = self.latest()? else { return Ok(None) };
        let loaded = model.try_load_file(folder.join("model.bpk"));
        loaded.map(Some).map_err(|error| failure(&folder, &error, REMEDY))
    }

    /// The state of the newest checkpoint; `None` when there is no checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is damaged.
    pub fn state(&self) -> Result<Option<RunState>> {
        let Some(folder) = self.latest()? else { return Ok(None) };
        read_state(&folder).map(Some)
    }

    fn latest(&self) -> Result<Option<PathBuf>> {
        let file = self.path.join(LATEST);
        if !file.exists() {
            return Ok(None);
        }
        let text = read_regular(&file, LARGEST_TEXT_FILE, REMEDY).map_err(|error| failure(&file, &error, REMEDY))?;
        let name: String = serde_json::from_slice(&text).map_err(|error| failure(&file, &error, REMEDY))?;
        if name.contains(['/', '\\']) {
            return Err(failure(&file, &"names a path outside its folder", REMEDY));
        }
        Ok(Some(self.path.join(name)))
    }
}

/// What differs between two fingerprints.
fn differences(here: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> Vec<Difference> {
    let mut keys: Vec<&String> = here.keys().chain(there.keys().filter(|key| !here.contains_key(*key))).collect();
    keys.sort();
    let value = |of: &BTreeMap<String, String>, key: &String| of.get(key).map_or("nothing".to_string(), String::clone);
    keys.into_iter()
        .filter(|key| here.get(*key) != there.get(*key))
        .map(|key| Difference { key: key.clone(), here: value(here, key), there: value(there, key) })
        .collect()
}

/// Writes a file and waits until it is on the disk: its folder is renamed only after that.
fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Waits until the entries of a folder are on the disk, where folders can be opened.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

fn read_state(folder: &Path) -> Result<RunState> {
    let state = read_regular(&folder.join("state.json"), LARGEST_TEXT_FILE, REMEDY);
    let text = state.map_err(|error| failure(folder, &error, REMEDY))?;
    serde_json::from_slice(&text).map_err(|error| failure(folder, &error, REMEDY))
}

fn failure(path: &Path, problem: &(impl std::fmt::Display + ?Sized), remedy: &str) -> Error {
    Error::Checkpoint { path: path.to_path_buf(), problem: problem.to_string(), remedy: remedy.to_string() }
}
