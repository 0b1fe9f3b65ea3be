//! Which life an asset is in, what ends it, and the step that is being folded. See the header of the module.
//!
//! What somebody says ended a life is a [`Mark`] on the axis of event time: slides that end at or before it belong to the
//! life before, later ones to the next. It is pending until everything up to it is final; so the order in which readings
//! and marks arrive changes nothing, as long as a mark is not late. A late one takes effect where the first slide begins
//! that is not final yet.
//!
//! Numbers are given when a mark arrives and never again: what was told of life 3 stays about life 3.

use std::collections::VecDeque;

use fettle_wire::time::LATEST;
use fettle_wire::{EventKind, Micros};
use serde::{Deserialize, Serialize};

/// The most marks that may be pending.
const MAX_MARKS: usize = 8;
/// The most events whose ids are remembered, to take each once.
const MAX_HEARD: usize = 64;

/// What is kept of an asset's lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lives {
    /// The present life, from 1; while `over`, the one that has ended.
    number: u64,
    /// When it began, where that is known.
    began: Option<Micros>,
    /// Start of its first slide with data.
    first: Option<Micros>,
    /// Whether it has failed and nothing of the next has been seen.
    over: bool,
    /// Whether the failure was late: readings of the next life may have been taken for the last one's.
    blurred: bool,
    /// Whether nothing but data after a failure says that it began.
    by_data: bool,
    /// Where the last final mark lies.
    cut: Option<Micros>,
    /// Event time of the last mark, final or pending.
    told: Micros,
    open: Option<OpenStep>,
    /// Pending, in order.
    marks: VecDeque<Mark>,
    /// Ids of the last events.
    heard: VecDeque<u64>,
}

/// The end of a life, the beginning of one, or both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Mark {
    /// On the grid of slides.
    at: Micros,
    /// The event time that was told.
    time: Micros,
    late: bool,
    /// The life that begins with it; none does with a failure.
    begins: Option<u64>,
    /// The life that ends with it; none does where the last one had failed.
    ends: Option<u64>,
}

/// A step that is being folded (N2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OpenStep {
    index: u64,
    end: Micros,
    slides: u32,
    /// (sum of slide means, slides with a mean), in the layout's order.
    sums: Vec<(f64, u32)>,
}

/// A finished step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Passed {
    pub(crate) life: u64,
    pub(crate) index: u64,
    pub(crate) end: Micros,
    pub(crate) age: Option<f64>,
    pub(crate) slides: u32,
    /// In the layout's order, SI.
    pub(crate) values: Vec<Option<f64>>,
}

/// What an event leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noted {
    /// The life it is about: the one that ended, or the present one, or, where the last had failed, the one that begins.
    pub(crate) life: u64,
    /// The life that ended.
    pub(crate) ends: Option<u64>,
    /// The life that begins.
    pub(crate) begins: Option<u64>,
    /// Where the mark lies, if there is one.
    pub(crate) at: Option<Micros>,
    /// Whether slides after it were final.
    pub(crate) late: bool,
}

/// Seconds between two instants.
fn seconds(from: Micros, to: Micros) -> f64 {
    (to - from) as f64 * 1e-6
}

/// A life as one looks at it at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Present {
    number: u64,
    began: Option<Micros>,
    over: bool,
    blurred: bool,
    /// The mark that led here.
    since: Option<Micros>,
    /// Start of its first slide with data, if nothing else says that it began.
    by_data: Option<Micros>,
}

impl Lives {
    /// The first life that is seen of an asset, which began at `began` as far as anybody knows.
    pub(crate) fn new(began: Option<Micros>) -> Self {
        Self {
            number: 1,
            began,
            first: None,
            over: false,
            blurred: false,
            by_data: false,
            cut: None,
            told: Micros::MIN,
            open: None,
            marks: VecDeque::new(),
            heard: VecDeque::new(),
        }
    }

    /// Whether the parts, as read from a disk, fit together and to `channels`.
    pub(crate) fn consistent(&self, channels: usize) -> bool {
        let sane = |time: Micros| (-LATEST..=2 * LATEST).contains(&time);
        let times = self.began.iter().chain(&self.first).chain(&self.cut).chain(self.open.iter().map(|o| &o.end));
        self.number >= 1
            && self.number < u64::MAX / 2
            && times.copied().all(sane)
            && self.marks.iter().all(|m| sane(m.at) && sane(m.time))
            && self.marks.len() <= MAX_MARKS
            && self.heard.len() <= MAX_HEARD
            && self.open.iter().all(|o| o.sums.len() == channels && o.sums.iter().all(|s| s.0.is_finite()))
    }

    /// Whether the slide that ends at `end` belongs to another life than the one that ends at `before`, or than whatever was
    /// before where there is none.
    pub(crate) fn parts(&self, before: Option<Micros>, end: Micros) -> bool {
        let between = |at: Micros| before.is_none_or(|before| before <= at) && at < end;
        self.cut.is_some_and(between) || self.marks.iter().any(|m| between(m.at))
    }

    /// The life in which `end`, the end of a slide, lies. `first_after` gives the start of the first slide with data at or
    /// after an instant.
    fn present(&self, end: Micros, first_after: &impl Fn(Micros) -> Option<Micros>) -> Present {
        let Self { number, began, over, blurred, cut, .. } = *self;
        let by_data = self.first.filter(|_| self.by_data);
        let mut present = Present { number, began, over, blurred, since: cut, by_data };
        for mark in self.marks.iter().filter(|m| m.at < end) {
            let since = Some(mark.at);
            present = match mark.begins {
                Some(number) => {
                    let began = Some(mark.time);
                    Present { number, began, over: false, blurred: false, since, by_data: None }
                }
                None => {
                    let number = mark.ends.unwrap_or(present.number);
                    Present { number, began: None, over: true, blurred: mark.late, since, by_data: None }
                }
            };
        }
        // A mark that begins the next life says that what was measured before it is of none.
        let awaited = self.marks.iter().find(|m| m.at >= end).is_some_and(|m| m.ends.is_none());
        if present.over && !awaited {
            let first = first_after(present.since.unwrap_or(Micros::MIN)).filter(|start| *start < end);
            if let Some(start) = first {
                present.number += 1;
                present.began = (!present.blurred).then_some(start);
                (present.over, present.by_data) = (false, Some(start));
            }
        }
        present
    }

    /// Number and age, in seconds at `end`, of the life in which `end` lies.
    pub(crate) fn at(&self, end: Micros, first_after: &impl Fn(Micros) -> Option<Micros>) -> (u64, Option<f64>) {
        let Present { number, began, over, .. } = self.present(end, first_after);
        let began = began.filter(|began| !over && *began <= end);
        (number, began.map(|began| seconds(began, end)))
    }

    /// Takes an event in. `slide` is the grid's; `closed` is the end of what is final. An error says why it is none; it
    /// changed nothing then.
    pub(crate) fn note(
        &mut self,
        event: (EventKind, bool),
        id: u64,
        time: Micros,
        (slide, closed): (Micros, Micros),
        first_after: &impl Fn(Micros) -> Option<Micros>,
    ) -> Result<Noted, &'static str> {
        if self.heard.contains(&id) {
            return Err("duplicate");
        }
        let present = self.present(Micros::MAX, first_after);
        let (kind, replaced) = event;
        if kind == EventKind::MaintenanceDone && !replaced {
            self.hear(id);
            return Ok(Noted { life: present.number, ends: None, begins: None, at: None, late: false });
        }
        let place = time + (-time).rem_euclid(slide);
        let (late, at) = (place < closed, place.max(closed));
        let starts =
            kind != EventKind::Failed && present.by_data.is_some_and(|first| self.told <= time && time <= first);
        if starts && self.by_data && self.marks.is_empty() {
            // The life that began with data after a failure is this one; now it is known when.
            (self.began, self.by_data, self.told) = (Some(time), false, time);
            self.hear(id);
            return Ok(Noted { life: self.number, ends: None, begins: Some(self.number), at: None, late });
        }
        let began = present.began.or(self.first.filter(|_| self.marks.is_empty())).unwrap_or(Micros::MIN);
        if starts {
            return self.mark(Mark { at, time, late, begins: Some(present.number), ends: None }, id);
        }
        if time < began || time < self.told || (time == self.told && !present.over) {
            return Err("before_this_life");
        }
        if present.over && kind == EventKind::Failed {
            return Err("life_over");
        }
        let ends = (!present.over).then_some(present.number);
        let begins = (kind != EventKind::Failed).then(|| present.number + 1);
        self.mark(Mark { at, time, late, begins, ends }, id)
    }

    fn mark(&mut self, mark: Mark, id: u64) -> Result<Noted, &'static str> {
        if self.marks.len() >= MAX_MARKS {
            return Err("too_many_events");
        }
        let Mark { at, time, late, begins, ends } = mark;
        self.told = time;
        self.hear(id);
        self.marks.push_back(mark);
        let life = ends.or(begins).unwrap_or(self.number);
        Ok(Noted { life, ends, begins, at: Some(at), late })
    }

    fn hear(&mut self, id: u64) {
        if self.heard.len() >= MAX_HEARD {
            self.heard.pop_front();
        }
        self.heard.push_back(id);
    }

    /// Folds the final slide that starts at `start`, the next in order of time; `length` is that of a step.
    pub(crate) fn fold(
        &mut self,
        length: Micros,
        start: Micros,
        means: &[Option<f64>],
        passed: &mut impl FnMut(Passed),
    ) {
        self.reach(start, passed);
        if self.over {
            if self.marks.front().is_some_and(|m| m.ends.is_none()) {
                return;
            }
            self.begin(self.number + 1, (!self.blurred).then_some(start));
            self.by_data = true;
        }
        if self.first.is_none() {
            self.first = Some(start);
            // A date that lies after the first data is not when the machine began.
            self.began = self.began.filter(|began| *began <= start);
        }
        let begin = start - start.rem_euclid(length);
        let index = self.index(length, begin);
        let fresh = || OpenStep { index, end: begin + length, slides: 0, sums: vec![(0.0, 0); means.len()] };
        let open = self.open.get_or_insert_with(fresh);
        open.slides = open.slides.saturating_add(1);
        for ((sum, count), mean) in open.sums.iter_mut().zip(means) {
            if let Some(mean) = mean {
                *sum += mean;
                *count += 1;
            }
        }
    }

    /// Everything that ends at or before `close` is final.
    pub(crate) fn reach(&mut self, close: Micros, passed: &mut impl FnMut(Passed)) {
        while let Some(mark) = self.marks.pop_front_if(|m| m.at <= close) {
            self.finish(mark.at, passed);
            self.cut = Some(mark.at);
            match mark.begins {
                Some(number) => self.begin(number, Some(mark.time)),
                None => {
                    self.number = mark.ends.unwrap_or(self.number);
                    (self.began, self.first, self.over, self.blurred) = (None, None, true, mark.late);
                }
            }
        }
        if self.open.as_ref().is_some_and(|open| open.end <= close) {
            self.finish(Micros::MAX, passed);
        }
    }

    fn begin(&mut self, number: u64, began: Option<Micros>) {
        (self.number, self.began, self.first, self.over, self.blurred) = (number, began, None, false, false);
        self.by_data = false;
    }

    /// Finishes the open step, at its end or at `before` if that comes first.
    fn finish(&mut self, before: Micros, passed: &mut impl FnMut(Passed)) {
        let Some(OpenStep { index, end, slides, sums }) = self.open.take() else { return };
        let end = end.min(before);
        let mean = |(sum, count): (f64, u32)| (count > 0).then(|| sum / f64::from(count));
        let values = sums.into_iter().map(mean).collect();
        let age = self.began.map(|began| seconds(began, end));
        passed(Passed { life: self.number, index, end, age, slides, values });
    }

    /// The index of the step that begins at `begin`.
    fn index(&self, length: Micros, begin: Micros) -> u64 {
        let origin = self.began.or(self.first).unwrap_or(begin);
        let origin = origin - origin.rem_euclid(length);
        u64::try_from((begin - origin) / length).unwrap_or(0)
    }

    /// The layout has changed: `from` says for each channel of the new one which of the old it is.
    pub(crate) fn relayout(&mut self, from: impl Iterator<Item = Option<usize>>) {
        if let Some(open) = &mut self.open {
            let of = |at: Option<usize>| at.and_then(|at| open.sums.get(at)).copied().unwrap_or_default();
            open.sums = from.map(of).collect();
        }
    }
}
