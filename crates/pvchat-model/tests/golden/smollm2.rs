//! A real language model, SmolLM2-135M-Instruct, against the numbers that the transformers library computed with the same
//! weights. Needs the folder that `make models` fetches and makes; says so where it is absent.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use burn::{module::Param, prelude::*};
use pvchat_model::llama;
use pvchat_nn::{
    language::{Decoder, DecoderConfig, FinishReason, GenerationOptions, Labels, Prompt, generate, next_token_loss},
    packed::Precision,
    weights::gguf::{
        Gguf,
        tokenizer::{tokenizer_json, tokenizer_json_with_pictures},
    },
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::fetched;
use crate::support::{Golden, VALUE, are_ours, assert_all_close, devices, directory, is_there};

/// The golden numbers, and what of them is text.
const NUMBERS: &str = "smolvlm/smollm2_135m";
/// Decoder layers up to and with the one in the middle whose output is golden.
const HALF: usize = 15;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    /// What the model answers, with the end token if it came.
    greedy: Vec<u32>,
    answer: String,
}

/// The folder of the model; `None`, and a line that says so, where it is not installed.
pub fn folder() -> Option<PathBuf> {
    let folder = fetched::models().join("smollm2-135m-instruct");
    fetched::fetched(&folder.join("config.json"))?;
    Some(folder)
}

fn cases() -> Vec<Case> {
    let path = directory().join(NUMBERS).with_extension("json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Hidden states `[1, tokens, hidden]` after the final norm.
fn read(model: &Decoder, ids: &[u32]) -> Tensor<3> {
    let device = model.device();
    let row: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let row = Tensor::<2, Int>::from_data(TensorData::new(row, [1, ids.len()]), &device);
    let positions = Tensor::<1, Int>::arange(0..ids.len() as i64, &device).unsqueeze::<2>();
    model.forward(model.embed(row), positions, None, None)
}

fn last_row(rows: &[f32], width: usize) -> &[f32] {
    &rows[rows.len() - width..]
}

/// Divided by the root of the mean square, as a norm of weight 1 does.
fn normalised(row: &[f32], epsilon: f64) -> Vec<f32> {
    let mean_square = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / row.len() as f64;
    row.iter().map(|value| (f64::from(*value) / (mean_square + epsilon).sqrt()) as f32).collect()
}

#[test]
fn smollm2_logits_hidden_states_answers_and_loss() {
    let Some(folder) = folder() else { return };
    if !["json", "safetensors"].iter().all(|end| is_there(&format!("{NUMBERS}.{end}"))) {
        return;
    }
    let (golden, cases) = (Golden::open(NUMBERS), cases());
    assert!(!are_ours() || cases.len() >= 5, "{} golden prompts", cases.len());
    let tokenizer = llama::tokenizer(&folder).unwrap();
    for (backend, device) in devices() {
        let model = llama::open(&folder, &device).unwrap();
        let DecoderConfig { vocabulary, hidden: width, rms_norm_epsilon: epsilon, .. } = model.config;
        let mut half = model.clone();
        half.layers.truncate(HALF);
        half.norm.gamma = Param::from_tensor(Tensor::ones([width], &device));
        for (number, case) in cases.iter().enumerate() {
            assert_eq!(tokenizer.encode(case.text.as_str(), false).unwrap().get_ids(), case.ids, "ids of prompt {number}");
            let name = |part: &str| format!("outputs.{number}.{part}");
            let close = |part: &str, found: &[f32], expected: &[f32]| {
                assert_all_close(&format!("{backend} {}", name(part)), found, expected, VALUE);
            };
            let expected = |part: &str| golden.floats(&name(part));

            let last = Tensor::<2, Int>::from_data([[*case.ids.last().unwrap() as i32]], &device);
            close("hidden_after_embedding", &floats(model.embed(last)), &expected("hidden_after_embedding"));
            let in_the_middle = floats(read(&half, &case.ids));
            let golden_middle = normalised(&expected("hidden_after_layer_14"), epsilon);
            close("hidden_after_layer_14, normalised", last_row(&in_the_middle, width), &golden_middle);

            let hidden = read(&model, &case.ids);
            close("hidden_normalised", last_row(&floats(hidden.clone()), width), &expected("hidden_normalised"));
            let logits = floats(model.logits(hidden, None));
            let (mut best, mut named, mut sums) = (Vec::new(), Vec::new(), Vec::new());
            for (row, ids) in logits.chunks(vocabulary).zip(golden.integers(&name("top_ids")).chunks(5)) {
                let mut sorted = row.to_vec();
                sorted.sort_unstable_by(|one, other| other.total_cmp(one));
                sums.push(sorted.iter().map(|value| f64::from(value - sorted[0]).exp()).sum::<f64>().ln() as f32 + sorted[0]);
                best.extend_from_slice(&sorted[..5]);
                named.extend(ids.iter().map(|id| row[*id as usize]));
            }
            // The five largest are as large as the golden five, and those are among them.
            close("top_logits, the largest", &best, &expected("top_logits"));
            close("top_logits, by id", &named, &expected("top_logits"));
            close("logsumexp", &sums, &expected("logsumexp"));
            if golden.has(&name("logits_last")) {
                close("logits_last", last_row(&logits, vocabulary), &expected("logits_last"));
            }

            let options = GenerationOptions { max_new_tokens: 24, ..GenerationOptions::default() };
            let prompt = Prompt::from_tokens(&model, std::slice::from_ref(&case.ids), options.end_token).unwrap();
            let answer = generate(&model, prompt, &options, |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(tokenizer.decode(&answer.tokens, true).unwrap(), case.answer, "{backend} answer {number}");
            let end = (answer.finish == FinishReason::EndToken).then_some(options.end_token);
            let tokens: Vec<u32> = answer.tokens.into_iter().chain(end).collect();
            assert_eq!(tokens, case.greedy, "{backend} tokens of answer {number}");
        }

        let ids: Vec<u32> = golden.integers("inputs.loss.ids").iter().map(|id| *id as u32).collect();
        let labels = Labels::next_token(&[golden.integers("inputs.loss.labels")]).unwrap();
        assert!(labels.len() < ids.len() - 1, "no label is masked");
        let loss = next_token_loss(&model, read(&model, &ids), &labels, None).unwrap();
        golden.assert_close("outputs.loss", loss, VALUE);
    }
}

/// The ids of a text that the perplexity is measured on.
fn plain_english(folder: &Path) -> Vec<u32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/texts/plain-english.txt");
    let text = std::fs::read_to_string(path).unwrap();
    llama::tokenizer(folder).unwrap().encode(text, false).unwrap().get_ids().to_vec()
}

#[test]
fn smollm2_perplexity_of_plain_english() {
    let Some(folder) = folder() else { return };
    let ids = plain_english(&folder);
    let labels = Labels::next_token(&[ids.iter().map(|id| i64::from(*id)).collect()]).unwrap();
    for (backend, device) in devices() {
        let model = llama::open(&folder, &device).unwrap();
        let loss = next_token_loss(&model, read(&model, &ids), &labels, None).unwrap();
        let perplexity = floats(loss)[0].exp();
        println!("{backend}: perplexity {perplexity:.4} of {} tokens, weights in f32", labels.len());
        assert!((perplexity / PERPLEXITY - 1.0).abs() < 1e-3, "{backend}: {perplexity}");
    }
}

/// The perplexity of the text by a forward pass in NumPy, in f32, of the same weights.
const PERPLEXITY: f32 = 21.910_08;

/// The perplexity of a text, and the most probable id after each of its tokens.
fn predicted(model: &Decoder, ids: &[u32]) -> (f64, Vec<usize>) {
    /// Rows whose logits are in memory at a time.
    const ROWS: usize = 64;
    let hidden = read(model, ids);
    let (mut losses, mut best) = (Vec::new(), Vec::new());
    for first in (0..ids.len()).step_by(ROWS) {
        let count = ROWS.min(ids.len() - first);
        let logits = floats(model.logits(hidden.clone().narrow(1, first, count), None));
        for (row, place) in logits.chunks(model.config.vocabulary).zip(first..) {
            let largest = (0..row.len()).max_by(|&one, &other| row[one].total_cmp(&row[other])).unwrap();
            best.push(largest);
            if let Some(&next) = ids.get(place + 1) {
                let sum: f64 = row.iter().map(|logit| f64::from(logit - row[largest]).exp()).sum();
                losses.push(sum.ln() + f64::from(row[largest] - row[next as usize]));
            }
        }
    }
    ((losses.iter().sum::<f64>() / losses.len() as f64).exp(), best)
}

/// What docs/smolvlm2-benchmarks.md says of fewer bits, with a margin for other processors, whose kernels round otherwise.
#[test]
fn smollm2_with_packed_weights_predicts_nearly_the_same() {
    let Some(folder) = folder() else { return };
    let ids = plain_english(&folder);
    for (backend, device) in devices() {
        let model = llama::open(&folder, &device).unwrap();
        let (perplexity, words) = predicted(&model, &ids);
        let mut others = Vec::new();
        for precision in Precision::ALL {
            // How far the perplexity may move, the share of most probable next words that stay, and mebibytes.
            let (ratio, same, most) = match precision {
                Precision::F32 => (0.9999..1.0001, 0.999, 520),
                Precision::Bf16 => (0.995..1.005, 0.985, 260),
                Precision::Int8 => (0.99..1.03, 0.93, 136),
                Precision::Int4 => (1.0..1.15, 0.66, 88),
            };
            let mut packed = model.clone();
            packed.pack_own(precision).unwrap();
            let bytes = packed.packed().unwrap().bytes();
            let (found, best) = predicted(&packed, &ids);
            let agreed = best.iter().zip(&words).filter(|(one, other)| one == other).count() as f64 / words.len() as f64;
            println!("{backend}, {precision:?}: perplexity {found:.4} of {perplexity:.4}, {agreed:.4} agree, {bytes} bytes");
            assert!(ratio.contains(&(found / perplexity)), "{backend}, {precision:?}: perplexity {found}, not {perplexity}");
            assert!(agreed >= same, "{backend}, {precision:?}: {agreed} of the most probable next words stay");
            assert!(bytes <= most << 20, "{backend}, {precision:?}: {bytes} bytes");
            others.push(agreed);
        }
        assert!(others.is_sorted_by(|more, fewer| more >= fewer), "{backend}: fewer bits do not agree more, {others:?}");
    }
}

#[test]
fn smollm2_vocabulary_gives_both_published_tokenizers() {
    let Some(folder) = folder() else { return };
    let gguf = Gguf::open(&folder.join("SmolLM2-135M-Instruct.Q4_1.gguf")).unwrap();
    for (text, bytes, sha256) in [
        (tokenizer_json(&gguf), 2_104_556, "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c"),
        (tokenizer_json_with_pictures(&gguf), 3_548_256, "5ece781dc8d2b2f3e2f289ca0ae50b17cfc27dd27bfe7971bb8241e0b964331a"),
    ] {
        let text = text.unwrap();
        let digest: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((text.len(), digest.as_str()), (bytes, sha256));
    }
}
