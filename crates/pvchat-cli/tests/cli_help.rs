//! Every page of help is as it is checked in: `PVCHAT_WRITE_HELP=1 cargo test --test cli_help` writes help.txt again.

use std::{fmt::Write, fs, path::Path, process::Command};

fn pvchat(arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvchat"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PVCHAT_")) {
        command.env_remove(name);
    }
    let output = command.args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// The commands that a page of help lists.
fn commands(help: &str) -> Vec<String> {
    let list = help.split_once("\nCommands:\n").map_or("", |(_, list)| list);
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(String::from).collect()
}

fn pages(path: &[&str], pages: &mut String) {
    let arguments: Vec<&str> = path.iter().copied().chain(["--help"]).collect();
    let (help, errors, code) = pvchat(&arguments);
    assert_eq!((errors.as_str(), code), ("", Some(0)), "{path:?}");
    writeln!(pages, "==== pvchat {}\n\n{}", arguments.join(" "), help.trim_end()).unwrap();
    pages.push('\n');
    for command in commands(&help) {
        let path: Vec<&str> = path.iter().copied().chain([command.as_str()]).collect();
        self::pages(&path, pages);
    }
}

#[test]
fn help_is_as_checked_in() {
    let mut found = String::new();
    pages(&[], &mut found);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help.txt");
    if std::env::var_os("PVCHAT_WRITE_HELP").is_some() {
        fs::write(&file, &found).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(found == expected, "{differs:?}; PVCHAT_WRITE_HELP=1 writes {} again", file.display());
}

#[test]
fn every_command_that_does_something_has_examples() {
    for command in [
        "enrol",
        "correct",
        "learn",
        "dataset",
        "ask",
        "chat",
        "who",
        "timeline",
        "subjects",
        "models",
        "base",
        "doctor",
        "completions",
    ] {
        let (help, ..) = pvchat(&[command, "--help"]);
        assert!(help.contains("Examples:\n  pvchat"), "{command}");
        // They are seen before the options that every command has.
        assert!(help.find("Examples:") < help.find("Options of every command:"), "{command}");
    }
}

/// In the workspace another package may switch a feature on that the program needs; whoever installs it has only its own.
#[test]
fn the_program_alone_has_the_drawn_world() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "pvchat-cli", "--edges", "features", "--prefix", "none", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let told = String::from_utf8(tree.stdout).unwrap();
    assert!(told.lines().any(|line| line.trim_end() == "pvchat feature \"miniature\""), "{told}");
}
