//! The training set of one subject: positives and negatives with their questions and answers.

use std::path::Path;

use image::RgbImage;
use pvchat_data::{Dataset, QaKind, QaPair, SubjectName, Video, random::SeededStream};
use serde::Serialize;

use crate::exchange::{Exchanged, Making, Treatment};
use crate::foreground::check_sizes;
use crate::positives::image_clip;
use crate::questions::{Aspect, GENERIC_SUBJECTS, absent_answer, existence_answer, question, variants};
use crate::{Corpus, Error, Failure, Negative, NegativeKind, Positive, Result, Step};

/// The existence questions of a clip, unless balancing asks for more.
const EXISTENCE_QUESTIONS: usize = 2;

/// Where a training clip comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The reference itself.
    Reference,
    /// Made from the reference.
    Positive {
        /// How.
        steps: Vec<Step>,
    },
    /// Made with exchanged heads, with the person or without.
    Exchanged {
        /// How.
        making: Making,
        /// What makes it look other than the reference.
        treatment: Option<Treatment>,
    },
    /// An empty place.
    Nobody,
    /// A corpus clip with someone similar.
    HardNegative {
        /// Its place in the corpus.
        clip: usize,
        /// Cosine with the reference.
        similarity: f32,
    },
    /// A corpus clip chosen at random.
    RandomNegative {
        /// Its place in the corpus.
        clip: usize,
    },
}

impl Origin {
    /// The clip of the corpus that it is.
    pub fn corpus_clip(&self) -> Option<usize> {
        match self {
            Self::HardNegative { clip, .. } | Self::RandomNegative { clip } => Some(*clip),
            Self::Reference | Self::Positive { .. } | Self::Exchanged { .. } | Self::Nobody => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Positive { .. } => "positive",
            Self::Exchanged { .. } => "exchanged",
            Self::Nobody => "nobody",
            Self::HardNegative { .. } => "hard-negative",
            Self::RandomNegative { .. } => "random-negative",
        }
    }
}

/// A clip to train on.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingClip {
    /// Its frames.
    pub frames: Vec<RgbImage>,
    /// Whether the subject is in it.
    pub positive: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// Its questions and answers.
    pub pairs: Vec<QaPair>,
}

/// All clips to train on.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSet {
    /// Who is learned.
    pub subject: SubjectName,
    /// The clips: the reference, the positives, the negatives.
    pub clips: Vec<TrainingClip>,
}

impl TrainingSet {
    /// The set of the first training stage: every clip a repeated middle frame, asked for existence and appearance only.
    pub fn still(&self) -> Self {
        let clips = self.clips.iter().map(|clip| TrainingClip {
            frames: image_clip(&clip.frames, clip.frames.len()),
            positive: clip.positive,
            origin: clip.origin.clone(),
            pairs: clip
                .pairs
                .iter()
                .filter(|pair| matches!(pair.kind, Some(QaKind::Existence | QaKind::Appearance)))
                .cloned()
                .collect(),
        });
        Self { subject: self.subject.clone(), clips: clips.collect() }
    }

    /// The numbers of existence questions answered with yes and with no.
    pub fn existence_balance(&self) -> (usize, usize) {
        let count = |positive| -> usize {
            let clips = self.clips.iter().filter(|clip| clip.positive == positive);
            clips.map(|clip| clip.pairs.iter().filter(|pair| pair.is_special).count()).sum()
        };
        (count(true), count(false))
    }

    /// The set in the schema of the dataset; the frames are to be written by the caller to the paths named in it:
    /// `folder/000-reference.mp4`, `folder/001-positive.mp4` and so on, in the order of the clips.
    pub fn to_dataset(&self, folder: &Path) -> Dataset {
        let videos = self.clips.iter().enumerate().map(|(number, clip)| {
            let path = folder.join(format!("{number:03}-{}.mp4", clip.origin.name()));
            Video::of(&self.subject, path, clip.positive, clip.pairs.clone())
        });
        Dataset { videos: videos.collect() }
    }
}

/// Puts a [`TrainingSet`] together.
pub struct TrainingSetBuilder {
    subject: SubjectName,
    size: (u32, u32),
    clips: Vec<TrainingClip>,
}

impl TrainingSetBuilder {
    /// Begins with the reference clip.
    ///
    /// # Errors
    /// [`Error::NoFrames`], [`Error::EmptyFrame`], [`Error::FrameSize`].
    pub fn new(subject: SubjectName, reference: Vec<RgbImage>) -> Result<Self> {
        let size = reference.first().map(RgbImage::dimensions).unwrap_or_default();
        check_sizes(&reference, "the reference", Some(size))?;
        let mut set = Self { subject, size, clips: Vec::new() };
        set.add(reference, true, Origin::Reference);
        Ok(set)
    }

    /// Adds positives.
    #[must_use]
    pub fn positives(mut self, positives: Vec<Positive>) -> Self {
        for Positive { frames, steps } in positives {
            self.add(frames, true, Origin::Positive { steps });
        }
        self
    }

    /// Adds negatives, whose frames are taken from the corpus now.
    ///
    /// # Errors
    /// [`Error::Corpus`], [`Error::NoFrames`], [`Error::EmptyFrame`], [`Error::FrameSize`].
    pub fn negatives(mut self, negatives: &[Negative], corpus: &dyn Corpus) -> Result<Self> {
        for &Negative { clip, similarity, kind } in negatives {
            let frames = corpus.frames(clip).map_err(|source| Error::Corpus { clip, source })?;
            check_sizes(&frames, &format!("clip {clip} of the corpus"), Some(self.size))?;
            let origin = match kind {
                NegativeKind::Hard => Origin::HardNegative { clip, similarity },
                NegativeKind::Random => Origin::RandomNegative { clip },
            };
            self.add(frames, false, origin);
        }
        Ok(self)
    }

    /// Adds clips with exchanged heads, which are asked about existence only.
    #[must_use]
    pub fn exchanged(mut self, clips: Vec<Exchanged>) -> Self {
        for Exchanged { frames, present, making, treatment, .. } in clips {
            self.add(frames, present, Origin::Exchanged { making, treatment });
        }
        self
    }

    /// Adds empty places of the reference's frame size, which are asked about existence only.
    #[must_use]
    pub fn nobody(mut self, scenes: &[Vec<RgbImage>]) -> Self {
        for scene in scenes {
            self.add(scene.clone(), false, Origin::Nobody);
        }
        self
    }

    /// Asks the questions: existence twice per clip in different wordings, one description of every aspect.
    ///
    /// Where one of yes and no would be rarer, its clips are asked for existence once more, as far as there are
    /// wordings. `describe` is shown a positive and answers a question about "the person" in a whole sentence, in
    /// which the subject's name then replaces "the person"; what it answers with `None` is not asked. Negatives are
    /// refused descriptions.
    ///
    /// # Errors
    /// [`Error::Describe`] when `describe` fails.
    pub fn build(
        self,
        stream: &mut SeededStream,
        mut describe: impl FnMut(&[RgbImage], Aspect) -> std::result::Result<Option<String>, Failure>,
    ) -> Result<TrainingSet> {
        let Self { subject, mut clips, .. } = self;
        let name = subject.to_string();
        let extra = extra_existence(&clips, stream);
        for (number, (clip, extra)) in clips.iter_mut().zip(extra).enumerate() {
            for variant in stream.sample(variants(Aspect::Existence), EXISTENCE_QUESTIONS + usize::from(extra)) {
                let asked = question(Aspect::Existence, variant, &name);
                clip.pairs.push(QaPair::new(QaKind::Existence, asked, existence_answer(&name, clip.positive)));
            }
            let described = if matches!(clip.origin, Origin::Exchanged { .. } | Origin::Nobody) {
                &[][..]
            } else {
                &Aspect::DESCRIPTIONS[..]
            };
            for &aspect in described {
                let variant = stream.below(variants(aspect));
                let answer = if clip.positive {
                    let answer = describe(&clip.frames, aspect).map_err(|source| Error::Describe { clip: number, source })?;
                    answer.map(|answer| answer.replace(GENERIC_SUBJECTS[0], &name))
                } else {
                    Some(absent_answer(aspect, &name))
                };
                if let Some(answer) = answer {
                    clip.pairs.push(QaPair::new(aspect.kind(), question(aspect, variant, &name), answer));
                }
            }
        }
        Ok(TrainingSet { subject, clips })
    }

    fn add(&mut self, frames: Vec<RgbImage>, positive: bool, origin: Origin) {
        self.clips.push(TrainingClip { frames, positive, origin, pairs: Vec::new() });
    }
}

/// Which clips are asked for existence once more, so that yes and no are equally frequent; a random choice.
fn extra_existence(clips: &[TrainingClip], stream: &mut SeededStream) -> Vec<bool> {
    let (positives, negatives): (Vec<usize>, Vec<usize>) = (0..clips.len()).partition(|&clip| clips[clip].positive);
    let (rarer, other) = if positives.len() < negatives.len() { (positives, negatives) } else { (negatives, positives) };
    let mut extra = vec![false; clips.len()];
    for place in stream.sample(rarer.len(), EXISTENCE_QUESTIONS * (other.len() - rarer.len())) {
        extra[rarer[place]] = true;
    }
    extra
}
