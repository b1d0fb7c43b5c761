//! Eight evenly spread frames of each file, and how long they take: `eight_frames THREADS FILE...`.

use std::time::{Duration, Instant};

use pvchat_video::{ReadOptions, SamplingPlan, VideoReader};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let threads: usize =
        arguments.next().and_then(|text| text.to_str()?.parse().ok()).ok_or("usage: eight_frames THREADS FILE...")?;
    let mut options = ReadOptions::default();
    options.threads = threads;
    for path in arguments {
        let mut times = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            VideoReader::open_with(&path, options.clone())?.sample(&SamplingPlan::Uniform(8))?;
            times.push(start.elapsed());
        }
        times.sort();
        let median: Duration = times.get(times.len() / 2).copied().unwrap_or_default();
        println!("{:9.1} ms  {}", median.as_secs_f64() * 1e3, path.to_string_lossy());
    }
    Ok(())
}
