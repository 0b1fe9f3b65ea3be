//! The slides of one channel: open ones with their readings, closed ones as summaries, oldest first.
//!
//! P2 holds here: at the bounds an insertion is refused, and the engine counts it as shed. P4: closed slides all end
//! before open ones start, both ascend strictly.

use std::collections::VecDeque;

use fettle_wire::Micros;
use fettle_wire::time::LATEST;
use serde::{Deserialize, Serialize};

use super::closed::Closed;
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

/// The summary of one closed slide, as saved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Start of the slide.
    pub start: Micros,
    /// Its readings; times in seconds after `start`.
    pub summary: Summary,
}

/// The slides of one channel. The newest open one, into which nearly every reading goes, stands in place.
#[derive(Debug, Clone, PartialEq, Default)]
#[repr(C)]
pub struct Queue {
    kept: usize,
    newest: Option<OpenSlide>,
    /// The other open ones.
    older: VecDeque<OpenSlide>,
    closed: Closed,
}

/// A queue being saved.
#[derive(Serialize)]
pub(crate) struct Saving<'a> {
    kept: usize,
    newest: &'a Option<OpenSlide>,
    older: &'a VecDeque<OpenSlide>,
    closed: Vec<Bucket>,
}

/// A queue as saved: field by field what [`Saving`] is.
#[derive(Deserialize)]
pub(crate) struct Saved {
    kept: usize,
    newest: Option<OpenSlide>,
    older: VecDeque<OpenSlide>,
    closed: Vec<Bucket>,
}

impl Queue {
    /// Keeps a reading. The caller has made sure that its slide is not closed.
    pub fn insert(&mut self, grid: &Grid, time: Micros, key: Key, value: f64, flags: u32) -> Inserted {
        if self.kept >= MAX_CHANNEL_READINGS {
            return Inserted::Full;
        }
        // Readings come mostly in order: the newest slide is tried before any division.
        let slide = match &mut self.newest {
            Some(newest) if (newest.start..newest.start + grid.slide).contains(&time) => newest,
            _ => match self.find(grid.start(time)) {
                Some(slide) => slide,
                None => return Inserted::Full,
            },
        };
        // Below 2^32 by settings::MAX_SLIDE.
        let inserted = slide.insert((time - slide.start) as u32, key, value, flags);
        self.kept += usize::from(inserted == Inserted::Used);
        inserted
    }

    /// The open slide that starts at `start`, a new one if need be; `None` at the bound.
    fn find(&mut self, start: Micros) -> Option<&mut OpenSlide> {
        let full = self.older.len() + 1 >= MAX_OPEN_SLIDES;
        let Some(newest) = &mut self.newest else {
            return Some(self.newest.insert(OpenSlide::new(start, 0)));
        };
        if start > newest.start {
            if full {
                return None;
            }
            let mut before = core::mem::replace(newest, OpenSlide::new(start, newest.len()));
            before.shrink();
            if self.older.len() == self.older.capacity() {
                // As many as the lateness spans, and hardly ever more.
                self.older.reserve_exact(1 + self.older.len() / 8);
            }
            self.older.push_back(before);
            return self.newest.as_mut();
        }
        if start == newest.start {
            return self.newest.as_mut();
        }
        let place = match self.older.binary_search_by_key(&start, |s| s.start) {
            Ok(place) => place,
            Err(_) if full => return None,
            Err(place) => {
                self.older.insert(place, OpenSlide::new(start, 0));
                place
            }
        };
        self.older.get_mut(place)
    }

    /// Open slides that start at or after `from`, oldest first.
    fn open_from(&mut self, from: Micros) -> impl Iterator<Item = &mut OpenSlide> {
        let first = self.older.partition_point(|s| s.start < from);
        self.older.range_mut(first..).chain(self.newest.as_mut().filter(|s| s.start >= from))
    }

    fn open(&self) -> impl Iterator<Item = &OpenSlide> {
        self.older.iter().chain(&self.newest)
    }

    /// The start of the first open slide that starts at or after `from` and has readings.
    pub fn next_start(&self, from: Micros) -> Option<Micros> {
        let first = self.older.partition_point(|s| s.start < from);
        let newest = self.newest.iter().filter(|s| s.start >= from);
        self.older.range(first..).chain(newest).find(|s| !s.is_empty()).map(|s| s.start)
    }

    /// The summary of the open slide that starts at `start`.
    pub fn slide(&mut self, grid: &Grid, start: Micros) -> Option<Summary> {
        let slide = self.open_from(start).next().filter(|s| s.start == start)?;
        (!slide.is_empty()).then(|| slide.summary(grid.pane))
    }

    /// The merge of all slides inside `[end - window, end)` by ascending time; times count from `end - window`.
    pub fn window(&mut self, grid: &Grid, end: Micros) -> Summary {
        let from = end - grid.window;
        let mut whole = Summary::EMPTY;
        let inside = self.closed.iter(grid.slide).skip_while(|s| s.0 < from).take_while(|s| s.0 < end);
        for (start, summary) in inside {
            whole.merge(&summary, (start - from) as f64 * 1e-6);
        }
        for slide in self.open_from(from).take_while(|s| s.start < end) {
            let offset = (slide.start - from) as f64 * 1e-6;
            whole.merge(&slide.summary(grid.pane), offset);
        }
        whole
    }

    /// Closes every slide that ends at or before `end` and forgets those that no window ending after `end` contains.
    pub fn close(&mut self, grid: &Grid, end: Micros) {
        let oldest = end + grid.slide - grid.window;
        self.closed.forget(grid.slide, oldest);
        while let Some(mut slide) = self.pop_ended(grid, end) {
            self.kept -= slide.len();
            if slide.start >= oldest && !slide.is_empty() {
                self.closed.push(grid, slide.start, slide.compact(grid.pane));
            }
        }
        if self.older.capacity() > 2 * self.older.len() + 8 {
            self.older.shrink_to_fit();
        }
    }

    /// Takes the oldest open slide out if it ends at or before `end`.
    fn pop_ended(&mut self, grid: &Grid, end: Micros) -> Option<OpenSlide> {
        let ended = |s: &OpenSlide| s.start + grid.slide <= end;
        match self.older.front() {
            Some(oldest) => ended(oldest).then(|| self.older.pop_front()).flatten(),
            None => self.newest.take_if(|newest| ended(newest)),
        }
    }

    /// Forgets the summaries of open slides, as after a change of the pane.
    pub fn unfold(&mut self) {
        self.open_from(Micros::MIN).for_each(OpenSlide::unfold);
    }

    /// (open slides, readings kept in them, closed slides): what it holds, for bounds in tests.
    pub fn held(&self) -> (usize, usize, usize) {
        (self.open().count(), self.kept, self.closed.len())
    }

    /// What is to be saved.
    pub(crate) fn saving(&self, grid: &Grid) -> Saving<'_> {
        let closed = self.closed.iter(grid.slide).map(|(start, summary)| Bucket { start, summary });
        Saving { kept: self.kept, newest: &self.newest, older: &self.older, closed: closed.collect() }
    }
}

impl Saved {
    /// Whether the parts, as read from a disk, fit together (P4) and lie on this grid.
    pub(crate) fn consistent(&self, grid: &Grid) -> bool {
        let inside = |start: &Micros| (0..LATEST).contains(start) && start % grid.slide == 0;
        let open = || self.older.iter().chain(&self.newest);
        let starts: Vec<_> = self.closed.iter().map(|b| b.start).chain(open().map(|s| s.start)).collect();
        let span = |b: &[Bucket]| b[1].start.saturating_sub(b[0].start) / grid.slide <= Micros::from(u16::MAX);
        self.kept == open().map(OpenSlide::len).sum::<usize>()
            && (self.newest.is_some() || self.older.is_empty())
            && starts.iter().all(inside)
            && starts.is_sorted_by(|a, b| a < b)
            && self.closed.windows(2).all(span)
            && self.closed.iter().all(|b| b.summary.count as usize <= open::MAX_SLIDE_READINGS && b.summary.flags <= 1)
            && open().all(OpenSlide::consistent)
    }

    /// The queue that was saved; what was saved is consistent.
    pub(crate) fn load(self, grid: &Grid) -> Queue {
        Queue { kept: self.kept, newest: self.newest, older: self.older, closed: Closed::load(grid, &self.closed) }
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
