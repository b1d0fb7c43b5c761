//! The examination that several examples share: characters that the base never saw, their clips seen once, and questions
//! about them.

use std::error::Error;

use pvchat::{
    Enrol, Personalizer, Pvchat, SeenClip, Subject, SubjectName,
    augment::questions::{self, Aspect},
    eval::{
        accuracy::{ClipClass, ExistenceAnswer},
        bootstrap::Share,
        judge::Item,
        presence::Presence,
    },
    miniature::{
        exam::{Cast, Character, Counts},
        level::Level,
        words,
    },
};

use crate::at;

/// The outcome of something that may fail in many ways.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Who is examined.
#[derive(Clone, Copy, Debug)]
pub struct Exam {
    /// Characters.
    pub characters: usize,
    /// Seed of the characters.
    pub seed: u64,
    /// How hard their clips are.
    pub level: Level,
}

/// Clothes, action, place, and the single details of face and hair, each alone and in company.
pub type Descriptions = [[Share; 2]; 4];

/// A character with its clips seen by the encoder.
pub struct Candidate {
    /// The clip to learn from.
    pub reference: SeenClip,
    /// The clips to be asked about.
    pub clips: Vec<SeenClip>,
    /// Who it is, and what the clips show.
    pub character: Character,
}

impl Exam {
    /// Draws the characters, sends every clip through an mp4 file, and looks at it. Bases that share an encoder share the result.
    ///
    /// # Errors
    /// What writing, reading and looking report.
    pub fn candidates(&self, pvchat: &Pvchat) -> Outcome<Vec<Candidate>> {
        self.candidates_with(pvchat, Counts::default())
    }

    /// [`candidates`](Self::candidates) with other numbers of clips.
    ///
    /// # Errors
    /// As [`candidates`](Self::candidates).
    pub fn candidates_with(&self, pvchat: &Pvchat, counts: Counts) -> Outcome<Vec<Candidate>> {
        let folder = std::env::temp_dir().join(format!("pvchat-exam-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(at(&folder))?;
        let candidates = (0..self.characters)
            .map(|number| {
                let character = self.level.of(Character::draw(number, self.seed, counts), self.seed + number as u64);
                let see = |level: Level, scene, label: String| -> Outcome<SeenClip> {
                    Ok(pvchat.see(&level.through_mp4(scene, &folder, &label)?)?)
                };
                let reference = see(Level::Standard, &character.reference, format!("{number}-reference"))?;
                let clips = character
                    .clips
                    .iter()
                    .enumerate()
                    .map(|(clip, one)| see(self.level, &one.scene, format!("{number}-{clip}")))
                    .collect::<Outcome<Vec<_>>>()?;
                Ok(Candidate { reference, clips, character })
            })
            .collect::<Outcome<Vec<_>>>()?;
        std::fs::remove_dir_all(&folder).map_err(at(&folder))?;
        Ok(candidates)
    }
}

/// The characters after one look at their references.
///
/// # Errors
/// What enrolment reports.
pub fn enrolled(pvchat: &Pvchat, candidates: &[Candidate], name: &SubjectName) -> Outcome<Vec<Subject>> {
    candidates.iter().map(|one| Ok(Enrol.personalize(pvchat.vilm(), &one.reference.frames, name)?)).collect()
}

/// Asks for the presence of each subject in all of its character's clips.
///
/// # Errors
/// What asking reports.
pub fn existence(pvchat: &Pvchat, candidates: &[Candidate], subjects: &[Subject]) -> Outcome<Vec<ExistenceAnswer>> {
    answered(candidates, subjects, |subject, seen| Ok(pvchat.presence(subject, seen)?))
}

/// The answers to a way to ask for the presence of each character, `who` in its order, in all of its clips.
///
/// # Errors
/// What asking reports.
pub fn answered<T>(
    candidates: &[Candidate],
    who: &[T],
    presence: impl Fn(&T, &SeenClip) -> Outcome<f32>,
) -> Outcome<Vec<ExistenceAnswer>> {
    let mut answers = Vec::new();
    for (number, (candidate, who)) in candidates.iter().zip(who).enumerate() {
        for (clip, (seen, truth)) in candidate.clips.iter().zip(&candidate.character.clips).enumerate() {
            let presence = presence(who, seen)?;
            let class = match truth.cast {
                Cast::Positive => ClipClass::Positive,
                Cast::LookAlike1 | Cast::LookAlike2 => ClipClass::LookAlike,
                Cast::Random => ClipClass::Random,
            };
            let found = if presence > 0.5 { Presence::Present } else { Presence::Absent };
            answers.push(ExistenceAnswer { subject: number.to_string(), clip: clip.to_string(), class, found });
        }
    }
    Ok(answers)
}

/// An answer that describes the character, with the truth.
pub struct Described {
    /// The character who is described.
    pub subject: String,
    /// Question, answer and true answer.
    pub item: Item,
    /// What is described, without whom.
    pub truth: String,
    /// 0 clothes, 1 action, 2 place, 3 look.
    pub aspect: usize,
    /// Whether somebody else is in the clip.
    pub company: bool,
}

/// What is asked of every clip with the character.
const ASPECTS: [Aspect; 4] = [Aspect::Clothing, Aspect::Action, Aspect::Location, Aspect::Face];

/// Asks for clothes, action, place and look on the clips with the character.
///
/// # Errors
/// What asking reports.
pub fn describe(pvchat: &Pvchat, candidates: &[Candidate], subjects: &[Subject]) -> Outcome<Vec<Described>> {
    let mut all = Vec::new();
    for (number, (candidate, subject)) in candidates.iter().zip(subjects).enumerate() {
        for (seen, truth) in candidate.clips.iter().zip(&candidate.character.clips) {
            let Some(position) = truth.position else { continue };
            for (index, aspect) in ASPECTS.into_iter().enumerate() {
                let name = subject.info.name.to_string();
                let question = questions::question(aspect, 0, &name);
                let answer = pvchat.ask(std::slice::from_ref(subject), seen, &question)?.text;
                let described = words::description(aspect, &truth.scene, position).unwrap_or_default();
                let reference = questions::readable(&questions::description_answer(aspect, &name, &described));
                let item = Item { subject: subject.info.name.clone(), question, reference, answer };
                let (subject, company) = (number.to_string(), truth.scene.people.len() > 1);
                all.push(Described { subject, item, truth: described, aspect: index, company });
            }
        }
    }
    Ok(all)
}

/// The columns of a table of [`shares`].
pub const DESCRIPTION_COLUMNS: [&str; 8] = [
    "clothing",
    "action",
    "place",
    "look, details",
    "clothing, two people",
    "action, two people",
    "place, two people",
    "look, two people",
];

/// The shares of answers whose content is all right, and of right details of face and hair, alone and in company.
pub fn shares(described: &[Described]) -> Descriptions {
    let mut shares = Descriptions::default();
    for Described { item, truth, aspect, company, .. } in described {
        let share = &mut shares[*aspect][usize::from(*company)];
        match ASPECTS[*aspect] {
            Aspect::Face => truth.split(" , ").for_each(|detail| share.add(item.answer.contains(detail))),
            _ => share.add(sorted(&item.answer) == sorted(&item.reference)),
        }
    }
    shares
}

fn sorted(answer: &str) -> Vec<&str> {
    let bare = answer.split_whitespace().map(|word| word.trim_end_matches([',', '.']));
    let mut words: Vec<&str> = bare.filter(|word| !matches!(*word, "a" | "an")).collect();
    words.sort_unstable();
    words
}
