//! Parts of the shipped base, changed one at a time, a table per command: the encoder's form, how tokens find their person, and how
//! fast subjects are learned. The paper's own ablations are in the program `laboratory`, on a base that knows nobody.

use std::{error::Error, ops::ControlFlow, path::PathBuf, process::ExitCode, time::Instant};

use burn::module::Module;
use clap::{Args, Parser, Subcommand};
use pvchat::{
    LearnOptions, Pvchat, Subject, SubjectName,
    data::random::SeededStream,
    eval::{
        accuracy::{ExistenceAnswer, balanced_difference, balanced_estimate},
        table::{Table, fraction, with_interval},
    },
    miniature::{
        base::Design,
        level::Level,
        pretrain::{encoder_run::EncoderRun, encoder_task::evaluate},
    },
    model::{families::miniature::MiniatureEncoderConfig, personal::Matching, subject::TOKENS},
    nn::device::default_device,
    train::personal::LearnConfig,
};
use pvchat_examples::{
    at,
    designs::{Budget, compare},
    examination::{Candidate, Exam, Outcome, enrolled, existence},
    exit_code,
    progress::bar,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Prints a table about parts of the shipped base.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    table: Ablation,
}

#[derive(Subcommand)]
enum Ablation {
    /// How fast tokens, rows and identity are learned, and how strongly they are held where they started.
    Rates(Learning),
    /// How personal tokens learn who is in the clip: bases of their own on the shipped encoder.
    Matching(Budget),
    /// The encoder's departures from the published form: encoders of their own, judged by what they read off unseen clips.
    Encoders {
        /// Optimiser steps of 32 clips per encoder; the shipped one had 6000.
        #[arg(long, default_value_t = 600)]
        steps: usize,
        /// Seeds: each trains every encoder once.
        #[arg(long, default_value_t = 1)]
        seeds: u64,
    },
}

/// How subjects are learned. What is examined is always what was learned: the self-check that falls back to enrolment is left out.
#[derive(Args)]
struct Learning {
    /// Characters.
    #[arg(long, default_value_t = 8)]
    characters: usize,
    /// Seeds: each learns every character once per row.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Seed of the characters.
    #[arg(long, default_value_t = 2027)]
    exam: u64,
    /// How to learn, as JSON (the fields of `LearnOptions`); what a row varies is set on top.
    #[arg(long)]
    learn: Option<PathBuf>,
}

fn main() -> ExitCode {
    exit_code(run().map_err(|error| error as Box<dyn Error>))
}

fn run() -> Outcome<()> {
    match Arguments::parse().table {
        Ablation::Matching(budget) => {
            let by = |matching| Design { matching, ..Design::default() };
            compare(
                &[
                    ("products of the tokens with what is seen, as shipped", by(Matching::Tokens)),
                    ("cosine of identity embeddings", by(Matching::Identity)),
                    ("attention alone", by(Matching::Attention)),
                ],
                &budget,
            )
        }
        Ablation::Encoders { steps, seeds } => encoders(steps, seeds),
        Ablation::Rates(learning) => {
            let options = learning.options()?;
            let with = |learning_rate: f64, identity_rate: f64, anchor: f64| {
                let training = LearnConfig { learning_rate, identity_rate, anchor, ..options.training.clone() };
                LearnOptions { training, ..options.clone() }
            };
            learning.compare(&[
                ("rate 3e-4, anchor 1e-2", with(3e-4, 0.0, 1e-2)),
                ("rate 3e-2, anchor 1e-2", with(3e-2, 0.0, 1e-2)),
                ("rate 3e-3, no anchor", with(3e-3, 0.0, 0.0)),
                ("rate 3e-2, no anchor", with(3e-2, 0.0, 0.0)),
                ("rate 1e-1, no anchor", with(1e-1, 0.0, 0.0)),
                ("rate 3e-2, identity 3e-3, no anchor", with(3e-2, 3e-3, 0.0)),
            ])
        }
    }
}

/// Trains encoders of several forms and prints what their heads read off clips that they never saw.
fn encoders(steps: usize, seeds: u64) -> Outcome<()> {
    let shipped = MiniatureEncoderConfig::default();
    let plain_stem = MiniatureEncoderConfig { stem: Vec::new(), ..shipped.clone() };
    let (inside, across) = (shipped.blocks_inside, shipped.blocks_across);
    let whole = MiniatureEncoderConfig { blocks_inside: 0, blocks_across: inside + across, ..shipped.clone() };
    let plain = MiniatureEncoderConfig { stem: Vec::new(), ..whole.clone() };
    let device = default_device()?;
    let mut table = Table::new([
        "encoder",
        "parameters",
        "seconds",
        "identity attributes",
        "clothes and action",
        "place",
        "look-alikes 1, area",
        "look-alikes 2, area",
    ]);
    for (name, config) in [
        ("as shipped", shipped),
        ("a linear layer per patch", plain_stem),
        ("every block over the whole clip", whole),
        ("both: the plain form", plain),
    ] {
        let (mut figures, mut parameters, mut seconds) = ([0.0; 5], 0, 0.0);
        for seed in 1..=seeds {
            let bar = bar("training an encoder", steps);
            bar.set_message(format!("{name}, seed {seed}"));
            let (run, started) = (EncoderRun { config: config.clone(), seed, steps, checkpoints: None }, Instant::now());
            let trained = run.train(&device, |progress| {
                bar.set_position(progress.step as u64);
                ControlFlow::Continue(())
            })?;
            bar.finish_and_clear();
            seconds += started.elapsed().as_secs_f64() / seeds as f64;
            parameters = trained.encoder.num_params();
            let report = evaluate(&trained, &config, 128, 1000, &device);
            let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len().max(1) as f32;
            let [one, two] = report.look_alike;
            let read = [mean(&report.attributes), mean(&report.facts), report.place, one, two];
            figures.iter_mut().zip(read).for_each(|(sum, value)| *sum += f64::from(value) / seeds as f64);
        }
        let shown = figures.map(|figure| fraction(Some(figure)));
        table.row([name.to_string(), parameters.to_string(), format!("{seconds:.0}")].into_iter().chain(shown));
        println!("{}", table.to_markdown());
    }
    Ok(())
}

impl Learning {
    fn options(&self) -> Outcome<LearnOptions> {
        Ok(match &self.learn {
            Some(file) => serde_json::from_slice(&std::fs::read(file).map_err(at(file))?)?,
            None => LearnOptions::default(),
        })
    }

    /// Learns every character with the options of every row; enrolment is what they are compared with.
    fn compare(&self, rows: &[(&str, LearnOptions)]) -> Outcome<()> {
        let pvchat = Pvchat::miniature()?;
        let name: SubjectName = "Aa".parse()?;
        let exam = Exam { characters: self.characters, seed: self.exam, level: Level::Standard };
        let candidates = exam.candidates(&pvchat)?;
        let once = existence(&pvchat, &candidates, &enrolled(&pvchat, &candidates, &name)?)?;
        let enrolment: Vec<ExistenceAnswer> = (0..self.seeds).flat_map(|_| once.clone()).collect();
        let mut table = Table::new([
            "learned with",
            "loss",
            "activation",
            "moved",
            "self-check",
            "existence, balanced [95 %]",
            "against enrolment [95 %]",
        ]);
        table.row(["enrolment".into(), "-".into(), "-".into(), "-".into(), "-".into(), estimate(&once), "-".into()]);
        for (label, options) in rows {
            match self.learned(&pvchat, &candidates, &name, label, options) {
                Ok(row) => {
                    let mut stream = SeededStream::new(7);
                    let difference = balanced_difference(&enrolment, &row.answers, 1000, &mut stream)?;
                    let [loss, activation, moved, check] = row.means.map(|mean| fraction(Some(mean)));
                    let answers = estimate(&row.answers);
                    table.row([label.to_string(), loss, activation, moved, check, answers, with_interval(difference)]);
                }
                // One-sided data, which learning refuses.
                Err(error) => {
                    table.row([
                        label.to_string(),
                        "-".into(),
                        "-".into(),
                        "-".into(),
                        "-".into(),
                        format!("refused: {error}"),
                        "-".into(),
                    ]);
                }
            }
        }
        println!("{}", table.to_markdown());
        Ok(())
    }

    fn learned(
        &self,
        pvchat: &Pvchat,
        candidates: &[Candidate],
        name: &SubjectName,
        label: &str,
        options: &LearnOptions,
    ) -> Outcome<Row> {
        let bar = bar("learning", self.seeds as usize * candidates.len());
        bar.set_message(label.to_string());
        let enrolled = enrolled(pvchat, candidates, name)?;
        let (mut answers, mut figures) = (Vec::new(), Vec::new());
        for seed in 0..self.seeds {
            let options = LearnOptions { seed, ..options.clone() };
            let mut subjects: Vec<Subject> = Vec::new();
            for (candidate, enrolled) in candidates.iter().zip(&enrolled) {
                let report = pvchat.learn(&candidate.reference, name, &options, |_| ControlFlow::Continue(()))?.report;
                if let Some(last) = report.steps.last() {
                    let check = f64::from(report.after.balanced_accuracy);
                    let moved = report.learned.first().map_or(0.0, |learned| moved(enrolled, learned));
                    figures.push([f64::from(last.loss), last.objective.activation(), moved, check]);
                }
                subjects.extend(report.learned);
                bar.inc(1);
            }
            answers.extend(existence(pvchat, candidates, &subjects)?);
        }
        bar.finish_and_clear();
        let mean = |part: usize| figures.iter().map(|figure| figure[part]).sum::<f64>() / figures.len().max(1) as f64;
        Ok(Row { answers, means: [mean(0), mean(1), mean(2), mean(3)] })
    }
}

/// What came of one way to learn.
struct Row {
    answers: Vec<ExistenceAnswer>,
    /// Loss and activation of the last step, how far the tokens moved, and how the self-check judged what was learned.
    means: [f64; 4],
}

/// How far the tokens moved, as a share of their length.
fn moved(from: &Subject, to: &Subject) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    let way = length(&mut from.values(TOKENS).iter().zip(to.values(TOKENS)).map(|(one, other)| other - one));
    way / length(&mut from.values(TOKENS).iter().copied()).max(f64::MIN_POSITIVE)
}

fn estimate(answers: &[ExistenceAnswer]) -> String {
    with_interval(balanced_estimate(answers, 1000, &mut SeededStream::new(7)))
}
