//! Learning is killed at random points and resumed: the subject is byte for byte that of an undisturbed run.
//!
//! `PVCHAT_KILLS` sets how often a process is killed (10 otherwise); `make soak` asks for 100.
#![cfg(unix)]

mod support;

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use pvchat::{
    LearnEvent, LearnOptions, SubjectFolder, SubjectName,
    data::random::SeededStream,
    train::personal::{AdaptationConfig, LearnConfig, Trains},
};
use support::{clip, people, pvchat};

/// Names the folder of subjects to the process that learns; set by the tests below only.
const CHILD: &str = "PVCHAT_TEST_LEARNS_IN";
/// What that process trains.
const TRAINS: &str = "PVCHAT_TEST_TRAINS";

fn name() -> SubjectName {
    "Aa".parse().unwrap()
}

/// A configuration that learns in seconds, with a checkpoint after every step.
fn options(trains: Trains) -> LearnOptions {
    let mut options = LearnOptions {
        positives: 7,
        training: LearnConfig {
            trains,
            image_steps: 4,
            clip_steps: 10,
            batch: 8,
            // Fast enough to change the self-check, so that what is saved is what was learned.
            learning_rate: 3e-3,
            adaptation: AdaptationConfig { lora_rate: 1e-3, router_rate: 1e-3, ..AdaptationConfig::default() },
            ..LearnConfig::default()
        },
        checkpoint_seconds: 0.0,
        ..LearnOptions::default()
    };
    (options.negatives.hard, options.negatives.random) = (5, 3);
    options
}

/// The process that learns: says a line at every event and keeps the learned form beside the subject, whether it was kept or not.
#[test]
fn learns_when_another_test_starts_it() {
    let Some(folder) = env::var_os(CHILD).map(PathBuf::from) else { return };
    let trains = serde_json::from_str(&env::var(TRAINS).unwrap()).unwrap();
    let (person, _, mut stream) = people(700);
    let reference = clip(&[person], &mut stream);
    let subjects = SubjectFolder::new(&folder);
    let learned = subjects.learn(pvchat(), &reference, &name(), &options(trains), |event| {
        let mut out = std::io::stdout().lock();
        let said = match event {
            LearnEvent::Training(progress) => writeln!(out, "event step {}", progress.step),
            _ => writeln!(out, "event data"),
        };
        if said.and_then(|()| out.flush()).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let mut report = learned.unwrap().report;
    assert_eq!(report.steps.len(), 14, "the steps of the runs before are reported too");
    report.learned.swap_remove(0).save(&folder.join("learned.safetensors")).unwrap();
}

fn start(folder: &Path, trains: Trains) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "learns_when_another_test_starts_it", "--nocapture", "--test-threads=1"])
        .env(CHILD, folder)
        .env(TRAINS, serde_json::to_string(&trains).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the process after that many events and a moment; returns whether it ended by itself before.
fn kill_after(mut child: Child, events: usize, moment: Duration) -> bool {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let seen = lines.by_ref().filter(|line| line.contains("event ")).take(events).count();
    if seen == events {
        std::thread::sleep(moment);
        child.kill().unwrap();
    }
    child.wait().unwrap().success()
}

/// The files that learning leaves: the subject and its learned form.
fn results(folder: &Path) -> [Vec<u8>; 2] {
    ["Aa.subject.safetensors", "learned.safetensors"].map(|file| fs::read(folder.join(file)).unwrap())
}

fn killed_runs_end_where_undisturbed_ones_do(trains: Trains, kills: usize) {
    let folder = tempfile::tempdir().unwrap();
    let undisturbed = folder.path().join("undisturbed");
    assert!(kill_after(start(&undisturbed, trains), usize::MAX, Duration::ZERO));
    let expected = results(&undisturbed);
    assert!(!undisturbed.join("Aa.learning").exists(), "checkpoints go when the subject is there");

    let mut stream = SeededStream::new(u64::from(std::process::id())).derive("kills");
    let (mut killed, mut resumed, mut finished, mut run) = (0, 0, 0, 0);
    while killed < kills || finished == 0 {
        let own = folder.path().join(format!("run-{run}"));
        // Events: 2 of data making, 6 of encoding, 14 steps; resumed runs have fewer. Every second kill comes after the first
        // steps, so that there is always a checkpoint to go on from somewhere.
        let events = match killed {
            _ if killed == kills => usize::MAX,
            even if even.is_multiple_of(2) => 10 + stream.below(7),
            _ => 1 + stream.below(14),
        };
        let moment = Duration::from_micros(stream.below(30_000) as u64);
        let checkpoint = own.join("Aa.learning/latest.json").exists();
        if kill_after(start(&own, trains), events, moment) {
            assert!(results(&own) == expected, "{trains}: run {run} with {killed} kills so far");
            (finished, run) = (finished + 1, run + 1);
        } else {
            killed += 1;
        }
        resumed += usize::from(checkpoint);
    }
    println!("{trains}: {killed} kills, {resumed} resumptions from a checkpoint, {finished} finished runs compared");
    assert!(resumed * 4 >= kills, "too few of the processes had a checkpoint to go on from: {resumed}");
}

#[test]
fn killed_learning_ends_where_undisturbed_learning_does() {
    let kills = env::var("PVCHAT_KILLS").map_or(10, |kills| kills.parse().expect("PVCHAT_KILLS is a number"));
    killed_runs_end_where_undisturbed_ones_do(Trains::Composable, kills - kills / 5);
    killed_runs_end_where_undisturbed_ones_do(Trains::Personal, kills / 5);
}

/// Runs the learning process under a limit on the size of the files that it may write: what a full disk does, without
/// having to fill one.
#[test]
fn a_disk_that_is_full_is_told_and_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        // In blocks of 512 or 1024 bytes, as the shell likes: both are less than a subject takes.
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "learns_when_another_test_starts_it", "--nocapture", "--test-threads=1"])
        .env(CHILD, folder.path())
        .env(TRAINS, "\"composable\"")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("Checkpoint {") && said.contains("File too large"), "{said}");
    let left = |folder: &Path| -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(said.contains("no checkpoint had been written") && !said.contains("still good"), "{said}");
    assert!(left(folder.path()).is_empty(), "neither a half-written subject nor a folder that nothing can be resumed from");
    // With room again, learning goes on in the same folder.
    assert!(kill_after(start(folder.path(), Trains::Composable), usize::MAX, Duration::ZERO));
}

#[test]
fn a_subject_that_finds_no_room_is_told_and_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(folder) = env::var_os("PVCHAT_TEST_SAVES_IN").map(PathBuf::from) {
        let subjects = SubjectFolder::new(&folder);
        let old = subjects.load(&name(), pvchat().vilm()).unwrap();
        let error = subjects.save(&old).unwrap_err();
        assert!(matches!(error, pvchat::Error::Model(pvchat::model::Error::Io { .. })), "{error:?}");
        assert_eq!(subjects.load(&name(), pvchat().vilm()).unwrap(), old);
        return;
    }
    let (person, _, mut stream) = people(701);
    let subjects = SubjectFolder::new(folder.path());
    subjects.save(&pvchat().enrol(&clip(&[person], &mut stream), &name()).unwrap()).unwrap();
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "a_subject_that_finds_no_room_is_told_and_leaves_the_old_one", "--test-threads=1"])
        .env("PVCHAT_TEST_SAVES_IN", folder.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-written");
}

#[test]
fn two_trainers_of_one_subject_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = start(folder.path(), Trains::Composable);
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("event ")), "the first trainer works");
    let (person, _, mut stream) = people(700);
    let reference = clip(&[person], &mut stream);
    let subjects = SubjectFolder::new(folder.path());
    let second = subjects.learn(pvchat(), &reference, &name(), &options(Trains::Composable), |_| ControlFlow::Continue(()));
    let busy = |error: &pvchat::Error| matches!(error, pvchat::Error::Train(pvchat::train::Error::Busy { .. }));
    let error = second.unwrap_err();
    assert!(busy(&error) && error.to_string().contains(&first.id().to_string()), "{error}");
    assert!(busy(&subjects.forget(&name()).unwrap_err()), "nor can it be forgotten meanwhile");
    let enrolled = pvchat().enrol(&reference, &name()).unwrap();
    assert!(busy(&subjects.save(&enrolled).unwrap_err()), "nor saved, to be replaced soon after");
    let other: SubjectName = "Bb".parse().unwrap();
    let people = [(&reference, &name()), (&reference, &other)];
    let together = subjects.learn_together(pvchat(), &people, &options(Trains::Composable), |_| ControlFlow::Continue(()));
    assert!(busy(&together.unwrap_err()), "nor learned with others");
    let unfinished = subjects.unfinished().unwrap();
    assert_eq!(unfinished.len(), 1);
    assert!(unfinished[0].names == [name()] && unfinished[0].running, "{unfinished:?}");
    // The lock of a dead process is none.
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(!subjects.unfinished().unwrap()[0].running);
    assert!(!subjects.forget(&name()).unwrap().is_empty());
}

#[test]
fn a_run_of_other_options_or_data_is_refused_with_what_differs_and_stopping_is_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let subjects = SubjectFolder::new(folder.path());
    let (person, other, mut stream) = people(702);
    let reference = clip(&[person], &mut stream);
    let all = options(Trains::Composable);
    let stop_at = |last: usize| {
        move |event: LearnEvent<'_>| match event {
            LearnEvent::Training(progress) if progress.step >= last => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    };
    let stopped = subjects.learn(pvchat(), &reference, &name(), &all, stop_at(3)).unwrap_err();
    assert!(matches!(stopped, pvchat::Error::Train(pvchat::train::Error::Stopped { step: 3 })), "{stopped:?}");

    let mut faster = all.clone();
    faster.training.learning_rate = 5e-3;
    let refused = subjects.learn(pvchat(), &reference, &name(), &faster, stop_at(99)).unwrap_err().to_string();
    assert!(refused.contains("begun with other options (learning_rate 0.003, now 0.005); give it the same"), "{refused}");
    let unfinished = subjects.unfinished().unwrap();
    assert!(unfinished.len() == 1 && unfinished[0].steps == Some(3) && !unfinished[0].running, "{unfinished:?}");
    assert!(subjects.names().unwrap().is_empty());

    let elsewhere = clip(&[other], &mut stream);
    let refused = subjects.learn(pvchat(), &elsewhere, &name(), &all, stop_at(99)).unwrap_err().to_string();
    assert!(refused.contains("begun with another clip; give it the same") && refused.contains("forget <Aa>"), "{refused}");

    // No time at all: stopped before anything is made, and nothing is lost either.
    let hasty = LearnOptions { time_budget_seconds: Some(0.0), ..all.clone() };
    let late = subjects.learn(pvchat(), &reference, &name(), &hasty, stop_at(99)).unwrap_err();
    assert!(matches!(late, pvchat::Error::Train(pvchat::train::Error::OutOfTime { .. })), "{late:?}");

    let other: SubjectName = "q".parse().unwrap();
    assert!(subjects.learn(pvchat(), &reference, &other, &all, stop_at(99)).is_err(), "a token of the model");
    assert_eq!(subjects.unfinished().unwrap().len(), 1, "what never began is not unfinished");

    let resumed = subjects.learn(pvchat(), &reference, &name(), &all, stop_at(99)).unwrap();
    let whole = pvchat().learn(&reference, &name(), &all, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(resumed.subject, whole.subject);
    assert_eq!(resumed.report.learned, whole.report.learned);
    assert_eq!(resumed.report.steps.len(), 14);
}
