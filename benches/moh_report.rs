//! Turns what Criterion measured (`moh_attention`) and what `scripts/moh-peers.sh` printed into `docs/moh-benchmarks.md`
//! and its plots. `make moh-benchmarks` does all of it.

use std::path::{Path, PathBuf};

use clap::Parser;
use pvchat_benches::{ACTIVATIONS, Cell, OPERATIONS, Pass, contender};
use pvchat_eval::{plot::LineChart, table::Table};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Writes the report on the attention kernels.
#[derive(Parser)]
struct Arguments {
    /// Criterion's folder.
    #[arg(long, default_value = "target/criterion")]
    criterion: PathBuf,
    /// The tables that `moh_paired` printed.
    #[arg(long)]
    paired: Option<PathBuf>,
    /// The table that `scripts/moh-peers.sh` printed, if it was run.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// The table that `moh_product` printed.
    #[arg(long)]
    product: Option<PathBuf>,
    /// Where and with what it was measured, in words: machine, threads, commit, date.
    #[arg(long)]
    conditions: String,
    /// Where the document and its plots go.
    #[arg(long, default_value = "docs")]
    folder: PathBuf,
}

/// The medians of one cell and pass, in milliseconds.
struct Measured {
    cell: Cell,
    dense: f64,
    /// By [`ACTIVATIONS`].
    sparse: Vec<f64>,
    burn: f64,
    candle: Option<f64>,
    reference: f64,
}

impl Measured {
    fn read(folder: &Path, cell: Cell, pass: Pass) -> Outcome<Option<Self>> {
        let group = folder.join(cell.name(pass));
        if !group.is_dir() {
            return Ok(None);
        }
        let median = |name: &str| median(&group.join(name).join("new").join("estimates.json"));
        let candle = if group.join(contender::CANDLE).is_dir() { Some(median(contender::CANDLE)?) } else { None };
        Ok(Some(Self {
            cell,
            dense: median(contender::DENSE)?,
            sparse: ACTIVATIONS.iter().map(|&percent| median(&contender::sparse(percent))).collect::<Outcome<_>>()?,
            burn: median(contender::BURN)?,
            candle,
            reference: median(contender::REFERENCE)?,
        }))
    }

    /// What skipping saves of what it could save at best: the time of our dense kernel, times the share of the work that is
    /// left out.
    fn saved(&self, index: usize) -> f64 {
        (self.dense - self.sparse[index]) / (self.dense * (1.0 - self.cell.work(ACTIVATIONS[index])))
    }

    /// The highest measured activation below 100 % at which skipping is faster than the dense kernel.
    fn pays_up_to(&self) -> Option<usize> {
        let faster = |(index, _): &(usize, &usize)| self.sparse[*index] < self.dense;
        ACTIVATIONS[..4].iter().enumerate().rev().find(faster).map(|(_, &percent)| percent)
    }
}

fn median(file: &Path) -> Outcome<f64> {
    let failed = |reason: String| format!("{}: {reason}; run `make moh-benchmarks`", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let estimates: serde_json::Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let nanoseconds = estimates["median"]["point_estimate"].as_f64().ok_or_else(|| failed("no median in it".into()))?;
    Ok(nanoseconds / 1e6)
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let mut text = INTRODUCTION.replace("CONDITIONS", &arguments.conditions);
    for pass in Pass::ALL {
        let mut found = Vec::new();
        for cell in Cell::grid() {
            found.extend(Measured::read(&arguments.criterion, cell, pass)?);
        }
        if found.is_empty() {
            return Err(format!("{}: nothing measured there; run `make moh-benchmarks`", arguments.criterion.display()).into());
        }
        let plot = match pass {
            Pass::Forward => "moh-forward.png",
            Pass::ForwardBackward => "moh-backward.png",
        };
        draw(&found, pass, &arguments.folder.join(plot))?;
        text += &section(&found, pass, plot);
    }
    text += "\n## Dense and sparse in turns\n\n";
    text += &match &arguments.paired {
        Some(file) => PAIRED.to_string() + &std::fs::read_to_string(file)?,
        None => "Not measured in this run (`moh_paired`).\n".to_string(),
    };
    text += "\n## The whole module, compared with PyTorch\n\n";
    text += &match &arguments.peers {
        Some(file) => PEERS.to_string() + &std::fs::read_to_string(file)?,
        None => "Not measured in this run (`scripts/moh-peers.sh`).\n".to_string(),
    };
    text += "\n## What it means for the product\n\n";
    text += &match &arguments.product {
        Some(file) => PRODUCT.to_string() + &std::fs::read_to_string(file)?,
        None => "Not measured in this run (`moh_product`).\n".to_string(),
    };
    text += &operations(&arguments.criterion)?;
    let file = arguments.folder.join("moh-benchmarks.md");
    pvchat_data::file::write_atomically(&file, text.as_bytes())?;
    println!("{}", file.display());
    Ok(())
}

fn section(found: &[Measured], pass: Pass, plot: &str) -> String {
    let mut times = Table::new(
        ["cell", "reference", "burn, dense", "candle, dense", "ours, dense"]
            .map(str::to_string)
            .into_iter()
            .chain(ACTIVATIONS.map(|percent| format!("{percent} % on"))),
    );
    let mut ratios = Table::new(
        ["cell", "burn / ours, dense", "candle / ours, dense", "reference / ours, 50 % on"]
            .map(str::to_string)
            .into_iter()
            .chain(ACTIVATIONS[..4].iter().map(|percent| format!("saved of the ideal, {percent} % on")))
            .chain(["pays up to".to_string()]),
    );
    let (mut slower, mut long_enough) = (0, 0);
    let mut noise: Vec<f64> = found.iter().map(|measured| 100.0 * (measured.sparse[4] / measured.dense - 1.0).abs()).collect();
    noise.sort_by(f64::total_cmp);
    let (noise, most_noise) = (noise[noise.len() / 2], noise[noise.len() - 1]);
    for measured in found {
        let Cell { tokens, keys, heads, routed } = measured.cell;
        let name = format!("{tokens} x {keys}, {routed} of {heads}");
        let time = |value: f64| format!("{value:.2}");
        let dash = || "-".to_string();
        times.row(
            [
                name.clone(),
                time(measured.reference),
                time(measured.burn),
                measured.candle.map_or_else(dash, time),
                time(measured.dense),
            ]
            .into_iter()
            .chain(measured.sparse.iter().copied().map(time)),
        );
        let ratio = |value: f64| format!("{:.2}x", value / measured.dense);
        let half = ACTIVATIONS.iter().position(|&percent| percent == 50).map_or(measured.dense, |index| measured.sparse[index]);
        ratios.row(
            [name, ratio(measured.burn), measured.candle.map_or_else(dash, ratio), format!("{:.2}x", measured.reference / half)]
                .into_iter()
                .chain((0..4).map(|index| format!("{:.2}", measured.saved(index))))
                .chain([measured.pays_up_to().map_or_else(dash, |percent| format!("{percent} % on"))]),
        );
        if measured.dense >= 1.0 {
            long_enough += measured.sparse.len();
            slower += measured.sparse.iter().filter(|&&sparse| sparse > 1.05 * measured.dense).count();
        }
    }
    format!(
        "\n## {}\n\nMilliseconds. A cell is `tokens x keys, routed heads of all heads`; *on* is the share of the pairs of a token and \
         a routed head\nwhose gate is open, at random.\n\n{}\n\n{}\n\nOf the {long_enough} sparse figures where the dense kernel takes \
         1 ms or more, {slower} are more than 5 % above it. *ours, dense* and\n*100 % on* do the same work; their times differ by \
         {noise:.0} % in the median and {most_noise:.0} % at most, which is the noise of the machine.\n\n![time against the share of work left]({plot})\n",
        match pass {
            Pass::Forward => "Forward",
            Pass::ForwardBackward => "Forward and backward",
        },
        times.to_markdown(),
        ratios.to_markdown()
    )
}

/// The operations around attention, before (burn's) and after (ours).
fn operations(folder: &Path) -> Outcome<String> {
    let mut table = Table::new(["operation", "rows x width", "pass", "burn, ms", "ours, ms", "burn / ours"]);
    for (name, [rows, width]) in OPERATIONS {
        for pass in Pass::ALL {
            let group = folder.join(format!("{name}, {}", pass.name()));
            if !group.is_dir() {
                return Ok("\n## Operations around attention\n\nNot measured in this run (bench `operations`).\n".into());
            }
            let time = |contender: &str| median(&group.join(contender).join("new").join("estimates.json"));
            let (burn, ours) = (time(contender::BURNS)?, time(contender::OURS)?);
            table.row([
                name.to_string(),
                format!("{rows} x {width}"),
                pass.name().to_string(),
                format!("{burn:.2}"),
                format!("{ours:.2}"),
                format!("{:.1}x", burn / ours),
            ]);
        }
    }
    Ok(format!("\n## Operations around attention\n\n{OPERATIONS_TEXT}{}\n", table.to_markdown()))
}

/// Time against work left, both as shares of the dense kernel's; the ideal is the diagonal.
fn draw(found: &[Measured], pass: Pass, file: &Path) -> Outcome<()> {
    let title = format!("Skipping closed gates, {}", pass.name());
    let mut chart = LineChart::new(title, "share of (token, head) pairs left", "time, as a share of the dense kernel's");
    chart = chart.series("ideal", [(0.25, 0.25), (1.0, 1.0)]);
    // More lines than these cannot be distinguished.
    for measured in found.iter().filter(|measured| measured.cell.heads == 12 && measured.cell.keys >= 2049).take(6) {
        let Cell { tokens, keys, routed, .. } = measured.cell;
        let points = ACTIVATIONS.iter().zip(&measured.sparse);
        let points = points.map(|(&percent, &sparse)| (measured.cell.work(percent), sparse / measured.dense));
        chart = chart.series(format!("{tokens} x {keys}, {routed} of 12"), points);
    }
    Ok(chart.write_png(file)?)
}

const INTRODUCTION: &str = "# Benchmarks of Mixture-of-Heads attention

A router gives each token the heads that it uses. The published code computes all heads anyway and multiplies by the
gates; our CPU kernel skips the pairs of a token and a head whose gate is zero, forward and backward. This document
says how much time that saves, and how the kernel compares with others when nothing is skipped.

`make moh-benchmarks` measures everything again and writes this file. CONDITIONS
One sequence, heads of 64, f32 (on the CPU, f16 and bf16 use the reference), medians of Criterion; all kernels of a cell run in
the same process, on the same tensors.

- *reference*: computes every head in full with a matrix of scores and multiplies by the gate, as the published code does;
  half of the routed pairs are on.
- *burn, dense* and *candle, dense*: their fused CPU attention, every head, no gates. Candle's has no backward pass. A dash
  means not measured in this run.
- *ours, dense*: our kernel without gates. *0 % on* to *100 % on*: the same kernel with gates.
- *saved of the ideal*: the time saved, as a share of the saving if time were proportional to the work left (relative to
  *ours, dense*). 1.00 is perfect; below 0, skipping costs time. *pays up to*: the highest measured activation below 100 % for
  which skipping is faster than *ours, dense*.

Part of the cost of a head does not depend on the number of its rows: the kernel reads the keys and values, transposes the
keys for the scores, and in the backward pass writes their gradients in full. So the saving is below the ideal; the fewer the
query tokens, the larger the gap.

Two things were measured once by hand (2026-11-27, AMD EPYC with AVX-512, 2 threads), not by this command. First, with 112 tokens,
2049 keys and all heads on, clocks inside the forward pass show where both threads spend their time: transposing keys takes 3 %
(12 heads) and 6 % (32 heads), waiting for work 4 % and 2 %, copying queries 1 % each. The rest of the fixed cost is within the
products, which fetch keys and values from distant memory in pieces of 256 bytes. The number of rows itself matters little: from
the first-level cache, products of 12, 28, 56 and 112 rows are equally fast per row. Second, when limited to AVX2, *ours, dense*
at 512 x 2049, 12 heads, takes 1.8 to 1.9 times as long, forward and with gradients; without any wide registers it takes about 7
times as long.

These times are for the attention alone, from projected queries, keys and values to the context, and back to their gradients.
The sections below have the whole module and the whole product.
";

const PAIRED: &str =
    "`moh_paired` runs the dense kernel and the five shares one after another, in many rounds, and takes the ratio within each
round. These ratios are more reliable than those of the medians above, which were measured minutes apart.

";

const PEERS: &str =
    "Batch 3, 112 queries, 2049 keys of width 1408, 12 heads of 64, 8 shared: the paper's cross-attention. Most of the time
goes to the projections of keys and values. Both implementations compute them in full, unless routed heads are *off everywhere*:
then ours can skip their projections. At this size it does so if at least two heads of twelve are off everywhere; the row below
each such row has the time without this. PyTorch computes the same no matter which heads are off. `scripts/moh-peers.sh` prints
this table. In brackets: how many times longer than ours, the median of the ratios of the rounds.

";

const PRODUCT: &str =
    "The table has the time of one answer and of one training step of the shipped miniature, and how much of it the
attention of the Q-Former takes: once with the reference and once with the kernel that `MohAttention` chooses (half of the routed
gates open at random; the training step is one of two shards, forward and backward). The shapes are so small that the kernels
change almost nothing: they are for larger models.

";

const OPERATIONS_TEXT: &str =
    "These are the operations around attention that burn computes slowly on the CPU, at sizes of the full model: burn's
(before) and ours (after), in one run.

";
