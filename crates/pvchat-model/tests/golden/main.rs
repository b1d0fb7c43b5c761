//! Golden tests: the numbers of the reference implementation, on every CPU backend.
//!
//! Sizes come from the files' own metadata; `PVCHAT_GOLDEN` names another directory of such files.

mod support;

// One module per subject:
mod language;
mod preprocess;
mod qformer;
mod remoh;
mod vision;
