//! Learn people from clips and ask about them, from the command line.

use std::{
    error::Error,
    io::{self, BufRead, IsTerminal, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::{Parser, Subcommand};
use pvchat::{LearnOptions, Obtained, Pvchat, SubjectFolder, SubjectName, model::subject::Origin};
use pvchat_examples::{error_line, exit_code, progress::LearnBars, say_unfinished, shown};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Learns people from one clip each and answers questions about them in other clips.
///
/// A person gets a name, which stands in questions in angle brackets: <Aa>. What is learned is kept
/// in one small file per person in the folder of subjects; the clips themselves are not kept.
/// The model is a miniature that knows drawn characters; clips of it are in fixtures/clips.
#[derive(Parser)]
#[command(name = "learn_and_ask", version, after_help = EXAMPLES, after_long_help = EXAMPLES)]
struct Arguments {
    /// The folder that keeps what was learned.
    #[arg(long, global = true, value_name = "DIR", default_value = "subjects")]
    subjects: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples (after target/release/examples/learn_and_ask, which `make demo` has built):
  learn fixtures/clips/clip-00.mp4 --name Aa              under a minute; when interrupted, goes on where it was
  enrol fixtures/clips/clip-00.mp4 --name Bb              one look, no training
  ask fixtures/clips/clip-03.mp4 \"What is <Aa> doing?\"    quotes keep < and > from the shell
  ask fixtures/clips/clip-03.mp4 \"Is <Aa> in this video?\"
  chat fixtures/clips/clip-03.mp4                         one question per line, \"and where?\" works
  list
  forget Bb

What can be asked: whether somebody is there, clothes, face and hair, action, place.
Exit codes: 0 done, 2 something was wrong (one line says what and what to do).";

#[derive(Subcommand)]
enum Command {
    /// Learns the person in a clip by training on clips made from it; somebody of that name is replaced.
    Learn {
        /// A video that shows one person.
        clip: PathBuf,
        /// The person's name: at most 40 letters, digits, hyphens, apostrophes and spaces, with or without angle brackets.
        #[arg(long)]
        name: SubjectName,
        /// Seed of everything random; the same seed learns the same.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Makes a person known after one look at a clip, without training; somebody of that name is replaced.
    Enrol {
        /// A video that shows one person.
        clip: PathBuf,
        /// The person's name: at most 40 letters, digits, hyphens, apostrophes and spaces, with or without angle brackets.
        #[arg(long)]
        name: SubjectName,
    },
    /// Answers one question about a clip.
    Ask {
        /// The video to ask about.
        clip: PathBuf,
        /// The question; people that were learned stand in it as <Aa>.
        question: String,
    },
    /// Answers questions about a clip, one per line, until the input ends.
    Chat {
        /// The video to ask about.
        clip: PathBuf,
    },
    /// Lists everyone in the folder.
    List,
    /// Deletes all that is kept of a person.
    Forget {
        /// The person's name.
        name: SubjectName,
    },
}

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    exit_code(run(&SubjectFolder::new(arguments.subjects), arguments.command))
}

fn run(folder: &SubjectFolder, command: Command) -> Outcome {
    match command {
        Command::Learn { clip, name, seed } => learn(folder, &clip, &name, seed),
        Command::Enrol { clip, name } => enrol(folder, &clip, &name),
        Command::Ask { clip, question } => ask(folder, &clip, &question),
        Command::Chat { clip } => chat(folder, &clip),
        Command::List => list(folder),
        Command::Forget { name } => forget(folder, &name),
    }
}

fn learn(folder: &SubjectFolder, clip: &Path, name: &SubjectName, seed: u64) -> Outcome {
    let started = Instant::now();
    let pvchat = Pvchat::miniature()?;
    let clip = pvchat.clip(clip)?;
    let options = LearnOptions { seed, ..LearnOptions::default() };
    let mut bars = LearnBars::default();
    let learned = folder.learn(&pvchat, &clip, name, &options, |event| bars.observe(event));
    bars.finish();
    let learned = learned?;
    let file = folder.file(name);
    let mut out = io::stdout().lock();
    let [before, after] = [learned.report.before, learned.report.after].map(|check| 100.0 * check.balanced_accuracy);
    writeln!(out, "{name} learned in {:.0} s, kept in {}", started.elapsed().as_secs_f64(), shown(&file))?;
    writeln!(out, "right on clips held back: {before:.0} % before training, {after:.0} % after it")?;
    if !learned.report.kept_learned {
        writeln!(out, "training did not help, so the enrolled form was kept")?;
    }
    Ok(())
}

fn enrol(folder: &SubjectFolder, clip: &Path, name: &SubjectName) -> Outcome {
    let pvchat = Pvchat::miniature()?;
    let subject = pvchat.enrol(&pvchat.clip(clip)?, name)?;
    let file = folder.save(&subject)?;
    writeln!(io::stdout(), "{name} enrolled, kept in {}", shown(&file))?;
    Ok(())
}

fn ask(folder: &SubjectFolder, clip: &Path, question: &str) -> Outcome {
    let pvchat = Pvchat::miniature()?;
    let subjects = named(question).iter().map(|name| folder.load(name, pvchat.vilm())).collect::<Result<Vec<_>, _>>()?;
    let clip = pvchat.clip(clip)?;
    let mut out = io::stdout().lock();
    let mut written = Ok(());
    let answer = pvchat.ask_streaming(&subjects, &clip, question, |piece| {
        written = write!(out, "{piece}").and_then(|()| out.flush());
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    writeln!(out)?;
    say_presence(&mut out, &answer.presence, answer.obtained)?;
    Ok(())
}

fn chat(folder: &SubjectFolder, clip: &Path) -> Outcome {
    let pvchat = Pvchat::miniature()?;
    let mut subjects = Vec::new();
    for name in folder.names()? {
        match folder.load(&name, pvchat.vilm()) {
            Ok(subject) => subjects.push(subject),
            Err(error) => writeln!(io::stderr(), "{name} is left out: {}", error_line(&error))?,
        }
    }
    let clip = pvchat.clip(clip)?;
    let mut conversation = pvchat.chat(&subjects, &clip);
    let mut out = io::stdout().lock();
    let interactive = io::stdin().is_terminal();
    if interactive {
        let known = subjects.iter().map(|subject| subject.info.name.to_string()).collect::<Vec<_>>().join(" ");
        writeln!(out, "Known people: {}. Ask away; Ctrl-D ends.", if known.is_empty() { "none yet" } else { known.as_str() })?;
    }
    let mut lines = io::stdin().lock().lines();
    loop {
        if interactive {
            write!(out, "> ")?;
            out.flush()?;
        }
        let question = match lines.next() {
            None => break,
            Some(Ok(question)) => question,
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                writeln!(io::stderr(), "error: this line is not UTF-8 text")?;
                continue;
            }
            Some(Err(error)) => return Err(error.into()),
        };
        if question.trim().is_empty() {
            continue;
        }
        // A question that cannot be answered does not end the conversation.
        let known = named(&question).iter().try_for_each(|name| folder.load(name, pvchat.vilm()).map(drop));
        match known.and_then(|()| conversation.ask(&question)) {
            Ok(answer) => {
                writeln!(out, "{}", answer.text)?;
                say_presence(&mut out, &answer.presence, answer.obtained)?;
            }
            Err(error) => writeln!(io::stderr(), "error: {}", error_line(&error))?,
        }
    }
    Ok(())
}

fn list(folder: &SubjectFolder) -> Outcome {
    let names = folder.names()?;
    let mut out = io::stdout().lock();
    say_unfinished(&mut out, &folder.unfinished()?)?;
    if names.is_empty() {
        writeln!(out, "nobody in {} yet; `learn CLIP --name Aa` learns somebody", shown(folder.path()))?;
        return Ok(());
    }
    let pvchat = Pvchat::miniature()?;
    for name in names {
        let about = match folder.load(&name, pvchat.vilm()) {
            Ok(subject) => match subject.info.origin {
                Origin::Enrolled => "enrolled in one look".to_string(),
                Origin::Learned => "learned by training".to_string(),
                Origin::Remembered => "remembered".to_string(),
            },
            Err(error) => format!("cannot be used: {}", error_line(&error)),
        };
        writeln!(out, "{:<12} {about}  ({})", name.to_string(), shown(&folder.file(&name)))?;
    }
    Ok(())
}

fn forget(folder: &SubjectFolder, name: &SubjectName) -> Outcome {
    let receipt = folder.forget(name)?;
    if receipt.is_empty() {
        return Err(format!("no subject {name} in {}; `list` shows who is there", shown(folder.path())).into());
    }
    writeln!(io::stdout(), "{receipt}")?;
    Ok(())
}

/// The names in angle brackets of a question, each once.
fn named(question: &str) -> Vec<SubjectName> {
    let mut names: Vec<SubjectName> = Vec::new();
    for name in question.split('<').skip(1).filter_map(|rest| rest.split_once('>')?.0.parse().ok()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// How sure the model is that the people of a question are there, and what that rests on.
fn say_presence(out: &mut impl Write, presence: &[(SubjectName, f32)], obtained: Obtained) -> io::Result<()> {
    let rests_on = match obtained {
        Obtained::Remembered => "a remembered look",
        Obtained::Enrolled => "from one look",
        Obtained::Learned => "from training",
        Obtained::General => "without a known person",
    };
    for (name, probability) in presence {
        writeln!(out, "  {name} is there with a probability of {:.0} % (known {rests_on})", 100.0 * probability)?;
    }
    if presence.is_empty() {
        writeln!(out, "  (answered {rests_on})")?;
    }
    Ok(())
}
