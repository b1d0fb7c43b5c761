//! Times an epoch of learning: our schedule (features once per clip, all questions of a clip in one forward pass)
//! and the naive one (every question decodes and encodes its clip again). `scripts/epoch.sh` runs both together with the same
//! loop in PyTorch.

use std::{
    error::Error,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use burn::prelude::*;
use clap::{Parser, Subcommand, ValueEnum};
use image::RgbImage;
use pvchat::{
    Pvchat, Subject,
    augment::questions::{self, Aspect},
    data::random::SeededStream,
    miniature::{
        exam, words,
        world::{Identity, Scene, SceneOptions},
    },
    model::{
        adaptation::Values,
        prompt::{EncodedText, Segment},
        sight::{Shown, Sight},
        subject::{HEAD_ROW, IDENTITY, Origin, TOKENS, WORD_ROW},
    },
    train::{
        features::ClipFeatures,
        personal::{AskedWith, LearnClip, LearnConfig, LearnData, LearnRun, Trains, learn},
    },
    video::{ReadOptions, SamplingPlan, VideoReader},
};
use pvchat_examples::{at, exit_code};
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Times an epoch of learning.
#[derive(Parser)]
#[command(name = "epoch")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes clips, questions, and the subject that learning starts from.
    Data {
        /// An empty or new folder.
        folder: PathBuf,
        /// Clips, half of them with the person.
        #[arg(long, default_value_t = 16)]
        clips: usize,
        /// Questions per clip.
        #[arg(long, default_value_t = 18)]
        questions: usize,
    },
    /// Runs epochs and prints their times as one line of JSON.
    Run {
        /// The folder that `data` wrote.
        folder: PathBuf,
        /// How the questions are worked on.
        #[arg(long, value_enum, default_value = "packed")]
        schedule: Schedule,
        /// Epochs.
        #[arg(long, default_value_t = 3)]
        epochs: usize,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Schedule {
    /// Every clip is decoded and encoded once; its questions share one forward pass.
    Packed,
    /// Every question decodes and encodes its clip and has a forward pass of its own.
    Naive,
}

/// Clips per optimiser step, with all their questions.
const STEP: usize = 8;
/// Threads of all schedules.
const THREADS: usize = 2;

#[derive(Serialize, Deserialize)]
struct Task {
    begin: Vec<u32>,
    rank: usize,
    alpha: f64,
    tokens: Vec<f32>,
    identity: Vec<f32>,
    word_row: Vec<f32>,
    head_row: Vec<f32>,
    clips: Vec<TaskClip>,
}

#[derive(Serialize, Deserialize)]
struct TaskClip {
    file: String,
    present: bool,
    /// Mean cross entropy of its answers before any step: another program that says the same runs the same model.
    loss: f32,
    texts: Vec<TaskText>,
}

#[derive(Serialize, Deserialize)]
struct TaskText {
    ids: Vec<u32>,
    answer_start: usize,
}

/// A clip and the questions that are asked about it.
type Job<'a> = (&'a TaskClip, Vec<EncodedText>);

/// What the encoder made of a clip.
struct Seen {
    features: ClipFeatures,
    token_shape: [usize; 2],
    identity_shape: [usize; 2],
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    exit_code(start().map_err(|error| error as Box<dyn Error>))
}

fn start() -> Outcome<()> {
    match Arguments::parse().command {
        Command::Data { folder, clips, questions } => data(&folder, clips, questions),
        Command::Run { folder, schedule, epochs } => run(&folder, schedule, epochs),
    }
}

fn data(folder: &Path, clips: usize, count: usize) -> Outcome<()> {
    fs::create_dir_all(folder).map_err(at(folder))?;
    let pvchat = Pvchat::miniature()?;
    let vilm = pvchat.vilm();
    let mut stream = SeededStream::new(41);
    let person = Identity::random(&mut stream);
    let name = "Aa".parse()?;
    let title = "<Aa>";
    let begin = vilm.codec().prefix(&[Shown::Tiles(1)])?;
    let reference = exam::through_mp4(&Scene::random(&[person], SceneOptions::default(), &mut stream), folder, "reference")?;
    let subject = pvchat.enrol(&pvchat.see(&reference)?, &name)?;
    let mut written = Vec::new();
    for number in 0..clips {
        let present = number % 2 == 0;
        let who = if present { person } else { Identity::random(&mut stream) };
        let scene = Scene::random(&[who], SceneOptions::default(), &mut stream);
        let file = format!("{number:03}.mp4");
        exam::write_mp4(&scene, &folder.join(&file))?;
        let mut texts = Vec::new();
        for index in 0..count {
            let aspect = Aspect::ALL[index % Aspect::ALL.len()];
            let question = questions::question(aspect, index / Aspect::ALL.len() % questions::variants(aspect), title);
            let answer = match (aspect, present) {
                (Aspect::Existence, _) => questions::existence_answer(title, present),
                (_, true) => words::answer(aspect, &scene, 0, title).ok_or("a person who can be described")?,
                (_, false) => questions::absent_answer(aspect, title),
            };
            texts.push(vilm.codec().encode_question(&question, Some(&answer), std::slice::from_ref(&name))?);
        }
        let memory = pvchat.clip(&folder.join(&file))?.memory;
        let loss = first_loss(&pvchat, &subject, &memory, &begin, &texts)?;
        let texts = texts.into_iter().map(|EncodedText { ids, answer_start }| TaskText { ids, answer_start }).collect();
        written.push(TaskClip { file, present, loss, texts });
    }
    let lora = LearnConfig::default().adaptation.lora;
    let [tokens, identity, word_row, head_row] = [TOKENS, IDENTITY, WORD_ROW, HEAD_ROW].map(|name| subject.values(name).to_vec());
    let ids = |segment: &Segment| if let Segment::Text(ids) = segment { ids.clone() } else { Vec::new() };
    let begin = begin.iter().flat_map(ids).collect();
    let task = Task { begin, rank: lora.rank, alpha: lora.alpha, tokens, identity, word_row, head_row, clips: written };
    let file = folder.join("task.json");
    fs::write(&file, serde_json::to_vec(&task)?).map_err(at(&file))?;
    Ok(())
}

fn first_loss(pvchat: &Pvchat, subject: &Subject, memory: &Sight, begin: &[Segment], texts: &[EncodedText]) -> Outcome<f32> {
    let answer = &pvchat.vilm().parameters().answer;
    let device = pvchat.vilm().device();
    let personal = Subject::tensors(std::slice::from_ref(subject), device)?;
    let slots = Tensor::<2, Int>::zeros([1, 1], device);
    let visual = answer.visual(memory, Some((&personal, slots.clone())))?;
    Ok(answer.losses(&visual, begin, &[texts.to_vec()], Some((&personal, slots)))?.tokens.mean().into_scalar::<f32>())
}

fn run(folder: &Path, schedule: Schedule, epochs: usize) -> Outcome<()> {
    let file = folder.join("task.json");
    let task: Task = serde_json::from_slice(&fs::read(&file).map_err(at(&file))?)?;
    let pvchat = Pvchat::miniature()?;
    let name = "Aa".parse()?;
    let mut info = pvchat.vilm().subject_info(&name, Origin::Enrolled);
    info.training.clear();
    let width = pvchat.vilm().parameters().answer.bridge.personal_tokens().dims()[2];
    let start = Subject {
        info,
        tensors: [(TOKENS, &task.tokens), (IDENTITY, &task.identity), (WORD_ROW, &task.word_row), (HEAD_ROW, &task.head_row)]
            .map(|(name, values)| {
                let shape = if name == TOKENS { vec![values.len() / width, width] } else { vec![values.len()] };
                (name.to_string(), Values { shape, values: values.clone() })
            })
            .into(),
        adaptation: None,
    };
    let questions = task.clips.first().map_or(0, |clip| clip.texts.len());
    let mut config = LearnConfig { trains: Trains::Personal, image_steps: 0, threads: THREADS, ..LearnConfig::default() };
    let mut seconds = Vec::new();
    let mut last_loss = 0.0;
    let mut encoding_seconds = 0.0;
    match schedule {
        Schedule::Packed => {
            let begun = Instant::now();
            let data = encoded(&pvchat, folder, &task, false)?;
            encoding_seconds = begun.elapsed().as_secs_f64();
            let steps = task.clips.len() / STEP;
            (config.clip_steps, config.batch) = (epochs * steps, STEP);
            let mut since = Instant::now();
            learn(pvchat.vilm(), &start, &data, &config, &LearnRun::default(), |progress| {
                last_loss = progress.loss;
                if progress.step % steps == 0 {
                    // The first epoch pays for the features of all.
                    seconds.push(since.elapsed().as_secs_f64() + if seconds.is_empty() { encoding_seconds } else { 0.0 });
                    since = Instant::now();
                }
                ControlFlow::Continue(())
            })?;
        }
        Schedule::Naive => {
            config.batch = STEP * questions;
            // One question at a time on each thread.
            config.accumulation = config.batch / THREADS;
            config.clip_steps = task.clips.len() / STEP;
            for _ in 0..epochs {
                let since = Instant::now();
                let data = encoded(&pvchat, folder, &task, true)?;
                encoding_seconds = since.elapsed().as_secs_f64();
                learn(pvchat.vilm(), &start, &data, &config, &LearnRun::default(), |progress| {
                    last_loss = progress.loss;
                    ControlFlow::Continue(())
                })?;
                seconds.push(since.elapsed().as_secs_f64());
            }
        }
    }
    let peak = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    });
    let report = serde_json::json!({
        "schedule": format!("{schedule:?}").to_lowercase(),
        "clips": task.clips.len(),
        "questions": questions,
        "threads": THREADS,
        "epoch_seconds": seconds,
        "of_which_decoding_and_encoding": encoding_seconds,
        "last_loss": last_loss,
        "peak_mib": peak.map(|kib| kib / 1024.0),
    });
    println!("{report}");
    Ok(())
}

/// Decodes and encodes the clips on two threads: once per clip, several in one pass of the encoder, or once per question.
fn encoded(pvchat: &Pvchat, folder: &Path, task: &Task, per_question: bool) -> Outcome<LearnData> {
    let text = |text: &TaskText| EncodedText { ids: text.ids.clone(), answer_start: text.answer_start };
    let jobs: Vec<Job> = task
        .clips
        .iter()
        .flat_map(|clip| -> Vec<Job> {
            let texts = clip.texts.iter().map(text);
            if per_question { texts.map(|text| (clip, vec![text])).collect() } else { vec![(clip, texts.collect())] }
        })
        .collect();
    let at_once = if per_question { 1 } else { STEP };
    let see = |jobs: &[Job]| see(pvchat, folder, jobs);
    let parts: Vec<Outcome<Vec<Vec<Seen>>>> = std::thread::scope(|scope| {
        let size = jobs.len().div_ceil(THREADS).max(1);
        let threads: Vec<_> =
            jobs.chunks(size).map(|part| scope.spawn(move || part.chunks(at_once).map(see).collect())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut data = LearnData { shown: vec![Shown::Tiles(1)], ..LearnData::default() };
    let mut seen = Vec::new();
    for part in parts {
        seen.extend(part?.into_iter().flatten());
    }
    for ((clip, texts), Seen { features, token_shape, identity_shape }) in jobs.into_iter().zip(seen) {
        (data.token_shape, data.identity_shape) = (token_shape, identity_shape);
        let features = data.features.insert(features)?;
        data.clips.push(LearnClip { features, asked: vec![0], present: vec![clip.present], tokens: AskedWith::Own, texts });
    }
    // Learning wants both stages; none of the steps is on images.
    data.images = data.clips.iter().take(2 * task.clips.first().map_or(1, |clip| clip.texts.len())).cloned().collect();
    Ok(data)
}

/// Decodes the clips of some jobs, each on this thread, and encodes them in one pass.
fn see(pvchat: &Pvchat, folder: &Path, jobs: &[Job]) -> Outcome<Vec<Seen>> {
    let vilm = pvchat.vilm();
    let clips = jobs
        .iter()
        .map(|(clip, _)| {
            let mut options = ReadOptions::default();
            options.threads = 1;
            let frames =
                VideoReader::open_with(folder.join(&clip.file), options)?.sample(&SamplingPlan::Uniform(vilm.frames()))?;
            Ok(vilm.prepare(&frames.frames))
        })
        .collect::<Outcome<Vec<Vec<RgbImage>>>>()?;
    let Sight { tokens, identity, .. } = vilm.look(&clips.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    let shapes = [&tokens, &identity].map(|tensor| [tensor.dims()[1], tensor.dims()[2]]);
    let [tokens, identity] = [tokens, identity].map(|tensor| tensor.into_data().iter::<f32>().collect::<Vec<f32>>());
    let [token_shape, identity_shape] = shapes;
    let rows = tokens.chunks(token_shape[0] * token_shape[1]).zip(identity.chunks(identity_shape[0] * identity_shape[1]));
    Ok(rows
        .map(|(tokens, identity)| Seen {
            features: ClipFeatures { tokens: tokens.to_vec(), identity: identity.to_vec(), lower: Vec::new() },
            token_shape,
            identity_shape,
        })
        .collect())
}
