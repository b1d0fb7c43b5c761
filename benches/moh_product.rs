//! What the fused kernel means for the product: the time of one answer and one training step of the miniature, and of the
//! attention of its Q-Former by the reference and by the chosen kernel. Prints a table in Markdown.

use std::{ops::ControlFlow, time::Instant};

use burn::prelude::*;
use pvchat::{LearnEvent, LearnOptions, Pvchat};
use pvchat_benches::median;
use pvchat_data::random::SeededStream;
use pvchat_miniature::world::{Identity, Scene, SceneOptions};
use pvchat_nn::{
    init,
    moh::kernel::{Kernel, View, gated_attention, reference_attention},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Batch, heads, tokens, keys and width of a head.
type Sizes = [usize; 5];

fn main() -> Outcome<()> {
    let pvchat = Pvchat::miniature()?;
    let mut stream = SeededStream::new(3);
    let person = Identity::random(&mut stream);
    let frames = Scene::random(&[person], SceneOptions::default(), &mut stream).render(64).frames;
    let (name, seen) = ("Aa".parse()?, pvchat.see(&frames)?);
    let subjects = [pvchat.enrol(&seen, &name)?];

    let question = median(30, || pvchat.ask(&subjects, &seen, "What is <Aa> wearing?").map(|_| ()))?;
    let (mut steps, mut last) = (Vec::new(), None::<Instant>);
    let options = LearnOptions::default();
    pvchat.learn(&seen, &name, &options, |event| {
        if let LearnEvent::Training(progress) = event {
            let now = Instant::now();
            // Steps on clips only.
            if let Some(last) = last.filter(|_| progress.step > options.training.image_steps + 1) {
                steps.push((now - last).as_secs_f64() * 1e3);
            }
            last = Some(now);
        }
        ControlFlow::Continue(())
    })?;
    steps.sort_by(f64::total_cmp);
    let step = *steps.get(steps.len() / 2).ok_or("no step was taken")?;

    let config = pvchat.vilm().config().answer.qformer().ok_or("a base without a Q-Former")?;
    let queries = 2 * config.personal_query_tokens;
    let (layers, heads, width) = (config.qformer.layers, config.qformer.heads, config.qformer.hidden / config.qformer.heads);
    let shard = options.training.batch / options.training.threads;
    println!(
        "| of the miniature | all of it | attention of its Q-Former: reference | as chosen | kernel chosen | all of it would take |"
    );
    println!("|---|---:|---:|---:|---|---:|");
    for (what, whole, batch, device) in
        [("one question answered", question, 1, Device::flex()), ("one training step", step, shard, Device::flex().autodiff())]
    {
        let keys = seen.memory.tokens.dims()[1];
        let (mut times, mut kernels) = ([0.0; 2], Vec::new());
        for keys in [queries, keys] {
            let sizes = [batch, heads, queries, keys, width];
            let (found, kernel) = attention(sizes, &device)?;
            times.iter_mut().zip(found).for_each(|(time, found)| *time += layers as f64 * found);
            kernels.push(format!("{kernel:?}"));
        }
        kernels.dedup();
        let [reference, chosen] = times;
        println!(
            "| {what} | {whole:.2} ms | {reference:.3} ms | {chosen:.3} ms | {} | {:.1} % more with the reference |",
            kernels.join(", "),
            100.0 * (reference - chosen) / whole
        );
    }
    Ok(())
}

/// Milliseconds of one attention by the reference and as it is chosen, half of all routed pairs off, with its gradients on
/// a device that keeps them; and what was chosen.
fn attention([batch, heads, tokens, keys, width]: Sizes, device: &Device) -> Outcome<([f64; 2], Kernel)> {
    let mut stream = SeededStream::new(5);
    let mut input = |rows| init::normal::<4>(&mut stream, [batch, heads, rows, width], 1.0, device);
    let inputs = [tokens, keys, keys].map(|rows| {
        let input = input(rows);
        if device.is_autodiff() { input.require_grad() } else { input }
    });
    let on = |row: usize| row / tokens % heads < heads / 2 || stream.chance(0.5);
    let scales: Vec<f32> = (0..batch * heads * tokens).map(on).map(|on| f32::from(u8::from(on))).collect();
    let scales = Tensor::<3>::from_data(TensorData::new(scales, [batch, heads, tokens]), device);
    let mut chosen = Kernel::Reference;
    let mut time = |by_reference: bool| {
        median(200, || {
            let ([q, k, v], scales) = (inputs.clone(), Some(scales.clone()));
            let context = if by_reference {
                reference_attention(q, k, v, View::default(), scales)
            } else {
                let (context, kernel) = gated_attention(q, k, v, View::default(), scales);
                chosen = kernel;
                context
            };
            if device.is_autodiff() {
                context.backward();
            }
            Ok::<_, std::convert::Infallible>(())
        })
    };
    let times = [time(true)?, time(false)?];
    Ok((times, chosen))
}
