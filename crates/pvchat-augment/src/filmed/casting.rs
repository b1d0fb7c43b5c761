//! Which people and places each half uses: those that can be cut out and cleared.

use pvchat_data::random::SeededStream;

use super::{
    LeftOut, Request, Stage,
    footage::{Footage, Setting, Someone, longest},
    plan::{PersonStock, Stock},
    source::Span,
    strangers::Strangers,
    subject::Subject,
    workers::{Monitor, in_parallel},
};
use crate::{Error, Result};

/// With fewer strangers than this, none is held back for testing.
const LEAST_STRANGERS: usize = 6;
/// Of this many strangers one is held back for testing.
const HELD_BACK: usize = 5;

/// One of the people in one half.
pub(super) struct Figures {
    /// The person's spans, as numbers of the cast.
    pub(super) figures: Vec<usize>,
    pub(super) spans: Vec<Span>,
    /// Where the person was filmed, if that can be cleared.
    pub(super) own: Option<Setting>,
}

/// What one half is made from.
pub(super) struct HalfStage {
    pub(super) stock: Stock,
    /// Strangers who can be cut out, or were not needed.
    pub(super) strangers: usize,
    pub(super) people: Vec<Figures>,
    pub(super) rooms: Vec<Setting>,
}

/// Chooses who and which places take part: those that can be cut out and cleared. Gives the cast, and what each half is made
/// from.
pub(super) fn choose(
    request: &Request<'_>,
    footage: &Footage<'_>,
    subjects: &[Subject],
    people: &Strangers,
    left_out: &mut Vec<LeftOut>,
    stream: &SeededStream,
    monitor: &Monitor<'_>,
) -> Result<(Vec<Someone>, [HalfStage; 2])> {
    let options = request.options;
    let most_seconds = longest(options);
    let total = people.people.len() + 2 * subjects.len() + 2;
    monitor.begin(Stage::CuttingOut, total)?;
    let mut cast: Vec<Someone> = Vec::new();
    let mut own: [Vec<Figures>; 2] = Default::default();
    for (number, (subject, asked)) in subjects.iter().zip(request.people).enumerate() {
        for (half, spans) in own.iter_mut().zip([&subject.train, &subject.test]) {
            let mut figures = Vec::new();
            let mut problem = String::new();
            for &(person, span) in spans {
                let who = Someone { source: number, person, span, similarity: 1.0, embedding: asked.template.to_vec() };
                match footage.figure_problem(&who)? {
                    None => {
                        figures.push(cast.len());
                        cast.push(who);
                    }
                    Some(found) => problem = found,
                }
            }
            if figures.is_empty() {
                return Err(Error::NotCutOut { clip: asked.clip.into(), problem });
            }
            let mut setting = None;
            for &figure in &figures {
                let at = cast[figure].setting(most_seconds);
                if setting.is_none() && footage.place_problem(&at)?.is_none() {
                    setting = Some(at);
                }
            }
            let spans = figures.iter().map(|&figure| cast[figure].span).collect();
            half.push(Figures { figures, spans, own: setting });
            monitor.step(Stage::CuttingOut, total)?;
        }
    }
    // Every stranger who is held back for testing is one that training does not see.
    let hold_back = people.people.len() >= LEAST_STRANGERS && options.test_negatives > 0;
    let is_held_back = |number: usize| hold_back && number % HELD_BACK == HELD_BACK / 2;
    // Side by side, those who will be asked for below, one after the other, unless others before them cannot be cut out.
    let cut_ahead = |strangers: &[usize]| {
        in_parallel(strangers, request.threads, |&who| {
            monitor.wait(Stage::CuttingOut, total)?;
            people.people[who].first().map_or(Ok(None), |someone| footage.figure_problem(someone))
        })
    };
    let mut halves: Vec<HalfStage> = Vec::new();
    for (place, own) in own.into_iter().enumerate() {
        let is_test = place == 1;
        let (counts, most) = match is_test {
            false => (options.positives, [options.similar_people, options.random_people]),
            true => (options.test_positives, [options.similar_people.div_ceil(3), options.random_people.div_ceil(5)]),
        };
        let mut pool: Vec<usize> = (0..people.people.len()).filter(|&who| !hold_back || is_held_back(who) == is_test).collect();
        let mut strangers = pool.len();
        let mut stock = Stock { people: Vec::new(), rooms: Vec::new(), hard: Vec::new(), random: Vec::new(), beside: Vec::new() };
        let mut at_home: Vec<(Setting, Option<usize>)> = Vec::new();
        let mut problem = String::new();
        let mut take = |who: usize, cast: &mut Vec<Someone>| -> Result<Option<usize>> {
            for someone in &people.people[who] {
                match footage.figure_problem(someone)? {
                    None => {
                        at_home.push((someone.setting(most_seconds), Some(cast.len())));
                        cast.push(someone.clone());
                        return Ok(Some(cast.len() - 1));
                    }
                    Some(reason) => {
                        let name = footage.sources[someone.source].name.clone();
                        problem.clone_from(&reason);
                        // The clips of the people are used in any case.
                        if someone.source >= subjects.len() && !left_out.iter().any(|known| known.name == name) {
                            left_out.push(LeftOut { name, reason });
                        }
                    }
                }
            }
            strangers -= 1;
            Ok(None)
        };
        let mut random = Vec::new();
        cut_ahead(&pool[..most[0].min(pool.len())])?;
        for who in std::mem::take(&mut pool) {
            if stock.hard.len() < most[0] {
                stock.hard.extend(take(who, &mut cast)?);
                monitor.step(Stage::CuttingOut, total)?;
            } else {
                random.push(who);
            }
        }
        stream.derive(format!("strangers {place}")).shuffle(&mut random);
        cut_ahead(&random[..most[1].min(random.len())])?;
        for who in random {
            if stock.random.len() < most[1] {
                stock.random.extend(take(who, &mut cast)?);
                monitor.step(Stage::CuttingOut, total)?;
            }
        }
        if stock.hard.is_empty() && stock.random.is_empty() && !is_test {
            return Err(request.nobody_else(footage.sources.len() - subjects.len(), left_out, &problem));
        }
        // A stretch without people of a stranger's footage goes where the stranger goes, so that testing shows other places.
        let whose = |setting: &Setting| {
            people.people.iter().position(|known| known.iter().any(|someone| someone.source == setting.source))
        };
        let is_here = |(number, setting): &(usize, &Setting)| match whose(setting) {
            Some(who) => !hold_back || is_held_back(who) == is_test,
            None => people.empty.len() < 2 || (number % 2 == 1) == is_test,
        };
        at_home.extend(people.empty.iter().enumerate().filter(is_here).map(|(_, setting)| (*setting, None)));
        stream.derive(format!("places {place}")).shuffle(&mut at_home);
        let most_rooms = (counts / 2).max(1);
        let clear_ahead: Vec<Setting> =
            at_home.iter().take(most_rooms).filter(|(_, who)| who.is_some()).map(|(at, _)| *at).collect();
        in_parallel(&clear_ahead, request.threads, |setting| footage.place_problem(setting))?;
        let mut chosen: Vec<(Setting, Option<usize>)> = Vec::new();
        for (setting, who) in at_home {
            if chosen.len() >= most_rooms {
                break;
            }
            if chosen.iter().any(|(known, _)| known.source == setting.source) {
                continue;
            }
            let problem = match who {
                None if footage.hides_somebody(&setting)? => Some("somebody is seen in it without a face".to_string()),
                _ => footage.place_problem(&setting)?,
            };
            match (problem, who) {
                (None, _) => chosen.push((setting, who)),
                (Some(reason), None) => left_out.push(LeftOut { name: footage.sources[setting.source].name.clone(), reason }),
                (Some(_), Some(_)) => {}
            }
        }
        let strangers_of = |stock: &Stock| stock.hard.iter().chain(&stock.random).copied().collect::<Vec<usize>>();
        for Figures { figures, own, .. } in &own {
            let mut person = PersonStock {
                spans: figures.len(),
                own_place: own.is_some(),
                bodies: Vec::new(),
                heads: Vec::new(),
                beside: Vec::new(),
            };
            if options.exchanged > 0 {
                let figure = &cast[figures[0]];
                let strangers = strangers_of(&stock);
                let fit = in_parallel(&strangers, request.threads, |&stranger| {
                    monitor.wait(Stage::CuttingOut, total)?;
                    let fits = |head, body| Ok::<_, Error>(footage.exchange_problem(head, body)?.is_none());
                    Ok([fits(figure, &cast[stranger])?, fits(&cast[stranger], figure)?])
                })?;
                for (stranger, [body, head]) in strangers.into_iter().zip(fit) {
                    person.bodies.extend(body.then_some(stranger));
                    person.heads.extend(head.then_some(stranger));
                }
            }
            if subjects.len() > 1 {
                for (number, &figure) in figures.iter().enumerate() {
                    if footage.company_problem(&cast[figure], subjects.len())?.is_none() {
                        person.beside.push(number);
                    }
                }
            }
            stock.people.push(person);
        }
        if stock.people.iter().all(|person| !person.beside.is_empty()) {
            for stranger in strangers_of(&stock) {
                if footage.company_problem(&cast[stranger], subjects.len())?.is_none() {
                    stock.beside.push(stranger);
                }
            }
        }
        let rooms: Vec<Setting>;
        (rooms, stock.rooms) = chosen.into_iter().unzip();
        halves.push(HalfStage { stock, strangers, people: own, rooms });
        monitor.step(Stage::CuttingOut, total)?;
    }
    match <[HalfStage; 2]>::try_from(halves) {
        Ok(halves) => Ok((cast, halves)),
        Err(_) => Err(Error::Stopped),
    }
}
