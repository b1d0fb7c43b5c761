//! Whether a free answer to an existence question says that the subject is there.

use pvchat_data::SubjectName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an answer says about the presence of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// The subject is there.
    Present,
    /// The subject is not there.
    Absent,
    /// The answer leaves it open, or is about somebody else.
    Unknown,
}

impl fmt::Display for Presence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Present => "present",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
        })
    }
}

const CERTAINTY: [&str; 3] = ["without a doubt", "no doubt", "no question"];
const DOUBT: [&str; 9] =
    ["unsure", "not sure", "maybe", "perhaps", "possibly", "unclear", "cannot tell", "can't tell", "hard to say"];
/// The placeholder for the subject in a normalised answer.
const NAME: &str = "<\u{e000}>";
const CLAUSE_WORDS: [&str; 4] = ["but", "while", "although", "though"];
const NEGATIONS: [&str; 17] = [
    "no", "not", "cannot", "never", "none", "nobody", "neither", "nowhere", "without", "absent", "missing", "lack", "lacks",
    "lacking", "fail", "fails", "failed",
];

/// Reads an answer to an existence question.
///
/// 1. A plain reply at the start decides: yes, yeah, yep; no, nope.
/// 2. Otherwise the subject's token has to occur, else the answer is unknown.
/// 3. Phrases of certainty ("no doubt") are dropped; any phrase of doubt makes it unknown.
/// 4. In the first clause that holds the token (or its sentence, if the clause is the token alone)
/// 5. a word of negation says absent, anything else present.
pub fn presence(answer: &str, subject: &SubjectName) -> Presence {
    // Whatever the name says, it is a name.
    let (text, token) = (normalise(answer).replace(&normalise(&subject.to_string()), NAME), NAME);
    let opens_certain = ["no doubt", "no question"].iter().any(|phrase| text.starts_with(phrase));
    if !opens_certain {
        match first_word(&text) {
            "yes" | "yeah" | "yep" => return Presence::Present,
            "no" | "nope" => return Presence::Absent,
            _ => {}
        }
    }
    if !text.contains(token) {
        return Presence::Unknown;
    }
    let text = CERTAINTY.iter().fold(text, |text, phrase| remove_phrase(&text, phrase));
    if DOUBT.iter().any(|phrase| find_phrase(&text, phrase).is_some()) {
        return Presence::Unknown;
    }
    let Some(sentence) = text.split(['.', ';', '!', '?']).find(|sentence| sentence.contains(token)) else {
        return Presence::Unknown;
    };
    let clause = clauses(sentence).into_iter().find(|clause| clause.contains(token));
    let said = clause.filter(|clause| clause.trim() != token).unwrap_or_else(|| sentence.to_string());
    let negative = words(&said).any(|word| NEGATIONS.contains(&word) || word.ends_with("n't"));
    if negative { Presence::Absent } else { Presence::Present }
}

/// Straight apostrophes, lower case, single spaces.
fn normalise(text: &str) -> String {
    let text = text.replace(['\u{2018}', '\u{2019}', '\u{02bc}'], "'").to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first run of letters. A bracketed name is no reply, even if it spells one.
fn first_word(text: &str) -> &str {
    let start = text.trim_start_matches(|character: char| !character.is_alphabetic() && character != '<');
    let end = start.find(|character: char| !character.is_alphabetic()).unwrap_or(start.len());
    &start[..end]
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '\'').filter(|word| !word.is_empty())
}

/// Where a phrase occurs as whole words.
fn find_phrase(text: &str, phrase: &str) -> Option<usize> {
    let letter = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    text.match_indices(phrase)
        .map(|(start, _)| start)
        .find(|&start| !letter(text[..start].chars().next_back()) && !letter(text[start + phrase.len()..].chars().next()))
}

fn remove_phrase(text: &str, phrase: &str) -> String {
    let mut text = text.to_string();
    while let Some(start) = find_phrase(&text, phrase) {
        text.replace_range(start..start + phrase.len(), " ");
    }
    text
}

/// Cuts a sentence at commas and at the words that open a clause.
fn clauses(sentence: &str) -> Vec<String> {
    let mut clauses = Vec::new();
    for part in sentence.split(',') {
        let mut clause = String::new();
        for word in part.split_whitespace() {
            if CLAUSE_WORDS.contains(&word) {
                clauses.push(std::mem::take(&mut clause));
            } else {
                if !clause.is_empty() {
                    clause.push(' ');
                }
                clause.push_str(word);
            }
        }
        clauses.push(clause);
    }
    clauses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_whose_name_spells_a_reply_or_a_negation_is_read_by_the_sentence() {
        let no: SubjectName = "Yes".parse().unwrap();
        assert_eq!(presence("<Yes> is not in the clip.", &no), Presence::Absent);
        assert_eq!(presence("<Yes> walks by.", &no), Presence::Present);
        let never: SubjectName = "Missing But Never".parse().unwrap();
        assert_eq!(presence("<Missing But Never> walks by.", &never), Presence::Present);
        assert_eq!(presence("<Missing But Never> is not there.", &never), Presence::Absent);
    }

    #[test]
    fn odd_texts_do_not_break_the_reader() {
        let aa: SubjectName = "Aa".parse().unwrap();
        for text in ["<Aa>", "<Aa>,", "İ <Aa> İ", "....", "\u{2019}", "<aa", "no doubt", "no doubt no doubt <Aa>", "but <Aa> but"]
        {
            presence(text, &aa);
        }
        assert_eq!(presence("<Aa>, not there", &aa), Presence::Absent);
        assert_eq!(presence("No doubt.", &aa), Presence::Unknown);
    }
}
