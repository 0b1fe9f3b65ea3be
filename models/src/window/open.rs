//! An open slide: one slice of event time of one channel that late readings may still change.
//!
//! It keeps its readings sorted by (time, boot, sequence, index in frame) and folds them pane by pane on request, so
//! its summary is a function of the set of readings (P1). Readings mostly come in order: insertion is then a push.
//! Cost: 24 bytes a reading until the slide is closed.

use core::cmp::Ordering;

use fettle_wire::Micros;
use serde::{Deserialize, Serialize};

use super::Summary;

/// The most readings one open slide keeps.
pub const MAX_SLIDE_READINGS: usize = 16_384;
/// The most boots (or foreign topics) whose readings one open slide keeps.
const MAX_BOOTS: usize = 256;
/// The highest index in frame that can be told apart; beyond it a reading is refused as one too many.
const MAX_INDEX: u32 = 0xFF_FFFF;

/// What orders readings of equal time and tells duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Boot of the node, or a hash of a foreign topic.
    pub boot: u64,
    /// Sequence of the frame within the boot, or a hash of foreign content.
    pub sequence: u64,
    /// Index of the reading within its frame.
    pub index: u32,
}

/// One reading: (microseconds after the slide's start, boot slot in the high 8 bits and index in the low 24, sequence,
/// value).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Kept(u32, u32, u64, f64);

/// What became of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// Kept.
    Used,
    /// The same reading was there already.
    Duplicate,
    /// A bound is reached (P2).
    Full,
}

/// Readings of one slide and their summary as last folded.
/// Kept to one cache line: it is touched by every reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenSlide {
    /// Start of the slide.
    pub start: Micros,
    readings: Vec<Kept>,
    /// The boot of slot 0; of no meaning while there are no readings.
    boot: u64,
    /// The boots of further slots: hardly ever any.
    #[expect(clippy::box_collection, reason = "8 bytes instead of 24 in a line that every reading touches")]
    others: Option<Box<Vec<u64>>>,
    #[serde(skip)]
    folded: Option<Box<Summary>>,
    flags: u32,
}

impl OpenSlide {
    /// An empty slide that expects about `expected` readings.
    pub fn new(start: Micros, expected: usize) -> Self {
        Self { start, readings: Vec::with_capacity(expected), boot: 0, others: None, folded: None, flags: 0 }
    }

    /// Readings kept.
    pub fn len(&self) -> usize {
        self.readings.len()
    }

    /// Whether no reading is kept.
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }

    /// Whether the parts, as read from a disk, fit together.
    pub(super) fn consistent(&self) -> bool {
        let sorted = self.readings.windows(2).all(|w| self.order(&w[0], &w[1]) == Ordering::Less);
        self.readings.iter().all(|r| self.boot_of(r).is_some()) && sorted
    }

    /// (time, boot, sequence, index): a slot stands for its boot.
    fn order(&self, a: &Kept, b: &Kept) -> Ordering {
        a.0.cmp(&b.0).then_with(|| {
            self.boot_of(a).cmp(&self.boot_of(b)).then(a.2.cmp(&b.2)).then((a.1 & MAX_INDEX).cmp(&(b.1 & MAX_INDEX)))
        })
    }

    /// Forgets the summary, as after a change of the pane.
    pub(super) fn unfold(&mut self) {
        self.folded = None;
    }

    fn boot_of(&self, kept: &Kept) -> Option<u64> {
        match (kept.1 >> 24) as usize {
            0 => Some(self.boot),
            slot => self.others.as_ref()?.get(slot - 1).copied(),
        }
    }

    /// The slot of a boot, a new one if need be; `None` at the bound.
    fn slot(&mut self, boot: u64) -> Option<usize> {
        if self.readings.is_empty() {
            self.boot = boot;
        }
        if self.boot == boot {
            return Some(0);
        }
        let others = self.others.get_or_insert_default();
        if let Some(place) = others.iter().position(|b| *b == boot) {
            return Some(place + 1);
        }
        if others.len() + 1 >= MAX_BOOTS {
            return None;
        }
        others.push(boot);
        Some(others.len())
    }

    /// Keeps a reading at `offset` microseconds after the start.
    pub fn insert(&mut self, offset: u32, key: Key, value: f64, flags: u32) -> Inserted {
        if key.index > MAX_INDEX || self.readings.len() >= MAX_SLIDE_READINGS {
            return Inserted::Full;
        }
        let Some(slot) = self.slot(key.boot) else { return Inserted::Full };
        // Below 256 by MAX_BOOTS.
        let kept = Kept(offset, (slot as u32) << 24 | key.index, key.sequence, value);
        match self.readings.last() {
            Some(last) if self.order(last, &kept) != Ordering::Less => {
                match self.readings.binary_search_by(|k| self.order(k, &kept)) {
                    Ok(_) => return Inserted::Duplicate,
                    Err(place) => self.readings.insert(place, kept),
                }
            }
            _ => self.readings.push(kept),
        }
        self.flags |= flags;
        self.folded = None;
        Inserted::Used
    }

    /// The summary, times in seconds after the slide's start. Folded pane by pane, then kept until the next insertion.
    pub fn summary(&mut self, pane: Micros) -> Summary {
        if let Some(folded) = &self.folded {
            return **folded;
        }
        let mut whole = Summary::EMPTY;
        let of_pane = |k: &Kept| i64::from(k.0) / pane;
        for readings in self.readings.chunk_by(|a, b| of_pane(a) == of_pane(b)) {
            whole.merge(&Summary::of(readings.iter().map(|k| (f64::from(k.0) * 1e-6, k.3))), 0.0);
        }
        whole.flags = self.flags;
        self.folded = Some(Box::new(whole));
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(boot: u64, sequence: u64, index: u32) -> Key {
        Key { boot, sequence, index }
    }

    #[test]
    fn the_summary_does_not_depend_on_the_order_of_arrival() {
        let readings: Vec<_> =
            (0..50u32).map(|i| (i / 2 * 900_000, key(u64::from(i % 3), 7, i), f64::from(i).sin())).collect();
        let mut forward = OpenSlide::new(0, 0);
        let mut backward = OpenSlide::new(0, 0);
        for r in &readings {
            assert_eq!(forward.insert(r.0, r.1, r.2, 0), Inserted::Used);
        }
        for r in readings.iter().rev() {
            assert_eq!(backward.insert(r.0, r.1, r.2, 0), Inserted::Used);
        }
        assert_eq!(forward.summary(10_000_000), backward.summary(10_000_000));
    }

    #[test]
    fn the_same_reading_twice_is_a_duplicate_and_another_index_is_not() {
        let mut slide = OpenSlide::new(0, 0);
        assert_eq!(slide.insert(5, key(1, 2, 3), 1.0, 0), Inserted::Used);
        assert_eq!(slide.insert(5, key(1, 2, 3), 1.0, 0), Inserted::Duplicate);
        assert_eq!(slide.insert(5, key(1, 2, 4), 1.0, 0), Inserted::Used);
        assert_eq!(slide.insert(5, key(2, 2, 3), 1.0, 0), Inserted::Used);
        assert_eq!(slide.len(), 3);
    }

    #[test]
    fn more_boots_than_a_slide_can_tell_apart_are_refused() {
        let mut slide = OpenSlide::new(0, 0);
        let used = (0..300).filter(|boot| slide.insert(1, key(*boot, 0, 0), 1.0, 0) == Inserted::Used).count();
        assert_eq!(used, MAX_BOOTS);
        assert!(slide.consistent());
    }

    #[test]
    fn a_flood_is_refused_at_the_bound() {
        let mut slide = OpenSlide::new(0, 0);
        for i in 0..MAX_SLIDE_READINGS as u32 {
            assert_eq!(slide.insert(i, key(1, 0, i), 0.0, 0), Inserted::Used);
        }
        assert_eq!(slide.insert(u32::MAX, key(1, 0, 0), 0.0, 0), Inserted::Full);
    }
}
