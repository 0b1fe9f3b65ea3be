//! What the threads say of themselves, for `/healthz`, the page and the gauges. Nothing decides by it except the
//! intake's patience while the copy is still being read.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fettle_wire::Micros;
use serde::Serialize;
use utoipa::ToSchema;

use crate::fleet::changelog::Feed;

/// Lag of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartitionLag {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What the group has committed; absent before the first commit.
    pub committed: Option<i64>,
    /// One above the newest committed record's offset.
    pub end: i64,
    /// Records between the two. A transaction's marker counts as one where agents write in transactions.
    pub lag: i64,
}

/// Lag of the whole group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Lag {
    /// When it was measured, microseconds UTC; absent: not yet.
    #[schema(value_type = Option<i64>)]
    pub measured_at: Option<Micros>,
    /// Why it could not be measured lately.
    pub error: Option<String>,
    /// Sum over partitions.
    pub total: i64,
    /// Each partition of each topic.
    pub partitions: Vec<PartitionLag>,
}

/// What the intake is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not begun, or between two tries.
    #[default]
    WaitingForKafka,
    /// In the group, without a partition.
    Idle,
    /// Has partitions and reads what their last owner knew.
    CatchingUp,
    /// Takes records in.
    Running,
}

/// What is shown.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// The intake.
    pub intake: Phase,
    /// Partitions this instance owns.
    #[schema(value_type = Vec<i32>)]
    pub partitions: BTreeSet<i32>,
    /// Whether the copy of the fleet has been read to its end.
    pub fleet_copied: bool,
    /// Whether the commands have been read to their end.
    pub commands_copied: bool,
    /// Whether the history has read everything that Kafka had when it began.
    pub history_copied: bool,
    /// The group's lag.
    #[serde(skip)]
    pub lag: Lag,
}

/// Shared between the threads.
#[derive(Default)]
pub struct Status {
    inner: Mutex<Shown>,
}

impl Status {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        // Each change is one assignment, so the value is whole even if a thread died.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything, at one instant.
    pub fn show(&self) -> Shown {
        self.lock().clone()
    }

    /// What the intake does, with which partitions.
    pub fn set_intake(&self, phase: Phase, partitions: BTreeSet<i32>) {
        let mut shown = self.lock();
        shown.intake = phase;
        shown.partitions = partitions;
    }

    /// Whether a copy has been read to its end.
    pub fn set_caught_up(&self, feed: Feed, caught_up: bool) {
        match feed {
            Feed::Fleet => self.lock().fleet_copied = caught_up,
            Feed::Commands => self.lock().commands_copied = caught_up,
        }
    }

    /// Whether the history has read everything that Kafka had when it began.
    pub fn set_history_copied(&self, copied: bool) {
        self.lock().history_copied = copied;
    }

    /// Whether the copy of the fleet has been read to its end.
    pub fn is_fleet_copied(&self) -> bool {
        self.lock().fleet_copied
    }

    /// The newest measurement.
    pub fn set_lag(&self, lag: Lag) {
        self.lock().lag = lag;
    }

    /// The last try to measure failed; the last measurement stays, with its time.
    pub fn set_lag_error(&self, error: String) {
        self.lock().lag.error = Some(error);
    }
}
