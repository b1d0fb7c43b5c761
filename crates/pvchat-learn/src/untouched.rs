//! Clips for the self-check that no clip was made of: frames of a reference, and strangers.

use image::RgbImage;
use pvchat_augment::{
    NegativeConfig, choose_negatives,
    questions::{Aspect, existence_answer, question},
};
use pvchat_data::{QaKind, QaPair, SubjectName, random::SeededStream};
use pvchat_model::vilm::Vilm;
use pvchat_train::{
    features::FeatureId,
    personal::{AskedWith, LearnClip, LearnData},
};

use crate::{
    Learner, Result,
    material::{EXCHANGED, Material, encode_pairs},
};

/// Strangers who judge each person.
const STRANGERS: usize = 8;

/// Clips that are not trained on, and who is in them.
#[derive(Default)]
pub(crate) struct Untouched {
    pub(crate) clips: Vec<Vec<RgbImage>>,
    /// Of each clip who is asked about, by number, and whether they are there.
    asked: Vec<Vec<(usize, bool)>>,
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

impl Learner<'_> {
    /// Each held-back frame as a clip of its own, asked about everybody who is learned, and for each person clips of strangers of
    /// whom no clip was made. Somebody of whom no frame is held back is not judged so. `exchanged` says whether heads were.
    pub(crate) fn untouched(
        &self,
        people: &[Material],
        frames: usize,
        exchanged: bool,
        stream: &SeededStream,
    ) -> Result<Untouched> {
        let mut used: Vec<usize> =
            people.iter().flat_map(|one| &one.set.clips).filter_map(|clip| clip.origin.corpus_clip()).collect();
        if exchanged {
            for Material { reference, .. } in people {
                used.extend(self.strangers(reference, &stream.derive(EXCHANGED))?);
            }
        }
        let mut untouched = Untouched::default();
        let mut add = |clip: Vec<RgbImage>, asked: Vec<(usize, bool)>| {
            untouched.clips.push(clip);
            untouched.asked.push(asked);
        };
        for (number, Material { reference, held_back, .. }) in people.iter().enumerate().filter(|one| !one.1.held_back.is_empty())
        {
            for frame in held_back {
                add(vec![frame.clone(); frames], (0..people.len()).map(|asked| (asked, asked == number)).collect());
            }
            let counts = NegativeConfig { hard: used.len() + STRANGERS, random: 0, ..self.options.negatives.clone() };
            let strangers = choose_negatives(reference, self.corpus, &counts, &mut stream.derive("real strangers"))?;
            for clip in strangers.iter().map(|one| one.clip).filter(|clip| !used.contains(clip)).take(STRANGERS) {
                add(self.stranger(clip)?, vec![(number, false)]);
            }
        }
        Ok(untouched)
    }
}
