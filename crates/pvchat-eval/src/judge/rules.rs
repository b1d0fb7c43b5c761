//! A judge without a language model: rules on words.

use std::collections::BTreeSet;

use super::{Criterion, HIGHEST, Item, Judge, Mark};
use crate::{
    Result,
    presence::{Presence, presence},
};

/// Scores by rules on words: whether the subject is named, and how many of the reference's words the answer has. A stand-in
/// where no language model can be asked; its scores are not comparable with those of a language model, and its name says what it
/// is.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuleJudge;

/// Wording for anybody.
const GENERIC: [&str; 12] =
    ["person", "man", "woman", "child", "someone", "somebody", "people", "individual", "figure", "character", "boy", "girl"];
/// Words that refer to somebody who was named before.
const PRONOUNS: [&str; 9] = ["he", "she", "they", "his", "her", "their", "him", "them", "hers"];
/// Words that describe nothing.
const EMPTY: [&str; 28] = [
    "a", "an", "the", "is", "are", "was", "were", "be", "in", "on", "at", "of", "and", "with", "has", "have", "it", "this",
    "that", "to", "yes", "no", "not", "video", "wearing", "doing", "there", "here",
];

impl Judge for RuleJudge {
    fn name(&self) -> String {
        "rules on words (no language model)".into()
    }

    fn mark(&self, criterion: Criterion, item: &Item) -> Result<Mark> {
        let said = [&item.reference, &item.answer].map(|text| presence(text, &item.subject));
        let contradicts = matches!(said, [Presence::Present, Presence::Absent] | [Presence::Absent, Presence::Present]);
        let (mark, reason) = if contradicts {
            (0, "contradicts the reference on whether the subject is there".to_string())
        } else {
            match criterion {
                Criterion::EntitySpecificity => specificity(item),
                Criterion::DescriptiveCompleteness => completeness(item),
            }
        };
        Ok(Mark { criterion, mark, reason, judge: self.name() })
    }
}

fn specificity(item: &Item) -> (u8, String) {
    let named = item.answer.to_lowercase().contains(&item.subject.to_string().to_lowercase());
    let answer = words(&item.answer, item);
    let has = |list: &[&str]| list.iter().any(|word| answer.contains(*word));
    let (mark, reason) = match (named, has(&GENERIC), has(&PRONOUNS)) {
        (true, false, _) => (HIGHEST, "names the subject"),
        (true, true, _) => (4, "names the subject, with generic wording beside it"),
        (false, _, true) => (3, "only a pronoun for the subject"),
        (false, true, false) => (2, "generic wording only"),
        (false, false, false) => (1, "would fit anyone"),
    };
    (mark, reason.into())
}

fn completeness(item: &Item) -> (u8, String) {
    let describes = |text: &str| {
        let mut all = words(text, item);
        all.retain(|word| !EMPTY.contains(&word.as_str()));
        all
    };
    let (wanted, given) = (describes(&item.reference), describes(&item.answer));
    if wanted.is_empty() {
        let said = presence(&item.answer, &item.subject) != Presence::Unknown;
        return if said { (HIGHEST, "says whether the subject is there".into()) } else { (1, "does not answer".into()) };
    }
    let found = wanted.intersection(&given).count();
    let mark = match found as f64 / wanted.len() as f64 {
        all if all >= 1.0 => HIGHEST,
        most if most >= 0.75 => 4,
        some if some >= 0.5 => 3,
        few if few > 0.0 => 2,
        _ => 1,
    };
    (mark, format!("{found} of {} describing words of the reference", wanted.len()))
}

/// The words of a text in lower case, without the subject's name.
fn words(text: &str, item: &Item) -> BTreeSet<String> {
    let text = text.to_lowercase().replace(&item.subject.to_string().to_lowercase(), " ");
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::item, *};

    #[test]
    fn marks_follow_the_scale() {
        let reference = "<Aa> is wearing a red striped hoodie .";
        let mark = |criterion, answer: &str| RuleJudge.mark(criterion, &item(reference, answer)).unwrap().mark;
        let both = |answer: &str| {
            [Criterion::EntitySpecificity, Criterion::DescriptiveCompleteness].map(|criterion| mark(criterion, answer))
        };
        assert_eq!(both("<Aa> is wearing a red striped hoodie ."), [5, 5]);
        assert_eq!(both("<Aa> is a man in a red hoodie ."), [4, 3]);
        assert_eq!(both("She wears something striped ."), [3, 2]);
        assert_eq!(both("the person wears a blue coat ."), [2, 1]);
        assert_eq!(both("red striped hoodie"), [1, 5]);
        assert_eq!(both("<Aa> is not in the video ."), [0, 0]);
    }

    #[test]
    fn it_says_that_it_is_no_language_model() {
        assert!(RuleJudge.name().contains("no language model"));
        let mark = RuleJudge.mark(Criterion::EntitySpecificity, &item("", "")).unwrap();
        assert_eq!(mark.judge, RuleJudge.name());
    }
}
