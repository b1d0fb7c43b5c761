//! Threads that share the many short steps of one computation.
//!
//! A token of an answer takes more than a hundred products, each of some ten microseconds: less than it takes to wake a thread that
//! sleeps. So the helpers of a [`together`] stay awake from its first step to its last. Steps are divided into tasks that whoever is
//! free takes; the caller never waits for a helper that has not begun a task, so a helper that the system runs late costs nothing.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
    },
};

use rayon::prelude::*;

use super::memory::Shared;

/// How many times a waiting thread spins before it starts to yield.
const PATIENCE: u32 = 1 << 12;
/// The fewest numbers that are worth a task.
const TASK_NUMBERS: usize = 1 << 14;
/// The lower half of [`Team::claims`].
const UNCLAIMED: u64 = u32::MAX as u64;

/// Whether there is a team. Two would hold all threads of rayon: whoever then waited for one of those would wait forever.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Computes one task of a step: what the step computes with, and the number of the task.
type Run = unsafe fn(*const (), usize);

#[derive(Default)]
struct Team {
    /// The number of the step in the upper half, the count of its unclaimed tasks in the lower half. A helper claims a task by an
    /// exchange of the whole word, so it cannot claim one of a step whose [`run`](Self::run) it has not read.
    claims: AtomicU64,
    /// A [`Run`]; like the next two written only while no task is unclaimed.
    run: AtomicPtr<()>,
    context: AtomicPtr<()>,
    tasks: AtomicUsize,
    /// Tasks of the step that are not finished.
    unfinished: AtomicUsize,
    /// What a task of the step panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    is_over: AtomicBool,
}

/// How a thread runs the steps that it reaches.
#[derive(Clone, Copy)]
enum Role {
    /// Rayon divides them.
    Alone,
    /// It calls its helpers.
    Caller(*const Team),
    /// It runs all tasks by itself: it is within a task, or waits for one.
    Member,
}

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::Alone) };
}

/// A role, until it is dropped.
struct Acting(Role);

impl Acting {
    fn as_a(role: Role) -> Self {
        Self(ROLE.replace(role))
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        ROLE.set(self.0);
    }
}

/// Sets the flag when it is dropped, also by a panic.
struct Set<'a>(&'a AtomicBool, bool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(self.1, Ordering::Release);
    }
}

/// Runs `compute` while rayon's threads stay awake to share its products, norms and attention. While one computation has them,
/// others run as they would without this function.
pub fn together<R>(compute: impl FnOnce() -> R) -> R {
    if !matches!(ROLE.get(), Role::Alone) || IS_TAKEN.swap(true, Ordering::Acquire) {
        return compute();
    }
    let _free = Set(&IS_TAKEN, false);
    let team = Team::default();
    // So that this thread, while the scope waits for its helpers, helps nobody else.
    let _acting = Acting::as_a(Role::Member);
    rayon::in_place_scope(|scope| {
        for _ in 1..rayon::current_num_threads() {
            scope.spawn(|_| team.help());
        }
        let _over = Set(&team.is_over, true);
        let _acting = Acting::as_a(Role::Caller(&raw const team));
        compute()
    })
}

/// Whether helpers are awake, so that small tasks are worth it.
pub(super) fn has_helpers() -> bool {
    matches!(ROLE.get(), Role::Caller(_))
}

/// Runs tasks number `0..tasks`, in any order, by the threads that there are.
pub(super) fn share(tasks: usize, task: impl Fn(usize) + Sync) {
    match ROLE.get() {
        Role::Alone if tasks > 1 => (0..tasks).into_par_iter().with_max_len(1).for_each(&task),
        // SAFETY: the team outlives the role, which only its caller has.
        Role::Caller(team) if tasks > 1 => unsafe { &*team }.share(tasks, &task),
        _ => (0..tasks).for_each(task),
    }
}

/// Runs `change` on each row of `rows [.., width]` with its number, by the threads that there are. What follows the last whole row
/// stays as it is; of width zero there are no rows.
pub fn share_rows(rows: &mut [f32], width: usize, change: impl Fn(usize, &mut [f32]) + Sync) {
    let count = rows.len().checked_div(width).unwrap_or(0);
    let each = TASK_NUMBERS.div_ceil(width.max(1));
    let rows = Shared(rows.as_mut_ptr());
    share(count.div_ceil(each), |task| {
        for row in task * each..count.min((task + 1) * each) {
            // SAFETY: each task has its own rows of those that the slice has.
            change(row, unsafe { std::slice::from_raw_parts_mut(rows.at(row * width), width) });
        }
    });
}

impl Team {
    /// Panics when a task does, after all others.
    fn share<F: Fn(usize) + Sync>(&self, tasks: usize, task: &F) {
        unsafe fn run<F: Fn(usize)>(context: *const (), number: usize) {
            // SAFETY: `share` returns only when all tasks are finished.
            unsafe { (*context.cast::<F>())(number) }
        }
        assert!(tasks as u64 <= UNCLAIMED, "a step of more than 4 billion tasks");
        self.run.store(run::<F> as *mut (), Ordering::Relaxed);
        self.context.store(ptr::from_ref(task).cast_mut().cast(), Ordering::Relaxed);
        self.tasks.store(tasks, Ordering::Relaxed);
        self.unfinished.store(tasks, Ordering::Relaxed);
        let step = (self.claims.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.claims.store(step << 32 | tasks as u64, Ordering::Release);
        let acting = Acting::as_a(Role::Member);
        while self.compute_one() {}
        let mut waited = 0;
        while self.unfinished.load(Ordering::Acquire) > 0 {
            wait(&mut waited);
        }
        drop(acting);
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Computes a task, if one is unclaimed.
    fn compute_one(&self) -> bool {
        let claims = self.claims.load(Ordering::Acquire);
        let unclaimed = claims & UNCLAIMED;
        if unclaimed == 0 {
            return false;
        }
        let (run, context) = (self.run.load(Ordering::Relaxed), self.context.load(Ordering::Relaxed));
        let number = self.tasks.load(Ordering::Relaxed).wrapping_sub(unclaimed as usize);
        if self.claims.compare_exchange_weak(claims, claims - 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            // SAFETY: the exchange shows that a task of this step was unclaimed all the while, so what was read is of this step.
            let compute = || unsafe { std::mem::transmute::<*mut (), Run>(run)(context, number) };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(compute)) {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            self.unfinished.fetch_sub(1, Ordering::Release);
        }
        true
    }

    fn help(&self) {
        // Rayon may run this on a thread that waits for something else, even on the caller.
        if !matches!(ROLE.get(), Role::Alone) {
            return;
        }
        let _acting = Acting::as_a(Role::Member);
        let mut waited = 0;
        while !self.is_over.load(Ordering::Acquire) {
            match self.compute_one() {
                true => waited = 0,
                false => wait(&mut waited),
            }
        }
    }
}

fn wait(waited: &mut u32) {
    *waited = waited.saturating_add(1);
    match *waited < PATIENCE {
        true => std::hint::spin_loop(),
        false => std::thread::yield_now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool")
    }

    /// Steps of `1 + step % 9` tasks, each of which must run once.
    fn steps(count: usize) {
        for step in 0..count {
            let runs: Vec<AtomicUsize> = (0..1 + step % 9).map(|_| AtomicUsize::new(0)).collect();
            share(runs.len(), |task| {
                runs[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1), "step {step}: {runs:?}");
        }
    }

    #[test]
    fn every_task_of_every_step_runs_once() {
        for threads in [1, 2, 5] {
            pool(threads).install(|| together(|| steps(20_000)));
        }
        together(|| steps(20_000)); // by a thread that is not rayon's
        steps(100);
    }

    #[test]
    fn several_computations_at_once_and_within_each_other_come_to_an_end() {
        pool(3).install(|| {
            (0..24).into_par_iter().for_each(|_| {
                together(|| {
                    steps(200);
                    together(|| steps(20));
                    share(6, |_| steps(10)); // within a task
                    // The caller may have to wait for rayon.
                    assert_eq!((0..1000).into_par_iter().sum::<usize>(), 499_500);
                });
            });
        });
        // Callers that are not rayon's need a thread of it for themselves.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        together(|| {
                            steps(20);
                            assert_eq!((0..1000).into_par_iter().sum::<usize>(), 499_500);
                        });
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_of_a_task_or_of_the_caller_ends_the_computation() {
        let pool = pool(3);
        for round in 0..200 {
            let within = |bad: usize| {
                catch_unwind(AssertUnwindSafe(|| {
                    pool.install(|| {
                        together(|| {
                            share(12, |task| assert_ne!(task, bad, "the task that fails"));
                            assert_eq!(bad, 12, "the step has panicked");
                        });
                    });
                }))
            };
            let panic = within(round % 12).unwrap_err();
            assert!(panic.downcast_ref::<String>().is_some_and(|text| text.contains("the task that fails")));
            assert!(within(12).is_ok());
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.install(|| together(|| panic!("the caller fails")))));
        assert!(outcome.is_err());
        pool.install(|| together(|| steps(100)));
    }

    #[test]
    fn rows_are_changed_once() {
        let mut rows = vec![0.0; 7 * 5000];
        pool(2).install(|| together(|| share_rows(&mut rows, 7, |number, row| row.iter_mut().for_each(|x| *x += number as f32))));
        assert!(rows.chunks(7).enumerate().all(|(number, row)| row.iter().all(|x| *x == number as f32)));
    }
}
