//! Goes through long footage at a few frames per second and says how fast that is:
//! `cargo run --release --example footage -- FILE [FRAMES_PER_SECOND] [WIDTHxHEIGHT] [THREADS]`.
#![allow(clippy::print_stdout, reason = "a program")]

use std::time::Instant;

use pvchat_video::{ReadOptions, StreamPlan, VideoReader};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().ok_or("name a video file")?;
    let per_second: f64 = arguments.get(1).map_or(Ok(2.0), |rate| rate.parse())?;
    let mut options = ReadOptions::default();
    if let Some((width, height)) = arguments.get(2).and_then(|size| size.split_once('x')) {
        options.size = Some((width.parse()?, height.parse()?));
    }
    options.threads = arguments.get(3).map_or(Ok(0), |threads| threads.parse())?;

    let start = Instant::now();
    let mut reader = VideoReader::open_with(path, options)?;
    let (mut frames, mut seconds) = (0, 0.0);
    for frame in reader.stream(StreamPlan::per_second(per_second))? {
        (frames, seconds) = (frames + 1, frame?.seconds);
    }
    let took = start.elapsed().as_secs_f64();
    println!("{frames} frames up to {seconds:.1} s in {took:.1} s: {:.0} times real time", seconds / took);
    Ok(())
}
