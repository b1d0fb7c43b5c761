#![doc = include_str!("../README.md")]

mod align;
mod calibration;
mod detect;
mod embed;
mod error;
mod eyes;
mod finder;
pub mod gallery;
mod geometry;
pub mod index;
mod layers;
mod matte;
pub mod models;
mod networks;
#[cfg(feature = "onnx")]
pub mod onnx;
mod plain;
mod quality;
mod recognise;
mod resize;
pub mod timeline;
mod track;
mod unit;

/// What is done to pictures around the networks, for benchmarks.
#[doc(hidden)]
pub mod pictures {
    pub use crate::{align::align, resize::shrink};
}

pub use calibration::{Calibration, Verdict};
pub use detect::{CONFIRMED, Face, Search, THOROUGH_SIDE};
pub use error::{Error, Result};
pub use eyes::EyeContours;
pub use finder::{FindOptions, Finder};
pub use gallery::{Gallery, Person, Template};
pub use geometry::{Bounds, Point};
pub use index::{FaceIndex, Hit, IndexedFile, IndexedPerson};
pub use matte::Matte;
pub use networks::{EmbedderKind, Network};
pub use quality::{Flaw, Limits, Quality, least_face};
pub use recognise::{Recognised, recognise};
pub use timeline::{Appearance, Moment, Stranger, Timeline, Watch, WatchOptions};
pub use track::{SeenFace, Sighting, Track, mean_embedding};
pub use unit::cosine;
