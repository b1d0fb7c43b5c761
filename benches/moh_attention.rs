//! Mixture-of-Heads attention on the CPU, forward and forward with backward, f32.
//!
//! - `attention/BATCHxTOKENSxKEYS/PASS/..`: the attention itself, 12 heads of 64 on projected tensors: burn's own dense
//!   `attention()`, our reference (every head in full), our fused kernel dense and with 8 shared heads and 0, 25, 50, 75
//!   and 100 % of the (token, routed head) pairs on. The share of work left is 8/12 plus 4/12 of that.
//! - `module/SHAPE/..`: the whole module with its projections, in the three routings.
//!
//! Threads: all cores, or as many as `RAYON_NUM_THREADS` says.

use std::time::Duration;

use burn::{
    prelude::*,
    tensor::{module::attention as burn_attention, ops::AttentionModuleOptions},
};
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main, measurement::WallTime};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    init,
    moh::{
        MohAttentionConfig, Routing,
        kernel::{View, fused_attention, reference_attention},
    },
};

const HEADS: usize = 12;
const SHARED: usize = 8;
const WIDTH: usize = 64;
/// Batch, tokens, keys.
const SHAPES: [[usize; 3]; 3] = [[3, 112, 2049], [1, 512, 2049], [1, 512, 512]];
const ACTIVATIONS: [usize; 5] = [0, 25, 50, 75, 100];

fn timed<'a>(criterion: &'a mut Criterion, name: String) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    group
}

/// Scales of 1 for shared heads, and for `percent` of the pairs of a token and a routed head.
fn scales([batch, tokens]: [usize; 2], percent: usize, device: &Device) -> Tensor<3> {
    let mut stream = SeededStream::new(7);
    let mut values = Vec::with_capacity(batch * HEADS * tokens);
    for _ in 0..batch {
        for head in 0..HEADS {
            values.extend((0..tokens).map(|_| f32::from(u8::from(head < SHARED || stream.range(0.0, 100.0) < percent as f32))));
        }
    }
    Tensor::from_data(TensorData::new(values, [batch, HEADS, tokens]), device)
}

/// The attention itself: one call, or one call and the gradients of queries, keys, values and scales.
fn kernels(criterion: &mut Criterion) {
    for [batch, tokens, keys] in SHAPES {
        for (pass, device) in [("forward", Device::flex()), ("forward+backward", Device::flex().autodiff())] {
            let mut group = timed(criterion, format!("attention/{batch}x{tokens}x{keys}/{pass}"));
            let input = |label: &str, rows: usize| {
                let stream = &mut SeededStream::new(1).derive(label);
                let values = init::normal(stream, [batch, HEADS, rows, WIDTH], 1.0, &device);
                if device.is_autodiff() { values.require_grad() } else { values }
            };
            let (q, k, v) = (input("q", tokens), input("k", keys), input("v", keys));
            let finish = |context: Tensor<4>| {
                if device.is_autodiff() {
                    let gradients = context.sum().backward();
                    let _ = [&q, &k, &v].map(|input| input.grad(&gradients).map(|gradient| gradient.into_data()));
                } else {
                    context.into_data();
                }
            };
            group.bench_function("burn, dense", |bencher| {
                let attend = || burn_attention(q.clone(), k.clone(), v.clone(), None, None, AttentionModuleOptions::default());
                bencher.iter(|| finish(attend()));
            });
            let half = scales([batch, tokens], 50, &device);
            group.bench_function("reference, 50 % on", |bencher| {
                let attend = || reference_attention(q.clone(), k.clone(), v.clone(), View::default(), Some(half.clone()));
                bencher.iter(|| finish(attend()));
            });
            let fused = |scales: Option<&Tensor<3>>| {
                let (context, _) = fused_attention(&q, &k, &v, View::default(), scales).expect("f32 on flex");
                finish(context);
            };
            group.bench_function("fused, dense", |bencher| bencher.iter(|| fused(None)));
            for percent in ACTIVATIONS {
                let scales = scales([batch, tokens], percent, &device);
                group.bench_function(format!("fused, {percent} % on"), |bencher| bencher.iter(|| fused(Some(&scales))));
            }
            group.finish();
        }
    }
}

/// Name, batch, query tokens, keys, width of the keys, hidden width, heads, shared heads.
const MODULES: [(&str, [usize; 7]); 2] =
    [("miniature", [16, 32, 37, 128, 128, 8, 4]), ("paper-cross", [3, 112, 2049, 1408, 768, 12, 8])];

fn modules(criterion: &mut Criterion) {
    let device = Device::flex();
    for (name, [batch, tokens, keys, key_width, hidden, heads, shared]) in MODULES {
        let mut group = timed(criterion, format!("module/{name}/forward"));
        let routings = [
            ("dense", Routing::Dense),
            ("top-k", Routing::TopK { shared, active: (heads - shared) / 2 }),
            ("relu", Routing::Relu { shared, rescale: false }),
        ];
        for (routing_name, routing) in routings {
            let stream = SeededStream::new(1);
            let attention = MohAttentionConfig::new(hidden, heads, routing)
                .with_key_width(key_width)
                .init(&stream, &device)
                .expect("valid sizes");
            let x = init::normal(&mut stream.derive("x"), [batch, tokens, hidden], 1.0, &device);
            let memory = init::normal(&mut stream.derive("keys"), [batch, keys, key_width], 1.0, &device);
            let kernel = format!("{:?}", attention.forward(x.clone(), memory.clone(), View::default()).expect("fitting").kernel);
            group.bench_function(BenchmarkId::new(routing_name, kernel), |bencher| {
                bencher
                    .iter(|| attention.forward(x.clone(), memory.clone(), View::default()).expect("fitting").context.into_data());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, kernels, modules);
criterion_main!(benches);
