//! The life cycle of one alarm (one condition of one asset) after ISA-18.2-2016 / IEC 62682:2014, figure "alarm state
//! transition diagram".
//!
//! ```text
//!                 raised                         acknowledged
//!    Normal ----------------> Unacknowledged ----------------> Acknowledged
//!      ^ ^                       |       ^                          |
//!      | |              returned |       | raised (next occurrence) | returned
//!      | |                       v       |                          |
//!      | +---- acknowledged -- ReturnedUnacknowledged               |
//!      +------------------------------------------------------------+
//! ```
//!
//! *Raised*: the signal was above its threshold for the whole on-delay. *Returned*: it was at or below its release
//! level for the whole off-delay; between the two levels (the deadband) an alarm stays as it is. Delays are of event
//! time, so replay and a fast-forwarded simulation give the same alarms. An unknown signal (no verdict) neither raises
//! nor returns, and interrupts a running delay: evidence must be continuous.
//!
//! L1: the occurrence grows by one with each raise and never otherwise.
//! L2: acknowledging twice changes nothing the second time; acknowledging an ended occurrence changes nothing.
//! L3: one step makes at most one transition.
//!
//! Shelving stands beside this machine ([`super::act`]). Suppression by design, out of service and latching are states of
//! the standard that it does not have.

use fettle_wire::{AlarmState, Change, Micros};
use serde::{Deserialize, Serialize};

use super::delay::Delay;

/// How an alarm is delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmParams {
    /// How long the signal must be above its threshold before the alarm is raised, microseconds of event time.
    pub on_delay: Micros,
    /// How long it must be at or below its release level before the alarm returns, microseconds of event time.
    pub off_delay: Micros,
}

/// What an alarm judges, at one instant. For a condition that holds below a threshold, negate all three.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// The quantity judged.
    pub value: f64,
    /// The condition comes to hold above this.
    pub threshold: f64,
    /// It ceases to hold at or below this; not above `threshold`.
    pub release: f64,
}

impl Signal {
    /// A signal on a ratio scale (a score): released at `(1 - deadband) * threshold`. Not for quantities with an
    /// arbitrary zero such as a temperature; give those their `release` in the quantity's own unit.
    pub fn scored(value: f64, threshold: f64, deadband: f64) -> Self {
        Self { value, threshold, release: (1.0 - deadband) * threshold }
    }
}

/// A change in an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// What changed.
    pub change: Change,
    /// The state after the change.
    pub state: AlarmState,
    /// Which occurrence, from 1.
    pub occurrence: u64,
    /// Event time at which this occurrence was raised.
    pub raised_at: Micros,
    /// Event time of this change.
    pub at: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
enum State {
    #[default]
    Normal,
    Unacknowledged,
    Acknowledged,
    ReturnedUnacknowledged,
}

/// One alarm.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Alarm {
    state: State,
    occurrence: u64,
    raised_at: Micros,
    /// Runs while the alarm may be raised (on-delay) or may return (off-delay); never both.
    delay: Delay,
}

impl Alarm {
    /// An alarm that was never raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// The signal at event time `at`; `None` if it is unknown.
    pub fn step(&mut self, at: Micros, signal: Option<Signal>, params: &AlarmParams) -> Option<Transition> {
        let Some(signal) = signal else {
            self.delay = Delay::default();
            return None;
        };
        match self.state {
            // -> Unacknowledged
            State::Normal | State::ReturnedUnacknowledged => {
                if !self.delay.passed(at, signal.value > signal.threshold, params.on_delay) {
                    return None;
                }
                self.occurrence += 1;
                self.raised_at = at;
                Some(self.enter(State::Unacknowledged, Change::Raised, at))
            }
            // -> ReturnedUnacknowledged
            State::Unacknowledged => {
                if !self.delay.passed(at, signal.value <= signal.release, params.off_delay) {
                    return None;
                }
                Some(self.enter(State::ReturnedUnacknowledged, Change::Returned, at))
            }
            // -> Normal
            State::Acknowledged => {
                if !self.delay.passed(at, signal.value <= signal.release, params.off_delay) {
                    return None;
                }
                Some(self.enter(State::Normal, Change::Returned, at))
            }
        }
    }

    /// A person has seen `occurrence`, confirmed at event time `at`. `Ok(None)` if that changes nothing (L2); an error,
    /// which no retry helps, if there was no such occurrence yet.
    pub fn acknowledge(&mut self, occurrence: u64, at: Micros) -> Result<Option<Transition>, &'static str> {
        if occurrence == 0 || occurrence > self.occurrence {
            return Err("unknown_occurrence");
        }
        if occurrence < self.occurrence {
            return Ok(None);
        }
        let delay = self.delay;
        let transition = match self.state {
            // -> Acknowledged
            State::Unacknowledged => self.enter(State::Acknowledged, Change::Acknowledged, at),
            // -> Normal
            State::ReturnedUnacknowledged => self.enter(State::Normal, Change::Acknowledged, at),
            State::Normal | State::Acknowledged => return Ok(None),
        };
        // What a person does says nothing about the machine: a running delay runs on.
        self.delay = delay;
        Ok(Some(transition))
    }

    /// Whatever the alarm was about is gone: an active occurrence returns at once, whatever the off-delay.
    pub fn withdraw(&mut self, at: Micros) -> Option<Transition> {
        match self.state {
            // -> ReturnedUnacknowledged
            State::Unacknowledged => Some(self.enter(State::ReturnedUnacknowledged, Change::Returned, at)),
            // -> Normal
            State::Acknowledged => Some(self.enter(State::Normal, Change::Returned, at)),
            State::Normal | State::ReturnedUnacknowledged => {
                self.delay = Delay::default();
                None
            }
        }
    }

    fn enter(&mut self, state: State, change: Change, at: Micros) -> Transition {
        self.state = state;
        self.delay = Delay::default();
        Transition { change, state: self.state(), occurrence: self.occurrence, raised_at: self.raised_at, at }
    }

    /// Where the alarm stands.
    pub fn state(&self) -> AlarmState {
        match self.state {
            State::Normal => AlarmState::Normal,
            State::Unacknowledged => AlarmState::Unacknowledged,
            State::Acknowledged => AlarmState::Acknowledged,
            State::ReturnedUnacknowledged => AlarmState::ReturnedUnacknowledged,
        }
    }

    /// Whether the condition holds (raised and not returned).
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Unacknowledged | State::Acknowledged)
    }

    /// The number of the latest occurrence; 0 before the first.
    pub fn occurrence(&self) -> u64 {
        self.occurrence
    }

    /// Event time at which the latest occurrence was raised; meaningless before the first.
    pub fn raised_at(&self) -> Micros {
        self.raised_at
    }
}
