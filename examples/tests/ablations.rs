//! Comparisons of bases: a comparison that was made is not made again, whatever ended it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Cargo builds examples together with tests and puts them beside the folder of these.
fn compare(folder: &Path) -> String {
    let programs = std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("examples");
    let program = programs.join(format!("ablations{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "{} is not built; run `cargo build --examples` with the same options", program.display());
    let small = ["matching", "--steps", "2", "--groups", "12", "--seeds", "1", "--characters", "1", "--folder"];
    let output = Command::new(program).args(small).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_done_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let table = compare(folder.path());
    assert!(["products", "cosine", "attention"].iter().all(|name| table.contains(name)), "{table}");
    let runs: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(runs.len(), 3, "a folder for every base: {runs:?}");
    let figures = |run: &PathBuf| run.join("exam-2027-of-1.json");
    let written = || runs.iter().map(|run| fs::metadata(figures(run)).unwrap().modified().unwrap()).collect::<Vec<_>>();
    let before = written();
    assert_eq!(compare(folder.path()), table);
    assert_eq!(written(), before, "nothing is examined again");

    // One of the three is lost: it alone is examined again, from its checkpoint, and the table is the same.
    fs::remove_file(figures(&runs[1])).unwrap();
    let again = compare(folder.path());
    let changed: Vec<bool> = written().iter().zip(&before).map(|(now, before)| now != before).collect();
    assert_eq!(changed, [false, true, false]);
    assert_eq!(again, table);
}
