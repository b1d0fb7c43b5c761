//! A few plans, one after the other, on whole files of which every frame is known.

#![no_main]

use std::sync::LazyLock;

use choices::{Choices, Known};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/choices.rs"]
mod choices;
#[path = "../../tests/common/mod.rs"]
mod common;

const CLIPS: [&str; 4] = ["h264_b_frames.mp4", "h264_variable_rate.mp4", "mpeg4.mp4", "vp9.webm"];
static KNOWN: LazyLock<[Known; 4]> = LazyLock::new(|| CLIPS.map(|name| Known::open(&common::clip(name))));

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::of(bytes);
    let known = &KNOWN[choices.below(KNOWN.len())];
    known.check_stream(&mut choices);
    known.check(&mut choices);
});
