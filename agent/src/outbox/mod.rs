//! The outbox: what waits for Kafka, and in which order it goes.
//!
//! Place in the flow: engine -> outbox -> uplink. The records lie in the store; this is the index over them, a state
//! machine without I/O. Invariants: O1: a record leaves only on Kafka's delivery report. O2: within a lane, records are
//! handed to Kafka in ascending sequence (the fleet gateway takes a lower sequence for a duplicate), over crashes, too: a
//! lane that was thinned rests until the store has deleted what was given up. O3: alarms go
//! first, then health records, then ledger entries, then evidence; after Kafka was away nothing else leaves until they are delivered. O4: `bytes <= max_bytes` after every [`Outbox::thin`], unless only
//! records in flight remain.
//!
//! A record is never changed here, and librdkafka is never the keeper of anything.

pub mod record;

use std::collections::{BTreeMap, VecDeque};

use fettle_wire::Lane;

/// How many lanes there are.
pub const LANES: usize = Lane::ALL.len();
/// The most records handed to Kafka and not yet reported on.
pub const MAX_IN_FLIGHT: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pending {
    sequence: u64,
    bytes: u64,
    /// Monotonic instant since which it waits.
    since: u64,
}

/// One lane: records in flight precede records that wait.
#[derive(Debug, Default, Clone)]
struct LaneIndex {
    next: u64,
    queue: VecDeque<Pending>,
    in_flight: usize,
    /// Of those in flight, how many Kafka failed for. While there are any, the lane sends nothing new; when all that was
    /// in flight is reported on, the failed ones go again, lowest first (O2).
    failed: usize,
    /// Records were thinned that the store still holds: a crash would bring them back behind whatever went by then, so
    /// nothing goes until they are deleted (O2).
    thinned: bool,
    sent: u64,
    shed: u64,
}

impl LaneIndex {
    /// Once everything in flight is reported on, what failed waits again.
    fn settle(&mut self) {
        if self.failed > 0 && self.failed >= self.in_flight {
            self.in_flight = 0;
            self.failed = 0;
        }
    }
}

/// What a lane looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneStatus {
    /// Records that wait or are in flight.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Delivered since the start of the process.
    pub sent: u64,
    /// Dropped at the bound since the start of the process.
    pub shed: u64,
}

/// Index over the records that wait.
#[derive(Debug, Clone)]
pub struct Outbox {
    lanes: [LaneIndex; LANES],
    bytes: u64,
    max_bytes: u64,
    /// While Kafka cannot be reached only alarms are handed over: what lies in the client's queue already cannot be
    /// overtaken by an alarm raised later (O3).
    reachable: bool,
    /// Kafka came back and has not yet reported on every alarm: what was handed over later could be appended earlier,
    /// because each topic has brokers and retries of its own.
    alarms_first: bool,
    /// Newest ledger entry per asset, delivered or not: a newer one says all that an older one says.
    ledger: BTreeMap<String, u64>,
}

impl Outbox {
    /// An empty outbox.
    pub fn new(max_bytes: u64) -> Self {
        Self {
            lanes: Default::default(),
            bytes: 0,
            max_bytes,
            reachable: true,
            alarms_first: false,
            ledger: BTreeMap::new(),
        }
    }

    /// Whether Kafka can be reached. When it comes back nothing else leaves until the alarms are delivered.
    pub fn set_reachable(&mut self, reachable: bool) {
        self.alarms_first |= reachable && !self.reachable;
        self.reachable = reachable;
    }

    /// The bound, from a new configuration.
    pub fn set_max_bytes(&mut self, max_bytes: u64) {
        self.max_bytes = max_bytes;
    }

    /// The sequence that the next record of `lane` gets.
    pub fn next_sequence(&self, lane: Lane) -> u64 {
        self.lanes[index(lane)].next
    }

    /// Next sequence of every lane.
    pub fn next_sequences(&self) -> [u64; LANES] {
        std::array::from_fn(|i| self.lanes[i].next)
    }

    /// Takes up the counters of a recovered store.
    pub fn set_next_sequences(&mut self, next: [u64; LANES]) {
        for (lane, next) in self.lanes.iter_mut().zip(next) {
            lane.next = next;
        }
    }

    /// Adds a record that the store holds, waiting since monotonic `since`. `subject` is the asset of a ledger entry. Returns the sequence of the older ledger entry that it replaces, to be deleted.
    pub fn push(&mut self, lane: Lane, sequence: u64, bytes: u64, since: u64, subject: &str) -> Option<u64> {
        let entry = &mut self.lanes[index(lane)];
        entry.next = entry.next.max(sequence + 1);
        entry.queue.push_back(Pending { sequence, bytes, since });
        self.bytes += bytes;
        if lane != Lane::Ledger {
            return None;
        }
        let older = self.ledger.insert(subject.to_owned(), sequence)?;
        let waiting = &self.lanes[index(lane)];
        let at =
            waiting.queue.binary_search_by_key(&older, |p| p.sequence).ok().filter(|at| *at >= waiting.in_flight)?;
        self.remove(lane, at);
        Some(older)
    }

    /// The next record to hand to Kafka, which then counts as in flight.
    pub fn next_to_send(&mut self) -> Option<(Lane, u64)> {
        if self.in_flight() >= MAX_IN_FLIGHT {
            return None;
        }
        self.alarms_first &= !self.lanes[index(Lane::Alerts)].queue.is_empty();
        let lanes = if self.reachable && !self.alarms_first { &Lane::ALL[..] } else { &[Lane::Alerts] };
        lanes.iter().copied().find_map(|lane| {
            let entry = &mut self.lanes[index(lane)];
            let next = entry.queue.get(entry.in_flight).filter(|_| entry.failed == 0 && !entry.thinned)?;
            entry.in_flight += 1;
            Some((lane, next.sequence))
        })
    }

    /// Takes back what [`Self::next_to_send`] said last: Kafka's queue had no room.
    pub fn not_sent(&mut self, lane: Lane) {
        let entry = &mut self.lanes[index(lane)];
        entry.in_flight = entry.in_flight.saturating_sub(1);
    }

    /// Kafka has the record. Returns whether it was still here, to be deleted.
    pub fn delivered(&mut self, lane: Lane, sequence: u64) -> bool {
        let entry = &mut self.lanes[index(lane)];
        let Ok(at) = entry.queue.binary_search_by_key(&sequence, |p| p.sequence) else { return false };
        if at < entry.in_flight {
            entry.in_flight -= 1;
        }
        entry.sent += 1;
        entry.settle();
        self.remove(lane, at);
        true
    }

    /// Kafka failed for this record; it goes again once the lane's other records in flight are reported on.
    pub fn failed(&mut self, lane: Lane, sequence: u64) {
        let entry = &mut self.lanes[index(lane)];
        if entry.queue.binary_search_by_key(&sequence, |p| p.sequence).is_ok_and(|at| at < entry.in_flight) {
            entry.failed += 1;
            entry.settle();
            // Kafka is there and will not have alarms: the rest must not wait for ever behind them.
            self.alarms_first &= !(lane == Lane::Alerts && self.reachable);
        }
    }

    /// Drops a record that Kafka will never take.
    pub fn refuse(&mut self, lane: Lane, sequence: u64) -> bool {
        let known = self.delivered(lane, sequence);
        let entry = &mut self.lanes[index(lane)];
        entry.sent -= u64::from(known);
        entry.shed += u64::from(known);
        known
    }

    /// At the bound, makes room down to nine tenths of it: first every other waiting record of evidence, oldest first, again
    /// and again, so that what is older gets coarser; then health records likewise; then ledger entries; alarms last. Returns what to delete.
    pub fn thin(&mut self) -> Vec<(Lane, u64)> {
        let mut dropped = Vec::new();
        if self.bytes <= self.max_bytes {
            return dropped;
        }
        let target = self.max_bytes / 10 * 9;
        for lane in [Lane::Evidence, Lane::Health, Lane::Ledger, Lane::Alerts] {
            while self.bytes > target {
                let waiting = self.lanes[index(lane)].queue.len() - self.lanes[index(lane)].in_flight;
                if waiting == 0 {
                    break;
                }
                let mut at = self.lanes[index(lane)].in_flight;
                while self.bytes > target && at < self.lanes[index(lane)].queue.len() {
                    let sequence = self.remove(lane, at);
                    self.lanes[index(lane)].shed += 1;
                    self.lanes[index(lane)].thinned = true;
                    dropped.push((lane, sequence));
                    at += 1;
                }
            }
        }
        dropped
    }

    /// The store has deleted what [`Self::thin`] named.
    pub fn deleted(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.thinned = false);
    }

    fn remove(&mut self, lane: Lane, at: usize) -> u64 {
        match self.lanes[index(lane)].queue.remove(at) {
            Some(pending) => {
                self.bytes -= pending.bytes;
                pending.sequence
            }
            None => 0,
        }
    }

    /// The monotonic instant since which the oldest record waits.
    pub fn oldest(&self) -> Option<u64> {
        self.lanes.iter().filter_map(|lane| lane.queue.front()).map(|p| p.since).min()
    }

    /// Records handed to Kafka and not reported on.
    pub fn in_flight(&self) -> usize {
        self.lanes.iter().map(|l| l.in_flight).sum()
    }

    /// Records that wait or are in flight.
    pub fn len(&self) -> u64 {
        self.lanes.iter().map(|l| l.queue.len() as u64).sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a lane looks like.
    pub fn status(&self, lane: Lane) -> LaneStatus {
        let entry = &self.lanes[index(lane)];
        LaneStatus {
            records: entry.queue.len() as u64,
            bytes: entry.queue.iter().map(|p| p.bytes).sum(),
            sent: entry.sent,
            shed: entry.shed,
        }
    }
}

/// The place of a lane in arrays, and its byte in keys.
pub const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Alerts => 0,
        Lane::Health => 1,
        Lane::Ledger => 2,
        Lane::Evidence => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_overtake_and_each_lane_keeps_its_order() {
        let mut outbox = Outbox::new(1000);
        outbox.push(Lane::Health, 0, 10, 0, "");
        outbox.push(Lane::Health, 1, 10, 0, "");
        assert_eq!(outbox.next_to_send(), Some((Lane::Health, 0)));
        outbox.push(Lane::Alerts, 0, 10, 0, "");
        assert_eq!(outbox.next_to_send(), Some((Lane::Alerts, 0)));
        assert_eq!(outbox.next_to_send(), Some((Lane::Health, 1)));
        assert_eq!(outbox.next_to_send(), None);
        assert!(outbox.delivered(Lane::Health, 0));
        assert!(!outbox.delivered(Lane::Health, 0));
        assert_eq!(outbox.len(), 2);
    }

    #[test]
    fn what_failed_goes_again_in_order_once_the_rest_is_reported_on() {
        let mut outbox = Outbox::new(1000);
        for n in 0..4 {
            outbox.push(Lane::Health, n, 10, 0, "");
        }
        for n in 0..3 {
            assert_eq!(outbox.next_to_send(), Some((Lane::Health, n)));
        }
        outbox.failed(Lane::Health, 1);
        assert_eq!(outbox.next_to_send(), None);
        assert!(outbox.delivered(Lane::Health, 0));
        assert_eq!(outbox.next_to_send(), None);
        outbox.failed(Lane::Health, 2);
        for n in 1..4 {
            assert_eq!(outbox.next_to_send(), Some((Lane::Health, n)));
        }
    }

    #[test]
    fn what_was_thinned_is_deleted_before_anything_of_its_lane_goes() {
        let mut outbox = Outbox::new(100);
        for n in 0..4 {
            outbox.push(Lane::Health, n, 40, 0, "");
        }
        outbox.push(Lane::Alerts, 0, 10, 0, "");
        assert_eq!(outbox.thin(), [(Lane::Health, 0), (Lane::Health, 2)]);
        assert_eq!(outbox.next_to_send(), Some((Lane::Alerts, 0)));
        assert_eq!(outbox.next_to_send(), None, "a crash would bring 0 and 2 back");
        outbox.deleted();
        assert_eq!(outbox.next_to_send(), Some((Lane::Health, 1)));
    }

    #[test]
    fn while_kafka_is_away_nothing_but_alarms_is_handed_over() {
        let mut outbox = Outbox::new(1000);
        outbox.set_reachable(false);
        outbox.push(Lane::Health, 0, 10, 0, "");
        assert_eq!(outbox.next_to_send(), None);
        outbox.push(Lane::Alerts, 0, 10, 0, "");
        assert_eq!(outbox.next_to_send(), Some((Lane::Alerts, 0)));
        outbox.set_reachable(true);
        assert_eq!(outbox.next_to_send(), None, "the alarm is not reported on yet");
        outbox.push(Lane::Alerts, 1, 10, 0, "");
        assert_eq!(outbox.next_to_send(), Some((Lane::Alerts, 1)));
        assert!(outbox.delivered(Lane::Alerts, 0) && outbox.next_to_send().is_none());
        assert!(outbox.delivered(Lane::Alerts, 1));
        assert_eq!(outbox.next_to_send(), Some((Lane::Health, 0)));
    }

    #[test]
    fn alarms_that_kafka_refuses_do_not_hold_up_the_rest() {
        let mut outbox = Outbox::new(1000);
        outbox.set_reachable(false);
        outbox.push(Lane::Alerts, 0, 10, 0, "");
        outbox.push(Lane::Health, 0, 10, 0, "");
        assert_eq!(outbox.next_to_send(), Some((Lane::Alerts, 0)));
        outbox.set_reachable(true);
        outbox.failed(Lane::Alerts, 0);
        assert_eq!(outbox.next_to_send(), Some((Lane::Alerts, 0)));
        assert_eq!(outbox.next_to_send(), Some((Lane::Health, 0)));
    }

    #[test]
    fn a_newer_ledger_entry_replaces_a_waiting_one_but_not_one_in_flight() {
        let mut outbox = Outbox::new(1000);
        assert_eq!(outbox.push(Lane::Ledger, 0, 10, 0, "pump"), None);
        assert_eq!(outbox.push(Lane::Ledger, 1, 10, 0, "pump"), Some(0));
        assert_eq!(outbox.next_to_send(), Some((Lane::Ledger, 1)));
        assert_eq!(outbox.push(Lane::Ledger, 2, 10, 0, "pump"), None);
        assert_eq!(outbox.len(), 2);
    }

    #[test]
    fn evidence_goes_last_and_is_the_first_to_be_thinned() {
        let mut outbox = Outbox::new(100);
        for n in 0..5 {
            outbox.push(Lane::Evidence, n, 10, 0, "");
            outbox.push(Lane::Health, n, 10, 0, "");
        }
        outbox.push(Lane::Ledger, 0, 10, 0, "pump");
        assert_eq!(outbox.thin(), [(Lane::Evidence, 0), (Lane::Evidence, 2)]);
        outbox.deleted();
        let order: Vec<Lane> = std::iter::from_fn(|| outbox.next_to_send()).map(|r| r.0).collect();
        assert!(order[..5].iter().all(|l| *l == Lane::Health) && order[5] == Lane::Ledger, "{order:?}");
        assert_eq!(order[6..], [Lane::Evidence; 3]);
        let key = record::key(Lane::Evidence, 7);
        assert_eq!((key[1], record::of_key(&key)), (3, Some((Lane::Evidence, 7))), "as it lies in stores");
    }

    #[test]
    fn thinning_takes_health_first_and_alarms_last() {
        let mut outbox = Outbox::new(100);
        for n in 0..8 {
            outbox.push(Lane::Health, n, 10, 0, "");
        }
        for n in 0..4 {
            outbox.push(Lane::Alerts, n, 10, 0, "");
        }
        let dropped = outbox.thin();
        assert_eq!(dropped, [(Lane::Health, 0), (Lane::Health, 2), (Lane::Health, 4)]);
        outbox.set_max_bytes(20);
        let dropped = outbox.thin();
        assert_eq!(dropped.iter().filter(|d| d.0 == Lane::Health).count(), 5);
        assert_eq!(outbox.status(Lane::Alerts).records, 1);
        assert_eq!(outbox.status(Lane::Health).shed, 8);
    }
}
