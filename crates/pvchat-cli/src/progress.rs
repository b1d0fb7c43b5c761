//! Progress on standard error: bars where it is a terminal, else a line a minute.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use pvchat::{IndexProgress, LearnEvent, WatchProgress};

use crate::{output::Output, words};

/// A sign of life for what cannot be counted.
pub fn spinner(output: &Output, words: impl Into<String>) -> ProgressBar {
    if output.quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}");
    let spinner = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner.with_message(words.into())
}

/// How much of one file after another is read or fetched.
pub fn byte_bar(output: &Output) -> ProgressBar {
    if output.quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix}  {wide_bar} {decimal_bytes} of {decimal_total_bytes}, {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    // Not of length 0, which would be drawn as done.
    ProgressBar::new(1).with_style(style)
}

/// The bar shows the next file.
pub fn begin_file(bar: &ProgressBar, words: &str, total: u64) {
    bar.reset();
    bar.set_length(total);
    bar.set_prefix(words::clean(words));
}

/// A file's name without its folders, so that a bar stays on one line.
fn short(file: &Path) -> String {
    const LONGEST: usize = 24;
    let name = words::clean(&file.file_name().unwrap_or(file.as_os_str()).to_string_lossy());
    match name.chars().count() {
        0..=LONGEST => name,
        _ => name.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

/// Lines in place of a bar that nobody sees, such as in a log file.
pub struct Lines {
    output: Output,
    last: Instant,
}

impl Lines {
    const PAUSE: Duration = Duration::from_secs(60);

    pub fn new(output: &Output) -> Self {
        Self { output: *output, last: Instant::now() }
    }

    /// Writes a line, at most one a minute.
    pub fn tell(&mut self, bar: &ProgressBar, words: impl FnOnce() -> String) {
        if bar.is_hidden() && self.last.elapsed() >= Self::PAUSE {
            self.last = Instant::now();
            self.output.note(words());
        }
    }
}

/// How far a video is watched, with the time left and how much faster than the video itself that is.
pub struct WatchBar {
    output: Output,
    file: PathBuf,
    bar: ProgressBar,
    lines: Lines,
    begun: Instant,
    /// The first and the last progress, and when they came.
    seen: Option<[(WatchProgress, Instant); 2]>,
}

impl WatchBar {
    pub fn new(output: &Output, file: &Path) -> Self {
        let bar = spinner(output, short(file));
        Self { output: *output, file: file.to_path_buf(), bar, lines: Lines::new(output), begun: Instant::now(), seen: None }
    }

    pub fn observe(&mut self, progress: WatchProgress) {
        let now = (progress, Instant::now());
        let [first, last] = match self.seen {
            Some([first, _]) => [first, now],
            None => {
                self.bar.set_length((1000.0 * progress.duration.unwrap_or(0.0)) as u64);
                let template = match progress.duration {
                    Some(_) => "{prefix}  {wide_bar} {msg}, {eta} left",
                    None => "{spinner} {prefix}  {msg}, {elapsed}",
                };
                if let Ok(style) = ProgressStyle::with_template(template) {
                    self.bar.set_style(style);
                }
                self.bar.set_prefix(short(&self.file));
                // What was watched before an interruption says nothing about the time that is left.
                self.bar.set_position((1000.0 * progress.seconds) as u64);
                self.bar.reset_eta();
                [now, now]
            }
        };
        self.seen = Some([first, last]);
        let of = progress.duration.map(|duration| format!(" of {}", words::clock(duration))).unwrap_or_default();
        let times = self.times().map(|times| format!(", {times:.1} x real time")).unwrap_or_default();
        let message = format!("{}{of}{times}", words::clock(progress.seconds));
        self.lines.tell(&self.bar, || format!("{}: {message}", words::shown(&self.file)));
        self.bar.set_message(message);
        self.bar.set_position((1000.0 * progress.seconds) as u64);
    }

    /// Seconds of video a second.
    fn times(&self) -> Option<f64> {
        let [(first, then), (last, now)] = self.seen?;
        let (video, clock) = (last.seconds - first.seconds, (now - then).as_secs_f64());
        (clock > 0.0 && video > 0.0).then(|| video / clock)
    }

    /// Takes the bar away and says what was watched.
    pub fn finish(self) {
        self.bar.finish_and_clear();
        let times = self.times().map(|times| format!(" ({times:.1} x real time)")).unwrap_or_default();
        let name = words::shown(&self.file);
        let took = self.begun.elapsed().as_secs_f64();
        match self.seen {
            // Nothing is worth saying about a picture.
            Some([_, (last, _)]) if last.frames <= 1 => {}
            Some([_, (last, _)]) => {
                let until = words::clock(last.duration.unwrap_or(last.seconds));
                self.output.note(format!("{name}: watched to {until} in {took:.1} s{times}"));
            }
            None => self.output.note(format!("{name}: processed before, the stored result is used")),
        }
    }

    /// Takes the bar away and says nothing.
    pub fn abandon(self) {
        self.bar.finish_and_clear();
    }
}

/// The steps of learning, and how long each took.
pub struct LearnBars {
    output: Output,
    bar: ProgressBar,
    lines: Lines,
    step: Option<(&'static str, Instant)>,
    took: Vec<(&'static str, f64)>,
}

impl LearnBars {
    pub fn new(output: &Output) -> Self {
        Self { output: *output, bar: ProgressBar::hidden(), lines: Lines::new(output), step: None, took: Vec::new() }
    }

    pub fn observe(&mut self, event: &LearnEvent<'_>) {
        match event {
            LearnEvent::MakingPositives => self.enter("making other clips of the same person", None),
            LearnEvent::ChoosingNegatives => self.enter("choosing similar strangers, describing clips", None),
            LearnEvent::Encoding(done, total) => {
                self.enter("encoding every clip once", Some(*total));
                self.bar.set_position(*done as u64);
                self.lines.tell(&self.bar, || format!("  encoding: clip {done} of {total}"));
                // Training reports only after its first step; the time before belongs to it too.
                if done == total {
                    self.enter("training", None);
                }
            }
            LearnEvent::Training(progress) => {
                self.enter("training", Some(progress.steps));
                self.bar.set_position(progress.step as u64);
                self.bar.set_message(format!("loss {:.3}", progress.loss));
                let line = || format!("  training: step {} of {}, loss {:.3}", progress.step, progress.steps, progress.loss);
                self.lines.tell(&self.bar, line);
            }
        }
    }

    fn enter(&mut self, words: &'static str, total: Option<usize>) {
        let is_new = self.step.is_none_or(|(current, _)| current != words);
        if !is_new && (total.is_none() || self.bar.length().is_some()) {
            return;
        }
        if is_new {
            self.leave();
            self.bar = spinner(&self.output, words);
            self.step = Some((words, Instant::now()));
        }
        if let (Some(total), Ok(style)) =
            (total, ProgressStyle::with_template("{prefix}  {wide_bar} {pos}/{len}, {eta} left  {msg}"))
        {
            self.bar.set_length(total as u64);
            self.bar.set_style(style);
            self.bar.set_prefix(words);
            self.bar.set_message("");
            // What came before says nothing about the steps.
            self.bar.reset_eta();
        }
    }

    fn leave(&mut self) {
        self.bar.finish_and_clear();
        if let Some((what, since)) = self.step.take() {
            let seconds = since.elapsed().as_secs_f64();
            self.took.push((what, words::millis(seconds)));
            self.output.note(format!("  {what:<46}{seconds:6.1} s"));
        }
    }

    /// The steps with their seconds.
    pub fn finish(mut self) -> Vec<(&'static str, f64)> {
        self.leave();
        self.took
    }
}

/// How many files of a folder are indexed.
pub struct IndexBar {
    bar: ProgressBar,
    lines: Lines,
}

impl IndexBar {
    pub fn new(output: &Output) -> Self {
        let lines = Lines::new(output);
        if output.quiet {
            return Self { bar: ProgressBar::hidden(), lines };
        }
        let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} files, {eta} left  {msg}");
        let bar = ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, lines }
    }

    pub fn observe(&mut self, progress: &IndexProgress<'_>) {
        let (done, files) = (progress.done, progress.files);
        self.lines.tell(&self.bar, || format!("{done} of {files} files, now {}", words::shown(progress.file)));
        self.bar.set_length(progress.files as u64);
        self.bar.set_position(progress.done as u64);
        let of = progress.duration.map_or(String::new(), |duration| format!(" of {}", words::clock(duration)));
        self.bar.set_message(format!("{} {}{of}", short(progress.file), words::clock(progress.seconds)));
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
