//! Learning that has not ended: who, how far, and in words what another run was begun with.

use std::path::PathBuf;

use pvchat_data::SubjectName;
use pvchat_train::error::Difference;

/// Learning that is going on, or that was interrupted and can be resumed with the same clip, names and options; see
/// [`LearningFolders::unfinished`](crate::LearningFolders::unfinished).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Who is learned; several people where they are learned together.
    pub names: Vec<SubjectName>,
    /// Where the checkpoints are.
    pub folder: PathBuf,
    /// Steps done in the newest checkpoint; `None` before the first.
    pub steps: Option<usize>,
    /// Whether a process is at it now.
    pub running: bool,
}

/// The longest value that is worth telling, in characters.
const LONGEST_VALUE: usize = 20;

/// What a run was begun with, in words: "another clip and other options (learning_rate 0.003, now 0.005)".
pub(crate) fn begun_with(differences: &[Difference]) -> String {
    // The clips that are made and the numbers that are drawn follow from these: they add no information.
    let of = |part: &str| differences.iter().any(|difference| difference.key.starts_with(part));
    let mut parts: Vec<String> = [
        ("data: reference clip", "another clip"),
        ("base model", "another base model"),
        ("subject", "another name"),
        ("backend", "another backend"),
        ("precision", "another precision"),
        ("program", "another version of this program"),
    ]
    .into_iter()
    .filter(|(key, _)| of(key))
    .map(|(_, words)| words.to_string())
    .collect();
    let seed_given = of("data: seed");
    let made = ["data: reference clip", "data: images", "data: clips", "data: held back", "data: untouched"];
    let options: Vec<String> = differences
        .iter()
        .filter(|difference| !made.iter().any(|key| difference.key.starts_with(key)))
        .filter_map(|difference| {
            let option = difference.key.strip_prefix("learning.").or_else(|| difference.key.strip_prefix("data: "))?;
            (!(seed_given && difference.key == "learning.seed")).then(|| in_words(option, difference))
        })
        .collect();
    if !options.is_empty() {
        parts.push(format!("other options ({})", options.join("; ")));
    }
    match parts.split_last() {
        None => "other data".to_string(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

fn in_words(option: &str, Difference { here, there, .. }: &Difference) -> String {
    let short = |value: &str| value.len() <= LONGEST_VALUE && !value.starts_with(['{', '[']);
    if short(here) && short(there) { format!("{option} {there}, now {here}") } else { option.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_in_words_and_without_digests() {
        let difference =
            |key: &str, here: &str, there: &str| Difference { key: key.into(), here: here.into(), there: there.into() };
        let clip = [
            difference("data: clips", "8 clips, 00ff", "8 clips, ff00"),
            difference("data: reference clip", "0123", "4567"),
            difference("data: untouched", "10 clips, 00ff", "10 clips, ff00"),
            difference("enrolled form", "89", "ab"),
        ];
        assert_eq!(begun_with(&clip), "another clip");
        let options = [
            difference("base model", "0123", "4567"),
            difference("data: seed", "2", "1"),
            difference("data: variation", "{\"zoom\":1}", "{\"zoom\":2}"),
            difference("learning.learning_rate", "0.005", "0.003"),
            difference("learning.seed", "77", "99"),
        ];
        let said = begun_with(&options);
        assert_eq!(said, "another base model and other options (seed 1, now 2; variation; learning_rate 0.003, now 0.005)");
        assert_eq!(begun_with(&clip[..1]), "other data");
    }
}
