//! Statements about the people in watched footage, or in a part of it.

use pvchat_data::SubjectName;
use pvchat_people::{Appearance, Calibration, Flaw, Moment, Verdict};
use serde::Serialize;

use crate::{
    Footage,
    people_questions::{Asked, AskedKind, Edge, Side, Within},
    people_wording::{Span, both, capital, clock, end_clock, joined, length, listed, merge, number, shortened, spans},
};

/// What is said to questions that faces do not answer.
pub(crate) const NEEDS_DESCRIPTION: &str =
    "This needs a base that can describe footage: pvchat base get smolvlm2-256m (1.0 GB, Apache-2.0).";
/// Faces that are not good and are this near in time, in seconds, to those of the only people around are theirs.
const NEAR: f64 = 3.0;

/// Whether somebody is in the footage, and when.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Presence {
    /// The name.
    pub name: SubjectName,
    /// Whether the person is in it: no only where the faces that were seen are clearly those of others.
    pub verdict: Verdict,
    /// The probability that the most similar one is the person, 0 to 1; 0 where nobody is similar.
    pub probability: f32,
    /// The greatest cosine; 0 where nobody is similar.
    pub similarity: f32,
    /// When, in the order of time: the certain ones for yes, the possible ones for not sure.
    pub moments: Vec<Moment>,
}

/// Everything that was seen of one person in the part of the footage that is asked about.
struct Row {
    subject: Option<SubjectName>,
    /// Other subjects whom the person is as surely like, with the cosine.
    also: Vec<(SubjectName, f32)>,
    /// Whether a face is good enough to say who it is.
    clear: bool,
    /// What the faces lack, where most are not good.
    flaw: Option<Flaw>,
    moments: Vec<Moment>,
}

/// The part of watched footage that is asked about.
pub(crate) struct Scene<'a> {
    footage: &'a Footage,
    calibration: &'a Calibration,
    names: &'a [SubjectName],
    rows: Vec<Row>,
    is_part: bool,
    /// When that part begins, in seconds.
    from: Option<f64>,
    /// Whether that part is one moment.
    is_moment: bool,
    /// " before 1:00", or nothing.
    scope: String,
    /// A picture has no times.
    still: bool,
    /// Whether answers say whom they are about: several are asked about.
    naming: bool,
}

type Said = (String, Option<Verdict>);

impl<'a> Scene<'a> {
    pub(crate) fn new(
        footage: &'a Footage,
        calibration: &'a Calibration,
        names: &'a [SubjectName],
        within: Option<Within>,
    ) -> Self {
        let still = footage.finished && footage.timeline.frames <= 1;
        let last =
            || footage.timeline.people.iter().flat_map(|person| &person.moments).map(|moment| moment.end).fold(0.0, f64::max);
        let within = within.filter(|_| !still).map(|within| within.of(footage.duration.unwrap_or_else(last)));
        let rows = footage.timeline.people.iter().filter_map(|person| row(person, footage, names, within)).collect();
        let is_moment = within.is_some_and(|within| within.until == Some(within.from));
        let scope = within.map_or(String::new(), |within| match within {
            Within { edge: Some(Edge::Beginning), .. } => " at the beginning".into(),
            Within { edge: Some(Edge::End), .. } => " at the end".into(),
            Within { from, until: None, .. } => format!(" after {}", clock(from)),
            Within { from, until: Some(until), .. } if from == until => format!(" at {}", clock(from)),
            Within { from, until: Some(until), .. } if from <= 0.0 => format!(" before {}", clock(until)),
            Within { from, until: Some(until), .. } => format!(" between {} and {}", clock(from), clock(until)),
        });
        Self {
            footage,
            calibration,
            names,
            rows,
            is_part: within.is_some(),
            from: within.map(|within| within.from),
            is_moment,
            scope,
            still,
            naming: false,
        }
    }

    /// Whether answers say whom they are about.
    pub(crate) fn naming(self, naming: bool) -> Self {
        Self { naming, ..self }
    }

    /// The answer in words, and whether it is so.
    pub(crate) fn answer(&self, asked: &Asked) -> Said {
        match &asked.kind {
            AskedKind::Present => self.present(asked),
            AskedKind::Together => self.together(asked),
            AskedKind::With | AskedKind::Alone => self.company(asked),
            AskedKind::Only => self.only(asked),
            AskedKind::HowMany => (self.how_many(asked), None),
            AskedKind::Who => (self.who(asked), None),
            AskedKind::Anyone => self.anyone(asked),
            AskedKind::Refused(_) => (String::new(), None),
            _ if asked.people.is_empty() => self.of_everybody(asked),
            _ => self.of_each(asked),
        }
    }

    /// Those whom an answer is about.
    pub(crate) fn concerned(&self, asked: &Asked) -> Vec<Presence> {
        match asked.kind {
            AskedKind::Who => self.names.iter().map(|name| self.presence(name)).collect(),
            AskedKind::Refused(_) => Vec::new(),
            _ => self.presences(asked),
        }
    }

    /// What is said of footage that was not watched to the end.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let until = clock(self.footage.timeline.until);
        (!self.footage.finished).then(|| format!("It was watched only up to {until}; watch it again for the rest."))
    }

    fn presences(&self, asked: &Asked) -> Vec<Presence> {
        let named = asked.people.iter().filter_map(|name| self.names.iter().find(|known| known.bare() == name));
        named.map(|name| self.presence(name)).collect()
    }

    fn row(&self, name: &SubjectName) -> Option<&Row> {
        self.rows.iter().find(|row| row.subject.as_ref() == Some(name))
    }

    /// Somebody who was recognised as another subject, but is as surely like this one.
    fn also(&self, name: &SubjectName) -> Option<(&Row, f32)> {
        let cosine = |row: &Row| row.also.iter().find(|(other, _)| other == name).map(|(_, cosine)| *cosine);
        let all = self.rows.iter().filter_map(|row| Some((row, cosine(row)?)));
        all.max_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    fn presence(&self, name: &SubjectName) -> Presence {
        let enrolled = self.footage.known.len().max(1);
        let certain = self.calibration.certain_from(enrolled);
        let Some(row) = self.row(name) else {
            if let Some((row, similarity)) = self.also(name) {
                let (verdict, moments) = (Verdict::NotSure, row.moments.clone());
                return Presence {
                    name: name.clone(),
                    verdict,
                    probability: self.calibration.probability(similarity),
                    similarity,
                    moments,
                };
            }
            let verdict = if self.is_clear() { Verdict::No } else { Verdict::NotSure };
            return Presence { name: name.clone(), verdict, probability: 0.0, similarity: 0.0, moments: Vec::new() };
        };
        let similarity = row.moments.iter().map(|moment| moment.similarity).fold(-1.0, f32::max);
        let verdict = self.calibration.verdict(similarity, enrolled).max(Verdict::NotSure);
        let counts = |moment: &&Moment| verdict != Verdict::Yes || moment.similarity >= certain;
        let moments = row.moments.iter().filter(counts).cloned().collect();
        Presence { name: name.clone(), verdict, probability: self.calibration.probability(similarity), similarity, moments }
    }

    /// Whether everybody who was seen is clearly somebody: only then is somebody else absent.
    fn is_clear(&self) -> bool {
        self.footage.finished && !self.rows.is_empty() && self.unclear().next().is_none()
    }

    /// People none of whose faces is good, unless they can only be those who are clearly seen around that time.
    fn unclear(&self) -> impl Iterator<Item = &Row> {
        let is_near = |row: &Row, moment: &Moment| {
            row.moments.iter().any(|other| other.start - moment.end <= NEAR && moment.start - other.end <= NEAR)
        };
        let explained = move |row: &Row| {
            row.moments.iter().all(|moment| {
                let around = self.rows.iter().filter(|other| other.clear && is_near(other, moment)).count();
                around > 0 && self.footage.timeline.together <= around
            })
        };
        self.rows.iter().filter(move |row| !row.clear && !explained(row))
    }

    /// How many people there are besides these, at least.
    pub(crate) fn others(&self, besides: &[&SubjectName]) -> usize {
        let is_named = |row: &&Row| row.subject.as_ref().is_some_and(|name| besides.contains(&name));
        let named = self.rows.iter().filter(is_named).count();
        let clear = self.rows.iter().filter(|row| row.clear && !is_named(row)).count();
        if self.is_part { clear } else { clear.max(self.footage.timeline.together.saturating_sub(named)) }
    }

    fn noun(&self) -> &'static str {
        if self.still { "picture" } else { "clip" }
    }

    fn starts_after_the_end(&self) -> bool {
        self.footage.duration.zip(self.from).is_some_and(|(duration, from)| from > duration)
    }

    /// Frames that were looked at, in words.
    fn nobody(&self) -> String {
        let frames = self.footage.timeline.frames;
        match (frames, self.is_part) {
            (0, _) => "Nothing of it was looked at.".into(),
            (_, true) if self.starts_after_the_end() => {
                format!("It ends at {}.", end_clock(self.footage.duration.unwrap_or(0.0)))
            }
            (_, true) => format!("I found nobody{}.", self.scope),
            (1, _) => "I found nobody in it (no face; somebody seen from behind is not found).".into(),
            _ => format!("I found nobody in it ({frames} frames looked at, no face)."),
        }
    }

    fn present(&self, asked: &Asked) -> Said {
        let all = self.presences(asked);
        let whole = asked.negated || self.naming || all.len() > 1;
        let mut said: Vec<String> = Vec::new();
        for presence in &all {
            let sentence = self.sentence(presence, whole, all.len() == 1);
            if !said.contains(&sentence) {
                said.push(sentence);
            }
        }
        let verdicts = all.iter().map(|presence| presence.verdict);
        let verdict = if asked.either { verdicts.max() } else { verdicts.min() };
        let names: Vec<&SubjectName> = all.iter().map(|presence| &presence.name).collect();
        let shown = all.iter().any(|presence| presence.verdict == Verdict::Yes);
        match self.others(&names) {
            _ if !shown || self.naming => {}
            0 if self.is_clear() => said.push(format!("Nobody else is in the {}{}.", self.noun(), self.scope)),
            0 => {}
            1 => said.push(format!("One other person is in the {}{}.", self.noun(), self.scope)),
            others => said.push(format!("{} other people are in the {}{}.", capital(&number(others)), self.noun(), self.scope)),
        }
        (said.join(" "), verdict)
    }

    /// Whether somebody is there: "Yes: ..." or a whole sentence.
    fn sentence(&self, presence: &Presence, whole: bool, only: bool) -> String {
        let (name, scope, similarity) = (presence.name.bare(), &self.scope, presence.similarity);
        let times = || if self.still { String::new() } else { listed(&spans(&presence.moments)) };
        match presence.verdict {
            Verdict::Yes => {
                let head = if whole { format!("{name} is in it") } else { "Yes".into() };
                // "At 0:05" says the time already.
                let times = if self.still || self.is_moment { String::new() } else { format!(": {}", times()) };
                let comma = if whole || scope.is_empty() { "" } else { "," };
                format!("{head}{comma}{scope}{times} (similarity {similarity:.2}).{}", self.perhaps(presence))
            }
            Verdict::NotSure => {
                let head = if whole { format!("Not sure about {name}{scope}") } else { format!("Not sure{scope}") };
                if presence.moments.is_empty() {
                    return self.unsure(&head);
                }
                let when = if self.still { String::new() } else { format!(" at {}", times()) };
                if let Some(row_subject) = self.also(&presence.name).and_then(|(row, _)| row.subject.as_ref()) {
                    let (name, other) = (presence.name.bare(), row_subject.bare());
                    let merging = merging(&[row_subject, &presence.name]);
                    return format!(
                        "{head}: whoever is seen{when} looks like {other} and like {name} ({similarity:.2}).{merging}"
                    );
                }
                let flaw = self.row(&presence.name).and_then(|row| row.flaw);
                let flaw = flaw.map_or(String::new(), |flaw| format!("; most of the faces are {flaw}"));
                format!("{head}: somebody{when} is similar ({similarity:.2}){flaw}.")
            }
            Verdict::No => {
                let head = if whole { format!("{name} is not in it{scope}.") } else { "No.".into() };
                let clip = format!("in the {}{scope}", self.noun());
                match self.others(&[]) {
                    _ if !only => head,
                    0 | 1 => format!("{head} One person is {clip}, and it is not {name}."),
                    2 => format!("{head} Two people are {clip}, neither is {name}."),
                    people => format!("{head} {} people are {clip}, none of them is {name}.", capital(&number(people))),
                }
            }
        }
    }

    /// Moments of somebody who is there that are less certain.
    fn perhaps(&self, presence: &Presence) -> String {
        let Some(row) = self.row(&presence.name).filter(|_| !self.still) else { return String::new() };
        let further: Vec<Moment> = row.moments.iter().filter(|moment| !presence.moments.contains(moment)).cloned().collect();
        if further.is_empty() { String::new() } else { format!(" Perhaps also {}.", listed(&spans(&further))) }
    }

    /// Why nothing can be said about somebody whom nobody is similar to.
    fn unsure(&self, head: &str) -> String {
        if self.rows.is_empty() {
            return self.nobody();
        }
        let unclear: Vec<&Row> = self.unclear().collect();
        let flaw = unclear.iter().find_map(|row| row.flaw).map_or(String::new(), |flaw| format!(": {flaw}"));
        let clear = self.rows.iter().filter(|row| row.clear).count();
        let others = match clear {
            0 => return format!("No face is good enough to say{}{flaw}.", self.scope),
            1 => "one person is clearly somebody else".into(),
            clear => format!("{} people are clearly others", number(clear)),
        };
        if unclear.is_empty() {
            return format!("{head}: {others}, but it was not watched to the end.");
        }
        let at = if self.still { String::new() } else { format!(" at {}", listed(&union(unclear.iter().copied()))) };
        format!("{head}: {others}, but further faces{at} are not good enough to say{flaw}.")
    }

    /// Times, lengths and places of each of several people.
    fn of_each(&self, asked: &Asked) -> Said {
        let mut said: Vec<String> = Vec::new();
        let (mut verdicts, mut seen) = (Vec::new(), false);
        for presence in self.presences(asked) {
            seen |= !presence.moments.is_empty();
            let name = presence.name.bare();
            let (sentence, verdict) = match (presence.verdict, presence.moments.is_empty()) {
                (verdict, true) => (self.sentence(&presence, true, true), verdict),
                (Verdict::Yes, _) => self.say(asked, name, &presence.moments, Verdict::Yes),
                (verdict, _) => {
                    let label = format!("somebody similar to {name} ({:.2})", presence.similarity);
                    let (sentence, found) = self.say(asked, &label, &presence.moments, verdict);
                    (format!("Not sure: {sentence}"), found)
                }
            };
            if !said.contains(&sentence) {
                said.push(sentence);
            }
            verdicts.push(verdict);
        }
        let verdict = if asked.either { verdicts.into_iter().max() } else { verdicts.into_iter().min() };
        said.extend(self.place_remark(asked).filter(|_| seen));
        (said.join(" "), verdict)
    }

    /// The same of everybody who is seen; strangers are taken together.
    fn of_everybody(&self, asked: &Asked) -> Said {
        if self.rows.is_empty() {
            return (self.nobody(), Some(Verdict::NotSure));
        }
        let mut said = Vec::new();
        for name in self.names {
            let presence = self.presence(name);
            if !presence.moments.is_empty() {
                let label =
                    if presence.verdict == Verdict::Yes { name.bare().into() } else { format!("perhaps {}", name.bare()) };
                said.push(capital(&self.say(asked, &label, &presence.moments, presence.verdict).0));
            }
        }
        let strangers: Vec<&Row> = self.rows.iter().filter(|row| row.subject.is_none()).collect();
        if !strangers.is_empty() {
            let mut moments: Vec<Moment> = strangers.iter().flat_map(|row| row.moments.clone()).collect();
            moments.sort_by(|one, other| one.start.total_cmp(&other.start));
            said.push(capital(&self.say(asked, "somebody who is not recognised", &moments, Verdict::Yes).0));
        }
        said.extend(self.place_remark(asked));
        (said.join(" "), Some(Verdict::Yes))
    }

    fn place_remark(&self, asked: &Asked) -> Option<String> {
        let place = "Faces do not say what place it is.";
        (asked.kind == AskedKind::Where).then(|| format!("{place} {NEEDS_DESCRIPTION}"))
    }

    /// What is asked about somebody who is seen.
    fn say(&self, asked: &Asked, label: &str, moments: &[Moment], verdict: Verdict) -> (String, Verdict) {
        let scope = &self.scope;
        let merged = merge(spans(moments));
        let times = listed(&merged);
        let sentence = match &asked.kind {
            AskedKind::Where => format!("{label} is {}.", self.places(moments)),
            AskedKind::Which if self.still => format!("{label} is {}.", self.places(moments)),
            AskedKind::Which => format!("{label} is {}, and seen{scope} at {times}.", self.places(moments)),
            AskedKind::On(sides) => return self.on(sides, asked, label, moments, verdict),
            _ if self.still => format!("{label} is in the picture, which has no times."),
            AskedKind::First => format!("{label} is seen{scope} first at {}.", clock(merged.first().map_or(0.0, |span| span.0))),
            AskedKind::Last => format!("{label} is seen{scope} last at {}.", end_clock(merged.last().map_or(0.0, |span| span.1))),
            AskedKind::HowLong => format!("{label} is seen{scope} for {}: {times}.", self.share(&merged)),
            AskedKind::Lasts { seconds, longer, or_equal } => {
                let beyond = if *longer { self.total(&merged) - seconds } else { seconds - self.total(&merged) };
                let is_so = if *or_equal { beyond >= -1e-3 } else { beyond > 1e-3 };
                let (head, verdict) = match (verdict, is_so) {
                    (Verdict::Yes, true) => ("Yes: ", Verdict::Yes),
                    (Verdict::Yes, false) => ("No: ", Verdict::No),
                    _ => ("", verdict),
                };
                return (format!("{head}{label} is seen{scope} for {}: {times}.", self.share(&merged)), verdict);
            }
            AskedKind::HowOften => {
                let often = match merged.len() {
                    1 => "once".into(),
                    2 => "twice".into(),
                    times => format!("{} times", number(times)),
                };
                format!("{label} is seen{scope} {often}: {times}.")
            }
            _ if asked.negated => match self.gaps(&merged).as_slice() {
                [] => format!("{label} is seen{scope} all the time."),
                gaps => format!("{label} is seen{scope} at {times}, and not at {}.", listed(gaps)),
            },
            _ => format!("{label} is seen{scope} at {times}."),
        };
        (sentence, verdict)
    }

    /// For how long, and for how much of all.
    fn share(&self, seen: &[Span]) -> String {
        let total = length(self.total(seen));
        match self.footage.duration.filter(|_| !self.is_part).map(length) {
            Some(all) if all == total => format!("all of its {all}"),
            Some(all) => format!("about {total} of {all}"),
            None => format!("about {total}"),
        }
    }

    /// Whether somebody is on a side of the picture.
    fn on(&self, sides: &[Side], asked: &Asked, label: &str, moments: &[Moment], verdict: Verdict) -> (String, Verdict) {
        let is_there = |moment: &&Moment| sides.iter().all(|side| self.is_on(moment, *side));
        let there: Vec<Moment> = moments.iter().filter(is_there).cloned().collect();
        let head = |word: &str| if asked.negated || verdict != Verdict::Yes { String::new() } else { format!("{word}: ") };
        if there.is_empty() {
            // Only the best face of each moment is kept, and people move.
            let certain = self.still && verdict == Verdict::Yes;
            let (word, verdict) = if certain { ("No", Verdict::No) } else { ("Not seen there", Verdict::NotSure) };
            return (format!("{}{label} is {}.", head(word), self.places(moments)), verdict);
        }
        (format!("{}{label} is {}.", head("Yes"), self.places(&there)), verdict)
    }

    /// Which third of the picture a face is in, across and down; 0, 1 or 2.
    fn thirds(&self, moment: &Moment) -> [usize; 2] {
        let [x, y] = moment.bounds.centre();
        let third = |at: f32, all: u32| ((3.0 * at / all.max(1) as f32).max(0.0) as usize).min(2);
        [third(x, self.footage.size[0]), third(y, self.footage.size[1])]
    }

    fn is_on(&self, moment: &Moment, side: Side) -> bool {
        let [across, down] = self.thirds(moment);
        match side {
            Side::Left => across == 0,
            Side::Middle => across == 1,
            Side::Right => across == 2,
            Side::Upper => down == 0,
            Side::Lower => down == 2,
        }
    }

    /// Where faces are in the picture, and when.
    fn places(&self, moments: &[Moment]) -> String {
        let place = |moment: &Moment| match self.thirds(moment) {
            [0, 0] => "at the upper left",
            [1, 0] => "in the upper middle",
            [2, 0] => "at the upper right",
            [0, 1] => "on the left",
            [1, 1] => "in the middle",
            [2, 1] => "on the right",
            [0, _] => "at the lower left",
            [1, _] => "in the lower middle",
            _ => "at the lower right",
        };
        let with_time = |moment: &Moment| match self.still {
            true => format!("{} of the picture", place(moment)),
            false => format!("{} of the picture at {}", place(moment), clock(moment.best)),
        };
        shortened(moments.iter().map(with_time).collect())
    }

    fn together(&self, asked: &Asked) -> Said {
        let all = self.presences(asked);
        let absent: Vec<&Presence> = all.iter().filter(|presence| presence.moments.is_empty()).collect();
        if !absent.is_empty() {
            let mut said: Vec<String> = absent.iter().map(|presence| self.sentence(presence, true, true)).collect();
            said.dedup();
            let verdict = absent.iter().map(|presence| presence.verdict).min();
            if verdict == Some(Verdict::No) && !asked.negated {
                said.insert(0, "No.".into());
            }
            return (said.join(" "), verdict);
        }
        let sure = all.iter().all(|presence| presence.verdict == Verdict::Yes);
        let labels: Vec<String> = all
            .iter()
            .map(|presence| match presence.verdict {
                Verdict::Yes => presence.name.bare().to_string(),
                _ => format!("somebody similar to {} ({:.2})", presence.name.bare(), presence.similarity),
            })
            .collect();
        let mut shared = merge(spans(&all[0].moments));
        for presence in &all[1..] {
            shared = both(&shared, &merge(spans(&presence.moments)), self.frame() / 2.0);
        }
        // Faces that take turns are near in time, but never in one frame.
        if self.footage.timeline.together < all.len() {
            shared.clear();
        }
        let head = |word: &str| if asked.negated { String::new() } else { format!("{word}: ") };
        let who = joined(&labels);
        if !shared.is_empty() {
            let verdict = if sure { Verdict::Yes } else { Verdict::NotSure };
            let head = if sure { head("Yes") } else { "Not sure: ".into() };
            let text = match self.still {
                true => format!("{head}{who} are in the picture together."),
                false => {
                    let (times, total) = (listed(&shared), length(self.total(&shared)));
                    format!("{head}{who} are seen together{} at {times} (about {total} in all).", self.scope)
                }
            };
            return (text, Some(verdict));
        }
        let verdict = if sure && self.is_clear() { Verdict::No } else { Verdict::NotSure };
        let head = if verdict == Verdict::No { head("No") } else { "Not sure: ".into() };
        let each: Vec<String> = all
            .iter()
            .zip(&labels)
            .map(|(presence, label)| format!("{label} at {}", listed(&spans(&presence.moments))))
            .collect();
        let text = format!("{head}{who} are in it, but I never see them at the same time{}: {}.", self.scope, each.join("; "));
        (text, Some(verdict))
    }

    /// Who is seen at the same time as somebody, or whether nobody is.
    fn company(&self, asked: &Asked) -> Said {
        let mut presences = self.presences(asked);
        let Some(presence) = presences.pop() else { return (self.nobody(), Some(Verdict::NotSure)) };
        if presence.moments.is_empty() {
            return (self.sentence(&presence, true, true), Some(presence.verdict));
        }
        let name = presence.name.bare();
        let own = merge(spans(&presence.moments));
        let several = self.footage.timeline.together > 1;
        let shared = |row: &Row| both(&own, &spans(&row.moments), self.frame() / 2.0);
        let meets = |row: &&Row| several && !shared(row).is_empty();
        let others: Vec<&Row> =
            self.rows.iter().filter(|row| row.subject.as_ref() != Some(&presence.name)).filter(meets).collect();
        let mut who: Vec<String> = Vec::new();
        for row in others.iter().filter(|row| row.clear) {
            if let Some(subject) = &row.subject {
                let perhaps = if self.presence(subject).verdict == Verdict::Yes { "" } else { "perhaps " };
                who.push(format!("{perhaps}{}{}", subject.bare(), self.in_brackets(&shared(row))));
            }
        }
        match others.iter().filter(|row| row.clear && row.subject.is_none()).count() {
            0 => {}
            1 => who.push("one person who is not recognised".into()),
            strangers => who.push(format!("{} people who are not recognised", number(strangers))),
        }
        let alone = asked.kind == AskedKind::Alone;
        let (text, company) = if !who.is_empty() {
            (format!("{name} is seen at the same time as {}.", joined(&who)), Verdict::Yes)
        } else if !others.is_empty() {
            let text = "the faces that are seen at the same time are not good enough to say whose they are";
            (format!("{name} may be alone: {text}."), Verdict::NotSure)
        } else {
            (format!("nobody else is seen at the same time as {name}."), Verdict::No)
        };
        let verdict = match (alone, company) {
            (true, Verdict::Yes) => Verdict::No,
            (true, Verdict::No) => Verdict::Yes,
            _ => company,
        }
        .min(if presence.verdict == Verdict::Yes { Verdict::Yes } else { Verdict::NotSure });
        let head = match verdict {
            Verdict::NotSure => "Not sure: ",
            _ if asked.negated || !alone => "",
            Verdict::Yes => "Yes: ",
            Verdict::No => "No: ",
        };
        (if head.is_empty() { capital(&text) } else { format!("{head}{text}") }, Some(verdict))
    }

    /// Whether nobody else is there at any time.
    fn only(&self, asked: &Asked) -> Said {
        let Some(presence) = self.presences(asked).pop() else { return (self.nobody(), Some(Verdict::NotSure)) };
        let name = presence.name.bare();
        let head = |word: &str| if asked.negated { String::new() } else { format!("{word}: ") };
        let (text, verdict) = match self.others(&[&presence.name]) {
            _ if presence.moments.is_empty() => (self.sentence(&presence, true, true), presence.verdict),
            0 if presence.verdict != Verdict::Yes => (self.sentence(&presence, true, true), Verdict::NotSure),
            0 if self.is_clear() => (format!("{}nobody else is in it{}.", head("Yes"), self.scope), Verdict::Yes),
            0 => (format!("Not sure.{}", self.further_faces()), Verdict::NotSure),
            _ => {
                let others = joined(&self.roll(&[&presence.name], true));
                (format!("{}besides {name}, there are{}: {others}.", head("No"), self.scope), Verdict::No)
            }
        };
        (capital(&text), Some(verdict))
    }

    fn in_brackets(&self, spans: &[Span]) -> String {
        if self.still { String::new() } else { format!(" ({})", listed(spans)) }
    }

    fn excluded(&self, asked: &Asked) -> Vec<&'a SubjectName> {
        self.names.iter().filter(|name| asked.people.iter().any(|one| one == name.bare())).collect()
    }

    /// Which other enrolled people a recognised person may be; nobody who is seen at the same time.
    fn alike(&self, row: &'_ Row, without: &[&SubjectName]) -> Vec<&'a SubjectName> {
        let is_like = |name: &&SubjectName| row.also.iter().any(|(other, _)| other == *name);
        let others = self.names.iter().filter(|name| !without.contains(name) && self.row(name).is_none());
        others.filter(is_like).collect()
    }

    /// Those who are recognised, the certain ones first, and how many are not, in words; without those who do not count.
    fn roll(&self, without: &[&SubjectName], with_times: bool) -> Vec<String> {
        let (mut roll, mut alike, mut perhaps) = (Vec::new(), Vec::new(), Vec::new());
        for name in self.names.iter().filter(|name| !without.contains(name)) {
            let (Some(row), presence) = (self.row(name), self.presence(name)) else { continue };
            let times = if with_times { self.in_brackets(&spans(&presence.moments)) } else { String::new() };
            let others = self.alike(row, without);
            if !others.is_empty() {
                let names: Vec<&str> = std::iter::once(name).chain(others).map(SubjectName::bare).collect();
                alike.push(format!("{}, who look alike{times}", names.join(" or ")));
            } else if presence.verdict == Verdict::Yes {
                roll.push(format!("{}{times}", name.bare()));
            } else {
                perhaps.push(format!("perhaps {}{times}", name.bare()));
            }
        }
        roll.append(&mut alike);
        roll.append(&mut perhaps);
        let named = self.rows.iter().filter(|row| row.subject.is_some()).count();
        match self.others(&[]).saturating_sub(named) {
            0 => {}
            1 => roll.push("one person who is not recognised".into()),
            strangers => roll.push(format!("{} people who are not recognised", number(strangers))),
        }
        roll
    }

    /// What to do about names that may be of one person.
    fn merging(&self, without: &[&SubjectName]) -> String {
        let hint = |row: &Row| {
            let name = row.subject.as_ref().filter(|name| !without.contains(name))?;
            let all: Vec<&SubjectName> = std::iter::once(name).chain(self.alike(row, without)).collect();
            Some(merging(&all))
        };
        self.rows.iter().filter_map(hint).collect()
    }

    /// What is added where faces say nothing.
    fn further_faces(&self) -> String {
        let unclear: Vec<&Row> = self.unclear().collect();
        let flaw = unclear.iter().find_map(|row| row.flaw).map_or(String::new(), |flaw| format!(": {flaw}"));
        match unclear.is_empty() {
            true => String::new(),
            false if self.still => format!(" Further faces are not good enough to say whose they are{flaw}."),
            false => {
                let times = listed(&union(unclear.into_iter()));
                format!(" Further faces at {times} are not good enough to say whose they are{flaw}.")
            }
        }
    }

    fn how_many(&self, asked: &Asked) -> String {
        let without = self.excluded(asked);
        if self.rows.is_empty() {
            return self.nobody();
        }
        let count = self.others(&without);
        let other = if without.is_empty() { "" } else { "other " };
        let people = if count == 1 { format!("one {other}person") } else { format!("{} {other}people", number(count)) };
        let clear = self.rows.iter().filter(|row| row.clear).count();
        if clear == 0 {
            let flaw = self.rows.iter().find_map(|row| row.flaw).map_or(String::new(), |flaw| format!(": {flaw}"));
            return match self.is_part {
                true => format!("Somebody is there{}, but no face is good enough to say who{flaw}.", self.scope),
                false => format!("At least {people}, but no face is good enough to say who{flaw}."),
            };
        }
        let further = self.further_faces();
        let people = if further.is_empty() { capital(&people) } else { format!("At least {people}") };
        let together = self.footage.timeline.together;
        let most = match self.still || self.is_part || !without.is_empty() || clear < 2 {
            true => String::new(),
            false => format!("; at most {} at the same time", number(together)),
        };
        let roll = self.roll(&without, false);
        let is_named = |row: &Row| row.subject.as_ref().is_some_and(|name| !without.contains(&name));
        let who = match (count, self.rows.iter().any(is_named)) {
            (0, _) => String::new(),
            (1, false) => " who is not recognised".into(),
            (_, false) => " who are not recognised".into(),
            (_, true) => format!(": {}", joined(&roll)),
        };
        format!("{people}{}{who}{most}.{further}{}", self.scope, self.merging(&without))
    }

    fn who(&self, asked: &Asked) -> String {
        let without = self.excluded(asked);
        if self.rows.is_empty() {
            return self.nobody();
        }
        let roll = self.roll(&without, true);
        let besides: Vec<String> = without.iter().map(|name| name.bare().to_string()).collect();
        let head = if besides.is_empty() { String::new() } else { format!("Besides {}: ", joined(&besides)) };
        if asked.negated && !self.names.is_empty() {
            return self.missing(&without, &roll);
        }
        let mut text = match (roll.is_empty(), self.rows.iter().any(|row| row.clear)) {
            (true, false) => format!("{head}{}", self.unsure("Not sure")),
            (true, true) => format!("{head}{}.{}", if head.is_empty() { "Nobody" } else { "nobody" }, self.further_faces()),
            _ => {
                let who = joined(&roll);
                let is_name = self.names.iter().any(|name| who.starts_with(name.bare()));
                let who = if head.is_empty() && !is_name { capital(&who) } else { who };
                let far =
                    if self.rows.iter().any(|row| row.clear) { self.further_faces() } else { format!(" {}", self.unsure("")) };
                format!("{head}{who}{}.{far}{}", self.scope, self.merging(&without))
            }
        };
        if self.names.is_empty() {
            text.push_str(" Nobody is enrolled yet: pvchat enrol CLIP --name NAME.");
        }
        text
    }

    /// Who of the enrolled people, but for those in `without`, is not in it; `roll` says who is.
    fn missing(&self, without: &[&SubjectName], roll: &[String]) -> String {
        let missing = |verdict: Verdict| -> Vec<String> {
            let is = |name: &&SubjectName| {
                let presence = self.presence(name);
                presence.moments.is_empty() && presence.verdict == verdict
            };
            let counted = self.names.iter().filter(|name| !without.contains(name));
            counted.filter(is).map(|name| name.bare().to_string()).collect()
        };
        let mut said = Vec::new();
        for (verdict, head) in [(Verdict::No, "Not in it"), (Verdict::NotSure, "Not seen, but perhaps in it")] {
            let missing = missing(verdict);
            if !missing.is_empty() {
                said.push(format!("{head}{}: {}.", self.scope, joined(&missing)));
            }
        }
        match (said.is_empty(), roll.is_empty()) {
            (true, true) => said.push("Nobody else who is enrolled is missing.".into()),
            (true, false) => said.push(format!("Nobody who is enrolled is missing: {}.", joined(roll))),
            (false, false) => said.push(format!("Seen: {}.", joined(roll))),
            (false, true) => {}
        }
        said.join(" ")
    }

    fn anyone(&self, asked: &Asked) -> Said {
        let without = self.excluded(asked);
        let counts = |row: &&Row| row.subject.as_ref().is_none_or(|name| !without.contains(&name));
        let all: Vec<&Row> = self.rows.iter().filter(counts).collect();
        // With somebody left out, a face that says nothing may be theirs.
        let unclear = !without.is_empty() && !all.iter().any(|row| row.clear);
        let else_ = if without.is_empty() { "" } else { " else" };
        if all.is_empty() || (unclear && self.unclear().next().is_none()) {
            let text = if without.is_empty() { self.nobody() } else { format!("I found nobody else{}.", self.scope) };
            return (text, Some(Verdict::NotSure));
        }
        if unclear {
            return (format!("Not sure.{}", self.further_faces()), Some(Verdict::NotSure));
        }
        let when = if self.still { "in the picture".into() } else { format!("seen at {}", listed(&union(all.into_iter()))) };
        let roll = self.roll(&without, false);
        let who = if roll.is_empty() { String::new() } else { format!(": {}", joined(&roll)) };
        let text = format!("somebody{else_} is {when}{who}.");
        (if asked.negated { capital(&text) } else { format!("Yes: {text}") }, Some(Verdict::Yes))
    }

    /// The length of stretches.
    fn total(&self, spans: &[Span]) -> f64 {
        let total = spans.iter().map(|(start, end)| end - start).sum::<f64>();
        self.footage.duration.map_or(total, |all| total.min(all))
    }

    /// Seconds between two frames that were looked at.
    fn frame(&self) -> f64 {
        frame(self.footage)
    }

    /// When somebody is not seen, who is seen at these times.
    fn gaps(&self, seen: &[Span]) -> Vec<Span> {
        let last = seen.last().map_or(0.0, |span| span.1);
        let ends = seen.iter().map(|span| span.0).chain([self.footage.duration.unwrap_or(last)]);
        let begins = std::iter::once(0.0).chain(seen.iter().map(|span| span.1));
        let gaps = begins.zip(ends).filter(|(begin, end)| end - begin > self.frame());
        // Where a gap ends, somebody is seen: that begins with a whole second.
        gaps.map(|(begin, end)| (begin, if self.footage.duration == Some(end) { end } else { end.floor() })).collect()
    }
}

/// What is kept of somebody in a part of the footage; `None` for somebody who is not seen there.
fn row(person: &Appearance, footage: &Footage, names: &[SubjectName], within: Option<Within>) -> Option<Row> {
    let from = within.map_or(f64::MIN, |within| within.from);
    let until = within.and_then(|within| within.until).unwrap_or(f64::MAX);
    let slack = frame(footage);
    let is_in = |moment: &&Moment| moment.end >= from - slack && moment.start <= until + slack;
    let cut = |moment: &Moment| {
        let (start, end) = (moment.start.max(from).min(until), moment.end.min(until).max(from));
        Moment { start, end, ..moment.clone() }
    };
    let mut moments: Vec<Moment> = person.moments.iter().filter(is_in).map(cut).collect();
    moments.sort_by(|one, other| one.start.total_cmp(&other.start));
    let poor = person.good_faces * 2 < person.faces || person.telling_faces == 0;
    (!moments.is_empty()).then(|| Row {
        subject: person.subject.clone().filter(|subject| names.contains(subject)),
        also: person.also.clone(),
        // A blurred face may say who it is, but not who it is not.
        clear: person.telling_faces > 0 || (person.good_faces > 0 && person.subject.is_some()),
        flaw: person.flaw.filter(|_| poor),
        moments,
    })
}

/// What to do where several names are of one person; nothing for one.
fn merging(names: &[&SubjectName]) -> String {
    let [into, from, ..] = names else { return String::new() };
    let quoted = |name: &SubjectName| match name.bare() {
        bare if bare.contains([' ', '\'']) => format!("\"{bare}\""),
        bare => bare.to_string(),
    };
    let all: Vec<String> = names.iter().map(|name| name.bare().into()).collect();
    format!(" If {} are one person: pvchat subjects merge {} {}.", joined(&all), quoted(from), quoted(into))
}

/// Seconds between two frames that were looked at.
fn frame(footage: &Footage) -> f64 {
    1.0 / footage.per_second.max(0.1)
}

fn union<'r>(rows: impl Iterator<Item = &'r Row>) -> Vec<Span> {
    merge(rows.flat_map(|row| spans(&row.moments)).collect())
}
