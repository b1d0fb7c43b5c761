//! The description of a generator, which a user writes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::{Error, Result};

/// Stands for the folder of the description in its command.
const HERE: &str = "{here}";
/// The largest description that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// How a generator is run, as its `generator.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What it is called in messages and in the report.
    pub name: String,
    /// The program and its arguments, given to the system as they are: no shell reads them. The path of the request is added
    /// as the last argument. `{here}` stands for the folder of the description.
    pub command: Vec<String>,
    /// What it makes.
    pub kind: Kind,
    /// Clips of the person for training that it makes; clips of others come in the same proportion. Stills are made as they
    /// are needed. Without it, the numbers of the paper: 10 from text, 5 animated portraits.
    #[serde(default)]
    pub clips: Option<usize>,
    /// Clips whose movements portraits are to have, relative to the description; for [`Kind::PortraitAnimation`] only.
    #[serde(default)]
    pub driving: Vec<PathBuf>,
    /// Files that are asked for in one run of the program, at most; it loads its weights once for each run.
    #[serde(default = "usual_batch")]
    pub batch: usize,
    /// How long one run may take, in seconds.
    #[serde(default = "usual_seconds")]
    pub seconds: f64,
    /// Resident memory that the processes of a run may have together, in mebibytes. What they share counts for each.
    #[serde(default = "usual_memory")]
    pub memory_mb: u64,
    /// What one run may write, in mebibytes.
    #[serde(default = "usual_output")]
    pub output_mb: u64,
    /// Files and folders that one run may write.
    #[serde(default = "usual_files")]
    pub files: usize,
}

fn usual_batch() -> usize {
    8
}

fn usual_seconds() -> f64 {
    3600.0
}

fn usual_memory() -> u64 {
    32 << 10
}

fn usual_output() -> u64 {
    2 << 10
}

fn usual_files() -> usize {
    1000
}

impl Description {
    /// Reads a description.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that cannot be read or is not JSON of this form.
    pub fn read(file: &Path) -> Result<Self> {
        Ok(pvchat_data::file::read_json(file, LARGEST)?)
    }

    /// Clips of the person for training that are to come from it; none of a generator of stills.
    pub fn clips(&self) -> usize {
        match self.kind {
            Kind::TextToVideo => self.clips.unwrap_or(10),
            Kind::PortraitAnimation => self.clips.unwrap_or(5),
            Kind::PortraitStills => 0,
        }
    }

    /// Checks every value, and gives the command as it is run and the driving clips as they are found. `folder` is the folder
    /// of the description, a whole path.
    pub(super) fn resolve(&self, file: &Path, folder: &Path) -> Result<(Vec<String>, Vec<PathBuf>)> {
        let refuse =
            |key: &str, problem: String| Err(Error::Description { file: file.to_path_buf(), key: key.to_string(), problem });
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            return refuse("name", "it is empty or has control characters; name the program".into());
        }
        let here = folder.to_string_lossy();
        let command: Vec<String> = self.command.iter().map(|argument| argument.replace(HERE, &here)).collect();
        let Some(program) = command.first().filter(|program| !program.is_empty()) else {
            return refuse("command", "it is empty; give the program and its arguments as a list".into());
        };
        if program.contains('/') && !Path::new(program).is_absolute() {
            return refuse("command", format!("`{program}` depends on the working folder; begin it with {HERE}/"));
        }
        if command.iter().any(|argument| argument.contains('\0')) {
            return refuse("command", "an argument holds a zero byte; take it out".into());
        }
        let numbers = [
            ("batch", self.batch as f64, 1.0, 1000.0),
            ("seconds", self.seconds, 0.1, 604_800.0),
            ("memory_mb", self.memory_mb as f64, 1.0, 1e8),
            ("output_mb", self.output_mb as f64, 1.0, 1e7),
            ("files", self.files as f64, 2.0, 1e6),
            ("clips", self.clips.unwrap_or(1) as f64, 1.0, 10_000.0),
        ];
        for (key, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                return refuse(key, format!("it is {value}; give a number from {least} to {most}"));
            }
        }
        if self.kind == Kind::PortraitStills && self.clips.is_some() {
            return refuse("clips", "stills are no clips; leave it out".into());
        }
        if (self.kind == Kind::PortraitAnimation) == self.driving.is_empty() {
            return refuse("driving", "portrait_animation needs clips to take the movements from, other kinds have none".into());
        }
        let driving: Vec<PathBuf> = self.driving.iter().map(|clip| folder.join(clip)).collect();
        if let Some(missing) = driving.iter().find(|clip| !clip.is_file()) {
            return refuse("driving", format!("there is no file {}; correct the path", missing.display()));
        }
        Ok((command, driving))
    }
}
