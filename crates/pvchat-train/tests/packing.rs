//! All questions of a clip behind one visual prefix give the losses and gradients of as many separate passes.
#![cfg(feature = "flex")]

use burn::{
    module::{Module, ModuleVisitor, Param},
    prelude::*,
    tensor::Gradients,
};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    answer::{AnswerConfig, AnswerModel},
    bridge::{BridgeConfig, QFormerBridgeConfig},
    personal::PersonalTensors,
    prompt::{EncodedText, Segment},
    qformer::{Activation, DropoutRates, NormPlacement, QFormerConfig},
    sight::{Shown, Sight},
};
use pvchat_nn::{
    init,
    language::{DecoderConfig, Labels, loss::label_losses},
    moh::Routing,
};

const WIDTH: usize = 32;
const BEGIN: [u32; 1] = [1];

fn model(device: &Device) -> AnswerModel {
    let config = AnswerConfig {
        bridge: BridgeConfig::QFormer(QFormerBridgeConfig {
            tiles: 1,
            query_tokens: 4,
            extra_query_tokens: 0,
            personal_query_tokens: 3,
            query_deviation: 0.5,
            personal: None,
            qformer: QFormerConfig {
                hidden: WIDTH,
                layers: 2,
                heads: 4,
                intermediate: 48,
                encoder_width: WIDTH,
                cross_attention_every: 1,
                routed_from_layer: 0,
                routing: Routing::Relu { shared: 2, rescale: true },
                norm: NormPlacement::Pre,
                activation: Activation::Relu,
                layer_norm_epsilon: 1e-6,
                vocabulary: None,
                max_positions: 1,
                tie_key_to_query_at_start: false,
                initial_deviation: 0.2,
                dropout: DropoutRates::default(),
            },
        }),
        language: DecoderConfig {
            vocabulary: 40,
            hidden: WIDTH,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 8,
            intermediate: 48,
            rope_theta: 1e4,
            rms_norm_epsilon: 1e-5,
            initial_deviation: 0.15,
            lora: None,
        },
    };
    config.init(&SeededStream::new(11), device).unwrap()
}

fn subject(device: &Device) -> PersonalTensors {
    let stream = SeededStream::new(12);
    let row = |label: &str| init::normal(&mut stream.derive(label), [2, 1, WIDTH], 0.3, device).require_grad();
    PersonalTensors {
        tokens: init::normal(&mut stream.derive("tokens"), [2, 1, 3, WIDTH], 0.5, device).require_grad(),
        identity: Tensor::zeros([2, 1, 1], device),
        word_row: row("word"),
        head_row: row("head"),
    }
}

/// Questions and answers of different lengths for two clips; id 40 is the subject.
fn texts() -> Vec<Vec<EncodedText>> {
    let mut stream = SeededStream::new(13);
    let mut text = || {
        let answer_start = 3 + stream.below(4);
        let length = answer_start + 1 + stream.below(6);
        EncodedText { ids: (0..length).map(|_| 2 + stream.below(39) as u32).collect(), answer_start }
    };
    (0..2).map(|_| (0..18).map(|_| text()).collect()).collect()
}

/// The gradients of every parameter that has one, by path.
struct Named<'a> {
    path: Vec<String>,
    gradients: &'a Gradients,
    found: Vec<(String, Vec<f32>)>,
}

impl ModuleVisitor for Named<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if let Some(gradient) = parameter.val().grad(self.gradients) {
            self.found.push((self.path.join("."), gradient.into_data().iter::<f32>().collect()));
        }
    }
}

/// Every label's loss, and the gradients of their mean.
fn run(packed: bool) -> (Vec<f32>, Vec<(String, Vec<f32>)>) {
    let device = Device::flex().autodiff();
    let (model, subject, texts) = (model(&device), subject(&device), texts());
    let memory = Sight {
        tokens: init::normal(&mut SeededStream::new(14), [2, 7, WIDTH], 1.0, &device.clone().inner()),
        identity: Tensor::zeros([2, 1, 1], &device.clone().inner()),
        shown: vec![Shown::Tiles(1)],
    };
    let begin = [Segment::Text(BEGIN.to_vec()), Segment::Visual];
    let slots = Tensor::<2, Int>::zeros([2, 1], &device.clone().inner());
    let visual = model.visual(&memory, Some((&subject, slots.clone()))).unwrap();
    let losses = if packed {
        model.losses(&visual, &begin, &texts, Some((&subject, slots))).unwrap().tokens
    } else {
        // As it stands in a textbook: one causal sequence per question, nothing shared, nothing padded.
        let rows = model.bridge.rows((&subject, slots));
        let mut losses = Vec::new();
        for (clip, texts) in texts.iter().enumerate() {
            for text in texts {
                let count = text.ids.len();
                let ids: Vec<i32> = BEGIN.iter().chain(&text.ids).map(|id| *id as i32).collect();
                let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 1 + count]), &device.clone().inner());
                let own = |rows: &Tensor<3>| rows.clone().narrow(0, clip, 1);
                let words = model.lm.embed_with(ids, Some(own(&rows[0])));
                let seen = visual.embeddings.clone().narrow(0, clip, 1);
                let prefix = 1 + seen.dims()[1];
                let embeddings = Tensor::cat(vec![words.clone().narrow(1, 0, 1), seen, words.narrow(1, 1, count)], 1);
                let positions = Tensor::<1, Int>::arange(0..(prefix + count) as i64, &device.clone().inner());
                let hidden = model.lm.forward(embeddings, positions.unsqueeze_dim(0), None, None);
                let mut labels = vec![-100; prefix];
                labels.extend(text.labels(count));
                let labels = Labels::next_token(&[labels]).unwrap();
                losses.push(label_losses(&model.lm, hidden, &labels, Some(own(&rows[1]))).unwrap());
            }
        }
        Tensor::cat(losses, 0)
    };
    let values = losses.clone().into_data().iter::<f32>().collect();
    let gradients = losses.mean().backward();
    let mut named = Named { path: Vec::new(), gradients: &gradients, found: Vec::new() };
    model.visit(&mut named);
    let mut found = named.found;
    let flat = |values: TensorData| values.iter::<f32>().collect::<Vec<f32>>();
    found.push(("tokens".into(), flat(subject.tokens.grad(&gradients).unwrap().into_data())));
    found.push(("word_row".into(), flat(subject.word_row.grad(&gradients).unwrap().into_data())));
    found.push(("head_row".into(), flat(subject.head_row.grad(&gradients).unwrap().into_data())));
    (values, found)
}

#[test]
fn packed_questions_have_the_losses_and_gradients_of_separate_passes() {
    let (packed, separate) = (run(true), run(false));
    assert_eq!(packed.0.len(), separate.0.len());
    for (place, (a, b)) in packed.0.iter().zip(&separate.0).enumerate() {
        assert!((a - b).abs() <= 1e-5, "loss {place}: {a} and {b}");
    }
    let names = |found: &[(String, Vec<f32>)]| found.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&packed.1), names(&separate.1));
    assert!(packed.1.len() > 60, "{:?}", names(&packed.1));
    let mut far = 0.0_f32;
    for ((name, a), (_, b)) in packed.1.iter().zip(&separate.1) {
        // A gradient is a sum of hundreds of terms: where it is large, its last bits are too.
        let largest = b.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
        for (a, b) in a.iter().zip(b) {
            far = far.max((a - b).abs() / largest);
            assert!((a - b).abs() <= 1e-5 * largest, "gradient of {name}: {a} and {b}");
        }
    }
    println!("{} losses, {} gradients, the farthest apart {far:e}", packed.0.len(), packed.1.len());
}
