//! Controls of an examination: what is answered without the clip, without the person, or about somebody else. If a control does
//! as well as a learned subject, the figures measure something else.

use std::ops::ControlFlow;

use image::{Rgb, RgbImage};
use pvchat::{
    Pvchat, SeenClip, Subject, SubjectName,
    augment::questions::{self, Aspect},
    data::random::SeededStream,
    eval::accuracy::ExistenceAnswer,
    miniature::words,
    model::personal::PersonalTensors,
    nn::device::default_device,
};

use crate::examination::{Candidate, Outcome, answered, existence};

/// The answers of every control, by its name, on the clips of all characters.
///
/// # Errors
/// What asking reports.
pub fn controls(pvchat: &Pvchat, candidates: &[Candidate], subjects: &[Subject]) -> Outcome<Vec<(String, Vec<ExistenceAnswer>)>> {
    let mut others = subjects.to_vec();
    others.rotate_left(1);
    let without_tokens = subjects.iter().map(zeroed).collect::<Outcome<Vec<_>>>()?;
    let others_tokens =
        subjects.iter().zip(&others).map(|(own, other)| with_tokens_of(own, other)).collect::<Outcome<Vec<_>>>()?;
    Ok([
        ("tokens and rows zeroed", existence(pvchat, candidates, &without_tokens)?),
        ("another's tokens and rows", existence(pvchat, candidates, &others_tokens)?),
        ("untrained tokens", existence(pvchat, candidates, &untrained(subjects))?),
        ("shuffled identities", existence(pvchat, candidates, &others)?),
        ("another subject's name", another_name(pvchat, candidates, subjects, &others)?),
        ("no video", existence(pvchat, &blind(pvchat, candidates)?, subjects)?),
        ("question only", question_only(pvchat, candidates, subjects)?),
        ("a description in the prompt", described(pvchat, candidates)?),
    ]
    .map(|(name, answers)| (format!("control: {name}"), answers))
    .into())
}

/// A subject without what it knows: tokens and rows are zero, its identity embedding and everything that was trained of the base
/// stay.
///
/// # Errors
/// Where there is no device.
pub fn zeroed(subject: &Subject) -> Outcome<Subject> {
    changed(subject, |own| PersonalTensors {
        tokens: own.tokens.zeros_like(),
        word_row: own.word_row.zeros_like(),
        head_row: own.head_row.zeros_like(),
        identity: own.identity,
    })
}

/// A subject with the tokens and rows of `other`; its identity embedding stays.
///
/// # Errors
/// As [`zeroed`].
pub fn with_tokens_of(subject: &Subject, other: &Subject) -> Outcome<Subject> {
    let others = Subject::tensors(std::slice::from_ref(other), &default_device()?)?;
    changed(subject, |own| PersonalTensors { identity: own.identity, ..others })
}

/// A subject with the tokens of `other` and its own rows.
///
/// # Errors
/// As [`zeroed`].
pub fn with_tokens_alone_of(subject: &Subject, other: &Subject) -> Outcome<Subject> {
    let others = Subject::tensors(std::slice::from_ref(other), &default_device()?)?;
    changed(subject, |own| PersonalTensors { tokens: others.tokens, ..own })
}

/// A subject with the rows of `other` and its own tokens.
///
/// # Errors
/// As [`zeroed`].
pub fn with_rows_of(subject: &Subject, other: &Subject) -> Outcome<Subject> {
    let others = Subject::tensors(std::slice::from_ref(other), &default_device()?)?;
    changed(subject, |own| PersonalTensors { word_row: others.word_row, head_row: others.head_row, ..own })
}

fn changed(subject: &Subject, change: impl FnOnce(PersonalTensors) -> PersonalTensors) -> Outcome<Subject> {
    let own = Subject::tensors(std::slice::from_ref(subject), &default_device()?)?;
    let changed = Subject::from_tensors(subject.info.clone(), &change(own));
    Ok(match &subject.adaptation {
        Some(adaptation) => changed.with_adaptation(adaptation.as_ref().clone()),
        None => changed,
    })
}

/// Both subjects are there to be asked about, and the question names the other one.
fn another_name(
    pvchat: &Pvchat,
    candidates: &[Candidate],
    subjects: &[Subject],
    others: &[Subject],
) -> Outcome<Vec<ExistenceAnswer>> {
    let name: SubjectName = "Other".parse()?;
    let pairs = subjects.iter().zip(others).map(|(subject, other)| {
        let mut other = other.clone();
        other.info.name = name.clone();
        [subject.clone(), other]
    });
    let question = questions::question(Aspect::Existence, 0, &name.to_string());
    answered(candidates, &pairs.collect::<Vec<_>>(), |pair, seen| {
        let answer = pvchat.ask(pair, seen, &question)?;
        Ok(answer.presence.first().map_or(0.0, |(_, presence)| *presence))
    })
}

/// The language model gets the question, the subject's rows, and nothing of the clip.
fn question_only(pvchat: &Pvchat, candidates: &[Candidate], subjects: &[Subject]) -> Outcome<Vec<ExistenceAnswer>> {
    let guess = |subject: &Subject| -> Outcome<f32> {
        // What the subject changes in the base is in this one.
        let own = pvchat.vilm().adapted(subject)?;
        let view = own.with_subjects(std::slice::from_ref(subject));
        Ok(view.presence(&view.question_only(&[subject])?, 0)?)
    };
    let guesses = subjects.iter().map(guess).collect::<Outcome<Vec<f32>>>()?;
    answered(candidates, &guesses, |guess, _| Ok(*guess))
}

/// What the base says about the face in a clip, in a question in place of a name: what anybody can do who learns nothing.
pub struct Description {
    question: String,
}

impl Description {
    /// The description of the person in a reference clip.
    ///
    /// # Errors
    /// What asking reports.
    pub fn of(pvchat: &Pvchat, reference: &SeenClip) -> Outcome<Self> {
        let question = questions::question(Aspect::Face, 0, questions::GENERIC_SUBJECTS[0]);
        let view = pvchat.vilm().with_subjects(&[]);
        let reading = view.read(&reference.memory, &[])?;
        let said = view.generate(&reading, &question, &view.default_options(), |_| ControlFlow::Continue(()))?.text;
        let features: Vec<String> =
            said.trim_start_matches("the person has a ").trim_end_matches(" .").split(" , ").map(str::to_string).collect();
        Ok(Self { question: questions::question(Aspect::Existence, 0, &words::someone(&features)) })
    }

    /// The probability that the base gives to somebody like that being in a clip.
    ///
    /// # Errors
    /// What asking reports.
    pub fn presence(&self, pvchat: &Pvchat, clip: &SeenClip) -> Outcome<f32> {
        let view = pvchat.vilm().with_subjects(&[]);
        Ok(view.affirmation(&view.read(&clip.memory, &[])?, &self.question)?)
    }
}

fn described(pvchat: &Pvchat, candidates: &[Candidate]) -> Outcome<Vec<ExistenceAnswer>> {
    let descriptions =
        candidates.iter().map(|one| Description::of(pvchat, &one.reference)).collect::<Outcome<Vec<Description>>>()?;
    answered(candidates, &descriptions, |description, seen| description.presence(pvchat, seen))
}

/// Subjects whose parameters are noise.
fn untrained(subjects: &[Subject]) -> Vec<Subject> {
    let mut stream = SeededStream::new(99);
    subjects.iter().map(|subject| subject.noise(&mut stream)).collect()
}

/// The same clips with every pixel grey.
fn blind(pvchat: &Pvchat, candidates: &[Candidate]) -> Outcome<Vec<Candidate>> {
    let grey = |clip: &SeenClip| -> Outcome<SeenClip> {
        let frames: Vec<_> =
            clip.frames.iter().map(|frame| RgbImage::from_pixel(frame.width(), frame.height(), Rgb([127; 3]))).collect();
        Ok(pvchat.see(&frames)?)
    };
    candidates
        .iter()
        .map(|one| {
            let clips = one.clips.iter().map(grey).collect::<Outcome<Vec<_>>>()?;
            Ok(Candidate { reference: grey(&one.reference)?, clips, character: one.character.clone() })
        })
        .collect()
}
