//! The error of the facade: what went wrong in which part, or what the caller has to change.

use std::path::PathBuf;

use crate::Candidate;

/// Everything that can go wrong in `pvchat`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A video cannot be read or written.
    #[error(transparent)]
    Video(#[from] pvchat_video::Error),
    /// A name or a dataset is not usable.
    #[error(transparent)]
    Data(#[from] pvchat_data::Error),
    /// The model, its files or a prompt.
    #[error(transparent)]
    Model(#[from] pvchat_model::Error),
    /// Making training clips failed.
    #[error(transparent)]
    Augment(#[from] pvchat_augment::Error),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] pvchat_train::Error),
    /// A dataset that nobody can be learned from.
    #[error("{} cannot be learned from: {}", file.display(), problems.join("; "))]
    UnfitDataset {
        /// The dataset.
        file: PathBuf,
        /// Everything that is wrong with it.
        problems: Vec<String>,
    },
    /// People in real footage.
    #[error(transparent)]
    People(#[from] pvchat_people::Error),
    /// Nobody in a clip that somebody is to be enrolled or learned from.
    #[error(
        "nobody found in {} ({frames} {} looked at, {seen}); {remedy}",
        path.display(), if *frames == 1 { "picture" } else { "frames" }
    )]
    NobodyFound {
        /// The file.
        path: PathBuf,
        /// Frames that were looked at.
        frames: usize,
        /// What was seen in them.
        seen: &'static str,
        /// What to do.
        remedy: String,
    },
    /// A clip that the base was not made for: what it would say of it means nothing.
    #[error(
        "not a drawn clip: {}; this base knows drawn clips only, use a base for filmed footage (`--base`, see `pvchat base \
         list`), or a drawn clip", path.display()
    )]
    ForeignClip {
        /// The file.
        path: PathBuf,
    },
    /// Several people where one is to be enrolled.
    #[error(
        "{} people in {}: {}; choose one by its number, a point or a box",
        candidates.len(), path.display(), listed(candidates)
    )]
    SeveralPeople {
        /// The file.
        path: PathBuf,
        /// The people.
        candidates: Vec<Candidate>,
    },
    /// A choice that is nobody.
    #[error("nobody in {} is meant by that choice; there are: {}", path.display(), listed(candidates))]
    NotChosen {
        /// The file.
        path: PathBuf,
        /// The people.
        candidates: Vec<Candidate>,
    },
    /// Faces, but none that is good enough.
    #[error(
        "no face in {} is good enough to be enrolled ({faces} seen; {flaws}); use footage that shows the face larger, sharper or \
         from the front", path.display()
    )]
    PoorFaces {
        /// The file.
        path: PathBuf,
        /// Faces that were seen.
        faces: usize,
        /// What they lack.
        flaws: String,
    },
    /// A correction that says of a face that it is not whom it was enrolled as.
    #[error(
        "{name} was enrolled with a face like that in {}: the correction would change nothing; remove that look with \
         `pvchat subjects split`, or the person with `pvchat subjects forget {name}`", path.display()
    )]
    EnrolledSo {
        /// The file.
        path: PathBuf,
        /// Who it is not, according to the correction.
        name: String,
    },
    /// The observer stopped watching.
    #[error("stopped at {seconds:.0} s of {}; run the same again to go on from there", path.display())]
    Stopped {
        /// The video.
        path: PathBuf,
        /// Up to where it was watched, in seconds.
        seconds: f64,
    },
    /// A question that cannot be read.
    #[error("the question {problem}; {remedy}")]
    Question {
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A question about somebody who is not enrolled.
    #[error("nobody called {name} is enrolled; enrolled: {known}")]
    UnknownPerson {
        /// Who was asked about.
        name: String,
        /// Who is enrolled.
        known: String,
    },
    /// Footage that is no longer what was watched, or people who were enrolled or changed since.
    #[error("{} was watched before {what}; watch it again", path.display())]
    Outdated {
        /// The file.
        path: PathBuf,
        /// What happened since.
        what: String,
    },
    /// A subject that is not in the folder.
    #[error("no subject {name} in {}; known are: {known}", folder.display())]
    UnknownSubject {
        /// Who was asked for.
        name: String,
        /// Where subjects are kept.
        folder: PathBuf,
        /// Who is there.
        known: String,
    },
    /// A name that somebody else in the folder has.
    #[error("{} already holds a subject {name}; choose another name, or forget that one first", folder.display())]
    NameTaken {
        /// The name.
        name: String,
        /// Where subjects are kept.
        folder: PathBuf,
    },
    /// A file under the name of one subject that holds another.
    #[error("{} holds {found}; give it back its name, or enrol the person under the new one", file.display())]
    OtherName {
        /// The file.
        file: PathBuf,
        /// Whom it holds.
        found: String,
    },
    /// A subject that is being learned, or whose learning was interrupted, under the name that it had at the start.
    #[error("learning {name} is not finished, see {}; go on with it, or forget {name}", folder.display())]
    Unfinished {
        /// Who is being learned.
        name: String,
        /// Where that is kept.
        folder: PathBuf,
    },
    /// Learning that was interrupted and is called again with something else than it was begun with.
    #[error("{}", pvchat_learn::Error::OtherLearning { name: name.clone(), folder: folder.clone(), begun_with: begun_with.clone() })]
    OtherLearning {
        /// Who is being learned.
        name: String,
        /// Where that is kept.
        folder: PathBuf,
        /// What differs, in words.
        begun_with: String,
    },
    /// The clips that learning held back say that nothing was learned.
    #[error("{}", pvchat_learn::Error::NotLearned { name: name.clone(), accuracy: *accuracy })]
    NotLearned {
        /// Who was to be learned.
        name: String,
        /// Balanced accuracy on the clips held back, of what would have been kept; 0.5 is chance.
        accuracy: f32,
    },
    /// A question to a base by what it has learned of somebody whom it has not learned.
    #[error("{name} was not learned on {base}; make a dataset and learn from it: pvchat learn --dataset DATASET --name {name}")]
    NotLearnedOn {
        /// Who was asked about, without brackets.
        name: String,
        /// The base.
        base: String,
    },
    /// Two people who are to be learned together could not be put into one clip.
    #[error("{}", pvchat_learn::Error::NotTogether { first: first.clone(), second: second.clone() })]
    NotTogether {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// A folder that holds no base that can describe filmed footage.
    #[error("{} {problem}; {remedy}", folder.display())]
    Base {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A file or folder of subjects cannot be read or changed.
    #[error("{}: {source}; {}", path.display(), pvchat_data::remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// Candidates in one line.
fn listed(candidates: &[Candidate]) -> String {
    const SHOWN: usize = 12;
    let one = |candidate: &Candidate| {
        let [x, y] = candidate.best.0.centre();
        let (first, last) = candidate.span;
        let (number, faces) = (candidate.number, candidate.good_faces);
        format!("{number} (around {x:.0},{y:.0}; {first:.1} to {last:.1} s; {faces} good faces)")
    };
    let mut shown: Vec<String> = candidates.iter().take(SHOWN).map(one).collect();
    if candidates.len() > SHOWN {
        shown.push(format!("and {} more", candidates.len() - SHOWN));
    }
    shown.join(", ")
}

impl From<pvchat_nn::Error> for Error {
    fn from(error: pvchat_nn::Error) -> Self {
        Self::Model(error.into())
    }
}

impl From<pvchat_learn::Error> for Error {
    fn from(error: pvchat_learn::Error) -> Self {
        match error {
            pvchat_learn::Error::Model(error) => Self::Model(error),
            pvchat_learn::Error::Augment(error) => Self::Augment(error),
            pvchat_learn::Error::Train(error) => Self::Train(error),
            pvchat_learn::Error::Data(error) => Self::Data(error),
            pvchat_learn::Error::Unfit { file, problems } => Self::UnfitDataset { file, problems },
            pvchat_learn::Error::OtherLearning { name, folder, begun_with } => Self::OtherLearning { name, folder, begun_with },
            pvchat_learn::Error::NotLearned { name, accuracy } => Self::NotLearned { name, accuracy },
            pvchat_learn::Error::NotTogether { first, second } => Self::NotTogether { first, second },
            pvchat_learn::Error::Io { path, source } => Self::Io { path, source },
        }
    }
}
