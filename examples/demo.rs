//! The demo: a real man is learned from one clip and looked for in others, then a drawn character in the drawn laboratory.
//!
//! Writes a page, a contact sheet and all figures to `demo/` in cargo's target folder. Ends with exit code 1 when an answer is
//! wrong, and 2 when models or clips are absent.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use pvchat::data::file::{write_atomically, write_json};
use pvchat_examples::{
    demo::{
        Outcome, laboratory, page,
        people::{self, Folders},
        sheet,
    },
    error_line, models_folder, real_clips_folder,
    report::peak_memory_mib,
    shown, target_folder,
};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Learns a real man from one clip and asks about him in others, then does the same with a drawn character.
///
/// Models and clips are fetched by `make models`, which `make demo` does first; the demo itself fetches nothing.
#[derive(Parser)]
#[command(name = "demo", version)]
struct Arguments {
    /// Where the models are.
    #[arg(long, env = "PVCHAT_MODELS", hide_env_values = true, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Where the clips of real people are.
    #[arg(long, env = "PVCHAT_CLIPS", hide_env_values = true, value_name = "DIR")]
    clips: Option<PathBuf>,
    /// Where pictures, page and figures go; by default demo in cargo's target folder.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    match demo(Arguments::parse(), &mut io::stdout().lock()) {
        Ok(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Ok(failures) => {
            failures.iter().for_each(|failure| say(&format!("failed: {failure}")));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("error: {}", error_line(error.as_ref())));
            ExitCode::from(2)
        }
    }
}

/// Not `eprintln!`, which panics when nobody listens.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Runs the demo and gives what is wrong.
fn demo(arguments: Arguments, out: &mut impl Write) -> Outcome<Vec<String>> {
    let started = Instant::now();
    let folders = Folders {
        models: models_folder(arguments.models),
        clips: real_clips_folder(arguments.clips),
        output: arguments.output.unwrap_or_else(|| target_folder().join("demo")),
    };
    folders.check()?;
    let output = &folders.output;
    std::fs::create_dir_all(output).map_err(|error| format!("{}: {error}", output.display()))?;

    writeln!(out, "1. REAL PEOPLE: a man is learned from one clip and looked for in others\n")?;
    let people = people::act(&folders, out)?;
    let [least, most] = people.figures.similarities;
    writeln!(
        out,
        "  {} is at least {least:.2} similar, everybody else at most {most:.2}; {:.2} and more is a yes.\n",
        people::NAME,
        people.figures.certain_from
    )?;
    writeln!(out, "2. THE DRAWN LABORATORY: the paper's training, on a drawn world\n")?;
    let drawn = laboratory::act(output, out)?;

    let mut failures = people.wrong();
    let balanced = drawn.report.balanced_existence_accuracy;
    if balanced < laboratory::REQUIRED {
        let required = laboratory::REQUIRED;
        failures
            .push(format!("the drawn laboratory: balanced existence accuracy is {balanced:.3}, expected at least {required}"));
    }
    let [page_file, sheet_file, figures_file] = ["report.html", "contact-sheet.png", "report.json"].map(|file| output.join(file));
    sheet::draw(&people)?.save(&sheet_file).map_err(|error| format!("{}: {error}", sheet_file.display()))?;
    write_atomically(&page_file, page::page(&people, &drawn)?.as_bytes())?;
    let (total, memory) = (started.elapsed().as_secs_f64(), peak_memory_mib());
    let figures = json!({
        "people": people.figures,
        "drawn laboratory": drawn.report,
        "seconds": total,
        "peak memory in MiB": memory,
        "wrong": failures,
    });
    write_json(&figures_file, &figures)?;
    let memory = memory.map_or(String::new(), |mib| format!(", {mib:.0} MiB of memory at most"));
    writeln!(out, "\n{total:.0} s in all{memory}. Have a look at:")?;
    for (file, words) in [
        (&page_file, "everything, with pictures"),
        (&sheet_file, "frames of every clip with what was found"),
        (&figures_file, "all figures"),
    ] {
        writeln!(out, "  {}  ({words})", shown(file))?;
    }
    Ok(failures)
}
