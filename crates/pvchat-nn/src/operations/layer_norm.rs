//! The layer norm, as a module: burn's own keeps its epsilon private, but a kernel needs it.

use burn::{
    module::Param,
    prelude::*,
    tensor::{DType, module::layer_norm},
};

use crate::init;

/// Rows of the last axis, less their mean and over the root of their variance plus `epsilon`, times `gamma`, plus `beta`
/// (arXiv 1607.06450).
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Factors `[width]`; one at first.
    pub gamma: Param<Tensor<1>>,
    /// Summands `[width]`; zero at first.
    pub beta: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// A norm of rows of `width`.
    pub fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        let [gamma, beta] = [1.0, 0.0].map(|value| init::constant_param([width], value, device));
        Self { gamma, beta, epsilon }
    }

    /// What is added to the variance.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// The norm of each row of `x` `[.., width]`; same shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        #[cfg(feature = "flex")]
        if let Some(found) = super::flex::norm(&x, &gamma, Some(&beta), self.epsilon) {
            return found;
        }
        // Sums of squares leave the range of f16.
        if x.dtype() == DType::F16 {
            let [gamma, beta] = [gamma, beta].map(|parameter| parameter.cast(DType::F32));
            return layer_norm(x.cast(DType::F32), gamma, Some(beta), self.epsilon).cast(DType::F16);
        }
        layer_norm(x, gamma, Some(beta), self.epsilon)
    }
}
