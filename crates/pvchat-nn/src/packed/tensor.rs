//! Products of burn's tensors.

use burn::{backend::Flex, prelude::*, tensor::DType};

use super::{Finish, PackedMatrix};
use crate::{Error, Result, graph::flex_tensor};

/// `x [rows, inputs]` times a packed matrix, plus `bias [outputs]`: `[rows, outputs]`, on flex, f32, without gradients. Nothing is
/// copied if the elements of `x` are contiguous.
///
/// # Errors
/// [`Error::NotOnCpu`] on another backend or with gradients, [`Error::FloatType`] where `x` is not f32, [`Error::Shape`] where a
/// size does not fit.
pub fn product(x: Tensor<2>, weight: &PackedMatrix, bias: Option<&[f32]>) -> Result<Tensor<2>> {
    let what = "the rows of a packed product";
    let [count, inputs] = x.dims();
    if inputs != weight.inputs() {
        let expected = format!("[rows, {}]", weight.inputs());
        return Err(Error::Shape { what, found: vec![count, inputs], expected });
    }
    if x.dtype() != DType::F32 {
        return Err(Error::FloatType { what, found: x.dtype(), expected: DType::F32 });
    }
    let x = x.try_into_primitive::<Flex>().map_err(|_| Error::NotOnCpu { what })?.to_contiguous();
    let (layout, storage) = (x.layout(), x.storage::<f32>());
    let rows = &storage[layout.start_offset()..][..layout.num_elements()];
    let out = weight.forward_new(rows, count, bias, Finish::Nothing)?;
    Ok(Tensor::from_primitive::<Flex>(flex_tensor(out, [count, weight.outputs()])))
}
