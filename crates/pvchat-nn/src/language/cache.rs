//! Keys and values of the tokens that a model has already read.

use burn::{prelude::*, tensor::s};

use super::{TokenKind, packed::Sequence};

/// Keys and values of every layer, preallocated to a maximal length.
///
/// A clone shares its memory with the original until one of the two is written to, so a cache
/// filled with a clip's visual prefix is cloned once per question. When more tokens arrive than
/// were planned for, the cache grows.
#[derive(Clone, Debug)]
pub struct KeyValueCache {
    layers: Vec<Option<[Tensor<4>; 2]>>,
    /// In place of the layers, where a model with packed weights has read: what it has, for each sequence.
    sequences: Vec<Sequence>,
    /// What the tokens are to routed heads, one row or one for each sequence; empty where nobody said.
    kinds: Vec<Vec<TokenKind>>,
    length: usize,
    capacity: usize,
}

impl KeyValueCache {
    /// An empty cache for `layers` layers and, without growing, `capacity` tokens. Memory is taken
    /// when the first tokens arrive.
    pub fn new(layers: usize, capacity: usize) -> Self {
        Self { layers: vec![None; layers], sequences: Vec::new(), kinds: Vec::new(), length: 0, capacity: capacity.max(1) }
    }

    /// Number of tokens held.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Number of tokens that fit without growing.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Plans for at least `capacity` tokens; memory is taken when the next tokens arrive.
    pub fn reserve(&mut self, capacity: usize) {
        self.capacity = self.capacity.max(capacity);
    }

    /// Number of sequences held, 0 before the first token.
    pub fn batch(&self) -> usize {
        self.layers.iter().flatten().next().map_or(self.sequences.len(), |[keys, _]| keys.dims()[0])
    }

    /// Forgets all tokens after the first `length`.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// The cache of the given rows, in that order; a row may repeat. Used to give one prefix to
    /// several questions and to follow the surviving beams. Rows that do not exist are left out.
    pub fn select(&self, rows: &[usize]) -> Self {
        let batch = self.batch();
        let rows: Vec<i32> = rows.iter().filter(|&&row| row < batch).map(|&row| row as i32).collect();
        let select = |x: &Tensor<4>| {
            let index = Tensor::<1, Int>::from_data(TensorData::new(rows.clone(), [rows.len()]), &x.device());
            x.clone().select(0, index)
        };
        let layers = self.layers.iter().map(|layer| layer.as_ref().map(|[k, v]| [select(k), select(v)])).collect();
        let kinds = match self.kinds.len() {
            0 | 1 => self.kinds.clone(),
            _ => rows.iter().filter_map(|&row| self.kinds.get(row as usize).cloned()).collect(),
        };
        let sequences = rows.iter().filter_map(|&row| self.sequences.get(row as usize).cloned()).collect();
        Self { layers, sequences, kinds, length: self.length, capacity: self.capacity }
    }

    /// Adds the keys and values `[batch, kv_heads, tokens, head_dim]` of new tokens to a layer and
    /// returns all of that layer. The tokens count only after [`advance`](Self::advance).
    pub fn append(&mut self, layer: usize, keys: Tensor<4>, values: Tensor<4>) -> [Tensor<4>; 2] {
        let end = self.length + keys.dims()[2];
        self.capacity = if end > self.capacity { end.max(self.capacity * 2) } else { self.capacity };
        if layer >= self.layers.len() {
            self.layers.resize(layer + 1, None);
        }
        let held = self.layers[layer].take(); // taken, so that the write below is in place
        let [held_keys, held_values] = match held {
            Some([k, v]) => [Some(k), Some(v)],
            None => [None, None],
        };
        let keys = self.write(held_keys, keys, end);
        let values = self.write(held_values, values, end);
        let all = [keys.clone().slice(s![.., .., 0..end]), values.clone().slice(s![.., .., 0..end])];
        self.layers[layer] = Some([keys, values]);
        all
    }

    /// For a model with packed weights that reads `tokens` more: the tokens held so far, those that are planned for, and what there is
    /// of each of `batch` sequences.
    pub(super) fn sequences(&mut self, batch: usize, layers: usize, tokens: usize) -> (usize, usize, &mut [Sequence]) {
        let empty = || Sequence::new(vec![[Vec::new(), Vec::new()]; layers]);
        self.sequences.resize_with(batch, empty);
        let end = self.length + tokens;
        self.capacity = if end > self.capacity { end.max(self.capacity * 2) } else { self.capacity };
        (self.length, self.capacity, &mut self.sequences)
    }

    fn write(&self, held: Option<Tensor<4>>, new: Tensor<4>, end: usize) -> Tensor<4> {
        let [batch, heads, _, width] = new.dims();
        let fresh = |length| Tensor::zeros([batch, heads, length, width], (&new.device(), new.dtype()));
        let held = match held {
            Some(held) if held.dims()[2] < self.capacity => {
                let grown = self.capacity - held.dims()[2];
                Tensor::cat(vec![held, fresh(grown)], 2)
            }
            Some(held) => held,
            None => fresh(self.capacity),
        };
        held.slice_assign(s![.., .., self.length..end], new)
    }

    /// The kinds of the tokens held and of `tokens` new ones, which are text unless `new` (one row or one for each sequence)
    /// says otherwise; `None` when nobody ever said.
    pub(super) fn kinds_with(&mut self, new: Option<&[Vec<TokenKind>]>, tokens: usize) -> Option<&[Vec<TokenKind>]> {
        let new = new.unwrap_or(&[]);
        let count = self.kinds.len().max(new.len());
        let end = self.length + tokens;
        let row = |row: usize| {
            let of = |rows: &[Vec<TokenKind>]| rows.get(row).or(rows.first()).cloned().unwrap_or_default();
            let mut kinds = of(&self.kinds);
            kinds.resize(self.length, TokenKind::Text);
            kinds.extend(of(new));
            kinds.resize(end, TokenKind::Text);
            kinds
        };
        self.kinds = (0..count).map(row).collect();
        (count > 0).then_some(&self.kinds)
    }

    /// Counts `tokens` new tokens, once all layers have appended theirs.
    pub fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }
}
