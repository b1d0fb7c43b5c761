//! What makes a dataset unfit for training, all problems at once.

use crate::{Dataset, Error, QaKind, Result, SubjectName};
use std::{
    collections::{HashMap, HashSet},
    path::{Component, PathBuf},
};

pub use crate::problem::Problem;

impl Dataset {
    /// Everything that speaks against training on this dataset, in the order of the videos.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.videos.is_empty() {
            problems.push(Problem::NoVideos);
        }
        let mut seen: HashMap<PathBuf, usize> = HashMap::new();
        for (index, video) in self.videos.iter().enumerate() {
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
        for subject in self.subjects() {
            let shown = self.videos.iter().filter(|video| video.shows(&subject)).count();
            let about = self.videos.iter().filter(|video| video.subjects.contains(&subject)).count();
            if shown == 0 {
                problems.push(Problem::NoPositive { subject });
            } else if shown == about {
                problems.push(Problem::NoNegative { subject });
            }
        }
        problems
    }

    /// Everything that speaks against learning one of the subjects: [`problems`](Self::problems) of the videos about that subject,
    /// without a missing class of another.
    pub fn problems_of(&self, subject: &SubjectName) -> Vec<Problem> {
        let videos = self.videos.iter().filter(|video| video.subjects.contains(subject)).cloned().collect();
        let is_of_another = |problem: &Problem| match problem {
            Problem::NoPositive { subject: of } | Problem::NoNegative { subject: of } => of != subject,
            _ => false,
        };
        Self { videos }.problems().into_iter().filter(|problem| !is_of_another(problem)).collect()
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
