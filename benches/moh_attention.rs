//! Mixture-of-Heads attention on the CPU, forward and forward with backward, f32, one sequence, heads of 64.
//!
//! Each group is one cell, named by what it is. In it, on the same tensors: burn's own dense attention, candle's flash
//! attention (forward; with the feature `candle`), our reference (every head in full, times its gate), our fused kernel
//! without gates, and with 0, 25, 50, 75 and 100 % of the (token, routed head) pairs on.
//!
//! Twelve cells; `--full`, alone, for all 54. `make moh-benchmarks` writes the report. Threads: all cores, or as many as
//! `RAYON_NUM_THREADS` says.

use std::time::Duration;

use burn::{
    prelude::*,
    tensor::{module::attention as burn_attention, ops::AttentionModuleOptions},
};
use criterion::Criterion;
use pvchat_benches::{ACTIVATIONS, Cell, Pass, contender};
use pvchat_nn::moh::kernel::{View, fused_attention, reference_attention};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn measure(criterion: &mut Criterion, cell: Cell, pass: Pass) {
    let device = pass.device();
    let mut group = criterion.benchmark_group(cell.name(pass));
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    let inputs = cell.inputs(&device);
    let finish = |context: Tensor<4>| {
        if device.is_autodiff() {
            let gradients = context.sum().backward();
            std::hint::black_box(inputs.each_ref().map(|input| input.grad(&gradients)));
        } else {
            std::hint::black_box(context);
        }
    };
    group.bench_function(contender::BURN, |bencher| {
        bencher.iter(|| {
            let [q, k, v] = inputs.clone();
            finish(burn_attention(q, k, v, None, None, AttentionModuleOptions::default()));
        });
    });
    #[cfg(feature = "candle")]
    if pass == Pass::Forward {
        candle::measure(&mut group, cell, &inputs.clone().map(|tensor| tensor.swap_dims(1, 2)));
    }
    let half = cell.scales(50, &device);
    group.bench_function(contender::REFERENCE, |bencher| {
        bencher.iter(|| {
            let [q, k, v] = inputs.clone();
            finish(reference_attention(q, k, v, View::default(), Some(half.clone())));
        });
    });
    let fused = |scales: Option<&Tensor<3>>| {
        let [q, k, v] = inputs.clone();
        let (context, _) = fused_attention(&q, &k, &v, View::default(), scales).expect("f32 on flex");
        finish(context);
    };
    group.bench_function(contender::DENSE, |bencher| bencher.iter(|| fused(None)));
    for percent in ACTIVATIONS {
        let scales = cell.scales(percent, &device);
        group.bench_function(contender::sparse(percent), |bencher| bencher.iter(|| fused(Some(&scales))));
    }
    group.finish();
}

#[cfg(feature = "candle")]
mod candle {
    use burn::prelude::Tensor;
    use candle_core::{Device, Tensor as CandleTensor};
    use candle_nn::attention::{AttnMask, flash_attn};
    use criterion::{BenchmarkGroup, measurement::WallTime};
    use pvchat_benches::{Cell, WIDTH, contender};

    /// `inputs` are `[1, rows, heads, WIDTH]`, which is candle's order.
    pub fn measure(group: &mut BenchmarkGroup<'_, WallTime>, cell: Cell, inputs: &[Tensor<4>; 3]) {
        let [q, k, v] = inputs.each_ref().map(|tensor| {
            let values: Vec<f32> = tensor.to_data().iter::<f32>().collect();
            CandleTensor::from_vec(values, (1, tensor.dims()[1], cell.heads, WIDTH), &Device::Cpu).expect("the sizes fit")
        });
        let scale = (WIDTH as f32).sqrt().recip();
        group.bench_function(contender::CANDLE, |bencher| {
            bencher.iter(|| flash_attn::<f32>(&q, &k, &v, scale, AttnMask::None, None, None).expect("f32 on the CPU"));
        });
    }
}

fn main() {
    let full = std::env::args().any(|argument| argument == "--full");
    let cells = if full { Cell::grid() } else { Cell::NAMED.to_vec() };
    // Criterion refuses arguments that it does not know, and its plots want a font that its plotting crate does not find.
    let criterion = Criterion::default().without_plots();
    let mut criterion = if full { criterion } else { criterion.configure_from_args() };
    for cell in cells {
        for pass in Pass::ALL {
            measure(&mut criterion, cell, pass);
        }
    }
    criterion.final_summary();
}
