//! A question answered from frames to text, by all parts of the published model.

use crate::small::{codec, config, folder};
use burn::{prelude::*, tensor::activation};
use image::RgbImage;
use pvchat_data::{SubjectName, random::SeededStream};
use pvchat_model::{
    Error,
    prompt::Segment,
    sight::Shown,
    subject::Subject,
    vilm::{Obtained, Vilm},
};
use std::ops::ControlFlow;

fn clip(shade: u8) -> Vec<RgbImage> {
    let pixel = |frame: u32, x: u32, y: u32| image::Rgb([(x * 5) as u8, (y * 7) as u8, shade.wrapping_add((frame * 20) as u8)]);
    (0..8).map(|frame| RgbImage::from_fn(50, 30, |x, y| pixel(frame, x, y))).collect()
}

fn subject(vilm: &Vilm, name: &str, seed: u64) -> Subject {
    let name: SubjectName = name.parse().unwrap();
    vilm.blank_subject(&name, &SeededStream::new(seed)).unwrap()
}

/// The presence that the view reports, with the clip and from the question alone, and the same from one pass over the whole prompt,
/// put together here.
#[test]
fn a_question_is_answered_from_three_tiles_and_a_name() {
    let folder = folder(1, 30_000);
    let vilm = Vilm::open(folder.path(), &Device::flex()).unwrap();
    let aa = subject(&vilm, "<Aa>", 7);
    let memory = vilm.look(&[&clip(10)]).unwrap();
    let encoded = 1 + 8 * 2 * 2;
    assert_eq!(memory.tokens.dims(), [1, 3 * encoded, 32]);

    let question = "Is <Aa> in this video?";
    let subjects = [aa.clone()];
    let view = vilm.with_subjects(&subjects);
    let answer = view.ask(&memory, question, &view.default_options(), |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(answer, view.ask(&memory, question, &view.default_options(), |_| ControlFlow::Continue(())).unwrap());
    assert_eq!(answer.obtained, Obtained::Learned);
    let (name, presence) = &answer.presence[0];
    assert_eq!(name, &aa.info.name);

    let (codec, parameters) = (codec(), &vilm.parameters().answer);
    let personal = Subject::tensors(&subjects, vilm.device()).unwrap();
    let slots = Tensor::<2, Int>::zeros([1, 1], vilm.device());
    let visual = parameters.visual(&memory, Some((&personal, slots))).unwrap().embeddings;
    let queries = 4 + 3 + 2;
    assert_eq!(visual.dims(), [1, 3 * queries, 32]);
    let ids = |ids: &[u32]| {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [1, ids.len()]), vilm.device())
    };
    let prefix = codec.prefix(&[Shown::Tiles(3)]).unwrap();
    assert_eq!(prefix.iter().filter(|segment| **segment == Segment::Visual).count(), 3);
    let asked = codec.encode_question(question, None, std::slice::from_ref(&aa.info.name)).unwrap().ids;
    let named = asked.iter().filter(|id| **id == codec.vocabulary() as u32).count();
    assert_eq!(named, 2, "in front and in the question");
    let expected = |with_clip: bool| -> f32 {
        let mut parts = Vec::new();
        let mut tile = 0;
        for segment in &prefix {
            match segment {
                Segment::Text(text) => parts.push(parameters.lm.embed(ids(text))),
                Segment::Visual if with_clip => {
                    parts.push(visual.clone().narrow(1, tile * queries, queries));
                    tile += 1;
                }
                Segment::Visual => {}
            }
        }
        parts.push(parameters.lm.embed_with(ids(&asked), Some(personal.word_row.clone())));
        let prompt = Tensor::cat(parts, 1);
        let length = prompt.dims()[1];
        let positions = Tensor::<1, Int>::arange(0..length as i64, vilm.device()).unsqueeze_dim::<2>(0);
        let hidden = parameters.lm.forward(prompt, positions, None, None).narrow(1, length - 1, 1);
        let logits = parameters.lm.logits(hidden, None).reshape([-1]);
        let chosen = codec.yes_and_no().unwrap().map(|id| logits.clone().narrow(0, id as usize, 1));
        activation::softmax(Tensor::cat(chosen.to_vec(), 0), 0).narrow(0, 0, 1).into_scalar()
    };
    let blind = view.presence(&view.question_only(&[&aa]).unwrap(), 0).unwrap();
    assert_ne!(*presence, blind);
    for (found, expected) in [(*presence, expected(true)), (blind, expected(false))] {
        assert!((found - expected).abs() < 1e-5, "{found} where {expected} is expected");
    }
}

/// What is asked about, and whom, reaches the answer; what is not asked about does not.
#[test]
fn clip_subject_and_name_matter_and_other_subjects_do_not() {
    let folder = folder(3, usize::MAX);
    let vilm = Vilm::open(folder.path(), &Device::flex()).unwrap();
    let memories = [10, 200].map(|shade| vilm.look(&[&clip(shade)]).unwrap());
    let presence = |clip: usize, subjects: &[Subject]| {
        let memory = &memories[clip];
        let view = vilm.with_subjects(subjects);
        let reading = view.read(memory, &view.named("Is <Aa> in this video?")).unwrap();
        view.presence(&reading, 0).unwrap()
    };
    let (aa, other, bb) = (subject(&vilm, "<Aa>", 1), subject(&vilm, "<Aa>", 2), subject(&vilm, "<Bb>", 3));
    let first = presence(0, std::slice::from_ref(&aa));
    assert_ne!(first, presence(1, std::slice::from_ref(&aa)), "another clip");
    assert_ne!(first, presence(0, &[other]), "another person");
    assert_eq!(first, presence(0, &[bb, aa]), "somebody else beside");
}

#[test]
fn a_clip_of_another_length_and_enrolment_are_refused() {
    let folder = folder(1, usize::MAX);
    let vilm = Vilm::open(folder.path(), &Device::flex()).unwrap();
    let error = vilm.look(&[&clip(0)[..7]]).unwrap_err().to_string();
    assert!(error.contains('7') && error.contains("8 frames"), "{error}");
    let memory = vilm.look(&[&clip(0)]).unwrap();
    let error = vilm.enrol(&memory, 0, &"<Aa>".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("training"), "{error}");
    assert_eq!(vilm.config(), &config());
}

#[test]
fn marks_of_the_prompt_and_special_tokens_are_refused_in_questions_and_names_are_not() {
    let names: [SubjectName; 1] = ["<Aa>".parse().unwrap()];
    let codec = codec();
    for mark in ["<s>", "</s>", "[INST]", "[/INST]", "<Video>", "</Video>"] {
        for question in [format!("Is {mark} in this video?"), format!("Is{mark}"), mark.to_string()] {
            let error = codec.encode_question(&question, None, &names).unwrap_err();
            assert!(matches!(error, Error::Text { what: "question", .. }), "{question:?}: {error:?}");
            assert!(error.to_string().contains(&format!("{mark:?}")), "{question:?}: {error}");
        }
    }
    for question in ["Is <Aa> in this video?", "Who is [here], <Bb> or <Aa>?", "Is 3 < 4 in this video?"] {
        codec.encode_question(question, None, &names).unwrap();
    }
}
