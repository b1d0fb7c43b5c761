//! Eight uniform frames of a file to the normalised tiles of the published model, as the peers of `scripts/peers-video.sh`
//! do it. Reads names of files from standard input and answers each with milliseconds: `clip_tensor THREADS`.

use std::io::{BufRead, Write};
use std::time::Instant;

use image::RgbImage;
use pvchat_video::{ReadOptions, SamplingPlan, VideoReader};
use rayon::prelude::*;

// The very code of the model's preprocessing, without the tensor framework.
#[path = "../../pvchat-model/src/preprocess/bicubic.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod bicubic;

use bicubic::resized_rgb;

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
const SIDE: usize = 224;

/// Left half, right half and the whole of one frame.
fn tiles(frame: &RgbImage) -> [Vec<f32>; 3] {
    let mut planes = resized_rgb(frame.as_raw(), frame.width() as usize, 2 * SIDE, SIDE);
    for ((plane, mean), deviation) in planes.iter_mut().zip(MEAN).zip(DEVIATION) {
        plane.values.iter_mut().for_each(|value| *value = (*value / 255.0 - mean) / deviation);
    }
    [
        planes.each_ref().map(|plane| plane.columns(0, SIDE)).concat(),
        planes.each_ref().map(|plane| plane.columns(SIDE, SIDE)).concat(),
        planes.each_ref().map(|plane| plane.resized(SIDE, SIDE).values).concat(),
    ]
}

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
        let per_frame: Vec<[Vec<f32>; 3]> = clip.frames.par_iter().map(tiles).collect();
        let mut tensor = Vec::with_capacity(3 * 8 * 3 * SIDE * SIDE);
        (0..3).for_each(|tile| per_frame.iter().for_each(|tiles| tensor.extend_from_slice(&tiles[tile])));
        let all = start.elapsed();
        let sum: f64 = tensor.iter().map(|value| f64::from(*value)).sum();
        println!("{:.3} {:.3} {:.6}", all.as_secs_f64() * 1e3, decoded.as_secs_f64() * 1e3, sum / tensor.len() as f64);
        std::io::stdout().flush()?;
    }
    Ok(())
}
