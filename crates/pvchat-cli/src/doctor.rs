//! `pvchat doctor`: what is installed, what is missing, and the command that fixes it.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use pvchat::{
    Pvchat,
    faces::models::{self, State},
    model::compare::{Deviation, compare, first_deviating, tolerance},
    nn::{device, packed::Precision},
    video,
};
use serde::Serialize;

use crate::{
    bases::{
        Base, Known,
        hub::{self, Hub},
    },
    common::{Common, Embedder},
    describer::{self, Bits},
    failure::{Exit, Outcome},
    models::state,
    words,
};

const EXAMPLES: &str = "\
Examples:
  pvchat doctor
  pvchat doctor --json
  pvchat doctor --compare states.safetensors --base smolvlm2-256m
  pvchat doctor --compare states.safetensors --base smolvlm2-256m --bits 8

A file for --compare holds, for each CASE, inputs.CASE.input_ids, attention_mask, pixel_values and pixel_attention_mask, and the
states outputs.CASE.STATE that another program computed: vision.embeddings, vision.layer0, ..., vision.last_hidden_state; then
pixel_shuffle, connector, or vision_layernorm, qformer.layer0, ..., qformer.last_hidden_state, project_up; merged, text.layer0, ...,
text.normalized, logits. scripts/dump_states.py of the project writes one with the transformers library.

Exit codes: 0 everything is there, 3 something is missing (the line names the command that fixes it); with --compare: 0 no
state deviates, 3 one does.";

/// Checks what the program needs: models, folders, FFmpeg, processor.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Compares the internal states of a base, layer by layer, with those that another program wrote to FILE; checks nothing else.
    #[arg(long, value_name = "FILE", requires = "base")]
    compare: Option<PathBuf>,
    /// The base that is compared: a name of `pvchat base list`, or a folder in the published layout.
    #[arg(long, value_name = "BASE", requires = "compare")]
    base: Option<Base>,
    /// Compares the base with its weights packed to this many bits, as `ask` reads them, and not in full precision.
    #[arg(long, requires = "compare")]
    bits: Option<Bits>,
}

/// Something that was looked at.
#[derive(Serialize)]
struct Check {
    what: &'static str,
    found: String,
    is_fine: bool,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Check {
    fn fine(what: &'static str, found: impl Display) -> Self {
        Self { what, found: found.to_string(), is_fine: true, mend: None }
    }

    fn wrong(what: &'static str, found: impl Display, mend: impl Display) -> Self {
        Self { what, found: found.to_string(), is_fine: false, mend: Some(mend.to_string()) }
    }
}

#[derive(Serialize)]
struct DoctorBody<'a> {
    is_fine: bool,
    checks: &'a [Check],
}

impl Arguments {
    pub fn run(&self, common: &Common) -> Outcome<Exit> {
        if let (Some(dump), Some(base)) = (&self.compare, &self.base) {
            return compared(common, base, dump, self.bits.map(Precision::from));
        }
        let system = format!("{} on {} {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
        let mut checks = vec![
            Check::fine("pvchat", system),
            Check::fine("processor", processor()),
            device()?,
            Check::fine("FFmpeg", video::ffmpeg_version()),
        ];
        checks.extend(models(common)?);
        checks.push(bases()?);
        checks.push(subjects(common)?);
        let is_fine = checks.iter().all(|check| check.is_fine);
        let row = |check: &Check| {
            let mend = check.mend.as_ref().map(|mend| format!("; fix: {mend}")).unwrap_or_default();
            let mark = if check.is_fine { "ok" } else { "--" };
            vec![mark.to_string(), check.what.to_string(), format!("{}{mend}", check.found)]
        };
        let text = words::table(&checks.iter().map(row).collect::<Vec<_>>());
        common.output().result("doctor", &DoctorBody { is_fine, checks: &checks }, text)?;
        Ok(if is_fine { Exit::Answered } else { Exit::Refused })
    }
}

/// Cores and instructions.
fn processor() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {}", words::count(cores, "core"), instructions())
}

#[cfg(target_arch = "x86_64")]
fn instructions() -> String {
    let has = [
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ("FMA", std::arch::is_x86_feature_detected!("fma")),
        ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    let has: Vec<&str> = has.into_iter().filter_map(|(name, has)| has.then_some(name)).collect();
    if has.is_empty() { "no AVX".into() } else { has.join(", ") }
}

#[cfg(not(target_arch = "x86_64"))]
fn instructions() -> String {
    std::env::consts::ARCH.into()
}

/// What the networks are computed on; opening the built-in base shows that it computes.
fn device() -> Outcome<Check> {
    let device = format!("{:?}", Pvchat::miniature()?.vilm().device());
    // "Device<Flex(Cpu)>"
    let name = device.trim_start_matches("Device<").trim_end_matches('>').to_lowercase();
    Ok(Check::fine("device", words::clean(&name)))
}

/// One line for what the chosen embedder needs, and one for what else is damaged.
fn models(common: &Common) -> Outcome<Vec<Check>> {
    let folder = common.models()?;
    let set = match common.embedder {
        Embedder::Mobilefacenet => models::Set::People,
        Embedder::Dlib => models::Set::PeopleClear,
    };
    let found = models::list(&folder)?;
    let (needed, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|status| set.models().contains(&status.model.name));
    let told = |status: &models::Status| format!("{} {}", status.model.name, state(status.state));
    let place = words::shown(&folder);
    let option = if common.models.is_some() { format!(" --models {}", words::quoted(&folder)) } else { String::new() };
    let all = format!("{} in {place}: {}", set.name(), needed.iter().map(told).collect::<Vec<_>>().join(", "));
    let mut checks = vec![match needed.iter().all(|status| status.state == State::Installed) {
        true => Check::fine("models", all),
        false => Check::wrong("models", all, format!("pvchat models get {}{option}", set.name())),
    }];
    for status in others.iter().filter(|status| status.state == State::Damaged) {
        let mend = format!("pvchat models get {}{option}", status.model.name);
        checks.push(Check::wrong("models", format!("{} in {place}: damaged", status.model.name), mend));
    }
    Ok(checks)
}

/// The bases that describe; none is needed to recognise people.
fn bases() -> Outcome<Check> {
    let hub = Hub::from_environment()?;
    let is_installed = |base: &Known| base.origin.as_ref().is_some_and(|origin| hub.state(origin) == hub::State::Installed);
    let installed: Vec<String> = Known::all()?.into_iter().filter(is_installed).map(|base| base.name).collect();
    let place = words::shown(hub.cache());
    Ok(Check::fine(
        "bases",
        match installed.is_empty() {
            true => format!("none in {place}; what people wear and do needs one: {}", hub::get_command("smolvlm2-256m")),
            false => format!("{} in {place}", words::list(&installed)),
        },
    ))
}

/// The folder of people: whether everybody can be read, and nobody else reads it.
fn subjects(common: &Common) -> Outcome<Check> {
    let gallery = common.gallery()?;
    let folder = gallery.path().to_path_buf();
    let place = words::shown(&folder);
    if !folder.exists() {
        return Ok(Check::fine("subjects", format!("{place}: nobody yet; made when somebody is enrolled")));
    }
    let names = match gallery.names() {
        Ok(names) => names,
        Err(error) => return Ok(Check::wrong("subjects", error, format!("ls -ld {}", words::quoted(&folder)))),
    };
    if let Some(mode) = open_mode(&folder) {
        let found = format!("{place}: readable by others (mode {mode:o})");
        return Ok(Check::wrong("subjects", found, format!("chmod 700 {}", words::quoted(&folder))));
    }
    for name in &names {
        if let Err(error) = gallery.load(name) {
            let file = words::quoted(&gallery.file(name));
            return Ok(Check::wrong(
                "subjects",
                format!("{place}: {error}"),
                format!("restore {file}, or pvchat subjects forget {}", words::argument(name.bare())),
            ));
        }
    }
    let drawn = common.drawn_subjects()?.names()?.len();
    let drawn = if drawn > 0 { format!(", {}", words::count(drawn, "drawn character")) } else { String::new() };
    Ok(Check::fine("subjects", format!("{place}: {}{drawn}; private", words::count(names.len(), "person"))))
}

/// The mode of a folder that others may read.
#[cfg(unix)]
fn open_mode(folder: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = folder.metadata().ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn open_mode(_folder: &Path) -> Option<u32> {
    None
}

#[derive(Serialize)]
struct ComparisonBody<'a> {
    #[serde(serialize_with = "words::lossy")]
    base: &'a Path,
    #[serde(serialize_with = "words::lossy")]
    file: &'a Path,
    /// The relative deviation from which on a state counts as another.
    tolerance: f64,
    first: Option<StateBody<'a>>,
    states: Vec<StateBody<'a>>,
}

#[derive(Serialize)]
struct StateBody<'a> {
    case: &'a str,
    state: &'a str,
    /// Null where a value is no number.
    largest: Option<f64>,
    relative: Option<f64>,
}

impl<'a> StateBody<'a> {
    fn of(deviation: &'a Deviation) -> Self {
        let number = |value: f64| value.is_finite().then_some(value);
        let Deviation { case, state, largest, relative } = deviation;
        Self { case, state, largest: number(*largest), relative: number(*relative) }
    }
}

/// The states of a base and those of another program; the first that deviates is marked.
fn compared(common: &Common, base: &Base, dump: &Path, precision: Option<Precision>) -> Outcome<Exit> {
    let listed = match base.known()? {
        Some(_) => describer::choose(common, Some(base))?,
        None => None,
    };
    let base = match &listed {
        Some(listed) => listed.folder().path(),
        None => base.folder()?,
    };
    let device = device::default_device().map_err(pvchat::model::Error::from)?;
    let deviations = compare(base, dump, precision, &device)?;
    let tolerance = tolerance(precision);
    let first = first_deviating(&deviations, tolerance);
    let row = |deviation: &Deviation| {
        let mark = if first == Some(deviation) { format!("<- the first above {tolerance:.0e}") } else { String::new() };
        let Deviation { case, state, largest, relative } = deviation;
        vec![words::clean(case), state.clone(), format!("{largest:.1e}"), format!("{relative:.1e}"), mark]
    };
    let mut rows = vec![["case", "state", "largest", "relative"].map(String::from).to_vec()];
    rows.extend(deviations.iter().map(row));
    let body = ComparisonBody {
        base,
        file: dump,
        tolerance,
        first: first.map(StateBody::of),
        states: deviations.iter().map(StateBody::of).collect(),
    };
    common.output().result("comparison", &body, words::table(&rows))?;
    Ok(if first.is_none() { Exit::Answered } else { Exit::Refused })
}
