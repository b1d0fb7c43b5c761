//! People who were learned on a base for footage: a folder for each base, `learned/BASE` in the folder of people.

use std::{fs, io, path::PathBuf};

use pvchat::{Subject, SubjectFolder, SubjectName, Unfinished};
use serde::Serialize;

use crate::{
    common::Common,
    failure::{Failure, Outcome},
    words,
};

/// The folder of the bases' folders.
const LEARNED: &str = "learned";

/// What is kept of people who were learned on one base.
#[derive(Debug)]
pub struct LearnedOn {
    /// The base, as the list of bases names it, or the name of its folder.
    pub base: String,
    pub folder: SubjectFolder,
}

/// One person who was learned, or is being learned, on one base.
#[derive(Debug, Serialize)]
pub struct Learned {
    #[serde(skip)]
    pub name: SubjectName,
    pub base: String,
    pub about: String,
    #[serde(serialize_with = "words::lossy")]
    pub file: PathBuf,
    pub usable: bool,
}

impl LearnedOn {
    /// Whether anything is kept of somebody, be it unfinished.
    pub fn holds(&self, name: &SubjectName) -> Outcome<bool> {
        holds(&self.folder, name)
    }

    fn people(&self) -> Outcome<Vec<Learned>> {
        let base = &self.base;
        let finished = |name: SubjectName| {
            let subject = self.folder.load_any(&name);
            let usable = subject.is_ok();
            let about = match subject {
                Ok(subject) => format!("learned on {base}{}", figures(&subject)),
                Err(error) => format!("learned on {base}; cannot be used: {}", Failure::from(error).message),
            };
            Learned { file: self.folder.file(&name), name, base: base.clone(), about, usable }
        };
        let unfinished = self.folder.unfinished()?.into_iter().flat_map(|learning| {
            let about = format!("being learned on {base}: {}", not_finished(&learning));
            let one = move |name: SubjectName| Learned {
                name,
                base: base.clone(),
                about: about.clone(),
                file: learning.folder.clone(),
                usable: false,
            };
            learning.names.clone().into_iter().map(one)
        });
        let mut people: Vec<Learned> = self.folder.names()?.into_iter().map(finished).chain(unfinished).collect();
        people.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(people)
    }
}

/// Whether a folder keeps anything of somebody, be it unfinished.
pub fn holds(folder: &SubjectFolder, name: &SubjectName) -> Outcome<bool> {
    Ok(folder.file(name).exists() || folder.unfinished()?.iter().any(|learning| learning.names.contains(name)))
}

/// How far unfinished learning is, in words.
pub fn not_finished(learning: &Unfinished) -> String {
    let steps = learning.steps.map_or("no step".into(), |steps| words::count(steps, "step"));
    match learning.running {
        true => format!("{steps} done, and it is going on"),
        false => format!("not finished, {steps} done; the same command resumes it, forgetting ends it"),
    }
}

/// What the self-check said, and whether the person is asked about alone.
fn figures(subject: &Subject) -> String {
    let right = subject.info.training.get("self_check_after");
    let right = right.map(|right| format!(", right on {:.0} % of held-back clips", 100.0 * right)).unwrap_or_default();
    format!("{right}{}", if subject.is_composable() { "" } else { ", to be asked about alone" })
}

impl Common {
    /// The folder of people who were learned on this base.
    pub fn learned_on(&self, base: &str) -> Outcome<SubjectFolder> {
        Ok(SubjectFolder::new(self.subjects()?.join(LEARNED).join(base)))
    }

    /// The bases on which somebody was learned, in alphabetical order.
    pub fn learned_folders(&self) -> Outcome<Vec<LearnedOn>> {
        let path = self.subjects()?.join(LEARNED);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::file(&path, &error)),
        };
        let folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
        let named =
            |path: PathBuf| Some(LearnedOn { base: path.file_name()?.to_str()?.to_string(), folder: SubjectFolder::new(path) });
        let mut found: Vec<LearnedOn> = folders.filter_map(named).collect();
        found.sort_by(|one, other| one.base.cmp(&other.base));
        Ok(found)
    }

    /// Everybody who was learned, or is being learned, on a base for footage.
    pub fn learned(&self) -> Outcome<Vec<Learned>> {
        let all: Vec<Vec<Learned>> = self.learned_folders()?.iter().map(LearnedOn::people).collect::<Outcome<_>>()?;
        Ok(all.into_iter().flatten().collect())
    }
}
