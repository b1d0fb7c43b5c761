//! `losses.json`: three variants of SPR and HAE over successive steps, with gradients.

use crate::support::{assert_all_close, devices, directory, own_directory};
use burn::prelude::*;
use pvchat_train::objective::{HaeGrowth, ModuleReport, Objective, ObjectiveConfig, RoutedHeads, Surrogate};
use serde_json::Value;
use std::path::Path;

/// The tolerance of this file.
const TOLERANCE: f64 = 1e-6;

fn read(directory: &Path) -> Value {
    let path = directory.join("losses.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("losses.json is JSON")
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {value}"))
}

/// A nested list [batch][token][head] as a flat list.
fn flat(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        other => vec![other.as_f64().expect("a number") as f32],
    }
}

fn array<const N: usize>(value: &Value) -> [f64; N] {
    let list: Vec<f64> = value.as_array().expect("a list").iter().map(|item| item.as_f64().expect("a number")).collect();
    list.try_into().expect("the length of the list")
}

/// The released variant with the constants that the file states.
fn released(file: &Value) -> ObjectiveConfig {
    let constants = &file["constants"]["released"];
    assert_eq!(number(constants, "load_balance_weight"), 1.0, "the objective has no such weight");
    ObjectiveConfig {
        adaptation_rate: number(constants, "k"),
        lambda_range: array(&file["constants"]["lambda_clamp"]),
        hae_weight: number(constants, "alignment_weight"),
        hae_growth: Some(HaeGrowth {
            factor: number(constants, "growth"),
            below: number(constants, "growth_below_rate"),
            limit: number(constants, "growth_max"),
        }),
        ..shared_by_all(file, ObjectiveConfig::released())
    }
}

/// The straight-through variant with the constants that the file states.
fn straight_through(file: &Value) -> ObjectiveConfig {
    let constants = &file["constants"]["straight_through"];
    let preset = ObjectiveConfig::straight_through();
    ObjectiveConfig {
        adaptation_rate: number(constants, "adaptation_rate"),
        lambda_range: array(&file["constants"]["lambda_clamp"]),
        hae_weight: number(constants, "hae_weight"),
        surrogate: Surrogate { steepness: number(constants, "slope"), clamp: true, ..preset.surrogate },
        ..shared_by_all(file, preset)
    }
}

/// The paper's variant with the constants that the file states; it bounds no sparsity weight.
fn paper(file: &Value) -> ObjectiveConfig {
    let adaptation_rate = number(&file["constants"]["paper"], "k");
    ObjectiveConfig { adaptation_rate, ..shared_by_all(file, ObjectiveConfig::paper()) }
}

fn shared_by_all(file: &Value, preset: ObjectiveConfig) -> ObjectiveConfig {
    ObjectiveConfig {
        top_k: file["shape"]["top_k"].as_u64().unwrap() as usize,
        gate_range: array(&file["constants"]["gate_clamp"]),
        ..preset
    }
}

/// One step: the report, the value of the loss and its gradient for the raw logits.
fn step(objective: &mut Objective, logits: &Value, file: &Value, device: &Device) -> (ModuleReport, f64, Vec<f32>) {
    let size = |key: &str| file["shape"][key].as_u64().unwrap() as usize;
    let shape = [size("batch"), size("tokens"), size("routed_heads")];
    let logits = Tensor::<3>::from_data(TensorData::new(flat(logits), shape), &device.clone().autodiff()).require_grad();
    let [low, high] = objective.config().gate_range;
    let gates = burn::tensor::activation::relu(logits.clone().clamp(low, high));
    let result = objective.train(&[RoutedHeads::new(logits.clone(), gates)]).expect("objective");
    let loss = result.loss.expect("a loss");
    let value = loss.clone().into_scalar::<f64>();
    let gradients = loss.backward();
    let gradient = match logits.grad(&gradients) {
        Some(gradient) => gradient.into_data().iter::<f32>().collect(),
        None => vec![0.0; shape.iter().product()],
    };
    (result.report.modules[0].clone(), value, gradient)
}

fn check(what: &str, pairs: &[(&str, f64, f64)]) {
    for (key, found, expected) in pairs {
        let scale = 1.0 + expected.abs();
        assert!((found - expected).abs() <= TOLERANCE * scale, "{what}: {key}: found {found}, expected {expected}");
    }
}

/// Runs every step of every case under one variant and hands each to `compare`.
fn every_step(variant: fn(&Value) -> ObjectiveConfig, compare: impl Fn(&str, &Value, &ModuleReport, f64, &[f32], &Objective)) {
    let file = read(&directory());
    for (backend, device) in devices() {
        for case in file["cases"].as_array().unwrap() {
            let config = ObjectiveConfig { initial_lambda: number(case, "lambda_init"), ..variant(&file) };
            let mut objective = Objective::new(config, 1).unwrap();
            for (index, data) in case["steps"].as_array().unwrap().iter().enumerate() {
                let what = format!("{backend}: {} step {index}", case["name"]);
                let (report, value, gradient) = step(&mut objective, &data["logits"], &file, &device);
                check(&what, &[("activation", report.activation, number(data, "activation_rate"))]);
                compare(&what, data, &report, value, &gradient, &objective);
            }
        }
    }
}

/// Relative agreement of a tiny weight, which an absolute tolerance would not see.
fn assert_relative(what: &str, found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() <= TOLERANCE, "{what}: found {found}, expected {expected}");
}

#[test]
fn released_values_states_and_gradients() {
    every_step(released, |what, data, report, value, gradient, objective| {
        let golden = &data["released"];
        check(
            what,
            &[
                ("load_balance", report.sparsity, number(golden, "load_balance")),
                ("spr", report.spr, number(golden, "spr")),
                ("alignment_weight", report.weight, number(golden, "alignment_weight")),
                ("hae_unweighted", report.hae_unweighted, number(golden, "hae_unweighted")),
                ("hae", report.hae, number(golden, "hae")),
                ("total", report.spr + report.hae, number(golden, "total")),
                ("loss", value, number(golden, "total")),
            ],
        );
        assert_relative(what, report.lambda, number(golden, "lambda_used"));
        assert_eq!(objective.states()[0].lambda, report.lambda, "{what}: the updated weight is used");
        assert_all_close(what, gradient, &flat(&golden["grad_logits"]), TOLERANCE);
    });
}

#[test]
fn straight_through_values_states_and_gradients() {
    every_step(straight_through, |what, data, report, value, gradient, _| {
        let golden = &data["straight_through"];
        check(
            what,
            &[
                ("gate_mean", report.sparsity, number(golden, "gate_mean")),
                ("spr", report.spr, number(golden, "spr")),
                ("hae_unweighted", report.hae_unweighted, number(golden, "hae_unweighted")),
                ("hae", report.hae, number(golden, "hae")),
                ("loss", value, number(golden, "total")),
            ],
        );
        assert_relative(what, report.lambda, number(golden, "lambda_used"));
        assert_all_close(what, gradient, &flat(&golden["grad_logits"]), TOLERANCE);
    });
}

#[test]
fn paper_values_and_states() {
    every_step(paper, |what, data, report, value, gradient, objective| {
        let golden = &data["paper"];
        check(
            what,
            &[
                ("router_mean_norm", report.sparsity, number(golden, "router_mean_norm")),
                ("spr", report.spr, number(golden, "spr")),
                ("hae", report.hae, number(golden, "hae")),
                ("loss", value, number(golden, "total")),
            ],
        );
        assert_relative(what, report.lambda, number(golden, "beta_used"));
        assert_relative(what, objective.states()[0].lambda, number(golden, "beta_next"));
        // The file states no gradient; that of the norm of a mean is its unit vector over the row count.
        let logits = flat(&data["logits"]);
        let heads = report.activation_per_head.len();
        let rows = logits.len() / heads;
        let mean = |head: usize| logits.iter().skip(head).step_by(heads).sum::<f32>() / rows as f32;
        let norm = (report.sparsity as f32).max(f32::MIN_POSITIVE);
        let expected: Vec<f32> = (0..logits.len()).map(|i| report.lambda as f32 * mean(i % heads) / norm / rows as f32).collect();
        assert_all_close(what, gradient, &expected, TOLERANCE);
    });
}

#[test]
fn the_presets_are_the_published_constants() {
    let file = read(&own_directory());
    assert_eq!(released(&file), ObjectiveConfig::released());
    assert_eq!(paper(&file), ObjectiveConfig::paper());
    // The file clamps its surrogate; ours has a tail instead.
    let preset = ObjectiveConfig::straight_through();
    let surrogate = Surrogate { clamp: true, ..preset.surrogate };
    assert_eq!(straight_through(&file), ObjectiveConfig { surrogate, ..preset });
}
