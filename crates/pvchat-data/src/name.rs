//! The name of a learned person, which is one token of the language model: `<Aa>`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The greatest number of characters between the angle brackets.
pub const LONGEST: usize = 40;

/// The name of a subject: up to 40 letters and digits, hyphens, apostrophes, underscores and single spaces between them, shown
/// in angle brackets. It is also the beginning of the names of the subject's files.
///
/// Whether a name is a control token of a language model is for that model to say: its tokenizer knows.
///
/// ```
/// use pvchat_data::SubjectName;
/// let name: SubjectName = "Anna-Maria O'Neil".parse()?;
/// assert_eq!(name, "<Anna-Maria O'Neil>".parse()?);
/// assert_eq!(name.to_string(), "<Anna-Maria O'Neil>");
/// assert_eq!(name.bare(), "Anna-Maria O'Neil");
/// assert!("../Aa".parse::<SubjectName>().is_err());
/// # Ok::<(), pvchat_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectName(pub(crate) String);

impl SubjectName {
    /// The name without angle brackets, fit for a file name.
    pub fn bare(&self) -> &str {
        &self.0
    }

    /// Whether the two differ in nothing but capitals.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.0.to_lowercase() == other.0.to_lowercase()
    }

    /// Who of `names` is meant: a name that is not among them means the only one that differs from it in nothing but capitals.
    /// Where there is none, or several, it is this name.
    pub fn resolve(&self, names: &[Self]) -> Self {
        if names.contains(self) {
            return self.clone();
        }
        let mut alike = names.iter().filter(|other| self.is_alike(other));
        match (alike.next(), alike.next()) {
            (Some(only), None) => only.clone(),
            _ => self.clone(),
        }
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
