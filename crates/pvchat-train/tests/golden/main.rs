//! Golden tests: the numbers of the reference objectives, on every CPU backend.
//!
//! `PVCHAT_GOLDEN` names another directory of such files.

#[path = "../../../pvchat-model/tests/golden/support.rs"]
mod support;

mod learning_published;
mod learning_r1;
mod losses;
mod qformer;
