//! A user's own wording of a question: brought to the form of the miniature language, and understood by its words.

use pvchat_data::SubjectName;

use crate::questions::Aspect;

/// Endings that begin with an apostrophe and stay in one piece.
const APOSTROPHE: char = '\'';

/// Rewrites a freely typed question in the form of the templates.
///
/// Everything but subject tokens such as `<Aa>` becomes lower case, punctuation stands apart, runs of blanks and of the
/// same punctuation mark shrink to one, "what's" becomes "what is", and a missing final mark is added.
///
/// ```
/// use pvchat_augment::free_text::normalise_question;
/// assert_eq!(normalise_question("What's  <Aa> doing??"), "what is <Aa> doing ?");
/// ```
pub fn normalise_question(text: &str) -> String {
    let mut words = split(text);
    if let Some(last) = words.last()
        && !matches!(last.as_str(), "?" | "." | "!")
    {
        let order = words.first().is_some_and(|first| matches!(first.as_str(), "describe" | "tell" | "show" | "name"));
        words.push(if order { ".".into() } else { "?".into() });
    }
    words.join(" ")
}

/// Finds what a question in any wording asks about: the first decisive word counts. `None` when there is none.
///
/// A question with both a telling word and words of existence ("what is the person doing in this video") asks for the former.
///
/// ```
/// use pvchat_augment::{free_text::classify, questions::Aspect};
/// assert_eq!(classify("Which clothes does <Aa> wear today?"), Some(Aspect::Clothing));
/// ```
pub fn classify(question: &str) -> Option<Aspect> {
    let words = split(question);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let yes_no = matches!(words.first().copied(), Some("is" | "are" | "was" | "can" | "could" | "do" | "does" | "did"));
    // "what does <Aa> do ?" against "what does <Aa> look like ?": a bare "do" decides only at the end.
    let ends_with_do = !yes_no && words.iter().rev().find(|word| word.chars().any(char::is_alphanumeric)) == Some(&"do");
    words
        .iter()
        .find_map(|word| telling(word))
        .or(ends_with_do.then_some(Aspect::Action))
        .or_else(|| words.iter().any(|word| asks_existence(word)).then_some(Aspect::Existence).filter(|_| yes_no))
}

fn telling(word: &str) -> Option<Aspect> {
    Some(match word {
        "wear" | "wears" | "wearing" | "worn" | "clothes" | "clothing" | "cloth" | "outfit" | "dressed" | "garment"
        | "garments" | "attire" => Aspect::Clothing,
        "look" | "looks" | "face" | "hair" | "hairstyle" | "haircut" | "appearance" | "eyes" | "skin" | "beard" | "glasses" => {
            Aspect::Face
        }
        "doing" | "action" | "actions" | "activity" | "busy" | "happening" | "happens" => Aspect::Action,
        "where" | "place" | "location" | "located" | "setting" | "surroundings" | "background" => Aspect::Location,
        _ => return None,
    })
}

fn asks_existence(word: &str) -> bool {
    matches!(
        word,
        "see" | "find" | "spot" | "appear" | "appears" | "present" | "visible" | "shown" | "here" | "there" | "video" | "clip"
    )
}

/// Words and punctuation marks in order.
fn split(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(subject) = subject_token(rest) {
            finish(&mut word, &mut words);
            words.push(subject.into());
            rest = &rest[subject.len()..];
            continue;
        }
        rest = &rest[character.len_utf8()..];
        if character.is_whitespace() {
            finish(&mut word, &mut words);
        } else if character.is_alphanumeric() || matches!(character, '-' | APOSTROPHE | '_') {
            word.extend(character.to_lowercase());
        } else if character == '’' {
            word.push(APOSTROPHE);
        } else {
            finish(&mut word, &mut words);
            let mark = character.to_string();
            if words.last() != Some(&mark) {
                words.push(mark);
            }
        }
    }
    finish(&mut word, &mut words);
    words
}

/// The subject token that the text begins with: a name in angle brackets.
fn subject_token(text: &str) -> Option<&str> {
    let token = &text[..=text.strip_prefix('<')?.find('>')? + 1];
    token.parse::<SubjectName>().is_ok().then_some(token)
}

/// The subject tokens of a text, in order.
///
/// ```
/// use pvchat_augment::free_text::subject_tokens;
/// assert_eq!(subject_tokens("is <Li Wei> with <Aa>?").collect::<Vec<_>>(), ["<Li Wei>", "<Aa>"]);
/// ```
pub fn subject_tokens(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('<').filter_map(|(start, _)| subject_token(&text[start..]))
}

/// Ends a word; of "what's" and "where's" it makes two, of other words in "'s" a word and its ending.
fn finish(word: &mut String, words: &mut Vec<String>) {
    let bare = word.trim_matches(['-', '_']);
    if let Some(stem) = bare.strip_suffix("'s") {
        let asking = matches!(stem, "what" | "where" | "who" | "how");
        if !stem.is_empty() {
            words.push(stem.into());
        }
        words.push(if asking { "is".into() } else { "'s".into() });
    } else if !bare.trim_matches(APOSTROPHE).is_empty() {
        words.push(bare.trim_matches(APOSTROPHE).into());
    }
    word.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::questions::{GENERIC_SUBJECTS, pair_question, pair_variants, question, variants};

    #[test]
    fn free_typing_takes_the_form_of_the_templates() {
        for (typed, expected) in [
            ("What is <Aa> doing?", "what is <Aa> doing ?"),
            ("  IS\t<Aa>  in this video", "is <Aa> in this video ?"),
            ("Describe the clothes of <Bob9>", "describe the clothes of <Bob9> ."),
            ("Describe the face,and hair of <Aa>.", "describe the face , and hair of <Aa> ."),
            ("Where’s <Aa>?!", "where is <Aa> ? !"),
            ("What color is <Aa>'s hair???", "what color is <Aa> 's hair ?"),
            ("is<Aa>here?", "is <Aa> here ?"),
            ("can 'you' see a look-alike?", "can you see a look-alike ?"),
            ("1 < 2 <>", "1 < 2 < > ?"),
            ("<Zoë> où?", "<Zoë> où ?"),
            ("Is <Anna-Maria O'Neil> THERE?", "is <Anna-Maria O'Neil> there ?"),
            ("<Aa", "< aa ?"),
            ("", ""),
            (" \n", ""),
        ] {
            assert_eq!(normalise_question(typed), expected, "{typed:?}");
            assert_eq!(normalise_question(expected), expected, "twice");
        }
    }

    #[test]
    fn templates_are_their_own_form_and_say_what_they_ask() {
        for subject in GENERIC_SUBJECTS.into_iter().chain(["<Aa>"]) {
            for aspect in Aspect::ALL {
                for variant in 0..variants(aspect) {
                    let text = question(aspect, variant, subject);
                    assert_eq!(normalise_question(&text), text);
                    assert_eq!(classify(&text), Some(aspect), "{text}");
                }
            }
        }
        for variant in 0..pair_variants() {
            assert_eq!(classify(&pair_question(variant, ["<Aa>", "<Bb>"])), Some(Aspect::Existence));
        }
    }

    #[test]
    fn other_wordings_are_understood_by_their_words() {
        for (text, aspect) in [
            ("Is there <Aa>?", Some(Aspect::Existence)),
            ("Do you see <Aa> anywhere?", Some(Aspect::Existence)),
            ("Which clothes does <Aa> wear?", Some(Aspect::Clothing)),
            ("How is <Aa> dressed?", Some(Aspect::Clothing)),
            ("What's <Aa>'s hair like?", Some(Aspect::Face)),
            ("Does <Aa> have glasses?", Some(Aspect::Face)),
            ("What does <Aa> do?", Some(Aspect::Action)),
            ("What is <Aa> doing in this video?", Some(Aspect::Action)),
            ("Where can you see <Aa>?", Some(Aspect::Location)),
            ("In what setting is <Aa>?", Some(Aspect::Location)),
            ("Who wrote this?", None),
            ("", None),
        ] {
            assert_eq!(classify(text), aspect, "{text}");
        }
    }
}
