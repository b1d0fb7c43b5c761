//! The footage of a run: who is where in it, and what was cut out of it so far.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{
    DatasetOptions, Eyes,
    assets::{Figure, Place},
    compose::company_problem,
    heads::{exchanged, problem},
    manifest::{MAKING_VERSION, Store},
    recipe::FASTEST,
    source::{Bound, Look, Source, Span, read},
};
use crate::{Error, Result};

/// The longest stretch of others and of places that is used, in seconds, where a clip needs no more.
const LONGEST: f64 = 4.0;
/// Figures that are kept in memory, and places.
const MOST_IN_MEMORY: usize = 12;
/// More than this share of a place without faces is hidden by people, where somebody is seen from behind.
const SOMEBODY_BEHIND: f32 = 0.03;

/// Somebody in a stretch of footage.
#[derive(Clone, Debug)]
pub(super) struct Someone {
    /// The place of the file among the sources; the reference is the first.
    pub(super) source: usize,
    pub(super) person: usize,
    pub(super) span: Span,
    /// To the person, as a cosine.
    pub(super) similarity: f32,
    pub(super) embedding: Vec<f32>,
}

/// A place of somebody, or of nobody.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) source: usize,
    pub(super) person: Option<usize>,
    pub(super) span: Span,
}

impl Someone {
    /// Where the person was filmed; the stretch is cut to at most `most` seconds.
    pub(super) fn setting(&self, most: f64) -> Setting {
        Setting { source: self.source, person: Some(self.person), span: shortened(self.span, most) }
    }
}

/// The longest stretch of others and of places that is used, in seconds: enough for the fastest clip.
pub(super) fn longest(options: &DatasetOptions) -> f64 {
    LONGEST.max(FASTEST * options.seconds())
}

/// The middle of a span, if it is longer than `most`; rounded, because it is part of names.
pub(super) fn shortened([from, to]: Span, most: f64) -> Span {
    let rest = (to - from - most).max(0.0) / 2.0;
    [from + rest, to - rest].map(|seconds| (1000.0 * seconds).round() / 1000.0)
}

/// What was made last, a few of it: pictures of all strangers at once would fill the memory.
pub(super) struct Recent<T> {
    /// By their keys, with when they were wanted last.
    known: Mutex<(u64, BTreeMap<String, Wanted<T>>)>,
}

/// When something was wanted last, and the thing once it is made.
type Wanted<T> = (u64, Arc<Mutex<Option<Arc<T>>>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}

impl<T> Recent<T> {
    /// Looks something up, or makes it; others who want the same wait.
    fn get(
        &self,
        key: String,
        make: impl FnOnce() -> Result<std::result::Result<T, String>>,
    ) -> Result<std::result::Result<Arc<T>, String>> {
        let entry = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.0 += 1;
            let now = known.0;
            let wanted = known.1.entry(key).or_default();
            wanted.0 = now;
            let entry = wanted.1.clone();
            if known.1.len() > MOST_IN_MEMORY
                && let Some(oldest) = known.1.iter().min_by_key(|(_, (when, _))| *when).map(|(key, _)| key.clone())
            {
                known.1.remove(&oldest);
            }
            entry
        };
        let mut entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = entry.as_ref() {
            return Ok(Ok(made.clone()));
        }
        Ok(make()?.map(|made| entry.insert(Arc::new(made)).clone()))
    }
}

/// The footage, and what was cut out of it so far.
pub(super) struct Footage<'a> {
    pub(super) sources: Vec<Source>,
    pub(super) looks: Vec<Look>,
    pub(super) eyes: &'a dyn Eyes,
    pub(super) store: &'a Store,
    pub(super) options: &'a DatasetOptions,
    pub(super) models: String,
    pub(super) figures: Recent<Figure>,
    pub(super) places: Recent<Place>,
}

/// Whether a figure or place can be used.
#[derive(Debug, Serialize, Deserialize)]
struct Checked {
    problem: Option<String>,
}

impl Footage<'_> {
    pub(super) fn sizes(&self) -> [u32; 2] {
        [self.options.rate, self.options.size]
    }

    /// What a figure or place follows from, as text.
    fn key(&self, what: &str, source: usize, person: Option<usize>, [from, to]: Span) -> String {
        let ([rate, size], sha256) = (self.sizes(), &self.sources[source].sha256);
        format!("{what} {MAKING_VERSION} {} {sha256} {person:?} {from:.3} {to:.3} {rate} {size}", self.models)
    }

    pub(super) fn figure_key(&self, who: &Someone) -> String {
        self.key("figure", who.source, Some(who.person), who.span)
    }

    pub(super) fn place_key(&self, setting: &Setting) -> String {
        self.key("place", setting.source, setting.person, setting.span)
    }

    /// Somebody's figure, cut out once.
    pub(super) fn figure(&self, who: &Someone) -> Result<std::result::Result<Arc<Figure>, String>> {
        self.figures.get(self.figure_key(who), || {
            let (source, look) = (&self.sources[who.source], &self.looks[who.source]);
            Figure::cut(source, look, who.person, who.span, self.sizes(), self.eyes)
        })
    }

    /// Somebody's head on somebody else's body, put there once.
    pub(super) fn exchanged(&self, head: &Someone, body: &Someone) -> Result<std::result::Result<Arc<Figure>, String>> {
        let key = format!("{} with the body of {}", self.figure_key(head), self.figure_key(body));
        self.figures.get(key, || match (self.figure(head)?, self.figure(body)?) {
            (Ok(head), Ok(body)) => Ok(exchanged(&head, &body)),
            (Err(problem), _) | (_, Err(problem)) => Ok(Err(problem)),
        })
    }

    /// Why somebody's head cannot be put on somebody else's body, if so.
    pub(super) fn exchange_problem(&self, head: &Someone, body: &Someone) -> Result<Option<String>> {
        let key = format!("{} with the body of {}", self.figure_key(head), self.figure_key(body));
        let check = || {
            let problem = match (self.figure(head)?, self.figure(body)?) {
                (Ok(head), Ok(body)) => problem(&head, &body),
                (Err(problem), _) | (_, Err(problem)) => Some(problem),
            };
            Ok(Checked { problem })
        };
        self.store.get("exchanges", &key, |_: &Checked| true, check).map(|checked| checked.problem)
    }

    /// Why somebody cannot stand beside others, `count` people in all, if so.
    pub(super) fn company_problem(&self, who: &Someone, count: usize) -> Result<Option<String>> {
        let key = format!("{} one of {count}", self.figure_key(who));
        let check = || {
            let problem = match self.figure(who)? {
                Ok(figure) => company_problem(&figure, count),
                Err(problem) => Some(problem),
            };
            Ok(Checked { problem })
        };
        self.store.get("company", &key, |_: &Checked| true, check).map(|checked| checked.problem)
    }

    /// A place, cleared once.
    pub(super) fn place(&self, setting: &Setting) -> Result<std::result::Result<Arc<Place>, String>> {
        self.places.get(self.place_key(setting), || {
            let (source, look) = (&self.sources[setting.source], &self.looks[setting.source]);
            Place::clear(source, look, setting.person, setting.span, self.sizes(), self.eyes)
        })
    }

    /// Why somebody cannot be used, if so.
    pub(super) fn figure_problem(&self, who: &Someone) -> Result<Option<String>> {
        let check = || Ok(Checked { problem: self.figure(who)?.err() });
        self.store.get("figures", &self.figure_key(who), |_: &Checked| true, check).map(|checked| checked.problem)
    }

    /// Why a place cannot be used, if so.
    pub(super) fn place_problem(&self, setting: &Setting) -> Result<Option<String>> {
        let check = || Ok(Checked { problem: self.place(setting)?.err() });
        self.store.get("places", &self.place_key(setting), |_: &Checked| true, check).map(|checked| checked.problem)
    }

    /// Whether somebody is in footage without faces.
    pub(super) fn hides_somebody(&self, setting: &Setting) -> Result<bool> {
        let mut hidden = 0.0f32;
        read(&self.sources[setting.source].path, 1.0, setting.span, Bound::Shortest(self.options.size), |frame, _| {
            let matte = self.eyes.matte(&frame).map_err(Error::Eyes)?;
            hidden = hidden.max(matte.iter().filter(|value| **value >= 128).count() as f32 / matte.len().max(1) as f32);
            Ok(())
        })?;
        Ok(hidden > SOMEBODY_BEHIND)
    }
}
