//! The published models that are known: one folder each, a `mod` line here, and one line in the list of `encoders.rs`.
//!
//! A folder holds what is particular to a model: how its config.json is read and written, the names of its tensors, and
//! the parts that no other model has. docs/bases.md says how to add one.

use serde_json::Value;

use crate::Result;

mod config;
mod encoders;
pub mod internvideo2_chat;
pub mod miniature;
mod own;
pub mod smolvlm2;

pub use config::VilmConfig;
pub use encoders::{EncoderConfig, FAMILIES, VisionConfig, VisionTower};
use own::OwnConfig;

/// A small file by its name.
pub type NamedFile = (&'static str, Vec<u8>);

/// A kind of published model.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name: that of its folder here.
    pub name: &'static str,
    /// Whether it was made for filmed footage; drawn clips only, otherwise.
    pub filmed: bool,
    /// Whether it understands any wording; otherwise only those of its training.
    pub free_wording: bool,
    /// Whether a config.json is of this family.
    pub recognises: fn(&Value) -> bool,
    /// Reads a config.json of this family, and the files next to it.
    pub read: fn(&Files<'_>) -> Result<VilmConfig>,
    /// The files, apart from weights and tokenizer, that [`read`](Self::read) reads back, by name.
    pub write: fn(&VilmConfig) -> Result<Vec<NamedFile>>,
    /// The names of its tensors.
    pub names: &'static NameTable,
}

/// A config.json and the small files next to it.
pub struct Files<'a> {
    /// What errors call the config.json.
    pub name: &'a str,
    /// The config.json.
    pub config: &'a [u8],
    /// Another file of the folder; `None` where there is none.
    pub beside: &'a dyn Fn(&str) -> Result<Option<Vec<u8>>>,
}

/// A group of parameters: what errors call it, and whether one of our names belongs to it.
pub type Group = (&'static str, fn(&str) -> bool);

/// From the names of published checkpoints to those of [`VilmParameters`](crate::parameters::VilmParameters), and back.
#[derive(Debug)]
pub struct NameTable {
    /// Regular expressions and their replacements, applied one after another. Our own names pass through unchanged, so
    /// that one loader reads both.
    pub renames: &'static [(&'static str, &'static str)],
    /// Whether a published name has no place in this program, on purpose.
    pub ignored: fn(&str) -> bool,
    /// Groups of parameters that a checkpoint may lack, each as a whole: they are then new.
    pub optional: &'static [Group],
    /// Parameters that are copies of others where the checkpoint lacks them: ours, and the one that it is a copy of.
    pub tied: &'static [(&'static str, &'static str)],
    /// The published name of one of our parameters (in PyTorch's words); ours where there is no published one.
    pub public_name: fn(&str) -> String,
}

/// The family of a model by its name.
pub fn family(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}
