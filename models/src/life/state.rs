//! Which life an asset is in, and the step that is being folded. See the header of the module.

use fettle_wire::Micros;
use fettle_wire::time::LATEST;
use serde::{Deserialize, Serialize};

/// What is kept of an asset's lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lives {
    /// The present life, from 1.
    number: u64,
    /// When it began, where that is known.
    began: Option<Micros>,
    /// Start of its first slide with data.
    first: Option<Micros>,
    open: Option<OpenStep>,
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

/// What has passed for good.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Passed {
    /// A step is finished.
    Step {
        life: u64,
        index: u64,
        end: Micros,
        age: Option<f64>,
        slides: u32,
        /// In the layout's order, SI.
        values: Vec<Option<f64>>,
    },
}

/// Seconds between two instants.
fn seconds(from: Micros, to: Micros) -> f64 {
    (to - from) as f64 * 1e-6
}

impl Lives {
    /// The first life that is seen of an asset, which began at `began` as far as anybody knows.
    pub(crate) fn new(began: Option<Micros>) -> Self {
        Self { number: 1, began, first: None, open: None }
    }

    /// Whether the parts, as read from a disk, fit together and to `channels`.
    pub(crate) fn consistent(&self, channels: usize) -> bool {
        let sane = |time: &Micros| (-LATEST..=2 * LATEST).contains(time);
        let times = self.began.iter().chain(&self.first).chain(self.open.iter().map(|o| &o.end));
        times.into_iter().all(sane)
            && self.open.iter().all(|o| o.sums.len() == channels && o.sums.iter().all(|s| s.0.is_finite()))
    }

    /// Folds the final slide that starts at `start`, the next in order of time; `length` is that of a step.
    pub(crate) fn fold(
        &mut self,
        length: Micros,
        start: Micros,
        means: &[Option<f64>],
        passed: &mut impl FnMut(Passed),
    ) {
        if self.open.as_ref().is_some_and(|open| open.end <= start) {
            self.finish(Micros::MAX, passed);
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
        if self.open.as_ref().is_some_and(|open| open.end <= close) {
            self.finish(Micros::MAX, passed);
        }
    }

    /// Finishes the open step, at its end or at `before` if that comes first.
    fn finish(&mut self, before: Micros, passed: &mut impl FnMut(Passed)) {
        let Some(OpenStep { index, end, slides, sums }) = self.open.take() else { return };
        let end = end.min(before);
        let mean = |(sum, count): (f64, u32)| (count > 0).then(|| sum / f64::from(count));
        let values = sums.into_iter().map(mean).collect();
        let age = self.began.map(|began| seconds(began, end));
        passed(Passed::Step { life: self.number, index, end, age, slides, values });
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
