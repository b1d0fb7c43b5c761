//! The layers of the miniature's vision encoder.

use burn::{
    module::Param,
    nn::{
        Linear, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    prelude::*,
    tensor::activation::relu,
};
use pvchat_data::random::SeededStream;

use super::{MiniatureEncoderConfig, Readout};
use pvchat_nn::{init, operations::softmax};

/// A root-mean-square norm written in few operations, because fused norms are taken apart under
/// autodiff.
#[derive(Module, Debug)]
pub(super) struct Norm {
    weight: Param<Tensor<1>>,
}

impl Norm {
    pub(super) fn init(width: usize, device: &Device) -> Self {
        Self { weight: init::constant_param([width], 1.0, device) }
    }

    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let scale = x.clone().square().mean_dim(2).add_scalar(1e-6).sqrt().recip();
        x * scale * self.weight.val().unsqueeze::<3>()
    }
}

/// Convolutions from stacked frames to a grid of tokens, or one layer per patch.
#[derive(Module, Debug)]
pub(super) struct Stem {
    convolutions: Vec<Conv2d>,
    norms: Vec<ChannelNorm>,
    residual: Vec<Conv2d>,
    residual_norms: Vec<ChannelNorm>,
}

impl Stem {
    pub(super) fn init(config: &MiniatureEncoderConfig, stream: &mut SeededStream, device: &Device) -> Self {
        let channels = [&[3 * config.tubelet][..], &config.stem, &[config.width]].concat();
        let mut convolution = |[inputs, outputs]: [usize; 2], size: usize, stride: usize, gain: f32| {
            let padding = usize::from(size != stride);
            let mut layer = Conv2dConfig::new([inputs, outputs], [size; 2])
                .with_stride([stride; 2])
                .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
                .with_bias(false)
                .init(device);
            let std = gain * (2.0 / (size * size * inputs) as f32).sqrt();
            layer.weight = init::normal_param(stream, [outputs, inputs, size, size], std, device);
            layer
        };
        let (size, stride) = if config.stem.is_empty() { (8, 8) } else { (3, 2) };
        let convolutions = channels.windows(2).map(|pair| convolution([pair[0], pair[1]], size, stride, 1.0)).collect();
        let gains: &[f32] = if config.stem.is_empty() { &[] } else { &[1.0, 0.0] };
        Self {
            convolutions,
            norms: channels[1..].iter().map(|&count| ChannelNorm::init(count, device)).collect(),
            residual: gains.iter().map(|&gain| convolution([config.width; 2], 3, 1, gain)).collect(),
            residual_norms: gains.iter().skip(1).map(|_| ChannelNorm::init(config.width, device)).collect(),
        }
    }

    /// `[batch, channels, height, width]` to `[batch, positions, width]`.
    pub(super) fn forward(&self, mut x: Tensor<4>) -> Tensor<3> {
        let last = self.convolutions.len() - 1;
        for (index, (convolution, norm)) in self.convolutions.iter().zip(&self.norms).enumerate() {
            x = norm.forward(convolution.forward(x));
            if index < last {
                x = relu(x);
            }
        }
        if let ([first, second], [norm]) = (self.residual.as_slice(), self.residual_norms.as_slice()) {
            x = x.clone() + second.forward(relu(norm.forward(first.forward(relu(x)))));
        }
        x.flatten::<3>(2, 3).swap_dims(1, 2)
    }
}

/// Scales each clip's feature map to unit mean square, with a weight and a bias per channel: group
/// norm with one group and without centring.
#[derive(Module, Debug)]
struct ChannelNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl ChannelNorm {
    fn init(channels: usize, device: &Device) -> Self {
        Self { weight: init::constant_param([channels], 1.0, device), bias: init::constant_param([channels], 0.0, device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let flat = x.clone().reshape([batch, channels * height * width]);
        let scale = flat.square().mean_dim(1).add_scalar(1e-6).sqrt().recip().reshape([batch, 1, 1, 1]);
        let weight = self.weight.val().reshape([1, channels, 1, 1]) * scale;
        x * weight + self.bias.val().reshape([1, channels, 1, 1])
    }
}

/// Attention and a hidden layer, each behind a norm and with a residual connection.
#[derive(Module, Debug)]
pub(super) struct Block {
    attention_norm: Norm,
    query_key_value: Linear,
    output: Linear,
    mlp_norm: Norm,
    up: Linear,
    down: Linear,
    #[module(skip)]
    heads: usize,
}

impl Block {
    pub(super) fn init(config: &MiniatureEncoderConfig, stream: &mut SeededStream, device: &Device) -> Self {
        let (width, inner) = (config.width, config.intermediate);
        let std = |inputs: usize| (inputs as f32).powf(-0.5);
        Self {
            attention_norm: Norm::init(width, device),
            query_key_value: init::linear(stream, width, 3 * width, false, std(width), device),
            output: init::linear(stream, width, width, true, 0.5 * std(width), device),
            mlp_norm: Norm::init(width, device),
            up: init::linear(stream, width, inner, true, std(width), device),
            down: init::linear(stream, inner, width, true, 0.5 * std(inner), device),
            heads: config.heads,
        }
    }

    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let head = width / self.heads;
        let projected = self.query_key_value.forward(self.attention_norm.forward(x.clone()));
        let split = projected.reshape([batch, tokens, 3, self.heads, head]).permute([2, 0, 3, 1, 4]);
        let part = |index: usize| split.clone().narrow(0, index, 1).squeeze_dim::<4>(0);
        let scores = (part(0) * (head as f64).powf(-0.5)).matmul(part(1).swap_dims(2, 3));
        let context = softmax(scores).matmul(part(2)).swap_dims(1, 2).reshape([batch, tokens, width]);
        let x = x + self.output.forward(context);
        let inner = relu(self.up.forward(self.mlp_norm.forward(x.clone())));
        x + self.down.forward(inner)
    }
}

/// Learned queries that each collect one aspect of the clip.
#[derive(Module, Debug)]
pub(super) struct ReadoutPool {
    queries: Param<Tensor<2>>,
    key_value: Linear,
    output: Linear,
    mlp_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
    #[module(skip)]
    heads: usize,
}

impl ReadoutPool {
    pub(super) fn init(config: &MiniatureEncoderConfig, stream: &mut SeededStream, device: &Device) -> Self {
        let width = config.width;
        let std = (width as f32).powf(-0.5);
        Self {
            queries: init::normal_param(stream, [Readout::COUNT, width], 1.0, device),
            key_value: init::linear(stream, width, 2 * width, false, std, device),
            output: init::linear(stream, width, width, true, std, device),
            mlp_norm: Norm::init(width, device),
            up: init::linear(stream, width, 2 * width, true, std, device),
            down: init::linear(stream, 2 * width, width, true, 0.7 * std, device),
            norm: Norm::init(width, device),
            heads: config.heads,
        }
    }

    pub(super) fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [batch, count, width] = tokens.dims();
        let head = width / self.heads;
        let projected = self.key_value.forward(tokens).reshape([batch, count, 2, self.heads, head]).permute([2, 0, 3, 1, 4]);
        let part = |index: usize| projected.clone().narrow(0, index, 1).squeeze_dim::<4>(0);
        let queries =
            self.queries.val().reshape([1, Readout::COUNT, self.heads, head]).swap_dims(1, 2) * (head as f64).powf(-0.5);
        let scores = queries.expand([batch, self.heads, Readout::COUNT, head]).matmul(part(0).swap_dims(2, 3));
        let context = softmax(scores).matmul(part(1)).swap_dims(1, 2).reshape([batch, Readout::COUNT, width]);
        let x = self.output.forward(context);
        let inner = relu(self.up.forward(self.mlp_norm.forward(x.clone())));
        self.norm.forward(x + self.down.forward(inner))
    }
}
