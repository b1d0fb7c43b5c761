//! A directory of clips read through the cache, twice, each by 1 and 2 threads: `directory FOLDER`.

use std::path::PathBuf;
use std::time::Instant;

use pvchat_video::{FrameCache, ReadOptions, SamplingPlan, sample_files};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: directory FOLDER")?;
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let place = tempfile::tempdir()?;
        let cache = FrameCache::new(place.path(), 8 << 30)?;
        for pass in ["first", "second"] {
            let start = Instant::now();
            let clips = pool.install(|| sample_files(&paths, &SamplingPlan::Uniform(8), &ReadOptions::default(), Some(&cache)));
            let seconds = start.elapsed().as_secs_f64();
            let read = clips.iter().filter(|clip| clip.is_ok()).count();
            println!("{threads} threads, {pass} pass: {read} of {} clips in {seconds:.3} s", paths.len());
        }
    }
    Ok(())
}
