//! Bases that differ in one thing, trained on one encoder with the same data, seed and steps, and examined alike.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use burn::prelude::*;
use clap::Args;
use pvchat::{
    Pvchat,
    data::random::SeededStream,
    eval::{
        accuracy::{ExistenceAnswer, ExistenceScore, balanced_difference, balanced_estimate},
        bootstrap::Share,
        table::{Table, fraction, with_interval},
    },
    miniature::{
        base::Design,
        embedded,
        level::Level,
        pretrain::{
            answer::AnswerReport,
            answer_run::{AnswerClips, AnswerEvent, AnswerRun, assemble},
        },
    },
    model::{
        families::{VisionTower, miniature::MiniatureEncoder},
        personal::Matching,
    },
    nn::{device::default_device, moh::Routing},
};
use serde::{Deserialize, Serialize};

use crate::{
    at,
    controls::{with_tokens_of, zeroed},
    examination::{Candidate, DESCRIPTION_COLUMNS, Descriptions, Exam, Outcome, describe, enrolled, existence, shares},
    progress::bar,
};

/// What every base of a comparison gets.
#[derive(Args, Clone, Debug)]
pub struct Budget {
    /// Optimiser steps of 32 clips per base; the shipped one had 4000.
    #[arg(long, default_value_t = 3000)]
    pub steps: usize,
    /// Groups of six clips that they are drawn from; the shipped one had 6000.
    #[arg(long, default_value_t = 4000)]
    pub groups: usize,
    /// Seeds: each trains every base once.
    #[arg(long, default_value_t = 3)]
    pub seeds: u64,
    /// Characters to be examined on.
    #[arg(long, default_value_t = 20)]
    pub characters: usize,
    /// Seed of the characters.
    #[arg(long, default_value_t = 2027)]
    pub exam: u64,
    /// Where checkpoints are kept; what was trained there before is not trained again.
    #[arg(long, default_value = "target/compared")]
    pub folder: PathBuf,
}

/// What came of one base.
#[derive(Serialize, Deserialize)]
struct Figures {
    /// Mean cross entropy of the answers over the last steps.
    loss: f64,
    /// Mean share of the routed heads that were on, over the last steps.
    activation: f64,
    answers: Vec<ExistenceAnswer>,
    /// Of subjects whose tokens and rows are zero, and of such with those of another character; the identity embedding is their own.
    without_tokens: Vec<ExistenceAnswer>,
    with_others_tokens: Vec<ExistenceAnswer>,
    descriptions: Descriptions,
}

/// Trains a base for every design and seed on the shipped encoder and prints how enrolment does with each; the first design is
/// what the others are compared with.
///
/// # Errors
/// What training and asking report.
pub fn compare(designs: &[(&str, Design)], budget: &Budget) -> Outcome<()> {
    let shipped = Pvchat::miniature()?;
    let VisionTower::Miniature(encoder) = &shipped.vilm().parameters().vision_encoder else {
        return Err("the shipped base has another encoder".into());
    };
    let exam = Exam { characters: budget.characters, seed: budget.exam, level: Level::Standard };
    let candidates = exam.candidates(&shipped)?;
    let mut rows: Vec<Vec<Figures>> = designs.iter().map(|_| Vec::new()).collect();
    for seed in 1..=budget.seeds {
        let mut clips = None;
        for ((name, design), row) in designs.iter().zip(&mut rows) {
            // Figures of another encoder are others.
            let encoder_key = shipped.vilm().fingerprint();
            let run = format!("{}-steps-{}-groups-{}-seed-{seed}-on-{encoder_key}", key(design), budget.steps, budget.groups);
            let folder = budget.folder.join(run);
            let file = folder.join(format!("exam-{}-of-{}.json", budget.exam, budget.characters));
            // A file of an earlier form is made anew, from the checkpoint of the last step.
            if let Some(figures) = fs::read(&file).ok().and_then(|json| serde_json::from_slice(&json).ok()) {
                row.push(figures);
                continue;
            }
            let clips = clips.get_or_insert_with(|| encode(encoder, seed, budget.groups, shipped.vilm().device()));
            let run = AnswerRun { design: design.clone(), steps: budget.steps, checkpoints: Some(folder.clone()) };
            let figures = examine(&run, clips, encoder, &candidates, &folder, &format!("{name}, seed {seed}"))?;
            // Under another name first: a killed process leaves no half of it.
            let part = file.with_extension("part");
            fs::write(&part, serde_json::to_vec(&figures)?).map_err(at(&part))?;
            fs::rename(&part, &file).map_err(at(&file))?;
            row.push(figures);
        }
    }
    report(designs, &rows)
}

/// What is particular of a design, as a folder's name.
fn key(design: &Design) -> String {
    let routing = match design.routing {
        Routing::Dense => "dense".to_string(),
        Routing::TopK { shared, active } => format!("top-{active}-beside-{shared}"),
        Routing::Relu { shared, rescale } => format!("relu-beside-{shared}{}", if rescale { "-rescaled" } else { "" }),
    };
    let objective = &design.objective;
    format!(
        "{routing}-tokens-{}-spr-{:e}-hae-{}-{:?}-{:?}-{}",
        design.personal_tokens,
        objective.initial_lambda,
        objective.hae_weight,
        design.norm,
        design.activation,
        if design.tie_key_to_query { "tied" } else { "untied" }
    )
    .to_lowercase()
        + match design.matching {
            Matching::Identity => "",
            Matching::Tokens => "-matching-tokens",
            Matching::Attention => "-matching-attention",
        }
}

fn encode(encoder: &MiniatureEncoder, seed: u64, groups: usize, device: &Device) -> AnswerClips {
    let bar = bar("encoding clips", 6 * groups);
    let clips = AnswerClips::make(encoder, seed, groups, device, |count| bar.inc(count as u64));
    bar.finish_and_clear();
    clips
}

/// Steps at the end that loss and activation are averaged over.
const LAST_STEPS: usize = 100;

fn examine(
    run: &AnswerRun,
    clips: &AnswerClips,
    encoder: &MiniatureEncoder,
    candidates: &[Candidate],
    folder: &Path,
    label: &str,
) -> Outcome<Figures> {
    let device = default_device()?;
    let bar = bar("training a base", run.steps);
    bar.set_message(label.to_string());
    fs::create_dir_all(folder).map_err(at(folder))?;
    let steps_file = folder.join("last-steps.jsonl");
    let mut steps = OpenOptions::new().create(true).append(true).open(&steps_file).map_err(at(&steps_file))?;
    let mut unwritten = Ok(());
    let answer = run.train(clips, &device, |event| {
        if let AnswerEvent::Step(progress) = event {
            let mean = |part: &dyn Fn(&AnswerReport) -> f64| {
                progress.reports.iter().map(part).sum::<f64>() / progress.reports.len().max(1) as f64
            };
            if progress.step + LAST_STEPS > progress.steps {
                let figures = (mean(&|report| f64::from(report.loss)), mean(&|report| report.objective.activation()));
                let line = serde_json::json!((progress.step, figures)).to_string();
                unwritten = writeln!(steps, "{line}");
            }
            bar.set_position(progress.step as u64);
        }
        if unwritten.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    unwritten?;
    let answer = answer?;
    bar.finish_and_clear();
    let vilm = assemble(&run.design, encoder, answer, &device)?;
    let strangers = embedded::corpus(&vilm)?;
    let pvchat = Pvchat::new(vilm, Box::new(strangers));
    let subjects = enrolled(&pvchat, candidates, &"Aa".parse()?)?;
    // Of a run that was killed and went on some steps are there twice, and a line may have ended early.
    let last: BTreeMap<usize, (f64, f64)> = fs::read_to_string(&steps_file)
        .map_err(at(&steps_file))?
        .lines()
        .filter_map(|line| serde_json::from_str::<(usize, (f64, f64))>(line).ok())
        .collect();
    let zeroed = subjects.iter().map(zeroed).collect::<Outcome<Vec<_>>>()?;
    let others = (0..subjects.len()).map(|own| with_tokens_of(&subjects[own], &subjects[(own + 1) % subjects.len()]));
    let others = others.collect::<Outcome<Vec<_>>>()?;
    let mean = |part: fn(&(f64, f64)) -> f64| last.values().map(part).sum::<f64>() / last.len().max(1) as f64;
    Ok(Figures {
        loss: mean(|step| step.0),
        activation: mean(|step| step.1),
        answers: existence(&pvchat, candidates, &subjects)?,
        without_tokens: existence(&pvchat, candidates, &zeroed)?,
        with_others_tokens: existence(&pvchat, candidates, &others)?,
        descriptions: shares(&describe(&pvchat, candidates, &subjects)?),
    })
}

fn report(designs: &[(&str, Design)], rows: &[Vec<Figures>]) -> Outcome<()> {
    let own = [
        "base",
        "loss",
        "activation",
        "existence, balanced [95 %]",
        "against the first [95 %]",
        "tokens zeroed",
        "another's tokens",
    ];
    let mut table = Table::new(own.into_iter().chain(DESCRIPTION_COLUMNS));
    let first = rows.first().map(|row| of_seeds(row, |figures| &figures.answers)).unwrap_or_default();
    for ((name, design), row) in designs.iter().zip(rows) {
        let answers = of_seeds(row, |figures| &figures.answers);
        let control = |of: fn(&Figures) -> &Vec<ExistenceAnswer>| fraction(ExistenceScore::of(&of_seeds(row, of)).balanced());
        let mut stream = SeededStream::new(7);
        let difference = balanced_difference(&first, &answers, 1000, &mut stream)?;
        let mean = |part: fn(&Figures) -> f64| fraction(Some(row.iter().map(part).sum::<f64>() / row.len().max(1) as f64));
        let own = [
            name.to_string(),
            mean(|figures| figures.loss),
            if design.routed_modules() == 0 { "-".into() } else { mean(|figures| figures.activation) },
            with_interval(balanced_estimate(&answers, 1000, &mut stream)),
            with_interval(difference),
            control(|figures| &figures.without_tokens),
            control(|figures| &figures.with_others_tokens),
        ];
        let described = (0..2).flat_map(|company| {
            (0..DESCRIPTION_COLUMNS.len() / 2).map(move |aspect| {
                let mut all = Share::default();
                for share in row.iter().map(|figures| figures.descriptions[aspect][company]) {
                    (all.right, all.total) = (all.right + share.right, all.total + share.total);
                }
                fraction(all.rate())
            })
        });
        table.row(own.into_iter().chain(described));
    }
    println!("{}", table.to_markdown());
    Ok(())
}

/// The answers of every seed.
fn of_seeds(row: &[Figures], of: fn(&Figures) -> &Vec<ExistenceAnswer>) -> Vec<ExistenceAnswer> {
    row.iter().flat_map(of).cloned().collect()
}
