//! Matrices somewhere in a tensor's memory, and their products.

use crate::graph::FlexTensor;

/// Numbers between the rows of a matrix of our own beyond its width: rows a power of two apart would share few lines of the
/// cache.
const GAP: usize = 16;

/// Element `(row, column)` is `row * row_stride + column * column_stride` on.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    memory: &'a [f32],
    row_stride: usize,
    column_stride: usize,
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

    pub fn transposed(self) -> Self {
        Self { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    /// The first `rows` rows of `width`, copied side by side where they lie far apart.
    pub fn close(self, [rows, width]: [usize; 2], memory: &'a mut Vec<f32>) -> Self {
        if self.column_stride == 1 && self.row_stride < width + 2 * GAP {
            return self;
        }
        memory.resize(rows * width, 0.0);
        for (row, to) in memory.chunks_exact_mut(width).enumerate() {
            self.copy_row(row, 1.0, to);
        }
        Matrix::new(memory, width)
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

/// How far apart rows of `width` of a matrix of our own lie.
pub(super) fn padded(width: usize) -> usize {
    width.next_multiple_of(GAP) + GAP
}

/// `out [rows, columns] = factor * left [rows, inner] right [inner, columns]`, added to what is there if `add`; the rows of
/// `out` are `stride` apart.
pub(super) fn product(
    (out, stride): (&mut [f32], usize),
    [rows, inner, columns]: [usize; 3],
    left: Matrix,
    right: Matrix,
    factor: f32,
    add: bool,
) {
    if rows == 0 || inner == 0 || columns == 0 {
        return;
    }
    let last =
        |matrix: Matrix, rows: usize, columns: usize| (rows - 1) * matrix.row_stride + (columns - 1) * matrix.column_stride;
    assert!(
        columns <= stride
            && (rows - 1) * stride + columns <= out.len()
            && last(left, rows, inner) < left.memory.len()
            && last(right, inner, columns) < right.memory.len(),
        "a product reads and writes inside its matrices"
    );
    // SAFETY: by the assertion all elements of the three matrices lie in their slices; `out` is borrowed mutably, so it
    // overlaps neither of the others.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            stride as isize,
            add,
            left.memory.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.memory.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
