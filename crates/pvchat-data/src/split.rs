//! A deterministic split into training and validation videos.

use crate::{Dataset, Error, Result, SubjectName, random::SeededStream};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Path, PathBuf},
};

/// Two datasets that share no video file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// To learn from.
    pub train: Dataset,
    /// To choose and stop by.
    pub validation: Dataset,
}

impl Dataset {
    /// Splits by video file, so that no question of a validation clip is trained on.
    ///
    /// The share is taken of every group of clips that show the same subjects; a group of two or more clips gives at
    /// least one and keeps at least one. The result depends on the seed and the paths, not on the order in the file.
    ///
    /// # Errors
    /// [`Error::Share`] if `validation_share` is not in `0.0..1.0`.
    pub fn split(&self, validation_share: f64, stream: &SeededStream) -> Result<Split> {
        if !(0.0..1.0).contains(&validation_share) {
            return Err(Error::Share { share: validation_share });
        }
        let mut grouped: HashSet<&Path> = HashSet::new();
        let mut groups: BTreeMap<BTreeSet<&SubjectName>, BTreeSet<&PathBuf>> = BTreeMap::new();
        for video in &self.videos {
            if grouped.insert(&video.path) {
                groups.entry(video.present.iter().collect()).or_default().insert(&video.path);
            }
        }
        let mut held_out: HashSet<&Path> = HashSet::new();
        for (present, paths) in groups {
            let label: Vec<String> = present.iter().map(|name| name.to_string()).collect();
            let mut paths: Vec<&PathBuf> = paths.into_iter().collect();
            stream.derive(format!("split {}", label.join(" "))).shuffle(&mut paths);
            let wanted = (validation_share * paths.len() as f64).round() as usize;
            let count = if validation_share > 0.0 { wanted.clamp(1, paths.len().max(2) - 1) } else { 0 };
            if paths.len() > 1 {
                held_out.extend(paths.iter().take(count).map(|path| path.as_path()));
            }
        }
        let (validation, train) = self.videos.iter().cloned().partition(|video| held_out.contains(video.path.as_path()));
        Ok(Split { train: Dataset { videos: train }, validation: Dataset { videos: validation } })
    }
}
