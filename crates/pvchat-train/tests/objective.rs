//! The three modes by their gradients: what moves the routers and what only looks as if it did.
#![cfg(feature = "flex")]

use burn::{module::Param, prelude::*, tensor::activation};
use pvchat_data::random::SeededStream;
use pvchat_nn::{
    init,
    moh::{Gates, MohAttention, MohAttentionConfig, Routing},
};
use pvchat_train::objective::{ModuleReport, Objective, ObjectiveConfig, ObjectiveReport, RoutedHeads, top_k_balance};

const SHAPE: [usize; 3] = [2, 4, 4];

fn values(seed: u64, shift: f32) -> Vec<f32> {
    let mut stream = SeededStream::new(seed);
    (0..SHAPE.iter().product()).map(|_| stream.normal() + shift).collect()
}

/// Report and gradient of one training pass over raw logits.
fn pass(config: &ObjectiveConfig, logits: &[f32]) -> (ModuleReport, Vec<f32>) {
    let device = Device::flex().autodiff();
    let leaf = Tensor::<3>::from_data(TensorData::new(logits.to_vec(), SHAPE), &device).require_grad();
    let gates = activation::relu(leaf.clone().clamp(-1.0, 10.0));
    let result = Objective::new(config.clone(), 1).unwrap().train(&[RoutedHeads::new(leaf.clone(), gates)]).unwrap();
    let gradients = result.loss.unwrap().backward();
    let gradient = leaf.grad(&gradients).map_or(vec![0.0; logits.len()], |gradient| gradient.into_data().iter::<f32>().collect());
    (result.report.modules[0].clone(), gradient)
}

/// Central differences of a value of the report.
fn differences(config: &ObjectiveConfig, logits: &[f32], of: impl Fn(&ModuleReport) -> f64) -> Vec<f32> {
    let step = 1e-2;
    let at = |place: usize, by: f32| {
        let mut moved = logits.to_vec();
        moved[place] += by;
        of(&pass(config, &moved).0)
    };
    (0..logits.len()).map(|place| ((at(place, step) - at(place, -step)) / f64::from(2.0 * step)) as f32).collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.0, "{what}: there is a gradient");
    for (place, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * largest, "{what} at {place}: {a}, expected {b}");
    }
}

/// Logits of which few are above zero, so that HAE is on, and none is so near to zero that a step switches its head.
fn mostly_off() -> Vec<f32> {
    values(3, -0.8).into_iter().map(|x| if x.abs() < 0.05 { x.signum() * 0.05 } else { x }).collect()
}

#[test]
fn the_papers_spr_has_the_gradient_of_its_value_and_its_hae_has_none() {
    // The sparsity weight is used before it is updated, so every pass below uses 1.
    let config = ObjectiveConfig { initial_lambda: 1.0, ..ObjectiveConfig::paper() };
    let logits = mostly_off();
    let (report, gradient) = pass(&config, &logits);
    assert!(report.hae > 0.1, "HAE is on: {report:?}");
    assert_close("SPR", &gradient, &differences(&config, &logits, |report| report.spr), 1e-3);
    // With HAE a thousand times heavier the loss is another and the gradient is the same.
    let heavy = ObjectiveConfig { hae_weight: 1000.0, ..config.clone() };
    let (heavier, same) = pass(&heavy, &logits);
    assert!((heavier.hae / report.hae - 1000.0).abs() < 1e-6);
    assert_eq!(same, gradient);
    // Its value is constant wherever no head switches: the differences are zero too.
    assert!(differences(&config, &logits, |report| report.hae).iter().all(|slope| *slope == 0.0));
}

#[test]
fn the_released_hae_raises_the_loss_and_moves_nothing() {
    let config = ObjectiveConfig { initial_lambda: 1.0, adaptation_rate: 0.0, ..ObjectiveConfig::released() };
    let logits = mostly_off();
    let (report, gradient) = pass(&config, &logits);
    assert!(report.hae > 0.1, "HAE is on: {report:?}");
    assert_close("SPR", &gradient, &differences(&config, &logits, |report| report.spr), 1e-3);
    let (without, same) = pass(&ObjectiveConfig { hae_weight: 0.0, ..config }, &logits);
    assert_eq!((without.hae, same), (0.0, gradient));
}

#[test]
fn straight_through_lifts_a_head_from_any_depth() {
    // SPR out of the way; what is left is HAE.
    let config = ObjectiveConfig { initial_lambda: 1e-15, ..ObjectiveConfig::straight_through() };
    let slope = |depth: f32| {
        let mut logits = vec![depth; 32];
        logits.iter_mut().step_by(4).for_each(|logit| *logit = 1.0);
        let (report, gradient) = pass(&config, &logits);
        assert_eq!(report.activation_per_head, [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(report.hae_unweighted, 0.5_f64.exp_m1(), "the value is that of the hard count");
        gradient[1]
    };
    let deep = slope(-3.0);
    assert!(deep < 0.0, "downhill is up");
    assert!(slope(-1.2) < 0.0);
    // The linear tail: the pull does not end. Three thousand is far beyond what a router says.
    for depth in [-10.0, -100.0, -3000.0] {
        assert!((slope(depth) / deep - 1.0).abs() < 1e-4, "at {depth}: {} against {deep}", slope(depth));
    }
    // Nearer to zero the sigmoid adds to it.
    assert!(slope(-0.3) < 1.5 * deep);
}

#[test]
fn numbers_of_the_state_come_back_from_json_bit_for_bit() {
    let mut stream = SeededStream::new(8);
    for _ in 0..2000 {
        // Numbers of 53 significant bits, as adaptation makes them.
        let lambda = (f64::from(stream.unit()) * 30.0 - 20.0).exp() * (1.0 + f64::from(stream.unit()) * 1e-7);
        let config = ObjectiveConfig { lambda_range: [1e-15, 1e9], initial_lambda: 1e-4, ..ObjectiveConfig::default() };
        let objective = Objective::new(config, 1).unwrap();
        let mut value = serde_json::to_value(&objective).unwrap();
        value["states"][0]["lambda"] = lambda.to_string().into();
        let moved: Objective = serde_json::from_value(value).unwrap();
        assert_eq!(moved.states()[0].lambda.to_bits(), lambda.to_bits());
        let text = serde_json::to_string_pretty(&moved).unwrap();
        let back: Objective = serde_json::from_str(&text).unwrap();
        assert_eq!(back.states()[0].lambda.to_bits(), lambda.to_bits());
    }
    // Checkpoints of before hold numbers.
    let objective = Objective::new(ObjectiveConfig::default(), 1).unwrap();
    let mut value = serde_json::to_value(&objective).unwrap();
    value["states"][0]["weight"] = 0.5.into();
    assert_eq!(serde_json::from_value::<Objective>(value).unwrap(), objective);
}

/// Top-k attention whose router prefers its first heads by `bias`, and its gates for random tokens.
fn top_k(bias: f32, device: &Device) -> (MohAttention, Gates) {
    let stream = SeededStream::new(5);
    let routing = Routing::TopK { shared: 2, active: 2 };
    let mut attention = MohAttentionConfig::new(18, 6, routing).init(&stream, device).unwrap();
    let router = attention.router_alpha.as_mut().unwrap();
    router.router.bias = Some(Param::from_tensor(Tensor::from_data([bias, bias, 0.0, 0.0], device)));
    let tokens = init::normal(&mut stream.derive("tokens"), [4, 32, 18], 30.0, device);
    let gates = attention.gates(tokens).unwrap();
    (attention, gates)
}

#[test]
fn the_load_balance_of_top_k_is_least_when_all_heads_are_kept_equally_often_and_leads_there() {
    let device = Device::flex();
    let balance = |bias: f32| {
        let (_, gates) = top_k(bias, &device);
        let kept = gates.gates.clone().greater_elem(0.0).float().mean().into_scalar::<f32>();
        assert!((kept - 0.5).abs() < 1e-6, "two of four heads are kept for every token");
        top_k_balance(&[RoutedHeads::from(&gates)]).unwrap().into_scalar::<f32>()
    };
    let (even, uneven, collapsed) = (balance(0.0), balance(1.0), balance(50.0));
    // sum_h f_h P_h with f = P * 2 = 1/2: one half. All on two heads with equal scores: one.
    assert!(
        (even - 0.5).abs() < 0.03 && (collapsed - 1.0).abs() < 1e-3 && even < uneven && uneven < collapsed,
        "{even} {uneven} {collapsed}"
    );
    assert!(top_k_balance(&[]).is_none());

    // Descent on the router's bias alone undoes the preference.
    let device = Device::flex().autodiff();
    let mut bias = 1.5_f32;
    for _ in 0..200 {
        let (attention, gates) = top_k(bias, &device);
        let gradients = top_k_balance(&[RoutedHeads::from(&gates)]).unwrap().backward();
        let router = attention.router_alpha.unwrap().router.bias.unwrap();
        let gradient: Vec<f32> = router.val().grad(&gradients).unwrap().into_data().iter::<f32>().collect();
        bias -= gradient[0] - gradient[2];
    }
    assert!(bias.abs() < 0.5, "{bias}");
}

#[test]
fn masked_rows_do_not_count_in_the_load_balance() {
    let device = Device::flex();
    let (_, gates) = top_k(0.5, &device);
    let rows = |gates: &Gates, from: usize| {
        RoutedHeads::new(gates.logits.clone().narrow(0, from, 2), gates.gates.clone().narrow(0, from, 2))
    };
    let mask = Tensor::cat(vec![Tensor::<2>::ones([2, 32], &device), Tensor::zeros([2, 32], &device)], 0);
    let masked = top_k_balance(&[RoutedHeads::from(&gates).with_mask(mask)]).unwrap().into_scalar::<f32>();
    let alone = top_k_balance(&[rows(&gates, 0)]).unwrap().into_scalar::<f32>();
    assert!((masked - alone).abs() < 1e-6, "{masked} {alone}");
}

#[test]
fn the_parts_of_a_batch_report_the_mean_of_every_head() {
    let config = ObjectiveConfig::default();
    let objective = Objective::new(config, 1).unwrap();
    let report = |on: [f32; 4]| {
        let logits: Vec<f32> = (0..32).map(|place| on[place % 4]).collect();
        let logits = Tensor::<3>::from_data(TensorData::new(logits, SHAPE), &Device::flex());
        objective.measure(&[RoutedHeads::new(logits.clone(), activation::relu(logits))]).unwrap().report
    };
    let parts = [report([2.0, 2.0, -1.0, -1.0]), report([4.0, -1.0, -1.0, 1.0])];
    let mean = ObjectiveReport::mean(&[&parts[0], &parts[1]]).unwrap();
    assert_eq!(mean.modules[0].activation_per_head, [1.0, 0.5, 0.0, 0.5]);
    assert_eq!(mean.modules[0].gate_mean_per_head, [3.0, 1.0, 0.0, 0.5]);
    assert_eq!(mean.activation(), 0.5);
    assert!((mean.total() - (parts[0].total() + parts[1].total()) / 2.0).abs() < 1e-12);
    assert_eq!(ObjectiveReport::mean(&[&parts[0]]), Some(parts[0].clone()));
    assert_eq!(ObjectiveReport::mean(&[]), None);
}
