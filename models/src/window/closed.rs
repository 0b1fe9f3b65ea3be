//! The closed slides of one channel, oldest first: one cache line each.
//!
//! D1: starts ascend strictly by whole slides; the first is known, each other one by its distance from the one before.
//! A distance has 16 bits and a window at most 64 slides, so whoever forgets what no window contains before keeping
//! another never meets the bound.

use std::collections::VecDeque;

use fettle_wire::Micros;

use super::Summary;
use super::compact::Compact;
use super::queue::{Bucket, Grid};

/// See the module's header.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Closed {
    /// Start of the first.
    first: Micros,
    /// Start of the last.
    last: Micros,
    kept: VecDeque<Compact>,
}

impl Closed {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Keeps the summary of the slide that starts at `start`, after all others.
    pub(super) fn push(&mut self, grid: &Grid, start: Micros, mut summary: Compact) {
        if self.kept.is_empty() {
            self.first = start;
        } else {
            summary.after = u16::try_from((start - self.last) / grid.slide).unwrap_or(u16::MAX);
        }
        self.last = start;
        if self.kept.len() == self.kept.capacity() {
            // A window fills once and then stays as it is: spare room would stay empty for ever.
            let most = usize::try_from(grid.window / grid.slide - 1).unwrap_or(0);
            self.kept.reserve_exact(most.saturating_sub(self.kept.len()).clamp(1, 8));
        }
        self.kept.push_back(summary);
    }

    /// Forgets those that start before `oldest`.
    pub(super) fn forget(&mut self, slide: Micros, oldest: Micros) {
        while !self.kept.is_empty() && self.first < oldest {
            self.kept.pop_front();
            self.first += self.kept.front().map_or(0, |next| Micros::from(next.after) * slide);
        }
    }

    /// (start, summary), oldest first.
    pub(super) fn iter(&self, slide: Micros) -> impl Iterator<Item = (Micros, Summary)> {
        let mut start = self.first;
        self.kept.iter().enumerate().map(move |(i, kept)| {
            start += if i == 0 { 0 } else { Micros::from(kept.after) * slide };
            (start, kept.summary())
        })
    }

    /// Those that were saved; they lie in order on the grid.
    pub(super) fn load(grid: &Grid, saved: &[Bucket]) -> Self {
        let mut closed = Self::default();
        saved.iter().for_each(|b| closed.push(grid, b.start, Compact::new(&b.summary)));
        closed
    }
}
