//! The questions and answers of the miniature language: lower case, punctuation as words, `{}` for the subject.

use std::collections::BTreeSet;

use pvchat_data::QaKind;
use serde::{Deserialize, Serialize};

/// The subjects that need no name: the lone person of a clip, and each of two.
pub const GENERIC_SUBJECTS: [&str; 3] = ["the person", "the person on the left", "the person on the right"];

const PAIR_QUESTIONS: [&str; 2] = ["are {} and {} in this video ?", "can you see {} and {} here ?"];
const YES: &str = "yes , {} is in the video .";
const NO: &str = "no , {} is not in the video .";
const REFUSAL: &str = "{} is not in the video .";
const PAIR_YES: &str = "yes , {} and {} are in the video .";
const PAIR_ONE: &str = "only {} is in the video .";
const PAIR_NO: &str = "no , {} and {} are not in the video .";

/// What a question asks about; the kinds of the dataset with appearance in two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aspect {
    /// Is the subject there?
    Existence,
    /// What does the subject wear?
    Clothing,
    /// What do face and hair look like?
    Face,
    /// What is the subject doing?
    Action,
    /// Where is the subject?
    Location,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Existence, Self::Clothing, Self::Face, Self::Action, Self::Location];
    /// Those that are answered with a description.
    pub const DESCRIPTIONS: [Self; 4] = [Self::Clothing, Self::Face, Self::Action, Self::Location];

    /// The kind of question in the dataset.
    pub fn kind(self) -> QaKind {
        match self {
            Self::Existence => QaKind::Existence,
            Self::Clothing | Self::Face => QaKind::Appearance,
            Self::Action => QaKind::Action,
            Self::Location => QaKind::Location,
        }
    }

    fn questions(self) -> &'static [&'static str] {
        match self {
            Self::Existence => &["is {} in this video ?", "can you see {} here ?", "does {} appear in the clip ?"],
            Self::Clothing => &["what is {} wearing ?", "describe the clothes of {} .", "which outfit does {} have on ?"],
            Self::Face => &["what does {} look like ?", "describe the face and hair of {} ."],
            Self::Action => &["what is {} doing ?", "describe the action of {} .", "which activity is {} busy with ?"],
            Self::Location => &["where is {} ?", "in which place is {} ?", "what is the location of {} ?"],
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Existence => YES,
            Self::Clothing => "{} is wearing a {} .",
            Self::Face => "{} has a {} .",
            Self::Action => "{} is {} .",
            Self::Location => "{} is in the {} .",
        }
    }
}

/// The number of wordings of a question.
pub fn variants(aspect: Aspect) -> usize {
    aspect.questions().len()
}

/// A question; `variant` counts round past the last wording.
///
/// ```
/// use pvchat_augment::questions::{Aspect, question};
/// assert_eq!(question(Aspect::Clothing, 1, "<Aa>"), "describe the clothes of <Aa> .");
/// ```
pub fn question(aspect: Aspect, variant: usize, subject: &str) -> String {
    fill(aspect.questions()[variant % variants(aspect)], &[subject])
}

/// The number of wordings of the question for two subjects.
pub fn pair_variants() -> usize {
    PAIR_QUESTIONS.len()
}

/// The question whether two subjects are there; `variant` counts round past the last wording.
pub fn pair_question(variant: usize, subjects: [&str; 2]) -> String {
    fill(PAIR_QUESTIONS[variant % PAIR_QUESTIONS.len()], &subjects)
}

/// The answer to an existence question.
pub fn existence_answer(subject: &str, present: bool) -> String {
    fill(if present { YES } else { NO }, &[subject])
}

/// The answer to a question for two subjects, of whom `present` says who is there.
pub fn pair_answer(subjects: [&str; 2], present: [bool; 2]) -> String {
    match present {
        [true, true] => fill(PAIR_YES, &subjects),
        [true, false] => fill(PAIR_ONE, &subjects[..1]),
        [false, true] => fill(PAIR_ONE, &subjects[1..]),
        [false, false] => fill(PAIR_NO, &subjects),
    }
}

/// The answer that describes a subject who is there: `waving`, `red striped hoodie`, `round face , tan skin`.
///
/// An existence question is answered with yes, whatever the description.
pub fn description_answer(aspect: Aspect, subject: &str, description: &str) -> String {
    fill(aspect.description(), &[subject, description])
}

/// The answer to any question about a subject who is not there.
pub fn absent_answer(aspect: Aspect, subject: &str) -> String {
    if aspect == Aspect::Existence { existence_answer(subject, false) } else { fill(REFUSAL, &[subject]) }
}

/// An answer of the miniature language as people write it: punctuation at its word, "an" before a vowel, and the words that
/// the language leaves out.
///
/// ```
/// use pvchat_augment::questions::readable;
/// assert_eq!(readable("<Aa> is wearing a orange coat ."), "<Aa> is wearing an orange coat.");
/// assert_eq!(readable("<Aa> is raising ."), "<Aa> is raising an arm.");
/// ```
pub fn readable(answer: &str) -> String {
    let tidied = pvchat_data::text::tidy(answer);
    let mut readable = String::with_capacity(tidied.len() + 8);
    let mut words = tidied.split(' ').peekable();
    while let Some(word) = words.next() {
        let before_vowel = words.peek().is_some_and(|next| next.starts_with(['a', 'e', 'i', 'o', 'u']));
        readable.push_str(match word {
            "a" if before_vowel => "an",
            "raising." => "raising an arm.",
            other => other,
        });
        if words.peek().is_some() {
            readable.push(' ');
        }
    }
    readable
}

/// Every word and punctuation mark of the templates and of [`GENERIC_SUBJECTS`], sorted; words of descriptions are the
/// caller's.
pub fn every_word() -> Vec<&'static str> {
    let aspects = Aspect::ALL.into_iter().flat_map(|aspect| aspect.questions().iter().copied().chain([aspect.description()]));
    let texts = aspects.chain(PAIR_QUESTIONS).chain([YES, NO, REFUSAL, PAIR_YES, PAIR_ONE, PAIR_NO]).chain(GENERIC_SUBJECTS);
    let words: BTreeSet<&str> = texts.flat_map(str::split_whitespace).filter(|word| *word != "{}").collect();
    words.into_iter().collect()
}

/// Puts the values in the places of a template.
fn fill(template: &str, values: &[&str]) -> String {
    let mut text = String::with_capacity(template.len() + 16);
    let mut values = values.iter();
    for (number, part) in template.split("{}").enumerate() {
        if number > 0 {
            text.push_str(values.next().unwrap_or(&""));
        }
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use Aspect::*;

    #[test]
    fn answers_read_as_the_language_has_them() {
        assert_eq!(existence_answer("<Aa>", true), "yes , <Aa> is in the video .");
        assert_eq!(absent_answer(Existence, "<Aa>"), "no , <Aa> is not in the video .");
        assert_eq!(absent_answer(Face, "<Aa>"), "<Aa> is not in the video .");
        assert_eq!(description_answer(Clothing, "<Aa>", "red plain suit"), "<Aa> is wearing a red plain suit .");
        let face = "round face , tan skin , green curly hair";
        assert_eq!(description_answer(Face, "the person", face), format!("the person has a {face} ."));
        assert_eq!(description_answer(Action, "<Aa>", "waving"), "<Aa> is waving .");
        assert_eq!(description_answer(Location, "<Aa>", "park"), "<Aa> is in the park .");
    }

    #[test]
    fn two_subjects_have_four_answers() {
        let both = ["<Aa>", "<Bb>"];
        assert_eq!(pair_question(2, both), "are <Aa> and <Bb> in this video ?");
        assert_eq!(pair_answer(both, [true, true]), "yes , <Aa> and <Bb> are in the video .");
        assert_eq!(pair_answer(both, [true, false]), "only <Aa> is in the video .");
        assert_eq!(pair_answer(both, [false, true]), "only <Bb> is in the video .");
        assert_eq!(pair_answer(both, [false, false]), "no , <Aa> and <Bb> are not in the video .");
    }

    #[test]
    fn every_word_covers_every_text() {
        let words = every_word();
        assert!(["yes", "no", ",", ".", "?", "only", "and", "left", "wearing"].iter().all(|word| words.contains(word)));
        let mut texts: Vec<String> = GENERIC_SUBJECTS.map(String::from).into();
        for aspect in Aspect::ALL {
            texts.extend((0..variants(aspect)).map(|variant| question(aspect, variant, "the person")));
            texts.extend([description_answer(aspect, "the person", "video"), absent_answer(aspect, "the person")]);
        }
        for present in [[true, true], [true, false], [false, false]] {
            texts.push(pair_answer(GENERIC_SUBJECTS[1..].try_into().unwrap_or(["", ""]), present));
        }
        for word in texts.iter().flat_map(|text| text.split(' ')) {
            assert!(words.contains(&word), "{word:?}");
        }
        assert!(words.is_sorted() && words.len() == 47, "{}", words.len());
    }
}
