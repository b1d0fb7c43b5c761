//! From one clip of a person to a subject: enrolment in one look, or learning by training.

use std::{ops::ControlFlow, time::Instant};

use image::RgbImage;
use pvchat_augment::{Aspect, Corpus, Failure, PositiveMaker, TrainingSet, TrainingSetBuilder, choose_negatives, questions};
use pvchat_data::{SubjectName, random::SeededStream};
use pvchat_model::{
    sight::Sight,
    subject::{Origin, Subject},
    vilm::{Reading, Vilm},
};
use pvchat_train::{
    checkpoint::CheckpointFolder,
    features::FeatureId,
    personal::{AskedWith, LearnClip, LearnConfig, LearnData, LearnProgress, LearnReport, LearnRun, SelfCheck, learn},
};

use crate::{
    Error, LearnOptions, Result, Start,
    looks::{ENCODED_AT_ONCE, Look, Looks},
    material::{EXCHANGED, Material, Untouched, encode_pairs},
};

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
        vilm.codec().check_name(name)?;
        Ok(vilm.enrol(&vilm.look(&[clip])?, 0, name)?)
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
    /// The subject: the learned one where it did better on the held-out clips and no worse on untouched ones, else the enrolled one.
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
    /// Where checkpoints are kept, if anywhere: [`LearnOptions::checkpoints`], opened.
    pub checkpoints: Option<CheckpointFolder>,
    /// Told what is going on; can stop it at any time, with [`Stopped`](pvchat_train::Error::Stopped).
    pub observe: &'a mut dyn FnMut(LearnEvent<'_>) -> ControlFlow<()>,
}

impl Personalizer for Learner<'_> {
    fn personalize(&mut self, vilm: &Vilm, clip: &[RgbImage], name: &SubjectName) -> Result<Subject> {
        Ok(self.learn(vilm, clip, name)?.subject)
    }
}

/// Positives that are described.
const DESCRIBED: usize = 16;
/// One in this many clips is held back for the self-check.
const HELD_BACK: usize = 4;
/// One in this many frames of the reference is held back from all making, for the self-check.
const HELD_BACK_FRAMES: usize = 4;

impl Learner<'_> {
    /// Learns the person in a prepared clip.
    ///
    /// # Errors
    /// When the name is a token of the model or the clip does not fit it; what augmentation and training report, among
    /// them that somebody else learns in the same folder of checkpoints, or that what is there is of another run; that the model
    /// cannot enrol in one look, and then [`learn_from`](Self::learn_from) can learn from clips of yours;
    /// [`Error::NotLearned`] when the self-check judges what would be kept no better than chance.
    pub fn learn(&mut self, vilm: &Vilm, clip: &[RgbImage], name: &SubjectName) -> Result<Learned> {
        let keep = self.options.run(self.checkpoints.clone())?;
        let stream = SeededStream::new(self.options.seed).derive("learn");
        let exchanged = self.options.exchanged;
        let mut looks = Looks::new(vilm, self.options.training.trains.trains_vision());
        let material = self.material(&mut looks, clip, name, (&stream, exchanged), &keep)?;
        let untouched = self.untouched(std::slice::from_ref(&material), vilm.frames(), exchanged > 0, &stream)?;
        let mut data = self.encode(&mut looks, &material.set, untouched, &keep)?;
        let Material { enrolled, set, rejected, .. } = material;
        data.source = self.options.source(clip)?;
        let start = match self.options.start {
            Start::Look => enrolled.clone(),
            Start::Noise => enrolled.noise(&mut stream.derive("start")),
        };
        let observe = &mut self.observe;
        let config = LearnConfig { seed: stream.derive("training").next_seed(), ..self.options.training.clone() };
        let (mut subject, report) =
            learn(vilm, &start, &data, &config, &keep, |progress| observe(LearnEvent::Training(progress)))?;
        // Where noise was the start and did not help, the enrolled subject is kept, which the check did not see.
        let judged = match (report.kept_learned, self.options.start) {
            (true, _) => Some(report.after),
            (false, Start::Look) => Some(report.before),
            (false, Start::Noise) => None,
        };
        refuse_chance(judged, &data, || name.to_string())?;
        if !report.kept_learned {
            let training = std::mem::take(&mut subject.info.training);
            subject = enrolled;
            (subject.info.origin, subject.info.training) = (Origin::Enrolled, training);
        }
        Ok(Learned { subject, report, set, rejected })
    }

    /// Makes positives and clips with exchanged heads, as many as asked for, chooses negatives and asks the questions about them.
    pub(crate) fn material(
        &mut self,
        looks: &mut Looks<'_>,
        clip: &[RgbImage],
        name: &SubjectName,
        (stream, exchanged): (&SeededStream, usize),
        keep: &LearnRun,
    ) -> Result<Material> {
        let vilm = looks.vilm;
        vilm.codec().check_name(name)?;
        let memory = looks.at_one(clip)?;
        let enrolled = vilm.enrol(&memory, 0, name)?;
        let reference = identities(&memory).swap_remove(0);

        self.tell(LearnEvent::MakingPositives, keep)?;
        let (made_of, held_back) = held_back_frames(clip);
        let maker = PositiveMaker::new(&made_of, self.scenes, self.options.variation.clone())?;
        let positives = maker.positives(self.options.positives, &mut stream.derive("positives"), |positives| {
            let clips: Vec<&[RgbImage]> = positives.iter().map(|positive| positive.frames.as_slice()).collect();
            let is_similar = |look: &Look| cosine(&identities(&look.sight)[0], &reference) >= self.options.least_similarity;
            Ok(looks.at(&clips)?.iter().map(is_similar).collect())
        })?;

        self.tell(LearnEvent::ChoosingNegatives, keep)?;
        let negatives = choose_negatives(&reference, self.corpus, &self.options.negatives, &mut stream.derive("negatives"))?;
        let nobody = if exchanged > 0 { self.scenes } else { &[] };
        let made = self.exchanged(looks, &made_of, (&enrolled, &reference), exchanged, &stream.derive(EXCHANGED))?;
        let set = TrainingSetBuilder::new(name.clone(), made_of)?
            .positives(positives.positives)
            .negatives(&negatives, self.corpus)?
            .exchanged(made)
            .nobody(nobody)
            .build(&mut stream.derive("questions"), describe(looks))?;
        Ok(Material { enrolled, reference, maker, set, rejected: positives.rejected, held_back })
    }

    /// Tells the observer; an error when it asks to stop or the time is up.
    pub(crate) fn tell(&mut self, event: LearnEvent<'_>, keep: &LearnRun) -> Result<()> {
        if (self.observe)(event).is_break() {
            return Err(pvchat_train::Error::Stopped { step: 0 }.into());
        }
        match keep.deadline {
            Some((deadline, budget)) if Instant::now() >= deadline => {
                Err(pvchat_train::Error::OutOfTime { step: 0, seconds: budget.as_secs_f64() }.into())
            }
            _ => Ok(()),
        }
    }

    /// Encodes all clips once and sorts them into stages and the self-check.
    fn encode(&mut self, looks: &mut Looks<'_>, set: &TrainingSet, untouched: Untouched, keep: &LearnRun) -> Result<LearnData> {
        let vilm = looks.vilm;
        let still = set.still();
        let mut data = LearnData { features: self.options.features(keep)?, ..LearnData::default() };
        let names = [set.subject.clone()];
        let mut done = (0, set.clips.len() + still.clips.len() + untouched.clips.len());
        for (video, clips) in [(false, &still.clips), (true, &set.clips)] {
            let mut counts = [0; 2];
            let most = clips.iter().map(|clip| clip.pairs.len()).max().unwrap_or(0);
            let frames: Vec<&[RgbImage]> = clips.iter().map(|clip| clip.frames.as_slice()).collect();
            let seen = self.see(looks, &frames, &mut data, &mut done, keep)?;
            for (clip, features) in clips.iter().zip(seen) {
                let joint = vilm.codec().joint(&data.shown);
                let texts = encode_pairs(vilm, joint, &clip.pairs, &names, most)?;
                let number = counts[usize::from(clip.positive)];
                counts[usize::from(clip.positive)] += 1;
                sort(
                    &mut data,
                    video,
                    number,
                    LearnClip { features, asked: vec![0], present: vec![clip.positive], tokens: AskedWith::Own, texts },
                );
            }
        }
        let frames: Vec<&[RgbImage]> = untouched.clips.iter().map(Vec::as_slice).collect();
        let seen = self.see(looks, &frames, &mut data, &mut done, keep)?;
        untouched.ask(vilm, seen, &names, &mut data)?;
        Ok(data)
    }

    /// Encodes clips that were not encoded before and puts the result into `data`; `done` counts them for the observer.
    ///
    /// Where the upper part of the encoder is trained, the output of the lower part is kept too, for that part to start from.
    pub(crate) fn see(
        &mut self,
        looks: &mut Looks<'_>,
        clips: &[&[RgbImage]],
        data: &mut LearnData,
        done: &mut (usize, usize),
        keep: &LearnRun,
    ) -> Result<Vec<FeatureId>> {
        let mut seen = Vec::with_capacity(clips.len());
        for chunk in clips.chunks(ENCODED_AT_ONCE) {
            for Look { sight, lower } in looks.take(chunk)? {
                seen.push(data.insert(sight, lower)?);
            }
            done.0 += chunk.len();
            self.tell(LearnEvent::Encoding(done.0, done.1), keep)?;
        }
        Ok(seen)
    }
}

/// The frames that clips are made of, as many as the clip has, and those that are held back: of a still picture none.
fn held_back_frames(clip: &[RgbImage]) -> (Vec<RgbImage>, Vec<RgbImage>) {
    let (made_of, held_back): (Vec<usize>, Vec<usize>) =
        (0..clip.len()).partition(|at| at % HELD_BACK_FRAMES != HELD_BACK_FRAMES - 1);
    let stretched: Vec<RgbImage> = (0..clip.len()).map(|at| clip[made_of[at * made_of.len() / clip.len()]].clone()).collect();
    let held_back = held_back.into_iter().map(|at| clip[at].clone()).filter(|frame| !stretched.contains(frame)).collect();
    (stretched, held_back)
}

/// Balanced accuracy of guessing.
const CHANCE: f32 = 0.5;

/// An error when the self-check refutes what would be kept. It says nothing where no clip with, or none without, was held back.
pub(crate) fn refuse_chance(judged: Option<SelfCheck>, data: &LearnData, name: impl Fn() -> String) -> Result<()> {
    let held_back = |wanted: bool| data.held_back.iter().any(|clip| clip.present.contains(&wanted));
    match judged {
        Some(check) if check.balanced_accuracy <= CHANCE && held_back(true) && held_back(false) => {
            Err(Error::NotLearned { name: name(), accuracy: check.balanced_accuracy })
        }
        _ => Ok(()),
    }
}

/// Puts the `number`-th clip of a stage where it belongs: every few are held back, as clips for the self-check.
pub(crate) fn sort(data: &mut LearnData, video: bool, number: usize, clip: LearnClip) {
    match (video, number % HELD_BACK == HELD_BACK - 1) {
        (true, true) => data.held_back.push(clip),
        (true, false) => data.clips.push(clip),
        (false, true) => {}
        (false, false) => data.images.push(clip),
    }
}

/// Whether the `number`-th clip is one of a share of the clips that are trained on; those that are held back are not.
pub(crate) fn is_in_share(share: f32, number: usize) -> bool {
    let trained = number - number / HELD_BACK;
    let before = |clips: usize| (clips as f32 * share) as usize;
    number % HELD_BACK != HELD_BACK - 1 && before(trained + 1) > before(trained)
}

/// Describes "the person" of made clips in the words of the frozen base, for the name to be put in
/// its place. The first clips are described; of the others only existence is asked.
fn describe<'l>(
    looks: &'l mut Looks<'_>,
) -> impl FnMut(&[RgbImage], Aspect) -> std::result::Result<Option<String>, Failure> + 'l {
    let vilm = looks.vilm;
    let view = vilm.with_subjects(&[]);
    let mut described = 0;
    let mut last: Option<(*const RgbImage, Reading)> = None;
    move |frames, aspect| {
        let reading = match last.take() {
            Some((clip, reading)) if clip == frames.as_ptr() => reading,
            _ if described == DESCRIBED => return Ok(None),
            _ => {
                described += 1;
                view.read(&looks.at_one(frames)?, &[])?
            }
        };
        let question = questions::question(aspect, 0, questions::GENERIC_SUBJECTS[0]);
        let answer = view.generate(&reading, &question, &view.default_options(), |_| ControlFlow::Continue(()))?;
        last = Some((frames.as_ptr(), reading));
        Ok(Some(answer.text))
    }
}

/// The left person's identity embedding of every clip that was looked at, a unit vector each.
pub fn identities(memory: &Sight) -> Vec<Vec<f32>> {
    let [_, people, width] = memory.identity.dims();
    let values: Vec<f32> = memory.identity.clone().into_data().iter::<f32>().collect();
    // Of a base that embeds nobody there are none.
    values.chunks((people * width).max(1)).map(|row| row[..width].to_vec()).collect()
}

/// The cosine of two unit vectors of one length: how similar the people are whom they embed.
pub fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;
    use pvchat_model::sight::{Shown, Sight};

    use super::*;

    #[test]
    fn a_share_of_clips_is_one_of_those_that_are_trained_on() {
        for (share, wanted) in [(0.0, 0), (0.25, 18), (0.5, 37), (1.0, 75)] {
            let chosen: Vec<usize> = (0..100).filter(|number| is_in_share(share, *number)).collect();
            assert_eq!(chosen.len(), wanted, "{share} of 75 clips that are trained on: {chosen:?}");
            assert!(chosen.iter().all(|number| number % HELD_BACK != HELD_BACK - 1));
        }
    }

    #[test]
    fn every_fourth_frame_is_held_back_unless_it_is_among_the_others() {
        let clip: Vec<RgbImage> = (0..8).map(|value| RgbImage::from_pixel(2, 2, image::Rgb([value; 3]))).collect();
        let values = |frames: &[RgbImage]| frames.iter().map(|frame| frame.as_raw()[0]).collect::<Vec<u8>>();
        let (made_of, held_back) = held_back_frames(&clip);
        assert_eq!((values(&made_of), values(&held_back)), (vec![0, 0, 1, 2, 4, 4, 5, 6], vec![3, 7]));
        let (made_of, held_back) = held_back_frames(&vec![clip[5].clone(); 8]);
        assert_eq!((made_of.len(), held_back.len()), (8, 0), "a still picture");
        assert_eq!(held_back_frames(&clip[..1]).0, &clip[..1]);
    }

    #[test]
    fn a_base_that_embeds_nobody_gives_no_identities() {
        let sight = |people: usize, width: usize| Sight {
            tokens: Tensor::zeros([2, 3, 4], &Device::flex()),
            identity: Tensor::ones([2, people, width], &Device::flex()),
            shown: vec![Shown::Tiles(1)],
        };
        assert!(identities(&sight(0, 0)).is_empty() && identities(&sight(2, 0)).is_empty());
        assert_eq!(identities(&sight(2, 3)), [[1.0; 3]; 2]);
    }
}
