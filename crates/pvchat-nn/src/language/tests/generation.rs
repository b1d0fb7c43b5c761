//! Properties of generation.

use std::ops::ControlFlow;

use burn::{prelude::*, tensor::s};

use super::*;

fn open_end() -> GenerationOptions {
    // An end token that is never chosen.
    GenerationOptions { max_new_tokens: 8, end_token: u32::MAX, ..GenerationOptions::default() }
}

fn prompt(device: &Device) -> Prompt {
    Prompt::from_embeddings(random(13, [1, 4, HIDDEN], device))
}

#[test]
fn a_callback_stops_generation() {
    let device = Device::flex();
    let model = model(&device);
    let all = generate(&model, prompt(&device), &open_end(), |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((all.tokens.len(), all.finish), (8, FinishReason::Length));
    assert!(all.probabilities.iter().all(|p| *p > 0.0 && *p <= 1.0));
    let beams = Strategy::Beams { beams: 2, length_penalty: 1.0, sampling: None };
    for strategy in [Strategy::Greedy, beams] {
        let mut heard = vec![];
        let stop = |token| {
            heard.push(token);
            if heard.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let options = GenerationOptions { strategy, ..open_end() };
        let answer = generate(&model, prompt(&device), &options, stop).unwrap();
        assert_eq!((&answer.tokens, answer.finish), (&heard, FinishReason::Stopped));
        assert_eq!((heard.len(), answer.probabilities.len()), (3, 3));
    }
}

#[test]
fn the_end_token_waits_for_the_shortest_answer() {
    let device = Device::flex();
    let model = model(&device);
    let free = generate(&model, prompt(&device), &open_end(), |_| ControlFlow::Continue(())).unwrap();
    let mut options = GenerationOptions { end_token: free.tokens[0], ..open_end() };
    let ended = generate(&model, prompt(&device), &options, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((ended.tokens.len(), ended.finish), (0, FinishReason::EndToken));
    options.min_new_tokens = 3;
    let answer = generate(&model, prompt(&device), &options, |_| ControlFlow::Continue(())).unwrap();
    assert!(answer.tokens.len() >= 3 && !answer.tokens[..3].contains(&options.end_token), "{answer:?}");
    // Another token that ends answers does the same.
    let mut other = GenerationOptions { other_end_tokens: vec![u32::MAX - 1, free.tokens[0]], ..open_end() };
    assert_eq!(generate(&model, prompt(&device), &other, |_| ControlFlow::Continue(())).unwrap(), ended);
    other.min_new_tokens = 3;
    assert_eq!(generate(&model, prompt(&device), &other, |_| ControlFlow::Continue(())).unwrap(), answer);
}

#[test]
fn samples_repeat_with_their_seed_and_differ_between_seeds() {
    let device = Device::flex();
    let model = model(&device);
    let filters = Filters { temperature: 3.0, ..Filters::default() };
    let sample = |strategy| {
        let options = GenerationOptions { max_new_tokens: 12, strategy, ..open_end() };
        generate(&model, prompt(&device), &options, |_| ControlFlow::Continue(())).unwrap().tokens
    };
    let plain = |seed| Strategy::Sample { filters, seed };
    assert_eq!(sample(plain(1)), sample(plain(1)));
    assert_ne!(sample(plain(1)), sample(plain(2)));
    let beams = |seed| Strategy::Beams { beams: 2, length_penalty: 1.0, sampling: Some((filters, seed)) };
    assert_eq!(sample(beams(1)), sample(beams(1)));
    // With one candidate left, a draw is the greedy choice.
    let one = Filters { top_k: Some(1), ..Filters::default() };
    assert_eq!(sample(Strategy::Sample { filters: one, seed: 3 }), sample(Strategy::Greedy));
}

#[test]
fn generation_behind_a_prefix_and_with_padding_equals_whole_prompts() {
    let device = Device::flex();
    let model = model(&device);
    let whole = random(14, [2, 7, HIDDEN], &device);
    let rows = random(15, [1, 2, HIDDEN], &device) * 4.0;
    let quiet = |_, _| ControlFlow::Continue(());
    let answer = |prompt: Prompt| {
        let answers = generate_batch(&model, prompt.with_subjects(rows.clone(), rows.clone()), &open_end(), quiet).unwrap();
        answers.into_iter().map(|answer| answer.tokens).collect::<Vec<_>>()
    };
    // Row 1 has the same prefix as row 0 and a question that is one token shorter.
    let prefix = whole.clone().slice(s![0..1, 0..3]);
    let short = Tensor::cat(vec![prefix.clone(), whole.clone().slice(s![1..2, 4..7])], 1);
    let expected =
        [answer(Prompt::from_embeddings(whole.clone().slice(s![0..1]))), answer(Prompt::from_embeddings(short))].concat();
    assert!(expected.iter().flatten().any(|token| *token as usize >= VOCABULARY), "a subject is named: {expected:?}");
    let mut cache = model.cache(3);
    model.forward(prefix, positions(0, 3, 1, &device), None, Some(&mut cache));
    let questions = Prompt::from_embeddings(whole.slice(s![.., 3..])).with_left_padding(vec![0, 1]).unwrap();
    assert_eq!(answer(questions.with_prefix(cache)), expected);
}

#[test]
fn bad_options_and_prompts_are_refused() {
    let device = Device::flex();
    let model = model(&device);
    let run = |prompt, options: GenerationOptions| generate(&model, prompt, &options, |_| ControlFlow::Continue(()));
    let options = GenerationOptions { min_new_tokens: 9, ..open_end() };
    let message = run(prompt(&device), options).expect_err("min above max").to_string();
    assert!(message.contains('9') && message.contains('8'), "{message}");
    let wide = Prompt::from_embeddings(random(1, [1, 2, HIDDEN + 1], &device));
    assert!(matches!(run(wide, open_end()), Err(Error::Shape { .. })));
    let two = Prompt::from_embeddings(random(1, [2, 2, HIDDEN], &device));
    assert!(matches!(run(two.clone(), open_end()), Err(Error::Shape { .. })));
    assert!(matches!(two.with_left_padding(vec![2, 0]), Err(Error::Shape { .. })));
    assert!(matches!(Prompt::from_tokens(&model, &[vec![1], vec![]], 0), Err(Error::Config { .. })));
    assert!(matches!(Prompt::from_tokens(&model, &[vec![VOCABULARY as u32]], 0), Err(Error::Config { .. })));
}
