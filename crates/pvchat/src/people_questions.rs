//! Understanding questions about people: who is meant and what is asked. A question with a word that is not known here is
//! refused, so that "is Aa in the kitchen" is never answered as "is Aa in it".

use std::ops::Range;

use serde::Serialize;

use crate::{
    Error, Result,
    people_times::{Bound, bound, is_number, time, within},
    people_wording::capital,
    people_words::{Cue, Cut, Piece, Reading, among, cue, is_known, pieces},
};
pub use crate::{
    people_times::{Edge, Within},
    people_words::Side,
};

/// The longest question that is read, in characters.
pub const LONGEST_QUESTION: usize = 2_000;

/// One question out of what was typed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Asked {
    /// What is asked.
    pub kind: AskedKind,
    /// Whom it is about, without brackets; of a question that needs a description, too. For [`HowMany`](AskedKind::HowMany), [`Who`](AskedKind::Who) and
    /// [`Anyone`](AskedKind::Anyone), who does not count. Where nobody is named, times and places are those of everybody.
    pub people: Vec<String>,
    /// Whether it is asked in the negative: the answer is then a whole sentence, not yes or no.
    pub negated: bool,
    /// Whether one of the people is enough.
    pub either: bool,
    /// The part of the footage that it is about.
    pub within: Option<Within>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AskedKind {
    /// Are they in it?
    Present,
    /// When?
    When,
    /// When for the first time?
    First,
    /// When for the last time?
    Last,
    /// For how long?
    HowLong,
    /// For longer than some time, or for less?
    Lasts {
        /// The time in seconds.
        seconds: f64,
        /// For longer; otherwise for less.
        longer: bool,
        /// Whether exactly that long is enough.
        or_equal: bool,
    },
    /// How many times?
    HowOften,
    /// Where in the picture?
    Where,
    /// Which of those in it: where in the picture, and when?
    Which,
    /// In this part of the picture?
    On(Vec<Side>),
    /// Are they seen at the same time?
    Together,
    /// Who is seen at the same time?
    With,
    /// Is nobody else seen at the same time?
    Alone,
    /// Is nobody else in it?
    Only,
    /// How many people?
    HowMany,
    /// Who is in it?
    Who,
    /// Is anybody in it?
    Anyone,
    /// Nothing that is answered.
    Refused(Refusal),
}

/// Why a question is not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// It is about looks, actions, places or things: a base that describes footage can say.
    NeedsDescription,
    /// It is about somebody who is not enrolled.
    UnknownPerson(String),
    /// It does not say whom it is about.
    NobodyNamed,
    /// It cannot be answered.
    NotUnderstood,
}

/// What was asked before, for "and when?" and "where is she?".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// Whom the questions before were about.
    pub people: Vec<String>,
    /// Whom those before that were about.
    pub earlier: Vec<String>,
    /// The last of them.
    pub last: Option<Asked>,
}

impl Context {
    /// Takes note of what was asked.
    pub fn note(&mut self, asked: &[Asked]) {
        for asked in asked {
            if !asked.people.is_empty() && asked.people != self.people {
                self.earlier = std::mem::replace(&mut self.people, asked.people.clone());
                // "Who is in it? What does Aa do, and when?": the times of Aa.
                self.last.take_if(|last| last.is_of_everybody());
            }
            if !matches!(asked.kind, AskedKind::Refused(_)) {
                self.last = Some(asked.clone());
            }
        }
    }
}

impl Asked {
    /// A question about these people.
    fn new(kind: AskedKind, people: Vec<String>) -> Self {
        Self { kind, people, negated: false, either: false, within: None }
    }

    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self::new(AskedKind::Refused(refusal), Vec::new())
    }

    fn is_refused(&self) -> bool {
        matches!(self.kind, AskedKind::Refused(_))
    }

    /// Whether times and places that are asked for next are those of everybody.
    fn is_of_everybody(&self) -> bool {
        matches!(self.kind, AskedKind::HowMany | AskedKind::Who | AskedKind::Anyone)
    }
}

/// Understands a question in people's own words; `names` are those who are enrolled, without brackets. Several questions in one
/// are understood one by one, in their order.
///
/// ```
/// use pvchat::questions::{AskedKind, Context, understand};
/// let asked = understand("Is Aa in it, and when?", &["Aa"], &Context::default())?;
/// assert_eq!(asked[0].kind, AskedKind::Present);
/// assert_eq!((&asked[1].kind, asked[1].people[0].as_str()), (&AskedKind::When, "Aa"));
/// # Ok::<(), pvchat::Error>(())
/// ```
///
/// # Errors
/// [`Error::Question`] for a question that is empty, too long or contains control characters.
pub fn understand(question: &str, names: &[&str], context: &Context) -> Result<Vec<Asked>> {
    Ok(understand_clauses(question, names, context)?.into_iter().map(|(asked, _)| asked).collect())
}

/// As [`understand`], each with the words that ask it, in which names are written as they are enrolled.
pub(crate) fn understand_clauses(question: &str, names: &[&str], context: &Context) -> Result<Vec<(Asked, String)>> {
    Ok(read(question, names, context)?.1)
}

/// The question with names written as they are enrolled, and who is named in it, in its order.
pub(crate) fn spelled(question: &str, names: &[&str], context: &Context) -> Result<(String, Vec<String>)> {
    let (cut, _) = read(question, names, context)?;
    Ok((cut.text(question, 0..cut.pieces.len()), cut.people()))
}

fn read(question: &str, names: &[&str], context: &Context) -> Result<(Cut, Vec<(Asked, String)>)> {
    check(question)?;
    let read = |reading| {
        let cut = pieces(question, names, reading);
        let asked = parse(question, &cut, context);
        (cut, asked)
    };
    let is_refused = |asked: &[(Asked, String)]| asked.iter().any(|(asked, _)| asked.is_refused());
    let first = read(Reading::Capital);
    let names_a_word = names.iter().any(|name| is_known(&name.to_lowercase()));
    if !names_a_word {
        return Ok(first);
    }
    let named = first.0.people().len();
    if is_refused(&first.1) {
        // "is will in it": the name is also a word, and nothing else makes sense.
        let anywhere = read(Reading::Anywhere);
        if !is_refused(&anywhere.1) {
            return Ok(anywhere);
        }
    } else if named > 0 {
        return Ok(first);
    }
    // "What is will doing": it is refused either way, but it is about Will. "Is will there": and not about whoever was named before.
    let placed = read(Reading::Placed);
    Ok(if placed.0.people().len() > named { placed } else { first })
}

fn check(question: &str) -> Result<()> {
    let refused = |problem: String, remedy| Err(Error::Question { problem, remedy });
    let length = question.chars().count();
    if length > LONGEST_QUESTION {
        return refused(format!("has {length} characters"), "ask in at most 2000");
    }
    if let Some(control) = question.chars().find(|character| character.is_control() && !"\n\r\t".contains(*character)) {
        return refused(format!("contains the control character {control:?}"), "leave it out");
    }
    if question.chars().all(|character| !character.is_alphanumeric()) {
        return refused("is empty".into(), "ask whether somebody who is enrolled is in it, and when");
    }
    Ok(())
}

/// Words that begin a question.
const STARTERS: &str = "who whom whose what when where whereabouts how which why is are was were does do did has have had \
     can could will would";
/// Words that may be between "and" and the beginning of a question.
const BEFORE_STARTERS: &str = "for at in since from until on with if whether also then so please and or";

/// The questions in a cut one, each with its words.
fn parse(question: &str, cut: &Cut, context: &Context) -> Vec<(Asked, String)> {
    let clauses = clauses(&cut.pieces);
    let mut asked: Vec<(Asked, String)> = Vec::new();
    let mut context = context.clone();
    let mut waiting = Vec::new();
    let whole: Vec<Clause> = clauses.iter().map(|place| Clause::read(&cut.pieces[place.clone()])).collect();
    let says_nothing = whole.iter().all(Clause::is_empty);
    let is_one = clauses.len() == 1;
    for (clause, place) in whole.into_iter().zip(clauses) {
        if clause.is_empty() && !says_nothing {
            continue;
        }
        let pieces = &cut.pieces[place.clone()];
        let words = if is_one { cut.text(question, 0..cut.pieces.len()) } else { words(question, cut, place) };
        let understood = clause.understand(&context).unwrap_or_else(|refusal| match refusal {
            Refusal::NeedsDescription => halves(pieces, &context, clause.described(&context)),
            refusal => vec![Asked::refused(refusal)],
        });
        if matches!(understood.as_slice(), [Asked { kind: AskedKind::Refused(Refusal::NobodyNamed), .. }]) {
            // "When and where is Aa in it?": whom the first question is about follows.
            waiting.push((asked.len(), clause));
        } else {
            context.note(&understood);
            let ready = understood.iter().any(|asked| !asked.people.is_empty());
            for (place, clause) in waiting.drain(..).filter(|_| ready) {
                if let Ok(mut now) = clause.understand(&context)
                    && let Some(now) = now.pop()
                {
                    asked[place].0 = now;
                }
            }
        }
        asked.extend(understood.into_iter().map(|asked| (asked, words.clone())));
    }
    let mut distinct: Vec<(Asked, String)> = Vec::new();
    for (asked, words) in asked {
        let same = |(other, _): &&mut (Asked, String)| {
            other.kind == asked.kind && other.people == asked.people && other.within == asked.within
        };
        match distinct.iter_mut().find(same) {
            // "What is Aa wearing, and what is she doing?" is described in one.
            Some((_, before)) if *before != words => *before = format!("{before} {words}"),
            Some(_) => {}
            None => distinct.push((asked, words)),
        }
    }
    distinct
}

/// What a clause asks, as a separate question.
fn words(question: &str, cut: &Cut, mut place: Range<usize>) -> String {
    let joins = |piece: &Piece| *piece == Piece::Comma || matches!(piece.word(), "and" | "or" | "but");
    while place.len() > 1 && joins(&cut.pieces[place.start]) {
        place.start += 1;
    }
    format!("{}?", capital(&cut.text(question, place)))
}

/// "Is Aa in it and dancing?": the part before an "and" is a separate question, and the rest is refused.
fn halves(pieces: &[Piece], context: &Context, people: Vec<String>) -> Vec<Asked> {
    let described = Asked::new(AskedKind::Refused(Refusal::NeedsDescription), people);
    let joins = |piece: &Piece| *piece == Piece::Comma || matches!(piece.word(), "and" | "but");
    for place in (1..pieces.len()).rev().filter(|&place| joins(&pieces[place])) {
        let before = Clause::read(&pieces[..place]);
        if before.is_complete()
            && let Ok(mut asked) = before.understand(context)
        {
            asked.push(described);
            return asked;
        }
    }
    vec![described]
}

/// Cuts at the ends of sentences and where another question begins.
fn clauses(pieces: &[Piece]) -> Vec<Range<usize>> {
    let (mut clauses, mut begin) = (Vec::new(), 0);
    for (place, piece) in pieces.iter().enumerate() {
        let joins = *piece == Piece::Comma || matches!(piece.word(), "and" | "or" | "but");
        let starts = || {
            let following = pieces[place + 1..].iter().find(|piece| !among(BEFORE_STARTERS, piece.word()));
            following.is_some_and(|following| among(STARTERS, following.word()))
        };
        // "Before 0:30, who is there?"
        let says_when = || Clause::read(&pieces[begin..place]).is_time_only();
        if *piece == Piece::End || (joins && place > begin && starts() && !says_when()) {
            clauses.push(begin..place);
            begin = if *piece == Piece::End { place + 1 } else { place };
        }
    }
    clauses.push(begin..pieces.len());
    clauses.retain(|clause| !clause.is_empty());
    clauses
}

/// A piece of a clause with its meaning.
#[derive(Clone, Debug, PartialEq)]
enum Item {
    Cue(Cue),
    Person(String),
    /// A name that nobody has.
    Stranger(String),
    /// A time that no "before" or "after" belongs to.
    Time,
    /// A word that is not known.
    Unknown(String),
}

/// One question, word by word.
#[derive(Clone, Debug)]
struct Clause {
    items: Vec<Item>,
    within: Vec<Within>,
    /// How long somebody is to be there.
    bound: Option<Bound>,
    /// Whether it begins as a question does.
    is_question: bool,
    /// Whether "it" or the footage is what is asked about.
    of_footage: bool,
}

impl Clause {
    fn read(pieces: &[Piece]) -> Self {
        let mut clause = Self { items: Vec::new(), within: Vec::new(), bound: None, is_question: false, of_footage: false };
        let leading = pieces.iter().find(|piece| **piece != Piece::Comma && !among("and or so but please ok", piece.word()));
        clause.is_question = leading.is_some_and(|first| among(STARTERS, first.word()) || among("tell say show", first.word()));
        let mut at = 0;
        while at < pieces.len() {
            let rest = &pieces[at..];
            if let Some((bound, used)) = bound(rest) {
                clause.bound = Some(bound);
                clause.items.push(Item::Cue(Cue::HowLong));
                at += used;
                continue;
            }
            if let Some((within, used)) = within(rest) {
                clause.within.push(within);
                at += used;
                continue;
            }
            let (item, used) = match &rest[0] {
                Piece::Person(name) => (Item::Person(name.clone()), 1),
                Piece::Stranger(name) => (Item::Stranger(name.clone()), 1),
                Piece::Comma => (Item::Cue(Cue::And), 1),
                Piece::End => (Item::Cue(Cue::Filler), 1),
                Piece::Word { .. } => match (time(rest), cue(rest)) {
                    (Some((_, used)), _) => (Item::Time, used),
                    (None, Some((cue, used))) => (Item::Cue(clause.in_context(cue, rest)), used),
                    (None, None) if is_number(rest[0].word()) => (Item::Time, 1),
                    (None, None) => clause.unknown(pieces, at),
                },
            };
            clause.of_footage |= item == Item::Cue(Cue::Footage) || (used == 1 && rest[0].word() == "it");
            clause.items.push(item);
            at += used;
        }
        clause.name_by_place();
        clause
    }

    /// "Upper left" is a side, "has left" is not.
    fn in_context(&self, cue: Cue, rest: &[Piece]) -> Cue {
        let after_side = matches!(self.items.last(), Some(Item::Cue(Cue::Side(_))));
        match (rest[0].word(), after_side) {
            ("left", true) => Cue::Side(Side::Left),
            ("right", true) => Cue::Side(Side::Right),
            ("middle" | "centre" | "center", true) => Cue::Side(Side::Middle),
            _ => cue,
        }
    }

    /// A word that is not known: a name if it is written like one.
    fn unknown(&self, pieces: &[Piece], at: usize) -> (Item, usize) {
        let Piece::Word { text, shown, capital, first } = &pieces[at] else { return (Item::Cue(Cue::Filler), 1) };
        let unknown = (Item::Unknown(shown.clone()), 1);
        let before = |back: usize| at.checked_sub(back).map_or("", |place| pieces[place].word());
        if before(1) == "my" && among(KIN, text) {
            return (Item::Stranger(format!("my {text}")), 1);
        }
        let of_thing = before(1) == "of" && !among(PICTURES, before(2));
        if !capital || of_thing || among("the a an my in at on near to from by into", before(1)) {
            return unknown;
        }
        let mut name = shown.clone();
        let mut used = 1;
        while let Some(Piece::Word { text, shown, capital: true, first: false }) = pieces.get(at + used)
            && !is_known(text)
        {
            name = format!("{name} {shown}");
            used += 1;
        }
        // At the beginning everything has a capital: only where nothing else is unknown, somebody is named there.
        // "Está Aa?" is another language, "Dave and Aa?" is not.
        let mut rest = pieces[at + used..].iter();
        let only = !matches!(pieces.get(at + used), Some(Piece::Person(_)))
            && rest.all(|piece| piece.word().is_empty() || is_known(piece.word()));
        if *first && !only { unknown } else { (Item::Stranger(name), used) }
    }

    /// "Is dave in it?", "are Aa and dave there?": an unknown word where a name belongs, and nothing else that is unknown.
    fn name_by_place(&mut self) {
        let unknown =
            |(place, item): (usize, &Item)| if let Item::Unknown(word) = item { Some((place, word.clone())) } else { None };
        let mut unknown = self.items.iter().enumerate().filter_map(unknown);
        let (Some((place, word)), None) = (unknown.next(), unknown.next()) else { return };
        let before = |back: usize| place.checked_sub(back).and_then(|place| self.items.get(place));
        let follows = match before(1) {
            Some(Item::Cue(Cue::Aux | Cue::Show)) => true,
            Some(Item::Cue(Cue::And | Cue::Or)) => matches!(before(2), Some(Item::Person(_) | Item::Stranger(_))),
            _ => false,
        };
        let told = [Cue::Place, Cue::Appear, Cue::Together, Cue::Seen, Cue::With];
        if follows && self.has_none(&[Cue::What, Cue::Describe]) && told.iter().any(|cue| self.has_after(place, *cue)) {
            self.items[place] = Item::Stranger(word);
        }
    }

    fn has(&self, cue: Cue) -> bool {
        self.items.contains(&Item::Cue(cue))
    }

    fn has_none(&self, cues: &[Cue]) -> bool {
        cues.iter().all(|cue| !self.has(*cue))
    }

    fn has_after(&self, place: usize, cue: Cue) -> bool {
        self.items[place..].contains(&Item::Cue(cue))
    }

    fn people(&self) -> Vec<String> {
        let mut people: Vec<String> = Vec::new();
        for item in &self.items {
            if let Item::Person(name) = item
                && !people.contains(name)
            {
                people.push(name.clone());
            }
        }
        people
    }

    /// Whom a description is about: "what is she wearing" and "and what colour" are about whoever was named before.
    fn described(&self, context: &Context) -> Vec<String> {
        let people = self.people();
        let refers = self.has(Cue::Pronoun) || self.items.first() == Some(&Item::Cue(Cue::And));
        if people.is_empty() && refers { context.people.clone() } else { people }
    }

    /// Whether nothing is said: greetings, "please tell me".
    fn is_empty(&self) -> bool {
        let says = |item: &Item| !matches!(item, Item::Cue(Cue::Filler | Cue::Aux | Cue::Viewer | Cue::And | Cue::Or | Cue::Not));
        !self.items.iter().any(says) && self.within.is_empty()
    }

    fn is_time_only(&self) -> bool {
        !self.within.is_empty() && self.items.iter().all(|item| matches!(item, Item::Cue(Cue::Filler | Cue::And)))
    }

    /// Whether it has a predicate.
    fn is_complete(&self) -> bool {
        !self.has_none(&[
            Cue::Place,
            Cue::Appear,
            Cue::Seen,
            Cue::Together,
            Cue::When,
            Cue::Where,
            Cue::Who,
            Cue::View,
            Cue::Show,
        ])
    }

    fn understand(&self, context: &Context) -> std::result::Result<Vec<Asked>, Refusal> {
        let people = self.people();
        let strangers: Vec<String> = self
            .items
            .iter()
            .filter_map(|item| if let Item::Stranger(name) = item { Some(name.clone()) } else { None })
            .collect();
        let description = self.items.iter().any(|item| matches!(item, Item::Unknown(_))) || !self.has_none(&[Cue::Describe]);
        if !strangers.is_empty() && (people.is_empty() || !description) {
            return self.about_strangers(&strangers, context);
        }
        if description {
            let foreign = matches!(self.items.first(), Some(Item::Unknown(_)));
            let about_somebody = (!people.is_empty() || self.has(Cue::Pronoun)) && !foreign;
            let looks_asked = self.is_question || self.has(Cue::Describe) || about_somebody;
            return Err(if looks_asked { Refusal::NeedsDescription } else { Refusal::NotUnderstood });
        }
        if self.items.contains(&Item::Time) || self.has(Cue::Order) || self.within.len() > 1 {
            return Err(Refusal::NotUnderstood);
        }
        if self.does_something() {
            return Err(Refusal::NeedsDescription);
        }
        if self.has(Cue::What) {
            let about_footage = !people.is_empty() || !self.has_none(&[Cue::View, Cue::Place, Cue::Footage, Cue::Pronoun]);
            let about_me = people.is_empty() && self.has(Cue::Viewer) && self.has_none(&[Cue::View, Cue::Pronoun]);
            let this = self.of_footage || self.items.len() > 1;
            return Err(if (about_footage || this) && !about_me { Refusal::NeedsDescription } else { Refusal::NotUnderstood });
        }
        self.decide(people, context)
    }

    /// "Is Aa there and is Dave?" is answered in part, "are Aa and Dave together?" is not.
    fn about_strangers(&self, strangers: &[String], context: &Context) -> std::result::Result<Vec<Asked>, Refusal> {
        let refused = strangers.iter().map(|name| Asked::refused(Refusal::UnknownPerson(name.clone())));
        let mut known = self.clone();
        known.items.retain(|item| !matches!(item, Item::Stranger(_)));
        let mut asked = match known.people().as_slice() {
            [] => Vec::new(),
            _ => known.understand(context).unwrap_or_default(),
        };
        asked.retain(|asked| asked.kind == AskedKind::Present);
        asked.extend(refused);
        Ok(asked)
    }

    /// Whether somebody sees, has or leaves something: "does Aa have a video", "can she see me".
    fn does_something(&self) -> bool {
        let is_somebody = |item: &Item| matches!(item, Item::Person(_) | Item::Cue(Cue::Pronoun));
        let Some(place) = self.items.iter().position(is_somebody) else {
            return self.has(Cue::Leave) && self.has_none(&[Cue::When, Cue::First, Cue::Last]);
        };
        // "Where is Aa, can you see her?" is cut at the comma; what is left is the person's own doing.
        let own = [Cue::View, Cue::Viewer].iter().any(|cue| self.has_after(place, *cue));
        let has = self.has_after(place, Cue::Show) && !self.has(Cue::HowLong);
        // "Is Aa recording it?", "is this Aa's video?"
        let films =
            self.items[place + 1..].iter().find(|item| **item != Item::Cue(Cue::Filler)) == Some(&Item::Cue(Cue::Footage));
        own || has || films || (self.has(Cue::Leave) && self.has_none(&[Cue::When, Cue::First, Cue::Last, Cue::HowLong]))
    }

    fn decide(&self, mut people: Vec<String>, context: &Context) -> std::result::Result<Vec<Asked>, Refusal> {
        let main = [Cue::HowMany, Cue::HowOften, Cue::HowLong, Cue::When, Cue::Where, Cue::Who];
        let asked_for = main.iter().filter(|cue| self.has(**cue)).count();
        let is_person = |item: &Item| matches!(item, Item::Person(_) | Item::Cue(Cue::Pronoun));
        let person_at = self.items.iter().position(is_person);
        // "Is Aa in it when Bb comes": a condition, no question.
        let condition =
            person_at.is_some_and(|at| self.has_after(at, Cue::When)) && self.items.last() != Some(&Item::Cue(Cue::When));
        if asked_for > 1 || condition {
            return Err(Refusal::NotUnderstood);
        }
        let sides: Vec<Side> =
            self.items.iter().filter_map(|item| if let Item::Cue(Cue::Side(side)) = item { Some(*side) } else { None }).collect();
        let pronoun = self.has(Cue::Pronoun);
        let joint = !self.has_none(&[Cue::Together, Cue::With]);
        let general = !self.has_none(&[Cue::Who, Cue::HowMany, Cue::Anyone, Cue::Nobody, Cue::Everyone]);
        let of_everybody = context.people.is_empty() && context.last.as_ref().is_some_and(Asked::is_of_everybody);
        let further = (joint || self.has(Cue::Else)) && people.len() < 2;
        if pronoun && !of_everybody && (further || (people.is_empty() && !general)) {
            if context.people.is_empty() && people.is_empty() {
                return Err(Refusal::NobodyNamed);
            }
            let before = context.people.iter().chain(&context.earlier);
            // "They" who are together are two at least.
            let wanted = if joint { 2.max(context.people.len()) } else { context.people.len() };
            for name in before.take(wanted) {
                if !people.contains(name) && (people.len() < 2 || !joint || context.people.contains(name)) {
                    people.push(name.clone());
                }
            }
        }
        let several = people.len() > 1;
        let kind = if self.has(Cue::Alone) {
            match people.len() {
                1 if !joint => AskedKind::Alone,
                0 => return Err(Refusal::NobodyNamed),
                _ => return Err(Refusal::NotUnderstood),
            }
        } else if self.has(Cue::Only) && !joint && people.len() == 1 && asked_for == 0 && !self.has(Cue::Viewer) {
            AskedKind::Only
        } else if self.has(Cue::Only) {
            return Err(Refusal::NotUnderstood);
        } else if joint && !sides.is_empty() {
            return Err(Refusal::NeedsDescription);
        } else if joint && several {
            AskedKind::Together
        } else if joint && people.len() == 1 {
            let anybody = general || !self.has_none(&[Cue::Else, Cue::People]);
            match (self.has(Cue::Nobody), anybody) {
                (true, _) => AskedKind::Alone,
                (_, true) => AskedKind::With,
                _ => return Err(Refusal::NotUnderstood),
            }
        } else if self.has(Cue::With) || (self.has(Cue::Together) && !self.has(Cue::HowMany)) {
            return Err(if people.is_empty() { Refusal::NobodyNamed } else { Refusal::NotUnderstood });
        } else if self.has(Cue::HowMany) {
            if !people.is_empty() && !self.has(Cue::Else) {
                return Err(Refusal::NotUnderstood);
            }
            AskedKind::HowMany
        } else if self.has(Cue::HowOften) {
            AskedKind::HowOften
        } else if self.has(Cue::HowLong) {
            let lasts = |Bound { seconds, longer, or_equal }| AskedKind::Lasts { seconds, longer, or_equal };
            self.bound.map_or(AskedKind::HowLong, lasts)
        } else if !sides.is_empty() {
            if several && !self.has(Cue::And) && !self.has(Cue::Or) {
                // "Is Aa on the left of Bb?"
                return Err(Refusal::NeedsDescription);
            }
            AskedKind::On(sides)
        } else if self.has(Cue::Where) {
            AskedKind::Where
        } else if self.has(Cue::First) {
            AskedKind::First
        } else if self.has(Cue::Last) {
            AskedKind::Last
        } else if self.has(Cue::When) {
            AskedKind::When
        } else if self.has(Cue::Who) && self.is_about_viewer() {
            return Err(Refusal::NotUnderstood);
        } else if self.has(Cue::Who) && self.has(Cue::Else) || people.is_empty() && self.is_about_everybody() {
            AskedKind::Who
        } else if self.has(Cue::Who) {
            if several { AskedKind::Present } else { AskedKind::Which }
        } else if people.is_empty() && !self.has_none(&[Cue::Anyone, Cue::Nobody, Cue::People]) || self.has(Cue::Else) {
            AskedKind::Anyone
        } else if !people.is_empty() && !self.is_name_only() {
            AskedKind::Present
        } else {
            return self.continued(people, context);
        };
        let mut asked = self.asked(kind, people);
        asked.either |= self.has(Cue::Who) && several;
        if self.has(Cue::Else) && asked.people.is_empty() {
            asked.people.clone_from(&context.people);
        }
        if asked.negated
            && !matches!(
                asked.kind,
                AskedKind::Present
                    | AskedKind::When
                    | AskedKind::Together
                    | AskedKind::Alone
                    | AskedKind::Only
                    | AskedKind::Who
                    | AskedKind::Anyone
            )
        {
            return Err(Refusal::NotUnderstood);
        }
        if asked.kind == AskedKind::Anyone && !asked.people.is_empty() && !self.has_none(&[Cue::And, Cue::Or]) {
            // "Is Aa or anybody else in it?"
            return Ok(vec![self.asked(AskedKind::Present, asked.people.clone()), asked]);
        }
        if asked.is_of_everybody()
            || !asked.people.is_empty()
            || !self.has_none(&[Cue::Anyone, Cue::People, Cue::Who, Cue::Everyone])
        {
            return Ok(vec![asked]);
        }
        self.inherited(asked, context)
    }

    /// "Who are you?"
    fn is_about_viewer(&self) -> bool {
        let who = self.items.iter().position(|item| *item == Item::Cue(Cue::Who)).unwrap_or(0);
        self.has_after(who, Cue::Viewer) && self.has_none(&[Cue::View, Cue::Place, Cue::Seen, Cue::Appear, Cue::Footage])
    }

    /// "Who is it?", "is everyone there?", "is anyone missing?", but not "isn't anyone there?".
    fn is_about_everybody(&self) -> bool {
        let anyone = self.items.iter().position(|item| *item == Item::Cue(Cue::Anyone));
        let missing = anyone.is_some_and(|anyone| self.has_after(anyone, Cue::Not));
        missing || self.has(Cue::Who) || self.has(Cue::Everyone)
    }

    /// Times and places of whom was asked about before.
    fn inherited(&self, mut asked: Asked, context: &Context) -> std::result::Result<Vec<Asked>, Refusal> {
        // "Where is this?", "when was this filmed?"
        if self.of_footage || (self.has(Cue::Aux) && !self.has(Cue::Pronoun)) {
            return Err(if asked.kind == AskedKind::Where { Refusal::NeedsDescription } else { Refusal::NotUnderstood });
        }
        asked.within = asked.within.or(context.last.as_ref().and_then(|last| last.within));
        match &context.last {
            Some(last) if last.is_of_everybody() => Ok(vec![asked]),
            Some(last) if last.kind == AskedKind::Together && !matches!(asked.kind, AskedKind::Where | AskedKind::On(_)) => {
                Ok(vec![self.asked(AskedKind::Together, last.people.clone())])
            }
            _ if context.people.is_empty() => Err(Refusal::NobodyNamed),
            _ => {
                asked.people.clone_from(&context.people);
                Ok(vec![asked])
            }
        }
    }

    /// "And Bb?", "in it?", "before 0:30?": the question before, about somebody else or another part.
    fn continued(&self, people: Vec<String>, context: &Context) -> std::result::Result<Vec<Asked>, Refusal> {
        let said = !people.is_empty() || !self.within.is_empty() || !self.has_none(&[Cue::Place, Cue::Appear, Cue::Seen]);
        if !said || (people.is_empty() && (self.of_footage || self.has(Cue::Viewer))) {
            return Err(Refusal::NotUnderstood);
        }
        let alike = |last: &&Asked| {
            let together = matches!(last.kind, AskedKind::Together | AskedKind::With | AskedKind::Alone);
            !last.is_of_everybody() && (people.is_empty() || !together)
        };
        let before = context.last.as_ref().filter(alike).filter(|_| self.has_none(&[Cue::Place, Cue::Appear, Cue::Seen]));
        let kind = before.map_or(AskedKind::Present, |last| last.kind.clone());
        let mut asked = self.asked(kind, people);
        asked.within = asked.within.or(before.and_then(|last| last.within));
        if asked.people.is_empty() {
            asked.people.clone_from(before.map_or(&context.people, |last| &last.people));
        }
        if asked.people.is_empty() { Err(Refusal::NobodyNamed) } else { Ok(vec![asked]) }
    }

    /// Whether nothing but names is said.
    fn is_name_only(&self) -> bool {
        let says = |item: &Item| !matches!(item, Item::Person(_) | Item::Cue(Cue::Filler | Cue::And | Cue::Or));
        !self.items.iter().any(says)
    }

    fn asked(&self, kind: AskedKind, people: Vec<String>) -> Asked {
        let said_nobody = self.has(Cue::Nobody) && kind == AskedKind::Anyone;
        Asked {
            negated: self.has(Cue::Not) || said_nobody,
            either: self.has(Cue::Or) && people.len() > 1,
            within: self.within.first().copied(),
            kind,
            people,
        }
    }
}

/// Relatives: "my sister" is somebody who is not enrolled under that name.
const KIN: &str = "mother mom mum mummy father dad daddy sister brother daughter son wife husband partner girlfriend \
     boyfriend grandmother grandma granny grandfather grandpa aunt uncle cousin niece nephew friend \
     neighbour neighbor boss colleague child kid baby family";
/// What shows somebody: "a picture of Dave".
const PICTURES: &str = "video clip footage film movie recording picture pictures photo photos photograph image images shot \
     sight sign face any";
