//! Writes the datasets under the names of the published files, and deletes what is not part of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
};

use pvchat_data::{Dataset, QaKind, SubjectName, Video};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::{
    ClipRecord, Half, Manifest,
    ask::Questions,
    manifest::{MANIFEST, entries, is_left_over, remove},
};
use crate::{Error, Result};

/// The file next to a corpus that lists the licences of its files: a JSON object of names and licences.
const LICENCES: &str = "licences.json";

/// The datasets as they are written under the names of the published files.
pub(super) fn datasets(names: &[SubjectName], records: &[ClipRecord], asked: &[Questions]) -> Result<Vec<Written>> {
    let video = |file: &str, clip: usize, is_kept: &dyn Fn(QaKind) -> bool| {
        let pairs = asked.iter().flat_map(|questions| &questions[clip]);
        let pairs = pairs.filter(|(kind, _)| is_kept(*kind)).map(|(_, pair)| pair.clone()).collect();
        let present = names.iter().filter(|name| records[clip].shows(name)).cloned().collect();
        Video::about(names.to_vec(), file, present, pairs)
    };
    let of = |half: Half| records.iter().enumerate().filter(move |(_, clip)| clip.half == half);
    let train = Dataset { videos: of(Half::Train).map(|(number, clip)| video(&clip.file, number, &|_| true)).collect() };
    let test = Dataset { videos: of(Half::Test).map(|(number, clip)| video(&clip.file, number, &|_| true)).collect() };
    // A single frame says who is there and how somebody looks, and no more.
    let of_looks = |kind: QaKind| matches!(kind, QaKind::Existence | QaKind::Appearance);
    let mut stills: Vec<Video> =
        of(Half::Train).filter_map(|(number, clip)| Some(video(clip.still.as_deref()?, number, &of_looks))).collect();
    stills.sort_by(|one, other| one.path.cmp(&other.path));
    let mut files = Vec::new();
    for (file, dataset) in dataset_files(names).into_iter().zip([train, Dataset { videos: stills }, test]) {
        if !dataset.videos.is_empty() {
            let bytes = json(&file, &dataset)?;
            files.push((file, bytes));
        }
    }
    Ok(files)
}

/// A file of a dataset: its name and its content.
pub(super) type Written = (String, Vec<u8>);

/// A value as indented JSON.
pub(super) fn json(file: &str, value: &impl Serialize) -> Result<Vec<u8>> {
    let failed = |source| pvchat_data::Error::Json { file: file.into(), place: ".".into(), source };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(failed)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes files, all under temporary names first: where there is no room for all of them, those of before stay.
pub(super) fn write_together(out: &Path, files: &[Written]) -> Result<()> {
    let mut written = Vec::with_capacity(files.len());
    for (name, bytes) in files {
        let path = out.join(name);
        let io = |source| Error::Io { path: path.clone(), source };
        let mut file = NamedTempFile::new_in(out).map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        written.push((file, path));
    }
    for (file, path) in written {
        file.persist(&path).map_err(|error| Error::Io { path, source: error.error })?;
    }
    Ok(())
}

/// The names of the published files: training, its single frames, testing.
pub(super) fn dataset_files(names: &[SubjectName]) -> [String; 3] {
    let all: Vec<String> = names.iter().map(SubjectName::to_string).collect();
    let all = all.join("_");
    // Published files of several people are written so, and those of one without the line.
    let test = if names.len() > 1 { "_test" } else { "test" };
    [format!("{all}.json"), format!("{all}_short_train.json"), format!("{all}{test}.json")]
}

/// The licences stored next to a corpus, if there are any.
pub(super) fn licences(corpus: &Path) -> Result<BTreeMap<String, String>> {
    let file = corpus.join(LICENCES);
    match file.exists() {
        true => Ok(pvchat_data::file::read_json(&file, pvchat_data::file::LARGEST)?),
        false => Ok(BTreeMap::new()),
    }
}

/// Deletes clips and datasets that are not part of the dataset: those of other options, and half-made ones.
pub(super) fn sweep(out: &Path, manifest: &Manifest) -> Result<()> {
    let clips = manifest.clips.iter().flat_map(|clip| std::iter::once(&clip.file).chain(&clip.still));
    let known: BTreeSet<PathBuf> = clips.map(|file| out.join(file)).collect();
    for folder in ["clips", "stills"] {
        for file in entries(&out.join(folder))? {
            if !known.contains(&file) {
                remove(&file)?;
            }
        }
    }
    let ours: BTreeSet<&str> = manifest.files.iter().map(|(file, _)| file.as_str()).chain([MANIFEST]).collect();
    for file in entries(out)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_of_others = file.is_file() && name.starts_with('<') && name.ends_with(".json") && !ours.contains(name.as_str());
        if is_of_others || is_left_over(&file) {
            remove(&file)?;
        }
    }
    Ok(())
}
