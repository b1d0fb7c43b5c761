//! Decoding: each kind of clip against the ffmpeg program's frames, and what the reader says of it.

mod common;

use common::{clip, compare, other};
use pvchat_video::{Clip, Error, Frame, Limits, SamplingPlan, StreamPlan, VideoInfo, VideoReader};

/// Compares a clip and checks the number and the size of its frames.
fn check(name: &str, frames: usize, width: u32, height: u32) -> VideoInfo {
    let found = compare(&clip(name)).unwrap();
    assert_eq!((found.frames, found.width, found.height), (frames, width, height), "{name}");
    assert!(found.is_small(), "{name}: {found:?}");
    let mut reader = VideoReader::open(clip(name)).unwrap();
    assert_eq!(reader.frame_count().unwrap(), frames, "{name}");
    reader.info().clone()
}

#[test]
fn h264_with_b_frames_is_drained_to_its_last_frame() {
    let info = check("h264_b_frames.mp4", 50, 176, 144);
    assert_eq!((info.codec.as_str(), info.stated_frames, info.rotation), ("h264", Some(50), 0));
    assert_eq!((info.frame_rate, info.duration_seconds), (25.0, Some(2.0)));
}

#[test]
fn rotated_clips_stand_upright() {
    for (degrees, width, height) in [(90, 120, 176), (180, 176, 120), (270, 120, 176)] {
        let info = check(&format!("h264_rotated_{degrees}.mp4"), 20, width, height);
        assert_eq!((info.rotation, info.width, info.height), (degrees, width, height));
    }
}

#[test]
fn mirrored_clips_are_mirrored_back() {
    // The matrix of the track is rewritten in place: mirrored left to right, top to bottom, and along both diagonals.
    let one = 1 << 16;
    for matrix in [[-one, 0, 0, one], [one, 0, 0, -one], [0, one, one, 0], [0, -one, -one, 0]] {
        let mut bytes = std::fs::read(clip("h264_rotated_180.mp4")).unwrap();
        let track = bytes.windows(4).position(|window| window == b"tkhd").unwrap();
        let at = track + 4 + 40;
        for (place, value) in [0, 4, 12, 16].into_iter().zip(matrix) {
            bytes[at + place..at + place + 4].copy_from_slice(&i32::to_be_bytes(value));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirrored.mp4");
        std::fs::write(&path, bytes).unwrap();
        let found = compare(&path).unwrap();
        assert!(found.frames == 20 && found.is_small(), "{matrix:?}: {found:?}");
    }
}

#[test]
fn ten_bits_and_full_range_and_both_matrices_give_the_right_colours() {
    for name in ["h264_10_bit.mp4", "h264_full_range.mp4", "h264_bt709.mp4", "h264_bt601.mp4", "h264_bt2020.mp4"] {
        check(name, 30, 176, 144);
    }
}

#[test]
fn one_picture_has_the_same_colours_however_it_is_coded() {
    // Independent of the ffmpeg program's opinion of the colours: all were made from one picture.
    let first = |name| Clip::open(clip(name), 1).unwrap().frames.remove(0);
    let reference = first("h264_bt601.mp4");
    for name in ["h264_10_bit.mp4", "h264_full_range.mp4", "h264_bt709.mp4", "h264_bt2020.mp4"] {
        let psnr = common::psnr(&reference, &first(name));
        assert!(psnr > 30.0, "{name}: {psnr} dB");
    }
}

#[test]
fn other_codecs_and_odd_sizes_decode() {
    assert_eq!(check("hevc.mp4", 30, 176, 144).codec, "hevc");
    assert_eq!(check("mpeg4.mp4", 30, 176, 144).codec, "mpeg4");
    assert_eq!(check("vp9.webm", 30, 176, 144).stated_frames, None);
    check("h264_odd_size.mp4", 30, 175, 143);
    check("ffv1_odd_size.mkv", 20, 175, 143);
    check("h264_one_frame.mp4", 1, 176, 144);
}

#[test]
fn times_are_those_of_display() {
    check("h264_variable_rate.mp4", 50, 176, 144);
    let mut reader = VideoReader::open(clip("h264_variable_rate.mp4")).unwrap();
    let times: Vec<f64> = reader.frames().map(|frame| frame.unwrap().seconds).collect();
    // Source frames 0, 3, 6, 7, 9, ... of 25 per second.
    for (time, source) in times.iter().zip([0.0, 3.0, 6.0, 7.0, 9.0, 12.0]) {
        assert!((time - source / 25.0).abs() < 1e-3, "{times:?}");
    }
    assert!(times.is_sorted());
}

#[test]
fn sampled_frames_are_those_of_the_whole_clip() {
    let mut reader = VideoReader::open(clip("h264_b_frames.mp4")).unwrap();
    let all: Vec<Frame> = reader.frames().map(Result::unwrap).collect();
    let clip_of = |plan| VideoReader::open(clip("h264_b_frames.mp4")).unwrap().sample(&plan).unwrap();
    for (plan, indices) in [
        (SamplingPlan::Uniform(8), vec![3, 9, 15, 21, 27, 34, 40, 46]),
        (SamplingPlan::All, (0..50).collect()),
        (SamplingPlan::Every(20), vec![0, 20, 40]),
        (SamplingPlan::Indices(vec![49, 0, 7, 7]), vec![49, 0, 7, 7]),
    ] {
        let found = clip_of(plan.clone());
        assert_eq!(found.indices, indices, "{plan:?}");
        assert_eq!((found.frame_rate, &found.source), (25.0, &clip("h264_b_frames.mp4")));
        for ((frame, time), &index) in found.frames.iter().zip(&found.times).zip(&indices) {
            assert!(*frame == all[index].image, "{plan:?}: frame {index}");
            assert!((time - index as f64 / 25.0).abs() < 1e-9, "{plan:?}: frame {index} at {time}");
        }
        assert_eq!(found.frames.len(), indices.len(), "{plan:?}");
    }
    // The same reader again, after its pass to the end.
    assert_eq!(reader.sample(&SamplingPlan::Uniform(8)).unwrap(), clip_of(SamplingPlan::Uniform(8)));
}

#[test]
fn a_short_clip_repeats_its_frames() {
    let found = Clip::open(clip("h264_one_frame.mp4"), 8).unwrap();
    assert_eq!(found.indices, [0; 8]);
    assert_eq!(found.frames.len(), 8);
    assert!(found.frames.iter().all(|frame| frame.dimensions() == (176, 144) && *frame == found.frames[0]));
}

#[test]
fn the_number_of_frames_is_the_decoders_not_the_containers() {
    let info = check("h264_edit_list.mp4", 25, 176, 144);
    assert_eq!(info.stated_frames, Some(30));
    let found = Clip::open(clip("h264_edit_list.mp4"), 8).unwrap();
    assert_eq!(found.indices, pvchat_video::sampling::uniform_indices(25, 8));
    assert_eq!(found.times[0], 0.04);
}

#[test]
fn a_stream_without_a_stated_count_is_counted() {
    let found = Clip::open(clip("vp9.webm"), 8).unwrap();
    assert_eq!(found.indices, pvchat_video::sampling::uniform_indices(30, 8));
}

#[test]
fn pictures_that_change_size_follow_the_first() {
    let found = VideoReader::open(other("size_changes.h264")).unwrap().sample(&SamplingPlan::All).unwrap();
    assert_eq!(found.frames.len(), 20);
    assert!(found.frames.iter().all(|frame| frame.dimensions() == (176, 144)));
    assert!(found.frames[10].pixels().any(|pixel| pixel.0[0] > 200), "the scaled frames are not black");
}

#[test]
fn still_images_are_clips_of_one_frame() {
    let mut reader = VideoReader::open(clip("still.png")).unwrap();
    assert_eq!((reader.info().codec.as_str(), reader.info().width, reader.info().height), ("png", 48, 32));
    assert_eq!(reader.frame_count().unwrap(), 1);
    let image = image::open(clip("still.png")).unwrap().into_rgb8();
    let found = reader.sample(&SamplingPlan::Uniform(4)).unwrap();
    assert_eq!((found.indices.as_slice(), found.times.as_slice()), ([0; 4].as_slice(), [0.0; 4].as_slice()));
    assert!(found.frames.iter().all(|frame| *frame == image));
    assert_eq!(reader.frames().map(|frame| frame.unwrap().image).collect::<Vec<_>>(), [image]);
}

#[test]
fn animated_images_have_all_their_frames() {
    let folder = tempfile::tempdir().unwrap();
    let ffmpeg = |arguments: &str, name: &str| {
        let program = std::process::Command::new("ffmpeg")
            .args("-nostdin -v error".split(' '))
            .args(arguments.split(' '))
            .arg(name)
            .current_dir(folder.path())
            .status();
        assert!(program.unwrap().success(), "{name} could not be made");
    };
    ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=10 -frames:v 7 -pix_fmt rgb24", "%d.png");
    let pictures: Vec<_> =
        (1..=7).map(|number| image::open(folder.path().join(format!("{number}.png"))).unwrap().into_rgb8()).collect();
    for (name, arguments) in [("moving.png", "-c:v apng -f apng"), ("moving.webp", "-c:v libwebp_anim -lossless 1")] {
        ffmpeg(&format!("-framerate 10 -i %d.png {arguments}"), name);
        let path = folder.path().join(name);
        let mut reader = VideoReader::open(&path).unwrap();
        let info = reader.info().clone();
        assert_eq!((info.stated_frames, reader.frame_count().unwrap()), (Some(7), 7), "{name}");
        assert!((info.frame_rate - 10.0).abs() < 1e-6 && info.duration_seconds.is_some_and(|end| (end - 0.7).abs() < 1e-6));
        let frames: Vec<_> = reader.frames().map(Result::unwrap).collect();
        assert_eq!(frames.len(), 7, "{name}");
        for (number, frame) in frames.iter().enumerate() {
            let off = frame.image.as_raw().iter().zip(pictures[number].as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
            // The crate's blending of a WebP's frames may round to the next level.
            assert!(off.is_some_and(|off| off <= 1) && frame.index == number, "{name}: frame {number} is off by {off:?}");
            assert!((frame.seconds - number as f64 / 10.0).abs() < 1e-6, "{name}: frame {number} at {}", frame.seconds);
        }
        assert!(reader.frame_at(0.45).unwrap() == frames[4], "{name}");
        let stream = reader.stream(StreamPlan { per_second: 5.0, from_seconds: 0.1 }).unwrap();
        assert_eq!(stream.map(|frame| frame.unwrap().index).collect::<Vec<_>>(), [2, 4, 6], "{name}");
        let mut limits = Limits::default();
        limits.clip_bytes = 5 * 64 * 48 * 3;
        let refused = VideoReader::open_with(&path, limits).err();
        assert!(matches!(refused, Some(Error::LimitExceeded { field: "clip_bytes", .. })), "{name}: {refused:?}");
        let bytes = std::fs::read(&path).unwrap();
        let cut = VideoReader::from_bytes(bytes[..bytes.len() / 2].to_vec(), Limits::default()).err();
        assert!(cut.is_some(), "{name}: half of it opens");
    }
}

#[test]
fn photos_stand_upright() {
    // A wide photo: dark, half bright and bright from left to right above, black below; with each of the eight orientations
    // of Exif as an entry behind the first marker.
    let level = |x: u32, y: u32| if y < 24 { 90 + (x / 32 * 80) as u8 } else { 0 };
    let wide = image::RgbImage::from_fn(96, 48, |x, y| image::Rgb([level(x, y); 3]));
    let mut jpeg = std::io::Cursor::new(Vec::new());
    wide.write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    // Where a point of the stored picture is shown, by the definition of the orientation (TIFF 6.0, tag 274).
    type Shown = fn(u32, u32) -> (u32, u32);
    let shown: [Shown; 8] = [
        |x, y| (x, y),
        |x, y| (95 - x, y),
        |x, y| (95 - x, 47 - y),
        |x, y| (x, 47 - y),
        |x, y| (y, x),
        |x, y| (47 - y, x),
        |x, y| (47 - y, 95 - x),
        |x, y| (y, 95 - x),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (orientation, shown) in (1u8..).zip(shown) {
        let mut bytes = jpeg.clone();
        let mut exif = *b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        exif[29] = orientation;
        bytes.splice(2..2, exif);
        let path = folder.path().join("photo.mp4"); // the content counts, not the name
        std::fs::write(&path, bytes).unwrap();
        let frame = Clip::open(&path, 1).unwrap().frames.remove(0);
        assert_eq!(frame.dimensions(), if orientation < 5 { (96, 48) } else { (48, 96) }, "orientation {orientation}");
        for (x, y) in [(16, 12), (48, 12), (80, 12), (16, 36), (80, 36)] {
            let (to_x, to_y) = shown(x, y);
            let found = frame.get_pixel(to_x, to_y).0[0];
            assert!(found.abs_diff(level(x, y)) < 12, "orientation {orientation}: {found} at {to_x}, {to_y}");
        }
    }
}

#[test]
fn names_mean_files_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["concat:a|b.mp4", "http:%03d.mp4", "-i clip.mp4", "Größe \u{1F3AC}.mp4"] {
        let path = folder.path().join(name);
        std::fs::copy(clip("h264_one_frame.mp4"), &path).unwrap();
        assert_eq!(Clip::open(&path, 1).unwrap().frames.len(), 1, "{name}");
    }
    #[cfg(target_os = "linux")]
    {
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"not \xff utf-8.mp4");
        let path = folder.path().join(name);
        std::fs::copy(clip("h264_one_frame.mp4"), &path).unwrap();
        assert_eq!(Clip::open(&path, 1).unwrap().frames.len(), 1);
    }
}

#[test]
fn readers_and_writers_may_move_between_threads() {
    fn movable<T: Send>(_: &T) {}
    let reader = VideoReader::open(clip("h264_one_frame.mp4")).unwrap();
    movable(&reader);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    movable(&pvchat_video::VideoWriter::create(path, 16, 16, 25.0, pvchat_video::Quality::default()).unwrap());
}
