//! Learning one person: the personal parameters, and on demand parts of the base, are trained on clips made from one clip,
//! in two stages, images then video, with everything else frozen and the features of what is frozen computed once per clip.

mod config;
mod fingerprint;
mod parameters;
mod task;

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use burn::module::Module;
use pvchat_data::random::SeededStream;
use pvchat_model::{
    prompt::EncodedText,
    subject::{Origin, Subject},
    vilm::Vilm,
};
use serde::{Deserialize, Serialize};

pub use config::{AdaptationConfig, LearnConfig};
pub use pvchat_model::adaptation::Trains;

use crate::{
    Error, Result,
    checkpoint::CheckpointFolder,
    objective::{Objective, ObjectiveReport},
    run::{RunConfig, Schedule, run},
};
use parameters::LearnParameters;
use task::LearnTask;

/// A clip to learn from: what the frozen encoder made of it, and the questions about it.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnClip {
    /// `[memory tokens, width]`, row by row.
    pub tokens: Vec<f32>,
    /// `[people, identity width]`, row by row.
    pub identity: Vec<f32>,
    /// What the lower part of the encoder made of it, row by row, where the upper part is trained; empty otherwise.
    pub lower: Vec<f32>,
    /// Whether the person is in it.
    pub present: bool,
    /// Questions with answers; all clips of a stage have equally many.
    pub texts: Vec<EncodedText>,
}

/// Everything to learn one person from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LearnData {
    /// Images: one frame repeated, existence and appearance.
    pub images: Vec<LearnClip>,
    /// Clips, all kinds of questions.
    pub clips: Vec<LearnClip>,
    /// Clips for the self-check, never trained on.
    pub held_back: Vec<LearnClip>,
    /// Shape of a clip's tokens.
    pub token_shape: [usize; 2],
    /// Shape of a clip's identity embeddings.
    pub identity_shape: [usize; 2],
    /// Shape of what the lower part of the encoder made of a clip.
    pub lower_shape: [usize; 2],
    /// What the data was made from and how, by name: told where a checkpoint's data was another.
    pub source: BTreeMap<String, String>,
}

/// Where a run keeps itself, and for how long it may go on.
#[derive(Clone, Debug)]
pub struct LearnRun {
    /// Where checkpoints are kept, if anywhere; the newest one is gone on from.
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

/// Where learning stands, for progress bars and plots.
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
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnReport {
    /// How the enrolled parameters judge the held-back clips.
    pub before: SelfCheck,
    /// How the learned ones do.
    pub after: SelfCheck,
    /// Whether the learned parameters were kept.
    pub kept_learned: bool,
    /// The learned subject, also where it was not kept.
    #[serde(skip)]
    pub learned: Option<Subject>,
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
/// judges the held-back clips better than `start` does.
///
/// On equal accuracy `start` stays: held-back positives are made from the one clip too and flatter
/// the parameters that were trained on their siblings.
///
/// With checkpoints, a run that was killed goes on where it was and gives the very same subject, on the same
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
    mut observe: impl FnMut(&LearnProgress) -> ControlFlow<()>,
) -> Result<(Subject, LearnReport)> {
    config.validate()?;
    for (key, clips) in [("images", &data.images), ("clips", &data.clips)] {
        if !clips.iter().any(|clip| clip.present) || clips.iter().all(|clip| clip.present) {
            let remedy = "learning needs clips with the person and clips without".into();
            return Err(Error::Config { key, value: format!("{} clips", clips.len()), remedy });
        }
    }
    let device = vilm.device().clone().autodiff();
    let stream = SeededStream::new(config.seed).derive("learn");
    let tensors = Subject::tensors(std::slice::from_ref(start), vilm.device())?;
    let model = LearnParameters::new(vilm, &tensors, config, &stream, &device)?;
    let modules = vilm.config().answer.qformer.routed_modules();
    let mut task = LearnTask {
        vilm,
        data,
        config,
        start: tensors,
        objective: Objective::new(config.objective.clone(), modules)?,
        stream,
        begin: vilm.codec().prefix(vilm.config().answer.tiles)?,
        steps: Vec::new(),
    };
    let checkpoints = match &keep.checkpoints {
        Some(folder) => Some(folder.locked()?.only(LearnParameters::trained(vilm, config)?)),
        None => None,
    };
    let run_config = RunConfig {
        steps: config.steps(),
        learning_rate: config.learning_rate,
        groups: parameters::rates(vilm, config)?,
        schedule: Schedule { warm_up: config.warm_up, constant: 0.0, last: 0.1 },
        clip: config.clip,
        checkpoints,
        checkpoint_every: keep.checkpoint_every,
        fingerprint: fingerprint::fingerprint(vilm, start, data, config),
    };
    let mut late = None;
    let optimizer = parameters::optimizer(vilm, config)?;
    let trained = run(model, optimizer, &run_config, &mut task, &device, |progress| {
        let flow =
            LearnTask::progress(config, progress.step, progress.reports).map_or(ControlFlow::Continue(()), |now| observe(&now));
        late = keep.deadline.filter(|(deadline, _)| Instant::now() >= *deadline);
        if late.is_some() { ControlFlow::Break(()) } else { flow }
    });
    let trained = match (trained, late) {
        (Err(Error::Stopped { step }), Some((_, budget))) => {
            return Err(Error::OutOfTime { step, seconds: budget.as_secs_f64() });
        }
        (trained, _) => trained?.valid(),
    };
    let mut learned = Subject::from_tensors(vilm.subject_info(&start.info.name, Origin::Learned), &trained.personal.tensors(1));
    if let Some(adaptation) = trained.adaptation(vilm, config)? {
        learned = learned.with_adaptation(adaptation);
    }
    let steps = task.steps;
    let (before, after) = (check(vilm, start, data)?, check(vilm, &learned, data)?);
    let last = steps.last().map_or(0.0, |step| f64::from(step.loss));
    learned.info.training = [
        ("steps", steps.len() as f64),
        ("last_loss", last),
        ("self_check_before", f64::from(before.balanced_accuracy)),
        ("self_check_after", f64::from(after.balanced_accuracy)),
    ]
    // Six digits: more of them need not come back from JSON as the same number.
    .map(|(name, value): (&str, f64)| (name.to_string(), (value * 1e6).round() / 1e6))
    .into();
    let kept_learned = after.balanced_accuracy > before.balanced_accuracy;
    let mut kept = if kept_learned { learned.clone() } else { start.clone() };
    kept.info.training = learned.info.training.clone();
    Ok((kept, LearnReport { before, after, kept_learned, learned: Some(learned), steps }))
}

/// How well a subject's parameters judge the held-back clips.
fn check(vilm: &Vilm, subject: &Subject, data: &LearnData) -> Result<SelfCheck> {
    let adapted = match &subject.adaptation {
        Some(_) => Some(vilm.adapted(subject)?),
        None => None,
    };
    let vilm = adapted.as_ref().unwrap_or(vilm);
    let own_eyes = subject.adaptation.as_ref().is_some_and(|adaptation| adaptation.changes_vision());
    let subjects = std::slice::from_ref(subject);
    let view = vilm.with_subjects(subjects);
    let mut sums = [[0.0_f32; 3]; 2];
    for clip in &data.held_back {
        let memory = if own_eyes {
            vilm.remember_upper(&vilm.parameters().vision_encoder, task::lower(&[clip], data, vilm.device()))
        } else {
            task::memory(&[clip], data, vilm.device())
        };
        let reading = view.read(&memory, &[subject])?;
        let presence = view.presence(&reading, 0)?;
        let truth = if clip.present { presence } else { 1.0 - presence };
        let sum = &mut sums[usize::from(clip.present)];
        sum[0] += 1.0;
        sum[1] += f32::from(truth > 0.5);
        sum[2] -= truth.max(1e-6).ln();
    }
    let mean = |part: usize| 0.5 * (sums[0][part] / sums[0][0].max(1.0) + sums[1][part] / sums[1][0].max(1.0));
    Ok(SelfCheck { balanced_accuracy: mean(1), loss: mean(2) })
}
