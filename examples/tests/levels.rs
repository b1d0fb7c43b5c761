//! The program `levels`: verification, and learning for other looks, with few people and steps.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Cargo builds examples together with tests and puts them beside the folder of these.
fn levels(arguments: &[&str]) -> Output {
    let folder = std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("examples");
    let program = folder.join(format!("levels{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "{} is not built; run `cargo build --examples` with the same options", program.display());
    Command::new(program).args(["--exam", "77"]).args(arguments).output().unwrap()
}

fn table(arguments: &[&str]) -> String {
    let output = levels(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn people_are_verified_by_templates_and_by_tokens() {
    let table = table(&["--only-verification", "--enrolled", "3"]);
    for way in ["templates", "tokens of one look"] {
        assert!(table.lines().any(|line| line.contains(way) && line.contains("18, 36")), "{table}");
    }
}

#[test]
fn learning_for_other_looks_is_compared_with_one_look() {
    let folder = tempfile::tempdir().unwrap();
    let options = folder.path().join("options.json");
    fs::write(&options, r#"{"exchanged": 12, "positives": 8, "training": {"image_steps": 1, "clip_steps": 2}}"#).unwrap();
    let few = ["--learn", "--characters", "1", "--only", "occluded", "--options", options.to_str().unwrap()];
    let table = table(&few);
    assert!(table.lines().any(|line| line.starts_with("| occluded")), "{table}");
}
