//! Progress bars for everything that takes more than a second, and how long each part took.

use std::{
    io::Write,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use pvchat::LearnEvent;
use serde::Serialize;

/// How long the parts of learning took, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LearnSeconds {
    /// Making positives from the reference.
    pub making_positives: f64,
    /// Choosing and rendering negatives, and describing the positives.
    pub choosing_negatives: f64,
    /// Encoding all clips once.
    pub encoding: f64,
    /// Training, with the self-check.
    pub training: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    MakingPositives,
    ChoosingNegatives,
    Encoding,
    Training,
}

impl Phase {
    fn words(self) -> &'static str {
        match self {
            Self::MakingPositives => "making other clips of the same person",
            Self::ChoosingNegatives => "choosing similar strangers, describing clips",
            Self::Encoding => "encoding every clip once",
            Self::Training => "training",
        }
    }
}

/// The progress of learning somebody; give its [`observe`](Self::observe) every event.
pub struct LearnBars {
    bar: ProgressBar,
    phase: Option<(Phase, Instant)>,
    seconds: LearnSeconds,
    /// Whether a line stays for every part.
    lines: bool,
}

impl Default for LearnBars {
    fn default() -> Self {
        Self { bar: ProgressBar::hidden(), phase: None, seconds: LearnSeconds::default(), lines: true }
    }
}

impl LearnBars {
    /// Bars that leave nothing behind.
    pub fn passing() -> Self {
        Self { lines: false, ..Self::default() }
    }

    /// Shows an event; never asks to stop.
    pub fn observe(&mut self, event: LearnEvent<'_>) -> ControlFlow<()> {
        match event {
            LearnEvent::MakingPositives => self.enter(Phase::MakingPositives, None),
            LearnEvent::ChoosingNegatives => self.enter(Phase::ChoosingNegatives, None),
            LearnEvent::Encoding(done, total) => {
                self.enter(Phase::Encoding, Some(total));
                self.bar.set_position(done as u64);
            }
            LearnEvent::Training(progress) => {
                self.enter(Phase::Training, Some(progress.steps));
                self.bar.set_position(progress.step as u64);
                let (stage, active) = (if progress.video { "clips" } else { "images" }, 100.0 * progress.objective.activation());
                self.bar.set_message(format!("on {stage}, loss {:.3}, {active:.0} % of routed heads on", progress.loss));
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes the bar away and says how long the parts took.
    pub fn finish(mut self) -> LearnSeconds {
        self.leave();
        self.seconds
    }

    fn enter(&mut self, phase: Phase, total: Option<usize>) {
        if self.phase.is_some_and(|(current, _)| current == phase) {
            return;
        }
        self.leave();
        self.bar = match total {
            Some(total) => bar(phase.words(), total),
            None => spinner(phase.words()),
        };
        self.phase = Some((phase, Instant::now()));
    }

    fn leave(&mut self) {
        self.bar.finish_and_clear();
        let Some((phase, since)) = self.phase.take() else { return };
        let seconds = since.elapsed().as_secs_f64();
        match phase {
            Phase::MakingPositives => self.seconds.making_positives = seconds,
            Phase::ChoosingNegatives => self.seconds.choosing_negatives = seconds,
            Phase::Encoding => self.seconds.encoding = seconds,
            Phase::Training => self.seconds.training = seconds,
        }
        if !self.lines {
            return;
        }
        // Not `eprintln!`, which panics when nobody listens.
        let _ = writeln!(std::io::stderr(), "  {:<46}{seconds:6.1} s", phase.words());
    }
}

/// A bar with a count and a message.
pub fn bar(words: &'static str, total: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("  {prefix:<46}{bar:24} {pos}/{len}  {elapsed}, {eta} left  {wide_msg}");
    let bar = ProgressBar::new(total as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_prefix(words)
}

/// A sign of life for what cannot be counted.
pub fn spinner(words: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("  {prefix:<46}{spinner}  {elapsed}");
    let spinner = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner.with_prefix(words)
}
