//! Clips with a person and clips without that are made alike, a part of them looking other than the reference; and untouched clips
//! that judge what was learned from them.

use image::RgbImage;
use pvchat_augment::{
    Error as AugmentError, NegativeConfig, TrainingSet, choose_negatives,
    exchange::{ExchangeConfig, ExchangeMaker, Exchanged, Strangers, Treatment},
    questions::{Aspect, existence_answer, question},
};
use pvchat_data::{QaKind, QaPair, random::SeededStream};
use pvchat_model::subject::Subject;
use pvchat_train::personal::{AskedWith, LearnClip, LearnData, LearnRun};

use crate::{
    Learner, Result,
    learner::{EXCHANGED, encode_pairs},
    looks::Looks,
};

/// The presence from which on the enrolled subject is found so clearly that a made clip stands for an untouched one.
const CLEARLY: f32 = 0.97;
/// Strangers of the untouched clips.
const REAL_STRANGERS: usize = 8;

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
    fn strangers(&self, reference: &[f32], stream: &SeededStream) -> Result<Vec<usize>> {
        let chosen = choose_negatives(reference, self.corpus, &self.options.strangers, &mut stream.derive("strangers"))?;
        Ok(chosen.into_iter().map(|one| one.clip).filter(|&clip| self.corpus.people(clip).len() == 1).collect())
    }

    fn stranger(&self, clip: usize) -> Result<Vec<RgbImage>> {
        Ok(self.corpus.frames(clip).map_err(|source| AugmentError::Corpus { clip, source })?)
    }

    /// Puts untouched clips into the data: each of these frames of the reference by itself, and strangers' clips that nothing was
    /// made of.
    pub(crate) fn add_real(
        &mut self,
        looks: &mut Looks<'_>,
        (set, frames): (&TrainingSet, &[RgbImage]),
        reference: &[f32],
        data: &mut LearnData,
        (stream, keep): (&SeededStream, &LearnRun),
    ) -> Result<()> {
        let vilm = looks.vilm;
        let mut used: Vec<usize> = set.clips.iter().filter_map(|clip| clip.origin.corpus_clip()).collect();
        used.extend(self.strangers(reference, &stream.derive(EXCHANGED))?);
        let counts = NegativeConfig { hard: used.len() + REAL_STRANGERS, random: 0, ..self.options.negatives.clone() };
        let strangers = choose_negatives(reference, self.corpus, &counts, &mut stream.derive("real strangers"))?;
        let strangers = strangers.iter().map(|one| one.clip).filter(|clip| !used.contains(clip)).take(REAL_STRANGERS);
        let mut clips: Vec<(Vec<RgbImage>, bool)> =
            frames.iter().map(|frame| (vec![frame.clone(); vilm.frames()], true)).collect();
        for clip in strangers {
            clips.push((self.stranger(clip)?, false));
        }
        let frames: Vec<&[RgbImage]> = clips.iter().map(|(frames, _)| frames.as_slice()).collect();
        let mut done = (0, frames.len());
        let seen = self.see(looks, &frames, data, &mut done, keep)?;
        let (name, names) = (set.subject.to_string(), [set.subject.clone()]);
        for (features, (_, present)) in seen.into_iter().zip(&clips) {
            let asked = question(Aspect::Existence, 0, &name);
            let pair = QaPair::new(QaKind::Existence, asked, existence_answer(&name, *present));
            let texts = encode_pairs(vilm, vilm.codec().joint(&data.shown), &[pair], &names, 1)?;
            data.real.push(LearnClip { features, asked: vec![0], present: vec![*present], tokens: AskedWith::Own, texts });
        }
        Ok(())
    }
}
