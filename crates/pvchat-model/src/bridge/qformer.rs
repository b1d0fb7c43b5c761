//! The bridge of PVChat: a Q-Former with Mixture-of-Heads attention, whose queries read the clip, and a projector.

use burn::{module::Param, nn::Linear, prelude::*};
use pvchat_data::random::SeededStream;
use pvchat_nn::{init, trace::Trace};

use super::{Asked, Visual, wrong_sight};
use crate::{
    Error, Result,
    personal::{PersonalBridge, PersonalConfig, PersonalTensors},
    qformer::{QFormer, QFormerConfig},
    sight::{Readout, Sight},
};

/// The largest number of query tokens of one kind, and of tiles, that is believed.
const MOST_QUERIES: usize = 1 << 16;

/// Sizes of a [`QFormerBridge`].
#[derive(Clone, Debug, PartialEq)]
pub struct QFormerBridgeConfig {
    /// Images per frame; the Q-Former reads the tokens of each separately, and its outputs follow each other in the prompt.
    pub tiles: usize,
    /// General query tokens.
    pub query_tokens: usize,
    /// Further general query tokens (zero at the start); 0 leaves them out.
    pub extra_query_tokens: usize,
    /// Personal query tokens per subject.
    pub personal_query_tokens: usize,
    /// Standard deviation of the initial general and personal query tokens.
    pub query_deviation: f32,
    /// The amortised personal part, for encoders that distinguish people; without it a subject's
    /// tokens and rows are used as they are, as published.
    pub personal: Option<PersonalConfig>,
    /// The Q-Former.
    pub qformer: QFormerConfig,
}

impl QFormerBridgeConfig {
    /// The published one: 96 general and 16 personal queries on each of three tiles, a Q-Former of BERT's
    /// shape; a subject's tokens and rows are used as they are.
    pub fn full() -> Self {
        Self {
            tiles: 3,
            query_tokens: 32,
            extra_query_tokens: 64,
            personal_query_tokens: 16,
            query_deviation: 0.02,
            personal: None,
            qformer: QFormerConfig::full(),
        }
    }

    /// Checks every part by itself.
    ///
    /// # Errors
    /// [`Error::Config`] with the value at fault.
    pub fn validate(&self) -> Result<()> {
        self.qformer.validate()?;
        for (key, value, least) in [
            ("tiles", self.tiles, 1),
            ("query_tokens", self.query_tokens, 1),
            ("extra_query_tokens", self.extra_query_tokens, 0),
            ("personal_query_tokens", self.personal_query_tokens, 1),
        ] {
            if !(least..=MOST_QUERIES).contains(&value) {
                let remedy = format!("it must lie in {least}..={MOST_QUERIES}");
                return Err(Error::Config { key, value: value.to_string(), remedy });
            }
        }
        Ok(())
    }

    /// Draws a new bridge to a language model of width `hidden`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, hidden: usize, stream: &SeededStream, device: &Device) -> Result<QFormerBridge> {
        self.validate()?;
        let width = self.qformer.hidden;
        let queries = |label: &str, count: usize, deviation: f32| {
            init::normal_param(&mut stream.derive(label), [1, count, width], deviation, device)
        };
        let memory_positions = self.personal.as_ref().map(|personal| {
            let shape = [personal.memory_tokens, self.qformer.encoder_width];
            init::normal_param(&mut stream.derive("memory_positions"), shape, 0.1, device)
        });
        Ok(QFormerBridge {
            query_tokens: queries("query_tokens", self.query_tokens, self.query_deviation),
            extra_query_tokens: (self.extra_query_tokens > 0)
                .then(|| queries("extra_query_tokens", self.extra_query_tokens, 0.0)),
            personal_query_tokens: queries("personal_query_tokens", self.personal_query_tokens, self.query_deviation),
            memory_positions,
            personal: self.personal.as_ref().map(|personal| {
                PersonalBridge::init(personal, self.personal_query_tokens, [width, hidden], &stream.derive("personal"), device)
            }),
            qformer: self.qformer.init(&stream.derive("qformer"), device)?,
            project_up: init::linear(&mut stream.derive("project_up"), width, hidden, true, (width as f32).powf(-0.5), device),
            tiles: self.tiles,
        })
    }
}

/// The Q-Former, the projector and the personal part.
#[derive(Module, Debug)]
pub struct QFormerBridge {
    /// `[1, queries, width]`.
    pub query_tokens: Param<Tensor<3>>,
    /// `[1, queries, width]`.
    pub extra_query_tokens: Option<Param<Tensor<3>>>,
    /// `[1, tokens, width]`, where every subject starts from.
    pub personal_query_tokens: Param<Tensor<3>>,
    memory_positions: Option<Param<Tensor<2>>>,
    /// The amortised personal part.
    pub personal: Option<PersonalBridge>,
    /// The Q-Former.
    pub qformer: QFormer,
    /// From the Q-Former's width to the language model's.
    pub project_up: Linear,
    tiles: usize,
}

impl QFormerBridge {
    pub(super) fn enrol(&self, readout: Tensor<3>, identity: Tensor<3>) -> Option<PersonalTensors> {
        self.personal.as_ref().map(|personal| personal.enrol(self.personal_query_tokens.val(), readout, identity))
    }

    pub(super) fn rows(&self, (subjects, slots): Asked<'_>) -> [Tensor<3>; 2] {
        match &self.personal {
            Some(personal) => personal.rows(subjects, slots),
            None => [subjects.word_row.clone(), subjects.head_row.clone()],
        }
    }

    pub(super) fn visual(&self, sight: &Sight, subjects: Option<Asked<'_>>, trace: &mut Trace<'_>) -> Result<Visual> {
        let [batch, count, width] = sight.tokens.dims();
        let tiles = self.tiles;
        if !count.is_multiple_of(tiles) {
            return Err(wrong_sight([batch, count, width], format!("[batch, a multiple of {tiles} tiles, width]")));
        }
        let general = |tokens: &Param<Tensor<3>>| {
            let [_, count, width] = tokens.dims();
            tokens.val().expand([batch, count, width])
        };
        let mut queries = vec![general(&self.query_tokens)];
        queries.extend(self.extra_query_tokens.as_ref().map(general));
        let shared: usize = queries.iter().map(|part| part.dims()[1]).sum();
        if let Some((subjects, slots)) = &subjects {
            queries.push(match &self.personal {
                Some(personal) => {
                    let identity = sight.identity.clone();
                    let readouts = sight.tokens.clone().narrow(1, count - Readout::COUNT, identity.dims()[1]);
                    personal.queries(subjects, identity, readouts, slots.clone())
                }
                None => subjects.tokens.clone().flatten::<3>(1, 2),
            });
        }
        let (mut queries, mut tokens) = (Tensor::cat(queries, 1), self.placed(sight)?);
        if tiles > 1 {
            // Every tile is read by itself, with the same queries.
            let [_, asked, query_width] = queries.dims();
            let shape = [batch, tiles, asked, query_width];
            queries = queries.unsqueeze_dim::<4>(1).expand(shape).reshape([batch * tiles, asked, query_width]);
            tokens = tokens.reshape([batch * tiles, count / tiles, width]);
        }
        let output = self.qformer.forward_traced(queries, tokens, None, trace)?;
        let personal_states = subjects.map(|(personal, _)| {
            let [_, subjects, tokens, width] = personal.tokens.dims();
            output.query_states.clone().narrow(1, shared, subjects * tokens).reshape([batch * tiles, subjects, tokens, width])
        });
        let mut embeddings = self.project_up.forward(output.query_states);
        trace.show(format_args!("project_up"), &embeddings);
        if tiles > 1 {
            let [_, queries, hidden] = embeddings.dims();
            embeddings = embeddings.reshape([batch, tiles * queries, hidden]);
        }
        Ok(Visual { embeddings, pictures: tiles, gates: output.gates, personal_states })
    }

    /// The memory with its positions, and with the identity of the people added to their read-outs:
    /// the first of those at the end of the memory say who they are, the next what they wear and do.
    /// A subject's queries, which hold its identity too, so find both in one step.
    fn placed(&self, sight: &Sight) -> Result<Tensor<3>> {
        let (Some(positions), Some(personal)) = (&self.memory_positions, &self.personal) else {
            return Ok(sight.tokens.clone());
        };
        let [batch, count, width] = sight.tokens.dims();
        let expected = positions.dims();
        if [count, width] != expected {
            return Err(wrong_sight([batch, count, width], format!("[batch, {}, {}]", expected[0], expected[1])));
        }
        let identity = personal.project_identity(sight.identity.clone());
        let people = identity.dims()[1];
        let first = count - Readout::COUNT;
        let tokens = sight.tokens.clone() + positions.val().unsqueeze_dim::<3>(0);
        let seen = tokens.clone().narrow(1, first, 2 * people) + identity.repeat_dim(1, 2);
        let rest = first + 2 * people;
        Ok(Tensor::cat(vec![tokens.clone().narrow(1, 0, first), seen, tokens.narrow(1, rest, count - rest)], 1))
    }
}
