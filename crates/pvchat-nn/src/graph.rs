//! What operations with their own kernels share: how their tensors leave and join burn's.

#[cfg(feature = "flex")]
use burn::{
    backend::{Flex, ops::FloatTensorOps},
    tensor::{Shape, TensorData},
};
use burn::{prelude::*, tensor::GradientCheckpointingStrategy};

/// A tensor in the memory of the CPU.
#[cfg(feature = "flex")]
pub(crate) type FlexTensor = burn::backend::tensor::FloatTensor<Flex>;

/// A tensor of these values, in order.
#[cfg(feature = "flex")]
pub(crate) fn flex_tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    Flex::float_from_data(TensorData::new(values, shape.into()), &Default::default())
}

/// The tensor in a graph of this strategy: as it is, or as a constant.
pub(crate) fn lift<const D: usize>(tensor: Tensor<D>, strategy: GradientCheckpointingStrategy) -> Tensor<D> {
    if tensor.device().is_autodiff() { tensor } else { tensor.autodiff().with_gradient_checkpointing_strategy(strategy) }
}
