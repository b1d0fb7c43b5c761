//! From a text to the name of a learned person.

use crate::{Error, Result};
use std::str::FromStr;

pub use crate::name::{LONGEST, SubjectName};

impl FromStr for SubjectName {
    type Err = Error;

    /// Reads `Aa` or `<Aa>`. A typographic apostrophe becomes a straight one, so that both spellings are one name.
    ///
    /// # Errors
    /// [`Error::SubjectEmpty`], [`Error::SubjectTooLong`], [`Error::SubjectCharacter`].
    fn from_str(text: &str) -> Result<Self> {
        let bare = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
        let bare = bare.replace(['\u{2019}', '\u{02bc}'], "'");
        let length = bare.chars().count();
        if length > LONGEST {
            return Err(Error::SubjectTooLong { name: bare.chars().take(LONGEST).collect(), length });
        }
        let wrong = |character| Err(Error::SubjectCharacter { name: text.chars().take(LONGEST).collect(), character });
        if let Some(character) = bare.chars().find(|&character| !is_possible(character)) {
            return wrong(character);
        }
        if !bare.chars().any(char::is_alphanumeric) {
            return Err(Error::SubjectEmpty);
        }
        // At an end, a hyphen is an option of a command line and a blank is lost; two blanks look like one.
        let ends = [bare.chars().next(), bare.chars().next_back()];
        if let Some(end) = ends.into_iter().flatten().find(|end| matches!(end, ' ' | '-')) {
            return wrong(end);
        }
        if bare.contains("  ") {
            return wrong(' ');
        }
        Ok(Self(bare))
    }
}

/// Letters with their marks, digits, and what may be between them.
fn is_possible(character: char) -> bool {
    // Accents that are separate characters, and the signs of Indic scripts that take a vowel away: they are not separate letters.
    let is_mark = matches!(
        character,
        '\u{0300}'
            ..='\u{036f}'
                | '\u{094d}'
                | '\u{09cd}'
                | '\u{0a4d}'
                | '\u{0acd}'
                | '\u{0b4d}'
                | '\u{0bcd}'
                | '\u{0c4d}'
                | '\u{0ccd}'
                | '\u{0d4d}'
                | '\u{0dca}'
    );
    character.is_alphanumeric() || is_mark || matches!(character, '-' | '\'' | '_' | ' ')
}

impl TryFrom<String> for SubjectName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_spellings_are_one_name() {
        for text in ["Aa", "<Aa>"] {
            let name: SubjectName = text.parse().unwrap();
            assert_eq!((name.bare(), name.to_string().as_str()), ("Aa", "<Aa>"));
        }
        assert_eq!("O\u{2019}Neil".parse::<SubjectName>().unwrap(), "O'Neil".parse().unwrap());
    }

    #[test]
    fn people_may_be_called_what_people_are_called() {
        let longest = "n".repeat(LONGEST);
        let names = ["Zoë9", "Zoe\u{0308}", "Anna-Maria", "O'Neil", "'t Hooft", "Li Wei", "aa_2", "प्रिया", "李伟"];
        for text in names.into_iter().chain(["Pad", "End", "User", "Video", "INST", "s", longest.as_str()]) {
            let name: SubjectName = text.parse().unwrap();
            assert_eq!((name.bare(), name.to_string()), (text, format!("<{text}>")));
        }
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let refuse = |text: &str| text.parse::<SubjectName>().unwrap_err();
        for text in ["", "<>", "_", "-", "'"] {
            assert!(matches!(refuse(text), Error::SubjectEmpty), "{text:?}");
        }
        assert!(matches!(refuse(&"n".repeat(LONGEST + 1)), Error::SubjectTooLong { length: 41, .. }));
        for (text, found) in [
            ("<<Aa>>", '<'),
            ("<Aa", '<'),
            ("A>a", '>'),
            ("[INST]", '['),
            ("</s>", '/'),
            ("../Aa", '.'),
            (".Aa", '.'),
            ("A\\a", '\\'),
            ("A+b", '+'),
            ("A\u{200b}", '\u{200b}'),
            ("A\na", '\n'),
            ("A\u{a0}a", '\u{a0}'),
            (" Aa", ' '),
            ("Aa ", ' '),
            ("A  a", ' '),
            ("-Aa", '-'),
        ] {
            assert!(matches!(refuse(text), Error::SubjectCharacter { character, .. } if character == found), "{text:?}");
        }
    }

    #[test]
    fn json_holds_the_bracketed_name_and_is_checked() {
        let name: SubjectName = serde_json::from_str("\"Aa\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"<Aa>\"");
        assert!(serde_json::from_str::<SubjectName>("\"../Aa\"").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_prints_and_parses_as_itself(text in "[a-zA-Zë'’ <>_-]{0,12}|.{0,20}") {
            if let Ok(name) = text.parse::<SubjectName>() {
                prop_assert_eq!(name.to_string().parse::<SubjectName>().unwrap(), name);
            }
        }
    }
}
