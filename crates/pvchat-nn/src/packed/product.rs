//! How the threads share a product.

use std::{mem::MaybeUninit, ops::Range};

use super::{
    memory::{Shared, with_memory},
    team::{has_helpers, share},
    tile::{Product, Routine},
};

/// Bytes of rearranged rows that a thread multiplies by all panels before it takes the next: they stay in the second-level cache
/// together with a panel.
const BLOCK_BYTES: usize = 1 << 18;
/// Rearranged rows of at most this many bytes are shared by all threads: they are in the cache that all cores share.
const SHARED_BYTES: usize = 1 << 22;
/// Bytes of weights of which the products with a few rows are worth a task, for a thread that is awake and for one that sleeps.
const TASK_BYTES: [usize; 2] = [1 << 15, 1 << 17];
/// Tiles of rows that one task rearranges.
const TILES: usize = 8;
/// Tasks for each thread, so that one that is slow for a while holds up nobody.
const TASKS: usize = 16;
/// The same where the weights are used once: memory is read faster in long pieces.
const LONG_TASKS: usize = 4;

impl Product<'_> {
    /// By this thread.
    ///
    /// # Safety
    /// The processor must have the instructions of the routine; `arranged` must have room for that many rows and those that fill up
    /// a tile, `out` for their outputs.
    pub(super) unsafe fn compute_alone(
        &self,
        routine: Routine,
        rows: &[f32],
        numbers: Range<usize>,
        arranged: *mut u8,
        out: *mut f32,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            (routine.arrange)(rows, self.inputs, arranged);
            (routine.multiply)(self, arranged, numbers, 0..self.panels.len() / self.panel_bytes, out);
        }
    }

    /// Lengths must have been checked, and that the processor has the instructions of the routine.
    pub(super) fn compute(&self, routine: Routine, rows: &[f32], count: usize, out: &mut [MaybeUninit<f32>]) {
        let row_bytes = (routine.row_bytes)(self.inputs);
        let all_bytes = count.next_multiple_of(routine.rows) * row_bytes;
        let panels = self.panels.len() / self.panel_bytes;
        let threads = rayon::current_num_threads();
        let out = Shared(out.as_mut_ptr().cast::<f32>());
        if all_bytes > SHARED_BYTES {
            // As many blocks for each thread, of whole tiles.
            let most = (BLOCK_BYTES / row_bytes).max(routine.rows);
            let blocks = count.div_ceil(most).next_multiple_of(threads);
            let block = count.div_ceil(blocks).next_multiple_of(routine.rows);
            share(count.div_ceil(block), |number| {
                let numbers = number * block..count.min((number + 1) * block);
                let rows = &rows[numbers.start * self.inputs..numbers.end * self.inputs];
                with_memory(block * row_bytes, |memory| {
                    let out = out.at(numbers.start * self.outputs);
                    // SAFETY: the memory holds a block of whole tiles; each task writes its own rows.
                    unsafe { self.compute_alone(routine, rows, numbers, memory.as_mut_ptr().cast(), out) };
                });
            });
            return;
        }
        with_memory(all_bytes, |memory| {
            let arranged = Shared(memory.as_mut_ptr().cast::<u8>());
            let tiles = count.div_ceil(routine.rows);
            let task_bytes = TASK_BYTES[usize::from(!has_helpers())];
            let is_worth_it = threads > 1 && self.panels.len() * tiles >= 2 * task_bytes;
            if !is_worth_it {
                // SAFETY: the memory holds all rows; nobody else writes.
                unsafe { self.compute_alone(routine, rows, 0..count, arranged.at(0), out.at(0)) };
                return;
            }
            let tile_bytes = routine.rows * row_bytes;
            let part = TILES * routine.rows;
            share(count.div_ceil(part), |number| {
                let rows = &rows[number * part * self.inputs..count.min((number + 1) * part) * self.inputs];
                // SAFETY: each task writes its own tiles of the memory, which holds all.
                unsafe { (routine.arrange)(rows, self.inputs, arranged.at(number * TILES * tile_bytes)) }
            });
            let worth = (self.panels.len() * tiles / task_bytes).max(threads);
            let tasks = worth.min(threads * if tiles > 1 { TASKS } else { LONG_TASKS });
            let panel_tasks = panels.min(tasks);
            let row_tasks = tasks.div_ceil(panel_tasks).min(tiles);
            share(panel_tasks * row_tasks, |task| {
                let (panel_task, row_task) = (task / row_tasks, task % row_tasks);
                let part = |of: usize, task: usize, tasks: usize| of * task / tasks..of * (task + 1) / tasks;
                let tiles = part(tiles, row_task, row_tasks);
                let numbers = tiles.start * routine.rows..(tiles.end * routine.rows).min(count);
                // SAFETY: the rows have been rearranged; each task writes its own columns of its own rows.
                unsafe {
                    let arranged = arranged.at(tiles.start * tile_bytes);
                    let out = out.at(numbers.start * self.outputs);
                    (routine.multiply)(self, arranged, numbers, part(panels, panel_task, panel_tasks), out);
                }
            });
        });
    }
}
