//! What of an alarm's changes is announced. Pure; judged by the state after the change, so that a change that was never
//! seen is made up for by the next one.

use fettle_wire::{AlarmState, Alert, Micros, Priority};
use serde::{Deserialize, Serialize};

use crate::fleet::asset::{AlarmRecord, Origin};

/// So many notices wait for one alarm at most.
pub const MOST: usize = 8;

/// Begin or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It calls for somebody.
    Firing,
    /// It has returned.
    Resolved,
}

/// One occurrence that was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Who raised it: occurrences count anew in a new store.
    pub incarnation: String,
    /// Which.
    pub occurrence: u64,
    /// When it was raised.
    pub raised_at: Micros,
    /// Its priority.
    pub priority: Priority,
}

/// Something to send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Counts the alarm's notices: its name in this alarm.
    pub number: u64,
    /// The partition whose owner sends it.
    pub partition: i32,
    /// Begin or end.
    pub status: Status,
    /// Of what.
    pub of: Announced,
    /// When it changed, event time.
    pub at: Micros,
    /// One sentence.
    pub message: String,
}

/// What an alarm's record holds of its announcements.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Notices {
    /// Number of the next one.
    #[serde(default)]
    pub next: u64,
    /// What was announced and has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Announced>,
    /// What waits, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Notice>,
    /// How many were given up because too many waited.
    #[serde(default)]
    pub given_up: u64,
}

impl Notices {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn push(&mut self, partition: i32, status: Status, of: Announced, alert: &Alert) {
        if self.waiting.len() >= MOST {
            self.waiting.remove(0);
            self.given_up += 1;
        }
        let (at, message) = (alert.at, alert.message.clone());
        self.waiting.push(Notice { number: self.next, partition, status, of, at, message });
        self.next += 1;
    }

    /// Forgets what was sent; whether it was there.
    pub fn sent(&mut self, number: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|notice| notice.number != number);
        self.waiting.len() < before
    }
}

fn present(origin: &Origin, alert: &Alert) -> Announced {
    Announced {
        incarnation: origin.incarnation.clone(),
        occurrence: alert.occurrence,
        raised_at: alert.raised_at,
        priority: alert.priority,
    }
}

/// Notes what the alarm's newest alert means for the receiver, which hears of `least` and higher.
pub fn note(alarm: &mut AlarmRecord, partition: i32, least: Priority) {
    let AlarmRecord { origin, alert, notices, .. } = alarm;
    let is_active = matches!(alert.state, AlarmState::Unacknowledged | AlarmState::Acknowledged);
    let now = present(origin, alert);
    let is_this = |of: &Announced| of.incarnation == now.incarnation && of.occurrence == now.occurrence;
    if let Some(of) = notices.standing.take_if(|of| !is_this(of) || !is_active) {
        notices.push(partition, Status::Resolved, of, alert);
    }
    let calls = alert.state == AlarmState::Unacknowledged && alert.shelved_until.is_none() && alert.priority >= least;
    if calls && notices.standing.is_none() {
        notices.standing = Some(now.clone());
        notices.push(partition, Status::Firing, now, alert);
    }
}

#[cfg(test)]
mod tests {
    use fettle_wire::Change;

    use super::*;
    use crate::requests::tests::alarm;

    /// Status and occurrence of what is announced by changes (occurrence, change, shelved).
    fn told(changes: &[(u64, Change, bool)], least: Priority) -> Vec<(Status, u64)> {
        let mut record = alarm(changes[0].0, changes[0].1);
        for (occurrence, change, shelved) in changes {
            let mut next = alarm(*occurrence, *change).alert;
            next.shelved_until = shelved.then_some(i64::MAX);
            record.tell(record.origin.clone(), next, 0);
            note(&mut record, 3, least);
        }
        record.notices.waiting.iter().map(|n| (n.status, n.of.occurrence)).collect()
    }

    use Change::{Acknowledged, Commented, Raised, Returned, Shelved, Unshelved};
    use Status::{Firing, Resolved};

    #[test]
    fn a_raise_and_a_return_are_announced_once_whatever_people_do_meanwhile() {
        let changes = [
            (1, Raised, false),
            (1, Acknowledged, false),
            (1, Commented, false),
            (1, Returned, false),
            (2, Raised, false),
        ];
        assert_eq!(told(&changes, Priority::Low), [(Firing, 1), (Resolved, 1), (Firing, 2)]);
        assert_eq!(told(&changes, Priority::Critical), [], "not of that priority");
    }

    #[test]
    fn a_shelved_alarm_is_not_announced_until_its_shelf_ends() {
        assert_eq!(told(&[(1, Raised, true), (1, Returned, true)], Priority::Low), []);
        assert_eq!(told(&[(1, Raised, true), (1, Unshelved, false)], Priority::Low), [(Firing, 1)]);
        let announced_before = [(1, Raised, false), (1, Shelved, true), (1, Returned, true), (2, Raised, true)];
        assert_eq!(told(&announced_before, Priority::Low), [(Firing, 1), (Resolved, 1)], "its end is told");
    }

    #[test]
    fn a_return_that_was_never_seen_is_made_up_for() {
        assert_eq!(
            told(&[(1, Raised, false), (2, Raised, false)], Priority::Low),
            [(Firing, 1), (Resolved, 1), (Firing, 2)]
        );
    }

    #[test]
    fn what_waits_is_bounded_and_what_was_sent_is_forgotten() {
        let mut record = alarm(1, Raised);
        for occurrence in 1..100 {
            record.tell(record.origin.clone(), alarm(occurrence, Raised).alert, 0);
            note(&mut record, 0, Priority::Low);
        }
        let notices = &mut record.notices;
        assert_eq!((notices.waiting.len() as u64 + notices.given_up, notices.waiting.len()), (notices.next, MOST));
        let first = notices.waiting[0].number;
        assert!(notices.sent(first) && !notices.sent(first));
    }
}
