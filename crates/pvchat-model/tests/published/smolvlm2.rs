//! SmolVLM2: the names and shapes of the three published models, and all of its forms at a size that fits into a test.

use std::{collections::BTreeMap, path::Path};

use burn::{prelude::*, tensor::FloatDType};
use image::{Rgb, RgbImage};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    checkpoint,
    families::smolvlm2::{self, FAMILY, Preprocess, SiglipConfig, SmolVlm2Config},
    vilm::{Vilm, VilmConfig},
};
use pvchat_nn::{
    language::{GenerationOptions, MistralConfig},
    weights::inventory,
};
use serde::Deserialize;

/// The small tokenizer: every byte's symbol is a word, and the control tokens that a prompt needs.
const CONTROL: [&str; 5] = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"];
const YES_AND_NO: [&str; 2] = ["\u{120}Yes", "\u{120}No"];

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
    symbols().into_iter().chain(YES_AND_NO.map(String::from)).chain(CONTROL.map(String::from)).collect()
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
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": [] },
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
        text: MistralConfig {
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
        video: Preprocess { longest_edge: 32, side: 32 },
        image: Preprocess { longest_edge: 128, side: 32 },
        ..SmolVlm2Config::published("256m").unwrap()
    }
}

/// The weights are drawn wide enough for answers to depend on everything.
fn drawn(config: &VilmConfig, seed: u64) -> pvchat_model::vilm::VilmParameters {
    let mut wide = config.clone();
    wide.answer.language.initial_deviation = 0.2;
    wide.init(&SeededStream::new(seed), &Device::flex()).unwrap()
}

/// A folder with configuration, tokenizer and weights in files of at most `shard_bytes`.
pub fn folder(config: &SmolVlm2Config, shard_bytes: usize) -> tempfile::TempDir {
    let (folder, whole) = (tempfile::tempdir().unwrap(), smolvlm2::config(config.clone()));
    checkpoint::save(&drawn(&whole, 1), folder.path(), shard_bytes, FAMILY.names).unwrap();
    for (name, bytes) in (FAMILY.write)(&whole).unwrap() {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer().to_string()).unwrap();
    folder
}

pub fn frames(count: u8) -> Vec<RgbImage> {
    (0..count).map(|number| RgbImage::from_fn(40, 30, |x, y| Rgb([number * 40, (x * 6) as u8, (y * 8) as u8]))).collect()
}

/// The logits behind a question about two frames, and the answer.
fn asked(vilm: &Vilm) -> (Vec<f32>, String) {
    let sight = vilm.look_at(&frames(2), &[0.0, 1.0], 2.0).unwrap();
    let visual = vilm.parameters().answer.visual(&sight, None).unwrap();
    let view = vilm.with_subjects(&[]);
    let options = GenerationOptions { max_new_tokens: 8, end_token: u32::MAX, ..GenerationOptions::default() };
    let text = view.ask(&sight, "What is this?", &options, |_| std::ops::ControlFlow::Continue(())).unwrap().text;
    (visual.embeddings.into_data().iter::<f32>().collect(), text)
}

#[test]
fn the_full_models_have_every_published_name_and_shape_and_no_other() {
    #[derive(Deserialize)]
    struct Model {
        parameters: usize,
        tensors: usize,
        keys: BTreeMap<String, Key>,
    }
    #[derive(Deserialize)]
    struct Key {
        shape: Vec<usize>,
        /// How many layers have it.
        count: usize,
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/smolvlm/checkpoint_keys.json");
    let models: BTreeMap<String, Model> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(models.len(), 3);
    for (size, model) in models {
        let layers = |(name, key): (String, Key)| {
            (0..key.count).map(move |layer| (name.replace('#', &layer.to_string()), key.shape.clone()))
        };
        let listed: BTreeMap<String, Vec<usize>> = model.keys.into_iter().flat_map(layers).collect();
        assert_eq!(listed.len(), model.tensors, "{size}");
        let config = smolvlm2::config(SmolVlm2Config::published(&size).unwrap());
        let parameters = inventory::parameters(&config.init(&SeededStream::new(0), &Device::flex()).unwrap());
        let ours: BTreeMap<_, _> =
            parameters.into_iter().map(|found| ((FAMILY.names.public_name)(&found.name), found.shape)).collect();
        assert_eq!(ours, listed, "{size}");
        assert_eq!(ours.values().map(|shape| shape.iter().product::<usize>()).sum::<usize>(), model.parameters, "{size}");
    }
}

#[test]
fn what_is_saved_in_one_file_or_in_several_is_opened_again() {
    let (one, several) = (folder(&published(), usize::MAX), folder(&published(), 20_000));
    assert!(several.path().join(checkpoint::INDEX).is_file());
    let (one, several) = (open(one.path()), open(several.path()));
    assert_eq!(one.config(), &smolvlm2::config(published()));
    let expected = asked(&one);
    assert_eq!(asked(&several), expected);
    let again = tempfile::tempdir().unwrap();
    several.save(again.path()).unwrap();
    let again = open(again.path());
    assert_eq!(asked(&again), expected);
    assert_eq!(again.config(), one.config());
}

fn open(folder: &Path) -> Vilm {
    Vilm::open(folder, &Device::flex()).unwrap()
}

#[test]
fn a_tied_head_is_a_copy_of_the_word_table_and_is_saved() {
    let config = SmolVlm2Config { tie_word_embeddings: true, ..published() };
    let tied = folder(&config, usize::MAX);
    let file = tied.path().join(checkpoint::SINGLE);
    let bytes = std::fs::read(&file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kept: Vec<_> = tensors.iter().filter(|(name, _)| *name != "lm_head.weight").collect();
    assert_eq!(kept.len() + 1, tensors.len());
    std::fs::write(&file, safetensors::serialize(kept, None).unwrap()).unwrap();
    let vilm = open(tied.path());
    let expected = asked(&vilm);
    let again = tempfile::tempdir().unwrap();
    vilm.save(again.path()).unwrap();
    assert_eq!(asked(&open(again.path())), expected);
}

#[test]
fn half_precision_answers_nearly_as_full_precision_does() {
    let folder = folder(&published(), usize::MAX);
    let device = Device::flex();
    let half = Vilm::open_in(FloatDType::BF16, folder.path(), &device).unwrap();
    let types = |vilm: &Vilm| {
        let answer = &vilm.parameters().answer;
        [answer.lm.norm.gamma.val().dtype(), answer.lm.layers[0].mlp.up_proj.base.weight.val().dtype()]
    };
    assert_eq!(types(&half), [burn::tensor::DType::BF16; 2]);
    let (full, half) = (asked(&open(folder.path())).0, asked(&half).0);
    let size = full.iter().map(|value| value.abs()).fold(0.0, f32::max);
    let worst = full.iter().zip(&half).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
    println!("the largest is {size}, the largest difference {worst}");
    assert!(worst > 0.0 && worst < 0.03 * size, "{worst} of {size}");
}
