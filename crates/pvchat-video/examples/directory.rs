//! A directory of clips read through the cache, first when it is empty and twice again, by 1 and by 2 threads. Every clip is
//! let go of once its frames are counted; in the third pass all are kept: `directory FOLDER`.

use std::path::PathBuf;
use std::time::Instant;

use pvchat_video::{Clip, FrameCache, ReadOptions, SamplingPlan, sample_files};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: directory FOLDER")?;
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    let (plan, options) = (SamplingPlan::Uniform(8), ReadOptions::default());
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let place = tempfile::tempdir()?;
        let cache = FrameCache::new(place.path(), 8 << 30)?;
        for (pass, keeps) in [("first", false), ("second", false), ("third", true)] {
            let start = Instant::now();
            let take = |clip: pvchat_video::Result<Clip>| {
                let frames = clip.as_ref().map_or(0, |clip| clip.frames.len());
                (frames, keeps.then_some(clip))
            };
            let taken = pool.install(|| sample_files(&paths, &plan, &options, Some(&cache), take));
            let seconds = start.elapsed().as_secs_f64();
            let (frames, clips) = (taken.iter().map(|(frames, _)| frames).sum::<usize>(), paths.len());
            println!("{threads} threads, {pass} pass: {frames} frames of {clips} clips in {seconds:.3} s");
        }
    }
    Ok(())
}
