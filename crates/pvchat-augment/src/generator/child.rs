//! A program that is run within limits, with everything that it starts.

use std::{
    collections::VecDeque,
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::Fault;
use crate::Result;

/// How often the limits are looked at.
const POLL: Duration = Duration::from_millis(50);
/// Memory is measured at one poll of this many, because that reads the state of every process of the machine.
const MEMORY_POLLS: u32 = 4;
/// How long a program that is asked to end may take for it.
const GRACE: Duration = Duration::from_secs(1);
/// How much is kept of what a program says, in bytes of each of its two outputs.
const KEPT: usize = 4096;

/// What a program may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) seconds: f64,
    /// Resident memory of its processes together, in mebibytes.
    pub(super) memory: u64,
    /// What it may write into its folder, in bytes.
    pub(super) bytes: u64,
    /// Files and folders that it may write.
    pub(super) files: usize,
}

/// How a run ended.
pub(super) struct Ended {
    /// What it did wrong, if anything.
    pub(super) fault: Option<Fault>,
    /// The end of what it said: its errors, or its output where it reported none.
    pub(super) said: String,
}

/// Runs a program in its own folder, and ends it with its whole process group where it goes beyond a limit, or where `go_on`
/// is an error. Nothing of its group is left when this returns.
///
/// Memory is that of `/proc` and is looked at five times a second. A limit of the system on address space (`RLIMIT_AS`) would be
/// exact and useless: drivers of GPUs reserve far more of it than the machine has memory.
pub(super) fn run(command: &[String], folder: &Path, limits: &Limits, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Ended> {
    let Some((program, arguments)) = command.split_first() else {
        let fault = Fault::NotStarted { program: String::new(), problem: "the command is empty".into() };
        return Ok(Ended { fault: Some(fault), said: String::new() });
    };
    let mut prepared = Command::new(program);
    prepared.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What it leaves in temporary files counts, and goes with the folder.
    prepared.env("TMPDIR", folder);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut prepared, 0);
    let filled = Filled::before(folder);
    let started = prepared.spawn();
    let child = match started {
        Ok(child) => child,
        Err(error) => {
            let fault = Fault::NotStarted { program: program.clone(), problem: error.to_string() };
            return Ok(Ended { fault: Some(fault), said: String::new() });
        }
    };
    let mut group = Group { child, has_ended: false };
    let (sender, closed) = channel();
    let errors = group.child.stderr.take().map(|stream| Tail::follow(stream, sender.clone()));
    let output = group.child.stdout.take().map(|stream| Tail::follow(stream, sender));
    let followed = usize::from(errors.is_some()) + usize::from(output.is_some());

    let watched = watch(&mut group, &filled, limits, go_on);
    let fault = match &watched {
        Ok(Watched::Ended(status)) => (!status.success()).then(|| Fault::Failed { status: status.to_string() }),
        Ok(Watched::Over(fault)) => Some(fault.clone()),
        Err(_) => None,
    };
    group.end(matches!(watched, Ok(Watched::Ended(_))));
    watched?;
    wait_for(&closed, followed);
    let fault = fault.or_else(|| filled.too_much(limits));
    let said = [errors, output].into_iter().flatten().map(|tail| tail.text()).find(|text| !text.is_empty());
    Ok(Ended { fault, said: said.unwrap_or_default() })
}

/// What became of a program while it was watched.
enum Watched {
    Ended(ExitStatus),
    Over(Fault),
}

fn watch(group: &mut Group, filled: &Filled<'_>, limits: &Limits, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Watched> {
    let begun = Instant::now();
    for poll in 0u32.. {
        match group.child.try_wait() {
            Ok(Some(status)) => return Ok(Watched::Ended(status)),
            Ok(None) => {}
            Err(source) => return Err(crate::Error::Io { path: filled.folder.to_path_buf(), source }),
        }
        if begun.elapsed().as_secs_f64() > limits.seconds {
            return Ok(Watched::Over(Fault::TooSlow { limit: limits.seconds }));
        }
        if let Some(fault) = filled.too_much(limits) {
            return Ok(Watched::Over(fault));
        }
        if poll % MEMORY_POLLS == 0
            && let Some(found) = resident(group.child.id()).filter(|found| *found > limits.memory)
        {
            return Ok(Watched::Over(Fault::TooMuchMemory { found, limit: limits.memory }));
        }
        go_on()?;
        thread::sleep(POLL);
    }
    Ok(Watched::Over(Fault::TooSlow { limit: limits.seconds }))
}

/// A child and everything that it started and that stayed in its process group.
struct Group {
    child: Child,
    has_ended: bool,
}

impl Group {
    /// Ends the whole group. A program that has not `ended` by itself is asked first, so that it can release the memory of a GPU.
    fn end(&mut self, ended: bool) {
        if !ended {
            self.signal(false);
            let asked = Instant::now();
            while asked.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(10));
            }
        }
        self.signal(true);
        // A child that has ended is only taken note of.
        let _ = self.child.wait();
        self.has_ended = true;
    }

    #[cfg(unix)]
    fn signal(&mut self, kill: bool) {
        use nix::{
            sys::signal::{Signal, killpg},
            unistd::Pid,
        };
        // The group has the number of its first process, which the system gives to nobody else while somebody is in the group.
        // Where nobody is, there is nothing to end.
        if let Ok(number) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(number), if kill { Signal::SIGKILL } else { Signal::SIGTERM });
        }
    }

    #[cfg(not(unix))]
    fn signal(&mut self, _: bool) {
        let _ = self.child.kill();
    }
}

impl Drop for Group {
    /// Nothing runs on after a panic either.
    fn drop(&mut self) {
        if !self.has_ended {
            self.signal(true);
        }
    }
}

/// Bytes, and files and folders in a folder. Links are not followed; beyond `most` files nothing more is counted.
fn measure(folder: &Path, most: usize) -> (u64, usize) {
    let (mut bytes, mut files, mut open) = (0u64, 0usize, vec![folder.to_path_buf()]);
    while let Some(inside) = open.pop() {
        // A file that is deleted meanwhile is not counted.
        for entry in fs::read_dir(inside).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            files += 1;
            bytes = bytes.saturating_add(size(&metadata));
            if metadata.is_dir() {
                open.push(entry.path());
            }
            if files > most {
                return (bytes, files);
            }
        }
    }
    (bytes, files)
}

/// The folder of a run, and what was in it before.
struct Filled<'a> {
    folder: &'a Path,
    bytes: u64,
    files: usize,
}

impl<'a> Filled<'a> {
    fn before(folder: &'a Path) -> Self {
        let (bytes, files) = measure(folder, usize::MAX);
        Self { folder, bytes, files }
    }

    /// Why too much was written into it since, if so.
    fn too_much(&self, limits: &Limits) -> Option<Fault> {
        let (bytes, files) = measure(self.folder, self.files.saturating_add(limits.files));
        let (bytes, files) = (bytes.saturating_sub(self.bytes), files.saturating_sub(self.files));
        if files > limits.files {
            return Some(Fault::TooManyFiles { found: files, limit: limits.files });
        }
        (bytes > limits.bytes).then_some(Fault::TooMuchOutput { found: bytes, limit: limits.bytes })
    }
}

/// The stated size of a file or its size on disk, whichever is larger: a reader of a file with holes reads all of it.
fn size(metadata: &fs::Metadata) -> u64 {
    if !metadata.is_file() {
        return 0;
    }
    #[cfg(unix)]
    let taken = 512 * std::os::unix::fs::MetadataExt::blocks(metadata);
    #[cfg(not(unix))]
    let taken = 0;
    metadata.len().max(taken)
}

/// Resident memory of a process group in mebibytes; `None` where the system does not say it.
fn resident(group: u32) -> Option<u64> {
    let mut kilobytes = 0u64;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let is_process = entry.file_name().to_string_lossy().bytes().all(|letter| letter.is_ascii_digit());
        if !is_process {
            continue;
        }
        // Its name, in brackets, may hold anything; state, parent and group follow.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let of = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(2)).and_then(|of| of.parse::<u32>().ok());
        if of != Some(group) {
            continue;
        }
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes += resident.unwrap_or(0);
    }
    Some(kilobytes / 1024)
}

/// The last that came through a stream.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    /// Reads a stream to its end in its own thread; says so in the end.
    fn follow(mut stream: impl Read + Send + 'static, closed: Sender<()>) -> Self {
        let tail = Self::default();
        let shared = tail.0.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(buffer.iter().take(count));
                let surplus = kept.len().saturating_sub(KEPT);
                kept.drain(..surplus);
            }
            // Nobody may be listening any more.
            let _ = closed.send(());
        });
        tail
    }

    fn text(&self) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Control characters could move the cursor of the user's terminal.
        let text = String::from_utf8_lossy(kept.make_contiguous()).into_owned();
        text.chars().filter(|letter| *letter == '\n' || !letter.is_control()).collect::<String>().trim().to_string()
    }
}

/// Waits until the streams are read to their ends; not for long, because a process that left the group may hold them open.
fn wait_for(closed: &Receiver<()>, streams: usize) {
    let begun = Instant::now();
    for _ in 0..streams {
        match closed.recv_timeout(GRACE.saturating_sub(begun.elapsed())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}
