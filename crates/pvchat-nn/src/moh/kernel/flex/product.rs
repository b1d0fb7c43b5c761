//! Products of the small matrices of attention, in the widest registers.
//!
//! One loop serves every product of both passes: numbers of the left matrix times whole vectors of the right one. So only the
//! columns come in vectors; the rows may be any number, stored in any order, and nothing has to be rearranged for them.

use std::mem::MaybeUninit;

use super::matrix::{Matrix, Rows};
use crate::simd::{for_the_widest_registers, multiply_add};

/// Numbers of a vector: those of the widest register.
pub(super) const LANES: usize = 16;
/// Rows that are computed together at most. Times [`WIDE`] vectors their sums fill 24 of the 32 registers of AVX-512; times one
/// vector, which is two registers there, 12 of the 16 of AVX2.
pub(super) const ROWS: usize = 6;
/// Vectors that are computed together where the registers suffice.
const WIDE: usize = 4;

/// The stride of rows of `width` in one of our own matrices: whole vectors, and one more, because rows a power of two apart
/// would share few lines of the cache.
pub(super) fn padded(width: usize) -> usize {
    width.next_multiple_of(LANES) + LANES
}

/// `out [rows, columns] = left [rows, inner] right [inner, columns]`, added to what is there if `add`. The rows of `out` are
/// `stride` apart; neighbours in a row of `right` are contiguous. What is `coming` is prefetched meanwhile, a little at a time:
/// the rows of one head are so far apart that the processor does not predict them.
pub(super) fn product(
    (out, stride): (&mut [f32], usize),
    sizes @ [rows, inner, columns]: [usize; 3],
    left: Matrix,
    right: Matrix,
    add: bool,
    coming: &mut [Rows],
) {
    if rows == 0 || inner == 0 || columns == 0 {
        return;
    }
    check(out.len(), stride, sizes, left, right);
    in_tiles(out.as_mut_ptr(), stride, sizes, left, right, add, coming);
}

/// A sum of products of which the first writes the memory.
pub(super) enum Sum<'a> {
    New(&'a mut [MaybeUninit<f32>]),
    Written(&'a mut [f32]),
}

impl Sum<'_> {
    /// With `left [rows, inner] right [inner, columns]` added: exactly as many numbers, no size zero.
    pub fn add(self, sizes @ [rows, inner, columns]: [usize; 3], left: Matrix, right: Matrix) -> Self {
        match self {
            Self::Written(numbers) => {
                product((&mut *numbers, columns), sizes, left, right, true, &mut []);
                Self::Written(numbers)
            }
            Self::New(numbers) => {
                assert!(inner > 0 && numbers.len() == rows * columns, "a product writes every number");
                check(numbers.len(), columns, sizes, left, right);
                in_tiles(numbers.as_mut_ptr().cast(), columns, sizes, left, right, false, &mut []);
                // SAFETY: the product has written all of them.
                Self::Written(unsafe { numbers.assume_init_mut() })
            }
        }
    }
}

/// That a product finds `numbers` places for its result, and both of its matrices.
fn check(numbers: usize, stride: usize, [rows, inner, columns]: [usize; 3], left: Matrix, right: Matrix) {
    assert!(
        columns <= stride
            && (rows - 1) * stride + columns <= numbers
            && left.holds([rows, inner])
            && right.holds([inner, columns])
            && right.column_stride == 1,
        "a product reads and writes inside its matrices"
    );
}

for_the_widest_registers! {
    fn in_tiles(
        out: *mut f32,
        stride: usize,
        sizes: [usize; 3],
        left: Matrix,
        right: Matrix,
        add: bool,
        coming: &mut [Rows]
    ) = in_tiles_of
}

#[inline(always)]
fn in_tiles_of<const FUSED: bool>(
    out: *mut f32,
    stride: usize,
    [rows, inner, columns]: [usize; 3],
    left: Matrix,
    right: Matrix,
    add: bool,
    coming: &mut [Rows],
) {
    #[cfg(target_arch = "x86_64")]
    let many_registers = std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    let many_registers = false;
    let step = coming.iter().map(|coming| coming.rows.len()).max().unwrap_or(0).div_ceil(rows.div_ceil(ROWS));
    let mut column = 0;
    while column < columns {
        let rest = columns - column;
        let width = if many_registers && rest >= WIDE * LANES { WIDE * LANES } else { rest.min(LANES) };
        for row in (0..rows).step_by(ROWS) {
            coming.iter_mut().for_each(|coming| coming.fetch(step));
            let height = ROWS.min(rows - row);
            let strip = Strip {
                // Inside the result, as the callers have checked.
                out: out.wrapping_add(row * stride + column),
                stride,
                inner,
                left: left.starting_at(row),
                right: right.memory[column..].as_ptr(),
                right_stride: right.row_stride,
                add,
            };
            // SAFETY: `product` has checked that all rows and columns are in the matrices; these are some of them.
            unsafe {
                match width {
                    LANES => strip.compute::<FUSED, 1>(height, LANES),
                    width if width > LANES => strip.compute::<FUSED, WIDE>(height, LANES),
                    width => strip.compute::<FUSED, 1>(height, width),
                }
            }
        }
        column += width;
    }
}

/// A few rows and columns of a product.
struct Strip<'a> {
    out: *mut f32,
    stride: usize,
    inner: usize,
    left: Matrix<'a>,
    right: *const f32,
    right_stride: usize,
    add: bool,
}

impl Strip<'_> {
    /// With this many rows, at most [`ROWS`].
    ///
    /// # Safety
    /// As [`of_height`](Self::of_height).
    #[inline(always)]
    unsafe fn compute<const FUSED: bool, const VECTORS: usize>(&self, height: usize, lanes: usize) {
        // SAFETY: as the caller promises.
        unsafe {
            match height {
                1 => self.of_height::<FUSED, VECTORS, 1>(lanes),
                2 => self.of_height::<FUSED, VECTORS, 2>(lanes),
                3 => self.of_height::<FUSED, VECTORS, 3>(lanes),
                4 => self.of_height::<FUSED, VECTORS, 4>(lanes),
                5 => self.of_height::<FUSED, VECTORS, 5>(lanes),
                _ => self.of_height::<FUSED, VECTORS, ROWS>(lanes),
            }
        }
    }

    /// # Safety
    /// `HEIGHT` rows of the left matrix, `VECTORS` of `lanes` numbers in every row of the right one and of the result must be
    /// theirs.
    #[inline(always)]
    unsafe fn of_height<const FUSED: bool, const VECTORS: usize, const HEIGHT: usize>(&self, lanes: usize) {
        let mut sums = [[[0.0f32; LANES]; VECTORS]; HEIGHT];
        for inner in 0..self.inner {
            // SAFETY: the row belongs to the right matrix, its vectors too, as the caller promises.
            let vectors: [[f32; LANES]; VECTORS] =
                std::array::from_fn(|vector| unsafe { read(self.right.add(inner * self.right_stride + vector * LANES), lanes) });
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the row and the column belong to the left matrix, as the caller promises.
                let factor =
                    unsafe { *self.left.memory.get_unchecked(row * self.left.row_stride + inner * self.left.column_stride) };
                for (sums, vector) in sums.iter_mut().zip(&vectors) {
                    for (sum, &value) in sums.iter_mut().zip(vector) {
                        *sum = multiply_add::<FUSED>(factor, value, *sum);
                    }
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sums) in sums.iter().enumerate() {
                // SAFETY: the row and its vectors belong to the result, as the caller promises.
                unsafe {
                    let place = self.out.add(row * self.stride + vector * LANES);
                    // A copy: what a pointer looks at would not stay in registers above.
                    let mut result = *sums;
                    if self.add {
                        result.iter_mut().zip(read(place, lanes)).for_each(|(sum, value)| *sum += value);
                    }
                    std::ptr::copy_nonoverlapping(result.as_ptr(), place, lanes);
                }
            }
        }
    }
}

/// The first `lanes` numbers there, then zeros.
///
/// # Safety
/// There must be this many, at most [`LANES`].
#[inline(always)]
unsafe fn read(place: *const f32, lanes: usize) -> [f32; LANES] {
    let mut vector = [0.0; LANES];
    // SAFETY: as the caller promises.
    unsafe { std::ptr::copy_nonoverlapping(place, vector.as_mut_ptr(), lanes) };
    vector
}

/// Columns that are computed together where the registers suffice.
pub(super) const PART: usize = WIDE * LANES;

#[cfg(test)]
mod tests {
    use super::{super::turned::Turned, *};

    #[test]
    fn products_are_what_their_definition_says() {
        let numbers =
            |count: usize, step: usize| -> Vec<f32> { (0..count).map(|index| (index * step % 23) as f32 - 11.0).collect() };
        for (rows, inner, columns) in [(1, 1, 1), (5, 3, 16), (6, 17, 64), (13, 40, 100), (20, 64, 33), (8, 2, 79), (4, 50, 200)]
        {
            let (left, right) = (numbers(inner * rows, 7), numbers(inner * columns, 5));
            let product_of = |row: usize, column: usize| -> f32 {
                (0..inner).map(|inner| left[inner * rows + row] * right[inner * columns + column]).sum()
            };
            let left_matrix = Matrix::new(&left, rows).transposed();
            let mut out = vec![1.0; rows * (columns + 3)];
            for times in [1.0, 2.0] {
                let sizes = [rows, inner, columns];
                product((&mut out, columns + 3), sizes, left_matrix, Matrix::new(&right, columns), times > 1.0, &mut []);
                for (row, out) in out.chunks_exact(columns + 3).enumerate() {
                    for (column, &found) in out.iter().enumerate() {
                        let expected = if column < columns { times * product_of(row, column) } else { 1.0 };
                        assert_eq!(found, expected, "{rows} {inner} {columns}: {row} {column}");
                    }
                }
            }
            // The same twice in memory that the first product writes.
            let mut memory = vec![MaybeUninit::uninit(); rows * columns];
            let mut sum = Sum::New(&mut memory);
            for _ in 0..2 {
                sum = sum.add([rows, inner, columns], left_matrix, Matrix::new(&right, columns));
            }
            let Sum::Written(found) = sum else { panic!("two products have been added") };
            for (index, &found) in found.iter().enumerate() {
                assert_eq!(found, 2.0 * product_of(index / columns, index % columns), "{rows} {inner} {columns}: {index}, new");
            }
            // The same with the right matrix transposed before.
            let before =
                (0..columns).flat_map(|column| right.iter().skip(column).step_by(columns)).copied().collect::<Vec<f32>>();
            let (mut turned, mut out) = (Turned::default(), vec![1.0; rows * padded(columns)]);
            let before = Matrix::new(&before, inner).rows(0..columns, inner);
            for is_turned in [false, true] {
                turned.product((&mut out, padded(columns)), left_matrix, rows, &before, is_turned, Some(&before));
            }
            for (row, out) in out.chunks_exact(padded(columns)).enumerate() {
                for (column, &found) in out[..columns].iter().enumerate() {
                    assert_eq!(found, product_of(row, column), "{rows} {inner} {columns}: {row} {column}, turned");
                }
            }
        }
    }
}
