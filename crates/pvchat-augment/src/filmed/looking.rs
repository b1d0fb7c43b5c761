//! The first stage: who is in the reference and in the corpus.

use pvchat_data::random::SeededStream;

use super::{
    Eyes, LeftOut, PersonClip, Request, Stage,
    archive::{KnownFiles, Spared, choose},
    manifest::{MAKING_VERSION, Store},
    source::{Look, Source, footage_in, look},
    workers::{Monitor, in_parallel},
};
use crate::{Error, Result};

/// The seconds of the person's clip and of others that are looked at.
const LOOKED_AT: [f64; 2] = [60.0, 20.0];

/// What was seen in all footage; the clips of the people come first.
pub(super) struct Seen {
    pub(super) sources: Vec<Source>,
    pub(super) looks: Vec<Look>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) spared: Option<Spared>,
}

/// Looks at the clips of the people and at the corpus; of files that an index knows, at some. Files of the
/// corpus that cannot be read are left out.
pub(super) fn look_at_all(
    request: &Request<'_>,
    eyes: &dyn Eyes,
    store: &Store,
    monitor: &Monitor<'_>,
    models: &str,
    stream: &SeededStream,
) -> Result<Seen> {
    let reference = |person: &PersonClip<'_>| {
        let name = person.clip.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Source::new(name, person.clip)
    };
    let references = request.people.iter().map(reference).collect::<Result<Vec<Source>>>()?;
    let files = match request.corpus {
        Some(folder) => {
            let files = footage_in(folder)?;
            if files.is_empty() {
                return Err(Error::NoFootage { folder: folder.into() });
            }
            files
        }
        None => Vec::new(),
    };
    let nothing = KnownFiles::new();
    let (files, left_out, spared) = choose(files, request.known.unwrap_or(&nothing), request, eyes.thresholds(), stream);
    let total = files.len() + references.len();
    monitor.begin(Stage::Looking, total)?;
    let eye_model = eyes.eye_model().map(|model| model.id).unwrap_or_default();
    let seen = |source: &Source, from: f64, most: f64| {
        let key = format!("{MAKING_VERSION} {models} {eye_model} {} {from:.3} {most}", source.sha256);
        store.get("looks", &key, |_: &Look| true, || look(&source.path, [from, from + most], eyes))
    };
    let mut looks = Vec::with_capacity(total);
    for reference in &references {
        looks.push(seen(reference, 0.0, LOOKED_AT[0])?);
        monitor.step(Stage::Looking, total)?;
    }
    let found: Vec<std::result::Result<(Source, Look), LeftOut>> = in_parallel(&files, request.threads, |file| {
        let name = file.name.clone();
        let looked = Source::new(name.clone(), &file.path).and_then(|source| {
            let look = seen(&source, file.from, LOOKED_AT[1])?;
            Ok((source, look))
        });
        monitor.step(Stage::Looking, total)?;
        match looked {
            Ok(looked) => Ok(Ok(looked)),
            // A broken file is no reason to make nothing; a broken network is.
            Err(error @ (Error::Video(_) | Error::Io { .. })) => {
                // The message begins with the whole path, which is nobody's business in a dataset that is passed on.
                let reason = error.to_string().replace(&file.path.display().to_string(), "the file");
                Ok(Err(LeftOut { name, reason }))
            }
            Err(error) => Err(error),
        }
    })?;
    let spared = request.known.and(request.corpus).map(|_| spared);
    let mut all = Seen { sources: references, looks, left_out, spared };
    for found in found {
        match found {
            Ok((source, look)) => match all.sources.iter().position(|known| known.sha256 == source.sha256) {
                Some(person) if person < request.people.len() => {
                    let reason = format!("it is the clip of {}", request.called(person));
                    all.left_out.push(LeftOut { name: source.name, reason });
                }
                Some(same) => {
                    let reason = format!("it is the same file as {}", all.sources[same].name);
                    all.left_out.push(LeftOut { name: source.name, reason });
                }
                None => {
                    all.sources.push(source);
                    all.looks.push(look);
                }
            },
            Err(left_out) => all.left_out.push(left_out),
        }
    }
    Ok(all)
}
