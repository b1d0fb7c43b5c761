//! The fused attention kernel dense and with closed gates, alternating, so that a drift of the machine affects both equally.
//! Prints a table in Markdown: for each cell the median of the rounds' ratios of the sparse time to the dense one, and the saving
//! as a share of the ideal saving.
//!
//! `moh_paired [SECONDS [TEXT]]`: how long each cell and pass is measured, 6 by default, at least 5 rounds; only the cells with this
//! text in their names (`112 tokens, 2049 keys, 4 of 12 heads routed, forward+backward`).

use std::time::{Duration, Instant};

use burn::prelude::*;
use pvchat_benches::{ACTIVATIONS, Cell, Pass};
use pvchat_eval::table::Table;
use pvchat_nn::moh::kernel::{View, fused_attention};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds at least.
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(6.0), |text| text.parse())?;
    let text = std::env::args().nth(2).unwrap_or_default();
    for pass in Pass::ALL {
        let shares = ACTIVATIONS.map(|percent| format!("{percent} % on"));
        let saved = ACTIVATIONS[..4].iter().map(|percent| format!("saved of the ideal, {percent} % on"));
        let head = ["cell", "rounds", "dense, ms"].map(str::to_string).into_iter();
        let mut table = Table::new(head.chain(shares).chain(saved));
        let (mut long_enough, mut slower, mut large) = (0, 0, Vec::new());
        for cell in Cell::NAMED.into_iter().filter(|cell| cell.name(pass).contains(&text)) {
            let [dense, rounds, ratios @ ..] = measure(cell, pass, Duration::from_secs_f64(seconds));
            if dense >= 1.0 {
                long_enough += ratios.len();
                slower += ratios.iter().filter(|&&ratio| ratio > 1.05).count();
            }
            let Cell { tokens, keys, heads, routed } = cell;
            let own = [format!("{tokens} x {keys}, {routed} of {heads}"), format!("{rounds}"), format!("{dense:.2}")];
            let saved = |index: usize| (1.0 - ratios[index]) / (1.0 - cell.work(ACTIVATIONS[index]));
            let at_least_half = (0..4).filter(|&index| cell.keys >= 2048 && cell.work(ACTIVATIONS[index]) >= 0.5);
            large.extend(at_least_half.map(saved));
            table.row(
                own.into_iter()
                    .chain(ratios.map(|ratio| format!("{ratio:.3}")))
                    .chain((0..4).map(|index| format!("{:.2}", saved(index)))),
            );
        }
        println!(
            "**{}.** The time with gates as a share of the dense kernel's, and what that is of the ideal saving.\n",
            pass.name()
        );
        println!("{}\n", table.to_markdown().trim_end());
        let near = large.iter().filter(|&&saved| saved >= 0.9).count();
        println!("Of the {long_enough} shares where the dense kernel takes 1 ms or more, {slower} are above 1.05.");
        if !large.is_empty() {
            println!(
                "Of the {} with more than 2000 keys and at least half of the work left, {near} save 90 % of the ideal or more; the\n\
                 middle one saves {:.0} %.",
                large.len(),
                100.0 * middle(large.clone())
            );
        }
        println!();
    }
    Ok(())
}

/// The median of the dense kernel's milliseconds, the number of rounds, and for each of [`ACTIVATIONS`] the median of the
/// rounds' ratios.
fn measure(cell: Cell, pass: Pass, time: Duration) -> [f64; 7] {
    let device = pass.device();
    let inputs = cell.inputs(&device);
    let scales = ACTIVATIONS.map(|percent| cell.scales(percent, &device));
    let once = |scales: Option<&Tensor<3>>| {
        let start = Instant::now();
        let [q, k, v] = inputs.clone();
        let (context, _) = fused_attention(&q, &k, &v, View::default(), scales).expect("f32 on flex");
        if device.is_autodiff() {
            let gradients = context.sum().backward();
            std::hint::black_box(inputs.each_ref().map(|input| input.grad(&gradients)));
        } else {
            std::hint::black_box(context);
        }
        start.elapsed().as_secs_f64() * 1e3
    };
    let (started, mut dense, mut ratios) = (Instant::now(), Vec::new(), [(); 5].map(|()| Vec::new()));
    for round in 0.. {
        // Before and after, and the mean of both, so that a drift within the round falls out too.
        let mut times = [0.0; 5];
        let before = once(None);
        times.iter_mut().zip(&scales).for_each(|(time, scales)| *time = once(Some(scales)));
        let whole = (before + once(None)) / 2.0;
        // The first round warms up.
        if round > 0 {
            dense.push(whole);
            ratios.iter_mut().zip(times).for_each(|(ratios, time)| ratios.push(time / whole));
        }
        if dense.len() >= ROUNDS && started.elapsed() >= time {
            break;
        }
    }
    let rounds = dense.len() as f64;
    let [zero, quarter, half, most, all] = ratios.map(middle);
    [middle(dense), rounds, zero, quarter, half, most, all]
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
