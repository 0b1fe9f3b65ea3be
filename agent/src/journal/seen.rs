//! Which frames of a node's boot have been received: the duplicate memory and the missing ranges.
//!
//! Invariants: S1: `ranges` are sorted, disjoint, not adjacent, at most [`MAX_RANGES`]. S2: `settled` never falls.
//! S3: a sequence is accepted at most once. Memory is bounded: a boot whose gaps do not fit is asked (by not confirming)
//! to send again later.

use serde::{Deserialize, Serialize};

/// The most disjoint ranges of received sequences kept per boot.
pub const MAX_RANGES: usize = 64;

/// What a sequence turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Not received before.
    New,
    /// Received before, or given up after the node itself declared it lost.
    Duplicate,
    /// Too many gaps are open to remember another; not recorded, so that it can come again.
    Full,
}

/// Received sequences of one boot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sequences {
    /// Inclusive ranges of what was received or given up.
    ranges: Vec<(u64, u64)>,
    /// Highest `oldest` that the node announced.
    oldest: u64,
    /// Sequences inside `ranges` that were given up, never received.
    given_up: u64,
}

impl Sequences {
    /// Records a frame's sequence and the node's announced oldest kept sequence (`oldest <= sequence`).
    pub fn record(&mut self, sequence: u64, oldest: u64) -> Seen {
        self.oldest = self.oldest.max(oldest.min(sequence));
        // The first range that ends at or after the sequence's left neighbour.
        let at = self.ranges.partition_point(|r| r.1.saturating_add(1) < sequence);
        match self.ranges.get_mut(at) {
            Some(range) if range.0 <= sequence && sequence <= range.1 => return Seen::Duplicate,
            Some(range) if range.1.checked_add(1) == Some(sequence) => {
                range.1 = sequence;
                let end = range.1;
                if self.ranges.get(at + 1).is_some_and(|next| end.checked_add(1) == Some(next.0)) {
                    self.ranges[at].1 = self.ranges[at + 1].1;
                    self.ranges.remove(at + 1);
                }
            }
            Some(range) if sequence.checked_add(1) == Some(range.0) => range.0 = sequence,
            _ => {
                if self.ranges.len() >= MAX_RANGES && !self.give_up_lowest_lost() {
                    return Seen::Full;
                }
                let at = self.ranges.partition_point(|r| r.1 < sequence);
                if self.ranges.get(at).is_some_and(|r| r.0 <= sequence) {
                    // It lies in the very gap that was given up just now.
                    self.given_up -= 1;
                } else {
                    self.ranges.insert(at, (sequence, sequence));
                }
            }
        }
        Seen::New
    }

    /// Closes the lowest gap if the node declared all of it lost.
    fn give_up_lowest_lost(&mut self) -> bool {
        match self.ranges[..] {
            [first, second, ..] if second.0 <= self.oldest => {
                self.given_up += second.0 - first.1 - 1;
                self.ranges[0].1 = second.1;
                self.ranges.remove(1);
                true
            }
            _ => false,
        }
    }

    /// The sequence below which every frame is received or declared lost by the node.
    pub fn settled(&self) -> u64 {
        match self.ranges.iter().find(|r| r.1 >= self.oldest) {
            Some(range) if range.0 <= self.oldest => range.1.saturating_add(1),
            _ => self.oldest,
        }
    }

    /// One above the highest sequence received.
    pub fn next(&self) -> u64 {
        self.ranges.last().map_or(0, |r| r.1.saturating_add(1))
    }

    /// Distinct sequences received.
    pub fn received(&self) -> u64 {
        self.ranges.iter().map(|r| r.1 - r.0 + 1).sum::<u64>() - self.given_up
    }

    /// Sequences below [`Self::next`] not received.
    pub fn missing(&self) -> u64 {
        self.next() - self.received()
    }

    /// Of the missing ones, those that the node declared lost.
    pub fn lost(&self) -> u64 {
        self.gaps()
            .map(|(from, to)| if from < self.oldest { to.min(self.oldest - 1) - from + 1 } else { 0 })
            .sum::<u64>()
            + self.given_up
    }

    /// The gaps that can still be named, inclusive, lowest first.
    pub fn gaps(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let before_first = self.ranges.first().filter(|r| r.0 > 0).map(|r| (0, r.0 - 1));
        before_first.into_iter().chain(self.ranges.windows(2).map(|w| (w[0].1 + 1, w[1].0 - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn the_ranges_agree_with_a_plain_set(sequences in proptest::collection::vec(0..60u64, 0..200)) {
            let mut seen = Sequences::default();
            let mut naive = BTreeSet::new();
            for sequence in sequences {
                let expected = if naive.insert(sequence) { Seen::New } else { Seen::Duplicate };
                prop_assert_eq!(seen.record(sequence, 0), expected);
                prop_assert_eq!(seen.received(), naive.len() as u64);
                prop_assert_eq!(seen.next(), naive.last().map_or(0, |n| n + 1));
                prop_assert_eq!(seen.settled(), (0..).find(|n| !naive.contains(n)).unwrap_or(0));
                let gaps: u64 = seen.gaps().map(|g| g.1 - g.0 + 1).sum();
                prop_assert_eq!(gaps, seen.missing());
            }
        }

        #[test]
        fn memory_is_bounded_and_nothing_is_accepted_twice(
            frames in proptest::collection::vec((0..1000u64, 0..1000u64), 0..600)
        ) {
            let mut seen = Sequences::default();
            let mut accepted = BTreeSet::new();
            let mut settled = 0;
            for (sequence, oldest) in frames {
                if seen.record(sequence, oldest) == Seen::New {
                    prop_assert!(accepted.insert(sequence));
                }
                prop_assert!(seen.ranges.len() <= MAX_RANGES);
                prop_assert!(seen.settled() >= settled);
                settled = seen.settled();
                prop_assert_eq!(seen.received(), accepted.len() as u64);
                prop_assert!(seen.lost() <= seen.missing());
            }
        }
    }

    #[test]
    fn what_the_node_no_longer_holds_does_not_hold_the_confirmation_back() {
        let mut seen = Sequences::default();
        seen.record(0, 0);
        seen.record(5, 0);
        assert_eq!(seen.settled(), 1);
        seen.record(6, 4);
        assert_eq!((seen.settled(), seen.missing(), seen.lost()), (4, 4, 3));
        seen.record(4, 4);
        assert_eq!((seen.settled(), seen.missing(), seen.lost()), (7, 3, 3));
    }

    #[test]
    fn the_highest_sequence_of_all_does_not_overflow() {
        let mut seen = Sequences::default();
        assert_eq!(seen.record(u64::MAX, u64::MAX), Seen::New);
        assert_eq!(seen.record(u64::MAX, 0), Seen::Duplicate);
        assert_eq!(seen.settled(), u64::MAX);
    }
}
