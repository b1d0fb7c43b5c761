//! From one filmed clip of a real person, or one of each of several, to a training set on disk: the person is cut out and put into
//! other footage, clips of strangers are made in the same way, and there are questions and answers, a manifest and a report.
//!
//! **Negatives are made like positives.** A model that sees made clips of the person and untouched clips of others learns the
//! traces of the making. Here strangers are cut out, put into the same places and compressed by the same code in the same
//! proportions; a share of the clips of both is only cropped and compressed. [`Blind`] measures what a classifier can guess from
//! the background and from the seams alone.
//!
//! This crate contains no network: the caller provides [`Eyes`], which find people and cut them out, and optionally a
//! [`Describe`], which says what a person wears and does. Everything else (what is drawn, which clip shows whom where) follows
//! from the seed in [`DatasetOptions`], so that a killed and resumed run gives the same bytes as an uninterrupted one.

mod archive;
mod ask;
mod asking;
mod assets;
mod blind;
mod casting;
mod compose;
mod facts;
mod footage;
mod gate;
mod generated;
mod heads;
mod looking;
mod maker;
mod manifest;
mod options;
mod plan;
mod prints;
mod quality;
mod recipe;
mod report;
mod run;
mod source;
mod strangers;
mod subject;
mod verify;
mod wordings;
mod workers;
mod writing;

use image::{GrayImage, RgbImage};
use pvchat_data::QaKind;
use serde::{Deserialize, Serialize};

use crate::Failure;

pub use archive::{KnownFile, KnownFiles, KnownPerson, Spared};
pub use blind::{Blind, Guess};
pub use gate::Judged;
pub use generated::Generators;
pub use manifest::{ClipRecord, Dropped, Generated, GeneratorUsed, LeftOut, Manifest, NOT_NEEDED, PersonRecord, SourceRecord};
pub use options::DatasetOptions;
pub use plan::{Half, Making};
pub use quality::{FrameVerdict, frontal};
pub use recipe::Recipe;
pub use run::{MOST_PEOPLE, Made, PersonClip, Progress, Request, Stage, check_names, make};
pub use verify::{Verified, verify};
pub use wordings::{WORDINGS, existence, wordings};

/// A face in one of the frames that were shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaceSeen {
    /// The frame's place among those that were shown.
    pub frame: usize,
    /// Left, top, right and bottom of the face in pixels.
    pub bounds: [f32; 4],
    /// Eye on the left of the picture, other eye, nose, corner of the mouth on the left, other corner; in pixels.
    pub points: [[f32; 2]; 5],
    /// The share of the face that is in the picture, 0 to 1.
    pub visible: f32,
    /// Why the face is too poor to be recognised, in words; empty for a good one.
    pub flaws: Vec<String>,
}

impl FaceSeen {
    /// Width of the face in pixels.
    pub fn width(&self) -> f32 {
        (self.bounds[2] - self.bounds[0]).max(0.0)
    }
}

/// Somebody in the frames that were shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonSeen {
    /// The person's faces in the order of the frames.
    pub faces: Vec<FaceSeen>,
    /// The unit-length mean embedding of the good faces; `None` where no face is good.
    pub embedding: Option<Vec<f32>>,
}

impl PersonSeen {
    /// How many faces are good enough to be recognised.
    pub fn good_faces(&self) -> usize {
        self.faces.iter().filter(|face| face.flaws.is_empty()).count()
    }
}

/// From which similarity (cosine of embeddings) on two faces are one person, and up to which they are two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// From here on it is the same person: what the identity gate asks for.
    pub same: f32,
    /// Below this it is somebody else: the upper bound of negatives.
    pub other: f32,
}

/// A network that took part, for the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUsed {
    /// What it did.
    pub role: String,
    /// The network and its weights.
    pub id: String,
    /// The licence of its weights.
    pub licence: String,
}

/// What finds people in pictures and cuts them out.
pub trait Eyes: Sync {
    /// The people in frames that are in the order of time; `seconds` are their times.
    ///
    /// # Errors
    /// Whatever keeps the networks from computing.
    fn people(&self, frames: &[RgbImage], seconds: &[f64]) -> Result<Vec<PersonSeen>, Failure>;

    /// How much of each pixel belongs to a person, 0 to 255, in the picture's size.
    ///
    /// # Errors
    /// Whatever keeps the network from computing.
    fn matte(&self, picture: &RgbImage) -> Result<GrayImage, Failure>;

    /// What similarities mean.
    fn thresholds(&self) -> Thresholds;

    /// How open the eyes of a face are, given its five points ([`FaceSeen::points`]): the height of an eye as a share of its
    /// width, the mean of both. `None` where it is not measured.
    ///
    /// # Errors
    /// Whatever keeps the network from computing.
    fn openness(&self, frame: &RgbImage, points: &[[f32; 2]; 5]) -> Result<Option<f32>, Failure>;

    /// The networks that clips follow from; whatever changes them changes this.
    fn models(&self) -> Vec<ModelUsed>;

    /// The network that measures how open eyes are, if there is one.
    fn eye_model(&self) -> Option<ModelUsed>;
}

/// A made clip that is to be described.
#[derive(Clone, Copy, Debug)]
pub struct ShownClip<'a> {
    /// Says which clip it is.
    pub key: &'a str,
    /// Its frames.
    pub frames: &'a [RgbImage],
    /// Their times in seconds.
    pub seconds: &'a [f64],
    /// The person alone, with the body: questions about looks are answered from it, so that company is not described.
    pub person: &'a RgbImage,
}

/// What says what a person wears, does and where the person is.
pub trait Describe {
    /// Its name in the manifest, which says which weights answer and how; if the name changes, all descriptions are made again.
    fn name(&self) -> String;

    /// The model that answers, for the manifest.
    fn model(&self) -> ModelUsed;

    /// Answers a question of this kind about the person of a clip in a whole sentence; `subject` is the name in the question, and
    /// the answer calls the person that. `None` for a question that it cannot answer.
    ///
    /// # Errors
    /// Whatever keeps it from answering.
    fn describe(&mut self, clip: &ShownClip<'_>, kind: QaKind, question: &str, subject: &str) -> Result<Option<String>, Failure>;
}

/// What rewrites descriptions. What it gives is kept only where the facts stay the same.
pub trait Refine: std::fmt::Debug + Sync {
    /// Its name in the manifest; if the name changes, all sentences are rewritten again.
    fn name(&self) -> String;

    /// Rewrites the answer to a question so that it calls the person `subject` throughout, and changes nothing else. `attempt`
    /// counts the earlier ones, whose sentences were refused.
    ///
    /// # Errors
    /// Whatever keeps it from answering.
    fn refine(&self, question: &str, answer: &str, subject: &str, attempt: usize) -> Result<String, Failure>;
}

/// The cosine of two unit vectors; 0 where their widths differ.
fn cosine(one: &[f32], other: &[f32]) -> f32 {
    if one.len() != other.len() {
        return 0.0;
    }
    one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>().clamp(-1.0, 1.0)
}
