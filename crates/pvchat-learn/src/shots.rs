//! Learning from clips that the caller has: footage with the person and footage of others, for any base.

use image::RgbImage;
use pvchat_augment::{image_clip, questions};
use pvchat_data::{QaKind, QaPair, SubjectName, random::SeededStream};
use pvchat_model::{
    prompt::PromptFormat,
    sight::{Shown, Sight},
    subject::{Origin, Subject},
    vilm::Vilm,
};
use pvchat_train::personal::{AskedWith, LearnClip, LearnConfig, LearnData, LearnReport, LearnRun, learn, learn_together};
use pvchat_video::Clip;

use crate::{
    LearnEvent, Learner, Result,
    learner::{is_in_share, refuse_chance, sort},
    looks::{KeptLooks, Look, Looks},
    material::encode_pairs,
};

/// A clip to learn somebody from.
#[derive(Clone, Debug, PartialEq)]
pub struct Shot {
    /// Its frames, as many as the base takes; the frames of one shot are of one size.
    pub frames: Vec<RgbImage>,
    /// The time of each frame in seconds; bases that do not use times need none.
    pub seconds: Vec<f64>,
    /// The length of the clip in seconds.
    pub duration: f64,
    /// Whether the person is in it.
    pub present: bool,
    /// Questions and answers about the person, who is named in angle brackets; without any it is asked whether the person is
    /// there. Those about existence and appearance are asked about a single frame, too.
    pub pairs: Vec<QaPair>,
}

impl Shot {
    /// A clip of a file, asked only whether the person is there.
    pub fn of(clip: Clip, present: bool) -> Self {
        let duration = clip.times.last().copied().unwrap_or(0.0);
        Self { frames: clip.frames, seconds: clip.times, duration, present, pairs: Vec::new() }
    }

    /// The questions that are asked about it; a base without free wording knows only the words of its vocabulary.
    fn asked(&self, name: &str, format: &PromptFormat, free_wording: bool) -> Vec<QaPair> {
        if !self.pairs.is_empty() {
            return self.pairs.clone();
        }
        let question = format.presence_question.replace("{}", name);
        vec![QaPair::new(QaKind::Existence, question, presence_answer(name, self.present, free_wording))]
    }
}

/// Whether somebody is there, in words that the base knows.
fn presence_answer(name: &str, present: bool, free_wording: bool) -> String {
    let answer = questions::existence_answer(name, present);
    if !free_wording {
        return answer;
    }
    let readable = questions::readable(&answer);
    let mut capital = readable.chars();
    capital.next().into_iter().flat_map(char::to_uppercase).chain(capital).collect()
}

/// What [`Learner::learn_from`] learned.
#[derive(Clone, Debug)]
pub struct LearnedFrom {
    /// The subject.
    pub subject: Subject,
    /// The training.
    pub report: LearnReport,
}

impl Learner<'_> {
    /// Learns a person from clips with them and clips of others. Nothing is made, drawn or chosen: every clip and every question
    /// is the caller's; of [`corpus`](Self::corpus) and [`scenes`](Self::scenes) nothing is used.
    ///
    /// Every clip is looked at once; where there is a folder of checkpoints, the output of an encoder of single frames is stored
    /// there until learning has ended. First single frames are learned from, then whole clips. Every fourth clip with the person,
    /// and every fourth without, is held back for the self-check. A base that can enrol starts from one look at the first clip
    /// with the person, and keeps that look where learning does not improve on it; any other starts from a
    /// [blank subject](Vilm::blank_subject).
    ///
    /// # Errors
    /// As [`learn`](Self::learn), apart from what concerns enrolment; [`pvchat_train::Error::Config`] without clips of both
    /// kinds, and for a choice of what trains that reaches into an encoder whose frames are independent.
    pub fn learn_from(&mut self, vilm: &Vilm, shots: &[Shot], name: &SubjectName) -> Result<LearnedFrom> {
        vilm.codec().check_name(name)?;
        let keep = self.options.run(self.checkpoints.clone())?;
        let stream = SeededStream::new(self.options.seed).derive("learn from");
        let trains = self.options.training.trains;
        if trains.trains_vision() && sees_single_frames(vilm) {
            return Err(pvchat_train::Error::Config {
                key: "trains",
                value: trains.to_string(),
                remedy: "the encoder of this base stays frozen; choose at most `personal-and-bridge`".into(),
            }
            .into());
        }
        let mut looks = Looks::new(vilm, trains.trains_vision());
        let enrols = vilm.config().answer.personal().is_some();
        let start = match shots.iter().find(|shot| shot.present) {
            Some(shot) if enrols => vilm.enrol(&looks.at_one(&shot.frames)?, 0, name)?,
            _ => vilm.blank_subject(name, &stream.derive("start"))?,
        };
        let mut data = self.look_at_shots(&mut looks, &[(name, shots)], &keep)?;
        data.source = self.options.source(shots.iter().flat_map(|shot| &shot.frames))?;
        let observe = &mut self.observe;
        let config = LearnConfig { seed: stream.derive("training").next_seed(), ..self.options.training.clone() };
        let (mut subject, mut report) =
            learn(vilm, &start, &data, &config, &keep, |progress| observe(LearnEvent::Training(progress)))?;
        // A blank subject is nobody: there is no reason to keep it.
        if !enrols && !report.learned.is_empty() {
            report.kept_learned = true;
            subject = report.learned[0].clone();
        }
        refuse_chance(Some(if report.kept_learned { report.after } else { report.before }), &data, || name.to_string())?;
        if !report.kept_learned {
            subject.info.origin = Origin::Enrolled;
        }
        Ok(LearnedFrom { subject, report })
    }

    /// Learns several people in one run, each from clips as in [`learn_from`](Self::learn_from), on a base that cannot enrol. What is
    /// trained of the base serves all of them, and only their tokens and rows are their own. Each is asked about alone, during
    /// learning and after it. A step asks about one of them: give as many times more steps as there are people.
    ///
    /// The subjects come in the order of `people`; every one holds what was trained of the base.
    ///
    /// # Errors
    /// As [`learn_from`](Self::learn_from); [`pvchat_train::Error::Config`] without people, and on a base that can enrol.
    pub fn learn_from_each(&mut self, vilm: &Vilm, people: &[(&SubjectName, &[Shot])]) -> Result<(Vec<Subject>, LearnReport)> {
        let keep = self.options.run(self.checkpoints.clone())?;
        let stream = SeededStream::new(self.options.seed).derive("learn from each");
        people.iter().try_for_each(|(name, _)| vilm.codec().check_name(name))?;
        if vilm.config().answer.personal().is_some() {
            let (value, remedy) = ("a base that enrols".into(), "use `learn_together`".into());
            return Err(pvchat_train::Error::Config { key: "base", value, remedy }.into());
        }
        let mut looks = Looks::new(vilm, self.options.training.trains.trains_vision());
        let mut data = self.look_at_shots(&mut looks, people, &keep)?;
        data.source = self.options.source(people.iter().flat_map(|(_, shots)| *shots).flat_map(|shot| &shot.frames))?;
        let start = |(number, (name, _)): (usize, &(&SubjectName, &[Shot]))| {
            vilm.blank_subject(name, &stream.derive(format_args!("start {number}")))
        };
        let starts = people.iter().enumerate().map(start).collect::<pvchat_model::Result<Vec<_>>>()?;
        let observe = &mut self.observe;
        let config = LearnConfig { seed: stream.derive("training").next_seed(), ..self.options.training.clone() };
        // What was kept may be the blank subjects, which are nobody.
        let (_, report) =
            learn_together(vilm, &starts, &data, &config, &keep, |progress| observe(LearnEvent::Training(progress)))?;
        let names = || people.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(" and ");
        refuse_chance(Some(report.after), &data, names)?;
        Ok((report.learned.clone(), report))
    }

    /// Looks at every clip once and sorts the clips into stages and the self-check.
    fn look_at_shots(&mut self, looks: &mut Looks<'_>, people: &[(&SubjectName, &[Shot])], keep: &LearnRun) -> Result<LearnData> {
        let vilm = looks.vilm;
        for (key, share) in [("zeroed", self.options.zeroed), ("other_tokens", self.options.other_tokens)] {
            if !(0.0..=1.0).contains(&share) {
                let remedy = "it is a share of the clips with the person, from 0 to 1".into();
                return Err(pvchat_train::Error::Config { key, value: share.to_string(), remedy }.into());
            }
        }
        let mut data = LearnData { features: self.options.features(keep)?, ..LearnData::default() };
        let free_wording = vilm.config().family()?.free_wording;
        let kept = KeptLooks::new(keep.checkpoints.as_ref().filter(|_| sees_single_frames(vilm)));
        let all =
            people.iter().enumerate().flat_map(|(number, (name, shots))| shots.iter().map(move |shot| (number, *name, shot)));
        let count = people.iter().map(|(_, shots)| shots.len()).sum();
        let mut counts = vec![[0; 2]; people.len()];
        for (done, (person, name, shot)) in all.enumerate() {
            let (names, title, counts) = ([name.clone()], name.to_string(), &mut counts[person]);
            let pairs = shot.asked(&title, vilm.codec().format(), free_wording);
            // Published files say of questions about existence only that they are special.
            let of_looks = |pair: &&QaPair| matches!(pair.known_kind(), Some(QaKind::Existence | QaKind::Appearance));
            let still_pairs: Vec<QaPair> = pairs.iter().filter(of_looks).cloned().collect();
            let [clip, still] = match sees_single_frames(vilm) {
                true => frames_apart(vilm, shot, &kept)?,
                false => [looks.take(&[&shot.frames])?.swap_remove(0), looks.take(&[&repeated(shot)])?.swap_remove(0)],
            };
            let number = counts[usize::from(shot.present)];
            counts[usize::from(shot.present)] += 1;
            for (video, Look { sight, lower }, pairs) in [(false, still, still_pairs), (true, clip, pairs)] {
                if pairs.is_empty() {
                    continue;
                }
                let joint = vilm.codec().joint(&sight.shown);
                let texts = encode_pairs(vilm, joint, &pairs, &names, pairs.len())?;
                let features = data.insert(sight, lower)?;
                let clip =
                    LearnClip { features, asked: vec![person], present: vec![shot.present], tokens: AskedWith::Own, texts };
                let mut of_presence = pairs;
                of_presence.retain(|pair| pair.known_kind() == Some(QaKind::Existence));
                of_presence.iter_mut().for_each(|pair| pair.answer = presence_answer(&title, false, free_wording));
                for (share, tokens) in [(self.options.zeroed, AskedWith::Zeros), (self.options.other_tokens, AskedWith::Others)] {
                    if shot.present && !of_presence.is_empty() && is_in_share(share, number) {
                        let texts = encode_pairs(vilm, joint, &of_presence, &names, of_presence.len())?;
                        sort(&mut data, video, number, LearnClip { present: vec![false], tokens, texts, ..clip.clone() });
                    }
                }
                sort(&mut data, video, number, clip);
            }
            self.tell(LearnEvent::Encoding(done + 1, count), keep)?;
        }
        Ok(data)
    }
}

/// Whether the encoder sees every frame by itself.
fn sees_single_frames(vilm: &Vilm) -> bool {
    vilm.config().vision.most_frames().is_some()
}

/// A clip, and its middle frame alone, of a base whose encoder sees every frame by itself: the second is a part of the first.
fn frames_apart(vilm: &Vilm, shot: &Shot, kept: &KeptLooks<'_>) -> Result<[Look; 2]> {
    let mut clip = kept.of(vilm, &shot.frames, || Ok(vilm.look_at(&shot.frames, &shot.seconds, shot.duration)?))?;
    clip.shown = vec![Shown::Video { seconds: shot.seconds.clone(), duration: shot.duration }];
    let frames = shot.frames.len().max(1);
    let each = clip.tokens.dims()[1] / frames;
    let tokens = clip.tokens.clone().narrow(1, frames / 2 * each, each);
    let still = Sight { tokens, identity: clip.identity.clone(), shown: vec![Shown::WHOLE] };
    Ok([clip, still].map(|sight| Look { sight, lower: None }))
}

/// The middle frame in place of the clip.
fn repeated(shot: &Shot) -> Vec<RgbImage> {
    image_clip(&shot.frames, shot.frames.len())
}

#[cfg(test)]
mod tests {
    use pvchat_model::families::miniature::prompt_format;

    use super::*;

    #[test]
    fn a_shot_without_questions_is_asked_about_in_the_words_of_the_base() {
        let shot = Shot { frames: Vec::new(), seconds: Vec::new(), duration: 0.0, present: true, pairs: Vec::new() };
        let asked = |format: &PromptFormat, free| shot.asked("<Aa>", format, free).swap_remove(0);
        assert_eq!(asked(&prompt_format(), false).answer, "yes , <Aa> is in the video .");
        assert_eq!(asked(&prompt_format(), false).question, "is <Aa> in this video ?");
        assert_eq!(asked(&prompt_format(), true).answer, "Yes, <Aa> is in the video.");
    }
}
