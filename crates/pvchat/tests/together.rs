//! People who are learned together in one run, and two ways to need less memory: features on the disk, activations computed
//! again.

mod support;

use std::ops::ControlFlow;

use pvchat::{
    Error, LearnEvent, LearnOptions, SeenClip, SubjectFolder, SubjectName,
    model::subject::{TOKENS, WORD_ROW},
    train::{
        Error as TrainError,
        personal::{LearnConfig, Trains},
    },
};
use support::{clip, people, pvchat};

fn names() -> [SubjectName; 3] {
    ["Aa", "Bb", "Cc"].map(|name| name.parse().unwrap())
}

/// A configuration that learns in seconds, with a checkpoint after every step.
fn options() -> LearnOptions {
    let mut options = LearnOptions {
        positives: 5,
        together: 3,
        training: LearnConfig { image_steps: 4, clip_steps: 8, batch: 8, learning_rate: 3e-3, ..LearnConfig::default() },
        checkpoint_seconds: 0.0,
        ..LearnOptions::default()
    };
    (options.negatives.hard, options.negatives.random) = (4, 2);
    options
}

/// A clip of each of two people.
fn two(seed: u64) -> [SeenClip; 2] {
    let (one, other, mut stream) = people(seed);
    [one, other].map(|person| clip(&[person], &mut stream))
}

fn go_on(_: LearnEvent<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn stop_at(last: usize) -> impl FnMut(LearnEvent<'_>) -> ControlFlow<()> {
    move |event| match event {
        LearnEvent::Training(progress) if progress.step >= last => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}

#[test]
fn two_people_learned_in_one_run_can_be_interrupted_and_asked_about_together_and_alone() {
    let folder = tempfile::tempdir().unwrap();
    let subjects = SubjectFolder::new(folder.path());
    let (clips, [first, second, _]) = (two(800), names());
    let both = [(&clips[0], &first), (&clips[1], &second)];
    let stopped = subjects.learn_together(pvchat(), &both, &options(), stop_at(5)).unwrap_err();
    assert!(matches!(stopped, Error::Train(TrainError::Stopped { step: 5 })), "{stopped:?}");
    assert!(folder.path().join("Aa+Bb.learning/latest.json").exists());

    let other_order = [both[1], both[0]];
    let mut options_of_others = options();
    options_of_others.together = 2;
    let refused = subjects.learn_together(pvchat(), &both, &options_of_others, go_on).unwrap_err().to_string();
    assert!(refused.contains("begun with other options (together 3, now 2)"), "{refused}");

    let resumed = subjects.learn_together(pvchat(), &both, &options(), go_on).unwrap();
    let whole = pvchat().learn_together(&both, &options(), go_on).unwrap();
    // Not `assert_eq`, which would print every number of them.
    assert!(resumed.subjects == whole.subjects && resumed.report.learned == whole.report.learned, "resumed is not the same");
    assert_eq!(resumed.report.after, whole.report.after);
    assert_eq!((whole.report.steps.len(), whole.together), (12, 3));
    assert!(whole.report.real.is_some_and(|[before, _]| before.balanced_accuracy > 0.8), "{:?}", whole.report.real);
    assert!(!folder.path().join("Aa+Bb.learning").exists(), "checkpoints go when the subjects are there");
    assert_eq!(subjects.names().unwrap(), [first.clone(), second.clone()]);

    for (learned, clip) in whole.report.learned.iter().zip(&clips) {
        let enrolled = pvchat().enrol(clip, &learned.info.name).unwrap();
        assert!(
            [TOKENS, WORD_ROW].into_iter().all(|part| learned.values(part) != enrolled.values(part)),
            "{} was moved",
            learned.info.name
        );
        assert!(learned.is_composable());
    }
    let answer = pvchat().ask(&whole.report.learned, &clips[0], "are <Aa> and <Bb> in this video ?").unwrap();
    assert_eq!(answer.presence.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), [first.clone(), second.clone()]);
    let alone = pvchat().ask(&whole.report.learned, &clips[1], "what is <Bb> wearing ?").unwrap();
    assert_eq!(alone.presence.len(), 1);

    let swapped = pvchat().learn_together(&other_order, &options(), go_on).unwrap();
    assert_eq!(swapped.subjects[0].info.name, second);
}

#[test]
fn forgetting_one_of_two_deletes_what_their_learning_left() {
    let folder = tempfile::tempdir().unwrap();
    let subjects = SubjectFolder::new(folder.path());
    let (clips, [first, second, third]) = (two(801), names());
    let stopped = subjects.learn_together(pvchat(), &[(&clips[0], &first), (&clips[1], &second)], &options(), stop_at(2));
    assert!(stopped.is_err());
    subjects.save(&pvchat().enrol(&clips[1], &second).unwrap()).unwrap();
    let unfinished = subjects.rename(&second, &third, pvchat().vilm()).unwrap_err();
    assert!(matches!(unfinished, Error::Unfinished { .. }), "{unfinished:?}");
    assert!(subjects.forget(&third).unwrap().is_empty(), "it has nothing of a third person");
    let receipt = subjects.forget(&second).unwrap();
    assert!(receipt.to_string().contains("Aa+Bb.learning"), "{receipt}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn people_who_cannot_be_learned_together_are_refused() {
    let (clips, [first, second, _]) = (two(802), names());
    let refused = |people: &[(&SeenClip, &SubjectName)], options: &LearnOptions| {
        pvchat().learn_together(people, options, go_on).unwrap_err().to_string()
    };
    assert!(refused(&[], &options()).contains("0 people"));
    assert!(refused(&[(&clips[0], &first), (&clips[1], &first)], &options()).contains("<Aa> twice"));
    assert!(refused(&[(&clips[0], &first); 5], &options()).contains("5 people"));
    let mut personal = options();
    personal.training.trains = Trains::Personal;
    let error = refused(&[(&clips[0], &first), (&clips[1], &second)], &personal);
    assert!(error.contains("`trains` is personal") && error.contains("composable"), "{error}");
    // A wall without anybody: nobody can be cut out of it.
    let blank = vec![image::RgbImage::from_pixel(64, 64, image::Rgb([120, 130, 140])); 8];
    let mut nobody = pvchat().see(&blank).unwrap();
    let error = refused(&[(&clips[0], &first), (&nobody, &second)], &options());
    assert!(error.contains("nobody found in the given frames"), "{error}");
    nobody.kind = pvchat::ClipKind::Unknown;
    let mut lenient = options();
    lenient.least_similarity = -1.0;
    let error = refused(&[(&clips[0], &first), (&nobody, &second)], &lenient);
    assert!(error.contains("no clip with <Aa> and <Bb> together"), "{error}");
}

#[test]
fn features_that_do_not_fit_into_memory_change_nothing() {
    let ([one, _], [name, ..]) = (two(803), names());
    let learn = |feature_memory: Option<usize>, trains: Trains| {
        let mut options = LearnOptions { feature_memory, ..options() };
        options.training.trains = trains;
        (options.training.image_steps, options.training.clip_steps) = (2, 3);
        pvchat().learn(&one, &name, &options, go_on).unwrap()
    };
    for trains in [Trains::Composable, Trains::PersonalBridgeAndVision] {
        // Fewer bytes than one clip takes: only the one that was used last stays.
        let (all, spilled) = (learn(None, trains), learn(Some(1), trains));
        assert!(all.report == spilled.report && all.subject == spilled.subject, "{trains}");
    }
}

#[test]
fn activations_that_are_computed_again_change_nothing() {
    let ([one, _], [name, ..]) = (two(803), names());
    for trains in [Trains::Composable, Trains::PersonalAndBridge, Trains::PersonalBridgeAndVision] {
        let learn = |activation_checkpointing: bool| {
            let mut options = options();
            options.training =
                LearnConfig { trains, activation_checkpointing, image_steps: 2, clip_steps: 2, ..options.training };
            pvchat().learn(&one, &name, &options, go_on).unwrap().report
        };
        assert!(learn(false) == learn(true), "{trains}");
    }
}
