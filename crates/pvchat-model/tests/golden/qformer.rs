//! Golden tests of the Q-Former: three passes, with and without text, and the pre-norm form of the miniature.

use crate::support::{Golden, VALUE, assert_all_close, devices};
use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_model::{
    Error,
    qformer::{Activation, NormPlacement, QFormer, QFormerConfig, RENAMES, TextInput},
};
use pvchat_nn::{
    init::normal,
    moh::{Gates, Routing},
    weights::apply_tensors,
};

fn config(golden: &Golden) -> QFormerConfig {
    QFormerConfig {
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
    }
}

fn load(golden: &Golden, device: &Device) -> (QFormer, Tensor<3>) {
    let mut module = config(golden).init(&SeededStream::new(0), device).unwrap();
    let applied = apply_tensors(&mut module, &golden.source().under("weights.qformer."), RENAMES).unwrap();
    assert!(applied.unused.iter().all(|name| name == "embeddings.position_ids"), "{:?}", applied.unused);
    applied.require_complete().unwrap();
    let tokens = ["query_tokens", "extra_query_tokens", "personal_query_tokens"];
    (module, Tensor::cat(tokens.map(|name| golden.tensor::<3>(&format!("weights.{name}"), device)).to_vec(), 1))
}

fn check_gates(golden: &Golden, case: &str, gates: &[(String, Gates)]) {
    let names: Vec<&str> = golden.config()["aux_order"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(gates.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
    let activation: Vec<Tensor<1>> = gates.iter().map(|(_, gates)| gates.activation()).collect();
    golden.assert_close(&format!("{case}.activation"), Tensor::cat(activation, 0), VALUE);
    let means = gates.iter().map(|(_, gates)| gates.gates.clone().flatten::<2>(0, 1).mean_dim(0)).collect();
    golden.assert_close(&format!("{case}.gate_mean_per_head"), Tensor::cat(means, 0), VALUE);
}

#[test]
fn every_pass_equals_the_reference() {
    let golden = Golden::open("qformer_tiny");
    for (backend, device) in devices().into_iter().flat_map(|(name, device)| [(name, device.clone()), (name, device.autodiff())])
    {
        println!("qformer_tiny on {backend}, autodiff {}", device.is_autodiff());
        let (module, tokens) = load(&golden, &device);
        for pass in 0..golden.size("passes") {
            let memory = golden.tensor::<3>(&format!("inputs.pass{pass}.encoder_hidden_states"), &device);
            let [_, queries, hidden] = tokens.dims();
            let queries = tokens.clone().expand([memory.dims()[0], queries, hidden]);

            let case = format!("outputs.plain.pass{pass}");
            let output = module.forward(queries.clone(), memory.clone(), None).unwrap();
            golden.assert_close(&format!("{case}.query_states"), output.query_states, VALUE);
            assert!(output.text_states.is_none());
            check_gates(&golden, &case, &output.gates);

            let case = format!("outputs.text.pass{pass}");
            let ids = golden.int_tensor::<2>("inputs.text_ids", &device);
            let padding = golden.int_tensor::<2>("inputs.text_mask", &device).equal_elem(0);
            let output = module.forward(queries, memory, Some(TextInput { ids, padding })).unwrap();
            golden.assert_close(&format!("{case}.query_states"), output.query_states, VALUE);
            golden.assert_close(&format!("{case}.text_states"), output.text_states.unwrap(), VALUE);
            check_gates(&golden, &case, &output.gates);
        }
    }
}

#[test]
fn full_size_is_the_published_one() {
    let full = QFormerConfig::full();
    full.validate().unwrap();
    let text = serde_json::to_string(&full).unwrap();
    assert_eq!(serde_json::from_str::<QFormerConfig>(&text).unwrap(), full);
    // Two of twelve layers, so that the test stays small: one with cross-attention, one without, both routed.
    let two = QFormerConfig { layers: 2, routed_from_layer: 0, vocabulary: None, ..full };
    let module = two.init(&SeededStream::new(1), &devices()[0].1).unwrap();
    let attention = |keys: usize| 2 * (768 * 768 + 768) + 2 * (keys * 768 + 768) + 2 * 768 + 768 * 4 + 4 + 768 * 2;
    let feed_forward = 2 * 768 * 3072 + 3072 + 768 + 2 * 768;
    assert_eq!(module.num_params(), 2 * attention(768) + attention(1408) + 2 * feed_forward + 2 * 768);
}

fn miniature() -> QFormerConfig {
    QFormerConfig {
        hidden: 32,
        layers: 2,
        heads: 4,
        intermediate: 48,
        encoder_width: 32,
        cross_attention_every: 1,
        routed_from_layer: 0,
        routing: Routing::Relu { shared: 2, rescale: true },
        norm: NormPlacement::Pre,
        activation: Activation::Relu,
        vocabulary: None,
        tie_key_to_query_at_start: true,
        initial_deviation: 0.1,
        ..QFormerConfig::full()
    }
}

#[test]
fn pre_norm_routes_every_attention_and_gradients_reach_every_parameter() {
    for (_, device) in devices() {
        let device = device.autodiff();
        let module = miniature().init(&SeededStream::new(1), &device).unwrap();
        let stream = SeededStream::new(2);
        let queries = normal(&mut stream.derive("queries"), [2, 5, 32], 1.0, &device).require_grad();
        let memory = normal(&mut stream.derive("memory"), [2, 9, 32], 1.0, &device);
        let output = module.forward(queries.clone(), memory, None).unwrap();
        let names: Vec<&str> = output.gates.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "encoder.layer.0.attention",
            "encoder.layer.0.crossattention",
            "encoder.layer.1.attention",
            "encoder.layer.1.crossattention",
        ];
        assert_eq!(names, expected);
        // The last norm: every row has mean 0 and variance 1.
        let mean: Vec<f32> = output.query_states.clone().mean_dim(2).into_data().iter::<f32>().collect();
        assert_all_close("mean", &mean, &[0.0; 10], 1e-5);
        let variance: Vec<f32> = output.query_states.clone().square().mean_dim(2).into_data().iter::<f32>().collect();
        assert_all_close("variance", &variance, &[1.0; 10], 1e-3);

        let weight = normal(&mut stream.derive("loss"), [2, 5, 32], 1.0, &device);
        let loss = (output.query_states * weight).sum();
        let mut gradients = loss.backward();
        assert!(queries.grad(&gradients).is_some());
        let found = burn::optim::GradientsParams::from_module(&mut gradients, &module);
        assert_eq!(found.len(), parameter_count(&module), "every parameter takes part");
    }
}

fn parameter_count(module: &QFormer) -> usize {
    use burn::module::{ModuleVisitor, Param};
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
            self.0 += 1;
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}

#[test]
fn tied_keys_start_equal_and_are_trained_apart() {
    for (_, device) in devices() {
        let module = miniature().init(&SeededStream::new(1), &device.autodiff()).unwrap();
        for layer in &module.encoder.layer {
            let heads = &layer.crossattention.as_ref().unwrap().heads;
            assert_eq!(heads.key.weight.val().into_data(), heads.query.weight.val().into_data());
            assert_ne!(heads.key.weight.id, heads.query.weight.id);
            let loss = (heads.query.weight.val() * 2.0).sum() + (heads.key.weight.val() * 3.0).sum();
            let gradients = loss.backward();
            let first = |tensor: Tensor<2>| tensor.into_data().iter::<f32>().next().unwrap();
            assert_eq!(first(heads.query.weight.val().grad(&gradients).unwrap()), 2.0);
            assert_eq!(first(heads.key.weight.val().grad(&gradients).unwrap()), 3.0);
        }
    }
}

#[test]
fn the_seed_decides_every_parameter() {
    let device = &devices()[0].1;
    let weights = |seed| {
        let module = miniature().init(&SeededStream::new(seed), device).unwrap();
        module.encoder.layer[1].output_query.dense.weight.val().into_data()
    };
    assert_eq!(weights(3), weights(3));
    assert_ne!(weights(3), weights(4));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let device = &devices()[0].1;
    let error = QFormerConfig { encoder_width: 48, ..miniature() }.validate().unwrap_err().to_string();
    assert!(error.contains("48") && error.contains("32"), "{error}");
    let error = QFormerConfig { routing: Routing::Relu { shared: 4, rescale: true }, ..miniature() }.validate();
    assert!(matches!(error, Err(Error::Config { key: "routing.shared", .. })));
    let error = QFormerConfig { cross_attention_every: 0, ..miniature() }.validate();
    assert!(matches!(error, Err(Error::Config { key: "cross_attention_every", .. })));

    let module = miniature().init(&SeededStream::new(1), device).unwrap();
    let zeros = |shape: [usize; 3]| Tensor::<3>::zeros(shape, device);
    assert!(matches!(module.forward(zeros([2, 5, 32]), zeros([2, 9, 31]), None), Err(Error::Shape { what: "memory", .. })));
    assert!(matches!(module.forward(zeros([2, 5, 32]), zeros([1, 9, 32]), None), Err(Error::Shape { what: "memory", .. })));
    assert!(matches!(module.forward(zeros([2, 5, 30]), zeros([2, 9, 32]), None), Err(Error::Shape { what: "queries", .. })));
    let text = |tokens: usize| {
        let ids = Tensor::<2, Int>::zeros([2, tokens], device);
        Some(TextInput { padding: ids.clone().equal_elem(1), ids })
    };
    assert!(matches!(
        module.forward(zeros([2, 5, 32]), zeros([2, 9, 32]), text(3)),
        Err(Error::Config { key: "vocabulary", .. })
    ));
    let reading =
        QFormerConfig { vocabulary: Some(7), max_positions: 4, ..miniature() }.init(&SeededStream::new(1), device).unwrap();
    assert!(reading.forward(zeros([2, 5, 32]), zeros([2, 9, 32]), text(4)).is_ok());
    assert!(matches!(reading.forward(zeros([2, 5, 32]), zeros([2, 9, 32]), text(5)), Err(Error::Shape { .. })));
}
