//! Evaluation: the walk over the slides that the frontier has passed.
//!
//! Two stages. The committed detector has seen closed slides only. After it hangs the tail: one clone of the detector
//! per evaluated slide that is not closed yet. A late reading cuts the tail at its slide, and the walk goes on from
//! there; so what becomes final is computed from all readings in the order of event time (E3). A slide without readings
//! is not visited, so the walk costs what there is, not how far it is (a gap of decades is one step).

use fettle_wire::{Micros, Verdict};

use super::asset::{Asset, Evaluated};
use super::{Output, Rules};
use crate::assess::Assessment;
use crate::window::frontier;

/// The first multiple of `step` at or after `time`.
fn ceil(time: Micros, step: Micros) -> Micros {
    time + (-time).rem_euclid(step)
}

impl Asset {
    /// Evaluates and closes what the frontier allows. Unless `flush`, changes by late readings wait for the next slide.
    pub(super) fn advance(&mut self, rules: &Rules, flush: bool, out: &mut Vec<Output>) {
        let (slide, settings) = (rules.grid.slide, &rules.settings);
        let marks = self.channels.iter().map(|c| &c.mark);
        let Some(frontier) = frontier(marks, settings.disorder, self.trusted) else { return };
        let evaluate = rules.grid.start(frontier).max(self.evaluated);
        let close = rules.grid.start(frontier - settings.lateness).max(self.closed);
        if evaluate == self.evaluated && close == self.closed && !(flush && self.dirty.is_some()) {
            return;
        }
        let revising = self.dirty.take();
        if let Some(dirty) = revising {
            while self.tail.back().is_some_and(|e| e.end >= dirty) {
                self.tail.pop_back();
            }
        }
        let walk = Walk { close, revising: revising.is_some() };
        while let Some(start) = self.next_start().filter(|start| start + slide <= evaluate) {
            self.visit(rules, &walk, start + slide, out);
        }
        if let Some(end) = self.head().map(|h| h.0) {
            let period = ceil(end, settings.publish);
            if period > end && period <= evaluate {
                self.publish(rules, &walk, period, out);
            }
        }
        self.commit(close);
        for channel in &mut self.channels {
            channel.queue.close(&rules.grid, close);
        }
        while self.published.front().is_some_and(|p| p.end <= close) {
            self.published.pop_front();
        }
        (self.evaluated, self.closed) = (evaluate, close);
        self.set_due(rules);
    }

    /// The last evaluation: (end of its slide, what was found).
    pub(super) fn head(&self) -> Option<(Micros, &Assessment)> {
        let provisional = self.tail.back().map(|e| (e.end, &e.assessment));
        provisional.or_else(|| self.committed.as_ref().map(|c| (c.0, &c.1)))
    }

    /// The start of the first slide with readings after the last evaluation.
    fn next_start(&self) -> Option<Micros> {
        let from = self.tail.back().map_or(self.closed, |e| e.end.max(self.closed));
        self.channels.iter().filter_map(|c| c.queue.next_start(from)).min()
    }

    /// One step of the detector over the slide that ends at `end`, appended to the tail.
    fn step(&mut self, rules: &Rules, end: Micros) {
        let start = end - rules.grid.slide;
        let mut means = core::mem::take(&mut self.scratch);
        means.clear();
        means.extend(self.channels.iter_mut().map(|c| c.queue.slide(&rules.grid, start).map(|s| s.mean)));
        let mut detector = self.tail.back().map_or(&self.detector, |e| &e.detector).clone();
        let assessment = detector.step(end, &self.layout, &rules.detector, &means);
        self.scratch = means;
        self.evaluations += 1;
        self.tail.push_back(Evaluated { end, detector, assessment });
    }

    fn visit(&mut self, rules: &Rules, walk: &Walk, end: Micros, out: &mut Vec<Output>) {
        let before = self.head().map(|(at, assessment)| (at, assessment.verdict));
        if let Some((at, _)) = before {
            let period = ceil(at, rules.settings.publish);
            if period > at && period < end {
                self.publish(rules, walk, period, out);
            }
        }
        self.step(rules, end);
        if end > self.alarmed {
            self.alarmed = end;
            self.judge(rules, end, out);
        }
        let verdict = self.head().map_or(Verdict::None, |h| h.1.verdict);
        let changed = verdict != before.map_or(Verdict::None, |b| b.1);
        let on_grid = end.rem_euclid(rules.settings.publish) == 0;
        if on_grid || changed || self.published.iter().any(|p| p.end == end) {
            self.publish(rules, walk, end, out);
        }
        // Only after the next one hangs on: the walk goes on from the tail's end.
        while self.tail.len() > 1 && self.tail.front().is_some_and(|e| e.end <= walk.close) {
            self.commit_front();
        }
    }

    fn publish(&mut self, rules: &Rules, walk: &Walk, end: Micros, out: &mut Vec<Output>) {
        // What ends at or before `closed` went out when the frontier passed it, and is final.
        if end <= self.closed {
            return;
        }
        let place = self.published.binary_search_by_key(&end, |p| p.end);
        if place.is_ok() && !walk.revising {
            return;
        }
        self.emit(rules, end, place, out);
    }

    /// Makes evaluations of closed slides final.
    fn commit(&mut self, close: Micros) {
        while self.tail.front().is_some_and(|e| e.end <= close) {
            self.commit_front();
        }
    }

    fn commit_front(&mut self) {
        if let Some(first) = self.tail.pop_front() {
            self.detector = first.detector;
            self.committed = Some((first.end, first.assessment));
        }
    }

    /// Evaluates again, without a word, what had been evaluated when the state was saved. What a late reading has
    /// changed since is left to the next walk.
    pub(super) fn rebuild_tail(&mut self, rules: &Rules) {
        let slide = rules.grid.slide;
        let before = self.dirty.unwrap_or(Micros::MAX);
        while let Some(start) = self.next_start().filter(|s| s + slide <= self.evaluated && s + slide < before) {
            self.step(rules, start + slide);
        }
        self.evaluations = 0;
    }
}

/// What holds during one walk.
struct Walk {
    /// What ends at or before this is final once the walk is done.
    close: Micros,
    /// Whether a late reading has changed something that was published.
    revising: bool,
}
