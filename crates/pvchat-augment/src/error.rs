//! The error of this crate: what was wrong with which clip, frame or value, and what to do.

use std::path::PathBuf;

use crate::fault::Fault;

/// Why something that the caller supplied (a corpus, a self-check, a describer) did not do its part.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Everything that can go wrong in `pvchat-augment`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A clip without frames.
    #[error("{clip} has no frames; give at least one")]
    NoFrames {
        /// Which clip it was.
        clip: String,
    },
    /// A frame without pixels.
    #[error("frame {frame} of {clip} has no pixels; decode the clip again")]
    EmptyFrame {
        /// Which clip it was.
        clip: String,
        /// The frame's place in the clip.
        frame: usize,
    },
    /// A frame of another size than the first frame of the reference.
    #[error(
        "frame {frame} of {clip} is {} x {} pixels, expected {} x {}; scale all clips to one size first",
        found.0, found.1, expected.0, expected.1
    )]
    FrameSize {
        /// Which clip it was.
        clip: String,
        /// The frame's place in the clip.
        frame: usize,
        /// Its width and height.
        found: (u32, u32),
        /// The width and height wanted.
        expected: (u32, u32),
    },
    /// A setting outside its range.
    #[error("`{key}` is {value}; give {expected}")]
    Setting {
        /// The setting's key.
        key: &'static str,
        /// The value given.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A self-check that did not judge every positive exactly once.
    #[error("the self-check was shown {shown} positives and returned {returned} verdicts; return one for each, in their order")]
    Verdicts {
        /// The number of positives shown.
        shown: usize,
        /// The number of verdicts returned.
        returned: usize,
    },
    /// A self-check that failed.
    #[error("the self-check of the positives failed: {0}")]
    SelfCheck(#[source] Failure),
    /// A corpus without clips.
    #[error("the corpus of negatives has no clips; give one with other people's clips")]
    EmptyCorpus,
    /// A corpus in which every clip may show the learned person.
    #[error(
        "none of the {clips} clips of the corpus is below the similarity ceiling of {ceiling}; raise `ceiling` or use another corpus"
    )]
    NoStrangers {
        /// The number of clips.
        clips: usize,
        /// The ceiling.
        ceiling: f32,
    },
    /// An embedding of another width than the reference's.
    #[error("the embedding of {of} has {found} numbers, the reference has {expected}; compute both with the same encoder")]
    EmbeddingWidth {
        /// Whose embedding it is.
        of: String,
        /// Its width.
        found: usize,
        /// The reference's width.
        expected: usize,
    },
    /// An embedding without a direction: empty, all zeros, or with a number that is not finite.
    #[error("the embedding of {of} is empty, all zeros or not finite; compute it again")]
    Embedding {
        /// Whose embedding it is.
        of: String,
    },
    /// A corpus that could not give the frames of a clip.
    #[error("the frames of clip {clip} of the corpus cannot be had: {source}")]
    Corpus {
        /// The clip's place in the corpus.
        clip: usize,
        /// The corpus's reason.
        source: Failure,
    },
    /// Footage that cannot be read, or a clip that cannot be written.
    #[error(transparent)]
    Video(#[from] pvchat_video::Error),
    /// A dataset or its manifest.
    #[error(transparent)]
    Data(#[from] pvchat_data::Error),
    /// A file or folder that cannot be read or changed.
    #[error("{}: {source}; {}", path.display(), pvchat_data::remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// What finds people or cuts them out failed.
    #[error("people cannot be looked for: {0}")]
    Eyes(#[source] Failure),
    /// What describes positives failed.
    #[error("a positive cannot be described: {0}")]
    Describer(#[source] Failure),
    /// A clip of a person in which no look is good enough.
    #[error(
        "no look at the person in {} is good enough ({frames} frames: {reasons}); use a clip that shows the face larger, sharper or \
         from the front", clip.display()
    )]
    PoorSubject {
        /// The clip.
        clip: PathBuf,
        /// Frames that were looked at.
        frames: usize,
        /// What they lack, and how often.
        reasons: String,
    },
    /// A clip in which the person is not seen alone for long enough.
    #[error(
        "the person in {} is seen alone and well for {longest:.1} s at most, a clip takes {needed:.1} s; use a longer clip, or make \
         shorter ones (fewer frames)", clip.display()
    )]
    TooShort {
        /// The clip.
        clip: PathBuf,
        /// The longest stretch in seconds.
        longest: f64,
        /// What is needed, in seconds.
        needed: f64,
    },
    /// Nobody, or more people than a dataset can be about.
    #[error("{people} people are to be in one dataset; give one to {most}, or make several datasets")]
    PeopleCount {
        /// How many were given.
        people: usize,
        /// How many a dataset can be about.
        most: usize,
    },
    /// Two people of one name.
    #[error("two people are called {name}; give each a name of their own")]
    NameTwice {
        /// The name.
        name: String,
    },
    /// Clips of two people that show one person.
    #[error(
        "the clips of {first} and {second} seem to show one person (similarity {similarity:.2}, two people are below {bound:.2}); give \
         each a clip of their own, or make a dataset of each alone"
    )]
    SamePerson {
        /// One of them.
        first: String,
        /// The other.
        second: String,
        /// How similar they are, as a cosine.
        similarity: f32,
        /// Below this they are two people.
        bound: f32,
    },
    /// A person who is also seen in the clip of another.
    #[error(
        "{name} seems to be in the clip of {of} too: {} (similarity {similarity:.2}, others are below {bound:.2}); give a clip of {of} \
         without {name}", clip.display()
    )]
    InBothClips {
        /// Who is seen where somebody else is expected.
        name: String,
        /// The clip.
        clip: PathBuf,
        /// Whose clip it is.
        of: String,
        /// How similar somebody in it is, as a cosine.
        similarity: f32,
        /// Below this it is somebody else.
        bound: f32,
    },
    /// A person who cannot be told from the background, or no place to be put in.
    #[error("{}: {problem}; use a clip in which the person stands out from the background and moves", clip.display())]
    NotCutOut {
        /// The clip.
        clip: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A corpus without footage.
    #[error("no footage in {}; give a folder with clips of other people", folder.display())]
    NoFootage {
        /// The folder.
        folder: PathBuf,
    },
    /// A corpus without strangers.
    #[error(
        "nobody but the person can be used of the {files} files in {} ({reasons}); add clips of other people, each alone in view for \
         some seconds", folder.display()
    )]
    NobodyElse {
        /// The folder.
        folder: PathBuf,
        /// Files of footage in it.
        files: usize,
        /// Why files are not used, of some of them.
        reasons: String,
    },
    /// Clips of the people that show nobody else who can be used, where there is no corpus.
    #[error(
        "clips of other people are missing: there is no corpus, and nobody else in {} can be used ({problem}); give a folder with footage \
         of other people (`--corpus`)",
        shown(clips)
    )]
    NoCorpus {
        /// The clips of the people.
        clips: Vec<PathBuf>,
        /// What is wrong with the others in them.
        problem: String,
    },
    /// Too few clips passed the identity gate.
    #[error(
        "{positives} clips with the person and {negatives} of others passed the identity gate, {dropped} were dropped; at least two of \
         each are needed: use a clip that shows the face larger and more of others"
    )]
    OneClass {
        /// Clips with the person.
        positives: usize,
        /// Clips of others.
        negatives: usize,
        /// Clips that were dropped.
        dropped: usize,
    },
    /// A folder for a dataset that holds something else.
    #[error("{} holds something else than a dataset; give a new folder", folder.display())]
    NotADataset {
        /// The folder.
        folder: PathBuf,
    },
    /// A dataset inside the corpus, of which it would become a part.
    #[error("{} lies in the corpus {}, whose footage it would become; give a folder elsewhere", dataset.display(), corpus.display())]
    Inside {
        /// The folder of the dataset.
        dataset: PathBuf,
        /// The folder of the corpus.
        corpus: PathBuf,
    },
    /// A dataset on disk that cannot be used.
    #[error(
        "the dataset in {} has {} problem(s), the first: {}; make it again",
        folder.display(), problems.len(), problems.first().map(String::as_str).unwrap_or_default()
    )]
    Unfit {
        /// The folder.
        folder: PathBuf,
        /// All problems.
        problems: Vec<String>,
    },
    /// The description of a generator that cannot be used.
    #[error("`{key}` in {}: {problem}", file.display())]
    Description {
        /// The description.
        file: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with its value, and what to give.
        problem: String,
    },
    /// A generator that did something wrong. Nothing that it wrote in this run is used.
    #[error("the generator {name} {fault}{}", quoted(said))]
    Generator {
        /// Its name in its description.
        name: String,
        /// What it did, and what to do about it.
        fault: Box<Fault>,
        /// The end of what it said.
        said: String,
    },
    /// Generators that do not fit together, or more clips from them than there are.
    #[error("{problem}")]
    Generators {
        /// What does not fit, and what to do about it.
        problem: String,
    },
    /// The observer stopped the making of a dataset.
    #[error("stopped; run the same again to go on from there")]
    Stopped,
    /// A describer that failed.
    #[error("the description of clip {clip} of the training set failed: {source}")]
    Describe {
        /// The clip's place in the training set.
        clip: usize,
        /// The describer's reason.
        source: Failure,
    },
}

/// Files in a sentence.
fn shown(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and ")
}

/// What a program said, below the message.
fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("\nIt said, in the end:\n{said}") }
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
