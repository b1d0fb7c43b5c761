//! The cache of decoded frames: the same bytes again, whatever happens to its folder.

mod common;

use std::path::{Path, PathBuf};

use common::{clip, files, fixtures};
use pvchat_video::{Clip, FrameCache, ReadOptions, SamplingPlan, VideoReader, sample_files};

const PLAN: SamplingPlan = SamplingPlan::Uniform(8);
const ROOM: u64 = 1 << 30;

fn entries(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == "frames")).collect()
}

fn bytes(folder: &Path) -> u64 {
    entries(folder).iter().map(|path| path.metadata().unwrap().len()).sum()
}

fn decoded(path: &Path) -> Clip {
    VideoReader::open(path).unwrap().sample(&PLAN).unwrap()
}

#[test]
fn the_second_time_gives_the_same_without_decoding() {
    let folder = tempfile::tempdir().unwrap();
    let cache = FrameCache::new(folder.path(), ROOM).unwrap();
    let options = ReadOptions::default();
    let path = clip("h264_variable_rate.mp4");
    let expected = decoded(&path);
    assert!(cache.sample(&path, &PLAN, &options).unwrap() == expected);
    let entry = entries(folder.path()).remove(0);
    let written = entry.metadata().unwrap().modified().unwrap();
    assert!(cache.sample(&path, &PLAN, &options).unwrap() == expected);
    assert_eq!(entry.metadata().unwrap().modified().unwrap(), written, "it was written again");
    // The content counts and not the name; the plan and the size count.
    let copy = folder.path().join("copy.mp4");
    std::fs::copy(&path, &copy).unwrap();
    assert!(cache.sample(&copy, &PLAN, &options).unwrap().frames == expected.frames);
    assert_eq!(entries(folder.path()).len(), 1);
    assert_eq!(cache.sample(&path, &SamplingPlan::Uniform(2), &options).unwrap().frames.len(), 2);
    let mut small = options.clone();
    small.size = Some((32, 16));
    assert_eq!(cache.sample(&path, &PLAN, &small).unwrap().frames[0].dimensions(), (32, 16));
    assert_eq!(entries(folder.path()).len(), 3);
    // Other content under the same name is another clip.
    std::fs::copy(clip("h264_b_frames.mp4"), &copy).unwrap();
    assert!(cache.sample(&copy, &PLAN, &options).unwrap().frames == decoded(&clip("h264_b_frames.mp4")).frames);
}

#[test]
fn entries_that_were_cut_or_changed_are_decoded_anew() {
    let folder = tempfile::tempdir().unwrap();
    let cache = FrameCache::new(folder.path(), ROOM).unwrap();
    let path = clip("h264_b_frames.mp4");
    let expected = cache.sample(&path, &PLAN, &ReadOptions::default()).unwrap();
    let entry = entries(folder.path()).remove(0);
    let whole = std::fs::read(&entry).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    let mut huge = whole.clone();
    huge[12..20].fill(255);
    for wrong in [&whole[..whole.len() - 1], &whole[..20], &[], &changed, &huge, b"something else"] {
        std::fs::write(&entry, wrong).unwrap();
        assert!(cache.sample(&path, &PLAN, &ReadOptions::default()).unwrap() == expected);
        assert!(std::fs::read(&entry).unwrap() == whole, "not repaired");
    }
}

#[test]
fn the_bound_holds_and_the_oldest_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str| (clip(name), 176 * 144 * 3 * 8 + 8 * 16 + 36);
    let (one, size) = of("h264_b_frames.mp4");
    let cache = FrameCache::new(folder.path(), 2 * size).unwrap();
    for name in ["h264_b_frames.mp4", "hevc.mp4", "vp9.webm", "mpeg4.mp4", "h264_bt709.mp4"] {
        cache.sample(clip(name), &PLAN, &ReadOptions::default()).unwrap();
        assert!(bytes(folder.path()) <= 2 * size, "{name}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(entries(folder.path()).len(), 2);
    let before = entries(folder.path());
    cache.sample(clip("h264_bt709.mp4"), &PLAN, &ReadOptions::default()).unwrap();
    cache.sample(clip("mpeg4.mp4"), &PLAN, &ReadOptions::default()).unwrap();
    assert_eq!(entries(folder.path()), before, "the two newest were kept");
    // What does not fit at all is not kept, and throws nothing out.
    let mut tiny = FrameCache::new(folder.path(), 1000).unwrap();
    assert!(tiny.sample(&one, &PLAN, &ReadOptions::default()).unwrap() == decoded(&one));
    assert_eq!(entries(folder.path()), before);
    tiny = FrameCache::new(folder.path().join("new/folder"), 2 * size).unwrap();
    assert!(tiny.sample(&one, &PLAN, &ReadOptions::default()).unwrap() == decoded(&one));
}

#[test]
fn many_writers_and_one_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = files(&fixtures().join("clips")).into_iter().filter(|path| Clip::open(path, 1).is_ok()).collect();
    let expected: Vec<Clip> = paths.iter().map(|path| decoded(path)).collect();
    std::fs::write(folder.path().join(".pvchat-left.part"), b"half an entry").unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    std::fs::File::options().write(true).open(folder.path().join(".pvchat-left.part")).unwrap().set_modified(old).unwrap();
    // Room for some of them: eight threads, each a cache of its own, write and evict at once.
    let most = 3 << 20;
    std::thread::scope(|scope| {
        for start in 0..8 {
            let (paths, expected, folder) = (&paths, &expected, folder.path());
            scope.spawn(move || {
                let cache = FrameCache::new(folder, most).unwrap();
                for turn in 0..2 * paths.len() {
                    let place = (start * 3 + turn) % paths.len();
                    let found = cache.sample(&paths[place], &PLAN, &ReadOptions::default()).unwrap();
                    assert!(found == expected[place], "{}", paths[place].display());
                }
            });
        }
    });
    assert!(bytes(folder.path()) <= most, "{} bytes", bytes(folder.path()));
    let left: Vec<_> = files(folder.path()).into_iter().filter(|path| path.extension().is_some_and(|e| e == "part")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn directories_are_read_by_all_threads_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let cache = FrameCache::new(folder.path(), ROOM).unwrap();
    let mut paths = files(&fixtures().join("clips"));
    paths.push(PathBuf::from("absent.mp4"));
    let plain = sample_files(&paths, &PLAN, &ReadOptions::default(), None, |clip| clip);
    for _ in 0..2 {
        let cached = sample_files(&paths, &PLAN, &ReadOptions::default(), Some(&cache), |clip| clip);
        for ((found, expected), path) in cached.iter().zip(&plain).zip(&paths) {
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert!(found == expected && found.source == *path, "{}", path.display()),
                (Err(_), Err(_)) => assert!(path.ends_with("absent.mp4")),
                _ => panic!("{}", path.display()),
            }
        }
    }
}
