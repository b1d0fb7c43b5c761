//! The examination of the miniature level by level: who is recognised by templates, and who by personal parameters, in clips that
//! are harder in one way each.

use std::{error::Error, process::ExitCode};

use clap::Parser;
use pvchat::{
    Pvchat, Subject, SubjectName,
    augment::ClipKind,
    data::random::SeededStream,
    eval::{
        accuracy::{ExistenceAnswer, ExistenceScore, balanced_estimate_over},
        table::{Table, fraction, with_interval},
    },
    miniature::level::Level,
};
use pvchat_examples::{
    examination::{Exam, Outcome, enrolled, existence},
    exit_code,
    progress::bar,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Prints a table of all levels.
#[derive(Parser)]
struct Arguments {
    /// Characters.
    #[arg(long, default_value_t = 20)]
    characters: usize,
    /// Seed of the characters: 2026 for trying things out, 2028 for final figures.
    #[arg(long, default_value_t = 2026)]
    exam: u64,
}

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
    for level in Level::ALL {
        let mut candidates = Exam { characters: arguments.characters, seed: arguments.exam, level }.candidates(&pvchat)?;
        // Clips that the base takes for footage that it was not made for are refused in use; here they are examined anyway.
        let clips = || candidates.iter().flat_map(|one| &one.clips);
        let refused = clips().filter(|clip| clip.kind == ClipKind::Foreign).count() as f64 / clips().count().max(1) as f64;
        candidates.iter_mut().flat_map(|one| &mut one.clips).for_each(|clip| clip.kind = ClipKind::Unknown);
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
    println!("{}", table.to_markdown());
    Ok(())
}

/// Whose presence an answer is about.
fn character(answer: &ExistenceAnswer) -> String {
    answer.clip.split('-').next().unwrap_or_default().to_string()
}
