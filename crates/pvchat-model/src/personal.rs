//! Personal parameters: what makes the model see one particular person.
//!
//! A subject is a set of personal query tokens, the rows of its name in the word table and in the
//! head, and an identity embedding. [`PersonalBridge`] makes all of them from one look at the person
//! (amortised), and feeds them into the Q-Former's queries.

use burn::{module::Param, nn::Linear, prelude::*, tensor::activation::relu};
use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

use pvchat_nn::init;

/// Sizes of the personal part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonalConfig {
    /// Tokens per clip that the Q-Former reads.
    pub memory_tokens: usize,
    /// People that the encoder distinguishes in a clip.
    pub people: usize,
    /// Interchangeable name slots: how many subjects one question can be about.
    pub slots: usize,
    /// Width of the encoder's read-out of a person.
    pub readout_width: usize,
    /// Width of the identity embedding.
    pub identity_width: usize,
    /// Width of the hidden layers of the amortiser.
    pub hidden: usize,
}

/// Personal parameters of a batch of subject sets, `[batch, subjects, ..]`.
#[derive(Clone, Debug)]
pub struct PersonalTensors {
    /// Personal query tokens `[batch, subjects, tokens, width]`; none for a base without queries.
    pub tokens: Tensor<4>,
    /// Unit-length identity embeddings `[batch, subjects, identity_width]`.
    pub identity: Tensor<3>,
    /// What is added to the name slot's row of the word table, `[batch, subjects, hidden]`. Without query tokens: the rows of
    /// all tokens of each subject, `[batch, subjects * rows, hidden]`.
    pub word_row: Tensor<3>,
    /// The same for the head.
    pub head_row: Tensor<3>,
}

/// Scale of the identity embedding where it enters a sum of token embeddings.
const IDENTITY_SCALE: f32 = 4.0;
/// Centres of the bumps that a similarity is spread over.
const BUMPS: usize = 9;

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct PersonalBridge {
    identity_projection: Linear,
    amortiser_in: Linear,
    amortiser_out: Linear,
    row: Linear,
    match_in: Linear,
    match_out: Linear,
    slot_tokens: Param<Tensor<2>>,
    slot_words: Param<Tensor<2>>,
    slot_heads: Param<Tensor<2>>,
    tokens: usize,
    people: usize,
}

impl PersonalBridge {
    /// A new bridge that makes `tokens` query tokens; `widths` are those of the Q-Former and of the
    /// language model.
    pub fn init(config: &PersonalConfig, tokens: usize, widths: [usize; 2], stream: &SeededStream, device: &Device) -> Self {
        let [width, hidden] = widths;
        let linear = |label: &str, inputs: usize, outputs: usize, bias: bool, gain: f32| {
            init::linear(&mut stream.derive(label), inputs, outputs, bias, gain * (inputs as f32).powf(-0.5), device)
        };
        let slots = |label: &str, width: usize, deviation: f32| {
            init::normal_param(&mut stream.derive(label), [config.slots, width], deviation, device)
        };
        let seen = config.readout_width + config.identity_width;
        Self {
            identity_projection: linear("identity_projection", config.identity_width, width, false, 1.0),
            amortiser_in: linear("amortiser_in", seen, config.hidden, true, 1.0),
            amortiser_out: linear("amortiser_out", config.hidden, tokens * width, true, 0.3),
            row: linear("row", seen, hidden, true, 0.1),
            match_in: linear("match_in", config.people * BUMPS, config.hidden, true, 1.0),
            match_out: linear("match_out", config.hidden, width, true, 1.0),
            slot_tokens: slots("slot_tokens", width, 0.3),
            slot_words: slots("slot_words", hidden, 0.1),
            slot_heads: slots("slot_heads", hidden, 0.1),
            tokens,
            people: config.people,
        }
    }

    /// Name slots.
    pub fn slots(&self) -> usize {
        self.slot_words.lazy_shape().dims::<2>()[0]
    }

    /// What an identity embedding `[.., identity_width]` adds to a token of the Q-Former.
    pub fn project_identity(&self, identity: Tensor<3>) -> Tensor<3> {
        self.identity_projection.forward(identity * IDENTITY_SCALE)
    }

    /// Personal parameters from one look at each person: the encoder's read-out
    /// `[batch, subjects, readout_width]` and identity embedding `[batch, subjects, identity_width]`;
    /// `base` are the personal query tokens that all subjects start from, `[1, tokens, width]`.
    pub fn enrol(&self, base: Tensor<3>, readout: Tensor<3>, identity: Tensor<3>) -> PersonalTensors {
        let [batch, subjects, _] = readout.dims();
        let width = base.dims()[2];
        let seen = Tensor::cat(vec![readout, identity.clone() * IDENTITY_SCALE], 2);
        let made = self.amortiser_out.forward(relu(self.amortiser_in.forward(seen.clone())));
        let tokens = made.reshape([batch, subjects, self.tokens, width])
            + base.unsqueeze_dim::<4>(0)
            + self.project_identity(identity.clone()).unsqueeze_dim::<4>(2);
        let word_row = self.row.forward(seen);
        PersonalTensors { tokens, identity, head_row: word_row.zeros_like(), word_row }
    }

    /// The Q-Former's personal queries `[batch, subjects * tokens, width]` for clips whose people
    /// have the embeddings `people` `[batch, people, identity_width]`. `slots` `[batch, subjects]`
    /// is the name slot of each subject.
    ///
    /// Each subject's similarity to each person of the clip, spread over bumps, is added to its
    /// tokens: attention need not find out by itself how near is near enough.
    pub fn queries(&self, personal: &PersonalTensors, people: Tensor<3>, slots: Tensor<2, Int>) -> Tensor<3> {
        let [batch, subjects, tokens, width] = personal.tokens.dims();
        let similarity = personal.identity.clone().matmul(people.swap_dims(1, 2));
        let device = similarity.device();
        let centres: Vec<f32> = (0..BUMPS).map(|bump| 0.2 + 0.1 * bump as f32).collect();
        let centres = Tensor::<1>::from_floats(centres.as_slice(), &device).reshape([1, 1, 1, BUMPS]);
        let distance = (similarity.unsqueeze_dim::<4>(3) - centres) * 10.0;
        let bumps = (distance.square() * -0.5).exp().reshape([batch, subjects, self.people * BUMPS]);
        let matched = self.match_out.forward(relu(self.match_in.forward(bumps)));
        let slot = rows_of(&self.slot_tokens, slots);
        let all = personal.tokens.clone() + (matched + slot).unsqueeze_dim::<4>(2);
        all.reshape([batch, subjects * tokens, width])
    }

    /// The subjects' rows of the word table and of the head, both `[batch, subjects, hidden]`.
    pub fn rows(&self, personal: &PersonalTensors, slots: Tensor<2, Int>) -> [Tensor<3>; 2] {
        [
            rows_of(&self.slot_words, slots.clone()) + personal.word_row.clone(),
            rows_of(&self.slot_heads, slots) + personal.head_row.clone(),
        ]
    }
}

fn rows_of(table: &Param<Tensor<2>>, index: Tensor<2, Int>) -> Tensor<3> {
    let [batch, count] = index.dims();
    let width = table.dims()[1];
    table.val().select(0, index.reshape([batch * count])).reshape([batch, count, width])
}
