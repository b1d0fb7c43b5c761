//! Golden tests of the language model, its adapters, generation and filters.

use std::{collections::BTreeSet, ops::ControlFlow};

use burn::{module::Param, prelude::*};
use pvchat_nn::language::{
    Decoder, DecoderConfig, Filters, FinishReason, Generated, GenerationOptions, Labels, LoraAdapter, LoraConfig, LoraLinear,
    Prompt, Strategy, generate_batch, next_token_loss, sampling,
};

use crate::support::{GRADIENT, Golden, VALUE, assert_all_close, devices};

fn parameter<const D: usize>(golden: &Golden, name: &str, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(golden.tensor(&format!("weights.{name}.weight"), device))
}

/// A golden linear weight `[out, in]` in our layout.
fn transposed(golden: &Golden, name: &str, device: &Device) -> Param<Tensor<2>> {
    Param::from_tensor(golden.tensor::<2>(&format!("weights.{name}.weight"), device).transpose())
}

fn tiny(golden: &Golden, device: &Device) -> Decoder {
    let config = DecoderConfig {
        vocabulary: golden.size("vocab"),
        hidden: golden.size("hidden"),
        layers: golden.size("layers"),
        heads: golden.size("heads"),
        kv_heads: golden.size("kv_heads"),
        head_dim: golden.size("head_dim"),
        intermediate: golden.size("intermediate"),
        rope_theta: golden.number("rope_theta"),
        rms_norm_epsilon: golden.number("rms_norm_eps"),
        initial_deviation: 0.02,
        lora: None,
    };
    let mut model = config.init_zeros(device).unwrap();
    model.embed_tokens.weight = parameter(golden, "model.embed_tokens", device);
    model.norm.gamma = parameter(golden, "model.norm", device);
    for (index, layer) in model.layers.iter_mut().enumerate() {
        layer.input_layernorm.gamma = parameter(golden, &format!("model.layers.{index}.input_layernorm"), device);
        layer.post_attention_layernorm.gamma =
            parameter(golden, &format!("model.layers.{index}.post_attention_layernorm"), device);
    }
    for (name, linear) in model.linears_mut() {
        let name = if name == "lm_head" { name } else { format!("model.{name}") };
        linear.base.weight = transposed(golden, &name, device);
    }
    model
}

/// Numbers of the rows where the mask is 1.
fn attended(values: &[f32], mask: &[i64]) -> Vec<f32> {
    let width = values.len() / mask.len();
    values.chunks(width).zip(mask).filter(|(_, mask)| **mask == 1).flat_map(|(row, _)| row.to_vec()).collect()
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn rows(golden: &Golden, name: &str) -> Vec<Vec<i64>> {
    golden.integers(name).chunks(golden.shape(name)[1]).map(<[i64]>::to_vec).collect()
}

fn counting_positions(batch: usize, tokens: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::<1, Int>::arange(0..tokens as i64, device).unsqueeze::<2>().repeat_dim(0, batch)
}

#[test]
fn right_padded_batch_logits_loss_and_input_gradient() {
    let golden = Golden::open("mistral_tiny");
    for (name, device) in devices() {
        let model = tiny(&golden, &device.clone().autodiff()).set_require_grad(false);
        let ids = golden.int_tensor::<2>("inputs.right.input_ids", &device);
        let mask = golden.integers("inputs.right.attention_mask");
        let [batch, tokens] = ids.dims();
        let embeddings = Tensor::from_inner(model.embed(ids).inner()).require_grad();
        let hidden = model.forward(embeddings.clone(), counting_positions(batch, tokens, &device), None, None);
        let logits = model.logits(hidden.clone(), None);
        let compare = |what: &str, found: Vec<f32>| {
            let expected = attended(&golden.floats(what), &mask);
            assert_all_close(&format!("{name} {what}"), &attended(&found, &mask), &expected, VALUE);
        };
        compare("outputs.right.logits", floats(logits));
        compare("outputs.right.hidden_last", floats(hidden.clone()));

        let labels = Labels::next_token(&rows(&golden, "inputs.right.labels")).unwrap();
        let loss = next_token_loss(&model, hidden, &labels, None).unwrap();
        golden.assert_close("outputs.right.loss", loss.clone(), VALUE);
        let gradient = embeddings.grad(&loss.backward()).unwrap();
        golden.assert_close("outputs.right.grad_inputs_embeds", gradient, GRADIENT);
    }
}

#[test]
fn left_padded_batch_logits() {
    let golden = Golden::open("mistral_tiny");
    for (name, device) in devices() {
        let model = tiny(&golden, &device);
        let ids = golden.int_tensor::<2>("inputs.left.input_ids", &device);
        let positions = golden.int_tensor::<2>("inputs.left.position_ids", &device);
        let mask = golden.integers("inputs.left.attention_mask");
        let [batch, tokens] = ids.dims();
        let hidden: Vec<bool> = (0..batch * tokens * tokens)
            .map(|i| (i / (tokens * tokens), i / tokens % tokens, i % tokens))
            .map(|(row, query, key)| key > query || mask[row * tokens + key] == 0)
            .collect();
        let hidden = Tensor::from_data(TensorData::new(hidden, [batch, tokens, tokens]), &device);
        let logits = model.logits(model.forward(model.embed(ids), positions, Some(hidden), None), None);
        let expected = attended(&golden.floats("outputs.left.logits"), &mask);
        assert_all_close(&format!("{name} left"), &attended(&floats(logits), &mask), &expected, VALUE);
    }
}

/// The prompts of the left-padded batch, without padding.
fn prompts(golden: &Golden) -> Vec<Vec<u32>> {
    let (ids, mask) = (rows(golden, "inputs.left.input_ids"), rows(golden, "inputs.left.attention_mask"));
    let attended = |(ids, mask): (&Vec<i64>, &Vec<i64>)| {
        ids.iter().zip(mask).filter(|(_, mask)| **mask == 1).map(|(id, _)| *id as u32).collect()
    };
    ids.iter().zip(&mask).map(attended).collect()
}

fn token_prompt(golden: &Golden, model: &Decoder) -> Prompt {
    Prompt::from_tokens(model, &prompts(golden), golden.size("pad") as u32).unwrap()
}

fn embeddings_prompt(golden: &Golden, device: &Device) -> Prompt {
    let mask = rows(golden, "inputs.embeds.attention_mask");
    let padding = mask.iter().map(|row| row.iter().take_while(|mask| **mask == 0).count()).collect();
    Prompt::from_embeddings(golden.tensor("inputs.embeds.inputs_embeds", device)).with_left_padding(padding).unwrap()
}

fn options(golden: &Golden, strategy: Strategy, repetition_penalty: f32) -> GenerationOptions {
    let (max_new_tokens, end_token) = (golden.size("max_new_tokens"), golden.size("eos") as u32);
    GenerationOptions { max_new_tokens, strategy, repetition_penalty, end_token, ..GenerationOptions::default() }
}

/// Tokens as the reference stores them: end token, then the file's padding.
fn assert_tokens(golden: &Golden, what: &str, found: &[Generated], options: &GenerationOptions) {
    for (row, (answer, expected)) in found.iter().zip(rows(golden, what)).enumerate() {
        let mut tokens: Vec<i64> = answer.tokens.iter().map(|token| i64::from(*token)).collect();
        if answer.finish == FinishReason::EndToken {
            tokens.push(i64::from(options.end_token));
        }
        tokens.resize(expected.len(), golden.size("pad") as i64);
        assert_eq!(tokens, expected, "{what} row {row}");
        assert_eq!(answer.probabilities.len(), answer.tokens.len());
    }
    assert_eq!(found.len(), golden.shape(what)[0], "{what}: rows");
}

fn quiet(_: usize, _: u32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn greedy_from_tokens_and_from_embeddings() {
    let golden = Golden::open("mistral_tiny");
    for (_, device) in devices() {
        let model = tiny(&golden, &device);
        let options = options(&golden, Strategy::Greedy, 1.0);
        let answers = generate_batch(&model, token_prompt(&golden, &model), &options, quiet).unwrap();
        assert_tokens(&golden, "outputs.greedy.new_tokens", &answers, &options);
        let answers = generate_batch(&model, embeddings_prompt(&golden, &device), &options, quiet).unwrap();
        assert_tokens(&golden, "outputs.embeds_greedy.new_tokens", &answers, &options);
    }
}

#[test]
fn beams_from_tokens_and_from_embeddings() {
    let golden = Golden::open("mistral_tiny");
    let length_penalty = golden.number("length_penalty") as f32;
    let strategy = Strategy::Beams { beams: golden.size("num_beams"), length_penalty, sampling: None };
    let options = options(&golden, strategy, golden.number("repetition_penalty") as f32);
    for (name, device) in devices() {
        let model = tiny(&golden, &device);
        for (case, prompt) in [("beam", token_prompt(&golden, &model)), ("embeds_beam", embeddings_prompt(&golden, &device))] {
            let answers = generate_batch(&model, prompt, &options, quiet).unwrap();
            assert_tokens(&golden, &format!("outputs.{case}.new_tokens"), &answers, &options);
            let scores: Vec<f32> = answers.iter().map(|answer| answer.score.unwrap()).collect();
            let expected = golden.floats(&format!("outputs.{case}.sequence_scores"));
            assert_all_close(&format!("{name} {case} scores"), &scores, &expected, VALUE);
        }
    }
}

#[test]
fn filters_and_repetition_penalty() {
    let golden = Golden::open("mistral_tiny");
    let width = golden.shape("inputs.filters.logits")[1];
    let logits = golden.floats("inputs.filters.logits");
    let settings = &golden.config()["filters"];
    let filters = |name: &str| Filters {
        temperature: settings[name]["temperature"].as_f64().unwrap() as f32,
        top_k: settings[name]["top_k"].as_u64().map(|k| k as usize),
        top_p: settings[name]["top_p"].as_f64().map(|p| p as f32),
    };
    for kind in ["sample", "beam_sample"] {
        let keep = settings["min_tokens_to_keep"][kind].as_u64().unwrap() as usize;
        for (setting, output) in [("wide", "probabilities"), ("narrow", "narrow_probabilities")] {
            let found: Vec<f32> = logits
                .chunks(width)
                .flat_map(|row| {
                    let mut scores = row.to_vec();
                    filters(setting).apply(&mut scores, keep);
                    sampling::softmax(&scores)
                })
                .collect();
            let expected = golden.floats(&format!("outputs.filters.{kind}.{output}"));
            assert_all_close(&format!("{kind} {setting}"), &found, &expected, VALUE);
            let kept = |values: &[f32]| values.iter().map(|p| *p > 0.0).collect::<Vec<_>>();
            assert_eq!(kept(&found), kept(&expected), "{kind} {setting}: the tokens that are kept");
        }
    }
    let previous = rows(&golden, "inputs.filters.previous_ids");
    let penalty = settings["repetition_penalty"].as_f64().unwrap() as f32;
    let mut found = logits;
    for (row, seen) in found.chunks_mut(width).zip(previous) {
        let seen: BTreeSet<u32> = seen.into_iter().map(|id| id as u32).collect();
        sampling::penalise(row, &seen, penalty);
    }
    assert_all_close("repetition", &found, &golden.floats("outputs.filters.repetition"), VALUE);
}

#[test]
fn lora_output_merged_weight_and_gradients() {
    let golden = Golden::open("lora_tiny");
    let (inputs, outputs) = (golden.size("in_features"), golden.size("out_features"));
    let config = LoraConfig { rank: golden.size("r"), alpha: golden.number("alpha"), dropout: 0.0 };
    for (name, plain) in devices() {
        let device = plain.clone().autodiff();
        let mut layer = LoraLinear::zeros(inputs, outputs, &device);
        layer.base.weight = transposed(&golden, "q_proj", &device);
        let mut adapter = LoraAdapter::zeros(inputs, outputs, config, &device);
        adapter.a.weight = transposed(&golden, "q_proj.lora_A.default", &device);
        adapter.b.weight = transposed(&golden, "q_proj.lora_B.default", &device);
        layer.insert(adapter).unwrap();
        let layer = layer.train_adapter_only();

        let x = golden.tensor::<3>("inputs.x", &device).require_grad();
        let y = layer.forward(x.clone());
        golden.assert_close("outputs.y", y.clone(), VALUE);
        let loss = (y * golden.tensor::<3>("inputs.loss_weight", &device)).sum();
        let gradients = loss.backward();
        golden.assert_close("grads.x", x.grad(&gradients).unwrap(), GRADIENT);
        let lora = layer.lora.as_ref().unwrap();
        let transposed_gradient = |weight: &Param<Tensor<2>>| weight.val().grad(&gradients).unwrap().transpose();
        golden.assert_close("grads.q_proj.lora_A.default.weight", transposed_gradient(&lora.a.weight), GRADIENT);
        golden.assert_close("grads.q_proj.lora_B.default.weight", transposed_gradient(&lora.b.weight), GRADIENT);
        assert!(layer.base.weight.val().grad(&gradients).is_none(), "{name}: the base weight is frozen");

        let merged = layer.merge();
        golden.assert_close("outputs.merged_weight", merged.base.weight.val().transpose(), VALUE);
        golden.assert_close("outputs.y_merged", merged.forward(golden.tensor::<3>("inputs.x", &plain)), VALUE);
    }
}
