//! Finding people on the processor: each network by itself, what is done to pictures around them, and whole clips.

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pvchat::faces::{Bounds, EmbedderKind, FaceIndex, Finder, IndexedFile, IndexedPerson, Search};
use pvchat_benches::people::{eye_contours, finder, frames, networks, noise};
use pvchat_data::random::SeededStream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `None`, and a line that says so, where the models are not installed.
fn open(embedder: EmbedderKind, search: Search, threads: usize) -> Option<Finder> {
    finder(embedder, search, threads).map_err(|error| eprintln!("not measured: {error}")).ok()
}

fn single_networks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("network");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    for (name, network, shapes) in networks() {
        let embedder = if name == "dlib" { EmbedderKind::Dlib } else { EmbedderKind::MobileFaceNet };
        let Some(finder) = open(embedder, Search::Auto, 1) else { return };
        let inputs: Vec<(Vec<f32>, [usize; 4])> = shapes.into_iter().map(|shape| (noise(shape), shape)).collect();
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || inputs.clone(),
                |inputs| inputs.into_iter().map(|(values, shape)| finder.compute(network, values, shape)).collect::<Vec<_>>(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn pictures(criterion: &mut Criterion) {
    use pvchat::faces::pictures::{align, shrink};
    let mut group = criterion.benchmark_group("picture");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let picture = frames(1920, 1080, 1).swap_remove(0);
    for side in [256, 640] {
        group.bench_function(format!("1080p shrunk to {side}"), |bencher| bencher.iter(|| shrink(&picture, side)));
    }
    let points = [[900.0, 500.0], [990.0, 510.0], [940.0, 560.0], [910.0, 600.0], [980.0, 610.0]];
    group.bench_function("a face aligned to 112", |bencher| bencher.iter(|| align(&picture, &points, 112)));
    match eye_contours() {
        Ok(eyes) => {
            group.bench_function("whether the eyes are open", |bencher| bencher.iter(|| eyes.openness(&picture, &points)));
        }
        Err(error) => eprintln!("not measured: {error}"),
    }
    group.finish();
}

fn clips(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find");
    group.sample_size(10).warm_up_time(Duration::from_millis(1));
    for [width, height] in [[1280, 720], [1920, 1080]] {
        // 300 frames of 1080p take 1.9 GB.
        let counts = [8, 30, 300];
        let all = frames(width, height, 300);
        for threads in [1, 2] {
            let Some(finder) = open(EmbedderKind::MobileFaceNet, Search::Auto, threads) else { return };
            for count in counts.into_iter().filter(|&count| count < 300 || threads == 2) {
                let seconds: Vec<f64> = (0..count).map(|frame| frame as f64 / 30.0).collect();
                group.measurement_time(Duration::from_millis(100)).throughput(Throughput::Elements(count as u64));
                group.bench_function(format!("{count} frames of {height}p, {threads} threads"), |bencher| {
                    bencher.iter(|| finder.find(&all[..count], &seconds));
                });
            }
        }
    }
    group.finish();
}

/// Somebody among a million people.
fn index(criterion: &mut Criterion) {
    const WIDTH: usize = 192;
    const IN_A_FILE: usize = 1000;
    let mut group = criterion.benchmark_group("index");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut stream = SeededStream::new(1);
    let mut index = FaceIndex::open(folder.path().join("faces.index"), "bench", WIDTH).expect("a new index");
    let person = IndexedPerson { moments: vec![(0.0, 1.0)], best: 0.0, bounds: Bounds::default(), good_faces: 1 };
    let probe: Vec<f32> = (0..WIDTH).map(|_| 0.15 * (stream.unit() - 0.5)).collect();
    for people in [10_000, 100_000, 1_000_000] {
        while index.people() < people {
            let file =
                IndexedFile { name: index.people().to_string(), bytes: 0, modified: 0, people: vec![person.clone(); IN_A_FILE] };
            let embeddings: Vec<Vec<f32>> =
                (0..IN_A_FILE).map(|_| (0..WIDTH).map(|_| 0.15 * (stream.unit() - 0.5)).collect()).collect();
            index.put(file, &embeddings).expect("room on the disk");
        }
        group.throughput(Throughput::Elements(people as u64));
        group.bench_function(format!("best 100 of {people}"), |bencher| bencher.iter(|| index.search(&[&probe], -1.0, 100)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // Plots want a font that this workspace's plotting library does not bring; the figures are printed.
    config = Criterion::default().without_plots();
    targets = single_networks, pictures, clips, index
}
criterion_main!(benches);
