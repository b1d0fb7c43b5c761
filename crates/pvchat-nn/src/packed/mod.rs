//! Products of rows with weights that are packed once: f32, bf16, eight and four bits.
//!
//! For inference on the CPU. Weights are stored in panels of 32 outputs, in the order in which the kernels read them. In eight
//! and four bits they are whole numbers times a scale for each group of inputs of an output (64 and 32 inputs), symmetric around
//! zero; rows are rounded to eight bits in the same groups when they come, and the products of a group are summed exactly.
//!
//! | file | what |
//! |---|---|
//! | `precision.rs`, `weights.rs` | how weights are kept; weights before they are packed |
//! | `matrix.rs` | packed weights, and their products |
//! | `both.rs` | products with two layers, one after the other |
//! | `product.rs`, `memory.rs` | how the threads share a product; the memory that they compute in |
//! | `team.rs` | threads that stay awake between steps |
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
mod both;
mod f32;
mod finish;
mod int4;
mod int8;
mod integer;
mod level;
mod matrix;
mod memory;
mod norm;
mod precision;
mod product;
mod step;
mod team;
#[cfg(feature = "flex")]
mod tensor;
mod tile;
mod vector;
mod weights;

pub use attention::{Heads, KeyWeights, attention, attention_at, attention_into, causal_attention_into};
pub use both::{Layer, forward_both, forward_both_into};
pub use finish::Finish;
pub use level::Level;
pub use matrix::PackedMatrix;
pub use memory::BlockMemory;
pub use norm::{Norm, numbers};
pub use precision::Precision;
pub use step::step_attention;
pub use team::{share_rows, together};
#[cfg(feature = "flex")]
pub use tensor::product;
pub use weights::{Order, Weights};

use crate::{Error, Result};

fn check_length(what: &'static str, length: usize, sizes: [usize; 2]) -> Result<()> {
    if sizes[0].checked_mul(sizes[1]) == Some(length) {
        return Ok(());
    }
    Err(Error::Shape { what, found: vec![length], expected: format!("{sizes:?}, one row after another,") })
}
