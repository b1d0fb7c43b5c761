//! Matrices somewhere in a tensor's memory.

use std::ops::Range;

use super::product::LANES;
use crate::graph::FlexTensor;

/// Element `(row, column)` is `row * row_stride + column * column_stride` on.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub memory: &'a [f32],
    pub row_stride: usize,
    pub column_stride: usize,
}

/// Some rows of a matrix.
#[derive(Clone)]
pub(super) struct Rows<'a> {
    pub matrix: Matrix<'a>,
    pub rows: Range<usize>,
    pub width: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after another, `stride` apart.
    pub fn new(memory: &'a [f32], stride: usize) -> Self {
        Self { memory, row_stride: stride, column_stride: 1 }
    }

    /// Head `head` of sequence `batch` of a tensor `[batch, heads, rows, width]` with non-negative strides.
    pub fn of(tensor: &'a FlexTensor, batch: usize, head: usize) -> Self {
        let layout = tensor.layout();
        let stride = |axis: usize| layout.strides()[axis].unsigned_abs();
        let start = layout.start_offset() + batch * stride(0) + head * stride(1);
        Self { memory: &tensor.storage::<f32>()[start..], row_stride: stride(2), column_stride: stride(3) }
    }

    pub fn starting_at(self, row: usize) -> Self {
        Self { memory: &self.memory[row * self.row_stride..], ..self }
    }

    /// Whether the memory holds this many rows and columns.
    pub fn holds(self, [rows, columns]: [usize; 2]) -> bool {
        (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.memory.len()
    }

    pub fn transposed(self) -> Self {
        Self { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    pub fn rows(self, rows: Range<usize>, width: usize) -> Rows<'a> {
        Rows { matrix: self, rows, width }
    }

    pub fn copy_row(self, row: usize, factor: f32, to: &mut [f32]) {
        let from = &self.memory[row * self.row_stride..];
        if self.column_stride == 1 {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = factor * from);
        } else {
            to.iter_mut().zip(from.iter().step_by(self.column_stride)).for_each(|(to, from)| *to = factor * from);
        }
    }
}

impl Rows<'_> {
    /// Part `index` of `count` about equal ones.
    pub fn part(&self, index: usize, count: usize) -> Self {
        let Range { start, end } = self.rows;
        let border = |index: usize| start + index * end.saturating_sub(start) / count;
        Self { rows: border(index)..border(index + 1), ..*self }
    }

    /// Asks the memory for the first `count` of those that are left: they will soon be read.
    #[inline(always)]
    pub fn fetch(&mut self, count: usize) {
        let end = self.rows.end.min(self.rows.start + count);
        #[cfg(target_arch = "x86_64")]
        for row in self.rows.start..end {
            for column in (0..self.width).step_by(LANES) {
                use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
                let Matrix { memory, row_stride, column_stride } = self.matrix;
                let place = memory.as_ptr().wrapping_add(row * row_stride + column * column_stride);
                // SAFETY: every x86-64 has this instruction, which changes nothing but what a cache holds, whatever the place.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(place.cast()) };
            }
        }
        self.rows.start = end;
    }
}
