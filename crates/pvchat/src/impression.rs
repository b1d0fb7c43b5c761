//! A base's guess of somebody's age and gender: words for the prompts of generators, only when somebody asks for them.

use pvchat_augment::generator::prompts::{AgeBand, Gender};
use pvchat_video::VideoReader;

use crate::{Choice, Describer, Pictures, Result, SeenPeople, describe, phrasebook};

/// Words by which an answer names an age. Those for children lack "girl" and "boy", which are said of adults too; "old" alone is a
/// part of "25 years old".
const AGES: [(AgeBand, &[&str]); 4] = [
    (AgeBand::Child, &["child", "kid", "baby", "toddler"]),
    (AgeBand::Young, &["young"]),
    (AgeBand::MiddleAged, &["middle-aged", "middle aged"]),
    (AgeBand::Elderly, &["elderly", "an old", "senior"]),
];
const GENDERS: [(Gender, &[&str]); 2] =
    [(Gender::Female, &["female", "woman", "girl", "lady"]), (Gender::Male, &["male", "man", "boy", "gentleman"])];

/// What a base takes a person for, by the best frame of the person in a clip. These are guesses; nothing but the prompts of
/// generators uses them.
pub struct Impression<'a> {
    describer: &'a mut dyn Describer,
    key: String,
    person: image::RgbImage,
}

impl<'a> Impression<'a> {
    /// Cuts somebody in a clip out, for a base to be asked about.
    ///
    /// # Errors
    /// As [`People::enrol`](crate::People::enrol) for the choice of the person, and [`Error::Video`](crate::Error::Video).
    pub fn new(seen: &SeenPeople, choice: Option<Choice>, describer: &'a mut dyn Describer) -> Result<Self> {
        let candidate = seen.choose(seen.candidates(), choice, "ask about footage that shows a face")?;
        let (bounds, second) = candidate.best;
        let frame = VideoReader::open(&seen.source)?.frame_at(second)?.image;
        let key = format!("{} {}", seen.sha256, candidate.number);
        Ok(Self { describer, key, person: describe::body(&frame, &bounds) })
    }

    /// The age; `None` where the base names none, or several.
    ///
    /// # Errors
    /// Whatever keeps the describer from answering.
    pub fn age(&mut self) -> Result<Option<AgeBand>> {
        let question = "Is this person a child, young, middle-aged or elderly? Answer with one of these words.";
        Ok(phrasebook::one_of(&self.ask(question)?, &AGES))
    }

    /// The gender; `None` where the base names none, or both.
    ///
    /// # Errors
    /// Whatever keeps the describer from answering.
    pub fn gender(&mut self) -> Result<Option<Gender>> {
        Ok(phrasebook::one_of(&self.ask("Does this person look female or male? Answer with one word.")?, &GENDERS))
    }

    /// The person alone is all that the base sees, as a frame: not every base takes pictures beside frames.
    fn ask(&mut self, question: &str) -> Result<String> {
        let (key, frames) = (self.key.as_str(), std::slice::from_ref(&self.person));
        let pictures = Pictures { key, frames, seconds: &[0.0], duration: 0.0, is_photo: false, person: None };
        self.describer.describe(&pictures, question)
    }
}
