//! Products with packed weights compared with burn's matrix product, at the sizes of a laptop's vision-language model: the
//! encoder (width 768, 8 pictures of 1024 tokens), reading a prompt (666 rows) and writing (one row, whose weights come from
//! memory: as many matrices as the caches cannot hold), and a plain copy of memory.
//!
//! Elements per second are operations per second: two for each weight and row. Threads: all cores, or as many as
//! `RAYON_NUM_THREADS` says.

use std::time::Duration;

use burn::prelude::*;
use criterion::{Criterion, Throughput};
use pvchat_data::random::SeededStream;
use pvchat_nn::{
    init,
    moh::kernel::{View, fused_attention},
    packed::{Finish, Heads, KeyWeights, Layer, PackedMatrix, Precision, attention, causal_attention_into, forward_both},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows, inputs, outputs.
const SIZES: [(&str, [usize; 3]); 8] = [
    ("encoder, attention", [8192, 768, 768]),
    ("encoder, up", [8192, 768, 3072]),
    ("encoder, down", [8192, 3072, 768]),
    ("prompt, queries, keys and values", [666, 576, 960]),
    ("prompt, up", [666, 576, 1536]),
    ("prompt, down", [666, 1536, 576]),
    ("writing, up", [1, 576, 1536]),
    ("writing, words", [1, 576, 49280]),
];
/// Weights that no cache holds, in any precision.
const MANY: usize = 200_000_000;

fn numbers(label: &str, count: usize) -> Vec<f32> {
    let mut stream = SeededStream::new(1).derive(label);
    (0..count).map(|_| stream.normal()).collect()
}

/// Twelve heads of 64, 1024 tokens, 8 pictures.
fn measure_attention(criterion: &mut Criterion, device: &Device) {
    let sizes @ [batch, heads, tokens, width] = [8, 12, 1024, 64];
    let mut group = criterion.benchmark_group("encoder, softmax of queries and keys times values");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements((4 * batch * heads * tokens * tokens * width) as u64));
    let all = numbers("heads", batch * tokens * 3 * heads * width);
    let parts = [0, 1, 2].map(|part| Heads::side_by_side(&all, part * heads * width, [tokens, 3 * heads * width, width]));
    for precision in [Precision::F32, Precision::Bf16] {
        group.bench_function(format!("{precision:?}"), |bencher| {
            bencher.iter(|| attention(parts, sizes, tokens, precision).expect("sizes that fit"));
        });
    }
    let [q, k, v] = [4, 5, 6].map(|seed| init::normal::<4>(&mut SeededStream::new(seed), sizes, 1.0, device));
    group.bench_function("gated, all heads on, f32", |bencher| {
        bencher.iter(|| fused_attention(&q, &k, &v, View::default(), None).expect("f32 on flex"));
    });
    group.finish();
}

/// Reading a prompt of 666 tokens in one layer, 512 of them visual, as the base and with heads that routers weigh: the weights are
/// applied in the same pass.
fn measure_routed(criterion: &mut Criterion) {
    let sizes @ [heads, kv_heads, tokens, width] = [9, 3, 666, 64];
    let row = (heads + 2 * kv_heads) * width;
    let all = numbers("prompt", tokens * row);
    let parts = [0, heads, heads + kv_heads].map(|head| Heads::side_by_side(&all, head * width, [tokens, row, width]));
    let weights: Vec<f32> = numbers("weights", tokens * heads).into_iter().map(f32::abs).collect();
    let keys: Vec<bool> = (0..tokens).map(|token| (40..552).contains(&token)).collect();
    let mut group = criterion.benchmark_group("prompt, attention of a layer");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    let mut out = Vec::new();
    for precision in [Precision::F32, Precision::Bf16] {
        for (name, weighed) in [("as the base", None), ("routed heads", Some(KeyWeights { weights: &weights, keys: &keys }))] {
            group.bench_function(format!("{name}, {precision:?}"), |bencher| {
                bencher.iter(|| {
                    causal_attention_into(parts, sizes, tokens, weighed, precision, &mut out).expect("sizes that fit");
                });
            });
        }
    }
    group.finish();
}

/// Both layers of the encoder's perceptron with everything around their products.
fn measure_perceptron(criterion: &mut Criterion) {
    let [count, width, between] = [8192, 768, 3072];
    let mut group = criterion.benchmark_group("encoder, up, GELU, down, sum");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements((4 * count * width * between) as u64));
    let (up, down, rows) = (numbers("up", width * between), numbers("down", between * width), numbers("rows", count * width));
    let biases = [numbers("bias", between), numbers("bias", width)];
    for precision in Precision::ALL {
        let up = PackedMatrix::pack(&up, width, between, precision).expect("sizes that fit");
        let down = PackedMatrix::pack(&down, between, width, precision).expect("sizes that fit");
        let layers = [
            Layer { weight: &up, bias: Some(&biases[0]), finish: Finish::GeluTanh },
            Layer { weight: &down, bias: Some(&biases[1]), finish: Finish::Add(&rows) },
        ];
        group.bench_function(format!("{precision:?}"), |bencher| {
            bencher.iter(|| forward_both(layers, &rows, count).expect("sizes that fit"));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    let device = Device::flex();
    let mut group = criterion.benchmark_group("memory");
    let (from, mut to) = (vec![1u8; 1 << 28], vec![0u8; 1 << 28]);
    group.sample_size(10).throughput(Throughput::Bytes(1 << 29));
    group.bench_function("copy, read and written", |bencher| bencher.iter(|| to.copy_from_slice(std::hint::black_box(&from))));
    group.finish();
    drop((from, to));
    measure_attention(&mut criterion, &device);
    measure_perceptron(&mut criterion);
    measure_routed(&mut criterion);
    for (name, [count, inputs, outputs]) in SIZES {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
        let (weight, rows) = (numbers("weight", inputs * outputs), numbers("rows", count * inputs));
        let copies = if count == 1 { MANY / (inputs * outputs) } else { 1 };
        let operations = 2 * copies * count * inputs * outputs;
        for precision in Precision::ALL {
            let packed = (0..copies).map(|_| PackedMatrix::pack(&weight, inputs, outputs, precision).expect("sizes that fit"));
            let packed: Vec<PackedMatrix> = packed.collect();
            let mut out = vec![0.0; count * outputs];
            let bytes = packed.iter().map(PackedMatrix::bytes).sum::<usize>() as u64;
            group.throughput(if count == 1 { Throughput::Bytes(bytes) } else { Throughput::Elements(operations as u64) });
            group.bench_function(format!("{precision:?}"), |bencher| {
                bencher.iter(|| packed.iter().for_each(|packed| packed.forward(&rows, count, None, &mut out).expect("sizes")));
            });
        }
        let x = init::normal::<2>(&mut SeededStream::new(2), [count, inputs], 1.0, &device);
        let weights: Vec<Tensor<2>> =
            (0..copies).map(|_| init::normal::<2>(&mut SeededStream::new(3), [inputs, outputs], 1.0, &device)).collect();
        group.throughput(if count == 1 {
            Throughput::Bytes(2 * operations as u64)
        } else {
            Throughput::Elements(operations as u64)
        });
        group.bench_function("burn, f32", |bencher| {
            bencher.iter(|| weights.iter().for_each(|weight| drop(std::hint::black_box(x.clone().matmul(weight.clone())))));
        });
        group.finish();
    }
    criterion.final_summary();
}
