//! What it costs to get frames: eight of a clip, one out of order, all of them, from the cache.
//!
//! The clips are rendered by `scripts/fixtures.sh`; `PVCHAT_MEDIA` names a directory of others for the first group.

use std::path::{Path, PathBuf};
use std::process::Command;

use criterion::{Criterion, criterion_group, criterion_main};
use pvchat_video::{FrameCache, ReadOptions, SamplingPlan, VideoReader};

const THREADS: usize = 2;

fn clips() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fixtures.sh");
    let output = Command::new("bash").arg(script).output().expect("bash runs");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim_end()).join("clips")
}

fn options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.threads = THREADS;
    options
}

fn open(path: &Path) -> VideoReader {
    VideoReader::open_with(path, options()).expect("a clip")
}

fn video(criterion: &mut Criterion) {
    let folder = clips();
    let mut group = criterion.benchmark_group(format!("eight uniform frames, {THREADS} threads"));
    group.sample_size(10);
    let directory = std::env::var_os("PVCHAT_MEDIA").map_or_else(|| folder.clone(), PathBuf::from);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| VideoReader::open(path).is_ok()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        group.bench_function(name, |bencher| {
            bencher.iter(|| open(path).sample(&SamplingPlan::Uniform(8)).expect("eight frames"));
        });
    }
    group.finish();

    let clip = folder.join("h264_b_frames.mp4");
    criterion.bench_function("open and describe", |bencher| bencher.iter(|| open(&clip)));
    criterion.bench_function("every frame, one by one", |bencher| bencher.iter(|| open(&clip).frames().count()));
    let mut reader = open(&clip);
    let mut number = 0;
    criterion.bench_function("one frame out of order", |bencher| {
        bencher.iter(|| {
            number = (number + 17) % 50;
            reader.frame(number).expect("a frame")
        });
    });
    let place = tempfile::tempdir().expect("a folder");
    let cache = FrameCache::new(place.path(), 1 << 30).expect("a cache");
    criterion.bench_function("eight uniform frames from the cache", |bencher| {
        bencher.iter(|| cache.sample(&clip, &SamplingPlan::Uniform(8), &options()).expect("eight frames"));
    });
}

criterion_group!(benches, video);
criterion_main!(benches);
