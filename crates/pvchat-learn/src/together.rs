//! Several people learned in one run, each from their own clip.

use std::{collections::BTreeMap, ops::ControlFlow};

use image::RgbImage;
use pvchat_augment::{Aspect, TrainingSet, questions, side_by_side};
use pvchat_data::{QaKind, QaPair, SubjectName, random::SeededStream};
use pvchat_model::{
    prompt::EncodedText,
    sight::Sight,
    subject::{Origin, Subject},
    vilm::Vilm,
};
use pvchat_train::personal::{AskedWith, LearnClip, LearnConfig, LearnData, LearnReport, LearnRun, learn_together};

use crate::{
    Error, LearnEvent, Learner, Result,
    learner::{cosine, refuse_chance, sort},
    looks::Looks,
    material::{Material, Untouched},
};

/// People who were learned together, and how it came about.
#[derive(Clone, Debug)]
pub struct LearnedTogether {
    /// The subjects in the order in which they were given: all learned where these did better on the held-out clips and no worse
    /// on untouched ones, else all enrolled. They can be asked about together or alone.
    pub subjects: Vec<Subject>,
    /// The training.
    pub report: LearnReport,
    /// The clips that were made and chosen for each.
    pub sets: Vec<TrainingSet>,
    /// Clips that show two of them together.
    pub together: usize,
}

/// How often a clip of two people is made again when one of them is not recognised in it.
const TRIES: usize = 4;

/// A clip to learn from, and who is in it.
struct Shown {
    frames: Vec<RgbImage>,
    /// The people who are learned and are there, by number, each with questions and answers that describe them.
    people: BTreeMap<usize, Vec<QaPair>>,
}

impl Learner<'_> {
    /// Learns the people in prepared clips, one in each, in one run: questions are about each alone and about every two of
    /// them, on clips that show one, two (put side by side from their clips) or none of them.
    ///
    /// A step asks about one cast of people; give as many times more steps as there are casts.
    ///
    /// # Errors
    /// As [`learn`](Self::learn); [`pvchat_train::Error::Config`] for nobody, for two of one name, and for a choice of what
    /// trains that only serves one person; [`Error::NotTogether`] where no clip of two of them could be made;
    /// [`Error::NotLearned`] when the self-check judges what would be kept no better than chance.
    pub fn learn_together(&mut self, vilm: &Vilm, people: &[(&[RgbImage], &SubjectName)]) -> Result<LearnedTogether> {
        let names: Vec<SubjectName> = people.iter().map(|(_, name)| (*name).clone()).collect();
        check_people(vilm, &names)?;
        let keep = self.options.run(self.checkpoints.clone())?;
        let stream = SeededStream::new(self.options.seed).derive("learn together");
        let mut looks = Looks::new(vilm, self.options.training.trains.trains_vision());
        let material = people
            .iter()
            .enumerate()
            .map(|(number, (clip, name))| {
                self.material(&mut looks, clip, name, (&stream.derive(format_args!("person {number}")), 0), &keep)
            })
            .collect::<Result<Vec<Material>>>()?;
        let mut clips: Vec<Shown> = Vec::new();
        for (number, Material { set, .. }) in material.iter().enumerate() {
            clips.extend(set.clips.iter().map(|clip| {
                let described = clip.pairs.iter().filter(|pair| clip.positive && !pair.is_special).cloned().collect();
                let people = if clip.positive { [(number, described)].into() } else { BTreeMap::new() };
                Shown { frames: clip.frames.clone(), people }
            }));
        }
        let alone = clips.len();
        for first in 0..material.len() {
            for second in first + 1..material.len() {
                let mut stream = stream.derive(format_args!("together {first} {second}"));
                clips.extend(self.together(&mut looks, &material, [first, second], &mut stream)?);
            }
        }
        let together = clips.len() - alone;
        let untouched = self.untouched(&material, vilm.frames(), false, &stream)?;
        let mut data = self.encode_together(&mut looks, (&clips, untouched), &names, &stream, &keep)?;
        for (number, (clip, _)) in people.iter().enumerate() {
            let source = self.options.source(*clip)?;
            data.source.extend(source.into_iter().map(|(key, value)| (format!("{key} {number}"), value)));
        }
        data.source.insert("together".into(), self.options.together.to_string());
        let enrolled: Vec<Subject> = material.iter().map(|material| material.enrolled.clone()).collect();
        let observe = &mut self.observe;
        let config = LearnConfig { seed: stream.derive("training").next_seed(), ..self.options.training.clone() };
        let (mut subjects, report) =
            learn_together(vilm, &enrolled, &data, &config, &keep, |progress| observe(LearnEvent::Training(progress)))?;
        let judged = if report.kept_learned { report.after } else { report.before };
        let all = || names.iter().map(SubjectName::to_string).collect::<Vec<_>>().join(" and ");
        refuse_chance(Some(judged), &data, all)?;
        if !report.kept_learned {
            subjects.iter_mut().for_each(|subject| subject.info.origin = Origin::Enrolled);
        }
        let sets = material.into_iter().map(|material| material.set).collect();
        Ok(LearnedTogether { subjects, report, sets, together })
    }

    /// Clips that show two of the people, in which the encoder recognises both.
    fn together(
        &self,
        looks: &mut Looks<'_>,
        material: &[Material],
        pair: [usize; 2],
        stream: &mut SeededStream,
    ) -> Result<Vec<Shown>> {
        let view = looks.vilm.with_subjects(&[]);
        let mut made = Vec::with_capacity(self.options.together);
        for _ in 0..self.options.together * TRIES {
            if made.len() == self.options.together {
                break;
            }
            let Some(clip) = side_by_side(pair.map(|number| &material[number].maker), self.scenes, stream) else { break };
            let memory = looks.at_one(&clip.frames)?;
            let similar = |number: usize| {
                let position = usize::from(clip.left != number);
                cosine(&person(&memory, position), &material[pair[number]].reference) >= self.options.least_similarity
            };
            if !(similar(0) && similar(1)) {
                continue;
            }
            let reading = view.read(&memory, &[])?;
            let mut people = BTreeMap::new();
            for (number, &subject) in pair.iter().enumerate() {
                let name = material[subject].enrolled.info.name.to_string();
                let generic = questions::GENERIC_SUBJECTS[1 + usize::from(clip.left != number)];
                let mut described = Vec::new();
                for aspect in Aspect::DESCRIPTIONS {
                    let about = questions::question(aspect, 0, generic);
                    let answer = view.generate(&reading, &about, &view.default_options(), |_| ControlFlow::Continue(()))?.text;
                    let asked = questions::question(aspect, stream.below(questions::variants(aspect)), &name);
                    described.push(QaPair::new(aspect.kind(), asked, answer.replacen(generic, &name, 1)));
                }
                people.insert(subject, described);
            }
            made.push(Shown { frames: clip.frames, people });
        }
        if made.is_empty() {
            let [first, second] = pair.map(|number| material[number].enrolled.info.name.to_string());
            return Err(Error::NotTogether { first, second });
        }
        Ok(made)
    }

    /// Encodes every clip once and asks about every cast of people in it.
    fn encode_together(
        &mut self,
        looks: &mut Looks<'_>,
        (clips, untouched): (&[Shown], Untouched),
        names: &[SubjectName],
        stream: &SeededStream,
        keep: &LearnRun,
    ) -> Result<LearnData> {
        let (vilm, casts) = (looks.vilm, casts(names.len()));
        let mut data = LearnData { features: self.options.features(keep)?, ..LearnData::default() };
        let mut done = (0, 2 * clips.len() + untouched.clips.len());
        for video in [false, true] {
            let stills: Vec<Vec<RgbImage>>;
            let frames: Vec<&[RgbImage]> = if video {
                clips.iter().map(|clip| clip.frames.as_slice()).collect()
            } else {
                stills = clips.iter().map(|clip| pvchat_augment::image_clip(&clip.frames, clip.frames.len())).collect();
                stills.iter().map(Vec::as_slice).collect()
            };
            let seen = self.see(looks, &frames, &mut data, &mut done, keep)?;
            for (number, (clip, features)) in clips.iter().zip(seen).enumerate() {
                let mut stream = stream.derive(format_args!("questions {number} {video}"));
                for cast in &casts {
                    let present = cast.iter().map(|subject| clip.people.contains_key(subject)).collect();
                    let texts = ask(vilm, clip, cast, names, video, &mut stream)?;
                    sort(
                        &mut data,
                        video,
                        number,
                        LearnClip { features, asked: cast.clone(), present, tokens: AskedWith::Own, texts },
                    );
                }
            }
        }
        let frames: Vec<&[RgbImage]> = untouched.clips.iter().map(Vec::as_slice).collect();
        let seen = self.see(looks, &frames, &mut data, &mut done, keep)?;
        untouched.ask(vilm, seen, names, &mut data)?;
        Ok(data)
    }
}

/// Refuses people whose names a question cannot distinguish.
fn check_people(vilm: &Vilm, names: &[SubjectName]) -> Result<()> {
    let wrong = |value: String, remedy: String| Err(pvchat_train::Error::Config { key: "subjects", value, remedy }.into());
    let slots = vilm.config().answer.slots();
    if names.is_empty() || names.len() > slots {
        return wrong(format!("{} people", names.len()), format!("learn one to {slots} people together"));
    }
    if let Some(twice) = names.iter().enumerate().find(|(number, name)| names[..*number].contains(name)) {
        return wrong(format!("{} twice", twice.1), "give everyone a name of their own".into());
    }
    Ok(())
}

/// Everyone alone, and every two in either order: the order decides about their name slots.
fn casts(people: usize) -> Vec<Vec<usize>> {
    let alone = (0..people).map(|one| vec![one]);
    let pairs = (0..people).flat_map(|one| (0..people).filter(move |&other| other != one).map(move |other| vec![one, other]));
    alone.chain(pairs).collect()
}

/// Questions about a cast of one or two, with their answers: whether each is there, whether both are, and what they look like,
/// or that they are not there. On images only appearance is described.
fn ask(
    vilm: &Vilm,
    clip: &Shown,
    cast: &[usize],
    names: &[SubjectName],
    video: bool,
    stream: &mut SeededStream,
) -> Result<Vec<EncodedText>> {
    let names: Vec<SubjectName> = cast.iter().map(|&subject| names[subject].clone()).collect();
    let titles: Vec<String> = names.iter().map(SubjectName::to_string).collect();
    let mut pairs: Vec<(String, String)> = Vec::new();
    let wordings = questions::variants(Aspect::Existence);
    for (subject, title) in cast.iter().zip(&titles) {
        let answer = questions::existence_answer(title, clip.people.contains_key(subject));
        for wording in stream.sample(wordings, if cast.len() == 1 { 2 } else { 1 }) {
            pairs.push((questions::question(Aspect::Existence, wording, title), answer.clone()));
        }
    }
    if let ([first, second], [one, other]) = (titles.as_slice(), cast) {
        let present = [one, other].map(|subject| clip.people.contains_key(subject));
        let question = questions::pair_question(stream.below(questions::pair_variants()), [first, second]);
        pairs.push((question, questions::pair_answer([first, second], present)));
    }
    for (subject, title) in cast.iter().zip(&titles) {
        let count = if cast.len() == 1 { 2 } else { 1 };
        match clip.people.get(subject) {
            Some(described) => {
                let fitting: Vec<&QaPair> =
                    described.iter().filter(|pair| video || pair.kind == Some(QaKind::Appearance)).collect();
                let chosen = stream.sample(fitting.len(), count.min(fitting.len()));
                pairs.extend(chosen.into_iter().map(|place| (fitting[place].question.clone(), fitting[place].answer.clone())));
            }
            None => {
                let aspects = if video { &Aspect::DESCRIPTIONS[..] } else { &[Aspect::Clothing, Aspect::Face] };
                for place in stream.sample(aspects.len(), count) {
                    let aspect = aspects[place];
                    let question = questions::question(aspect, stream.below(questions::variants(aspect)), title);
                    pairs.push((question, questions::absent_answer(aspect, title)));
                }
            }
        }
    }
    let encode = |(question, answer): &(String, String)| Ok(vilm.codec().encode_question(question, Some(answer), &names)?);
    pairs.iter().map(encode).collect()
}

/// The identity embedding of the person at a position of the one clip of a memory.
fn person(memory: &Sight, position: usize) -> Vec<f32> {
    memory.identity.clone().narrow(1, position, 1).into_data().iter::<f32>().collect()
}
