//! `pvchat index` and `pvchat find`: everybody in a folder of footage, and in which files somebody is.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use pvchat::{
    Error, FoundIn, INDEX, Indexed, SubjectName,
    faces::{IndexedFile, Verdict},
};
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
Exit codes: 0 found, or in none of the files; 4 nowhere for sure, but perhaps somewhere: a face is similar, or not good enough to
tell.";

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
    /// Files in which it is not found, and somebody's face is not good enough to tell.
    unclear: &'a [&'a str],
    /// Files that are new, changed or gone since they were indexed; nothing where the folder cannot be read.
    changed: Option<usize>,
    /// Files and people in the index.
    files: usize,
    people: usize,
}

/// The file of a folder's index; refuses something else than a folder where the index is stored in it.
fn file(folder: &Path, index: Option<&PathBuf>) -> Outcome<PathBuf> {
    if let Some(file) = index.filter(|file| !file.as_os_str().is_empty()) {
        return Ok(file.clone());
    }
    Failure::unless_folder(folder)?;
    Ok(folder.join(INDEX))
}

impl IndexArguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        let (output, file) = (common.output(), file(&self.folder, self.index.as_ref())?);
        if self.delete {
            fs::remove_file(&file).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    let message = format!("there is no index {}; nothing is deleted", words::shown(&file));
                    Failure::refused("not_indexed", message)
                }
                _ => Failure::file(&file, &error),
            })?;
            output.result("index_deleted", &DeletedBody { index: &file }, format!("deleted {}", words::shown(&file)))?;
            return Ok(Exit::Answered);
        }
        Failure::unless_folder(&self.folder)?;
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
        // So that `find` does not take them for new ones.
        index.leave_out(indexed.failed.iter().map(|(name, _)| left_out(&self.folder, name)).collect())?;
        for (name, problem) in &indexed.failed {
            // The problem begins with the path of the file.
            let problem = problem.replacen(&self.folder.join(name).display().to_string(), name, 1);
            let name = if problem.contains(name) { String::new() } else { format!("{}: ", words::clean(name)) };
            output.note(format!("left out: {name}{}", words::clean(&problem)));
        }
        let body = IndexedBody { folder: &self.folder, index: &file, indexed: &indexed };
        output.result("indexed", &body, told(&indexed, &file))?;
        Ok(Exit::Answered)
    }
}

/// A file that cannot be read, as it is now.
fn left_out(folder: &Path, name: &str) -> IndexedFile {
    let about = fs::metadata(folder.join(name)).ok();
    let modified = about.as_ref().and_then(|about| about.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    IndexedFile {
        name: name.into(),
        bytes: about.map_or(0, |about| about.len()),
        modified: modified.map_or(0, |time| time.as_nanos() as u64),
        people: Vec::new(),
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
        let (output, people, file) = (common.output(), common.people()?, file(&self.folder, self.index.as_ref())?);
        people.gallery().load(&self.name)?;
        if !file.exists() {
            let (file, folder) = (words::shown(&file), words::quoted(&self.folder));
            let message = format!("{file} does not exist; make it by `pvchat index {folder}`");
            return Err(Failure::refused("not_indexed", message));
        }
        let index = people.open_index(&file)?;
        let found = people.find(&self.name, &index)?;
        let told: BTreeSet<&str> = found.iter().map(|found| found.file.as_str()).collect();
        let is_unclear = |place: usize| index.unclear(place).is_some_and(|unclear| unclear > 0);
        let files = index.files().enumerate().map(|(place, file)| (place, file.name.as_str()));
        let unclear = files.filter(|(place, name)| is_unclear(*place) && !told.contains(name)).map(|(_, name)| name);
        let unclear: Vec<&str> = unclear.collect();
        let least = if unclear.is_empty() { Verdict::No } else { Verdict::NotSure };
        let verdict = found.iter().map(|found| found.verdict).max().unwrap_or(least);
        let changed = index.changes(&self.folder).ok().map(|files| files.len());
        let body = FoundBody {
            name: self.name.bare(),
            folder: &self.folder,
            verdict,
            found: &found,
            unclear: &unclear,
            changed,
            files: index.files().len(),
            people: index.people(),
        };
        output.result("found", &body, listed(&self.name, &found, &unclear, index.files().len()))?;
        if let Some(changed) = changed.filter(|changed| *changed > 0) {
            let (are, folder) = (if changed == 1 { "is" } else { "are" }, words::quoted(&self.folder));
            let changed = words::count(changed, "file");
            output.note(format!("note: {changed} {are} new, changed or gone since; run: pvchat index {folder}"));
        }
        Ok(if verdict == Verdict::NotSure { Exit::NotSure } else { Exit::Answered })
    }
}

fn listed(name: &SubjectName, found: &[FoundIn], unclear: &[&str], files: usize) -> String {
    /// Files that are named.
    const SHOWN: usize = 6;
    let mut names: Vec<String> = unclear.iter().take(SHOWN).map(|name| words::clean(name)).collect();
    if let Some(more) = unclear.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        names.push(format!("{more} more"));
    }
    let blurred = match unclear.len() {
        0 => None,
        _ if files == 1 => Some("somebody's face in it is not good enough to tell".to_string()),
        count => Some(format!("in {count} somebody's face is not good enough to tell: {}", words::list(&names))),
    };
    if found.is_empty() {
        let name = name.bare();
        let nowhere = match files {
            0 => "the index holds no file".to_string(),
            1 => format!("{name} is not found in the only file"),
            files => format!("{name} is in none of {files} files"),
        };
        return [Some(nowhere), blurred].into_iter().flatten().collect::<Vec<_>>().join("; ") + ".";
    }
    let row = |found: &FoundIn| {
        let times: Vec<String> = found.moments.iter().take(4).map(|(start, end)| words::span(*start, *end)).collect();
        let more = found.moments.len().saturating_sub(4);
        let times = if more == 0 { times.join(", ") } else { format!("{} and {more} more", times.join(", ")) };
        let perhaps = if found.verdict == Verdict::Yes { "" } else { "perhaps" };
        vec![words::clean(&found.file), times, format!("similarity {:.2}", found.similarity), perhaps.to_string()]
    };
    let mut lines = words::table(&found.iter().map(row).collect::<Vec<_>>());
    if let Some(blurred) = blurred {
        lines.push_str(&format!("\nElsewhere: {blurred}."));
    }
    lines
}
