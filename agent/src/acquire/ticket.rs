//! Which message may still be acknowledged, and with which packet id. Pure bookkeeping, no I/O.
//!
//! A ticket is the agent's own number of a message. The broker knows only packet ids, 16 bits that it uses again: after a
//! reconnect the same id may belong to another message, and a PUBACK for it would release a message that is on no disk.
//! So the packet ids of a connection die with it.
//!
//! Invariants: A1 and A2 of the module above. Tickets rise by one, so the window is an array and costs two bytes a message.

use std::collections::VecDeque;

/// Tickets given and not yet acknowledged.
#[derive(Debug)]
pub(super) struct Tickets {
    /// The ticket of `window[0]`.
    base: u64,
    /// Packet ids of the tickets from `base` on; 0 where nothing is left to acknowledge.
    window: VecDeque<u16>,
    /// The latest ticket of each packet id, so that an id used twice by a faulty broker is acknowledged once.
    latest: Box<[u64]>,
}

impl Tickets {
    /// No ticket given yet; the first is 1.
    pub(super) fn new() -> Self {
        Self { base: 1, window: VecDeque::new(), latest: vec![0; usize::from(u16::MAX) + 1].into() }
    }

    /// Gives the next ticket to a message with packet id `id`; 0 for one without (QoS 0).
    pub(super) fn open(&mut self, id: u16) -> u64 {
        let ticket = self.base + self.window.len() as u64;
        self.window.push_back(id);
        self.latest[usize::from(id)] = ticket;
        self.trim();
        ticket
    }

    /// The packet id to acknowledge for `ticket`: `None` if it is void, has been acknowledged, or never needed it.
    pub(super) fn acknowledge(&mut self, ticket: u64) -> Option<u16> {
        let place = usize::try_from(ticket.checked_sub(self.base)?).ok()?;
        let id = std::mem::take(self.window.get_mut(place)?);
        self.trim();
        (id != 0 && self.latest[usize::from(id)] == ticket).then_some(id)
    }

    /// The connection is gone: every ticket given so far is void.
    pub(super) fn void(&mut self) {
        self.base += self.window.len() as u64;
        self.window.clear();
    }

    fn trim(&mut self) {
        while self.window.front() == Some(&0) {
            self.window.pop_front();
            self.base += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ticket_is_acknowledged_at_most_once_in_any_order() {
        let mut tickets = Tickets::new();
        let given: Vec<u64> = [7, 8, 0, 9].into_iter().map(|id| tickets.open(id)).collect();
        assert_eq!(given, [1, 2, 3, 4]);
        assert_eq!(tickets.acknowledge(4), Some(9));
        assert_eq!(tickets.acknowledge(3), None, "QoS 0 has nothing to acknowledge");
        assert_eq!(tickets.acknowledge(1), Some(7));
        assert_eq!(tickets.acknowledge(1), None);
        assert_eq!(tickets.acknowledge(4), None);
        assert_eq!(tickets.acknowledge(5), None, "never given");
        assert_eq!(tickets.acknowledge(2), Some(8));
        assert!(tickets.window.is_empty());
        assert_eq!(tickets.open(7), 5);
    }

    #[test]
    fn a_ticket_of_an_earlier_connection_never_acknowledges_the_new_message_with_its_packet_id() {
        let mut tickets = Tickets::new();
        let old = tickets.open(1);
        tickets.void();
        let new = tickets.open(1);
        assert_eq!(tickets.acknowledge(old), None);
        assert_eq!(tickets.acknowledge(new), Some(1));
    }

    #[test]
    fn a_packet_id_that_the_broker_uses_twice_is_acknowledged_once_for_the_later_message() {
        let mut tickets = Tickets::new();
        let (first, second) = (tickets.open(5), tickets.open(5));
        assert_eq!(tickets.acknowledge(first), None);
        assert_eq!(tickets.acknowledge(second), Some(5));
    }

    #[test]
    fn messages_without_packet_id_leave_nothing_behind() {
        let mut tickets = Tickets::new();
        for expected in 1..100 {
            assert_eq!(tickets.open(0), expected);
            assert!(tickets.window.is_empty());
        }
    }
}
