//! Matrices transposed for products: the columns of a product are read as vectors, but those of keys are not contiguous.

use super::{
    matrix::{Matrix, Rows},
    product::{LANES, PART, product},
};
use crate::simd::for_the_widest_registers;

/// Memory for a transposed matrix: parts `[width, PART]` one after another, each of which fits the first-level cache.
#[derive(Default)]
pub(super) struct Turned {
    memory: Vec<f32>,
}

impl Turned {
    /// `out [count, rows] = left [count, width]` times the transposed `from [rows, width]`, which is stored here already if
    /// `is_turned`. The rows of `out` are `stride` apart, at least [`padded`](super::product::padded)`(rows)`, and what fills up
    /// their last vector is written too.
    ///
    /// Each part is transposed just before its product, during which the next one is fetched, and some of what is `coming`: a
    /// product waits for no memory.
    pub fn product(
        &mut self,
        (out, stride): (&mut [f32], usize),
        left: Matrix,
        count: usize,
        from: &Rows,
        is_turned: bool,
        coming: Option<&Rows>,
    ) {
        let (width, size) = (from.width, from.width * PART);
        let parts = from.rows.len().div_ceil(PART);
        self.memory.resize(parts * size, 0.0);
        for (part, memory) in self.memory.chunks_exact_mut(size).enumerate() {
            let first = from.rows.start + part * PART;
            let rows = PART.min(from.rows.end - first);
            if !is_turned {
                turn(from.matrix.starting_at(first), [rows, width], memory);
            }
            let next = if is_turned { 0..0 } else { first + rows..from.rows.end.min(first + rows + PART) };
            let sizes = [count, width, rows.next_multiple_of(LANES)];
            let others = coming.map_or(from.matrix.rows(0..0, width), |coming| coming.part(part, parts));
            let mut coming = [from.matrix.rows(next, width), others];
            product((&mut out[part * PART..], stride), sizes, left, Matrix::new(memory, PART), false, &mut coming);
        }
    }
}

/// Writes the transposed `from [rows, width]` to `to [width, PART]`.
fn turn(from: Matrix, sizes: [usize; 2], to: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the feature that the function is compiled for.
        return unsafe { turn_with_avx512(from, sizes, to) };
    }
    turn_with_any(from, sizes, to);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn turn_with_avx512(from: Matrix, sizes: [usize; 2], to: &mut [f32]) {
    in_blocks(from, sizes, to, |from, stride, to, to_stride| block_with_avx512(from, stride, to, to_stride));
}

for_the_widest_registers! {
    fn turn_with_any(from: Matrix, sizes: [usize; 2], to: &mut [f32]) = turn_with_any_of
}

#[inline(always)]
fn turn_with_any_of<const FUSED: bool>(from: Matrix, sizes: [usize; 2], to: &mut [f32]) {
    in_blocks(from, sizes, to, block_with_any);
}

/// In blocks of [`LANES`] rows and columns, each by `turn` of `(from, its stride, to, its stride)`.
#[inline(always)]
fn in_blocks(from: Matrix, [rows, width]: [usize; 2], to: &mut [f32], turn: impl Fn(&[f32], usize, &mut [f32], usize)) {
    for row in (0..rows).step_by(LANES) {
        let height = LANES.min(rows - row);
        for column in (0..width).step_by(LANES) {
            let count = LANES.min(width - column);
            let source = from.starting_at(row).memory.get(column * from.column_stride..).unwrap_or_default();
            let to = &mut to[column * PART + row..];
            if [height, count, from.column_stride] == [LANES, LANES, 1] {
                turn(source, from.row_stride, to, PART);
                continue;
            }
            let (mut block, mut turned) = (Block([[0.0; LANES]; LANES]), Block([[0.0; LANES]; LANES]));
            for (line, source) in block.0.iter_mut().zip(source.chunks(from.row_stride)).take(height) {
                line.iter_mut().zip(source.iter().step_by(from.column_stride)).take(count).for_each(|(to, from)| *to = *from);
            }
            turn(block.0.as_flattened(), LANES, turned.0.as_flattened_mut(), LANES);
            for (index, line) in turned.0.iter().enumerate().take(count) {
                to[index * PART..][..LANES].copy_from_slice(line);
            }
        }
    }
}

/// A whole block: pieces of four numbers are put into their places while they are read, so that only they are left to be
/// transposed, four by four.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn block_with_avx512(from: &[f32], stride: usize, to: &mut [f32], to_stride: usize) {
    use std::arch::x86_64::{
        _mm_loadu_ps, _mm512_castps128_ps512, _mm512_insertf32x4, _mm512_storeu_ps, _mm512_unpackhi_ps, _mm512_unpacklo_ps,
    };
    const LAST: usize = LANES - 1;
    assert!(from.len() >= LAST * stride + LANES && to.len() >= LAST * to_stride + LANES, "a whole block");
    for column in (0..LANES).step_by(4) {
        // SAFETY: the block is whole, as has been checked.
        let piece = |row: usize| unsafe { _mm_loadu_ps(from.as_ptr().add(row * stride + column)) };
        // Four columns of the rows `row`, `row + 4`, `row + 8`, `row + 12`.
        let rows = |row: usize| {
            let pieces = _mm512_insertf32x4::<1>(_mm512_castps128_ps512(piece(row)), piece(row + 4));
            _mm512_insertf32x4::<3>(_mm512_insertf32x4::<2>(pieces, piece(row + 8)), piece(row + 12))
        };
        let [first, second, third, fourth] = [rows(0), rows(1), rows(2), rows(3)];
        let even = [_mm512_unpacklo_ps(first, third), _mm512_unpackhi_ps(first, third)];
        let odd = [_mm512_unpacklo_ps(second, fourth), _mm512_unpackhi_ps(second, fourth)];
        for (pair, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            // SAFETY: as above.
            unsafe {
                let place = to.as_mut_ptr().add((column + 2 * pair) * to_stride);
                _mm512_storeu_ps(place, _mm512_unpacklo_ps(even, odd));
                _mm512_storeu_ps(place.add(to_stride), _mm512_unpackhi_ps(even, odd));
            }
        }
    }
}

/// A whole block in any vectors.
#[inline(always)]
fn block_with_any(from: &[f32], stride: usize, to: &mut [f32], to_stride: usize) {
    let mut block = Block([[0.0; LANES]; LANES]);
    for (index, line) in block.0.iter_mut().enumerate() {
        line.copy_from_slice(&from[index * stride..][..LANES]);
    }
    // Each round takes the highest bit of a number's place to the lowest end; four of eight change rows for columns.
    let block = shuffled(&shuffled(&shuffled(&shuffled(&block))));
    for (index, line) in block.0.iter().enumerate() {
        to[index * to_stride..][..LANES].copy_from_slice(line);
    }
}

/// On the borders of registers, so that none reads from two lines of the cache.
#[repr(align(64))]
struct Block([[f32; LANES]; LANES]);

/// First and second half, number by number in turns.
#[inline(always)]
fn shuffled(from: &Block) -> Block {
    let mut to = Block([[0.0; LANES]; LANES]);
    let (first, second) = from.0.as_flattened().split_at(LANES * LANES / 2);
    for ((pair, first), second) in to.0.as_flattened_mut().chunks_exact_mut(2).zip(first).zip(second) {
        pair[0] = *first;
        pair[1] = *second;
    }
    to
}
