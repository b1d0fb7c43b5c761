//! Times, lengths, numbers and lists in words.

use pvchat_people::Moment;

/// Parts of a list that are shown at most.
const LISTED: usize = 6;

/// A stretch of time in seconds.
pub(crate) type Span = (f64, f64);

pub(crate) fn spans(moments: &[Moment]) -> Vec<Span> {
    moments.iter().map(|moment| (moment.start, moment.end)).collect()
}

/// Stretches that touch become one.
pub(crate) fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut merged: Vec<Span> = Vec::new();
    for (start, end) in spans {
        match merged.last_mut().filter(|last| start <= last.1) {
            Some(last) => last.1 = last.1.max(end),
            None => merged.push((start, end)),
        }
    }
    merged
}

/// What two lists of stretches share.
pub(crate) fn both(one: &[Span], other: &[Span]) -> Vec<Span> {
    let shared = |one: &Span, other: &Span| (one.0.max(other.0), one.1.min(other.1));
    let all = one.iter().flat_map(|one| other.iter().map(move |other| shared(one, other)));
    merge(all.filter(|(start, end)| start <= end).collect())
}

/// "0:03 to 0:41, 1:02 and 1:12 to 1:30".
pub(crate) fn listed(spans: &[Span]) -> String {
    let one = |&(start, end): &Span| {
        let (start, end) = (clock(start), clock(end));
        if start == end { start } else { format!("{start} to {end}") }
    };
    shortened(spans.iter().map(one).collect())
}

/// All of them, or the first six and how many more there are.
pub(crate) fn shortened(mut parts: Vec<String>) -> String {
    parts.dedup();
    let more = parts.len().saturating_sub(LISTED);
    if more > 0 {
        parts.truncate(LISTED);
        return format!("{} and {more} more", parts.join(", "));
    }
    joined(&parts)
}

/// "Aa, Bb and Cc".
pub(crate) fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// A time as m:ss or h:mm:ss.
pub(crate) fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A length in words.
pub(crate) fn length(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round().max(1.0) as u64;
    let unit = |number: u64, unit: &str| format!("{number} {unit}{}", if number == 1 { "" } else { "s" });
    let parts = [(seconds / 3600, "hour"), (seconds / 60 % 60, "minute"), (seconds % 60, "second")];
    let parts: Vec<String> =
        parts.into_iter().filter(|(number, _)| *number > 0).map(|(number, name)| unit(number, name)).collect();
    parts.join(" ")
}

/// Numbers up to twelve are words.
pub(crate) fn number(number: usize) -> String {
    const WORDS: [&str; 13] =
        ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    WORDS.get(number).map_or_else(|| number.to_string(), |word| word.to_string())
}

pub(crate) fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}
