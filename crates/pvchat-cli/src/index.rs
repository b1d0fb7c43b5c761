//! `pvchat index` and `pvchat find`: everybody in a folder of footage, and in which files somebody is.

use std::path::{Path, PathBuf};

use pvchat::{Error, FoundIn, INDEX, Indexed, SubjectName, faces::Verdict};
use serde::Serialize;

use crate::{
    common::Common,
    failure::{Exit, Failure, Outcome},
    interrupt::Stoppable,
    progress::IndexBar,
    words,
};

const INDEX_EXAMPLES: &str = "\
Examples:
  pvchat index ~/Videos                     looks at every clip and picture once; run it again after changes
  pvchat find Aa ~/Videos                   in which of them Aa is, and when
  pvchat index /mnt/archive --index archive.index
  pvchat index ~/Videos --delete            deletes the index

The index holds a face embedding of everybody in the footage, strangers too. It is one file, DIR/pvchat.index, which only you
can read. Files that did not change are not looked at again, and an interrupted run continues with the next file.";

/// Looks for people in all footage of a folder and keeps them in one file, to be searched by `find`.
#[derive(clap::Args)]
#[command(after_help = INDEX_EXAMPLES)]
pub struct IndexArguments {
    /// A folder with videos and pictures; folders in it are included.
    folder: PathBuf,
    /// The file of the index; by default pvchat.index in the folder.
    #[arg(long, env = "PVCHAT_INDEX", hide_env_values = true, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Deletes the index.
    #[arg(long)]
    delete: bool,
}

const FIND_EXAMPLES: &str = "\
Examples:
  pvchat find Aa ~/Videos
  pvchat find Aa /mnt/archive --index archive.index --json

The folder has to be indexed: pvchat index DIR. The more people an index holds, the more similar somebody has to be.
Exit codes: 0 found, or in none of the files; 4 nowhere for sure, but perhaps somewhere.";

/// Lists the files of an indexed folder in which somebody is, with times, the most similar first.
#[derive(clap::Args)]
#[command(after_help = FIND_EXAMPLES)]
pub struct FindArguments {
    /// The name of somebody who is enrolled.
    name: SubjectName,
    /// The indexed folder.
    folder: PathBuf,
    /// The file of the index; by default pvchat.index in the folder.
    #[arg(long, env = "PVCHAT_INDEX", hide_env_values = true, value_name = "FILE")]
    index: Option<PathBuf>,
}

#[derive(Serialize)]
struct IndexedBody<'a> {
    #[serde(serialize_with = "words::lossy")]
    folder: &'a Path,
    #[serde(serialize_with = "words::lossy")]
    index: &'a Path,
    #[serde(flatten)]
    indexed: &'a Indexed,
}

#[derive(Serialize)]
struct DeletedBody<'a> {
    #[serde(serialize_with = "words::lossy")]
    index: &'a Path,
}

#[derive(Serialize)]
struct FoundBody<'a> {
    name: &'a str,
    #[serde(serialize_with = "words::lossy")]
    folder: &'a Path,
    verdict: Verdict,
    found: &'a [FoundIn],
    /// Files and people in the index.
    files: usize,
    people: usize,
}

fn file(folder: &Path, index: Option<&PathBuf>) -> PathBuf {
    index.filter(|file| !file.as_os_str().is_empty()).cloned().unwrap_or_else(|| folder.join(INDEX))
}

impl IndexArguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        let (output, file) = (common.output(), file(&self.folder, self.index.as_ref()));
        if self.delete {
            std::fs::remove_file(&file).map_err(|error| Failure::file(&file, &error))?;
            output.result("index_deleted", &DeletedBody { index: &file }, format!("deleted {}", words::shown(&file)))?;
            return Ok(Exit::Answered);
        }
        let people = common.people()?;
        let mut index = people.open_index(&file)?;
        let (stoppable, mut bar) = (Stoppable::begin(), IndexBar::new(&output));
        let indexed = people.index(&self.folder, &mut index, |progress| {
            bar.observe(&progress);
            stoppable.flow()
        });
        bar.finish();
        let indexed = indexed.map_err(|error| {
            let stopped = matches!(error, Error::Stopped { .. });
            let mut failure = Failure::from(error);
            if stopped {
                failure.message = "stopped; run the same command again: the files that are done stay in the index".into();
            }
            failure
        })?;
        for (name, problem) in &indexed.failed {
            output.note(format!("left out: {}: {}", words::clean(name), words::clean(problem)));
        }
        let body = IndexedBody { folder: &self.folder, index: &file, indexed: &indexed };
        output.result("indexed", &body, told(&indexed, &file))?;
        Ok(Exit::Answered)
    }
}

fn told(indexed: &Indexed, file: &Path) -> String {
    let Indexed { looked_at, unchanged, removed, failed, files, people } = indexed;
    let mut changes = vec![format!("{looked_at} looked at"), format!("{unchanged} unchanged")];
    if *removed > 0 {
        changes.push(format!("{removed} removed"));
    }
    if !failed.is_empty() {
        changes.push(format!("{} left out", failed.len()));
    }
    let (files, people) = (words::count(*files, "file"), words::count(*people, "person"));
    format!("{people} in {files} ({}), kept in {}", changes.join(", "), words::shown(file))
}

impl FindArguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        let (output, people, file) = (common.output(), common.people()?, file(&self.folder, self.index.as_ref()));
        people.gallery().load(&self.name)?;
        if !file.exists() {
            let (file, folder) = (words::shown(&file), words::quoted(&self.folder));
            let message = format!("{file} does not exist; make it by `pvchat index {folder}`");
            return Err(Failure::refused("not_indexed", message));
        }
        let index = people.open_index(&file)?;
        let found = people.find(&self.name, &index)?;
        let verdict = found.iter().map(|found| found.verdict).max().unwrap_or(Verdict::No);
        let body = FoundBody {
            name: self.name.bare(),
            folder: &self.folder,
            verdict,
            found: &found,
            files: index.files().len(),
            people: index.people(),
        };
        output.result("found", &body, listed(&self.name, &found, index.files().len()))?;
        Ok(if verdict == Verdict::NotSure { Exit::NotSure } else { Exit::Answered })
    }
}

fn listed(name: &SubjectName, found: &[FoundIn], files: usize) -> String {
    let (name, files) = (name.bare(), words::count(files, "file"));
    if found.is_empty() {
        return format!("{name} is in none of the {files}.");
    }
    let row = |found: &FoundIn| {
        let times: Vec<String> = found.moments.iter().take(4).map(|(start, end)| words::span(*start, *end)).collect();
        let more = found.moments.len().saturating_sub(4);
        let times = if more == 0 { times.join(", ") } else { format!("{} and {more} more", times.join(", ")) };
        let perhaps = if found.verdict == Verdict::Yes { "" } else { "perhaps" };
        vec![words::clean(&found.file), times, format!("similarity {:.2}", found.similarity), perhaps.to_string()]
    };
    words::table(&found.iter().map(row).collect::<Vec<_>>())
}
