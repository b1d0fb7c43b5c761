//! The drawn miniature: an encoder that distinguishes people, a Q-Former with ReMoH in every layer, a small decoder. Its
//! world, training and weights are in the crate `pvchat-miniature`.

use burn::prelude::Device;
use pvchat_data::random::SeededStream;
use pvchat_nn::{language::DecoderConfig, moh::Routing};

use super::{EncoderConfig, Family, NameTable, VilmConfig, VisionConfig, VisionTower, internvideo2_chat};
use crate::{
    Result,
    answer::AnswerConfig,
    bridge::{BridgeConfig, QFormerBridgeConfig},
    personal::{Matching, PersonalConfig},
    preprocess::{PreprocessConfig, Preprocessing, Resize},
    prompt::PromptFormat,
    qformer::{Activation, DropoutRates, NormPlacement, QFormerConfig},
    vision::alternatives,
};

mod encoder;

pub use encoder::*;

/// The family.
pub const FAMILY: Family = Family {
    name: NAME,
    filmed: false,
    free_wording: false,
    recognises: |config| config.pointer("/vision/miniature").is_some(),
    read: |files| VilmConfig::from_own(files.name, files.config),
    write: |config| config.to_own(),
    names: &NAMES,
};

pub(crate) const NAME: &str = "miniature";

/// Its files are whole or damaged: nothing may be missing.
const NAMES: NameTable = NameTable { optional: &[], ..internvideo2_chat::NAMES };

/// Width of everything after the encoder.
const WIDTH: usize = 128;

/// The miniature for a vocabulary of that size and a routing of the Q-Former's heads.
pub fn config(vocabulary: usize, routing: Routing) -> VilmConfig {
    let vision = MiniatureEncoderConfig::default();
    VilmConfig {
        family: NAME,
        name: NAME.into(),
        preprocess: Preprocessing::Tiles(preprocess(vision.frame_side)),
        prompt: prompt_format(),
        answer: AnswerConfig {
            bridge: BridgeConfig::QFormer(QFormerBridgeConfig {
                tiles: 1,
                query_tokens: 16,
                extra_query_tokens: 0,
                personal_query_tokens: 16,
                query_deviation: 0.5,
                personal: Some(PersonalConfig {
                    memory_tokens: vision.memory_tokens(),
                    people: 2,
                    slots: 4,
                    readout_width: vision.width,
                    identity_width: vision.identity_width.unwrap_or(0),
                    hidden: WIDTH,
                    matching: Matching::default(),
                }),
                qformer: QFormerConfig {
                    hidden: WIDTH,
                    layers: 2,
                    heads: 8,
                    intermediate: 384,
                    encoder_width: vision.width,
                    cross_attention_every: 1,
                    routed_from_layer: 0,
                    routing,
                    norm: NormPlacement::Pre,
                    activation: Activation::Relu,
                    layer_norm_epsilon: 1e-6,
                    vocabulary: None,
                    max_positions: 1,
                    tie_key_to_query_at_start: true,
                    initial_deviation: (WIDTH as f32).powf(-0.5),
                    dropout: DropoutRates::default(),
                },
            }),
            language: DecoderConfig {
                vocabulary,
                hidden: WIDTH,
                layers: 3,
                heads: 4,
                kv_heads: 2,
                head_dim: 32,
                intermediate: 320,
                rope_theta: 1e4,
                rms_norm_epsilon: 1e-5,
                initial_deviation: 0.06,
                lora: None,
            },
        },
        vision: VisionConfig::Miniature(vision),
    }
}

/// One square per frame, shrunk over areas, on the scale 0..1.
fn preprocess(resolution: usize) -> PreprocessConfig {
    PreprocessConfig { resize: Resize::Area, mean: [0.0; 3], deviation: [1.0; 3], ..PreprocessConfig::square(resolution) }
}

/// The text of its prompts: `<bos>` visual tokens `<q>` question `<a>` answer `<eos>`.
pub fn prompt_format() -> PromptFormat {
    PromptFormat {
        begin: "<bos>".into(),
        opening: String::new(),
        between: String::new(),
        before_question: "<q>".into(),
        after_question: "<a>".into(),
        end: "<eos>".into(),
        name_in_front: false,
        begin_question: false,
        presence_question: "is {} in this video ?".into(),
        yes_and_no: ["yes".into(), "no".into()],
        longest_answer: 40,
        before_answer: String::new(),
        longest_prompt: None,
        pictures: None,
        detail_tokens: 0,
        other_ends: Vec::new(),
    }
}

impl EncoderConfig for MiniatureEncoderConfig {
    fn family(&self) -> &'static str {
        NAME
    }

    fn needs_f32(&self) -> bool {
        true
    }

    fn depth_and_feed_forward(&self) -> (usize, usize) {
        (self.blocks_inside.saturating_add(self.blocks_across), self.intermediate)
    }

    fn image_size(&self) -> usize {
        self.frame_side
    }

    fn frames(&self) -> usize {
        self.frames
    }

    fn width(&self) -> usize {
        self.width
    }

    fn tokens(&self) -> usize {
        self.memory_tokens()
    }

    fn identity_width(&self) -> Option<usize> {
        self.identity_width
    }

    fn upper_part(&self) -> String {
        let across = alternatives(self.blocks_inside..self.blocks_inside + self.blocks_across);
        format!(r"(blocks\.({across})\.|norm\.|readout\.)")
    }

    fn check(&self) -> Result<()> {
        self.validate()
    }

    fn tower(&self, stream: &mut SeededStream, device: &Device) -> Result<VisionTower> {
        self.validate()?;
        Ok(VisionTower::Miniature(self.init(stream, device)))
    }
}
