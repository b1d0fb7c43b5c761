//! Parameter initialisation from a seeded stream, so that a model is a function of its seed.

use burn::{
    module::Param,
    nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig, RmsNorm, RmsNormConfig},
    prelude::*,
};
use pvchat_data::random::SeededStream;

/// A tensor of normal draws with the given standard deviation.
pub fn normal<const D: usize>(stream: &mut SeededStream, shape: [usize; D], std: f32, device: &Device) -> Tensor<D> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| stream.normal() * std).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A trainable tensor of normal draws.
pub fn normal_param<const D: usize>(stream: &mut SeededStream, shape: [usize; D], std: f32, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(normal(stream, shape, std, device))
}

/// A trainable tensor with one value everywhere.
pub fn constant_param<const D: usize>(shape: [usize; D], value: f32, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::full(shape, value, device))
}

/// A linear layer with N(0, std) weights `[inputs, outputs]` and, if asked for, a zero bias.
pub fn linear(stream: &mut SeededStream, inputs: usize, outputs: usize, bias: bool, std: f32, device: &Device) -> Linear {
    let mut layer = LinearConfig::new(inputs, outputs).with_bias(bias).init(device);
    layer.weight = normal_param(stream, [inputs, outputs], std, device);
    layer.bias = bias.then(|| constant_param([outputs], 0.0, device));
    layer
}

/// A layer norm over the last axis (weight 1, bias 0).
pub fn layer_norm(width: usize, epsilon: f64, device: &Device) -> LayerNorm {
    LayerNormConfig::new(width).with_epsilon(epsilon).init(device)
}

/// A root-mean-square norm over the last axis (weight 1).
pub fn rms_norm(width: usize, epsilon: f64, device: &Device) -> RmsNorm {
    RmsNormConfig::new(width).with_epsilon(epsilon).init(device)
}
