//! The laboratory's file of answers survives being killed, and nobody whom learning failed is left out.

#[allow(dead_code)]
#[path = "../laboratory/answers.rs"]
mod answers;
#[allow(dead_code)]
#[path = "../laboratory/curve.rs"]
mod curve;

use std::{fs, io::Write};

use answers::{AnswerFile, Row, is_there, rows, table};
use curve::Steps;
use pvchat::{
    miniature::exam::Cast,
    train::{
        objective::{ObjectiveConfig, ObjectiveReport},
        personal::LearnProgress,
    },
};

fn row(way: &str, character: usize, presence: f32) -> Row {
    let clips = vec![(Cast::Positive, presence), (Cast::Random, 0.0)];
    Row { way: way.into(), exam: 1, character, clips, seconds: 1.0, last_loss: 0.1, refused: presence < 0.5, ..Row::default() }
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

#[test]
fn a_curve_has_the_means_of_the_parts_of_a_run() {
    let ObjectiveConfig { mode, sparsity, .. } = ObjectiveConfig::default();
    let nothing = ObjectiveReport { mode, sparsity, modules: Vec::new() };
    let mut steps = Steps::default();
    for step in 1..=24 {
        let gradients = [("tokens", step as f64), ("rows", 2.0)].into();
        let (loss, objective) = (step as f32, nothing.clone());
        steps.add(&LearnProgress { step, steps: 24, video: true, loss, objective, gradients });
    }
    assert_eq!(steps.last_loss(2), 23.5);
    let curve = steps.curve();
    let ends: Vec<usize> = curve.iter().map(|point| point.steps).collect();
    assert_eq!(ends, [3, 6, 9, 12, 15, 18, 21, 24]);
    assert_eq!((curve[1].loss, curve[1].gradients["tokens"], curve[1].gradients["rows"]), (5.0, 5.0, 2.0));
    assert!(Steps::default().curve().is_empty());
}

#[test]
fn a_description_is_also_compared_with_where_its_yes_is_best() {
    let described = |character| {
        let mut row = row("the base's description in the prompt", character, 0.7);
        // It says yes too often, and knows the person all the same.
        row.clips[1].1 = 0.6;
        row
    };
    let all: Vec<Row> = (0..4).flat_map(|character| [described(character), row("learned", character, 0.9)]).collect();
    let verdicts = table(&all, 1, None).unwrap();
    let check = |control: &str| verdicts[0].1.checks.iter().find(|check| check.control == control).unwrap();
    let gain = |control: &str| check(control).margin.map(|margin| margin.value);
    assert_eq!(gain("the base's description in the prompt"), Some(0.5));
    assert_eq!(gain("the base's description in the prompt, yes where it is best"), Some(0.0));
    assert!(!check("the base's description in the prompt, yes where it is best").is_beaten());
    assert!(check("the base's description in the prompt").is_beaten());
}

#[test]
fn answers_of_other_settings_are_not_taken_for_these() {
    let all = [Row { settings: "a1".into(), ..row("learned", 0, 0.9) }, row("learned", 1, 0.9)];
    let there = |character, settings| is_there(&all, "learned", (1, character, 0), settings).map_err(|error| error.to_string());
    assert_eq!(there(0, "a1"), Ok(true));
    assert_eq!(there(1, "a1"), Ok(true), "from before settings were noted");
    assert_eq!(there(2, "a1"), Ok(false));
    let error = there(0, "b2").unwrap_err();
    assert!(error.contains("`learned` about character 0") && error.contains("--label"), "{error}");
}
