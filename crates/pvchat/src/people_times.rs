//! Times in questions: "before 1:00", "in the first 30 seconds".

use serde::Serialize;

use crate::people_words::{Piece, among};

/// A part of the footage, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Within {
    /// Where it begins.
    pub from: f64,
    /// Where it ends; `None` for the end of the footage.
    pub until: Option<f64>,
    /// Set where the part is the beginning or the end: its times then follow from the length of the footage, which the
    /// question does not say, and `from` and `until` say nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<Edge>,
}

/// The beginning or the end of the footage: a tenth of it, a second at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// The first tenth.
    Beginning,
    /// The last tenth.
    End,
}

impl Within {
    fn new(from: f64, until: Option<f64>) -> Self {
        Self { from, until, edge: None }
    }

    /// In seconds, of footage of this length in seconds.
    pub(crate) fn of(self, duration: f64) -> Self {
        let share = (duration / 10.0).max(1.0);
        match self.edge {
            None => self,
            Some(Edge::Beginning) => Self { from: 0.0, until: Some(share), ..self },
            Some(Edge::End) => Self { from: (duration - share).max(0.0), until: None, ..self },
        }
    }
}

/// For how long somebody is to be seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bound {
    pub(crate) seconds: f64,
    /// For longer; otherwise for less.
    pub(crate) longer: bool,
    /// Whether exactly that long is enough.
    pub(crate) or_equal: bool,
}

/// "Longer than 5 seconds", "for less than a minute"; and how many pieces that takes.
pub(crate) fn bound(pieces: &[Piece]) -> Option<(Bound, usize)> {
    // The words, whether they mean longer, and whether exactly that long is enough.
    const BOUNDS: [(&str, bool, bool); 12] = [
        ("no longer than", false, true),
        ("no more than", false, true),
        ("no less than", true, true),
        ("longer than", true, false),
        ("more than", true, false),
        ("at least", true, true),
        ("less than", false, false),
        ("shorter than", false, false),
        ("fewer than", false, false),
        ("at most", false, true),
        ("for over", true, false),
        ("for under", false, false),
    ];
    let word = |place: usize| pieces.get(place).map_or("", Piece::word);
    let follows = |begin: usize, words: &str| words.split(' ').enumerate().all(|(place, one)| word(begin + place) == one);
    [0, usize::from(word(0) == "for")].into_iter().find_map(|begin| {
        let &(words, longer, or_equal) = BOUNDS.iter().find(|(words, ..)| follows(begin, words))?;
        let place = begin + words.split(' ').count();
        let one = || Some((unit(word(place + 1)).filter(|_| among("a an", word(place)))?, 2));
        let (seconds, used) = pieces.get(place..).and_then(time).or_else(one)?;
        Some((Bound { seconds, longer, or_equal }, place + used))
    })
}

/// "At the beginning", "at the very end"; and how many pieces that takes.
fn edge(pieces: &[Piece]) -> Option<(Within, usize)> {
    let word = |place: usize| pieces.get(place).map_or("", Piece::word);
    if !among("at in near toward towards", word(0)) || word(1) != "the" {
        return None;
    }
    let place = 2 + usize::from(word(2) == "very");
    let edge = match word(place) {
        "beginning" | "start" => Edge::Beginning,
        "end" | "ending" => Edge::End,
        _ => return None,
    };
    Some((Within { from: 0.0, until: None, edge: Some(edge) }, place + 1))
}

/// A part of the footage: "before 1:00", "between 0:10 and 0:20", "in the first minute"; and how many pieces that takes.
pub(crate) fn within(pieces: &[Piece]) -> Option<(Within, usize)> {
    if let Some(edge) = edge(pieces) {
        return Some(edge);
    }
    let word = |place: usize| pieces.get(place).map_or("", Piece::word);
    let at = |place: usize| {
        let skipped = (0..3).take_while(|&more| among("the about around time", word(place + more))).count();
        let (seconds, used) = time(pieces.get(place + skipped..)?)?;
        let mark = usize::from(among("mark minute minutes", word(place + skipped + used)));
        Some((seconds, place + skipped + used + mark))
    };
    let until = |place: usize| at(place).map(|(until, used)| (Within::new(0.0, Some(until)), used));
    let joined = |place: usize| among("and to until till through", word(place)) || pieces.get(place) == Some(&Piece::Comma);
    let range = |place: usize| {
        let (from, middle) = at(place)?;
        let (until, used) = at(middle + 1).filter(|_| joined(middle))?;
        Some((Within::new(from.min(until), Some(from.max(until))), used))
    };
    match word(0) {
        "before" | "until" | "till" | "by" => until(1),
        "up" if among("to until till", word(1)) => until(2),
        "prior" if word(1) == "to" => until(2),
        "between" => range(1),
        "after" | "since" | "past" | "from" | "starting" => {
            let place = 1 + usize::from(word(0) == "starting" && among("at from", word(1)));
            let open = || at(place).map(|(from, used)| (Within::new(from, None), used));
            range(place).or_else(open)
        }
        "at" | "around" | "@" => at(1).map(|(moment, used)| (Within::new(moment, Some(moment)), used)),
        "in" | "within" | "during" | "for" | "the" | "first" => {
            let mut place = usize::from(among("in within during for", word(0)));
            place += usize::from(word(place) == "the");
            if word(place) != "first" {
                return None;
            }
            let one = || Some((unit(word(place + 1))?, 1));
            let (until, used) = pieces.get(place + 1..).and_then(time).or_else(one)?;
            Some((Within::new(0.0, Some(until)), place + 1 + used))
        }
        _ if time(pieces).is_some() => range(0),
        _ => None,
    }
}

/// A time such as 1:05, 90s, 2 minutes 5 seconds, in seconds; and how many pieces it takes.
pub(crate) fn time(pieces: &[Piece]) -> Option<(f64, usize)> {
    let word = |place: usize| pieces.get(place).map_or("", Piece::word);
    if word(0).contains(':') {
        let parts: Vec<f64> = word(0).split(':').map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
        return (2..=3).contains(&parts.len()).then(|| (parts.iter().fold(0.0, |sum, part| 60.0 * sum + part), 1));
    }
    let (mut sum, mut used) = (0.0, 0);
    loop {
        let skipped = usize::from(used > 0 && word(used) == "and");
        let (first, second) = (word(used + skipped), word(used + skipped + 1));
        if let Some(seconds) = glued(first) {
            (sum, used) = (sum + seconds, used + skipped + 1);
        } else if let Some(seconds) = number(first).and_then(|number| Some(number * unit(second)?)) {
            (sum, used) = (sum + seconds, used + skipped + 2);
        } else {
            return (used > 0).then_some((sum, used));
        }
    }
}

/// 90s, 2min, 1m30s.
fn glued(word: &str) -> Option<f64> {
    let (mut rest, mut sum) = (word, 0.0);
    if !word.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    while !rest.is_empty() {
        let letters = rest.find(|character: char| character.is_ascii_alphabetic())?;
        let end =
            rest[letters..].find(|character: char| !character.is_ascii_alphabetic()).map_or(rest.len(), |end| letters + end);
        sum += rest[..letters].parse::<f64>().ok()? * unit(&rest[letters..end])?;
        rest = &rest[end..];
    }
    Some(sum)
}

fn unit(word: &str) -> Option<f64> {
    match word {
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1.0),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60.0),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3600.0),
        _ => None,
    }
}

/// Whether a word is a number, which alone is no time.
pub(crate) fn is_number(word: &str) -> bool {
    number(word).is_some()
}

fn number(word: &str) -> Option<f64> {
    const WORDS: [(&str, f64); 18] = [
        ("one", 1.0),
        ("two", 2.0),
        ("three", 3.0),
        ("four", 4.0),
        ("five", 5.0),
        ("six", 6.0),
        ("seven", 7.0),
        ("eight", 8.0),
        ("nine", 9.0),
        ("ten", 10.0),
        ("twelve", 12.0),
        ("fifteen", 15.0),
        ("twenty", 20.0),
        ("thirty", 30.0),
        ("forty", 40.0),
        ("forty-five", 45.0),
        ("fifty", 50.0),
        ("sixty", 60.0),
    ];
    let digits = word.starts_with(|first: char| first.is_ascii_digit()).then(|| word.parse().ok()).flatten();
    digits.or_else(|| WORDS.iter().find(|(known, _)| *known == word).map(|(_, number)| *number))
}
