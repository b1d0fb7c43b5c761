//! What a user waits for: seeing a clip, enrolling a person, one answer.

use criterion::{Criterion, criterion_group, criterion_main};
use pvchat::Pvchat;
use pvchat_data::random::SeededStream;
use pvchat_miniature::world::{Identity, Scene, SceneOptions};

fn main_job(criterion: &mut Criterion) {
    let pvchat = Pvchat::miniature().expect("the embedded files fit together");
    let mut stream = SeededStream::new(3);
    let person = Identity::random(&mut stream);
    let frames = Scene::random(&[person], SceneOptions::default(), &mut stream).render(64).frames;
    let name = "Aa".parse().expect("a name");
    let seen = pvchat.see(&frames).expect("eight frames");
    let subjects = [pvchat.enrol(&seen, &name).expect("enrolment")];
    let mut group = criterion.benchmark_group("main-job");
    group.sample_size(20);
    group.bench_function("see a clip", |bencher| bencher.iter(|| pvchat.see(&frames)));
    group.bench_function("enrol", |bencher| bencher.iter(|| pvchat.enrol(&seen, &name)));
    group.bench_function("ask what somebody wears", |bencher| {
        bencher.iter(|| pvchat.ask(&subjects, &seen, "What is <Aa> wearing?"))
    });
    group.bench_function("render a 64 px clip", |bencher| {
        let scene = Scene::random(&[person], SceneOptions::default(), &mut stream.clone());
        bencher.iter(|| scene.render(64));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    // Plots want a font that this workspace's plotting library does not bring; the figures are printed.
    config = Criterion::default().without_plots();
    targets = main_job
}
criterion_main!(benches);
