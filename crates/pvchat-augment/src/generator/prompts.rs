//! What generators are asked to show: scenes of people by age band, gender, theme and place.
//!
//! The texts are this project's own; their numbers are those of the published library, 461 in all, see [`library`]. A scene is
//! somebody who does something somewhere. Apart from that, a scene names only the age and gender of the person, and only if the
//! user states them: without them, [`of`] gives the scenes of adults and says "a person".

use std::{fmt, str::FromStr};

use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use super::scenes::{SCENES, Scenes};

/// An age, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgeBand {
    /// A child.
    Child,
    /// A young adult.
    Young,
    /// Somebody in the middle of life.
    MiddleAged,
    /// Somebody old.
    Elderly,
}

/// A gender that prompts can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gender {
    /// A girl or woman.
    Female,
    /// A boy or man.
    Male,
}

impl AgeBand {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Child, Self::Young, Self::MiddleAged, Self::Elderly];

    /// Its name, as a program takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Child => "child",
            Self::Young => "young",
            Self::MiddleAged => "middle-aged",
            Self::Elderly => "elderly",
        }
    }
}

impl Gender {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Female, Self::Male];

    /// Its name, as a program takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Female => "female",
            Self::Male => "male",
        }
    }
}

impl fmt::Display for AgeBand {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str(self.name())
    }
}

impl fmt::Display for Gender {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str(self.name())
    }
}

impl FromStr for AgeBand {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|band| band.name() == name);
        known.ok_or_else(|| format!("`{name}` is no age band; give child, young, middle-aged or elderly"))
    }
}

impl FromStr for Gender {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|gender| gender.name() == name);
        known.ok_or_else(|| format!("`{name}` is no gender that prompts can name; give female or male, or leave it out"))
    }
}

/// What a generator is asked to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// The text, 40 to 66 words.
    pub text: String,
    /// The word for the person in it, such as `woman` or `person`.
    pub noun: String,
    /// What the scene is about.
    pub theme: String,
    /// Where it is set.
    pub place: String,
    /// What the person does.
    pub activity: String,
}

/// What is not to be seen in any clip.
pub const NEGATIVE: &str = "several people, somebody in the background, a hidden face, a face turned away, closed eyes, sunglasses, \
    a mask, a deformed face, deformed hands, extra limbs, text, a watermark, a drawing, a cartoon, flicker, blur, a cut, low quality";

/// Light and camera of scenes, in turn.
const LIGHT: [&str; 5] = [
    "Soft light from a large window falls on the face.",
    "Warm evening light lies evenly on the face.",
    "Even daylight leaves no hard shadows on the face.",
    "Bright and friendly light comes from slightly above.",
    "Calm light from the side shapes the features gently.",
];
const CAMERA: [&str; 4] = [
    "The camera stands still and shows head and upper body.",
    "The camera comes a little closer from the front.",
    "The camera glides slowly aside at eye level.",
    "A steady picture shows the person from the waist up.",
];
/// Asks for the face of the reference, as the published library does in its used version.
const FACE: &str = "The face is that of the reference picture, clearly visible from the front the whole time.";

impl Scenes {
    /// The prompts, the first of which is number `first` of all.
    fn prompts(&self, age: Option<AgeBand>, gender: Option<Gender>, first: usize) -> impl Iterator<Item = Prompt> + '_ {
        let (person, noun) = person(age, gender);
        self.activities.iter().enumerate().map(move |(number, activity)| {
            let place = first + number;
            let (light, camera) = (LIGHT[place % LIGHT.len()], CAMERA[place % CAMERA.len()]);
            let text = format!("{person} {activity} {}. {}. {light} {camera} {FACE}", self.place, self.around);
            Prompt { text, noun: noun.into(), theme: self.theme.into(), place: self.place.into(), activity: (*activity).into() }
        })
    }
}

/// How a person is spoken of, and the noun in it.
fn person(age: Option<AgeBand>, gender: Option<Gender>) -> (&'static str, &'static str) {
    use {AgeBand::*, Gender::*};
    match (age, gender) {
        (None, None) => ("A person", "person"),
        (None, Some(Female)) => ("A woman", "woman"),
        (None, Some(Male)) => ("A man", "man"),
        (Some(Child), None) => ("A child", "child"),
        (Some(Child), Some(Female)) => ("A little girl", "girl"),
        (Some(Child), Some(Male)) => ("A little boy", "boy"),
        (Some(Young), None) => ("A young person", "person"),
        (Some(Young), Some(Female)) => ("A young woman", "woman"),
        (Some(Young), Some(Male)) => ("A young man", "man"),
        (Some(MiddleAged), None) => ("A middle-aged person", "person"),
        (Some(MiddleAged), Some(Female)) => ("A middle-aged woman", "woman"),
        (Some(MiddleAged), Some(Male)) => ("A middle-aged man", "man"),
        (Some(Elderly), None) => ("An elderly person", "person"),
        (Some(Elderly), Some(Female)) => ("An elderly woman", "woman"),
        (Some(Elderly), Some(Male)) => ("An elderly man", "man"),
    }
}

/// The prompts of an age band and gender, as many as the published library has: of boys and men 96 as children, 81 young, 30
/// middle-aged and 30 elderly, of girls and women 68, 78, 54 and 24.
pub fn library(age: AgeBand, gender: Gender) -> Vec<Prompt> {
    of(Some(age), Some(gender))
}

/// The prompts for what is known of a person. Without an age, the scenes of young and middle-aged people; without a gender, those
/// of both; and the words name neither.
pub fn of(age: Option<AgeBand>, gender: Option<Gender>) -> Vec<Prompt> {
    in_scenes_of(age, gender, age, gender)
}

/// The prompts that [`of`] gives, in the same scenes and the same order, of a person of whom nothing is said: for strangers, so
/// that no scene reveals who it is.
pub fn of_strangers(age: Option<AgeBand>, gender: Option<Gender>) -> Vec<Prompt> {
    in_scenes_of(age, gender, None, None)
}

fn in_scenes_of(
    age: Option<AgeBand>,
    gender: Option<Gender>,
    said_age: Option<AgeBand>,
    said_gender: Option<Gender>,
) -> Vec<Prompt> {
    let fits = |scenes: &&Scenes| {
        let same_age = match age {
            Some(age) => scenes.age == age,
            None => matches!(scenes.age, AgeBand::Young | AgeBand::MiddleAged),
        };
        same_age && (gender.is_none() || scenes.only.is_none() || scenes.only == gender)
    };
    let mut prompts = Vec::new();
    for scenes in SCENES.iter().filter(fits) {
        let first = prompts.len();
        prompts.extend(scenes.prompts(said_age, said_gender, first));
    }
    prompts
}

/// Which of `total` prompts are used: `count` different ones, drawn; all of them again where there are fewer.
pub fn choose(total: usize, count: usize, stream: &SeededStream) -> Vec<usize> {
    let mut stream = stream.derive("prompts");
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count && total > 0 {
        chosen.extend(stream.sample(total, count - chosen.len()));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_library_has_the_published_counts_and_every_text_is_its_own() {
        let counts = |gender: Gender| AgeBand::ALL.map(|age| library(age, gender).len());
        assert_eq!(counts(Gender::Male), [96, 81, 30, 30]);
        assert_eq!(counts(Gender::Female), [68, 78, 54, 24]);
        let mut texts = BTreeSet::new();
        for (age, gender) in AgeBand::ALL.into_iter().flat_map(|age| Gender::ALL.map(|gender| (age, gender))) {
            for prompt in library(age, gender) {
                let words = prompt.text.split_whitespace().count();
                assert!((40..=66).contains(&words), "{words} words: {}", prompt.text);
                assert_eq!(prompt.text.matches(&format!("{} {}", prompt.noun, prompt.activity)).count(), 1, "{}", prompt.text);
                assert!(texts.insert(prompt.text.clone()), "{}", prompt.text);
                let back: Prompt = serde_json::from_str(&serde_json::to_string(&prompt).unwrap()).unwrap();
                assert_eq!(back, prompt);
            }
        }
        assert_eq!(texts.len(), 461);
    }

    #[test]
    fn nothing_is_said_of_a_person_that_is_not_given_and_strangers_have_the_same_scenes() {
        let said = ["child", "boy", "girl", "young", "woman", "middle-aged", "elderly", "himself", "herself"];
        for (age, gender) in [(None, None), (Some(AgeBand::Elderly), Some(Gender::Male))] {
            let (ours, strangers) = (of(age, gender), of_strangers(age, gender));
            assert_eq!(ours.len(), strangers.len());
            for (one, other) in ours.iter().zip(&strangers) {
                assert_eq!((&one.place, &one.activity), (&other.place, &other.activity));
                assert!(said.iter().all(|word| !other.text.contains(word)), "{}", other.text);
                assert!(other.text.starts_with("A person "));
            }
        }
    }

    #[test]
    fn the_choice_follows_from_the_seed() {
        let stream = SeededStream::new(4);
        let chosen = choose(81, 10, &stream);
        assert_eq!(chosen, choose(81, 10, &stream));
        assert_ne!(chosen, choose(81, 10, &SeededStream::new(5)));
        assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 10);
        assert_eq!(choose(3, 8, &stream).len(), 8);
        assert!(choose(0, 8, &stream).is_empty());
    }
}
