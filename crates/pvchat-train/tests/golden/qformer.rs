//! `qformer_tiny`: the released objective on the gates of a whole Q-Former, over three passes.

use crate::support::{Golden, VALUE, assert_all_close, devices};
use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_model::qformer::{QFormer, QFormerConfig, RENAMES, TextInput};
use pvchat_nn::{moh::Routing, weights::apply_tensors};
use pvchat_train::objective::{HaeGrowth, ModuleReport, Objective, ObjectiveConfig, RoutedHeads};

fn load(golden: &Golden, device: &Device) -> (QFormer, Tensor<3>) {
    let config = QFormerConfig {
        hidden: golden.size("hidden"),
        layers: golden.size("layers"),
        heads: golden.size("heads"),
        intermediate: golden.size("intermediate"),
        encoder_width: golden.size("encoder_width"),
        cross_attention_every: golden.size("cross_attention_freq"),
        routed_from_layer: golden.size("moh_start_layer"),
        routing: Routing::Relu { shared: golden.size("shared_heads"), rescale: false },
        layer_norm_epsilon: golden.number("layer_norm_eps"),
        vocabulary: Some(golden.size("vocab")),
        max_positions: golden.size("max_position_embeddings"),
        ..QFormerConfig::full()
    };
    let mut module = config.init(&SeededStream::new(0), device).unwrap();
    apply_tensors(&mut module, &golden.source().under("weights.qformer."), RENAMES).unwrap().require_complete().unwrap();
    let tokens = ["query_tokens", "extra_query_tokens", "personal_query_tokens"];
    (module, Tensor::cat(tokens.map(|name| golden.tensor::<3>(&format!("weights.{name}"), device)).to_vec(), 1))
}

fn objective(golden: &Golden) -> Objective {
    let released = ObjectiveConfig::released();
    assert_eq!(golden.number("load_balance_weight"), 1.0, "the objective has no such weight");
    let config = ObjectiveConfig {
        top_k: golden.size("moh_top_k"),
        adaptation_rate: golden.number("k"),
        initial_lambda: golden.number("lambda_init"),
        lambda_range: golden.numbers("lambda_clamp"),
        hae_weight: golden.number("alignment_weight_init"),
        hae_growth: Some(HaeGrowth {
            factor: golden.number("alignment_growth"),
            limit: golden.number("alignment_max"),
            // No part of the file.
            ..released.hae_growth.unwrap()
        }),
        ..released
    };
    Objective::new(config, golden.config()["aux_order"].as_array().unwrap().len()).unwrap()
}

#[test]
fn auxiliary_loss_and_state_of_every_module_over_three_passes() {
    let golden = Golden::open("qformer_tiny");
    for (backend, device) in devices() {
        let (module, tokens) = load(&golden, &device);
        for case in ["plain", "text"] {
            let mut objective = objective(&golden);
            for pass in 0..golden.size("passes") {
                let memory = golden.tensor::<3>(&format!("inputs.pass{pass}.encoder_hidden_states"), &device);
                let [_, queries, hidden] = tokens.dims();
                let queries = tokens.clone().expand([memory.dims()[0], queries, hidden]);
                let text = (case == "text").then(|| TextInput {
                    ids: golden.int_tensor::<2>("inputs.text_ids", &device),
                    padding: golden.int_tensor::<2>("inputs.text_mask", &device).equal_elem(0),
                });
                // No mask: the reference counts padded text rows too.
                let output = module.forward(queries, memory, text).unwrap();
                let heads: Vec<RoutedHeads> = output.gates.iter().map(|(_, gates)| gates.into()).collect();
                let result = objective.train(&heads).unwrap();

                let modules = &result.report.modules;
                let compare = |key: &str, value: fn(&ModuleReport) -> f64| {
                    let name = format!("outputs.{case}.pass{pass}.{key}");
                    let found: Vec<f32> = modules.iter().map(|module| value(module) as f32).collect();
                    assert_all_close(&format!("{backend}: {name}"), &found, &golden.floats(&name), VALUE);
                };
                compare("aux", |module| module.spr + module.hae);
                compare("lambda", |module| module.lambda);
                compare("alignment_weight", |module| module.weight);
                compare("activation", |module| module.activation);
                let name = format!("outputs.{case}.pass{pass}.gate_mean_per_head");
                let means: Vec<f32> =
                    modules.iter().flat_map(|module| &module.gate_mean_per_head).map(|&mean| mean as f32).collect();
                assert_all_close(&format!("{backend}: {name}"), &means, &golden.floats(&name), VALUE);
                let name = format!("outputs.{case}.pass{pass}.aux_total");
                let total = result.loss.unwrap().into_scalar::<f32>();
                assert_all_close(&format!("{backend}: {name}"), &[total], &golden.floats(&name), VALUE);
            }
        }
    }
}

#[test]
fn a_router_of_our_file_is_silent_so_that_the_growth_of_its_weight_is_compared_too() {
    let golden = Golden::open_own("qformer_tiny");
    for case in ["plain", "text"] {
        for pass in 0..golden.size("passes") {
            let rates = golden.floats(&format!("outputs.{case}.pass{pass}.activation"));
            assert_eq!(rates.iter().filter(|rate| **rate == 0.0).count(), 1, "{case}, pass {pass}: {rates:?}");
        }
    }
}
