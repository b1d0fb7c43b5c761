//! What the tests share: the fixtures folder, the ffmpeg program's frames, and the comparison with them.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use image::RgbImage;
use pvchat_video::VideoReader;

/// How far a level may be from the ffmpeg program's, of 255, and how far they may be on average.
const TOLERANCE: u8 = 2;
const MEAN_TOLERANCE: f64 = 0.5;

fn script() -> PathBuf {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    above.map(|folder| folder.join("scripts/fixtures.sh")).find(|path| path.is_file()).expect("scripts/fixtures.sh")
}

/// The folder of the generated clips, made on the first call.
pub fn fixtures() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let output = Command::new("bash").arg(script()).stderr(Stdio::inherit()).output().expect("bash runs");
        assert!(output.status.success(), "scripts/fixtures.sh failed");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    })
}

/// A clip that every comparison covers.
pub fn clip(name: &str) -> PathBuf {
    fixtures().join("clips").join(name)
}

/// A file for one test of its own.
pub fn other(name: &str) -> PathBuf {
    fixtures().join("other").join(name)
}

/// The files of a directory, sorted by name.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// How far the frames of a file are from the ffmpeg program's.
#[derive(Debug)]
pub struct Difference {
    pub frames: usize,
    pub width: u32,
    pub height: u32,
    pub max: u8,
    pub mean: f64,
}

impl Difference {
    /// Whether it is within the tolerances.
    pub fn is_small(&self) -> bool {
        self.max <= TOLERANCE && self.mean < MEAN_TOLERANCE
    }
}

/// The reader gives up on a file.
#[derive(Debug)]
pub struct Refusal {
    pub error: pvchat_video::Error,
    /// Whether the ffmpeg program gives no frame either.
    pub by_both: bool,
}

/// Compares every frame of a file with the ffmpeg program's.
pub fn compare(path: &Path) -> Result<Difference, Refusal> {
    let mut program = Command::new("bash")
        .arg(script())
        .arg("rgb24")
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("bash runs");
    let mut expected = BufReader::with_capacity(1 << 20, program.stdout.take().unwrap());
    let result = compare_with(path, &mut expected).map_err(|(error, frames)| {
        let rest = std::io::copy(&mut expected, &mut std::io::sink()).unwrap();
        Refusal { error, by_both: frames == 0 && rest == 0 }
    });
    let status = program.wait().unwrap();
    assert!(result.is_err() || status.success(), "{}: the ffmpeg program failed", path.display());
    result
}

fn compare_with(path: &Path, expected: &mut impl Read) -> Result<Difference, (pvchat_video::Error, usize)> {
    let mut reader = VideoReader::open(path).map_err(|error| (error, 0))?;
    let (width, height) = (reader.info().width, reader.info().height);
    let mut buffer = vec![0; width as usize * height as usize * 3];
    let mut difference = Difference { frames: 0, width, height, max: 0, mean: 0.0 };
    let mut sum = 0u64;
    for frame in reader.frames() {
        let frame = frame.map_err(|error| (error, difference.frames))?;
        assert_eq!(frame.image.dimensions(), (width, height), "{}: frame {}", path.display(), frame.index);
        let read = expected.read_exact(&mut buffer);
        assert!(read.is_ok(), "{}: the ffmpeg program gives no frame {}", path.display(), frame.index);
        let mut levels = 0u64;
        for (ours, theirs) in frame.image.as_raw().iter().zip(&buffer) {
            let apart = ours.abs_diff(*theirs);
            difference.max = difference.max.max(apart);
            levels += u64::from(apart);
        }
        sum += levels;
        difference.frames += 1;
    }
    let rest = std::io::copy(expected, &mut std::io::sink()).unwrap();
    assert_eq!(rest, 0, "{}: the ffmpeg program gives more than our {} frames", path.display(), difference.frames);
    difference.mean = sum as f64 / (difference.frames.max(1) * buffer.len()) as f64;
    Ok(difference)
}

/// Peak signal to noise ratio in decibels.
pub fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let squares: f64 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (255.0f64.powi(2) / (squares / a.as_raw().len() as f64)).log10()
}
