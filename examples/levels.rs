//! The examination of the miniature level by level: who is recognised by templates, who by tokens of one look, and
//! who after learning, in clips that are harder in one way each. Then verification: everybody who is enrolled is looked for in the
//! clips of everybody.

use std::{error::Error, ops::ControlFlow, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use image::RgbImage;
use pvchat::{
    LearnOptions, Pvchat, Subject, SubjectName,
    augment::ClipKind,
    data::random::SeededStream,
    eval::{
        accuracy::{ExistenceAnswer, ExistenceScore, balanced_difference, balanced_estimate},
        bootstrap::Resampler,
        curve::{Judgement, calibrate, curve, equal_error},
        table::{Table, fraction, with_interval},
    },
    miniature::{exam::Counts, level::Level},
    train::personal::SelfCheck,
};
use pvchat_examples::{
    at,
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
    /// Learns every character too, in place of templates and of verification.
    #[arg(long, conflicts_with = "only_verification")]
    learn: bool,
    /// How to learn, as JSON (the fields of `LearnOptions`, those left out as usual), in place of `LearnOptions::other_looks`.
    #[arg(long, value_name = "FILE", requires = "learn")]
    options: Option<PathBuf>,
    /// Seeds of learning; with several, each is a replicate, and intervals are over characters.
    #[arg(long, default_value_t = 1, requires = "learn")]
    seeds: u64,
    /// Levels to learn for, by their names as in `another-style`; all of them without any.
    #[arg(long, value_name = "LEVEL", value_parser = level, value_delimiter = ',', requires = "learn")]
    only: Vec<Level>,
}

/// A level by its name, as in files.
fn level(text: &str) -> Result<Level, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
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
    if arguments.learn {
        return learning(&pvchat, arguments, &name);
    }
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
        for (way, subjects) in [("templates", remembered?), ("tokens of one look", enrolled(&pvchat, &candidates, &name)?)] {
            let answers = existence(&pvchat, &candidates, &subjects)?;
            let score = ExistenceScore::of(&answers);
            let estimate = balanced_estimate(&answers, RESAMPLES, &mut stream);
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

/// Prints what enrolment and learning recognise at every level, and the paired differences: of what `pvchat learn` would keep, and
/// of what was learned whether it is kept or not. The last three columns are of the latter.
fn learning(pvchat: &Pvchat, arguments: &Arguments, name: &SubjectName) -> Outcome<()> {
    let options: LearnOptions = match &arguments.options {
        Some(file) => serde_json::from_slice(&std::fs::read(file).map_err(at(file))?)?,
        None => LearnOptions::other_looks(),
    };
    let columns = [
        "level",
        "enrolled [95 %]",
        "kept [95 %]",
        "paired difference [95 %]",
        "learned, without the self-check [95 %]",
        "paired difference [95 %]",
        "positives",
        "look-alikes",
        "random",
    ];
    let (mut table, mut stream) = (Table::new(columns), SeededStream::new(arguments.exam).derive("levels"));
    let mut people = LearnedPeople { pvchat, name, options, learned: Vec::new(), refused: 0 };
    let levels = if arguments.only.is_empty() { &Level::ALL[..] } else { &arguments.only };
    let progress = bar("levels", levels.len());
    for &level in levels {
        let mut candidates = Exam { characters: arguments.characters, seed: arguments.exam, level }.candidates(pvchat)?;
        accept(&mut candidates);
        let before = existence(pvchat, &candidates, &enrolled(pvchat, &candidates, name)?)?;
        let mut cells = vec![level.name().to_string(), with_interval(balanced_estimate(&before, RESAMPLES, &mut stream))];
        let before: Vec<ExistenceAnswer> = (0..arguments.seeds).flat_map(|_| before.clone()).collect();
        let mut all = [Vec::new(), Vec::new()];
        for seed in 0..arguments.seeds {
            let subjects = candidates.iter().map(|one| people.learned(one, seed)).collect::<Outcome<Vec<[Subject; 2]>>>()?;
            for (checked, answers) in all.iter_mut().enumerate() {
                let subjects: Vec<Subject> = subjects.iter().map(|both| both[checked].clone()).collect();
                answers.extend(existence(pvchat, &candidates, &subjects)?);
            }
        }
        let mut score = ExistenceScore::default();
        for after in all {
            cells.push(with_interval(balanced_estimate(&after, RESAMPLES, &mut stream)));
            cells.push(with_interval(balanced_difference(&before, &after, RESAMPLES, &mut stream)?));
            score = ExistenceScore::of(&after);
        }
        cells.extend([score.positives, score.look_alikes, score.random].map(|share| fraction(share.rate())));
        table.row(cells);
        progress.inc(1);
    }
    progress.finish_and_clear();
    println!("{}", table.to_markdown());
    let kept = people.learned.iter().filter(|one| one.kept).count();
    let seconds: f64 = people.learned.iter().map(|one| one.seconds).sum();
    println!(
        "learned {} times in {:.0} s each; what was learned was kept {kept} times, refused and enrolled in place of it {} times",
        people.learned.len(),
        seconds / people.learned.len().max(1) as f64,
        people.refused
    );
    Ok(())
}

/// Characters, each learned once from a reference with a seed: most levels share it.
struct LearnedPeople<'a> {
    pvchat: &'a Pvchat,
    name: &'a SubjectName,
    options: LearnOptions,
    learned: Vec<LearnedPerson>,
    /// How often the self-check refused what was learned; the program then says to enrol.
    refused: usize,
}

struct LearnedPerson {
    reference: Vec<RgbImage>,
    seed: u64,
    /// What is kept, and what was learned.
    subjects: [Subject; 2],
    kept: bool,
    seconds: f64,
}

impl LearnedPeople<'_> {
    /// What `pvchat learn` would keep of a character, and what was learned.
    fn learned(&mut self, candidate: &Candidate, seed: u64) -> Outcome<[Subject; 2]> {
        let reference = &candidate.reference.frames;
        if let Some(known) = self.learned.iter().find(|known| known.reference == *reference && known.seed == seed) {
            return Ok(known.subjects.clone());
        }
        let started = Instant::now();
        let options = LearnOptions { seed: self.options.seed + seed, ..self.options.clone() };
        let learned = match self.pvchat.learn(&candidate.reference, self.name, &options, |_| ControlFlow::Continue(())) {
            Ok(learned) => learned,
            Err(pvchat::Error::NotLearned { .. }) => {
                self.refused += 1;
                let enrolled = self.pvchat.enrol(&candidate.reference, self.name)?;
                let (subjects, seconds) = ([enrolled.clone(), enrolled], started.elapsed().as_secs_f64());
                let reference = reference.clone();
                self.learned.push(LearnedPerson { reference, seed, subjects: subjects.clone(), kept: false, seconds });
                return Ok(subjects);
            }
            Err(error) => return Err(error.into()),
        };
        let (report, clips) = (learned.report, learned.set.clips.len());
        let accuracy = |checks: [SelfCheck; 2]| checks.map(|check| format!("{:.3}", check.balanced_accuracy)).join(" to ");
        eprintln!(
            "{clips} clips; right on held-back ones: {}; on untouched ones: {}",
            accuracy([report.before, report.after]),
            report.real.map_or_else(|| "-".into(), accuracy)
        );
        let subjects = [learned.subject.clone(), report.learned.first().cloned().unwrap_or(learned.subject)];
        self.learned.push(LearnedPerson {
            reference: reference.clone(),
            seed,
            subjects: subjects.clone(),
            kept: report.kept_learned,
            seconds: started.elapsed().as_secs_f64(),
        });
        Ok(subjects)
    }
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
    for (way, subjects) in [("templates", remembered?), ("tokens of one look", enrolled(pvchat, &candidates, name)?)] {
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
