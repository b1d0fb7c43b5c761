//! The name of a learned person, which is one token of the language model: `<Aa>`.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The greatest number of characters between the angle brackets.
pub const LONGEST: usize = 16;

/// Names between angle or square brackets that tokenizers and prompts use for themselves, in lower case.
const RESERVED: [&str; 22] = [
    "s",
    "bos",
    "eos",
    "pad",
    "unk",
    "mask",
    "sep",
    "cls",
    "dec",
    "inst",
    "sys",
    "system",
    "user",
    "assistant",
    "video",
    "image",
    "vid",
    "img",
    "person",
    "tool",
    "begin",
    "end",
];

/// The name of a subject: 1 to 16 letters or digits, shown in angle brackets.
///
/// ```
/// use pvchat_data::SubjectName;
/// let name: SubjectName = "Aa".parse()?;
/// assert_eq!(name, "<Aa>".parse()?);
/// assert_eq!(name.to_string(), "<Aa>");
/// assert_eq!(name.bare(), "Aa");
/// assert!("[INST]".parse::<SubjectName>().is_err());
/// # Ok::<(), pvchat_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectName(String);

impl SubjectName {
    /// The name without angle brackets, fit for a file name.
    pub fn bare(&self) -> &str {
        &self.0
    }
}

impl FromStr for SubjectName {
    type Err = Error;

    /// Reads `Aa` or `<Aa>`.
    ///
    /// # Errors
    /// [`Error::SubjectEmpty`], [`Error::SubjectTooLong`], [`Error::SubjectCharacter`], [`Error::SubjectReserved`].
    fn from_str(text: &str) -> Result<Self> {
        let bare = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
        if bare.is_empty() {
            return Err(Error::SubjectEmpty);
        }
        let length = bare.chars().count();
        if length > LONGEST {
            return Err(Error::SubjectTooLong { name: bare.chars().take(LONGEST).collect(), length });
        }
        if let Some(character) = bare.chars().find(|character| !character.is_alphanumeric()) {
            return Err(Error::SubjectCharacter { name: text.into(), character });
        }
        if RESERVED.contains(&bare.to_lowercase().as_str()) {
            return Err(Error::SubjectReserved { name: text.into() });
        }
        Ok(Self(bare.into()))
    }
}

impl TryFrom<String> for SubjectName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<SubjectName> for String {
    fn from(name: SubjectName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("<{}>", self.0))
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
        assert_eq!("Zoë9".parse::<SubjectName>().unwrap().to_string(), "<Zoë9>");
        assert_eq!("abcdefghijklmnop".parse::<SubjectName>().unwrap().bare().len(), 16);
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let refuse = |text: &str| text.parse::<SubjectName>().unwrap_err();
        for text in ["", "<>"] {
            assert!(matches!(refuse(text), Error::SubjectEmpty), "{text:?}");
        }
        assert!(matches!(refuse("abcdefghijklmnopq"), Error::SubjectTooLong { length: 17, .. }));
        for text in ["<bos>", "s", "</s>", "<s>", "[INST]", "INST", "<Video>", "<pad>", "PERSON"] {
            assert!(matches!(refuse(text), Error::SubjectReserved { .. } | Error::SubjectCharacter { .. }), "{text:?}");
        }
        assert!(matches!(refuse("<bos>"), Error::SubjectReserved { .. }));
        for (text, found) in [
            ("<<Aa>>", '<'),
            ("<Aa", '<'),
            ("A>a", '>'),
            ("A a", ' '),
            ("[INST]", '['),
            ("../Aa", '.'),
            ("A\u{200b}", '\u{200b}'),
        ] {
            assert!(matches!(refuse(text), Error::SubjectCharacter { character, .. } if character == found), "{text:?}");
        }
    }

    #[test]
    fn json_holds_the_bracketed_name_and_is_checked() {
        let name: SubjectName = serde_json::from_str("\"Aa\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"<Aa>\"");
        assert!(serde_json::from_str::<SubjectName>("\"<bos>\"").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_prints_and_parses_as_itself(text in ".{0,20}") {
            if let Ok(name) = text.parse::<SubjectName>() {
                prop_assert_eq!(name.to_string().parse::<SubjectName>().unwrap(), name);
            }
        }
    }
}
