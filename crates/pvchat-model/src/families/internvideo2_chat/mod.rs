//! The paper's base: InternVideo2-1B on two tiles and the whole picture, the Q-Former with ReMoH from layer 6 on,
//! Mistral-7B-Instruct-v0.3 with adapters. 8.5e9 parameters.

use super::{Family, NameTable};
use crate::{
    answer::AnswerConfig,
    preprocess::{PreprocessConfig, Preprocessing},
    prompt::PromptFormat,
    vilm::VilmConfig,
    vision::VisionConfig,
};

mod encoder;
pub mod names;
mod positions;

pub use encoder::*;

/// The family.
pub const FAMILY: Family = Family {
    name: NAME,
    recognises: |config| config.pointer("/vision/internvideo2").is_some(),
    read: |files| VilmConfig::from_own(files.name, files.config),
    write: |config| config.to_own(),
    names: &NAMES,
};

pub(crate) const NAME: &str = "internvideo2_chat";

pub(super) const NAMES: NameTable = NameTable {
    renames: names::RENAMES,
    ignored: names::is_ignored,
    optional: names::OPTIONAL,
    tied: &[],
    public_name: names::public_name,
};

/// The published sizes.
pub fn config() -> VilmConfig {
    VilmConfig {
        family: NAME,
        name: "full".into(),
        preprocess: Preprocessing::Tiles(PreprocessConfig::full()),
        vision: VisionConfig::InternVideo2(InternVideo2Config::full()),
        prompt: PromptFormat::full(),
        answer: AnswerConfig::full(),
    }
}
