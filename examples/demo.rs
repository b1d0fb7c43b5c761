//! The whole way in one go: learn a character from one clip, then ask about it in clips never seen before.
//!
//! Writes a report, two pictures and the subject file to `demo/` in cargo's target folder, and ends with
//! exit code 1 when existence accuracy is too low.

use std::{error::Error, path::Path, process::ExitCode, time::Instant};

use clap::Parser;
use pvchat::{
    LearnOptions, Learned, Pvchat, SeenClip, Subject, SubjectFolder, SubjectName,
    augment::{Aspect, questions},
    data::file::{read_json, write_json},
    eval::{
        accuracy::{ExistenceAnswer, ExistenceScore},
        presence::{Presence, presence},
        table::Table,
    },
};
use pvchat_examples::{
    clips_folder, error_line,
    pictures::{contact_sheet, training_chart},
    progress::{LearnBars, bar},
    report::{DescriptionScore, Report, Seconds, in_words, peak_memory_mib},
    shown, target_folder,
    truth::{ClipTruth, Shows, TRUTH_FILE, Truth},
    wrap,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NAME: &str = "Aa";
const REFERENCE: &str = "clip-00.mp4";
const FIRST: &str = "clip-01.mp4";
/// The demo fails below this balanced existence accuracy; guessing gives 0.5.
const REQUIRED: f64 = 0.85;
const QUESTIONS: [(Aspect, &str); 5] = [
    (Aspect::Existence, "Is <Aa> in this video?"),
    (Aspect::Clothing, "What is <Aa> wearing?"),
    (Aspect::Face, "What does <Aa> look like?"),
    (Aspect::Action, "What is <Aa> doing?"),
    (Aspect::Location, "Where is <Aa>?"),
];
/// Widths of the table's columns for question, answer and truth, in characters.
const WIDTHS: [usize; 3] = [26, 44, 34];

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Learns a character from one clip and asks about it in clips never seen before; takes no arguments.
///
/// Writes a report, two pictures and the subject file to `demo/` in cargo's target folder. Exit codes: 0 done, 1 existence
/// accuracy is too low, 2 something was wrong.
#[derive(Parser)]
#[command(name = "demo", version)]
struct Arguments {}

fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    match demo() {
        Ok(accuracy) if accuracy >= REQUIRED => ExitCode::SUCCESS,
        Ok(accuracy) => {
            eprintln!("failed: balanced existence accuracy is {accuracy:.3}, expected at least {REQUIRED}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {}", error_line(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

/// Runs the demo and gives the balanced existence accuracy.
fn demo() -> Outcome<f64> {
    let started = Instant::now();
    let (folder, output) = (clips_folder(), target_folder().join("demo"));
    std::fs::create_dir_all(&output).map_err(|error| format!("{}: {error}", output.display()))?;
    let name: SubjectName = NAME.parse()?;
    let mut seconds = Seconds::default();

    println!("This demo shows the program ONE short clip of a character and calls that character {name}.");
    println!("Then it asks about {name} in other clips: with {name} in other clothes and places, with");
    println!("look-alikes, and with strangers. Reference: {}\n", shown(&folder.join(REFERENCE)));

    let pvchat = Pvchat::miniature()?;
    seconds.open_base = started.elapsed().as_secs_f64();
    let reference = pvchat.clip(&folder.join(REFERENCE))?;

    println!("1. A first impression: {name} is enrolled in one look, without training.");
    let enrolled = pvchat.enrol(&reference, &name)?;
    let answer = pvchat.ask(std::slice::from_ref(&enrolled), &pvchat.clip(&folder.join(FIRST))?, QUESTIONS[0].1)?;
    seconds.first_answer = started.elapsed().as_secs_f64();
    println!("   {FIRST}: {} {}", QUESTIONS[0].1, answer.text);
    println!("   The first answer came {:.1} s after the start.\n", seconds.first_answer);

    println!("2. Learning {name}: clips made from the reference are told apart from clips of similar strangers.");
    let options = LearnOptions::default();
    let learning = Instant::now();
    let mut bars = LearnBars::default();
    let learned = pvchat.learn(&reference, &name, &options, |event| bars.observe(event))?;
    seconds.learn_parts = bars.finish();
    seconds.learn = learning.elapsed().as_secs_f64();
    let subject_file = SubjectFolder::new(output.join("subjects")).save(&learned.subject)?;
    println!("   {}\n", what_was_kept(&learned, seconds.learn));

    println!("3. Asking about clips that were not seen before.");
    let truth: Truth = read_json(&folder.join(TRUTH_FILE), 1 << 20)?;
    let opening = Instant::now();
    let clips = open_clips(&pvchat, &folder, truth.clips)?;
    seconds.open_clip = opening.elapsed().as_secs_f64() / clips.len().max(1) as f64;
    let mut exam = Exam::new(&pvchat, learned.subject.clone(), &clips);
    let asking = Instant::now();
    exam.ask_everything()?;
    seconds.ask = asking.elapsed().as_secs_f64() / exam.asked.max(1) as f64;
    let mut before = Exam::new(&pvchat, enrolled, &clips);
    before.ask_existence()?;
    println!("\n{}\n", exam.table.to_text());

    let score = ExistenceScore::of(&exam.existence);
    let nothing_asked = || format!("{} lists no clips with and without {name}", shown(&folder.join(TRUTH_FILE)));
    let balanced = score.balanced().ok_or_else(nothing_asked)?;
    let enrolled_balanced = ExistenceScore::of(&before.existence).balanced().ok_or_else(nothing_asked)?;
    println!("Is {name} there? Right on clips with {name}: {}", in_words(score.positives));
    println!("  look-alikes: {}, other people: {}", in_words(score.look_alikes), in_words(score.random));
    println!("  balanced accuracy {balanced:.3} (guessing: 0.5; enrolled only: {enrolled_balanced:.3})");
    let right = exam.descriptions;
    println!("Action {}, place {}, clothing {},", in_words(right.action), in_words(right.place), in_words(right.clothing));
    println!("  details of the face {}, refusals {}", in_words(right.face_details), in_words(right.refusals));

    let [report_file, sheet_file, chart_file] =
        ["report.json", "contact-sheet.png", "training.png"].map(|file| output.join(file));
    contact_sheet(&learned.set).save(&sheet_file).map_err(|error| format!("{}: {error}", sheet_file.display()))?;
    training_chart(&learned.report.steps).write_png(&chart_file)?;
    seconds.total = started.elapsed().as_secs_f64();
    let report = Report {
        subject: name.to_string(),
        seed: options.seed,
        threads: options.training.threads,
        kept: if learned.report.kept_learned { "learned" } else { "enrolled" },
        self_check_before: learned.report.before,
        self_check_after: learned.report.after,
        redrawn_positives: learned.rejected,
        balanced_existence_accuracy: balanced,
        balanced_existence_accuracy_enrolled: enrolled_balanced,
        existence: score,
        descriptions: exam.descriptions,
        seconds,
        peak_memory_mib: peak_memory_mib(),
    };
    write_json(&report_file, &report)?;
    let memory = report.peak_memory_mib.map_or(String::new(), |mib| format!(" and {mib:.0} MiB of memory at most"));
    println!("\n{:.0} s in all{memory}; one question takes {:.2} s. Have a look at:", seconds.total, seconds.ask);
    for (file, words) in [
        (&sheet_file, "from top to bottom: reference, made positives, similar strangers, other strangers"),
        (&chart_file, "loss and head activation"),
        (&report_file, "all figures"),
        (&subject_file, "all that is kept of the character"),
    ] {
        println!("  {}  ({words})", shown(file));
    }
    Ok(balanced)
}

/// What learning ended with, in a sentence.
fn what_was_kept(learned: &Learned, seconds: f64) -> String {
    let [before, after] = [learned.report.before, learned.report.after].map(|check| 100.0 * check.balanced_accuracy);
    let kept = if learned.report.kept_learned { "the trained subject is kept" } else { "the enrolled subject is kept" };
    format!("Learned in {seconds:.1} s; right on clips held back: {before:.0} % before, {after:.0} % after training, so {kept}.")
}

/// Opens the clips to ask about.
fn open_clips(pvchat: &Pvchat, folder: &Path, truths: Vec<ClipTruth>) -> Outcome<Vec<(ClipTruth, SeenClip)>> {
    let progress = bar("opening clips", truths.len());
    let mut clips = Vec::with_capacity(truths.len());
    for truth in truths {
        let clip = pvchat.clip(&folder.join(&truth.file))?;
        clips.push((truth, clip));
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(clips)
}

/// Questions about one subject in many clips, with what came of them.
struct Exam<'a> {
    pvchat: &'a Pvchat,
    subjects: [Subject; 1],
    clips: &'a [(ClipTruth, SeenClip)],
    table: Table,
    existence: Vec<ExistenceAnswer>,
    descriptions: DescriptionScore,
    asked: usize,
}

impl<'a> Exam<'a> {
    fn new(pvchat: &'a Pvchat, subject: Subject, clips: &'a [(ClipTruth, SeenClip)]) -> Self {
        let table = Table::new(["clip", "question", "answer", "truth", ""]);
        Self {
            pvchat,
            subjects: [subject],
            clips,
            table,
            existence: Vec::new(),
            descriptions: DescriptionScore::default(),
            asked: 0,
        }
    }

    /// Existence on all clips, descriptions where the character is, and on one clip where it is not.
    fn ask_everything(&mut self) -> Outcome<()> {
        self.ask_existence()?;
        let clips = self.clips;
        let refused = clips.iter().position(|(truth, _)| truth.class == Shows::TwoDifferences);
        let chosen: Vec<usize> = (0..clips.len()).filter(|&clip| clips[clip].0.present || Some(clip) == refused).collect();
        let progress = bar("asking for descriptions", chosen.len());
        for clip in chosen {
            for (aspect, question) in &QUESTIONS[1..] {
                self.ask_description(&clips[clip], *aspect, question)?;
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(())
    }

    fn ask_existence(&mut self) -> Outcome<()> {
        let progress = bar("asking who is there", self.clips.len());
        let question = QUESTIONS[0].1;
        for (truth, clip) in self.clips {
            let answer = self.pvchat.ask(&self.subjects, clip, question)?;
            self.asked += 1;
            let found = presence(&answer.text, &self.subjects[0].info.name);
            let judged = ExistenceAnswer { clip: truth.file.clone(), class: truth.class.class(), found };
            let certainty =
                answer.presence.first().map_or(String::new(), |(_, probability)| format!(" ({:.0} %)", 100.0 * probability));
            let answer = format!("{}{certainty}", answer.text);
            let right = if judged.is_right() { "right" } else { "WRONG" };
            add(&mut self.table, &truth.file, [question, &answer, truth.class.words()], right);
            self.existence.push(judged);
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(())
    }

    fn ask_description(&mut self, (truth, clip): &(ClipTruth, SeenClip), aspect: Aspect, question: &str) -> Outcome<()> {
        let name = &self.subjects[0].info.name;
        let answer = self.pvchat.ask(&self.subjects, clip, question)?.text;
        self.asked += 1;
        let score = &mut self.descriptions;
        let verdict = match (truth.description(aspect), aspect) {
            (None, _) => {
                let right = presence(&answer, name) == Presence::Absent;
                score.refusals.add(right);
                in_a_word(right)
            }
            (Some(expected), Aspect::Face) => {
                let details: Vec<bool> = expected.split(" , ").map(|detail| answer.contains(detail)).collect();
                details.iter().for_each(|&right| score.face_details.add(right));
                format!("{} of {}", details.iter().filter(|right| **right).count(), details.len())
            }
            (Some(expected), _) => {
                let right = answer == questions::readable(&questions::description_answer(aspect, &name.to_string(), expected));
                match aspect {
                    Aspect::Clothing => score.clothing.add(right),
                    Aspect::Action => score.action.add(right),
                    _ => score.place.add(right),
                }
                in_a_word(right)
            }
        };
        let expected = truth.description(aspect).map_or_else(|| truth.class.words().to_string(), questions::readable);
        add(&mut self.table, &truth.file, [question, &answer, &expected], &verdict);
        Ok(())
    }
}

fn in_a_word(right: bool) -> String {
    if right { "right" } else { "WRONG" }.to_string()
}

/// Adds a row whose long texts go on in the rows below.
fn add(table: &mut Table, clip: &str, texts: [&str; 3], verdict: &str) {
    let columns: Vec<Vec<String>> = texts.iter().zip(WIDTHS).map(|(text, width)| wrap(text, width)).collect();
    let lines = columns.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..lines {
        let mut cells = vec![if line == 0 { clip.to_string() } else { String::new() }];
        // Padded, because tables set all columns but the first to the right.
        cells.extend(
            columns.iter().zip(WIDTHS).map(|(column, width)| format!("{:<width$}", column.get(line).map_or("", String::as_str))),
        );
        cells.push(if line == 0 { verdict.to_string() } else { String::new() });
        table.row(cells);
    }
}
