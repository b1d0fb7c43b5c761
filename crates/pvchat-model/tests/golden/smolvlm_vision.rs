//! Golden tests of SmolVLM2: every state from pixels to logits, generation, loss and gradients.
//!
//! `fixtures/golden` holds one of three tiny models; a directory named by `PVCHAT_GOLDEN` may hold others of them, and what it lacks
//! is named and not run.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use burn::{
    module::{ModuleVisitor, Param},
    prelude::*,
};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    Error,
    bridge::connector::{Connector, ConnectorConfig, pixel_shuffle, place_visual_tokens},
    families::smolvlm2::{
        SiglipConfig, SiglipTower,
        vision::{ValidPatches, drop_empty_frames, positions},
    },
};
use pvchat_nn::{
    init,
    language::{
        Decoder, DecoderConfig, FinishReason, GenerationOptions, Labels, Prompt, Strategy, generate_batch, next_token_loss,
    },
    trace::Trace,
    weights::apply_tensors,
};

use crate::support::{GRADIENT, Golden, VALUE, are_ours, assert_all_close, devices, directory, is_there};

const VISION: &str = "model.vision_model.";
const CONNECTOR: &str = "model.connector.";
const TEXT: &str = "model.text_model.";
const CASES_WITH_FRAMES: [&str; 3] = ["frames", "batch", "partial"];
const CASES: [&str; 4] = ["frames", "batch", "partial", "text"];

/// One of the tiny models.
struct Tiny {
    name: String,
    golden: Golden,
    worst: Cell<f64>,
}

fn models() -> Vec<Tiny> {
    let names = if are_ours() { &["smolvlm_tiny_b"][..] } else { &["smolvlm_tiny_a", "smolvlm_tiny_b", "smolvlm_tiny_c"] };
    let is_there = |name: &&&str| is_there(&format!("smolvlm/{name}.safetensors"));
    let open =
        |name: &&str| Tiny { name: (*name).into(), golden: Golden::open(&format!("smolvlm/{name}")), worst: Cell::new(0.0) };
    names.iter().filter(is_there).map(open).collect()
}

impl Tiny {
    fn number(&self, part: &str, key: &str) -> f64 {
        self.golden.config()[part][key].as_f64().unwrap_or_else(|| panic!("{}: {part}.{key}", self.name))
    }

    fn size(&self, part: &str, key: &str) -> usize {
        self.number(part, key) as usize
    }

    fn vision_config(&self) -> SiglipConfig {
        let size = |key| self.size("vision_config", key);
        SiglipConfig {
            width: size("hidden_size"),
            layers: size("num_hidden_layers"),
            heads: size("num_attention_heads"),
            mlp_hidden: size("intermediate_size"),
            image_size: size("image_size"),
            patch_size: size("patch_size"),
            channels: 3,
            layer_norm_epsilon: self.number("vision_config", "layer_norm_eps"),
        }
    }

    /// Weights below `prefix`.
    fn load<M: Module>(&self, mut module: M, prefix: &str, renames: &[(&str, &str)]) -> M {
        let source = self.golden.source().under(&format!("weights.{prefix}"));
        apply_tensors(&mut module, &source, renames).unwrap().require_exact().unwrap();
        module
    }

    fn tower(&self, device: &Device) -> SiglipTower {
        self.load(self.vision_config().init(&SeededStream::new(0), device).unwrap(), VISION, &[])
    }

    fn connector(&self, device: &Device) -> Connector {
        let config = ConnectorConfig {
            width: self.vision_config().width,
            hidden: self.size("text_config", "hidden_size"),
            scale_factor: self.golden.size("scale_factor"),
        };
        let tokens = config.tokens(self.vision_config().side()).unwrap();
        assert_eq!(tokens, self.golden.size("tokens_per_image"));
        self.load(config.init(&SeededStream::new(0), device).unwrap(), CONNECTOR, &[])
    }

    fn is_tied(&self) -> bool {
        self.golden.config()["tie_word_embeddings"].as_bool().unwrap()
    }

    fn language(&self, device: &Device) -> Decoder {
        let size = |key| self.size("text_config", key);
        let config = DecoderConfig {
            vocabulary: size("vocab_size"),
            hidden: size("hidden_size"),
            layers: size("num_hidden_layers"),
            heads: size("num_attention_heads"),
            kv_heads: size("num_key_value_heads"),
            head_dim: size("head_dim"),
            intermediate: size("intermediate_size"),
            rope_theta: self.number("text_config", "rope_theta"),
            rms_norm_epsilon: self.number("text_config", "rms_norm_eps"),
            initial_deviation: 0.02,
            lora: None,
        };
        let mut model = config.init_zeros(device).unwrap();
        let source = self.golden.source().under(&format!("weights.{TEXT}"));
        let applied = apply_tensors(&mut model, &source, &[(r"_proj\.weight$", "_proj.base.weight")]).unwrap();
        assert_eq!((applied.missing, applied.unused), (vec!["lm_head.base.weight".to_string()], vec![]));
        if self.is_tied() {
            let head = model.embed_tokens.weight.val().transpose().inner();
            let head = if device.is_autodiff() { head.autodiff() } else { head };
            model.lm_head.base.weight = Param::from_tensor(head);
        } else {
            let source = self.golden.source().under("weights.lm_head.");
            apply_tensors(&mut model.lm_head.base, &source, &[]).unwrap().require_exact().unwrap();
        }
        model
    }

    fn ids(&self, case: &str) -> Vec<Vec<u32>> {
        self.rows(&format!("inputs.{case}.input_ids"))
            .into_iter()
            .map(|row| row.into_iter().map(|id| id as u32).collect())
            .collect()
    }

    fn rows(&self, name: &str) -> Vec<Vec<i64>> {
        self.golden.integers(name).chunks(self.golden.shape(name)[1]).map(<[i64]>::to_vec).collect()
    }

    /// Frames that are no padding, and their pixel masks.
    fn frames(&self, case: &str, device: &Device) -> (Tensor<4>, Option<Tensor<3, Bool>>) {
        let pixels = self.golden.tensor::<5>(&format!("inputs.{case}.pixel_values"), device);
        let [batch, frames, channels, size, _] = pixels.dims();
        let (pixels, kept) = drop_empty_frames(pixels.reshape([batch * frames, channels, size, size]));
        let dropped = batch * frames - kept.len();
        assert_eq!(dropped, usize::from(case == "batch"), "{}: dropped frames", self.name);
        let name = format!("inputs.{case}.pixel_attention_mask");
        let mask = self.golden.has(&name).then(|| {
            let shown: Vec<bool> = self.golden.integers(&name).into_iter().map(|value| value == 1).collect();
            Tensor::from_data(TensorData::new(shown, [kept.len(), size, size]), device)
        });
        assert_eq!(mask.is_some(), case == "partial");
        (pixels, mask)
    }

    /// Word embeddings with the frames' tokens in their places.
    fn merged(&self, case: &str, ids: &[Vec<u32>], model: &Decoder, visual: Tensor<3>) -> Tensor<3> {
        let flat: Vec<i32> = ids.iter().flatten().map(|id| *id as i32).collect();
        let index = Tensor::from_data(TensorData::new(flat, [ids.len(), ids[0].len()]), &model.device().inner());
        let image = self.golden.size("image_token_id") as u32;
        place_visual_tokens(model.embed(index), ids, image, visual)
            .unwrap_or_else(|error| panic!("{} {case}: {error}", self.name))
    }

    /// Asserts that the rows where `attended` is one equal the golden ones (all without it).
    fn assert_close<const D: usize>(&self, name: &str, found: Tensor<D>, attended: Option<&[i64]>, tolerance: f64) {
        assert_eq!(found.dims().to_vec(), self.golden.shape(name), "{}: shape of {name}", self.name);
        let rows = |values: Vec<f32>| match attended {
            None => values,
            Some(mask) => {
                let width = values.len() / mask.len();
                values.chunks(width).zip(mask).filter(|(_, mask)| **mask == 1).flat_map(|(row, _)| row.to_vec()).collect()
            }
        };
        let (found, expected) = (rows(floats(found)), rows(self.golden.floats(name)));
        assert_all_close(&format!("{}: {name}", self.name), &found, &expected, tolerance);
        let worst = found.iter().zip(&expected).map(|(a, b)| f64::from((a - b).abs())).fold(self.worst.get(), f64::max);
        self.worst.set(worst);
    }

    /// Prints the largest deviation since the last time.
    fn report(&self, what: &str) {
        println!("{} {what}: largest deviation {:.1e}", self.name, self.worst.take());
    }
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// What a forward pass shows, and what it returns.
fn traced<R>(run: impl FnOnce(&mut Trace<'_>) -> R) -> (BTreeMap<String, Tensor<3>>, R) {
    let mut states = BTreeMap::new();
    let mut watch = |name: &str, state: &Tensor<3>| {
        assert!(states.insert(name.to_string(), state.clone()).is_none(), "{name} is shown once");
    };
    let result = run(&mut Trace::new(&mut watch));
    (states, result)
}

#[test]
fn every_state_from_pixels_to_visual_tokens_equals_the_reference() {
    for tiny in models() {
        for (backend, device) in devices() {
            let (tower, connector) = (tiny.tower(&device), tiny.connector(&device));
            for case in CASES_WITH_FRAMES {
                let (pixels, mask) = tiny.frames(case, &device);
                let patch = tiny.vision_config().patch_size;
                let [frames, _, size, _] = pixels.dims();
                let shown = mask.clone().unwrap_or_else(|| Tensor::full([frames, size, size], true, &device));
                let ids: Vec<i64> =
                    ValidPatches::of_pixels(shown, patch).unwrap().position_ids().into_iter().map(|id| id as i64).collect();
                assert_eq!(ids, tiny.golden.integers(&format!("outputs.{case}.vision.position_ids")), "{} {case}", tiny.name);

                let (states, tokens) = traced(|trace| {
                    let patches = tower.forward_traced(pixels.clone(), mask.clone(), trace).unwrap();
                    connector.forward_traced(patches, trace).unwrap()
                });
                let prefix = format!("outputs.{case}.");
                let expected: BTreeSet<String> = tiny
                    .golden
                    .names()
                    .iter()
                    .filter_map(|name| name.strip_prefix(&prefix))
                    .filter(|name| {
                        (name.starts_with("vision.") && !name.ends_with("ids"))
                            || *name == "pixel_shuffle"
                            || *name == "connector"
                    })
                    .map(String::from)
                    .collect();
                assert_eq!(states.keys().cloned().collect::<BTreeSet<_>>(), expected);
                for (name, state) in states {
                    tiny.assert_close(&format!("{prefix}{name}"), state, None, VALUE);
                }
                // Without anybody who looks, some frames at a time.
                let untraced = connector.forward(tower.forward(pixels, mask).unwrap()).unwrap();
                assert_all_close("without a trace", &floats(untraced), &floats(tokens), 1e-5);
                tiny.report(&format!("{case}, vision, {backend}"));
            }
        }
    }
}

#[test]
fn positions_of_frames_with_padding_are_the_references() {
    const FILE: &str = "smolvlm/position_ids.json";
    if !is_there(FILE) {
        return;
    }
    let text = std::fs::read_to_string(directory().join(FILE)).unwrap();
    let grids: BTreeMap<String, BTreeMap<String, Vec<usize>>> = serde_json::from_str(&text).unwrap();
    assert!(if are_ours() { grids.keys().eq(["27", "32"]) } else { !grids.is_empty() }, "{:?}", grids.keys());
    for (side, counts) in grids {
        let side: usize = side.parse().unwrap();
        assert!(if are_ours() { counts.len() == side } else { !counts.is_empty() }, "{} of {side}", counts.len());
        for (count, expected) in counts {
            assert_eq!(positions(side, count.parse().unwrap()), expected, "{count} of {side}");
        }
    }
}

/// Rotary positions that count attended tokens, and the causal mask without padding, `[batch, tokens, tokens]`.
fn positions_and_mask(attended: &[Vec<i64>], device: &Device) -> (Tensor<2, Int>, Tensor<3, Bool>) {
    let (batch, tokens) = (attended.len(), attended[0].len());
    let count = |row: &Vec<i64>| {
        let mut next = 0;
        let place = |mask: &i64| {
            next += mask;
            (next - 1).max(0) as i32
        };
        row.iter().map(place).collect::<Vec<i32>>()
    };
    let places: Vec<i32> = attended.iter().flat_map(count).collect();
    let hides =
        |row: &Vec<i64>, query: usize| row.iter().enumerate().map(|(key, mask)| key > query || *mask == 0).collect::<Vec<bool>>();
    let hidden: Vec<bool> = attended.iter().flat_map(|row| (0..tokens).flat_map(|query| hides(row, query))).collect();
    (
        Tensor::from_data(TensorData::new(places, [batch, tokens]), device),
        Tensor::from_data(TensorData::new(hidden, [batch, tokens, tokens]), device),
    )
}

/// Hidden states of a prompt, and of all but the last token of its answer behind it.
fn behind(model: &Decoder, prompt: Tensor<3>, attended: &[Vec<i64>], answers: &[Vec<i64>]) -> Tensor<3> {
    let (device, count) = (prompt.device(), answers[0].len() - 1);
    let told: Vec<i32> = answers.iter().flat_map(|answer| answer[..count].iter().map(|id| *id as i32)).collect();
    let words = model.embed(Tensor::from_data(TensorData::new(told, [answers.len(), count]), &device));
    let longer = |row: &Vec<i64>| row.iter().copied().chain(std::iter::repeat_n(1, count)).collect();
    let (places, mask) = positions_and_mask(&attended.iter().map(longer).collect::<Vec<_>>(), &device);
    model.forward(Tensor::cat(vec![prompt, words], 1), places, Some(mask), None)
}

/// Visual tokens of a case; of none without frames.
fn visual(tiny: &Tiny, case: &str, device: &Device) -> Tensor<3> {
    if case == "text" {
        return Tensor::zeros([0, 0, tiny.size("text_config", "hidden_size")], device);
    }
    let (pixels, mask) = tiny.frames(case, device);
    tiny.connector(device).forward(tiny.tower(device).forward(pixels, mask).unwrap()).unwrap()
}

#[test]
fn every_state_of_the_language_model_and_the_answers_equal_the_reference() {
    for tiny in models() {
        for (backend, device) in devices() {
            let model = tiny.language(&device);
            for case in CASES {
                let attended = tiny.rows(&format!("inputs.{case}.attention_mask"));
                let flat: Vec<i64> = attended.iter().flatten().copied().collect();
                let embeddings = tiny.merged(case, &tiny.ids(case), &model, visual(&tiny, case, &device));
                tiny.assert_close(&format!("outputs.{case}.merged"), embeddings.clone(), None, VALUE);
                let (places, mask) = positions_and_mask(&attended, &device);
                let (states, hidden) = traced(|trace| model.forward_traced(embeddings.clone(), places, Some(mask), None, trace));
                assert_eq!(states.len(), model.layers.len() + 1);
                for (name, state) in states {
                    tiny.assert_close(&format!("outputs.{case}.{name}"), state, Some(&flat), VALUE);
                }
                tiny.assert_close(&format!("outputs.{case}.logits"), model.logits(hidden, None), Some(&flat), VALUE);

                let expected = tiny.rows(&format!("outputs.{case}.greedy"));
                let options = GenerationOptions {
                    max_new_tokens: expected[0].len(),
                    strategy: Strategy::Greedy,
                    end_token: model.config.vocabulary as u32, // none
                    ..GenerationOptions::default()
                };
                let padding = attended.iter().map(|row| row.iter().take_while(|mask| **mask == 0).count()).collect();
                let prompt = Prompt::from_embeddings(embeddings.clone()).with_left_padding(padding).unwrap();
                let answers = generate_batch(&model, prompt, &options, |_, _| ControlFlow::Continue(())).unwrap();
                for (answer, expected) in answers.iter().zip(&expected) {
                    let found: Vec<i64> = answer.tokens.iter().map(|token| i64::from(*token)).collect();
                    assert_eq!((&found, answer.finish), (expected, FinishReason::Length), "{} {case} {backend}", tiny.name);
                }
                assert_eq!(answers.len(), expected.len());
                let hidden = behind(&model, embeddings, &attended, &expected);
                let last = expected[0].len() - 1;
                for (token, name) in [(0, "greedy_logits_first"), (last, "greedy_logits_last")] {
                    let name = format!("outputs.{case}.{name}");
                    if !are_ours() && !tiny.golden.has(&name) {
                        println!("not run: {} has no {name}", tiny.name);
                        continue;
                    }
                    let logits = model.logits(hidden.clone().narrow(1, hidden.dims()[1] - 1 - last + token, 1), None);
                    let rows = logits.reshape([expected.len(), model.config.vocabulary]);
                    tiny.assert_close(&name, rows, None, VALUE);
                    // What an answer says of its tokens comes from those logits.
                    let golden = tiny.golden.floats(&name);
                    for (answer, row) in answers.iter().zip(golden.chunks(model.config.vocabulary)) {
                        let sum: f32 = row.iter().map(|logit| logit.exp()).sum();
                        let probability = row[answer.tokens[token] as usize].exp() / sum;
                        assert_all_close(&name, &answer.probabilities[token..=token], &[probability], VALUE);
                    }
                }
                tiny.report(&format!("{case}, language model, {backend}"));
            }
        }
    }
}

/// Gradients by the names of the checkpoint, in its layout.
struct Found<'a> {
    tape: &'a burn::tensor::Gradients,
    path: Vec<String>,
    found: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl ModuleVisitor for Found<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let path = self.path.join(".").replace(".base.", ".").replace(".gamma", ".weight").replace(".beta", ".bias");
        let gradient = parameter.val().grad(self.tape).unwrap_or_else(|| panic!("{path} has no gradient"));
        let gradient = if D == 2 && !path.contains("embed") { gradient.transpose() } else { gradient };
        self.found.insert(path, (gradient.dims().to_vec(), floats(gradient)));
    }
}

#[test]
fn loss_and_gradients_equal_the_reference() {
    for tiny in models() {
        for (backend, plain) in devices() {
            let device = plain.clone().autodiff();
            let (tower, connector, model) = (tiny.tower(&device), tiny.connector(&device), tiny.language(&device));
            let (pixels, _) = tiny.frames("frames", &plain);
            let tokens = connector.forward(tower.forward(pixels, None).unwrap()).unwrap();
            let embeddings = tiny.merged("loss", &tiny.ids("loss"), &model, tokens.repeat_dim(0, 2));
            let (places, mask) = positions_and_mask(&tiny.rows("inputs.loss.attention_mask"), &plain);
            let hidden = model.forward(embeddings, places, Some(mask), None);
            let labels = Labels::next_token(&tiny.rows("inputs.loss.labels")).unwrap();
            let loss = next_token_loss(&model, hidden, &labels, None).unwrap();
            tiny.assert_close("outputs.loss.loss", loss.clone(), None, VALUE);

            let tape = loss.backward();
            let mut all = BTreeMap::new();
            let mut collect = |prefix: &str, visit: &dyn Fn(&mut Found<'_>)| {
                let mut found = Found { tape: &tape, path: Vec::new(), found: BTreeMap::new() };
                visit(&mut found);
                all.extend(found.found.into_iter().map(|(path, gradient)| match path.as_str() {
                    "lm_head.weight" => (path, gradient),
                    _ => (format!("{prefix}{path}"), gradient),
                }));
            };
            collect(VISION, &|found| tower.visit(found));
            collect(CONNECTOR, &|found| connector.visit(found));
            collect(TEXT, &|found| model.visit(found));
            if tiny.is_tied() {
                let (_, of_the_head) = all.remove("lm_head.weight").unwrap();
                let (_, of_the_table) = all.get_mut("model.text_model.embed_tokens.weight").unwrap();
                of_the_table.iter_mut().zip(of_the_head).for_each(|(sum, part)| *sum += part);
            }

            let names: Vec<String> = serde_json::from_value(tiny.golden.config()["gradient_names"].clone()).unwrap();
            assert_eq!(names.iter().collect::<BTreeSet<_>>(), all.keys().collect::<BTreeSet<_>>());
            let norm = |name: &String| all[name].1.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32;
            let norms: Vec<f32> = names.iter().map(norm).collect();
            let expected = tiny.golden.floats("outputs.loss.gradient_norms");
            assert_all_close(&format!("{}: norms of gradients", tiny.name), &norms, &expected, GRADIENT);
            let given: Vec<String> = tiny.golden.names().into_iter().filter(|name| name.starts_with("grads.")).collect();
            assert!(if are_ours() { given.len() == 7 } else { !given.is_empty() }, "{given:?}");
            for name in given {
                let (shape, values) = all[&name["grads.".len()..]].clone();
                let found = Tensor::<1>::from_floats(values.as_slice(), &plain);
                assert_eq!(shape, tiny.golden.shape(&name), "{name}");
                match shape[..] {
                    [rows, columns] => tiny.assert_close(&name, found.reshape([rows, columns]), None, GRADIENT),
                    _ => tiny.assert_close(&name, found, None, GRADIENT),
                }
            }
            tiny.report(&format!("loss and gradients, {backend}"));
        }
    }
}

fn small() -> SiglipConfig {
    SiglipConfig {
        width: 8,
        layers: 1,
        heads: 2,
        mlp_hidden: 12,
        image_size: 8,
        patch_size: 3,
        channels: 3,
        layer_norm_epsilon: 1e-6,
    }
}

#[test]
fn full_sizes_are_the_published_ones() {
    let (device, stream) = (&devices()[0].1, SeededStream::new(0));
    let base = SiglipConfig { width: 768, layers: 12, heads: 12, mlp_hidden: 3072, image_size: 512, patch_size: 16, ..small() };
    let connector = |width, hidden, scale_factor| ConnectorConfig { width, hidden, scale_factor }.init(&stream, device).unwrap();
    // All parameters of SmolVLM2-256M less those of its language model: 30 layers of width 576, word table and head.
    let language = 2 * 49_280 * 576 + 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536 + 2 * 576) + 576;
    let vision = base.init(&stream, device).unwrap().num_params() + connector(768, 576, 4).num_params();
    assert_eq!(vision, 256_484_928 - language);
    // The same of SmolVLM2-2.2B.
    let large =
        SiglipConfig { width: 1152, layers: 27, heads: 16, mlp_hidden: 4304, image_size: 384, patch_size: 14, ..base.clone() };
    let language = 2 * 49_280 * 2048 + 24 * (4 * 2048 * 2048 + 3 * 2048 * 8192 + 2 * 2048) + 2048;
    let vision = large.init(&stream, device).unwrap().num_params() + connector(1152, 2048, 3).num_params();
    assert_eq!(vision, 2_246_784_880 - language);
    let tokens = |config: &SiglipConfig, scale_factor| {
        ConnectorConfig { width: 1, hidden: 1, scale_factor }.tokens(config.side()).unwrap()
    };
    assert_eq!((base.tokens(), tokens(&base, 4), large.tokens(), tokens(&large, 3)), (1024, 64, 729, 81));
}

#[test]
fn frames_of_zeros_are_dropped_but_the_last_one() {
    let device = &devices()[0].1;
    let frame = |value: f32| Tensor::<4>::full([1, 3, 2, 2], value, device);
    let (found, kept) = drop_empty_frames(Tensor::cat(vec![frame(0.0), frame(-0.5), frame(0.0), frame(f32::NAN)], 0));
    assert_eq!((found.dims()[0], kept), (2, vec![1, 3]));
    let (found, kept) = drop_empty_frames(Tensor::cat(vec![frame(0.0), frame(0.0)], 0));
    assert_eq!((found.dims()[0], kept), (1, vec![0]));
}

/// Few patches, and enough that another kernel computes the attention.
#[test]
fn no_gradient_reaches_what_is_padding() {
    for (backend, device) in devices() {
        for config in [small(), SiglipConfig { image_size: 32, patch_size: 2, ..small() }] {
            let device = device.clone().autodiff();
            let tower = config.init(&SeededStream::new(0), &device).unwrap();
            let size = config.image_size;
            let pixels = init::normal::<4>(&mut SeededStream::new(1), [1, 3, size, size], 0.5, &device).require_grad();
            let shown: Vec<bool> = (0..size * size).map(|pixel| pixel / size < config.patch_size).collect();
            let mask = Tensor::from_data(TensorData::new(shown, [1, size, size]), &device);
            let tokens = tower.forward(pixels.clone(), Some(mask)).unwrap();
            let tape = tokens.narrow(1, 0, config.side()).narrow(2, 0, 1).sum().backward();
            let slopes = floats(pixels.grad(&tape).unwrap());
            for (pixel, slope) in slopes.iter().enumerate() {
                let [row, column] = [pixel / size % size, pixel % size];
                let seen = row < config.patch_size && column < config.side() * config.patch_size;
                assert_eq!(*slope != 0.0, seen, "{backend}: row {row}, column {column} of {size}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let (device, stream) = (&devices()[0].1, SeededStream::new(0));
    let wrong = [
        (SiglipConfig { width: 9, ..small() }, "width"),
        (SiglipConfig { heads: 0, ..small() }, "heads"),
        (SiglipConfig { image_size: 2, ..small() }, "image_size"),
        (SiglipConfig { layer_norm_epsilon: f64::NAN, ..small() }, "layer_norm_epsilon"),
    ];
    for (config, key) in wrong {
        let error = config.init(&stream, device).unwrap_err();
        assert!(matches!(&error, Error::Config { key: found, .. } if *found == key), "{error}");
    }
    let tower = small().init(&stream, device).unwrap();
    let frames = |shape: [usize; 4]| Tensor::<4>::ones(shape, device);
    for shape in [[1, 3, 8, 9], [1, 1, 8, 8], [0, 3, 8, 8]] {
        assert!(matches!(tower.forward(frames(shape), None), Err(Error::Shape { .. })), "{shape:?}");
    }
    let mask = |shown: &dyn Fn(usize, usize) -> bool| {
        let shown: Vec<bool> = (0..64).map(|pixel| shown(pixel / 8, pixel % 8)).collect();
        Tensor::<3, Bool>::from_data(TensorData::new(shown, [1, 8, 8]), device)
    };
    assert!(matches!(tower.forward(frames([2, 3, 8, 8]), Some(mask(&|_, _| true))), Err(Error::Shape { .. })));
    // Padding on the left, and a frame with a corner cut out.
    for hole in [mask(&|_, column| column >= 3), mask(&|row, column| row < 3 || column < 3)] {
        let error = tower.forward(frames([1, 3, 8, 8]), Some(hole)).unwrap_err();
        assert!(matches!(error, Error::Config { key: "pixel mask", .. }), "{error}");
    }
    // Nothing but padding, and pixels that fill no patch: a frame like any other.
    for shown in [mask(&|_, _| false), mask(&|row, column| row < 6 && column < 6)] {
        let tokens = tower.forward(frames([1, 3, 8, 8]), Some(shown)).unwrap();
        assert!(floats(tokens).iter().all(|value| value.is_finite()));
    }

    let patches = |count| Tensor::<3>::ones([1, count, 4], device);
    assert!(matches!(pixel_shuffle(patches(8), 2), Err(Error::Shape { .. })));
    for factor in [0, 2, 4] {
        let error = pixel_shuffle(patches(9), factor).unwrap_err();
        assert!(matches!(error, Error::Config { key: "scale_factor", .. }), "{error}");
    }
    for count in [1, 3] {
        let words = Tensor::<3>::zeros([1, 3, 4], device);
        let error = place_visual_tokens(words, &[vec![7, 0, 7]], 7, patches(count)).unwrap_err();
        assert!(matches!(error, Error::Shape { what: "visual tokens", .. }), "{error}");
    }
}
