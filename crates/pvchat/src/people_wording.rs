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

/// What two lists of stretches share, where that is longer than `least` seconds.
pub(crate) fn both(one: &[Span], other: &[Span], least: f64) -> Vec<Span> {
    let shared = |one: &Span, other: &Span| (one.0.max(other.0), one.1.min(other.1));
    let all = one.iter().flat_map(|one| other.iter().map(move |other| shared(one, other)));
    merge(all.filter(|(start, end)| end - start > least).collect())
}

/// "0:03 to 0:41, 1:02 and 1:12 to 1:30".
pub(crate) fn listed(spans: &[Span]) -> String {
    shortened(spans.iter().map(|&(start, end)| span(start, end)).collect())
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

/// A stretch of footage from and to these seconds: "0:00 to 0:06", or "0:03" where both are the same second. It begins with the
/// second that has begun, and ends with the nearest one, so that what lasts until the end of footage of 5.9 seconds ends at 0:06.
///
/// ```
/// assert_eq!(pvchat::times::span(0.0, 5.9), "0:00 to 0:06");
/// ```
pub fn span(start: f64, end: f64) -> String {
    let (start, end) = (clock(start), end_clock(end));
    if start == end { start } else { format!("{start} to {end}") }
}

/// When a stretch ends, in seconds: as m:ss or h:mm:ss, rounded.
pub fn end_clock(seconds: f64) -> String {
    clock(whole(seconds))
}

/// Rounded. A half goes down: a face that is seen for the last time at 0:41 lasts until the next look, half a second later.
fn whole(seconds: f64) -> f64 {
    (seconds - 0.5).ceil().max(0.0)
}

/// A time in seconds as m:ss or h:mm:ss: the second that has begun.
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A length in words.
pub(crate) fn length(seconds: f64) -> String {
    let seconds = whole(seconds).max(1.0) as u64;
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
