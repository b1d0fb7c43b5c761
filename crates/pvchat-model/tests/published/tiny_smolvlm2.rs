//! SmolVLM2 with all of its forms, at a size that fits into a test.

use burn::prelude::*;
use image::{Rgb, RgbImage};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    checkpoint,
    families::smolvlm2::{self, FAMILY, SiglipConfig, SmolVlm2Config},
    preprocess::SquaresConfig,
    vilm::VilmConfig,
};
use pvchat_nn::language::DecoderConfig;

/// The small tokenizer: every byte's symbol is a word, and so are yes and no, with what they are merged from, and the control
/// tokens that a prompt needs.
const CONTROL: [&str; 5] = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"];
const MERGED: [&str; 5] = ["\u{120}Y", "\u{120}Ye", "\u{120}Yes", "\u{120}N", "\u{120}No"];
const MERGES: [&str; 5] = ["\u{120} Y", "\u{120}Y e", "\u{120}Ye s", "\u{120} N", "\u{120}N o"];

/// The printable symbol of each byte, as byte-level tokenizers write it.
fn symbols() -> Vec<String> {
    let (mut next, mut symbols) = (256, Vec::new());
    for byte in 0..=255_u32 {
        let printable = matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let code = if printable { byte } else { next };
        next += u32::from(!printable);
        symbols.push(char::from_u32(code).unwrap().to_string());
    }
    symbols
}

/// All words in the order of their ids.
fn words() -> Vec<String> {
    symbols().into_iter().chain(MERGED.map(String::from)).chain(CONTROL.map(String::from)).collect()
}

pub fn tokenizer() -> serde_json::Value {
    let words = words();
    let plain = words.len() - CONTROL.len();
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        words[..plain].iter().enumerate().map(|(id, word)| (word.clone(), id.into())).collect();
    let added = (plain..words.len()).map(|id| {
        serde_json::json!({ "id": id, "content": words[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true })
    });
    let level = serde_json::json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "decoder": level, "pre_tokenizer": level, "added_tokens": added.collect::<Vec<_>>(),
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": MERGES },
    })
}

/// Every choice of the published configurations, with fewer and narrower of everything.
pub fn published() -> SmolVlm2Config {
    let words = words();
    let id = |token: &str| words.iter().position(|word| word == token).unwrap() as u32;
    SmolVlm2Config {
        vision: SiglipConfig {
            width: 16,
            layers: 2,
            heads: 2,
            mlp_hidden: 24,
            image_size: 32,
            patch_size: 8,
            channels: 3,
            layer_norm_epsilon: 1e-6,
        },
        scale_factor: 2,
        text: DecoderConfig {
            vocabulary: words.len(),
            hidden: 24,
            layers: 2,
            heads: 3,
            kv_heads: 1,
            head_dim: 8,
            intermediate: 40,
            rope_theta: 1e5,
            rms_norm_epsilon: 1e-5,
            // What a folder does not say; compared with what is read from one.
            initial_deviation: 0.02,
            lora: None,
        },
        tie_word_embeddings: false,
        max_positions: 2048,
        image_token_id: id("<image>"),
        end_tokens: vec![id("<end_of_utterance>")],
        video: SquaresConfig { longest_edge: 32, side: 32 },
        image: SquaresConfig { longest_edge: 128, side: 32 },
        ..SmolVlm2Config::published("256m").unwrap()
    }
}

fn drawn(config: &VilmConfig, seed: u64, deviation: f32) -> pvchat_model::vilm::VilmParameters {
    let mut wide = config.clone();
    wide.answer.language.initial_deviation = deviation;
    wide.init(&SeededStream::new(seed), &Device::flex()).unwrap()
}

/// A folder with configuration, tokenizer and weights in files of at most `shard_bytes`.
///
/// The language model is drawn wide enough for answers to depend on everything.
pub fn folder(config: &SmolVlm2Config, shard_bytes: usize) -> tempfile::TempDir {
    folder_drawn(config, shard_bytes, 0.2)
}

/// As [`folder`], with weights of the language model of that deviation.
pub fn folder_drawn(config: &SmolVlm2Config, shard_bytes: usize, deviation: f32) -> tempfile::TempDir {
    let (folder, whole) = (tempfile::tempdir().unwrap(), smolvlm2::config(config.clone()));
    checkpoint::save(&drawn(&whole, 1, deviation), folder.path(), shard_bytes, FAMILY.names).unwrap();
    for (name, bytes) in (FAMILY.write)(&whole).unwrap() {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer().to_string()).unwrap();
    folder
}

pub fn frames(count: u8) -> Vec<RgbImage> {
    (0..count).map(|number| RgbImage::from_fn(40, 30, |x, y| Rgb([number * 40, (x * 6) as u8, (y * 8) as u8]))).collect()
}
