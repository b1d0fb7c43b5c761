//! The decoder with packed weights against the one that packs them.

use std::ops::ControlFlow;

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_nn::{
    language::{
        Decoder, DecoderConfig, GenerationOptions, KeyValueCache, LoraAdapter, LoraConfig, Packing, Prompt, RoutedHeadsConfig,
        Strategy, TokenKind, generate, generate_batch,
    },
    packed::Precision,
};

fn model() -> Decoder {
    let config = DecoderConfig {
        vocabulary: 70,
        hidden: 48,
        layers: 3,
        heads: 6,
        kv_heads: 2,
        head_dim: 16,
        intermediate: 100,
        rope_theta: 1e4,
        rms_norm_epsilon: 1e-5,
        initial_deviation: 0.2,
        lora: None,
    };
    let mut model = config.init(&SeededStream::new(4), &Device::flex()).unwrap();
    // The table starts at zero.
    let mut stream = SeededStream::new(9);
    model.embed_tokens.weight = pvchat_nn::init::normal_param(&mut stream, [70, 48], 1.0, &Device::flex());
    model
}

fn packed(precision: Precision) -> Decoder {
    let mut model = model();
    model.pack_own(precision).unwrap();
    model
}

fn ids(rows: &[Vec<i32>]) -> Tensor<2, Int> {
    let tokens = rows[0].len();
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), tokens]), &Device::flex())
}

fn text(seed: u64, tokens: usize) -> Vec<i32> {
    let mut stream = SeededStream::new(seed);
    (0..tokens).map(|_| (stream.unit() * 70.0) as i32).collect()
}

fn positions(first: usize, rows: usize, tokens: usize) -> Tensor<2, Int> {
    let row = Tensor::<1, Int>::arange(first as i64..(first + tokens) as i64, &Device::flex()).unsqueeze::<2>();
    row.expand([rows, tokens])
}

fn numbers(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn deviation(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(0.0_f32, |size, number| size.max(number.abs()));
    found.iter().zip(expected).fold(0.0_f32, |most, (found, expected)| most.max((found - expected).abs())) / size
}

/// Everything read at once, and then word by word behind a part that was read before.
fn read(model: &Decoder, rows: &[Vec<i32>]) -> [Vec<f32>; 2] {
    let (count, tokens) = (rows.len(), rows[0].len());
    let whole = model.forward(model.embed(ids(rows)), positions(0, count, tokens), None, None);
    let mut cache = model.cache(4);
    let part = |from: usize, to: usize| ids(&rows.iter().map(|row| row[from..to].to_vec()).collect::<Vec<_>>());
    let last = |cache: &mut KeyValueCache, from: usize, to: usize| {
        let hidden = model.forward(model.embed(part(from, to)), positions(from, count, to - from), None, Some(cache));
        model.logits(hidden.narrow(1, to - from - 1, 1), None)
    };
    last(&mut cache, 0, tokens - 4);
    // What a copy reads is not seen by the original.
    last(&mut cache.clone(), tokens - 4, tokens);
    last(&mut cache, tokens - 4, tokens - 1);
    assert_eq!((cache.len(), cache.batch()), (tokens - 1, count));
    // What was cut off is read again.
    cache.truncate(tokens - 2);
    last(&mut cache, tokens - 2, tokens - 1);
    [numbers(model.logits(whole, None)), numbers(last(&mut cache, tokens - 1, tokens))]
}

#[test]
fn packed_weights_read_as_those_that_were_packed() {
    let rows = [text(1, 41), text(2, 41)];
    let expected = read(&model(), &rows);
    for (precision, most) in [(Precision::F32, 2e-5), (Precision::Bf16, 0.03), (Precision::Int8, 0.12), (Precision::Int4, 0.9)] {
        let model = packed(precision);
        assert_eq!(model.packed().unwrap().precision(), precision);
        for (found, expected) in read(&model, &rows).iter().zip(&expected) {
            let deviation = deviation(found, expected);
            assert!(deviation <= most, "{precision:?}: {deviation}");
        }
    }
}

/// Padding, beams and a batch: all that the ways to an answer ask of a model.
#[test]
fn packed_weights_answer_as_those_that_were_packed() {
    let (plain, packed) = (model(), packed(Precision::F32));
    let prompts: Vec<Vec<u32>> = [text(3, 12), text(4, 7)].iter().map(|row| row.iter().map(|id| *id as u32).collect()).collect();
    let beams = Strategy::Beams { beams: 3, length_penalty: 1.0, sampling: None };
    for strategy in [Strategy::Greedy, beams] {
        let options = GenerationOptions { max_new_tokens: 12, strategy, ..GenerationOptions::default() };
        let answers = |model: &Decoder| {
            let prompt = Prompt::from_tokens(model, &prompts, 0).unwrap();
            let answers = generate_batch(model, prompt, &options, |_, _| ControlFlow::Continue(())).unwrap();
            answers.into_iter().map(|answer| answer.tokens).collect::<Vec<_>>()
        };
        assert_eq!(answers(&packed), answers(&plain), "{strategy:?}");
    }
    // Rows of subjects lie beside the words.
    let rows = Tensor::<3>::ones([1, 2, 48], &Device::flex());
    let options = GenerationOptions { max_new_tokens: 5, ..GenerationOptions::default() };
    let answer = |model: &Decoder| {
        let prompt = Prompt::from_embeddings(model.embed_with(ids(&[vec![3, 71, 70, 4]]), Some(rows.clone())));
        generate(model, prompt.with_subjects(rows.clone(), rows.clone() * 3.0), &options, |_| ControlFlow::Continue(())).unwrap()
    };
    assert_eq!(answer(&packed).tokens, answer(&plain).tokens);
}

#[test]
fn packed_weights_cannot_be_trained() {
    let mut model = packed(Precision::Int8);
    let lora = LoraConfig { rank: 2, alpha: 4.0, dropout: 0.0 };
    let errors = [model.attach(&SeededStream::new(1), lora).unwrap_err().to_string(), {
        let packing = Packing::uniform(1, 2, 1, 3).unwrap();
        model.forward_packed(Tensor::zeros([1, 5, 48], &Device::flex()), &packing).unwrap_err().to_string()
    }];
    for error in errors {
        assert!(error.contains("packed weights") && error.contains("without packing"), "{error}");
    }
}

#[test]
fn adapters_are_merged_into_the_packed_weights() {
    let mut adapted = model();
    adapted.attach(&SeededStream::new(1), LoraConfig { rank: 2, alpha: 4.0, dropout: 0.0 }).unwrap();
    let rows = [text(1, 9), text(2, 9)];
    let base = read(&adapted, &rows);
    let mut stream = SeededStream::new(2);
    for (_, layer) in adapted.linears_mut() {
        if let Some(lora) = &mut layer.lora {
            let shape: [usize; 2] = lora.b.weight.dims();
            lora.b.weight = pvchat_nn::init::normal_param(&mut stream, shape, 0.1, &Device::flex());
        }
    }
    let expected = read(&adapted, &rows);
    assert!(deviation(&base[1], &expected[1]) > 0.05, "the adapters do something");
    adapted.pack_own(Precision::F32).unwrap();
    for (found, expected) in read(&adapted, &rows).iter().zip(&expected) {
        assert!(deviation(found, expected) <= 2e-5);
    }
}

const LORA: LoraConfig = LoraConfig { rank: 2, alpha: 4.0, dropout: 0.0 };

/// Adapters of every layer but the head, all of which do something, with their names.
fn adapters() -> Vec<(String, LoraAdapter)> {
    let mut model = model();
    model.attach(&SeededStream::new(1), LORA).unwrap();
    let mut stream = SeededStream::new(2);
    for (_, layer) in model.linears_mut() {
        if let Some(lora) = &mut layer.lora {
            let shape: [usize; 2] = lora.b.weight.dims();
            lora.b.weight = pvchat_nn::init::normal_param(&mut stream, shape, 0.1, &Device::flex());
        }
    }
    model.detach().into_iter().filter(|(name, _)| name != "lm_head").collect()
}

/// Routers whose weights are all different and none is 1.
fn route(mut model: Decoder) -> Decoder {
    model.attach_routers(&RoutedHeadsConfig { layers: vec![0, 2], heads: vec![1, 4] }).unwrap();
    let mut stream = SeededStream::new(3);
    for layer in &mut model.layers {
        if let Some(router) = &mut layer.self_attn.routed {
            let device = Device::flex();
            router.alpha.weight = pvchat_nn::init::normal_param(&mut stream, [48, 2], 0.3, &device);
            router.router.weight = pvchat_nn::init::normal_param(&mut stream, [48, 2], 0.3, &device);
        }
    }
    model
}

#[test]
fn adapters_and_routers_act_beside_packed_weights() {
    let (rows, tokens) = ([text(1, 21), text(2, 21)], 21);
    let adapters = adapters();
    let mut plain = route(model());
    plain.insert_adapters(adapters.clone()).unwrap();
    let with = |mut model: Decoder| {
        for (name, layer) in model.linears_mut() {
            layer.lora = adapters.iter().find(|(known, _)| *known == name).map(|(_, adapter)| adapter.clone());
        }
        model.pack_adapters().unwrap();
        model
    };
    // Frames between text, and the other row begins with one; the end of the prompt and what is generated is text.
    let kind = |row: usize, place: usize| if (3..9).contains(&(place + 3 * row)) { TokenKind::Visual } else { TokenKind::Text };
    let kinds: Vec<Vec<TokenKind>> = (0..2).map(|row| (0..tokens - 4).map(|place| kind(row, place)).collect()).collect();
    let part = |from: usize, to: usize| ids(&rows.iter().map(|row| row[from..to].to_vec()).collect::<Vec<_>>());
    let read = |model: &Decoder| {
        let mut cache = model.cache(4);
        let prompt = model.embed(part(0, tokens - 4));
        model.fill(&mut cache, prompt, positions(0, 2, tokens - 4), &kinds).unwrap();
        let hidden = (tokens - 4..tokens)
            .map(|place| model.forward(model.embed(part(place, place + 1)), positions(place, 2, 1), None, Some(&mut cache)));
        numbers(model.logits(Tensor::cat(hidden.collect(), 1), None))
    };
    let expected = read(&plain);
    let bare = packed(Precision::F32);
    assert!(deviation(&read(&bare), &read(&with(bare.clone()))) > 0.05, "the adapters do something");
    assert!(deviation(&read(&with(bare.clone())), &expected) > 0.05, "the routers do something");
    for (precision, most) in [(Precision::F32, 2e-5), (Precision::Bf16, 0.03), (Precision::Int8, 0.15)] {
        let base = packed(precision);
        let adapted = with(route(base.clone()));
        let found = deviation(&read(&adapted), &expected);
        assert!(found <= most, "{precision:?}: {found}");
        assert!(adapted.adapters().is_empty() && adapted.packed().unwrap().bytes() > base.packed().unwrap().bytes());
        // The base itself is what it was.
        assert_eq!(read(&base), read(&packed(precision)));
    }
}

#[test]
fn an_adapter_of_the_head_is_refused_beside_packed_weights() {
    let (mut model, device) = (packed(Precision::Bf16), Device::flex());
    model.lm_head.lora = Some(LoraAdapter::zeros(48, 70, LORA, &device));
    let error = model.pack_adapters().unwrap_err().to_string();
    assert!(error.contains("lm_head") && error.contains("without packing"), "{error}");
    model.layers[0].mlp.up_proj.lora = Some(LoraAdapter::zeros(48, 99, LORA, &device));
    let error = model.pack_adapters().unwrap_err().to_string();
    assert!(error.contains("layers.0.mlp.up_proj"), "{error}");
}
