//! Norms of rows, with their parameters in plain memory.

use burn::{module::Param, nn::RmsNorm, prelude::*};

use super::share_rows;
use crate::{
    operations::LayerNorm,
    rows::{Settings, forward_row},
};

/// A layer norm or a root-mean-square norm of rows.
#[derive(Clone, Debug)]
pub struct Norm {
    gamma: Vec<f32>,
    /// Zeros where the norm adds nothing.
    beta: Vec<f32>,
    settings: Settings,
}

impl Norm {
    /// A copy of a layer norm.
    pub fn layer(norm: &LayerNorm) -> Self {
        let [gamma, beta] = [&norm.gamma, &norm.beta].map(numbers);
        Self { gamma, beta, settings: Settings { centred: true, epsilon: norm.epsilon() as f32 } }
    }

    /// A copy of a root-mean-square norm.
    pub fn rms(norm: &RmsNorm) -> Self {
        let gamma = numbers(&norm.gamma);
        Self { beta: vec![0.0; gamma.len()], gamma, settings: Settings { centred: false, epsilon: norm.epsilon as f32 } }
    }

    /// The norm of each row of `rows [.., width]`; what follows the last whole row means nothing.
    pub fn forward(&self, rows: &[f32]) -> Vec<f32> {
        let mut to = Vec::new();
        self.forward_into(rows, &mut to);
        to
    }

    /// [`forward`](Self::forward) in place of what `to` holds; its memory is used again.
    pub fn forward_into(&self, rows: &[f32], to: &mut Vec<f32>) {
        let width = self.gamma.len().max(1);
        to.resize(rows.len(), 0.0);
        share_rows(to, width, |row, to| {
            forward_row(&rows[row * width..(row + 1) * width], &self.gamma, &self.beta, to, self.settings);
        });
    }
}

/// The values of a parameter, in f32.
pub fn numbers<const D: usize>(parameter: &Param<Tensor<D>>) -> Vec<f32> {
    parameter.val().into_data().iter::<f32>().collect()
}
