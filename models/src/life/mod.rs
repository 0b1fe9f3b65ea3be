//! The lives of an asset, and the steps in which a life is told to what learns and foretells its end.
//!
//! Place in the flow: slides that are final -> [`Lives`] -> a [`LifeStep`] each `rul_step` of event time -> prognosis and
//! the local history. A step is the mean over its slides of each channel's slide mean: what a learned prognosis sees
//! (`crate::predict::learned`) and what it is trained on are the same numbers.
//!
//! N1: a step is a function of the final slides in it and of where the life began, never of the order of arrival (E3).
//! N2: what is kept of an open step is one sum and one count for each channel, however long it is.
//! Lives end and begin by what somebody says ([`Happened`]): a failure ends one, and the next begins with a replacement or
//! with the first data after it; a replacement ends one and begins the next at once, and so does maintenance that
//! replaced components. A new life has a new baseline, and alarms of the last one return.
//!
//! N3: steps of a life come in order of time; one without any data is not told, but counts: the next one's index says so.
//! It must never: fill a gap, read a clock, or know what a model does with a step.

pub mod file;
mod state;

use fettle_wire::{EventKind, Micros, Name, Unit};

pub(crate) use state::{Lives, Noted, Passed};

/// What somebody says happened to an asset itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happened<'a> {
    /// What.
    pub kind: EventKind,
    /// When, event time; without it, when it reached the agent.
    pub at: Option<Micros>,
    /// Components that were replaced. Maintenance that replaced none ends no life.
    pub components: &'a [String],
    /// What else was said.
    pub note: Option<&'a str>,
    /// Who says it.
    pub by: Option<&'a str>,
    /// The command or the event; each is taken once.
    pub id: &'a str,
}

/// What such an event led to.
#[derive(Debug, Clone, PartialEq)]
pub struct LifeEvent {
    /// The asset.
    pub asset: Name,
    /// What happened.
    pub kind: EventKind,
    /// When, event time.
    pub at: Micros,
    /// The life it is about: the one that ended or the present one; where the last had failed, the one that begins.
    pub life: u64,
    /// The life that ended.
    pub ends: Option<u64>,
    /// The life that begins; after a failure, one also begins with the next data.
    pub begins: Option<u64>,
    /// Whether what was measured after `at` had been taken for the life before.
    pub late: bool,
    /// Components that were replaced.
    pub components: Vec<String>,
    /// What else was said.
    pub note: Option<String>,
    /// Who said it.
    pub by: Option<String>,
}

/// One finished step of a life.
#[derive(Debug, Clone, PartialEq)]
pub struct LifeStep {
    /// The asset.
    pub asset: Name,
    /// Which of its lives, from 1.
    pub life: u64,
    /// Steps since the life began, or since its first data where the beginning is not known; 0 is the first. Steps lie on
    /// the grid of multiples of `length`, so the first and the last of a life may be cut short.
    pub index: u64,
    /// Length of a step, microseconds.
    pub length: Micros,
    /// Event time at which the step ended.
    pub end: Micros,
    /// Seconds from the beginning of the life to `end`; absent where the beginning is not known.
    pub age: Option<f64>,
    /// Slides with data in it, at least 1.
    pub slides: u32,
    /// The asset's channels in the order of their names, with the unit whose SI `values` are in.
    pub channels: Vec<(Name, Unit)>,
    /// For each channel the mean over the step's slides of the slide's mean, SI; absent if it had no reading.
    pub values: Vec<Option<f64>>,
}

impl LifeStep {
    /// Time in steps, as a learned prognosis counts it: ascends by 1 from step to step, by more over silent ones.
    pub fn time(&self) -> f64 {
        self.index as f64
    }

    /// When the life began on the same scale as [`Self::time`]; absent where that is not known.
    pub fn began(&self) -> Option<f64> {
        self.age.map(|age| self.time() - age * 1e6 / self.length as f64)
    }
}
