//! A user's own networks that find and embed faces, as ONNX files, on a runtime in pure Rust (tract). Feature `onnx`.
//!
//! Next to each `NAME.onnx` is its [`Description`], `NAME.json`: what kind of network it is, and how pictures are prepared
//! for it and its outputs read. [`Networks`] loads them, and [`Finder::open_with`](crate::Finder::open_with) uses them in
//! place of the shipped ones.
//!
//! ```json
//! {"kind": "arcface", "mean": [127.5, 127.5, 127.5]}
//! ```
//!
//! | key | meaning | arcface | sface | yunet | scrfd |
//! |---|---|---|---|---|---|
//! | `kind` | what the network is; the only key that must be there | | | | |
//! | `side` | input width and height in pixels | 112 | 112 | 640 | 640 |
//! | `colour` | order of the channels | `rgb` | `rgb` | `bgr` | `rgb` |
//! | `mean` | three levels, in that order, that are subtracted | 127.5 | 0 | 0 | 127.5 |
//! | `scale` | three factors, in that order, that follow | 1/127.5 | 1 | 1 | 1/128 |
//! | `layout` | order of the axes | `nchw` | `nchw` | `nchw` | `nchw` |
//! | `score` | the least score of a face | | | 0.9 | 0.5 |
//! | `overlap` | intersection over union from which the worse of two boxes goes | | | 0.3 | 0.4 |
//! | `calibration` | what similarities mean, a [`Calibration`](crate::Calibration) | none | none | | |
//!
//! Other keys are refused.
//!
//! # Embedders
//!
//! The face is aligned by its five points to the template of ArcFace, scaled to `side`. The network has one input and one
//! output of 16 to 4096 numbers, which are scaled to unit length. The model's id, [`Finder::model`](crate::Finder::model),
//! contains SHA-256 of the file and of the preparation, so that templates of another network, or of the same one with
//! exchanged colours, are refused. Without a calibration nobody is ever recognised:
//! [`Finder::calibration`](crate::Finder::calibration) is an error that says how to measure one.
//!
//! # Detectors
//!
//! The picture is shrunk until its longer side is at most `side` (small pictures are not enlarged), put into the upper left
//! corner of a black square, and prepared. Cells are in rows, at strides *s* of 8, 16 and 32 pixels; column *c* and row *r*
//! begin at 0. Boxes and points are in pixels of the square and are mapped back to the picture. Boxes that are not finite or
//! have no area are dropped. At most 5000 boxes go into non-maximum suppression, at most 200 faces come out.
//!
//! **YuNet**, as in OpenCV's `FaceDetectorYN` with the file of March 2023: outputs named `cls_s`, `obj_s` (one number for a
//! cell), `bbox_s` (4) and `kps_s` (10). With *cls* and *obj* limited to 0..1:
//!
//! ```text
//! score  = sqrt(cls obj)
//! centre = ((c + bbox[0]) s, (r + bbox[1]) s)      size = (exp(bbox[2]) s, exp(bbox[3]) s)
//! point  = ((c + kps[2 i]) s, (r + kps[2 i + 1]) s)
//! ```
//!
//! **SCRFD**, as in insightface: nine outputs by position, whatever their names: scores of the strides 8, 16 and 32, then
//! boxes, then points. Two anchors for a cell, one after the other, both at (c s, r s):
//!
//! ```text
//! left  = c s - box[0] s    top    = r s - box[1] s    point = (c s + kps[2 i] s, r s + kps[2 i + 1] s)
//! right = c s + box[2] s    bottom = r s + box[3] s
//! ```
//!
//! Both give the points in the order of [`Face::landmarks`](crate::Face::landmarks).
//!
//! # Files from strangers
//!
//! Files have at most 512 MiB, sides at most 2048 pixels, tensors inside at most 2^27 numbers. A file that is damaged or no
//! such network, and outputs that are not finite, are [`Error::Onnx`], also where the runtime panics; the panic's message goes
//! where the program's panic hook sends it. A malicious file can still request more memory than there is.

mod description;
mod detect;
mod embed;
mod graph;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

pub use description::{Colour, Description, Kind, Layout};
pub(crate) use detect::Detector;
pub(crate) use embed::Embedder;

use crate::{Error, Network, Result};

/// The largest ONNX file that is read, in bytes.
const LARGEST_FILE: u64 = 512 << 20;

/// A user's own networks, loaded: at most one that finds faces and one that embeds them.
#[derive(Debug, Default)]
pub struct Networks {
    pub(crate) detector: Option<Detector>,
    pub(crate) embedder: Option<Embedder>,
}

impl Networks {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads every `*.onnx` in a folder, each with the description of the same name next to it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Onnx`] for a folder without a network or with two of which only one can be used, and those of
    /// [`with_file`](Self::with_file).
    pub fn open(folder: &Path) -> Result<Self> {
        let io = |source| Error::io(folder, source);
        let mut files = Vec::new();
        for entry in folder.read_dir().map_err(io)? {
            let file = entry.map_err(io)?.path();
            if file.extension().is_some_and(|extension| extension == "onnx") {
                files.push(file);
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(refused(
                folder,
                "network",
                "there is no file *.onnx",
                "put networks and descriptions there, or remove it",
            ));
        }
        let mut networks = Self::default();
        for file in files {
            let description = Description::read(&file.with_extension("json"))?;
            let is_second = if description.kind.embeds() { networks.embedder.is_some() } else { networks.detector.is_some() };
            if is_second {
                let role = if description.kind.embeds() { "embeds" } else { "finds" };
                let problem = format!("another network of the folder {role} faces too");
                return Err(refused(&file, "kind", problem, "move one of them to another folder"));
            }
            networks = networks.with(description)?;
        }
        Ok(networks)
    }

    /// Loads a network and runs it once. It replaces one before it that did the same.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Onnx`] for a value in the description that is out of its range or belongs to another kind, and
    /// for a file that is too large, no ONNX network, or not one of this kind.
    pub fn with(mut self, description: Description) -> Result<Self> {
        description.check()?;
        let io = |source| Error::io(&description.file, source);
        let file = File::open(&description.file).map_err(io)?;
        let mut bytes = Vec::new();
        // The file's entry refuses a large file at once; that of a pipe says 0.
        if file.metadata().map_err(io)?.len() <= LARGEST_FILE {
            file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        }
        if bytes.is_empty() || bytes.len() as u64 > LARGEST_FILE {
            return Err(unsuitable(&description.file, "network", format!("empty, or larger than {} MiB", LARGEST_FILE >> 20)));
        }
        match description.kind.embeds() {
            true => self.embedder = Some(Embedder::load(description, &bytes)?),
            false => self.detector = Some(Detector::load(description, &bytes)?),
        }
        Ok(self)
    }

    /// As [`with`](Self::with), of the network that a JSON file describes.
    ///
    /// # Errors
    /// Those of [`Description::read`] and [`with`](Self::with).
    pub fn with_file(self, description: &Path) -> Result<Self> {
        self.with(Description::read(description)?)
    }
}

/// A shipped network that was asked for and is not there.
pub(crate) fn not_shipped(network: Network) -> Error {
    let remedy = "open a finder without a network of your own in its place".into();
    Error::Setting { key: "network", value: format!("{network:?}"), remedy }
}

fn refused(file: &Path, key: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Onnx { file: PathBuf::from(file), key: key.into(), problem: problem.into(), remedy: remedy.into() }
}

/// A file that is not the network that its description promises.
fn unsuitable(file: &Path, key: impl Into<String>, problem: impl Into<String>) -> Error {
    refused(file, key, problem, "give the ONNX file of a network of the described kind, or describe it as it is (docs/people.md)")
}
