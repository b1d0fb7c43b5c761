//! How times, sizes, lists and files are written.

use std::path::Path;

use pvchat::faces::models;
pub use pvchat::times::{clock, span};

/// A time as subtitles have it: 00:00:07,250, with `mark` before the milliseconds.
pub fn precise_clock(seconds: f64, mark: char) -> String {
    let all = (seconds.max(0.0) * 1000.0).round() as u64;
    let (hours, minutes, seconds, rest) = (all / 3_600_000, all / 60_000 % 60, all / 1000 % 60, all % 1000);
    format!("{hours:02}:{minutes:02}:{seconds:02}{mark}{rest:03}")
}

/// A time in seconds, to milliseconds: what JSON has.
pub fn millis(seconds: f64) -> f64 {
    (1000.0 * seconds).round() / 1000.0
}

/// A count with its noun: "1 face", "2 faces".
pub fn count(number: usize, noun: &str) -> String {
    let plural = match noun {
        "person" => "people".to_string(),
        noun => format!("{noun}s"),
    };
    format!("{number} {}", if number == 1 { noun } else { &plural })
}

/// "a", "a and b", "a, b and c"; "nobody" for none.
pub fn list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.as_slice() {
        [] => "nobody".into(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A size in bytes: "812 bytes", "5.2 MB", "1.0 GB".
pub fn bytes(number: u64) -> String {
    match number {
        0..10_000 => count(number as usize, "byte"),
        10_000..1_000_000 => format!("{:.0} kB", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", number as f64 / 1e6),
        _ => format!("{:.1} GB", number as f64 / 1e9),
    }
}

/// A share as "98 %".
pub fn percent(share: f32) -> String {
    format!("{} %", (100.0 * share).round() as u32)
}

/// The day of a time in seconds since 1970: "2025-03-09".
pub fn day(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "unknown".into(), |time| time.strftime("%Y-%m-%d").to_string())
}

/// Text without control characters, which could do things to a terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// A path as a user would type it: relative to the current folder if it is below it.
pub fn shown(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_default();
    let below = path.strip_prefix(&current).ok().filter(|below| !below.as_os_str().is_empty());
    clean(&below.unwrap_or(path).display().to_string())
}

/// Any path in JSON, which holds text only.
pub fn lossy<S: serde::Serializer>(path: &impl AsRef<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.as_ref().to_string_lossy())
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    argument(&path.display().to_string())
}

/// A name, or anything else, as a shell takes it.
pub fn argument(text: &str) -> String {
    let text = clean(text);
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+,:@%".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The name of the network of a model's id, such as `mobilefacenet-192@3f2a...`: "MobileFaceNet-192".
pub fn network(id: &str) -> String {
    let network = id.split('@').next().unwrap_or(id);
    match network {
        "mobilefacenet-192" => "MobileFaceNet-192".into(),
        "dlib-resnet-128" => "dlib-ResNet-128".into(),
        other => clean(other),
    }
}

/// Whether a model's id is that of a network in the catalogue.
pub fn is_current(id: &str) -> bool {
    models::catalogue().iter().any(|model| model.id() == id)
}

/// Lines of columns, each as wide as its widest cell.
pub fn table(rows: &[Vec<String>]) -> String {
    table_from(rows, &mut Vec::new())
}

/// Lines of columns that are at least as wide as `widths`, which grow with the cells: for a table that is written in parts.
pub fn table_from(rows: &[Vec<String>], widths: &mut Vec<usize>) -> String {
    for (column, cell) in rows.iter().flat_map(|row| row.iter().enumerate()) {
        if widths.len() <= column {
            widths.resize(column + 1, 0);
        }
        widths[column] = widths[column].max(cell.chars().count());
    }
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&*widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_and_players_read_them() {
        assert_eq!((clock(7.9), clock(75.0), clock(3727.0)), ("0:07".into(), "1:15".into(), "1:02:07".into()));
        assert_eq!((span(0.0, 11.2), span(3.1, 3.4)), ("0:00 to 0:11".to_string(), "0:03".to_string()));
        assert_eq!(precise_clock(3661.2504, ','), "01:01:01,250");
        assert_eq!(day(1_741_478_400), "2025-03-09");
    }

    #[test]
    fn lists_and_counts_are_english() {
        assert_eq!(list::<&str>(&[]), "nobody");
        assert_eq!(list(&["Aa", "Bb", "Cc"]), "Aa, Bb and Cc");
        assert_eq!((count(1, "face"), count(2, "person")), ("1 face".into(), "2 people".into()));
        assert_eq!((percent(0.999_995_6), percent(0.984)), ("100 %".to_string(), "98 %".into()));
        assert_eq!((bytes(812), bytes(5_182_944)), ("812 bytes".into(), "5.2 MB".into()));
        assert_eq!(bytes(1_025_998_224), "1.0 GB");
    }

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(shown(Path::new("a\u{1b}[31m\nb.mp4")), "a\u{fffd}[31m\u{fffd}b.mp4");
        assert_eq!(quoted(Path::new("it's here")), r"'it'\''s here'");
        assert_eq!((argument("Aa"), argument("Uncle Bob")), ("Aa".to_string(), "'Uncle Bob'".into()));
    }

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [vec!["Aa".to_string(), "1".into()], vec!["Bbbb".into(), "22".into()]];
        assert_eq!(table(&rows), "Aa    1\nBbbb  22");
        let mut widths = vec![3];
        let parts: Vec<String> = rows.chunks(1).map(|rows| table_from(rows, &mut widths)).collect();
        assert_eq!((parts, widths), (vec!["Aa   1".to_string(), "Bbbb  22".into()], vec![4, 2]));
    }
}
