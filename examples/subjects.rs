//! Looks after a folder of subjects, from the command line: who is there, one more, another name, forgotten.

use std::{error::Error, io, io::Write, path::Path, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use pvchat::{LearnOptions, Pvchat, SubjectFolder, SubjectName, model::subject::Origin, train::personal::Trains};
use pvchat_examples::{error_line, exit_code, progress::LearnBars, say_unfinished, shown};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lists, adds, renames and forgets people.
///
/// All that is kept of a person lies in the folder, under names that begin with the person's: the subject itself, while it
/// is being learned its checkpoints, and on demand the clips it was learned from. Forgetting deletes all of it and says what
/// that was.
#[derive(Parser)]
#[command(name = "subjects", version, after_help = EXAMPLES, after_long_help = EXAMPLES)]
struct Arguments {
    /// The folder of subjects.
    #[arg(long, global = true, value_name = "DIR", default_value = "subjects")]
    subjects: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples (after `cargo run --release --example subjects --`):
  list
  add fixtures/clips/clip-00.mp4 --name Aa                      one look
  add fixtures/clips/clip-00.mp4 --name Bb --learn              by training; goes on where it was interrupted
  add fixtures/clips/clip-00.mp4 --name Cc --learn --trains personal --keep-data
  rename Aa Dd
  forget Bb

Exit codes: 0 done, 2 something was wrong (one line says what and what to do).";

#[derive(Subcommand)]
enum Command {
    /// Who is in the folder, from what, and how much room each takes.
    List,
    /// Adds the person in a clip.
    Add {
        /// A video that shows one person.
        clip: PathBuf,
        /// The person's name: letters, digits, hyphens, apostrophes and spaces, with or without angle brackets.
        #[arg(long)]
        name: SubjectName,
        /// Learns by training on clips made from the clip, instead of one look.
        #[arg(long)]
        learn: bool,
        /// What is trained: composable, personal, personal-and-bridge or personal-bridge-and-vision. Only subjects of the
        /// first kind can be asked about together.
        #[arg(long, default_value = "composable", requires = "learn", value_parser = trains)]
        trains: Trains,
        /// Also keeps the clips and questions that it was learned from.
        #[arg(long, requires = "learn")]
        keep_data: bool,
    },
    /// Gives somebody another name.
    Rename {
        /// The name now.
        from: SubjectName,
        /// The name from now on.
        to: SubjectName,
    },
    /// Deletes all that is kept of somebody, with a receipt.
    Forget {
        /// The person's name.
        name: SubjectName,
    },
}

/// A choice by its name, as it stands in configurations too.
fn trains(text: &str) -> Result<Trains, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    exit_code(run(&SubjectFolder::new(arguments.subjects), arguments.command))
}

fn run(folder: &SubjectFolder, command: Command) -> Outcome {
    match command {
        Command::List => list(folder),
        Command::Add { clip, name, learn: false, .. } => {
            let pvchat = Pvchat::miniature()?;
            let file = folder.save(&pvchat.enrol(&pvchat.clip(&clip)?, &name)?)?;
            Ok(writeln!(io::stdout(), "{name} added after one look, kept in {}", shown(&file))?)
        }
        Command::Add { clip, name, trains, keep_data, .. } => learn(folder, &clip, &name, trains, keep_data),
        Command::Rename { from, to } => {
            let file = folder.rename(&from, &to, Pvchat::miniature()?.vilm())?;
            Ok(writeln!(io::stdout(), "{from} is {to} now, kept in {}", shown(&file))?)
        }
        Command::Forget { name } => {
            let receipt = folder.forget(&name)?;
            if receipt.is_empty() {
                return Err(format!("no subject {name} in {}; `list` shows who is there", shown(folder.path())).into());
            }
            Ok(writeln!(io::stdout(), "{receipt}")?)
        }
    }
}

fn list(folder: &SubjectFolder) -> Outcome {
    let names = folder.names()?;
    let mut out = io::stdout().lock();
    say_unfinished(&mut out, &folder.unfinished()?)?;
    if names.is_empty() {
        return Ok(writeln!(out, "nobody in {} yet; `add CLIP --name Aa` adds somebody", shown(folder.path()))?);
    }
    let pvchat = Pvchat::miniature()?;
    for name in names {
        let about = match folder.load(&name, pvchat.vilm()) {
            Ok(subject) => {
                let origin = match subject.info.origin {
                    Origin::Enrolled => "after one look",
                    Origin::Learned => "by training",
                    Origin::Remembered => "remembered",
                };
                let alone = if subject.is_composable() { "" } else { ", to be asked about alone" };
                format!("{:>8} bytes  {origin}{alone}", subject.bytes())
            }
            Err(error) => format!("cannot be used: {}", error_line(&error)),
        };
        writeln!(out, "{:<12} {about}", name.to_string())?;
    }
    Ok(())
}

fn learn(folder: &SubjectFolder, clip: &Path, name: &SubjectName, trains: Trains, keep_data: bool) -> Outcome {
    let pvchat = Pvchat::miniature()?;
    let clip = pvchat.clip(clip)?;
    let mut options = LearnOptions::default();
    options.training.trains = trains;
    let mut bars = LearnBars::default();
    let learned = folder.learn(&pvchat, &clip, name, &options, |event| bars.observe(event));
    bars.finish();
    let learned = learned?;
    let mut out = io::stdout().lock();
    let how = if learned.report.kept_learned { "by training" } else { "after one look, which training did not better" };
    writeln!(out, "{name} added {how}, kept in {}", shown(&folder.file(name)))?;
    if keep_data {
        writeln!(out, "what it was learned from is in {}", shown(&folder.keep_data(&learned.set)?))?;
    }
    Ok(())
}
