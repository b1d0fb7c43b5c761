//! Golden tests: scores of the usual tools for BLEU and BERTScore, and answers with the presence that they state.
//! `scripts/golden_metrics.py` made those of BERTScore and the further ones of BLEU.
//!
//! `PVCHAT_GOLDEN` names another directory with a `metrics.json`; the files that the script made are always ours.

use burn::prelude::*;
use pvchat_eval::{
    bert_score::{RobertaEmbedder, corpus_score},
    bleu::{corpus_bleu, tokenize_13a},
    presence::{Presence, presence},
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The tolerance of scores, absolute and relative.
const TOLERANCE: f64 = 1e-6;

/// A file that `scripts/golden_metrics.py` made.
fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

/// The reference's scores: in `PVCHAT_GOLDEN`, or beside our own files.
fn metrics() -> Value {
    read(&std::env::var_os("PVCHAT_GOLDEN").map_or_else(|| own("metrics.json"), |folder| Path::new(&folder).join("metrics.json")))
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

fn check(what: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap_or_else(|| panic!("{what}: no number"));
    assert!((found - expected).abs() <= TOLERANCE * (1.0 + expected.abs()), "{what}: found {found}, expected {expected}");
}

#[test]
fn bleu_of_every_corpus_and_sentence() {
    let files = [metrics(), read(&own("bleu_more.json"))];
    for case in files.iter().flat_map(|file| file["bleu"]["cases"].as_array().expect("cases")) {
        let name = case["name"].as_str().unwrap();
        let (predictions, references) = (texts(&case["predictions"]), texts(&case["references"]));
        for (side, texts) in [("tokens_prediction", &predictions), ("tokens_reference", &references)] {
            for (text, expected) in texts.iter().zip(case[side].as_array().unwrap()) {
                assert_eq!(serde_json::json!(tokenize_13a(text)), *expected, "{name}: {side} of {text:?}");
            }
        }
        let pairs = || predictions.iter().copied().zip(references.iter().copied());
        let bleu = corpus_bleu(pairs());
        check(&format!("{name}: score"), 100.0 * bleu.score, &case["score"]);
        check(&format!("{name}: fraction"), bleu.score, &case["fraction"]);
        check(&format!("{name}: precision"), 100.0 * bleu.precision, &case["precision"]);
        check(&format!("{name}: brevity penalty"), bleu.brevity_penalty, &case["brevity_penalty"]);
        for (key, count) in [
            ("prediction_length", bleu.prediction_length),
            ("reference_length", bleu.reference_length),
            ("matches", bleu.matches),
            ("total", bleu.prediction_length),
        ] {
            assert_eq!(count as u64, case[key].as_u64().unwrap(), "{name}: {key}");
        }
        let sentences = case["sentence_scores"].as_array().unwrap();
        assert_eq!(sentences.len(), predictions.len(), "{name}");
        for (pair, expected) in pairs().zip(sentences) {
            check(&format!("{name}: {pair:?}"), 100.0 * corpus_bleu([pair]).score, expected);
        }
    }
}

#[test]
fn presence_in_every_answer() {
    let file = metrics();
    let cases = file["presence"]["cases"].as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        let (answer, subject) = (case["answer"].as_str().unwrap(), case["subject"].as_str().unwrap());
        let expected: Presence = serde_json::from_value(case["expected"].clone()).unwrap();
        assert_eq!(presence(answer, &subject.parse().unwrap()), expected, "{answer:?} about {subject}");
    }
}

#[test]
fn bert_score_of_a_tiny_roberta() {
    let file = read(&own("bertscore/scores.json"));
    let pairs: Vec<Vec<&str>> = file["pairs"].as_array().unwrap().iter().map(texts).collect();
    let folder = own("bertscore");
    for case in file["cases"].as_array().unwrap() {
        let layers = case["layers"].as_u64().unwrap() as usize;
        let embedder = RobertaEmbedder::open(&folder, layers, &Device::default()).unwrap();
        for (text, expected) in pairs.iter().flatten().zip(file["tokens"].as_array().unwrap()) {
            assert_eq!(serde_json::json!(embedder.ids(text).unwrap()), *expected, "{text:?}");
        }
        let found = corpus_score(&embedder, pairs.iter().map(|pair| (pair[0], pair[1]))).unwrap();
        assert_eq!(found.scores.len(), 11);
        for (index, (score, pair)) in found.scores.iter().zip(&pairs).enumerate() {
            for (key, value) in [("precision", score.precision), ("recall", score.recall), ("f1", score.f1)] {
                let expected = case[key][index].as_f64().unwrap();
                // The tool computes in 32 bits.
                assert!((value - expected).abs() < 2e-6, "layer {layers}, {key} of {pair:?}: {value}, expected {expected}");
            }
        }
        assert_eq!(found.encoder, format!("bertscore, layer {layers} of 3, no idf, not rescaled"));
    }
}

#[test]
fn encoders_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let open = |layers: usize| RobertaEmbedder::open(folder.path(), layers, &Device::default()).unwrap_err().to_string();
    assert!(open(2).contains("config.json"), "a missing file is named");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(own("bertscore").join(name), folder.path().join(name)).unwrap();
    }
    assert!(open(4).contains("has 3 layers, layer 4 was asked for") && open(0).contains("layer 0"));
    let config = std::fs::read_to_string(own("bertscore/config.json")).unwrap();
    for (from, to, said) in [
        ("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"relu\"", "relu"),
        ("\"model_type\": \"roberta\"", "\"model_type\": \"t5\"", "t5"),
        ("\"hidden_size\": 24", "\"hidden_size\": 25", "3 heads for a width of 25"),
        ("\"vocab_size\": 400", "\"vocab_size\": 4000000000", "4000000000"),
        ("\"hidden_size\": 24", "\"hidden_size\": 48", "model.safetensors"),
    ] {
        assert!(config.contains(from), "{from}");
        std::fs::write(folder.path().join("config.json"), config.replace(from, to)).unwrap();
        assert!(open(2).contains(said), "{to}: {}", open(2));
    }
    std::fs::write(folder.path().join("config.json"), &config).unwrap();
    let weights = std::fs::read(own("bertscore/model.safetensors")).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    assert!(open(2).contains("model.safetensors"), "{}", open(2));
}
