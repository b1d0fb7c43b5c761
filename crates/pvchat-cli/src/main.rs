#![doc = include_str!("../README.md")]

mod answer;
mod arguments;
mod ask;
mod bases;
mod common;
mod completions;
mod conversation;
mod dataset;
mod dataset_file;
mod demo;
mod describer;
mod doctor;
mod drawn;
mod enrol;
mod exchange;
mod failure;
mod folders;
mod index;
mod interrupt;
mod kept;
mod learn;
mod learned;
mod models;
mod output;
mod progress;
mod subjects;
mod timeline;
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
