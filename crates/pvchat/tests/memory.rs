//! Learning for longer takes no more memory: what a step took is given back, and the next one takes as much.

#[path = "../../pvchat-model/tests/counted/mod.rs"]
mod counted;
mod support;

use std::{ops::ControlFlow, sync::atomic::Ordering};

use counted::{LIVE, PEAK};
use pvchat::{
    LearnEvent, LearnOptions,
    train::personal::{LearnConfig, Trains},
};
use support::{clip, people, pvchat};

#[test]
fn memory_is_flat_over_epochs() {
    let (person, _, mut stream) = people(900);
    let reference = clip(&[person], &mut stream);
    // 24 clips of which 18 are trained on: two steps of 9 clips are an epoch, and there are 30 epochs.
    let mut options = LearnOptions {
        positives: 11,
        training: LearnConfig { trains: Trains::Personal, image_steps: 0, clip_steps: 60, batch: 9, ..LearnConfig::default() },
        ..LearnOptions::default()
    };
    (options.negatives.hard, options.negatives.random) = (8, 4);
    let mut steps = Vec::with_capacity(60);
    let learned = pvchat().learn(&reference, &"Aa".parse().unwrap(), &options, |event| {
        if let LearnEvent::Training(_) = event {
            let live = LIVE.load(Ordering::Relaxed);
            steps.push([live, PEAK.swap(live, Ordering::Relaxed)]);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(learned.unwrap().report.steps.len(), 60);
    let most = |part: &[[usize; 2]], what: usize| part.iter().map(|step| step[what]).max().unwrap_or(0) as f64 / 1048576.0;
    // The first steps make the optimiser's state.
    let (early, late) = (&steps[2..20], &steps[40..]);
    let [kept, kept_late] = [early, late].map(|part| most(part, 0));
    let [peak, peak_late] = [early, late].map(|part| most(part, 1));
    println!(
        "between steps {kept:.2} MiB early, {kept_late:.2} late; in a step at most {peak:.1} MiB early, {peak_late:.1} late"
    );
    // The report of a step is about a kilobyte, and there are forty between early and late.
    assert!(kept_late <= kept + 0.5, "{kept} MiB early, {kept_late} MiB late");
    // Two threads work on shards of different lengths, so that steps differ, but not more over time.
    assert!(peak_late <= peak * 1.1, "{peak} MiB early, {peak_late} MiB late");
}
