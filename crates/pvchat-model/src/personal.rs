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
    /// How a subject's tokens learn who is in the clip.
    #[serde(default, skip_serializing_if = "Matching::is_default")]
    pub matching: Matching,
}

/// How a subject's query tokens learn who is in the clip, before attention reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// By the cosine of the subject's identity embedding and those of the clip's people.
    #[default]
    Identity,
    /// By products of the tokens themselves with what the encoder saw of the clip's people. The subject's identity embedding is
    /// not used.
    Tokens,
    /// Not at all: attention has to find it.
    Attention,
}

impl Matching {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
/// Width of the space in which tokens are multiplied with what was seen of the clip's people.
const KEY_WIDTH: usize = 64;
/// Scale of these products, which lie within ±1.
const PRODUCT_SCALE: f32 = 4.0;

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct PersonalBridge {
    identity_projection: Linear,
    amortiser_in: Linear,
    amortiser_out: Linear,
    row: Linear,
    match_in: Option<Linear>,
    match_out: Option<Linear>,
    /// For [`Matching::Tokens`].
    token_key: Option<Linear>,
    people_key: Option<Linear>,
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
        let compared = match config.matching {
            Matching::Identity => Some(BUMPS),
            Matching::Tokens => Some(BUMPS + tokens),
            Matching::Attention => None,
        };
        let identity_projection = linear("identity_projection", config.identity_width, width, false, 1.0);
        let keys = (config.matching == Matching::Tokens).then(|| {
            let token_key = linear("token_key", width, KEY_WIDTH, false, 1.0);
            let mut people_key = linear("people_key", config.readout_width, KEY_WIDTH, false, 0.1);
            // Both sides begin alike, so that the products begin near the similarity of the identities that tokens were made from.
            let of_identity = identity_projection.weight.val().matmul(token_key.weight.val());
            people_key.weight = Param::from_tensor(Tensor::cat(vec![people_key.weight.val(), of_identity], 0).detach());
            (token_key, people_key)
        });
        let (token_key, people_key) = keys.unzip();
        Self {
            identity_projection,
            amortiser_in: linear("amortiser_in", seen, config.hidden, true, 1.0),
            amortiser_out: linear("amortiser_out", config.hidden, tokens * width, true, 0.3),
            row: linear("row", seen, hidden, true, 0.1),
            match_in: compared.map(|figures| linear("match_in", config.people * figures, config.hidden, true, 1.0)),
            match_out: compared.map(|_| linear("match_out", config.hidden, width, true, 1.0)),
            token_key,
            people_key,
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

    /// The Q-Former's personal queries `[batch, subjects * tokens, width]`. The people of each clip have the embeddings
    /// `identity` `[batch, people, identity_width]` and the read-outs `readouts` `[batch, people, readout_width]`; `slots`
    /// `[batch, subjects]` is the name slot of each subject.
    ///
    /// What [`Matching`] says of each subject and the clip's people is added to the subject's tokens.
    pub fn queries(
        &self,
        personal: &PersonalTensors,
        identity: Tensor<3>,
        readouts: Tensor<3>,
        slots: Tensor<2, Int>,
    ) -> Tensor<3> {
        let [batch, subjects, tokens, width] = personal.tokens.dims();
        let mut added = rows_of(&self.slot_tokens, slots);
        if let (Some(match_in), Some(match_out)) = (&self.match_in, &self.match_out) {
            let alike = match (&self.token_key, &self.people_key) {
                (Some(token_key), Some(people_key)) => {
                    let seen = Tensor::cat(vec![readouts, identity * IDENTITY_SCALE], 2);
                    let asked = token_key.forward(personal.tokens.clone().flatten::<3>(1, 2));
                    let products = unit(asked).matmul(unit(people_key.forward(seen)).swap_dims(1, 2));
                    let products = products.reshape([batch, subjects, tokens, self.people]);
                    let mean = products.clone().mean_dim(2).squeeze_dim(2);
                    let each = products.reshape([batch, subjects, tokens * self.people]) * PRODUCT_SCALE;
                    Tensor::cat(vec![self.bumps(mean), each], 2)
                }
                _ => self.bumps(personal.identity.clone().matmul(identity.swap_dims(1, 2))),
            };
            added = added + match_out.forward(relu(match_in.forward(alike)));
        }
        let all = personal.tokens.clone() + added.unsqueeze_dim::<4>(2);
        all.reshape([batch, subjects * tokens, width])
    }

    /// Each subject's similarity to each person of the clip `[batch, subjects, people]`, spread over bumps: attention need not find
    /// out by itself how near is near enough.
    fn bumps(&self, similarity: Tensor<3>) -> Tensor<3> {
        let [batch, subjects, _] = similarity.dims();
        let centres: Vec<f32> = (0..BUMPS).map(|bump| 0.2 + 0.1 * bump as f32).collect();
        let centres = Tensor::<1>::from_floats(centres.as_slice(), &similarity.device()).reshape([1, 1, 1, BUMPS]);
        let distance = (similarity.unsqueeze_dim::<4>(3) - centres) * 10.0;
        (distance.square() * -0.5).exp().reshape([batch, subjects, self.people * BUMPS])
    }

    /// The subjects' rows of the word table and of the head, both `[batch, subjects, hidden]`.
    pub fn rows(&self, personal: &PersonalTensors, slots: Tensor<2, Int>) -> [Tensor<3>; 2] {
        [
            rows_of(&self.slot_words, slots.clone()) + personal.word_row.clone(),
            rows_of(&self.slot_heads, slots) + personal.head_row.clone(),
        ]
    }
}

/// Of length one, along the last dimension; what is zero stays zero.
fn unit(rows: Tensor<3>) -> Tensor<3> {
    let length = (rows.clone().square().sum_dim(2) + 1e-6).sqrt();
    rows / length
}

fn rows_of(table: &Param<Tensor<2>>, index: Tensor<2, Int>) -> Tensor<3> {
    let [batch, count] = index.dims();
    let width = table.dims()[1];
    table.val().select(0, index.reshape([batch * count])).reshape([batch, count, width])
}
