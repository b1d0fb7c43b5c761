//! Which clips are made: who is put where, so that neither the place nor the way of making reveals who it is.

use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

/// One in this many clips is only cropped and compressed.
const UNTOUCHED: usize = 8;
/// The share of clips in the person's own place.
const OWN_PLACE: f64 = 0.375;
/// With fewer clips than this in a place, positives and negatives cannot be balanced there.
const LEAST_IN_PLACE: usize = 2;
/// In a dataset of several people, one in this many clips shows company.
const ACCOMPANIED: usize = 4;

/// Training or testing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// To learn from.
    Train,
    /// To judge by.
    Test,
}

/// How a clip is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Making {
    /// Cropped and compressed, nothing else.
    Untouched,
    /// Cut out and put into a place.
    Composed,
    /// The same, with the head on somebody else's body: the person's on a stranger's, or a stranger's on the person's.
    Exchanged,
    /// By a program that was shown pictures of the person, see [`generator`](crate::generator).
    Generated,
}

/// Where a clip is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Where this one of the people was filmed.
    Own(usize),
    /// One of the other places.
    Other(usize),
}

/// Who else is in a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// Nobody.
    Nobody,
    /// All the other people of the dataset.
    Everybody,
    /// As many strangers as there are other people, from this one of those who can stand beside somebody.
    Strangers(usize),
}

/// A clip that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Which of the people it shows; `None` for a stranger.
    pub(super) shows: Option<usize>,
    pub(super) making: Making,
    pub(super) room: Room,
    /// Of a composed clip, which of the figures: of the person's spans, or of the strangers.
    pub(super) figure: usize,
    /// Of an exchanged one of a person, which stranger's body it is.
    pub(super) body: usize,
    /// Of a composed one, who stands beside.
    pub(super) company: Company,
}

impl Slot {
    /// Whether it is composed and shows this one of the people, or a stranger, alone.
    fn is_plain(&self, shows: Option<usize>) -> bool {
        self.shows == shows && self.making == Making::Composed && self.company == Company::Nobody
    }
}

/// What clips of one of the people can be made from.
#[derive(Clone, Debug)]
pub(super) struct PersonStock {
    /// The person's spans.
    pub(super) spans: usize,
    /// Whether the person's own place can be cleared.
    pub(super) own_place: bool,
    /// The strangers on whose bodies the person's head can be put.
    pub(super) bodies: Vec<usize>,
    /// Those whose heads can be put on the person's body.
    pub(super) heads: Vec<usize>,
    /// The spans in which the person can stand beside somebody.
    pub(super) beside: Vec<usize>,
}

/// What clips can be made from.
#[derive(Clone, Debug)]
pub(super) struct Stock {
    pub(super) people: Vec<PersonStock>,
    /// The places of others: the figure of the stranger who was filmed there and can be shown there untouched.
    pub(super) rooms: Vec<Option<usize>>,
    /// The most similar strangers, as numbers of figures.
    pub(super) hard: Vec<usize>,
    /// The others.
    pub(super) random: Vec<usize>,
    /// Those of both who can stand beside somebody.
    pub(super) beside: Vec<usize>,
}

/// `part` of `of`, taken of `count`, rounded.
pub(super) fn share(count: usize, part: usize, of: usize) -> usize {
    (count * part + of / 2).checked_div(of).unwrap_or(0)
}

/// The clips of one half: `positives` of each of the people, `negatives` of strangers, `exchanged` of each person's with exchanged
/// heads. Each place has the same share of everybody's clips, and so has each way of making. Nothing without a place.
pub(super) fn plan(
    stock: &Stock,
    [positives, negatives]: [usize; 2],
    hard: usize,
    exchanged: usize,
    stream: &SeededStream,
) -> Vec<Slot> {
    let own_places = stock.people.iter().filter(|person| person.own_place).count();
    let has_place = own_places > 0 || !stock.rooms.is_empty();
    if positives == 0 || negatives == 0 || !has_place || stock.people.iter().any(|person| person.spans == 0) {
        return Vec::new();
    }
    let untouched = (positives + UNTOUCHED / 2) / UNTOUCHED;
    let quotas = own_quotas(stock, positives, untouched);
    let at_own: usize = quotas.iter().sum();
    let elsewhere = |person: usize| positives - at_own.max(at_own - quotas[person] + untouched).min(positives);
    let mut rooms: Vec<usize> = (0..stock.rooms.len()).collect();
    stream.derive("rooms").shuffle(&mut rooms);
    // Where strangers can be shown untouched first: without them, untouched clips would all show the person.
    rooms.sort_by_key(|&room| stock.rooms[room].is_none());
    let most = (0..stock.people.len()).map(elsewhere).max().unwrap_or(0);
    rooms.truncate((most / LEAST_IN_PLACE).max(usize::from(most > 0)));
    let mut slots = Vec::with_capacity(stock.people.len() * positives + negatives);
    for (person, of) in stock.people.iter().enumerate() {
        let mut span = 0;
        let mut positive = |making: Making, room: Room| {
            span += 1;
            Slot { shows: Some(person), making, room, figure: (span - 1) % of.spans, body: 0, company: Company::Nobody }
        };
        slots.extend((0..untouched).map(|_| positive(Making::Untouched, Room::Own(person))));
        let composed = |place: usize| if place == person { quotas[place].saturating_sub(untouched) } else { quotas[place] };
        let others = (0..stock.people.len()).filter(|&other| other != person);
        for place in std::iter::once(person).chain(others) {
            slots.extend((0..composed(place)).map(|_| positive(Making::Composed, Room::Own(place))));
        }
        let elsewhere = (0..elsewhere(person)).map(|number| Room::Other(rooms[number % rooms.len()]));
        slots.extend(elsewhere.map(|room| positive(Making::Composed, room)));
    }

    let mut in_own: Vec<usize> = quotas.iter().map(|&quota| share(negatives, quota, positives)).collect();
    if rooms.is_empty() {
        in_own = spread(negatives, stock);
    }
    let mut quotas = vec![0; rooms.len()];
    let outside = if rooms.is_empty() { 0 } else { negatives.saturating_sub(in_own.iter().sum()) };
    (0..outside).for_each(|number| quotas[number % rooms.len()] += 1);
    let mut bare = vec![0; rooms.len()];
    let mut left = share(negatives, untouched, positives);
    while left > 0 {
        let before = left;
        for place in 0..rooms.len() {
            if left > 0 && stock.rooms[rooms[place]].is_some() && bare[place] < quotas[place] {
                bare[place] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    let stranger =
        |making: Making, room: Room, figure: usize| Slot { shows: None, making, room, figure, body: 0, company: Company::Nobody };
    let in_own = in_own.into_iter().enumerate();
    let mut composed: Vec<Room> = in_own.flat_map(|(place, count)| std::iter::repeat_n(Room::Own(place), count)).collect();
    for (place, &room) in rooms.iter().enumerate() {
        slots.extend(std::iter::repeat_n(stranger(Making::Untouched, Room::Other(room), 0), bare[place]));
        composed.extend(std::iter::repeat_n(Room::Other(room), quotas[place] - bare[place]));
    }
    // Who is put where does not follow from the place.
    stream.derive("figures").shuffle(&mut composed);
    let similar = share(composed.len(), hard.min(negatives), negatives);
    let take = |people: &[usize], number: usize| people.get(number % people.len().max(1)).copied();
    for (number, room) in composed.into_iter().enumerate() {
        let (first, second) = if number < similar { (&stock.hard, &stock.random) } else { (&stock.random, &stock.hard) };
        let place = if number < similar { number } else { number - similar };
        if let Some(figure) = take(first, place).or_else(|| take(second, place)) {
            slots.push(stranger(Making::Composed, room, figure));
        }
    }
    exchange(&mut slots, stock, [exchanged, share(negatives, exchanged, positives)], &stream.derive("heads"));
    accompany(&mut slots, stock, [positives, negatives], &stream.derive("company"));
    slots
}

/// How many of each person's clips are set in each of the people's own places.
fn own_quotas(stock: &Stock, positives: usize, untouched: usize) -> Vec<usize> {
    if stock.rooms.is_empty() {
        return spread(positives, stock);
    }
    let places = stock.people.iter().filter(|person| person.own_place).count().max(1);
    let wanted = ((OWN_PLACE * positives as f64).round() as usize).div_ceil(places);
    let quota = wanted.max(untouched).min(positives / places);
    stock.people.iter().map(|person| if person.own_place { quota } else { 0 }).collect()
}

/// `count` clips, spread over the people's own places.
fn spread(count: usize, stock: &Stock) -> Vec<usize> {
    let places: Vec<usize> = (0..stock.people.len()).filter(|&person| stock.people[person].own_place).collect();
    let mut quotas = vec![0; stock.people.len()];
    (0..count).for_each(|number| quotas[places[number % places.len()]] += 1);
    quotas
}

/// Exchanges heads in some of the composed clips of each person and of strangers; in none, where it can be done in one direction
/// only, or not with everybody.
fn exchange(slots: &mut [Slot], stock: &Stock, counts: [usize; 2], stream: &SeededStream) {
    if stock.people.iter().any(|person| person.bodies.is_empty() || person.heads.is_empty()) {
        return;
    }
    for (person, PersonStock { bodies, heads, .. }) in stock.people.iter().enumerate() {
        let theirs = spread_evenly(counts[1], stock.people.len(), person);
        for (shows, count) in [(Some(person), counts[0]), (None, theirs)] {
            let mut places: Vec<usize> = (0..slots.len()).filter(|&place| slots[place].is_plain(shows)).collect();
            let label = shows.is_some().to_string() + &if person == 0 { String::new() } else { format!(" {person}") };
            stream.derive(label).shuffle(&mut places);
            for (number, place) in places.into_iter().take(count).enumerate() {
                let [body, head] = [bodies, heads].map(|strangers| strangers[number % strangers.len()]);
                let slot = Slot { making: Making::Exchanged, ..slots[place] };
                // Of a stranger's clip, the body says whose it is.
                slots[place] = if shows.is_some() { Slot { body, ..slot } } else { Slot { figure: head, body: person, ..slot } };
            }
        }
    }
}

/// The part of one of `parts` of a whole.
fn spread_evenly(whole: usize, parts: usize, part: usize) -> usize {
    whole / parts + usize::from(part < whole % parts)
}

/// Puts company into one of [`ACCOMPANIED`] clips of each person and of strangers: of the people's, half show all of them, the others
/// a person among strangers, so that company says nothing about who is there. None, where somebody cannot stand beside others.
fn accompany(slots: &mut Vec<Slot>, stock: &Stock, [positives, negatives]: [usize; 2], stream: &SeededStream) {
    let people = stock.people.len();
    if people < 2 || stock.beside.len() < people || stock.people.iter().any(|person| person.beside.is_empty()) {
        return;
    }
    let accompanied = positives / ACCOMPANIED;
    let mut together = 0;
    for number in 0..accompanied.div_ceil(2) {
        let leader = number % people;
        let others = || (0..people).filter(|&other| other != leader);
        let mut places: Vec<usize> = (0..slots.len()).filter(|&place| slots[place].is_plain(Some(leader))).collect();
        stream.derive(format!("together {number}")).shuffle(&mut places);
        // One clip takes the place of one of each person in the same room, so that the room keeps its share.
        let plain_of = |slots: &[Slot], other: usize, room: Room| {
            slots.iter().position(|slot| slot.is_plain(Some(other)) && slot.room == room)
        };
        let fits = |&place: &usize| others().all(|other| plain_of(slots, other, slots[place].room).is_some());
        let Some(place) = places.into_iter().find(fits) else { break };
        let beside = &stock.people[leader].beside;
        let room = slots[place].room;
        slots[place] = Slot { company: Company::Everybody, figure: beside[number % beside.len()], ..slots[place] };
        for other in others() {
            if let Some(gone) = plain_of(slots, other, room) {
                slots.remove(gone);
            }
        }
        together += 1;
    }
    let theirs = share(negatives, accompanied, positives);
    let everybody = (0..people).map(Some).map(|person| (person, accompanied - together)).chain([(None, theirs)]);
    let mut first = 0;
    for (shows, count) in everybody {
        let beside = shows.map_or(&stock.beside, |person| &stock.people[person].beside);
        let mut places: Vec<usize> = (0..slots.len()).filter(|&place| slots[place].is_plain(shows)).collect();
        stream.derive(format!("{shows:?}")).shuffle(&mut places);
        for (number, place) in places.into_iter().take(count).enumerate() {
            let slot = slots[place];
            // A stranger who can stand beside others stays.
            let figure =
                if shows.is_none() && beside.contains(&slot.figure) { slot.figure } else { beside[number % beside.len()] };
            slots[place] = Slot { figure, company: Company::Strangers(first), ..slot };
            first += people - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn stock(rooms: usize) -> Stock {
        of_several(1, rooms)
    }

    fn of_several(people: usize, rooms: usize) -> Stock {
        let (bodies, heads) = (vec![1, 4, 5], vec![2, 4]);
        let person = PersonStock { spans: 2, own_place: true, bodies, heads, beside: vec![0, 1] };
        let (hard, random) = (vec![0, 1, 2], (3..12).collect());
        Stock { people: vec![person; people], rooms: (0..rooms).map(Some).collect(), hard, random, beside: (0..12).collect() }
    }

    /// The shares of places among the clips that show somebody, or do not.
    fn shares_of<'a>(slots: &'a [Slot], of: impl Fn(&Slot) -> bool + 'a) -> BTreeMap<Room, f64> {
        let all: Vec<&Slot> = slots.iter().filter(|slot| of(slot)).collect();
        let mut shares = BTreeMap::new();
        all.iter().for_each(|slot| *shares.entry(slot.room).or_insert(0.0) += 1.0 / all.len() as f64);
        shares
    }

    fn shares(slots: &[Slot], positive: bool) -> BTreeMap<Room, f64> {
        shares_of(slots, |slot| slot.shows.is_some() == positive)
    }

    #[test]
    fn places_and_making_have_the_same_shares_of_both() {
        for rooms in [1, 3, 12] {
            let slots = plan(&stock(rooms), [16, 65], 35, 0, &SeededStream::new(rooms as u64));
            assert_eq!(slots.iter().filter(|slot| slot.shows.is_some()).count(), 16);
            assert_eq!(slots.len(), 81);
            let (ours, theirs) = (shares(&slots, true), shares(&slots, false));
            assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
            for (room, share) in &ours {
                assert!((share - theirs[room]).abs() < 0.07, "{room:?}: {share} and {}", theirs[room]);
            }
            let bare = |positive: bool| {
                let all: Vec<&Slot> = slots.iter().filter(|slot| slot.shows.is_some() == positive).collect();
                all.iter().filter(|slot| slot.making == Making::Untouched).count() as f64 / all.len() as f64
            };
            assert!((bare(true) - bare(false)).abs() < 0.02, "{} and {}", bare(true), bare(false));
        }
    }

    #[test]
    fn similar_strangers_have_their_share_and_everybody_takes_part() {
        let slots = plan(&stock(5), [16, 65], 35, 0, &SeededStream::new(2));
        let composed: Vec<&Slot> = slots.iter().filter(|slot| slot.shows.is_none() && slot.making == Making::Composed).collect();
        let hard = composed.iter().filter(|slot| slot.figure < 3).count() as f64 / composed.len() as f64;
        assert!((hard - 35.0 / 65.0).abs() < 0.03, "{hard}");
        assert!((0..12).all(|figure| composed.iter().any(|slot| slot.figure == figure)));
        // Similar strangers are not all in one place.
        let in_own = composed.iter().filter(|slot| slot.room == Room::Own(0));
        let hard_in_own = in_own.clone().filter(|slot| slot.figure < 3).count() as f64 / in_own.count() as f64;
        assert!((0.3..0.8).contains(&hard_in_own), "{hard_in_own}");
    }

    #[test]
    fn heads_are_exchanged_in_the_same_shares_both_ways() {
        let slots = plan(&stock(5), [16, 65], 35, 3, &SeededStream::new(2));
        let of = |positive: bool| {
            slots
                .iter()
                .filter(move |slot| slot.making == Making::Exchanged && slot.shows.is_some() == positive)
                .collect::<Vec<_>>()
        };
        assert_eq!((of(true).len(), of(false).len(), slots.len()), (3, 12, 81));
        let stock = stock(5);
        assert!(of(true).iter().all(|slot| stock.people[0].bodies.contains(&slot.body)));
        assert!(of(false).iter().all(|slot| stock.people[0].heads.contains(&slot.figure)));
        // Everything but the heads is as without.
        let without = plan(&stock, [16, 65], 35, 0, &SeededStream::new(2));
        assert!(slots.iter().zip(&without).all(|(one, other)| one.room == other.room && one.shows == other.shows));
        let mut one_way = stock.clone();
        one_way.people[0].heads.clear();
        assert_eq!(plan(&one_way, [16, 65], 35, 3, &SeededStream::new(2)), without);
    }

    #[test]
    fn with_little_to_choose_from_something_is_made() {
        let mut only_own = stock(0);
        only_own.random.clear();
        let slots = plan(&only_own, [4, 8], 4, 0, &SeededStream::new(0));
        assert_eq!(slots.len(), 12);
        let mut nowhere = stock(0);
        nowhere.people[0].own_place = false;
        assert!(plan(&nowhere, [4, 8], 4, 0, &SeededStream::new(0)).is_empty());
    }

    #[test]
    fn of_several_people_each_has_the_same_shares_of_places_and_of_company() {
        for (people, rooms) in [(2, 5), (3, 5), (2, 0), (3, 12)] {
            let slots = plan(&of_several(people, rooms), [16, 65], 35, 2, &SeededStream::new(rooms as u64));
            let shows = |slot: &Slot, person: usize| {
                slot.shows == Some(person) || (slot.shows.is_some() && slot.company == Company::Everybody)
            };
            for person in 0..people {
                assert_eq!(slots.iter().filter(|slot| shows(slot, person)).count(), 16);
                let with = shares_of(&slots, |slot| shows(slot, person));
                let without = shares_of(&slots, |slot| !shows(slot, person));
                assert_eq!(with.keys().collect::<Vec<_>>(), without.keys().collect::<Vec<_>>());
                for (room, share) in &with {
                    assert!((share - without[room]).abs() < 0.07, "{person} in {room:?}: {share} and {}", without[room]);
                }
                for fits in [|slot: &Slot| slot.company != Company::Nobody, |slot: &Slot| slot.making == Making::Exchanged] {
                    let share = |present: bool| {
                        let all: Vec<&Slot> = slots.iter().filter(|slot| shows(slot, person) == present).collect();
                        all.iter().filter(|slot| fits(slot)).count() as f64 / all.len() as f64
                    };
                    assert!((share(true) - share(false)).abs() < 0.05, "{} and {}", share(true), share(false));
                }
            }
            assert_eq!(slots.iter().filter(|slot| slot.company == Company::Everybody).count(), 2);
            assert_eq!(slots.iter().filter(|slot| slot.shows.is_none()).count(), 65);
        }
        // Where somebody cannot stand beside others, nobody does.
        let mut stock = of_several(2, 5);
        stock.people[1].beside.clear();
        let slots = plan(&stock, [16, 65], 35, 2, &SeededStream::new(1));
        assert!(slots.len() == 97 && slots.iter().all(|slot| slot.company == Company::Nobody));
        // And where no head of somebody can be exchanged, no head is.
        stock.people[1].heads.clear();
        let slots = plan(&stock, [16, 65], 35, 2, &SeededStream::new(1));
        assert!(slots.iter().all(|slot| slot.making != Making::Exchanged));
    }
}
