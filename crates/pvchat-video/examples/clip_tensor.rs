//! Eight uniform frames of a file to the normalised tiles of the published model, as the peers of `scripts/peers-video.sh`
//! do it. Reads names of files from standard input and answers each with milliseconds: `clip_tensor THREADS`.

use std::io::{BufRead, Write};
use std::time::Instant;

use pvchat_video::{ReadOptions, SamplingPlan, VideoReader};
use rayon::prelude::*;

// The very code of the model's preprocessing, without the tensor framework.
#[path = "../../pvchat-model/src/preprocess/bicubic.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod bicubic;
#[path = "../../pvchat-model/src/preprocess/tiles.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod tiles;

use tiles::{Normalisation, left_right_whole};

const NORMALISATION: Normalisation = Normalisation { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };
const SIDE: usize = 224;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = std::env::args().nth(1).and_then(|text| text.parse().ok()).ok_or("usage: clip_tensor THREADS")?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let mut options = ReadOptions::default();
    options.threads = threads;
    for path in std::io::stdin().lock().lines() {
        let path = path?;
        let start = Instant::now();
        let clip = match VideoReader::open_with(&path, options.clone())
            .and_then(|mut reader| reader.sample(&SamplingPlan::Uniform(8)))
        {
            Ok(clip) => clip,
            Err(error) => {
                println!("error: {error}");
                std::io::stdout().flush()?;
                continue;
            }
        };
        let decoded = start.elapsed();
        let mut tensor = vec![0.0f32; 3 * 8 * 3 * SIDE * SIDE];
        let (left, rest) = tensor.split_at_mut(8 * 3 * SIDE * SIDE);
        let (right, whole) = rest.split_at_mut(8 * 3 * SIDE * SIDE);
        let [left, right, whole] = [left, right, whole].map(|tile| tile.par_chunks_exact_mut(3 * SIDE * SIDE));
        clip.frames.par_iter().zip(left).zip(right).zip(whole).for_each(|(((frame, left), right), whole)| {
            left_right_whole(frame.as_raw(), frame.width() as usize, SIDE, &NORMALISATION, [left, right, whole]);
        });
        let all = start.elapsed();
        let sum: f64 = tensor.iter().map(|value| f64::from(*value)).sum();
        println!("{:.3} {:.3} {:.6}", all.as_secs_f64() * 1e3, decoded.as_secs_f64() * 1e3, sum / tensor.len() as f64);
        std::io::stdout().flush()?;
    }
    Ok(())
}
