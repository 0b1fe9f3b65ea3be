//! What happens to a machine itself and ends or mends its life: it failed, it was replaced, maintenance was done.
//!
//! Two ways in, one meaning: a control system or a person at the machine publishes an [`AssetEvent`] on
//! `fettle/1/<site>/<asset>/event` (CBOR, QoS 1); the centre asks by a command ([`crate::Request::Event`]). Both are
//! known by an id, so that a repetition is one: the sender makes it, and makes it again for the same event.
//!
//! Must never be taken for the state of a machine: it is what somebody says, and says when.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::cbor::{self, CborError};
use crate::command::{MAX_COMMAND_TEXT, MAX_COMMENT};
use crate::time::Micros;

/// The largest event, in bytes.
pub const MAX_EVENT: usize = 8 * 1024;
/// The most components that one event names.
pub const MAX_COMPONENTS: usize = 16;
/// The longest name of a component, in bytes.
pub const MAX_COMPONENT: usize = 64;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It broke, or was stopped because it was about to.
    Failed,
    /// Another machine stands in its place, or this one as good as new.
    Replaced,
    /// Maintenance was done; what was replaced is named.
    MaintenanceDone,
}

impl EventKind {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Replaced => "replaced",
            Self::MaintenanceDone => "maintenance_done",
        }
    }
}

/// The payload of a message on `fettle/1/<site>/<asset>/event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetEvent {
    /// Schema version.
    pub version: u8,
    /// Unique for the asset; the same event said again has the same id.
    pub id: String,
    /// What happened.
    pub kind: EventKind,
    /// When, event time; without it, when the message arrives at the agent.
    #[serde(default)]
    pub at: Option<Micros>,
    /// The components that were replaced, as the registry names them.
    #[serde(default, deserialize_with = "cbor::sequence_up_to::<MAX_COMPONENTS, _, _>")]
    pub components: Vec<String>,
    /// What else is to be said.
    #[serde(default)]
    pub note: Option<String>,
    /// Who says it, where it is a person.
    #[serde(default)]
    pub person: Option<String>,
}

/// Whether what an event says in words is bounded; the reason if not.
pub(crate) fn check_texts(components: &[String], note: Option<&str>) -> Result<(), &'static str> {
    if components.len() > MAX_COMPONENTS {
        return Err("too_many_components");
    }
    if components.iter().any(|c| c.is_empty() || c.len() > MAX_COMPONENT) {
        return Err("text_length");
    }
    if note.is_some_and(|note| note.is_empty() || note.len() > MAX_COMMENT) { Err("text_length") } else { Ok(()) }
}

impl AssetEvent {
    /// Whether texts are bounded and the version is readable; the reason if not.
    pub fn check(&self) -> Result<(), &'static str> {
        if !crate::accepts_version(self.version) {
            return Err("schema_version");
        }
        let person = self.person.as_deref().map_or(1, str::len);
        if self.id.is_empty() || self.id.len() > MAX_COMMAND_TEXT || person == 0 || person > MAX_COMMAND_TEXT {
            return Err("text_length");
        }
        check_texts(&self.components, self.note.as_deref())
    }

    /// Encodes the event.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode(self)
    }

    /// Decodes an event of at most [`MAX_EVENT`] bytes; whether it is one of this version says [`AssetEvent::check`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, MAX_EVENT)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn event() -> AssetEvent {
        AssetEvent {
            version: crate::SCHEMA_VERSION,
            id: "plc-7:1".into(),
            kind: EventKind::MaintenanceDone,
            at: Some(5),
            components: vec!["bearing_de".into()],
            note: Some("seal, too".into()),
            person: Some("ada".into()),
        }
    }

    #[test]
    fn an_event_is_read_back_and_what_it_need_not_say_may_be_left_out() {
        let sent = event();
        assert_eq!(AssetEvent::decode(&sent.encode().unwrap()).unwrap(), sent);
        // RFC 8949: a map of version 1, id "a", kind 0.
        let least = AssetEvent::decode(&[0xa3, 0x00, 0x01, 0x01, 0x61, b'a', 0x02, 0x00]).unwrap();
        assert_eq!((least.kind, least.at, least.check()), (EventKind::Failed, None, Ok(())));
    }

    #[test]
    fn texts_are_bounded() {
        assert_eq!(event().check(), Ok(()));
        let long = "x".repeat(MAX_COMMAND_TEXT + 1);
        let broken = [
            AssetEvent { id: String::new(), ..event() },
            AssetEvent { id: long.clone(), ..event() },
            AssetEvent { person: Some(long), ..event() },
            AssetEvent { person: Some(String::new()), ..event() },
            AssetEvent { note: Some("x".repeat(MAX_COMMENT + 1)), ..event() },
            AssetEvent { note: Some(String::new()), ..event() },
            AssetEvent { components: vec!["x".repeat(MAX_COMPONENT + 1)], ..event() },
            AssetEvent { components: vec![String::new()], ..event() },
        ];
        for event in broken {
            assert_eq!(event.check(), Err("text_length"), "{event:?}");
        }
        let many = AssetEvent { components: vec!["x".into(); MAX_COMPONENTS + 1], ..event() };
        assert_eq!(AssetEvent::decode(&many.encode().unwrap()).unwrap().check(), Err("too_many_components"));
        assert_eq!(AssetEvent { version: 3, ..event() }.check(), Err("schema_version"));
        assert!(AssetEvent::decode(&[0; MAX_EVENT + 1]).is_err());
    }
}
