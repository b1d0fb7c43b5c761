//! Named f32 tensors between a published format and safetensors.

use super::malformed::Malformed;
use safetensors::{Dtype, tensor::TensorView};
use std::collections::BTreeMap;

/// The weights of a model by name.
pub(super) type Tensors = BTreeMap<String, Tensor>;

/// No layout here has more axes.
const MOST_AXES: usize = 8;

/// Values in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensor {
    pub(super) fn new(shape: Vec<usize>, values: Vec<f32>) -> Result<Self, Malformed> {
        if elements(&shape)? != values.len() {
            return Err(Malformed::unexpected("a shape", (&shape, values.len())));
        }
        Ok(Self { shape, values })
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(super) fn reshaped(self, shape: &[usize]) -> Result<Self, Malformed> {
        Self::new(shape.to_vec(), self.values)
    }

    /// One axis.
    pub(super) fn flat(self) -> Self {
        Self { shape: vec![self.values.len()], values: self.values }
    }

    pub(super) fn map(mut self, change: impl Fn(f32) -> f32) -> Self {
        self.values.iter_mut().for_each(|value| *value = change(*value));
        self
    }

    /// Axis `i` of the result is axis `axes[i]` of this tensor. `axes` is a permutation.
    pub(super) fn permuted<const N: usize>(&self, axes: [usize; N]) -> Result<Self, Malformed> {
        let shape: [usize; N] = self.shape.as_slice().try_into().map_err(|_| Malformed::unexpected("a shape", &self.shape))?;
        if self.values.is_empty() {
            return Err(Malformed::unexpected("a shape", &self.shape));
        }
        let mut strides = [1; N];
        for axis in (1..N).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        let result = axes.map(|axis| shape[axis]);
        let mut position = [0; N];
        let mut values = Vec::with_capacity(self.values.len());
        while values.len() < self.values.len() {
            let from: usize = axes.iter().zip(position).map(|(&axis, at)| at * strides[axis]).sum();
            values.push(self.values[from]);
            for axis in (0..N).rev() {
                position[axis] += 1;
                if position[axis] < result[axis] {
                    break;
                }
                position[axis] = 0;
            }
        }
        Self::new(result.to_vec(), values)
    }
}

/// How many elements a shape has.
pub(super) fn elements(shape: &[usize]) -> Result<usize, Malformed> {
    let product = shape.iter().try_fold(1_usize, |product, &axis| product.checked_mul(axis));
    product.filter(|_| shape.len() <= MOST_AXES).ok_or_else(|| Malformed::unexpected("a shape", shape))
}

/// Little-endian f32.
pub(super) fn floats(bytes: &[u8]) -> Result<Vec<f32>, Malformed> {
    let (chunks, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(Malformed::unexpected("the size of f32 values in bytes", bytes.len()));
    }
    Ok(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
}

/// The bytes of a safetensors file without metadata, which alone would make them differ from run to run.
pub(super) fn safetensors(tensors: &Tensors) -> Result<Vec<u8>, Malformed> {
    let failure = |error: safetensors::SafeTensorError| Malformed::unexpected("a tensor", error);
    let bytes: Vec<Vec<u8>> = tensors.values().map(|t| t.values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
        TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map(|view| (name.as_str(), view)).map_err(failure)
    });
    safetensors::serialize(views.collect::<Result<Vec<_>, _>>()?, None).map_err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_moves_the_values_with_their_axes() {
        let tensor = Tensor::new(vec![2, 3, 1, 2], (0..12).map(|value| value as f32).collect()).unwrap();
        let moved = tensor.permuted([1, 3, 0, 2]).unwrap();
        assert_eq!(moved.shape(), [3, 2, 2, 1]);
        // The value of (a, b, 0, d) is 6a + 2b + d, and comes to (b, d, a, 0).
        let expected = (0..3).flat_map(|b| (0..2).flat_map(move |d| (0..2).map(move |a| (6 * a + 2 * b + d) as f32)));
        assert_eq!(moved.values(), expected.collect::<Vec<_>>());
        assert!(tensor.permuted([1, 0]).is_err());
    }

    #[test]
    fn shapes_are_checked() {
        assert!(Tensor::new(vec![2, 2], vec![0.0; 3]).is_err());
        assert!(elements(&[usize::MAX, 2]).is_err());
        assert!(elements(&[1; MOST_AXES + 1]).is_err());
        assert!(floats(&[0; 7]).is_err());
    }

    #[test]
    fn the_file_is_the_same_every_time() {
        let tensors = Tensors::from([
            ("b.weight".to_string(), Tensor::new(vec![2, 1], vec![1.0, -2.5]).unwrap()),
            ("a".to_string(), Tensor::new(vec![1], vec![3.0]).unwrap()),
        ]);
        let bytes = safetensors(&tensors).unwrap();
        assert_eq!(bytes, safetensors(&tensors).unwrap());
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let weight = read.tensor("b.weight").unwrap();
        assert_eq!((weight.shape(), floats(weight.data()).unwrap()), (&[2, 1][..], vec![1.0, -2.5]));
    }
}
