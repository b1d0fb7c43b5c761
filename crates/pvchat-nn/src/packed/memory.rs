//! Memory of the products: in lines of the cache, kept from one product to the next, shared by threads.

use std::cell::Cell;

/// Values between the steps of a transformer block; used again from block to block, because new memory is slow at first.
#[derive(Clone, Debug, Default)]
pub struct BlockMemory {
    /// States behind a norm.
    pub normalised: Vec<f32>,
    /// Queries, keys and values side by side.
    pub projected: Vec<f32>,
    /// Values that attention mixed.
    pub mixed: Vec<f32>,
    /// States behind attention.
    pub attended: Vec<f32>,
    /// What the feed-forward network computes: the inner states, or what comes out where both layers are one step.
    pub fed_forward: Vec<f32>,
}

/// The memory of a line of the cache, so that vectors of weights are aligned to it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; 64]);

pub(super) fn bytes_of(lines: &[Line]) -> &[u8] {
    // SAFETY: lines are nothing but bytes.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}

pub(super) fn bytes_of_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: lines are nothing but bytes, of any value.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}

thread_local! {
    /// Memory for rearranged rows, kept from one product to the next.
    static MEMORY: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// What `find` returns, given memory of that many bytes. It may compute other products while it waits; they take other memory.
pub(super) fn with_memory<R>(bytes: usize, find: impl FnOnce(&mut [Line]) -> R) -> R {
    let mut memory = MEMORY.take();
    let lines = bytes.div_ceil(size_of::<Line>());
    if memory.len() < lines {
        memory.resize(lines, Line([0; 64]));
    }
    let found = find(&mut memory[..lines]);
    MEMORY.set(memory);
    found
}

/// Memory of which each thread writes its own part.
pub(super) struct Shared<T>(pub(super) *mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: the tasks that share it write different parts.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(super) fn at(self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}
