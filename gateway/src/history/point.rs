//! A point of the history: what one record said, or what several records of a minute or an hour said together. Pure.
//!
//! Folding points is exact in counts, least, largest and last; means are weighted by count in double precision.

use fettle_wire::{Micros, time};

/// How finely time is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// One point for each record.
    Raw,
    /// One point a minute.
    Minute,
    /// One point an hour.
    Hour,
}

impl Resolution {
    /// From fine to coarse.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Minute, Self::Hour];

    /// The name in the API, metrics and configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Minute => "1min",
            Self::Hour => "1h",
        }
    }

    /// Event time that one value of the store covers.
    pub const fn span(self) -> Micros {
        match self {
            Self::Raw => time::HOUR,
            Self::Minute => 2 * time::HOUR,
            Self::Hour => 2 * time::DAY,
        }
    }

    /// Width of a point; 0 for records.
    pub const fn width(self) -> Micros {
        match self {
            Self::Raw => 0,
            Self::Minute => time::MINUTE,
            Self::Hour => time::HOUR,
        }
    }
}

/// The largest multiple of `step` that is not above `at`.
pub const fn floor(at: Micros, step: Micros) -> Micros {
    at.saturating_sub(at.rem_euclid(step))
}

/// One series over one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stat {
    /// Records that had a value.
    pub count: u32,
    /// Arithmetic mean.
    pub mean: f32,
    /// Least.
    pub min: f32,
    /// Largest.
    pub max: f32,
    /// Of the newest record.
    pub last: f32,
}

impl Stat {
    /// Of one value.
    pub const fn one(value: f32) -> Self {
        Self { count: 1, mean: value, min: value, max: value, last: value }
    }
}

/// What was said of an asset at one instant, or over a minute or an hour.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Point {
    /// Records: the window's end. Minutes and hours: their start.
    pub at: Micros,
    /// The newest window's end among its records.
    pub last_at: Micros,
    /// Of a record: its revision; else 0.
    pub revision: u32,
    /// Records in it.
    pub records: u32,
    /// Of those, with the verdict "abnormal".
    pub abnormal: u32,
    /// Of those, without a verdict.
    pub undecided: u32,
    /// Numbers of notes (data-quality flags and reasons), ascending.
    pub notes: Vec<u16>,
    /// By the number of the series.
    pub values: Vec<Option<Stat>>,
}

impl Point {
    /// Folds a later point into this one. Which of two is later only decides on `last`.
    pub fn fold(&mut self, later: &Self) {
        self.last_at = self.last_at.max(later.last_at);
        self.revision = 0;
        self.records = self.records.saturating_add(later.records);
        self.abnormal = self.abnormal.saturating_add(later.abnormal);
        self.undecided = self.undecided.saturating_add(later.undecided);
        for note in &later.notes {
            if let Err(at) = self.notes.binary_search(note) {
                self.notes.insert(at, *note);
            }
        }
        if self.values.len() < later.values.len() {
            self.values.resize(later.values.len(), None);
        }
        for (mine, other) in self.values.iter_mut().zip(&later.values) {
            *mine = match (*mine, *other) {
                (Some(a), Some(b)) => Some(fold(a, b)),
                (a, None) => a,
                (None, b) => b,
            };
        }
    }

    /// The points folded into one that begins at `at`; `None` of none. They are in ascending order.
    pub fn of<'a>(at: Micros, points: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut points = points.into_iter();
        let mut all = points.next()?.clone();
        (all.at, all.revision) = (at, 0);
        for point in points {
            all.fold(point);
        }
        Some(all)
    }
}

fn fold(a: Stat, b: Stat) -> Stat {
    let (n, m) = (f64::from(a.count), f64::from(b.count));
    let mean = (f64::from(a.mean) * n + f64::from(b.mean) * m) / (n + m).max(1.0);
    Stat {
        count: a.count.saturating_add(b.count),
        mean: mean as f32,
        min: a.min.min(b.min),
        max: a.max.max(b.max),
        last: b.last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: Micros, value: f32) -> Point {
        Point { at, last_at: at, records: 1, values: vec![Some(Stat::one(value)), None], ..Point::default() }
    }

    #[test]
    fn folding_keeps_the_extremes_the_mean_and_the_last() {
        let points = [point(1, 4.0), point(2, -2.0), point(3, 1.0)];
        let all = Point::of(0, &points).unwrap();
        assert_eq!((all.at, all.last_at, all.records), (0, 3, 3));
        assert_eq!(all.values[0], Some(Stat { count: 3, mean: 1.0, min: -2.0, max: 4.0, last: 1.0 }));
        assert_eq!(all.values[1], None);
    }

    #[test]
    fn a_series_that_comes_later_is_kept() {
        let mut first = point(1, 4.0);
        let mut later = point(2, 1.0);
        later.values.push(Some(Stat::one(7.0)));
        later.notes = vec![3];
        first.notes = vec![5];
        first.fold(&later);
        assert_eq!(first.values[2], Some(Stat::one(7.0)));
        assert_eq!(first.notes, [3, 5]);
    }

    #[test]
    fn instants_before_1970_are_rounded_down_too() {
        assert_eq!(floor(-1, 60), -60);
        assert_eq!(floor(60, 60), 60);
        assert_eq!(floor(i64::MIN, 7), i64::MIN, "the least instant stays where it is");
    }
}
