//! The examination of the miniature level by level: who is recognised by templates, and who by personal parameters, in clips that
//! are harder in one way each. Then verification: everybody who is enrolled is looked for in the clips of everybody.

use std::{error::Error, process::ExitCode};

use clap::Parser;
use pvchat::{
    Pvchat, Subject, SubjectName,
    augment::ClipKind,
    data::random::SeededStream,
    eval::{
        accuracy::{ExistenceAnswer, ExistenceScore, balanced_estimate_over},
        bootstrap::Resampler,
        curve::{Judgement, calibrate, curve, equal_error},
        table::{Table, fraction, with_interval},
    },
    miniature::{exam::Counts, level::Level},
};
use pvchat_examples::{
    examination::{Candidate, Exam, Outcome, enrolled, existence},
    exit_code,
    progress::bar,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Prints a table of all levels, and one of verification.
#[derive(Parser)]
struct Arguments {
    /// Characters.
    #[arg(long, default_value_t = 20)]
    characters: usize,
    /// Seed of the characters: 2026 for trying things out, 2028 for final figures.
    #[arg(long, default_value_t = 2026)]
    exam: u64,
    /// Subjects of the verification.
    #[arg(long, default_value_t = 64)]
    enrolled: usize,
    /// Leaves out the levels.
    #[arg(long)]
    only_verification: bool,
}

/// Clips of each subject of the verification.
const CLIPS: usize = 6;
/// Shares of accepted strangers at which subjects are to be found.
const FALSE_ACCEPTS: [f64; 2] = [0.01, 0.001];
/// Resamples of the intervals.
const RESAMPLES: usize = 2000;

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()).map_err(|error| error as Box<dyn Error>))
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let pvchat = Pvchat::miniature()?;
    let name: SubjectName = "Aa".parse()?;
    let columns = ["level", "recognised by", "positives", "look-alikes", "random", "balanced [95 %]", "refused"];
    let (mut table, mut stream) = (Table::new(columns), SeededStream::new(arguments.exam).derive("levels"));
    let progress = bar("levels", Level::ALL.len());
    for level in Level::ALL.into_iter().filter(|_| !arguments.only_verification) {
        let mut candidates = Exam { characters: arguments.characters, seed: arguments.exam, level }.candidates(&pvchat)?;
        let clips = || candidates.iter().flat_map(|one| &one.clips);
        let refused = clips().filter(|clip| clip.kind == ClipKind::Foreign).count() as f64 / clips().count().max(1) as f64;
        accept(&mut candidates);
        let remembered: Outcome<Vec<Subject>> =
            candidates.iter().map(|one| Ok(pvchat.remember(&one.reference, &name)?)).collect();
        for (way, subjects) in
            [("templates", remembered?), ("personal parameters of one look", enrolled(&pvchat, &candidates, &name)?)]
        {
            let answers = existence(&pvchat, &candidates, &subjects)?;
            let score = ExistenceScore::of(&answers);
            let estimate = balanced_estimate_over(&answers, character, RESAMPLES, &mut stream);
            table.row([
                level.name().to_string(),
                way.to_string(),
                fraction(score.positives.rate()),
                fraction(score.look_alikes.rate()),
                fraction(score.random.rate()),
                with_interval(estimate),
                fraction(Some(refused)),
            ]);
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if !table.is_empty() {
        println!("{}", table.to_markdown());
    }
    println!("{}", verification(&pvchat, arguments, &name, &mut stream)?.to_markdown());
    Ok(())
}

/// Clips that the base takes for footage that it was not made for are refused in use; here they are examined anyway.
fn accept(candidates: &mut [Candidate]) {
    let clips = candidates.iter_mut().flat_map(|one| one.clips.iter_mut().chain([&mut one.reference]));
    clips.for_each(|clip| clip.kind = ClipKind::Unknown);
}

/// The share of the subjects' clips that is found at thresholds which accept [`FALSE_ACCEPTS`] of the pairs of a subject and
/// somebody else's clip. Intervals are by bootstrap over subjects with fixed thresholds.
fn verification(pvchat: &Pvchat, arguments: &Arguments, name: &SubjectName, stream: &mut SeededStream) -> Outcome<Table> {
    let counts = Counts { alone: CLIPS, accompanied: 0, look_alikes: 0, random: 0 };
    let exam = Exam { characters: arguments.enrolled, seed: arguments.exam, level: Level::Standard };
    let mut candidates = exam.candidates_with(pvchat, counts)?;
    accept(&mut candidates);
    let remembered: Outcome<Vec<Subject>> = candidates.iter().map(|one| Ok(pvchat.remember(&one.reference, name)?)).collect();
    let mut columns = vec!["verification by".to_string(), "pairs of one person, of two".into()];
    columns.extend(FALSE_ACCEPTS.map(|share| format!("found at {} % false accepts [95 %]", 100.0 * share)));
    columns.push("equal error rate".into());
    let mut table = Table::new(columns);
    for (way, subjects) in [("templates", remembered?), ("personal parameters of one look", enrolled(pvchat, &candidates, name)?)]
    {
        let (mut judgements, mut own) = (Vec::new(), Vec::new());
        for (number, subject) in subjects.iter().enumerate() {
            for (other, candidate) in candidates.iter().enumerate() {
                for clip in &candidate.clips {
                    let judgement = Judgement { presence: pvchat.presence(subject, clip)?, present: other == number };
                    judgements.push(judgement);
                    own.extend(judgement.present.then_some((number, judgement.presence)));
                }
            }
        }
        let points = curve(&judgements);
        let mut cells = vec![way.to_string(), format!("{}, {}", own.len(), judgements.len() - own.len())];
        for wanted in FALSE_ACCEPTS {
            let threshold = calibrate(&points, wanted).ok_or("too few clips for a threshold")?.threshold;
            let found = |drawn: &[usize]| {
                let found = drawn.iter().filter(|&&index| own[index].1 >= threshold).count();
                (!drawn.is_empty()).then(|| found as f64 / drawn.len() as f64)
            };
            let by_subject = Resampler::new(own.iter().map(|(subject, _)| ((), *subject)));
            cells.push(with_interval(by_subject.estimate(found, RESAMPLES, stream)));
        }
        cells.push(fraction(equal_error(&points).map(|(_, rate)| rate)));
        table.row(cells);
    }
    Ok(table)
}

/// Whose presence an answer is about.
fn character(answer: &ExistenceAnswer) -> String {
    answer.clip.split('-').next().unwrap_or_default().to_string()
}
