//! Products with two layers, one after the other.

use super::{
    Finish, Level, PackedMatrix,
    memory::{Shared, with_memory},
    team::share,
};
use crate::{Error, Result};

/// Bytes of rows between two layers that go through both together.
const BETWEEN_BYTES: usize = 1 << 21;

/// A product with packed weights: what [`forward_then`](PackedMatrix::forward_then) takes.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The weights.
    pub weight: &'a PackedMatrix,
    /// `[outputs]`.
    pub bias: Option<&'a [f32]>,
    /// What becomes of the outputs.
    pub finish: Finish<'a>,
}

/// The products of `rows [count, inputs]` with two layers, one after the other: `[count, outputs]`. Of many rows some go through both
/// before the next, so that the values between the layers never leave the cache.
///
/// # Errors
/// [`Error::Shape`] where a length does not fit.
pub fn forward_both(layers: [Layer<'_>; 2], rows: &[f32], count: usize) -> Result<Vec<f32>> {
    let mut out = Vec::new();
    forward_both_into(layers, rows, count, &mut out)?;
    Ok(out)
}

/// [`forward_both`] in place of what `out` holds; its memory is used again.
///
/// # Errors
/// As [`forward_both`]; `out` then is empty.
pub fn forward_both_into([first, second]: [Layer<'_>; 2], rows: &[f32], count: usize, out: &mut Vec<f32>) -> Result<()> {
    out.clear();
    let between = first.weight.outputs;
    if second.weight.inputs != between {
        let found = vec![second.weight.inputs, second.weight.outputs];
        return Err(Error::Shape { what: "the second of two layers", found, expected: format!("[{between}, outputs]") });
    }
    let products = [
        first.weight.product(rows, count, first.bias, first.finish)?,
        second.weight.product_of(count, second.bias, second.finish)?,
    ];
    let routine = |layer: Layer<'_>| layer.weight.precision.routine(Level::best(), count);
    let routines = [routine(first), routine(second)];
    let outputs = second.weight.outputs;
    out.reserve(count * outputs);
    let result = &mut out.spare_capacity_mut()[..count * outputs];
    let tile = routines[0].rows.max(routines[1].rows);
    let threads = rayon::current_num_threads();
    if count < 2 * tile * threads {
        let middle = first.weight.forward_new(rows, count, first.bias, first.finish)?;
        if count > 0 {
            products[1].compute(routines[1], &middle, count, result);
        }
    } else {
        let most = (BETWEEN_BYTES / (4 * between)).max(tile);
        let blocks = count.div_ceil(most).next_multiple_of(threads);
        let block = count.div_ceil(blocks).next_multiple_of(tile);
        let result = Shared(result.as_mut_ptr().cast::<f32>());
        let bytes = [0, 1].map(|index| block.next_multiple_of(tile) * (routines[index].row_bytes)(products[index].inputs));
        share(count.div_ceil(block), |number| {
            let numbers = number * block..count.min((number + 1) * block);
            let rows = &rows[numbers.start * first.weight.inputs..numbers.end * first.weight.inputs];
            let count = numbers.len();
            with_memory(bytes[0].max(bytes[1]) + block * between * 4, |memory| {
                let middle = memory.as_mut_ptr().cast::<f32>();
                let arranged = middle.wrapping_add(block * between).cast::<u8>();
                // SAFETY: the memory holds the rows between the layers and those rearranged for either; each task writes its own
                // rows of the result.
                unsafe {
                    products[0].compute_alone(routines[0], rows, numbers.clone(), arranged, middle);
                    let middle = std::slice::from_raw_parts(middle, count * between);
                    let out = result.at(numbers.start * outputs);
                    products[1].compute_alone(routines[1], middle, numbers, arranged, out);
                }
            });
        });
    }
    // SAFETY: every row has been written.
    unsafe { out.set_len(count * outputs) };
    Ok(())
}
