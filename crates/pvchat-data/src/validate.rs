//! What makes a dataset unfit for training, all problems at once.

use crate::{Dataset, Error, QaKind, Result, SubjectName, Video};
use std::{
    collections::{HashMap, HashSet},
    path::{Component, PathBuf},
};

pub use crate::problem::Problem;

impl Dataset {
    /// Everything that speaks against training on this dataset, in the order of the videos.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems_in(|_| true, &self.subjects())
    }

    /// Everything that speaks against learning one of the subjects: [`problems`](Self::problems) of the videos about that subject,
    /// without a missing class of another.
    pub fn problems_of(&self, subject: &SubjectName) -> Vec<Problem> {
        self.problems_in(|video| video.subjects.contains(subject), std::slice::from_ref(subject))
    }

    /// Problems of the videos that are `asked` for, and of the classes of these subjects.
    fn problems_in(&self, asked: impl Fn(&Video) -> bool, subjects: &[SubjectName]) -> Vec<Problem> {
        let videos = || self.videos.iter().enumerate().filter(|(_, video)| asked(video));
        let mut problems = Vec::new();
        if videos().next().is_none() {
            problems.push(Problem::NoVideos);
        }
        let mut seen: HashMap<PathBuf, usize> = HashMap::new();
        for (index, video) in videos() {
            // `./a.mp4` is `a.mp4`.
            let plain: PathBuf = video.path.components().filter(|part| *part != Component::CurDir).collect();
            if video.path.as_os_str().is_empty() {
                problems.push(Problem::NoPath { video: index });
            } else if let Some(&first) = seen.get(&plain) {
                problems.push(Problem::DuplicatePath { path: video.path.clone(), first, second: index });
            } else {
                seen.insert(plain, index);
            }
            if video.subjects.is_empty() {
                problems.push(Problem::NoSubject { video: index });
            }
            for names in [&video.subjects, &video.present] {
                let mut once = HashSet::new();
                let twice = names.iter().filter(|name| !once.insert(*name));
                problems.extend(twice.map(|name| Problem::DuplicateSubject { video: index, subject: name.clone() }));
            }
            let strangers = video.present.iter().filter(|name| !video.subjects.contains(name));
            problems.extend(strangers.map(|name| Problem::StrangerPresent { video: index, subject: name.clone() }));
            if video.qa_pairs.is_empty() {
                problems.push(Problem::NoQuestions { video: index });
            }
            for (pair, qa) in video.qa_pairs.iter().enumerate() {
                for (field, text) in [("question", &qa.question), ("answer", &qa.answer)] {
                    if text.trim().is_empty() {
                        problems.push(Problem::EmptyText { video: index, pair, field });
                    }
                }
                if qa.kind.is_some_and(|kind| (kind == QaKind::Existence) != qa.is_special) {
                    problems.push(Problem::KindMismatch { video: index, pair });
                }
            }
        }
        for subject in subjects {
            let shown = videos().filter(|(_, video)| video.shows(subject)).count();
            let about = videos().filter(|(_, video)| video.subjects.contains(subject)).count();
            if shown == 0 {
                problems.push(Problem::NoPositive { subject: subject.clone() });
            } else if shown == about {
                problems.push(Problem::NoNegative { subject: subject.clone() });
            }
        }
        problems
    }

    /// Refuses a dataset with any problem but a missing class: fit for testing.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all problems.
    pub fn validate(&self) -> Result<()> {
        refuse(self.problems().into_iter().filter(|problem| !problem.concerns_balance()).collect())
    }

    /// Refuses a dataset with any problem: fit for training, so every subject has positives and negatives.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all problems.
    pub fn validate_for_training(&self) -> Result<()> {
        refuse(self.problems())
    }
}

fn refuse(problems: Vec<Problem>) -> Result<()> {
    if problems.is_empty() { Ok(()) } else { Err(Error::Invalid { problems }) }
}
