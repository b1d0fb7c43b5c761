//! BERTScore (Zhang et al., 2020): how well the words of an answer are found again in the reference answer, by the cosine of
//! their embeddings in a language model.
//!
//! A score says nothing without the encoder and the layer that it was made with; [`CorpusScore::encoder`] carries both. No idf
//! weights and no rescaling, the defaults of the usual package.

mod encoder;

use serde::{Deserialize, Serialize};

use crate::Result;
pub use encoder::RobertaEmbedder;

/// The embeddings of a text's tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenEmbeddings {
    /// `[token][width]`, of any length.
    pub vectors: Vec<Vec<f32>>,
    /// How much each token counts; those that begin and end a text do not, but others may be matched with them.
    pub weights: Vec<f32>,
}

/// What embeds the tokens of texts.
pub trait Embedder {
    /// Its name, with everything that the scores depend on.
    fn name(&self) -> String;

    /// Embeds a text.
    ///
    /// # Errors
    /// What the encoder reports.
    fn embed(&self, text: &str) -> Result<TokenEmbeddings>;
}

/// A BERTScore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BertScore {
    /// Mean over the answer's tokens of the greatest cosine with a token of the reference.
    pub precision: f64,
    /// The same with the sides exchanged.
    pub recall: f64,
    /// Their harmonic mean, which the paper reports.
    pub f1: f64,
}

/// The scores of several answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorpusScore {
    /// The encoder, as it calls itself.
    pub encoder: String,
    /// Mean of the scores; zero without any.
    pub mean: BertScore,
    /// The score of every pair.
    pub scores: Vec<BertScore>,
}

/// Scores pairs (prediction, reference); each text is embedded by itself.
///
/// # Errors
/// What the encoder reports.
pub fn corpus_score<'a>(embedder: &dyn Embedder, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<CorpusScore> {
    let scores = pairs
        .into_iter()
        .map(|(prediction, reference)| Ok(score(&embedder.embed(prediction)?, &embedder.embed(reference)?)))
        .collect::<Result<Vec<BertScore>>>()?;
    let mean = |part: fn(&BertScore) -> f64| scores.iter().map(part).sum::<f64>() / scores.len().max(1) as f64;
    let mean =
        BertScore { precision: mean(|score| score.precision), recall: mean(|score| score.recall), f1: mean(|score| score.f1) };
    Ok(CorpusScore { encoder: embedder.name(), mean, scores })
}

/// The greedy matching of two texts' tokens. A text whose tokens count for nothing scores 0 on both sides.
pub fn score(prediction: &TokenEmbeddings, reference: &TokenEmbeddings) -> BertScore {
    let counts = |text: &TokenEmbeddings| text.weights.iter().any(|weight| *weight > 0.0);
    if !counts(prediction) || !counts(reference) {
        return BertScore::default();
    }
    let (prediction_units, reference_units) = (units(prediction), units(reference));
    let found = |from: &[Vec<f64>], weights: &[f32], among: &[Vec<f64>]| {
        let best = |one: &Vec<f64>| among.iter().map(|other| dot(one, other)).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = from.iter().zip(weights).map(|(one, weight)| best(one) * f64::from(*weight)).sum();
        sum / weights.iter().map(|weight| f64::from(*weight)).sum::<f64>()
    };
    let precision = found(&prediction_units, &prediction.weights, &reference_units);
    let recall = found(&reference_units, &reference.weights, &prediction_units);
    let f1 = 2.0 * precision * recall / (precision + recall);
    BertScore { precision, recall, f1: if f1.is_nan() { 0.0 } else { f1 } }
}

/// The vectors with unit length.
fn units(text: &TokenEmbeddings) -> Vec<Vec<f64>> {
    let unit = |vector: &Vec<f32>| {
        let values: Vec<f64> = vector.iter().map(|value| f64::from(*value)).collect();
        let length = dot(&values, &values).sqrt().max(1e-12);
        values.into_iter().map(|value| value / length).collect()
    };
    text.vectors.iter().map(unit).collect()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every word has its own direction; "a" and "an" are near each other.
    struct Words;

    impl Embedder for Words {
        fn name(&self) -> String {
            "words".into()
        }

        fn embed(&self, text: &str) -> Result<TokenEmbeddings> {
            let vector = |word: &str| match word {
                "a" => vec![1.0, 0.0, 0.0],
                "an" => vec![3.0, 4.0, 0.0],
                _ => vec![0.0, 0.0, 2.0],
            };
            let vectors: Vec<Vec<f32>> = text.split_whitespace().map(vector).collect();
            Ok(TokenEmbeddings { weights: vec![1.0; vectors.len()], vectors })
        }
    }

    #[test]
    fn every_token_is_matched_with_its_nearest_one_whatever_the_length() {
        let result = corpus_score(&Words, [("a man", "an man"), ("a", "a a a"), ("a", "man"), ("", "a")]).unwrap();
        assert_eq!(result.encoder, "words");
        let [near, repeated, apart, nothing] = result.scores[..] else { panic!("{result:?}") };
        assert!((near.precision - 0.8).abs() < 1e-9 && (near.recall - 0.8).abs() < 1e-9 && (near.f1 - 0.8).abs() < 1e-9);
        assert!((repeated.f1 - 1.0).abs() < 1e-9);
        assert_eq!((apart, nothing), (BertScore::default(), BertScore::default()));
        assert!((result.mean.f1 - 0.45).abs() < 1e-9);
    }

    #[test]
    fn tokens_without_weight_are_matched_but_do_not_count() {
        let embed =
            |weights: [f32; 2]| TokenEmbeddings { vectors: vec![vec![1.0, 0.0], vec![0.0, 1.0]], weights: weights.to_vec() };
        let one = TokenEmbeddings { vectors: vec![vec![1.0, 0.0]], weights: vec![1.0] };
        let found = score(&one, &embed([0.0, 1.0]));
        assert_eq!((found.precision, found.recall), (1.0, 0.0));
    }
}
