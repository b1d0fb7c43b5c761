//! The program `pvchat`: learn people from footage and ask about them. docs/program.md says what it promises to scripts.

mod answer;
mod arguments;
mod ask;
mod bases;
mod completions;
mod dataset;
mod demo;
mod describer;
mod doctor;
mod drawn;
mod enrol;
mod exchange;
mod failure;
mod folders;
mod hub;
mod index;
mod interrupt;
mod learn;
mod learned;
mod models;
mod output;
mod progress;
mod subjects;
mod timeline;
mod timeline_formats;
mod who;
mod words;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let (output, outcome) = match arguments::read() {
        Ok(arguments) => {
            interrupt::listen();
            (arguments.common.output(), arguments.run())
        }
        Err(code) => return code,
    };
    output.end(outcome)
}
