//! The whole attention module at the paper's cross-attention shape, projections included: a line of JSON per case, with
//! the median of its milliseconds. `scripts/moh-peers.sh` alternates it with the same computation in PyTorch.
//!
//! `moh_module RUNS`. Batch 3, 112 queries, 2049 keys of width 1408, 12 heads of 64, 8 shared, f32.

use burn::{module::Param, prelude::*};
use pvchat_benches::median;
use pvchat_data::random::SeededStream;
use pvchat_nn::{
    init,
    moh::{
        MohAttention, MohAttentionConfig, Routing,
        kernel::{View, gated_attention},
    },
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 3;
const QUERIES: usize = 112;
const KEYS: usize = 2049;
const KEY_WIDTH: usize = 1408;
const HIDDEN: usize = 768;
const HEADS: usize = 12;
const SHARED: usize = 8;

/// A module whose routed gates are open for half of the tokens, each head for others; `idle` of the four never open.
fn module(idle: usize, device: &Device) -> Result<MohAttention, Box<dyn std::error::Error>> {
    let routing = Routing::Relu { shared: SHARED, rescale: false };
    let config = MohAttentionConfig::new(HIDDEN, HEADS, routing).with_key_width(KEY_WIDTH);
    let mut module = config.init(&SeededStream::new(1), device)?;
    if let Some(router) = &mut module.router_alpha {
        // Without a bias a random direction is positive for half of all inputs.
        let bias: Vec<f32> = (0..HEADS - SHARED).map(|head| if head < idle { -1e3 } else { 0.0 }).collect();
        router.router.bias = Some(Param::from_tensor(Tensor::from_floats(bias.as_slice(), device)));
    }
    Ok(module)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runs: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).ok_or("usage: moh_module RUNS")?;
    for (pass, device) in [("forward", Device::flex()), ("forward+backward", Device::flex().autodiff())] {
        let x = init::normal::<3>(&mut SeededStream::new(2), [BATCH, QUERIES, HIDDEN], 1.0, &device);
        let x = if device.is_autodiff() { x.require_grad() } else { x };
        let keys = init::normal::<3>(&mut SeededStream::new(3), [BATCH, KEYS, KEY_WIDTH], 1.0, &device);
        for idle in [0, 1, 2, 4] {
            let module = module(idle, &device)?;
            let activation = module.gates(x.clone()).map(|gates| gates.activation().into_scalar::<f32>()).unwrap_or(1.0);
            let finish = |context: Tensor<3>| {
                if device.is_autodiff() {
                    context.square().mean().backward();
                } else {
                    context.into_data();
                }
            };
            let whole = median(runs, || {
                let output = module.forward(x.clone(), keys.clone(), View::default())?;
                finish(output.context);
                Ok::<_, pvchat_model::Error>(())
            })?;
            say("module", pass, idle, activation, whole);
            if idle > 0 {
                // The same without leaving anything out of the projections.
                let projected = median(runs, || {
                    let (queries, pair) = (module.queries(x.clone()), module.keys_and_values(keys.clone()));
                    let output = module.attend(queries, pair, View::default(), module.gates(x.clone()))?;
                    finish(output.context);
                    Ok::<_, pvchat_model::Error>(())
                })?;
                say("projected", pass, idle, activation, projected);
            }
            if idle == 0 {
                // The attention alone, on what the projections gave.
                let gates = module.gates(x.clone());
                let scales = gates.map(|gates| module.scales(&gates).detach());
                let queries = module.queries(x.clone()).detach();
                let [k, v] = module.keys_and_values(keys.clone()).map(|states| states.detach());
                let [q, k, v] = [queries, k, v].map(|states| if device.is_autodiff() { states.require_grad() } else { states });
                let core = median(runs, || {
                    let (context, _) = gated_attention(q.clone(), k.clone(), v.clone(), View::default(), scales.clone());
                    finish(context.flatten::<3>(1, 2));
                    Ok::<_, pvchat_model::Error>(())
                })?;
                say("core", pass, idle, activation, core);
            }
        }
    }
    Ok(())
}

fn say(what: &str, pass: &str, idle: usize, activation: f32, milliseconds: f64) {
    println!(
        r#"{{"program": "ours", "what": "{what}", "pass": "{pass}", "idle": {idle}, "activation": {activation:.3}, "ms": {milliseconds:.3}}}"#
    );
}
