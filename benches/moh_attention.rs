//! Mixture-of-Heads attention, forward: the three routings on the CPU, at the miniature's and the
//! paper's cross-attention shapes.
//!
//! The kernel is the reference, which computes every head: routing saves nothing yet, and these
//! figures are what a kernel that skips heads will be held against.

use std::time::Duration;

use burn::prelude::*;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    init,
    moh::{MohAttentionConfig, Routing},
};

/// Name, batch, query tokens, keys, width of the keys, hidden width, heads, shared heads.
const SHAPES: [(&str, [usize; 7]); 2] =
    [("miniature", [16, 32, 37, 128, 128, 8, 4]), ("paper-cross", [1, 112, 2049, 1408, 768, 12, 8])];

fn attention(criterion: &mut Criterion) {
    let device = Device::default();
    for (name, [batch, tokens, keys, key_width, hidden, heads, shared]) in SHAPES {
        let mut group = criterion.benchmark_group(format!("moh-attention/{name}/forward"));
        group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
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
            group.bench_function(BenchmarkId::new(routing_name, "reference-kernel"), |bencher| {
                bencher.iter(|| attention.forward(x.clone(), memory.clone(), None).context.into_data());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, attention);
criterion_main!(benches);
