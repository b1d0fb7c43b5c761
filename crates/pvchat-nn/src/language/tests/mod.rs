//! Properties of the language model that hold without golden data.

use burn::{
    module::{ModuleVisitor, Param},
    prelude::*,
    tensor::s,
};
use pvchat_data::random::SeededStream;

use super::*;
use crate::{Error, init};

mod generation;

const VOCABULARY: usize = 29;
const HIDDEN: usize = 24;

fn config() -> DecoderConfig {
    DecoderConfig {
        vocabulary: VOCABULARY,
        hidden: HIDDEN,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        intermediate: 40,
        rope_theta: 10_000.0,
        rms_norm_epsilon: 1e-5,
        initial_deviation: 0.02,
        lora: Some(LoraConfig { rank: 3, alpha: 6.0, dropout: 0.0 }),
    }
}

/// A model whose weights are large enough for its answers to differ, adapters included.
fn model(device: &Device) -> Decoder {
    let mut stream = SeededStream::new(17);
    let mut model = config().init(&stream, device).unwrap();
    model.embed_tokens.weight = init::normal_param(&mut stream, [VOCABULARY, HIDDEN], 1.0, device);
    for (_, layer) in model.linears_mut() {
        let [inputs, outputs] = layer.sizes();
        layer.base.weight = init::normal_param(&mut stream, [inputs, outputs], 0.3, device);
        let lora = layer.lora.as_mut().unwrap();
        lora.b.weight = init::normal_param(&mut stream, [3, outputs], 0.3, device);
    }
    model
}

fn random<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    init::normal(&mut SeededStream::new(seed), shape, 1.0, device)
}

fn positions(from: usize, tokens: usize, batch: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::<1, Int>::arange(from as i64..(from + tokens) as i64, device).unsqueeze::<2>().repeat_dim(0, batch)
}

fn assert_equal<const D: usize>(what: &str, a: Tensor<D>, b: Tensor<D>, tolerance: f32) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    let (a, b): (Vec<f32>, Vec<f32>) = (a.into_data().iter().collect(), b.into_data().iter().collect());
    for (index, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{what}[{index}]: {a} and {b}");
    }
}

#[test]
fn cached_steps_equal_the_full_forward_pass() {
    let device = Device::flex();
    let model = model(&device);
    let x = random(1, [2, 9, HIDDEN], &device);
    let full = model.forward(x.clone(), positions(0, 9, 2, &device), None, None);
    // A capacity of 4 is too small on purpose: the cache must grow.
    let mut cache = model.cache(4);
    let mut parts = vec![];
    for range in [0..3, 3..4, 4..5, 5..8, 8..9] {
        let part = x.clone().slice(s![.., range.clone()]);
        parts.push(model.forward(part, positions(range.start, range.len(), 2, &device), None, Some(&mut cache)));
        assert_eq!(cache.len(), range.end);
    }
    assert_equal("cached", Tensor::cat(parts, 1), full, 1e-5);
    assert!(cache.capacity() >= 9 && cache.batch() == 2);
}

#[test]
fn a_forked_cache_leaves_the_prefix_untouched() {
    let device = Device::flex();
    let model = model(&device);
    let prefix = random(2, [1, 5, HIDDEN], &device);
    let mut cache = model.cache(16);
    model.forward(prefix.clone(), positions(0, 5, 1, &device), None, Some(&mut cache));
    for seed in [3, 4] {
        let question = random(seed, [2, 4, HIDDEN], &device);
        let mut fork = cache.select(&[0, 0]);
        let forked = model.forward(question.clone(), positions(5, 4, 2, &device), None, Some(&mut fork));
        let whole = Tensor::cat(vec![prefix.clone().repeat_dim(0, 2), question], 1);
        let whole = model.forward(whole, positions(0, 9, 2, &device), None, None).slice(s![.., 5..]);
        assert_equal("forked", forked, whole, 1e-5);
        let mut clone = cache.clone();
        model.forward(random(9, [1, 3, HIDDEN], &device), positions(5, 3, 1, &device), None, Some(&mut clone));
        assert_eq!((cache.len(), fork.len(), clone.len()), (5, 9, 8));
        clone.truncate(6);
        assert_eq!(clone.len(), 6);
    }
}

/// Collects the gradients of all parameters that have one.
struct Gradients<'a>(&'a burn::tensor::Gradients, Vec<Vec<f32>>);

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if let Some(gradient) = parameter.val().grad(self.0) {
            self.1.push(gradient.into_data().iter::<f32>().collect());
        }
    }
}

#[test]
fn packed_texts_equal_separate_passes_in_logits_and_gradients() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let model = model(&device).train_adapters_only();
    let (prefix_length, texts) = (6, vec![4, 3, 5]);
    let row: usize = prefix_length + texts.iter().sum::<usize>();
    // A second, shorter row makes padding appear in the batch.
    let packing = Packing::new(vec![(prefix_length, texts.clone()), (2, vec![7])]).unwrap();
    assert_eq!((packing.tokens(), packing.start(0, 2), packing.start(1, 1)), (row, Some(13), None));
    let x = random(5, [2, row, HIDDEN], &plain);
    let weight = random(6, [2, row, VOCABULARY], &plain);

    let packed_input = x.clone().autodiff().require_grad();
    let hidden = model.forward(packed_input.clone(), packing.positions(&plain), Some(packing.mask(&plain)), None);
    let logits = model.logits(hidden, None);
    // Text tokens only: the prefix would be counted once here and three times below.
    let packed_loss = (logits.clone().slice(s![0..1, prefix_length..]) * weight.clone().slice(s![0..1, prefix_length..])).sum()
        + (logits.clone().slice(s![1..2, 2..9]) * weight.clone().slice(s![1..2, 2..9])).sum();
    let packed = packed_loss.backward();
    let mut packed_parameters = Gradients(&packed, vec![]);
    model.visit(&mut packed_parameters);

    let separate_input = x.autodiff().require_grad();
    let mut losses = vec![];
    let mut start = prefix_length;
    let cases = texts.iter().map(|&n| (0, prefix_length, n)).chain([(1, 2, 7)]);
    for (index, prefix, length) in cases {
        let from = if index == 0 { start } else { prefix };
        start += length;
        let head = separate_input.clone().slice(s![index..index + 1, 0..prefix]);
        let text = separate_input.clone().slice(s![index..index + 1, from..from + length]);
        let whole = Tensor::cat(vec![head, text], 1);
        let hidden = model.forward(whole, positions(0, prefix + length, 1, &plain), None, None);
        let own = model.logits(hidden, None).slice(s![.., prefix..]);
        let place = s![index..index + 1, from..from + length];
        assert_equal("packed logits", logits.clone().slice(place), own.clone(), 1e-5);
        losses.push((own * weight.clone().slice(place)).sum());
    }
    let separate = Tensor::cat(losses, 0).sum().backward();
    let mut separate_parameters = Gradients(&separate, vec![]);
    model.visit(&mut separate_parameters);

    let input = |x: &Tensor<3>, gradients| x.grad(gradients).unwrap().into_data().iter::<f32>().collect();
    packed_parameters.1.push(input(&packed_input, &packed));
    separate_parameters.1.push(input(&separate_input, &separate));
    assert_eq!(packed_parameters.1.len(), 2 * (2 * 7 + 1) + 1, "both matrices of every adapter, the input, nothing else");
    // Entries are sums of many terms, so their rounding follows the largest entry.
    for (index, (a, b)) in packed_parameters.1.iter().zip(&separate_parameters.1).enumerate() {
        let largest = b.iter().fold(1.0f32, |largest, x| largest.max(x.abs()));
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * largest), "gradient of parameter {index}");
    }
}

#[test]
fn the_uniform_layout_equals_the_masked_one_in_values_and_gradients() {
    let plain = Device::flex();
    let model = model(&plain.clone().autodiff()).train_adapters_only();
    let packing = Packing::uniform(2, 5, 3, 4).unwrap();
    assert_eq!(packing.uniform_layout(), Some([5, 3, 4]));
    assert_eq!(Packing::new(vec![(5, vec![4, 3])]).unwrap().uniform_layout(), None);
    let x = random(21, [2, 17, HIDDEN], &plain);
    let weight = random(22, [2, 17, HIDDEN], &plain);
    let run = |fast: bool| {
        let x = x.clone().autodiff().require_grad();
        let hidden = match fast {
            true => model.forward_packed(x.clone(), &packing).unwrap(),
            false => model.forward(x.clone(), packing.positions(&plain), Some(packing.mask(&plain)), None),
        };
        let gradients = (hidden.clone() * weight.clone()).sum().backward();
        let mut parameters = Gradients(&gradients, vec![]);
        model.visit(&mut parameters);
        (hidden.inner(), x.grad(&gradients).unwrap(), parameters.1.concat())
    };
    let (fast, masked) = (run(true), run(false));
    assert_equal("hidden", fast.0, masked.0, 1e-5);
    assert_equal("input gradient", fast.1, masked.1, 1e-4);
    let largest = masked.2.iter().fold(1.0f32, |largest, x| largest.max(x.abs()));
    assert!(fast.2.len() == masked.2.len() && fast.2.iter().zip(&masked.2).all(|(a, b)| (a - b).abs() <= 1e-5 * largest));
    assert!(matches!(model.forward_packed(x.slice(s![.., 1..]), &packing), Err(Error::Shape { .. })));
    // Rows of different layouts take the masked way.
    let mixed = Packing::new(vec![(5, vec![4, 4]), (3, vec![2])]).unwrap();
    let x = random(23, [2, 13, HIDDEN], &plain);
    let expected = model.forward(x.clone(), mixed.positions(&plain), Some(mixed.mask(&plain)), None);
    assert_equal("mixed", model.forward_packed(x, &mixed).unwrap(), expected, 0.0);
}

#[test]
fn subject_rows_extend_table_and_head_for_one_call() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let model = model(&device).set_require_grad(false);
    let rows = random(7, [2, 2, HIDDEN], &plain).autodiff().require_grad();
    let first = VOCABULARY as i32;
    let ids = Tensor::<2, Int>::from_data([[3, first, 5], [first + 1, 4, first + 1]], &plain);
    let embedded = model.embed_with(ids.clone(), Some(rows.clone()));
    let own = rows.clone().inner();
    assert_equal("first", embedded.clone().inner().slice(s![0, 1]), own.clone().slice(s![0, 0]), 0.0);
    assert_equal("second", embedded.clone().inner().slice(s![1, 2]), own.clone().slice(s![1, 1]), 0.0);
    let word = model.embed(Tensor::from_data([[4]], &plain)).inner();
    assert_equal("word", embedded.clone().inner().slice(s![1..2, 1..2]), word, 0.0);
    // The gradient of a sum counts how often a row was taken.
    let gradient: Vec<f32> = rows.grad(&embedded.sum().backward()).unwrap().into_data().iter::<f32>().collect();
    let counts: Vec<f32> = gradient.chunks(HIDDEN).map(|row| row[HIDDEN - 1]).collect();
    assert_eq!(counts, [1.0, 0.0, 0.0, 2.0]);

    let hidden = random(8, [2, 3, HIDDEN], &plain);
    let logits = model.logits(hidden.clone(), Some(rows)).inner();
    assert_equal("words", logits.clone().slice(s![.., .., ..VOCABULARY]), model.logits(hidden.clone(), None).inner(), 0.0);
    let expected = hidden.clone().matmul(own.clone().swap_dims(1, 2));
    assert_equal("subjects", logits.slice(s![.., .., VOCABULARY..]), expected, 1e-5);
    // One set of rows for the whole batch.
    let shared = own.slice(s![0..1]);
    let repeated = shared.clone().repeat_dim(0, 2);
    assert_equal(
        "shared head",
        model.logits(hidden.clone(), Some(shared.clone())).inner(),
        model.logits(hidden, Some(repeated.clone())).inner(),
        1e-5,
    );
    let [shared, repeated] = [shared, repeated].map(|rows| model.embed_with(ids.clone(), Some(rows)).inner());
    assert_equal("shared table", shared, repeated, 0.0);
}

#[test]
fn labels_are_gathered_weighted_and_may_name_subjects() {
    let device = Device::flex();
    let model = model(&device);
    let hidden = random(10, [2, 4, HIDDEN], &device);
    let rows = random(11, [2, 1, HIDDEN], &device);
    let subject = VOCABULARY as i64;
    let labels = Labels::next_token(&[vec![9, -100, 5, subject], vec![-100, -100, -100, subject]]).unwrap();
    assert_eq!(labels.targets(), [5, subject as i32, subject as i32]);
    let losses = loss::label_losses(&model, hidden.clone(), &labels, Some(rows.clone())).unwrap();
    let logits: Vec<f32> = model.logits(hidden.clone(), Some(rows.clone())).into_data().iter::<f32>().collect();
    let row = |place: usize| sampling::log_softmax(&logits[place * (VOCABULARY + 1)..][..VOCABULARY + 1]);
    let expected = [-row(1)[5], -row(2)[VOCABULARY], -row(6)[VOCABULARY]];
    assert_equal("losses", losses, Tensor::from_data(expected, &device), 1e-5);
    let weighted = labels.clone().with_weights(vec![1.0, 0.0, 3.0]).unwrap();
    let loss = next_token_loss(&model, hidden.clone(), &weighted, Some(rows)).unwrap();
    assert_equal("weighted", loss, Tensor::from_data([(expected[0] + 3.0 * expected[2]) / 4.0], &device), 1e-5);

    assert!(matches!(next_token_loss(&model, hidden, &labels, None), Err(Error::Config { key: "label", .. })));
    assert!(matches!(Labels::next_token(&[vec![4, -100]]), Err(Error::Config { key: "labels", .. })));
    assert!(matches!(Labels::next_token(&[vec![-100, -7]]), Err(Error::Config { key: "label", .. })));
    assert!(matches!(Labels::next_token(&[vec![1, 2], vec![1]]), Err(Error::Shape { .. })));
    assert!(matches!(labels.with_weights(vec![1.0]), Err(Error::Shape { .. })));
}

#[test]
fn adapters_can_be_taken_inserted_and_merged() {
    let device = Device::flex();
    let trained = model(&device);
    let x = random(12, [1, 5, HIDDEN], &device);
    let run = |model: &Decoder| model.logits(model.forward(x.clone(), positions(0, 5, 1, &device), None, None), None);
    let adapters = trained.adapters();
    assert_eq!(adapters.len(), 15);
    assert_eq!((adapters[0].0.as_str(), adapters[14].0.as_str()), ("layers.0.self_attn.q_proj", "lm_head"));

    let mut base = trained.clone();
    assert_eq!(base.detach().len(), 15);
    let difference: f32 = (run(&trained) - run(&base)).abs().max().into_scalar();
    assert!(difference > 0.1, "the adapters of this test do something: {difference}");
    assert_equal("merged", run(&trained.clone().merge()), run(&trained), 1e-4);
    assert!(trained.clone().merge().adapters().is_empty());

    let mut fresh = base.clone();
    fresh.attach(&SeededStream::new(1), LoraConfig { rank: 3, alpha: 6.0, dropout: 0.0 }).unwrap();
    assert_equal("fresh adapters change nothing", run(&fresh), run(&base), 0.0);
    let a: Vec<f32> = fresh.lm_head.lora.as_ref().unwrap().a.weight.val().into_data().iter::<f32>().collect();
    let bound = 1.0 / (HIDDEN as f32).sqrt();
    let largest = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    assert!(largest <= bound && largest > 0.8 * bound, "Kaiming-uniform with a = sqrt 5: {largest} of {bound}");
    base.insert_adapters(adapters.clone()).unwrap();
    assert_equal("inserted", run(&base), run(&trained), 0.0);

    let misplaced = [("lm_head".to_string(), adapters[0].1.clone())];
    assert!(matches!(base.insert_adapters(misplaced), Err(Error::Shape { .. })));
    let unknown = [("layers.7.mlp.up_proj".to_string(), adapters[0].1.clone())];
    assert!(matches!(base.insert_adapters(unknown), Err(Error::Config { key: "adapter", .. })));
}

#[test]
fn a_wider_adapter_of_the_head_acts_on_a_subjects_row() {
    let device = Device::flex();
    let mut model = model(&device);
    let (hidden, row) = (random(20, [2, 3, HIDDEN], &device), random(21, [1, 1, HIDDEN], &device));
    let before = model.logits(hidden.clone(), Some(row.clone()));
    let words = model.logits(hidden.clone(), None);
    model.lm_head.widen(1);
    assert_equal("zeros", model.logits(hidden.clone(), Some(row.clone())), before.clone(), 0.0);
    assert_equal("without the subject", model.logits(hidden.clone(), None), words, 0.0);

    let lora = model.lm_head.lora.as_mut().unwrap();
    let column = random(22, [3, 1], &device);
    let of_words = lora.b.weight.val().narrow(1, 0, VOCABULARY);
    lora.b.weight = Param::from_tensor(Tensor::cat(vec![of_words, column.clone()], 1));
    let rows = hidden.clone().reshape([6, HIDDEN]);
    let side = (rows.matmul(lora.a.weight.val()).matmul(column) * lora.scale).reshape([2, 3, 1]);
    let expected = Tensor::cat(vec![before.clone().narrow(2, 0, VOCABULARY), before.narrow(2, VOCABULARY, 1) + side], 2);
    assert_equal("trained", model.logits(hidden.clone(), Some(row.clone())), expected.clone(), 1e-5);
    assert_equal("merged", model.merge().logits(hidden, Some(row)), expected, 1e-4);
}

#[test]
fn layers_with_an_adapter_keep_it_where_the_others_get_one() {
    let device = Device::flex();
    let mut model = model(&device);
    model.lm_head.detach();
    let before = model.adapters();
    model.attach_missing(&SeededStream::new(2), LoraConfig { rank: 3, alpha: 6.0, dropout: 0.1 }).unwrap();
    let after = model.adapters();
    assert_eq!((before.len(), after.len()), (14, 15));
    for ((name, before), (other, after)) in before.iter().zip(&after) {
        assert_eq!((name, after.dropout), (other, 0.1));
        assert_equal(name, after.a.weight.val(), before.a.weight.val(), 0.0);
        assert_equal(name, after.b.weight.val(), before.b.weight.val(), 0.0);
    }
    assert_eq!(after[14].1.b.weight.val().abs().max().into_scalar::<f32>(), 0.0, "a fresh one changes nothing");
}

#[test]
fn a_model_is_a_function_of_its_seed() {
    let device = Device::flex();
    let weights = |seed| {
        let model = config().init(&SeededStream::new(seed), &device).unwrap();
        let values = model.layers[1].mlp.up_proj.base.weight.val().into_data();
        values.iter::<f32>().collect::<Vec<f32>>()
    };
    assert_eq!(weights(4), weights(4));
    assert_ne!(weights(4), weights(5));
}

#[test]
fn bad_configurations_are_refused_with_both_numbers() {
    let device = Device::flex();
    let refuse = |change: fn(&mut DecoderConfig)| {
        let mut config = config();
        change(&mut config);
        let error = config.init_zeros(&device).expect_err("a bad configuration");
        assert!(matches!(error, Error::Config { .. }), "{error}");
        error.to_string()
    };
    let message = refuse(|c| c.kv_heads = 3);
    assert!(message.contains("kv_heads") && message.contains('3') && message.contains('4'), "{message}");
    assert!(refuse(|c| c.head_dim = 7).contains("7"));
    assert!(refuse(|c| c.layers = 0).contains("layers"));
    assert!(refuse(|c| c.rope_theta = f64::NAN).contains("rope_theta"));
    assert!(refuse(|c| c.rms_norm_epsilon = 0.0).contains("rms_norm_epsilon"));
    assert!(refuse(|c| c.lora = Some(LoraConfig { rank: 0, alpha: 1.0, dropout: 0.0 })).contains("rank"));
    assert!(DecoderConfig::full().validate().is_ok());
    assert!(matches!(Packing::new(vec![]), Err(Error::Config { .. })));
}
