//! Corpus BLEU-1 with the 13a tokenizer: how many words of the answers occur in the reference answers.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A BLEU-1 score. With one order of n-grams, effective order and exponential smoothing change nothing: without a
/// match the score is 0, as in the usual tool.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bleu {
    /// The score as a fraction, 0 to 1, the scale of the paper's table.
    pub score: f64,
    /// Share of predicted words that match, each reference word counted once.
    pub precision: f64,
    /// `exp(1 - reference / prediction)` if the predictions are shorter in all, else 1.
    pub brevity_penalty: f64,
    /// Words predicted.
    pub prediction_length: usize,
    /// Words in the references.
    pub reference_length: usize,
    /// Words that match.
    pub matches: usize,
}

/// BLEU-1 of all pairs (prediction, reference) together; case counts.
///
/// ```
/// let bleu = pvchat_eval::bleu::corpus_bleu([("a man runs", "a man walks")]);
/// assert!((bleu.score - 2.0 / 3.0).abs() < 1e-12);
/// ```
pub fn corpus_bleu<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Bleu {
    let (mut prediction_length, mut reference_length, mut matches) = (0, 0, 0);
    for (prediction, reference) in pairs {
        let (prediction, reference) = (tokenize_13a(prediction), tokenize_13a(reference));
        prediction_length += prediction.len();
        reference_length += reference.len();
        let mut unused: HashMap<&str, usize> = HashMap::new();
        for word in &reference {
            *unused.entry(word).or_default() += 1;
        }
        for word in &prediction {
            if let Some(count) = unused.get_mut(word.as_str()).filter(|count| **count > 0) {
                *count -= 1;
                matches += 1;
            }
        }
    }
    let brevity_penalty = match (prediction_length, reference_length) {
        (found, wanted) if found >= wanted => 1.0,
        (0, _) => 0.0,
        (found, wanted) => (1.0 - wanted as f64 / found as f64).exp(),
    };
    let precision = matches as f64 / prediction_length.max(1) as f64;
    Bleu { score: brevity_penalty * precision, precision, brevity_penalty, prediction_length, reference_length, matches }
}

/// Splits a text into words as the "13a" tokenizer of machine translation does.
pub fn tokenize_13a(text: &str) -> Vec<String> {
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")]
        .iter()
        .fold(text, |text, (entity, character)| text.replace(entity, character));
    let mut spaced = String::from(" ");
    for character in text.chars() {
        if matches!(character, ' '..='&' | '('..='+' | '/' | ':'..='@' | '['..='`' | '{'..='~') {
            spaced.extend([' ', character, ' ']);
        } else {
            spaced.push(character);
        }
    }
    spaced.push(' ');
    // Full stop and comma stay inside numbers, a hyphen is cut off behind a digit.
    let digit = |character: char| character.is_ascii_digit();
    let stop = |character: char| matches!(character, '.' | ',');
    let spaced = rewrite_pairs(&spaced, |first, second| !digit(first) && stop(second), |first, second| [first, ' ', second, ' ']);
    let spaced = rewrite_pairs(&spaced, |first, second| stop(first) && !digit(second), |first, second| [' ', first, ' ', second]);
    let spaced = rewrite_pairs(&spaced, |first, second| digit(first) && second == '-', |first, second| [first, ' ', second, ' ']);
    spaced.split_whitespace().map(String::from).collect()
}

/// Replaces neighbouring characters from left to right; a character takes part in one pair only.
fn rewrite_pairs(text: &str, matches: impl Fn(char, char) -> bool, write: impl Fn(char, char) -> [char; 4]) -> String {
    let mut written = String::with_capacity(2 * text.len());
    let mut characters = text.chars().peekable();
    while let Some(first) = characters.next() {
        match characters.next_if(|&second| matches(first, second)) {
            Some(second) => written.extend(write(first, second)),
            None => written.push(first),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_hyphens_and_brackets_are_cut_as_documented() {
        for (text, words) in [
            ("1,250 m.", vec!["1,250", "m", "."]),
            ("Wait... no", vec!["Wait", ".", ".", ".", "no"]),
            ("2019-2020 well-known", vec!["2019", "-", "2020", "well-known"]),
            ("<Aa>'s (old) hat", vec!["<", "Aa", ">", "'s", "(", "old", ")", "hat"]),
            (".5", vec![".", "5"]),
            ("", vec![]),
        ] {
            assert_eq!(tokenize_13a(text), words, "{text:?}");
        }
    }

    #[test]
    fn no_pair_at_all_scores_nothing() {
        let bleu = corpus_bleu([]);
        assert_eq!((bleu.score, bleu.matches), (0.0, 0));
    }
}
