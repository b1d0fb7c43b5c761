//! Damaged files: what is found, what is left out, and that the rest is right.

mod common;

use std::path::Path;

use common::{clip, other};
use pvchat_video::{DamageKind, DamagePolicy, Error, Frame, ReadOptions, SamplingPlan, StreamPlan, VideoReader};

fn open(path: &Path, damage: DamagePolicy) -> VideoReader {
    let mut options = ReadOptions::default();
    // One thread, with which every patched picture is marked.
    (options.damage, options.threads) = (damage, 1);
    VideoReader::open_with(path, options).unwrap()
}

fn all(path: &Path) -> Vec<Frame> {
    VideoReader::open(path).unwrap().frames().map(Result::unwrap).collect()
}

/// Where the packets of a file lie, in the order of decoding: first byte and length.
fn packets(path: &Path) -> Vec<(usize, usize)> {
    let output = std::process::Command::new("ffprobe")
        .args("-v error -select_streams v -show_entries packet=pos,size -of csv=p=0".split(' '))
        .arg(path)
        .output()
        .unwrap();
    let line = |line: &str| {
        let mut numbers = line.split(',').map(|number| number.parse().unwrap());
        let (size, position) = (numbers.next().unwrap(), numbers.next().unwrap());
        (position, size)
    };
    String::from_utf8(output.stdout).unwrap().lines().map(line).collect()
}

/// A copy of a file with the later two thirds of some packets overwritten; in HEVC, whose decoder does not notice noise
/// inside of a picture, the whole of them.
fn with_damage(path: &Path, folder: &Path, numbers: &[usize]) -> std::path::PathBuf {
    let mut bytes = std::fs::read(path).unwrap();
    let places = packets(path);
    for &number in numbers {
        let (from, length) = places[number];
        let kept = if path.ends_with("hevc.mp4") { 0 } else { length / 3 };
        let payload = &mut bytes[from + kept..from + length];
        payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= (at as u8).wrapping_mul(37) | 1);
    }
    let damaged = folder.join(path.file_name().unwrap());
    std::fs::write(&damaged, bytes).unwrap();
    damaged
}

/// Damages packet 8 of a clip whose first group of pictures is longer, and looks at what comes out.
fn check(path: &Path) {
    let name = path.display();
    let folder = tempfile::tempdir().unwrap();
    let (whole, damaged) = (all(path), with_damage(path, folder.path(), &[8]));
    let failed = open(&damaged, DamagePolicy::Fail).frames().find_map(Result::err);
    assert!(matches!(failed, Some(Error::Decode { .. })), "{name}: {failed:?}");

    let mut reader = open(&damaged, DamagePolicy::Skip);
    let left: Vec<Frame> = reader.frames().map(Result::unwrap).collect();
    assert!(!left.is_empty() && left.len() < whole.len(), "{name}: {} of {} frames", left.len(), whole.len());
    assert!(left.iter().all(|frame| *frame == whole[frame.index]), "{name}: a frame that is given is not that of the whole file");
    let report = reader.damage();
    let first = report.iter().find(|damage| damage.packet == Some(8)).unwrap_or_else(|| panic!("{name}: {report:?}"));
    assert!(first.frame.is_some() && first.seconds.is_some() && !first.reason.is_empty(), "{name}: {first:?}");
    let mut accounted: Vec<usize> = left.iter().map(|f| f.index).chain(report.iter().filter_map(|d| d.frame)).collect();
    accounted.sort_unstable();
    accounted.dedup();
    assert_eq!(accounted, (0..whole.len()).collect::<Vec<_>>(), "{name}: every frame is given or reported");

    // The same frames out of order.
    let found = reader.sample(&SamplingPlan::All).unwrap();
    assert_eq!(found.indices, left.iter().map(|frame| frame.index).collect::<Vec<_>>(), "{name}");
    assert!(found.frames.iter().zip(&left).all(|(image, frame)| *image == frame.image), "{name}");
    assert!(!reader.damage().is_empty(), "{name}");
    let last = reader.sample(&SamplingPlan::Indices(vec![0])).unwrap();
    assert!(last.indices == [0] && reader.damage().is_empty(), "{name}: frame 0 is before the damage");
}

#[test]
fn damaged_packets_in_the_middle_are_found_in_every_codec() {
    for name in ["h264_b_frames.mp4", "hevc.mp4", "mpeg4.mp4"] {
        check(&clip(name));
    }
}

#[test]
fn errors_name_the_damaged_frame_and_its_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = clip("h264_b_frames.mp4");
    let whole = all(&path);
    // Packets that the decoder rejects: a patched picture is not always marked with several threads.
    for packet in [1, 9, 10, 11, 27] {
        let damaged = with_damage(&path, folder.path(), &[packet]);
        let mut reader = open(&damaged, DamagePolicy::Skip);
        drop(reader.frames().collect::<Vec<_>>());
        let found = reader.damage().iter().find(|damage| damage.packet == Some(packet as u64)).unwrap().clone();
        let number = found.frame.unwrap();
        for threads in [1, 2, 5] {
            let mut options = ReadOptions::default();
            options.threads = threads;
            let mut strict = VideoReader::open_with(&damaged, options).unwrap();
            for error in [strict.frames().find_map(Result::err), strict.sample(&SamplingPlan::All).err()] {
                let Some(Error::Decode { frame, reason, .. }) = error else { panic!("{error:?}") };
                assert_eq!(frame, number, "packet {packet}, {threads} threads: {reason}");
                let time = format!("at about {:.2} s", whole[number].seconds);
                assert!(reason.contains(&time), "packet {packet}, {threads} threads, {time}: {reason}");
            }
            let streamed = strict.stream(StreamPlan::per_second(100.0)).unwrap().find_map(Result::err);
            assert!(matches!(streamed, Some(Error::Decode { frame, .. }) if frame == number), "{streamed:?}");
        }
    }
}

#[test]
fn damage_ends_at_the_next_key_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = clip("h264_b_frames.mp4");
    let mut reader = open(&with_damage(&path, folder.path(), &[1]), DamagePolicy::Skip);
    let numbers: Vec<usize> = reader.frames().map(|frame| frame.unwrap().index).collect();
    // A key frame every 20.
    assert!(numbers.contains(&0) && (20..50).all(|number| numbers.contains(&number)), "{numbers:?}");
    assert!(numbers.len() < 40, "{numbers:?}");
    // Frames behind the damage are had without error whatever the policy.
    let mut strict = open(&folder.path().join("h264_b_frames.mp4"), DamagePolicy::Fail);
    assert!(strict.frame(30).unwrap() == all(&path)[30]);
    let error = strict.sample(&SamplingPlan::Range(0..20)).unwrap_err();
    assert!(matches!(error, Error::Decode { frame: 0..=19, .. }) && error.to_string().contains(" s;"), "{error}");
}

#[test]
fn files_cut_in_the_middle_of_a_group_give_what_they_have() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["index_first.mp4", "clip.mkv", "clip.ts"] {
        let path = other(name);
        let whole = all(&path);
        let bytes = std::fs::read(&path).unwrap();
        let cut = folder.path().join(name);
        std::fs::write(&cut, &bytes[..bytes.len() * 3 / 5]).unwrap();
        let mut reader = open(&cut, DamagePolicy::Skip);
        let left: Vec<Frame> = reader.frames().map(Result::unwrap).collect();
        assert!(left.len() > 10 && left.len() < 45, "{name}: {} frames", left.len());
        // By their times: pictures that are gone for good, between others at the end, have no numbers.
        let same = |a: &Frame, b: &Frame| (a.seconds - b.seconds).abs() < 1e-3 && a.image == b.image;
        let wrong = left.iter().find(|frame| !whole.iter().any(|other| same(frame, other)));
        assert!(wrong.is_none(), "{name}: {wrong:?} of {}, {:?}", left.len(), reader.damage());
        // A transport stream does not say where it ends; its last picture may be found incomplete.
        if name != "clip.ts" {
            assert!(reader.damage().iter().any(|damage| damage.kind == DamageKind::End), "{name}: {:?}", reader.damage());
            let strict = VideoReader::open(&cut).unwrap_err();
            assert!(matches!(strict, Error::Truncated { .. }), "{name}: {strict}");
        }
    }
}

#[test]
fn whole_files_have_no_damage() {
    for name in ["h264_b_frames.mp4", "vp9.webm", "h264_edit_list.mp4", "h264_variable_rate.mp4", "hevc.mp4"] {
        let mut reader = open(&clip(name), DamagePolicy::Skip);
        let frames: Vec<Frame> = reader.frames().map(Result::unwrap).collect();
        assert!(reader.damage().is_empty(), "{name}: {:?}", reader.damage());
        assert!(frames == all(&clip(name)), "{name}");
    }
}
