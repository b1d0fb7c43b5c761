//! What the default objective does to a router under plain gradient descent.

use burn::prelude::*;
use pvchat_train::objective::{Objective, ObjectiveConfig, ObjectiveMode, RoutedHeads, Surrogate};

fn device() -> Device {
    #[cfg(feature = "flex")]
    return Device::flex().autodiff();
    #[cfg(all(feature = "ndarray", not(feature = "flex")))]
    #[allow(deprecated)]
    return Device::ndarray().autodiff();
    #[cfg(not(any(feature = "flex", feature = "ndarray")))]
    panic!("these tests need --features flex or ndarray");
}

/// Logits [1, 8, 4]: the first head at 1, the others at `depth`.
fn sleeping(depth: f32) -> Tensor<3> {
    let values: Vec<f32> = (0..32).map(|i| if i % 4 == 0 { 1.0 } else { depth }).collect();
    Tensor::from_data(TensorData::new(values, [1, 8, 4]), &device())
}

fn routed(logits: &Tensor<3>) -> RoutedHeads {
    RoutedHeads::new(logits.clone(), burn::tensor::activation::relu(logits.clone().clamp(-1.0, 10.0)))
}

/// Gradient descent on the logits; the activation per head before the last step.
fn descend(config: ObjectiveConfig, depth: f32, steps: usize) -> Vec<f64> {
    let mut objective = Objective::new(config, 1).unwrap();
    let mut logits = sleeping(depth);
    let mut activation = Vec::new();
    for _ in 0..steps {
        let leaf = logits.detach().require_grad();
        let result = objective.train(&[routed(&leaf)]).unwrap();
        activation = result.report.modules[0].activation_per_head.clone();
        let gradients = result.loss.unwrap().backward();
        logits = match leaf.grad(&gradients) {
            Some(gradient) => leaf.detach() - Tensor::from_inner(gradient) * 10.0,
            None => leaf,
        };
    }
    activation
}

#[test]
fn heads_that_are_off_everywhere_are_revived() {
    for depth in [-1.2, -3.0] {
        assert_eq!(descend(ObjectiveConfig::default(), depth, 60), vec![1.0; 4], "from {depth}");
    }
}

#[test]
fn neither_the_clamped_slope_nor_the_bare_sigmoid_nor_a_hard_count_revives_from_minus_three() {
    let with = |surrogate| ObjectiveConfig { surrogate, ..Default::default() };
    let standard = Surrogate { steepness: 10.0, tail: 0.25, clamp: false };
    for config in [
        with(Surrogate { clamp: true, ..standard }),
        with(Surrogate { tail: 0.0, ..standard }),
        ObjectiveConfig::released(),
        ObjectiveConfig::paper(),
    ] {
        assert_eq!(descend(config.clone(), -3.0, 60), vec![1.0, 0.0, 0.0, 0.0], "{config:?}");
    }
}

#[test]
fn evaluation_uses_the_weights_and_leaves_them() {
    let mut objective = Objective::new(ObjectiveConfig { initial_lambda: 0.05, ..ObjectiveConfig::released() }, 2).unwrap();
    let modules = [routed(&sleeping(-0.5)), routed(&sleeping(0.5))];
    let before = objective.clone();
    let measured = objective.measure(&modules).unwrap().report;
    assert_eq!(objective, before);
    assert_eq!(measured.modules[0].lambda, 0.05);
    let trained = objective.train(&modules).unwrap();
    assert!((trained.report.modules[0].lambda - 0.05 * (-0.8f64 * 0.25).exp()).abs() < 1e-12);
    assert!((trained.report.modules[1].lambda - 0.05 * (0.8f64 * 0.5).exp()).abs() < 1e-12);
    let value = trained.loss.unwrap().into_scalar::<f64>();
    assert!((value - trained.report.total()).abs() < 1e-6, "{value}");
}

#[test]
fn the_state_survives_a_checkpoint() {
    let mut objective = Objective::new(ObjectiveConfig::released(), 1).unwrap();
    objective.train(&[routed(&sleeping(0.5))]).unwrap();
    let text = serde_json::to_string(&objective).unwrap();
    let mut restored: Objective = serde_json::from_str(&text).unwrap();
    assert_eq!(restored, objective);
    let next = [routed(&sleeping(-0.5))];
    assert_eq!(restored.train(&next).unwrap().report, objective.train(&next).unwrap().report);
    assert_eq!(restored.config().mode, ObjectiveMode::Release);
}

#[test]
fn masked_rows_do_not_count() {
    let objective = Objective::new(ObjectiveConfig::default(), 1).unwrap();
    let mut values = vec![2.0f32; 12]; // the first row of each pair of tokens
    values.extend([-0.5; 12]); // padding
    let logits = Tensor::<3>::from_data(TensorData::new(values, [2, 3, 4]), &device());
    let mask = Tensor::<2>::from_data([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], &device());
    let report = objective.measure(&[routed(&logits).with_mask(mask)]).unwrap().report;
    assert_eq!(report.modules[0].activation, 1.0);
    assert_eq!(report.modules[0].sparsity, 2.0);
    assert_eq!(objective.measure(&[routed(&logits)]).unwrap().report.modules[0].activation, 0.5);
}

#[test]
fn values_that_are_not_finite_and_wrong_shapes_are_refused_and_move_nothing() {
    let mut objective = Objective::new(ObjectiveConfig::default(), 1).unwrap();
    let before = objective.clone();
    let error = objective.train(&[routed(&sleeping(f32::NAN))]).unwrap_err();
    assert!(error.to_string().contains("module 0"), "{error}");
    let wrong = RoutedHeads::new(sleeping(1.0), Tensor::zeros([1, 8, 3], &device()));
    let error = objective.train(&[wrong]).unwrap_err();
    assert!(error.to_string().contains("`gates` of module 0 has shape [1, 8, 3]"), "{error}");
    assert!(objective.train(&[]).unwrap_err().to_string().contains("0 routed modules"));
    assert_eq!(objective, before);
}
