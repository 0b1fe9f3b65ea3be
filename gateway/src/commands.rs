//! Commands to agents: how they are made and sent, and who may ask. What an alarm's commands are is decided in
//! [`crate::requests`].
//!
//! The id is a hash of what is asked for, so asking twice is asking once: the agent applies each id once. Nothing here
//! changes an alarm; the request is pending until the agent's alert names the command.
//! Must never: say that something was sent before Kafka confirmed it.

use std::time::Duration;

use fettle_wire::{AlarmState, Command, Label, Micros, Name, RecordId, Request, SCHEMA_VERSION, time, topic};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::config::Kafka;
use crate::fleet::asset::AccountRecord;
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

/// The adoption of a quarantined asset at the agent that reported it.
pub fn adopt(account: &AccountRecord, person: &str, now: Micros) -> Command {
    let request = Request::Adopt { asset: account.entry.asset.clone() };
    command(adopt_id(account, now), &account.origin.site, &account.origin.agent, person, now, request)
}

/// A command to one agent, valid for [`VALID`].
pub fn command(id: String, site: &Name, agent: &Name, person: &str, now: Micros, request: Request) -> Command {
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
    /// Of a shelf: until when.
    pub until: Option<Micros>,
    /// Of a comment or an event: what it says.
    pub text: Option<&'a str>,
    /// Of a label: which.
    pub label: Option<Label>,
}

/// What a request is about: the one place that knows every kind of request, for the copy and for the audit log.
pub fn subject(request: &Request) -> Subject<'_> {
    let (what, condition, occurrence) = match request {
        Request::Acknowledge { condition, occurrence, .. } => ("acknowledge", Some(condition), Some(*occurrence)),
        Request::Shelve { condition, .. } => ("shelve", Some(condition), None),
        Request::Unshelve { condition, .. } => ("unshelve", Some(condition), None),
        Request::Comment { condition, occurrence, .. } => ("comment", Some(condition), Some(*occurrence)),
        Request::Label { condition, occurrence, .. } => ("label", Some(condition), Some(*occurrence)),
        Request::Event { event, .. } => (event.as_str(), None, None),
        Request::Adopt { .. } => ("adopt", None, None),
    };
    let (mut until, mut text, mut said) = (None, None, None);
    match request {
        Request::Shelve { until: asked, .. } => until = Some(*asked),
        Request::Comment { text: asked, .. } => text = Some(asked.as_str()),
        Request::Label { label, .. } => said = Some(*label),
        Request::Event { note, .. } => text = note.as_deref(),
        Request::Acknowledge { .. } | Request::Unshelve { .. } | Request::Adopt { .. } => {}
    }
    let condition = condition.map(String::as_str);
    Subject { what, asset: request.asset(), condition, occurrence, until, text, label: said }
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
    use super::*;

    #[test]
    fn a_persons_name_is_bounded() {
        assert_eq!(check_person("  Ada Lovelace "), Ok("Ada Lovelace"));
        assert!(check_person("   ").is_err());
        assert!(check_person(&"x".repeat(129)).is_err());
        assert!(check_person("a\nb").is_err());
    }
}
