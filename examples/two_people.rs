//! Two people, each learned from one clip, asked about in clips that show one, the other, both and neither.
//!
//! Prints every question with its answer and the truth, and how often the answers are right: of the people enrolled one by
//! one, of the people learned one by one and put into the same questions, and of the people learned in one run.

use std::{collections::BTreeMap, error::Error, ops::ControlFlow, path::Path, process::ExitCode};

use clap::Parser;
use pvchat::{
    LearnOptions, Pvchat, SeenClip, Subject, SubjectName,
    augment::questions::{self, Aspect},
    data::{random::SeededStream, text::tidy},
    eval::{
        accuracy::{ClipClass, ExistenceAnswer, balanced_difference},
        bootstrap::Share,
        presence::{self, Presence},
        table::{Table, fraction, with_interval},
    },
    miniature::{
        exam::through_mp4,
        words,
        world::{Identity, Scene, SceneOptions},
    },
};
use pvchat_examples::{at, examination::Outcome, exit_code, progress::bar};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Learns people from one clip each and asks about them in clips that show one, two or none of them.
#[derive(Parser)]
struct Arguments {
    /// Groups of people to be learned; the first one's answers are printed.
    #[arg(long, default_value_t = 1)]
    groups: usize,
    /// People of a group, 2 or 3; a clip of the miniature shows at most two.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    people: u8,
    /// Clips of every kind: of each alone, of every two, of nobody who was learned.
    #[arg(long, default_value_t = 4)]
    clips: usize,
    /// Seed of the people, their clips and learning.
    #[arg(long, default_value_t = 31)]
    seed: u64,
    /// Steps of learning per person or, learned together, per cast of people in a question; the default is 8 on images, 24 on
    /// clips.
    #[arg(long, num_args = 2, value_names = ["IMAGES", "CLIPS"])]
    steps: Option<Vec<usize>>,
    /// Learning rate of the tokens.
    #[arg(long)]
    rate: Option<f64>,
    /// Pull of tokens and rows back to where learning started.
    #[arg(long)]
    anchor: Option<f64>,
}

/// A clip with the truth about it.
struct Shot {
    kind: String,
    seen: SeenClip,
    scene: Scene,
    /// Where each of the people is, if present.
    positions: Vec<Option<usize>>,
}

/// People with their reference clips and the clips to be asked about.
struct Group {
    references: Vec<SeenClip>,
    shots: Vec<Shot>,
}

const WAYS: [&str; 3] = ["enrolled", "learned one by one", "learned together"];

fn main() -> ExitCode {
    exit_code(run().map_err(|error| error as Box<dyn Error>))
}

fn run() -> Outcome<()> {
    let arguments = Arguments::parse();
    let pvchat = Pvchat::miniature()?;
    let names = ["Aa", "Bb", "Cc"][..usize::from(arguments.people)]
        .iter()
        .map(|name| name.parse())
        .collect::<Result<Vec<SubjectName>, _>>()?;
    let folder = std::env::temp_dir().join(format!("pvchat-two-people-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(at(&folder))?;
    let mut scores = Scores::default();
    let bar = bar("learning", arguments.groups);
    let (mut done, mut passed_over) = (0, 0);
    while done < arguments.groups {
        let mut stream = SeededStream::new(arguments.seed).derive(format_args!("group {}", done + passed_over));
        let people: Vec<Identity> = names.iter().map(|_| Identity::reserved(|| Identity::random(&mut stream))).collect();
        let group = Group::draw(&pvchat, &people, &names, arguments.clips, &folder, &mut stream)?;
        let mut options = LearnOptions { seed: stream.next_seed(), ..LearnOptions::default() };
        if let Some(steps) = &arguments.steps {
            (options.training.image_steps, options.training.clip_steps) = (steps[0], steps[1]);
        }
        options.training.learning_rate = arguments.rate.unwrap_or(options.training.learning_rate);
        options.training.anchor = arguments.anchor.unwrap_or(options.training.anchor);
        let together = match together(&pvchat, &group, &names, &options) {
            Err(pvchat::Error::NotTogether { .. }) if passed_over < arguments.groups => {
                passed_over += 1;
                continue;
            }
            learned => learned?,
        };
        let subjects = [enrolled(&pvchat, &group, &names)?, apart(&pvchat, &group, &names, &options)?, together];
        for (way, subjects) in WAYS.iter().zip(&subjects) {
            let answers = ask(&pvchat, &group, subjects, &names)?;
            if done == 0 {
                println!("{way}:\n{}", transcript(&answers));
            }
            scores.add(way, done, &answers);
        }
        done += 1;
        bar.inc(1);
    }
    if passed_over > 0 {
        println!("{passed_over} groups were passed over: no clip of two of them together could be made of their clips.");
    }
    bar.finish_and_clear();
    std::fs::remove_dir_all(&folder).map_err(at(&folder))?;
    scores.print()
}

impl Group {
    fn draw(
        pvchat: &Pvchat,
        people: &[Identity],
        names: &[SubjectName],
        clips: usize,
        folder: &Path,
        stream: &mut SeededStream,
    ) -> Outcome<Self> {
        let film = |cast: &[Identity], stream: &mut SeededStream| -> Outcome<(Scene, SeenClip)> {
            let scene = Scene::random(cast, SceneOptions::default(), stream);
            let seen = pvchat.see(&through_mp4(&scene, folder, "clip")?)?;
            Ok((scene, seen))
        };
        let references = people.iter().map(|person| Ok(film(&[*person], stream)?.1)).collect::<Outcome<Vec<SeenClip>>>()?;
        let mut casts: Vec<(String, Vec<Identity>)> =
            names.iter().zip(people).map(|(name, person)| (format!("{name} alone"), vec![*person])).collect();
        for first in 0..people.len() {
            for second in first + 1..people.len() {
                casts.push((format!("{} and {}", names[first], names[second]), vec![people[first], people[second]]));
            }
        }
        casts.push(("neither".into(), Vec::new()));
        let mut shots = Vec::new();
        for (kind, cast) in casts {
            for _ in 0..clips {
                let mut cast = cast.clone();
                if cast.is_empty() {
                    cast =
                        std::iter::repeat_with(|| Identity::random(stream)).filter(|one| !people.contains(one)).take(1).collect();
                }
                let (scene, seen) = film(&cast, stream)?;
                let positions = people.iter().map(|person| scene.position_of(person)).collect();
                shots.push(Shot { kind: kind.clone(), seen, scene, positions });
            }
        }
        Ok(Self { references, shots })
    }
}

fn enrolled(pvchat: &Pvchat, group: &Group, names: &[SubjectName]) -> Outcome<Vec<Subject>> {
    group.references.iter().zip(names).map(|(clip, name)| Ok(pvchat.enrol(clip, name)?)).collect()
}

/// Everyone learned alone; what was learned is taken even where the self-check prefers enrolment.
fn apart(pvchat: &Pvchat, group: &Group, names: &[SubjectName], options: &LearnOptions) -> Outcome<Vec<Subject>> {
    let mut subjects = Vec::new();
    for (clip, name) in group.references.iter().zip(names) {
        subjects.extend(pvchat.learn(clip, name, options, |_| ControlFlow::Continue(()))?.report.learned);
    }
    Ok(subjects)
}

/// Everyone learned in one run, likewise.
fn together(
    pvchat: &Pvchat,
    group: &Group,
    names: &[SubjectName],
    options: &LearnOptions,
) -> Result<Vec<Subject>, pvchat::Error> {
    let mut options = options.clone();
    // Everyone alone and every two in either order.
    let casts = names.len() * names.len();
    options.training.image_steps *= casts;
    options.training.clip_steps *= casts;
    let people: Vec<(&SeenClip, &SubjectName)> = group.references.iter().zip(names).collect();
    Ok(pvchat.learn_together(&people, &options, |_| ControlFlow::Continue(()))?.report.learned)
}

/// A question with its answer and the truth.
struct Asked {
    clip: String,
    kind: String,
    /// What is counted together.
    about: &'static str,
    question: String,
    answer: String,
    truth: String,
    right: bool,
    /// For questions about one person's presence: whether the person is there, and what the answer says.
    presence: Option<(bool, Presence)>,
}

fn ask(pvchat: &Pvchat, group: &Group, subjects: &[Subject], names: &[SubjectName]) -> Outcome<Vec<Asked>> {
    let mut all = Vec::new();
    for (number, shot) in group.shots.iter().enumerate() {
        let mut put = |about: &'static str, question: String, truth: String, person: Option<usize>| -> Outcome<()> {
            let truth = questions::readable(&truth);
            let answer = pvchat.ask(subjects, &shot.seen, &question)?.text;
            let presence = person
                .filter(|_| about == "existence")
                .map(|person| (shot.positions[person].is_some(), presence::presence(&answer, &names[person])));
            let right = match presence {
                Some((here, found)) => found == if here { Presence::Present } else { Presence::Absent },
                None => words_of(&answer) == words_of(&truth),
            };
            let (clip, kind) = (number.to_string(), shot.kind.clone());
            all.push(Asked { clip, kind, about, question, answer, truth, right, presence });
            Ok(())
        };
        for (person, name) in names.iter().enumerate() {
            let title = name.to_string();
            let here = shot.positions[person];
            let truth = questions::existence_answer(&title, here.is_some());
            put("existence", questions::question(Aspect::Existence, 0, &title), truth, Some(person))?;
            for (about, aspect) in [("clothing", Aspect::Clothing), ("action", Aspect::Action)] {
                let described = here.and_then(|position| words::description(aspect, &shot.scene, position));
                let (about, truth) = match described {
                    Some(text) => (about, questions::description_answer(aspect, &title, &text)),
                    None => ("refusal", questions::absent_answer(aspect, &title)),
                };
                put(about, questions::question(aspect, 0, &title), truth, Some(person))?;
            }
        }
        for first in 0..names.len() {
            for second in first + 1..names.len() {
                let titles = [names[first].to_string(), names[second].to_string()];
                let titles = [titles[0].as_str(), titles[1].as_str()];
                let present = [first, second].map(|person| shot.positions[person].is_some());
                put("both", questions::pair_question(0, titles), questions::pair_answer(titles, present), None)?;
            }
        }
    }
    Ok(all)
}

fn words_of(answer: &str) -> Vec<&str> {
    let mut words: Vec<&str> = answer.split_whitespace().map(|word| word.trim_end_matches([',', '.'])).collect();
    words.sort_unstable();
    words
}

fn transcript(answers: &[Asked]) -> String {
    let mut table = Table::new(["clip shows", "question", "answer", "truth", ""]);
    let mut last = None;
    for asked in answers.iter() {
        // One clip of every kind is enough to read.
        if last.as_ref().is_some_and(|(kind, clip)| *kind == &asked.kind && *clip != &asked.clip) {
            continue;
        }
        last = Some((&asked.kind, &asked.clip));
        let mark = if asked.right { "right" } else { "wrong" };
        table.row([asked.kind.clone(), tidy(&asked.question), asked.answer.clone(), asked.truth.clone(), mark.to_string()]);
    }
    table.to_text()
}

/// Right answers by way, kind of clip and kind of question, over all groups.
#[derive(Default)]
struct Scores {
    shares: BTreeMap<(&'static str, String), BTreeMap<&'static str, Share>>,
    existence: BTreeMap<&'static str, Vec<ExistenceAnswer>>,
}

impl Scores {
    fn add(&mut self, way: &'static str, group: usize, answers: &[Asked]) {
        for asked in answers {
            self.shares.entry((way, asked.kind.clone())).or_default().entry(asked.about).or_default().add(asked.right);
            self.shares.entry((way, "all".into())).or_default().entry(asked.about).or_default().add(asked.right);
            if let Some((here, found)) = asked.presence {
                let class = if here { ClipClass::Positive } else { ClipClass::Random };
                let answer = ExistenceAnswer { subject: group.to_string(), clip: asked.clip.to_string(), class, found };
                self.existence.entry(way).or_default().push(answer);
            }
        }
    }

    fn print(&self) -> Outcome<()> {
        let kinds = ["existence", "both", "clothing", "action", "refusal"];
        let mut table = Table::new(["way", "clips with", "existence", "both", "clothing", "action", "refusal"]);
        for way in WAYS {
            for ((_, shows), shares) in self.shares.iter().filter(|((its, _), _)| *its == way) {
                let cells = kinds.map(|kind| {
                    let share = shares.get(kind).copied().unwrap_or_default();
                    match share.wilson() {
                        Some(interval) if shows == "all" => {
                            format!("{} [{:.3}, {:.3}]", fraction(share.rate()), interval.low, interval.high)
                        }
                        _ => fraction(share.rate()),
                    }
                });
                table.row([way.to_string(), shows.clone()].into_iter().chain(cells));
            }
        }
        println!("{}", table.to_markdown());
        let answers = |way| self.existence.get(way).map(Vec::as_slice).unwrap_or_default();
        for (first, second) in [(WAYS[0], WAYS[1]), (WAYS[0], WAYS[2]), (WAYS[1], WAYS[2])] {
            let difference = balanced_difference(answers(first), answers(second), 1000, &mut SeededStream::new(7))?;
            println!("existence, balanced, {second} - {first}, paired: {}", with_interval(difference));
        }
        Ok(())
    }
}
