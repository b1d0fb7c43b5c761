//! Dense, top-k and ReMoH routing of the Q-Former's heads at equal budget: three bases on one encoder, with the same data, seeds
//! and steps, each examined on characters that it has never seen. Prints one table.
//!
//! At the shipped size this takes hours; `--steps 500 --groups 1000 --seeds 1` takes minutes and says less.

use std::{error::Error, process::ExitCode};

use clap::Parser;
use pvchat::{
    miniature::base::{Design, ROUTING},
    nn::moh::Routing,
};
use pvchat_examples::{
    designs::{Budget, compare},
    examination::Outcome,
    exit_code,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compares routings of the Q-Former's heads.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    budget: Budget,
}

fn main() -> ExitCode {
    exit_code(run().map_err(|error| error as Box<dyn Error>))
}

fn run() -> Outcome<()> {
    let with = |routing: Routing| Design { routing, ..Design::default() };
    let designs = [
        ("ReMoH (4 shared, 4 by ReLU)", with(ROUTING)),
        ("top-k (4 shared, 2 of 4)", with(Routing::TopK { shared: 4, active: 2 })),
        ("dense", with(Routing::Dense)),
    ];
    compare(&designs, &Arguments::parse().budget)
}
