//! Broken files and odd plans without end: never a panic, a crash, a hang over 5 seconds, or memory over the limit.
//!
//! A few seconds by default; `PVCHAT_FUZZ_SECONDS` says how many, `PVCHAT_FUZZ_SEED` where to begin, and `PVCHAT_FUZZ_INPUT`
//! names a file to run alone. The input that is being read lies in `fuzz-input-SEED` in the folder of temporary files, and
//! stays there when the process dies of it. Not coverage-guided: it runs on stable Rust.

#[path = "common/choices.rs"]
mod choices;
mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use choices::{Choices, HANG, Known, read};
use common::{clip, files, fixtures};

/// Resident memory that no input may exceed, in KiB.
const MEMORY: u64 = 1 << 20;
/// How often the reader is looked at, and how long it may do nothing at all.
const TICK: Duration = Duration::from_millis(200);
const STILL: Duration = Duration::from_secs(60);

/// A place in a file, half of the time where headers are.
fn place_in(choices: &mut Choices, length: usize) -> usize {
    match choices.below(4) {
        0 => choices.below(length.min(1500)),
        1 => length.saturating_sub(1 + choices.below(length.min(2500))),
        _ => choices.below(length),
    }
}

fn mutated(seeds: &[Vec<u8>], choices: &mut Choices) -> Vec<u8> {
    let mut bytes = seeds[choices.below(seeds.len())].clone();
    let most = 1 << choices.below(4);
    for _ in 0..1 + choices.below(most) {
        if bytes.is_empty() {
            break;
        }
        let (length, place) = (bytes.len(), place_in(choices, bytes.len()));
        let run = (1 + choices.below(64)).min(length - place);
        match choices.below(9) {
            0 => bytes[place] ^= 1 << choices.below(8),
            1 => bytes[place] = choices.next() as u8,
            2 => bytes[place..place + run].fill(*[0, 255, 128].get(choices.below(3)).unwrap()),
            3 => bytes[place..place + run].iter_mut().for_each(|byte| *byte = choices.next() as u8),
            4 => {
                let numbers = [0, 1, 7, 0x7fff_ffff, 0x8000_0000, u32::MAX, u32::MAX - 7, 0x1000_0000, 65535];
                let number = numbers[choices.below(numbers.len())].to_be_bytes();
                bytes.iter_mut().skip(place).zip(number).for_each(|(byte, new)| *byte = new);
            }
            5 => drop(bytes.drain(place..place + run)),
            6 => {
                let copy = bytes[place..place + run].to_vec();
                let to = place_in(choices, length);
                bytes.splice(to..to, copy);
            }
            7 => bytes.truncate(place),
            _ => {
                let other = &seeds[choices.below(seeds.len())];
                let from = choices.below(other.len());
                let end = (from + 1 + choices.below(4096)).min(other.len());
                bytes.splice(place..place + run, other[from..end].iter().copied());
            }
        }
    }
    bytes
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Processor time of all threads of this process, in steps of 10 ms.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets: field 3 of the file and those that follow; user and system time are 14 and 15.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

#[test]
fn broken_files_and_odd_plans_are_survived() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("PVCHAT_FUZZ_SECONDS").unwrap_or(5);
    let seed = number("PVCHAT_FUZZ_SEED").unwrap_or(1);
    let mut choices = Choices::random(seed);
    if let Some(path) = std::env::var_os("PVCHAT_FUZZ_INPUT") {
        let bytes: Arc<[u8]> = std::fs::read(path).unwrap().into();
        let read = (0..100).filter(|_| read(&bytes, &mut choices)).count();
        println!("{read} of 100 readings gave frames");
        return;
    }
    let folders = ["clips", "other"].map(|name| fixtures().join(name));
    let seeds: Vec<Vec<u8>> = folders.iter().flat_map(|folder| files(folder)).map(|path| std::fs::read(path).unwrap()).collect();
    let input: PathBuf = std::env::temp_dir().join(format!("fuzz-input-{seed}"));

    // The input that is being read, and the processor time at which it began.
    let (origin, began) = (Instant::now(), Arc::new((AtomicU64::new(0), AtomicU64::new(0))));
    let watched = (Arc::clone(&began), input.clone());
    std::thread::spawn(move || {
        let (mut seen, mut ticks) = (0, 0u32);
        loop {
            std::thread::sleep(TICK);
            let run = watched.0.0.load(Ordering::Acquire);
            ticks = if run == seen { ticks + 1 } else { 0 };
            seen = run;
            let spent = processor_time().saturating_sub(Duration::from_millis(watched.0.1.load(Ordering::Acquire)));
            if TICK * ticks > 2 * HANG && (spent > 2 * HANG || TICK * ticks > STILL) {
                eprintln!("a hang: {}", watched.1.display());
                std::process::abort();
            }
        }
    });
    let (mut runs, mut opened, mut longest) = (0u64, 0u64, Duration::ZERO);
    while origin.elapsed() < Duration::from_secs(seconds) {
        let bytes: Arc<[u8]> = mutated(&seeds, &mut choices).into();
        std::fs::write(&input, &bytes).unwrap();
        let (start, processor) = (Instant::now(), processor_time());
        began.1.store(u64::try_from(processor.as_millis()).unwrap(), Ordering::Release);
        began.0.store(runs, Ordering::Release);
        opened += u64::from(read(&bytes, &mut choices));
        // A process that is held up by others is not to blame: the time that it had counts.
        let spent = start.elapsed().min(processor_time().saturating_sub(processor));
        longest = longest.max(spent);
        runs += 1;
        assert!(spent < HANG, "{spent:?} for {}", input.display());
        assert!(peak_memory() < MEMORY, "{} KiB for {}", peak_memory(), input.display());
    }
    let (processor, peak) = (processor_time().as_secs(), peak_memory());
    println!(
        "seed {seed}: {runs} inputs in {processor} s of processor time, {opened} gave frames, {longest:?} at most, {peak} KiB at most"
    );
    drop(std::fs::remove_file(input));
    assert!(opened > 0, "every input was refused: nothing was tried");
}

#[test]
fn plans_pick_the_frames_that_come_out_one_by_one() {
    let known = ["h264_b_frames.mp4", "mpeg4.mp4"].map(|name| Known::open(&clip(name)));
    let mut choices = Choices::random(1);
    let picked: usize = (0..200).map(|turn| known[turn % known.len()].check(&mut choices)).sum();
    assert!(picked > 0, "every plan was refused");
    (0..200).for_each(|turn| known[turn % known.len()].check_stream(&mut choices));
}
