//! Our own config.json: everything that decides the shape of a model with a Q-Former, without defaults.

use pvchat_nn::language::DecoderConfig;
use serde::{Deserialize, Serialize};

use super::{VilmConfig, VisionConfig};
use crate::{
    answer::AnswerConfig,
    bridge::{BridgeConfig, QFormerBridgeConfig},
    personal::PersonalConfig,
    preprocess::{PreprocessConfig, Preprocessing},
    prompt::PromptFormat,
    qformer::QFormerConfig,
};

/// The keys of the file; others are refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnConfig {
    name: String,
    preprocess: PreprocessConfig,
    vision: VisionConfig,
    prompt: PromptFormat,
    answer: OwnAnswer,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "AnswerConfig")]
struct OwnAnswer {
    tiles: usize,
    query_tokens: usize,
    extra_query_tokens: usize,
    personal_query_tokens: usize,
    query_deviation: f32,
    personal: Option<PersonalConfig>,
    qformer: QFormerConfig,
    language: DecoderConfig,
}

impl OwnConfig {
    /// The file of a model; `None` for one that this form has no place for.
    pub(super) fn of(config: &VilmConfig) -> Option<Self> {
        let bridge = config.answer.qformer()?.clone();
        let Preprocessing::Tiles(preprocess) = config.preprocess.clone() else { return None };
        Some(Self {
            name: config.name.clone(),
            preprocess,
            vision: config.vision.clone(),
            prompt: config.prompt.clone(),
            answer: OwnAnswer {
                tiles: bridge.tiles,
                query_tokens: bridge.query_tokens,
                extra_query_tokens: bridge.extra_query_tokens,
                personal_query_tokens: bridge.personal_query_tokens,
                query_deviation: bridge.query_deviation,
                personal: bridge.personal,
                qformer: bridge.qformer,
                language: config.answer.language.clone(),
            },
        })
    }
}

impl From<OwnConfig> for VilmConfig {
    fn from(own: OwnConfig) -> Self {
        let answer = own.answer;
        Self {
            family: own.vision.family(),
            name: own.name,
            preprocess: Preprocessing::Tiles(own.preprocess),
            vision: own.vision,
            prompt: own.prompt,
            answer: AnswerConfig {
                bridge: BridgeConfig::QFormer(QFormerBridgeConfig {
                    tiles: answer.tiles,
                    query_tokens: answer.query_tokens,
                    extra_query_tokens: answer.extra_query_tokens,
                    personal_query_tokens: answer.personal_query_tokens,
                    query_deviation: answer.query_deviation,
                    personal: answer.personal,
                    qformer: answer.qformer,
                }),
                language: answer.language,
            },
        }
    }
}
