//! Routed heads inside a decoder: a new router changes nothing, caches and packed rows read the same, gradients are right.

use burn::{
    module::{Module, ModuleVisitor, Param},
    prelude::*,
    tensor::s,
};
use pvchat_data::random::SeededStream;
use pvchat_nn::{
    Error, init,
    language::{Decoder, DecoderConfig, Packing, PersonalRows, RoutedHeadsConfig, TokenKind},
    trace::Trace,
};

const PREFIX: usize = 6;
const TEXTS: usize = 2;
const LENGTH: usize = 4;

fn base(device: &Device) -> Decoder {
    let config = DecoderConfig {
        vocabulary: 20,
        hidden: 16,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        intermediate: 24,
        rope_theta: 1e4,
        rms_norm_epsilon: 1e-5,
        initial_deviation: 0.3,
        lora: None,
    };
    config.init(&SeededStream::new(1), device).unwrap()
}

fn with_routers(mut model: Decoder) -> Decoder {
    model.attach_routers(&RoutedHeadsConfig { layers: vec![0, 2], heads: vec![1, 3] }).unwrap();
    model
}

/// Routers that weigh every head of every token differently, some of them off.
fn with_drawn_routers(model: Decoder, device: &Device) -> Decoder {
    let mut model = with_routers(model);
    let mut stream = SeededStream::new(2);
    for router in model.layers.iter_mut().filter_map(|layer| layer.self_attn.routed.as_mut()) {
        router.alpha.weight = Param::from_tensor(init::normal(&mut stream, [16, 2], 0.3, device));
        router.router.weight = Param::from_tensor(init::normal(&mut stream, [16, 2], 0.3, device));
        router.router.bias = Some(Param::from_tensor(init::normal(&mut stream, [2], 0.5, device)));
    }
    model
}

/// A frame of four visual tokens between two of text.
fn prefix_kinds() -> Vec<TokenKind> {
    let mut kinds = vec![TokenKind::Visual; PREFIX];
    (kinds[0], kinds[PREFIX - 1]) = (TokenKind::Text, TokenKind::Text);
    kinds
}

fn kinds(tokens: usize) -> Vec<Vec<TokenKind>> {
    let mut kinds = prefix_kinds();
    kinds.resize(tokens, TokenKind::Text);
    vec![kinds]
}

fn embeddings(tokens: usize, device: &Device) -> Tensor<3> {
    init::normal(&mut SeededStream::new(3), [1, tokens, 16], 1.0, device)
}

fn positions(range: std::ops::Range<usize>, device: &Device) -> Tensor<2, Int> {
    Tensor::<1, Int>::arange(range.start as i64..range.end as i64, device).unsqueeze_dim(0)
}

fn logits(model: &Decoder, embeddings: Tensor<3>, kinds: Option<&[Vec<TokenKind>]>) -> Vec<f32> {
    let places = positions(0..embeddings.dims()[1], &embeddings.device().inner());
    let hidden = match kinds {
        Some(kinds) => model.forward_routed(embeddings, places, None, kinds, None, &mut Trace::off()).unwrap().hidden,
        None => model.forward(embeddings, places, None, None),
    };
    floats(model.logits(hidden, None))
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn furthest(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_new_router_leaves_the_base_as_it_is() {
    let device = Device::default();
    let kinds = kinds(10);
    let x = embeddings(10, &device);
    let plain = logits(&base(&device), x.clone(), None);
    assert_eq!(logits(&with_routers(base(&device)), x.clone(), Some(&kinds)), plain, "skipped: bit by bit");
    // Where gradients are asked for the weights of one are computed with.
    let tracked = device.clone().autodiff();
    let taken = logits(&with_routers(base(&tracked)), x.clone(), Some(&kinds));
    assert!(furthest(&taken, &plain) <= 1e-5, "taken: {}", furthest(&taken, &plain));
    let drawn = with_drawn_routers(base(&device), &device);
    assert!(furthest(&logits(&drawn, x.clone(), Some(&kinds)), &plain) > 1e-2, "a router matters");
    let all_text = [vec![TokenKind::Text; 10]];
    assert!(furthest(&logits(&drawn, x.clone(), Some(&all_text)), &plain) <= 1e-5, "text alone is read as by the base");
    let all_visual = [vec![TokenKind::Visual; 10]];
    assert!(furthest(&logits(&drawn, x, Some(&all_visual)), &plain) <= 1e-5, "and so are frames by frames");
}

#[test]
fn caches_and_packed_rows_read_as_one_pass_does() {
    let device = Device::default();
    let model = with_drawn_routers(base(&device), &device);
    let x = embeddings(PREFIX + TEXTS * LENGTH, &device);
    let (packed_kinds, prefix) = (kinds(PREFIX + TEXTS * LENGTH), [prefix_kinds()]);
    let packing = Packing::uniform(1, PREFIX, TEXTS, LENGTH).unwrap();
    let packed = model.forward_packed_routed(x.clone(), &packing, &packed_kinds).unwrap();
    assert_eq!(packed.gates.len(), 2);
    assert_eq!(packed.gates[0].gates.dims(), [1, PREFIX + TEXTS * LENGTH, 2]);
    let mut cache = model.cache(4);
    let first = x.clone().slice(s![.., ..PREFIX]);
    model
        .forward_routed(first.clone(), positions(0..PREFIX, &device), None, &prefix, Some(&mut cache), &mut Trace::off())
        .unwrap();
    for text in 0..TEXTS {
        let start = PREFIX + text * LENGTH;
        let own = x.clone().slice(s![.., start..start + LENGTH]);
        let places = positions(0..PREFIX + LENGTH, &device);
        let row = Tensor::cat(vec![first.clone(), own.clone()], 1);
        let whole = model.forward_routed(row, places, None, &kinds(PREFIX + LENGTH), None, &mut Trace::off()).unwrap().hidden;
        let whole = floats(whole.slice(s![.., PREFIX..]));
        let from_packed = floats(packed.hidden.clone().slice(s![.., start..start + LENGTH]));
        assert!(furthest(&from_packed, &whole) <= 1e-5, "packed text {text}");
        // Token by token behind a clone of the prefix, which the model was told of once.
        let mut cache = cache.select(&[0, 0]);
        for place in 0..LENGTH {
            let token = own.clone().slice(s![.., place..place + 1]).repeat_dim(0, 2);
            let at = positions(PREFIX + place..PREFIX + place + 1, &device).repeat_dim(0, 2);
            let hidden = floats(model.forward(token, at, None, Some(&mut cache)));
            for row in 0..2 {
                let step = furthest(&hidden[row * 16..][..16], &whole[place * 16..][..16]);
                assert!(step <= 1e-5, "text {text}, token {place}: {step}");
            }
        }
    }
}

/// The names of the routers' parameters.
#[derive(Default)]
struct Routers(Vec<String>, Vec<String>);

impl ModuleVisitor for Routers {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.0.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.0.pop();
    }

    fn visit_float<const D: usize>(&mut self, _parameter: &Param<Tensor<D>>) {
        let path = self.0.join(".");
        if path.contains("routed") {
            self.1.push(path);
        }
    }
}

#[test]
fn parameters_have_the_public_names_and_only_where_they_are_attached() {
    let device = Device::default();
    let names = |model: &Decoder| {
        let mut visitor = Routers::default();
        model.visit(&mut visitor);
        visitor.1
    };
    assert!(names(&base(&device)).is_empty());
    let expected: Vec<String> = [0, 2]
        .into_iter()
        .flat_map(|layer| {
            ["alpha.weight", "router.weight", "router.bias"].map(|name| format!("layers.{layer}.self_attn.routed.{name}"))
        })
        .collect();
    assert_eq!(names(&with_routers(base(&device))), expected);
}

#[test]
fn gradients_of_the_routers_are_those_of_finite_differences() {
    let plain = Device::default();
    let device = plain.clone().autodiff();
    let (kinds, x) = (kinds(9), embeddings(9, &plain));
    let mix: Tensor<3> = init::normal(&mut SeededStream::new(5), [1, 9, 16], 1.0, &plain);
    let loss = |model: &Decoder| {
        let places = positions(0..9, &plain);
        let output = model.forward_routed(x.clone(), places, None, &kinds, None, &mut Trace::off()).unwrap();
        (output.hidden * mix.clone()).sum()
    };
    let model = with_drawn_routers(base(&plain).no_grad(), &device);
    let gradients = loss(&model).backward();
    let mut compared = 0;
    for layer in [0, 2] {
        for part in 0..3 {
            let gradient = {
                let router = model.layers[layer].self_attn.routed.as_ref().unwrap();
                match part {
                    0 => floats(router.alpha.weight.val().grad(&gradients).unwrap()),
                    1 => floats(router.router.weight.val().grad(&gradients).unwrap()),
                    _ => floats(router.router.bias.as_ref().unwrap().val().grad(&gradients).unwrap()),
                }
            };
            assert!(gradient.iter().any(|value| value.abs() > 1e-2), "layer {layer}, part {part}: the gradient says something");
            for place in (0..gradient.len()).step_by(if part == 2 { 1 } else { 5 }) {
                const STEP: f32 = 2e-3;
                let at = |change: f32| {
                    let mut moved = model.clone();
                    let router = moved.layers[layer].self_attn.routed.as_mut().unwrap();
                    match part {
                        0 => router.alpha.weight = changed(&router.alpha.weight, place, change, &plain),
                        1 => router.router.weight = changed(&router.router.weight, place, change, &plain),
                        _ => router.router.bias = router.router.bias.as_ref().map(|bias| changed(bias, place, change, &plain)),
                    }
                    loss(&moved).into_scalar::<f32>()
                };
                let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                let error = (difference - gradient[place]).abs();
                let limit = 1e-2 * (1.0 + difference.abs());
                assert!(error <= limit, "layer {layer}, part {part}, {place}: {} and {difference}", gradient[place]);
                compared += 1;
            }
        }
    }
    assert!(compared > 20);
}

fn changed<const D: usize>(parameter: &Param<Tensor<D>>, place: usize, change: f32, device: &Device) -> Param<Tensor<D>> {
    let shape: [usize; D] = parameter.dims();
    let mut values = floats(parameter.val());
    values[place] += change;
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}

#[test]
fn a_subject_starts_at_the_mean_of_its_sub_words_and_noise_makes_its_tokens_differ() {
    let device = Device::default();
    let model = base(&device);
    let rows = PersonalRows::from_sub_words(&model, &[3, 17], PersonalRows::FOLLOW_UP).unwrap();
    let expect = |found: &Param<Tensor<2>>, table: Tensor<2>| {
        let mean = (table.clone().narrow(0, 3, 1) + table.narrow(0, 17, 1)) / 2.0;
        assert!(furthest(&floats(found.val()), &floats(mean.repeat_dim(0, 17))) <= 1e-6);
    };
    expect(&rows.input, model.embed_tokens.weight.val());
    expect(&rows.output, model.lm_head.base.weight.val().transpose());
    let noisy = |seed| rows.clone().with_noise(&mut SeededStream::new(seed), 0.1);
    assert_eq!(floats(noisy(1).input.val()), floats(noisy(1).input.val()));
    let values = floats(noisy(1).input.val());
    assert!(furthest(&values[..16], &values[16..32]) > 1e-3, "the tokens differ");
    assert!(matches!(PersonalRows::from_sub_words(&model, &[20], 1), Err(Error::Config { .. })));
    // The ids behind the vocabulary are these rows, in the embeddings and in the logits.
    let [words, head] = rows.extra_rows();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(vec![36, 4], [1, 2]), &device);
    let embedded = floats(model.embed_with(ids, Some(words)));
    assert!(furthest(&embedded[..16], &floats(rows.input.val().narrow(0, 16, 1))) <= 1e-6);
    assert_eq!(model.logits(embeddings(2, &device), Some(head)).dims(), [1, 2, 37]);
}

#[test]
fn routers_and_kinds_that_do_not_fit_are_refused() {
    let device = Device::default();
    let mut model = base(&device);
    for (layers, heads) in [(vec![3], vec![1]), (vec![], vec![1]), (vec![0], vec![1, 1]), (vec![0], vec![0, 1, 2, 3])] {
        let config = RoutedHeadsConfig { layers, heads };
        assert!(matches!(model.attach_routers(&config), Err(Error::Config { .. })), "{config:?}");
    }
    let x = embeddings(10, &device);
    for kinds in [vec![], kinds(9), vec![kinds(10)[0].clone(); 2]] {
        let found = model.forward_routed(x.clone(), positions(0..10, &device), None, &kinds, None, &mut Trace::off());
        assert!(matches!(found, Err(Error::Shape { .. })), "{}", kinds.len());
    }
}
