//! Memory does not grow with the number of files opened.
#![cfg(target_os = "linux")]

mod common;

use std::sync::Mutex;

use common::clip;
use pvchat_video::{SamplingPlan, StreamPlan, VideoReader};

/// The memory of a process is that of all its tests: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_thousand_opens_and_drops_leave_memory_flat() {
    let _alone = ALONE.lock().unwrap();
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

#[test]
fn a_stream_does_not_keep_its_frames() {
    let _alone = ALONE.lock().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, codec) in [("indexed.mp4", "-c:v libx264 -threads 1 -preset ultrafast -g 1000"), ("not_indexed.avi", "-c:v mpeg4")]
    {
        let path = folder.path().join(name);
        let made = std::process::Command::new("ffmpeg")
            .args("-nostdin -v error -f lavfi -i testsrc2=size=640x360:rate=25 -pix_fmt yuv420p -frames:v 400".split(' '))
            .args(codec.split(' '))
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        let mut reader = VideoReader::open(&path).unwrap();
        let (mut early, mut most) = (0, 0);
        for (number, frame) in reader.stream(StreamPlan::per_second(25.0)).unwrap().enumerate() {
            assert_eq!(frame.unwrap().index, number);
            most = most.max(resident());
            if number == 60 {
                early = most;
            }
        }
        // All frames together take 276 million bytes.
        let grown = most - early;
        assert!(early > 0 && grown < 16 << 20, "{name}: {grown} bytes more than the {early} after 60 frames");
    }
}
