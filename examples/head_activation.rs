//! Which routed heads of the Q-Former a learned person switches on, in clips with and without that person (the paper's
//! figure 7), and how the share of heads that are on moves while the person is learned.
//!
//! Writes two pictures to `head_activation/` in cargo's target folder.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use pvchat::{
    LearnOptions, Pvchat, Subject, SubjectName,
    data::file::read_json,
    eval::{bars::BarChart, plot::LineChart, table::Table},
    model::adaptation::Trains,
    nn::moh::Gates,
    train::personal::{LearnConfig, LearnProgress},
};
use pvchat_examples::{
    clips_folder, exit_code,
    progress::{LearnBars, bar},
    shown, target_folder,
    truth::{TRUTH_FILE, Truth},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Draws which routed heads a learned person switches on. Takes about a minute.
#[derive(Parser)]
struct Arguments {
    /// The folder of clips and of the truth about them.
    #[arg(long, default_value_os_t = clips_folder())]
    clips: PathBuf,
    /// Where the pictures go.
    #[arg(long, default_value_os_t = target_folder().join("head_activation"))]
    output: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Outcome<()> {
    std::fs::create_dir_all(&arguments.output).map_err(|error| format!("{}: {error}", arguments.output.display()))?;
    let truth: Truth = read_json(&arguments.clips.join(TRUTH_FILE), 1 << 20)?;
    let pvchat = Pvchat::miniature()?;
    let name: SubjectName = "Aa".parse()?;

    // With the routers among what is trained: otherwise only the person's own queries could move a gate.
    let training = LearnConfig { trains: Trains::Personal, ..LearnConfig::default() };
    let options = LearnOptions { seed: arguments.seed, training, ..LearnOptions::default() };
    let reference = pvchat.clip(&arguments.clips.join(&truth.reference.file))?;
    let mut bars = LearnBars::default();
    let learned = pvchat.learn(&reference, &name, &options, |event| bars.observe(event))?;
    bars.finish();
    // What was learned, also where the self-check preferred the first look.
    let subject = learned.report.learned.first().unwrap_or(&learned.subject);

    let progress = bar("reading clips", truth.clips.len());
    let (mut present, mut absent) = (Activation::default(), Activation::default());
    for clip in &truth.clips {
        let gates = gates(&pvchat, subject, &arguments.clips.join(&clip.file))?;
        if clip.present { &mut present } else { &mut absent }.add(gates);
        progress.inc(1);
    }
    progress.finish_and_clear();

    let sides = [("with", &present), ("without", &absent)];
    let series = sides.map(|(word, side)| format!("{} clips {word} {name}", side.clips));
    let mut chart = BarChart::new(
        format!("Share of query tokens for which a routed head is on, after {name} was learned"),
        "routed head",
        series,
    );
    let mut table = Table::new(["attention", "routed head", "on, with", "on, without"]);
    let [with, without] = sides.map(|(_, side)| side.shares());
    for ((attention, with), (_, without)) in with.into_iter().zip(without) {
        for (head, (with, without)) in with.iter().zip(&without).enumerate() {
            table.row([attention.clone(), (head + 1).to_string(), format!("{with:.3}"), format!("{without:.3}")]);
        }
        chart = chart.panel(attention, [with, without]);
    }
    let [heads, training] = ["heads.png", "training.png"].map(|file| arguments.output.join(file));
    chart.write_png(&heads)?;
    training_chart(&learned.report.steps, &present).write_png(&training)?;
    println!("{}\n\n{}\n{}", table.to_text(), shown(&heads), shown(&training));
    Ok(())
}

/// The gates of every routed attention of the Q-Former while it reads a clip for questions about `subject`.
fn gates(pvchat: &Pvchat, subject: &Subject, clip: &std::path::Path) -> Outcome<Vec<(String, Gates)>> {
    let clip = pvchat.clip(clip)?;
    let subjects = std::slice::from_ref(subject);
    let reading = pvchat.vilm().with_subjects(subjects).read(&clip.memory, &[subject])?;
    Ok(reading.visual.map(|visual| visual.gates).unwrap_or_default())
}

/// How often the routed heads of every attention were on.
#[derive(Default)]
struct Activation {
    clips: usize,
    /// Summed over clips.
    attentions: Vec<(String, Vec<f64>)>,
}

impl Activation {
    fn add(&mut self, gates: Vec<(String, Gates)>) {
        self.clips += 1;
        for (place, (name, gates)) in gates.into_iter().enumerate() {
            let on = gates.gates.greater_elem(0.0).float().mean_dims(&[0, 1]);
            let shares: Vec<f64> = on.into_data().iter::<f64>().collect();
            if self.attentions.len() == place {
                self.attentions.push((short(&name), vec![0.0; shares.len()]));
            }
            self.attentions[place].1.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
        }
    }

    fn shares(&self) -> Vec<(String, Vec<f64>)> {
        let mean = |sums: &Vec<f64>| sums.iter().map(|sum| sum / self.clips.max(1) as f64).collect();
        self.attentions.iter().map(|(name, sums)| (name.clone(), mean(sums))).collect()
    }
}

/// `encoder.layer.0.crossattention` is `layer 0, crossattention`.
fn short(name: &str) -> String {
    name.replace("encoder.layer.", "layer ").replacen('.', ", ", 1)
}

/// The share of heads that are on in every attention, over the steps of training.
fn training_chart(steps: &[LearnProgress], names: &Activation) -> LineChart {
    let mut chart = LineChart::new("Routed heads that are on while a person is learned", "step", "share").y_range(0.0, 1.0);
    for (module, (name, _)) in names.attentions.iter().enumerate() {
        let activation = |step: &LearnProgress| step.objective.modules.get(module).map_or(f64::NAN, |module| module.activation);
        chart = chart.series(name, steps.iter().map(|step| (step.step as f64, activation(step))));
    }
    chart
}
