//! The laboratory's file of answers survives being killed, and nobody whom learning failed is left out.

#[allow(dead_code)]
#[path = "../laboratory/answers.rs"]
mod answers;

use std::{fs, io::Write};

use answers::{AnswerFile, Row, rows};
use pvchat::miniature::exam::Cast;

fn row(way: &str, character: usize, presence: f32) -> Row {
    let clips = vec![(Cast::Positive, presence), (Cast::Random, 0.0)];
    Row {
        way: way.into(),
        exam: 1,
        character,
        seed: 0,
        clips,
        made: Vec::new(),
        seconds: 1.0,
        last_loss: 0.1,
        refused: presence < 0.5,
    }
}

#[test]
fn a_line_that_was_cut_off_spoils_no_other_and_what_is_computed_again_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    assert!(rows(&path).unwrap().is_empty());
    let mut file = AnswerFile::open(&path).unwrap();
    file.add(&row("learned", 0, 0.9)).unwrap();
    file.add(&row("learned", 1, 0.2)).unwrap();
    drop(file);
    // Killed while it wrote the third.
    let third = serde_json::to_string(&row("learned", 2, 0.9)).unwrap();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&third.as_bytes()[..40]).unwrap();
    let mut file = AnswerFile::open(&path).unwrap();
    for character in 1..4 {
        file.add(&row("learned", character, 0.8)).unwrap();
    }
    let found = rows(&path).unwrap();
    let seen: Vec<(usize, f32, bool)> = found.iter().map(|row| (row.character, row.clips[0].1, row.refused)).collect();
    assert_eq!(seen, [(0, 0.9, false), (1, 0.8, false), (2, 0.8, false), (3, 0.8, false)]);
}

#[test]
fn a_row_from_before_refusals_were_noted_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let mut old = serde_json::to_value(row("learned", 0, 0.9)).unwrap();
    assert!(old.get("refused").is_none());
    old.as_object_mut().unwrap().remove("refused");
    fs::write(&path, format!("{old}\n")).unwrap();
    assert!(!rows(&path).unwrap()[0].refused);
    let mut refused = AnswerFile::open(&path).unwrap();
    refused.add(&row("learned", 1, 0.1)).unwrap();
    assert!(rows(&path).unwrap()[1].refused);
}
