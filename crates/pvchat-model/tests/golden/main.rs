//! Golden tests: the numbers of the reference implementation, on every CPU backend.
//!
//! Sizes and constants come from the files' own metadata; `PVCHAT_GOLDEN` names another directory of such files. What only
//! holds of our files (the published constants, a silent router) is asked of those in `fixtures/golden`.

#[path = "../../../../fixtures/fetched.rs"]
mod fetched;
mod support;

// One module per subject:
mod compare;
mod language;
mod preprocess;
mod qformer;
mod remoh;
mod smollm2;
mod smolvlm_e2e;
mod smolvlm_text;
mod smolvlm_vision;
mod vision;
