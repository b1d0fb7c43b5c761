//! Weights before they are packed.

use super::{PackedMatrix, Precision};
use crate::{Error, Result};

/// How weights that are to be packed are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// `[inputs, outputs]`, as in burn's linear layers.
    InputsOutputs,
    /// `[outputs, inputs]`, as in the checkpoints of PyTorch.
    OutputsInputs,
}

/// Weights before they are packed.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// One row after another.
    pub numbers: Vec<f32>,
    /// What the rows are.
    pub order: Order,
    /// `[inputs, outputs]`.
    pub sizes: [usize; 2],
}

impl Weights {
    /// Weights of several layers with the same inputs as those of one: its outputs are theirs, side by side.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is none, or when they have other inputs or are stored in another order.
    pub fn join(all: Vec<Self>) -> Result<Self> {
        let wrong = |found: Vec<usize>| Error::Shape {
            what: "weights to be packed together",
            found,
            expected: "at least one, all with the same inputs and order,".into(),
        };
        let mut all = all.into_iter();
        let mut joined = all.next().ok_or_else(|| wrong(vec![]))?;
        for other in all {
            let ([inputs, left], [its, right]) = (joined.sizes, other.sizes);
            if its != inputs || joined.order != other.order {
                return Err(wrong(vec![inputs, its]));
            }
            joined.numbers = match joined.order {
                Order::OutputsInputs => [joined.numbers, other.numbers].concat(),
                Order::InputsOutputs => {
                    let rows = joined.numbers.chunks(left.max(1)).zip(other.numbers.chunks(right.max(1)));
                    rows.flat_map(|(left, right)| left.iter().chain(right)).copied().collect()
                }
            };
            joined.sizes = [inputs, left + right];
        }
        Ok(joined)
    }

    /// Packs them.
    ///
    /// # Errors
    /// As [`PackedMatrix::pack`].
    pub fn pack(&self, precision: Precision) -> Result<PackedMatrix> {
        PackedMatrix::pack_ordered(&self.numbers, self.order, self.sizes, precision)
    }
}
