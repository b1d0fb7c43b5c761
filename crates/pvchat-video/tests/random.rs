//! Random access: every frame of every file is the one that decoding from the beginning gives.

mod common;

use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use common::{clip, files, fixtures, other};
use pvchat_video::{Frame, Limits, ReadOptions, SamplingPlan, VideoReader};

/// Compares frames taken one by one from the last to the first, and several at once, with those of one pass.
fn compare(path: &Path) {
    let name = path.display();
    let all: Vec<Frame> = VideoReader::open(path).unwrap().frames().map(Result::unwrap).collect();
    let mut reader = VideoReader::open(path).unwrap();
    assert_eq!(reader.frame_count().unwrap(), all.len(), "{name}");
    // Backwards, so that every frame is a jump; of long clips every seventh.
    for number in (0..all.len()).rev().step_by(if all.len() > 60 { 7 } else { 1 }) {
        let found = reader.frame(number).unwrap();
        assert!(found.image == all[number].image, "{name}: frame {number} differs");
        assert_eq!(found.index, number, "{name}");
        assert!((found.seconds - all[number].seconds).abs() < 1e-9, "{name}: frame {number} at {}", found.seconds);
    }
    let spread = reader.sample(&SamplingPlan::Uniform(8)).unwrap();
    for (image, &index) in spread.frames.iter().zip(&spread.indices) {
        assert!(*image == all[index].image, "{name}: frame {index} of eight differs");
    }
    println!("{name}: {} frames", all.len());
}

#[test]
fn every_frame_of_every_clip_is_that_of_one_pass() {
    let directory = std::env::var_os("PVCHAT_MEDIA").map_or_else(|| fixtures().join("clips"), Into::into);
    for path in files(&directory) {
        if VideoReader::open(&path).is_ok() {
            compare(&path);
        }
    }
}

#[test]
fn every_kind_of_stream_is_that_of_one_pass() {
    let folder = tempfile::tempdir().unwrap();
    let kinds: [(&str, &str); 20] = [
        ("long.mp4", "-c:v libx264 -threads 1 -g 250 -bf 3"),
        ("open.mp4", "-c:v libx264 -threads 1 -g 12 -bf 3 -x264-params open-gop=1:scenecut=0"),
        ("open.mkv", "-c:v libx264 -threads 1 -g 12 -bf 3 -x264-params open-gop=1:scenecut=0"),
        ("refresh.mp4", "-c:v libx264 -threads 1 -g 12 -intra-refresh 1"),
        ("open_hevc.mp4", "-c:v libx265 -x265-params log-level=none:pools=1:frame-threads=1:open-gop=1:keyint=12:bframes=3"),
        ("pyramid_hevc.mkv", "-c:v libx265 -x265-params log-level=none:pools=1:frame-threads=1:bframes=4:b-adapt=0:keyint=30"),
        (
            "layers_hevc.mp4",
            "-c:v libx265 -x265-params log-level=none:pools=1:frame-threads=1:temporal-layers=3:bframes=4:keyint=30",
        ),
        ("interlaced.mp4", "-c:v libx264 -threads 1 -flags +ilme+ildct -g 12"),
        ("late.ts", "-c:v libx264 -threads 1 -g 12 -output_ts_offset 5"),
        ("av1.mkv", "-c:v libaom-av1 -cpu-used 8 -g 10 -usage realtime"),
        ("intra.mov", "-c:v prores -profile:v 0"),
        ("intra.avi", "-c:v mjpeg"),
        ("mpeg2.mpg", "-c:v mpeg2video -bf 2 -g 9"),
        ("moving.gif", ""),
        ("negative.mkv", "-c:v libx264 -threads 1 -g 12 -output_ts_offset -0.5 -avoid_negative_ts disabled"),
        ("no_times.h264", "-c:v libx264 -threads 1 -g 12 -bf 2"),
        ("no_times.avi", "-c:v mpeg4 -g 12 -bf 2"),
        ("vp8.webm", "-c:v libvpx -g 12 -auto-alt-ref 1 -lag-in-frames 10"),
        ("vp9_hidden.webm", "-c:v libvpx-vp9 -threads 1 -g 12 -auto-alt-ref 1 -lag-in-frames 10 -cpu-used 5"),
        ("ntsc.mov", "-c:v libx264 -threads 1 -r 30000/1001 -g 12"),
    ];
    for (name, arguments) in kinds {
        let path = folder.path().join(name);
        let made = Command::new("ffmpeg")
            .args("-nostdin -v error -f lavfi -i testsrc2=size=96x64:rate=25 -frames:v 40".split(' '))
            .args(if name.ends_with("gif") || name == "intra.mov" {
                ["-pix_fmt", if name.ends_with("gif") { "rgb8" } else { "yuv422p10le" }]
            } else {
                ["-pix_fmt", "yuv420p"]
            })
            .args(arguments.split_whitespace())
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success(), "{name} could not be made");
        compare(&path);
        let found = common::compare(&path).unwrap();
        assert!(found.is_small(), "{name}: {found:?}");
    }
    for name in ["fragmented.mp4", "clip.mkv", "clip.ts", "index_first.mp4"] {
        compare(&other(name));
    }
}

#[test]
fn bytes_and_streams_are_read_as_files_are() {
    let path = clip("h264_b_frames.mp4");
    let bytes = std::fs::read(&path).unwrap();
    let plan = SamplingPlan::Uniform(5);
    let expected = VideoReader::open(&path).unwrap().sample(&plan).unwrap();
    let memory = VideoReader::from_bytes(bytes.clone(), ReadOptions::default()).unwrap().sample(&plan).unwrap();
    let stream = VideoReader::from_reader(Cursor::new(bytes), ReadOptions::default()).unwrap().sample(&plan).unwrap();
    assert!(memory.frames == expected.frames && stream.frames == expected.frames);
    assert!(VideoReader::from_bytes(Vec::new(), Limits::default()).is_err());
}

#[test]
fn sizes_and_threads_are_the_callers() {
    let path = clip("h264_b_frames.mp4");
    let mut options = ReadOptions::default();
    (options.size, options.threads) = (Some((64, 32)), 1);
    let one = VideoReader::open_with(&path, options.clone()).unwrap().sample(&SamplingPlan::KeyFrames).unwrap();
    assert_eq!(one.indices, [0, 20, 40]);
    assert!(one.frames.iter().all(|frame| frame.dimensions() == (64, 32)));
    options.threads = 4;
    assert!(VideoReader::open_with(&path, options.clone()).unwrap().sample(&SamplingPlan::KeyFrames).unwrap() == one);
    options.size = Some((0, 32));
    assert!(VideoReader::open_with(&path, options).is_err());
}

#[test]
fn eight_threads_read_one_file_at_once() {
    let path = clip("h264_b_frames.mp4");
    let expected = VideoReader::open(&path).unwrap().sample(&SamplingPlan::All).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(VideoReader::open(&path).unwrap().sample(&SamplingPlan::All).unwrap() == expected));
        }
    });
}

#[test]
fn times_and_rates() {
    let mut reader = VideoReader::open(clip("h264_variable_rate.mp4")).unwrap();
    assert!(reader.timeline().unwrap().is_variable_rate());
    assert_eq!(reader.frame_at(0.13).unwrap().index, 1);
    let mut reader = VideoReader::open(clip("h264_b_frames.mp4")).unwrap();
    assert!(!reader.timeline().unwrap().is_variable_rate());
    assert_eq!(reader.frame_at(1.0).unwrap().index, 25);
    assert!(reader.frame_at(60.0).is_err());
}
