//! Everything that decides the shape of a model: the miniature, the published one, and any between.

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::VilmParameters;
use crate::{
    Error, Result,
    answer::AnswerConfig,
    personal::PersonalConfig,
    preprocess::PreprocessConfig,
    prompt::PromptFormat,
    qformer::{Activation, DropoutRates, NormPlacement, QFormerConfig},
    vision::{InternVideo2Config, VisionConfig, miniature::MiniatureEncoderConfig, vision_layernorm},
};
use pvchat_nn::{language::MistralConfig, moh::Routing};

/// Everything that decides the shape of a [`Vilm`](super::Vilm).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VilmConfig {
    /// The model's name.
    pub name: String,
    /// From frames to what the vision encoder sees.
    pub preprocess: PreprocessConfig,
    /// The vision encoder.
    pub vision: VisionConfig,
    /// The text around visual tokens, question and answer.
    pub prompt: PromptFormat,
    /// Everything after the vision encoder.
    pub answer: AnswerConfig,
}

/// Width of everything after the miniature's encoder.
const MINIATURE_WIDTH: usize = 128;
/// The largest size and the largest number of layers that are believed; beyond lies a damaged file.
const LARGEST_SIZE: usize = 1 << 20;
const MOST_LAYERS: usize = 1 << 10;

impl VilmConfig {
    /// The miniature for a vocabulary of that size and a routing of the Q-Former's heads.
    pub fn miniature(vocabulary: usize, routing: Routing) -> Self {
        let vision = MiniatureEncoderConfig::default();
        Self {
            name: "miniature".into(),
            preprocess: PreprocessConfig::miniature(vision.frame_side),
            prompt: PromptFormat::miniature(),
            answer: AnswerConfig {
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
                    identity_width: vision.identity_width,
                    hidden: MINIATURE_WIDTH,
                }),
                qformer: QFormerConfig {
                    hidden: MINIATURE_WIDTH,
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
                    initial_deviation: (MINIATURE_WIDTH as f32).powf(-0.5),
                    dropout: DropoutRates::default(),
                },
                language: MistralConfig {
                    vocabulary,
                    hidden: MINIATURE_WIDTH,
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

    /// The published model: InternVideo2-1B on two tiles and the whole picture, the Q-Former with ReMoH from
    /// layer 6 on, Mistral-7B-Instruct-v0.3 with adapters. 8.5e9 parameters.
    pub fn full() -> Self {
        Self {
            name: "full".into(),
            preprocess: PreprocessConfig::full(),
            vision: VisionConfig::InternVideo2(InternVideo2Config::full()),
            prompt: PromptFormat::full(),
            answer: AnswerConfig::full(),
        }
    }

    /// Reads a configuration; unknown keys are refused.
    ///
    /// # Errors
    /// [`Error::File`] with the place of the mistake, [`Error::Config`] for sizes that contradict each other.
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(json).map_err(|error| Error::File {
            file: name.into(),
            problem: format!("is not a model configuration ({error})"),
            remedy: "use the config.json that came with the weights".into(),
        })?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// [`Error::Config`] with the value at fault and what it contradicts.
    pub fn validate(&self) -> Result<()> {
        self.preprocess.validate()?;
        self.vision.validate()?;
        let (qformer, language) = (&self.answer.qformer, &self.answer.language);
        self.answer.validate()?;
        let (depth, feed_forward) = match &self.vision {
            VisionConfig::Miniature(config) => (config.blocks_inside.saturating_add(config.blocks_across), config.intermediate),
            VisionConfig::InternVideo2(config) => (config.depth, config.mlp_hidden),
        };
        let most = [
            ("vision.depth", depth, MOST_LAYERS),
            ("qformer.layers", qformer.layers, MOST_LAYERS),
            ("language.layers", language.layers, MOST_LAYERS),
            ("vision.frames", self.vision.frames(), MOST_LAYERS),
            ("vision.image_size", self.vision.image_size(), MOST_LAYERS * 4),
            ("vision.width", self.vision.width(), LARGEST_SIZE),
            ("vision.mlp_hidden", feed_forward, LARGEST_SIZE),
            ("vision.tokens", self.vision.tokens(), LARGEST_SIZE),
            ("qformer.vocabulary", qformer.vocabulary.unwrap_or(0), 16 * LARGEST_SIZE),
            ("qformer.max_positions", qformer.max_positions, LARGEST_SIZE),
            ("qformer.hidden", qformer.hidden, LARGEST_SIZE),
            ("qformer.intermediate", qformer.intermediate, LARGEST_SIZE),
            ("language.hidden", language.hidden, LARGEST_SIZE),
            ("language.heads", language.heads, LARGEST_SIZE),
            ("language.head_dim", language.head_dim, LARGEST_SIZE),
            ("language.intermediate", language.intermediate, LARGEST_SIZE),
            ("language.vocabulary", language.vocabulary, 16 * LARGEST_SIZE),
        ];
        if let Some((key, value, most)) = most.into_iter().find(|(_, value, most)| value > most) {
            return Err(Error::Config { key, value: value.to_string(), remedy: format!("at most {most} is believed") });
        }
        let personal = self.answer.personal.as_ref();
        let tokens = self.answer.tiles * self.vision.tokens();
        let equal = [
            ("preprocess.resolution", Some(self.preprocess.resolution), "the vision encoder sees", self.vision.image_size()),
            ("answer.tiles", Some(self.answer.tiles), "the preprocessing makes", self.preprocess.tiles()),
            ("qformer.encoder_width", Some(qformer.encoder_width), "the vision encoder gives", self.vision.width()),
            ("personal.memory_tokens", personal.map(|personal| personal.memory_tokens), "the vision encoder gives", tokens),
            (
                "personal.identity_width",
                personal.map(|personal| personal.identity_width),
                "the vision encoder gives",
                self.vision.identity_width().unwrap_or(0),
            ),
        ];
        match equal
            .into_iter()
            .find_map(|(key, mine, whose, its)| mine.filter(|mine| *mine != its).map(|mine| (key, mine, whose, its)))
        {
            None => Ok(()),
            Some((key, mine, whose, its)) => {
                Err(Error::Config { key, value: mine.to_string(), remedy: format!("{whose} {its}") })
            }
        }
    }

    /// New parameters, a function of the stream's seed. None takes memory before it is used, so that a
    /// weights file can still take its place.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<VilmParameters> {
        self.validate()?;
        let vision_layernorm = match &self.vision {
            VisionConfig::Miniature(_) => None,
            VisionConfig::InternVideo2(config) => Some(vision_layernorm(config.width, device)),
        };
        Ok(VilmParameters {
            vision_encoder: self.vision.init(&mut stream.clone(), device)?,
            vision_layernorm,
            answer: self.answer.init(stream, device)?,
        })
    }
}
