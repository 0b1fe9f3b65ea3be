//! Requests to agents: what may be asked, under which id, and how it is sent.
//!
//! The id is a hash of what is asked for, so asking twice is asking once: the agent applies each id once. Nothing here
//! changes an alarm; the request is pending until the agent's alert names the command.
//! Must never: say that something was sent before Kafka confirmed it.

use std::time::Duration;

use fettle_wire::{AlarmState, Command, Micros, Name, RecordId, Request, SCHEMA_VERSION, time, topic};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::config::Kafka;
use crate::fleet::asset::{AccountRecord, AlarmRecord};
use crate::kafka::{self, LinkError, Quiet};

/// How long a request stays valid: an agent may be offline for days.
pub const VALID: Micros = 7 * time::DAY;
/// The longest name of a person, in bytes.
pub const MAX_PERSON: usize = 128;
/// How long Kafka may take to confirm.
const DELIVERY: Duration = Duration::from_secs(5); // named in CommandError

/// Why a command could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The producer.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Not confirmed. A retry helps, and cannot double it.
    #[error("Kafka did not confirm within 5 s: {0}; ask again, it cannot be doubled")]
    NotConfirmed(rdkafka::error::KafkaError),
    /// It does not encode; no command that passed the checks does that.
    #[error("the command does not encode: {0}")]
    Encoding(String),
}

/// What an acknowledgement asked for leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// There is no such alarm.
    Unknown,
    /// The alarm's occurrence is another one.
    OtherOccurrence(u64),
    /// It needs no acknowledgement (any more); by whom it was given.
    Done(Option<String>),
    /// The same was asked for and is on its way.
    Pending(Command),
    /// To be sent.
    Send(Command),
}

/// The id of an acknowledgement.
pub fn acknowledge_id(alarm: &AlarmRecord) -> String {
    let occurrence = alarm.alert.occurrence.to_be_bytes();
    let origin = &alarm.origin;
    let parts: [&[u8]; 6] = [
        b"acknowledge",
        origin.site.as_bytes(),
        origin.incarnation.as_bytes(),
        alarm.alert.asset.as_bytes(),
        alarm.alert.condition.as_bytes(),
        &occurrence,
    ];
    RecordId::of(&parts).to_string()
}

/// The id of an adoption asked for at `now`. An asset may be retired and found again, so the id holds for one day.
pub fn adopt_id(account: &AccountRecord, now: Micros) -> String {
    let day = now.div_euclid(time::DAY).to_be_bytes();
    let origin = &account.origin;
    let parts: [&[u8]; 6] = [
        b"adopt",
        origin.site.as_bytes(),
        origin.agent.as_bytes(),
        origin.incarnation.as_bytes(),
        account.entry.asset.as_bytes(),
        &day,
    ];
    RecordId::of(&parts).to_string()
}

/// A person's name as it may be written into a command; the rule it breaks if not.
pub fn check_person(person: &str) -> Result<&str, &'static str> {
    let person = person.trim();
    match () {
        () if person.is_empty() => Err("a person's name is required"),
        () if person.len() > MAX_PERSON => Err("a person's name has at most 128 bytes"),
        () if person.chars().any(char::is_control) => Err("a person's name has no control characters"),
        () => Ok(person),
    }
}

/// Whether an alarm waits for a person.
pub const fn is_unacknowledged(state: AlarmState) -> bool {
    matches!(state, AlarmState::Unacknowledged | AlarmState::ReturnedUnacknowledged)
}

/// Decides on an acknowledgement. `pending` is the command of the same id, if one was sent.
pub fn acknowledge(
    alarm: Option<&AlarmRecord>,
    pending: Option<Command>,
    person: &str,
    occurrence: u64,
    now: Micros,
) -> Decision {
    let Some(alarm) = alarm else { return Decision::Unknown };
    let alert = &alarm.alert;
    if alert.occurrence != occurrence {
        return Decision::OtherOccurrence(alert.occurrence);
    }
    if !is_unacknowledged(alert.state) {
        return Decision::Done(alert.by.clone());
    }
    if let Some(command) = pending.filter(|command| command.expires > now) {
        return Decision::Pending(command);
    }
    let (asset, condition) = (alert.asset.clone(), alert.condition.clone());
    let request = Request::Acknowledge { asset, condition, occurrence };
    let origin = &alarm.origin;
    Decision::Send(command(acknowledge_id(alarm), &origin.site, &origin.agent, person, now, request))
}

/// The adoption of a quarantined asset at the agent that reported it.
pub fn adopt(account: &AccountRecord, person: &str, now: Micros) -> Command {
    let request = Request::Adopt { asset: account.entry.asset.clone() };
    command(adopt_id(account, now), &account.origin.site, &account.origin.agent, person, now, request)
}

fn command(id: String, site: &Name, agent: &Name, person: &str, now: Micros, request: Request) -> Command {
    Command {
        version: SCHEMA_VERSION,
        id,
        site: site.clone(),
        agent: agent.clone(),
        issuer: person.to_owned(),
        issued: now,
        expires: now.saturating_add(VALID),
        request,
    }
}

/// What a request is about, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The kind of request.
    pub what: &'static str,
    /// The asset.
    pub asset: &'a Name,
    /// The condition, where it is about an alarm.
    pub condition: Option<&'a str>,
    /// Which occurrence of it.
    pub occurrence: Option<u64>,
}

/// What a request is about: the one place that knows every kind of request, for the copy and for the audit log.
pub fn subject(request: &Request) -> Subject<'_> {
    let (what, condition, occurrence) = match request {
        Request::Acknowledge { condition, occurrence, .. } => ("acknowledge", Some(condition), Some(*occurrence)),
        Request::Shelve { condition, .. } => ("shelve", Some(condition), None),
        Request::Unshelve { condition, .. } => ("unshelve", Some(condition), None),
        Request::Comment { condition, occurrence, .. } => ("comment", Some(condition), Some(*occurrence)),
        Request::Label { condition, occurrence, .. } => ("label", Some(condition), Some(*occurrence)),
        Request::Adopt { .. } => ("adopt", None, None),
    };
    Subject { what, asset: request.asset(), condition: condition.map(String::as_str), occurrence }
}

/// Sends commands.
pub struct Commands {
    producer: FutureProducer<Quiet>,
    topic: String,
}

impl Commands {
    /// Makes the producer; Kafka need not be there.
    pub fn new(kafka: &Kafka) -> Result<Self, LinkError> {
        let mut config = kafka::base(kafka, "commands")?;
        config.set("enable.idempotence", "true").set("message.timeout.ms", "5000").set("linger.ms", "0");
        Ok(Self { producer: config.create_with_context(Quiet)?, topic: kafka.topics().commands() })
    }

    /// Sends one and waits until Kafka has it.
    pub async fn send(&self, command: &Command) -> Result<(), CommandError> {
        let key = topic::command_key(&command.site, &command.agent);
        let value = command.encode().map_err(|e| CommandError::Encoding(e.to_string()))?;
        let record = FutureRecord::to(&self.topic).key(&key).payload(&value);
        self.producer.send(record, DELIVERY).await.map(|_| ()).map_err(|(error, _)| CommandError::NotConfirmed(error))
    }
}

#[cfg(test)]
mod tests {
    use fettle_wire::Change;

    use super::*;
    use crate::fleet::asset::Origin;
    use crate::intake::record::tests::{alert, name};

    fn alarm(occurrence: u64, change: Change) -> AlarmRecord {
        AlarmRecord {
            origin: Origin { site: name("plant-a"), agent: name("gw-1"), incarnation: "0000000000000001".into() },
            alert: alert("pump", "anomaly", occurrence, change),
            seen: 0,
            recent: Vec::new(),
            conflicts: 0,
        }
    }

    #[test]
    fn the_same_acknowledgement_has_the_same_id_and_another_occurrence_another() {
        let (one, two) = (alarm(1, Change::Raised), alarm(2, Change::Raised));
        assert_eq!(acknowledge_id(&one), acknowledge_id(&alarm(1, Change::Returned)));
        assert_ne!(acknowledge_id(&one), acknowledge_id(&two));
        let mut reborn = alarm(1, Change::Raised);
        reborn.origin.incarnation = "0000000000000002".into();
        assert_ne!(acknowledge_id(&one), acknowledge_id(&reborn));
    }

    #[test]
    fn an_acknowledgement_is_sent_once_and_then_pending_until_it_expires() {
        let raised = alarm(3, Change::Raised);
        let Decision::Send(command) = acknowledge(Some(&raised), None, "ada", 3, 100) else { panic!("not sent") };
        assert_eq!((command.expires, command.check()), (100 + VALID, Ok(())));
        let again = acknowledge(Some(&raised), Some(command.clone()), "bob", 3, 200);
        assert_eq!(again, Decision::Pending(command.clone()));
        assert!(matches!(acknowledge(Some(&raised), Some(command), "bob", 3, 200 + VALID), Decision::Send(_)));
    }

    #[test]
    fn what_cannot_be_acknowledged_says_why() {
        let mut done = alarm(3, Change::Acknowledged);
        done.alert.by = Some("ada".into());
        assert_eq!(acknowledge(None, None, "ada", 3, 0), Decision::Unknown);
        assert_eq!(acknowledge(Some(&done), None, "bob", 2, 0), Decision::OtherOccurrence(3));
        assert_eq!(acknowledge(Some(&done), None, "bob", 3, 0), Decision::Done(Some("ada".into())));
        assert!(matches!(acknowledge(Some(&alarm(3, Change::Returned)), None, "bob", 3, 0), Decision::Send(_)));
    }

    #[test]
    fn a_persons_name_is_bounded() {
        assert_eq!(check_person("  Ada Lovelace "), Ok("Ada Lovelace"));
        assert!(check_person("   ").is_err());
        assert!(check_person(&"x".repeat(129)).is_err());
        assert!(check_person("a\nb").is_err());
    }
}
