//! The size, blur, darkness and tilt from which on people are no longer recognised, and whether the limits on quality refuse the
//! faces that would be confused.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{self, Cursor, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use image::{
    Rgb, RgbImage,
    codecs::jpeg::JpegEncoder,
    imageops::{self, FilterType},
};
use pvchat::{
    data::file::read_json,
    eval::table::Table,
    faces::{Calibration, EmbedderKind, FindOptions, Finder, Verdict, cosine},
    nn::device,
    video::{SamplingPlan, VideoReader},
};
use pvchat_examples::{
    demo::drawing::{Canvas, Style},
    exit_code, models_folder,
    progress::bar,
    truth::{KnownFile, KnownPeople},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures recognition of pictures that are made smaller, blurred, darker, tilted and so on, against clean ones; and of the
/// second halves of clips against the first halves.
#[derive(Parser)]
#[command(name = "people_limits", version)]
struct Arguments {
    /// A folder with a manifest.json, as for people_exam; its colour pictures are used.
    folder: PathBuf,
    /// A folder of clips that show another person each: the second half of each is looked for.
    #[arg(long, value_name = "DIR")]
    clips: Option<PathBuf>,
    /// Where the models are.
    #[arg(long, env = "PVCHAT_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
    /// Also draws what a face of this clip looks like under some of the conditions, and what is said of it; wants `--to`.
    #[arg(long, value_name = "CLIP", requires = "to")]
    sheet: Option<PathBuf>,
    /// The PNG file of `--sheet`.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Pictures to degrade, at most.
    #[arg(long, default_value_t = 60)]
    probes: usize,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A picture with a good face.
struct Clean {
    identity: String,
    picture: RgbImage,
    centre: [f32; 2],
    width: f32,
    embedding: Vec<f32>,
}

/// A way to make a picture worse.
enum Condition {
    Face(f32),
    Blur(f32),
    Motion(u32),
    Dark(f32),
    Jpeg(u8),
    Roll(f32),
    Grey,
    Letterbox,
    Mirror,
}

impl Condition {
    fn words(&self) -> String {
        match self {
            Self::Face(pixels) => format!("face {pixels} px"),
            Self::Blur(sigma) => format!("100 px, blur {sigma} px"),
            Self::Motion(pixels) => format!("100 px, motion {pixels} px"),
            Self::Dark(factor) => format!("100 px, dark x{factor}"),
            Self::Jpeg(quality) => format!("100 px, JPEG {quality}"),
            Self::Roll(degrees) => format!("100 px, roll {degrees}"),
            Self::Grey => "100 px, grey".into(),
            Self::Letterbox => "100 px, letterboxed".into(),
            Self::Mirror => "100 px, mirrored".into(),
        }
    }

    /// The surroundings of a face, made worse.
    fn apply(&self, clean: &Clean) -> Outcome<RgbImage> {
        let size = if let Self::Face(pixels) = self { *pixels } else { 100.0 };
        let picture = surroundings(clean, size);
        Ok(match self {
            Self::Face(_) => picture,
            Self::Blur(sigma) => imageops::blur(&picture, *sigma),
            Self::Motion(pixels) => smear(&picture, *pixels),
            Self::Dark(factor) => darken(&picture, *factor),
            Self::Jpeg(quality) => {
                let mut bytes = Vec::new();
                JpegEncoder::new_with_quality(&mut bytes, *quality).encode_image(&picture)?;
                image::ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.decode()?.into_rgb8()
            }
            Self::Roll(degrees) => turn(&picture, *degrees),
            Self::Grey => image::DynamicImage::ImageLuma8(imageops::grayscale(&picture)).into_rgb8(),
            Self::Letterbox => {
                let mut wide = RgbImage::new(3 * picture.width(), 2 * picture.height());
                imageops::overlay(&mut wide, &picture, i64::from(picture.width()), i64::from(picture.height() / 2));
                wide
            }
            Self::Mirror => imageops::flip_horizontal(&picture),
        })
    }
}

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Outcome<()> {
    // Not `println!`, which panics when nobody reads any more.
    let mut out = io::stdout().lock();
    let models = models_folder(arguments.models.clone());
    let device = device::default_device()?;
    let finder = Finder::open(&models, EmbedderKind::MobileFaceNet, FindOptions::default(), &device)?;
    let calibration = Calibration::shipped(EmbedderKind::MobileFaceNet)?;
    if let Some(clips) = &arguments.clips {
        halves(&finder, &calibration, clips, &mut out)?;
    }
    if let (Some(clip), Some(file)) = (&arguments.sheet, &arguments.to) {
        sheet(&finder, &calibration, clip)?.save(file).map_err(|error| format!("{}: {error}", file.display()))?;
        return Ok(());
    }
    let clean = clean(&finder, &arguments.folder)?;
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    clean.iter().for_each(|one| *count.entry(&one.identity).or_default() += 1);
    let probes: Vec<&Clean> = clean.iter().filter(|one| count[one.identity.as_str()] > 1).take(arguments.probes).collect();
    let conditions = conditions();
    let progress = bar("making pictures worse", conditions.len());
    let mut table = Table::new([
        "condition",
        "face found",
        "good enough",
        "recognised",
        "not sure",
        "wrong no",
        "wrong yes",
        "strangers not sure",
        "sharpness",
        "detail",
    ]);
    for condition in &conditions {
        let (mut found, mut good, mut sharpness, mut detail) = (0, 0, Vec::new(), Vec::new());
        let (mut yes, mut unsure, mut same, mut wrong, mut unsure_others, mut others) = (0, 0, 0, 0, 0, 0);
        for probe in &probes {
            let seen = finder.faces(&condition.apply(probe)?)?;
            let best = seen.iter().max_by(|one, other| one.face.bounds.area().total_cmp(&other.face.bounds.area()));
            found += usize::from(best.is_some());
            let embedding = best.and_then(|seen| seen.embedding.as_ref());
            good += usize::from(embedding.is_some());
            sharpness.extend(best.map(|seen| seen.quality.sharpness));
            detail.extend(best.filter(|seen| seen.embedding.is_some()).map(|seen| seen.quality.strength));
            let is_telling = best.is_some_and(|seen| seen.embedding.is_some() && seen.quality.is_telling());
            for other in clean.iter().filter(|other| !std::ptr::eq(*other, *probe)) {
                let similarity = embedding.map_or(-1.0, |embedding| cosine(embedding, &other.embedding));
                // As in the program: a person who is too blurred may be anybody.
                let verdict = match calibration.verdict(similarity, 1) {
                    Verdict::No if !is_telling => Verdict::NotSure,
                    verdict => verdict,
                };
                if other.identity == probe.identity {
                    same += 1;
                    yes += usize::from(verdict == Verdict::Yes);
                    unsure += usize::from(verdict == Verdict::NotSure);
                } else {
                    others += 1;
                    wrong += usize::from(verdict == Verdict::Yes);
                    unsure_others += usize::from(verdict == Verdict::NotSure);
                }
            }
        }
        let median = |values: &mut Vec<f32>| {
            values.sort_by(f32::total_cmp);
            values.get(values.len() / 2).map_or(String::new(), |middle| format!("{middle:.2}"))
        };
        let share = |part: usize, whole: usize| format!("{:.3}", part as f64 / whole.max(1) as f64);
        table.row(vec![
            condition.words(),
            share(found, probes.len()),
            share(good, probes.len()),
            share(yes, same),
            share(unsure, same),
            share(same - yes - unsure, same),
            format!("{:.4}", wrong as f64 / others.max(1) as f64),
            share(unsure_others, others),
            median(&mut sharpness),
            median(&mut detail),
        ]);
        progress.inc(1);
    }
    progress.finish_and_clear();
    writeln!(
        out,
        "{} probes against {} clean pictures; a face that is not found, not good enough, or too blurred to say no counts as not sure.\n",
        probes.len(),
        clean.len()
    )?;
    writeln!(out, "{}", table.to_markdown())?;
    Ok(())
}

fn conditions() -> Vec<Condition> {
    let mut conditions: Vec<Condition> = [100.0, 64.0, 48.0, 40.0, 32.0, 24.0, 20.0, 16.0].map(Condition::Face).into();
    conditions.extend([1.0, 2.0, 3.0, 4.0, 6.0, 9.0].map(Condition::Blur));
    conditions.extend([7, 13, 21].map(Condition::Motion));
    conditions.extend([0.3, 0.15, 0.08, 0.04].map(Condition::Dark));
    conditions.extend([30, 15, 8].map(Condition::Jpeg));
    conditions.extend([15.0, 30.0, 45.0, 60.0].map(Condition::Roll));
    conditions.extend([Condition::Grey, Condition::Letterbox, Condition::Mirror]);
    conditions
}

/// The colour pictures in which a good face of 60 pixels or more is found.
fn clean(finder: &Finder, folder: &Path) -> Outcome<Vec<Clean>> {
    let manifest: KnownPeople = read_json(&folder.join("manifest.json"), 64 << 20)?;
    let entries = manifest.entries.into_iter().filter(|entry| entry.kind == "image" && !entry.grey && !entry.several_people);
    let entries: Vec<KnownFile> = entries.collect();
    let progress = bar("looking at clean pictures", entries.len());
    let mut clean = Vec::new();
    for KnownFile { file, identity, .. } in entries {
        progress.inc(1);
        let Some(identity) = identity else { continue };
        let mut clip = VideoReader::open(folder.join(&file))?.sample(&SamplingPlan::Uniform(1))?;
        let Some(picture) = clip.frames.pop() else { continue };
        let seen = finder.faces(&picture)?;
        let best = seen.into_iter().max_by(|one, other| one.face.bounds.area().total_cmp(&other.face.bounds.area()));
        if let Some((face, embedding)) = best.and_then(|seen| Some((seen.face, seen.embedding?)))
            && face.bounds.width() >= 60.0
        {
            let (centre, width) = (face.bounds.centre(), face.bounds.width());
            clean.push(Clean { identity, picture, centre, width, embedding });
        }
    }
    progress.finish_and_clear();
    Ok(clean)
}

/// A square of 2.4 faces a side, in which the face is `size` pixels wide.
fn surroundings(clean: &Clean, size: f32) -> RgbImage {
    let side = (2.4 * clean.width) as i64;
    let [x, y] = clean.centre.map(|value| value as i64);
    let mut square = RgbImage::new(side.max(1) as u32, side.max(1) as u32);
    imageops::overlay(&mut square, &clean.picture, side / 2 - x, side / 2 - y);
    let target = (2.4 * size).round().max(1.0) as u32;
    imageops::resize(&square, target, target, if (side as u32) > target { FilterType::Triangle } else { FilterType::CatmullRom })
}

/// Each pixel becomes the mean of those along a line.
fn smear(picture: &RgbImage, pixels: u32) -> RgbImage {
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let mut sum = [0u32; 3];
        for step in 0..pixels {
            let at = (x + step).saturating_sub(pixels / 2).min(picture.width() - 1);
            sum.iter_mut().zip(picture.get_pixel(at, y).0).for_each(|(sum, value)| *sum += u32::from(value));
        }
        Rgb(sum.map(|sum| (sum / pixels) as u8))
    })
}

fn darken(picture: &RgbImage, factor: f32) -> RgbImage {
    let mut dark = picture.clone();
    dark.iter_mut().for_each(|value| *value = (f32::from(*value) * factor) as u8);
    dark
}

/// Turned about the middle, mixed from four neighbours.
fn turn(picture: &RgbImage, degrees: f32) -> RgbImage {
    let (sine, cosine) = degrees.to_radians().sin_cos();
    let (middle_x, middle_y) = (picture.width() as f32 / 2.0, picture.height() as f32 / 2.0);
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let (dx, dy) = (x as f32 - middle_x, y as f32 - middle_y);
        let (x, y) = (cosine * dx + sine * dy + middle_x, cosine * dy - sine * dx + middle_y);
        imageops::interpolate_bilinear(picture, x, y).unwrap_or(Rgb([0; 3]))
    })
}

/// A face of a clip as it looks under some of the conditions, with the verdict when it is compared with another frame of the
/// clip.
fn sheet(finder: &Finder, calibration: &Calibration, clip: &Path) -> Outcome<RgbImage> {
    const SIDE: i64 = 220;
    const COLUMNS: i64 = 4;
    let dark = |size: f32, bold: bool| Style { size, bold, colour: [30, 30, 34] };
    let frames = VideoReader::open(clip)?.sample(&SamplingPlan::Uniform(2))?.frames;
    let mut known = Vec::new();
    for picture in frames {
        let best = finder.faces(&picture)?.into_iter().find(|seen| seen.embedding.is_some());
        let seen = best.ok_or_else(|| format!("{}: no good face", clip.display()))?;
        let (centre, width) = (seen.face.bounds.centre(), seen.face.bounds.width());
        known.push(Clean { identity: String::new(), picture, centre, width, embedding: seen.embedding.unwrap_or_default() });
    }
    let [one, other] = known.as_slice() else { return Err("the clip has one frame only".into()) };
    let shown = [
        Condition::Face(100.0),
        Condition::Face(24.0),
        Condition::Face(16.0),
        Condition::Blur(3.0),
        Condition::Blur(6.0),
        Condition::Motion(21),
        Condition::Dark(0.15),
        Condition::Dark(0.04),
        Condition::Jpeg(8),
        Condition::Roll(30.0),
        Condition::Roll(60.0),
        Condition::Mirror,
    ];
    let rows = (shown.len() as i64 + COLUMNS - 1) / COLUMNS;
    let (column, row) = (SIDE + 20, SIDE + 80);
    let mut canvas = Canvas::new((column * COLUMNS + 20) as u32, (row * rows + 10) as u32, [250, 249, 246])?;
    for (place, condition) in shown.iter().enumerate() {
        let (left, top) = (20 + column * (place as i64 % COLUMNS), 10 + row * (place as i64 / COLUMNS));
        let picture = condition.apply(one)?;
        let seen = finder.faces(&picture)?;
        let said = match seen.first() {
            None => "no face found".to_string(),
            Some(seen) => match &seen.embedding {
                None => seen.flaws.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                Some(embedding) => {
                    let similarity = cosine(embedding, &other.embedding);
                    let verdict = match calibration.verdict(similarity, 1) {
                        Verdict::Yes => "yes",
                        Verdict::NotSure => "not sure",
                        Verdict::No if !seen.quality.is_telling() => "not sure, too blurred",
                        Verdict::No => "no",
                    };
                    format!("{verdict} (similarity {similarity:.2})")
                }
            },
        };
        canvas.place(&picture, [left, top, SIDE, SIDE]);
        canvas.text(left, top + SIDE + 4, &condition.words(), dark(14.0, true));
        for (number, line) in canvas.lines(&said, SIDE as f32, dark(13.0, false)).into_iter().enumerate() {
            canvas.text(left, top + SIDE + 22 + 16 * number as i64, &line, dark(13.0, false));
        }
    }
    Ok(canvas.picture)
}

/// Enrols everybody from the first half of the clip, and looks for everybody in all second halves.
fn halves(finder: &Finder, calibration: &Calibration, folder: &Path, out: &mut impl Write) -> Outcome<()> {
    const FRAMES: usize = 16;
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lp_")));
    files.sort();
    let mut embeddings: Vec<[Vec<f32>; 2]> = Vec::new();
    for file in &files {
        let clip = VideoReader::open(file)?.sample(&SamplingPlan::Uniform(FRAMES))?;
        let half = |range: std::ops::Range<usize>| -> Outcome<Vec<f32>> {
            let tracks = finder.find(&clip.frames[range.clone()], &clip.times[range])?;
            let best = tracks.into_iter().max_by_key(|track| track.good_faces).and_then(|track| track.embedding);
            Ok(best.ok_or_else(|| format!("{}: no good face", file.display()))?)
        };
        embeddings.push([half(0..FRAMES / 2)?, half(FRAMES / 2..FRAMES)?]);
    }
    let (mut least_own, mut most_other, mut missed, mut accepted, mut unsure) = (1.0f32, -1.0f32, 0, 0, 0);
    for (one, [first, _]) in embeddings.iter().enumerate() {
        for (other, [_, second]) in embeddings.iter().enumerate() {
            let similarity = cosine(first, second);
            let verdict = calibration.verdict(similarity, 1);
            if one == other {
                least_own = least_own.min(similarity);
                missed += usize::from(verdict != Verdict::Yes);
            } else {
                most_other = most_other.max(similarity);
                accepted += usize::from(verdict == Verdict::Yes);
                unsure += usize::from(verdict == Verdict::NotSure);
            }
        }
    }
    let count = embeddings.len();
    writeln!(
        out,
        "{count} clips: {} of {count} second halves found (similarity {least_own:.3} and more); of {} pairs of strangers \
         {accepted} accepted, {unsure} not sure (similarity at most {most_other:.3})\n",
        count - missed,
        count * (count - 1)
    )?;
    Ok(())
}
