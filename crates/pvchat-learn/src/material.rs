//! What is made of one person's clip before anything is trained, and the questions about clips as token ids.

use image::RgbImage;
use pvchat_augment::{
    PositiveMaker, TrainingSet,
    questions::{Aspect, existence_answer, question},
};
use pvchat_data::{QaKind, QaPair, SubjectName};
use pvchat_model::{prompt::EncodedText, subject::Subject, vilm::Vilm};
use pvchat_train::{
    features::FeatureId,
    personal::{AskedWith, LearnClip, LearnData},
};

use crate::Result;

/// What clips with exchanged heads are drawn from.
pub(crate) const EXCHANGED: &str = "exchanged";

/// What is made of one person's clip before anything is trained.
pub(crate) struct Material {
    pub(crate) enrolled: Subject,
    pub(crate) reference: Vec<f32>,
    pub(crate) maker: PositiveMaker,
    pub(crate) set: TrainingSet,
    pub(crate) rejected: usize,
    /// Frames of the clip that no clip was made of; the look saw the whole clip.
    pub(crate) held_back: Vec<RgbImage>,
}

/// Token ids of questions and answers, as many for every clip: the first ones are repeated.
pub(crate) fn encode_pairs(
    vilm: &Vilm,
    joint: &str,
    pairs: &[QaPair],
    names: &[SubjectName],
    count: usize,
) -> Result<Vec<EncodedText>> {
    pairs
        .iter()
        .cycle()
        .take(if pairs.is_empty() { 0 } else { count })
        .map(|pair| Ok(vilm.codec().encode_joined(joint, &pair.question, Some(&pair.answer), names)?))
        .collect()
}

/// Clips that are not trained on, and who is in them.
#[derive(Default)]
pub(crate) struct Untouched {
    pub(crate) clips: Vec<Vec<RgbImage>>,
    /// Of each clip who is asked about, by number, and whether they are there.
    pub(crate) asked: Vec<Vec<(usize, bool)>>,
}

impl Untouched {
    /// Puts the questions about the clips into the data, given their features.
    pub(crate) fn ask(self, vilm: &Vilm, seen: Vec<FeatureId>, names: &[SubjectName], data: &mut LearnData) -> Result<()> {
        for (features, asked) in seen.into_iter().zip(self.asked) {
            for (number, present) in asked {
                let name = names[number].to_string();
                let (asked, answer) = (question(Aspect::Existence, 0, &name), existence_answer(&name, present));
                let pair = QaPair::new(QaKind::Existence, asked, answer);
                let texts = encode_pairs(vilm, vilm.codec().joint(&data.shown), &[pair], &names[number..=number], 1)?;
                let (asked, present, tokens) = (vec![number], vec![present], AskedWith::Own);
                data.real.push(LearnClip { features, asked, present, tokens, texts });
            }
        }
        Ok(())
    }
}
