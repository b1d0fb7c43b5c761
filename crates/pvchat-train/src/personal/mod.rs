//! Learning people: the personal parameters of one person or of several together, and optionally parts of the base, are trained
//! on clips made from one clip each, in two stages, first images and then video. Everything else is frozen, and the features of
//! the frozen part are computed once per clip.

mod config;
mod fingerprint;
mod parameters;
mod task;

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use burn::{module::Module, prelude::*};
use pvchat_data::random::SeededStream;
use pvchat_model::{
    prompt::EncodedText,
    sight::{Shown, Sight},
    subject::{Origin, Subject},
    vilm::Vilm,
};
use serde::{Deserialize, Serialize};

pub use config::{AdaptationConfig, HeadAdapter, LearnConfig};
pub use parameters::{LearnParameters, PersonalParameters};
pub use pvchat_model::adaptation::Trains;

use crate::{
    Error, Result,
    checkpoint::CheckpointFolder,
    features::{ClipFeatures, FeatureCache, FeatureId},
    objective::{Objective, ObjectiveReport},
    run::{RunConfig, run},
};
use task::LearnTask;

/// A clip to learn from, and the questions about it. A clip that is asked about in several ways is there several times; its
/// features are not.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnClip {
    /// The frozen encoder's output for it, in [`LearnData::features`].
    pub features: FeatureId,
    /// The subjects that its questions are about, by their numbers, in the order of their name slots.
    pub asked: Vec<usize>,
    /// Whether each of them is in it.
    pub present: Vec<bool>,
    /// With whose tokens and rows a step asks about it; the self-check always asks with the own ones.
    pub tokens: AskedWith,
    /// Questions with answers; their subjects are those of `asked`.
    pub texts: Vec<EncodedText>,
}

/// With whose tokens and rows a clip is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AskedWith {
    /// The own ones.
    #[default]
    Own,
    /// Zeros.
    Zeros,
    /// Nobody's, drawn again in every step: something between the own ones with random signs and a subject that nothing was learned
    /// of.
    Others,
}

/// Everything to learn people from.
#[derive(Clone, Debug, Default)]
pub struct LearnData {
    /// Images: one frame repeated, existence and appearance.
    pub images: Vec<LearnClip>,
    /// Clips, all kinds of questions.
    pub clips: Vec<LearnClip>,
    /// Clips for the self-check, never trained on.
    pub held_back: Vec<LearnClip>,
    /// Untouched clips for the self-check, never trained on, and no clip that is trained on was made of them.
    pub real: Vec<LearnClip>,
    /// The frozen encoder's output for all of them.
    pub features: FeatureCache,
    /// Shape of a clip's tokens; those with their own pictures may have another number of tokens.
    pub token_shape: [usize; 2],
    /// Shape of a clip's identity embeddings.
    pub identity_shape: [usize; 2],
    /// Shape of the output of the encoder's lower part for a clip.
    pub lower_shape: [usize; 2],
    /// What precedes a question about a clip, if [`own_shown`](Self::own_shown) does not say otherwise.
    pub shown: Vec<Shown>,
    /// The same for clips with their own pictures or times.
    pub own_shown: BTreeMap<FeatureId, Vec<Shown>>,
    /// What the data was made from and how, by name: reported if a checkpoint's data differs.
    pub source: BTreeMap<String, String>,
}

impl LearnData {
    /// What precedes a question about a clip.
    pub fn shown(&self, clip: &LearnClip) -> &[Shown] {
        self.own_shown.get(&clip.features).unwrap_or(&self.shown)
    }

    /// Takes in what the encoder gives for one clip, and the output of its lower part where the upper part is trained from it.
    ///
    /// # Errors
    /// As [`FeatureCache::insert`].
    pub fn insert(&mut self, sight: Sight, lower: Option<Tensor<3>>) -> Result<FeatureId> {
        let shape = |tensor: &Tensor<3>| [tensor.dims()[1], tensor.dims()[2]];
        let values = |tensor: Tensor<3>| tensor.into_data().iter::<f32>().collect::<Vec<f32>>();
        (self.token_shape, self.identity_shape) = (shape(&sight.tokens), shape(&sight.identity));
        if let Some(lower) = &lower {
            self.lower_shape = shape(lower);
        }
        let features = ClipFeatures {
            tokens: values(sight.tokens),
            identity: values(sight.identity),
            lower: lower.map(values).unwrap_or_default(),
        };
        let features = self.features.insert(features)?;
        match self.shown.is_empty() {
            true => self.shown = sight.shown,
            false if self.shown != sight.shown => drop(self.own_shown.insert(features, sight.shown)),
            false => {}
        }
        Ok(features)
    }
}

/// Where a run stores its state, and for how long it may run.
#[derive(Clone, Debug)]
pub struct LearnRun {
    /// Where checkpoints are kept, if anywhere; a run resumes from the newest one.
    pub checkpoints: Option<CheckpointFolder>,
    /// Time between checkpoints; zero writes one after every step.
    pub checkpoint_every: Duration,
    /// When to stop, and the budget that this comes from.
    pub deadline: Option<(Instant, Duration)>,
}

impl Default for LearnRun {
    fn default() -> Self {
        Self { checkpoints: None, checkpoint_every: Duration::from_secs(2), deadline: None }
    }
}

/// The progress of learning, for progress bars and plots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnProgress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Whether this step was on clips (stage 2) or images (stage 1).
    pub video: bool,
    /// Mean cross entropy of the answers.
    pub loss: f32,
    /// The routed heads: activation, SPR, HAE.
    pub objective: ObjectiveReport,
    /// Norms of the gradients before clipping: `tokens`, and those of the [groups with rates of their own](LearnConfig::run_config)
    /// by their names. Only the observer gets them.
    #[serde(skip)]
    pub gradients: BTreeMap<&'static str, f64>,
}

/// What the tokens are called among [`LearnProgress::gradients`]: all that is in no group of its own.
const TOKENS: &str = "tokens";

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnReport {
    /// How the enrolled parameters judge the held-back clips.
    pub before: SelfCheck,
    /// How the learned ones do.
    pub after: SelfCheck,
    /// How the enrolled and the learned parameters judge untouched clips; nothing without such.
    #[serde(default)]
    pub real: Option<[SelfCheck; 2]>,
    /// Whether the learned parameters were kept.
    pub kept_learned: bool,
    /// The learned subjects, also where they were not kept.
    #[serde(skip)]
    pub learned: Vec<Subject>,
    /// Every step.
    pub steps: Vec<LearnProgress>,
}

/// How well held-back clips are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfCheck {
    /// Mean of the shares right on clips with and on clips without the person.
    pub balanced_accuracy: f32,
    /// Mean cross entropy of presence, both kinds weighing the same.
    pub loss: f32,
}

/// Learns a person, starting from `start` (an enrolled subject), and keeps the result only if it
/// judges the held-back clips better than `start` does, and untouched ones no worse.
///
/// On equal accuracy `start` stays: held-back positives are made from the one clip too and flatter
/// the parameters that were trained on their siblings.
///
/// With checkpoints, a run that was killed resumes and gives a byte-identical subject, on the same
/// backend and number of threads.
///
/// # Errors
/// [`Error::Config`] when there is nothing to learn from; [`Error::Stopped`] when the observer asks to stop and
/// [`Error::OutOfTime`] when the time is up, after a checkpoint was written; [`Error::OtherRun`] when the checkpoint is
/// of another configuration, base or data; what the model and the run report.
pub fn learn(
    vilm: &Vilm,
    start: &Subject,
    data: &LearnData,
    config: &LearnConfig,
    keep: &LearnRun,
    observe: impl FnMut(&LearnProgress) -> ControlFlow<()>,
) -> Result<(Subject, LearnReport)> {
    let (mut subjects, report) = learn_together(vilm, std::slice::from_ref(start), data, config, keep, observe)?;
    Ok((subjects.swap_remove(0), report))
}

/// Learns several people in one run, as in the paper's variants for two and three people: a step asks about one of them, or
/// about some together, and moves the parameters of those. What is kept is kept of all of them.
///
/// # Errors
/// As [`learn`]; [`Error::Config`] also without anybody to learn, and for questions about several people with a choice of
/// [`trains`](LearnConfig::trains) whose subjects cannot be asked about together.
pub fn learn_together(
    vilm: &Vilm,
    starts: &[Subject],
    data: &LearnData,
    config: &LearnConfig,
    keep: &LearnRun,
    mut observe: impl FnMut(&LearnProgress) -> ControlFlow<()>,
) -> Result<(Vec<Subject>, LearnReport)> {
    config.validate()?;
    check_data(starts, data, config)?;
    let device = vilm.device().clone().autodiff();
    let device = if config.activation_checkpointing { device.gradient_checkpointing() } else { device };
    let stream = SeededStream::new(config.seed).derive("learn");
    let tensors = Subject::tensors(starts, vilm.device())?;
    let vision = &vilm.config().vision;
    let model = LearnParameters::new(vilm.parameters(), vision, &tensors, config, &stream, &device)?;
    let modules = vilm.config().answer.qformer().map_or(0, |bridge| bridge.qformer.routed_modules()) + model.routed_layers();
    let mut task = LearnTask {
        vilm,
        data,
        config,
        start: tensors,
        objective: Objective::new(config.objective.clone(), modules)?,
        stream,
        people: starts.len(),
        steps: Vec::new(),
    };
    let checkpoints = match &keep.checkpoints {
        Some(folder) => Some(folder.locked()?.only(config.trained(vision)?)),
        None => None,
    };
    let run_config = RunConfig {
        checkpoints,
        checkpoint_every: keep.checkpoint_every,
        fingerprint: fingerprint::fingerprint(vilm, starts, data, config),
        ..config.run_config(vision)?
    };
    let mut late = None;
    let optimizer = config.optimizer(vision)?;
    let trained = run(model, optimizer, &run_config, &mut task, &device, |progress| {
        let names = run_config.groups.iter().map(|group| group.name).chain([TOKENS]);
        let flow = LearnTask::progress(config, progress.step, progress.reports).map_or(ControlFlow::Continue(()), |now| {
            let gradients = names.zip(progress.group_norms.iter().copied()).collect();
            observe(&LearnProgress { gradients, ..now })
        });
        late = keep.deadline.filter(|(deadline, _)| Instant::now() >= *deadline);
        if late.is_some() { ControlFlow::Break(()) } else { flow }
    });
    let trained = match (trained, late) {
        (Err(Error::Stopped { step }), Some((_, budget))) => {
            return Err(Error::OutOfTime { step, seconds: budget.as_secs_f64() });
        }
        (trained, _) => trained?.valid(),
    };
    let mut learned: Vec<Subject> = starts
        .iter()
        .enumerate()
        .map(|(number, start)| {
            let info = vilm.subject_info(&start.info.name, Origin::Learned);
            Subject::from_tensors(info, &trained.personal.tensors(&[number], starts.len(), 1))
        })
        .collect();
    if let Some(adaptation) = trained.adaptation(vision, config)? {
        let adaptation = std::sync::Arc::new(adaptation);
        learned.iter_mut().for_each(|subject| subject.adaptation = Some(adaptation.clone()));
    }
    let steps = task.steps;
    let judge = |clips: &[LearnClip]| Ok::<_, Error>([check(vilm, starts, data, clips)?, check(vilm, &learned, data, clips)?]);
    let [before, after] = judge(&data.held_back)?;
    let real = if data.real.is_empty() { None } else { Some(judge(&data.real)?) };
    let last = steps.last().map_or(0.0, |step| f64::from(step.loss));
    let mut figures = vec![("steps", steps.len() as f64), ("last_loss", last)];
    // Without clips of both kinds the check says nothing.
    if [true, false].iter().all(|wanted| data.held_back.iter().any(|clip| clip.present.contains(wanted))) {
        let accuracy = |check: SelfCheck| f64::from(check.balanced_accuracy);
        figures.extend([("self_check_before", accuracy(before)), ("self_check_after", accuracy(after))]);
    }
    // Six digits: more of them need not come back from JSON as the same number.
    let rounded = |(name, value): (&str, f64)| (name.to_string(), (value * 1e6).round() / 1e6);
    let figures: BTreeMap<String, f64> = figures.into_iter().map(rounded).collect();
    learned.iter_mut().for_each(|subject| subject.info.training = figures.clone());
    let no_worse = real.is_none_or(|[before, after]| after.balanced_accuracy >= before.balanced_accuracy);
    let kept_learned = no_worse && after.balanced_accuracy > before.balanced_accuracy;
    let mut kept = if kept_learned { learned.clone() } else { starts.to_vec() };
    kept.iter_mut().for_each(|subject| subject.info.training = figures.clone());
    Ok((kept, LearnReport { before, after, real, kept_learned, learned, steps }))
}

/// Refuses data that nothing can be learned from.
fn check_data(starts: &[Subject], data: &LearnData, config: &LearnConfig) -> Result<()> {
    let wrong = |key, value: String, remedy: &str| Err(Error::Config { key, value, remedy: remedy.into() });
    if starts.is_empty() {
        return wrong("subjects", "nobody".into(), "name at least one");
    }
    let all = || data.images.iter().chain(&data.clips).chain(&data.held_back);
    if starts.len() > 1 && !config.trains.is_composable() && all().any(|clip| clip.asked.len() > 1) {
        let remedy = "people who are asked about together need `composable`; ask about each alone";
        return wrong("trains", config.trains.to_string(), remedy);
    }
    for (key, clips) in [("images", &data.images), ("clips", &data.clips)] {
        for subject in 0..starts.len() {
            let seen = |wanted: bool| {
                clips
                    .iter()
                    .any(|clip| clip.asked.iter().zip(&clip.present).any(|(&asked, &here)| asked == subject && here == wanted))
            };
            if !(seen(true) && seen(false)) {
                let remedy = "learning needs clips with the person and clips without";
                return wrong(key, format!("{} clips", clips.len()), remedy);
            }
        }
        let fits =
            |clip: &LearnClip| clip.asked.len() == clip.present.len() && clip.asked.iter().all(|&asked| asked < starts.len());
        if let Some(clip) = clips.iter().find(|clip| !fits(clip)) {
            let value = format!("a clip asked about {:?}, with {} presences", clip.asked, clip.present.len());
            return wrong(key, value, "number the subjects from 0 and say of each whether it is there");
        }
    }
    Ok(())
}

/// How well the parameters of subjects judge some clips of the data.
fn check(vilm: &Vilm, subjects: &[Subject], data: &LearnData, clips: &[LearnClip]) -> Result<SelfCheck> {
    // Those who were learned together share what was trained of the base.
    let adapted = match subjects.first().filter(|one| one.adaptation.is_some()) {
        Some(one) => Some(vilm.adapted(one)?),
        None => None,
    };
    let vilm = adapted.as_ref().unwrap_or(vilm);
    let own_eyes = subjects.iter().any(|one| one.adaptation.as_ref().is_some_and(|adaptation| adaptation.changes_vision()));
    let view = vilm.with_subjects(subjects);
    let mut sums = [[0.0_f32; 3]; 2];
    for clip in clips {
        let memory = if own_eyes {
            let mut sight = vilm.look_upper(&vilm.parameters().vision_encoder, task::lower(&[clip], data, vilm.device())?);
            sight.shown = data.shown(clip).to_vec();
            sight
        } else {
            task::memory(&[clip], data, vilm.device())?
        };
        let asked: Vec<&Subject> = clip.asked.iter().filter_map(|&number| subjects.get(number)).collect();
        let reading = view.read(&memory, &asked)?;
        for (index, &here) in clip.present.iter().enumerate().take(asked.len()) {
            let presence = view.presence(&reading, index)?;
            let truth = if here { presence } else { 1.0 - presence };
            let sum = &mut sums[usize::from(here)];
            sum[0] += 1.0;
            sum[1] += f32::from(truth > 0.5);
            sum[2] -= truth.max(1e-6).ln();
        }
    }
    let mean = |part: usize| 0.5 * (sums[0][part] / sums[0][0].max(1.0) + sums[1][part] / sums[1][0].max(1.0));
    Ok(SelfCheck { balanced_accuracy: mean(1), loss: mean(2) })
}
