//! From one clip of a person to a subject: enrolment in one look, or learning by training.

use std::ops::ControlFlow;

use image::RgbImage;
use pvchat_augment::{
    Aspect, Corpus, Failure, NegativeConfig, PositiveConfig, PositiveMaker, TrainingSet, TrainingSetBuilder, choose_negatives,
    questions,
};
use pvchat_data::{QaPair, SubjectName, random::SeededStream};
use pvchat_model::{
    answer::Memory,
    prompt::EncodedText,
    subject::{Origin, Subject},
    vilm::{Reading, Vilm},
};
use pvchat_train::personal::{LearnClip, LearnConfig, LearnData, LearnProgress, LearnReport, learn};
use serde::{Deserialize, Serialize};

use crate::Result;

/// A way from one prepared clip to a subject.
pub trait Personalizer {
    /// Makes the subject of the person in `clip`, whose frames are prepared for the model.
    ///
    /// # Errors
    /// When the clip does not fit the model, or what the way itself reports.
    fn personalize(&mut self, vilm: &Vilm, clip: &[RgbImage], name: &SubjectName) -> Result<Subject>;
}

/// Enrolment: one forward pass, no training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Enrol;

impl Personalizer for Enrol {
    fn personalize(&mut self, vilm: &Vilm, clip: &[RgbImage], name: &SubjectName) -> Result<Subject> {
        Ok(vilm.enrol(&vilm.remember(&[clip])?, 0, name)?)
    }
}

/// How a person is learned; the defaults are the ones that the figures in the README were measured with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearnOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// Positives made from the clip.
    pub positives: usize,
    /// How clips are varied.
    pub variation: PositiveConfig,
    /// How negatives are chosen.
    pub negatives: NegativeConfig,
    /// A made positive whose identity embedding is less similar to the clip's is drawn again.
    pub least_similarity: f32,
    /// The training.
    pub training: LearnConfig,
}

impl Default for LearnOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            positives: 31,
            variation: PositiveConfig::default(),
            negatives: NegativeConfig { hard: 24, random: 8, ..NegativeConfig::default() },
            least_similarity: 0.55,
            training: LearnConfig::default(),
        }
    }
}

/// What learning is doing.
#[derive(Clone, Debug)]
pub enum LearnEvent<'a> {
    /// Clips are made from the reference.
    MakingPositives,
    /// Similar strangers are looked for and rendered.
    ChoosingNegatives,
    /// Every clip goes through the frozen encoder once; clips done, clips in all.
    Encoding(usize, usize),
    /// A training step.
    Training(&'a LearnProgress),
}

/// A learned subject and how it came about.
#[derive(Clone, Debug)]
pub struct Learned {
    /// The subject, enrolled or learned, whichever judged the held-back clips better.
    pub subject: Subject,
    /// The training.
    pub report: LearnReport,
    /// The clips that were made and chosen.
    pub set: TrainingSet,
    /// Made positives that the self-check rejected.
    pub rejected: usize,
}

/// Learning by training on clips made from the one clip, against strangers of a corpus.
pub struct Learner<'a> {
    /// The strangers.
    pub corpus: &'a dyn Corpus,
    /// Empty places to put the person in.
    pub scenes: &'a [Vec<RgbImage>],
    /// How.
    pub options: &'a LearnOptions,
    /// Told what is going on; can stop the training.
    pub observe: &'a mut dyn FnMut(LearnEvent<'_>) -> ControlFlow<()>,
}

impl Personalizer for Learner<'_> {
    fn personalize(&mut self, vilm: &Vilm, clip: &[RgbImage], name: &SubjectName) -> Result<Subject> {
        Ok(self.learn(vilm, clip, name)?.subject)
    }
}

/// Clips that are encoded at a time.
const ENCODED_AT_ONCE: usize = 8;
/// Positives that are described.
const DESCRIBED: usize = 16;
/// Every so many clips, one is held back for the self-check.
const HELD_BACK: usize = 4;

impl Learner<'_> {
    /// Learns the person in a prepared clip.
    ///
    /// # Errors
    /// When the clip does not fit the model; what augmentation and training report.
    pub fn learn(&mut self, vilm: &Vilm, clip: &[RgbImage], name: &SubjectName) -> Result<Learned> {
        let stream = SeededStream::new(self.options.seed).derive("learn");
        let memory = vilm.remember(&[clip])?;
        let reference = identities(&memory).swap_remove(0);
        let enrolled = vilm.enrol(&memory, 0, name)?;

        let _ = (self.observe)(LearnEvent::MakingPositives);
        let maker = PositiveMaker::new(clip, self.scenes, self.options.variation.clone())?;
        let made = maker.positives(self.options.positives, &mut stream.derive("positives"), |positives| {
            let mut verdicts = Vec::with_capacity(positives.len());
            for chunk in positives.chunks(ENCODED_AT_ONCE) {
                let clips: Vec<&[RgbImage]> = chunk.iter().map(|positive| positive.frames.as_slice()).collect();
                let seen = identities(&vilm.remember(&clips)?);
                verdicts.extend(seen.iter().map(|identity| cosine(identity, &reference) >= self.options.least_similarity));
            }
            Ok(verdicts)
        })?;

        let _ = (self.observe)(LearnEvent::ChoosingNegatives);
        let negatives = choose_negatives(&reference, self.corpus, &self.options.negatives, &mut stream.derive("negatives"))?;
        let set = TrainingSetBuilder::new(name.clone(), clip.to_vec())?
            .positives(made.positives)
            .negatives(&negatives, self.corpus)?
            .build(&mut stream.derive("questions"), describe(vilm))?;

        let data = self.encode(vilm, &set)?;
        let observe = &mut self.observe;
        let config = LearnConfig { seed: stream.derive("training").next_seed(), ..self.options.training.clone() };
        let (mut subject, report) = learn(vilm, &enrolled, &data, &config, |progress| observe(LearnEvent::Training(progress)))?;
        if !report.kept_learned {
            subject.info.origin = Origin::Enrolled;
        }
        Ok(Learned { subject, report, set, rejected: made.rejected })
    }

    /// Encodes all clips once and sorts them into stages and the self-check.
    fn encode(&mut self, vilm: &Vilm, set: &TrainingSet) -> Result<LearnData> {
        let still = set.still();
        let total = set.clips.len() + still.clips.len();
        let mut done = 0;
        let mut data = LearnData::default();
        let names = [set.subject.clone()];
        for (video, clips) in [(false, &still.clips), (true, &set.clips)] {
            let most = clips.iter().map(|clip| clip.pairs.len()).max().unwrap_or(0);
            for (chunk_number, chunk) in clips.chunks(ENCODED_AT_ONCE).enumerate() {
                let frames: Vec<&[RgbImage]> = chunk.iter().map(|clip| clip.frames.as_slice()).collect();
                let memory = vilm.remember(&frames)?;
                data.token_shape = [memory.tokens.dims()[1], memory.tokens.dims()[2]];
                data.identity_shape = [memory.identity.dims()[1], memory.identity.dims()[2]];
                let rows = |values: Vec<f32>, shape: [usize; 2]| {
                    values.chunks(shape[0] * shape[1]).map(<[f32]>::to_vec).collect::<Vec<_>>()
                };
                let tokens = rows(memory.tokens.into_data().iter::<f32>().collect(), data.token_shape);
                let identity = rows(memory.identity.into_data().iter::<f32>().collect(), data.identity_shape);
                for (place, ((clip, tokens), identity)) in chunk.iter().zip(tokens).zip(identity).enumerate() {
                    let texts = encode_pairs(vilm, &clip.pairs, &names, most)?;
                    let one = LearnClip { tokens, identity, present: clip.positive, texts };
                    let number = chunk_number * ENCODED_AT_ONCE + place;
                    match (video, number % HELD_BACK == HELD_BACK - 1) {
                        (true, true) => data.held_back.push(one),
                        (true, false) => data.clips.push(one),
                        (false, true) => {}
                        (false, false) => data.images.push(one),
                    }
                }
                done += chunk.len();
                let _ = (self.observe)(LearnEvent::Encoding(done, total));
            }
        }
        Ok(data)
    }
}

/// Describes "the person" of made clips in the words of the frozen base, for the name to be put in
/// its place. The first clips are described; of the others only existence is asked.
fn describe(vilm: &Vilm) -> impl FnMut(&[RgbImage], Aspect) -> std::result::Result<Option<String>, Failure> + '_ {
    let view = vilm.with_subjects(&[]);
    let mut described = 0;
    let mut last: Option<(*const RgbImage, Reading)> = None;
    move |frames, aspect| {
        let reading = match last.take() {
            Some((clip, reading)) if clip == frames.as_ptr() => reading,
            _ if described == DESCRIBED => return Ok(None),
            _ => {
                described += 1;
                view.read(&vilm.remember(&[frames])?, &[])?
            }
        };
        let question = questions::question(aspect, 0, questions::GENERIC_SUBJECTS[0]);
        let answer = view.answer(&reading, &question, &view.default_options(), |_| ControlFlow::Continue(()))?;
        last = Some((frames.as_ptr(), reading));
        Ok(Some(answer.text))
    }
}

/// Token ids of questions and answers, as many for every clip: the first ones are repeated.
fn encode_pairs(vilm: &Vilm, pairs: &[QaPair], names: &[SubjectName], count: usize) -> Result<Vec<EncodedText>> {
    pairs
        .iter()
        .cycle()
        .take(if pairs.is_empty() { 0 } else { count })
        .map(|pair| Ok(vilm.codec().encode_question(&pair.question, Some(&pair.answer), names)?))
        .collect()
}

/// The left person's identity embedding of every clip.
fn identities(memory: &Memory) -> Vec<Vec<f32>> {
    let [_, people, width] = memory.identity.dims();
    let values: Vec<f32> = memory.identity.clone().into_data().iter::<f32>().collect();
    values.chunks(people * width).map(|row| row[..width].to_vec()).collect()
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}
