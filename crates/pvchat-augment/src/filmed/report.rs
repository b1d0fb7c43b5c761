//! The report of a dataset: one HTML file with its pictures inside, without scripts, to look at without a network.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{RgbImage, codecs::jpeg::JpegEncoder, imageops};
use pvchat_data::{QaKind, SubjectName};

use super::{
    Blind, ClipRecord, FrameVerdict, Generated, Half, Making, Manifest,
    ask::{Pair, Questions, described},
    maker::read_clip,
    run::count_described,
    source::{Bound, LOOK_RATE, read},
};
use crate::{Error, Result};

/// The report's name.
pub(super) const REPORT: &str = "report.html";
const STYLE: &str = include_str!("report.css");
/// The side of a picture on the page, in pixels, and the quality of its JPEG, 1 to 100.
const THUMBNAIL: u32 = 112;
const QUALITY: u8 = 78;
/// Frames of a clip that are shown.
const SHOWN: usize = 3;
/// Looks at the person that are shown, at most, of those that are used and of those that are not.
const MOST_LOOKS: usize = 18;
/// Clips with samples of their questions.
const SAMPLES: usize = 4;

fn unwritten(error: std::fmt::Error) -> Error {
    Error::Eyes(error.into())
}

/// One of the people on the page.
struct Person<'a> {
    name: SubjectName,
    looks: &'a [FrameVerdict],
    blind: Blind,
    /// The questions about the person, of each clip.
    questions: &'a Questions,
    clip: &'a Path,
    /// Width and height of the frames that the verdicts are about.
    looked: [u32; 2],
}

impl<'a> Person<'a> {
    /// The people of a dataset, with their clips and the size of the frames that the verdicts are about.
    fn all(manifest: &'a Manifest, asked: &'a [Questions], clips: &[(&'a Path, [u32; 2])]) -> Vec<Self> {
        let first = (&manifest.subject, manifest.looks.as_slice(), manifest.blind);
        let others = manifest.others.iter().map(|person| (&person.subject, person.looks.as_slice(), person.blind));
        let all = std::iter::once(first).chain(others).zip(asked).zip(clips);
        let of = |(((name, looks, blind), questions), &(clip, looked))| {
            let name: &SubjectName = name;
            Self { name: name.clone(), looks, blind, questions, clip, looked }
        };
        all.map(of).collect()
    }

    /// Clips of one half that show the person, or do not.
    fn count(&self, manifest: &Manifest, half: Half, shows: bool) -> usize {
        manifest.clips.iter().filter(|clip| clip.half == half && clip.shows(&self.name) == shows).count()
    }

    /// The person's questions of clips for training that show the person, or do not.
    fn about<'b>(&'b self, manifest: &'b Manifest, shows: bool) -> impl Iterator<Item = (&'b ClipRecord, &'b Vec<Pair>)> {
        let clips = manifest.clips.iter().zip(self.questions);
        clips.filter(move |(clip, _)| clip.shows(&self.name) == shows && clip.half == Half::Train)
    }
}

/// Names in a sentence.
fn listed(names: &[SubjectName]) -> String {
    let names: Vec<&str> = names.iter().map(SubjectName::bare).collect();
    match names.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        names => names.concat(),
    }
}

/// Writes the page. With each of the people's clips is the size of the frames that the verdicts are about.
pub(super) fn page(manifest: &Manifest, asked: &[Questions], out: &Path, clips: &[(&Path, [u32; 2])]) -> Result<String> {
    let people = Person::all(manifest, asked, clips);
    let is_several = people.len() > 1;
    let mut html = String::new();
    let title = format!("Dataset of {}", listed(&manifest.names()));
    html += "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n";
    html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    let write = |html: &mut String, text: std::fmt::Arguments<'_>| html.write_fmt(text).map_err(unwritten);
    write(&mut html, format_args!("<title>{0}</title>\n<style>\n{STYLE}</style>\n<main>\n<h1>{0}</h1>\n", escaped(&title)))?;
    html += "<p class=\"faint\">What was made, what was dropped and why. Everything is in this file and nothing was sent anywhere.</p>\n";
    let heading = if is_several { "The people" } else { "The person" };
    html += &"<nav aria-label=\"Parts of this page\"><a href=\"#person\">@</a><a href=\"#positives\">Positives</a>\
             <a href=\"#negatives\">Negatives</a>"
        .replace('@', heading);
    if !manifest.generators.is_empty() {
        html += "<a href=\"#generators\">Generators</a>";
    }
    html += "<a href=\"#dropped\">Dropped</a><a href=\"#questions\">Questions</a>\
             <a href=\"#footage\">Footage</a></nav>\n";
    figures(&mut html, manifest, &people)?;
    notes(&mut html, manifest, &people)?;
    for (number, of) in people.iter().enumerate() {
        person(&mut html, of, number, is_several)?;
    }
    for (id, heading, positive) in [("positives", "Positives", true), ("negatives", "Negatives", false)] {
        write(&mut html, format_args!("<h2 id=\"{id}\">{heading}</h2>\n"))?;
        html += match positive {
            true if is_several => {
                "<p class=\"faint\">The first similarity is that of the face in the made clip to whom it is meant to be, of several the \
                 least; the second is the greatest to anybody of the dataset who is not in the clip.</p>\n"
            }
            true => "<p class=\"faint\">The similarity is that of the face in the made clip to the person.</p>\n",
            false if is_several => {
                "<p class=\"faint\">Strangers, put through the same making; clips of each person serve the others as negatives, too. The \
                 first similarity is to the stranger, the second to the most similar of the people; the most similar come first.</p>\n"
            }
            false => {
                "<p class=\"faint\">Strangers, put through the same making. The first similarity is to the stranger, the second to \
                 the person; the most similar strangers come first.</p>\n"
            }
        };
        let mut clips: Vec<&ClipRecord> = manifest.clips.iter().filter(|clip| clip.positive == positive).collect();
        clips.sort_by(|one, other| other.judged.to_subject.total_cmp(&one.judged.to_subject).then(one.name.cmp(&other.name)));
        html += "<ul class=\"sheet\">\n";
        for clip in clips {
            sheet(&mut html, manifest, clip, out)?;
        }
        html += "</ul>\n";
    }
    generators(&mut html, manifest)?;
    dropped(&mut html, manifest)?;
    questions(&mut html, manifest, asked, &people)?;
    footage(&mut html, manifest)?;
    html += "</main>\n</html>\n";
    Ok(html)
}

fn figures(html: &mut String, manifest: &Manifest, people: &[Person<'_>]) -> Result<()> {
    let asked = |person: &Person<'_>| {
        [true, false].iter().flat_map(|shows| person.about(manifest, *shows)).map(|(_, pairs)| pairs.len()).sum::<usize>()
    };
    let asked: usize = people.iter().map(asked).sum();
    let least = manifest.clips.iter().filter(|clip| clip.positive).map(|clip| clip.judged.similarity).fold(1.0, f32::min);
    let is_other = |clip: &&ClipRecord| people.iter().any(|person| !clip.shows(&person.name));
    let nearest = manifest.clips.iter().filter(is_other).map(|clip| clip.judged.to_subject).fold(-1.0, f32::max);
    let mut rows: Vec<(String, String)> = Vec::new();
    for person in people {
        let who = if people.len() > 1 { person.name.bare() } else { "the person" };
        let count = |half: Half, shows: bool| person.count(manifest, half, shows);
        let (of, with) = (if people.len() > 1 { "without" } else { "of others" }, format!("with {who}"));
        let of = if people.len() > 1 { format!("{of} {who}") } else { of.to_string() };
        rows.push((format!("clips for training {with}"), count(Half::Train, true).to_string()));
        rows.push((format!("clips for training {of}"), count(Half::Train, false).to_string()));
        let test = format!("{} + {}", count(Half::Test, true), count(Half::Test, false));
        rows.push((format!("clips for testing, {with} and {of}"), test));
    }
    if people.len() > 1 {
        let all = |half: Half| {
            let together = |clip: &&ClipRecord| clip.half == half && people.iter().all(|person| clip.shows(&person.name));
            manifest.clips.iter().filter(together).count()
        };
        let names = listed(&manifest.names());
        rows.push((
            format!("clips with {names}, for training and testing"),
            format!("{} + {}", all(Half::Train), all(Half::Test)),
        ));
    }
    rows.extend([
        ("questions for training".into(), asked.to_string()),
        ("least similarity of a positive".into(), format!("{least:.2} (asked for: {:.2})", manifest.thresholds.same)),
        ("greatest similarity of anybody else".into(), format!("{nearest:.2} (bound: {:.2})", manifest.thresholds.other)),
        ("clips that were made and dropped".into(), manifest.dropped.len().to_string()),
    ]);
    for person in people {
        let about = if people.len() > 1 { format!(" about {}", person.name.bare()) } else { String::new() };
        for (what, guess) in [("background", person.blind.background), ("seams", person.blind.seams)] {
            let value = format!("{:.2} (chance up to {:.2})", guess.accuracy, guess.chance);
            rows.push((format!("guessed{about} from the {what} alone"), value));
        }
    }
    if let Some(strangers) = people.first().and_then(|person| person.blind.strangers) {
        rows.push(("control: from the seams alone, which of the strangers is seen".into(), format!("{strangers:.2} on average")));
    }
    // It is the same for everybody.
    if let Some(making) = people.first().and_then(|person| person.blind.making) {
        let value = format!("{:.2} (chance up to {:.2})", making.accuracy, making.chance);
        rows.push(("control: from the seams alone, which clips are only cropped".into(), value));
    }
    html.push_str("<dl>\n");
    for (term, value) in rows {
        writeln!(html, "<div><dt>{}</dt><dd>{value}</dd></div>", escaped(&term)).map_err(unwritten)?;
    }
    html.push_str("</dl>\n");
    Ok(())
}

/// What a reader has to know before training on it.
fn notes(html: &mut String, manifest: &Manifest, people: &[Person<'_>]) -> Result<()> {
    let mut notes: Vec<String> = Vec::new();
    let parts = |person: &Person<'_>| [("background", person.blind.background), ("seams", person.blind.seams)];
    for (person, (what, guess)) in people.iter().flat_map(|person| parts(person).map(|part| (person, part))) {
        let about = if people.len() > 1 { format!(" about {}", person.name.bare()) } else { String::new() };
        let says_who = if what == "seams" { person.blind.seams_reveal() } else { !guess.is_chance() };
        if says_who {
            notes.push(format!(
                "A classifier that sees only the {what} is right{about} in {:.0} % (balanced), above what chance explains: a model can learn \
                 the making in place of the person. More footage of others, in more places, helps.",
                100.0 * guess.accuracy
            ));
        }
    }
    if manifest.describer.is_none() {
        notes.push(
            "No base described the person. Positives are asked for existence only; the questions about appearance, action and location \
             are those of negatives, which refuse: a model that is trained on them alone may learn to refuse such questions always. \
             Give a base (--base), or leave those questions out (--refusals 0)."
                .into(),
        );
    }
    if people.len() > 1 && manifest.clips.iter().all(|clip| clip.company.is_empty()) {
        notes.push(
            "No clip shows several people: their bodies, or those of the strangers, do not fit beside each other, or the identity gate \
             refused such clips. Footage in which bodies are not cut off at the sides helps."
                .into(),
        );
    }
    let exchanged = |positive: bool| {
        let clips = manifest.clips.iter().filter(|clip| clip.half == Half::Train && clip.positive == positive);
        clips.filter(|clip| clip.making == Making::Exchanged).count()
    };
    if manifest.options.exchanged > 0 && exchanged(true) + exchanged(false) == 0 {
        notes.push(
            "No heads were exchanged: none of the strangers fits both as a body for the person's head and as a head.".into(),
        );
    }
    let first = (&manifest.subject, &manifest.spans);
    let others = manifest.others.iter().map(|person| (&person.subject, &person.spans));
    for (name, spans) in std::iter::once(first).chain(others) {
        let of = |half: Half| spans.iter().filter(|(of, _)| *of == half).map(|(_, span)| span).collect::<Vec<_>>();
        if manifest.clips.iter().any(|clip| clip.half == Half::Test) && of(Half::Train) == of(Half::Test) {
            let who = if people.len() > 1 { name.bare() } else { "the person" };
            notes.push(format!(
                "The clip of {who} is too short to hold a stretch back: clips for testing show the stretch that training shows."
            ));
        }
    }
    let strangers = |half: Half| {
        let negatives = manifest.clips.iter().filter(|clip| clip.half == half && !clip.positive);
        // Of several in one file, the stretch says who it is.
        negatives.map(|clip| (clip.figure.0.as_str(), clip.figure.1.map(f64::to_bits))).collect::<BTreeSet<_>>()
    };
    if !strangers(Half::Test).is_disjoint(&strangers(Half::Train)) {
        notes.push("There are too few strangers to hold some back: clips for testing show people whom training shows.".into());
    }
    for note in notes {
        writeln!(html, "<p class=\"note\">{}</p>", escaped(&note)).map_err(unwritten)?;
    }
    Ok(())
}

fn person(html: &mut String, of: &Person<'_>, number: usize, is_several: bool) -> Result<()> {
    let (heading, who) = match is_several {
        true => (escaped(of.name.bare()), escaped(of.name.bare())),
        false => ("The person".to_string(), "the person".to_string()),
    };
    // The navigation leads to the first.
    let id = if number == 0 { " id=\"person\"" } else { "" };
    let (used, refused): (Vec<_>, Vec<_>) = of.looks.iter().partition(|look| look.reasons.is_empty());
    let not_measured = match of.looks.iter().any(|look| look.openness.is_some()) {
        true => "",
        false => " Whether the eyes are open was not measured: the network for it is not installed.",
    };
    writeln!(
        html,
        "<h2{id}>{heading}</h2>\n<p class=\"faint\">{} of {} frames that were looked at pass the filter; the score is out of \
         100.{not_measured}</p>",
        used.len(),
        of.looks.len()
    )
    .map_err(unwritten)?;
    let spread = |looks: &[&FrameVerdict]| -> Vec<f64> {
        let count = looks.len().min(MOST_LOOKS);
        (0..count).filter_map(|number| looks.get(number * looks.len() / count)).map(|look| look.seconds).collect()
    };
    let wanted: Vec<f64> = [spread(&used), spread(&refused)].concat();
    let mut pictures: BTreeMap<u64, String> = BTreeMap::new();
    let last = wanted.iter().copied().fold(0.0, f64::max);
    read(of.clip, LOOK_RATE, [0.0, last], Bound::Longest(of.looked[0].max(of.looked[1])), |frame, seconds| {
        if wanted.contains(&seconds) {
            let look = of.looks.iter().find(|look| look.seconds == seconds);
            pictures.insert(seconds.to_bits(), jpeg(&around(&frame, look.and_then(|look| look.bounds)))?);
        }
        Ok(())
    })?;
    html.push_str("<ul class=\"sheet looks\">\n");
    for look in used.iter().chain(&refused) {
        let Some(picture) = pictures.get(&look.seconds.to_bits()) else { continue };
        let (class, said) = match look.reasons.is_empty() {
            true => ("good", format!("used, score {:.0}", look.score)),
            false => ("bad", look.reasons.join(", ")),
        };
        writeln!(
            html,
            "<li><img alt=\"{who} at {0:.1} seconds\" src=\"{picture}\"><span class=\"{class}\">{1}</span><br>{0:.1} s</li>",
            look.seconds,
            escaped(&said)
        )
        .map_err(unwritten)?;
    }
    html.push_str("</ul>\n");
    Ok(())
}

/// A square of a frame around a face, or its middle.
fn around(frame: &RgbImage, face: Option<[f32; 4]>) -> RgbImage {
    let [left, top, right, bottom] = face.unwrap_or([0.0, 0.0, frame.width() as f32, frame.height() as f32]);
    let side = (1.8 * (right - left).max(bottom - top)).clamp(16.0, frame.width().min(frame.height()) as f32);
    let begin = |middle: f32, most: u32| (middle - side / 2.0).clamp(0.0, (most as f32 - side).max(0.0)) as u32;
    let (x, y) = (begin((left + right) / 2.0, frame.width()), begin((top + bottom) / 2.0, frame.height()));
    let part = imageops::crop_imm(frame, x, y, side as u32, side as u32).to_image();
    imageops::thumbnail(&part, THUMBNAIL, THUMBNAIL)
}

/// Some frames of a clip side by side, as an address that holds the picture.
pub(super) fn strip(frames: &[RgbImage]) -> Result<String> {
    let mut strip = RgbImage::new(THUMBNAIL * SHOWN as u32 + 4 * (SHOWN as u32 - 1), THUMBNAIL);
    for number in 0..SHOWN {
        if let Some(frame) = frames.get((2 * number + 1) * frames.len() / (2 * SHOWN)) {
            let small = imageops::thumbnail(frame, THUMBNAIL, THUMBNAIL);
            imageops::replace(&mut strip, &small, number as i64 * i64::from(THUMBNAIL + 4), 0);
        }
    }
    jpeg(&strip)
}

fn sheet(html: &mut String, manifest: &Manifest, clip: &ClipRecord, out: &Path) -> Result<()> {
    let options = &manifest.options;
    let (frames, _) = read_clip(&out.join(&clip.file), f64::from(options.rate), options.size)?;
    let half = if clip.half == Half::Test { ", for testing" } else { "" };
    let making = match clip.making {
        Making::Untouched => "untouched".to_string(),
        Making::Composed => format!("in {}", clip.place),
        Making::Exchanged => {
            let body = clip.body.as_ref().map_or("somebody else", |(body, _)| body.as_str());
            format!("with the body of {body}, in {}", clip.place)
        }
        Making::Generated => clip.place.clone(),
    };
    let names = manifest.names();
    let absent = names.iter().filter(|name| !clip.shows(name)).count();
    let to = if names.len() > 1 { "to others of the dataset" } else { "to the person" };
    let similarity = match absent {
        0 => format!("similarity {:.2}", clip.judged.similarity),
        _ => format!(
            "similarity {:.2}, {to} {:.2}{}",
            clip.judged.similarity,
            clip.judged.to_subject,
            if clip.hard { ", one of the most similar" } else { "" }
        ),
    };
    let who = shown(manifest, clip);
    let prompt = clip.generated.as_ref().map(prompt).unwrap_or_default();
    writeln!(
        html,
        "<li><img alt=\"three frames of clip {}\" src=\"{}\">{}, {}{half}<br><span class=\"faint\">{similarity}<br>{}</span>{prompt}</li>",
        clip.name,
        strip(&frames)?,
        escaped(&who),
        escaped(&making),
        clip.name
    )
    .map_err(unwritten)
}

/// Who is in a clip.
fn shown(manifest: &Manifest, clip: &ClipRecord) -> String {
    let is_present = |name: &&SubjectName| clip.shows(name);
    let mut all: Vec<String> = manifest.names().iter().filter(is_present).map(|name| name.bare().to_string()).collect();
    if !clip.positive {
        let file = &clip.figure.0;
        // Without a corpus strangers are in the clips of the people.
        let is_reference = is_reference(manifest, file);
        all.push(if is_reference { format!("somebody else in {file}") } else { file.clone() });
    }
    let others = manifest.names().len().saturating_sub(1);
    // Of company, those are named by their files who are nobody of the dataset.
    if all.len() <= others {
        all.extend(clip.company.iter().map(|(file, _)| file.clone()));
    }
    all.join(" with ")
}

/// Whether a file is the clip of one of the people.
fn is_reference(manifest: &Manifest, file: &str) -> bool {
    let others = manifest.others.iter().map(|person| &person.reference);
    std::iter::once(&manifest.reference).chain(others).any(|source| source.name == file)
}

/// What a clip was generated of.
fn prompt(made: &Generated) -> String {
    let mut said = made.prompt.clone();
    if let Some(driving) = &made.driving {
        said = format!("{said} Moved like {driving}.");
    }
    if let Some(still) = &made.still {
        said = format!("{said} From a still: {}", still.prompt);
    }
    format!("<details><summary>Prompt</summary>{} Seed {}.</details>", escaped(said.trim()), made.seed)
}

/// The programs that generated clips, and what became of these.
fn generators(html: &mut String, manifest: &Manifest) -> Result<()> {
    if manifest.generators.is_empty() {
        return Ok(());
    }
    html.push_str(
        "<h2 id=\"generators\">Generators</h2>\n<p class=\"faint\">Programs of others that made clips of the person and of strangers, \
         in the same scenes and proportions. Where fewer of one kind pass the identity gate, fewer of the other are used.</p>\n",
    );
    let columns = ["generator", "#asked for, the person + others", "#passed the gate", "#used"];
    begin_table(html, "Clips of each generator", &columns)?;
    for used in &manifest.generators {
        let both = |[ours, theirs]: [usize; 2]| format!("{ours} + {theirs}");
        writeln!(
            html,
            "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            escaped(&used.name),
            both(used.asked),
            both(used.passed),
            both(used.used)
        )
        .map_err(unwritten)?;
    }
    html.push_str("</table></div>\n");
    // What the programs say of themselves; one that was replaced between two runs says two things.
    let made = manifest.clips.iter().filter_map(|clip| clip.generated.as_ref());
    let all = made.flat_map(|made| std::iter::once(made).chain(made.still.as_deref()));
    let known: BTreeSet<[&str; 5]> = all
        .map(|made| {
            let of = &made.provenance;
            [made.generator.as_str(), &of.program, &of.version, &of.model, &of.licence]
        })
        .collect();
    if known.is_empty() {
        return Ok(());
    }
    begin_table(html, "What generators say of themselves", &["generator", "program", "version", "model", "licence"])?;
    for said in known {
        let cells: Vec<String> = said.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        writeln!(html, "<tr>{}</tr>", cells.concat()).map_err(unwritten)?;
    }
    html.push_str("</table></div>\n");
    Ok(())
}

fn dropped(html: &mut String, manifest: &Manifest) -> Result<()> {
    html.push_str("<h2 id=\"dropped\">Dropped</h2>\n");
    if manifest.dropped.is_empty() {
        html.push_str("<p>The identity gate dropped no clip.</p>\n");
        return Ok(());
    }
    html.push_str(
        "<p class=\"faint\">Clips that were made and that the identity gate refused; others were drawn in their place.</p>\n",
    );
    begin_table(html, "Clips that were dropped", &["frames", "was to show", "how", "in", "#similarity", "why"])?;
    for dropped in &manifest.dropped {
        let who = match (dropped.positive, dropped.present.as_slice()) {
            (true, []) => manifest.subject.bare().to_string(),
            (true, present) => listed(present),
            (false, _) => dropped.figure.clone(),
        };
        writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"number\">{:.2}</td><td>{}</td></tr>",
            match &dropped.picture {
                Some(picture) => format!("<img alt=\"three frames of the dropped clip\" src=\"{picture}\">"),
                None => "not drawn".into(),
            },
            escaped(&who),
            match dropped.making {
                Making::Untouched => "untouched",
                Making::Composed => "composed",
                Making::Exchanged => "with another body",
                Making::Generated => "generated",
            },
            escaped(&dropped.place),
            dropped.judged.similarity,
            escaped(dropped.judged.refused.as_deref().unwrap_or_default())
        )
        .map_err(unwritten)?;
    }
    html.push_str("</table></div>\n");
    Ok(())
}

fn questions(html: &mut String, manifest: &Manifest, asked: &[Questions], people: &[Person<'_>]) -> Result<()> {
    html.push_str("<h2 id=\"questions\">Questions and answers</h2>\n");
    begin_table(html, "Questions of each kind", &["kind", "#about positives", "#about negatives"])?;
    for kind in std::iter::once(QaKind::Existence).chain(described(&manifest.options)) {
        let of = |positive: bool| {
            let pairs = people.iter().flat_map(|person| person.about(manifest, positive)).flat_map(|(_, pairs)| pairs);
            pairs.filter(|(known, _)| *known == kind).count()
        };
        let (ours, theirs) = (of(true), of(false));
        writeln!(html, "<tr><td>{kind}</td><td class=\"number\">{ours}</td><td class=\"number\">{theirs}</td></tr>")
            .map_err(unwritten)?;
    }
    html.push_str("</table></div>\n");
    let [wanted, kept] = count_described(manifest, asked);
    if wanted > 0 {
        let by = manifest
            .refiner
            .iter()
            .fold(manifest.describer.clone().unwrap_or_default(), |by, refiner| format!("{by}; rewritten by {refiner}"));
        writeln!(html, "<p>{kept} of {wanted} descriptions of positives were kept, for testing too ({}).</p>", escaped(&by))
            .map_err(unwritten)?;
    }
    for (person, positive) in people.iter().flat_map(|person| [true, false].map(|positive| (person, positive))) {
        let clips = person.about(manifest, positive);
        let heading = match (people.len() > 1, positive) {
            (false, true) => "Samples about positives".to_string(),
            (false, false) => "Samples about negatives".to_string(),
            (true, true) => format!("Samples about {0}, of clips with {0}", escaped(person.name.bare())),
            (true, false) => format!("Samples about {0}, of clips without {0}", escaped(person.name.bare())),
        };
        writeln!(html, "<details><summary>{heading}</summary>").map_err(unwritten)?;
        begin_table(html, &heading, &["clip", "question", "answer"])?;
        for (clip, pairs) in clips.take(SAMPLES) {
            let existence = pairs.iter().filter(|(kind, _)| *kind == QaKind::Existence).take(2);
            let others = pairs.iter().filter(|(kind, _)| *kind != QaKind::Existence).take(6);
            for (_, pair) in existence.chain(others) {
                let [question, answer] = [&pair.question, &pair.answer].map(|text| escaped(text));
                writeln!(html, "<tr><td>{}</td><td>{question}</td><td>{answer}</td></tr>", clip.name).map_err(unwritten)?;
            }
        }
        html.push_str("</table></div></details>\n");
    }
    Ok(())
}

fn footage(html: &mut String, manifest: &Manifest) -> Result<()> {
    html.push_str("<h2 id=\"footage\">Footage</h2>\n");
    begin_table(html, "Footage that was used", &["file", "licence", "SHA-256"])?;
    let references = manifest.others.iter().map(|person| &person.reference);
    for source in std::iter::once(&manifest.reference).chain(references).chain(&manifest.corpus) {
        let licence = source.licence.as_deref().unwrap_or("not stated");
        let digest = source.sha256.get(..16).unwrap_or(&source.sha256);
        writeln!(html, "<tr><td>{}</td><td>{}</td><td>{digest}…</td></tr>", escaped(&source.name), escaped(licence))
            .map_err(unwritten)?;
    }
    html.push_str("</table></div>\n");
    if let Some(spared) = manifest.spared {
        writeln!(
            html,
            "<p>An index knows {} of the files; of these {} were looked at: those of the most similar strangers, of others drawn at random, and \
             of nobody.</p>",
            spared.known, spared.looked_at
        )
        .map_err(unwritten)?;
    }
    if !manifest.left_out.is_empty() {
        html.push_str("<p>Not used:</p>\n");
        begin_table(html, "Footage that was not used", &["file", "why"])?;
        for left_out in &manifest.left_out {
            writeln!(html, "<tr><td>{}</td><td>{}</td></tr>", escaped(&left_out.name), escaped(&left_out.reason))
                .map_err(unwritten)?;
        }
        html.push_str("</table></div>\n");
    }
    let models = manifest.models.iter().map(|model| format!("{} ({}, {})", model.id, model.role, model.licence));
    let describer = manifest.describer.as_deref().map_or_else(String::new, |name| format!(" Descriptions: {name}."));
    writeln!(
        html,
        "<p class=\"faint\">Networks: {}.{} Seed {}, pvchat {}, FFmpeg {}. Licences are those of files; what people in them allow is \
         another question.</p>",
        escaped(&models.collect::<Vec<_>>().join("; ")),
        escaped(&describer),
        manifest.options.seed,
        escaped(&manifest.pvchat),
        escaped(&manifest.ffmpeg)
    )
    .map_err(unwritten)
}

/// Begins a table that scrolls where it is too wide, with the keyboard too, under a name that is read out. Columns of numbers begin
/// with `#`. `name` and columns are HTML.
fn begin_table(html: &mut String, name: &str, columns: &[&str]) -> Result<()> {
    let head = |column: &&str| match column.strip_prefix('#') {
        Some(column) => format!("<th scope=\"col\" class=\"number\">{column}</th>"),
        None => format!("<th scope=\"col\">{column}</th>"),
    };
    let columns: String = columns.iter().map(head).collect();
    let scrolls = format!("<div class=\"table\" tabindex=\"0\" role=\"region\" aria-label=\"{name}\">");
    writeln!(html, "{scrolls}<table>\n<tr>{columns}</tr>").map_err(unwritten)
}

fn jpeg(picture: &RgbImage) -> Result<String> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(picture).map_err(|error| Error::Eyes(error.into()))?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}

/// Text for HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
