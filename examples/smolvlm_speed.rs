//! The stages of an answer about a clip, timed, for the comparison with PyTorch in `docs/smolvlm2-benchmarks.md`. Prints one JSON
//! object.

use std::{error::Error, ops::ControlFlow, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use pvchat::{
    model::sight::Shown,
    nn::language::{GenerationOptions, PackedDecoder},
    video::Clip,
};
use pvchat_examples::{
    exit_code,
    kept::Kept,
    report::{copied_bytes_per_second, peak_memory_mib, resident_memory_mib},
};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Times the stages of an answer.
#[derive(Parser)]
#[command(name = "smolvlm_speed", version)]
struct Arguments {
    /// The folder of a SmolVLM2; `random_base write` makes one.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The clip.
    #[arg(long, value_name = "FILE")]
    video: PathBuf,
    /// How the weights are kept.
    #[arg(long, default_value = "bf16")]
    precision: Kept,
    /// Frames of the clip that are shown.
    #[arg(long, default_value_t = 8)]
    frames: usize,
    /// Times that each stage runs.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Tokens to answer with.
    #[arg(long, default_value_t = 32)]
    tokens: usize,
    /// What is asked.
    #[arg(long, default_value = "What is the person doing?")]
    question: String,
}

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()))
}

/// What a stage made, and its times: the smallest, the median, all.
fn timed<T>(repeats: usize, mut stage: impl FnMut() -> Result<T, Box<dyn Error>>) -> Result<(T, Value), Box<dyn Error>> {
    let mut seconds = Vec::new();
    let mut made = None;
    for _ in 0..repeats.max(1) {
        let start = Instant::now();
        made = Some(stage()?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok((made.ok_or("a stage never ran")?, summary(seconds)))
}

fn summary(mut seconds: Vec<f64>) -> Value {
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.len() / 2;
    let median = if seconds.len() % 2 == 1 { seconds[middle] } else { (seconds[middle - 1] + seconds[middle]) / 2.0 };
    json!({ "smallest": seconds[0], "median": median, "seconds": seconds })
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let vilm = arguments.precision.open(&arguments.model)?;
    let (load_seconds, loaded_mib, resident_mib) = (start.elapsed().as_secs_f64(), peak_memory_mib(), resident_memory_mib());
    let clip = Clip::open(&arguments.video, arguments.frames)?;
    let duration = clip.times.last().copied().unwrap_or(0.0);
    let repeats = arguments.repeats;
    let (pixels, prepare) = timed(repeats, || {
        let pixels = vilm.config().preprocess.pixels(&clip.frames, vilm.device())?;
        pixels.clone().slice([0..1, 0..1, 0..1, 0..1, 0..1]).into_data();
        Ok(pixels)
    })?;
    drop(pixels);
    // Preparing is part of looking; it is small.
    let (sight, look) = timed(repeats, || {
        // Every frame, also one that looks like another: the peer encodes each.
        let mut sight = vilm.look(&[&clip.frames])?;
        sight.shown = vec![Shown::Video { seconds: clip.times.clone(), duration }];
        sight.tokens.clone().slice([0..1, 0..1, 0..1]).into_data();
        Ok(sight)
    })?;
    let looked_mib = peak_memory_mib();
    let (visual, connector) = timed(repeats, || {
        let visual = vilm.parameters().answer.visual(&sight, None)?;
        visual.embeddings.clone().slice([0..1, 0..1, 0..1]).into_data();
        Ok(visual)
    })?;
    let visual_tokens = visual.embeddings.dims()[1];
    let view = vilm.with_subjects(&[]);
    let options =
        GenerationOptions { max_new_tokens: arguments.tokens, min_new_tokens: arguments.tokens, ..view.default_options() };
    let (mut firsts, mut steps) = (Vec::new(), Vec::new());
    let (reading, read) = timed(repeats, || Ok(view.read(&sight, &[])?))?;
    for _ in 0..repeats {
        let start = Instant::now();
        let mut times = Vec::new();
        view.generate(&reading, &arguments.question, &options, |_| {
            times.push(start.elapsed().as_secs_f64());
            ControlFlow::Continue(())
        })?;
        firsts.extend(times.first());
        steps.extend(times.windows(2).map(|pair| pair[1] - pair[0]));
    }
    let language = &vilm.parameters().answer.lm;
    let bytes = language.packed().map(PackedDecoder::bytes);
    // Keys and values of every token so far, in f32, which a step reads in addition to the weights.
    let sizes = &language.config;
    let cache_bytes = sizes.layers * 2 * sizes.kv_heads * sizes.head_dim * size_of::<f32>() * reading.tokens();
    let report = json!({
        "program": "pvchat",
        "precision": format!("{:?}", arguments.precision).to_lowercase(),
        "threads": rayon::current_num_threads(),
        "frames": arguments.frames,
        "visual_tokens": visual_tokens,
        "load_seconds": load_seconds,
        "prepare": prepare,
        "look": look,
        "connector": connector,
        "read": read,
        "first_token": summary(firsts),
        "decode_step": summary(steps),
        "resident_mib_loaded": resident_mib,
        "peak_mib_loaded": loaded_mib,
        "peak_mib_looked": looked_mib,
        "peak_mib": peak_memory_mib(),
        "decoder_bytes": bytes,
        "cache_bytes": cache_bytes,
        "copied_bytes_per_second": copied_bytes_per_second(),
    });
    println!("{report}");
    Ok(())
}
