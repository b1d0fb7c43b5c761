//! Golden tests of Mixture-of-Heads attention: values, gates and gradients of the reference, on every CPU backend.

use crate::support::{GRADIENT, Golden, VALUE, devices};
use burn::{module::Param, prelude::*};
use pvchat_data::random::SeededStream;
use pvchat_nn::Error;
use pvchat_nn::{
    moh::{MohAttention, MohAttentionConfig, Routing, kernel::View},
    weights::apply_tensors,
};

fn config(golden: &Golden) -> MohAttentionConfig {
    let routing = Routing::Relu { shared: golden.size("shared_heads"), rescale: false };
    MohAttentionConfig::new(golden.size("hidden"), golden.size("heads"), routing).with_key_width(golden.size("encoder_width"))
}

fn load(golden: &Golden, device: &Device) -> MohAttention {
    let mut module = config(golden).init(&SeededStream::new(0), device).unwrap();
    apply_tensors(&mut module, &golden.source().under("weights."), &[]).unwrap().require_exact().unwrap();
    module
}

/// Inputs with gradients: query tokens, key tokens (the same tensor in self-attention), hidden keys.
fn inputs(golden: &Golden, device: &Device) -> (Tensor<3>, Tensor<3>, Tensor<2, Bool>) {
    let tracked = |name: &str| golden.tensor::<3>(name, device).set_require_grad(device.is_autodiff());
    let x = tracked("inputs.hidden_states");
    let keys = match golden.has("inputs.encoder_hidden_states") {
        true => tracked("inputs.encoder_hidden_states"),
        false => x.clone(),
    };
    (x, keys, golden.int_tensor::<2>("inputs.mask", device).equal_elem(0))
}

fn check(name: &str) {
    let golden = Golden::open(name);
    for (backend, device) in devices() {
        println!("{name} on {backend}");
        let plain = load(&golden, &device);
        let (x, keys, mask) = inputs(&golden, &device);
        golden.assert_close(
            "outputs.attention_probs",
            plain.probabilities(x.clone(), keys.clone(), View::without(Some(&mask))).unwrap(),
            VALUE,
        );
        golden.assert_close("outputs.context", plain.forward(x, keys, View::without(Some(&mask))).unwrap().context, VALUE);

        let device = device.autodiff();
        let module = load(&golden, &device);
        let (x, keys, mask) = inputs(&golden, &device);
        let output = module.forward(x.clone(), keys.clone(), View::without(Some(&mask))).unwrap();
        let gates = output.gates.expect("a routed attention returns its gates");
        golden.assert_close("outputs.router_logits", gates.logits, VALUE);
        golden.assert_close("outputs.gates", gates.gates, VALUE);
        golden.assert_close("outputs.alpha", gates.alpha, VALUE);
        golden.assert_close("outputs.context", output.context.clone(), VALUE);

        let loss = (output.context * golden.tensor::<3>("inputs.loss_weight", &device)).sum();
        golden.assert_close("outputs.loss", loss.clone(), VALUE);
        let gradients = loss.backward();
        golden.assert_close("grads.hidden_states", x.grad(&gradients).unwrap(), GRADIENT);
        if golden.has("grads.encoder_hidden_states") {
            golden.assert_close("grads.encoder_hidden_states", keys.grad(&gradients).unwrap(), GRADIENT);
        }
        let router = module.router_alpha.as_ref().unwrap();
        let linears = [
            ("query", &module.query),
            ("key", &module.key),
            ("value", &module.value),
            ("router_alpha.router", &router.router),
            ("router_alpha.alpha_proj", &router.alpha_proj),
        ];
        let mut checked =
            golden.names().iter().filter(|name| name.starts_with("grads.") && !name.contains("hidden_states")).count();
        for (name, linear) in linears {
            let grad = linear.weight.val().grad(&gradients).unwrap();
            golden.assert_close(&format!("grads.{name}.weight"), grad.transpose(), GRADIENT);
            checked -= 1;
            if let Some(bias) = linear.bias.as_ref().map(Param::val) {
                golden.assert_close(&format!("grads.{name}.bias"), bias.grad(&gradients).unwrap(), GRADIENT);
                checked -= 1;
            }
        }
        assert_eq!(checked, 0, "every golden gradient was compared");
    }
}

/// The golden attentions are too small for the fused kernel to be chosen; here it is called by name.
#[cfg(feature = "flex")]
fn check_fused(name: &str) {
    use pvchat_nn::moh::{
        kernel::{Kernel, fused_attention},
        router::head_scales,
    };
    let golden = Golden::open(name);
    let device = Device::flex().autodiff();
    let module = load(&golden, &device);
    let (x, keys, mask) = inputs(&golden, &device);
    let (heads, hidden) = (golden.size("heads"), golden.size("hidden"));
    let gates = module.gates(x.clone()).expect("routed");
    let scales = head_scales(&gates, module.routing(), heads);
    let split = |states: Tensor<3>| {
        let [batch, rows, _] = states.dims();
        states.reshape([batch, rows, heads, hidden / heads]).swap_dims(1, 2)
    };
    let q = split(module.query.forward(x.clone()));
    let [k, v] = [&module.key, &module.value].map(|linear| split(linear.forward(keys.clone())));
    let view = View::without(Some(&mask));
    let (context, kernel) = fused_attention(&q, &k, &v, view, Some(&scales)).expect("f32 on flex");
    assert_eq!(kernel, Kernel::Sparse);
    let [batch, tokens, _] = x.dims();
    let context = context.swap_dims(1, 2).reshape([batch, tokens, hidden]);
    golden.assert_close("outputs.context", context.clone(), VALUE);
    let gradients = (context * golden.tensor::<3>("inputs.loss_weight", &device)).sum().backward();
    golden.assert_close("grads.hidden_states", x.grad(&gradients).unwrap(), GRADIENT);
    if golden.has("grads.encoder_hidden_states") {
        golden.assert_close("grads.encoder_hidden_states", keys.grad(&gradients).unwrap(), GRADIENT);
    }
    for (name, linear) in [("query", &module.query), ("key", &module.key), ("value", &module.value)] {
        let slope = linear.weight.val().grad(&gradients).unwrap();
        golden.assert_close(&format!("grads.{name}.weight"), slope.transpose(), GRADIENT);
    }
    let router = module.router_alpha.as_ref().unwrap();
    for (name, linear) in [("router", &router.router), ("alpha_proj", &router.alpha_proj)] {
        let slope = linear.weight.val().grad(&gradients).unwrap();
        golden.assert_close(&format!("grads.router_alpha.{name}.weight"), slope.transpose(), GRADIENT);
    }
}

#[cfg(feature = "flex")]
#[test]
fn the_fused_kernel_equals_the_golden_attentions() {
    check_fused("remoh_attention_self");
    check_fused("remoh_attention_cross");
}

#[test]
fn self_attention_equals_the_reference() {
    check("remoh_attention_self");
}

#[test]
fn cross_attention_equals_the_reference() {
    check("remoh_attention_cross");
}

#[test]
fn wrong_routings_name_both_numbers() {
    let cases = [
        (Routing::Relu { shared: 4, rescale: false }, "4", "4 heads"),
        (Routing::Relu { shared: 9, rescale: true }, "9", "4 heads"),
        (Routing::TopK { shared: 5, active: 1 }, "5", "4 heads"),
        (Routing::TopK { shared: 2, active: 3 }, "3", "1..=2"),
        (Routing::TopK { shared: 2, active: 0 }, "0", "1..=2"),
        (Routing::Relu { shared: 0, rescale: false }, "0", "4 heads"),
    ];
    let device = devices()[0].1.clone();
    for (routing, value, other) in cases {
        let error = MohAttentionConfig::new(64, 4, routing).init(&SeededStream::new(0), &device).unwrap_err();
        assert!(
            matches!(&error, Error::Config { value: found, remedy, .. } if found == value && remedy.contains(other)),
            "{error}"
        );
    }
    let error = MohAttentionConfig::new(66, 4, Routing::Dense).validate().unwrap_err().to_string();
    assert!(error.contains("66") && error.contains('4'), "{error}");
}

fn contexts(routing: Routing, device: &Device) -> (Tensor<3>, Tensor<3>, MohAttention) {
    let stream = SeededStream::new(5);
    let mut dense = MohAttentionConfig::new(24, 4, Routing::Dense);
    dense.initial_deviation = 0.2;
    let routed = MohAttentionConfig { routing, ..dense.clone() };
    let (dense, mut routed) = (dense.init(&stream, device).unwrap(), routed.init(&stream, device).unwrap());
    // An undecided router: what is left is its bias.
    let router = routed.router_alpha.as_mut().unwrap();
    router.router.weight = pvchat_nn::init::constant_param([24, 2], 0.0, device);
    router.alpha_proj.weight = pvchat_nn::init::constant_param([24, 2], 0.0, device);
    let x: Tensor<3> = pvchat_nn::init::normal(&mut stream.derive("x"), [2, 5, 24], 1.0, device);
    let context = |module: &MohAttention| module.forward(x.clone(), x.clone(), View::default()).unwrap().context;
    (context(&dense), context(&routed), routed)
}

#[test]
fn a_rescaled_router_starts_at_plain_attention_and_the_published_one_does_not() {
    for (_, device) in devices() {
        let values = |tensor: Tensor<3>| tensor.into_data().iter::<f32>().collect::<Vec<f32>>();
        let (dense, rescaled, _) = contexts(Routing::Relu { shared: 2, rescale: true }, &device);
        crate::support::assert_all_close("rescaled", &values(rescaled), &values(dense), 1e-6);
        let (dense, published, _) = contexts(Routing::Relu { shared: 2, rescale: false }, &device);
        let expected = Tensor::cat(vec![dense.clone().narrow(2, 0, 12) * 0.5, dense.narrow(2, 12, 12) * 0.0], 2);
        crate::support::assert_all_close("published", &values(published), &values(expected), 1e-6);
    }
}

#[test]
fn top_k_keeps_exactly_the_highest_scores() {
    for (_, device) in devices() {
        let routing = Routing::TopK { shared: 1, active: 2 };
        let module = MohAttentionConfig::new(24, 6, routing).init(&SeededStream::new(3), &device).unwrap();
        let x: Tensor<3> = pvchat_nn::init::normal(&mut SeededStream::new(4), [2, 7, 24], 4.0, &device);
        let gates = module.forward(x.clone(), x, View::default()).unwrap().gates.unwrap();
        let scores: Vec<f32> = burn::tensor::activation::softmax(gates.logits, 2).into_data().iter::<f32>().collect();
        let kept: Vec<f32> = gates.gates.into_data().iter::<f32>().collect();
        for (scores, kept) in scores.chunks(5).zip(kept.chunks(5)) {
            let mut order = scores.to_vec();
            order.sort_by(|a, b| b.total_cmp(a));
            let expected: Vec<f32> = scores.iter().map(|&score| if score >= order[1] { score } else { 0.0 }).collect();
            assert_eq!(kept, expected);
        }
    }
}
