//! Parameter initialisation from a seeded stream, so that a model is a function of its seed.
//!
//! Parameters are lazy: until one is first used it takes no memory, and one that a weights file
//! fills is never drawn at all.

use burn::{
    module::{Param, ParamId},
    nn::{Linear, LinearConfig, RmsNorm, RmsNormConfig},
    prelude::*,
};
use pvchat_data::random::SeededStream;

/// 32-bit words of the stream that [`SeededStream::normal`] takes: two 64-bit numbers.
const WORDS_PER_NORMAL: u128 = 4;

/// A tensor of normal draws with the given standard deviation.
pub fn normal<const D: usize>(stream: &mut SeededStream, shape: [usize; D], std: f32, device: &Device) -> Tensor<D> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| stream.normal() * std).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A trainable tensor that `make` makes when it is first used.
pub fn lazy_param<const D: usize>(
    shape: [usize; D],
    device: &Device,
    make: impl FnOnce(&Device) -> Tensor<D> + Send + Sync + 'static,
) -> Param<Tensor<D>> {
    let initialise = move |device: &Device, require_grad: bool| make(device).set_require_grad(require_grad);
    Param::uninitialized(ParamId::new(), initialise, device.clone(), true, shape.into())
}

/// A trainable tensor of normal draws. The stream moves on at once by as much as they take.
pub fn normal_param<const D: usize>(stream: &mut SeededStream, shape: [usize; D], std: f32, device: &Device) -> Param<Tensor<D>> {
    let mut own = stream.clone();
    let count: usize = shape.iter().product();
    stream.seek(stream.position() + WORDS_PER_NORMAL * count as u128);
    lazy_param(shape, device, move |device| normal(&mut own, shape, std, device))
}

/// A trainable tensor with one value everywhere.
pub fn constant_param<const D: usize>(shape: [usize; D], value: f32, device: &Device) -> Param<Tensor<D>> {
    lazy_param(shape, device, move |device| Tensor::full(shape, value, device))
}

/// A linear layer with N(0, std) weights `[inputs, outputs]` and, if asked for, a zero bias.
pub fn linear(stream: &mut SeededStream, inputs: usize, outputs: usize, bias: bool, std: f32, device: &Device) -> Linear {
    let mut layer = LinearConfig::new(inputs, outputs).with_bias(bias).init(device);
    layer.weight = normal_param(stream, [inputs, outputs], std, device);
    layer.bias = bias.then(|| constant_param([outputs], 0.0, device));
    layer
}

/// A root-mean-square norm over the last axis (weight 1).
pub fn rms_norm(width: usize, epsilon: f64, device: &Device) -> RmsNorm {
    RmsNormConfig::new(width).with_epsilon(epsilon).init(device)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    /// Lazy draws equal eager ones, no matter which parameter is used first.
    #[test]
    fn lazy_parameters_draw_what_their_place_in_the_stream_says() {
        let device = Device::flex();
        let values = |tensor: Tensor<2>| tensor.into_data().iter::<f32>().collect::<Vec<f32>>();
        let mut stream = SeededStream::new(3);
        let eager = [[3, 5], [2, 7], [1, 1]].map(|shape| values(normal(&mut stream, shape, 0.5, &device)));
        let next = stream.next_seed();
        let mut stream = SeededStream::new(3);
        let lazy = [[3, 5], [2, 7], [1, 1]].map(|shape| normal_param(&mut stream, shape, 0.5, &device));
        assert_eq!(stream.next_seed(), next, "the stream stands where eager draws leave it");
        assert!(lazy.iter().all(|param| !param.is_initialized()));
        for index in [2, 0, 1] {
            assert_eq!(values(lazy[index].val()), eager[index]);
        }
    }
}
