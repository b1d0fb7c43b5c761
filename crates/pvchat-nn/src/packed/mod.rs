//! Products of rows with weights that are packed once: f32, bf16, eight and four bits.
//!
//! For inference on the CPU. Weights lie in panels of 32 outputs, in the order in which the kernels read them. In eight and four
//! bits they are whole numbers times a scale for each group of inputs of an output (64 and 32 inputs), symmetric around zero; rows
//! are rounded to eight bits in the same groups when they come, and the products of a group are summed exactly.
//!
//! | file | what |
//! |---|---|
//! | `level.rs` | which instructions the processor has |
//! | `vector.rs` | sixteen numbers in its registers |
//! | `tile.rs` | a few rows times a panel |
//! | `f32.rs`, `bf16.rs`, `int8.rs`, `int4.rs`, `integer.rs` | what a panel holds and how a tile is computed |
//! | `finish.rs` | what happens to outputs while they are in the cache |
//! | `attention.rs` | attention where every token sees every key, or those up to its own |
//! | `norm.rs` | norms of rows |
//! | `step.rs` | attention of one new token |
//! | `tensor.rs` | products of burn's tensors |
//!
//! **Determinism.** Every output is summed in an order that depends on the sizes alone: the number of threads changes no bit.
//! Another [`Level`] may.

mod attention;
mod bf16;
mod f32;
mod finish;
mod int4;
mod int8;
mod integer;
mod level;
mod norm;
mod step;
#[cfg(feature = "flex")]
mod tensor;
mod tile;
mod vector;

use std::{cell::Cell, mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

pub use attention::{Heads, attention, attention_at, attention_into, causal_attention_into};
pub use finish::Finish;
pub use level::Level;
pub use norm::{Norm, numbers};
pub use step::step_attention;
#[cfg(feature = "flex")]
pub use tensor::product;

use crate::{Error, Result};
use tile::{PANEL, Product, Routine};
use vector::LANES;

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they are: four bytes a weight.
    F32,
    /// In bf16: two bytes a weight, three digits. Rows are rounded to it, too, where the processor has products of bf16 and there
    /// is more than one row.
    Bf16,
    /// In eight bits: 1.03 bytes a weight.
    Int8,
    /// In four bits: 0.56 bytes a weight.
    Int4,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Int8, Self::Int4];

    /// Bits of a weight, without the scales.
    pub fn bits(self) -> usize {
        match self {
            Self::F32 => 32,
            Self::Bf16 => 16,
            Self::Int8 => 8,
            Self::Int4 => 4,
        }
    }

    fn panel_bytes(self, inputs: usize) -> usize {
        match self {
            Self::F32 => f32::panel_bytes(inputs),
            Self::Bf16 => bf16::panel_bytes(inputs),
            Self::Int8 => integer::panel_bytes::<int8::Int8>(inputs),
            Self::Int4 => integer::panel_bytes::<int4::Int4>(inputs),
        }
    }

    fn encode(self, weights: &[f32], to: &mut [u8]) {
        match self {
            Self::F32 => f32::encode(weights, to),
            Self::Bf16 => bf16::encode(weights, to),
            Self::Int8 => integer::encode::<int8::Int8>(weights, to),
            Self::Int4 => integer::encode::<int4::Int4>(weights, to),
        }
    }

    fn decode(self, panel: &[u8], to: &mut [f32]) {
        match self {
            Self::F32 => f32::decode(panel, to),
            Self::Bf16 => bf16::decode(panel, to),
            Self::Int8 => integer::decode::<int8::Int8>(panel, to),
            Self::Int4 => integer::decode::<int4::Int4>(panel, to),
        }
    }

    fn routine(self, level: Level, rows: usize) -> Routine {
        match self {
            Self::F32 => f32::routine_for(level),
            Self::Bf16 => bf16::routine_for(level, rows),
            Self::Int8 => int8::routine_for(level),
            Self::Int4 => int4::routine_for(level),
        }
    }
}

/// The memory of a line of the cache, so that vectors of weights lie on its borders.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

fn bytes_of(lines: &[Line]) -> &[u8] {
    // SAFETY: lines are nothing but bytes.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}

fn bytes_of_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: lines are nothing but bytes, of any value.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}

/// A matrix of weights, ready for products with rows.
pub struct PackedMatrix {
    inputs: usize,
    /// Of the result.
    outputs: usize,
    precision: Precision,
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

/// How weights lie that are to be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// `[inputs, outputs]`, as in burn's linear layers.
    InputsOutputs,
    /// `[outputs, inputs]`, as in the checkpoints of PyTorch.
    OutputsInputs,
}

/// Weights that are to be packed, as somebody found them.
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
    /// [`Error::Shape`] when there is none, or when they have other inputs or lie in another order.
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

impl PackedMatrix {
    /// Packs `weight [inputs, outputs]`, the layout of burn's linear layers.
    ///
    /// # Errors
    /// [`Error::Shape`] where a size is zero or there is another number of weights; [`Error::NotFinite`] where a weight is infinite or
    /// NaN and the precision is of whole numbers.
    pub fn pack(weight: &[f32], inputs: usize, outputs: usize, precision: Precision) -> Result<Self> {
        Self::pack_ordered(weight, Order::InputsOutputs, [inputs, outputs], precision)
    }

    /// Packs weights that lie in this order.
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
    fn product<'a>(&'a self, rows: &[f32], count: usize, bias: Option<&'a [f32]>, finish: Finish<'a>) -> Result<Product<'a>> {
        check_length("rows of a product", rows.len(), [count, self.inputs])?;
        self.product_of(count, bias, finish)
    }

    /// The same for rows that are still to come.
    fn product_of<'a>(&'a self, count: usize, bias: Option<&'a [f32]>, finish: Finish<'a>) -> Result<Product<'a>> {
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
/// before the next, so that what lies between the layers never leaves the cache.
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
        rows.par_chunks(block * first.weight.inputs).enumerate().for_each(|(number, rows)| {
            let count = rows.len() / first.weight.inputs;
            let numbers = number * block..number * block + count;
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

fn check_length(what: &'static str, length: usize, sizes: [usize; 2]) -> Result<()> {
    if sizes[0].checked_mul(sizes[1]) == Some(length) {
        return Ok(());
    }
    Err(Error::Shape { what, found: vec![length], expected: format!("{sizes:?}, one row after another,") })
}

/// Bytes of rearranged rows that a thread multiplies by all panels before it takes the next: they stay in the second-level cache
/// beside a panel.
const BLOCK_BYTES: usize = 1 << 18;
/// Bytes of rows between two layers that go through both together.
const BETWEEN_BYTES: usize = 1 << 21;
/// Rearranged rows of at most this many bytes are shared by all threads: they lie in the cache that all cores share.
const SHARED_BYTES: usize = 1 << 22;
/// Bytes of weights of which the products with a few rows are worth the start of a task.
const TASK_BYTES: usize = 1 << 17;
/// Tasks for each thread, so that one that is slow for a while holds up nobody.
const TASKS: usize = 4;

thread_local! {
    /// Memory for rearranged rows, kept from one product to the next.
    static MEMORY: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// What `find` returns, given memory of that many bytes. It may compute other products while it waits; they take other memory.
fn with_memory<R>(bytes: usize, find: impl FnOnce(&mut [Line]) -> R) -> R {
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
struct Shared<T>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: the tasks below write different parts.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn at(self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

impl Product<'_> {
    /// By this thread.
    ///
    /// # Safety
    /// The processor must have the instructions of the routine; `arranged` must have room for that many rows and those that fill up
    /// a tile, `out` for their outputs.
    unsafe fn compute_alone(&self, routine: Routine, rows: &[f32], numbers: Range<usize>, arranged: *mut u8, out: *mut f32) {
        // SAFETY: as the caller promises.
        unsafe {
            (routine.arrange)(rows, self.inputs, arranged);
            (routine.multiply)(self, arranged, numbers, 0..self.panels.len() / self.panel_bytes, out);
        }
    }

    /// Lengths must have been checked, and that the processor has the instructions of the routine.
    fn compute(&self, routine: Routine, rows: &[f32], count: usize, out: &mut [MaybeUninit<f32>]) {
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
            rows.par_chunks(block * self.inputs).enumerate().for_each(|(number, rows)| {
                with_memory(block * row_bytes, |memory| {
                    let first = number * block;
                    let (numbers, out) = (first..first + rows.len() / self.inputs, out.at(first * self.outputs));
                    // SAFETY: the memory holds a block of whole tiles; each task writes its own rows.
                    unsafe { self.compute_alone(routine, rows, numbers, memory.as_mut_ptr().cast(), out) };
                });
            });
            return;
        }
        with_memory(all_bytes, |memory| {
            let arranged = Shared(memory.as_mut_ptr().cast::<u8>());
            let is_worth_it = threads > 1 && self.panels.len() * count.div_ceil(routine.rows) >= 2 * TASK_BYTES;
            if !is_worth_it {
                // SAFETY: the memory holds all rows; nobody else writes.
                unsafe { self.compute_alone(routine, rows, 0..count, arranged.at(0), out.at(0)) };
                return;
            }
            let tile_bytes = routine.rows * row_bytes;
            rows.par_chunks(routine.rows * self.inputs).enumerate().with_min_len(8).for_each(|(tile, rows)| {
                // SAFETY: each task writes its own tiles of the memory, which holds all.
                unsafe { (routine.arrange)(rows, self.inputs, arranged.at(tile * tile_bytes)) }
            });
            let worth = (self.panels.len() * count.div_ceil(routine.rows) / TASK_BYTES).max(threads);
            let tasks = worth.min(TASKS * threads);
            let panel_tasks = panels.min(tasks);
            let tiles = count.div_ceil(routine.rows);
            let row_tasks = tasks.div_ceil(panel_tasks).min(tiles);
            (0..panel_tasks * row_tasks).into_par_iter().with_max_len(1).for_each(|task| {
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
