//! What is written comes back.

mod common;

use std::process::Command;

use common::{clip, compare, psnr};
use image::{Rgb, RgbImage};
use pvchat_video::{Quality, SamplingPlan, VideoReader, VideoWriter, write_clip};

/// A disc that moves over a gradient: smooth, as cameras see the world.
fn scene(width: u32, height: u32, frames: u32) -> Vec<RgbImage> {
    let disc = |t: u32| {
        move |x: u32, y: u32| {
            let (dx, dy) = (f64::from(x) - 20.0 - 3.0 * f64::from(t), f64::from(y) - f64::from(height) / 2.0);
            let inside = 1.0 / (1.0 + ((dx.hypot(dy) - 14.0) / 2.0).exp());
            let mix = |from: f64, to: f64| (from + inside * (to - from)) as u8;
            let (u, v) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
            Rgb([mix(60.0 + 120.0 * u, 220.0), mix(80.0 + 90.0 * v, 60.0), mix(150.0 - 80.0 * u, 40.0)])
        }
    };
    (0..frames).map(|t| RgbImage::from_fn(width, height, disc(t))).collect()
}

/// Every level once in every channel, and no two pixels alike: nothing that a codec would find easy.
fn noise(width: u32, height: u32, frames: u32) -> Vec<RgbImage> {
    let level = |x: u32, y: u32, t: u32, c: u32| {
        (x.wrapping_mul(73) ^ y.wrapping_mul(179) ^ t.wrapping_mul(283) ^ c.wrapping_mul(97))
            .wrapping_mul(2_654_435_761)
            .to_be_bytes()[0]
    };
    (0..frames).map(|t| RgbImage::from_fn(width, height, |x, y| Rgb([0, 1, 2].map(|c| level(x, y, t, c))))).collect()
}

#[test]
fn the_default_quality_is_above_35_decibels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scene.mp4");
    let scene = scene(128, 96, 30);
    write_clip(&path, &scene, 30000.0 / 1001.0).unwrap();
    let mut reader = VideoReader::open(&path).unwrap();
    let info = reader.info().clone();
    assert_eq!((info.codec.as_str(), info.width, info.height, info.stated_frames), ("h264", 128, 96, Some(30)));
    assert!((info.frame_rate - 30000.0 / 1001.0).abs() < 1e-9, "{info:?}");
    assert!((info.duration_seconds.unwrap() - 30.0 * 1001.0 / 30000.0).abs() < 1e-3, "{info:?}");
    let found = reader.sample(&SamplingPlan::All).unwrap();
    assert_eq!(found.frames.len(), 30);
    let mut least = f64::INFINITY;
    for (index, (frame, original)) in found.frames.iter().zip(&scene).enumerate() {
        let psnr = psnr(frame, original);
        least = least.min(psnr);
        assert!(psnr > 35.0, "frame {index}: {psnr} dB");
        assert!((found.times[index] - index as f64 * 1001.0 / 30000.0).abs() < 1e-3, "frame {index} at {}", found.times[index]);
    }
    println!("the worst of 30 frames: {least:.1} dB");
    // Played without complaint by ffprobe, and of the kind that every browser plays: 8 bits, 4:2:0, profile High at most.
    let colours = "color_space,color_primaries,color_transfer,color_range";
    let entries = format!("stream=codec_name,profile,pix_fmt,width,height,r_frame_rate,nb_read_frames,{colours}");
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_entries", &entries, "-of", "default=nokey=0:noprint_wrappers=1"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(probe.status.success() && probe.stderr.is_empty(), "{}", String::from_utf8_lossy(&probe.stderr));
    let said = String::from_utf8(probe.stdout).unwrap();
    for line in ["codec_name=h264", "profile=High", "pix_fmt=yuv420p", "width=128", "height=96", "nb_read_frames=30"] {
        assert!(said.lines().any(|found| found == line), "{line} is not in\n{said}");
    }
    // Where one of these is missing, Chromium takes the matrix of HD for large pictures.
    for line in ["color_space=smpte170m", "color_primaries=bt709", "color_transfer=iec61966-2-1", "color_range=tv"] {
        assert!(said.lines().any(|found| found == line), "{line} is not in\n{said}");
    }
    // And the ffmpeg program sees the same frames.
    let found = compare(&path).unwrap();
    assert!(found.frames == 30 && found.is_small(), "{found:?}");
}

/// Browsers stop where a picture after a jump refers to one before the key frame.
#[test]
fn players_jump_to_every_key_frame_without_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cuts.mp4");
    let colours = [[200, 40, 40], [40, 180, 60], [50, 60, 210], [128, 128, 128u8]];
    let half = |x, colour: [u8; 3]| Rgb(if x < 64 { colour } else { colour.map(|level| level / 2) });
    let cut = |colour| vec![RgbImage::from_fn(128, 96, |x, _| half(x, colour)); 10];
    let cuts: Vec<RgbImage> = colours.into_iter().flat_map(cut).collect();
    write_clip(&path, &cuts, 10.0).unwrap();
    let keys = VideoReader::open(&path).unwrap().timeline().unwrap().key_frames.clone();
    assert!(keys.len() > 1, "nothing to jump to: {keys:?}");
    for key in keys {
        let seconds = (key as f64 / 10.0 + 0.05).to_string();
        let mut program = Command::new("ffmpeg");
        program.args(["-nostdin", "-v", "warning", "-ss", &seconds, "-i"]).arg(&path).args(["-f", "null", "-"]);
        let said = program.output().unwrap();
        assert!(said.status.success() && said.stderr.is_empty(), "frame {key}: {}", String::from_utf8_lossy(&said.stderr));
    }
}

#[test]
fn lossless_frames_come_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for (width, height) in [(64, 48), (33, 17), (1, 1)] {
        let path = folder.path().join(format!("{width}x{height}.mp4"));
        let noise = noise(width, height, 12);
        let mut writer = VideoWriter::create(&path, width, height, 10.0, Quality::Lossless).unwrap();
        noise.iter().for_each(|frame| writer.write(frame).unwrap());
        writer.finish().unwrap();
        let found = VideoReader::open(&path).unwrap().sample(&SamplingPlan::All).unwrap();
        assert!(found.frames == noise, "{width}x{height}");
        assert_eq!(found.frame_rate, 10.0);
    }
}

#[test]
fn a_better_rate_factor_is_better() {
    let folder = tempfile::tempdir().unwrap();
    let scene = scene(64, 64, 5);
    let quality_of = |factor| {
        let path = folder.path().join(format!("{factor}.mp4"));
        let mut writer = VideoWriter::create(&path, 64, 64, 25.0, Quality::RateFactor(factor)).unwrap();
        scene.iter().for_each(|frame| writer.write(frame).unwrap());
        writer.finish().unwrap();
        psnr(&VideoReader::open(&path).unwrap().sample(&SamplingPlan::All).unwrap().frames[4], &scene[4])
    };
    let (best, middle, worst) = (quality_of(0), quality_of(23), quality_of(51));
    assert!(best > 42.0 && best > middle && middle > worst, "{best} {middle} {worst}");
}

#[test]
fn the_same_frames_give_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a.mp4", "b.mp4"].map(|name| {
        let path = folder.path().join(name);
        write_clip(&path, &scene(64, 64, 10), 25.0).unwrap();
        std::fs::read(path).unwrap()
    });
    assert!(a == b && !a.is_empty());
}

#[test]
fn the_target_appears_at_the_end_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    std::fs::write(&path, "old").unwrap();
    let scene = scene(64, 64, 3);
    let mut writer = VideoWriter::create(&path, 64, 64, 25.0, Quality::default()).unwrap();
    writer.write(&scene[0]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    drop(writer);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a dropped writer leaves something behind");
    write_clip(&path, &scene, 25.0).unwrap();
    assert_eq!(VideoReader::open(&path).unwrap().frame_count().unwrap(), 3);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        // As readable as a file that the test itself makes.
        let mode = |path: &std::path::Path| std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).unwrap());
        let own = folder.path().join("own");
        std::fs::write(&own, "").unwrap();
        assert_eq!(mode(&path), mode(&own));
    }
}

#[test]
fn a_written_clip_can_be_read_and_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("again.mp4");
    let source = VideoReader::open(clip("h264_b_frames.mp4")).unwrap().sample(&SamplingPlan::Uniform(8)).unwrap();
    write_clip(&path, &source.frames, 4.0).unwrap();
    let found = VideoReader::open(&path).unwrap().sample(&SamplingPlan::All).unwrap();
    assert_eq!((found.frames.len(), found.frame_rate), (8, 4.0));
}
