//! Parallel work, and its progress.

use std::{
    fs,
    ops::ControlFlow,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{Progress, Stage};
use crate::{Error, Result};

/// Tells the caller how far it is, and stops where the caller wants that.
pub(super) struct Monitor<'a> {
    pub(super) observe: Mutex<&'a mut (dyn FnMut(Progress) -> ControlFlow<()> + Send)>,
    pub(super) done: AtomicUsize,
}

impl Monitor<'_> {
    pub(super) fn begin(&self, stage: Stage, total: usize) -> Result<()> {
        self.done.store(0, Ordering::SeqCst);
        self.tell(Progress { stage, done: 0, total })
    }

    pub(super) fn step(&self, stage: Stage, total: usize) -> Result<()> {
        let done = self.done.fetch_add(1, Ordering::SeqCst) + 1;
        self.tell(Progress { stage, done, total })
    }

    /// Whether to continue, where nothing is done yet.
    pub(super) fn wait(&self, stage: Stage, total: usize) -> Result<()> {
        self.tell(Progress { stage, done: self.done.load(Ordering::SeqCst), total })
    }

    fn tell(&self, progress: Progress) -> Result<()> {
        let mut observe = self.observe.lock().unwrap_or_else(PoisonError::into_inner);
        if observe(progress).is_break() { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// Works on items side by side. Threads of their own and not a pool's: who waits for a network there takes up the next clip
/// meanwhile, and the next, until the memory is full.
pub(super) fn in_parallel<I: Sync, T: Send>(
    items: &[I],
    threads: usize,
    work: impl Fn(&I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let (following, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let one_thread = || {
        let mut done: Vec<(usize, Result<T>)> = Vec::new();
        while !has_failed.load(Ordering::SeqCst) {
            let number = following.fetch_add(1, Ordering::SeqCst);
            let Some(item) = items.get(number) else { break };
            let made = work(item);
            has_failed.fetch_or(made.is_err(), Ordering::SeqCst);
            done.push((number, made));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len()).max(1)).map(|_| scope.spawn(one_thread)).collect();
        let mut done = one_thread();
        for other in others {
            match other.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, made)| made).collect()
}

/// How long this thread has computed, in nanoseconds, whatever else the machine does; where the system does not say it, how
/// long it has been since the first call.
pub(super) fn busy() -> u64 {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let computed = told.and_then(|told| told.split_whitespace().next()?.parse().ok());
    computed.unwrap_or_else(|| FIRST.get_or_init(Instant::now).elapsed().as_nanos() as u64)
}
