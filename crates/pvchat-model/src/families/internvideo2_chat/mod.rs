//! The paper's base: InternVideo2-1B on two tiles and the whole picture, the Q-Former with ReMoH from layer 6 on,
//! Mistral-7B-Instruct-v0.3 with adapters. 8.5e9 parameters.

use burn::prelude::Device;
use pvchat_data::random::SeededStream;
use serde_json::Value;

use super::{EncoderConfig, Family, Files, NameTable, VilmConfig, VisionConfig, VisionTower};
use crate::{
    Result,
    answer::AnswerConfig,
    preprocess::{PreprocessConfig, Preprocessing},
    prompt::PromptFormat,
    vision::alternatives,
};

mod encoder;
pub mod names;
mod positions;
mod published;

pub use encoder::*;

/// The family.
pub const FAMILY: Family = Family {
    name: NAME,
    filmed: true,
    free_wording: true,
    recognises: |config| is_own(config) || config.pointer("/model_config/vision_encoder").is_some(),
    read,
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

fn is_own(config: &Value) -> bool {
    config.pointer("/vision/internvideo2").is_some()
}

/// Either form: this project's, or the published one.
fn read(files: &Files<'_>) -> Result<VilmConfig> {
    match serde_json::from_slice(files.config).is_ok_and(|config| !is_own(&config)) {
        true => published::read(files.name, files.config),
        false => VilmConfig::from_own(files.name, files.config),
    }
}

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

impl EncoderConfig for InternVideo2Config {
    fn family(&self) -> &'static str {
        NAME
    }

    fn has_layernorm(&self) -> bool {
        true
    }

    fn depth_and_feed_forward(&self) -> (usize, usize) {
        (self.depth, self.mlp_hidden)
    }

    fn image_size(&self) -> usize {
        self.image_size
    }

    fn frames(&self) -> usize {
        self.frames
    }

    fn width(&self) -> usize {
        self.width
    }

    fn tokens(&self) -> usize {
        self.tokens(self.frames)
    }

    fn upper_part(&self) -> String {
        let built = self.built_blocks();
        format!(r"blocks\.({})\.", alternatives(first_upper_block(built)..built))
    }

    fn check(&self) -> Result<()> {
        self.validate()
    }

    fn tower(&self, stream: &mut SeededStream, device: &Device) -> Result<VisionTower> {
        Ok(VisionTower::InternVideo2(self.init(stream, device)?))
    }
}
