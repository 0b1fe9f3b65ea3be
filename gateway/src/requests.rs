//! What a person may ask of an alarm, and what comes of it: refused, done already, on its way, or to be sent. Pure.
//!
//! Asking is idempotent. A request that is on its way (sent, not expired, not confirmed, and still of use) is answered
//! with the command that was sent; one whose aim is reached is answered as done. Each alert names the command that it
//! confirms, and the alarm's record remembers the latest ([`AlarmRecord::confirmed`]).
//! Must never: take an alarm for changed before the agent's alert says so.

use fettle_wire::command::{MAX_COMMENT, MAX_SHELF};
use fettle_wire::{Command, Label, Micros, RecordId, Request, time};

use crate::commands::{command, is_unacknowledged};
use crate::fleet::asset::AlarmRecord;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A person has seen this occurrence.
    Acknowledge {
        /// Which.
        occurrence: u64,
    },
    /// Nobody is to be called until then.
    Shelve {
        /// Event time.
        until: Micros,
    },
    /// The shelf ends now.
    Unshelve,
    /// A remark.
    Comment {
        /// Which occurrence it is about.
        occurrence: u64,
        /// What is said.
        text: String,
    },
    /// What it turned out to be.
    Label {
        /// Which occurrence it is about.
        occurrence: u64,
        /// What it was.
        label: Label,
    },
}

/// What it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// There is no such alarm.
    Unknown,
    /// The alarm's occurrence is another one.
    OtherOccurrence(u64),
    /// The agent would refuse it, so it is not sent; why.
    Refused(String),
    /// It is so already; by whose word, where that is known.
    Done(Option<String>),
    /// The same was asked for and is on its way.
    Pending(Command),
    /// To be sent.
    Send(Command),
}

impl Ask {
    /// Its name, in paths and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Acknowledge { .. } => "acknowledge",
            Self::Shelve { .. } => "shelve",
            Self::Unshelve => "unshelve",
            Self::Comment { .. } => "comment",
            Self::Label { .. } => "label",
        }
    }

    /// Where the alarm stands when it is done.
    pub const fn aim(&self) -> &'static str {
        match self {
            Self::Acknowledge { .. } => "acknowledged",
            Self::Shelve { .. } => "shelved",
            Self::Unshelve => "unshelved",
            Self::Comment { .. } => "commented",
            Self::Label { .. } => "labelled",
        }
    }

    const fn occurrence(&self) -> Option<u64> {
        match self {
            Self::Acknowledge { occurrence } | Self::Comment { occurrence, .. } | Self::Label { occurrence, .. } => {
                Some(*occurrence)
            }
            Self::Shelve { .. } | Self::Unshelve => None,
        }
    }

    fn request(&self, alarm: &AlarmRecord) -> Request {
        let (asset, condition) = (alarm.alert.asset.clone(), alarm.alert.condition.clone());
        match self.clone() {
            Self::Acknowledge { occurrence } => Request::Acknowledge { asset, condition, occurrence },
            Self::Shelve { until } => Request::Shelve { asset, condition, until },
            Self::Unshelve => Request::Unshelve { asset, condition },
            Self::Comment { occurrence, text } => Request::Comment { asset, condition, occurrence, text },
            Self::Label { occurrence, label } => Request::Label { asset, condition, occurrence, label },
        }
    }

    /// Why the agent would refuse it. `now` is wall time; an agent's event time is at or after the alarm's last change.
    fn fault(&self, alarm: &AlarmRecord, now: Micros) -> Option<String> {
        match self {
            Self::Shelve { until } => {
                let (at, latest) = (alarm.alert.at, alarm.alert.at.max(now));
                if *until <= at {
                    return Some(format!("a shelf ends after the alarm's last change, {at}, not at {until}"));
                }
                let days = MAX_SHELF / time::DAY;
                let ahead = until.saturating_sub(latest);
                (ahead > MAX_SHELF).then(|| format!("a shelf lasts at most {days} days; take the channel out instead"))
            }
            Self::Comment { text, .. } if text.trim().is_empty() => Some("a comment says something".into()),
            Self::Comment { text, .. } if text.len() > MAX_COMMENT => {
                let length = text.len();
                Some(format!("a comment has at most {MAX_COMMENT} bytes, not {length}"))
            }
            Self::Comment { text, .. } if text.chars().any(|c| c.is_control() && c != '\n') => {
                Some("a comment has no control characters but line ends".into())
            }
            _ => None,
        }
    }

    /// Whether the alarm is already as asked for, and by whose word.
    fn is_done(&self, alarm: &AlarmRecord) -> Option<Option<String>> {
        let alert = &alarm.alert;
        match self {
            Self::Acknowledge { .. } if !is_unacknowledged(alert.state) => Some(alarm.acknowledger()),
            Self::Shelve { until } if alert.shelved_until == Some(*until) => Some(None),
            Self::Unshelve if alert.shelved_until.is_none() => Some(None),
            Self::Label { label, .. } if alert.label == Some(*label) => Some(None),
            Self::Comment { .. } if alarm.confirmed.contains(&self.id(alarm)) => Some(None),
            _ => None,
        }
    }

    /// The command's id: a hash of what is asked for. What may be wanted again after something else was (a shelf, a
    /// label) also depends on the last request that was confirmed, else the agent would take it for a repetition.
    fn id(&self, alarm: &AlarmRecord) -> String {
        let occurrence = alarm.alert.occurrence.to_be_bytes();
        let before = alarm.confirmed.last().map_or("", String::as_str);
        let (origin, alert) = (&alarm.origin, &alarm.alert);
        let until;
        let more: [&[u8]; 2] = match self {
            Self::Acknowledge { .. } => [b"", b""],
            Self::Shelve { until: asked } => {
                until = asked.to_be_bytes();
                [&until, before.as_bytes()]
            }
            Self::Unshelve => [b"", before.as_bytes()],
            Self::Comment { text, .. } => [text.as_bytes(), b""],
            Self::Label { label, .. } => [label_name(*label).as_bytes(), before.as_bytes()],
        };
        let mut parts: Vec<&[u8]> = vec![
            self.kind().as_bytes(),
            origin.site.as_bytes(),
            origin.incarnation.as_bytes(),
            alert.asset.as_bytes(),
            alert.condition.as_bytes(),
            &occurrence,
        ];
        if !matches!(self, Self::Acknowledge { .. }) {
            parts.extend(more);
        }
        RecordId::of(&parts).to_string()
    }
}

/// The label's name on the wire.
pub const fn label_name(label: Label) -> &'static str {
    match label {
        Label::Confirmed => "confirmed",
        Label::FalseAlarm => "false_alarm",
        Label::MaintenanceDone => "maintenance_done",
    }
}

/// Whether a command that was sent may still change this alarm: not confirmed, and its aim neither reached nor gone.
/// Whether it has expired is another matter: then it may be asked for again.
pub fn is_waiting(alarm: &AlarmRecord, command: &Command) -> bool {
    let AlarmRecord { alert, origin, confirmed, .. } = alarm;
    if command.site != origin.site || command.agent != origin.agent || confirmed.contains(&command.id) {
        return false;
    }
    let is_this = |asset: &str, condition: &str| asset == alert.asset.as_str() && condition == alert.condition;
    match &command.request {
        Request::Acknowledge { asset, condition, occurrence } => {
            is_this(asset, condition) && *occurrence == alert.occurrence && is_unacknowledged(alert.state)
        }
        Request::Shelve { asset, condition, until } => {
            is_this(asset, condition) && *until > alert.at && alert.shelved_until != Some(*until)
        }
        Request::Unshelve { asset, condition } => is_this(asset, condition) && alert.shelved_until.is_some(),
        Request::Comment { asset, condition, occurrence, .. } => {
            is_this(asset, condition) && *occurrence == alert.occurrence
        }
        Request::Label { asset, condition, occurrence, label } => {
            is_this(asset, condition) && *occurrence == alert.occurrence && alert.label != Some(*label)
        }
        Request::Event { .. } | Request::Adopt { .. } => false,
    }
}

/// Decides on a request. `sent` are the commands about this asset that are kept.
pub fn decide(alarm: Option<&AlarmRecord>, sent: &[Command], ask: &Ask, person: &str, now: Micros) -> Decision {
    let Some(alarm) = alarm else { return Decision::Unknown };
    let present = alarm.alert.occurrence;
    if ask.occurrence().is_some_and(|asked| asked != present) {
        return Decision::OtherOccurrence(present);
    }
    if let Some(by) = ask.is_done(alarm) {
        return Decision::Done(by);
    }
    let request = ask.request(alarm);
    let same = |c: &&Command| c.request == request && c.expires > now && is_waiting(alarm, c);
    if let Some(command) = sent.iter().find(same) {
        return Decision::Pending(command.clone());
    }
    if let Some(fault) = ask.fault(alarm, now) {
        return Decision::Refused(fault);
    }
    let origin = &alarm.origin;
    Decision::Send(command(ask.id(alarm), &origin.site, &origin.agent, person, now, request))
}

#[cfg(test)]
pub(crate) mod tests {
    use fettle_wire::Change;
    use fettle_wire::time::{DAY, HOUR};

    use super::*;
    use crate::commands::VALID;
    use crate::fleet::asset::Origin;
    use crate::intake::record::tests::{alert, name};

    pub(crate) fn alarm(occurrence: u64, change: Change) -> AlarmRecord {
        let origin = Origin { site: name("plant-a"), agent: name("gw-1"), incarnation: "0000000000000001".into() };
        AlarmRecord::new(origin, alert("pump", "anomaly", occurrence, change), 0, Vec::new())
    }

    const ACK: Ask = Ask::Acknowledge { occurrence: 3 };

    fn sent(decision: Decision) -> Command {
        match decision {
            Decision::Send(command) => command,
            other => panic!("{other:?}"),
        }
    }

    fn comment(text: &str) -> Ask {
        Ask::Comment { occurrence: 3, text: text.into() }
    }

    #[test]
    fn the_same_acknowledgement_has_the_same_id_and_another_occurrence_another() {
        let (one, two) = (alarm(1, Change::Raised), alarm(2, Change::Raised));
        assert_eq!(ACK.id(&one), ACK.id(&alarm(1, Change::Returned)));
        assert_ne!(ACK.id(&one), ACK.id(&two));
        let mut reborn = alarm(1, Change::Raised);
        reborn.origin.incarnation = "0000000000000002".into();
        assert_ne!(ACK.id(&one), ACK.id(&reborn));
    }

    #[test]
    fn a_request_is_sent_once_and_then_pending_until_it_expires() {
        let raised = alarm(3, Change::Raised);
        for ask in [ACK, Ask::Shelve { until: 8 * HOUR }, comment("noise"), label(Label::Confirmed)] {
            let command = sent(decide(Some(&raised), &[], &ask, "ada", 100));
            assert_eq!((command.expires, command.check()), (100 + VALID, Ok(())));
            let kept = [command.clone()];
            assert_eq!(decide(Some(&raised), &kept, &ask, "bob", 200), Decision::Pending(command));
            assert!(matches!(decide(Some(&raised), &kept, &ask, "bob", 200 + VALID), Decision::Send(_)), "{ask:?}");
        }
    }

    fn label(label: Label) -> Ask {
        Ask::Label { occurrence: 3, label }
    }

    #[test]
    fn what_is_so_already_is_not_sent_and_what_cannot_be_says_why() {
        let mut done = alarm(3, Change::Acknowledged);
        done.acknowledged_by = Some("ada".into());
        (done.alert.label, done.alert.shelved_until) = (Some(Label::Confirmed), Some(9 * DAY));
        let decide = |alarm, ask: &Ask| decide(alarm, &[], ask, "bob", 0);
        assert_eq!(decide(None, &ACK), Decision::Unknown);
        assert_eq!(decide(Some(&done), &Ask::Acknowledge { occurrence: 2 }), Decision::OtherOccurrence(3));
        assert_eq!(decide(Some(&done), &ACK), Decision::Done(Some("ada".into())));
        assert_eq!(decide(Some(&done), &label(Label::Confirmed)), Decision::Done(None));
        assert_eq!(decide(Some(&done), &Ask::Shelve { until: 9 * DAY }), Decision::Done(None));
        let raised = alarm(3, Change::Raised);
        assert_eq!(decide(Some(&raised), &Ask::Unshelve), Decision::Done(None));
        let far = raised.alert.at + MAX_SHELF + 1;
        for wrong in
            [Ask::Shelve { until: raised.alert.at }, Ask::Shelve { until: far }, comment(" "), comment("\u{7}")]
        {
            assert!(matches!(decide(Some(&raised), &wrong), Decision::Refused(_)), "{wrong:?}");
        }
        assert!(matches!(decide(Some(&raised), &comment(&"x".repeat(MAX_COMMENT + 1))), Decision::Refused(_)));
        assert!(matches!(decide(Some(&alarm(3, Change::Returned)), &ACK), Decision::Send(_)));
    }

    #[test]
    fn a_shelf_and_a_label_can_be_asked_for_again_after_another_and_a_comment_is_said_once() {
        let mut alarm = alarm(3, Change::Raised);
        let ask = Ask::Shelve { until: DAY };
        let first = sent(decide(Some(&alarm), &[], &ask, "ada", 0));
        assert!(is_waiting(&alarm, &first));
        alarm.alert.shelved_until = Some(DAY);
        alarm.confirmed.push(first.id.clone());
        assert!(!is_waiting(&alarm, &first));
        let end = sent(decide(Some(&alarm), std::slice::from_ref(&first), &Ask::Unshelve, "ada", 1));
        alarm.alert.shelved_until = None;
        alarm.confirmed.push(end.id.clone());
        let again = sent(decide(Some(&alarm), &[first.clone(), end], &ask, "ada", 2));
        assert_ne!(again.id, first.id, "the agent applies each id once");
        let said = sent(decide(Some(&alarm), &[], &comment("noise"), "ada", 3));
        alarm.confirmed.push(said.id);
        assert_eq!(decide(Some(&alarm), &[], &comment("noise"), "ada", 4), Decision::Done(None));
    }

    #[test]
    fn what_no_longer_helps_is_not_shown_as_waiting() {
        let mut alarm = alarm(3, Change::Raised);
        alarm.alert.shelved_until = Some(DAY);
        let asks = [ACK, Ask::Shelve { until: 2 * DAY }, Ask::Unshelve, comment("x"), label(Label::FalseAlarm)];
        let commands = asks.each_ref().map(|ask| sent(decide(Some(&alarm), &[], ask, "ada", 0)));
        assert!(commands.iter().all(|command| is_waiting(&alarm, command)));
        (alarm.alert.occurrence, alarm.alert.at, alarm.alert.shelved_until) = (4, 3 * DAY, None);
        assert!(!commands.iter().any(|command| is_waiting(&alarm, command)));
    }
}
