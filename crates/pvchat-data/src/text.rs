//! Texts of a model as people write them, complete or while they are generated.

/// Marks that are attached to the end of the word before them.
const MARKS: [&str; 6] = [",", ".", "?", "!", ";", ":"];

/// The text with single spaces, and none in front of punctuation that a model's tokens set apart.
///
/// ```
/// assert_eq!(pvchat_data::text::tidy("yes , <Aa> is in the video ."), "yes, <Aa> is in the video.");
/// ```
pub fn tidy(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !tidied.is_empty() && !MARKS.contains(&word) {
            tidied.push(' ');
        }
        tidied.push_str(word);
    }
    tidied
}

/// Hands out a text that grows, piece by piece: the pieces put together are the text.
///
/// What a word looks like may depend on the next one, so that a piece is only given when two states of the text agree on it.
#[derive(Clone, Debug, Default)]
pub struct Growing {
    last: String,
    given: usize,
}

impl Growing {
    /// What is certain now that the text has become `text`; often nothing.
    pub fn grow(&mut self, text: &str) -> String {
        let agreed: usize =
            self.last.chars().zip(text.chars()).take_while(|(one, other)| one == other).map(|(one, _)| one.len_utf8()).sum();
        let piece = text.get(self.given..agreed).unwrap_or_default().to_string();
        (self.last, self.given) = (text.to_string(), self.given.max(agreed));
        piece
    }

    /// The rest, now that the text is whole.
    pub fn finish(self, text: &str) -> String {
        text.get(self.given..).unwrap_or_default().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_stands_where_people_put_it_and_nothing_is_lost() {
        assert_eq!(tidy("  <Li Wei>  has a round face , tan skin . "), "<Li Wei> has a round face, tan skin.");
        for tidied in ["", "so?", "yes, <Aa> is in the video."] {
            assert_eq!(tidy(tidied), tidied);
        }
    }

    #[test]
    fn pieces_put_together_are_the_text_although_words_change_with_what_follows() {
        let mut growing = Growing::default();
        let states = ["Zoë", "Zoë wears a", "Zoë wears an orange", "Zoë wears an orange shirt"];
        let mut whole: String = states.iter().map(|state| growing.grow(state)).collect();
        assert!(states[3].starts_with(&whole) && whole.len() > 10, "{whole:?}");
        let text = "Zoë wears an orange shirt.";
        whole.push_str(&growing.finish(text));
        assert_eq!(whole, text);
    }
}
