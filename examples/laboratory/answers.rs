//! The file of answers, and the tables that are made from it.

use std::{fs, path::Path};

use pvchat::{
    augment::exchange::Making,
    data::random::SeededStream,
    eval::{
        accuracy::{ClipClass, ExistenceAnswer, ExistenceScore, balanced_difference, balanced_estimate},
        presence::Presence,
        table::{Table, fraction, with_interval},
    },
    miniature::exam::Cast,
};
use pvchat_examples::{at, examination::Outcome};
use serde::{Deserialize, Serialize};

/// Resamples of intervals.
const RESAMPLES: usize = 2000;
pub const DESCRIBED: &str = "the base's description in the prompt";
pub const POOLED: &str = "cosine of the mean of the grid's tokens";
pub const READ_OUTS: &str = "cosine of the read-outs of people";
/// What is added to the name of a way whose tokens and rows were zeroed after learning.
pub const ZEROED: &str = ", tokens and rows zeroed";
/// The same with the tokens and rows of another character of the group in their place.
pub const ANOTHERS: &str = ", another's tokens and rows";

/// All answers of one way about one character.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    // A line that was being written when the program was killed.
    let whole = text.lines().filter(|line| line.ends_with('}'));
    whole.map(|line| Ok(serde_json::from_str(line)?)).collect()
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

/// The row of the same character, of the same seed of training where there is one.
fn same<'r>(rows: &'r [Row], row: &Row) -> Option<&'r Row> {
    let of = || rows.iter().filter(|other| other.character == row.character);
    of().find(|other| other.seed == row.seed).or_else(|| of().next())
}

/// Where yes begins: at even odds for probabilities; for cosines where it is best for these very answers, which favours them.
pub fn threshold(rows: &[Row]) -> f32 {
    if !rows.iter().any(|row| row.way.starts_with("cosine")) {
        return 0.5;
    }
    let candidates = (0..200).map(|step| step as f32 / 100.0 - 1.0);
    let right = |threshold: f32| ExistenceScore::of(&answers(rows, threshold)).balanced().unwrap_or(0.0);
    candidates.max_by(|one, other| right(*one).total_cmp(&right(*other))).unwrap_or(0.5)
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

/// The tables of an examination, and paired differences from the way `against`.
pub fn table(all: &[Row], exam: u64, against: Option<&str>) -> Outcome<()> {
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
    let mut stream = SeededStream::new(1);
    let mut main = Table::new([
        "way",
        "characters x seeds",
        "positives",
        "look-alikes 2",
        "look-alikes 1",
        "random",
        "balanced [95 %]",
        "seconds",
    ]);
    let mut made = Table::new(["way", "made with the character", "made look-alikes", "made strangers"]);
    for way in &ways {
        let rows = of(way);
        let at = threshold(&rows);
        let estimate = balanced_estimate(&answers(&rows, at), RESAMPLES, &mut stream);
        let [positives, two, one, random] = shares(&rows, at);
        let seconds = rows.iter().map(|row| row.seconds).sum::<f64>() / rows.len() as f64;
        let seeds = rows.iter().map(|row| row.seed).collect::<std::collections::BTreeSet<_>>().len();
        let count = format!("{} x {seeds}", rows.len() / seeds.max(1));
        let seconds = if seconds > 0.0 { format!("{seconds:.0}") } else { "-".into() };
        main.row([(*way).to_string(), count, positives, two, one, random, with_interval(estimate), seconds]);
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
    let mut columns = vec![
        "way".to_string(),
        "against the description [95 %]".into(),
        "against the mean of the grid [95 %]".into(),
        "against the read-outs [95 %]".into(),
        "against its tokens zeroed [95 %]".into(),
        "against another's tokens [95 %]".into(),
    ];
    columns.extend(against.map(|way| format!("against `{way}` [95 %]")));
    let mut differences = Table::new(columns.iter().map(String::as_str));
    let is_control = |way: &str| way.ends_with(ZEROED) || way.ends_with(ANOTHERS);
    for way in ways.iter().filter(|way| way.starts_with("learned") && !is_control(way)) {
        let rows = of(way);
        let mut cells = vec![(*way).to_string()];
        let controls = [ZEROED, ANOTHERS].map(|control| format!("{way}{control}"));
        for baseline in [DESCRIBED, POOLED, READ_OUTS].into_iter().chain(controls.iter().map(String::as_str)).chain(against) {
            let its = of(baseline);
            if its.is_empty() {
                cells.push("-".into());
                continue;
            }
            // The first newcomer has no predecessor whose tokens could be used instead.
            let both = rows.iter().filter_map(|row| Some((same(&its, row)?.clone(), row.clone())));
            let (baseline, own): (Vec<Row>, Vec<Row>) = both.unzip();
            let [baseline, own] = [answers(&baseline, threshold(&its)), answers(&own, 0.5)];
            let difference = balanced_difference(&baseline, &own, RESAMPLES, &mut stream);
            cells.push(with_interval(difference?));
        }
        differences.row(cells);
    }
    if !differences.is_empty() {
        println!("{}", differences.to_markdown());
    }
    Ok(())
}
