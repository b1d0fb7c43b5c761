//! Parts of the method, each changed by itself: how heads are routed, what the objective adds, how many tokens a person has.

use clap::ValueEnum;
use pvchat::{
    data::random::SeededStream,
    model::{bridge::Bridge, vilm::Vilm},
    nn::{
        init::normal,
        moh::{MohAttention, Routing},
    },
    train::objective::ObjectiveConfig,
};
use pvchat_examples::examination::Outcome;

/// What is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Vary {
    /// Heads: dense, top-k and ReMoH, from the same weights; routers are new.
    Routing,
    /// SPR and HAE.
    Objective,
    /// Personal query tokens: 4, 8, 32.
    Tokens,
    /// Where personal tokens start: at the mean of the word rows with noise, as published, in place of the base's own.
    Start,
}

/// A change of the method.
#[derive(Clone, Copy)]
pub struct Variant {
    /// What is added to the name of the way; empty for the method as it is.
    pub name: &'static str,
    base: Change,
    pub objective: fn(ObjectiveConfig) -> ObjectiveConfig,
}

#[derive(Clone, Copy)]
enum Change {
    Nothing,
    Routing(Routing),
    Tokens(usize),
    Start,
}

/// The method as it is.
pub const USUAL: Variant = Variant { name: "", base: Change::Nothing, objective: |objective| objective };

impl Vary {
    pub fn variants(self) -> Vec<Variant> {
        let routed = |name, routing| Variant { name, base: Change::Routing(routing), ..USUAL };
        let tokens = |name, count| Variant { name, base: Change::Tokens(count), ..USUAL };
        match self {
            Self::Routing => vec![
                routed(", dense", Routing::Dense),
                routed(", top-k (4 shared, 2 of 4)", Routing::TopK { shared: 4, active: 2 }),
                routed(", ReMoH with new routers", Routing::Relu { shared: 4, rescale: true }),
            ],
            Self::Objective => vec![
                Variant { name: ", without SPR", objective: ObjectiveConfig::without_sparsity, ..USUAL },
                Variant { name: ", without HAE", objective: ObjectiveConfig::without_hae, ..USUAL },
                Variant {
                    name: ", without SPR and HAE",
                    objective: |objective| objective.without_sparsity().without_hae(),
                    ..USUAL
                },
            ],
            Self::Tokens => vec![tokens(", 4 tokens", 4), tokens(", 8 tokens", 8), tokens(", 32 tokens", 32)],
            Self::Start => vec![Variant { name: ", tokens from the mean of the word rows", base: Change::Start, ..USUAL }],
        }
    }
}

/// Deviation of the weights of new routers: the gates of heads start within a quarter of one, so that dense attention and ReMoH
/// start alike.
const ROUTER_DEVIATION: f32 = 0.02;
/// Deviation of the noise around the mean of the word rows.
const START_DEVIATION: f32 = 0.02;

impl Variant {
    /// The base that is learned on with a seed; everything but what is varied are its own weights.
    pub fn base(&self, base: &Vilm, seed: u64) -> Outcome<Vilm> {
        let mut config = base.config().clone();
        let sizes = config.answer.qformer_mut().ok_or("this base has no Q-Former")?;
        match self.base {
            Change::Nothing | Change::Start => {}
            Change::Routing(routing) => {
                (sizes.qformer.routing, sizes.qformer.initial_deviation) = (routing, ROUTER_DEVIATION);
            }
            Change::Tokens(count) => sizes.personal_query_tokens = count,
        }
        let fresh = config.init(&SeededStream::new(1), base.device())?;
        let mut parameters = base.parameters().clone();
        if let (Bridge::QFormer(own), Bridge::QFormer(fresh)) = (&mut parameters.answer.bridge, fresh.answer.bridge) {
            match self.base {
                Change::Nothing => {}
                Change::Start => {
                    let rows = parameters.answer.lm.embed_tokens.weight.val().mean_dim(0).unsqueeze_dim::<3>(0);
                    own.personal_query_tokens = own.personal_query_tokens.clone().map(|tokens| {
                        let mut stream = SeededStream::new(seed).derive("start");
                        rows + normal(&mut stream, tokens.dims(), START_DEVIATION, base.device())
                    });
                }
                Change::Tokens(_) => own.personal_query_tokens = fresh.personal_query_tokens,
                Change::Routing(_) => {
                    for (own, fresh) in own.qformer.encoder.layer.iter_mut().zip(fresh.qformer.encoder.layer) {
                        reroute(&mut own.attention.heads, fresh.attention.heads);
                        if let (Some(own), Some(fresh)) = (&mut own.crossattention, fresh.crossattention) {
                            reroute(&mut own.heads, fresh.heads);
                        }
                    }
                }
            }
        }
        let fingerprint = format!("{}{}", base.fingerprint(), self.name);
        Ok(Vilm::from_parts(parameters, config, base.codec().clone(), fingerprint, base.device().clone())?)
    }
}

/// Chooses heads as `fresh` does, and keeps the projections.
fn reroute(own: &mut MohAttention, fresh: MohAttention) {
    let mut rerouted = fresh;
    (rerouted.query, rerouted.key, rerouted.value) = (own.query.clone(), own.key.clone(), own.value.clone());
    *own = rerouted;
}
