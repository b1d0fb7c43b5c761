//! A dataset on disk, read and checked as a whole before anything is learned from it.

use std::{
    collections::BTreeSet,
    path::{Component, Path},
};

use pvchat_data::{Dataset, SubjectName};
use pvchat_video::VideoReader;

use super::{Manifest, manifest::MANIFEST, source::hash_file, writing::dataset_files};
use crate::{Error, Result};

/// A dataset that was checked.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What it was made from.
    pub manifest: Manifest,
    /// For training.
    pub train: Dataset,
    /// One frame of each clip for training, repeated; `None` without such a file.
    pub short_train: Option<Dataset>,
    /// For testing; `None` without such a file.
    pub test: Option<Dataset>,
}

/// Reads a dataset and checks all of it: both classes are there, names are unique, no path leaves the folder, every file is
/// there, is a video, and has the content that the manifest says.
///
/// # Errors
/// [`Error::Unfit`] with everything that is wrong, [`Error::Data`] for a manifest that cannot be read.
pub fn verify(folder: &Path) -> Result<Verified> {
    let manifest: Manifest = pvchat_data::file::read_json(&folder.join(MANIFEST), pvchat_data::file::LARGEST)?;
    let mut problems = Vec::new();
    for (file, sha256) in &manifest.files {
        same(folder, file, sha256, &mut problems);
    }
    for clip in &manifest.clips {
        same(folder, &clip.file, &clip.sha256, &mut problems);
        if let (Some(still), Some(sha256)) = (&clip.still, &clip.still_sha256) {
            same(folder, still, sha256, &mut problems);
        }
    }
    let mut datasets = Vec::new();
    let names = manifest.names();
    for (number, file) in dataset_files(&names).into_iter().enumerate() {
        if number > 0 && !manifest.files.iter().any(|(known, _)| *known == file) {
            datasets.push(None);
            continue;
        }
        let dataset = Dataset::read(&folder.join(&file))?;
        check(folder, &file, &dataset, &names, number < 2, &mut problems);
        datasets.push(Some(dataset));
    }
    let mut datasets = datasets.into_iter();
    let mut next = || datasets.next().flatten();
    match (next(), problems.is_empty()) {
        (Some(train), true) => Ok(Verified { manifest, train, short_train: next(), test: next() }),
        _ => Err(Error::Unfit { folder: folder.to_path_buf(), problems }),
    }
}

/// Whether a path stays below the folder that it is relative to.
fn stays_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn same(folder: &Path, file: &str, sha256: &str, problems: &mut Vec<String>) {
    if !stays_inside(Path::new(file)) {
        problems.push(format!("{file} leaves the folder"));
        return;
    }
    match hash_file(&folder.join(file)) {
        Ok((found, _)) if found == sha256 => {}
        Ok(_) => problems.push(format!("{file} has changed")),
        Err(error) => problems.push(error.to_string()),
    }
}

fn check(folder: &Path, file: &str, dataset: &Dataset, names: &[SubjectName], is_training: bool, problems: &mut Vec<String>) {
    let found = dataset.problems().into_iter().filter(|problem| is_training || !problem.concerns_balance());
    problems.extend(found.map(|problem| format!("{file}: {problem}")));
    let mut known = BTreeSet::new();
    for video in &dataset.videos {
        if !known.insert(&video.name) {
            problems.push(format!("{file}: two videos are called {}", video.name));
        }
        if video.subjects != names {
            let all: Vec<String> = names.iter().map(SubjectName::to_string).collect();
            problems.push(format!("{file}: {} is not about {}", video.name, all.join(" and ")));
        }
        if !stays_inside(&video.path) {
            problems.push(format!("{file}: {} leaves the folder", video.path.display()));
            continue;
        }
        let path = folder.join(&video.path);
        // A link could lead out as well.
        let leads_out =
            path.canonicalize().ok().zip(folder.canonicalize().ok()).is_some_and(|(path, folder)| !path.starts_with(folder));
        if leads_out {
            problems.push(format!("{file}: {} leaves the folder", video.path.display()));
        } else if let Err(error) = VideoReader::open(&path) {
            problems.push(format!("{file}: {error}"));
        }
    }
}
