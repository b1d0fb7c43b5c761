//! Maps what people type to the words of a base that understands no others (no free wording).

use pvchat_augment::{Aspect, free_text, questions};
use pvchat_model::subject::Subject;

use crate::Result;

const CAN_BE_ASKED: &str =
    "ask whether <Aa> is in the video, what <Aa> is wearing, what <Aa> looks like, what <Aa> is doing or where <Aa> is";

/// The question in a wording that the base was trained on; `names` are the subjects in it, out of `subjects`.
///
/// # Errors
/// [`pvchat_model::Error::Text`] for a question that the base cannot answer: it would say anything.
pub(crate) fn known_wording(question: &str, names: &[String], subjects: &[Subject]) -> Result<String> {
    let tidy = free_text::normalise_question(question);
    let refused = |problem: String| {
        let value = question.chars().take(60).collect();
        Err(pvchat_model::Error::Text { what: "question", value, problem }.into())
    };
    if let Some(stranger) = free_text::subject_tokens(&tidy).find(|token| !names.iter().any(|name| name == token)) {
        let known: Vec<String> = subjects.iter().map(|subject| subject.info.name.to_string()).collect();
        let known = if known.is_empty() { "nobody".to_string() } else { known.join(" ") };
        return refused(format!("names {stranger}, who is not known here; known: {known}"));
    }
    let words = format!(" {tidy} ");
    let bare = |subject: &&Subject| words.contains(&format!(" {} ", subject.info.name.bare().to_lowercase()));
    if let Some(subject) = subjects.iter().find(bare).filter(|_| names.is_empty()) {
        return refused(format!("names somebody without angle brackets; write {}", subject.info.name));
    }
    const ASKED_FOR: [&[&str]; 3] = [&["wearing", "wear", "dressed"], &["doing"], &["where", "place"]];
    let asks_for = |cues: &&&[&str]| cues.iter().any(|cue| words.contains(&format!(" {cue} ")));
    if ASKED_FOR.iter().filter(asks_for).count() > 1 {
        return refused("asks several things; ask one at a time".into());
    }
    let aspect = free_text::classify(&tidy);
    match (names, aspect) {
        (_, None) => refused(format!("asks for nothing that this model knows; {CAN_BE_ASKED}")),
        ([], Some(Aspect::Existence)) => refused("names nobody; write the name of a known person in angle brackets: <Aa>".into()),
        ([], Some(aspect)) => {
            let generic = questions::GENERIC_SUBJECTS.iter().rev().find(|generic| tidy.contains(*generic));
            Ok(wording(tidy.as_str(), aspect, generic.copied().unwrap_or(questions::GENERIC_SUBJECTS[0])))
        }
        ([one], Some(aspect)) => Ok(wording(&tidy, aspect, one)),
        ([one, other], Some(Aspect::Existence)) => {
            let both = [one.as_str(), other.as_str()];
            let is_known = (0..questions::pair_variants()).any(|variant| questions::pair_question(variant, both) == tidy);
            Ok(if is_known { tidy } else { questions::pair_question(0, both) })
        }
        (several, _) => {
            let count = several.len();
            refused(format!("is about {count} people; ask about one of them, or whether two of them are in the video"))
        }
    }
}

/// The question if it is one of the wordings about this subject, else the first of them.
fn wording(question: &str, aspect: Aspect, subject: &str) -> String {
    let mut known = (0..questions::variants(aspect)).map(|variant| questions::question(aspect, variant, subject));
    let first = known.next().unwrap_or_default();
    if known.any(|known| known == question) { question.to_string() } else { first }
}
