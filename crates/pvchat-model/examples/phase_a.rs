#![allow(dead_code, missing_docs)]
extern crate self as pvchat_train;
#[path = "../../pvchat-train/src/error.rs"] pub mod error;
#[path = "../../pvchat-train/src/checkpoint.rs"] pub mod checkpoint;
#[path = "../../pvchat-train/src/gradients.rs"] pub mod gradients;
#[path = "../../pvchat-train/src/run.rs"] pub mod run;
pub use error::{Error, Result};
#[path = "../../pvchat-miniature/src/world/mod.rs"] pub mod world;
#[path = "../../pvchat-miniature/src/pretrain/mod.rs"] pub mod pretrain;
extern crate self as pvchat_miniature;
#[path = "../../pvchat-miniature/src/bin/miniature.rs"] mod bin;
fn main() { bin::main().unwrap() }
