//! Trains the base model of the miniature world: `make miniature` runs it.

use std::{
    collections::BTreeMap,
    error::Error,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use burn::{module::Module, prelude::*};
use clap::{Parser, Subcommand, ValueEnum};
use pvchat::{
    data::random::SeededStream,
    image::RgbImage,
    miniature::{
        base::{self, Design},
        corpus::MiniatureCorpus,
        footage,
        pretrain::{
            answer::{AnswerPretraining, AnswerReport},
            answer_run::{AnswerClips, AnswerEvent, AnswerRun},
            encoder::{EncoderLosses, EncoderPretraining, Supervision},
            encoder_run::EncoderRun,
            encoder_task,
        },
        tokenizer,
    },
    model::{
        families::{
            VisionTower,
            miniature::{MiniatureEncoder, prompt_format},
        },
        prompt::TextCodec,
        vilm::{Vilm, VilmParameters},
    },
    nn::weights,
    nn::{device::default_device, moh::Routing},
    train::checkpoint::CheckpointFolder,
    video::Clip,
};
use pvchat_examples::{at, exit_code, real_clips_folder};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome = Result<(), Box<dyn Error>>;

/// Trains the base model of the miniature world; a killed run resumes where it was.
#[derive(Parser)]
struct Arguments {
    /// Trains `plain`, the base that sees and describes people and knows nobody in particular.
    #[arg(long)]
    plain: bool,
    /// Folder for checkpoints and logs; target/miniature, for `--plain` target/plain.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Phase A: the vision encoder.
    Encoder {
        /// Optimiser steps of 32 clips.
        #[arg(long, default_value_t = 6000)]
        steps: usize,
    },
    /// Phase B: everything after the encoder, on its frozen features.
    Answer {
        /// Optimiser steps of 32 clips.
        #[arg(long, default_value_t = 4000)]
        steps: usize,
        /// Groups of six clips that are rendered and encoded beforehand.
        #[arg(long, default_value_t = 6000)]
        groups: usize,
        /// Routing of the Q-Former's heads.
        #[arg(long, value_enum, default_value = "relu")]
        routing: RoutingName,
        /// Takes the encoder of the base in this folder instead of that of phase A.
        #[arg(long)]
        encoder_of: Option<PathBuf>,
    },
    /// Puts both phases together: configuration, tokenizer, weights (f16), the corpus of strangers and
    /// a report of the training.
    Package {
        /// Where the files go.
        #[arg(long, default_value = "crates/pvchat-miniature/weights")]
        output: PathBuf,
        /// Routing of the Q-Former's heads.
        #[arg(long, value_enum, default_value = "relu")]
        routing: RoutingName,
        /// Clips of strangers that learning chooses from.
        #[arg(long, default_value_t = 2000)]
        corpus: usize,
        /// Takes the encoder of the base in this folder instead of that of phase A.
        #[arg(long)]
        encoder_of: Option<PathBuf>,
    },
    /// Measures anew what tells drawn clips from others, which packaging does too, and writes it into the corpus of a base.
    Kinds {
        /// The folder of the base.
        #[arg(default_value = "crates/pvchat-miniature/weights")]
        base: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum RoutingName {
    /// Plain attention.
    Dense,
    /// The two best of four routed heads.
    TopK,
    /// ReLU-routed.
    Relu,
}

impl RoutingName {
    fn design(self, supervision: Supervision) -> Design {
        let routing = match self {
            Self::Dense => Routing::Dense,
            Self::TopK => Routing::TopK { shared: 4, active: 2 },
            Self::Relu => base::ROUTING,
        };
        Design { routing, people: supervision == Supervision::People, ..Design::default() }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::TopK => "top-k",
            Self::Relu => "relu",
        }
    }
}

fn main() -> ExitCode {
    exit_code(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Outcome {
    let device = default_device()?.autodiff();
    let (supervision, name) = match arguments.plain {
        false => (Supervision::People, "target/miniature"),
        true => (Supervision::Descriptions, "target/plain"),
    };
    let folder = arguments.folder.unwrap_or_else(|| name.into());
    match arguments.command {
        Command::Encoder { steps } => train_encoder(&folder, arguments.seed, steps, supervision, &device),
        Command::Package { output, routing, corpus, encoder_of } => {
            let encoder = encoder(&folder, encoder_of.as_deref(), 256, supervision, &device)?;
            package(&folder, arguments.seed, &output, encoder, (routing, supervision), corpus, &device)
        }
        Command::Kinds { base } => {
            let vilm = Vilm::open(&base, &device.inner())?;
            let file = base.join("corpus.safetensors");
            let strangers = MiniatureCorpus::from_bytes(&std::fs::read(&file).map_err(at(&file))?, vilm.image_size() as u32)?;
            write(&base, "corpus.safetensors", &strangers.with_kinds(&vilm, &footage(arguments.seed)?)?.to_bytes()?)
        }
        Command::Answer { steps, groups, routing, encoder_of } => {
            let encoder = encoder(&folder, encoder_of.as_deref(), 64, supervision, &device)?.parameters;
            train_answer(&folder, arguments.seed, &encoder, steps, groups, (routing, supervision), &device)
        }
    }
}

/// Cuttings of each filmed clip for the classifier of drawn clips.
const CUTTINGS: usize = 200;
/// Frames that they are cut from.
const FILMED_FRAMES: usize = 160;

/// Filmed clips: parts of those that the demo fetches.
fn footage(seed: u64) -> Result<Vec<Vec<RgbImage>>, Box<dyn Error>> {
    let folder = real_clips_folder(None);
    let entries = std::fs::read_dir(&folder).map_err(at(&folder))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "mp4"));
    files.sort();
    if files.is_empty() {
        return Err(format!("{} has no clips; `make models` fetches them", folder.display()).into());
    }
    let mut stream = SeededStream::new(seed).derive("footage");
    let mut made = Vec::new();
    for file in files {
        made.extend(footage::cuttings(&Clip::open(&file, FILMED_FRAMES)?.frames, CUTTINGS, &mut stream));
    }
    Ok(made)
}

/// Writes a file of a base: to a temporary name next to it first, so that no unfinished file remains.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Outcome {
    println!("{name}: {} KiB", bytes.len() / 1024);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(at(folder))?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.persist(folder.join(name))?;
    Ok(())
}

/// Running means of named figures, printed at intervals.
struct Log {
    started: Instant,
    every: usize,
    sums: Vec<(&'static str, f64)>,
    count: usize,
}

impl Log {
    fn new(every: usize) -> Self {
        Self { started: Instant::now(), every, sums: Vec::new(), count: 0 }
    }

    fn add(&mut self, step: usize, steps: usize, values: &[(&'static str, f64)]) {
        if self.sums.is_empty() {
            self.sums = values.iter().map(|(name, _)| (*name, 0.0)).collect();
        }
        self.sums.iter_mut().zip(values).for_each(|(sum, value)| sum.1 += value.1);
        self.count += 1;
        if step.is_multiple_of(self.every) || step == steps {
            let means: Vec<String> =
                self.sums.iter().map(|(name, sum)| format!("{name} {:.3}", sum / self.count as f64)).collect();
            println!("{:6.0} s  step {step}/{steps}  {}", self.started.elapsed().as_secs_f64(), means.join("  "));
            (self.sums, self.count) = (Vec::new(), 0);
        }
    }
}

fn train_encoder(folder: &Path, seed: u64, steps: usize, supervision: Supervision, device: &Device) -> Outcome {
    let config = supervision.encoder();
    let run = EncoderRun { config: config.clone(), seed, steps, checkpoints: Some(folder.join("encoder")) };
    let mut log = Log::new(20);
    let trained = run
        .train(device, |progress| {
            let mean = |part: fn(&EncoderLosses) -> f32| {
                progress.reports.iter().map(|report| f64::from(part(report))).sum::<f64>() / progress.reports.len() as f64
            };
            let values = [
                ("identity", mean(|losses| losses.identity)),
                ("facts", mean(|losses| losses.facts)),
                ("scene", mean(|losses| losses.scene)),
                ("contrastive", mean(|losses| losses.contrastive)),
                ("dense", mean(|losses| losses.dense)),
            ];
            log.add(progress.step, progress.steps, &values);
            ControlFlow::Continue(())
        })
        .map_err(|error| error.to_string())?;
    println!("{}", encoder_task::evaluate(&trained, &config, 128, 1000, device));
    Ok(())
}

/// A trained encoder with what is known of its training.
struct TrainedEncoder {
    parameters: MiniatureEncoder,
    figures: serde_json::Value,
    run: serde_json::Value,
}

/// The encoder of a packaged base, or of phase A, which is judged on `groups` groups of clips.
fn encoder(
    folder: &Path,
    base: Option<&Path>,
    groups: usize,
    supervision: Supervision,
    device: &Device,
) -> Result<TrainedEncoder, Box<dyn Error>> {
    let plain = device.clone().inner();
    if let Some(base) = base {
        let read = |name: &str| std::fs::read(base.join(name)).map_err(|error| format!("{}: {error}", base.join(name).display()));
        let report: serde_json::Value = serde_json::from_slice(&read("report.json")?)?;
        let vilm = Vilm::from_bytes(&read("config.json")?, &read("tokenizer.json")?, read("model.safetensors")?, &plain)?;
        let VisionTower::Miniature(parameters) = vilm.parameters().vision_encoder.clone() else {
            return Err("this is no miniature".into());
        };
        return Ok(TrainedEncoder { parameters, figures: report["encoder"].clone(), run: report["encoder_run"].clone() });
    }
    let checkpoints = CheckpointFolder::new(folder.join("encoder"))?;
    let config = supervision.encoder();
    let fresh = EncoderPretraining::init(&config, &mut SeededStream::new(0), &plain);
    let trained = checkpoints.load_model(fresh)?.ok_or("train the encoder first")?;
    let figures = encoder_task::evaluate(&trained, &config, groups, 1000, &plain);
    println!("encoder: {figures}");
    let run = serde_json::to_value(checkpoints.state()?)?;
    Ok(TrainedEncoder { parameters: trained.encoder.valid(), figures: serde_json::to_value(&figures)?, run })
}

fn train_answer(
    folder: &Path,
    seed: u64,
    encoder: &MiniatureEncoder,
    steps: usize,
    groups: usize,
    (routing, supervision): (RoutingName, Supervision),
    device: &Device,
) -> Outcome {
    let (started, done) = (Instant::now(), AtomicUsize::new(0));
    let clips = AnswerClips::make(encoder, seed, groups, device, |count| {
        let total = done.fetch_add(count, Ordering::Relaxed) + count;
        if total % 2400 < count {
            println!("{:6.0} s  {total} clips encoded", started.elapsed().as_secs_f64());
        }
    });
    let checkpoints = Some(folder.join(format!("answer-{}", routing.name())));
    let run = AnswerRun { design: routing.design(supervision), steps, checkpoints };
    let mut log = Log::new(20);
    let trained = run.train(&clips, device, |event| {
        match event {
            AnswerEvent::Parameters(count) => println!("parameters: {count}"),
            AnswerEvent::Step(progress) => {
                let count = progress.reports.len() as f64;
                let mean = |part: &dyn Fn(&AnswerReport) -> f64| progress.reports.iter().map(part).sum::<f64>() / count;
                let values = [
                    ("loss", mean(&|report| f64::from(report.loss))),
                    ("existence", mean(&|report| f64::from(report.existence))),
                    ("activation", mean(&|report| report.objective.activation())),
                    ("routers", mean(&|report| report.objective.total())),
                    ("norm", progress.gradient_norm),
                ];
                log.add(progress.step, progress.steps, &values);
            }
            AnswerEvent::Validation(Ok(counts)) => {
                let shares: Vec<String> =
                    counts.iter().map(|(kind, [right, all])| format!("{kind} {:.3}", *right as f64 / *all as f64)).collect();
                println!("          validation  {}", shares.join("  "));
            }
            AnswerEvent::Validation(Err(error)) => println!("          validation failed: {error}"),
        }
        ControlFlow::Continue(())
    });
    trained.map(drop).map_err(|error| error.to_string().into())
}

/// Seed of the corpus of strangers.
const CORPUS_SEED: u64 = 4242;

fn package(
    folder: &Path,
    seed: u64,
    output: &Path,
    encoder: TrainedEncoder,
    (routing, supervision): (RoutingName, Supervision),
    corpus: usize,
    device: &Device,
) -> Outcome {
    let plain = device.clone().inner();
    let tokenizer = tokenizer::train().map_err(|error| error.to_string())?;
    let codec = TextCodec::from_bytes("tokenizer.json", tokenizer.as_bytes(), prompt_format())?;
    let config = routing.design(supervision).config(codec.vocabulary());
    let checkpoints = CheckpointFolder::new(folder.join(format!("answer-{}", routing.name())))?;
    let answer = AnswerPretraining::init(&config.answer, &SeededStream::new(0), &plain)?;
    let answer = checkpoints.load_model(answer)?.ok_or("train the answer model first")?;
    let answer = answer.model.valid();
    let clips = AnswerClips::make(&encoder.parameters, seed, 0, &plain, |_| ());
    let run = AnswerRun { design: routing.design(supervision), steps: 0, checkpoints: None };
    let validation = run.validate(&clips, &answer, &plain).map_err(|error| error.to_string())?;
    let vision_encoder = VisionTower::Miniature(encoder.parameters);
    let parameters = VilmParameters { vision_encoder, vision_layernorm: None, answer };
    std::fs::create_dir_all(output).map_err(at(output))?;
    let mut report = serde_json::json!({
        "seed": seed,
        "routing": routing.name(),
        "answers": validation.iter().map(|(kind, [right, all])| (*kind, *right as f64 / *all as f64)).collect::<BTreeMap<_, _>>(),
        "encoder": encoder.figures,
        "encoder_run": encoder.run,
        "answer_run": serde_json::to_value(checkpoints.state()?)?,
        "parameters": parameters.num_params(),
    });
    let weights = weights::to_bytes(&parameters)?;
    let config_json = serde_json::to_vec_pretty(&config)?;
    let vilm = Vilm::from_bytes(&config_json, tokenizer.as_bytes(), weights.clone(), &plain)?;
    report["fingerprint"] = vilm.fingerprint().into();
    let mut files = vec![
        ("config.json", config_json),
        ("tokenizer.json", tokenizer.into_bytes()),
        ("model.safetensors", weights),
        ("report.json", serde_json::to_vec_pretty(&report)?),
    ];
    // A corpus is searched by identity embeddings.
    if supervision == Supervision::People {
        let strangers = MiniatureCorpus::make(&vilm, CORPUS_SEED, corpus, &footage(seed)?)?;
        files.push(("corpus.safetensors", strangers.to_bytes()?));
    }
    for (name, bytes) in files {
        write(output, name, &bytes)?;
    }
    println!("fingerprint {}", vilm.fingerprint());
    Ok(())
}
