//! The rows of a timeline as text, subtitles and comma-separated values.

use super::{Row, named};
use crate::words;

/// The first line of comma-separated values.
pub const CSV_HEADER: &str = "file,subject,start,end,confidence,verdict,left,top,right,bottom";

/// Subtitles are shown for this many seconds at least: a face in one frame begins and ends at the same time.
const LEAST_SECONDS: f64 = 0.5;

/// A table to read. Tables of several files are written one after another: `widths` keeps their columns under each other.
pub fn text(rows: &[Row], with_file: bool, widths: &mut Vec<usize>) -> String {
    let row = |row: &Row| {
        let bounds = &row.bounds;
        let place = format!("{:.0},{:.0} to {:.0},{:.0}", bounds.left, bounds.top, bounds.right, bounds.bottom);
        let confidence = row.confidence.map(words::percent).unwrap_or_default();
        let mut cells = vec![words::span(row.start, row.end), named(row), confidence, place];
        if with_file {
            cells.insert(0, words::shown(&row.file));
        }
        cells
    };
    words::table_from(&rows.iter().map(row).collect::<Vec<_>>(), widths)
}

fn times(row: &Row, mark: char) -> String {
    let end = row.end.max(row.start + LEAST_SECONDS);
    format!("{} --> {}", words::precise_clock(row.start, mark), words::precise_clock(end, mark))
}

/// SubRip.
pub fn srt(rows: &[Row]) -> String {
    let cue = |(number, row): (usize, &Row)| format!("{}\n{}\n{}\n\n", number + 1, times(row, ','), named(row));
    rows.iter().enumerate().map(cue).collect()
}

/// WebVTT.
pub fn vtt(rows: &[Row]) -> String {
    let escape = |text: String| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let cue = |row: &Row| format!("\n{}\n{}\n", times(row, '.'), escape(named(row)));
    format!("WEBVTT\n{}", rows.iter().map(cue).collect::<String>())
}

/// Comma-separated values, without the header.
pub fn csv(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let bounds = &row.bounds;
        let file = field(&row.file.display().to_string());
        let confidence = row.confidence.map(|confidence| format!("{confidence:.3}")).unwrap_or_default();
        let verdict = match row.verdict {
            pvchat::faces::Verdict::Yes => "yes",
            pvchat::faces::Verdict::NotSure => "not_sure",
            pvchat::faces::Verdict::No => "no",
        };
        format!(
            "{file},{},{:.3},{:.3},{confidence},{verdict},{},{},{},{}\n",
            field(&row.subject),
            row.start,
            row.end,
            bounds.left,
            bounds.top,
            bounds.right,
            bounds.bottom
        )
    };
    rows.iter().map(line).collect()
}

/// A field of comma-separated values, in quotation marks where it needs them.
fn field(text: &str) -> String {
    let needs = text.contains([',', '"', '\n', '\r']);
    if needs { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

#[cfg(test)]
mod tests {
    use pvchat::faces::{Bounds, Verdict};

    use super::*;

    fn rows() -> Vec<Row> {
        let row = |file: &str, subject: &str, verdict, confidence| Row {
            file: file.into(),
            subject: subject.into(),
            start: 1.0,
            end: 1.0,
            confidence,
            verdict,
            bounds: Bounds::new(1.04, 2.0, 3.0, 4.0).into(),
            best: 1.0,
        };
        vec![row("a,\"b\".mp4", "Aa", Verdict::NotSure, Some(0.5)), row("<c>.mp4", "person 1", Verdict::No, None)]
    }

    #[test]
    fn awkward_file_names_stay_one_field() {
        assert_eq!(
            csv(&rows()),
            "\"a,\"\"b\"\".mp4\",Aa,1.000,1.000,0.500,not_sure,1,2,3,4\n<c>.mp4,person 1,1.000,1.000,,no,1,2,3,4\n"
        );
    }

    #[test]
    fn subtitles_last_long_enough_to_be_seen() {
        assert_eq!(srt(&rows()), "1\n00:00:01,000 --> 00:00:01,500\nAa?\n\n2\n00:00:01,000 --> 00:00:01,500\nperson 1\n\n");
        assert!(vtt(&rows()).ends_with("\n00:00:01.000 --> 00:00:01.500\nperson 1\n"));
    }
}
