//! Learning for longer takes no more memory: what a step took is given back, and the next one takes as much.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
};

use pvchat::{
    LearnEvent, LearnOptions,
    train::personal::{LearnConfig, Trains},
};
use support::{clip, people, pvchat};

/// Bytes in use, and the most that were since somebody last looked.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted: what a process holds resident also depends on what the allocator keeps for later.
struct Counted;

// SAFETY: every call goes to the system's allocator with the same arguments; the counters do not touch the memory.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are those that the system's allocator wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `pointer` came from `alloc` above with this layout, so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

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
