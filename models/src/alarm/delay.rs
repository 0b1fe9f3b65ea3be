//! A delay in event time: how long something has held without interruption.

use fettle_wire::Micros;
use serde::{Deserialize, Serialize};

/// Since when something holds, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Delay {
    since: Option<Micros>,
}

impl Delay {
    /// Takes note that it holds (`true`) or does not at `at`, and says whether it has held for `length`, in
    /// microseconds. A length of 0 has passed at once. An instant before the start counts as the start.
    pub(super) fn passed(&mut self, at: Micros, holds: bool, length: Micros) -> bool {
        if !holds {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(at);
        at.saturating_sub(since) >= length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_starts_the_delay_anew() {
        let mut delay = Delay::default();
        assert!(!delay.passed(0, true, 10));
        assert!(!delay.passed(9, true, 10));
        assert!(!delay.passed(10, false, 10));
        assert!(!delay.passed(11, true, 10));
        assert!(delay.passed(21, true, 10));
    }

    #[test]
    fn a_delay_of_zero_has_passed_at_once() {
        assert!(Delay::default().passed(5, true, 0));
    }

    #[test]
    fn time_at_its_ends_does_not_overflow() {
        let mut delay = Delay::default();
        assert!(!delay.passed(Micros::MIN, true, 1));
        assert!(delay.passed(Micros::MAX, true, 1));
        assert!(!delay.passed(Micros::MIN, true, 1), "back before the start nothing has passed");
    }
}
