//! An open slide: one slice of event time of one channel that late readings may still change.
//!
//! It keeps its readings sorted by (time, boot, sequence, index in frame) and folds them pane by pane on request, so
//! its summary is a function of the set of readings (P1). Readings mostly come in order: insertion is then a push.
//! Cost: 16 bytes a reading until the slide is closed, as long as all come from one boot whose sequences lie close
//! together; else 24 bytes for each of this slide's.

use fettle_wire::Micros;
use serde::{Deserialize, Serialize};

use super::Summary;
use super::compact::Compact;

/// The most readings one open slide keeps.
pub const MAX_SLIDE_READINGS: usize = 16_384;
/// The most boots (or foreign topics) whose readings one open slide keeps.
const MAX_BOOTS: usize = 256;
/// The highest index in frame that can be told apart; beyond it a reading is refused as one too many.
const MAX_INDEX: u32 = 0xFF_FFFF;
/// Bits of a narrow tag that hold the index in frame; the others hold the sequence.
const INDEX_BITS: u32 = 12;
/// How far the sequences of one narrow slide may lie apart.
const SEQUENCES: u64 = 1 << (32 - INDEX_BITS);

const _: () = assert!(MAX_SLIDE_READINGS <= Compact::MAX_COUNT);

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

/// A reading of a node: microseconds after the slide's start, what tells it from others of that time, value.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tagged {
    offset: u32,
    /// Sequence after [`Narrow::base`] above the index: ascends as (sequence, index) does.
    tag: u32,
    value: f64,
}

/// Readings of one boot whose sequences lie close together.
#[derive(Debug, Clone, PartialEq, Default)]
struct Narrow {
    /// Of no meaning while there are no readings, like `base`.
    boot: u64,
    base: u64,
    kept: Vec<Tagged>,
}

/// Any reading: (microseconds after the slide's start, boot slot in the high 8 bits and index in the low 24, sequence,
/// value).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Kept(u32, u32, u64, f64);

/// Readings of several boots, or of sequences that lie anywhere.
#[derive(Debug, Clone, PartialEq)]
struct Wide {
    /// By slot.
    boots: Vec<u64>,
    kept: Vec<Kept>,
}

/// Which of both, shows in nothing but cost.
#[derive(Debug, Clone, PartialEq)]
enum Readings {
    // -> Wide
    Narrow(Narrow),
    // (until the slide is closed)
    Wide(Box<Wide>),
}

/// Readings of one slide and their summary as last folded.
/// Kept to one cache line: it is touched by every reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct OpenSlide {
    /// Start of the slide.
    pub start: Micros,
    readings: Readings,
    folded: Option<Box<Compact>>,
    flags: u32,
}

const _: () = assert!(size_of::<OpenSlide>() == 64);

/// An open slide as saved.
#[derive(Serialize, Deserialize)]
struct Saved {
    start: Micros,
    readings: Vec<Kept>,
    boot: u64,
    others: Option<Vec<u64>>,
    flags: u32,
}

impl Narrow {
    /// What tells this reading from others of its time; `None` where it takes a wide slide to tell.
    fn tag(&self, key: &Key) -> Option<u32> {
        let distance = key.sequence.checked_sub(self.base).filter(|d| *d < SEQUENCES)?;
        // Below 2^20 and 2^12.
        (key.boot == self.boot && key.index >> INDEX_BITS == 0).then_some((distance as u32) << INDEX_BITS | key.index)
    }

    /// Makes room around the first reading's sequence, for late ones below it too.
    fn begin(&mut self, key: &Key) {
        (self.boot, self.base) = (key.boot, key.sequence.saturating_sub(SEQUENCES / 2));
    }

    fn insert(&mut self, reading: Tagged) -> Inserted {
        let order = |k: &Tagged| u64::from(k.offset) << 32 | u64::from(k.tag);
        let at = order(&reading);
        match self.kept.last() {
            Some(last) if order(last) >= at => match self.kept.binary_search_by_key(&at, order) {
                Ok(_) => return Inserted::Duplicate,
                Err(place) => self.kept.insert(place, reading),
            },
            _ => self.kept.push(reading),
        }
        Inserted::Used
    }

    fn widen(&self) -> Wide {
        let index = |tag: u32| tag & ((1 << INDEX_BITS) - 1);
        let wide = |k: &Tagged| Kept(k.offset, index(k.tag), self.base + u64::from(k.tag >> INDEX_BITS), k.value);
        Wide { boots: vec![self.boot], kept: self.kept.iter().map(wide).collect() }
    }
}

impl Wide {
    /// What orders readings: (time, boot, sequence, index); a slot stands for its boot. `None` if it stands for none.
    fn order(&self, k: &Kept) -> Option<(u32, u64, u64, u32)> {
        Some((k.0, *self.boots.get((k.1 >> 24) as usize)?, k.2, k.1 & MAX_INDEX))
    }

    /// The slot of a boot, a new one if need be; `None` at the bound.
    fn slot(&mut self, boot: u64) -> Option<usize> {
        if let Some(place) = self.boots.iter().position(|b| *b == boot) {
            return Some(place);
        }
        if self.boots.len() >= MAX_BOOTS {
            return None;
        }
        self.boots.push(boot);
        Some(self.boots.len() - 1)
    }

    fn insert(&mut self, offset: u32, key: Key, value: f64) -> Inserted {
        let Some(slot) = self.slot(key.boot) else { return Inserted::Full };
        // Below 256 by MAX_BOOTS.
        let reading = Kept(offset, (slot as u32) << 24 | key.index, key.sequence, value);
        let at = self.order(&reading);
        match self.kept.last() {
            Some(last) if self.order(last) >= at => match self.kept.binary_search_by_key(&at, |k| self.order(k)) {
                Ok(_) => return Inserted::Duplicate,
                Err(place) => self.kept.insert(place, reading),
            },
            _ => self.kept.push(reading),
        }
        Inserted::Used
    }

    /// The same in narrow form, if it fits.
    fn narrow(&self) -> Option<Narrow> {
        let [boot] = *self.boots else { return None };
        let mut narrow = Narrow { boot, ..Narrow::default() };
        let least = self.kept.iter().map(|k| k.2).min().unwrap_or(0);
        narrow.begin(&Key { boot, sequence: least, index: 0 });
        let tagged = |k: &Kept| {
            let tag = narrow.tag(&Key {
                boot: *self.boots.get((k.1 >> 24) as usize)?,
                sequence: k.2,
                index: k.1 & MAX_INDEX,
            })?;
            Some(Tagged { offset: k.0, tag, value: k.3 })
        };
        let kept = self.kept.iter().map(tagged).collect::<Option<_>>()?;
        Some(Narrow { kept, ..narrow })
    }
}

impl From<OpenSlide> for Saved {
    fn from(slide: OpenSlide) -> Self {
        let wide = match slide.readings {
            Readings::Narrow(narrow) => narrow.widen(),
            Readings::Wide(wide) => *wide,
        };
        let others = wide.boots.get(1..).filter(|others| !others.is_empty()).map(<[u64]>::to_vec);
        let boot = wide.boots.first().copied().unwrap_or(0);
        Self { start: slide.start, readings: wide.kept, boot, others, flags: slide.flags }
    }
}

impl From<Saved> for OpenSlide {
    fn from(saved: Saved) -> Self {
        let boots = [saved.boot].into_iter().chain(saved.others.into_iter().flatten()).collect();
        let wide = Wide { boots, kept: saved.readings };
        let narrow = wide.narrow().map(Readings::Narrow);
        let readings = narrow.unwrap_or_else(|| Readings::Wide(Box::new(wide)));
        Self { start: saved.start, readings, folded: None, flags: saved.flags }
    }
}

/// Folds readings in their order, pane by pane.
fn fold<T>(kept: &[T], pane: Micros, of: impl Fn(&T) -> (u32, f64) + Copy) -> Summary {
    let mut whole = Summary::EMPTY;
    let pane_of = |k: &T| i64::from(of(k).0) / pane;
    for readings in kept.chunk_by(|a, b| pane_of(a) == pane_of(b)) {
        let pairs = readings.iter().map(|k| {
            let (offset, value) = of(k);
            (f64::from(offset) * 1e-6, value)
        });
        whole.merge(&Summary::of(pairs), 0.0);
    }
    whole
}

impl OpenSlide {
    /// An empty slide that expects about `expected` readings.
    pub fn new(start: Micros, expected: usize) -> Self {
        let narrow = Narrow { kept: Vec::with_capacity(expected), ..Narrow::default() };
        Self { start, readings: Readings::Narrow(narrow), folded: None, flags: 0 }
    }

    /// Readings kept.
    pub fn len(&self) -> usize {
        match &self.readings {
            Readings::Narrow(narrow) => narrow.kept.len(),
            Readings::Wide(wide) => wide.kept.len(),
        }
    }

    /// Whether no reading is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the parts, as read from a disk, fit together.
    pub(super) fn consistent(&self) -> bool {
        self.len() <= MAX_SLIDE_READINGS
            && self.flags <= Summary::RESTAMPED
            && match &self.readings {
                Readings::Narrow(narrow) => narrow.kept.is_sorted_by(|a, b| (a.offset, a.tag) < (b.offset, b.tag)),
                Readings::Wide(wide) => {
                    wide.kept.iter().all(|k| wide.order(k).is_some())
                        && wide.kept.is_sorted_by(|a, b| wide.order(a) < wide.order(b))
                }
            }
    }

    /// Forgets the summary, as after a change of the pane.
    pub(super) fn unfold(&mut self) {
        self.folded = None;
    }

    /// Gives back room for readings that will hardly come any more.
    pub(super) fn shrink(&mut self) {
        if let Readings::Narrow(Narrow { kept, .. }) = &mut self.readings
            && kept.capacity() > kept.len() + kept.len() / 8
        {
            kept.shrink_to_fit();
        }
    }

    /// Keeps a reading at `offset` microseconds after the start.
    pub fn insert(&mut self, offset: u32, key: Key, value: f64, flags: u32) -> Inserted {
        if key.index > MAX_INDEX || self.len() >= MAX_SLIDE_READINGS {
            return Inserted::Full;
        }
        let inserted = match &mut self.readings {
            Readings::Wide(wide) => wide.insert(offset, key, value),
            Readings::Narrow(narrow) => {
                if narrow.kept.is_empty() {
                    narrow.begin(&key);
                }
                match narrow.tag(&key) {
                    Some(tag) => narrow.insert(Tagged { offset, tag, value }),
                    None => {
                        let mut wide = Box::new(narrow.widen());
                        let inserted = wide.insert(offset, key, value);
                        self.readings = Readings::Wide(wide);
                        inserted
                    }
                }
            }
        };
        if inserted == Inserted::Used {
            self.flags |= flags;
            self.folded = None;
        }
        inserted
    }

    /// The summary, times in seconds after the slide's start. Folded pane by pane and rounded to what is left of it once
    /// the slide is closed, then kept until the next insertion.
    pub fn summary(&mut self, pane: Micros) -> Summary {
        self.compact(pane).summary()
    }

    /// The summary as it will be kept.
    pub(super) fn compact(&mut self, pane: Micros) -> Compact {
        if let Some(folded) = &self.folded {
            return **folded;
        }
        let mut whole = match &self.readings {
            Readings::Narrow(narrow) => fold(&narrow.kept, pane, |k| (k.offset, k.value)),
            Readings::Wide(wide) => fold(&wide.kept, pane, |k| (k.0, k.3)),
        };
        whole.flags = self.flags;
        let folded = Compact::new(&whole);
        self.folded = Some(Box::new(folded));
        folded
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
    fn narrow_or_wide_a_slide_keeps_the_same_and_survives_its_saving() {
        let readings: Vec<_> =
            (0..40u32).map(|i| (i / 3 * 1_000, u64::from(i) * 5 % 7, i % 3, f64::from(i).cos())).collect();
        let fill = |far: Option<Key>| {
            let mut slide = OpenSlide::new(60, 0);
            for (n, (offset, sequence, index, value)) in readings.iter().enumerate() {
                assert_eq!(slide.insert(*offset, key(4, 1_000_000 - sequence, *index), *value, 0), Inserted::Used);
                assert_eq!(slide.insert(*offset, key(4, 1_000_000 - sequence, *index), *value, 0), Inserted::Duplicate);
                if let Some(far) = far.filter(|_| n == 20) {
                    assert_eq!(slide.insert(59_000_000, far, 3.0, 0), Inserted::Used);
                    assert_eq!(slide.insert(59_000_000, far, 3.0, 0), Inserted::Duplicate);
                }
            }
            slide
        };
        let narrow = fill(None);
        assert!(matches!(narrow.readings, Readings::Narrow(_)));
        let loaded = OpenSlide::from(Saved::from(narrow.clone()));
        assert!(matches!(loaded.readings, Readings::Narrow(_)) && loaded.consistent());
        assert_eq!(Saved::from(loaded).readings, Saved::from(narrow).readings);
        for far in [key(5, 1_000_000, 0), key(4, 1 << 60, 0), key(4, 0, 0), key(4, 1_000_000, 1 << 12)] {
            let mut wide = fill(Some(far));
            assert!(matches!(wide.readings, Readings::Wide(_)) && wide.consistent(), "{far:?}");
            let loaded = Saved::from(OpenSlide::from(Saved::from(wide.clone())));
            assert_eq!(loaded.readings, Saved::from(wide.clone()).readings);
            let mut expected = fill(None);
            if let Readings::Narrow(narrow) = &mut expected.readings {
                narrow.kept.push(Tagged { offset: 59_000_000, tag: 0, value: 3.0 });
            }
            assert_eq!(wide.summary(10_000_000), expected.summary(10_000_000));
        }
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
