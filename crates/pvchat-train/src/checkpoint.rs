//! Checkpoints that a killed process cannot spoil: a folder per checkpoint, complete before a small
//! file that names it is renamed into place.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use burn::{module::Module, optim::ModuleOptimizer};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a checkpoint holds beside the parameters and the optimiser.
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
pub struct CheckpointFolder(PathBuf);

const LATEST: &str = "latest.json";

impl CheckpointFolder {
    /// Uses (and creates when needed) a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|error| failure(&folder, &error, "choose a folder that can be written"))?;
        Ok(Self(folder))
    }

    /// Writes a checkpoint and removes older ones.
    pub fn save<M: Module>(&self, model: &M, optimizer: &ModuleOptimizer, state: &RunState) -> Result<()> {
        let name = format!("step-{:08}", state.step);
        let folder = self.0.join(&name);
        let write = || -> std::result::Result<(), Box<dyn std::error::Error>> {
            fs::create_dir_all(&folder)?;
            for file in ["model.bpk", "optimizer.bpk"] {
                let _ = fs::remove_file(folder.join(file));
            }
            model.clone().save_file(folder.join("model.bpk"))?;
            optimizer.save(folder.join("optimizer.bpk"))?;
            fs::write(folder.join("state.json"), serde_json::to_vec_pretty(state)?)?;
            let mut latest = tempfile::NamedTempFile::new_in(&self.0)?;
            serde_json::to_writer(&mut latest, &name)?;
            latest.persist(self.0.join(LATEST))?;
            Ok(())
        };
        write().map_err(|error| failure(&folder, error.as_ref(), "free some space or choose another folder"))?;
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let other = entry.file_name();
            if other.to_string_lossy().starts_with("step-") && other != *name {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    /// Loads the newest checkpoint into a model and an optimiser of the same build; `None` when there is none.
    pub fn load<M: Module>(
        &self,
        model: M,
        optimizer: ModuleOptimizer,
        fingerprint: &BTreeMap<String, String>,
    ) -> Result<(M, ModuleOptimizer, Option<RunState>)> {
        let Some(folder) = self.latest()? else { return Ok((model, optimizer, None)) };
        let state = read_state(&folder)?;
        let differences: Vec<String> = fingerprint
            .iter()
            .filter(|(key, value)| state.fingerprint.get(*key) != Some(value))
            .map(|(key, value)| {
                format!("{key}: {value} here, {} there", state.fingerprint.get(key).map_or("nothing", String::as_str))
            })
            .collect();
        if !differences.is_empty() {
            return Err(Error::OtherRun { path: folder, differences: differences.join("; ") });
        }
        let model = model.try_load_file(folder.join("model.bpk")).map_err(|error| failure(&folder, &error, REMEDY))?;
        let optimizer = optimizer.load(folder.join("optimizer.bpk")).map_err(|error| failure(&folder, &error, REMEDY))?;
        Ok((model, optimizer, Some(state)))
    }

    /// Loads only the newest checkpoint's parameters; `None` when there is no checkpoint.
    pub fn load_model<M: Module>(&self, model: M) -> Result<Option<M>> {
        let Some(folder) = self.latest()? else { return Ok(None) };
        let loaded = model.try_load_file(folder.join("model.bpk"));
        loaded.map(Some).map_err(|error| failure(&folder, &error, REMEDY))
    }

    /// The state of the newest checkpoint; `None` when there is no checkpoint.
    pub fn state(&self) -> Result<Option<RunState>> {
        let Some(folder) = self.latest()? else { return Ok(None) };
        read_state(&folder).map(Some)
    }

    fn latest(&self) -> Result<Option<PathBuf>> {
        let file = self.0.join(LATEST);
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read(&file).map_err(|error| failure(&file, &error, REMEDY))?;
        let name: String = serde_json::from_slice(&text).map_err(|error| failure(&file, &error, REMEDY))?;
        if name.contains(['/', '\\']) {
            return Err(failure(&file, &"names a path outside its folder", REMEDY));
        }
        Ok(Some(self.0.join(name)))
    }
}

const REMEDY: &str = "delete the folder to start over";

fn read_state(folder: &Path) -> Result<RunState> {
    let text = fs::read(folder.join("state.json")).map_err(|error| failure(folder, &error, REMEDY))?;
    serde_json::from_slice(&text).map_err(|error| failure(folder, &error, REMEDY))
}

fn failure(path: &Path, problem: &(impl std::fmt::Display + ?Sized), remedy: &str) -> Error {
    Error::Checkpoint { path: path.to_path_buf(), problem: problem.to_string(), remedy: remedy.to_string() }
}
