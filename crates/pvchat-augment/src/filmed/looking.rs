//! The first stage: who is in the reference and in the corpus.

use pvchat_data::random::SeededStream;

use super::{
    Eyes, LeftOut, Request, Stage,
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

/// Looks at footage.
pub(super) struct Looking<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) eyes: &'a dyn Eyes,
    pub(super) store: &'a Store,
    pub(super) monitor: &'a Monitor<'a>,
    pub(super) models: &'a str,
}

impl Looking<'_> {
    /// Who is in a file: `most` seconds of it are looked at, beginning at `from` seconds.
    fn seen(&self, source: &Source, from: f64, most: f64) -> Result<Look> {
        let eye_model = self.eyes.eye_model().map(|model| model.id).unwrap_or_default();
        let key = format!("{MAKING_VERSION} {} {eye_model} {} {from:.3} {most}", self.models, source.sha256);
        self.store.get("looks", &key, |_: &Look| true, || look(&source.path, [from, from + most], self.eyes))
    }

    /// Looks at the clips of the people.
    pub(super) fn at_references(&self) -> Result<Seen> {
        let people = self.request.people;
        self.monitor.begin(Stage::Looking, people.len())?;
        let mut seen = Seen { sources: Vec::new(), looks: Vec::new(), left_out: Vec::new(), spared: None };
        for person in people {
            let name = person.clip.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let source = Source::new(name, person.clip)?;
            let from = if person.from < LOOKED_AT[0] / 2.0 { 0.0 } else { person.from };
            seen.looks.push(self.seen(&source, from, LOOKED_AT[0])?);
            seen.sources.push(source);
            self.monitor.step(Stage::Looking, people.len())?;
        }
        Ok(seen)
    }

    /// Looks at the corpus too; of files that an index knows, at some. Files that cannot be read are left out.
    pub(super) fn at_corpus(&self, mut all: Seen, stream: &SeededStream) -> Result<Seen> {
        let request = self.request;
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
        let (files, left_out, spared) = choose(files, request.known.unwrap_or(&nothing), request, self.eyes.thresholds(), stream);
        all.left_out = left_out;
        all.spared = request.known.and(request.corpus).map(|_| spared);
        self.monitor.begin(Stage::Looking, files.len())?;
        let found: Vec<std::result::Result<(Source, Look), LeftOut>> = in_parallel(&files, request.threads, |file| {
            let name = file.name.clone();
            let looked = Source::new(name.clone(), &file.path).and_then(|source| {
                let look = self.seen(&source, file.from, LOOKED_AT[1])?;
                Ok((source, look))
            });
            self.monitor.step(Stage::Looking, files.len())?;
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
}
