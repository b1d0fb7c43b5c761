//! Streams: the frames of a plan one after another, from any time on, whatever the file is like.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{clip, files, fixtures, other};
use pvchat_video::{DamagePolicy, Error, Frame, ReadOptions, SamplingPlan, StreamPlan, VideoReader};

fn stream(reader: &mut VideoReader, per_second: f64, from_seconds: f64) -> Vec<Frame> {
    reader.stream(StreamPlan { per_second, from_seconds }).unwrap().map(Result::unwrap).collect()
}

/// A file that the ffmpeg program makes of a test picture of 25 frames per second.
fn make(folder: &Path, name: &str, frames: usize, arguments: &str) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("ffmpeg")
        .args("-nostdin -v error -f lavfi -i testsrc2=size=96x64:rate=25 -pix_fmt yuv420p -frames:v".split(' '))
        .arg(frames.to_string())
        .args(arguments.split_whitespace())
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success(), "{name} could not be made");
    path
}

/// Streams at several rates and from several times give the frames of the sampling plan, and those of one pass.
fn compare(path: &Path) {
    let name = path.display();
    let all: Vec<Frame> = VideoReader::open(path).unwrap().frames().map(Result::unwrap).collect();
    for rate in [2.0, 7.0, 1000.0] {
        let expected = VideoReader::open(path).unwrap().sample(&SamplingPlan::PerSecond(rate)).unwrap();
        let mut reader = VideoReader::open(path).unwrap();
        let found = stream(&mut reader, rate, 0.0);
        assert_eq!(found.iter().map(|frame| frame.index).collect::<Vec<_>>(), expected.indices, "{name} at {rate}");
        for frame in &found {
            assert!(frame.image == all[frame.index].image, "{name} at {rate}: frame {} differs", frame.index);
            assert!((frame.seconds - all[frame.index].seconds).abs() < 1e-9, "{name} at {rate}: frame {}", frame.index);
        }
        // From a frame in the middle, from behind it, and from behind the last.
        let middle = found.len() / 2;
        let from = found[middle].seconds;
        assert!(stream(&mut reader, rate, from) == found[middle..], "{name} at {rate} from {from}");
        assert!(stream(&mut reader, rate, from + 1e-3) == found[middle + 1..], "{name} at {rate} behind {from}");
        assert!(stream(&mut reader, rate, 1e6).is_empty(), "{name} at {rate}");
    }
}

#[test]
fn streams_of_every_clip_are_its_frames() {
    let clips = files(&fixtures().join("clips"));
    clips.iter().filter(|path| VideoReader::open(path).is_ok()).for_each(|path| compare(path));
    for name in ["fragmented.mp4", "clip.mkv", "clip.ts", "index_first.mp4"] {
        compare(&other(name));
    }
}

#[test]
fn streams_of_every_kind_of_file_are_its_frames() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("long.mp4", "-c:v libx264 -threads 1 -g 250 -bf 3"),
        ("open.mkv", "-c:v libx264 -threads 1 -g 12 -bf 3 -x264-params open-gop=1:scenecut=0"),
        ("refresh.ts", "-c:v libx264 -threads 1 -g 12 -intra-refresh 1"),
        ("open_hevc.mp4", "-c:v libx265 -x265-params log-level=none:pools=1:frame-threads=1:open-gop=1:keyint=12:bframes=3"),
        ("interlaced.mp4", "-c:v libx264 -threads 1 -flags +ilme+ildct -g 12"),
        ("no_times.h264", "-c:v libx264 -threads 1 -g 12 -bf 2"),
        ("moving.gif", "-pix_fmt rgb8"),
    ] {
        compare(&make(folder.path(), name, 60, arguments));
    }
}

#[test]
fn sizes_and_threads_are_the_callers() {
    let path = clip("h264_b_frames.mp4");
    let mut options = ReadOptions::default();
    (options.size, options.threads) = (Some((64, 32)), 1);
    let one = stream(&mut VideoReader::open_with(&path, options.clone()).unwrap(), 4.0, 0.0);
    assert!(one.len() == 8 && one.iter().all(|frame| frame.image.dimensions() == (64, 32)), "{one:?}");
    options.threads = 4;
    assert!(stream(&mut VideoReader::open_with(&path, options).unwrap(), 4.0, 0.0) == one);
}

/// A copy of an mp4, whose packets lie before its index, with every third byte from one percentage to another changed.
fn damage(path: &Path, from: usize, until: usize) -> PathBuf {
    let mut bytes = std::fs::read(path).unwrap();
    let length = bytes.len();
    bytes[from * length / 100..until * length / 100].iter_mut().step_by(3).for_each(|byte| *byte ^= 0x5b);
    let damaged = path.with_file_name("damaged.mp4");
    std::fs::write(&damaged, bytes).unwrap();
    damaged
}

#[test]
fn damage_costs_no_more_than_its_groups() {
    let folder = tempfile::tempdir().unwrap();
    let whole = make(folder.path(), "whole.mp4", 250, "-c:v libx264 -threads 1 -g 25 -bf 2");
    let damaged = damage(&whole, 40, 45);
    let whole = stream(&mut VideoReader::open(&whole).unwrap(), 5.0, 0.0);
    for threads in [1, 3] {
        let mut options = ReadOptions::default();
        options.threads = threads;
        let mut strict = VideoReader::open_with(&damaged, options.clone()).unwrap();
        let met: Vec<_> = strict.stream(StreamPlan::per_second(5.0)).unwrap().collect();
        let (last, before) = met.split_last().unwrap();
        let Err(Error::Decode { frame, .. }) = last else { panic!("{last:?}") };
        assert!(before.len() > 10 && before.iter().zip(&whole).all(|(found, frame)| found.as_ref().unwrap() == frame));
        assert!((75..150).contains(frame), "{last:?}");
        // Behind the damage there is none.
        assert!(stream(&mut strict, 5.0, 6.5) == whole[33..]);

        options.damage = DamagePolicy::Skip;
        let mut reader = VideoReader::open_with(&damaged, options).unwrap();
        let left = stream(&mut reader, 5.0, 0.0);
        assert!(left.len() < 50 && left.len() > 35, "{left:?}");
        assert!(left.iter().all(|frame| whole.contains(frame)));
        let lost = whole.iter().filter(|frame| !left.contains(frame));
        let report = reader.damage();
        for frame in lost {
            assert!(report.iter().any(|damage| damage.frame == Some(frame.index)), "{frame:?}: {report:?}");
        }
        assert!(report.iter().all(|damage| damage.frame.is_none_or(|frame| (75..150).contains(&frame))), "{report:?}");
    }
}

#[test]
fn files_cut_anywhere_end_with_an_error_or_empty() {
    for name in ["clip.ts", "clip.mkv", "fragmented.mp4"] {
        let bytes = std::fs::read(other(name)).unwrap();
        for cut in (0..20).map(|part| bytes.len() * part / 20) {
            for policy in [DamagePolicy::Fail, DamagePolicy::Skip] {
                let mut options = ReadOptions::default();
                options.damage = policy;
                let Ok(mut reader) = VideoReader::from_bytes(&bytes[..cut], options) else { continue };
                let Ok(stream) = reader.stream(StreamPlan::per_second(5.0)) else { continue };
                let met: Vec<_> = stream.collect();
                let errors = met.iter().filter(|frame| frame.is_err()).count();
                assert!(errors <= 1 && met.len() < 12, "{name} cut at {cut}: {errors} errors in {met:?}");
                assert!(errors == 0 || met.last().unwrap().is_err(), "{name} cut at {cut}: {met:?}");
            }
        }
    }
}

#[test]
fn plans_that_are_none_are_refused() {
    let mut reader = VideoReader::open(clip("h264_b_frames.mp4")).unwrap();
    for per_second in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-310] {
        let refused = reader.stream(StreamPlan::per_second(per_second)).err();
        assert!(matches!(refused, Some(Error::InvalidSetting { .. })), "{per_second}: {refused:?}");
    }
    for from_seconds in [-1.0, f64::NAN, f64::INFINITY] {
        let refused = reader.stream(StreamPlan { per_second: 1.0, from_seconds }).err();
        assert!(matches!(refused, Some(Error::InvalidSetting { .. })), "{from_seconds}: {refused:?}");
    }
    assert_eq!(stream(&mut reader, f64::MAX, 0.0).len(), 50);
    assert_eq!(stream(&mut reader, 1e-300, 0.0).len(), 1);
    assert!(stream(&mut reader, 1.0, f64::MAX).is_empty());
}
