//! Many short texts behind one shared prefix, in one forward pass.
//!
//! All questions about a clip share its visual tokens. Packed, the prefix is computed once: the
//! row is `prefix, text 1, text 2, ..`, every text sees the prefix and itself, and its positions
//! start right after the prefix, so that the numbers are those of separate passes.

use burn::prelude::*;

use crate::{Error, Result};

/// Lengths of the rows of a packed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    rows: Vec<(usize, Vec<usize>)>,
    tokens: usize,
}

impl Packing {
    /// One `(prefix length, lengths of the texts)` per row. Rows are padded to the longest one.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when there is no row or no token.
    pub fn new(rows: Vec<(usize, Vec<usize>)>) -> Result<Self> {
        let tokens = rows.iter().map(|(prefix, texts)| prefix + texts.iter().sum::<usize>()).max().unwrap_or(0);
        if tokens == 0 {
            let remedy = "pack at least one row with at least one token".into();
            return Err(Error::Config { key: "packing", value: format!("{} rows", rows.len()), remedy });
        }
        Ok(Self { rows, tokens })
    }

    /// `rows` rows of `texts` texts of `length` tokens behind a prefix of `prefix` tokens: the layout
    /// that is computed fastest. Shorter texts are filled up at their end with any token; nothing
    /// before the filling sees it, so it only must not be labelled.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when there is no row or no token.
    pub fn uniform(rows: usize, prefix: usize, texts: usize, length: usize) -> Result<Self> {
        Self::new(vec![(prefix, vec![length; texts]); rows])
    }

    /// `[prefix, texts, length]` when all rows have the same layout and all texts the same length,
    /// with at least one token in each part.
    pub fn uniform_layout(&self) -> Option<[usize; 3]> {
        let (prefix, texts) = self.rows.first()?;
        let length = *texts.first()?;
        let same = self.rows.iter().all(|row| row.0 == *prefix && row.1 == *texts) && texts.iter().all(|n| *n == length);
        (same && *prefix > 0 && length > 0).then_some([*prefix, texts.len(), length])
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Tokens per row, padding included.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Where a text starts in its row.
    pub fn start(&self, row: usize, text: usize) -> Option<usize> {
        let (prefix, texts) = self.rows.get(row)?;
        (text < texts.len()).then(|| prefix + texts[..text].iter().sum::<usize>())
    }

    /// Rotary positions `[rows, tokens]`; 0 for padding.
    pub fn positions(&self, device: &Device) -> Tensor<2, Int> {
        let mut positions = Vec::with_capacity(self.rows.len() * self.tokens);
        for (prefix, texts) in &self.rows {
            let start = positions.len();
            positions.extend(0..*prefix as i32);
            for &length in texts {
                positions.extend((0..length).map(|place| (prefix + place) as i32));
            }
            positions.resize(start + self.tokens, 0);
        }
        Tensor::from_data(TensorData::new(positions, [self.rows.len(), self.tokens]), device)
    }

    /// The mask `[rows, tokens, tokens]`, true = hidden: causal within the prefix and within each
    /// text, each text sees the whole prefix, no text sees another, nothing sees padding.
    pub fn mask(&self, device: &Device) -> Tensor<3, Bool> {
        let tokens = self.tokens;
        let mut hidden = vec![true; self.rows.len() * tokens * tokens];
        for ((prefix, texts), row) in self.rows.iter().zip(hidden.chunks_exact_mut(tokens * tokens)) {
            let mut show = |query: usize, keys: std::ops::RangeInclusive<usize>| {
                row[query * tokens..][keys].fill(false);
            };
            for query in 0..*prefix {
                show(query, 0..=query);
            }
            let mut start = *prefix;
            for &length in texts {
                for query in start..start + length {
                    if *prefix > 0 {
                        show(query, 0..=prefix - 1);
                    }
                    show(query, start..=query);
                }
                start += length;
            }
        }
        Tensor::from_data(TensorData::new(hidden, [self.rows.len(), tokens, tokens]), device)
    }
}
