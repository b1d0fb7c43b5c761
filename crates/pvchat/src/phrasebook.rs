//! Replaces names by the words of a language model, and back.

/// What a person is called to a model that is shown the person's picture last.
const PERSON: &str = "the person in the last picture";
/// What models call that person, the longest first.
const CALLED: [&str; 4] = [PERSON, "the person in the picture", "the person", "this person"];
/// How sentences about a person begin that do not say so.
const BEGINNINGS: [&str; 10] =
    ["he is", "she is", "they are", "the man", "the woman", "the boy", "the girl", "a man", "a woman", "a person"];
/// Words for somebody who was named before.
const PRONOUNS: [&str; 5] = ["she", "he", "they", "him", "her"];

/// Whether a question that names nobody is about the person named before: "what is she doing?", "and what colour?". Others are
/// about the footage: "where was this filmed?"
pub fn refers(question: &str) -> bool {
    const OF_THEIRS: [&str; 5] = ["his", "hers", "their", "theirs", "them"];
    let mut words = question.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).peekable();
    let is_one = |word: &str| PRONOUNS.iter().chain(&OF_THEIRS).any(|one| one.eq_ignore_ascii_case(word));
    words.peek().is_some_and(|first| first.eq_ignore_ascii_case("and")) || words.any(is_one)
}

/// A question about somebody, for a model that knows no names but sees the person's picture last.
///
/// ```
/// use pvchat::phrasebook;
/// let asked = phrasebook::question("What is <Aa> wearing?", "Aa", true);
/// assert!(asked.contains("What is the person in the last picture wearing?"));
/// assert_eq!(phrasebook::answer(" The person is wearing a red shirt.", "Aa"), "Aa is wearing a red shirt.");
/// ```
pub fn question(question: &str, name: &str, is_shown: bool) -> String {
    let person = if is_shown { PERSON } else { "the person" };
    let mut asked = replaced(&question.replace(&format!("<{name}>"), name), name, person, false);
    if !asked.contains(person) {
        let pronoun = PRONOUNS.iter().find(|pronoun| replaced(&asked, pronoun, person, true) != asked);
        if let Some(pronoun) = pronoun {
            asked = replaced(&asked, pronoun, person, true);
        }
    }
    match is_shown {
        true => format!("The last picture shows one person alone. {asked} Answer in one sentence about that person."),
        false => asked,
    }
}

/// A question about somebody, for a model that has learned the name, which is in angle brackets.
///
/// ```
/// use pvchat::phrasebook;
/// assert_eq!(phrasebook::question_by_name("What is Aa wearing?", "Aa"), "What is <Aa> wearing?");
/// assert_eq!(phrasebook::answer_by_name("Yes, <Aa> is there.", "Aa"), "Yes, Aa is there.");
/// ```
pub fn question_by_name(question: &str, name: &str) -> String {
    let title = format!("<{name}>");
    let asked = replaced(&question.replace(&title, name), name, &title, false);
    if asked.contains(&title) {
        return asked;
    }
    let pronoun = PRONOUNS.iter().find(|pronoun| replaced(&asked, pronoun, &title, true) != asked);
    pronoun.map_or(asked.clone(), |pronoun| replaced(&asked, pronoun, &title, true))
}

/// The question whether a sentence about somebody is true, for a model that knows no names but sees the person's picture last.
///
/// ```
/// use pvchat::phrasebook;
/// let asked = phrasebook::check("<Aa> is wearing a red shirt.", "Aa", true);
/// assert!(asked.contains("\"The person in the last picture is wearing a red shirt.\"") && asked.ends_with("yes or no."));
/// assert!(phrasebook::agrees(" Yes, it is.") && !phrasebook::agrees("No.") && !phrasebook::agrees("Yesterday"));
/// ```
pub fn check(sentence: &str, name: &str, is_shown: bool) -> String {
    let person = if is_shown { PERSON } else { "the person" };
    let said = replaced(&sentence.replace(&format!("<{name}>"), name), name, person, false);
    let mut letters = said.chars();
    let said: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    let shown = if is_shown { "The last picture shows one person alone. " } else { "" };
    format!("{shown}Somebody says: \"{said}\" Is that true? Answer yes or no.")
}

/// Whether an answer begins with yes.
pub fn agrees(answer: &str) -> bool {
    let first = answer.split(|letter: char| !letter.is_alphanumeric()).find(|word| !word.is_empty());
    first.is_some_and(|word| word.eq_ignore_ascii_case("yes"))
}

/// What a model that has learned the name said of the person, without brackets.
pub fn answer_by_name(text: &str, name: &str) -> String {
    let said = text.replace(&format!("<{name}>"), name).trim().to_string();
    let is_named = replaced(&said, name, "", false) != said;
    if is_named { said } else { answer(&said, name) }
}

/// What a model said of the person, with the name.
pub fn answer(text: &str, name: &str) -> String {
    let text = text.trim();
    if let Some(called) = CALLED.iter().find(|called| replaced(text, called, name, true) != text) {
        return replaced(text, called, name, true);
    }
    let lower = text.to_lowercase();
    for beginning in BEGINNINGS {
        // Letters whose lower case has another length would move the place.
        let rest = lower.strip_prefix(beginning).and_then(|_| text.get(beginning.len()..));
        let Some(rest) = rest.filter(|rest| !rest.starts_with(char::is_alphanumeric)) else { continue };
        let verb = if beginning.ends_with(" is") || beginning.ends_with(" are") { " is" } else { "" };
        return format!("{name}{verb}{rest}");
    }
    match text.is_empty() {
        true => format!("The base says nothing about {name}."),
        false => format!("{name}: {text}"),
    }
}

/// Which one of several things an answer names by one of its words; `None` for none, and for several.
///
/// ```
/// use pvchat::phrasebook;
/// let known = [(1, ["man", "boy"].as_slice()), (2, &["woman"])];
/// assert_eq!(phrasebook::one_of("A woman.", &known), Some(2));
/// assert_eq!(phrasebook::one_of("A man or a woman.", &known), None);
/// ```
pub fn one_of<T: Copy>(answer: &str, known: &[(T, &[&str])]) -> Option<T> {
    let mut named = known.iter().filter(|(_, words)| words.iter().any(|word| replaced(answer, word, "", true) != answer));
    match (named.next(), named.next()) {
        (Some((one, _)), None) => Some(*one),
        _ => None,
    }
}

/// The text with every whole word `what` replaced; capital letters do not matter where `any_case`.
fn replaced(text: &str, what: &str, by: &str, any_case: bool) -> String {
    let same = |part: &str| if any_case { part.eq_ignore_ascii_case(what) } else { part == what };
    let mut result = String::with_capacity(text.len());
    let mut before: Option<char> = None;
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let found = rest.get(..what.len()).filter(|part| same(part));
        let after = rest.get(what.len()..).and_then(|rest| rest.chars().next());
        let is_word = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        if found.is_some() && !is_word(before) && !is_word(after) {
            result.push_str(by);
            before = what.chars().last();
            rest = &rest[what.len()..];
            continue;
        }
        result.push(letter);
        before = Some(letter);
        rest = &rest[letter.len_utf8()..];
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learned_name_goes_in_and_comes_out() {
        for (asked, expected) in [
            ("What is Aa doing?", "What is <Aa> doing?"),
            ("Is <Aa> there with Aardvark?", "Is <Aa> there with Aardvark?"),
            ("And what is she wearing?", "And what is <Aa> wearing?"),
            ("And when?", "And when?"),
        ] {
            assert_eq!(question_by_name(asked, "Aa"), expected);
        }
        for (said, expected) in [
            (" <Aa> is the person in blue.", "Aa is the person in blue."),
            ("He is cooking.", "Aa is cooking."),
            ("", "The base says nothing about Aa."),
        ] {
            assert_eq!(answer_by_name(said, "Aa"), expected, "{said}");
        }
    }

    #[test]
    fn names_go_in_and_come_out() {
        for (asked, expected) in [
            ("What is Aa doing?", "What is the person in the last picture doing?"),
            ("What colour is Aa's hat?", "What colour is the person in the last picture's hat?"),
            ("And what is she wearing?", "And what is the person in the last picture wearing?"),
            ("Is Aardvark there with <Aa>?", "Is Aardvark there with the person in the last picture?"),
        ] {
            assert!(question(asked, "Aa", true).contains(expected), "{asked}");
        }
        for (said, expected) in [
            (" The person in the last picture waves.", "Aa waves."),
            ("This person sits, and the person beside waves.", "This person sits, and Aa beside waves."),
            ("He is cooking.", "Aa is cooking."),
            ("A man in a blue shirt is reading.", "Aa in a blue shirt is reading."),
            ("Heating soup.", "Aa: Heating soup."),
            ("", "The base says nothing about Aa."),
            ("İ", "Aa: İ"),
        ] {
            assert_eq!(answer(said, "Aa"), expected, "{said}");
        }
    }
}
