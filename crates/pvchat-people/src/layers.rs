//! The few kinds of layers that the published face networks are made of, and where their weights come from.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::{
    prelude::*,
    tensor::{
        activation::prelu,
        module::{conv2d, max_pool2d},
        ops::{ConvOptions, MaxPoolOptions},
    },
};
use safetensors::{Dtype, SafeTensors};

use crate::{Error, Result};

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

    /// Takes a tensor of exactly this shape.
    pub(crate) fn take<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>> {
        let Some((found, values)) = self.values.remove(name) else {
            return Err(Error::weights(&self.file, format!("lacks `{name}`")));
        };
        if found != shape {
            return Err(Error::weights(&self.file, format!("`{name}` has shape {found:?}, expected {shape:?}")));
        }
        Ok(Tensor::from_data(TensorData::new(values, shape), &self.device))
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

/// How a convolution is padded with zeros.
#[derive(Clone, Copy)]
pub(crate) enum Padding {
    /// Not at all.
    Valid,
    /// As TensorFlow's `same`: the output has `ceil(input / stride)` points, and the odd one is padded at the end.
    Same,
}

/// A convolution with bias; as many groups as input channels where the kernel has one input channel only.
#[derive(Debug)]
pub(crate) struct Conv {
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    same: bool,
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
        Ok(Self { weight, bias, stride, same: matches!(padding, Padding::Same) })
    }

    /// `[n, input, height, width]` to `[n, output, ..]`.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, channels, height, width] = x.dims();
        let [_, input, kernel, _] = self.weight.dims();
        let pad = |size: usize| if self.same { same_padding(size, kernel, self.stride) } else { (0, 0) };
        let mut options = ConvOptions::new([self.stride; 2], [0, 0], [1, 1], if input == 1 { channels } else { 1 });
        options.padding = [pad(height), pad(width)];
        conv2d(x, self.weight.clone(), Some(self.bias.clone()), options)
    }
}

/// How TensorFlow pads `size` points so that a window moved by `stride` gives `ceil(size / stride)` points.
fn same_padding(size: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let total = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
    (total / 2, total - total / 2)
}

/// The greatest value of each window; windows that reach past the end are kept where `padding` is `Same`.
pub(crate) fn max_pool(x: Tensor<4>, kernel: usize, stride: usize, padding: Padding) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let pad = |size: usize| match padding {
        Padding::Same => same_padding(size, kernel, stride),
        Padding::Valid => (0, 0),
    };
    max_pool2d(x, MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding_pairs([pad(height), pad(width)]))
}

/// A slope for each channel where the value is negative.
#[derive(Debug)]
pub(crate) struct PRelu(Tensor<1>);

impl PRelu {
    /// Takes `NAME.weight` `[channels]`.
    pub(crate) fn take(weights: &mut Weights, name: &str, channels: usize) -> Result<Self> {
        Ok(Self(weights.take(&format!("{name}.weight"), [channels])?))
    }

    /// The channels are the second axis.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        prelu(x, self.0.clone())
    }
}

/// A matrix `[input, output]` and a bias.
#[derive(Debug)]
pub(crate) struct Dense {
    weight: Tensor<2>,
    bias: Tensor<1>,
}

impl Dense {
    /// Takes `NAME.weight` `[input, output]` and `NAME.bias`.
    pub(crate) fn take(weights: &mut Weights, name: &str, input: usize, output: usize) -> Result<Self> {
        let weight = weights.take(&format!("{name}.weight"), [input, output])?;
        let bias = weights.take(&format!("{name}.bias"), [output])?;
        Ok(Self { weight, bias })
    }

    /// `[n, input]` to `[n, output]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.clone()) + self.bias.clone().unsqueeze()
    }
}

#[cfg(test)]
mod tests {
    use super::same_padding;

    #[test]
    fn the_odd_point_is_padded_at_the_end() {
        assert_eq!(same_padding(112, 3, 2), (0, 1));
        assert_eq!(same_padding(112, 3, 1), (1, 1));
        assert_eq!(same_padding(256, 5, 2), (1, 2));
        assert_eq!(same_padding(7, 2, 2), (0, 1));
        assert_eq!(same_padding(8, 2, 2), (0, 0));
    }
}
