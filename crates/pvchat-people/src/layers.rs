//! The few kinds of layers that the published face networks are made of, and where their weights come from.
//!
//! On the CPU they are computed by [`plain`](crate::plain), on every other device by tensors.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::{
    prelude::*,
    tensor::{
        activation::{prelu, relu, sigmoid, softmax},
        module::{avg_pool2d, conv2d, max_pool2d},
        ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions},
    },
};
use safetensors::{Dtype, SafeTensors};

use crate::{
    Error, Result,
    plain::{Packed, Plain},
};

/// Named tensors of one network, read from a safetensors file and taken one by one with a check of each shape.
pub(crate) struct Weights {
    file: PathBuf,
    device: Device,
    values: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Weights {
    /// Reads the tensors of a safetensors file whose bytes are in memory; all must be f32 and finite.
    pub(crate) fn from_bytes(file: &Path, bytes: &[u8], device: &Device) -> Result<Self> {
        let broken = |problem: String| Error::weights(file, problem);
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
        let mut values = BTreeMap::new();
        for (name, view) in tensors.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(broken(format!("`{name}` is {:?} and not F32", view.dtype())));
            }
            let numbers: Vec<f32> =
                view.data().chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
            if numbers.iter().any(|number| !number.is_finite()) {
                return Err(broken(format!("`{name}` holds a value that is not finite")));
            }
            values.insert(name, (view.shape().to_vec(), numbers));
        }
        Ok(Self { file: file.to_path_buf(), device: device.clone(), values })
    }

    /// Takes the numbers of a tensor of exactly this shape.
    fn take<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Vec<f32>> {
        let Some((found, values)) = self.values.remove(name) else {
            return Err(Error::weights(&self.file, format!("lacks `{name}`")));
        };
        if found != shape {
            return Err(Error::weights(&self.file, format!("`{name}` has shape {found:?}, expected {shape:?}")));
        }
        Ok(values)
    }

    /// Whether a tensor of this name is left.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// An error when tensors are left over: the file is then one of another network.
    pub(crate) fn finish(self) -> Result<()> {
        match self.values.keys().next() {
            Some(name) => Err(Error::weights(&self.file, format!("holds `{name}`, which this network does not have"))),
            None => Ok(()),
        }
    }
}

/// How a window is moved over the edges of a map.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Padding {
    /// Not at all.
    Valid,
    /// As TensorFlow's `same`: the output has `ceil(input / stride)` points, and the odd one is padded at the end.
    Same,
}

impl Padding {
    /// Points before and after `size` points.
    fn around(self, size: usize, kernel: usize, stride: usize) -> (usize, usize) {
        match self {
            Self::Valid => (0, 0),
            Self::Same => same_padding(size, kernel, stride),
        }
    }
}

/// How TensorFlow pads `size` points so that a window moved by `stride` gives `ceil(size / stride)` points.
fn same_padding(size: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let total = ((size.div_ceil(stride).max(1) - 1) * stride + kernel).saturating_sub(size);
    (total / 2, total - total / 2)
}

/// The values between two layers: maps `[n, channels, height, width]`.
#[derive(Debug)]
pub(crate) enum Maps {
    /// On the processor, channels last.
    Plain(Plain),
    /// On any device, in the order that tensors have them.
    Tensor(Tensor<4>),
}

impl Maps {
    /// Values in the order `[n, height, width, channels]`.
    pub(crate) fn of_points(values: Vec<f32>, shape: [usize; 4], device: &Device) -> Self {
        match is_the_processor(device) {
            true => Self::Plain(Plain::of(&values, shape)),
            false => Self::Tensor(Tensor::<4>::from_data(TensorData::new(values, shape), device).permute([0, 3, 1, 2])),
        }
    }

    /// Values in the order `[n, channels, height, width]`.
    pub(crate) fn of_planes(values: Vec<f32>, shape: [usize; 4], device: &Device) -> Self {
        match is_the_processor(device) {
            true => Self::Plain(Plain::of_planes(&values, shape)),
            false => Self::Tensor(Tensor::from_data(TensorData::new(values, shape), device)),
        }
    }

    /// The values in the order `[n, height, width, channels]`. `what` is for the error when the device cannot compute.
    pub(crate) fn points(self, what: &'static str) -> Result<Vec<f32>> {
        match self {
            Self::Plain(maps) => Ok(maps.values().to_vec()),
            Self::Tensor(maps) => numbers(maps.permute([0, 2, 3, 1]), what),
        }
    }

    /// The values in the order `[n, channels, height, width]`, as [`points`](Self::points).
    pub(crate) fn planes(self, what: &'static str) -> Result<Vec<f32>> {
        match self {
            Self::Plain(maps) => Ok(maps.planes()),
            Self::Tensor(maps) => numbers(maps, what),
        }
    }

    /// `[n, channels, height, width]`.
    pub(crate) fn shape(&self) -> [usize; 4] {
        match self {
            Self::Plain(maps) => {
                let [n, height, width, channels] = maps.shape();
                [n, channels, height, width]
            }
            Self::Tensor(maps) => maps.dims(),
        }
    }

    fn tensor(&self, device: &Device) -> Tensor<4> {
        match self {
            Self::Plain(maps) => Tensor::from_data(TensorData::new(maps.planes(), self.shape()), device),
            Self::Tensor(maps) => maps.clone(),
        }
    }

    /// The greatest value of each window; windows that reach past the end are kept where `padding` is `Same`.
    pub(crate) fn max_pool(&self, kernel: usize, stride: usize, padding: Padding) -> Self {
        let [_, _, height, width] = self.shape();
        let around = [height, width].map(|size| padding.around(size, kernel, stride));
        match self {
            Self::Plain(maps) => Self::Plain(maps.max_pool(kernel, stride, around)),
            Self::Tensor(maps) => {
                let options = MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding_pairs(around);
                Self::Tensor(max_pool2d(maps.clone(), options))
            }
        }
    }

    /// The mean of each window of 2 x 2 points.
    pub(crate) fn halved(&self) -> Self {
        match self {
            Self::Plain(maps) => Self::Plain(maps.average_pool(2, 2)),
            Self::Tensor(maps) => Self::Tensor(avg_pool2d(maps.clone(), AvgPoolOptions::new([2, 2]).with_stride([2, 2]))),
        }
    }

    /// The mean of each channel, `[n, channels, 1, 1]`.
    pub(crate) fn mean(&self) -> Self {
        match self {
            Self::Plain(maps) => Self::Plain(maps.mean()),
            Self::Tensor(maps) => Self::Tensor(maps.clone().mean_dim(3).mean_dim(2)),
        }
    }

    /// `x` times the position of `x + 3` between 0 and 6, as a share.
    pub(crate) fn hard_swish(&self) -> Self {
        match self {
            Self::Plain(maps) => Self::Plain(maps.each(|x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0)),
            Self::Tensor(maps) => Self::Tensor(maps.clone() * (maps.clone() + 3.0).clamp(0.0, 6.0) / 6.0),
        }
    }

    /// Logits to probabilities, each by itself.
    pub(crate) fn sigmoid(&self) -> Self {
        match self {
            Self::Plain(maps) => Self::Plain(maps.each(|x| 1.0 / (1.0 + (-x).exp()))),
            Self::Tensor(maps) => Self::Tensor(sigmoid(maps.clone())),
        }
    }

    /// The sum with maps of the same shape.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Plain(one), Self::Plain(other)) => Self::Plain(one.plus(other)),
            (Self::Tensor(one), other) => Self::Tensor(one.clone() + other.tensor(&one.device())),
            (one, Self::Tensor(other)) => Self::Tensor(one.tensor(&other.device()) + other.clone()),
        }
    }

    /// Every channel times its gate, `[n, channels, 1, 1]`.
    pub(crate) fn gated(&self, gates: &Self) -> Self {
        match (self, gates) {
            (Self::Plain(maps), Self::Plain(gates)) => Self::Plain(maps.gated(gates)),
            (Self::Tensor(maps), gates) => Self::Tensor(maps.clone() * gates.tensor(&maps.device())),
            (maps, Self::Tensor(gates)) => Self::Tensor(maps.tensor(&gates.device()) * gates.clone()),
        }
    }

    /// Twice the height and width, mixed from neighbours: points are in the middle of their squares, and the edge is repeated.
    pub(crate) fn doubled(&self) -> Self {
        match self {
            Self::Plain(maps) => Self::Plain(maps.doubled()),
            Self::Tensor(maps) => Self::Tensor([2, 3].into_iter().fold(maps.clone(), doubled_along)),
        }
    }

    /// The sum with maps of another size, zero where either ends; negative sums become zero.
    pub(crate) fn sum_relu(&self, other: &Self) -> Self {
        let mut parts = match (self, other) {
            (Self::Plain(one), Self::Plain(other)) => return Self::Plain(one.sum_relu(other)),
            (Self::Tensor(one), other) => [one.clone(), other.tensor(&one.device())],
            (one, Self::Tensor(other)) => [one.tensor(&other.device()), other.clone()],
        };
        let device = parts[0].device();
        for axis in 1..4 {
            let most = parts[0].dims()[axis].max(parts[1].dims()[axis]);
            parts = parts.map(|part| {
                let mut missing = part.dims();
                missing[axis] = most - missing[axis];
                match missing[axis] {
                    0 => part,
                    _ => Tensor::cat(vec![part, Tensor::zeros(missing, &device)], axis),
                }
            });
        }
        let [one, other] = parts;
        Self::Tensor(relu(one + other))
    }

    /// As many channels as `channels`, at least as many as there are; the new ones are zero.
    pub(crate) fn widened(&self, channels: usize) -> Self {
        match self {
            Self::Plain(maps) => Self::Plain(maps.widened(channels)),
            Self::Tensor(maps) => {
                let [n, narrow, height, width] = maps.dims();
                match channels.saturating_sub(narrow) {
                    0 => Self::Tensor(maps.clone()),
                    new => {
                        let zeros = Tensor::zeros([n, new, height, width], &maps.device());
                        Self::Tensor(Tensor::cat(vec![maps.clone(), zeros], 1))
                    }
                }
            }
        }
    }

    /// Logits to probabilities over the channels.
    pub(crate) fn softmax(&self) -> Self {
        match self {
            Self::Plain(maps) => Self::Plain(maps.softmax()),
            Self::Tensor(maps) => Self::Tensor(softmax(maps.clone(), 1)),
        }
    }
}

/// Twice as many points along one axis, as [`Maps::doubled`].
fn doubled_along(maps: Tensor<4>, axis: usize) -> Tensor<4> {
    let size = maps.dims()[axis];
    let part = |first: usize, count: usize| maps.clone().narrow(axis, first, count);
    let before = Tensor::cat(vec![part(0, 1), part(0, size - 1)], axis);
    let after = Tensor::cat(vec![part(1, size - 1), part(size - 1, 1)], axis);
    let mixed = [before, after].map(|other| (maps.clone() * 0.75 + other * 0.25).unsqueeze_dim::<5>(axis + 1));
    let mut shape = maps.dims();
    shape[axis] = 2 * size;
    Tensor::cat(mixed.to_vec(), axis + 1).reshape(shape)
}

/// Whether layers are computed on plain numbers.
fn is_the_processor(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex();
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// The numbers of a tensor.
fn numbers(tensor: Tensor<4>, what: &'static str) -> Result<Vec<f32>> {
    tensor.into_data().try_to_vec::<f32>().map_err(|error| Error::Device { what, problem: format!("{error:?}") })
}

/// A convolution with bias and activation; as many groups as input channels where the kernel has one input channel only.
#[derive(Debug)]
pub(crate) struct Conv {
    packed: Packed,
    weight: Tensor<4>,
    bias: Tensor<1>,
    /// What negative values are multiplied by, for each channel.
    slope: Option<Tensor<1>>,
    stride: usize,
    padding: Padding,
}

impl Conv {
    /// Takes `NAME.weight` `[output, input / groups, kernel, kernel]` and `NAME.bias`.
    pub(crate) fn take(
        weights: &mut Weights,
        name: &str,
        [output, input, kernel]: [usize; 3],
        stride: usize,
        padding: Padding,
    ) -> Result<Self> {
        let weight = weights.take(&format!("{name}.weight"), [output, input, kernel, kernel])?;
        let bias = weights.take(&format!("{name}.bias"), [output])?;
        Ok(Self::new(weight, bias, [output, input, kernel], stride, padding, &weights.device))
    }

    /// A full connection of all values of maps of `side` x `side` points: takes `NAME.weight` `[input * side * side, output]`,
    /// and `NAME.bias` if there is one.
    pub(crate) fn take_dense(weights: &mut Weights, name: &str, [output, input, side]: [usize; 3]) -> Result<Self> {
        let count = input * side * side;
        let turned = weights.take(&format!("{name}.weight"), [count, output])?;
        let weight = (0..output * count).map(|place| turned[place % count * output + place / count]).collect();
        let bias = format!("{name}.bias");
        let bias = if weights.has(&bias) { weights.take(&bias, [output])? } else { vec![0.0; output] };
        Ok(Self::new(weight, bias, [output, input, side], 1, Padding::Valid, &weights.device))
    }

    fn new(
        weight: Vec<f32>,
        bias: Vec<f32>,
        [output, input, kernel]: [usize; 3],
        stride: usize,
        padding: Padding,
        device: &Device,
    ) -> Self {
        let packed = Packed::new(&weight, &bias, [output, input, kernel], stride);
        let weight = Tensor::from_data(TensorData::new(weight, [output, input, kernel, kernel]), device);
        let bias = Tensor::from_data(TensorData::new(bias, [output]), device);
        Self { packed, weight, bias, slope: None, stride, padding }
    }

    /// Negative values become zero.
    pub(crate) fn relu(self) -> Self {
        let [output] = self.bias.dims();
        self.sloped(vec![0.0; output])
    }

    /// Negative values are multiplied by a slope for each channel: takes `NAME.weight` `[output]`.
    pub(crate) fn prelu(self, weights: &mut Weights, name: &str) -> Result<Self> {
        let slope = weights.take(&format!("{name}.weight"), self.bias.dims())?;
        Ok(self.sloped(slope))
    }

    fn sloped(mut self, slope: Vec<f32>) -> Self {
        self.packed.set_slope(&slope);
        let shape = [slope.len()];
        self.slope = Some(Tensor::from_data(TensorData::new(slope, shape), &self.bias.device()));
        self
    }

    /// `[n, input, height, width]` to `[n, output, ..]`.
    pub(crate) fn forward(&self, x: &Maps) -> Maps {
        self.forward_onto(x, None)
    }

    /// As [`forward`](Self::forward); maps of the size of the output are added before the activation.
    pub(crate) fn forward_onto(&self, x: &Maps, shortcut: Option<&Maps>) -> Maps {
        let [_, channels, height, width] = x.shape();
        let [_, input, kernel, _] = self.weight.dims();
        let around = [height, width].map(|size| self.padding.around(size, kernel, self.stride));
        match (x, shortcut) {
            (Maps::Plain(x), None) => Maps::Plain(self.packed.forward(x, around, None)),
            (Maps::Plain(x), Some(Maps::Plain(shortcut))) => Maps::Plain(self.packed.forward(x, around, Some(shortcut))),
            _ => {
                let device = self.bias.device();
                let mut options = ConvOptions::new([self.stride; 2], [0, 0], [1, 1], if input == 1 { channels } else { 1 });
                options.padding = around;
                let mut sum = conv2d(x.tensor(&device), self.weight.clone(), Some(self.bias.clone()), options);
                if let Some(shortcut) = shortcut {
                    sum = sum + shortcut.tensor(&device);
                }
                Maps::Tensor(match &self.slope {
                    Some(slope) => prelu(sum, slope.clone()),
                    None => sum,
                })
            }
        }
    }

    /// This depthwise convolution and then a pointwise one, onto `shortcut`.
    pub(crate) fn then(&self, pointwise: &Self, x: &Maps, shortcut: Option<&Maps>) -> Maps {
        let [_, _, height, width] = x.shape();
        let [_, _, kernel, _] = self.weight.dims();
        let around = [height, width].map(|size| self.padding.around(size, kernel, self.stride));
        match (x, shortcut) {
            (Maps::Plain(x), None) => Maps::Plain(self.packed.then(&pointwise.packed, x, around, None)),
            (Maps::Plain(x), Some(Maps::Plain(shortcut))) => {
                Maps::Plain(self.packed.then(&pointwise.packed, x, around, Some(shortcut)))
            }
            _ => pointwise.forward_onto(&self.forward(x), shortcut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odd_point_is_padded_at_the_end() {
        assert_eq!(same_padding(112, 3, 2), (0, 1));
        assert_eq!(same_padding(112, 3, 1), (1, 1));
        assert_eq!(same_padding(256, 5, 2), (1, 2));
        assert_eq!(same_padding(7, 2, 2), (0, 1));
        assert_eq!(same_padding(8, 2, 2), (0, 0));
    }

    /// The same numbers every time, between -1 and 1.
    fn noise(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|place| ((place + seed) as f32 * 12.9898).sin()).collect()
    }

    /// The same maps on plain numbers and in a tensor.
    #[cfg(feature = "flex")]
    fn both(shape: [usize; 4]) -> [Maps; 2] {
        let (values, device) = (noise(shape.iter().product(), 7), Device::flex());
        let tensor = Tensor::<4>::from_data(TensorData::new(values.clone(), shape), &device);
        [Maps::of_planes(values, shape, &device), Maps::Tensor(tensor)]
    }

    #[cfg(feature = "flex")]
    fn assert_same(what: &str, [plain, tensor]: [Maps; 2]) {
        assert!(matches!((&plain, &tensor), (Maps::Plain(_), Maps::Tensor(_))), "{what}");
        assert_eq!(plain.shape(), tensor.shape(), "{what}");
        let [plain, tensor] = [plain.planes("a test").unwrap(), tensor.planes("a test").unwrap()];
        let worst = plain.iter().zip(&tensor).fold(0.0f32, |worst, (one, other)| worst.max((one - other).abs()));
        let largest = tensor.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        assert!(worst <= 1e-5 + 5e-6 * largest, "{what}: {worst}, values up to {largest}");
    }

    #[cfg(feature = "flex")]
    fn conv(output: usize, input: usize, kernel: usize, stride: usize, padding: Padding, slope: bool) -> Conv {
        let (device, seed) = (Device::flex(), output + kernel);
        let weight = noise(output * input * kernel * kernel, seed);
        let conv = Conv::new(weight, noise(output, seed + 1), [output, input, kernel], stride, padding, &device);
        if !slope {
            return conv;
        }
        let values = BTreeMap::from([("slope.weight".to_string(), (vec![output], noise(output, seed + 2)))]);
        conv.prelu(&mut Weights { file: PathBuf::new(), device, values }, "slope").unwrap()
    }

    /// Maps `[n, channels, height, width]`, then a convolution.
    #[cfg(feature = "flex")]
    #[test]
    fn convolutions_on_plain_numbers_are_those_of_tensors() {
        use Padding::{Same, Valid};
        for (shape, conv) in [
            // Fewer channels than a vector has lanes, odd ones, more; rows of windows in one piece and padded ones.
            ([2, 3, 9, 7], conv(10, 3, 3, 1, Valid, true)),
            ([1, 3, 14, 13], conv(24, 3, 5, 2, Same, true)),
            ([2, 32, 9, 8], conv(40, 32, 3, 1, Same, true)),
            ([2, 64, 3, 3], conv(28, 64, 3, 1, Valid, false)),
            // One point, fewer than are computed together, and not a multiple of them.
            ([1, 64, 1, 1], conv(33, 64, 1, 1, Valid, true)),
            ([1, 16, 2, 1], conv(17, 16, 3, 1, Same, false)),
            ([1, 48, 5, 7], conv(96, 48, 1, 1, Valid, true)),
            // Depthwise.
            ([2, 24, 9, 11], conv(24, 1, 3, 1, Same, true)),
            ([2, 24, 9, 12], conv(24, 1, 3, 2, Same, false)),
            ([1, 16, 2, 1], conv(16, 1, 3, 1, Same, true)),
            ([1, 64, 7, 7], conv(64, 1, 7, 1, Valid, true)),
        ] {
            let [plain, tensor] = both(shape);
            let results = [conv.forward(&plain), conv.forward(&tensor)];
            let [_, output, height, width] = results[0].shape();
            let what = format!("{shape:?} {:?}", conv.weight.dims());
            assert_same(&what, results);
            let (input, n) = (conv.weight.dims()[1], shape[0]);
            let [shortcut, tensors] = both([n, output, height, width]);
            if input > 1 {
                let results = [conv.forward_onto(&plain, Some(&shortcut)), conv.forward_onto(&tensor, Some(&tensors))];
                assert_same(&format!("{what} onto a shortcut"), results);
                continue;
            }
            let pointwise = self::conv(40, output, 1, 1, Valid, true);
            let [shortcut, tensors] = both([n, 40, height, width]);
            let results = [conv.then(&pointwise, &plain, Some(&shortcut)), conv.then(&pointwise, &tensor, Some(&tensors))];
            assert_same(&format!("{what} then a pointwise one"), results);
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn other_layers_on_plain_numbers_are_those_of_tensors() {
        let [plain, tensor] = both([2, 10, 7, 6]);
        let [small, small_tensor] = both([2, 16, 6, 5]);
        assert_same("overhanging pool", [&plain, &tensor].map(|maps| maps.max_pool(3, 2, Padding::Same)));
        assert_same("pool inside", [&plain, &tensor].map(|maps| maps.max_pool(2, 2, Padding::Valid)));
        assert_same("halved", [&plain, &tensor].map(Maps::halved));
        assert_same("mean", [&plain, &tensor].map(Maps::mean));
        assert_same("softmax", [&plain, &tensor].map(Maps::softmax));
        assert_same("sum of two sizes", [plain.sum_relu(&small), tensor.sum_relu(&small_tensor)]);
        assert_same("widened", [&plain, &tensor].map(|maps| maps.widened(13)));
        assert_same("not widened", [&plain, &tensor].map(|maps| maps.widened(10)));
        assert_same("hard swish", [&plain, &tensor].map(Maps::hard_swish));
        assert_same("sigmoid", [&plain, &tensor].map(Maps::sigmoid));
        assert_same("doubled", [&plain, &tensor].map(Maps::doubled));
        assert_same("sum", [plain.plus(&plain.sigmoid()), tensor.plus(&tensor.sigmoid())]);
        assert_same("gated", [plain.gated(&plain.mean()), tensor.gated(&tensor.mean())]);
        assert_eq!(plain.points("a test").unwrap(), tensor.points("a test").unwrap());
    }
}
