//! Evaluation: the walk over the slides that the frontier has passed.
//!
//! Two stages. The committed detector has seen closed slides only; a second one, ahead of it, has also seen the evaluated
//! slides that are not closed yet. Each slide thus costs two steps of a detector and no copy of one. A late reading into
//! an evaluated slide throws the one ahead away: it is made again from the committed one and the open slides up to there,
//! and the walk goes on; so what becomes final is computed from all readings in the order of event time (E3). A slide
//! without readings is not visited, so the walk costs what there is, not how far it is (a gap of decades is one step).
//! Where a life ends between two slides (`life`), the later one is judged by a new detector, here and there.

use fettle_wire::{Micros, Verdict};

use super::asset::{Ahead, Asset};
use super::{Output, Rules};
use crate::assess::Assessment;
use crate::detect::Detector;
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
        if let Some(dirty) = revising
            && self.ahead.as_ref().is_some_and(|ahead| ahead.end >= dirty)
        {
            self.ahead = None;
            self.catch_up(rules, dirty);
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
        self.commit(rules, close);
        self.live(rules, close, out);
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
        let provisional = self.ahead.as_ref().map(|ahead| (ahead.end, &ahead.assessment));
        provisional.or_else(|| self.committed.as_ref().map(|c| (c.0, &c.1)))
    }

    /// The detector that has seen most.
    pub(super) fn latest(&self) -> &Detector {
        self.ahead.as_ref().and_then(|ahead| ahead.detector.as_deref()).unwrap_or(&self.detector)
    }

    /// The start of the first slide with readings after the evaluation of the slide that ends at `end`.
    pub(super) fn start_after(&self, end: Option<Micros>) -> Option<Micros> {
        let from = end.map_or(self.closed, |end| end.max(self.closed));
        self.channels.iter().filter_map(|c| c.queue.next_start(from)).min()
    }

    /// The start of the first slide with readings after the last evaluation.
    fn next_start(&self) -> Option<Micros> {
        self.start_after(self.head().map(|head| head.0))
    }

    /// Gathers what a detector is shown of the slide that ends at `end`.
    pub(super) fn gather(&mut self, rules: &Rules, end: Micros) {
        let start = end - rules.grid.slide;
        self.scratch.clear();
        self.scratch.extend(self.channels.iter_mut().map(|c| c.queue.slide(&rules.grid, start).map(|s| s.mean)));
    }

    /// Goes ahead by the slide that ends at `end`, the first after the last evaluation.
    fn step_ahead(&mut self, rules: &Rules, end: Micros) {
        let before = self.head().map(|head| head.0);
        let mut detector = self.detector_ahead(rules);
        if self.lives.parts(before, end) {
            *detector = Detector::new(&self.layout, &rules.detector);
        }
        self.gather(rules, end);
        let assessment = detector.step(end, &self.layout, &rules.detector, &self.scratch);
        self.evaluations += 1;
        self.ahead = Some(Ahead { end, assessment, detector: Some(detector) });
    }

    /// The detector ahead, taken out, or one made for that place.
    fn detector_ahead(&mut self, rules: &Rules) -> Box<Detector> {
        let Some(ahead) = &mut self.ahead else { return Box::new(self.detector.clone()) };
        if let Some(detector) = ahead.detector.take() {
            return detector;
        }
        let (reached, mut end) = (ahead.end, self.committed.as_ref().map(|c| c.0));
        let mut detector = Box::new(self.detector.clone());
        while let Some(next) = self.start_after(end).map(|s| s + rules.grid.slide).filter(|next| *next <= reached) {
            if self.lives.parts(end, next) {
                *detector = Detector::new(&self.layout, &rules.detector);
            }
            self.gather(rules, next);
            detector.step(next, &self.layout, &rules.detector, &self.scratch);
            end = Some(next);
        }
        detector
    }

    fn visit(&mut self, rules: &Rules, walk: &Walk, end: Micros, out: &mut Vec<Output>) {
        let before = self.head().map(|(at, assessment)| (at, assessment.verdict));
        if let Some((at, _)) = before {
            let period = ceil(at, rules.settings.publish);
            if period > at && period < end {
                self.publish(rules, walk, period, out);
            }
        }
        if end > walk.close {
            self.settle(rules, walk.close);
        }
        self.step_ahead(rules, end);
        if end > self.alarmed {
            if self.lives.parts(Some(self.alarmed), end) {
                self.withdraw_alarms(end, out);
            }
            self.alarmed = end;
            self.judge(rules, end, out);
        }
        let verdict = self.head().map_or(Verdict::None, |h| h.1.verdict);
        let changed = verdict != before.map_or(Verdict::None, |b| b.1);
        let on_grid = end.rem_euclid(rules.settings.publish) == 0;
        if on_grid || changed || self.published.iter().any(|p| p.end == end) {
            self.publish(rules, walk, end, out);
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

    /// Makes evaluations of closed slides final: those that end at or before `close`.
    fn commit(&mut self, rules: &Rules, close: Micros) {
        self.settle(rules, close);
        if self.ahead.is_none() {
            return;
        }
        let was_frozen = self.detector.is_frozen();
        let next = |asset: &Self| asset.start_after(asset.committed.as_ref().map(|c| c.0));
        while let Some(end) = next(self).map(|start| start + rules.grid.slide).filter(|end| *end <= close) {
            if self.lives.parts(self.committed.as_ref().map(|c| c.0), end) {
                self.detector = Detector::new(&self.layout, &rules.detector);
            }
            self.gather(rules, end);
            let assessment = self.detector.step(end, &self.layout, &rules.detector, &self.scratch);
            self.committed = Some((end, assessment));
        }
        if was_frozen {
            return;
        }
        // While it learns, the detector ahead is not worth its room. When both have frozen the same baseline, one made
        // again from the committed one shares it.
        if let Some(ahead) = &mut self.ahead {
            ahead.detector = None;
        }
        if self.detector.is_frozen() {
            let detector = self.detector_ahead(rules);
            if let Some(ahead) = &mut self.ahead {
                ahead.detector = Some(detector);
            }
        }
    }

    /// If the last provisional evaluation is of a slide that ends at or before `close`, it is final.
    fn settle(&mut self, rules: &Rules, close: Micros) {
        if self.ahead.as_ref().is_some_and(|ahead| ahead.end <= close) {
            let detector = self.detector_ahead(rules);
            self.committed = self.ahead.take().map(|ahead| (ahead.end, ahead.assessment));
            self.detector = *detector;
        }
    }

    /// Evaluates again, without a word, the slides that had been evaluated and end before `before`.
    pub(super) fn catch_up(&mut self, rules: &Rules, before: Micros) {
        let slide = rules.grid.slide;
        let before = before.min(self.dirty.unwrap_or(Micros::MAX));
        while let Some(start) = self.next_start().filter(|s| s + slide <= self.evaluated && s + slide < before) {
            self.step_ahead(rules, start + slide);
        }
    }
}

/// What holds during one walk.
struct Walk {
    /// What ends at or before this is final once the walk is done.
    close: Micros,
    /// Whether a late reading has changed something that was published.
    revising: bool,
}
