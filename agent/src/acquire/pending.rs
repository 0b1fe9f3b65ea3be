//! Publications on their way to the broker: the latest of each topic. Pure bookkeeping, no I/O.
//!
//! What the agent publishes are states (how far a node's frames are on disk), so a newer one makes an older one of the same
//! topic worthless. A publication leaves only on the broker's PUBACK; when the connection ends, those without one go back to
//! the front, unless a newer one of their topic is here. They get a new packet id then: a state sent twice does no harm.
//!
//! Invariant A3: at most [`MOST`] topics wait; at that bound the one that has waited longest is dropped and counted.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::packet::SUBSCRIPTION;

/// The most topics that can wait. An agent serves at most 10,000 assets, one topic each.
const MOST: usize = 16_384;

/// One publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publication {
    /// The topic.
    pub(super) topic: String,
    /// The payload.
    pub(super) payload: Bytes,
    /// Whether the broker retains it.
    pub(super) retain: bool,
}

/// What waits and what is under way.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Topics in the order of sending. Each has an entry in `latest`.
    order: VecDeque<String>,
    /// Looked up only, never iterated.
    latest: HashMap<String, (Bytes, bool)>,
    /// Sent and not acknowledged, in the order of sending.
    in_flight: VecDeque<(u16, Publication)>,
    last_id: u16,
    dropped: u64,
}

impl Pending {
    /// Takes a publication over.
    pub(super) fn put(&mut self, publication: Publication) {
        let Publication { topic, payload, retain } = publication;
        if let Some(held) = self.latest.get_mut(&topic) {
            *held = (payload, retain);
            return;
        }
        if self.order.len() >= MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.latest.remove(&oldest);
            self.dropped += 1;
        }
        self.order.push_back(topic.clone());
        self.latest.insert(topic, (payload, retain));
    }

    /// The next one to send, with its packet id, while fewer than `window` are under way.
    pub(super) fn next(&mut self, window: u16) -> Option<(u16, &Publication)> {
        if self.in_flight.len() >= usize::from(window) {
            return None;
        }
        let topic = self.order.pop_front()?;
        let (payload, retain) = self.latest.remove(&topic)?;
        let id = self.free_id();
        self.in_flight.push_back((id, Publication { topic, payload, retain }));
        self.in_flight.back().map(|(id, publication)| (*id, publication))
    }

    /// The broker has the publication with packet id `id`. An id that is not under way is ignored.
    pub(super) fn acknowledged(&mut self, id: u16) {
        if let Some(place) = self.in_flight.iter().position(|(sent, _)| *sent == id) {
            self.in_flight.remove(place);
        }
    }

    /// The connection is gone: what was under way waits again, before everything else.
    pub(super) fn connection_lost(&mut self) {
        while let Some((_, publication)) = self.in_flight.pop_back() {
            let Publication { topic, payload, retain } = publication;
            // Newest first, so a topic that is here already has something newer.
            if !self.latest.contains_key(&topic) {
                self.order.push_front(topic.clone());
                self.latest.insert(topic, (payload, retain));
            }
        }
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty() && self.in_flight.is_empty()
    }

    /// How many were dropped at the bound, since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// A packet id that is not 0, not [`SUBSCRIPTION`] and not under way. There is one: the window is far smaller.
    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = if self.last_id + 1 == SUBSCRIPTION { 1 } else { self.last_id + 1 };
            if !self.in_flight.iter().any(|(sent, _)| *sent == self.last_id) {
                return self.last_id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(topic: &str, payload: &str) -> Publication {
        Publication { topic: topic.into(), payload: Bytes::copy_from_slice(payload.as_bytes()), retain: true }
    }

    fn send(pending: &mut Pending, window: u16) -> Vec<(u16, String)> {
        let mut sent = Vec::new();
        while let Some((id, p)) = pending.next(window) {
            sent.push((id, format!("{}={}", p.topic, String::from_utf8_lossy(&p.payload))));
        }
        sent
    }

    #[test]
    fn only_the_latest_of_a_topic_waits() {
        let mut pending = Pending::default();
        for n in 0..1000 {
            pending.put(publication("a", &n.to_string()));
            pending.put(publication("b", "x"));
        }
        assert_eq!(send(&mut pending, 10), [(1, "a=999".to_owned()), (2, "b=x".to_owned())]);
    }

    #[test]
    fn the_window_is_kept_and_an_acknowledgement_opens_it() {
        let mut pending = Pending::default();
        for topic in ["a", "b", "c"] {
            pending.put(publication(topic, "1"));
        }
        assert_eq!(send(&mut pending, 2).len(), 2);
        pending.acknowledged(77);
        assert_eq!(send(&mut pending, 2).len(), 0);
        pending.acknowledged(1);
        assert_eq!(send(&mut pending, 2), [(3, "c=1".to_owned())]);
        pending.acknowledged(2);
        pending.acknowledged(3);
        assert!(pending.is_empty());
    }

    #[test]
    fn what_was_under_way_is_sent_again_unless_something_newer_waits() {
        let mut pending = Pending::default();
        for topic in ["a", "b", "c"] {
            pending.put(publication(topic, "old"));
        }
        assert_eq!(send(&mut pending, 10).len(), 3);
        pending.put(publication("a", "newer"));
        assert_eq!(send(&mut pending, 10), [(4, "a=newer".to_owned())]);
        pending.put(publication("b", "newest"));
        pending.connection_lost();
        let texts: Vec<String> = send(&mut pending, 10).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["c=old", "a=newer", "b=newest"]);
    }

    #[test]
    fn the_number_of_topics_is_bounded_and_drops_are_counted() {
        let mut pending = Pending::default();
        for n in 0..MOST + 5 {
            pending.put(publication(&format!("t{n}"), "x"));
        }
        assert_eq!((pending.order.len(), pending.latest.len()), (MOST, MOST));
        assert_eq!((pending.take_dropped(), pending.take_dropped()), (5, 0));
        assert_eq!(pending.next(1).map(|(_, p)| p.topic.clone()).as_deref(), Some("t5"));
    }

    #[test]
    fn packet_ids_wrap_and_are_never_zero_nor_taken_twice() {
        let mut pending = Pending { last_id: u16::MAX - 2, ..Pending::default() };
        for topic in ["a", "b", "c"] {
            pending.put(publication(topic, "1"));
        }
        let ids: Vec<u16> = send(&mut pending, 10).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [u16::MAX - 1, 1, 2]);
        pending.last_id = 0;
        pending.put(publication("d", "1"));
        assert_eq!(pending.next(10).map(|(id, _)| id), Some(3));
    }
}
