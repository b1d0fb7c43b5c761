//! The facade: a base model with everything that learning needs.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use burn::prelude::*;
use image::RgbImage;
use pvchat_augment::{ClipKind, Corpus, Nobody, free_text, questions};
use pvchat_data::{SubjectName, text::Growing};
use pvchat_learn::{cosine, identities, remember};
#[cfg(feature = "miniature")]
use pvchat_miniature::{corpus::MiniatureCorpus, embedded};
use pvchat_model::{
    sight::Sight,
    subject::Subject,
    vilm::{Answer, Vilm},
};
#[cfg(feature = "miniature")]
use pvchat_nn::{device, file};
use pvchat_train::checkpoint::CheckpointFolder;
use pvchat_video::Clip;

use crate::{
    Enrol, Error, LearnEvent, LearnOptions, Learned, LearnedFrom, LearnedTogether, Learner, Personalizer, Remember, Result, Shot,
    wording::known_wording,
};

/// The halves of a clip are looked at apart where the people in them are less similar than this, as a cosine.
const SAME_PERSON: f32 = 0.5;

/// The file of a folder that holds the strangers of the drawn world.
#[cfg(feature = "miniature")]
const CORPUS: &str = "corpus.safetensors";

/// A base model with the strangers that it learns people against.
///
#[cfg_attr(not(feature = "miniature"), doc = "```ignore")]
#[cfg_attr(feature = "miniature", doc = "```")]
/// use pvchat::{Pvchat, data::random::SeededStream, miniature::world::{Identity, Scene, SceneOptions}, video};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Somebody in two clips (any mp4 of the miniature world; here drawn on the spot).
/// let (mut stream, folder) = (SeededStream::new(5), std::env::temp_dir());
/// let somebody = Identity::random(&mut stream);
/// let [first, second] = ["first.mp4", "second.mp4"].map(|name| folder.join(name));
/// for path in [&first, &second] {
///     let scene = Scene::random(&[somebody], SceneOptions::default(), &mut stream);
///     video::write_clip(path, &scene.render(256).frames, 8.0)?;
/// }
/// let pvchat = Pvchat::miniature()?;
/// let subject = pvchat.enrol(&pvchat.clip(&first)?, &"Aa".parse()?)?;
/// let answer = pvchat.ask(&[subject], &pvchat.clip(&second)?, "Is <Aa> in this video?")?;
/// println!("{} ({:.0} % sure that <Aa> is there)", answer.text, 100.0 * answer.presence[0].1);
/// # Ok(()) }
/// ```
pub struct Pvchat {
    vilm: Vilm,
    corpus: Box<dyn Corpus + Send>,
}

/// Whether a model understands the wordings of its training only.
fn needs_known_wording(vilm: &Vilm) -> bool {
    vilm.config().family().is_ok_and(|family| !family.free_wording)
}

/// A clip, decoded, sampled and seen once by the vision encoder.
#[derive(Debug)]
pub struct SeenClip {
    /// The sampled frames, prepared for the encoder.
    pub frames: Vec<RgbImage>,
    /// What the encoder made of them.
    pub memory: Sight,
    /// The number of each frame in its file; those of the given frames where they came from memory.
    pub indices: Vec<usize>,
    /// The time of display of each frame in seconds; empty where they came from memory.
    pub times: Vec<f64>,
    /// Where the clip comes from, when it comes from a file.
    pub source: Option<PathBuf>,
    /// Whether the base was made for such a clip, and it shows somebody. [`ClipKind::Foreign`] is refused everywhere,
    /// [`ClipKind::Nobody`] where somebody is to be enrolled or learned; [`ClipKind::Unknown`], which you can put here, never.
    pub kind: ClipKind,
    /// The encoder's output for either half alone, if the halves show different people: it assumes the same people in the whole
    /// clip.
    halves: Vec<Sight>,
}

impl SeenClip {
    /// Refuses footage that the base was not made for.
    fn check_footage(&self) -> Result<()> {
        self.check(false)
    }

    /// Refuses that, and a clip with nobody in it.
    pub(crate) fn check_person(&self) -> Result<()> {
        self.check(true)
    }

    fn check(&self, needs_person: bool) -> Result<()> {
        let path = self.source.clone().unwrap_or_else(|| "the given frames".into());
        check(self.kind, path, self.frames.len(), needs_person)
    }
}

/// Refuses a clip of a kind that the base was not made for, or with nobody in it where somebody is needed.
fn check(kind: ClipKind, path: PathBuf, frames: usize, needs_person: bool) -> Result<()> {
    match kind {
        ClipKind::Foreign => Err(Error::ForeignClip { path }),
        ClipKind::Nobody if needs_person => Err(Error::NobodyFound {
            path,
            frames,
            seen: "an empty place or a plain surface",
            remedy: "use a drawn clip that shows the character".into(),
        }),
        ClipKind::Nobody | ClipKind::Person | ClipKind::Unknown => Ok(()),
    }
}

/// Whether a picture is of one colour but for noise: an evenly lit wall, or nothing but black.
fn is_surface(picture: &RgbImage) -> bool {
    /// Values of a colour between the darkest and the brightest pixels of a surface.
    const NOISE: u8 = 12;
    /// One in this many pixels may be darker, and one brighter.
    const FEW: usize = 200;
    (0..3).all(|colour| {
        let mut values: Vec<u8> = picture.pixels().map(|pixel| pixel[colour]).collect();
        values.sort_unstable();
        let few = values.len() / FEW;
        values.get(few).zip(values.iter().nth_back(few)).is_none_or(|(darkest, brightest)| brightest - darkest <= NOISE)
    })
}

impl Pvchat {
    /// The embedded miniature on the [default device](device::default_device): the one that `BURN_DEVICE` names, or the
    /// first backend that is compiled in (the CPU, unless features say otherwise).
    ///
    /// # Errors
    /// [`Error::Model`] for a device that is not compiled in, or when the embedded files do not fit
    /// together, which a test rules out.
    #[cfg(feature = "miniature")]
    pub fn miniature() -> Result<Self> {
        Self::miniature_on(&device::default_device()?)
    }

    /// The embedded miniature on a device.
    ///
    /// # Errors
    /// As [`miniature`](Self::miniature).
    #[cfg(feature = "miniature")]
    pub fn miniature_on(device: &Device) -> Result<Self> {
        let vilm = embedded::vilm(device)?;
        let strangers = embedded::corpus(&vilm)?;
        Ok(Self::new(vilm, Box::new(strangers)))
    }

    /// A base model in a folder that [`Vilm::open`] reads, with the miniature's corpus.safetensors as `make miniature`
    /// writes it. A model of another kind needs no corpus here; it answers questions, and learns with a corpus of
    /// yours ([`new`](Self::new)).
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Model`] for files that cannot be read, are
    /// damaged or do not fit together.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let vilm = Vilm::open(folder, device)?;
        #[cfg(feature = "miniature")]
        if vilm.config().family().is_ok_and(|family| !family.filmed) || folder.join(CORPUS).exists() {
            let bytes =
                file::read_regular(&folder.join(CORPUS), file::LARGEST_TEXT_FILE, "use the file that came with the weights")?;
            let strangers = MiniatureCorpus::from_bytes(&bytes, vilm.image_size() as u32)?;
            return Ok(Self::new(vilm, Box::new(strangers)));
        }
        Ok(Self::new(vilm, Box::new(Nobody)))
    }

    /// A base model with a corpus of strangers, and of empty scenes if it has some, of the caller's.
    pub fn new(vilm: Vilm, corpus: Box<dyn Corpus + Send>) -> Self {
        Self { vilm, corpus }
    }

    /// The base model.
    pub fn vilm(&self) -> &Vilm {
        &self.vilm
    }

    /// Opens a clip: decodes the frames that the model samples and encodes them.
    ///
    /// # Errors
    /// [`Error::Video`], which names the file and what to do.
    pub fn clip(&self, path: &Path) -> Result<SeenClip> {
        let clip = Clip::open(path, self.vilm.frames())?;
        let mut seen = self.seen(&clip.frames, clip.times)?;
        (seen.indices, seen.source) = (clip.indices, Some(path.to_path_buf()));
        Ok(seen)
    }

    /// Encodes frames that are in memory; as many as the model samples.
    ///
    /// # Errors
    /// [`Error::Model`] for another number of frames.
    pub fn see(&self, frames: &[RgbImage]) -> Result<SeenClip> {
        self.seen(frames, Vec::new())
    }

    /// Encodes a clip to learn from, or to judge by what was learned.
    ///
    /// # Errors
    /// [`Error::Model`] for another number of frames.
    pub fn see_shot(&self, shot: &Shot) -> Result<SeenClip> {
        self.seen(&shot.frames, shot.seconds.clone())
    }

    /// Encodes frames, of which a base that uses times is told those that are known.
    fn seen(&self, frames: &[RgbImage], times: Vec<f64>) -> Result<SeenClip> {
        let frames = self.vilm.prepare(frames);
        let memory = match times.last() {
            Some(&last) => self.vilm.look_at(&frames, &times, last)?,
            None => self.vilm.look(&[&frames])?,
        };
        let halves = self.halves(&frames)?;
        let indices = (0..frames.len()).collect();
        let kind = self.kind(&memory);
        Ok(SeenClip { frames, memory, indices, times, source: None, kind, halves })
    }

    /// What kind of clip it is that the encoder looked at; unknown for bases that know no people.
    fn kind(&self, memory: &Sight) -> ClipKind {
        match self.vilm.config().vision.identity_width() {
            Some(_) => self.corpus.kind(&memory.tokens.clone().into_data().iter::<f32>().collect::<Vec<_>>()),
            None => ClipKind::Unknown,
        }
    }

    /// The memories of both halves of prepared frames; none where they show the same person, or the base knows no people.
    fn halves(&self, frames: &[RgbImage]) -> Result<Vec<Sight>> {
        if self.vilm.config().vision.identity_width().is_none() || frames.len() < 2 {
            return Ok(Vec::new());
        }
        let half = |first: usize, last: usize| -> Result<Sight> {
            // As many frames as the encoder takes; frames are repeated as needed.
            let stretched: Vec<RgbImage> =
                (0..frames.len()).map(|at| frames[first + at * (last - first) / frames.len()].clone()).collect();
            Ok(self.vilm.look(&[&stretched])?)
        };
        let middle = frames.len() / 2;
        let halves = vec![half(0, middle)?, half(middle, frames.len())?];
        let [one, other] = [0, 1].map(|number| identities(&halves[number]).swap_remove(0));
        Ok(if cosine(&one, &other) < SAME_PERSON { halves } else { Vec::new() })
    }

    /// Makes a subject of the person in a clip in one look, without training.
    ///
    /// # Errors
    /// [`Error::Model`] when the model cannot do that; [`Error::NobodyFound`] and [`Error::ForeignClip`] for a clip that shows
    /// nobody, or that the base was not made for.
    pub fn enrol(&self, clip: &SeenClip, name: &SubjectName) -> Result<Subject> {
        clip.check_person()?;
        Ok(Enrol.personalize(&self.vilm, &clip.frames, name)?)
    }

    /// Makes a subject that is recognised by comparing identity embeddings, without training; see [`Remember`].
    ///
    /// # Errors
    /// As [`enrol`](Self::enrol), or when the corpus does not say what a similarity means.
    pub fn remember(&self, clip: &SeenClip, name: &SubjectName) -> Result<Subject> {
        clip.check_person()?;
        Ok(Remember::by(self.corpus.as_ref())?.personalize(&self.vilm, &clip.frames, name)?)
    }

    /// A subject that was enrolled or learned, recognised by comparing identity embeddings in place of its tokens.
    ///
    /// # Errors
    /// As [`Remember::by`].
    pub fn by_template(&self, subject: Subject) -> Result<Subject> {
        Ok(Remember::by(self.corpus.as_ref())?.of(subject))
    }

    /// Learns the person in a clip. `observe` gets the progress and can stop it at any time. See
    /// [`SubjectFolder::learn`](crate::SubjectFolder::learn) for learning that survives being killed.
    ///
    /// # Errors
    /// What augmentation and training report; [`Error::NotLearned`] when the result is no better than chance on the held-out
    /// clips; [`Error::NobodyFound`] and [`Error::ForeignClip`] for a clip that shows nobody, or that the base was not made for.
    pub fn learn(
        &self,
        clip: &SeenClip,
        name: &SubjectName,
        options: &LearnOptions,
        observe: impl FnMut(LearnEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Learned> {
        clip.check_person()?;
        Ok(self.learn_in(options.held_checkpoints()?, clip, name, options, observe)?)
    }

    /// As [`learn`](Self::learn), from a clip that was checked and in a folder of checkpoints that is held already.
    pub(crate) fn learn_in(
        &self,
        checkpoints: Option<CheckpointFolder>,
        clip: &SeenClip,
        name: &SubjectName,
        options: &LearnOptions,
        mut observe: impl FnMut(LearnEvent<'_>) -> ControlFlow<()>,
    ) -> pvchat_learn::Result<Learned> {
        self.learner(checkpoints, options, &mut observe, |learner| learner.learn(&self.vilm, &clip.frames, name))
    }

    /// Learns a person from clips of the caller's, with the person and without, on any base; see [`Learner::learn_from`].
    ///
    /// # Errors
    /// [`Error::NobodyFound`] and [`Error::ForeignClip`] for a clip of the person that shows nobody, as far as the base can tell, and
    /// for one that the base was not made for; else as [`Learner::learn_from`].
    pub fn learn_from(
        &self,
        shots: &[Shot],
        name: &SubjectName,
        options: &LearnOptions,
        observe: impl FnMut(LearnEvent<'_>) -> ControlFlow<()>,
    ) -> Result<LearnedFrom> {
        self.check_shots(shots)?;
        Ok(self.learn_from_in(options.held_checkpoints()?, shots, name, options, observe)?)
    }

    /// Learns several people with what is trained of the base in common; see [`Learner::learn_from_each`].
    ///
    /// # Errors
    /// As [`learn_from`](Self::learn_from) and [`Learner::learn_from_each`].
    pub fn learn_from_each(
        &self,
        people: &[(&SubjectName, &[Shot])],
        options: &LearnOptions,
        mut observe: impl FnMut(LearnEvent<'_>) -> ControlFlow<()>,
    ) -> Result<(Vec<Subject>, pvchat_train::personal::LearnReport)> {
        people.iter().try_for_each(|(_, shots)| self.check_shots(shots))?;
        let learn = |learner: &mut Learner<'_>| learner.learn_from_each(&self.vilm, people);
        Ok(self.learner(options.held_checkpoints()?, options, &mut observe, learn)?)
    }

    /// Refuses clips to learn from that the base was not made for, and such with nobody in them where the person should be.
    pub(crate) fn check_shots(&self, shots: &[Shot]) -> Result<()> {
        // Only a base that knows people says what a clip shows, and looking twice costs it little.
        let knows_people = self.vilm.config().vision.identity_width().is_some();
        for (number, shot) in shots.iter().enumerate() {
            let path = PathBuf::from(format!("clip {} of those given", number + 1));
            let mut kind = ClipKind::Unknown;
            if knows_people {
                let frames = self.vilm.prepare(&shot.frames);
                kind = self.kind(&self.vilm.look(&[&frames])?);
                check(kind, path.clone(), frames.len(), shot.present)?;
            }
            let is_unknown = kind == ClipKind::Unknown && shot.present && !shot.frames.is_empty();
            if is_unknown && shot.frames.iter().all(is_surface) {
                return Err(Error::NobodyFound {
                    path,
                    frames: shot.frames.len(),
                    seen: "a plain surface",
                    remedy: "use clips that show the person".into(),
                });
            }
        }
        Ok(())
    }

    /// As [`learn_from`](Self::learn_from), from clips that were checked and in a folder of checkpoints that is held already.
    pub(crate) fn learn_from_in(
        &self,
        checkpoints: Option<CheckpointFolder>,
        shots: &[Shot],
        name: &SubjectName,
        options: &LearnOptions,
        mut observe: impl FnMut(LearnEvent<'_>) -> ControlFlow<()>,
    ) -> pvchat_learn::Result<LearnedFrom> {
        let (corpus, scenes, observe) = (self.corpus.as_ref(), &[], &mut observe);
        Learner { corpus, scenes, options, checkpoints, observe }.learn_from(&self.vilm, shots, name)
    }

    /// Learns several people in one run, each from their own clip: questions about each and about every two of them, on
    /// clips that show one, two or none of them. The subjects are like those that are learned alone.
    ///
    /// # Errors
    /// As [`learn`](Self::learn); [`Error::NotTogether`] where no clip of two of them could be made,
    /// [`pvchat_train::Error::Config`] for names that are not different, or too many.
    pub fn learn_together(
        &self,
        people: &[(&SeenClip, &SubjectName)],
        options: &LearnOptions,
        observe: impl FnMut(LearnEvent<'_>) -> ControlFlow<()>,
    ) -> Result<LearnedTogether> {
        people.iter().try_for_each(|(clip, _)| clip.check_person())?;
        Ok(self.learn_together_in(options.held_checkpoints()?, people, options, observe)?)
    }

    /// As [`learn_together`](Self::learn_together), from clips that were checked and in a folder of checkpoints that is held
    /// already.
    pub(crate) fn learn_together_in(
        &self,
        checkpoints: Option<CheckpointFolder>,
        people: &[(&SeenClip, &SubjectName)],
        options: &LearnOptions,
        mut observe: impl FnMut(LearnEvent<'_>) -> ControlFlow<()>,
    ) -> pvchat_learn::Result<LearnedTogether> {
        let people: Vec<(&[RgbImage], &SubjectName)> =
            people.iter().map(|(clip, name)| (clip.frames.as_slice(), *name)).collect();
        self.learner(checkpoints, options, &mut observe, |learner| learner.learn_together(&self.vilm, &people))
    }

    /// Learns with the strangers and empty places of this model.
    fn learner<T>(
        &self,
        checkpoints: Option<CheckpointFolder>,
        options: &LearnOptions,
        observe: &mut dyn FnMut(LearnEvent<'_>) -> ControlFlow<()>,
        work: impl FnOnce(&mut Learner<'_>) -> pvchat_learn::Result<T>,
    ) -> pvchat_learn::Result<T> {
        let corpus = self.corpus.as_ref();
        let scenes = corpus.scenes();
        work(&mut Learner { corpus, scenes: &scenes, options, checkpoints, observe })
    }

    /// Answers a question about a clip. The question may be worded freely; wording that the model
    /// was not trained on is mapped to the nearest that it was.
    ///
    /// A subject that changes the base for itself alone (see [`Trains`](crate::train::personal::Trains)) brings those changes
    /// along when it is the only one in the question; where they reach into the vision encoder, the clip is encoded again.
    ///
    /// # Errors
    /// [`Error::Model`] with [`NotComposable`](pvchat_model::Error::NotComposable) for a question about
    /// such a subject and another one;
    /// [`Error::Model`] for an empty question, one with control tokens, or one
    /// that names too many people; [`Error::ForeignClip`] for a clip that the base was not made for.
    pub fn ask(&self, subjects: &[Subject], clip: &SeenClip, question: &str) -> Result<Answer> {
        self.ask_streaming(subjects, clip, question, |_| ControlFlow::Continue(()))
    }

    /// As [`ask`](Self::ask), with the answer handed to `on_piece` as it grows: the pieces put together are its text.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_streaming(
        &self,
        subjects: &[Subject],
        clip: &SeenClip,
        question: &str,
        mut on_piece: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer> {
        self.vilm.codec().check_question(question)?;
        clip.check_footage()?;
        let phrase: fn(&str) -> String = if needs_known_wording(&self.vilm) { questions::readable } else { str::to_string };
        let (mut so_far, mut growing) = (String::new(), Growing::default());
        let mut answer = self.answer(subjects, clip, question, |piece| {
            so_far.push_str(piece);
            match growing.grow(&phrase(&so_far)) {
                piece if piece.is_empty() => ControlFlow::Continue(()),
                piece => on_piece(&piece),
            }
        })?;
        answer.text = phrase(&answer.text);
        let rest = growing.finish(&answer.text);
        if !rest.is_empty() {
            // There is nothing left to stop.
            let _ = on_piece(&rest);
        }
        Ok(answer)
    }

    /// The answer in the words of the base.
    fn answer(
        &self,
        subjects: &[Subject],
        clip: &SeenClip,
        question: &str,
        on_piece: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let view = self.vilm.with_subjects(subjects);
        let names: Vec<String> = view.named(question).iter().map(|subject| subject.info.name.to_string()).collect();
        let asked =
            if needs_known_wording(&self.vilm) { known_wording(question, &names, subjects)? } else { question.to_string() };
        if let [one] = view.named(question).as_slice()
            && one.adaptation.as_ref().is_some_and(|adaptation| adaptation.changes_vision())
        {
            let own = self.vilm.adapted(one)?;
            let memory = own.look(&[&clip.frames])?;
            return Ok(own.with_subjects(subjects).ask(&memory, &asked, &view.default_options(), on_piece)?);
        }
        let memory = match view.named(question).as_slice() {
            [one] if !clip.halves.is_empty() => self.likeliest(one, clip)?.0,
            _ => &clip.memory,
        };
        if let [one] = view.named(question).as_slice()
            && let Some(answer) = remember::answer(&self.vilm, one, memory, &asked)?
        {
            return Ok(answer);
        }
        Ok(view.ask(memory, &asked, &view.default_options(), on_piece)?)
    }

    /// Where in a clip a subject most likely is, the whole or one half, and with what probability.
    fn likeliest<'a>(&self, subject: &Subject, clip: &'a SeenClip) -> Result<(&'a Sight, f32)> {
        let mut best = (&clip.memory, self.presence_in(subject, &clip.memory)?);
        for half in &clip.halves {
            let presence = self.presence_in(subject, half)?;
            if presence > best.1 {
                best = (half, presence);
            }
        }
        Ok(best)
    }

    /// The probability that a subject, which looks with the eyes of the base, is in what these saw.
    fn presence_in(&self, subject: &Subject, memory: &Sight) -> Result<f32> {
        if let Some((_, presence)) = remember::find(subject, memory) {
            return Ok(presence);
        }
        let view = self.vilm.with_subjects(std::slice::from_ref(subject));
        Ok(view.presence(&view.read(memory, &[subject])?, 0)?)
    }

    /// The probability that a subject is in a clip.
    ///
    /// # Errors
    /// [`Error::Model`] when the clip was seen by another model; [`Error::ForeignClip`] as by [`ask`](Self::ask).
    pub fn presence(&self, subject: &Subject, clip: &SeenClip) -> Result<f32> {
        clip.check_footage()?;
        match &subject.adaptation {
            Some(adaptation) if adaptation.changes_vision() => {
                let own = self.vilm.adapted(subject)?;
                let memory = own.look(&[&clip.frames])?;
                let view = own.with_subjects(std::slice::from_ref(subject));
                Ok(view.presence(&view.read(&memory, &[subject])?, 0)?)
            }
            _ => Ok(self.likeliest(subject, clip)?.1),
        }
    }

    /// A conversation about one clip, with its history.
    pub fn chat<'a>(&'a self, subjects: &'a [Subject], clip: &'a SeenClip) -> Chat<'a> {
        Chat { pvchat: self, subjects, clip, history: Vec::new() }
    }
}

/// A conversation about one clip. Every question is answered from the clip; the history is kept for
/// the caller and lets a question leave the name out ("and where?") once somebody was named.
pub struct Chat<'a> {
    pvchat: &'a Pvchat,
    subjects: &'a [Subject],
    clip: &'a SeenClip,
    history: Vec<(String, Answer)>,
}

impl Chat<'_> {
    /// Asks the next question.
    ///
    /// # Errors
    /// As [`Pvchat::ask`].
    pub fn ask(&mut self, question: &str) -> Result<&Answer> {
        let mut full = question.to_string();
        let view = self.pvchat.vilm.with_subjects(self.subjects);
        if view.named(question).is_empty()
            && let Some(aspect) = free_text::classify(question)
            && let Some(name) = self
                .history
                .iter()
                .rev()
                .find_map(|(asked, _)| view.named(asked).first().map(|subject| subject.info.name.to_string()))
        {
            full = questions::question(aspect, 0, &name);
        }
        let answer = self.pvchat.ask(self.subjects, self.clip, &full)?;
        self.history.push((full, answer));
        Ok(&self.history[self.history.len() - 1].1)
    }

    /// Questions and answers so far.
    pub fn history(&self) -> &[(String, Answer)] {
        &self.history
    }
}
