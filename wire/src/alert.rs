//! An alert: the Kafka record that tells of a change in an alarm (ISA-18.2 / IEC 62682). The alarm itself lives in the
//! agent.
//!
//! One alert per change, on `fettle.alerts`, first out of the outbox. It carries its evidence (contributions, score,
//! flags), so that a person can judge it where the agent cannot be reached. `(asset, condition, occurrence)` names the
//! alarm; `state` is what holds after `change`, so the latest alert says all about the alarm and an earlier one may be
//! skipped. All times are event time, all values SI of the unit beside them, no number is NaN or infinite.
//!
//! Must never be taken for the alarm: a reader that wants it changed sends a command and waits for the alert that names it.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::health::Contribution;
use crate::id::Name;
use crate::time::Micros;

/// Priority of an alarm, ISA-18.2 clause on prioritisation. Ordered: `Low < Critical`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Look at it when convenient.
    Low,
    /// Plan an action.
    Medium,
    /// Act soon.
    High,
    /// Act now.
    Critical,
}

/// Where an alarm stands in its life cycle, ISA-18.2 figure "alarm state transition".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// The condition does not hold and nobody needs to know.
    Normal,
    /// The condition holds; nobody has acknowledged.
    Unacknowledged,
    /// The condition holds; somebody has acknowledged.
    Acknowledged,
    /// The condition went away before anybody acknowledged.
    ReturnedUnacknowledged,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The condition came to hold.
    Raised,
    /// The condition ceased to hold.
    Returned,
    /// A person acknowledged.
    Acknowledged,
    /// A person shelved the alarm until an instant: it goes on, and annunciates nothing.
    Shelved,
    /// The shelf ended, by a person or by time.
    Unshelved,
    /// A person wrote a comment.
    Commented,
    /// A person said what the alarm was.
    Labelled,
}

/// What an alarm turned out to be: feedback that later learning rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// The machine did have what the alarm said.
    Confirmed,
    /// The machine was healthy.
    FalseAlarm,
    /// Maintenance has been done.
    MaintenanceDone,
}

/// The body of a record on `fettle.alerts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The asset.
    pub asset: Name,
    /// Which condition: `anomaly`, `limit.<channel>` for a limit exceeded, or `life`: what somebody said happened to the
    /// machine itself, which is no alarm (always `labelled` and `normal`).
    pub condition: String,
    /// Counts this condition's alarms on this asset, from 1; of `life`, which life.
    pub occurrence: u64,
    /// What changed.
    pub change: Change,
    /// The state after the change.
    pub state: AlarmState,
    /// The alarm's priority.
    pub priority: Priority,
    /// Event time at which the alarm was raised.
    pub raised_at: Micros,
    /// Event time of this change.
    pub at: Micros,
    /// How unusual: the statistic that was judged (Mahalanobis T2 for `anomaly`, SI value for a limit).
    pub score: f64,
    /// Tail probability of `score` when healthy, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// One plain sentence for a person.
    pub message: String,
    /// Which channels it rests on, largest share first.
    pub contributions: Vec<Contribution>,
    /// Data-quality flags of the inputs (`imputed:<channel>`, `restamped`, ..).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// While shelved, the event time at which the shelf ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shelved_until: Option<Micros>,
    /// What a person wrote, with a change of `commented`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What a person last said this occurrence was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// Who asked for the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The command, or the event of the machine, that this change confirms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn priorities_are_ordered_from_low_to_critical() {
        use Priority::{Critical, High, Low, Medium};
        assert!(Low < Medium && Medium < High && High < Critical);
    }

    #[test]
    fn words_are_written_in_snake_case() {
        assert_eq!(json::encode(&AlarmState::ReturnedUnacknowledged).unwrap(), "\"returned_unacknowledged\"");
        assert_eq!(json::encode(&Change::Raised).unwrap(), "\"raised\"");
        assert_eq!(json::encode(&Priority::Critical).unwrap(), "\"critical\"");
    }
}
