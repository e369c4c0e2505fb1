//! Who waits for which thread, in which order. Pure: it knows places and seats, and nothing of registry, Git or time.
//!
//! A *place* is one request that waits; each caller that waits for it has a *seat* in it, more than one where a request was
//! repeated meanwhile. The first place of a line may be *called*: its first seat is told to look at the branch and to ask
//! again, and until it has, nobody else looks.
//!
//! # Invariants
//!
//! - Q1: places are served in the order in which they were taken, each once.
//! - Q2: of a line only the first place is called.
//! - Q3: a place lasts as long as one of its seats.
//! - Q4: a line without places is not there.

use std::collections::{BTreeMap, HashMap, VecDeque};

use proto_schema::{RequestId, SessionId};

use crate::registry::{RequestRecord, ThreadKey, TokenHash};

/// One request that waits.
#[derive(Debug)]
struct Place<W> {
    /// The seat that it was taken with.
    id: SessionId,
    /// The request, where its caller named it, and its secret.
    request: Option<(RequestRecord, TokenHash)>,
    /// Who waits for it, and how each is told.
    seats: VecDeque<(SessionId, W)>,
}

/// The queue of one thread.
#[derive(Debug)]
struct Line<W> {
    places: VecDeque<Place<W>>,
    /// The seat of the first place that is called.
    called: Option<SessionId>,
}

/// The queues of all threads.
#[derive(Debug)]
pub(super) struct Queues<W> {
    lines: BTreeMap<ThreadKey, Line<W>>,
    seats: HashMap<SessionId, ThreadKey>,
    requests: HashMap<RequestId, ThreadKey>,
}

/// What became of a place when one of its seats was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Left {
    /// The place, where that was its last seat.
    pub(super) place: Option<SessionId>,
    /// Whether it was the seat that was called: another is to be called instead.
    pub(super) was_called: bool,
}

impl<W> Default for Queues<W> {
    fn default() -> Self {
        Self { lines: BTreeMap::new(), seats: HashMap::new(), requests: HashMap::new() }
    }
}

impl<W> Queues<W> {
    /// How many callers wait.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// The threads that somebody waits for.
    #[cfg(test)]
    pub(super) fn threads(&self) -> impl Iterator<Item = &ThreadKey> {
        self.lines.keys()
    }

    /// How many places the line of a thread has.
    pub(super) fn places(&self, thread: &ThreadKey) -> usize {
        self.lines.get(thread).map_or(0, |line| line.places.len())
    }

    /// The thread that a seat waits for.
    pub(super) fn thread_of(&self, seat: SessionId) -> Option<&ThreadKey> {
        self.seats.get(&seat)
    }

    /// The place that a seat is in; 1 is the next.
    pub(super) fn position(&self, seat: SessionId) -> Option<usize> {
        let line = self.lines.get(self.seats.get(&seat)?)?;
        line.places.iter().position(|place| place.seats.iter().any(|(id, _)| *id == seat)).map(|index| index + 1)
    }

    /// The request of this name that waits, and its secret.
    pub(super) fn request(&self, id: &RequestId) -> Option<&(RequestRecord, TokenHash)> {
        self.place_of(id)?.request.as_ref()
    }

    fn place_of(&self, id: &RequestId) -> Option<&Place<W>> {
        let line = self.lines.get(self.requests.get(id)?)?;
        line.places.iter().find(|place| place.is_of(id))
    }

    /// Takes a seat: in the place of the same request where that waits already, else in a new one at the end. Answers the
    /// new place's position.
    pub(super) fn join(
        &mut self,
        thread: ThreadKey,
        seat: SessionId,
        request: Option<(RequestRecord, TokenHash)>,
        words: W,
    ) -> Option<usize> {
        let id = request.as_ref().map(|(request, _)| &request.id);
        let waits = id.and_then(|id| self.requests.get(id).map(|thread| (id, thread.clone())));
        if let Some((id, thread)) = waits
            && let Some(line) = self.lines.get_mut(&thread)
            && let Some(place) = line.places.iter_mut().find(|place| place.is_of(id))
        {
            place.seats.push_back((seat, words));
            self.seats.insert(seat, thread);
            return None;
        }
        if let Some(id) = id {
            self.requests.insert(id.clone(), thread.clone());
        }
        self.seats.insert(seat, thread.clone());
        let line = self.lines.entry(thread).or_insert_with(|| Line { places: VecDeque::new(), called: None });
        line.places.push_back(Place { id: seat, request, seats: VecDeque::from([(seat, words)]) });
        Some(line.places.len())
    }

    /// Whether the first place of a line is called.
    pub(super) fn is_called(&self, thread: &ThreadKey) -> bool {
        self.lines.get(thread).is_some_and(|line| line.called.is_some())
    }

    /// Calls the first place of a line: whom to tell. It may have been called before.
    pub(super) fn call(&mut self, thread: &ThreadKey) -> Option<(SessionId, &W)> {
        let line = self.lines.get_mut(thread)?;
        let (seat, words) = line.places.front()?.seats.front()?;
        line.called = Some(*seat);
        Some((*seat, words))
    }

    /// The first place of a line is not called any more, and goes on waiting.
    pub(super) fn uncall(&mut self, thread: &ThreadKey) {
        if let Some(line) = self.lines.get_mut(thread) {
            line.called = None;
        }
    }

    /// Gives a seat up.
    pub(super) fn leave(&mut self, seat: SessionId) -> Option<Left> {
        let thread = self.seats.remove(&seat)?;
        let line = self.lines.get_mut(&thread)?;
        let was_called = line.called == Some(seat);
        if was_called {
            line.called = None;
        }
        let index = line.places.iter().position(|place| place.seats.iter().any(|(id, _)| *id == seat))?;
        let place = &mut line.places[index];
        place.seats.retain(|(id, _)| *id != seat);
        if !place.seats.is_empty() {
            return Some(Left { place: None, was_called });
        }
        let place = line.places.remove(index);
        let place = self.forget(&thread, place);
        Some(Left { place, was_called })
    }

    /// Serves the place of a seat: it is over, and so are its other seats, who are to be told.
    pub(super) fn serve(&mut self, seat: SessionId) -> Option<(SessionId, Vec<W>)> {
        let thread = self.seats.get(&seat)?.clone();
        let line = self.lines.get_mut(&thread)?;
        let index = line.places.iter().position(|place| place.seats.iter().any(|(id, _)| *id == seat))?;
        if index == 0 {
            line.called = None;
        }
        let mut place = line.places.remove(index)?;
        let seats = std::mem::take(&mut place.seats);
        for (seat, _) in &seats {
            self.seats.remove(seat);
        }
        let id = self.forget(&thread, Some(place))?;
        Some((id, seats.into_iter().filter(|(other, _)| *other != seat).map(|(_, words)| words).collect()))
    }

    /// Everybody who waits, when all waits are over.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = W> + use<W> {
        let lines = std::mem::take(self).lines;
        let places = lines.into_values().flat_map(|line| line.places);
        places.flat_map(|place| place.seats).map(|(_, words)| words)
    }

    /// Takes what is left of a place that is over out of the indexes.
    fn forget(&mut self, thread: &ThreadKey, place: Option<Place<W>>) -> Option<SessionId> {
        if self.lines.get(thread).is_some_and(|line| line.places.is_empty()) {
            self.lines.remove(thread);
        }
        let place = place?;
        if let Some((request, _)) = &place.request {
            self.requests.remove(&request.id);
        }
        Some(place.id)
    }
}

impl<W> Place<W> {
    fn is_of(&self, request: &RequestId) -> bool {
        self.request.as_ref().is_some_and(|(known, _)| known.id == *request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::RepoId;
    use crate::registry::tests::{id, request, secret};

    fn thread(name: &str) -> ThreadKey {
        (RepoId(1), name.parse().unwrap())
    }

    fn join(queues: &mut Queues<u64>, name: &str, seat: u64) -> Option<usize> {
        queues.join(thread(name), id(seat), None, seat)
    }

    fn join_as(queues: &mut Queues<u64>, name: &str, seat: u64, named: &str) -> Option<usize> {
        queues.join(thread(name), id(seat), Some((request(named, &[]), secret(1))), seat)
    }

    fn called(queues: &mut Queues<u64>, name: &str) -> Option<u64> {
        queues.call(&thread(name)).map(|(_, words)| *words)
    }

    fn is_empty(queues: &Queues<u64>) -> bool {
        queues.lines.is_empty() && queues.seats.is_empty() && queues.requests.is_empty()
    }

    #[test]
    fn places_are_served_in_order_each_once() {
        let mut queues = Queues::default();
        for seat in 1..=3 {
            assert_eq!(join(&mut queues, "a", seat), Some(usize::try_from(seat).unwrap()), "Q1");
        }
        join(&mut queues, "b", 9);
        assert_eq!((queues.places(&thread("a")), queues.places(&thread("b")), queues.len()), (3, 1, 4));
        for seat in 1..=3 {
            assert_eq!(called(&mut queues, "a"), Some(seat), "Q1");
            assert_eq!(queues.position(id(seat)), Some(1));
            assert_eq!(queues.serve(id(seat)), Some((id(seat), Vec::new())));
            assert_eq!(queues.serve(id(seat)), None, "Q1: each once");
        }
        assert_eq!((called(&mut queues, "a"), called(&mut queues, "b")), (None, Some(9)), "Q4");
        assert_eq!(queues.leave(id(9)), Some(Left { place: Some(id(9)), was_called: true }));
        assert!(is_empty(&queues), "Q4");
    }

    #[test]
    fn who_leaves_gives_its_place_to_those_behind() {
        let mut queues = Queues::default();
        for seat in 1..=4 {
            join(&mut queues, "a", seat);
        }
        assert_eq!(queues.leave(id(2)), Some(Left { place: Some(id(2)), was_called: false }));
        assert_eq!((queues.position(id(3)), queues.position(id(2))), (Some(2), None));
        assert_eq!(called(&mut queues, "a"), Some(1));
        assert_eq!(queues.leave(id(1)), Some(Left { place: Some(id(1)), was_called: true }));
        assert!(!queues.is_called(&thread("a")), "Q2: nobody is, until the next one is");
        assert_eq!(called(&mut queues, "a"), Some(3));
        assert_eq!(queues.leave(id(4)), Some(Left { place: Some(id(4)), was_called: false }));
        assert!(queues.is_called(&thread("a")), "Q2: somebody behind says nothing of the first");
        queues.uncall(&thread("a"));
        assert_eq!((queues.is_called(&thread("a")), queues.position(id(3))), (false, Some(1)), "it goes on waiting");
        assert_eq!(queues.leave(id(7)), None);
    }

    #[test]
    fn a_repeated_request_shares_the_place_and_keeps_it() {
        let mut queues = Queues::default();
        assert_eq!(join_as(&mut queues, "a", 1, "r"), Some(1));
        assert_eq!(join(&mut queues, "a", 2), Some(2));
        assert_eq!(join_as(&mut queues, "a", 3, "r"), None);
        assert_eq!((queues.places(&thread("a")), queues.len(), queues.position(id(3))), (2, 3, Some(1)));
        assert_eq!(queues.request(&request("r", &[]).id).unwrap().1, secret(1));
        assert_eq!(called(&mut queues, "a"), Some(1));
        assert_eq!(queues.leave(id(1)), Some(Left { place: None, was_called: true }), "Q3");
        assert_eq!(called(&mut queues, "a"), Some(3), "Q3: the place goes on with its other seat");
        join_as(&mut queues, "a", 4, "r");
        assert_eq!(queues.serve(id(3)), Some((id(1), vec![4])), "the other seat is told");
        assert_eq!(queues.request(&request("r", &[]).id), None);
        assert_eq!((called(&mut queues, "a"), queues.len()), (Some(2), 1));
    }

    #[test]
    fn when_all_waits_are_over_everybody_is_told() {
        let mut queues = Queues::default();
        join_as(&mut queues, "a", 1, "r");
        join_as(&mut queues, "a", 2, "r");
        join(&mut queues, "b", 3);
        assert_eq!(queues.clear().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(is_empty(&queues));
    }
}
