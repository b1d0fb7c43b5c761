//! Rows of the word table and of the head that belong to one subject, as ids behind the vocabulary.

use burn::{module::Param, prelude::*, tensor::DType};
use pvchat_data::random::SeededStream;

use super::Decoder;
use crate::{Error, Result};

/// The rows of one subject's tokens: its name and its detail tokens. Table and head stay as they are.
#[derive(Module, Debug)]
pub struct PersonalRows {
    /// Rows of the word table, `[tokens, hidden]`, in f32.
    pub input: Param<Tensor<2>>,
    /// Rows of the head, `[tokens, hidden]`, in f32.
    pub output: Param<Tensor<2>>,
}

impl PersonalRows {
    /// The tokens of the follow-up: one for the name, 16 for details.
    pub const FOLLOW_UP: usize = 17;

    /// `tokens` rows that all start as the mean of the rows of the name's sub-words.
    ///
    /// With equal rows only positions distinguish the detail tokens; [`with_noise`](Self::with_noise) makes them differ.
    ///
    /// # Errors
    /// [`Error::Config`] without a token or sub-word, and for a sub-word beyond the vocabulary.
    pub fn from_sub_words(model: &Decoder, sub_words: &[u32], tokens: usize) -> Result<Self> {
        let wrong = |key, value, remedy: String| Err(Error::Config { key, value, remedy });
        if tokens == 0 {
            return wrong("personal tokens", "0".into(), "use at least 1".into());
        }
        let vocabulary = model.config.vocabulary;
        if sub_words.is_empty() || sub_words.iter().any(|&id| id as usize >= vocabulary) {
            let remedy = format!("give at least one id, all below {vocabulary}, the size of the vocabulary");
            return wrong("sub_words", format!("{sub_words:?}"), remedy);
        }
        let device = model.device();
        let ids: Vec<i32> = sub_words.iter().map(|&id| id as i32).collect();
        let ids = Tensor::<1, Int>::from_ints(ids.as_slice(), &device.clone().inner());
        let table = model.embed_tokens.weight.val().inner().select(0, ids.clone());
        let head = model.lm_head.base.weight.val().inner().select(1, ids).transpose();
        let rows = |rows: Tensor<2>| {
            let rows = rows.cast(DType::F32).mean_dim(0).repeat_dim(0, tokens);
            Param::from_tensor(Tensor::from_data(rows.into_data(), &device))
        };
        Ok(Self { input: rows(table), output: rows(head) })
    }

    /// The same rows with normal noise, `share` times as large as the root mean square of all of them.
    pub fn with_noise(self, stream: &mut SeededStream, share: f32) -> Self {
        let mut noisy = |parameter: Param<Tensor<2>>| {
            let data = parameter.val().into_data();
            let (shape, mut values) = (parameter.dims(), data.iter::<f32>().collect::<Vec<f32>>());
            let size = (values.iter().map(|value| value * value).sum::<f32>() / values.len().max(1) as f32).sqrt();
            values.iter_mut().for_each(|value| *value += stream.normal() * size * share);
            let device = parameter.lazy_device();
            Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &device))
        };
        Self { input: noisy(self.input), output: noisy(self.output) }
    }

    /// What [`Decoder::embed_with`] and [`Decoder::logits`] take, both `[1, tokens, hidden]`.
    pub fn extra_rows(&self) -> [Tensor<3>; 2] {
        [self.input.val().unsqueeze_dim(0), self.output.val().unsqueeze_dim(0)]
    }
}
