//! Clips to learn from, read from a dataset file: ours or one of the published training.

use std::path::{Component, Path};

use pvchat_augment::filmed::existence;
use pvchat_data::{Dataset, Problem, QaPair, SubjectName, Video};
use pvchat_video::Clip;

use crate::{Error, Result, Shot};

impl Shot {
    /// The clips of a dataset `file` that are about `subject`, `frames` sampled evenly of each, with their questions. Paths in the
    /// file are relative to its folder. All frames are in memory at once.
    ///
    /// In a dataset of several people, questions about the others are left out. Where a question whether somebody is there names
    /// several, as in the published files, the same is asked about the subject alone.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that cannot be read, [`Error::Unfit`] with everything that is wrong: what
    /// [`Dataset::problems_of`] finds in the clips of the subject (both kinds have to be there), paths that leave the folder, files
    /// that are no videos.
    pub fn from_dataset(file: &Path, subject: &SubjectName, frames: usize) -> Result<Vec<Self>> {
        Self::read(file, subject, frames, |_| true)
    }

    /// The clips of a dataset that are only judged: as [`from_dataset`](Self::from_dataset), also of one kind.
    ///
    /// # Errors
    /// As [`from_dataset`](Self::from_dataset).
    pub fn for_testing(file: &Path, subject: &SubjectName, frames: usize) -> Result<Vec<Self>> {
        Self::read(file, subject, frames, |problem| !problem.concerns_balance())
    }

    /// Reads clips and refuses them for problems that count.
    fn read(file: &Path, subject: &SubjectName, frames: usize, counts: fn(&Problem) -> bool) -> Result<Vec<Self>> {
        let mut dataset = Dataset::read(file)?;
        let found = dataset.problems_of(subject);
        let mut problems: Vec<String> = found.iter().filter(|problem| counts(problem)).map(ToString::to_string).collect();
        dataset.videos.retain(|video| video.subjects.contains(subject));
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
                    shots.push(Self { pairs: about(video, subject), ..Self::of(clip, present) });
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

/// The questions of a video that are about one of its subjects.
fn about(video: Video, subject: &SubjectName) -> Vec<QaPair> {
    let names = |pair: &QaPair, name: &SubjectName| {
        let name = name.to_string();
        pair.question.contains(&name) || pair.answer.contains(&name)
    };
    let (is_there, title) = (video.shows(subject), subject.to_string());
    let others: Vec<SubjectName> = video.subjects.into_iter().filter(|name| name != subject).collect();
    let alone = |(number, pair): (usize, QaPair)| match others.iter().any(|other| names(&pair, other)) {
        false => Some(pair),
        true => (pair.is_special && names(&pair, subject)).then(|| existence(number, &title, is_there)),
    };
    video.qa_pairs.into_iter().enumerate().filter_map(alone).collect()
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
    use pvchat_data::QaKind;

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

    #[test]
    fn of_several_people_each_is_asked_about_alone() {
        let folder = tempfile::tempdir().unwrap();
        let both: [SubjectName; 2] = [subject(), "Bb".parse().unwrap()];
        let special = |question: &str, answer: &str| QaPair::new(QaKind::Existence, question, answer);
        let action = QaPair::new(QaKind::Action, "What is <Bb> doing?", "<Bb> waves.");
        let pairs = vec![special("Is <Aa> there?", "No."), special("Is <Bb> there?", "Yes."), action];
        let joint = vec![special("Are <Aa> and <Bb> there?", "Both of them, <Aa> and <Bb>.")];
        let videos = vec![
            Video::about(both.to_vec(), "without.mp4", vec![both[1].clone()], pairs),
            Video::about(both.to_vec(), "with.mp4", vec![both[0].clone()], joint),
        ];
        let file = write(folder.path(), videos);
        let asked = |name: &SubjectName| {
            let shots = Shot::from_dataset(&file, name, 2).unwrap();
            let pairs = |shot: &Shot| shot.pairs.iter().map(|pair| pair.question.clone()).collect::<Vec<_>>();
            assert!(shots.iter().flat_map(|shot| &shot.pairs).all(|pair| pair.question.contains(&name.to_string())));
            (shots.iter().map(pairs).collect::<Vec<_>>(), shots)
        };
        let (questions, shots) = asked(&both[0]);
        assert_eq!(questions[0], ["Is <Aa> there?"]);
        assert_eq!(questions[1], ["Is <Aa> in this video?"]);
        assert_eq!((shots[1].present, shots[1].pairs[0].answer.as_str()), (true, "Yes, <Aa> is in this video."));
        let (questions, shots) = asked(&both[1]);
        assert_eq!(questions[0], ["Is <Bb> there?", "What is <Bb> doing?"]);
        assert_eq!((shots[1].present, shots[1].pairs[0].answer.as_str()), (false, "No, <Bb> is not in this video."));
    }
}
