//! Every way in which a file can be wrong, and what is said about it.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{clip, other};
use image::RgbImage;
use pvchat_video::{Clip, Error, Limits, Quality, SamplingPlan, VideoReader, VideoWriter, write_clip};
use tempfile::TempDir;

fn file(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// The error of opening a file and reading all of it, whose message must name the file.
fn error(path: &Path) -> Error {
    error_with(path, Limits::default())
}

fn error_with(path: &Path, limits: Limits) -> Error {
    let read = || VideoReader::open_with(path, limits)?.sample(&SamplingPlan::All);
    let error = read().expect_err("the file is wrong");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(error.to_string().contains(';'), "no remedy in: {error}");
    error
}

macro_rules! assert_error {
    ($error:expr, $pattern:pat $(if $guard:expr)?) => {
        match $error {
            $pattern $(if $guard)? => {}
            other => panic!("expected {}, got {other:?}", stringify!($pattern)),
        }
    };
}

#[test]
fn missing_files_directories_and_empty_files() {
    let folder = tempfile::tempdir().unwrap();
    assert_error!(error(&folder.path().join("absent.mp4")), Error::MissingFile { .. });
    assert_error!(error(Path::new("https://example.org/clip.mp4")), Error::MissingFile { .. });
    assert_error!(error(folder.path()), Error::NotAFile { kind: "a directory", .. });
    assert_error!(error(Path::new("/dev/zero")), Error::NotAFile { kind: "a device or a pipe", .. });
    let (_folder, empty) = file("empty.mp4", "");
    assert_error!(error(&empty), Error::EmptyFile { .. });
}

#[test]
fn texts_and_noise_are_not_videos() {
    let (_folder, text) = file("text.mp4", "Dear diary,\ntoday I renamed a file.\n".repeat(100));
    assert_error!(error(&text), Error::NotAVideo { .. });
    let noise: Vec<u8> = (0..50_000u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let (_folder, noise) = file("noise.mp4", noise);
    assert_error!(error(&noise), Error::NotAVideo { .. } | Error::NoVideoStream { .. });
}

#[test]
fn playlists_open_no_other_file() {
    // FFmpeg looks for the second of these in the working directory, so the test runs once more with another.
    if std::env::var_os("PVCHAT_TEST_PLAYLISTS").is_none() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("clip.ts");
        std::fs::copy(other("clip.ts"), &target).unwrap();
        assert_eq!(Clip::open(&target, 1).unwrap().frames.len(), 1);
        let hls = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:{}\n#EXT-X-ENDLIST\n", target.display());
        std::fs::write(folder.path().join("list.m3u8"), hls).unwrap();
        std::fs::write(folder.path().join("list.ffconcat"), "ffconcat version 1.0\nfile clip.ts\n").unwrap();
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "playlists_open_no_other_file"]).env("PVCHAT_TEST_PLAYLISTS", "1").current_dir(folder.path());
        let output = again.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    for list in ["list.m3u8", "list.ffconcat"] {
        assert_error!(error(Path::new(list)), Error::NotAVideo { .. } | Error::NoVideoStream { .. });
    }
}

#[test]
fn sound_has_no_video_stream() {
    assert_error!(error(&other("sound_only.m4a")), Error::NoVideoStream { container, .. } if container.contains("mp4"));
    assert_error!(error(&other("sound_with_cover.m4a")), Error::NoVideoStream { .. });
}

#[test]
fn unknown_codecs_are_named_as_such() {
    let mut bytes = std::fs::read(clip("h264_one_frame.mp4")).unwrap();
    let at = bytes.windows(4).position(|window| window == b"avc1").unwrap();
    let entry = at + bytes[at..].windows(4).skip(1).position(|window| window == b"avc1").map_or(0, |next| next + 1);
    bytes[entry..entry + 4].copy_from_slice(b"zzzz");
    let (_folder, path) = file("unknown.mp4", bytes);
    assert_error!(error(&path), Error::UnsupportedCodec { .. });
}

#[test]
fn a_stream_without_frames() {
    let bytes = std::fs::read(other("fragmented.mp4")).unwrap();
    let first_fragment = bytes.windows(4).position(|window| window == b"moof").unwrap() - 4;
    let (_folder, path) = file("header_only.mp4", &bytes[..first_fragment]);
    assert_error!(error(&path), Error::NoFrames { .. });
}

#[test]
fn cut_files_say_so() {
    let front = std::fs::read(other("index_first.mp4")).unwrap();
    let (_folder, path) = file("half.mp4", &front[..front.len() / 2]);
    assert_error!(error(&path), Error::Truncated { reason, .. } if reason.contains("mdat"));
    let back = std::fs::read(clip("h264_b_frames.mp4")).unwrap();
    let index = back.windows(4).position(|window| window == b"moov").unwrap() - 4;
    for length in [index - 1, index] {
        let (_folder, path) = file("no_index.mp4", &back[..length]);
        assert_error!(error(&path), Error::Truncated { .. });
    }
    let mkv = std::fs::read(other("clip.mkv")).unwrap();
    let (_folder, path) = file("half.mkv", &mkv[..mkv.len() / 2]);
    assert_error!(error(&path), Error::Truncated { .. });
}

#[test]
fn damage_is_reported_with_its_frame() {
    let whole = std::fs::read(clip("h264_b_frames.mp4")).unwrap();
    let payload = whole.windows(4).position(|window| window == b"mdat").unwrap() + 4;
    let end = whole.windows(4).position(|window| window == b"moov").unwrap() - 4;
    let damaged = |from: usize| {
        let mut bytes = whole.clone();
        bytes[from..end].fill(0);
        file("damaged.mp4", bytes)
    };
    let (_folder, path) = damaged(payload);
    assert_error!(error(&path), Error::Decode { frame: 0, .. });
    let (_folder, path) = damaged((payload + end) / 2);
    assert_error!(error(&path), Error::Decode { frame: 1..=49, .. });
    // The frames before the damage are still there to be had one by one.
    let frames: Vec<_> = VideoReader::open(&path).unwrap().frames().collect();
    assert!(frames.len() > 5 && frames.iter().rev().skip(1).all(Result::is_ok) && frames.last().unwrap().is_err());
}

#[test]
fn nothing_is_printed() {
    // Once more in a process of its own, because FFmpeg writes past the capture of the test program.
    for test in ["damage_is_reported_with_its_frame", "cut_files_say_so", "texts_and_noise_are_not_videos"] {
        let program = std::env::current_exe().unwrap();
        let output = std::process::Command::new(program).args(["--exact", test, "--nocapture"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{test}");
    }
}

#[test]
fn limits_hold() {
    let path = clip("h264_b_frames.mp4");
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    assert_error!(
        error_with(&path, with(|l| l.frame_pixels = 176 * 144 - 1)),
        Error::LimitExceeded { field: "frame_pixels", .. }
    );
    assert_error!(
        error_with(&clip("still.png"), with(|l| l.frame_pixels = 100)),
        Error::LimitExceeded { field: "frame_pixels", .. }
    );
    assert_error!(error_with(&path, with(|l| l.frames = 49)), Error::LimitExceeded { field: "frames", .. });
    assert_error!(
        error_with(&path, with(|l| l.clip_bytes = 176 * 144 * 3 * 50 - 1)),
        Error::LimitExceeded { field: "clip_bytes", .. }
    );
    assert_error!(error_with(&path, with(|l| l.time = Some(Duration::ZERO))), Error::LimitExceeded { field: "time", .. });
    let exact = with(|l| {
        l.frame_pixels = 176 * 144;
        l.frames = 50;
        l.clip_bytes = 176 * 144 * 3 * 50;
    });
    assert_eq!(VideoReader::open_with(&path, exact).unwrap().sample(&SamplingPlan::All).unwrap().frames.len(), 50);
    assert_error!(Clip::open(&path, usize::MAX).unwrap_err(), Error::LimitExceeded { field: "clip_bytes", .. });
}

#[test]
fn plans_that_cannot_be_carried_out() {
    let mut reader = VideoReader::open(clip("h264_b_frames.mp4")).unwrap();
    assert_error!(
        reader.sample(&SamplingPlan::Indices(vec![3, 50])).unwrap_err(),
        Error::FrameOutOfRange { index: 50, count: 50, .. }
    );
    for plan in [SamplingPlan::Uniform(0), SamplingPlan::Every(0), SamplingPlan::Indices(vec![])] {
        assert_error!(reader.sample(&plan).unwrap_err(), Error::InvalidSetting { name: "sampling plan", .. });
    }
}

#[test]
fn clips_of_more_frames_than_allowed_are_refused_before_they_are_counted() {
    // Found by fuzzing: with a size of 0x0 in the header, any number of frames took no room.
    let mut bytes = std::fs::read(other("clip.mkv")).unwrap();
    for element in [0xb0, 0xba] {
        // Width and height: identifier, length of two bytes, value.
        let at = bytes.windows(2).position(|window| window == [element, 0x82] || window == [element, 0x81]).unwrap();
        let length = usize::from(bytes[at + 1] & 0x0f);
        bytes[at + 2..at + 2 + length].fill(0);
    }
    let (_folder, path) = file("no_size.mkv", bytes);
    for path in [path, clip("h264_b_frames.mp4")] {
        let Ok(mut reader) = VideoReader::open(path) else { continue };
        for plan in [SamplingPlan::Uniform(usize::MAX), SamplingPlan::Uniform(2_000_000)] {
            assert_error!(reader.sample(&plan).unwrap_err(), Error::LimitExceeded { field: "frames" | "clip_bytes", .. });
        }
    }
}

#[test]
fn writers_refuse_what_they_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let create = |width, height, rate, quality| VideoWriter::create(&path, width, height, rate, quality).unwrap_err();
    let default = Quality::default();
    assert_error!(create(65, 64, 25.0, default), Error::InvalidSetting { name: "frame size", .. });
    assert_error!(create(0, 64, 25.0, default), Error::InvalidSetting { name: "frame size", .. });
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_error!(create(64, 64, rate, default), Error::InvalidSetting { name: "frame rate", .. });
    }
    assert_error!(create(64, 64, 25.0, Quality::RateFactor(52)), Error::InvalidSetting { name: "rate factor", .. });
    assert_error!(write_clip(&path, &[], 25.0).unwrap_err(), Error::InvalidSetting { name: "number of frames", .. });
    let mut writer = VideoWriter::create(&path, 64, 64, 25.0, default).unwrap();
    assert_error!(writer.write(&RgbImage::new(64, 62)).unwrap_err(), Error::FrameSize { frame: 0, got_height: 62, .. });
    assert_error!(writer.finish().unwrap_err(), Error::InvalidSetting { name: "number of frames", .. });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");

    let absent = folder.path().join("absent").join("clip.mp4");
    assert_error!(write_clip(&absent, &[RgbImage::new(64, 64)], 25.0).unwrap_err(), Error::Write { path, .. } if path == absent);
    // A directory of the target's name: found out at the end, and nothing stays beside it.
    std::fs::create_dir(&path).unwrap();
    assert_error!(write_clip(&path, &[RgbImage::new(64, 64)], 25.0).unwrap_err(), Error::Write { .. });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn headers_that_claim_too_much_are_not_believed() {
    let whole = std::fs::read(clip("h264_b_frames.mp4")).unwrap();
    let sizes = whole.windows(4).position(|window| window == b"stsz").unwrap();
    let mut bytes = whole.clone();
    bytes[sizes + 12..sizes + 16].copy_from_slice(&1_000_000_000u32.to_be_bytes());
    let (_folder, path) = file("billion.mp4", bytes);
    assert_error!(error(&path), Error::LimitExceeded { field: "packets", .. });
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    assert_error!(error_with(&clip("vp9.webm"), with(|l| l.packets = 20)), Error::LimitExceeded { field: "packets", .. });
    let path = clip("h264_b_frames.mp4");
    assert_error!(
        error_with(&path, with(|l| l.duration = Some(Duration::from_secs(1)))),
        Error::LimitExceeded { field: "duration", .. }
    );
}

#[test]
fn a_hundred_thousand_pixels_each_way_are_refused_before_they_are_allocated() {
    let (_folder, path) = file("huge.y4m", "YUV4MPEG2 W100000 H100000 F25:1 Ip A1:1 C420jpeg\nFRAME\n");
    assert_error!(error(&path), Error::LimitExceeded { field: "frame_pixels", .. } | Error::NotAVideo { .. });
    // A PNG whose header is whole: its check sum covers the claim.
    let mut header = b"IHDR".to_vec();
    header.extend([100_000u32.to_be_bytes(), 100_000u32.to_be_bytes()].concat());
    header.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(&header);
    png.extend(crc32fast::hash(&header).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    let (_folder, path) = file("huge.png", png);
    assert_error!(error(&path), Error::LimitExceeded { field: "frame_pixels", .. });
    // 65535 is as far as an mp4 can count.
    let mut bytes = std::fs::read(clip("h264_b_frames.mp4")).unwrap();
    let table = bytes.windows(4).position(|window| window == b"stsd").unwrap();
    let entry = table + bytes[table..].windows(4).position(|window| window == b"avc1").unwrap();
    bytes[entry + 28..entry + 32].fill(255);
    let (_folder, path) = file("huge.mp4", bytes);
    match VideoReader::open(&path).and_then(|mut reader| reader.sample(&SamplingPlan::All)) {
        Err(Error::LimitExceeded { field: "frame_pixels", .. }) => {}
        // FFmpeg may believe the pictures instead.
        Ok(found) => assert_eq!(found.frames[0].dimensions(), (176, 144)),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn playlists_of_addresses_reach_nobody() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let address = server.local_addr().unwrap();
    let lists = [
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://{address}/clip.ts\n#EXT-X-ENDLIST\n"),
        format!("ffconcat version 1.0\nfile http://{address}/clip.ts\n"),
        format!(
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:rtsp://{address}/\nm=video 5004 RTP/AVP 96\n"
        ),
        format!("<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"><BaseURL>http://{address}/</BaseURL></MPD>"),
    ];
    for (list, name) in lists.iter().zip(["list.m3u8", "list.ffconcat", "list.sdp", "list.mpd"]) {
        let (_folder, path) = file(name, list);
        assert_error!(error(&path), Error::NotAVideo { .. } | Error::NoVideoStream { .. });
        let asked = server.accept();
        assert!(asked.is_err(), "{name}: somebody called");
    }
}

#[test]
fn encrypted_pictures_are_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encrypted.mp4");
    let made = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(clip("h264_b_frames.mp4"))
        .args(["-c", "copy", "-encryption_scheme", "cenc-aes-ctr"])
        .args(["-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    assert_error!(error(&path), Error::Encrypted { stream: 0, .. });
}

#[cfg(unix)]
#[test]
fn a_pipe_that_never_delivers_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe.mp4");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_error!(error(&path), Error::NotAFile { kind: "a device or a pipe", .. });
}
