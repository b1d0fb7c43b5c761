//! Gradients of a batch with activations kept and with activations computed again.

use burn::{
    module::{Module, Param},
    nn::{Linear, LinearConfig},
    optim::{AdamWConfig, GradientsParams},
    prelude::*,
    tensor::{GradientCheckpointingStrategy, activation::gelu},
};
use pvchat_data::random::SeededStream;
use pvchat_train::gradients::batch_gradients;

/// Layers with activations between them; the first is frozen, as parts of the base are.
#[derive(Module, Debug)]
struct Deep {
    frozen: Linear,
    layers: Vec<Linear>,
    scale: Param<Tensor<1>>,
}

fn deep(device: &Device) -> Deep {
    let mut stream = SeededStream::new(3);
    let mut linear = || {
        let values: Vec<f32> = (0..64).map(|_| stream.normal() * 0.4).collect();
        let mut layer = LinearConfig::new(8, 8).with_bias(false).init(device);
        layer.weight = Param::from_tensor(Tensor::from_data(TensorData::new(values, [8, 8]), device));
        layer
    };
    let frozen = linear().no_grad();
    Deep { frozen, layers: (0..6).map(|_| linear()).collect(), scale: Param::from_tensor(Tensor::from_data([1.5], device)) }
}

/// Every gradient, one after another.
fn values(model: &Deep, gradients: &GradientsParams) -> Vec<f32> {
    let mut all: Vec<f32> = gradients.get::<1>(model.scale.id).expect("a gradient").into_data().iter::<f32>().collect();
    assert!(gradients.get::<2>(model.frozen.weight.id).is_none());
    for layer in &model.layers {
        all.extend(gradients.get::<2>(layer.weight.id).expect("a gradient").into_data().iter::<f32>());
    }
    all
}

fn shards(count: usize) -> Vec<Vec<f32>> {
    let mut stream = SeededStream::new(4);
    (0..count).map(|_| (0..40).map(|_| stream.normal()).collect()).collect()
}

/// Three steps of training; returns the gradients of the last.
fn train(device: &Device, shard_count: usize, expected: GradientCheckpointingStrategy) -> Vec<f32> {
    let plain = device.clone().inner();
    let mut model = deep(device);
    let mut optimizer = AdamWConfig::new().init();
    let mut last = Vec::new();
    for _ in 0..3 {
        let batch = batch_gradients(&model, shards(shard_count), device, |model: &Deep, points| {
            assert_eq!(model.scale.val().gradient_checkpointing_strategy(), Some(expected), "what the device says");
            let points = Tensor::<2>::from_data(TensorData::new(points, [5, 8]), &plain);
            let first = gelu(model.frozen.forward(points));
            let state = model.layers.iter().fold(first, |state, layer| gelu(layer.forward(state.clone()) + state).tanh());
            ((state * model.scale.val().unsqueeze::<2>()).square().mean(), ())
        });
        last = values(&model, &batch.gradients);
        model = optimizer.step(1e-2, model, batch.gradients);
    }
    last
}

#[test]
fn activations_that_are_computed_again_give_the_same_gradients() {
    let device = Device::default().autodiff();
    for shard_count in [1, 2] {
        let kept = train(&device, shard_count, GradientCheckpointingStrategy::Disabled);
        let again = train(&device.clone().gradient_checkpointing(), shard_count, GradientCheckpointingStrategy::Balanced);
        assert!(kept.iter().any(|value| value.abs() > 1e-4), "the gradients say something");
        assert_eq!(kept, again, "{shard_count} shards");
    }
}
