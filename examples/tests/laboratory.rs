//! The machinery of every claim of the laboratory, with two characters and few steps: what it says then is not of interest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Cargo builds examples together with tests and puts them beside the folder of these.
fn program() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("examples");
    let program = folder.join(format!("laboratory{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "{} is not built; run `cargo build --examples` with the same options", program.display());
    program
}

const FEW: [&str; 6] = ["--image-steps", "1", "--clip-steps", "2", "--batch", "8"];

fn laboratory(answers: &Path, arguments: &[&str]) -> Output {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/plain");
    let mut program = Command::new(program());
    program.arg("--base").arg(base).arg("--answers").arg(answers).args(["--characters", "2", "--clips", "24"]).args(arguments);
    program.output().unwrap()
}

fn lines(file: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn people_are_learned_alone_and_together_and_every_control_can_fail_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let answers = folder.path().join("answers.jsonl");
    let run = |arguments: &[&str]| {
        let output = laboratory(&answers, arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&[&["together", "--group", "2"][..], &FEW].concat());
    let together = lines(&answers);
    assert_eq!(together.len(), 2 * 5, "each character with own, zeroed and another's tokens and rows, and either alone");
    run(&[&["learn", "--data", "random"][..], &FEW].concat());
    let all = lines(&answers);
    assert_eq!(all.len(), together.len() + 2 * (4 + 3), "four ways without learning; learned, as before learning and zeroed");
    assert!(all.iter().all(|row| row["clips"].as_array().unwrap().len() == 80));
    // What is there is not computed again.
    run(&[&["learn", "--data", "random"][..], &FEW].concat());
    assert_eq!(lines(&answers).len(), all.len());

    let table = run(&["table"]);
    for way in ["the base's description in the prompt", "before learning", "cosine of the mean of the grid's tokens"] {
        assert!(table.contains(way), "{table}");
    }
    // Three steps teach nothing, and then nothing is beaten.
    let output = laboratory(&answers, &["table", "--controls"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{error}");
    let controls = [
        "the base's description in the prompt",
        "cosine of the mean of the grid's tokens",
        "tokens and rows zeroed",
        "another's tokens and rows",
    ];
    let failed = table.lines().find(|line| line.contains("2 people with one bridge: FAILED: not clearly better than ")).unwrap();
    assert!(!failed.contains("not measured"), "{failed}");
    // Each of the four is compared with, the description twice.
    let compared = table.lines().rfind(|line| line.contains("2 people with one bridge ")).unwrap();
    assert_eq!(compared.matches('[').count(), 6, "{compared}");
    // A control that a killed run did not come to is one that is not beaten.
    for control in controls {
        let rest: Vec<String> =
            all.iter().filter(|row| !row["way"].as_str().unwrap().ends_with(control)).map(ToString::to_string).collect();
        let fewer = folder.path().join("fewer.jsonl");
        fs::write(&fewer, rest.join("\n") + "\n").unwrap();
        let table = String::from_utf8(laboratory(&fewer, &["table"]).stdout).unwrap();
        assert!(table.lines().any(|line| line.contains(&format!("{control} (not measured)"))), "{control}: {table}");
    }
    let nothing = laboratory(&folder.path().join("nothing.jsonl"), &["table", "--controls"]);
    assert!(!nothing.status.success());
    assert!(error.contains("FAILED: not clearly better than "), "{error}");
}

/// Every part of the method that is changed, every choice of what is trained, and every kind of data.
#[test]
fn every_part_of_the_method_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let answers = folder.path().join("answers.jsonl");
    let ways = |arguments: &[&str]| -> Vec<String> {
        let output = laboratory(&answers, &[arguments, &FEW].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let own = lines(&answers).into_iter().filter(|row| row["curve"].is_array() || row["refused"] == true);
        own.filter(|row| row["character"] == 0).map(|row| row["way"].as_str().unwrap().to_string()).collect()
    };
    let varied = ways(&["together", "--group", "2", "--vary", "routing,objective,tokens,start"]);
    let changed = [
        "bridge",
        "dense",
        "top-k (4 shared, 2 of 4)",
        "ReMoH with new routers",
        "without SPR",
        "without HAE",
        "without SPR and HAE",
        "4 tokens",
        "8 tokens",
        "32 tokens",
        "tokens from the mean of the word rows",
    ];
    for name in changed {
        assert!(varied.iter().any(|way| way.ends_with(name)), "{name}: {varied:?}");
    }
    let data =
        ["learn", "--data", "retrieved", "--trains", "tokens,personal,vision", "--zeroed", "0.25", "--other-tokens", "0.25"];
    let learned = ways(&data);
    for trained in ["tokens and rows", "routers and LoRA too", "upper encoder too"] {
        let way = format!("learned: {trained}, half of the strangers retrieved, nobody is found with other tokens");
        assert!(learned.iter().any(|other| other.starts_with(&way)), "{way}: {learned:?}");
    }
    let odd = laboratory(&answers, &["together", "--group", "3"]);
    assert!(String::from_utf8_lossy(&odd.stderr).contains("2 characters are no groups of 3"), "{odd:?}");
}

/// The published answers are those of people who were learned, and they beat every control.
#[test]
fn the_answers_that_are_kept_pass_every_control() {
    let answers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/plain/answers.jsonl");
    let output = laboratory(&answers, &["--exam", "2029", "table", "--controls"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("4 people with one bridge: passed: every control is beaten"), "{said}");
}
