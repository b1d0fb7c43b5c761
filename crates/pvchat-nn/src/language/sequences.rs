//! Running sequences: what they have read, and the logits of their next position.

use burn::{prelude::*, tensor::s};

use super::{Decoder, KeyValueCache, Prompt};

/// The state of running sequences: their cache and where they are.
pub(super) struct Sequences<'a> {
    model: &'a Decoder,
    cache: KeyValueCache,
    prefix: usize,
    padding: Vec<usize>,
    subjects: Option<[Tensor<3>; 2]>,
    device: Device,
}

impl<'a> Sequences<'a> {
    /// Reads the prompt; returns the logits of each row's last position.
    pub(super) fn start(model: &'a Decoder, prompt: Prompt, new_tokens: usize) -> (Self, Vec<Vec<f32>>) {
        let [batch, tokens, _] = prompt.embeddings.dims();
        let prefix = prompt.prefix.as_ref().map_or(0, KeyValueCache::len);
        let mut cache = match prompt.prefix {
            Some(held) if held.batch() == 1 && batch > 1 => held.select(&vec![0; batch]),
            Some(held) => held,
            None => model.cache(tokens + new_tokens),
        };
        cache.reserve(prefix + tokens + new_tokens);
        let device = model.device().inner();
        let mut sequences = Self { model, cache, prefix, padding: prompt.padding, subjects: prompt.subjects, device };
        let logits = sequences.read(prompt.embeddings);
        (sequences, logits)
    }

    /// Reads one token per row; returns the logits of the next position.
    pub(super) fn step(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let ids: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [tokens.len(), 1]), &self.device);
        let words = self.subjects.as_ref().map(|[words, _]| words.clone());
        self.read(self.model.embed_with(ids, words))
    }

    /// Continues with the given rows instead, in that order.
    pub(super) fn select(&mut self, rows: &[usize]) {
        self.cache = self.cache.select(rows);
        self.padding = rows.iter().map(|&row| self.padding[row]).collect();
    }

    fn read(&mut self, embeddings: Tensor<3>) -> Vec<Vec<f32>> {
        let [batch, tokens, _] = embeddings.dims();
        let start = self.cache.len();
        let keys = start + tokens;
        // Positions count attended tokens; those of padding are never looked at.
        let position = |place: usize, pad: usize| (start + place).saturating_sub(pad).max(self.prefix.min(start)) as i32;
        let positions: Vec<i32> =
            self.padding.iter().flat_map(|&pad| (0..tokens).map(move |place| position(place, pad))).collect();
        let positions = Tensor::from_data(TensorData::new(positions, [batch, tokens]), &self.device);
        let mask = self.padding.iter().any(|&pad| pad > 0).then(|| {
            let padded = |key: usize, pad: usize| (self.prefix..self.prefix + pad).contains(&key);
            let row =
                |pad: usize| (0..tokens).flat_map(move |place| (0..keys).map(move |key| key > start + place || padded(key, pad)));
            let hidden: Vec<bool> = self.padding.iter().flat_map(|&pad| row(pad)).collect();
            Tensor::from_data(TensorData::new(hidden, [batch, tokens, keys]), &self.device)
        });
        let hidden = self.model.forward(embeddings, positions, mask, Some(&mut self.cache));
        // Only the last position is ever read, and the head is the widest layer.
        let last = hidden.slice(s![.., tokens - 1..tokens]);
        let logits = self.model.logits(last, self.subjects.as_ref().map(|[_, head]| head.clone()));
        let width = logits.dims()[2];
        let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
        values.chunks_exact(width).map(<[f32]>::to_vec).collect()
    }
}
