//! Whether two sentences about a person say the same.

/// Words that are no fact, and those for the person, of whom both sentences speak.
const EMPTY: [&str; 55] = [
    "a",
    "an",
    "the",
    "this",
    "that",
    "these",
    "those",
    "it",
    "its",
    "he",
    "she",
    "him",
    "her",
    "his",
    "hers",
    "himself",
    "herself",
    "they",
    "them",
    "their",
    "theirs",
    "person",
    "man",
    "woman",
    "boy",
    "girl",
    "lady",
    "gentleman",
    "guy",
    "individual",
    "subject",
    "who",
    "whom",
    "which",
    "is",
    "are",
    "was",
    "were",
    "be",
    "been",
    "being",
    "has",
    "have",
    "had",
    "having",
    "and",
    "also",
    "there",
    "of",
    "to",
    "appears",
    "seems",
    "appear",
    "seem",
    "s",
];
/// Words for the person that a name takes the place of.
const PRONOUNS: [&str; 8] = ["he", "she", "him", "her", "his", "hers", "himself", "herself"];

/// The words of a text in lower case.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// What is left of a word without its ending: "wearing", "wears" and "wear" are one fact.
fn stem(word: &str) -> String {
    let mut stem = word;
    for ending in ["ing", "ed", "es", "s"] {
        let rest = stem.strip_suffix(ending).filter(|rest| rest.len() >= 3 && !rest.ends_with('s'));
        if let Some(rest) = rest {
            stem = rest;
            break;
        }
    }
    let stem = stem.strip_suffix('e').filter(|rest| rest.len() >= 3).unwrap_or(stem);
    let mut letters: Vec<char> = stem.chars().collect();
    if letters.len() > 3 && letters[letters.len() - 1] == letters[letters.len() - 2] {
        letters.pop();
    }
    letters.into_iter().collect()
}

/// What a sentence says, as stems of the words that say something. Their order says which belongs to which.
fn facts(text: &str, subject: &str) -> Vec<String> {
    let text = text.replace(subject, " ");
    words(&text).filter(|word| !EMPTY.contains(&word.as_str())).map(|word| stem(&word)).collect()
}

/// Whether a sentence that was rewritten says what it said before, no more and no less, of the person by name alone.
pub(super) fn is_faithful(before: &str, after: &str, subject: &str) -> bool {
    let is_named = after.contains(subject) && words(after).all(|word| !PRONOUNS.contains(&word.as_str()));
    is_named && !after.contains(['\n', '\r']) && facts(before, subject) == facts(after, subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_words_for_the_person_are_no_other_facts_and_everything_else_is() {
        let before = "The man is wearing a red shirt and he smiles.";
        let is_faithful = |after: &str| is_faithful(before, after, "<Aa>");
        assert!(is_faithful("<Aa> wears a red shirt and <Aa> is smiling."));
        assert!(is_faithful("<Aa> is wearing a red shirt and smiles."));
        for after in [
            "<Aa> is wearing a blue shirt and smiles.",
            "<Aa> is wearing a shirt and smiles.",
            "<Aa> is not wearing a red shirt and smiles.",
            "<Aa> is wearing a shirt and smiles red.",
            "<Aa> is wearing a red shirt and smiles at two dogs.",
            "<Aa> is wearing a red shirt and he smiles.",
            "The man is wearing a red shirt and smiles.",
            "Sure!\n<Aa> is wearing a red shirt and smiles.",
        ] {
            assert!(!is_faithful(after), "{after}");
        }
        assert_eq!(
            ["sitting", "sits", "sit", "dresses", "dress", "smile", "smiling"].map(stem),
            ["sit", "sit", "sit", "dres", "dres", "smil", "smil"]
        );
    }
}
