//! Operations on rows that burn computes slowly on the CPU, forward or backward.
//!
//! On flex, f32, they run in kernels of their own (`flex/`); everywhere else they are burn's.

#[cfg(feature = "flex")]
mod flex;
mod layer_norm;

pub use layer_norm::LayerNorm;

use burn::{nn::RmsNorm, prelude::*, tensor::activation};

/// `x` times the share of a standard normal below `x` (Gaussian error linear unit, arXiv 1606.08415), exact form with the
/// error function.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(found) = flex::apply(&x, flex::Gelu) {
        return found;
    }
    activation::gelu(x)
}

/// [`gelu`] with the hyperbolic tangent in place of the error function: `x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2`, at
/// most 5e-4 away from it.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(found) = flex::apply(&x, flex::GeluTanh) {
        return found;
    }
    activation::gelu_approximate(x)
}

/// `x` times its logistic function (sigmoid-weighted linear unit).
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(found) = flex::apply(&x, flex::Silu) {
        return found;
    }
    activation::silu(x)
}

/// `x` over the root of its mean square along the last axis, times `gamma` (arXiv 1910.07467): what burn's module computes.
pub fn rms_norm<const D: usize>(norm: &RmsNorm, x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(found) = flex::norm(&x, &norm.gamma.val(), None, norm.epsilon) {
        return found;
    }
    norm.forward(x)
}

/// Exponentials of the last axis, divided by their sum.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(found) = flex::apply(&x, flex::Softmax) {
        return found;
    }
    activation::softmax(x, D - 1)
}
