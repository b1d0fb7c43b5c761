//! The bytes of a file; the last eight also choose how it is read, so that every video is a seed as it is.

#![no_main]

use choices::{Choices, read};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/choices.rs"]
mod choices;

fuzz_target!(|bytes: &[u8]| {
    let seed = bytes.last_chunk().map_or(0, |last| u64::from_le_bytes(*last));
    read(&bytes.into(), &mut Choices::random(seed));
});
