//! Writes the datasets under the names of the published files, and deletes what is not part of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use pvchat_data::{Dataset, QaKind, SubjectName, Video};

use super::{
    ClipRecord, Half, Manifest,
    ask::Pair,
    manifest::{MANIFEST, entries, is_left_over, remove},
    source::hash_file,
};
use crate::Result;

/// The file next to a corpus that lists the licences of its files: a JSON object of names and licences.
const LICENCES: &str = "licences.json";

/// Writes the datasets under the names of the published files; gives the files and their SHA-256.
pub(super) fn write_datasets(
    name: &SubjectName,
    records: &[ClipRecord],
    pairs: &[Vec<Pair>],
    out: &Path,
) -> Result<Vec<(String, String)>> {
    let video = |file: &str, clip: &ClipRecord, pairs: &[Pair]| {
        let pairs = pairs.iter().map(|(_, pair)| pair.clone()).collect();
        Video::of(name, file, clip.positive, pairs)
    };
    let of = |half: Half| records.iter().zip(pairs).filter(move |(clip, _)| clip.half == half);
    let train = Dataset { videos: of(Half::Train).map(|(clip, pairs)| video(&clip.file, clip, pairs)).collect() };
    let test = Dataset { videos: of(Half::Test).map(|(clip, pairs)| video(&clip.file, clip, pairs)).collect() };
    let mut stills: Vec<Video> = of(Half::Train)
        .filter_map(|(clip, pairs)| {
            // A single frame says who is there and how somebody looks, and no more.
            let kept: Vec<Pair> =
                pairs.iter().filter(|(kind, _)| matches!(kind, QaKind::Existence | QaKind::Appearance)).cloned().collect();
            Some(video(clip.still.as_deref()?, clip, &kept))
        })
        .collect();
    stills.sort_by(|one, other| one.path.cmp(&other.path));
    let mut files = Vec::new();
    for (file, dataset) in dataset_files(name).into_iter().zip([train, Dataset { videos: stills }, test]) {
        let path = out.join(&file);
        if dataset.videos.is_empty() {
            remove(&path)?;
            continue;
        }
        dataset.write(&path)?;
        files.push((file, hash_file(&path)?.0));
    }
    Ok(files)
}

/// The names of the published files: training, its single frames, testing.
pub(super) fn dataset_files(name: &SubjectName) -> [String; 3] {
    [format!("{name}.json"), format!("{name}_short_train.json"), format!("{name}test.json")]
}

/// The licences stored next to a corpus, if there are any.
pub(super) fn licences(corpus: &Path) -> BTreeMap<String, String> {
    pvchat_data::file::read_json(&corpus.join(LICENCES), pvchat_data::file::LARGEST).unwrap_or_default()
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
