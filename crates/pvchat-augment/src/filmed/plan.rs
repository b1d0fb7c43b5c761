//! Which clips are made: who is put where, so that neither the place nor the way of making reveals who it is.

use pvchat_data::random::SeededStream;
use serde::{Deserialize, Serialize};

/// One in this many clips is only cropped and compressed.
const UNTOUCHED: usize = 8;
/// The share of clips in the person's own place.
const OWN_PLACE: f64 = 0.375;
/// With fewer clips than this in a place, positives and negatives cannot be balanced there.
const LEAST_IN_PLACE: usize = 2;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Room {
    /// Where the person was filmed.
    Own,
    /// One of the other places.
    Other(usize),
}

/// A clip that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) positive: bool,
    pub(super) making: Making,
    pub(super) room: Room,
    /// Of a composed clip, which of the figures: of the person's spans, or of the strangers.
    pub(super) figure: usize,
    /// Of an exchanged one of the person, which stranger's body it is.
    pub(super) body: usize,
}

/// What clips can be made from.
#[derive(Clone, Debug)]
pub(super) struct Stock {
    /// The person's spans.
    pub(super) spans: usize,
    /// Whether the person's own place can be cleared.
    pub(super) own_place: bool,
    /// The other places; whether their own person can be shown there untouched.
    pub(super) rooms: Vec<bool>,
    /// The most similar strangers, as numbers of figures.
    pub(super) hard: Vec<usize>,
    /// The others.
    pub(super) random: Vec<usize>,
    /// Those of both on whose bodies the person's head can be put.
    pub(super) bodies: Vec<usize>,
    /// Those of both whose heads can be put on the person's body.
    pub(super) heads: Vec<usize>,
}

/// `part` of `of`, taken of `count`, rounded.
pub(super) fn share(count: usize, part: usize, of: usize) -> usize {
    (count * part + of / 2).checked_div(of).unwrap_or(0)
}

/// The clips of one half, `exchanged` of the positives with exchanged heads. Each place has the same share of the positives as of
/// the negatives, and so has each way of making. Nothing without a place.
pub(super) fn plan(
    stock: &Stock,
    [positives, negatives]: [usize; 2],
    hard: usize,
    exchanged: usize,
    stream: &SeededStream,
) -> Vec<Slot> {
    if positives == 0 || negatives == 0 || stock.spans == 0 || (!stock.own_place && stock.rooms.is_empty()) {
        return Vec::new();
    }
    let untouched = (positives + UNTOUCHED / 2) / UNTOUCHED;
    let own = match (stock.own_place, stock.rooms.is_empty()) {
        (false, _) => 0,
        (true, true) => positives - untouched,
        (true, false) => ((OWN_PLACE * positives as f64).round() as usize).saturating_sub(untouched),
    };
    let elsewhere = positives - untouched - own;
    let mut rooms: Vec<usize> = (0..stock.rooms.len()).collect();
    stream.derive("rooms").shuffle(&mut rooms);
    // Where strangers can be shown untouched first: without them, untouched clips would all show the person.
    rooms.sort_by_key(|&room| !stock.rooms[room]);
    rooms.truncate((elsewhere / LEAST_IN_PLACE).max(usize::from(elsewhere > 0)));
    let mut slots = Vec::with_capacity(positives + negatives);
    let mut span = 0;
    let mut positive = |making: Making, room: Room| {
        span += 1;
        Slot { positive: true, making, room, figure: (span - 1) % stock.spans, body: 0 }
    };
    slots.extend((0..untouched).map(|_| positive(Making::Untouched, Room::Own)));
    slots.extend((0..own).map(|_| positive(Making::Composed, Room::Own)));
    slots.extend((0..elsewhere).map(|number| positive(Making::Composed, Room::Other(rooms[number % rooms.len()]))));

    let in_own = if stock.own_place { share(negatives, untouched + own, positives) } else { 0 };
    let mut quotas = vec![0; rooms.len()];
    let outside = if rooms.is_empty() { 0 } else { negatives - in_own };
    (0..outside).for_each(|number| quotas[number % rooms.len()] += 1);
    let mut bare = vec![0; rooms.len()];
    let mut left = share(negatives, untouched, positives);
    while left > 0 {
        let before = left;
        for place in 0..rooms.len() {
            if left > 0 && stock.rooms[rooms[place]] && bare[place] < quotas[place] {
                bare[place] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    let mut composed: Vec<Room> = vec![Room::Own; if rooms.is_empty() { negatives } else { in_own }];
    for (place, &room) in rooms.iter().enumerate() {
        let slot = Slot { positive: false, making: Making::Untouched, room: Room::Other(room), figure: 0, body: 0 };
        slots.extend(std::iter::repeat_n(slot, bare[place]));
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
            slots.push(Slot { positive: false, making: Making::Composed, room, figure, body: 0 });
        }
    }
    exchange(&mut slots, stock, [exchanged, share(negatives, exchanged, positives)], &stream.derive("heads"));
    slots
}

/// Exchanges heads in some of the composed clips of both kinds; in none, where it can be done in one direction only.
fn exchange(slots: &mut [Slot], stock: &Stock, counts: [usize; 2], stream: &SeededStream) {
    if stock.bodies.is_empty() || stock.heads.is_empty() {
        return;
    }
    for (positive, count) in [true, false].into_iter().zip(counts) {
        let is_one = |slot: &Slot| slot.positive == positive && slot.making == Making::Composed;
        let mut places: Vec<usize> = (0..slots.len()).filter(|&place| is_one(&slots[place])).collect();
        stream.derive(positive).shuffle(&mut places);
        for (number, place) in places.into_iter().take(count).enumerate() {
            let [body, head] = [&stock.bodies, &stock.heads].map(|strangers| strangers[number % strangers.len()]);
            let slot = Slot { making: Making::Exchanged, ..slots[place] };
            slots[place] = if positive { Slot { body, ..slot } } else { Slot { figure: head, ..slot } };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn stock(rooms: usize) -> Stock {
        let (hard, random, bodies, heads) = (vec![0, 1, 2], (3..12).collect(), vec![1, 4, 5], vec![2, 4]);
        Stock { spans: 2, own_place: true, rooms: vec![true; rooms], hard, random, bodies, heads }
    }

    fn shares(slots: &[Slot], positive: bool) -> BTreeMap<Room, f64> {
        let all: Vec<&Slot> = slots.iter().filter(|slot| slot.positive == positive).collect();
        let mut shares = BTreeMap::new();
        all.iter().for_each(|slot| *shares.entry(slot.room).or_insert(0.0) += 1.0 / all.len() as f64);
        shares
    }

    #[test]
    fn places_and_making_have_the_same_shares_of_both() {
        for rooms in [1, 3, 12] {
            let slots = plan(&stock(rooms), [16, 65], 35, 0, &SeededStream::new(rooms as u64));
            assert_eq!(slots.iter().filter(|slot| slot.positive).count(), 16);
            assert_eq!(slots.len(), 81);
            let (ours, theirs) = (shares(&slots, true), shares(&slots, false));
            assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
            for (room, share) in &ours {
                assert!((share - theirs[room]).abs() < 0.07, "{room:?}: {share} and {}", theirs[room]);
            }
            let bare = |positive: bool| {
                let all: Vec<&Slot> = slots.iter().filter(|slot| slot.positive == positive).collect();
                all.iter().filter(|slot| slot.making == Making::Untouched).count() as f64 / all.len() as f64
            };
            assert!((bare(true) - bare(false)).abs() < 0.02, "{} and {}", bare(true), bare(false));
        }
    }

    #[test]
    fn similar_strangers_have_their_share_and_everybody_takes_part() {
        let slots = plan(&stock(5), [16, 65], 35, 0, &SeededStream::new(2));
        let composed: Vec<&Slot> = slots.iter().filter(|slot| !slot.positive && slot.making == Making::Composed).collect();
        let hard = composed.iter().filter(|slot| slot.figure < 3).count() as f64 / composed.len() as f64;
        assert!((hard - 35.0 / 65.0).abs() < 0.03, "{hard}");
        assert!((0..12).all(|figure| composed.iter().any(|slot| slot.figure == figure)));
        // Similar strangers are not all in one place.
        let in_own = composed.iter().filter(|slot| slot.room == Room::Own);
        let hard_in_own = in_own.clone().filter(|slot| slot.figure < 3).count() as f64 / in_own.count() as f64;
        assert!((0.3..0.8).contains(&hard_in_own), "{hard_in_own}");
    }

    #[test]
    fn heads_are_exchanged_in_the_same_shares_both_ways() {
        let slots = plan(&stock(5), [16, 65], 35, 3, &SeededStream::new(2));
        let of = |positive: bool| {
            slots.iter().filter(move |slot| slot.making == Making::Exchanged && slot.positive == positive).collect::<Vec<_>>()
        };
        assert_eq!((of(true).len(), of(false).len(), slots.len()), (3, 12, 81));
        let stock = stock(5);
        assert!(of(true).iter().all(|slot| stock.bodies.contains(&slot.body)));
        assert!(of(false).iter().all(|slot| stock.heads.contains(&slot.figure)));
        // Everything but the heads is as without.
        let without = plan(&stock, [16, 65], 35, 0, &SeededStream::new(2));
        assert!(slots.iter().zip(&without).all(|(one, other)| one.room == other.room && one.positive == other.positive));
        let one_way = Stock { heads: Vec::new(), ..stock };
        assert_eq!(plan(&one_way, [16, 65], 35, 3, &SeededStream::new(2)), without);
    }

    #[test]
    fn with_little_to_choose_from_something_is_made() {
        let mut only_own = stock(0);
        only_own.random.clear();
        let slots = plan(&only_own, [4, 8], 4, 0, &SeededStream::new(0));
        assert_eq!(slots.len(), 12);
        let mut nowhere = stock(0);
        nowhere.own_place = false;
        assert!(plan(&nowhere, [4, 8], 4, 0, &SeededStream::new(0)).is_empty());
    }
}
