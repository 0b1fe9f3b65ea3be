//! How far event time has come: per channel a watermark, per asset a frontier.
//!
//! A channel's watermark is its highest event time less the disorder allowed for. The asset's frontier is the lowest
//! watermark of the channels that hold it back:
//! - a channel that has never spoken, or has been silent for `idle` of arrival time, does not hold it back;
//! - when every channel that has spoken is idle, the frontier is the highest watermark, so that the tail is evaluated;
//! - a channel more than [`MAX_LAG`] behind is one with a wrong clock (a node whose clock restarted in 2000): it does
//!   not hold the others back, and its readings are late. "Behind" is measured from the highest watermark, which the
//!   door keeps within `max_ahead` of wall time, unless wall time itself is of unknown quality: then from the lower
//!   median, so that one wild channel cannot cast out the rest.
//!
//! M1: a watermark never goes back.
//! M2: while wall time is of unknown quality, one message far ahead moves nothing; two in a row move the watermark, to
//! the lower of the two. So a single broken stamp costs only its own message, however many readings share it.
//! A frontier may fall back when an idle channel speaks again; what was evaluated or closed stays so.

use fettle_wire::Micros;
use fettle_wire::time::{DAY, EARLIEST, LATEST};
use serde::{Deserialize, Serialize};

/// How far one channel may lag before it no longer holds its asset back.
pub const MAX_LAG: Micros = DAY;

/// How far one channel has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watermark {
    /// Highest believed event time; 0 (1970, which no door lets in) before the first reading.
    highest: Micros,
    /// The time of the last reading, if it was far ahead and is not believed yet (M2); else 0.
    doubted: Micros,
    /// The message that was doubted.
    doubted_by: u64,
    /// Monotonic arrival time of the last reading.
    heard: u64,
    /// Whether it has been silent for too long.
    idle: bool,
}

impl Watermark {
    /// Takes note of a reading. `doubt`, when wall time is of unknown quality, is how far ahead one may be believed at once,
    /// and a number that stands for the message it came in. Returns whether the watermark moved or the channel woke up.
    pub fn note(&mut self, time: Micros, monotonic: u64, doubt: Option<(Micros, u64)>) -> bool {
        self.heard = self.heard.max(monotonic);
        let woke = core::mem::take(&mut self.idle);
        if self.highest == 0 {
            self.highest = time;
            return true;
        }
        let mut believed = time;
        if let Some((ahead, message)) = doubt {
            let before = core::mem::take(&mut self.doubted);
            if time > self.highest + ahead {
                if before == 0 || self.doubted_by == message {
                    (self.doubted, self.doubted_by) = (time, message);
                    return woke;
                }
                believed = before.min(time);
            }
        }
        if believed > self.highest {
            self.highest = believed;
            return true;
        }
        woke
    }

    /// The watermark; absent before the first reading.
    pub fn at(&self, disorder: Micros) -> Option<Micros> {
        (self.highest != 0).then(|| self.highest - disorder)
    }

    /// Whether the times, as read from a disk, are ones that the door lets in.
    pub(crate) fn sane(&self) -> bool {
        [self.highest, self.doubted].iter().all(|t| *t == 0 || (EARLIEST..LATEST).contains(t))
    }

    /// Whether it has spoken and holds its asset back.
    pub fn holds(&self) -> bool {
        self.highest != 0 && !self.idle
    }

    /// The monotonic arrival time at which it turns idle; absent if it holds nothing back.
    pub fn deadline(&self, idle: Micros) -> Option<u64> {
        self.holds().then(|| self.heard.saturating_add(idle.unsigned_abs()))
    }

    /// Turns it idle if its deadline has come; whether that changed anything.
    pub fn expire(&mut self, monotonic: u64, idle: Micros) -> bool {
        let due = self.deadline(idle).is_some_and(|at| at <= monotonic);
        self.idle |= due;
        due
    }
}

/// The frontier of an asset; absent before its first reading. `trusted` says whether wall time is of known quality.
pub fn frontier<'a>(
    channels: impl Iterator<Item = &'a Watermark> + Clone,
    disorder: Micros,
    trusted: bool,
) -> Option<Micros> {
    let holding = || channels.clone().filter(|w| w.holds()).filter_map(|w| w.at(disorder));
    let mut bounds: Option<(Micros, Micros)> = None;
    for at in holding() {
        bounds = Some(bounds.map_or((at, at), |(low, high)| (low.min(at), high.max(at))));
    }
    match bounds {
        None => channels.filter_map(|w| w.at(disorder)).max(),
        Some((low, high)) if high - low <= MAX_LAG => Some(low),
        Some((_, high)) => {
            let reference = if trusted {
                high
            } else {
                let mut all: Vec<_> = holding().collect();
                all.sort_unstable();
                all[(all.len() - 1) / 2]
            };
            holding().filter(|at| *at >= reference - MAX_LAG).min()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_wire::time::{HOUR, MINUTE, SECOND};

    const YEAR: Micros = 365 * DAY;

    fn at(time: Micros) -> Watermark {
        let mut mark = Watermark::default();
        mark.note(time, 0, None);
        mark
    }

    #[test]
    fn the_slowest_channel_that_speaks_holds_the_frontier() {
        let marks = [at(100 * MINUTE), at(90 * MINUTE), Watermark::default()];
        assert_eq!(frontier(marks.iter(), 5 * SECOND, true), Some(90 * MINUTE - 5 * SECOND));
        assert_eq!(frontier([Watermark::default()].iter(), 0, true), None);
    }

    #[test]
    fn an_idle_channel_holds_nothing_back_and_when_all_are_idle_the_highest_counts() {
        let mut marks = [at(100 * MINUTE), at(90 * MINUTE)];
        assert!(marks[1].expire(120, 120));
        assert_eq!(frontier(marks.iter(), 0, true), Some(100 * MINUTE));
        assert!(marks[0].expire(120, 120));
        assert!(!marks[0].expire(120, 120));
        assert_eq!(frontier(marks.iter(), 0, true), Some(100 * MINUTE));
    }

    #[test]
    fn a_channel_whose_clock_restarted_in_2000_does_not_hold_the_others_back() {
        let marks = [at(26 * YEAR), at(26 * YEAR + HOUR), at(MINUTE)];
        assert_eq!(frontier(marks.iter(), 0, true), Some(26 * YEAR));
        assert_eq!(frontier(marks.iter(), 0, false), Some(26 * YEAR));
    }

    #[test]
    fn with_an_unknown_wall_clock_one_wild_channel_does_not_cast_out_the_rest() {
        let marks = [at(HOUR), at(HOUR + 1), at(99 * YEAR)];
        assert_eq!(frontier(marks.iter(), 0, false), Some(HOUR));
    }

    #[test]
    fn one_doubted_reading_far_ahead_moves_nothing_and_two_in_a_row_do() {
        let mut mark = at(HOUR);
        assert!(!mark.note(YEAR, 1, Some((10 * MINUTE, 1))));
        assert!(mark.note(HOUR + SECOND, 2, Some((10 * MINUTE, 2))));
        assert_eq!(mark.at(0), Some(HOUR + SECOND));
        assert!(!mark.note(YEAR, 3, Some((10 * MINUTE, 3))));
        assert!(mark.note(YEAR + SECOND, 4, Some((10 * MINUTE, 4))));
        assert_eq!(mark.at(0), Some(YEAR));
    }

    #[test]
    fn readings_of_one_message_share_its_stamp_and_prove_nothing_to_one_another() {
        let mut mark = at(HOUR);
        for second in 0..4 {
            assert!(!mark.note(YEAR + second * SECOND, 1, Some((10 * MINUTE, 1))));
        }
        assert!(mark.note(HOUR + SECOND, 2, Some((10 * MINUTE, 2))));
        assert_eq!(mark.at(0), Some(HOUR + SECOND));
    }

    #[test]
    fn a_watermark_never_goes_back() {
        let mut mark = at(HOUR);
        assert!(!mark.note(MINUTE, 9, None));
        assert_eq!(mark.at(0), Some(HOUR));
    }
}
