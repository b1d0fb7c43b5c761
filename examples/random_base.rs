//! Bases of the published sizes with random weights: the cost of opening and asking, without published weights.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use burn::tensor::{DType, bf16};
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use pvchat::{
    data::random::SeededStream,
    model::{
        checkpoint::{self, Planned},
        families::{
            VilmConfig, internvideo2_chat,
            smolvlm2::{self, SmolVlm2Config},
        },
    },
    nn::{device, language::generate::GenerationOptions, weights::inventory},
    video::Clip,
};
use pvchat_examples::{
    at, exit_code,
    kept::Kept,
    report::{peak_memory_mib, resident_memory_mib},
};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Standard deviation of the weights.
const DEVIATION: f32 = 0.02;

/// Writes bases with random weights, and asks them.
#[derive(Parser)]
#[command(name = "random_base", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a folder in the published form.
    Write {
        /// Which model.
        size: Size,
        /// The folder; created if it does not exist.
        folder: PathBuf,
        /// The tokenizer.json of the model, copied into the folder. `paper` does without: words are made up.
        #[arg(long, value_name = "FILE", required_if_eq_any([("size", "256m"), ("size", "500m"), ("size", "2.2b")]))]
        tokenizer: Option<PathBuf>,
        /// What the weights are drawn from.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Opens a folder and asks it about a clip; with random weights the answer means nothing.
    Ask {
        /// The folder.
        folder: PathBuf,
        /// The clip.
        clip: PathBuf,
        /// What is asked.
        #[arg(long, default_value = "What is the person doing?")]
        question: String,
        /// Frames of the clip that are shown.
        #[arg(long, default_value_t = 8)]
        frames: usize,
        /// The most tokens of the answer.
        #[arg(long, default_value_t = 24)]
        tokens: usize,
        /// How the weights are kept.
        #[arg(long, default_value = "bf16")]
        precision: Kept,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    /// SmolVLM2 with 256 million parameters, in f32.
    #[value(name = "256m")]
    Smol256,
    /// SmolVLM2 with 500 million parameters, in f32.
    #[value(name = "500m")]
    Smol500,
    /// SmolVLM2 with 2.2 billion parameters, in f32.
    #[value(name = "2.2b")]
    Smol2200,
    /// The paper's base with 8.47 billion parameters, in bf16.
    #[value(name = "paper")]
    Paper,
}

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse().command, &mut io::stdout().lock()))
}

fn run(command: &Command, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Write { size, folder, tokenizer, seed } => {
            let config = write(*size, folder, *seed, out)?;
            // Last: a folder with a tokenizer is complete.
            let file = folder.join("tokenizer.json");
            match tokenizer {
                Some(tokenizer) => std::fs::copy(tokenizer, file).map(drop).map_err(at(tokenizer))?,
                None => std::fs::write(&file, serde_json::to_vec(&made_up_words(&config))?).map_err(at(&file))?,
            }
            Ok(())
        }
        Command::Ask { folder, clip, question, frames, tokens, precision } => {
            ask((folder, *precision), clip, question, (*frames, *tokens), out)
        }
    }
}

/// Streams tensor by tensor: none of the model's parameters is ever made.
fn write(size: Size, folder: &Path, seed: u64, out: &mut impl Write) -> Result<VilmConfig, Box<dyn Error>> {
    let start = Instant::now();
    let smol = |size| SmolVlm2Config::published(size).map(smolvlm2::config).ok_or("no such size");
    let (config, dtype, shard_bytes) = match size {
        Size::Smol256 => (smol("256m")?, DType::F32, 5_000_000_000),
        Size::Smol500 => (smol("500m")?, DType::F32, 5_000_000_000),
        Size::Smol2200 => (smol("2.2b")?, DType::F32, 5_000_000_000),
        Size::Paper => (internvideo2_chat::config(), DType::BF16, 4_000_000_000),
    };
    let family = config.family()?;
    let stream = SeededStream::new(seed);
    let parameters = inventory::parameters(&config.init(&stream, &device::default_device()?)?);
    let plan: Vec<Planned> = parameters
        .into_iter()
        .map(|found| Planned { name: (family.names.public_name)(&found.name), dtype, shape: found.shape })
        .collect();
    let count: usize = plan.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
    let bar = ProgressBar::new(count as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} parameters, {eta} left")?);
    checkpoint::write(folder, shard_bytes, &plan, |index| {
        let bytes = values(&plan[index], &stream);
        bar.inc((bytes.len() / dtype.size()) as u64);
        Ok(bytes)
    })?;
    bar.finish_and_clear();
    for (name, bytes) in (family.write)(&config)? {
        let file = folder.join(name);
        std::fs::write(&file, bytes).map_err(at(&file))?;
    }
    let seconds = start.elapsed().as_secs_f64();
    writeln!(out, "{count} parameters in {} tensors written in {seconds:.1} s{}", plan.len(), memory())?;
    Ok(config)
}

/// A tokenizer with the size of the model's vocabulary: the marks of its prompt, and words that nobody says.
fn made_up_words(config: &VilmConfig) -> Value {
    let format = &config.prompt;
    let mut words = vec!["<unk>".to_owned(), format.begin.clone(), format.end.clone()];
    words.extend(format.yes_and_no.iter().cloned());
    words.extend((words.len()..config.answer.language.vocabulary).map(|id| format!("word{id}")));
    let marks = words[..3].iter().enumerate().map(|(id, content)| {
        json!({
            "id": id, "content": content, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    });
    json!({
        "version": "1.0",
        "added_tokens": marks.collect::<Vec<_>>(),
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "model": {
            "type": "WordLevel",
            "unk_token": words[0],
            "vocab": words.iter().zip(0_usize..).collect::<BTreeMap<_, _>>(),
        },
    })
}

/// Biases are zero and the scales of norms one; everything else is uniform around zero, which is much faster to draw than a
/// normal distribution of the same deviation.
fn values(tensor: &Planned, stream: &SeededStream) -> Vec<u8> {
    let count: usize = tensor.shape.iter().product();
    let mut stream = stream.derive(&tensor.name);
    let is_norm = tensor.shape.len() == 1;
    let mut value = || match (tensor.name.ends_with("bias"), is_norm) {
        (true, _) => 0.0,
        (false, true) => 1.0,
        (false, false) => (stream.unit() - 0.5) * 12_f32.sqrt() * DEVIATION,
    };
    match tensor.dtype {
        DType::BF16 => (0..count).flat_map(|_| bf16::from_f32(value()).to_le_bytes()).collect(),
        _ => (0..count).flat_map(|_| value().to_le_bytes()).collect(),
    }
}

fn ask(
    (folder, precision): (&Path, Kept),
    clip: &Path,
    question: &str,
    (frames, tokens): (usize, usize),
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let mut start = Instant::now();
    let mut took = |out: &mut dyn Write, what: &str| {
        let seconds = start.elapsed().as_secs_f64();
        start = Instant::now();
        writeln!(out, "{what} in {seconds:.2} s{}", memory())
    };
    let vilm = precision.open(folder)?;
    took(out, "opened")?;
    let clip = Clip::open(clip, frames)?;
    took(out, "clip read")?;
    let duration = clip.times.last().copied().unwrap_or(0.0);
    let sight = vilm.look_at(&clip.frames, &clip.times, duration)?;
    // Computed lazily otherwise, within the next step.
    let seen = sight.tokens.clone().into_data().shape().clone();
    took(out, &format!("looked at {frames} frames ({seen:?})"))?;
    let view = vilm.with_subjects(&[]);
    let reading = view.read(&sight, &[])?;
    took(out, "read")?;
    let options = GenerationOptions { max_new_tokens: tokens, ..view.default_options() };
    let answer = view.answer(&reading, question, &options, |_| std::ops::ControlFlow::Continue(()))?;
    took(out, &format!("answered in at most {tokens} tokens"))?;
    writeln!(out, "{:?}", answer.text)?;
    Ok(())
}

/// Resident memory and the largest so far, where the system says it.
fn memory() -> String {
    match (resident_memory_mib(), peak_memory_mib()) {
        (Some(now), Some(largest)) => format!(", {now:.0} MiB resident, {largest:.0} MiB at most"),
        _ => String::new(),
    }
}
