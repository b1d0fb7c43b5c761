//! How fast and how good the small language model is: seconds to open it, memory, perplexity of a text, tokens per second, where
//! the time of a token goes, and what of that packed weights change.

use std::{
    error::Error,
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use burn::prelude::*;
use clap::Parser;
use pvchat::{
    model::llama,
    nn::{
        device,
        language::{Decoder, GenerationOptions, KeyValueCache, LoraLinear, PackedDecoder, Prompt, generate},
        operations::rms_norm,
        packed::Precision,
    },
};
use pvchat_examples::{
    at, exit_code, language_model, models_folder,
    report::{copied_bytes_per_second, peak_memory_mib},
    texts_folder,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Prints how fast and how good a language model is.
#[derive(Parser)]
#[command(name = "language_speed", version)]
struct Arguments {
    /// A folder of the transformers library with a Llama-style model, in place of the one that `fetch smollm2` makes.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where `fetch` puts models.
    #[arg(long, env = "PVCHAT_MODELS", hide_env_values = true, value_name = "DIR")]
    models: Option<PathBuf>,
    /// The text that perplexity is measured on.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// What is answered.
    #[arg(long, default_value = PROMPT)]
    prompt: String,
    /// Tokens to answer with, at most.
    #[arg(long, default_value_t = 128)]
    tokens: usize,
}

/// Rows whose logits are in memory at a time.
const HEAD_ROWS: usize = 64;
const PROMPT: &str = "<|im_start|>user\nWrite a short story about a lighthouse and the people who keep it.<|im_end|>\n\
                      <|im_start|>assistant\n";

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse(), &mut io::stdout().lock()))
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let folder = arguments.model.clone();
    let folder = folder.unwrap_or_else(|| models_folder(arguments.models.clone()).join(language_model::FOLDER));
    let file = arguments.text.clone().unwrap_or_else(|| texts_folder().join("plain-english.txt"));
    let text = std::fs::read_to_string(&file).map_err(at(&file))?;

    let start = Instant::now();
    let model = llama::open(&folder, &device::default_device()?)?;
    let tokenizer = llama::tokenizer(&folder)?;
    writeln!(out, "opened in {:.2} s{}", start.elapsed().as_secs_f64(), memory())?;
    let encode = |text: &str| -> Result<Vec<u32>, Box<dyn Error>> {
        Ok(tokenizer.encode(text, false).map_err(|error| error.to_string())?.get_ids().to_vec())
    };
    let (words, best) = perplexity(&model, &encode(&text)?, &file, out)?;
    let (tokens, spent) = answer(&model, &encode(&arguments.prompt)?, arguments.tokens, out)?;
    writeln!(out, "{}", tokenizer.decode(&tokens, true).map_err(|error| error.to_string())?)?;
    token(&model, spent, out)?;
    let copied = copied_bytes_per_second();
    writeln!(out, "memory is copied at {:.1} GB/s, what is read and what is written", copied / 1e9)?;
    for precision in Precision::ALL {
        let mut packed = model.clone();
        packed.pack_own(precision)?;
        let bytes = packed.packed().map_or(0, PackedDecoder::bytes);
        writeln!(out, "\npacked, {precision:?}, {:.0} MiB:", bytes as f64 / f64::from(1 << 20))?;
        let (_, found) = perplexity(&packed, &words, &file, out)?;
        let agreed = found.iter().zip(&best).filter(|(found, best)| found == best).count();
        writeln!(out, "{:.1} % of the most probable next words are the same", 100.0 * agreed as f64 / best.len().max(1) as f64)?;
        let (_, fastest) = answer(&packed, &encode(&arguments.prompt)?, arguments.tokens, out)?;
        let rate = bytes as f64 / fastest.as_secs_f64();
        writeln!(out, "the fastest token reads weights at {:.1} GB/s, {:.0} % of a copy", rate / 1e9, 100.0 * rate / copied)?;
    }
    Ok(())
}

/// The largest memory so far, where the system says it.
fn memory() -> String {
    peak_memory_mib().map_or_else(String::new, |memory| format!(", largest memory {memory:.0} MiB"))
}

/// Perplexity of a text whose first token is given, and the speed of reading it. Returns the text's ids and the most probable id
/// after each.
fn perplexity(model: &Decoder, ids: &[u32], file: &Path, out: &mut impl Write) -> Result<(Vec<u32>, Vec<usize>), Box<dyn Error>> {
    let start = Instant::now();
    let hidden = model.forward(model.embed(row(ids, &model.device())), positions(ids.len(), &model.device()), None, None);
    hidden.clone().slice([0..1, 0..1, 0..1]).into_data();
    let read = start.elapsed();
    let (mut loss, mut best) = (0.0, vec![]);
    for (first, next) in (0..ids.len()).step_by(HEAD_ROWS).map(|first| (first, ids.len().min(first + HEAD_ROWS))) {
        let logits = model.logits(hidden.clone().slice([0..1, first..next]), None);
        let words = logits.dims()[2];
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        for (logits, place) in logits.chunks_exact(words).zip(first..) {
            let (found, largest) = logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |(found, largest), (place, &logit)| {
                if logit > largest { (place, logit) } else { (found, largest) }
            });
            best.push(found);
            if let Some(&next) = ids.get(place + 1) {
                let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
                loss += sum.ln() - f64::from(logits[next as usize] - largest);
            }
        }
    }
    let labels = ids.len().saturating_sub(1);
    let per_second = ids.len() as f64 / read.as_secs_f64();
    writeln!(out, "perplexity {:.4} of {labels} tokens of {}", (loss / labels.max(1) as f64).exp(), file.display())?;
    writeln!(out, "reading {per_second:.1} tokens per second, without the head")?;
    Ok((ids.to_vec(), best))
}

/// A greedy answer, and the time of its fastest token.
fn answer(model: &Decoder, prompt: &[u32], tokens: usize, out: &mut impl Write) -> Result<(Vec<u32>, Duration), Box<dyn Error>> {
    let options = GenerationOptions { max_new_tokens: tokens, ..GenerationOptions::default() };
    let mut times = vec![];
    let asked = Prompt::from_tokens(model, &[prompt.to_vec()], options.end_token)?;
    let start = Instant::now();
    let answer = generate(model, asked, &options, |_| {
        times.push(start.elapsed());
        ControlFlow::Continue(())
    })?;
    let [first, .., last] = times[..] else { return Err("too few tokens were generated to time them".into()) };
    let fastest = times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or_default();
    let per_second = (times.len() - 1) as f64 / (last - first).as_secs_f64();
    writeln!(
        out,
        "{} tokens: the first after {:.3} s, then {per_second:.1} per second, the fastest in {:.1} ms{}",
        times.len(),
        first.as_secs_f64(),
        milliseconds(fastest),
        memory()
    )?;
    Ok((answer.tokens, fastest))
}

/// Where the time of a token goes: the products with the weights of the layers, that with the head, and everything else.
fn token(model: &Decoder, spent: Duration, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let device = model.device();
    let linears = model.linears();
    let mut parts = vec![];
    for (part, names) in [
        ("query, key, value, output", &["q_proj", "k_proj", "v_proj", "o_proj"][..]),
        ("gate, up, down", &["gate_proj", "up_proj", "down_proj"]),
        ("head", &["lm_head"]),
    ] {
        let chosen: Vec<_> = linears.iter().filter(|(name, _)| names.iter().any(|end| name.ends_with(end))).collect();
        let numbers: usize = chosen.iter().map(|(_, linear)| linear.sizes().iter().product::<usize>()).sum();
        let ones = |linear: &LoraLinear| Tensor::<3>::ones([1, 1, linear.sizes()[0]], &device);
        let inputs: Vec<_> = chosen.iter().map(|(_, linear)| ones(linear)).collect();
        let time = shortest(|| {
            for ((_, linear), input) in chosen.iter().zip(&inputs) {
                linear.forward(input.clone()).into_data();
            }
        });
        let rate = 4.0 * numbers as f64 / time.as_secs_f64() / 1e9;
        parts.push((part, time, format!("{:.1} M weights, {rate:.1} GB/s", numbers as f64 / 1e6)));
    }
    let hidden = Tensor::<3>::ones([1, 1, model.config.hidden], &device);
    let norms = shortest(|| {
        for layer in &model.layers {
            rms_norm(&layer.input_layernorm, hidden.clone()).into_data();
            rms_norm(&layer.post_attention_layernorm, hidden.clone()).into_data();
        }
    });
    parts.push(("norms", norms, String::new()));
    let layers = shortest(|| {
        let mut cache = KeyValueCache::new(model.layers.len(), 256);
        model.forward(hidden.clone(), positions(1, &device), None, Some(&mut cache)).into_data();
    });
    let known: Duration = parts.iter().filter(|(part, ..)| *part != "head").map(|(_, time, _)| *time).sum();
    parts.push((
        "other work of the layers",
        layers.saturating_sub(known),
        "rotation, attention, SiLU, sums, no earlier token".into(),
    ));
    let known: Duration = parts.iter().map(|(_, time, _)| *time).sum();
    parts.push(("earlier tokens, choice", spent.saturating_sub(known), String::new()));
    for (part, time, what) in &parts {
        writeln!(out, "{:7.2} ms  {part:<28} {what}", milliseconds(*time))?;
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

/// The shortest time of nine: what else runs on the machine only makes it longer.
fn shortest(mut run: impl FnMut()) -> Duration {
    let times = (0..9).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

fn row(ids: &[u32], device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let count = ids.len();
    Tensor::from_data(TensorData::new(ids, [1, count]), device)
}

fn positions(count: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::<1, Int>::arange(0..count as i64, device).unsqueeze()
}
