//! Subjects of a base without queries: rows of their tokens, and an adaptation of the decoder, its routers among them.

use std::ops::ControlFlow;

use burn::{
    module::{Module, ModuleMapper, Param},
    prelude::*,
};
use pvchat_data::{SubjectName, random::SeededStream};
use pvchat_model::{
    adaptation::{Adaptation, Trains},
    answer::AnswerModel,
    prompt::EncodedText,
    sight::Sight,
    subject::{HEAD_ROWS, Subject, WORD_ROWS},
    vilm::Vilm,
};
use pvchat_nn::language::{GenerationOptions, LoraConfig, PersonalRows, RoutedHeadsConfig};

use crate::tiny_smolvlm2::{folder, frames, published};

const QUESTION: &str = "Is <Aa> there?";
const LORA: LoraConfig = LoraConfig { rank: 2, alpha: 4.0, dropout: 0.0 };

fn name() -> SubjectName {
    "Aa".parse().unwrap()
}

/// Values that are far from those of a fresh router or adapter.
struct Drawn(SeededStream);

impl ModuleMapper for Drawn {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (shape, device): ([usize; D], _) = (parameter.dims(), parameter.lazy_device());
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| 0.3 + self.0.normal()).collect();
        parameter.map(|_| Tensor::from_data(TensorData::new(values.clone(), shape), &device))
    }
}

/// A subject whose decoder has routers, and adapters on every layer but the head.
fn adapted(vilm: &Vilm, with_routers: bool) -> Subject {
    let mut answer = vilm.parameters().answer.clone();
    answer.lm.attach(&SeededStream::new(2), LORA).unwrap();
    answer.lm.lm_head.detach();
    if with_routers {
        answer.lm.attach_routers(&RoutedHeadsConfig { layers: vec![0, 1], heads: vec![0, 2] }).unwrap();
        for layer in &mut answer.lm.layers {
            layer.self_attn.routed = layer.self_attn.routed.take().map(|router| router.map(&mut Drawn(SeededStream::new(3))));
        }
    }
    let vision = &vilm.config().vision;
    let adaptation = Adaptation::collect(Trains::Personal, LORA, &answer, None, vision).unwrap();
    vilm.blank_subject(&name(), &SeededStream::new(1)).unwrap().with_adaptation(adaptation)
}

fn open() -> (tempfile::TempDir, Vilm, Sight) {
    let folder = folder(&published(), usize::MAX);
    let vilm = Vilm::open(folder.path(), &Device::flex()).unwrap();
    let sight = vilm.look_at(&frames(2), &[0.0, 1.0], 2.0).unwrap();
    (folder, vilm, sight)
}

#[test]
fn a_blank_subject_has_rows_near_those_of_its_name_and_comes_back_from_its_file() {
    let (_folder, vilm, sight) = open();
    let subject = vilm.blank_subject(&name(), &SeededStream::new(1)).unwrap();
    let hidden = vilm.config().answer.language.hidden;
    assert_eq!(subject.tensors.keys().collect::<Vec<_>>(), [HEAD_ROWS, WORD_ROWS]);
    assert_eq!(subject.tensors[WORD_ROWS].shape, [PersonalRows::FOLLOW_UP, hidden]);
    let table = vilm.parameters().answer.lm.embed_tokens.weight.val().into_data().iter::<f32>().collect::<Vec<_>>();
    let id = vilm.codec().token("A").unwrap() as usize;
    let other = vilm.codec().token("a").unwrap() as usize;
    let rows: Vec<&[f32]> = subject.values(WORD_ROWS).chunks(hidden).collect();
    let mean: Vec<f32> = (0..hidden).map(|at| 0.5 * (table[id * hidden + at] + table[other * hidden + at])).collect();
    let size = mean.iter().map(|value| value * value).sum::<f32>().sqrt();
    for row in &rows {
        let apart = row.iter().zip(&mean).map(|(one, other)| (one - other).powi(2)).sum::<f32>().sqrt();
        assert!(apart > 0.02 * size && apart < 0.3 * size, "{apart} of {size}");
    }
    assert_ne!(rows[1], rows[2], "details differ");

    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("Aa.subject.safetensors");
    subject.save(&file).unwrap();
    let read = Subject::load(&file, vilm.fingerprint()).unwrap();
    assert_eq!(read, subject);
    let ask = |subject: &Subject| {
        let view = vilm.with_subjects(std::slice::from_ref(subject));
        view.ask(&sight, QUESTION, &view.default_options(), |_| ControlFlow::Continue(())).unwrap()
    };
    assert_eq!(ask(&read), ask(&subject));
    let ids = vilm.codec().encode_joined("\n\n", QUESTION, None, &[name()]).unwrap().ids;
    let first = vilm.codec().vocabulary() as u32;
    let own: Vec<u32> = ids.iter().copied().filter(|&id| id >= first).collect();
    assert_eq!(own, (first..first + 17).chain([first]).collect::<Vec<_>>(), "all tokens in front, the name in the question");
    assert_eq!(vilm.codec().decode(&[first, first + 3], &[name()]).unwrap(), "<Aa>");
}

/// The probabilities of a generated answer's tokens, read from a cache, and those of the same text in a packed pass.
fn both_ways(vilm: &Vilm, model: &AnswerModel, subject: &Subject, sight: &Sight) -> (Vec<f32>, Vec<f32>) {
    let (codec, names) = (vilm.codec(), [name()]);
    let personal = Subject::tensors(std::slice::from_ref(subject), vilm.device()).unwrap();
    let slots = Tensor::<2, Int>::zeros([1, 1], vilm.device());
    let visual = model.visual(sight, Some((&personal, slots.clone()))).unwrap();
    let (begin, joint) = (codec.prefix(&sight.shown).unwrap(), codec.joint(&sight.shown));
    let cache = model.read(Some(&visual), &begin).unwrap();
    let options = GenerationOptions { max_new_tokens: 5, end_token: u32::MAX, ..GenerationOptions::default() };
    let mut ids = Vec::new();
    let asked = Some((&personal, slots.clone()));
    let answer = model.answer(&cache, codec, [joint, QUESTION], &names, asked, &options, |id| {
        ids.push(id);
        ControlFlow::Continue(())
    });
    let mut text = codec.encode_joined(joint, QUESTION, None, &names).unwrap();
    text.ids.extend(&ids);
    // A shorter one beside it, so that there is padding.
    let short = EncodedText { ids: text.ids[..text.answer_start + 1].to_vec(), answer_start: text.answer_start };
    let losses = model.losses(&visual, &begin, &[vec![text, short]], Some((&personal, slots))).unwrap();
    let packed = losses.tokens.into_data().iter::<f32>().take(5).map(|loss| (-loss).exp()).collect();
    (answer.unwrap().probabilities, packed)
}

#[test]
fn routers_of_a_subject_act_in_training_and_in_asking_alike() {
    let (_folder, vilm, sight) = open();
    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("Aa.subject.safetensors");
    let mut answers = Vec::new();
    for with_routers in [false, true] {
        let subject = adapted(&vilm, with_routers);
        let adaptation = subject.adaptation.clone().unwrap();
        assert_eq!(adaptation.routed.is_some(), with_routers);
        let model = adaptation.answer(&vilm.parameters().answer).unwrap();
        let (cached, packed) = both_ways(&vilm, &model, &subject, &sight);
        for (one, other) in cached.iter().zip(&packed) {
            assert!((one - other).abs() < 1e-5, "{cached:?} and {packed:?}");
        }
        subject.save(&file).unwrap();
        let read = Subject::load(&file, vilm.fingerprint()).unwrap();
        assert_eq!(read, subject);
        let view = vilm.with_subjects(std::slice::from_ref(&read));
        let reading = view.read(&sight, &[&read]).unwrap();
        answers.push((cached, view.presence(&reading, 0).unwrap()));
    }
    assert!((answers[0].1 - answers[1].1).abs() > 1e-4, "the routers change the presence: {answers:?}");
    assert_ne!(answers[0].0, answers[1].0);
}

#[test]
fn a_whole_prompt_is_continued_with_the_routers_of_its_pictures() {
    let (_folder, vilm, sight) = open();
    let subject = adapted(&vilm, true);
    let model = subject.adaptation.clone().unwrap().answer(&vilm.parameters().answer).unwrap();
    let codec = vilm.codec();
    let visual = model.visual(&sight, None).unwrap();
    let options = GenerationOptions { max_new_tokens: 4, end_token: u32::MAX, ..GenerationOptions::default() };
    let question = ["\n\n", "What is this?"];
    let begin = codec.prefix(&sight.shown).unwrap();
    let cache = model.read(Some(&visual), &begin).unwrap();
    let expected = model.answer(&cache, codec, question, &[], None, &options, |_| ControlFlow::Continue(())).unwrap();
    let mut prompt = begin;
    let text = codec.encode_joined(question[0], question[1], None, &[]).unwrap().ids;
    prompt.push(pvchat_model::prompt::Segment::Text(text));
    let found = model.complete(Some(&visual), &prompt, codec, &options, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(found.text, expected.text);
    for (one, other) in found.probabilities.iter().zip(&expected.probabilities) {
        assert!((one - other).abs() < 1e-5, "{found:?} and {expected:?}");
    }
}
