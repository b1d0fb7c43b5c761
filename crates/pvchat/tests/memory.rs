//! Learning for longer takes no more memory: what a step took, the next one takes again.
#![cfg(target_os = "linux")]

mod support;

use std::ops::ControlFlow;

use pvchat::{
    LearnEvent, LearnOptions,
    train::personal::{LearnConfig, Trains},
};
use support::{clip, people, pvchat};

/// Memory of this process that is in use, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

#[test]
fn memory_is_flat_over_epochs() {
    let (person, _, mut stream) = people(900);
    let reference = clip(&[person], &mut stream);
    // 24 clips of which 18 are trained on: a step of 9 clips, so two steps are an epoch and there are 30 of them.
    let mut options = LearnOptions {
        positives: 11,
        training: LearnConfig { trains: Trains::Personal, image_steps: 0, clip_steps: 60, batch: 9, ..LearnConfig::default() },
        ..LearnOptions::default()
    };
    (options.negatives.hard, options.negatives.random) = (8, 4);
    let mut used = Vec::new();
    let learned = pvchat().learn(&reference, &"Aa".parse().unwrap(), &options, |event| {
        if let LearnEvent::Training(_) = event {
            used.push(resident());
        }
        ControlFlow::Continue(())
    });
    assert_eq!(learned.unwrap().report.steps.len(), 60);
    let peak = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
    let (first, last) = (peak(&used[..20]), peak(&used[40..]));
    println!("peak of the first third of the steps {first:.0} MiB, of the last {last:.0} MiB");
    assert!(last <= first * 1.03 + 4.0, "{first} MiB at first, {last} MiB at last: {used:?}");
}
