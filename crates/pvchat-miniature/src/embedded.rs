//! The base model that ships with the crate: configuration, tokenizer, weights, corpus.

use burn::prelude::*;
use pvchat_model::{Result, vilm::Vilm};

use crate::corpus::MiniatureCorpus;

/// The files of a base model.
#[derive(Clone, Copy, Debug)]
pub struct BaseFiles {
    /// config.json
    pub config: &'static [u8],
    /// tokenizer.json
    pub tokenizer: &'static [u8],
    /// model.safetensors
    pub weights: &'static [u8],
    /// corpus.safetensors
    pub corpus: &'static [u8],
}

/// The files of the shipped base.
pub const FILES: BaseFiles = BaseFiles {
    config: include_bytes!("../weights/config.json"),
    tokenizer: include_bytes!("../weights/tokenizer.json"),
    weights: include_bytes!("../weights/model.safetensors"),
    corpus: include_bytes!("../weights/corpus.safetensors"),
};

/// Opens the shipped base model.
///
/// # Errors
/// [`pvchat_model::Error::File`] when the files do not belong together, which a test rules out.
pub fn vilm(device: &Device) -> Result<Vilm> {
    Vilm::from_bytes(FILES.config, FILES.tokenizer, FILES.weights.to_vec(), device)
}

/// Opens the shipped corpus for a model.
///
/// # Errors
/// [`pvchat_model::Error::File`] when the file is damaged, which a test rules out.
pub fn corpus(vilm: &Vilm) -> Result<MiniatureCorpus> {
    MiniatureCorpus::from_bytes(FILES.corpus, vilm.image_size() as u32)
}
