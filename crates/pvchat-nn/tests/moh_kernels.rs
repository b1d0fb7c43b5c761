//! The fused kernel of the CPU against the reference: forward and gradients, over random shapes, gates and masks.

use burn::{prelude::*, tensor::DType};
use pvchat_data::random::SeededStream;
use pvchat_nn::moh::{
    MohAttentionConfig, Routing,
    kernel::{Kernel, View, fused_attention, gated_attention, reference_attention},
};

/// Largest difference, in parts of the largest number of the reference (or of one, if that is larger).
const TOLERANCE: f32 = 1e-5;
/// Largest error of an output or a gradient where scores are large, in parts of one and its size.
const GRADIENT: f64 = 2e-4;

/// Random inputs of one attention; scales are zero with probability `1 - activation`, or for whole heads.
struct Case {
    sizes: [usize; 4],
    key_sizes: [usize; 4],
    q: TensorData,
    k: TensorData,
    v: TensorData,
    scales: Option<TensorData>,
    hidden: Option<TensorData>,
    hidden_pairs: Option<TensorData>,
    slope: TensorData,
    causal: bool,
    dtype: DType,
}

impl Case {
    fn draw(seed: u64) -> Self {
        let mut stream = SeededStream::new(seed);
        let [batch, key_heads, group] = [1 + stream.below(3), 1 + stream.below(3), 1 + stream.below(3)];
        let long = stream.chance(0.1);
        let tokens = 1 + stream.below(if long { 150 } else { 24 });
        let keys = 1 + stream.below(if long { 1200 } else { 40 });
        let width = [1, 3, 5, 16, 33, 64][stream.below(6)];
        let heads = key_heads * group;
        let (sizes, key_sizes) = ([batch, heads, tokens, width], [batch, key_heads, keys, width]);
        let mut normal = |sizes: [usize; 4]| {
            TensorData::new((0..sizes.iter().product()).map(|_| stream.normal()).collect::<Vec<f32>>(), sizes)
        };
        let (q, k, v, slope) = (normal(sizes), normal(key_sizes), normal(key_sizes), normal(sizes));
        let activation = [0.0, 0.1, 0.5, 1.0][stream.below(4)];
        let (shared, whole) = (stream.below(heads + 1), stream.chance(0.3));
        let scales = stream.chance(0.9).then(|| {
            let mut values = Vec::new();
            for index in 0..batch * heads {
                let head_on = stream.chance(activation);
                for _ in 0..tokens {
                    let on = index % heads < shared || if whole { head_on } else { stream.chance(activation) };
                    values.push(if on { stream.range(0.05f32, 2.0) } else { 0.0 });
                }
            }
            TensorData::new(values, [batch, heads, tokens])
        });
        let hidden = stream.chance(0.6).then(|| {
            let probability = [0.0, 0.3, 1.0][stream.below(3)];
            TensorData::new((0..batch * keys).map(|_| stream.chance(probability)).collect::<Vec<bool>>(), [batch, keys])
        });
        let hidden_pairs = stream.chance(0.3).then(|| {
            let probability = [0.1, 0.5, 1.0][stream.below(3)];
            let count = batch * tokens * keys;
            TensorData::new((0..count).map(|_| stream.chance(probability)).collect::<Vec<bool>>(), [batch, tokens, keys])
        });
        Self { sizes, key_sizes, q, k, v, scales, hidden, hidden_pairs, slope, causal: stream.chance(0.4), dtype: DType::F32 }
    }

    /// Output and gradients of `q`, `k`, `v` and, if there are any, scales; and which kernel it was.
    fn run(&self, device: &Device, reference: bool) -> (Vec<Vec<f32>>, Kernel) {
        // Heads split by swapping axes, as the projections leave them: views, not in order.
        let tensor = |data: &TensorData| {
            Tensor::<4>::from_data(data.clone(), device).cast(self.dtype).detach().set_require_grad(device.is_autodiff())
        };
        let view_of = |tensor: &Tensor<4>| {
            let copy = tensor.clone().swap_dims(1, 2) * 1.0;
            copy.swap_dims(1, 2)
        };
        let [q, k, v] = [&self.q, &self.k, &self.v].map(tensor);
        let scales = self.scales.as_ref();
        let scales = scales.map(|data| {
            Tensor::<3>::from_data(data.clone(), device).cast(self.dtype).detach().set_require_grad(device.is_autodiff())
        });
        let hidden = self.hidden.as_ref().map(|hidden| Tensor::<2, Bool>::from_data(hidden.clone(), device));
        let hidden_pairs = self.hidden_pairs.as_ref().map(|hidden| Tensor::<3, Bool>::from_data(hidden.clone(), device));
        let view = View { hidden: hidden.as_ref(), hidden_pairs: hidden_pairs.as_ref(), causal: self.causal };
        let inputs = [&q, &k, &v].map(view_of);
        let (output, kernel) = if reference {
            let [q, k, v] = inputs;
            (reference_attention(q, k, v, view, scales.clone()), Kernel::Reference)
        } else {
            let [q, k, v] = &inputs;
            let chosen = || gated_attention(q.clone(), k.clone(), v.clone(), view, scales.clone());
            let fused = fused_attention(q, k, v, view, scales.as_ref());
            fused.or_else(|| (self.dtype != DType::F32).then(chosen)).expect("f32 on flex")
        };
        let mut found = vec![numbers(output.clone())];
        if device.is_autodiff() {
            let slope = Tensor::<4>::from_data(self.slope.clone(), device).cast(self.dtype).detach();
            let gradients = (output * slope).sum().backward();
            found.extend([q, k, v].map(|tensor| numbers(tensor.grad(&gradients).expect("tracked"))));
            found.extend(scales.map(|scales| numbers(scales.grad(&gradients).expect("tracked"))));
        }
        (found, kernel)
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_within(TOLERANCE, what, found, expected);
}

fn assert_within(tolerance: f32, what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= tolerance * largest, "{what}[{index}]: {found} where the reference has {expected}");
    }
}

#[test]
fn the_fused_kernel_equals_the_reference() {
    let mut seen = std::collections::HashSet::new();
    for seed in 0..200 {
        let case = Case::draw(seed);
        let mut device = Device::flex().autodiff();
        if seed % 3 == 0 {
            device = device.gradient_checkpointing();
        }
        let ((mut expected, _), (found, kernel)) = (case.run(&device, true), case.run(&device, false));
        seen.insert(kernel);
        // A scale of zero gets no gradient, see the module documentation.
        if let (Some(slopes), Some(scales)) = (expected.get_mut(4), &case.scales) {
            slopes.iter_mut().zip(scales.iter::<f32>()).filter(|(_, scale)| *scale == 0.0).for_each(|(slope, _)| *slope = 0.0);
        }
        for (what, (found, expected)) in ["output", "q", "k", "v", "scales"].iter().zip(found.iter().zip(&expected)) {
            let shapes = (case.sizes, case.key_sizes, case.causal, case.hidden.is_some());
            assert_close(&format!("seed {seed}, {shapes:?}, {what}"), found, expected);
        }
        let (plain, plain_kernel) = case.run(&Device::flex(), false);
        assert_eq!((&plain[0], plain_kernel), (&found[0], kernel), "gradients change no number");
    }
    let fused = [Kernel::DenseFused, Kernel::Sparse, Kernel::WholeHead];
    assert!(fused.iter().all(|kernel| seen.contains(kernel)), "{seen:?}");
}

/// Queries and keys whose products are whole, so that scores have no error in f32 and what differs is what the kernel adds.
/// Scores reach about `apart` from those of other keys, and all of a head's are larger by what its queries and keys have in
/// `common`.
fn sharp(seed: u64, [apart, common]: [f32; 2], keys: usize) -> Case {
    const WIDTH: usize = 64;
    let mut stream = SeededStream::new(seed).derive("sharp");
    let (sizes, key_sizes) = ([1, 4, 130, WIDTH], [1, 2, keys, WIDTH]);
    // The largest of a row is about three and a half deviations out, and a deviation is the product of both.
    let deviation = (apart / 3.5).sqrt();
    let shared = (common / (WIDTH as f32).sqrt()).sqrt().round();
    let mut whole = |sizes: [usize; 4]| {
        let count = sizes.iter().product();
        TensorData::new((0..count).map(|_| (stream.normal() * deviation).round() + shared).collect::<Vec<f32>>(), sizes)
    };
    let (q, k) = (whole(sizes), whole(key_sizes));
    let mut normal =
        |sizes: [usize; 4]| TensorData::new((0..sizes.iter().product()).map(|_| stream.normal()).collect::<Vec<f32>>(), sizes);
    let (v, slope) = (normal(key_sizes), normal(sizes));
    let scales = (0..4 * 130).map(|_| if stream.chance(0.8) { stream.range(0.1f32, 2.0) } else { 0.0 }).collect::<Vec<f32>>();
    let scales = Some(TensorData::new(scales, [1, 4, 130]));
    Case { sizes, key_sizes, q, k, v, scales, hidden: None, hidden_pairs: None, slope, causal: false, dtype: DType::F32 }
}

/// The same with masks that leave every row the first key.
fn masked(mut case: Case, seed: u64, causal: bool) -> Case {
    let ([batch, _, tokens, _], [_, _, keys, _]) = (case.sizes, case.key_sizes);
    let mut stream = SeededStream::new(seed).derive("masks");
    let mut drawn = |rows: usize| (0..rows * keys).map(|at| at % keys > 0 && stream.chance(0.3)).collect::<Vec<bool>>();
    case.hidden = Some(TensorData::new(drawn(batch), [batch, keys]));
    case.hidden_pairs = Some(TensorData::new(drawn(batch * tokens), [batch, tokens, keys]));
    case.causal = causal;
    case
}

/// The largest score, and output and gradients of an attention of one sequence, in f64.
fn exact(case: &Case) -> (f64, Vec<Vec<f64>>) {
    let wide = |data: &TensorData| data.iter::<f64>().collect::<Vec<f64>>();
    let [q, k, v, slope] = [&case.q, &case.k, &case.v, &case.slope].map(wide);
    let scales = wide(case.scales.as_ref().expect("gated"));
    let ([_, heads, tokens, width], [_, key_heads, keys, _]) = (case.sizes, case.key_sizes);
    let factor = (width as f64).sqrt().recip();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let add = |to: &mut [f64], times: f64, from: &[f64]| to.iter_mut().zip(from).for_each(|(to, from)| *to += times * from);
    let flags = |data: &Option<TensorData>| data.as_ref().map(|data| data.iter::<bool>().collect::<Vec<bool>>());
    let (hidden, hidden_pairs) = (flags(&case.hidden), flags(&case.hidden_pairs));
    let is_seen = |token: usize, key: usize| {
        let is_hidden = |flags: &Option<Vec<bool>>, at: usize| flags.as_ref().is_some_and(|flags| flags[at]);
        let is_later = case.causal && key > token + keys - tokens;
        !(is_later || is_hidden(&hidden, key) || is_hidden(&hidden_pairs, token * keys + key))
    };
    let zeros = |like: &Vec<f64>| vec![0.0; like.len()];
    let (mut output, mut dq, mut dk, mut dv, mut ds) = (zeros(&q), zeros(&q), zeros(&k), zeros(&v), zeros(&scales));
    let mut largest = 0.0f64;
    for row in 0..heads * tokens {
        let place = row * width..(row + 1) * width;
        let first = row / tokens / (heads / key_heads) * keys;
        let of = |key: usize| (first + key) * width..(first + key + 1) * width;
        let score = |key: usize| factor * dot(&q[place.clone()], &k[of(key)]);
        let mut weights: Vec<f64> =
            (0..keys).map(|key| if is_seen(row % tokens, key) { score(key) } else { f64::NEG_INFINITY }).collect();
        let maximum = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        largest = largest.max(maximum);
        weights.iter_mut().for_each(|weight| *weight = (*weight - maximum).exp());
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        let mut context = vec![0.0; width];
        weights.iter().enumerate().for_each(|(key, weight)| add(&mut context, *weight, &v[of(key)]));
        add(&mut output[place.clone()], scales[row], &context);
        let slope = &slope[place.clone()];
        let offset = dot(slope, &context);
        // A scale of zero gets no gradient, see the module documentation.
        ds[row] = if scales[row] == 0.0 { 0.0 } else { offset };
        for (key, weight) in weights.iter().enumerate() {
            let change = scales[row] * weight * (dot(slope, &v[of(key)]) - offset);
            add(&mut dq[place.clone()], factor * change, &k[of(key)]);
            add(&mut dk[of(key)], factor * change, &q[place.clone()]);
            add(&mut dv[of(key)], scales[row] * weight, slope);
        }
    }
    (largest, vec![output, dq, dk, dv, ds])
}

#[test]
fn large_scores_lose_no_digits() {
    let device = Device::flex().autodiff();
    let sizes = [
        ([50.0, 0.0], 90),
        ([120.0, 0.0], 700),
        ([200.0, 0.0], 256),
        ([500.0, 0.0], 90),
        ([500.0, 0.0], 1300),
        ([8.0, 200.0], 120),
        ([20.0, 500.0], 900),
        ([100.0, 400.0], 300),
    ];
    let cases = sizes.into_iter().enumerate().flat_map(|(seed, (size, keys))| {
        let plain = || sharp(seed as u64, size, keys);
        // A causal row sees the keys up to its own, of which there have to be some.
        let with_masks = (keys >= 130).then(|| [false, true].map(|causal| masked(plain(), seed as u64, causal)));
        std::iter::once(plain()).chain(with_masks.into_iter().flatten()).map(move |case| (keys, case))
    });
    for (keys, case) in cases {
        let (largest, expected) = exact(&case);
        assert!(largest >= 50.0, "{largest}");
        let ((plain, _), (found, _)) = (case.run(&device, true), case.run(&device, false));
        for (index, what) in ["output", "q", "k", "v", "scales"].into_iter().enumerate() {
            let worst = |found: &[f32]| -> f64 {
                let pairs = found.iter().zip(&expected[index]);
                // A scale of zero gets no gradient, see the module documentation.
                let scale = |exact: &f64| if what == "scales" && *exact == 0.0 { f64::INFINITY } else { 1.0 + exact.abs() };
                pairs.map(|(found, exact)| (f64::from(*found) - exact).abs() / scale(exact)).fold(0.0, f64::max)
            };
            let (found, plain) = (worst(&found[index]), worst(&plain[index]));
            // What queries have in common multiplies the rests of rows without a heavy key, in the gradients of the keys only.
            let limit = if what == "k" { 3.0 * plain } else { 1.2 * plain + 1e-6 };
            let masks = (case.hidden.is_some(), case.causal);
            assert!(
                found <= limit,
                "scores to {largest:.0}, {keys} keys, masks {masks:?}, {what}: {found:.1e}, plain {plain:.1e}"
            );
            assert!(found <= GRADIENT, "scores to {largest:.0}, {keys} keys, masks {masks:?}, {what}: {found:.1e}");
        }
    }
}

#[test]
fn a_module_keeps_the_digits_of_its_query_weights_at_large_scores() {
    let device = Device::flex().autodiff();
    const TOKENS: usize = 130;
    const KEYS: usize = 300;
    const HEADS: usize = 4;
    const HEAD: usize = 8;
    const WIDTH: usize = HEADS * HEAD;
    for (seed, deviation) in [0.6f32, 1.0, 1.5].into_iter().enumerate() {
        let mut config = MohAttentionConfig::new(WIDTH, HEADS, Routing::Relu { shared: 2, rescale: true }).with_key_heads(2);
        config.initial_deviation = deviation;
        let mut module = config.init(&SeededStream::new(seed as u64), &device).unwrap();
        // Gates about one, so that only scores are large.
        let router = &mut module.router_alpha.as_mut().unwrap().router;
        router.weight = router.weight.clone().map(|weight| weight * 0.05);
        let mut stream = SeededStream::new(seed as u64).derive("inputs");
        let mut drawn = |shape: [usize; 3]| pvchat_nn::init::normal(&mut stream, shape, 1.0, &device);
        let (x, memory, slope) = (drawn([1, TOKENS, WIDTH]), drawn([1, KEYS, WIDTH]), drawn([1, TOKENS, WIDTH]));
        let output = module.forward(x.clone(), memory.clone(), View::default()).unwrap();
        assert_ne!(output.kernel, Kernel::Reference);
        let gradients = (output.context * slope.clone()).sum().backward();
        let found = numbers(module.query.weight.val().grad(&gradients).unwrap());

        let heads = |rows: Tensor<3>| {
            let [_, count, width] = rows.dims();
            rows.reshape([1, count, width / HEAD, HEAD]).swap_dims(1, 2).into_data()
        };
        let gates = module.gates(x.clone()).unwrap();
        let (gate, alpha) = (numbers(gates.gates), numbers(gates.alpha));
        let scale = |head: usize, token: usize| match head.checked_sub(2) {
            None => 2.0 * alpha[token * 2],
            Some(routed) => 2.0 * alpha[token * 2 + 1] * gate[token * 2 + routed],
        };
        let scales = (0..HEADS * TOKENS).map(|row| scale(row / TOKENS, row % TOKENS)).collect::<Vec<f32>>();
        let case = Case {
            sizes: [1, HEADS, TOKENS, HEAD],
            key_sizes: [1, 2, KEYS, HEAD],
            q: heads(module.query.forward(x.clone())),
            k: heads(module.key.forward(memory.clone())),
            v: heads(module.value.forward(memory)),
            scales: Some(TensorData::new(scales, [1, HEADS, TOKENS])),
            hidden: None,
            hidden_pairs: None,
            slope: heads(slope),
            causal: false,
            dtype: DType::F32,
        };
        let (largest, expected) = exact(&case);
        assert!((50.0..600.0).contains(&largest), "{largest}");
        let (plain, _) = case.run(&device, true);
        let plain: Vec<f64> = plain[1].iter().map(|slope| f64::from(*slope)).collect();
        let rows = numbers(x);
        let of_weights = |of_queries: &[f64], place: usize| -> f64 {
            let (input, column) = (place / WIDTH, place % WIDTH);
            let of_query = |token: usize| of_queries[(column / HEAD * TOKENS + token) * HEAD + column % HEAD];
            (0..TOKENS).map(|token| f64::from(rows[token * WIDTH + input]) * of_query(token)).sum()
        };
        let mut worst = [0.0f64; 2];
        for (place, found) in found.iter().enumerate() {
            let exact = of_weights(&expected[1], place);
            for (worst, found) in worst.iter_mut().zip([f64::from(*found), of_weights(&plain, place)]) {
                *worst = worst.max((found - exact).abs() / (1.0 + exact.abs()));
            }
        }
        // Scores are sums that f32 rounds: of plain attention too.
        let [found, plain] = worst;
        println!("scores to {largest:.0}: {found:.1e}, plain {plain:.1e}");
        assert!(found <= 1.5 * plain + 1e-5, "scores to {largest:.0}: {found:.1e}, plain {plain:.1e}");
    }
}

#[test]
fn half_precision_goes_to_the_reference_and_is_as_near_as_it_can_be() {
    // A few units in the last place of each.
    for (dtype, tolerance) in [(DType::BF16, 5e-2), (DType::F16, 1e-2)] {
        for seed in 0..40 {
            let mut case = Case::draw(seed);
            let (expected, _) = case.run(&Device::flex().autodiff(), true);
            case.dtype = dtype;
            let (found, kernel) = case.run(&Device::flex().autodiff(), false);
            assert_eq!(kernel, Kernel::Reference);
            for (what, (found, expected)) in ["output", "q", "k", "v", "scales"].iter().zip(found.iter().zip(&expected)) {
                assert_within(tolerance, &format!("{dtype:?}, seed {seed}, {what}"), found, expected);
            }
        }
    }
}

#[test]
fn gradients_are_what_small_steps_give() {
    const STEP: f32 = 1e-2;
    let mut checked = 0;
    for seed in 0..60 {
        let case = Case::draw(seed);
        if case.sizes.iter().chain(&case.key_sizes).product::<usize>() > 2_000_000 {
            continue;
        }
        checked += 1;
        let (slopes, _) = case.run(&Device::flex().autodiff(), false);
        let loss = |case: &Case| -> f64 {
            let (output, _) = case.run(&Device::flex(), false);
            output[0].iter().zip(case.slope.iter::<f32>()).map(|(value, slope)| f64::from(value * slope)).sum()
        };
        for input in 0..3 {
            // One element of each input, moved to both sides.
            let index = seed as usize * 31 % slopes[1 + input].len();
            let moved = |step: f32| {
                let mut case = Case::draw(seed);
                let data = [&mut case.q, &mut case.k, &mut case.v].into_iter().nth(input).expect("three inputs");
                let mut values: Vec<f32> = data.iter::<f32>().collect();
                values[index] += step;
                *data = TensorData::new(values, data.shape().clone());
                loss(&case)
            };
            let (found, expected) = (f64::from(slopes[1 + input][index]), (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP));
            assert!((found - expected).abs() <= 5e-3 * (1.0 + expected.abs()), "seed {seed}, input {input}: {found} {expected}");
        }
    }
    assert!(checked >= 10, "{checked}");
}

#[test]
fn below_a_router_the_gradients_of_closed_gates_are_the_references() {
    let device = Device::flex().autodiff();
    let routings = [
        Routing::Relu { shared: 2, rescale: false },
        Routing::Relu { shared: 2, rescale: true },
        Routing::TopK { shared: 1, active: 2 },
    ];
    for routing in routings {
        let stream = SeededStream::new(3);
        let mut config = MohAttentionConfig::new(48, 6, routing);
        config.initial_deviation = 0.2;
        let module = config.init(&stream, &device).unwrap();
        let x = pvchat_nn::init::normal::<3>(&mut stream.derive("x"), [2, 96, 48], 1.0, &device).require_grad();
        let slope = pvchat_nn::init::normal::<3>(&mut stream.derive("slope"), [2, 96, 48], 1.0, &device);
        let gradients = |fused: bool| {
            let gates = module.gates(x.clone()).expect("routed");
            let scales = pvchat_nn::moh::router::head_scales(&gates, routing, 6);
            let heads = |linear: &burn::nn::Linear| linear.forward(x.clone()).reshape([2, 96, 6, 8]).swap_dims(1, 2);
            let (q, k, v) = (heads(&module.query), heads(&module.key), heads(&module.value));
            let context = if fused {
                let (context, kernel) = fused_attention(&q, &k, &v, View::default(), Some(&scales)).expect("f32 on flex");
                assert_eq!(kernel, Kernel::Sparse);
                context
            } else {
                reference_attention(q, k, v, View::default(), Some(scales))
            };
            let context = context.swap_dims(1, 2).reshape([2, 96, 48]);
            let gradients = (context * slope.clone()).sum().backward();
            let router = module.router_alpha.as_ref().expect("routed");
            [
                numbers(x.grad(&gradients).unwrap()),
                numbers(router.router.weight.val().grad(&gradients).unwrap()),
                numbers(router.alpha_proj.weight.val().grad(&gradients).unwrap()),
                numbers(module.key.weight.val().grad(&gradients).unwrap()),
            ]
        };
        for (index, (found, expected)) in gradients(true).iter().zip(&gradients(false)).enumerate() {
            assert_close(&format!("{routing:?}, gradient {index}"), found, expected);
        }
    }
}

#[test]
fn small_attentions_stay_with_the_reference_and_large_ones_do_not() {
    let device = Device::flex();
    let run = |tokens, keys| {
        let [q, k] = [tokens, keys].map(|rows| Tensor::<4>::ones([1, 2, rows, 8], &device));
        gated_attention(q, k.clone(), k, View::default(), None).1
    };
    assert_eq!(run(16, 37), Kernel::Reference);
    assert_eq!(run(128, 1024), Kernel::DenseFused);
}

#[test]
fn a_gate_that_is_no_number_shows_in_its_row_only() {
    let device = Device::flex();
    let tensor = Tensor::<4>::ones([1, 1, 3, 4], &device);
    let scales = Tensor::<3>::from_floats([[[1.0, f32::NAN, 0.0]]], &device);
    let (context, _) = fused_attention(&tensor, &tensor, &tensor, View::default(), Some(&scales)).expect("f32 on flex");
    let found = numbers(context);
    assert_eq!(&found[..4], &[1.0; 4]);
    assert!(found[4..8].iter().all(|value| value.is_nan()));
    assert_eq!(&found[8..], &[0.0; 4]);
}
