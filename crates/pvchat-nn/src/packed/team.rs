//! Threads that share the many short steps of one computation.
//!
//! A token of an answer takes more than a hundred products, each of some ten microseconds: less than it takes to wake a thread that
//! sleeps. So the helpers of a [`together`] stay awake from its first step to its last. Steps are divided into tasks that whoever is
//! free takes; the caller never waits for a helper that has not begun a task, so a helper that the system runs late costs nothing.

use std::{
    cell::Cell,
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
};

use rayon::prelude::*;

use super::memory::Shared;

/// Turns of a loop that a thread waits before it lets others run.
const PATIENCE: u32 = 1 << 12;
/// Numbers that one task takes at least.
const TASK_NUMBERS: usize = 1 << 14;
/// The lower half of [`Team::claims`].
const LEFT: u64 = u32::MAX as u64;

/// A step's task by its number, and what it computes with.
type Run = unsafe fn(*const (), usize);

#[derive(Default)]
struct Team {
    /// The number of the step in the upper half, its tasks that nobody has taken in the lower one. A helper takes a task by an
    /// exchange of the whole word, so it cannot take one of a step whose [`run`](Self::run) it has not read.
    claims: AtomicU64,
    /// A [`Run`], written only while no task is left.
    run: AtomicPtr<()>,
    context: AtomicPtr<()>,
    tasks: AtomicUsize,
    /// Tasks of the step that are not finished.
    unfinished: AtomicUsize,
    is_over: AtomicBool,
}

/// What a thread is to the steps that it comes to.
#[derive(Clone, Copy)]
enum Role {
    /// Rayon shares them.
    Alone,
    /// It calls others to help.
    Caller(*const Team),
    /// It computes a task, or waits for one: steps within are its own.
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

/// What `compute` returns; rayon's threads stay awake until then and share its products and norms and its attention.
pub fn together<R>(compute: impl FnOnce() -> R) -> R {
    if !matches!(ROLE.get(), Role::Alone) {
        return compute();
    }
    let team = Team::default();
    rayon::in_place_scope(|scope| {
        for _ in 1..rayon::current_num_threads() {
            scope.spawn(|_| team.help());
        }
        // Dropped also when `compute` panics.
        let _over = Over(&team);
        let _acting = Acting::as_a(Role::Caller(&raw const team));
        compute()
    })
}

/// Runs tasks number `0..tasks`, in any order, by the threads that there are.
pub(super) fn share(tasks: usize, task: impl Fn(usize) + Sync) {
    match ROLE.get() {
        Role::Alone if tasks > 1 => (0..tasks).into_par_iter().with_max_len(1).for_each(&task),
        // SAFETY: the team outlives the role, which only its caller has.
        Role::Caller(team) if tasks > 1 => unsafe { &*team }.share(tasks, &task),
        _ => (0..tasks).for_each(&task),
    }
}

/// Runs `change` on each row of `rows [.., width]` with its number, by the threads that there are.
pub fn share_rows(rows: &mut [f32], width: usize, change: impl Fn(usize, &mut [f32]) + Sync) {
    let (count, each) = (rows.len() / width, TASK_NUMBERS.div_ceil(width));
    let rows = Shared(rows.as_mut_ptr());
    share(count.div_ceil(each), |task| {
        for row in task * each..count.min((task + 1) * each) {
            // SAFETY: each task has its own rows of those that the slice has.
            change(row, unsafe { std::slice::from_raw_parts_mut(rows.at(row * width), width) });
        }
    });
}

/// Ends the work of the helpers.
struct Over<'a>(&'a Team);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}

/// Counts a task as finished, also when it panics.
struct Finished<'a>(&'a Team);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(1, Ordering::Release);
    }
}

impl Team {
    fn share<F: Fn(usize) + Sync>(&self, tasks: usize, task: &F) {
        unsafe fn run<F: Fn(usize)>(context: *const (), number: usize) {
            // SAFETY: `share` returns only when all tasks are finished.
            unsafe { (*context.cast::<F>())(number) }
        }
        assert!(tasks as u64 <= LEFT, "a step of more than 4 billion tasks");
        self.run.store(run::<F> as *mut (), Ordering::Relaxed);
        self.context.store(ptr::from_ref(task).cast_mut().cast(), Ordering::Relaxed);
        self.tasks.store(tasks, Ordering::Relaxed);
        self.unfinished.store(tasks, Ordering::Relaxed);
        let step = (self.claims.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.claims.store(step << 32 | tasks as u64, Ordering::Release);
        let _all = All(self);
        let _acting = Acting::as_a(Role::Member);
        while self.take() {}
    }

    /// Computes a task, if there is one.
    fn take(&self) -> bool {
        let claims = self.claims.load(Ordering::Acquire);
        let left = claims & LEFT;
        if left == 0 {
            return false;
        }
        let (run, context) = (self.run.load(Ordering::Relaxed), self.context.load(Ordering::Relaxed));
        let number = self.tasks.load(Ordering::Relaxed).wrapping_sub(left as usize);
        if self.claims.compare_exchange_weak(claims, claims - 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            let _finished = Finished(self);
            // SAFETY: the exchange shows that a task of this step was left all the while, so what was read is of this step.
            unsafe { std::mem::transmute::<*mut (), Run>(run)(context, number) };
        }
        true
    }

    fn help(&self) {
        // A thread that waits for something else may come here, even the caller.
        if !matches!(ROLE.get(), Role::Alone) {
            return;
        }
        let _acting = Acting::as_a(Role::Member);
        let mut waited = 0;
        while !self.is_over.load(Ordering::Acquire) {
            match self.take() {
                true => waited = 0,
                false => wait(&mut waited),
            }
        }
    }
}

/// Waits until every task of a step is finished, also when one of the caller's own panics: others still compute with what it holds.
struct All<'a>(&'a Team);

impl Drop for All<'_> {
    fn drop(&mut self) {
        let team = self.0;
        // What nobody has taken is not computed after a panic.
        let left = team.claims.fetch_and(!LEFT, Ordering::AcqRel) & LEFT;
        let mut waited = 0;
        while team.unfinished.load(Ordering::Acquire) > left as usize {
            wait(&mut waited);
        }
    }
}

fn wait(waited: &mut u32) {
    *waited += 1;
    match *waited < PATIENCE {
        true => std::hint::spin_loop(),
        false => std::thread::yield_now(),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

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
    }

    #[test]
    fn a_panic_of_a_task_or_of_the_caller_ends_the_computation() {
        let pool = pool(3);
        for round in 0..200 {
            let within = |bad: usize| {
                catch_unwind(AssertUnwindSafe(|| {
                    pool.install(|| together(|| share(12, |task| assert_ne!(task, bad, "the task that fails"))));
                }))
            };
            assert!(within(round % 12).is_err());
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
