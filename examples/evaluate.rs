//! Examines the miniature on characters that its base never saw, and prints the tables of docs/results.md.
//!
//! `evaluate --help` says what can be varied. Every clip goes through an mp4 file.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use pvchat::{
    Error, LearnOptions, Pvchat, Subject, SubjectName,
    data::random::SeededStream,
    eval::{
        accuracy::{ExistenceAnswer, ExistenceScore, balanced_difference, balanced_estimate},
        bootstrap::Share,
        controls::Verdict,
        curve::{self, Judgement, OperatingPoint},
        table::{Table, fraction, with_interval},
    },
    miniature::{exam::Cast, level::Level},
};
use pvchat_examples::{
    at,
    controls::controls,
    examination::{Candidate, DESCRIPTION_COLUMNS, Described, Exam, Outcome, describe, enrolled, existence, shares},
    exit_code,
    texts::TextOptions,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Examines the miniature on characters that its base never saw.
#[derive(Parser)]
struct Arguments {
    /// Characters.
    #[arg(long, default_value_t = 20)]
    characters: usize,
    /// Seeds of learning; 0 examines enrolment only.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Seed of the characters.
    #[arg(long, default_value_t = 2026)]
    exam: u64,
    /// Also runs the controls (untrained tokens, tokens zeroed or exchanged, another person's subject, another subject's name, no
    /// video, the question alone) and fails when one of them is not clearly worse than what was learned.
    #[arg(long)]
    controls: bool,
    /// The folder of a base model; the embedded one when left out.
    #[arg(long)]
    base: Option<PathBuf>,
    /// How to learn, as JSON (the fields of `LearnOptions`, those left out as usual).
    #[arg(long)]
    learn: Option<PathBuf>,
    /// Draws false accepts against false rejects into a PNG file, and says what a calibrated threshold and abstaining give.
    #[arg(long)]
    curve: Option<PathBuf>,
    #[command(flatten)]
    texts: TextOptions,
    /// Writes the results as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()).map_err(|error| error as Box<dyn std::error::Error>))
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let scorer = arguments.texts.open()?;
    let pvchat = match &arguments.base {
        Some(folder) => Pvchat::open(folder, &Default::default())?,
        None => Pvchat::miniature()?,
    };
    let name: SubjectName = "Aa".parse()?;
    let started = Instant::now();
    let exam = Exam { characters: arguments.characters, seed: arguments.exam, level: Level::Standard };
    let candidates = exam.candidates(&pvchat)?;
    println!(
        "{} clips drawn, encoded, decoded and seen in {:.0} s",
        candidates.iter().map(|one| one.clips.len() + 1).sum::<usize>(),
        started.elapsed().as_secs_f32()
    );

    let mut rows: BTreeMap<String, Vec<ExistenceAnswer>> = BTreeMap::new();
    let enrolled = enrolled(&pvchat, &candidates, &name)?;
    rows.insert("enrol".into(), existence(&pvchat, &candidates, &enrolled)?);
    let mut described = vec![("enrol".to_string(), describe(&pvchat, &candidates, &enrolled)?)];
    let remembered =
        candidates.iter().map(|one| Ok(pvchat.remember(&one.reference, &name)?)).collect::<Outcome<Vec<Subject>>>()?;
    rows.insert("remember".into(), existence(&pvchat, &candidates, &remembered)?);
    described.push(("remember".into(), describe(&pvchat, &candidates, &remembered)?));
    let options: LearnOptions = match &arguments.learn {
        Some(file) => serde_json::from_slice(&std::fs::read(file).map_err(at(file))?)?,
        None => LearnOptions::default(),
    };
    let (mut kept, mut refused, mut examined) = (0, 0, enrolled.clone());
    for seed in 0..arguments.seeds {
        let options = LearnOptions { seed, ..options.clone() };
        let started = Instant::now();
        let mut learned = Vec::new();
        for candidate in &candidates {
            match pvchat.learn(&candidate.reference, &name, &options, |_| ControlFlow::Continue(())) {
                Ok(result) => {
                    kept += usize::from(result.report.kept_learned);
                    learned.push(result.subject);
                }
                // The program then says to enrol.
                Err(Error::NotLearned { .. }) => {
                    refused += 1;
                    learned.push(pvchat.enrol(&candidate.reference, &name)?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        println!("seed {seed}: {:.1} s per subject learned", started.elapsed().as_secs_f32() / candidates.len() as f32);
        rows.insert(format!("learn, seed {seed}"), existence(&pvchat, &candidates, &learned)?);
        described.push((format!("learn, seed {seed}"), describe(&pvchat, &candidates, &learned)?));
        if seed == 0 {
            examined = learned;
        }
    }
    if arguments.controls {
        rows.extend(controls(&pvchat, &candidates, &examined)?);
    }
    let verdicts = verdicts(&rows)?;
    let mut figures = report(&rows, &described, [kept, refused], &candidates, &verdicts)?;
    if let Some(path) = &arguments.curve {
        curves(&pvchat, &candidates, &[("enrol", &enrolled), ("remember", &remembered)], path)?;
    }
    // A judge can fail halfway; what was measured is written anyway.
    let texts = scorer.score(&described);
    if let Ok(texts) = &texts {
        figures.insert("texts".into(), texts.clone());
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?).map_err(at(path))?;
    }
    texts?;
    match verdicts.iter().find(|(_, verdict)| !verdict.passed()) {
        Some((name, verdict)) => Err(format!("{name}: {verdict}").into()),
        None => Ok(()),
    }
}

/// Whether what was learned, with every seed, or what was enrolled when nothing was, beats every control; nothing when no
/// control was asked for.
fn verdicts(rows: &BTreeMap<String, Vec<ExistenceAnswer>>) -> Outcome<Vec<(String, Verdict)>> {
    let of = |start: &'static str| {
        rows.iter().filter(move |(name, _)| name.starts_with(start)).map(|(name, rows)| (name.as_str(), rows.as_slice()))
    };
    if of("control").next().is_none() {
        return Ok(Vec::new());
    }
    let examined = if of("learn").next().is_some() { "learn" } else { "enrol" };
    of(examined)
        .map(|(name, answers)| Ok((name.to_string(), Verdict::of(answers, of("control"), 1000, &mut SeededStream::new(8))?)))
        .collect()
}

/// False accepts against false rejects, with a threshold calibrated on half of the characters for one false accept in
/// twenty and reported on the other half.
fn curves(pvchat: &Pvchat, candidates: &[Candidate], ways: &[(&str, &Vec<Subject>)], path: &Path) -> Outcome<()> {
    let mut drawn = Vec::new();
    for (name, subjects) in ways {
        let mut halves = [Vec::new(), Vec::new()];
        for (number, (candidate, subject)) in candidates.iter().zip(*subjects).enumerate() {
            for (seen, truth) in candidate.clips.iter().zip(&candidate.character.clips) {
                let present = truth.cast == Cast::Positive;
                halves[number % 2].push(Judgement { presence: pvchat.presence(subject, seen)?, present });
            }
        }
        if let Some(chosen) = curve::calibrate(&curve::curve(&halves[0]), 0.05)
            && let Some(found) = OperatingPoint::at(chosen.threshold, &halves[1])
        {
            println!(
                "{name}: threshold {:.3} accepts {:.3} of the others falsely on half of the characters; on the other half \
                 {:.3}, with {:.3} of the positives rejected",
                chosen.threshold, chosen.false_accept, found.false_accept, found.false_reject
            );
        }
        let all = halves.concat();
        let points = curve::curve(&all);
        if let Some((point, rate)) = curve::equal_error(&points) {
            println!("{name}: equal error rate {rate:.3} at a presence of {:.3}", point.threshold);
        }
        for low in [0.5, 0.2, 0.1, 0.05] {
            if let Some(sure) = curve::abstain(&all, low, 1.0 - low) {
                println!(
                    "{name}: not sure between {low} and {:.2}: {:.3} of the clips answered, {:.3} of them right (balanced)",
                    1.0 - low,
                    sure.coverage,
                    sure.balanced
                );
            }
        }
        drawn.push((name.to_string(), points));
    }
    Ok(curve::chart(&drawn).write_png(path)?)
}

fn report(
    rows: &BTreeMap<String, Vec<ExistenceAnswer>>,
    described: &[(String, Vec<Described>)],
    [kept, refused]: [usize; 2],
    candidates: &[Candidate],
    verdicts: &[(String, Verdict)],
) -> Outcome<serde_json::Map<String, serde_json::Value>> {
    let mut stream = SeededStream::new(7);
    let mut table = Table::new(["existence", "positives", "look-alikes 2", "look-alikes 1", "random", "balanced [95 %]"]);
    let casts: Vec<Cast> = candidates.iter().flat_map(|one| one.character.clips.iter().map(|clip| clip.cast)).collect();
    let share = |answers: &[ExistenceAnswer], cast: Cast| {
        let mut share = Share::default();
        answers.iter().zip(&casts).filter(|(_, one)| **one == cast).for_each(|(answer, _)| share.add(answer.is_right()));
        share.rate()
    };
    let of_learning = || rows.iter().filter(|(name, _)| name.starts_with("learn"));
    let learned: Vec<ExistenceAnswer> = of_learning().flat_map(|(_, answers)| answers).cloned().collect();
    let mut figures = serde_json::Map::new();
    for (name, answers) in rows {
        let estimate = balanced_estimate(answers, 1000, &mut stream);
        table.row([
            name.clone(),
            fraction(share(answers, Cast::Positive)),
            fraction(share(answers, Cast::LookAlike2)),
            fraction(share(answers, Cast::LookAlike1)),
            fraction(share(answers, Cast::Random)),
            with_interval(estimate),
        ]);
        let score = ExistenceScore::of(answers);
        figures.insert(name.clone(), serde_json::json!({ "score": score, "balanced": score.balanced() }));
    }
    println!("{}", table.to_markdown());
    if !learned.is_empty() {
        let seeds = of_learning().count();
        let enrolled: Vec<ExistenceAnswer> = of_learning().flat_map(|_| &rows["enrol"]).cloned().collect();
        let difference = balanced_difference(&enrolled, &learned, 1000, &mut stream)?;
        println!("learn, {seeds} seeds together: {}", with_interval(balanced_estimate(&learned, 1000, &mut stream)));
        println!(
            "learn - enrol, paired: {}; learned parameters kept {kept} of {} times, \
             refused by the self-check and enrolled in place of it {refused} times\n",
            with_interval(difference),
            seeds * candidates.len()
        );
    }
    let mut table = Table::new(["descriptions"].into_iter().chain(DESCRIPTION_COLUMNS));
    for (name, answers) in described {
        let shares = shares(answers);
        let cells = (0..2).flat_map(|company| shares.iter().map(move |share| fraction(share[company].rate())));
        table.row([name.clone()].into_iter().chain(cells));
        figures.insert(format!("descriptions, {name}"), serde_json::to_value(shares)?);
    }
    println!("{}", table.to_markdown());
    for (name, verdict) in verdicts {
        println!("{name}: {verdict}");
        figures.insert(format!("controls, {name}"), serde_json::to_value(verdict)?);
    }
    Ok(figures)
}
