//! Alarms as people see them: what the agent said, what was asked for and is not confirmed, and which comes first.
//! Pure.

use fettle_wire::{AlarmState, Change, Command, Contribution, Label, Micros, Name, Priority};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::schema;
use crate::commands::{Subject, is_unacknowledged, subject};
use crate::fleet::asset::AlarmRecord;
use crate::requests::is_waiting;

/// A request that no alert has confirmed yet, or an adoption that no account has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// What for: `acknowledge`, `shelve`, `unshelve`, `comment`, `label`, `adopt`, and of a machine itself `failed`,
    /// `replaced`, `maintenance_done`.
    pub what: &'static str,
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
    /// Of a shelf: until when, event time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub until: Option<Micros>,
    /// Of a comment: what it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Of a label: which.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Label>)]
    pub label: Option<Label>,
}

impl Pending {
    /// Of a command that was sent.
    pub fn of(command: &Command, now: Micros) -> Self {
        let Subject { what, until, text, label, .. } = subject(&command.request);
        Self {
            what,
            person: command.issuer.clone(),
            issued: command.issued,
            expires: command.expires,
            command: command.id.clone(),
            expired: command.expires <= now,
            until,
            text: text.map(str::to_owned),
            label,
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
    /// What else was asked for and is on its way: shelf, end of it, comments, label.
    pub requests: Vec<Pending>,
    /// While shelved, until when, event time: it goes on, and calls nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub shelved_until: Option<Micros>,
    /// The comment that was the last change; earlier ones are in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What a person last said this occurrence was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Label>)]
    pub label: Option<Label>,
    /// Alerts with a known id and another content.
    pub conflicts: u64,
}

/// Whether somebody still has something to do or to see.
pub const fn is_open(state: AlarmState) -> bool {
    !matches!(state, AlarmState::Normal)
}

/// The view of one alarm; `sent` are the commands about its asset that are kept.
pub fn view(record: AlarmRecord, sent: &[Command], now: Micros) -> AlarmView {
    let waiting = sent.iter().filter(|command| is_waiting(&record, command)).map(|command| Pending::of(command, now));
    // The newest of a kind says it all, except for comments; what expired is said as long as nobody asked anew.
    let (acknowledgements, mut requests): (Vec<_>, Vec<_>) = waiting.partition(|asked| asked.what == "acknowledge");
    requests.sort_by(|a, b| (a.issued, &a.command).cmp(&(b.issued, &b.command)));
    let acknowledged_by = record.acknowledger();
    let AlarmRecord { origin, alert, conflicts, .. } = record;
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
        acknowledged_by,
        pending: acknowledgements.into_iter().max_by_key(|asked| asked.issued),
        requests,
        shelved_until: alert.shelved_until,
        comment: alert.comment,
        label: alert.label,
        conflicts,
    }
}

/// Most urgent first.
pub fn sort(alarms: &mut [AlarmView]) {
    alarms.sort_by_cached_key(AlarmView::urgency);
}

impl AlarmView {
    /// Whether it calls for a person: unacknowledged and not shelved.
    pub const fn calls(&self) -> bool {
        is_unacknowledged(self.state) && self.shelved_until.is_none()
    }

    /// Sorts alarms: not shelved, open, unacknowledged, higher priority, raised earlier; then by name, so that the order
    /// is total.
    pub fn urgency(&self) -> String {
        let (shelved, open) = (u8::from(self.shelved_until.is_some()), u8::from(!self.open));
        let waits = u8::from(!is_unacknowledged(self.state));
        let (priority, raised) = (3 - self.priority as u8, (self.raised_at as u64) ^ (1 << 63));
        let Self { site, asset, condition, .. } = self;
        format!("{shelved}{open}{waits}{priority}-{raised:020}-{site}/{asset}|{condition}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::asset::Origin;
    use crate::intake::record::tests::{alert, name};
    use crate::requests::{Ask, Decision, decide};

    fn record(asset: &str, change: Change, priority: Priority) -> AlarmRecord {
        let mut alert = alert(asset, "anomaly", 1, change);
        alert.priority = priority;
        let origin = Origin { site: name("plant-a"), agent: name("gw-1"), incarnation: "0000000000000001".into() };
        AlarmRecord::new(origin, alert, 0, Vec::new())
    }

    fn sent(record: &AlarmRecord, ask: &Ask) -> Command {
        match decide(Some(record), &[], ask, "ada", 10) {
            Decision::Send(command) => command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_acknowledgement_is_pending_until_the_agents_alert_says_who_acknowledged() {
        let mut alarm = record("pump", Change::Raised, Priority::High);
        let command = [sent(&alarm, &Ask::Acknowledge { occurrence: 1 })];
        let pending = view(alarm.clone(), &command, 20);
        assert_eq!(pending.pending.as_ref().map(|p| (p.person.as_str(), p.expired)), Some(("ada", false)));
        assert_eq!(pending.acknowledged_by, None);
        let mut confirmed = alert("pump", "anomaly", 1, Change::Acknowledged);
        (confirmed.by, confirmed.command) = (Some("ada".into()), Some(command[0].id.clone()));
        alarm.tell(alarm.origin.clone(), confirmed, 30);
        let told = view(alarm.clone(), &command, 30);
        assert_eq!((told.pending, told.acknowledged_by.as_deref()), (None, Some("ada")));
        let mut remark = alert("pump", "anomaly", 1, Change::Commented);
        (remark.by, remark.comment) = (Some("bob".into()), Some("bearing ordered".into()));
        alarm.tell(alarm.origin.clone(), remark, 40);
        let told = view(alarm.clone(), &command, 40);
        assert_eq!(told.acknowledged_by.as_deref(), Some("ada"), "who commented has not acknowledged");
        assert_eq!(told.comment.as_deref(), Some("bearing ordered"));
        alarm.tell(alarm.origin.clone(), alert("pump", "anomaly", 2, Change::Raised), 50);
        assert_eq!(view(alarm, &command, 50).acknowledged_by, None, "another occurrence");
    }

    #[test]
    fn each_request_is_shown_with_what_it_says_until_it_is_confirmed() {
        let mut alarm = record("pump", Change::Raised, Priority::High);
        let until = alarm.alert.at + 60_000_000;
        let commands = [
            sent(&alarm, &Ask::Shelve { until }),
            sent(&alarm, &Ask::Comment { occurrence: 1, text: "noise".into() }),
            sent(&alarm, &Ask::Label { occurrence: 1, label: Label::FalseAlarm }),
        ];
        let shown = view(alarm.clone(), &commands, 20);
        let kinds: std::collections::BTreeSet<_> = shown.requests.iter().map(|r| r.what).collect();
        assert_eq!(kinds, ["comment", "label", "shelve"].into());
        assert!(shown.requests.iter().any(|r| r.until == Some(until)));
        assert!(shown.requests.iter().any(|r| r.text.as_deref() == Some("noise")));
        assert!(shown.calls() && shown.shelved_until.is_none(), "asked for is not done");
        let mut shelved = alert("pump", "anomaly", 1, Change::Shelved);
        (shelved.shelved_until, shelved.command) = (Some(until), Some(commands[0].id.clone()));
        alarm.tell(alarm.origin.clone(), shelved, 30);
        let shown = view(alarm, &commands, 40);
        assert!(!shown.calls() && shown.open && shown.requests.len() == 2, "{shown:?}");
    }

    #[test]
    fn unacknowledged_alarms_of_high_priority_come_first_and_shelved_ones_last() {
        let mut ended = record("a", Change::Returned, Priority::Critical);
        ended.alert.state = AlarmState::Normal;
        let mut shelved = record("e", Change::Shelved, Priority::Critical);
        shelved.alert.shelved_until = Some(1);
        let mut alarms: Vec<AlarmView> = [
            shelved,
            ended,
            record("b", Change::Acknowledged, Priority::Critical),
            record("c", Change::Raised, Priority::Low),
            record("d", Change::Raised, Priority::High),
        ]
        .map(|r| view(r, &[], 0))
        .into();
        sort(&mut alarms);
        let order: Vec<&str> = alarms.iter().map(|a| &*a.asset).collect();
        assert_eq!(order, ["d", "c", "b", "a", "e"]);
    }
}
