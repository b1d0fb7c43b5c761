//! What is made of one person's clip before anything is trained, and the questions about clips as token ids.

use image::RgbImage;
use pvchat_augment::{PositiveMaker, TrainingSet};
use pvchat_data::{QaPair, SubjectName};
use pvchat_model::{prompt::EncodedText, subject::Subject, vilm::Vilm};

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
