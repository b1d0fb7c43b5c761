//! Matrices of packed weights and their products with rows.

use std::{mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::{
    Finish, Level, Order, Precision, check_length,
    memory::{Line, bytes_of, bytes_of_mut},
    tile::{PANEL, Product},
    vector::LANES,
};
use crate::{Error, Result};

/// A matrix of weights, ready for products with rows.
pub struct PackedMatrix {
    pub(super) inputs: usize,
    /// Of the result.
    pub(super) outputs: usize,
    pub(super) precision: Precision,
    /// Whether each panel holds as many outputs of a gate, and then of what it lets through.
    is_gated: bool,
    panels: Vec<Line>,
}

impl std::fmt::Debug for PackedMatrix {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { inputs, outputs, precision, is_gated, .. } = self;
        let mut formatter = formatter.debug_struct("PackedMatrix");
        formatter.field("inputs", inputs).field("outputs", outputs).field("precision", precision);
        formatter.field("is_gated", is_gated).finish_non_exhaustive()
    }
}

impl PackedMatrix {
    /// Packs `weight [inputs, outputs]`, the layout of burn's linear layers.
    ///
    /// # Errors
    /// [`Error::Shape`] where a size is zero or there is another number of weights; [`Error::NotFinite`] where a weight is infinite or
    /// NaN and the precision is of whole numbers.
    pub fn pack(weight: &[f32], inputs: usize, outputs: usize, precision: Precision) -> Result<Self> {
        Self::pack_ordered(weight, Order::InputsOutputs, [inputs, outputs], precision)
    }

    /// Packs weights that are stored in this order.
    ///
    /// # Errors
    /// As [`pack`](Self::pack).
    pub fn pack_ordered(weight: &[f32], order: Order, sizes: [usize; 2], precision: Precision) -> Result<Self> {
        Self::pack_all([weight, &[]], order, sizes, precision)
    }

    /// Packs the weights of a gate and those of what it lets through, of the same sizes and order: the result of a product is
    /// `silu(x gate) * (x up)`, `[rows, outputs]`.
    ///
    /// # Errors
    /// As [`pack`](Self::pack).
    pub fn pack_gated(gate: &[f32], up: &[f32], order: Order, sizes: [usize; 2], precision: Precision) -> Result<Self> {
        check_length("the weight of what a gate lets through", up.len(), sizes)?;
        Self::pack_all([gate, up], order, sizes, precision)
    }

    fn pack_all(weights: [&[f32]; 2], order: Order, sizes @ [inputs, outputs]: [usize; 2], precision: Precision) -> Result<Self> {
        if sizes.contains(&0) {
            return Err(Error::Shape {
                what: "a weight to be packed",
                found: sizes.to_vec(),
                expected: "at least one input and one output".into(),
            });
        }
        check_length("a weight to be packed", weights[0].len(), sizes)?;
        if matches!(precision, Precision::Int8 | Precision::Int4) {
            for weight in weights {
                if let Some(place) = weight.iter().position(|number| !number.is_finite()) {
                    return Err(Error::NotFinite { what: "weights to be rounded to whole numbers", place, value: weight[place] });
                }
            }
        }
        let is_gated = !weights[1].is_empty();
        let halves: &[(&[f32], Range<usize>)] =
            if is_gated { &[(weights[0], 0..LANES), (weights[1], LANES..PANEL)] } else { &[(weights[0], 0..PANEL)] };
        let width = PANEL / halves.len();
        let lines = precision.panel_bytes(inputs) / size_of::<Line>();
        let mut panels = vec![Line([0; 64]); lines * outputs.div_ceil(width)];
        panels.par_chunks_mut(lines).enumerate().for_each_init(
            || vec![0.0; inputs * PANEL],
            |memory, (panel, lines)| {
                let columns = panel * width..outputs.min((panel + 1) * width);
                for (weight, place) in halves {
                    for input in 0..inputs {
                        let to = &mut memory[input * PANEL..][place.clone()];
                        to[columns.len()..].fill(0.0);
                        if order == Order::InputsOutputs {
                            to[..columns.len()].copy_from_slice(&weight[input * outputs..][columns.clone()]);
                        }
                    }
                    if order == Order::OutputsInputs {
                        for (lane, output) in columns.clone().enumerate() {
                            let to = memory[place.start + lane..].iter_mut().step_by(PANEL);
                            to.zip(&weight[output * inputs..][..inputs]).for_each(|(to, weight)| *to = *weight);
                        }
                    }
                }
                precision.encode(memory, bytes_of_mut(lines));
            },
        );
        Ok(Self { inputs, outputs, precision, is_gated, panels })
    }

    /// Length of a row that goes in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Length of a row that comes out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// How the weights are kept.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Memory that the weights take, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.panels.as_slice())
    }

    /// The weights as they are kept, `[inputs, outputs]`; of a gated matrix those of the gate, then those of what it lets through.
    pub fn unpacked(&self) -> Vec<Vec<f32>> {
        let halves = if self.is_gated { 2 } else { 1 };
        let width = PANEL / halves;
        let mut all = vec![vec![0.0; self.inputs * self.outputs]; halves];
        let mut memory = vec![0.0; self.inputs * PANEL];
        let panels = bytes_of(&self.panels).chunks_exact(self.precision.panel_bytes(self.inputs));
        for (panel, bytes) in panels.enumerate() {
            self.precision.decode(bytes, &mut memory);
            for (half, weights) in all.iter_mut().enumerate() {
                for (to, from) in weights.chunks_exact_mut(self.outputs).zip(memory.chunks_exact(PANEL)) {
                    let to = to.iter_mut().skip(panel * width).take(width);
                    to.zip(&from[half * width..]).for_each(|(to, from)| *to = *from);
                }
            }
        }
        all
    }

    /// Products of `rows [count, inputs]`, with `bias [outputs]` added, in `out [count, outputs]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where a slice has another length; a gated matrix takes no bias.
    pub fn forward(&self, rows: &[f32], count: usize, bias: Option<&[f32]>, out: &mut [f32]) -> Result<()> {
        self.forward_then(rows, count, bias, Finish::Nothing, out)
    }

    /// [`forward`](Self::forward), and something done to its outputs on the way.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); also where what is to be added is not `[count, outputs]`.
    pub fn forward_then(
        &self,
        rows: &[f32],
        count: usize,
        bias: Option<&[f32]>,
        finish: Finish<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        self.forward_at(Level::best(), rows, count, bias, finish, out)
    }

    /// [`forward_then`](Self::forward_then) into memory that it takes.
    ///
    /// # Errors
    /// As [`forward_then`](Self::forward_then).
    pub fn forward_new(&self, rows: &[f32], count: usize, bias: Option<&[f32]>, finish: Finish<'_>) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        self.forward_into(rows, count, bias, finish, &mut out)?;
        Ok(out)
    }

    /// [`forward_then`](Self::forward_then) in place of what `out` holds; its memory is used again.
    ///
    /// # Errors
    /// As [`forward_then`](Self::forward_then); `out` then is empty.
    pub fn forward_into(
        &self,
        rows: &[f32],
        count: usize,
        bias: Option<&[f32]>,
        finish: Finish<'_>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        out.clear();
        out.reserve(count * self.outputs);
        self.compute(Level::best(), rows, count, bias, finish, out.spare_capacity_mut())?;
        // SAFETY: the product has written all of them.
        unsafe { out.set_len(count * self.outputs) };
        Ok(())
    }

    /// [`forward_then`](Self::forward_then) with fewer instructions than there are; more than there are count as those.
    ///
    /// # Errors
    /// As [`forward_then`](Self::forward_then).
    pub fn forward_at(
        &self,
        level: Level,
        rows: &[f32],
        count: usize,
        bias: Option<&[f32]>,
        finish: Finish<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        check_length("the result of a product", out.len(), [count, self.outputs])?;
        // SAFETY: numbers are also memory for numbers; the product writes only such.
        let out = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), out.len()) };
        self.compute(level, rows, count, bias, finish, out)
    }

    /// Writes every number of `out`, which may have more room than it takes.
    fn compute(
        &self,
        level: Level,
        rows: &[f32],
        count: usize,
        bias: Option<&[f32]>,
        finish: Finish<'_>,
        out: &mut [MaybeUninit<f32>],
    ) -> Result<()> {
        let product = self.product(rows, count, bias, finish)?;
        if count > 0 {
            // At most what there is: the routines run only where the processor has their instructions.
            let routine = self.precision.routine(level.min(Level::best()), count);
            product.compute(routine, rows, count, &mut out[..count * self.outputs]);
        }
        Ok(())
    }

    /// What is to be computed, if all lengths fit.
    pub(super) fn product<'a>(
        &'a self,
        rows: &[f32],
        count: usize,
        bias: Option<&'a [f32]>,
        finish: Finish<'a>,
    ) -> Result<Product<'a>> {
        check_length("rows of a product", rows.len(), [count, self.inputs])?;
        self.product_of(count, bias, finish)
    }

    /// The same for rows that are still to come.
    pub(super) fn product_of<'a>(&'a self, count: usize, bias: Option<&'a [f32]>, finish: Finish<'a>) -> Result<Product<'a>> {
        if let Some(bias) = bias {
            check_length("the bias of a product", bias.len(), [1, if self.is_gated { 0 } else { self.outputs }])?;
        }
        if let Finish::Add(others) = finish {
            check_length("what is added to a product", others.len(), [count, self.outputs])?;
        }
        Ok(Product {
            inputs: self.inputs,
            outputs: self.outputs,
            is_gated: self.is_gated,
            panel_bytes: self.precision.panel_bytes(self.inputs),
            panels: bytes_of(&self.panels),
            bias,
            finish,
        })
    }
}
