//! The published model's form at small sizes.

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_model::{
    answer::AnswerConfig,
    bridge::{BridgeConfig, QFormerBridgeConfig},
    checkpoint,
    families::{
        VisionConfig,
        internvideo2_chat::{self, InternVideo2Config},
    },
    preprocess::{PreprocessConfig, Preprocessing},
    prompt::{PromptFormat, TextCodec},
    qformer::QFormerConfig,
    vilm::{VilmConfig, VilmParameters},
};
use pvchat_nn::language::DecoderConfig;
use std::path::Path;

/// Words of the small tokenizer; the published format's pieces, and some to ask with.
const WORDS: [&str; 15] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "<Video>",
    "</Video>",
    "\u{2581}Yes",
    "\u{2581}No",
    "Is",
    "Who",
    "in",
    "this",
    "video?",
    "[",
];

pub fn tokenizer() -> Vec<u8> {
    let special = |id: usize| {
        serde_json::json!({ "id": id, "content": WORDS[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true })
    };
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        WORDS.iter().enumerate().map(|(id, word)| (word.to_string(), id.into())).collect();
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null, "decoder": null,
        "added_tokens": (1..=6).map(special).collect::<Vec<_>>(),
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>" },
    });
    serde_json::to_vec(&json).unwrap()
}

pub fn codec() -> TextCodec {
    TextCodec::from_bytes("tokenizer.json", &tokenizer(), PromptFormat::full()).unwrap()
}

/// Every choice of the published configuration, with fewer and narrower of everything.
pub fn config() -> VilmConfig {
    let full = internvideo2_chat::config();
    VilmConfig {
        family: full.family,
        name: "small".into(),
        preprocess: Preprocessing::Tiles(PreprocessConfig { resolution: 28, ..PreprocessConfig::full() }),
        vision: VisionConfig::InternVideo2(InternVideo2Config {
            width: 32,
            depth: 3,
            heads: 2,
            mlp_hidden: 48,
            image_size: 28,
            ..InternVideo2Config::full()
        }),
        answer: AnswerConfig {
            bridge: BridgeConfig::QFormer(QFormerBridgeConfig {
                query_tokens: 4,
                extra_query_tokens: 3,
                personal_query_tokens: 2,
                qformer: QFormerConfig {
                    hidden: 24,
                    layers: 4,
                    intermediate: 32,
                    encoder_width: 32,
                    routed_from_layer: 2,
                    vocabulary: Some(11),
                    max_positions: 16,
                    // Large enough for the answers to depend on everything that is read.
                    initial_deviation: 0.3,
                    ..QFormerConfig::full()
                },
                ..QFormerBridgeConfig::full()
            }),
            language: DecoderConfig {
                vocabulary: WORDS.len(),
                hidden: 32,
                layers: 2,
                heads: 4,
                kv_heads: 2,
                head_dim: 8,
                intermediate: 48,
                initial_deviation: 0.2,
                ..DecoderConfig::full()
            },
        },
        prompt: full.prompt,
    }
}

pub fn parameters(seed: u64) -> VilmParameters {
    config().init(&SeededStream::new(seed), &Device::flex()).unwrap()
}

/// A folder with configuration, tokenizer and weights in files of at most `shard_bytes`.
pub fn folder(seed: u64, shard_bytes: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), seed, shard_bytes);
    folder
}

fn write(folder: &Path, seed: u64, shard_bytes: usize) {
    checkpoint::save(&parameters(seed), folder, shard_bytes, internvideo2_chat::FAMILY.names).unwrap();
    std::fs::write(folder.join("config.json"), serde_json::to_vec(&config()).unwrap()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer()).unwrap();
}
