//! Clips with a person and clips without that are made alike, a part of them looking other than the reference.

use image::RgbImage;
use pvchat_augment::{
    Error as AugmentError, choose_negatives,
    exchange::{ExchangeConfig, ExchangeMaker, Exchanged, Strangers, Treatment},
};
use pvchat_data::random::SeededStream;
use pvchat_model::subject::Subject;

use crate::{Learner, Result, looks::Looks};

/// The presence from which on the enrolled subject is found so clearly that a made clip stands for an untouched one.
const CLEARLY: f32 = 0.97;

impl Learner<'_> {
    /// Clips, every second one with the person of `clip`; none where nobody stands out in it. Those with the person in which the
    /// enrolled subject is not clearly found before they are treated are left out: their head was not cut out well.
    pub(crate) fn exchanged(
        &self,
        looks: &mut Looks<'_>,
        clip: &[RgbImage],
        (enrolled, reference): (&Subject, &[f32]),
        count: usize,
        stream: &SeededStream,
    ) -> Result<Vec<Exchanged>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let options = self.options;
        let clips = self.strangers(reference, stream)?.into_iter().map(|clip| self.stranger(clip)).collect::<Result<Vec<_>>>()?;
        let strangers = Strangers::find(&clips, self.scenes.to_vec())?;
        let Some(maker) = ExchangeMaker::new(clip, &strangers, ExchangeConfig::default())? else { return Ok(Vec::new()) };

        let making = stream.derive("making");
        let plain = maker.make(count, &making)?;
        let view = looks.vilm.with_subjects(std::slice::from_ref(enrolled));
        let mut kept = Vec::with_capacity(count);
        for (number, made) in plain.iter().enumerate() {
            if made.present && view.presence(&view.read(&looks.at_one(&made.frames)?, &[enrolled])?, 0)? < CLEARLY {
                continue;
            }
            let mut stream = stream.derive(format_args!("treatment {number}"));
            kept.push((number, stream.chance(options.treated).then(|| Treatment::ALL[stream.below(Treatment::ALL.len())])));
        }
        Ok(maker.treat(&kept, &making)?)
    }

    /// The clips of the corpus whose heads and bodies are used: of one person each.
    pub(crate) fn strangers(&self, reference: &[f32], stream: &SeededStream) -> Result<Vec<usize>> {
        let chosen = choose_negatives(reference, self.corpus, &self.options.strangers, &mut stream.derive("strangers"))?;
        Ok(chosen.into_iter().map(|one| one.clip).filter(|&clip| self.corpus.people(clip).len() == 1).collect())
    }

    pub(crate) fn stranger(&self, clip: usize) -> Result<Vec<RgbImage>> {
        Ok(self.corpus.frames(clip).map_err(|source| AugmentError::Corpus { clip, source })?)
    }
}
