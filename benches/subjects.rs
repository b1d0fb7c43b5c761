//! The cost of switching to another subject: from 64 in memory, or from its file.

use std::ops::ControlFlow;

use criterion::{Criterion, criterion_group, criterion_main};
use pvchat::{LearnOptions, Pvchat, Subject, SubjectFolder, SubjectName, train::personal::Trains};
use pvchat_data::random::SeededStream;
use pvchat_miniature::world::{Identity, Scene, SceneOptions};

fn subjects(criterion: &mut Criterion) {
    let pvchat = Pvchat::miniature().expect("the embedded files fit together");
    let vilm = pvchat.vilm();
    let mut stream = SeededStream::new(3);
    let see = |stream: &mut SeededStream| {
        let person = Identity::random(stream);
        let frames = Scene::random(&[person], SceneOptions::default(), stream).render(64).frames;
        pvchat.see(&frames).expect("eight frames")
    };
    let clip = see(&mut stream);
    let all: Vec<Subject> = (0..64)
        .map(|number| {
            let name: SubjectName = format!("P{number}").parse().expect("a name");
            pvchat.enrol(&see(&mut stream), &name).expect("enrolment")
        })
        .collect();
    let mut options = LearnOptions { positives: 3, ..LearnOptions::default() };
    (options.negatives.hard, options.negatives.random) = (2, 2);
    (options.training.image_steps, options.training.clip_steps, options.training.batch) = (1, 1, 4);
    options.training.trains = Trains::Personal;
    let learned = pvchat.learn(&clip, &"Aa".parse().expect("a name"), &options, |_| ControlFlow::Continue(()));
    let personal = learned.expect("learning").report.learned.swap_remove(0);

    let folder = std::env::temp_dir().join(format!("pvchat-bench-subjects-{}", std::process::id()));
    let kept = SubjectFolder::new(&folder);
    kept.save(&all[7]).expect("a folder that can be written");
    kept.save(&personal).expect("a folder that can be written");

    let mut group = criterion.benchmark_group("subjects");
    group.sample_size(30);
    group.bench_function("swap to another of 64", |bencher| {
        let mut turn = 0;
        bencher.iter(|| {
            turn = (turn + 1) % all.len();
            Subject::tensors(std::slice::from_ref(&all[turn]), vilm.device())
        });
    });
    group.bench_function("swap to one with routers and LoRA", |bencher| bencher.iter(|| vilm.adapted(&personal)));
    group.bench_function("load tokens and rows from a file", |bencher| bencher.iter(|| kept.load(&all[7].info.name, vilm)));
    group.bench_function("load one with routers and LoRA", |bencher| bencher.iter(|| kept.load(&personal.info.name, vilm)));
    group.bench_function("read a clip for another of 64", |bencher| {
        let view = vilm.with_subjects(&all);
        let mut turn = 0;
        bencher.iter(|| {
            turn = (turn + 1) % all.len();
            view.read(&clip.memory, &[&all[turn]])
        });
    });
    group.bench_function("read a clip for one with routers and LoRA", |bencher| {
        let view = vilm.with_subjects(std::slice::from_ref(&personal));
        bencher.iter(|| view.read(&clip.memory, &[&personal]));
    });
    group.finish();
    std::fs::remove_dir_all(&folder).expect("the folder of this benchmark");
}

criterion_group! {
    name = benches;
    // Plots want a font that this workspace's plotting library does not bring; the figures are printed.
    config = Criterion::default().without_plots();
    targets = subjects
}
criterion_main!(benches);
