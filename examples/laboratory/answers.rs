//! The file of answers, and the tables that are made from it.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use pvchat::{
    augment::exchange::Making,
    data::random::SeededStream,
    eval::{
        accuracy::{ClipClass, ExistenceAnswer, ExistenceScore, balanced_difference, balanced_estimate},
        controls::{ControlCheck, Verdict},
        presence::Presence,
        table::{Table, fraction, with_interval},
    },
    miniature::exam::Cast,
};
use pvchat_examples::{at, examination::Outcome};
use serde::{Deserialize, Serialize};

use crate::curve::{self, Point};

/// Resamples of intervals.
const RESAMPLES: usize = 2000;
pub const DESCRIBED: &str = "the base's description in the prompt";
/// Added to a way's name where its threshold is fitted to the same answers.
const FITTED: &str = ", yes where it is best";
pub const POOLED: &str = "cosine of the mean of the grid's tokens";
pub const READ_OUTS: &str = "cosine of the read-outs of people";
/// What is added to the name of a way whose tokens and rows were zeroed after learning.
pub const ZEROED: &str = ", tokens and rows zeroed";
/// The same with those of a subject that nothing was learned of.
pub const BLANK: &str = ", tokens and rows as before learning";
/// The same with the tokens and rows of another character of the group in their place.
pub const ANOTHERS: &str = ", another's tokens and rows";
/// The same with the tokens alone, or the rows alone, of another character of the group.
pub const ANOTHERS_TOKENS: &str = ", another's tokens with the own rows";
pub const ANOTHERS_ROWS: &str = ", another's rows with the own tokens";
/// What the ways are called that learn several people at once.
pub const BRIDGE: &str = "people with one bridge";

/// All answers of one way about one character.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    pub way: String,
    pub exam: u64,
    pub character: usize,
    pub seed: u64,
    /// Of every clip of the examination who is in it, and how probable it is that the character is; a similarity for cosines.
    pub clips: Vec<(Cast, f32)>,
    /// Of newly made clips how they were made, whether the character is there, and the same.
    pub made: Vec<(Making, bool, f32)>,
    pub seconds: f64,
    pub last_loss: f32,
    /// Whether the self-check refused what was learned, so that the answers are those of nobody in particular.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// How learning went; nothing for controls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<Point>,
    /// What distinguishes the base, the clips and the settings of learning from others; nothing in answers from before it was noted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub settings: String,
}

/// Whether there are answers of a way of learning about a character of an examination, with a seed.
///
/// # Errors
/// When these are of other settings.
pub fn is_there(rows: &[Row], way: &str, of: (u64, usize, u64), settings: &str) -> Outcome<bool> {
    let Some(row) = rows.iter().find(|row| row.way == way && (row.exam, row.character, row.seed) == of) else { return Ok(false) };
    // Answers from before settings were noted have none.
    if row.settings.is_empty() || row.settings == settings {
        return Ok(true);
    }
    let ((exam, character, seed), found) = (of, &row.settings);
    Err(format!(
        "the answers of `{way}` about character {character} of {exam}, seed {seed}, are of another base or of other settings \
         ({found}, now {settings}); name these with --label, or give another file with --answers"
    )
    .into())
}

/// The file that answers are added to.
pub struct AnswerFile {
    path: PathBuf,
    file: File,
}

impl AnswerFile {
    /// Opens the file, or makes it. What a killed program left of a line is ended, so that it spoils no other.
    pub fn open(path: &Path) -> Outcome<Self> {
        let left = fs::read(path).is_ok_and(|text| text.last().is_some_and(|last| *last != b'\n'));
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(at(path))?;
        let mut opened = Self { path: path.into(), file };
        if left {
            opened.write("\n")?;
        }
        Ok(opened)
    }

    /// Adds answers, and says how many of them are right.
    pub fn add(&mut self, row: &Row) -> Outcome<()> {
        let one = std::slice::from_ref(row);
        eprintln!("{} {}: {}{}", row.character, row.way, score(one, threshold(one)), if row.refused { ", refused" } else { "" });
        self.write(&format!("{}\n", serde_json::to_string(row)?))
    }

    fn write(&mut self, text: &str) -> Outcome<()> {
        self.file.write_all(text.as_bytes()).map_err(at(&self.path))?;
        Ok(())
    }
}

/// The answers so far; none when there is no file.
pub fn rows(file: &Path) -> Outcome<Vec<Row>> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(file)(error).into()),
    };
    // The last line was being written when the program was killed; where only some ways of a character were written, all are computed
    // again, and the later answers count.
    let whole = text.lines().filter_map(|line| serde_json::from_str::<Row>(line).ok());
    let mut rows: Vec<Row> = Vec::new();
    let mut places = BTreeMap::new();
    for row in whole {
        match places.entry((row.way.clone(), row.exam, row.character, row.seed)) {
            Entry::Vacant(place) => {
                place.insert(rows.len());
                rows.push(row);
            }
            Entry::Occupied(place) => rows[*place.get()] = row,
        }
    }
    Ok(rows)
}

/// Answers about the clips of the examination, yes above `threshold`.
fn answers(rows: &[Row], threshold: f32) -> Vec<ExistenceAnswer> {
    let one = |(row, number, cast, presence): (&Row, usize, Cast, f32)| {
        let class = match cast {
            Cast::Positive => ClipClass::Positive,
            Cast::LookAlike1 | Cast::LookAlike2 => ClipClass::LookAlike,
            Cast::Random => ClipClass::Random,
        };
        let found = if presence > threshold { Presence::Present } else { Presence::Absent };
        ExistenceAnswer { subject: row.character.to_string(), clip: number.to_string(), class, found }
    };
    rows.iter()
        .flat_map(|row| row.clips.iter().enumerate().map(move |(number, (cast, presence))| (row, number, *cast, *presence)))
        .map(one)
        .collect()
}

/// The row of the same character and the same seed of training; of the only seed where a way has one, because nothing is trained.
fn same<'r>(rows: &'r [Row], row: &Row) -> Option<&'r Row> {
    let has_seeds = rows.iter().any(|other| other.seed != rows[0].seed || other.way.starts_with("learned"));
    rows.iter().find(|other| other.character == row.character && (other.seed == row.seed || !has_seeds))
}

/// Where yes begins: at even odds for probabilities, and [where it is best](fitted_threshold) for cosines.
pub fn threshold(rows: &[Row]) -> f32 {
    if rows.iter().any(|row| row.way.starts_with("cosine")) { fitted_threshold(rows) } else { 0.5 }
}

/// Where yes begins so that these very answers are right most often, which favours them.
fn fitted_threshold(rows: &[Row]) -> f32 {
    let mut values: Vec<f32> = rows.iter().flat_map(|row| &row.clips).map(|clip| clip.1).collect();
    values.sort_by(f32::total_cmp);
    values.dedup();
    // Cosines lie between -1 and 1; probabilities may all be near one of their ends, and are tried between the values that occur.
    let step = values.len().div_ceil(200).max(1);
    let candidates: Vec<f32> = match rows.iter().any(|row| row.way.starts_with("cosine")) {
        true => (-100..100).map(|step| step as f32 / 100.0).collect(),
        false => values.windows(2).step_by(step).map(|two| two[0] / 2.0 + two[1] / 2.0).collect(),
    };
    let right = |threshold: f32| ExistenceScore::of(&answers(rows, threshold)).balanced().unwrap_or(0.0);
    candidates.into_iter().max_by(|one, other| right(*one).total_cmp(&right(*other))).unwrap_or(0.5)
}

pub fn score(rows: &[Row], threshold: f32) -> String {
    let cells = shares(rows, threshold);
    let balanced = fraction(ExistenceScore::of(&answers(rows, threshold)).balanced());
    format!("positives {}  look-alikes 2 {}  1 {}  random {}  balanced {balanced}", cells[0], cells[1], cells[2], cells[3])
}

/// Shares right of positives, look-alikes with two and with one difference, and random people.
fn shares(rows: &[Row], threshold: f32) -> [String; 4] {
    [Cast::Positive, Cast::LookAlike2, Cast::LookAlike1, Cast::Random].map(|cast| {
        let of: Vec<f32> = rows.iter().flat_map(|row| &row.clips).filter(|clip| clip.0 == cast).map(|clip| clip.1).collect();
        let right = of.iter().filter(|presence| (**presence > threshold) == (cast == Cast::Positive)).count();
        fraction((!of.is_empty()).then(|| right as f64 / of.len() as f64))
    })
}

/// The tables of an examination, paired differences from the way `against`, and of each way of learning whether it beats every
/// control; these come back.
pub fn table(all: &[Row], exam: u64, against: Option<&str>) -> Outcome<Vec<(String, Verdict)>> {
    let all: Vec<&Row> = all.iter().filter(|row| row.exam == exam).collect();
    let mut ways: Vec<&str> = Vec::new();
    for row in &all {
        if !ways.contains(&row.way.as_str()) {
            ways.push(&row.way);
        }
    }
    let of = |way: &str| -> Vec<Row> {
        let mut rows: Vec<Row> = all.iter().filter(|row| row.way == way).map(|row| (*row).clone()).collect();
        rows.sort_by_key(|row| (row.seed, row.character));
        rows
    };
    // By name, so that the intervals of one way do not depend on which others there are.
    let stream = |way: &str| SeededStream::new(1).derive(way);
    let mut main = Table::new([
        "way",
        "characters x seeds",
        "positives",
        "look-alikes 2",
        "look-alikes 1",
        "random",
        "balanced [95 %]",
        "refused",
        "seconds",
    ]);
    let mut curves = curve::header();
    let mut made = Table::new(["way", "made with the character", "made look-alikes", "made strangers"]);
    let shown = ways.iter().flat_map(|way| [(*way, false), (*way, true)]).filter(|(way, fitted)| !fitted || *way == DESCRIBED);
    for (way, fitted) in shown {
        let rows = of(way);
        let at = if fitted { fitted_threshold(&rows) } else { threshold(&rows) };
        let estimate = balanced_estimate(&answers(&rows, at), RESAMPLES, &mut stream(way));
        let [positives, two, one, random] = shares(&rows, at);
        let seconds = rows.iter().map(|row| row.seconds).sum::<f64>() / rows.len() as f64;
        let seeds = rows.iter().map(|row| row.seed).collect::<BTreeSet<_>>().len();
        let count = format!("{} x {seeds}", rows.len() / seeds.max(1));
        let seconds = if seconds > 0.0 { format!("{seconds:.0}") } else { "-".into() };
        let refused = rows.iter().filter(|row| row.refused).count().to_string();
        let name = format!("{way}{}", if fitted { FITTED } else { "" });
        main.row([name, count, positives, two, one, random, with_interval(estimate), refused, seconds]);
        let with: Vec<&[Point]> = rows.iter().map(|row| row.curve.as_slice()).filter(|curve| !curve.is_empty()).collect();
        curve::table(way, &with, &mut curves);
        let share = |wanted: fn(Making, bool) -> bool, yes: bool| {
            let of: Vec<f32> =
                rows.iter().flat_map(|row| &row.made).filter(|made| wanted(made.0, made.1)).map(|made| made.2).collect();
            let right = of.iter().filter(|presence| (**presence > 0.5) == yes).count();
            fraction((!of.is_empty()).then(|| right as f64 / of.len() as f64))
        };
        if rows.iter().any(|row| !row.made.is_empty()) {
            made.row([
                (*way).to_string(),
                share(|_, present| present, true),
                share(|making, present| !present && matches!(making, Making::LookAlike(_)), false),
                share(|making, present| !present && !matches!(making, Making::LookAlike(_)), false),
            ]);
        }
    }
    println!("{}", main.to_markdown());
    if !made.is_empty() {
        println!("Newly made clips, shares right:\n\n{}", made.to_markdown());
    }
    if !curves.is_empty() {
        println!("Loss and norms of gradients while learning, means of every tenth of the run:\n\n{}", curves.to_markdown());
    }
    let mut columns = vec![
        "way".to_string(),
        "against the description [95 %]".into(),
        "against the description, yes where it is best [95 %]".into(),
        "against the mean of the grid [95 %]".into(),
        "against the read-outs [95 %]".into(),
        "against its tokens zeroed [95 %]".into(),
        "against tokens as before learning [95 %]".into(),
        "against another's tokens [95 %]".into(),
    ];
    columns.extend(against.map(|way| format!("against `{way}` [95 %]")));
    let mut differences = Table::new(columns.iter().map(String::as_str));
    let mut verdicts = Vec::new();
    let all_controls = [ZEROED, BLANK, ANOTHERS, ANOTHERS_TOKENS, ANOTHERS_ROWS];
    let is_control = |way: &str| all_controls.iter().any(|control| way.ends_with(control));
    for way in ways.iter().filter(|way| way.starts_with("learned") && !is_control(way)) {
        let rows = of(way);
        let mut cells = vec![(*way).to_string()];
        let controls = [ZEROED, BLANK, ANOTHERS].map(|control| format!("{way}{control}"));
        let mut checks = Vec::new();
        let baselines = [(DESCRIBED, false), (DESCRIBED, true), (POOLED, false), (READ_OUTS, false)];
        let others = controls.iter().map(String::as_str).chain(against).map(|name| (name, false));
        for (name, fitted) in baselines.into_iter().chain(others) {
            let its = of(name);
            let has_all = rows.iter().all(|row| same(&its, row).is_some());
            let is_wanted = match name.ends_with(ANOTHERS) {
                // One person alone has nobody to exchange tokens with.
                true => way.contains(BRIDGE),
                false => [DESCRIBED, POOLED].contains(&name) || name.ends_with(ZEROED),
            };
            let control = name.strip_prefix(*way).unwrap_or(name).trim_start_matches(", ");
            let control = format!("{control}{}", if fitted { FITTED } else { "" });
            if is_wanted && !has_all {
                checks.push(ControlCheck { control: format!("{control} (not measured)"), margin: None });
            }
            if its.is_empty() {
                cells.push("-".into());
                continue;
            }
            // The first newcomer has no predecessor whose tokens could be used instead.
            let both = rows.iter().filter_map(|row| Some((same(&its, row)?.clone(), row.clone())));
            let (baseline, own): (Vec<Row>, Vec<Row>) = both.unzip();
            let at = if fitted { fitted_threshold(&its) } else { threshold(&its) };
            let [baseline, own] = [answers(&baseline, at), answers(&own, 0.5)];
            let margin = balanced_difference(&baseline, &own, RESAMPLES, &mut stream(&format!("{way} against {name}")))?;
            cells.push(with_interval(margin));
            // The read-outs see a person as no user can, and another way of learning is no control.
            if has_all && (is_wanted || is_control(name)) {
                checks.push(ControlCheck { control, margin });
            }
        }
        differences.row(cells);
        verdicts.push(((*way).to_string(), Verdict { checks }));
    }
    if !differences.is_empty() {
        println!("{}", differences.to_markdown());
    }
    verdicts.iter().for_each(|(way, verdict)| println!("{way}: {verdict}"));
    Ok(verdicts)
}
