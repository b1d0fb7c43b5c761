//! What learning a person costs on a base in a folder: seconds and memory of the steps, and of a whole run by extrapolation.
//!
//! Weights and pictures may be random (`random_base write`): the cost does not depend on them.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use clap::{Parser, ValueEnum};
use image::RgbImage;
use pvchat::{
    BaseFolder, Error as PvchatError, LearnEvent, LearnOptions, Pvchat, Shot, SubjectName,
    data::{QaKind, QaPair, random::SeededStream},
    model::families::VisionConfig,
    nn::device,
    train::personal::{LearnConfig, Trains},
};
use pvchat_examples::{exit_code, report::peak_memory_mib};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One in this many clips of either kind is held back for the self-check.
const HELD_BACK: usize = 4;

/// Learns from clips of noise and reports what it costs.
#[derive(Parser)]
#[command(name = "learn_cost", version)]
struct Arguments {
    /// The folder of a SmolVLM2.
    folder: PathBuf,
    /// Clips that are learned from, half of them with the person.
    #[arg(long, default_value_t = 4)]
    clips: usize,
    /// Frames of a clip.
    #[arg(long, default_value_t = 8)]
    frames: usize,
    /// Questions about a clip; a step asks as many of them as the usual training does.
    #[arg(long, default_value_t = 20)]
    questions: usize,
    /// Steps that are measured in each of the two stages.
    #[arg(long, default_value_t = 2)]
    steps: usize,
    /// What is trained.
    #[arg(long, value_enum, default_value_t = What::Personal)]
    trains: What,
    /// Clips that are worked on at the same time.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Computes cheap activations again instead of keeping them.
    #[arg(long)]
    activation_checkpointing: bool,
    /// Clips of the run whose cost is extrapolated.
    #[arg(long, default_value_t = 40)]
    whole: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Rows of the tokens.
    Composable,
    /// Also routers and adapters.
    Personal,
}

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse(), &mut io::stdout().lock()))
}

/// Noise, with the questions of a real clip.
fn shots(arguments: &Arguments) -> Vec<Shot> {
    let mut stream = SeededStream::new(0);
    let kinds = [QaKind::Existence, QaKind::Appearance, QaKind::Action, QaKind::Location, QaKind::Appearance];
    let wordings = [
        ("Is <Aa> in this video? Answer with yes or no.", "Yes, <Aa> is in this video."),
        ("What is <Aa> wearing?", "<Aa> is wearing a dark blue jacket over a white shirt, and grey trousers."),
        ("What is <Aa> doing in this video?", "<Aa> is talking to somebody beside the door and waves with one hand."),
        ("Where is <Aa>?", "<Aa> is in a kitchen, on the left side of a wooden table with two chairs."),
        ("What does the face of <Aa> look like?", "<Aa> has a round face with short dark hair and a beard."),
    ];
    let pairs = kinds.into_iter().zip(wordings).cycle().take(arguments.questions);
    let pairs: Vec<QaPair> = pairs.map(|(kind, (question, answer))| QaPair::new(kind, question, answer)).collect();
    (0..arguments.clips)
        .map(|number| {
            let frames = (0..arguments.frames).map(|_| {
                let shade = stream.below(200) as u8;
                RgbImage::from_fn(640, 360, |x, y| image::Rgb([shade, (x % 251) as u8, (y % 239) as u8]))
            });
            let frames: Vec<RgbImage> = frames.collect();
            let seconds = (0..arguments.frames).map(|frame| frame as f64).collect();
            let duration = arguments.frames as f64;
            Shot { frames, seconds, duration, present: number % 2 == 0, pairs: pairs.clone() }
        })
        .collect()
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let trains = match arguments.trains {
        What::Composable => Trains::Composable,
        What::Personal => Trains::Personal,
    };
    let pvchat = BaseFolder::read(&arguments.folder)?.open_to_learn(trains, &device::default_device()?)?;
    writeln!(out, "opened in {:.1} s, {:.0} MiB at most", start.elapsed().as_secs_f64(), memory())?;
    let defaults = LearnConfig::in_decoder();
    let training = LearnConfig {
        trains,
        image_steps: arguments.steps,
        clip_steps: arguments.steps,
        accumulation: defaults.batch / arguments.threads.clamp(1, defaults.batch),
        threads: arguments.threads,
        activation_checkpointing: arguments.activation_checkpointing,
        ..defaults.clone()
    };
    let options = LearnOptions { training, feature_memory: Some(256 << 20), ..LearnOptions::default() };
    let name: SubjectName = "Aa".parse()?;
    let (mut spent, shots) = (BTreeMap::<&str, Vec<Spent>>::new(), shots(arguments));
    let mut last = Spent::now();
    let result = pvchat.learn_from(&shots, &name, &options, |event| {
        let what = match event {
            LearnEvent::Encoding(..) => "a clip looked at",
            LearnEvent::Training(now) if now.video => "a step on clips",
            _ => "a step on images",
        };
        spent.entry(what).or_default().push(last.until_now());
        ControlFlow::Continue(())
    });
    let check = last.until_now();
    match result {
        // Random weights learn nothing in so few steps.
        Ok(_) | Err(PvchatError::NotLearned { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mean = |what: &str| {
        let times = spent.get(what).map_or(&[][..], Vec::as_slice);
        times.iter().fold(Spent::default(), |sum, one| sum + *one) * (1.0 / times.len().max(1) as f64)
    };
    let [look, image, clip] = ["a clip looked at", "a step on images", "a step on clips"].map(mean);
    let asked = defaults.questions.unwrap_or(usize::MAX).min(arguments.questions);
    let held_back = 2 * (arguments.clips / 2 / HELD_BACK);
    writeln!(out, "a clip of {} frames looked at: {look}", arguments.frames)?;
    writeln!(out, "a step on {} images, {asked} questions each: {image}", defaults.batch)?;
    writeln!(out, "a step on {} clips, {asked} questions each: {clip}", defaults.batch)?;
    writeln!(out, "self-check, {held_back} clips before and after: {check}")?;
    writeln!(out, "largest memory: {:.0} MiB", memory())?;
    if let VisionConfig::SmolVlm2(_) = pvchat.vilm().config().vision {
        model(&pvchat, arguments, out)?;
    }
    let judged = 2 * (arguments.whole / 2 / HELD_BACK);
    let (images, clips) = (defaults.image_steps, defaults.clip_steps);
    let check = check * if held_back > 0 { judged as f64 / held_back as f64 } else { 0.0 };
    writeln!(out, "{} clips, {images} steps on images and {clips} on clips, self-check {check}:", arguments.whole)?;
    let total = look * arguments.whole as f64 + image * images as f64 + clip * clips as f64 + check;
    writeln!(out, "  {:.1} minutes as measured, {:.1} minutes of one core", total.wall / 60.0, total.cores / 60.0)?;
    Ok(())
}

/// Time that something took, in seconds: by the clock, and of all cores together. The second does not depend on who else uses
/// them.
#[derive(Clone, Copy, Default)]
struct Spent {
    wall: f64,
    cores: f64,
}

impl Spent {
    /// The clock's time since the system was started, and that of the cores since this program was.
    fn now() -> Self {
        let field = |text: &str, number: usize| text.split_whitespace().nth(number).and_then(|value| value.parse::<f64>().ok());
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let stat = read("/proc/self/stat");
        // Behind the name of the program, which may hold blanks; in hundredths of a second.
        let behind = stat.rsplit(')').next().unwrap_or_default();
        let cores = field(behind, 11).unwrap_or(f64::NAN) + field(behind, 12).unwrap_or(f64::NAN);
        Self { wall: field(&read("/proc/uptime"), 0).unwrap_or(f64::NAN), cores: cores / 100.0 }
    }

    /// What was spent since the last call; counting starts again.
    fn until_now(&mut self) -> Self {
        let now = Self::now();
        let spent = now + *self * -1.0;
        *self = now;
        spent
    }
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, cores: self.cores + other.cores }
    }
}

impl std::ops::Mul<f64> for Spent {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self { wall: self.wall * factor, cores: self.cores * factor }
    }
}

impl std::fmt::Display for Spent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.1} s ({:.1} s of one core)", self.wall, self.cores)
    }
}

/// Operations by the sizes of the networks, for comparison.
fn model(pvchat: &Pvchat, arguments: &Arguments, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let config = pvchat.vilm().config();
    let VisionConfig::SmolVlm2(sizes) = &config.vision else { return Ok(()) };
    let (vision, text) = (&sizes.vision, &config.answer.language);
    let (patches, width) = (vision.tokens() as f64, vision.width as f64);
    let block = 2.0 * patches * (4.0 * width * width + 2.0 * width * vision.mlp_hidden as f64) + 4.0 * patches * patches * width;
    let look = arguments.frames as f64 * vision.layers as f64 * block;
    let hidden = text.hidden as f64;
    let (queries, keys) = ((text.heads * text.head_dim) as f64, (text.kv_heads * text.head_dim) as f64);
    let weights = 2.0 * hidden * queries + 2.0 * hidden * keys + 3.0 * hidden * text.intermediate as f64;
    let codec = pvchat.vilm().codec();
    let shot = &shots(arguments)[0];
    let texts =
        shot.pairs.iter().map(|pair| Ok(codec.encode_question(&pair.question, Some(&pair.answer), &["Aa".parse()?])?.ids.len()));
    let longest = texts.collect::<Result<Vec<usize>, Box<dyn Error>>>()?.into_iter().max().unwrap_or(0);
    let asked = LearnConfig::in_decoder().questions.unwrap_or(usize::MAX).min(shot.pairs.len());
    let questions = (longest * asked) as f64;
    // The text around a picture is about 14 tokens.
    let prefix = (arguments.frames * (sizes.picture_tokens() + 14)) as f64;
    let tokens = prefix + questions;
    let attention = 4.0 * queries * (prefix * prefix + questions * (prefix + longest as f64));
    let forward = text.layers as f64 * (2.0 * weights * tokens + attention);
    writeln!(
        out,
        "by the sizes: a clip looked at {:.2} Tflop; a clip trained on {:.2} Tflop, forward and back through frozen weights, {tokens:.0} tokens",
        look / 1e12,
        2.0 * forward / 1e12
    )?;
    Ok(())
}

/// The largest memory so far in MiB.
fn memory() -> f64 {
    peak_memory_mib().unwrap_or(f64::NAN)
}
