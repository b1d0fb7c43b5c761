//! `pvchat timeline`: who is in long footage, when and where, as rows.

use std::path::PathBuf;

use clap::ValueEnum;
use pvchat::{Footage, People, faces::Verdict};
use serde::Serialize;

use crate::{
    answer::BoxOf,
    common::Common,
    failure::{Exit, Failure, Outcome},
    output::Output,
    who::{self, WatchedBody},
    words,
};

mod formats;

const EXAMPLES: &str = "\
Examples:
  pvchat timeline lunch.mp4
  pvchat timeline lunch.mp4 --unknown --format srt > lunch.srt     subtitles with the names of the people seen
  pvchat timeline cam1.mp4 cam2.mp4 --format csv > who.csv         each row names its file

A row is one person in one interval of a video: subject, start, end, confidence, and the box of the best face. A run that was
interrupted or killed resumes when it is started again. A video is not processed again unless somebody was enrolled,
corrected or forgotten since. Of several files, one that cannot be read is reported and left out.
Exit codes: 0 done, 1 a file cannot be read, 130 interrupted.";

/// Lists who is in one or more videos, when, and where in the picture.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Videos or pictures.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The output format of the rows.
    #[arg(long, env = "PVCHAT_FORMAT", hide_env_values = true, default_value = "text", value_name = "FORMAT")]
    format: Format,
    /// Also lists people who are not enrolled, as person 1, 2, ...
    #[arg(long)]
    unknown: bool,
}

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A plain table.
    Text,
    /// Subtitles, SubRip.
    Srt,
    /// Subtitles, WebVTT.
    Vtt,
    /// Comma-separated values, with a header.
    Csv,
    /// One JSON object per row, one per line.
    Jsonl,
    /// One JSON object.
    Json,
}

/// Somebody in a stretch of a video.
#[derive(Serialize)]
pub struct Row {
    #[serde(serialize_with = "words::lossy")]
    pub file: PathBuf,
    /// A name, or `person 1`.
    pub subject: String,
    /// The first and the last face, in seconds.
    pub start: f64,
    pub end: f64,
    /// The probability that it is the subject, 0 to 1; none for strangers.
    pub confidence: Option<f32>,
    /// Yes, or not sure; no for strangers.
    pub verdict: Verdict,
    /// The best face, in pixels.
    #[serde(rename = "box")]
    pub bounds: BoxOf,
    /// When it is seen, in seconds.
    pub best: f64,
}

#[derive(Serialize)]
struct TimelineBody<'a> {
    videos: Vec<WatchedBody<'a>>,
    rows: &'a [Row],
    /// Files that cannot be read, and why.
    failed: &'a [(String, String)],
}

impl Arguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        let (people, output) = (common.people()?, common.output());
        let format = if common.json && self.format != Format::Jsonl { Format::Json } else { self.format };
        if self.files.len() > 1 && matches!(format, Format::Srt | Format::Vtt) {
            let message = "subtitles are of one video; give one file, or choose --format csv, jsonl or text";
            return Err(Failure { exit: Exit::Usage, reason: "usage", ..Failure::failed(message) });
        }
        if people.gallery().names()?.is_empty() && !self.unknown {
            output.note("note: nobody is enrolled, so nobody can be named");
        }
        let is_streamed = matches!(format, Format::Text | Format::Csv | Format::Jsonl);
        let (mut watched, mut rows): (Vec<(PathBuf, Footage)>, Vec<Row>) = (Vec::new(), Vec::new());
        if format == Format::Csv {
            output.text(formats::CSV_HEADER)?;
        }
        let (mut failed, mut widths) = (Vec::new(), self.widths(&people)?);
        for file in &self.files {
            let footage = match who::watch(&people, &output, file) {
                // One of several files does not take the rows of the others along.
                Err(failure) if failure.exit == Exit::Failed && self.files.len() > 1 => {
                    output.complain(&failure);
                    failed.push((file.to_string_lossy().into_owned(), failure.message));
                    continue;
                }
                footage => footage?,
            };
            let mut own = self.rows(&people, file, &footage);
            if is_streamed {
                self.write(&output, format, &own, &mut widths)?;
            } else {
                rows.append(&mut own);
            }
            watched.push((file.clone(), footage));
        }
        match format {
            Format::Srt if rows.is_empty() => {}
            Format::Srt => output.text(formats::srt(&rows).trim_end())?,
            Format::Vtt => output.text(formats::vtt(&rows).trim_end())?,
            Format::Json => {
                let videos = watched.iter().map(|(file, footage)| WatchedBody::of(file, footage)).collect();
                output.json("timeline", &TimelineBody { videos, rows: &rows, failed: &failed })?;
            }
            Format::Text | Format::Csv | Format::Jsonl => {}
        }
        if failed.is_empty() {
            return Ok(Exit::Answered);
        }
        output.note(format!("left out: {} of {}", failed.len(), words::count(self.files.len(), "file")));
        Ok(Exit::Failed)
    }

    /// The least widths of the columns of a table about several files, each of which is written when it is done.
    fn widths(&self, people: &People) -> Outcome<Vec<usize>> {
        if self.files.len() < 2 {
            return Ok(Vec::new());
        }
        let longest = |lengths: &mut dyn Iterator<Item = usize>, least: &str| lengths.fold(least.len(), usize::max);
        let files = longest(&mut self.files.iter().map(|file| words::shown(file).chars().count()), "");
        let stranger = if self.unknown { "person 1" } else { "" };
        let names = people.gallery().names()?;
        let names = longest(&mut names.iter().map(|name| name.bare().chars().count() + "?".len()), stranger);
        Ok(vec![files, "00:00 to 00:00".len(), names, "100 %".len()])
    }

    /// The rows of one video, in the order of time.
    fn rows(&self, people: &People, file: &std::path::Path, footage: &Footage) -> Vec<Row> {
        let mut rows = Vec::new();
        for appearance in &footage.timeline.people {
            let is_known = appearance.subject.is_some();
            if !is_known && !self.unknown {
                continue;
            }
            for moment in &appearance.moments {
                rows.push(Row {
                    file: file.to_path_buf(),
                    subject: who::subject(appearance),
                    start: words::millis(moment.start),
                    end: words::millis(moment.end),
                    confidence: is_known.then(|| people.calibration().probability(moment.similarity)),
                    // Without a face that identifies a person nobody can be ruled out.
                    verdict: if !is_known && appearance.telling_faces == 0 { Verdict::NotSure } else { appearance.verdict },
                    bounds: BoxOf::from(moment.bounds),
                    best: words::millis(moment.best),
                });
            }
        }
        rows.sort_by(|one, other| one.start.total_cmp(&other.start));
        rows
    }

    fn write(&self, output: &Output, format: Format, rows: &[Row], widths: &mut Vec<usize>) -> Outcome<()> {
        match format {
            Format::Csv if !rows.is_empty() => output.text(formats::csv(rows).trim_end())?,
            Format::Jsonl => rows.iter().try_for_each(|row| output.json("row", row))?,
            Format::Text if !rows.is_empty() => output.text(formats::text(rows, self.files.len() > 1, widths))?,
            Format::Text if self.unknown => output.note("nobody is seen"),
            Format::Text => output.note("nobody who is enrolled is seen; --unknown lists everybody"),
            _ => {}
        }
        Ok(())
    }
}

/// The name of a row's subject, with a mark where it is not sure.
pub fn named(row: &Row) -> String {
    let mark = if row.verdict == Verdict::NotSure { "?" } else { "" };
    words::clean(&format!("{}{mark}", row.subject))
}
