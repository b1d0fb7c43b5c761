//! Times, rates, counts and durations are those of the content, whatever the container says.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use pvchat_video::{Frame, SamplingPlan, VideoReader};

fn ffmpeg(arguments: &str, path: &Path) {
    let made = Command::new("ffmpeg").args("-nostdin -v error".split(' ')).args(arguments.split_whitespace()).arg(path).status();
    assert!(made.unwrap().success(), "{} could not be made", path.display());
}

/// Two seconds of a test picture, 25 frames each.
fn make(folder: &Path, name: &str, arguments: &str) -> PathBuf {
    let path = folder.join(name);
    ffmpeg(&format!("-f lavfi -i testsrc2=size=96x64:rate=25 -pix_fmt yuv420p -frames:v 50 {arguments}"), &path);
    path
}

fn check(path: &Path) {
    let name = path.display();
    let mut reader = VideoReader::open(path).unwrap();
    let frames: Vec<Frame> = reader.frames().map(Result::unwrap).collect();
    assert_eq!((frames.len(), reader.frame_count().unwrap()), (50, 50), "{name}");
    for frame in &frames {
        assert!((frame.seconds - frame.index as f64 / 25.0).abs() < 1.5e-3, "{name}: frame {} at {}", frame.index, frame.seconds);
    }
    let info = reader.info().clone();
    assert!((info.frame_rate - 25.0).abs() < 0.01, "{name}: {info:?}");
    assert!(info.stated_frames.is_none_or(|stated| stated == 50), "{name}: {info:?}");
    assert!(info.duration_seconds.is_none_or(|stated| (stated - 2.0).abs() < 0.1), "{name}: {info:?}");
    let late = reader.frame_at(1.5).unwrap();
    assert!(late == frames[37] || late == frames[38], "{name}: frame {} at 1.5 s", late.index);
    assert_eq!(reader.sample(&SamplingPlan::PerSecond(1.0)).unwrap().indices, [0, 25], "{name}");
}

#[test]
fn rates_of_fields_are_not_those_of_frames() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("plain", "-c:v libx264 -threads 1 -g 12 -bf 0"),
        ("b_frames", "-c:v libx264 -threads 1 -g 12 -bf 2"),
        ("fields", "-c:v libx264 -threads 1 -g 12 -flags +ilme+ildct"),
    ] {
        check(&make(folder.path(), &format!("{name}.avi"), arguments));
        // Packets copied from another container keep its unit of time: fields, every second of them empty.
        let source = make(folder.path(), &format!("{name}.mp4"), arguments);
        let copied = folder.path().join(format!("copied_{name}.avi"));
        ffmpeg(&format!("-i {} -c copy", source.display()), &copied);
        check(&copied);
    }
    check(&make(folder.path(), "mpeg4.avi", "-c:v mpeg4 -g 12"));
    check(&make(folder.path(), "fields.ts", "-c:v libx264 -threads 1 -g 12 -flags +ilme+ildct"));
}

#[test]
fn content_that_begins_late_is_no_longer_for_that() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("late.mkv", "-c:v libx264 -threads 1 -g 12"),
        ("late.webm", "-c:v libvpx -deadline realtime"),
        ("late.ts", "-c:v libx264 -threads 1 -g 12"),
        ("late.mp4", "-c:v libx264 -threads 1 -g 12"),
        ("fragmented.mp4", "-c:v libx264 -threads 1 -g 12 -movflags +frag_keyframe+empty_moov"),
        ("late.flv", "-c:v libx264 -threads 1 -g 12"),
        ("late.asf", "-c:v mpeg4"),
        ("late.nut", "-c:v libx264 -threads 1 -g 12"),
    ] {
        check(&make(folder.path(), name, &format!("{arguments} -output_ts_offset 100")));
    }
}
