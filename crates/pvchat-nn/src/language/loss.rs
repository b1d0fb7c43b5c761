//! Next-token cross entropy of the labelled positions.
//!
//! Only answers carry labels, a small share of all positions. Their hidden states are gathered
//! before the head, so the logits of the other positions are never computed.

use burn::{
    prelude::*,
    tensor::{DType, activation::log_softmax},
};

use super::Decoder;
use crate::{Error, Result};

/// A label that is ignored.
pub const IGNORED: i64 = -100;

/// The labelled positions of a batch: where each label is predicted, what it is, what it weighs.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    batch: Vec<i32>,
    rows: Vec<i32>,
    targets: Vec<i32>,
    weights: Option<Vec<f32>>,
    shape: [usize; 2],
}

impl Labels {
    /// From labels `[batch][tokens]`, [`IGNORED`] where there is none. The label at a place is
    /// predicted by the hidden state one place before it, so a row's first label does not count.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when rows differ in length; [`Error::Config`] when no label is left or one
    /// is negative and not [`IGNORED`].
    pub fn next_token(labels: &[Vec<i64>]) -> Result<Self> {
        let tokens = labels.first().map_or(0, Vec::len);
        let mut found = Self { batch: vec![], rows: vec![], targets: vec![], weights: None, shape: [labels.len(), tokens] };
        for (index, row) in labels.iter().enumerate() {
            if row.len() != tokens {
                let expected = format!("{tokens} labels, as many as in the first row");
                return Err(Error::Shape { what: "label row", found: vec![row.len()], expected });
            }
            for (place, &label) in row.iter().enumerate().skip(1).filter(|(_, label)| **label != IGNORED) {
                let target = i32::try_from(label).ok().filter(|target| *target >= 0).ok_or_else(|| Error::Config {
                    key: "label",
                    value: label.to_string(),
                    remedy: format!("use a token id or {IGNORED} for no label"),
                })?;
                found.batch.push(index as i32);
                found.rows.push((index * tokens + place - 1) as i32);
                found.targets.push(target);
            }
        }
        if found.targets.is_empty() {
            let remedy = format!("label at least one token after the first with something else than {IGNORED}");
            return Err(Error::Config { key: "labels", value: format!("{} rows without a label", labels.len()), remedy });
        }
        Ok(found)
    }

    /// Weights, one per label in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when their number differs, [`Error::Config`] when their sum is not positive.
    pub fn with_weights(mut self, weights: Vec<f32>) -> Result<Self> {
        if weights.len() != self.len() {
            let expected = format!("one weight for each of {} labels", self.len());
            return Err(Error::Shape { what: "label weights", found: vec![weights.len()], expected });
        }
        let sum: f32 = weights.iter().sum();
        if !(sum > 0.0 && sum.is_finite()) {
            let remedy = "use finite weights with a positive sum".into();
            return Err(Error::Config { key: "label weights", value: format!("a sum of {sum}"), remedy });
        }
        self.weights = Some(weights);
        Ok(self)
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Never true: labels without a label cannot be made.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The labels, in row-major order.
    pub fn targets(&self) -> &[i32] {
        &self.targets
    }

    /// Hidden states `[batch, tokens, hidden]` at the labelled positions, `[labels, hidden]`.
    pub fn gather(&self, hidden: Tensor<3>) -> Tensor<2> {
        let [batch, tokens, width] = hidden.dims();
        let rows = index(&self.rows, &hidden.device());
        hidden.reshape([batch * tokens, width]).select(0, rows)
    }
}

/// Cross entropy of every label in natural units, `[labels]`, unweighted, in f32.
///
/// `hidden` `[batch, tokens, hidden]` comes from [`Decoder::forward`]; `extra_rows`
/// `[batch or 1, subjects, hidden]` are the head's rows of the subjects.
///
/// # Errors
///
/// [`Error::Shape`] when `hidden` has another batch or length than the labels, and
/// [`Error::Config`] for a label beyond the vocabulary and the subjects.
pub fn label_losses(model: &Decoder, hidden: Tensor<3>, labels: &Labels, extra_rows: Option<Tensor<3>>) -> Result<Tensor<1>> {
    let [batch, tokens, width] = hidden.dims();
    if [batch, tokens] != labels.shape {
        let expected = format!("[{}, {}, hidden], as the labels", labels.shape[0], labels.shape[1]);
        return Err(Error::Shape { what: "hidden states", found: vec![batch, tokens, width], expected });
    }
    let known = model.config.vocabulary + extra_rows.as_ref().map_or(0, |rows| rows.dims()[1]);
    if let Some(label) = labels.targets.iter().find(|label| **label as usize >= known) {
        let remedy = format!("the head has {known} rows; hand in the subject's row or use an id below that");
        return Err(Error::Config { key: "label", value: label.to_string(), remedy });
    }
    let device = hidden.device();
    // Every label is its own batch row here, because labels of one batch row share its subjects.
    let extra_rows = extra_rows.map(|rows| match rows.dims()[0] {
        1 => rows,
        _ => rows.select(0, index(&labels.batch, &device)),
    });
    let count = labels.len();
    let logits = model.logits(labels.gather(hidden).unsqueeze_dim::<3>(1), extra_rows);
    let log_probabilities = log_softmax(logits.reshape([count, known]).cast(DType::F32), 1);
    let targets = index(&labels.targets, &device).reshape([count, 1]);
    Ok(log_probabilities.gather(1, targets).reshape([count]).neg())
}

/// The (weighted) mean of [`label_losses`], `[1]`.
///
/// # Errors
///
/// Those of [`label_losses`].
pub fn next_token_loss(model: &Decoder, hidden: Tensor<3>, labels: &Labels, extra_rows: Option<Tensor<3>>) -> Result<Tensor<1>> {
    let losses = label_losses(model, hidden, labels, extra_rows)?;
    Ok(match &labels.weights {
        None => losses.mean(),
        Some(weights) => {
            let sum: f32 = weights.iter().sum();
            let device = losses.device().inner();
            (losses * Tensor::<1>::from_floats(weights.as_slice(), &device)).sum() / sum
        }
    })
}

fn index(values: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &device.clone().inner())
}
