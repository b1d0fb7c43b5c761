//! What is done with one input, by the test that mutates files itself and by the targets of `cargo fuzz`.
#![allow(dead_code, reason = "each of them uses a part of it")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use image::RgbImage;
use pvchat_video::{DamagePolicy, Limits, ReadOptions, SamplingPlan, StreamPlan, VideoReader};

/// Longer than this no input may take.
pub const HANG: Duration = Duration::from_secs(5);

/// Numbers to decide by: bytes that a fuzzer chose, and where those end Marsaglia's xorshift.
pub struct Choices<'a> {
    bytes: &'a [u8],
    state: u64,
}

impl<'a> Choices<'a> {
    pub fn random(seed: u64) -> Self {
        Self { bytes: &[], state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, ..Self::random(1) }
    }

    pub fn next(&mut self) -> u64 {
        if let Some((chosen, rest)) = self.bytes.split_first_chunk() {
            self.bytes = rest;
            return u64::from_le_bytes(*chosen);
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    pub fn below(&mut self, end: usize) -> usize {
        if let Some((chosen, rest)) = self.bytes.split_first() {
            self.bytes = rest;
            return usize::from(*chosen) % end.max(1);
        }
        (self.next() % end.max(1) as u64) as usize
    }
}

pub fn plan(choices: &mut Choices) -> SamplingPlan {
    let numbers = [0, 1, 2, 8, 30, 1000, usize::MAX / 2, usize::MAX];
    let times = [0.0, -1.0, 0.5, 1e9, 1e-300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 2.0];
    let kind = choices.below(8);
    let mut number = || match choices.below(10) {
        8 => choices.below(64),
        9 => choices.next() as usize,
        known => numbers[known],
    };
    let (from, to) = (number(), number());
    let mut time = || match choices.below(12) {
        10 => choices.below(256) as f64 / 100.0,
        11 => f64::from_bits(choices.next()),
        known => times[known],
    };
    let (first, second) = (time(), time());
    match kind {
        0 => SamplingPlan::Uniform(to),
        1 => SamplingPlan::All,
        2 => SamplingPlan::Every(to),
        3 => SamplingPlan::PerSecond(first),
        4 => SamplingPlan::KeyFrames,
        5 => SamplingPlan::Range(from..to),
        6 => SamplingPlan::Times(vec![first, 0.0, second, first]),
        _ => SamplingPlan::Indices(vec![from, 0, to, from]),
    }
}

/// Rates and times as odd as those of [`plan`].
fn stream_plan(choices: &mut Choices) -> StreamPlan {
    let mut number = || {
        let known = [0.0, -1.0, 0.5, 2.0, 10.0, 1e-300, 1e9, f64::MAX, f64::NAN, f64::INFINITY];
        match choices.below(12) {
            10 => choices.below(256) as f64 / 100.0,
            11 => f64::from_bits(choices.next()),
            place => known[place],
        }
    };
    StreamPlan { per_second: number(), from_seconds: number() }
}

fn options(choices: &mut Choices) -> ReadOptions {
    let mut limits = Limits::default();
    (limits.frame_pixels, limits.frames, limits.clip_bytes) = (1 << 20, 300, 64 << 20);
    (limits.packets, limits.time) = (100_000, Some(HANG / 2));
    let mut options = ReadOptions::default();
    options.limits = limits;
    options.threads = 1 + choices.below(2);
    options.damage = [DamagePolicy::Fail, DamagePolicy::Skip][choices.below(2)];
    options
}

/// Reads a file in some way; whether it gave frames.
pub fn read(bytes: &Arc<[u8]>, choices: &mut Choices) -> bool {
    let Ok(mut reader) = VideoReader::from_bytes(Arc::clone(bytes), options(choices)) else { return false };
    match choices.below(5) {
        2 | 3 => {
            let plan = stream_plan(choices);
            if let Ok(stream) = reader.stream(plan) {
                let mut last = None;
                for frame in stream.take(40).flatten() {
                    assert!(last.is_none_or(|last| frame.seconds > last), "{plan:?}: {frame:?} after {last:?}");
                    last = Some(frame.seconds);
                }
            }
        }
        0 => drop(reader.frames().take(40).collect::<Vec<_>>()),
        1 => drop(reader.frame_count()),
        _ => {}
    }
    let sampled = reader.sample(&plan(choices)).is_ok();
    drop(reader.frame_at(0.1));
    sampled
}

/// A whole file and its frames, decoded one by one.
pub struct Known {
    bytes: Arc<[u8]>,
    frames: Vec<RgbImage>,
}

impl Known {
    pub fn open(path: &Path) -> Self {
        let frames = VideoReader::open(path).unwrap().frames().map(|frame| frame.unwrap().image).collect();
        Self { bytes: std::fs::read(path).unwrap().into(), frames }
    }

    /// Whatever a stream gives must be what came out one by one.
    pub fn check_stream(&self, choices: &mut Choices) {
        let mut reader = VideoReader::from_bytes(Arc::clone(&self.bytes), options(choices)).unwrap();
        let plan = stream_plan(choices);
        for frame in reader.stream(plan).into_iter().flatten() {
            let frame = frame.unwrap();
            assert!(frame.image == self.frames[frame.index], "{plan:?}: {frame:?}");
        }
    }

    /// Whatever a few plans pick, one after the other, must be what came out one by one; how many of them picked something.
    pub fn check(&self, choices: &mut Choices) -> usize {
        let mut reader = VideoReader::from_bytes(Arc::clone(&self.bytes), options(choices)).unwrap();
        let plans = 1 + choices.below(3);
        let mut picked = 0;
        for plan in (0..plans).map(|_| plan(choices)) {
            let Ok(clip) = reader.sample(&plan) else { continue };
            picked += 1;
            assert!(!clip.frames.is_empty(), "{plan:?}");
            assert_eq!((clip.indices.len(), clip.times.len()), (clip.frames.len(), clip.frames.len()), "{plan:?}");
            for (frame, index) in clip.frames.iter().zip(&clip.indices) {
                assert!(*frame == self.frames[*index], "{plan:?}: frame {index}");
            }
        }
        picked
    }
}
