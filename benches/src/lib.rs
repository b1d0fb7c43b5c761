//! Criterion benchmarks of pvchat; see the files next to this package. Here is what the benchmarks of attention and the
//! report on them have in common.

pub mod people;

use std::time::Instant;

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_nn::init;

/// Share of the pairs of a token and a routed head that are on, in percent.
pub const ACTIVATIONS: [usize; 5] = [0, 25, 50, 75, 100];

/// Width of a head.
pub const WIDTH: usize = 64;

/// One attention that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Query tokens.
    pub tokens: usize,
    /// Keys.
    pub keys: usize,
    /// Heads.
    pub heads: usize,
    /// Routed heads, the others are shared.
    pub routed: usize,
}

/// Whether gradients of queries, keys, values and scales are asked for, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// One call.
    Forward,
    /// One call and its gradients.
    ForwardBackward,
}

impl Cell {
    const fn new(tokens: usize, keys: usize, heads: usize, routed: usize) -> Self {
        Self { tokens, keys, heads, routed }
    }

    /// Twelve cells of the grid: the paper's cross-attention, and others that differ from it in one or two things.
    pub const NAMED: [Self; 12] = [
        Self::new(112, 2049, 12, 4),
        Self::new(112, 2049, 12, 6),
        Self::new(112, 2049, 12, 9),
        Self::new(112, 2049, 32, 16),
        Self::new(112, 112, 12, 4),
        Self::new(112, 8192, 12, 4),
        Self::new(512, 112, 12, 6),
        Self::new(512, 2049, 12, 4),
        Self::new(512, 2049, 32, 24),
        Self::new(512, 8192, 12, 6),
        Self::new(2048, 2049, 12, 4),
        Self::new(2048, 2049, 12, 9),
    ];

    /// All tokens, keys, heads and routed shares (a third, a half, three quarters).
    pub fn grid() -> Vec<Self> {
        let mut cells = Vec::new();
        for (tokens, keys) in [112, 512, 2048].into_iter().flat_map(|tokens| [112, 2049, 8192].map(|keys| (tokens, keys))) {
            for heads in [12, 32] {
                cells.extend([heads / 3, heads / 2, heads * 3 / 4].map(|routed| Self::new(tokens, keys, heads, routed)));
            }
        }
        cells
    }

    /// What is measured, in words: the name of Criterion's group.
    pub fn name(&self, pass: Pass) -> String {
        let Self { tokens, keys, heads, routed } = self;
        format!("{tokens} tokens, {keys} keys, {routed} of {heads} heads routed, {}", pass.name())
    }

    /// Queries, keys and values `[1, heads, rows, WIDTH]` as projections leave them: heads side by side, split by swapping
    /// axes. They want gradients where the device keeps a graph.
    pub fn inputs(&self, device: &Device) -> [Tensor<4>; 3] {
        [("q", self.tokens), ("k", self.keys), ("v", self.keys)].map(|(label, rows)| {
            let stream = &mut SeededStream::new(1).derive(label);
            let values = init::normal::<4>(stream, [1, rows, self.heads, WIDTH], 1.0, device).swap_dims(1, 2).detach();
            if device.is_autodiff() { values.require_grad() } else { values }
        })
    }

    /// Scales `[1, heads, tokens]` of 1 for shared heads, and for exactly `percent` of the pairs of a token and a routed head,
    /// at random.
    pub fn scales(&self, percent: usize, device: &Device) -> Tensor<3> {
        let (shared, pairs) = ((self.heads - self.routed) * self.tokens, self.routed * self.tokens);
        let mut values = vec![1.0; shared];
        values.resize(shared + pairs, 0.0);
        for pair in SeededStream::new(7).sample(pairs, pairs * percent / 100) {
            values[shared + pair] = 1.0;
        }
        Tensor::from_data(TensorData::new(values, [1, self.heads, self.tokens]), device)
    }

    /// Share of the (token, head) pairs that are left where `percent` of the routed ones are on.
    pub fn work(&self, percent: usize) -> f64 {
        let routed = self.routed as f64 / self.heads as f64;
        1.0 - routed + routed * percent as f64 / 100.0
    }
}

impl Pass {
    /// Both, in the order of the report.
    pub const ALL: [Self; 2] = [Self::Forward, Self::ForwardBackward];

    /// The CPU, with a graph where gradients are asked for.
    pub fn device(self) -> Device {
        match self {
            Self::Forward => Device::flex(),
            Self::ForwardBackward => Device::flex().autodiff(),
        }
    }

    /// `forward` or `forward+backward`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::ForwardBackward => "forward+backward",
        }
    }
}

/// Operations with their own kernels, and the rows and their length that they are measured on: sizes of the full model.
pub const OPERATIONS: [(&str, [usize; 2]); 5] = [
    ("softmax", [12 * 112, 2049]),
    ("GELU", [2049, 6144]),
    ("SiLU", [512, 14336]),
    ("layer norm", [2049, 1408]),
    ("RMS norm", [2049, 1408]),
];

/// Milliseconds of the middle run, after three that do not count.
///
/// # Errors
/// The first of `run`.
pub fn median<E>(runs: usize, mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut times = Vec::with_capacity(runs);
    for index in 0..runs + 3 {
        let start = Instant::now();
        run()?;
        if index >= 3 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(runs / 2).copied().unwrap_or(f64::NAN))
}

/// Names of what is measured in each cell.
pub mod contender {
    /// An operation of burn.
    pub const BURNS: &str = "burn";
    /// The same with our kernel.
    pub const OURS: &str = "ours";
    /// burn's own fused attention, every head.
    pub const BURN: &str = "burn, dense";
    /// candle's flash attention for the CPU, every head.
    pub const CANDLE: &str = "candle, dense";
    /// Our reference: every head in full, times its gate.
    pub const REFERENCE: &str = "reference, 50 percent on";
    /// Our fused kernel without gates.
    pub const DENSE: &str = "fused, dense";

    /// Our fused kernel with this share of the routed pairs on.
    pub fn sparse(percent: usize) -> String {
        format!("fused, {percent} percent on")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_cells_are_of_the_grid_and_names_fit_into_a_file_name() {
        let grid = Cell::grid();
        assert_eq!(grid.len(), 54);
        for cell in Cell::NAMED {
            assert!(grid.contains(&cell), "{cell:?}");
        }
        // Criterion cuts longer ones.
        assert!(grid.iter().flat_map(|cell| Pass::ALL.map(|pass| cell.name(pass))).all(|name| name.len() <= 64));
    }

    #[test]
    fn work_left_is_the_shared_part_and_what_is_on_of_the_rest() {
        let cell = Cell::NAMED[0];
        assert!((cell.work(0) - 2.0 / 3.0).abs() < 1e-12 && (cell.work(50) - 5.0 / 6.0).abs() < 1e-12);
        assert!((cell.work(100) - 1.0).abs() < 1e-12);
        for percent in ACTIVATIONS {
            let left = cell.scales(percent, &Device::flex()).mean().into_scalar::<f32>();
            assert!((f64::from(left) - cell.work(percent)).abs() < 1e-6, "{percent}");
        }
    }
}
