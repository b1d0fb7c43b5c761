//! Clips to learn from, read from a dataset file: ours or one of the published training.

use std::path::{Component, Path};

use pvchat_data::{Dataset, SubjectName};
use pvchat_video::Clip;

use crate::{Error, Result, Shot};

impl Shot {
    /// The clips of a dataset `file` that are about `subject`, `frames` sampled evenly of each, with their questions. Paths in the
    /// file are relative to its folder. All frames are in memory at once.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that cannot be read, [`Error::Unfit`] with everything that is wrong: what
    /// [`Dataset::problems`] finds in the clips of the subject (both kinds have to be there), paths that leave the folder, files
    /// that are no videos.
    pub fn from_dataset(file: &Path, subject: &SubjectName, frames: usize) -> Result<Vec<Self>> {
        let mut dataset = Dataset::read(file)?;
        dataset.videos.retain(|video| video.subjects.contains(subject));
        let mut problems: Vec<String> = dataset.problems().iter().map(ToString::to_string).collect();
        if dataset.videos.is_empty() {
            problems = vec![format!("no clip in it is about {subject}")];
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut shots = Vec::with_capacity(dataset.videos.len());
        for video in dataset.videos {
            if !stays_inside(folder, &video.path) {
                problems.push(format!("{} leaves the folder", video.path.display()));
                continue;
            }
            match Clip::open(folder.join(&video.path), frames) {
                Ok(clip) => {
                    let present = video.shows(subject);
                    shots.push(Self { pairs: video.qa_pairs, ..Self::of(clip, present) });
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
        match problems.is_empty() {
            true => Ok(shots),
            false => Err(Error::Unfit { file: file.to_path_buf(), problems }),
        }
    }
}

/// Whether a path of a dataset stays below its folder, links included.
fn stays_inside(folder: &Path, path: &Path) -> bool {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let leads_out = || {
        folder.join(path).canonicalize().ok().zip(folder.canonicalize().ok()).is_some_and(|(path, root)| !path.starts_with(root))
    };
    plain && !leads_out()
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use pvchat_data::{QaKind, QaPair, Video};

    use super::*;

    fn subject() -> SubjectName {
        "Aa".parse().unwrap()
    }

    fn video(path: &str, present: bool) -> Video {
        let answer = if present { "Yes, <Aa> is there." } else { "No, <Aa> is not there." };
        Video::of(&subject(), path, present, vec![QaPair::new(QaKind::Existence, "Is <Aa> there?", answer)])
    }

    fn write(folder: &Path, videos: Vec<Video>) -> std::path::PathBuf {
        for (name, level) in [("with.mp4", 200), ("without.mp4", 60)] {
            let frames: Vec<RgbImage> = (0..12).map(|_| RgbImage::from_pixel(32, 32, Rgb([level; 3]))).collect();
            pvchat_video::write_clip(folder.join(name), &frames, 8.0).unwrap();
        }
        let file = folder.join("train.json");
        Dataset { videos }.write(&file).unwrap();
        file
    }

    #[test]
    fn clips_come_with_their_frames_and_questions() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), vec![video("with.mp4", true), video("without.mp4", false)]);
        let shots = Shot::from_dataset(&file, &subject(), 4).unwrap();
        assert_eq!(shots.iter().map(|shot| shot.present).collect::<Vec<_>>(), [true, false]);
        assert!(shots.iter().all(|shot| shot.frames.len() == 4 && shot.seconds.len() == 4 && shot.pairs.len() == 1));
        assert!(shots[0].frames[0].get_pixel(5, 5).0[0] > 150 && shots[1].frames[0].get_pixel(5, 5).0[0] < 100);
        assert!(shots[0].pairs[0].answer.starts_with("Yes"));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let wrong = vec![video("../with.mp4", true), video("absent.mp4", true), video("with.mp4", true)];
        let file = write(folder.path(), wrong);
        let Err(Error::Unfit { problems, .. }) = Shot::from_dataset(&file, &subject(), 4) else { panic!("an unfit dataset") };
        for part in ["../with.mp4 leaves the folder", "absent.mp4"] {
            assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:?}");
        }
        // Only clips with the subject.
        assert!(problems.len() >= 3, "{problems:?}");
        let file = write(folder.path(), vec![video("with.mp4", true), video("without.mp4", false)]);
        let error = Shot::from_dataset(&file, &"Bb".parse().unwrap(), 4).unwrap_err();
        assert!(error.to_string().contains("about <Bb>"), "{error}");
    }
}
