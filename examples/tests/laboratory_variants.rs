//! Every variant of the laboratory changes what it names of the base `plain`, and nothing else.

#[allow(dead_code)]
#[path = "../laboratory/variants.rs"]
mod variants;

use std::path::Path;

use burn::tensor::Tensor;
use pvchat::{
    model::{bridge::Bridge, qformer::QFormer, vilm::Vilm},
    nn::{device::default_device, moh::Routing},
};
use variants::{USUAL, Variant, Vary};

fn base() -> Vilm {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/plain");
    Vilm::open(&folder, &default_device().unwrap()).unwrap()
}

fn qformer(vilm: &Vilm) -> &QFormer {
    match &vilm.parameters().answer.bridge {
        Bridge::QFormer(bridge) => &bridge.qformer,
        Bridge::PixelShuffle(_) => panic!("the base has a Q-Former"),
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// What the Q-Former makes of random queries and memory.
fn states(vilm: &Vilm) -> Vec<f32> {
    let device = vilm.device();
    let random = |count: usize, seed: u64| {
        let mut stream = pvchat::data::random::SeededStream::new(seed);
        let numbers: Vec<f32> = (0..count * 128).map(|_| stream.range(-1.0, 1.0)).collect();
        Tensor::<3>::from_data(burn::tensor::TensorData::new(numbers, [1, count, 128]), device)
    };
    numbers(qformer(vilm).forward(random(16, 1), random(20, 2), None).unwrap().query_states)
}

#[test]
fn routing_changes_and_the_projections_stay() {
    let base = base();
    let made: Vec<(Variant, Vilm)> =
        Vary::Routing.variants().into_iter().map(|variant| (variant, variant.base(&base, 0).unwrap())).collect();
    let routing = [Routing::Dense, Routing::TopK { shared: 4, active: 2 }, Routing::Relu { shared: 4, rescale: true }];
    for ((variant, vilm), routing) in made.iter().zip(routing) {
        assert_eq!(vilm.config().answer.qformer().unwrap().qformer.routing, routing, "{}", variant.name);
        for (own, changed) in qformer(&base).encoder.layer.iter().zip(&qformer(vilm).encoder.layer) {
            assert_eq!(changed.attention.heads.routing(), routing);
            assert_eq!(changed.attention.heads.router_alpha.is_some(), routing != Routing::Dense);
            let [own, changed] = [own, changed].map(|layer| numbers(layer.attention.heads.query.weight.val()));
            assert_eq!(own, changed);
        }
        assert_ne!(vilm.fingerprint(), base.fingerprint());
    }
    // New routers hardly weigh heads, so that dense attention and ReMoH start alike; top-k leaves heads out.
    let [dense, top, relu] = [0, 1, 2].map(|place| states(&made[place].1));
    let apart = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(one, other)| (one - other).powi(2)).sum::<f32>();
    assert!(apart(&dense, &relu) < 0.5 * apart(&dense, &top), "{} {}", apart(&dense, &relu), apart(&dense, &top));
    assert!(apart(&dense, &relu) > 0.0);
}

#[test]
fn tokens_are_as_many_as_named_and_the_usual_base_is_untouched() {
    let base = base();
    for (variant, count) in Vary::Tokens.variants().into_iter().zip([4, 8, 32]) {
        let made = variant.base(&base, 0).unwrap();
        let blank = made.blank_subject(&"Aa".parse().unwrap(), &pvchat::data::random::SeededStream::new(0)).unwrap();
        let tensors = pvchat::Subject::tensors(&[blank], made.device()).unwrap();
        assert_eq!(tensors.tokens.dims(), [1, 1, count, 128]);
        assert_eq!(states(&made), states(&base));
    }
    let usual = USUAL.base(&base, 0).unwrap();
    assert_eq!((usual.fingerprint(), states(&usual)), (base.fingerprint(), states(&base)));
}

#[test]
fn the_objective_loses_what_is_named() {
    let names: Vec<&str> = Vary::Objective.variants().iter().map(|variant| variant.name).collect();
    assert_eq!(names, [", without SPR", ", without HAE", ", without SPR and HAE"]);
    let full = pvchat::train::objective::ObjectiveConfig::straight_through();
    let [no_spr, no_hae, neither] = [0, 1, 2].map(|place| (Vary::Objective.variants()[place].objective)(full.clone()));
    assert!(no_spr != full && no_hae != full && no_spr != no_hae && neither != no_spr && neither != no_hae);
}

#[test]
fn tokens_start_near_the_mean_of_the_word_rows_and_elsewhere_with_another_seed() {
    let base = base();
    let variant = Vary::Start.variants()[0];
    let tokens = |seed: u64| {
        let made = variant.base(&base, seed).unwrap();
        assert_eq!(states(&made), states(&base));
        numbers(made.parameters().answer.bridge.personal_tokens())
    };
    let (one, again, other) = (tokens(0), tokens(0), tokens(1));
    assert!(one == again && one != other);
    let mean = numbers(base.parameters().answer.lm.embed_tokens.weight.val().mean_dim(0));
    let away = one.chunks(mean.len()).flat_map(|token| token.iter().zip(&mean).map(|(token, mean)| (token - mean).powi(2)));
    let deviation = (away.sum::<f32>() / one.len() as f32).sqrt();
    assert!((0.018..0.022).contains(&deviation), "{deviation}");
}
