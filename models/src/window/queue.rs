//! The slides of one channel: open ones with their readings, closed ones as summaries, oldest first.
//!
//! P2 holds here: at the bounds an insertion is refused, and the engine counts it as shed. P4: closed slides all end
//! before open ones start, both ascend strictly.

use std::collections::VecDeque;

use fettle_wire::Micros;
use fettle_wire::time::LATEST;
use serde::{Deserialize, Serialize};

use super::open::{Key, OpenSlide};
use super::{Summary, open};
use crate::settings::Settings;

pub use open::Inserted;

/// The most slides of a channel that stand open; beyond it a reading for yet another slide is shed.
pub const MAX_OPEN_SLIDES: usize = 4_096;
/// The most readings that the open slides of a channel keep together.
pub const MAX_CHANNEL_READINGS: usize = 65_536;

/// The grid of event time, aligned to the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Length of a pane.
    pub pane: Micros,
    /// Length of a slide, a multiple of `pane`.
    pub slide: Micros,
    /// Length of a window, a multiple of `slide`.
    pub window: Micros,
}

impl Grid {
    /// The grid of checked settings.
    pub fn new(settings: &Settings) -> Self {
        Self { pane: settings.pane, slide: settings.slide, window: settings.window }
    }

    /// The start of the slide that `time` falls into; also the last grid instant at or before `time`.
    pub fn start(&self, time: Micros) -> Micros {
        time - time.rem_euclid(self.slide)
    }
}

/// The summary of one closed slide.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Start of the slide.
    pub start: Micros,
    /// Its readings; times in seconds after `start`.
    pub summary: Summary,
}

/// The slides of one channel.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Queue {
    open: VecDeque<OpenSlide>,
    closed: VecDeque<Bucket>,
    kept: usize,
}

impl Queue {
    /// Keeps a reading. The caller has made sure that its slide is not closed.
    pub fn insert(&mut self, grid: &Grid, time: Micros, key: Key, value: f64, flags: u32) -> Inserted {
        if self.kept >= MAX_CHANNEL_READINGS {
            return Inserted::Full;
        }
        // Readings come mostly in order: the newest slide is tried before any division.
        let newest = self.open.back().filter(|s| (s.start..s.start + grid.slide).contains(&time));
        let place = if newest.is_some() {
            self.open.len() - 1
        } else {
            let start = grid.start(time);
            match self.open.binary_search_by_key(&start, |s| s.start) {
                Ok(place) => place,
                Err(_) if self.open.len() >= MAX_OPEN_SLIDES => return Inserted::Full,
                Err(place) => {
                    let expected = self.open.back().map_or(0, OpenSlide::len);
                    self.open.insert(place, OpenSlide::new(start, expected));
                    place
                }
            }
        };
        let slide = &mut self.open[place];
        // Below 2^32 by settings::MAX_SLIDE.
        let inserted = slide.insert((time - slide.start) as u32, key, value, flags);
        self.kept += usize::from(inserted == Inserted::Used);
        inserted
    }

    /// The start of the first open slide that starts at or after `from` and has readings.
    pub fn next_start(&self, from: Micros) -> Option<Micros> {
        let first = self.open.partition_point(|s| s.start < from);
        self.open.range(first..).find(|s| !s.is_empty()).map(|s| s.start)
    }

    /// The summary of the open slide that starts at `start`.
    pub fn slide(&mut self, grid: &Grid, start: Micros) -> Option<Summary> {
        let place = self.open.binary_search_by_key(&start, |s| s.start).ok()?;
        let slide = &mut self.open[place];
        (!slide.is_empty()).then(|| slide.summary(grid.pane))
    }

    /// The merge of all slides inside `[end - window, end)` by ascending time; times count from `end - window`.
    pub fn window(&mut self, grid: &Grid, end: Micros) -> Summary {
        let from = end - grid.window;
        let mut whole = Summary::EMPTY;
        let first = self.closed.partition_point(|b| b.start < from);
        for bucket in self.closed.range(first..).take_while(|b| b.start < end) {
            whole.merge(&bucket.summary, (bucket.start - from) as f64 * 1e-6);
        }
        let first = self.open.partition_point(|s| s.start < from);
        for slide in self.open.range_mut(first..).take_while(|s| s.start < end) {
            let offset = (slide.start - from) as f64 * 1e-6;
            whole.merge(&slide.summary(grid.pane), offset);
        }
        whole
    }

    /// Closes every slide that ends at or before `end` and forgets those that no window ending after `end` contains.
    pub fn close(&mut self, grid: &Grid, end: Micros) {
        let oldest = end + grid.slide - grid.window;
        let stale = self.closed.partition_point(|b| b.start < oldest);
        self.closed.drain(..stale);
        while let Some(slide) = self.open.front_mut().filter(|s| s.start + grid.slide <= end) {
            let (start, summary) = (slide.start, slide.summary(grid.pane));
            self.kept -= slide.len();
            self.open.pop_front();
            if start >= oldest && summary.count > 0 {
                self.closed.push_back(Bucket { start, summary });
            }
        }
    }

    /// Forgets the summaries of open slides, as after a change of the pane.
    pub fn unfold(&mut self) {
        self.open.iter_mut().for_each(OpenSlide::unfold);
    }

    /// (open slides, readings kept in them, closed slides): what it holds, for bounds in tests.
    pub fn held(&self) -> (usize, usize, usize) {
        (self.open.len(), self.kept, self.closed.len())
    }

    /// Whether the parts, as read from a disk, fit together (P4).
    pub(crate) fn consistent(&self) -> bool {
        let ascending = |starts: &mut dyn Iterator<Item = Micros>| starts.is_sorted_by(|a, b| a < b);
        let inside = |start: Micros| (0..LATEST).contains(&start);
        self.kept == self.open.iter().map(OpenSlide::len).sum::<usize>()
            && self.closed.iter().map(|b| b.start).chain(self.open.iter().map(|s| s.start)).all(inside)
            && ascending(&mut self.closed.iter().map(|b| b.start).chain(self.open.iter().map(|s| s.start)))
            && self.open.iter().all(OpenSlide::consistent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_wire::time::{MINUTE, SECOND};

    const GRID: Grid = Grid { pane: 10 * SECOND, slide: MINUTE, window: 5 * MINUTE };

    fn key(sequence: u64) -> Key {
        Key { boot: 1, sequence, index: 0 }
    }

    #[test]
    fn a_window_holds_exactly_the_slides_inside_it_open_or_closed() {
        let mut queue = Queue::default();
        for minute in 0..10 {
            assert_eq!(queue.insert(&GRID, minute * MINUTE + 1, key(0), minute as f64, 0), Inserted::Used);
        }
        queue.close(&GRID, 7 * MINUTE);
        assert_eq!(queue.held(), (3, 3, 4));
        let whole = queue.window(&GRID, 9 * MINUTE);
        assert_eq!((whole.count, whole.min, whole.max, whole.mean), (5, 4.0, 8.0, 6.0));
        assert!((whole.covariance / whole.time_m2 - 1.0 / 60.0).abs() < 1e-15);
    }

    #[test]
    fn a_flood_of_far_stamps_meets_a_bound() {
        let mut queue = Queue::default();
        let refused = (0..10_000).filter(|i| queue.insert(&GRID, i * MINUTE, key(0), 0.0, 0) == Inserted::Full).count();
        assert_eq!(refused, 10_000 - MAX_OPEN_SLIDES);
    }
}
