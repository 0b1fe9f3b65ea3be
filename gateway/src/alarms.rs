//! Alarms as people see them: what the agent said, what was asked for and is not confirmed, and which comes first.
//! Pure.

use fettle_wire::{AlarmState, Change, Command, Contribution, Micros, Name, Priority};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::schema;
use crate::commands::is_unacknowledged;
use crate::fleet::asset::AlarmRecord;

/// A request that no alert has confirmed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// Who asked.
    pub person: String,
    /// When, microseconds UTC.
    #[schema(value_type = i64)]
    pub issued: Micros,
    /// Until when the agent will accept it.
    #[schema(value_type = i64)]
    pub expires: Micros,
    /// The command's id.
    pub command: String,
    /// Whether that time is over without a confirmation: it may be asked for again.
    pub expired: bool,
}

impl Pending {
    /// Of a command that was sent.
    pub fn of(command: &Command, now: Micros) -> Self {
        Self {
            person: command.issuer.clone(),
            issued: command.issued,
            expires: command.expires,
            command: command.id.clone(),
            expired: command.expires <= now,
        }
    }
}

/// One alarm.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlarmView {
    /// The site.
    #[schema(value_type = String)]
    pub site: Name,
    /// The agent that owns it.
    #[schema(value_type = String)]
    pub agent: Name,
    /// The asset.
    #[schema(value_type = String)]
    pub asset: Name,
    /// The condition.
    pub condition: String,
    /// Which occurrence of the condition.
    pub occurrence: u64,
    /// Whether somebody still has something to do or to see.
    pub open: bool,
    /// The state.
    #[schema(value_type = schema::AlarmState)]
    pub state: AlarmState,
    /// What changed last.
    #[schema(value_type = schema::Change)]
    pub change: Change,
    /// The priority.
    #[schema(value_type = schema::Priority)]
    pub priority: Priority,
    /// When it was raised, event time, microseconds UTC.
    #[schema(value_type = i64)]
    pub raised_at: Micros,
    /// When it changed last.
    #[schema(value_type = i64)]
    pub at: Micros,
    /// The statistic.
    pub score: f64,
    /// Its tail probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// One sentence.
    pub message: String,
    /// What it rests on.
    #[schema(value_type = Vec<schema::Contribution>)]
    pub contributions: Vec<Contribution>,
    /// Data quality.
    pub flags: Vec<String>,
    /// Who acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// The acknowledgement on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Alerts with a known id and another content.
    pub conflicts: u64,
}

/// Whether somebody still has something to do or to see.
pub const fn is_open(state: AlarmState) -> bool {
    !matches!(state, AlarmState::Normal)
}

/// The view of one alarm; `asked` is the acknowledgement that was sent for this occurrence, if any.
pub fn view(record: AlarmRecord, asked: Option<&Command>, now: Micros) -> AlarmView {
    let AlarmRecord { origin, alert, conflicts, .. } = record;
    let waits = is_unacknowledged(alert.state);
    AlarmView {
        site: origin.site,
        agent: origin.agent,
        asset: alert.asset,
        condition: alert.condition,
        occurrence: alert.occurrence,
        open: is_open(alert.state),
        state: alert.state,
        change: alert.change,
        priority: alert.priority,
        raised_at: alert.raised_at,
        at: alert.at,
        score: alert.score,
        p_value: alert.p_value,
        message: alert.message,
        contributions: alert.contributions,
        flags: alert.flags,
        acknowledged_by: alert.by,
        pending: asked.filter(|_| waits).map(|command| Pending::of(command, now)),
        conflicts,
    }
}

/// Most urgent first.
pub fn sort(alarms: &mut [AlarmView]) {
    alarms.sort_by_cached_key(AlarmView::urgency);
}

impl AlarmView {
    /// Sorts alarms: open, unacknowledged, higher priority, raised earlier; then by name, so that the order is total.
    pub fn urgency(&self) -> String {
        let (open, waits) = (u8::from(!self.open), u8::from(!is_unacknowledged(self.state)));
        let (priority, raised) = (3 - self.priority as u8, (self.raised_at as u64) ^ (1 << 63));
        let Self { site, asset, condition, .. } = self;
        format!("{open}{waits}{priority}-{raised:020}-{site}/{asset}|{condition}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{Decision, acknowledge};
    use crate::fleet::asset::Origin;
    use crate::intake::record::tests::{alert, name};

    fn record(asset: &str, change: Change, priority: Priority) -> AlarmRecord {
        let mut alert = alert(asset, "anomaly", 1, change);
        alert.priority = priority;
        AlarmRecord {
            origin: Origin { site: name("plant-a"), agent: name("gw-1"), incarnation: "0000000000000001".into() },
            alert,
            seen: 0,
            recent: Vec::new(),
            conflicts: 0,
        }
    }

    #[test]
    fn an_acknowledgement_is_pending_until_the_agents_alert_says_who_acknowledged() {
        let raised = record("pump", Change::Raised, Priority::High);
        let Decision::Send(command) = acknowledge(Some(&raised), None, "ada", 1, 10) else { panic!("not sent") };
        let pending = view(raised, Some(&command), 20);
        assert_eq!(pending.pending.as_ref().map(|p| (p.person.as_str(), p.expired)), Some(("ada", false)));
        assert_eq!(pending.acknowledged_by, None);
        let mut confirmed = record("pump", Change::Acknowledged, Priority::High);
        confirmed.alert.by = Some("ada".into());
        let confirmed = view(confirmed, Some(&command), 30);
        assert_eq!((confirmed.pending, confirmed.acknowledged_by.as_deref()), (None, Some("ada")));
    }

    #[test]
    fn unacknowledged_alarms_of_high_priority_come_first_and_ended_ones_last() {
        let mut ended = record("a", Change::Returned, Priority::Critical);
        ended.alert.state = AlarmState::Normal;
        let mut alarms: Vec<AlarmView> = [
            ended,
            record("b", Change::Acknowledged, Priority::Critical),
            record("c", Change::Raised, Priority::Low),
            record("d", Change::Raised, Priority::High),
        ]
        .map(|r| view(r, None, 0))
        .into();
        sort(&mut alarms);
        let order: Vec<&str> = alarms.iter().map(|a| &*a.asset).collect();
        assert_eq!(order, ["d", "c", "b", "a"]);
    }
}
