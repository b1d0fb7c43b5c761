//! External programs that make clips of a person, run as child processes: ConsisID, PhotoMaker and LivePortrait, or your own.
//!
//! A generator is a program that follows the contract in `docs/generators.md`. [`Generator::run`] makes a folder for it, writes a
//! [`Request`] and pictures of the person there, runs the program's argument vector (no shell reads it) in a process group of its
//! own, and ends that group if it exceeds its limits of time, memory or output. The program's [`Reply`] is not
//! trusted: a file counts if it is in the output folder, no part of its path is a link, this crate's decoder reads all of it, and
//! its size, length and frame rate are as requested. Anything else is an [`Error::Generator`] that names the program, the
//! [`Fault`] with its remedy, and the end of the program's output. The folder is deleted with the [`Run`] in every case.
//!
//! The limits guard against faults; they are not a sandbox. The program runs with the permissions of the user, and a process that
//! leaves the group (`setsid`) is not stopped. Memory is watched on Linux only.
//!
//! [`prompts`] has what generators are asked to show.

mod child;
mod contract;
mod description;
mod files;
pub mod prompts;
mod scenes;

use std::{
    fs,
    path::{Path, PathBuf},
};

use image::RgbImage;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

pub use crate::fault::{Fault, SCHEMA};
pub use contract::{Listed, Provenance, Reply, Request, Wanted};
pub use description::Description;
pub(crate) use files::still;

/// The request, the reply, the output and the pictures in the folder of a run.
const REQUEST: &str = "request.json";
const REPLY: &str = "reply.json";
const OUTPUT: &str = "output";
const REFERENCES: &str = "references";
/// The largest reply that is read, in bytes.
const LARGEST_REPLY: u64 = 1 << 20;

/// What a generator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Clips from a prompt and pictures of a face.
    TextToVideo,
    /// Pictures from a prompt and pictures of a face.
    PortraitStills,
    /// Clips from one picture and a clip whose movements it is to have.
    PortraitAnimation,
}

/// A generator that can be run.
#[derive(Clone, Debug)]
pub struct Generator {
    description: Description,
    command: Vec<String>,
    driving: Vec<PathBuf>,
    identity: String,
}

/// One file that is to be made.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// Pictures of the person, the best first.
    pub references: &'a [RgbImage],
    /// The word for the person in the prompt.
    pub noun: &'a str,
    /// What is to be seen.
    pub prompt: &'a str,
    /// What is not to be seen.
    pub negative_prompt: &'a str,
    /// What every random choice follows from, below 2^31.
    pub seed: u64,
    /// The clip whose movements the person is to have.
    pub driving: Option<&'a Path>,
}

/// What files are to be like at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// Length in seconds; of no meaning for stills.
    pub seconds: f64,
    /// Frames per second; of no meaning for stills.
    pub fps: f64,
}

/// What a generator made. Its files are gone when this is dropped: copy what is to stay.
#[derive(Debug)]
pub struct Run {
    /// What made them.
    pub provenance: Provenance,
    /// The files, one for each order, checked.
    pub files: Vec<PathBuf>,
    _folder: WorkFolder,
}

/// A folder that is deleted in the end.
#[derive(Debug)]
struct WorkFolder(PathBuf);

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // What cannot be deleted is found by the next run of the same request.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Generator {
    /// Reads and checks the description of a generator; the program is not run.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that cannot be read, [`Error::Description`] for a value that cannot be used, [`Error::Io`] for
    /// a driving clip that cannot be read.
    pub fn open(file: &Path) -> Result<Self> {
        let description = Description::read(file)?;
        let io = |source| Error::Io { path: file.to_path_buf(), source };
        let whole = fs::canonicalize(file).map_err(io)?;
        let (command, driving) = description.resolve(file, whole.parent().unwrap_or(Path::new("/")))?;
        // What it makes depends on the command and on the files that it names in the folder of the description, its script for
        // one; the limits are no part of it.
        let mut digest = Sha256::new();
        digest
            .update(serde_json::to_vec(&(SCHEMA, &description.name, &description.command, description.kind)).unwrap_or_default());
        for (written, argument) in description.command.iter().zip(&command) {
            if written != argument && Path::new(argument).is_file() {
                digest.update(fs::read(argument).map_err(|source| Error::Io { path: argument.into(), source })?);
            }
        }
        let identity = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { description, command, driving, identity })
    }

    /// What its description says.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The clips whose movements portraits are to have, as whole paths.
    pub fn driving(&self) -> &[PathBuf] {
        &self.driving
    }

    /// Another identity makes other files: SHA-256 of name, kind and command, and of the files that the command names by
    /// `{here}`.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Runs the program once, for all orders, in a new folder inside `folder`. `go_on` is asked twenty times a second; its error
    /// ends the program.
    ///
    /// # Errors
    /// [`Error::Generator`] for everything that the program does wrong, [`Error::Io`] and [`Error::Data`] where the folder or
    /// the request cannot be written, and that of `go_on`.
    pub fn run(&self, orders: &[Order<'_>], shape: &Shape, folder: &Path, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Run> {
        let (work, request) = prepare(self.description.kind, orders, shape, folder)?;
        let description = &self.description;
        let limits = child::Limits {
            seconds: description.seconds,
            memory: description.memory_mb,
            bytes: description.output_mb << 20,
            files: description.files,
        };
        let mut command = self.command.clone();
        command.push(work.0.join(REQUEST).to_string_lossy().into_owned());
        let ended = child::run(&command, &work.0, &limits, go_on)?;
        let accepted = match ended.fault {
            Some(fault) => Err(fault),
            None => accept(&request),
        };
        match accepted {
            Ok((provenance, files)) => Ok(Run { provenance, files, _folder: work }),
            Err(fault) => Err(self.blame(fault, ended.said)),
        }
    }

    /// The error for a fault; `said` is the end of what the program said.
    pub(crate) fn blame(&self, fault: Fault, said: String) -> Error {
        Error::Generator { name: self.description.name.clone(), fault: Box::new(fault), said }
    }
}

/// Makes a folder for a run, with the request and the pictures of it.
fn prepare(kind: Kind, orders: &[Order<'_>], shape: &Shape, folder: &Path) -> Result<(WorkFolder, Request)> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    };
    fs::create_dir_all(folder).map_err(io(folder))?;
    let folder = fs::canonicalize(folder).map_err(io(folder))?;
    let id = identity_of(kind, orders, shape);
    let work = WorkFolder(folder.join(&id));
    if work.0.exists() {
        fs::remove_dir_all(&work.0).map_err(io(&work.0))?;
    }
    // It holds pictures of people.
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    for inside in [work.0.clone(), work.0.join(OUTPUT), work.0.join(REFERENCES)] {
        builder.create(&inside).map_err(io(&inside))?;
    }
    let mut wanted = Vec::with_capacity(orders.len());
    for (place, order) in orders.iter().enumerate() {
        let mut references = Vec::with_capacity(order.references.len());
        for (number, picture) in order.references.iter().enumerate() {
            let path = work.0.join(REFERENCES).join(format!("{place:03}-{number}.png"));
            let mut bytes = std::io::Cursor::new(Vec::new());
            let written = picture.write_to(&mut bytes, image::ImageFormat::Png);
            written.map_err(|error| Error::Io { path: path.clone(), source: std::io::Error::other(error) })?;
            fs::write(&path, bytes.into_inner()).map_err(io(&path))?;
            references.push(path);
        }
        wanted.push(Wanted {
            references,
            noun: order.noun.into(),
            prompt: order.prompt.into(),
            negative_prompt: order.negative_prompt.into(),
            seed: order.seed,
            driving: order.driving.map(Path::to_path_buf),
        });
    }
    let is_still = kind == Kind::PortraitStills;
    let request = Request {
        schema: SCHEMA,
        id,
        kind,
        size: shape.size,
        seconds: if is_still { 0.0 } else { shape.seconds },
        fps: if is_still { 0.0 } else { shape.fps },
        output: work.0.join(OUTPUT),
        reply: work.0.join(REPLY),
        wanted,
    };
    pvchat_data::file::write_json(&work.0.join(REQUEST), &request)?;
    Ok((work, request))
}

/// Names a request by what is asked for.
fn identity_of(kind: Kind, orders: &[Order<'_>], shape: &Shape) -> String {
    let mut digest = Sha256::new();
    digest.update(format!("{SCHEMA} {kind:?} {shape:?}"));
    for order in orders {
        let Order { references, noun, prompt, negative_prompt, seed, driving } = order;
        digest.update(format!("{noun:?} {prompt:?} {negative_prompt:?} {seed} {driving:?}"));
        references.iter().for_each(|picture| digest.update(picture.as_raw()));
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a reply, and checks it and every file that it lists.
fn accept(request: &Request) -> std::result::Result<(Provenance, Vec<PathBuf>), Fault> {
    match fs::symlink_metadata(&request.reply) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(Fault::BadReply { problem: format!("{REPLY} is no regular file") }),
        Err(_) => return Err(Fault::NoReply),
    }
    let reply: Reply = pvchat_data::file::read_json(&request.reply, LARGEST_REPLY).map_err(|error| {
        let problem = error.to_string().replace(&request.reply.display().to_string(), REPLY);
        Fault::BadReply { problem }
    })?;
    let provenance = reply.check(request)?;
    // It may have put a link in its place.
    if !fs::symlink_metadata(&request.output).is_ok_and(|output| output.is_dir()) {
        return Err(Fault::Outside { path: OUTPUT.into() });
    }
    let mut files = Vec::with_capacity(reply.files.len());
    for listed in &reply.files {
        let path = files::own(&request.output, &listed.path)?;
        files::check(&path, &listed.path, request)?;
        files.push(path);
    }
    Ok((provenance, files))
}
