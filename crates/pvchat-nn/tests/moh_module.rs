//! The attention module beyond what the golden data covers: chosen shared heads, grouped queries, masks, heads left
//! out of the projections, a start from plain attention, and what it refuses.

use burn::{
    module::{ModuleMapper, Param},
    prelude::*,
    tensor::DType,
};
use pvchat_data::random::SeededStream;
use pvchat_nn::{
    Error, init,
    moh::{
        MohAttention, MohAttentionConfig, MohOutput, Routing,
        kernel::{Kernel, View},
    },
};

const RELU: Routing = Routing::Relu { shared: 2, rescale: true };

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 1e-5 * largest, "{what}[{index}]: {found} where {expected} was expected");
    }
}

fn drawn(label: &str, shape: [usize; 3], device: &Device) -> Tensor<3> {
    init::normal(&mut SeededStream::new(11).derive(label), shape, 1.0, device)
}

/// Six heads of four over two key heads, the second and the last shared.
fn grouped(device: &Device) -> MohAttention {
    let mut config = MohAttentionConfig::new(24, 6, RELU).with_key_width(20).with_key_heads(2).with_shared_heads([5, 1]);
    config.initial_deviation = 0.3;
    let stream = SeededStream::new(2);
    config.init(&stream, device).unwrap()
}

/// Written down in loops over plain numbers, from the formulas of the module's documentation.
fn by_hand(module: &MohAttention, x: &Tensor<3>, keys: &Tensor<3>, seen: impl Fn(usize, usize, usize) -> bool) -> Vec<f32> {
    let matrix = |linear: &burn::nn::Linear| (numbers(linear.weight.val()), numbers(linear.bias.as_ref().unwrap().val()));
    let project = |input: &Tensor<3>, (weight, bias): (Vec<f32>, Vec<f32>)| -> Vec<f64> {
        let width = input.dims()[2];
        let rows = numbers(input.clone());
        let row = |row: &[f32]| -> Vec<f64> {
            let column = |column: usize| {
                let sum: f64 = (0..width).map(|i| f64::from(row[i]) * f64::from(weight[i * bias.len() + column])).sum();
                sum + f64::from(bias[column])
            };
            (0..bias.len()).map(column).collect()
        };
        rows.chunks(width).flat_map(row).collect()
    };
    let (q, k, v) = (project(x, matrix(&module.query)), project(keys, matrix(&module.key)), project(keys, matrix(&module.value)));
    let gates = module.gates(x.clone()).unwrap();
    let (gate, alpha) = (numbers(gates.gates), numbers(gates.alpha));
    let ([batch, tokens, _], count) = (x.dims(), keys.dims()[1]);
    let mut context = Vec::new();
    for (sequence, token) in (0..batch).flat_map(|sequence| (0..tokens).map(move |token| (sequence, token))) {
        let row = sequence * tokens + token;
        for head in 0..6 {
            let scale = match head {
                5 | 1 => 2.0 * alpha[row * 2],
                routed => 2.0 * alpha[row * 2 + 1] * gate[row * 4 + [0, 2, 3, 4].iter().position(|&own| own == routed).unwrap()],
            };
            let at = |memory: &[f64], key: usize, element: usize| memory[(sequence * count + key) * 8 + head / 3 * 4 + element];
            let weights: Vec<f64> = (0..count)
                .map(|key| match seen(sequence, token, key) {
                    true => (0..4).map(|i| q[row * 24 + head * 4 + i] * at(&k, key, i) / 2.0).sum::<f64>().exp(),
                    false => 0.0,
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            for element in 0..4 {
                let value: f64 = (0..count).map(|key| weights[key] * at(&v, key, element)).sum();
                context.push((f64::from(scale) * value / sum) as f32);
            }
        }
    }
    context
}

#[test]
fn chosen_heads_groups_and_masks_are_what_the_formulas_say() {
    let device = Device::flex();
    let module = grouped(&device);
    let (x, keys) = (drawn("x", [2, 5, 24], &device), drawn("keys", [2, 7, 20], &device));
    // Each mask leaves every token something to see.
    let hidden: Vec<bool> = (0..14).map(|i| i % 5 == 3).collect();
    let pairs: Vec<bool> = (0..70).map(|i| i % 7 != 1 && i % 3 == 0).collect();
    let hidden_tensor = Tensor::<2, Bool>::from_data(TensorData::new(hidden.clone(), [2, 7]), &device);
    let pairs_tensor = Tensor::<3, Bool>::from_data(TensorData::new(pairs.clone(), [2, 5, 7]), &device);
    for masks in 0..8 {
        let (by_key, by_pair, causal) = (masks & 1 != 0, masks & 2 != 0, masks & 4 != 0);
        let view = View { hidden: by_key.then_some(&hidden_tensor), hidden_pairs: by_pair.then_some(&pairs_tensor), causal };
        let seen = |sequence: usize, token: usize, key: usize| {
            !(by_key && hidden[sequence * 7 + key]
                || by_pair && pairs[(sequence * 5 + token) * 7 + key]
                || causal && key > token + 2)
        };
        let output = module.forward(x.clone(), keys.clone(), view).unwrap();
        assert_close(&format!("masks {masks:03b}"), &numbers(output.context), &by_hand(&module, &x, &keys, seen));
    }
}

/// The first routed heads, and everything of the second key head, never open.
fn closed(device: &Device) -> MohAttention {
    let mut config = MohAttentionConfig::new(32, 8, RELU).with_key_width(16).with_key_heads(4).with_shared_heads([6, 1]);
    config.initial_deviation = 0.2;
    let stream = SeededStream::new(5);
    let mut module = config.init(&stream, device).unwrap();
    // Routed heads are 0, 2, 3, 4, 5 and 7; heads 2 and 3 are all of key head 1.
    let router = module.router_alpha.as_mut().unwrap();
    let bias = Tensor::<1>::from_floats([-50.0, -50.0, -50.0, 1.0, 1.0, 1.0], device);
    router.router.bias = Some(Param::from_tensor(bias));
    module
}

#[test]
fn heads_that_are_off_everywhere_are_left_out_and_nothing_changes() {
    let device = Device::flex().autodiff();
    let module = closed(&device);
    let tracked = |label, shape| drawn(label, shape, &device).require_grad();
    let (x, keys) = (tracked("x", [2, 20, 32]), tracked("keys", [2, 1600, 16]));
    let slope = drawn("slope", [2, 20, 32], &device);
    let run = |output: MohOutput| {
        let context = numbers(output.context.clone());
        let gradients = (output.context * slope.clone()).sum().backward();
        let mut found = vec![context, numbers(x.grad(&gradients).unwrap()), numbers(keys.grad(&gradients).unwrap())];
        for linear in [&module.query, &module.key, &module.value] {
            found.push(numbers(linear.weight.val().grad(&gradients).unwrap()));
            found.push(numbers(linear.bias.as_ref().unwrap().val().grad(&gradients).unwrap()));
        }
        (found, output.left_out)
    };
    let (found, left_out) = run(module.forward(x.clone(), keys.clone(), View::default()).unwrap());
    assert_eq!(left_out, [2, 3]);
    let pair = module.keys_and_values(keys.clone());
    let whole = module.attend(module.queries(x.clone()), pair, View::default(), module.gates(x.clone())).unwrap();
    assert!(whole.left_out.is_empty());
    let (expected, _) = run(whole);
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_close(&format!("part {index}"), found, expected);
    }
    let few = module.forward(x.clone(), keys.clone().narrow(1, 0, 3), View::default()).unwrap();
    assert!(few.left_out.is_empty(), "with few keys the copy of the columns costs more");
}

#[test]
fn a_plain_attention_given_a_router_starts_as_it_was() {
    let device = Device::flex();
    let mut config = MohAttentionConfig::new(24, 6, Routing::Dense).with_key_heads(3);
    config.initial_deviation = 0.3;
    let dense = config.init(&SeededStream::new(7), &device).unwrap();
    let x = drawn("x", [2, 5, 24], &device);
    let context = |module: &MohAttention| numbers(module.forward(x.clone(), x.clone(), View::default()).unwrap().context);
    let expected = context(&dense);
    let relu = dense.clone().routed(RELU, Some(&[3, 0])).unwrap();
    assert_eq!(context(&relu), expected, "to the last bit");
    assert_eq!(relu.gates(x.clone()).unwrap().gates.dims(), [2, 5, 4]);
    let top_k = dense.clone().routed(Routing::TopK { shared: 3, active: 3 }, None).unwrap();
    assert_close("top-k", &context(&top_k), &expected);
    for routing in [Routing::TopK { shared: 3, active: 2 }, Routing::Relu { shared: 2, rescale: false }, Routing::Dense] {
        assert!(matches!(dense.clone().routed(routing, None), Err(Error::Config { key: "routing", .. })), "{routing:?}");
    }
    assert!(matches!(relu.routed(RELU, None), Err(Error::Config { key: "routing", .. })));
}

#[test]
fn wrong_sizes_are_errors_that_name_both_numbers() {
    let config = MohAttentionConfig::new(24, 6, RELU);
    let cases = [
        (config.clone().with_key_heads(4), "4", "6 heads"),
        (config.clone().with_key_heads(0), "0", "6 heads"),
        (config.clone().with_shared_heads([1]), "[1]", "2 different heads"),
        (config.clone().with_shared_heads([1, 1]), "[1, 1]", "2 different heads"),
        (config.clone().with_shared_heads([1, 6]), "[1, 6]", "0..6"),
    ];
    for (config, value, other) in cases {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(value) && error.contains(other), "{error}");
    }

    let device = Device::flex();
    let module = config.init(&SeededStream::new(1), &device).unwrap();
    let x = drawn("x", [2, 5, 24], &device);
    let narrow = drawn("narrow", [2, 5, 20], &device);
    let other_batch = drawn("batch", [3, 5, 24], &device);
    let mask =
        |shape: [usize; 2]| Tensor::<2, Bool>::from_data(TensorData::new(vec![false; shape[0] * shape[1]], shape), &device);
    let pairs = Tensor::<3, Bool>::from_data(TensorData::new(vec![false; 2 * 5 * 4], [2, 5, 4]), &device);
    let short = mask([2, 4]);
    let refused = [
        (module.forward(narrow.clone(), x.clone(), View::default()), "20", "24"),
        (module.forward(x.clone(), narrow, View::default()), "20", "24"),
        (module.forward(x.clone(), other_batch, View::default()), "3", "2"),
        (module.forward(x.clone(), x.clone(), View::without(Some(&short))), "[2, 4]", "[2, 5]"),
        (module.forward(x.clone(), x.clone(), View { hidden_pairs: Some(&pairs), ..View::default() }), "[2, 5, 4]", "[2, 5, 5]"),
    ];
    for (output, found, expected) in refused {
        let error = output.unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(found) && error.contains(expected), "{error}");
    }
}

/// Casts every parameter.
struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let dtype = self.0;
        parameter.map(|values| values.cast(dtype))
    }
}

#[test]
fn half_precision_is_computed_and_mixed_with_single_precision_is_an_error() {
    let device = Device::flex();
    let (x, keys) = (drawn("x", [2, 40, 24], &device), drawn("keys", [2, 300, 20], &device));
    for routing in [RELU, Routing::Relu { shared: 2, rescale: true }, Routing::TopK { shared: 1, active: 2 }, Routing::Dense] {
        let module = MohAttentionConfig::new(24, 6, routing).with_key_width(20).init(&SeededStream::new(1), &device).unwrap();
        let expected = module.forward(x.clone(), keys.clone(), View::default()).unwrap();
        assert_ne!(expected.kernel, Kernel::Reference);
        for (dtype, tolerance) in [(DType::BF16, 5e-2), (DType::F16, 5e-3)] {
            let half = module.clone().map(&mut Cast(dtype));
            let [x, keys] = [&x, &keys].map(|tensor| tensor.clone().cast(dtype));
            let found = half.forward(x.clone(), keys.clone(), View::default()).unwrap();
            assert_eq!((found.kernel, found.context.dtype()), (Kernel::Reference, dtype));
            // A gate near its threshold may fall on the other side: few numbers may be far off.
            let pairs = numbers(found.context).into_iter().zip(numbers(expected.context.clone()));
            let far = pairs.filter(|(found, expected)| (found - expected).abs() > tolerance).count();
            assert!(far <= 2 * 40 * 24 / 50, "{routing:?}, {dtype:?}: {far}");
            for (x, keys) in [(x.clone(), keys.clone().cast(DType::F32)), (x.cast(DType::F32), keys)] {
                let error = half.forward(x, keys, View::default()).unwrap_err();
                assert!(matches!(error, Error::FloatType { found: DType::F32, .. }), "{error}");
            }
        }
    }
}

#[test]
fn a_gate_that_is_no_number_is_an_error_with_its_place() {
    let device = Device::flex();
    let module = MohAttentionConfig::new(24, 6, RELU).init(&SeededStream::new(1), &device).unwrap();
    let x = drawn("x", [2, 5, 24], &device);
    let damage = Tensor::<3>::full([1, 1, 24], f32::NAN, &device);
    let damaged = x.clone().slice_assign(burn::tensor::s![1..2, 3..4, ..], damage);
    let error = module.forward(damaged, x, View::default()).unwrap_err();
    assert!(
        matches!(&error, Error::NotANumber { place, .. } if place.contains("sequence 1") && place.contains("token 3")),
        "{error}"
    );
}
