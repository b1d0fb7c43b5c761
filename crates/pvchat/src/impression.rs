//! What a base takes a person for: words for the prompts of generators, only when somebody asks for them.

use pvchat_augment::generator::prompts::{AgeBand, Gender};
use pvchat_video::VideoReader;

use crate::{Choice, Describer, Pictures, Result, SeenPeople, describe, phrasebook};

/// What a base takes a person for, by one picture. It is a guess; nothing but the prompts of generators uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impression {
    /// The age; `None` where the base named none, or several.
    pub age: Option<AgeBand>,
    /// The gender; `None` where the base named none, or both.
    pub gender: Option<Gender>,
}

/// Words by which an answer names an age. Those for children come without "girl" and "boy", which are said of adults too.
const AGES: [(AgeBand, &[&str]); 4] = [
    (AgeBand::Child, &["child", "kid", "baby", "toddler"]),
    (AgeBand::Young, &["young"]),
    (AgeBand::MiddleAged, &["middle-aged", "middle aged"]),
    (AgeBand::Elderly, &["elderly", "old", "senior"]),
];
const GENDERS: [(Gender, &[&str]); 2] =
    [(Gender::Female, &["female", "woman", "girl", "lady"]), (Gender::Male, &["male", "man", "boy", "gentleman"])];

const ASKED_AGE: &str =
    "Is the person in the last picture a child, young, middle-aged or elderly? Answer with one of these words.";
const ASKED_GENDER: &str = "Does the person in the last picture look female or male? Answer with one word.";

impl Impression {
    /// Asks a base about the best frame of somebody in a clip, and about the person in it alone.
    ///
    /// # Errors
    /// As [`People::enrol`](crate::People::enrol) for the choice of the person, [`Error::Video`](crate::Error::Video), and whatever
    /// keeps the describer from answering.
    pub fn of(seen: &SeenPeople, choice: Option<Choice>, describer: &mut dyn Describer) -> Result<Self> {
        let candidate = seen.choose(seen.candidates(), choice, "ask about footage that shows a face")?;
        let (bounds, second) = candidate.best;
        let frame = VideoReader::open(&seen.source)?.frame_at(second)?.image;
        let person = describe::body(&frame, &bounds);
        let pictures = Pictures {
            key: &format!("{} {}", seen.sha256, candidate.number),
            frames: &[frame],
            seconds: &[second],
            duration: if seen.is_picture { 0.0 } else { seen.duration.unwrap_or(second) },
            person: describer.sees_pictures().then_some(&person),
        };
        let mut ask = |question: &str| describer.describe(&pictures, question);
        let age = phrasebook::one_of(&ask(ASKED_AGE)?, &AGES);
        Ok(Self { age, gender: phrasebook::one_of(&ask(ASKED_GENDER)?, &GENDERS) })
    }
}
