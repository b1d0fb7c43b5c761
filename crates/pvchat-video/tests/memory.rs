//! Memory does not grow with the number of files opened.
#![cfg(target_os = "linux")]

mod common;

use common::clip;
use pvchat_video::{SamplingPlan, VideoReader};

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_thousand_opens_and_drops_leave_memory_flat() {
    let bytes = std::fs::read(clip("h264_b_frames.mp4")).unwrap();
    let cut = bytes[..bytes.len() / 2].to_vec();
    let open = |turn: usize| {
        let mut reader = VideoReader::open(clip(["h264_b_frames.mp4", "vp9.webm", "hevc.mp4"][turn % 3])).unwrap();
        match turn % 4 {
            0 => drop(reader),
            1 => drop(reader.sample(&SamplingPlan::Uniform(2)).unwrap()),
            // Dropped in the middle of the file.
            2 => drop(reader.frames().next()),
            _ => assert!(VideoReader::from_bytes(cut.clone(), pvchat_video::ReadOptions::default()).is_err()),
        }
    };
    (0..200).for_each(open);
    let before = resident();
    (0..1000).for_each(open);
    let grown = resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes after 1000 opens, {before} before");
}
