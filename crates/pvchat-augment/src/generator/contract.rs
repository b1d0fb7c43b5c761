//! The messages between this crate and a generator, as JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Fault, Kind, SCHEMA};

/// What a generator is asked for: `request.json`, whose path is the last argument of its command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The version of the contract, [`SCHEMA`].
    pub schema: u32,
    /// Says which request it is; the reply repeats it.
    pub id: String,
    /// What is to be made.
    pub kind: Kind,
    /// The least width and height in pixels.
    pub size: [u32; 2],
    /// The least length of a clip in seconds; 0 for stills.
    pub seconds: f64,
    /// The least frames per second of a clip; 0 for stills.
    pub fps: f64,
    /// The folder for the files: whole path, empty.
    pub output: PathBuf,
    /// Where the reply is to be written: whole path.
    pub reply: PathBuf,
    /// One entry for each file that is to be made.
    pub wanted: Vec<Wanted>,
}

/// One file that a generator is to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Pictures of the person, the best first: PNG, the face in the middle with head and shoulders around it. Whole paths.
    pub references: Vec<PathBuf>,
    /// The word for the person in the prompt, such as `woman` or `person`.
    pub noun: String,
    /// What is to be seen.
    pub prompt: String,
    /// What is not to be seen.
    pub negative_prompt: String,
    /// What every random choice for this file is to follow from, below 2^31.
    pub seed: u64,
    /// The clip whose movements the person is to have; in requests for [`Kind::PortraitAnimation`] only. Whole path.
    pub driving: Option<PathBuf>,
}

/// What a generator replies: written to [`Request::reply`] when everything is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The version of the contract that the program follows.
    pub schema: u32,
    /// The id of the request.
    pub id: String,
    /// The program that made the files.
    #[serde(default)]
    pub program: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The weights that it used.
    #[serde(default)]
    pub model: String,
    /// The licence of program and weights.
    #[serde(default)]
    pub licence: String,
    /// The files, one for each entry of [`Request::wanted`] and in that order.
    pub files: Vec<Listed>,
}

/// A file of a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Its path below the output folder.
    pub path: String,
    /// The prompt that it was made of, as asked for.
    pub prompt: String,
    /// The seed that it was made of, as asked for.
    pub seed: u64,
}

/// What made a file, for the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The program.
    pub program: String,
    /// Its version.
    pub version: String,
    /// The weights that it used.
    pub model: String,
    /// The licence of program and weights.
    pub licence: String,
}

impl Reply {
    /// Checks what the reply says against what was asked; the files themselves are not looked at. Gives what made them.
    pub(super) fn check(&self, request: &Request) -> Result<Provenance, Fault> {
        if self.schema != SCHEMA {
            return Err(Fault::OtherSchema { found: self.schema });
        }
        if self.id != request.id {
            return Err(Fault::OtherRequest { found: self.id.clone(), expected: request.id.clone() });
        }
        let said = [("program", &self.program), ("version", &self.version), ("model", &self.model), ("licence", &self.licence)];
        if let Some((key, _)) = said.into_iter().find(|(_, value)| value.trim().is_empty()) {
            return Err(Fault::NotSaid { key });
        }
        if self.files.len() != request.wanted.len() {
            return Err(Fault::OtherCount { found: self.files.len(), expected: request.wanted.len() });
        }
        for (place, (listed, wanted)) in self.files.iter().zip(&request.wanted).enumerate() {
            let differs = [("prompt", listed.prompt != wanted.prompt), ("seed", listed.seed != wanted.seed)];
            if let Some((key, _)) = differs.into_iter().find(|(_, differs)| *differs) {
                return Err(Fault::OtherOrder { place, key });
            }
            if self.files[..place].iter().any(|other| other.path == listed.path) {
                return Err(Fault::Twice { path: listed.path.clone() });
            }
        }
        Ok(Provenance {
            program: self.program.clone(),
            version: self.version.clone(),
            model: self.model.clone(),
            licence: self.licence.clone(),
        })
    }
}
