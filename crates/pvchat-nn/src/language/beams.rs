//! Beam search, by the rules of the transformers library (4.48).

use pvchat_data::random::SeededStream;

use super::{
    Decoder, Filters, FinishReason, Generated, GenerationOptions, Prompt,
    generate::forbid_early_end,
    sampling::{draw_several, log_softmax, penalise},
    sequences::Sequences,
};

/// A beam that does not exist yet: only the first one starts, or all would be the same.
const ABSENT: f32 = -1e9;

/// A running answer.
#[derive(Clone)]
struct Beam {
    tokens: Vec<u32>,
    probabilities: Vec<f32>,
    sum: f32,
}

/// One way to continue a beam.
struct Candidate {
    beam: usize,
    token: u32,
    sum: f32,
}

/// Finished answers, the best `limit` of them.
struct Finished {
    limit: usize,
    length_penalty: f32,
    answers: Vec<(f32, Beam, FinishReason)>,
}

impl Finished {
    /// `length` counts the end token.
    fn score(&self, sum: f32, length: usize) -> f32 {
        sum / (length as f32).powf(self.length_penalty)
    }

    fn add(&mut self, beam: Beam, sum: f32, length: usize, finish: FinishReason) {
        let score = self.score(sum, length);
        // After equal scores, so that the earlier answer wins.
        let place = self.answers.iter().position(|(other, _, _)| score > *other).unwrap_or(self.answers.len());
        self.answers.insert(place, (score, beam, finish));
        self.answers.truncate(self.limit);
    }

    /// Whether no running beam can still get in, judged by the best running sum.
    fn is_complete(&self, best: f32, length: usize) -> bool {
        self.answers.len() >= self.limit && self.answers.last().is_some_and(|(worst, ..)| *worst >= self.score(best, length))
    }
}

/// Searches the answer to a prompt of one row without padding.
pub(super) fn search(
    model: &Decoder,
    prompt: Prompt,
    options: &GenerationOptions,
    beams: usize,
    length_penalty: f32,
    mut sampling: Option<(Filters, SeededStream)>,
) -> Generated {
    let seen = prompt.seen.first().cloned().unwrap_or_default();
    let mut running = vec![Beam { tokens: vec![], probabilities: vec![], sum: ABSENT }; beams];
    running[0].sum = 0.0;
    let mut finished = Finished { limit: beams, length_penalty, answers: vec![] };
    let mut complete = options.max_new_tokens == 0;
    if !complete {
        let (mut sequences, logits) = Sequences::start(model, prompt, options.max_new_tokens);
        sequences.select(&vec![0; beams]);
        let mut logits = vec![logits.into_iter().next().unwrap_or_default(); beams];
        for step in 0..options.max_new_tokens {
            let raw: Vec<Vec<f32>> = logits.iter().map(|row| log_softmax(row)).collect();
            let scores: Vec<Vec<f32>> = running
                .iter()
                .zip(&raw)
                .map(|(beam, log_probabilities)| {
                    let mut scores = log_probabilities.clone();
                    let mut seen = seen.clone();
                    seen.extend(&beam.tokens);
                    penalise(&mut scores, &seen, options.repetition_penalty);
                    forbid_early_end(&mut scores, step, options);
                    if let Some((filters, _)) = &sampling {
                        filters.apply(&mut scores, 2); // an end token must leave something to continue with
                    }
                    scores.iter_mut().for_each(|score| *score += beam.sum);
                    scores
                })
                .collect();
            let candidates = candidates(&scores, 2 * beams, sampling.as_mut().map(|(_, stream)| stream));
            let mut next = Vec::with_capacity(beams);
            for (rank, candidate) in candidates.iter().enumerate() {
                let source = &running[candidate.beam];
                if options.ends(candidate.token) {
                    if rank < beams {
                        finished.add(source.clone(), candidate.sum, step + 1, FinishReason::EndToken);
                    }
                    continue;
                }
                let mut beam = source.clone();
                beam.tokens.push(candidate.token);
                beam.probabilities.push(raw[candidate.beam][candidate.token as usize].exp());
                beam.sum = candidate.sum;
                next.push((candidate.beam, beam));
                if next.len() == beams {
                    break;
                }
            }
            let best = candidates.first().map_or(f32::NEG_INFINITY, |candidate| candidate.sum);
            complete = finished.is_complete(best, step + 1) || next.is_empty();
            while next.len() < beams && !next.is_empty() {
                // Filters left fewer continuations than there are beams.
                let (source, mut beam) = next[0].clone();
                beam.sum = ABSENT;
                next.push((source, beam));
            }
            if complete {
                break;
            }
            let sources: Vec<usize> = next.iter().map(|(source, _)| *source).collect();
            running = next.into_iter().map(|(_, beam)| beam).collect();
            if step + 1 < options.max_new_tokens {
                sequences.select(&sources);
                let tokens: Vec<u32> = running.iter().filter_map(|beam| beam.tokens.last().copied()).collect();
                logits = sequences.step(&tokens);
            }
        }
    }
    if !complete {
        for beam in running {
            let (sum, length) = (beam.sum, beam.tokens.len());
            finished.add(beam, sum, length, FinishReason::Length);
        }
    }
    match finished.answers.into_iter().next() {
        Some((score, beam, finish)) => {
            Generated { tokens: beam.tokens, probabilities: beam.probabilities, finish, score: Some(score) }
        }
        None => Generated { tokens: vec![], probabilities: vec![], finish: FinishReason::Length, score: None },
    }
}

/// The best (or drawn) `count` continuations of all beams, best first.
fn candidates(scores: &[Vec<f32>], count: usize, stream: Option<&mut SeededStream>) -> Vec<Candidate> {
    let width = scores.first().map_or(0, Vec::len);
    let flat: Vec<f32> = scores.concat();
    let better = |a: &usize, b: &usize| flat[*b].total_cmp(&flat[*a]).then(a.cmp(b));
    let mut chosen = match stream {
        Some(stream) => draw_several(&flat, count, stream),
        None => {
            let mut order: Vec<usize> = (0..flat.len()).collect();
            if count < order.len() {
                order.select_nth_unstable_by(count, better);
                order.truncate(count);
            }
            order
        }
    };
    chosen.sort_by(better);
    let candidate = |index: usize| Candidate { beam: index / width, token: (index % width) as u32, sum: flat[index] };
    chosen.into_iter().map(candidate).collect()
}
