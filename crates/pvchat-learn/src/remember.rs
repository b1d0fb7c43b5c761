//! Remembering a person without training: the identity embedding is stored and compared, and the base describes the person that
//! is found; it does not need a name for that.

use std::ops::ControlFlow;

use image::RgbImage;
use pvchat_augment::{Corpus, SimilarityScale, free_text, questions};
use pvchat_data::SubjectName;
use pvchat_model::{
    sight::Sight,
    subject::{IDENTITY, Origin, Subject},
    vilm::{Answer, Obtained, Vilm},
};

use crate::{Personalizer, Result};

const MIDPOINT: &str = "similarity_midpoint";
const SLOPE: &str = "similarity_slope";

/// Remembering: one look, kept as an identity embedding; questions about the person alone are answered by retrieval.
/// Questions about several people use the tokens of enrolment, which come along.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Remember {
    scale: SimilarityScale,
}

impl Remember {
    /// With the meaning that a similarity has for the encoder; see [`SimilarityScale::fit`].
    pub fn new(scale: SimilarityScale) -> Self {
        Self { scale }
    }

    /// Somebody who was enrolled or learned, known by the identity embedding from now on; what was trained of the base is left out.
    pub fn of(&self, mut subject: Subject) -> Subject {
        subject.adaptation = None;
        subject.info.origin = Origin::Remembered;
        subject.info.training = [(MIDPOINT, self.scale.midpoint), (SLOPE, self.scale.slope)]
            .map(|(key, value)| (key.into(), f64::from(value)))
            .into();
        subject
    }

    /// With what a corpus of strangers says that a similarity means.
    ///
    /// # Errors
    /// [`pvchat_model::Error::Config`] for a corpus that does not say.
    pub fn by(corpus: &dyn Corpus) -> Result<Self> {
        let scale = corpus.similarity().ok_or_else(|| pvchat_model::Error::Config {
            key: "similarity",
            value: "not in this corpus".into(),
            remedy: "fit a SimilarityScale on pairs of clips and use Remember::new, or enrol the person instead".into(),
        })?;
        Ok(Self::new(scale))
    }
}

impl Personalizer for Remember {
    fn personalize(&mut self, vilm: &Vilm, clip: &[RgbImage], name: &SubjectName) -> Result<Subject> {
        vilm.codec().check_name(name)?;
        Ok(self.of(vilm.enrol(&vilm.look(&[clip])?, 0, name)?))
    }
}

/// Where a remembered person is in a clip: the position of the most similar person and the probability that it is the same.
/// `None` for subjects that came about in another way. `memory` is of one clip.
pub fn find(subject: &Subject, memory: &Sight) -> Option<(usize, f32)> {
    if subject.info.origin != Origin::Remembered {
        return None;
    }
    let value = |key: &str| subject.info.training.get(key).map(|value| *value as f32);
    let scale = SimilarityScale { midpoint: value(MIDPOINT)?, slope: value(SLOPE)? };
    let [_, _, width] = memory.identity.dims();
    if width == 0 {
        return None; // a base that embeds nobody
    }
    let people: Vec<f32> = memory.identity.clone().into_data().iter::<f32>().collect();
    let cosine = |person: &[f32]| person.iter().zip(subject.values(IDENTITY)).map(|(a, b)| a * b).sum::<f32>();
    let similarity = people.chunks(width).map(cosine).enumerate();
    similarity.max_by(|one, other| one.1.total_cmp(&other.1)).map(|(position, cosine)| (position, scale.probability(cosine)))
}

/// Answers a question about a remembered person; `None` where the tokens have to answer: the person was not remembered, or
/// the question is not of a known kind. `memory` is of one clip.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) when the clip was seen by another model.
pub fn answer(vilm: &Vilm, subject: &Subject, memory: &Sight, question: &str) -> Result<Option<Answer>> {
    let (Some((position, presence)), Some(aspect)) = (find(subject, memory), free_text::classify(question)) else {
        return Ok(None);
    };
    let name = subject.info.name.to_string();
    let text = match aspect {
        questions::Aspect::Existence => questions::existence_answer(&name, presence > 0.5),
        _ if presence <= 0.5 => questions::absent_answer(aspect, &name),
        _ => {
            let generic = questions::GENERIC_SUBJECTS[1 + position.min(1)];
            let view = vilm.with_subjects(&[]);
            let about = question.replace(&name, generic);
            view.ask(memory, &about, &view.default_options(), |_| ControlFlow::Continue(()))?.text.replacen(generic, &name, 1)
        }
    };
    Ok(Some(Answer { text, presence: vec![(subject.info.name.clone(), presence)], obtained: Obtained::Remembered }))
}
