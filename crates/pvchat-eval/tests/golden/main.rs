//! Golden tests: scores of the usual BLEU tool, and answers with the presence that they state.
//!
//! `PVCHAT_GOLDEN` names another directory of such files.

use pvchat_eval::{
    bleu::{corpus_bleu, tokenize_13a},
    presence::{Presence, presence},
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The tolerance of scores, absolute and relative.
const TOLERANCE: f64 = 1e-6;

fn read() -> Value {
    let directory = std::env::var_os("PVCHAT_GOLDEN").map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden"));
    let path = directory.join("metrics.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("metrics.json is JSON")
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
    let file = read();
    let cases = file["bleu"]["cases"].as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
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
    let file = read();
    let cases = file["presence"]["cases"].as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        let (answer, subject) = (case["answer"].as_str().unwrap(), case["subject"].as_str().unwrap());
        let expected: Presence = serde_json::from_value(case["expected"].clone()).unwrap();
        assert_eq!(presence(answer, &subject.parse().unwrap()), expected, "{answer:?} about {subject}");
    }
}
