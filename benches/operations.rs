//! The operations around attention that have their own kernels on the CPU, compared with burn's: at sizes of the full model,
//! f32, forward and forward with backward. `make moh-benchmarks` puts them into its report.

use std::time::Duration;

use burn::{
    nn::{LayerNormConfig, RmsNormConfig},
    prelude::*,
    tensor::activation,
};
use criterion::Criterion;
use pvchat_benches::{OPERATIONS, Pass, contender};
use pvchat_data::random::SeededStream;
use pvchat_nn::{init, operations};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Operation = Box<dyn Fn(Tensor<2>) -> Tensor<2>>;

/// Burn's and ours.
fn pair(name: &str, width: usize, device: &Device) -> [Operation; 2] {
    match name {
        "softmax" => [Box::new(|x| activation::softmax(x, 1)), Box::new(operations::softmax)],
        "GELU" => [Box::new(activation::gelu), Box::new(operations::gelu)],
        "SiLU" => [Box::new(activation::silu), Box::new(operations::silu)],
        "layer norm" => {
            let burns = LayerNormConfig::new(width).init(device);
            let ours = operations::LayerNorm::new(width, 1e-5, device);
            [Box::new(move |x| burns.forward(x)), Box::new(move |x| ours.forward(x))]
        }
        "RMS norm" => {
            let norm = RmsNormConfig::new(width).init(device);
            let same = norm.clone();
            [Box::new(move |x| norm.forward(x)), Box::new(move |x| operations::rms_norm(&same, x))]
        }
        _ => unreachable!("{name} is in no list"),
    }
}

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    for (name, shape) in OPERATIONS {
        for pass in Pass::ALL {
            let device = match pass {
                Pass::Forward => Device::flex(),
                Pass::ForwardBackward => Device::flex().autodiff(),
            };
            let mut group = criterion.benchmark_group(format!("{name}, {}", pass.name()));
            group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
            let x = init::normal::<2>(&mut SeededStream::new(1), shape, 1.0, &device);
            let x = if device.is_autodiff() { x.require_grad() } else { x };
            for (contender, operation) in [contender::BURNS, contender::OURS].into_iter().zip(pair(name, shape[1], &device)) {
                group.bench_function(contender, |bencher| {
                    bencher.iter(|| {
                        let output = operation(x.clone());
                        if device.is_autodiff() {
                            return x.grad(&output.backward());
                        }
                        Some(output)
                    });
                });
            }
            group.finish();
        }
    }
    criterion.final_summary();
}
