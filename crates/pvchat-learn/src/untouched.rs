//! Clips for the self-check that no clip was made of: frames of a reference, and strangers.

use image::RgbImage;
use pvchat_augment::{NegativeConfig, choose_negatives};
use pvchat_data::random::SeededStream;

use crate::{
    Learner, Result,
    material::{EXCHANGED, Material, Untouched},
};

/// Strangers who judge each person.
const STRANGERS: usize = 8;

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
