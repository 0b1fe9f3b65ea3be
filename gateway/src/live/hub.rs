//! The ring of events and each page's place in it.
//!
//! An event is made once, as the text that goes over the wire. Ids are `<start>-<number>`: `start` names this run of the
//! process, so an id of an earlier run is known to be foreign.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fettle_wire::{Health, Micros, Name};
use serde::Serialize;
use tokio::sync::watch;

use crate::clock;
use crate::events::Metrics;
use crate::history::evidence::Listed;

/// How much the ring holds unless told otherwise: minutes of a fleet of a thousand assets.
const RING_BYTES: usize = 8 << 20;
/// At most this much is handed to a page at once.
const PART: usize = 64 << 10;
/// How many pages may listen.
const READERS: usize = 1_000;

/// The ring.
pub struct Hub {
    start: String,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    metrics: Arc<Metrics>,
    max_bytes: usize,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Arc<str>>,
    /// The number of the first event in the ring.
    first: u64,
    bytes: usize,
    readers: usize,
}

/// What a page gets next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// These events, as text.
    Events(String),
    /// Nothing yet.
    Nothing,
    /// It was so slow that the ring went on without it.
    Lost,
}

/// A page's place in the ring. Dropping it ends listening.
pub struct Place {
    hub: Arc<Hub>,
    next: u64,
    changes: watch::Receiver<u64>,
}

/// A new health record, in short.
#[derive(Serialize)]
struct HealthEvent<'a> {
    site: &'a Name,
    asset: &'a Name,
    at: Micros,
    revision: u32,
}

/// New evidence, in short.
#[derive(Serialize)]
struct EvidenceEvent<'a> {
    site: &'a Name,
    asset: &'a Name,
    #[serde(flatten)]
    listed: &'a Listed,
}

impl Hub {
    /// An empty ring.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self::with_room(metrics, RING_BYTES)
    }

    /// An empty ring that holds at most so many bytes of events.
    pub fn with_room(metrics: Arc<Metrics>, max_bytes: usize) -> Self {
        let start = format!("{:x}", clock::wall());
        Self { start, ring: Mutex::default(), newest: watch::Sender::new(0), metrics, max_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Whoever died with the lock held left a whole ring: each change below is complete before the next begins.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells every page of `data` under the event's name.
    pub fn publish<T: Serialize>(&self, event: &str, data: &T) {
        let Ok(data) = serde_json::to_string(data) else {
            tracing::error!(event, "an event does not encode, which is a defect; pages do not hear of it");
            return;
        };
        let mut ring = self.lock();
        let number = ring.first + ring.events.len() as u64;
        let text: Arc<str> = Frame { id: Some((&self.start, number)), event, data: &data }.to_string().into();
        ring.bytes += text.len();
        ring.events.push_back(text);
        while ring.bytes > self.max_bytes
            && let Some(old) = ring.events.pop_front()
        {
            ring.bytes -= old.len();
            ring.first += 1;
        }
        drop(ring);
        self.metrics.event_made();
        self.newest.send_replace(number + 1);
    }

    /// A health record was taken into the history.
    pub fn health(&self, site: &Name, health: &Health) {
        let Health { asset, window_end, revision, .. } = health;
        self.publish("health", &HealthEvent { site, asset, at: *window_end, revision: *revision });
    }

    /// Evidence was taken into the history.
    pub fn evidence(&self, site: &Name, asset: &Name, listed: &Listed) {
        self.publish("evidence", &EvidenceEvent { site, asset, listed });
    }

    /// A place in the ring: behind the event with this id if the ring still has what followed, else at its end. The text
    /// goes to the page first. `None`: too many listen.
    pub fn listen(self: &Arc<Self>, last: Option<&str>) -> Option<(Place, String)> {
        let mut ring = self.lock();
        if ring.readers >= READERS {
            drop(ring);
            self.metrics.event_reader_cut_off("full");
            return None;
        }
        ring.readers += 1;
        let end = ring.first + ring.events.len() as u64;
        let seen = last.and_then(|last| last.split_once('-')).filter(|(start, _)| *start == self.start);
        let seen = seen.and_then(|(_, number)| number.parse::<u64>().ok());
        let wanted = seen.map(|number| number.saturating_add(1)).filter(|next| (ring.first..=end).contains(next));
        let first = ring.first;
        drop(ring);
        self.metrics.event_reader(1);
        let event = match (last, wanted) {
            (None, _) => "hello",
            (Some(_), Some(_)) => "resumed",
            (Some(_), None) => "reset",
        };
        let next = wanted.unwrap_or(end);
        let data = format!("{{\"now\":{}}}", clock::wall());
        // The id of a greeting is that of the event before, if there ever was one: whoever returns with it continues.
        let id = next.checked_sub(1).filter(|number| number + 1 >= first).map(|number| (self.start.as_str(), number));
        let greeting = format!("retry: 2000\n{}", Frame { id, event, data: &data });
        Some((Place { hub: Arc::clone(self), next, changes: self.newest.subscribe() }, greeting))
    }
}

impl Place {
    /// What comes next.
    pub fn read(&mut self) -> Next {
        let ring = self.hub.lock();
        let Some(skip) = self.next.checked_sub(ring.first) else {
            drop(ring);
            self.hub.metrics.event_reader_cut_off("slow");
            return Next::Lost;
        };
        let mut text = String::new();
        // A place is never beyond the end: it only moves over events.
        for event in ring.events.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
            if !text.is_empty() && text.len() + event.len() > PART {
                break;
            }
            text.push_str(event);
            self.next += 1;
        }
        if text.is_empty() { Next::Nothing } else { Next::Events(text) }
    }

    /// Waits until there is something that was not there at the last look.
    pub async fn changed(&mut self) {
        // The hub holds the sender, and this holds the hub.
        let _ = self.changes.changed().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut ring = self.hub.lock();
        ring.readers -= 1;
        drop(ring);
        self.hub.metrics.event_reader(-1);
    }
}

/// A heartbeat: a comment for whatever stands between, an event without an id for the page.
pub fn heartbeat(now: Micros) -> String {
    format!(": heartbeat\n{}", Frame { id: None, event: "tick", data: &format!("{{\"now\":{now}}}") })
}

/// One event in the format of the HTML standard, "Server-sent events". JSON has no raw line breaks.
struct Frame<'a> {
    id: Option<(&'a str, u64)>,
    event: &'a str,
    data: &'a str,
}

impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((start, number)) = self.id {
            writeln!(f, "id: {start}-{number}")?;
        }
        writeln!(f, "event: {}\ndata: {}\n", self.event, self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(max_bytes: usize) -> Arc<Hub> {
        Arc::new(Hub::with_room(Arc::default(), max_bytes))
    }

    fn numbers(next: Next) -> Vec<u32> {
        let Next::Events(text) = next else { return Vec::new() };
        text.lines().filter_map(|l| l.strip_prefix("data: ")).map(|n| n.parse().unwrap()).collect()
    }

    #[test]
    fn every_place_hears_every_event_in_order() {
        let hub = hub(1 << 20);
        let (mut one, hello) = hub.listen(None).unwrap();
        assert!(hello.contains("event: hello\n"));
        (1..=3).for_each(|n| hub.publish("n", &n));
        let (mut late, _) = hub.listen(None).unwrap();
        hub.publish("n", &4);
        assert_eq!(numbers(one.read()), [1, 2, 3, 4]);
        assert_eq!(numbers(late.read()), [4]);
        assert_eq!(one.read(), Next::Nothing);
    }

    #[test]
    fn whoever_returns_with_an_id_gets_what_was_missed() {
        let hub = hub(1 << 20);
        let (mut one, _) = hub.listen(None).unwrap();
        (1..=5).for_each(|n| hub.publish("n", &n));
        let Next::Events(text) = one.read() else { panic!("nothing") };
        let id = text.lines().filter_map(|l| l.strip_prefix("id: ")).nth(2).unwrap();
        let (mut back, greeting) = hub.listen(Some(id)).unwrap();
        assert!(greeting.contains("event: resumed\n"));
        assert_eq!(numbers(back.read()), [4, 5]);
    }

    #[test]
    fn whoever_was_greeted_and_heard_nothing_returns_without_a_gap() {
        let hub = hub(1 << 20);
        hub.publish("n", &1);
        let (_, hello) = hub.listen(None).unwrap();
        let id = hello.lines().find_map(|l| l.strip_prefix("id: ")).unwrap().to_owned();
        hub.publish("n", &2);
        let (mut back, _) = hub.listen(Some(&id)).unwrap();
        assert_eq!(numbers(back.read()), [2]);
    }

    #[test]
    fn an_id_that_the_ring_no_longer_has_or_never_had_begins_again() {
        let hub = hub(200);
        let (mut one, _) = hub.listen(None).unwrap();
        hub.publish("n", &1);
        let Next::Events(text) = one.read() else { panic!("nothing") };
        let id = text.lines().find_map(|l| l.strip_prefix("id: ")).unwrap().to_owned();
        (2..=50).for_each(|n| hub.publish("n", &n));
        for id in [id.as_str(), "abc-3", "nonsense", "", &format!("{}-99999", hub.start)] {
            let (_, greeting) = hub.listen(Some(id)).unwrap();
            assert!(greeting.contains("event: reset\n"), "{id}: {greeting}");
        }
    }

    #[test]
    fn the_ring_is_bounded_and_a_slow_place_is_cut_off_and_counted() {
        let hub = hub(1_000);
        let (mut slow, _) = hub.listen(None).unwrap();
        let (mut quick, _) = hub.listen(None).unwrap();
        let mut heard = Vec::new();
        for n in 1..=100_u32 {
            hub.publish("n", &n);
            heard.extend(numbers(quick.read()));
        }
        assert!(hub.lock().bytes <= 1_000);
        assert_eq!(heard, (1..=100).collect::<Vec<_>>());
        assert_eq!(slow.read(), Next::Lost);
        assert_eq!(hub.metrics.event_readers_cut_off("slow"), 1);
    }

    #[test]
    fn only_so_many_may_listen() {
        let hub = hub(1_000);
        let mut places: Vec<_> = (0..READERS).map(|_| hub.listen(None).unwrap()).collect();
        assert!(hub.listen(None).is_none());
        places.pop();
        assert!(hub.listen(None).is_some());
    }
}
