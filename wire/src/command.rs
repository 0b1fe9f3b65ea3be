//! Commands: requests from the centre to an agent, on `fettle.commands`. Idempotent by id, valid for days offline.
//!
//! A command asks and changes nothing by itself: the agent journals it, refuses it after `expires` (counted), applies
//! each id once, and what it did is told by the alert that names the command. [`Command::decode`] is the door: every
//! text that passes it is bounded by [`MAX_COMMAND_TEXT`].
//!
//! Must never carry a credential or anything that the agent would run.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::alert::Label;
use crate::cbor;
use crate::event::{self, EventKind, MAX_COMPONENTS};
use crate::id::Name;
use crate::json::{self, JsonError};
use crate::time::{DAY, Micros};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A person has seen the alarm.
    Acknowledge {
        /// The asset.
        asset: Name,
        /// The condition.
        condition: String,
        /// Which occurrence; an acknowledgement of an ended one changes nothing.
        occurrence: u64,
    },
    /// Let the alarm go on without annunciation until `until`, event time.
    Shelve {
        /// The asset.
        asset: Name,
        /// The condition.
        condition: String,
        /// When the shelf ends by itself; at most [`MAX_SHELF`] after the alarm's present.
        until: Micros,
    },
    /// End a shelf before its time.
    Unshelve {
        /// The asset.
        asset: Name,
        /// The condition.
        condition: String,
    },
    /// Write a comment to an occurrence, ended or not.
    Comment {
        /// The asset.
        asset: Name,
        /// The condition.
        condition: String,
        /// Which occurrence.
        occurrence: u64,
        /// What to say; at most [`MAX_COMMENT`] bytes.
        text: String,
    },
    /// Say what an occurrence was, ended or not.
    Label {
        /// The asset.
        asset: Name,
        /// The condition.
        condition: String,
        /// Which occurrence.
        occurrence: u64,
        /// What it was.
        label: Label,
    },
    /// Note what happened to the machine itself; see [`crate::event`].
    Event {
        /// The asset.
        asset: Name,
        /// What happened.
        event: EventKind,
        /// When, event time; without it, when the command reaches the agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Micros>,
        /// The components that were replaced.
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            deserialize_with = "cbor::sequence_up_to::<MAX_COMPONENTS, _, _>"
        )]
        components: Vec<String>,
        /// What else is to be said; at most [`MAX_COMMENT`] bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Take a quarantined asset into service with the channels it has shown.
    Adopt {
        /// The asset.
        asset: Name,
    },
}

impl Request {
    /// The asset it is about.
    pub fn asset(&self) -> &Name {
        match self {
            Self::Acknowledge { asset, .. }
            | Self::Shelve { asset, .. }
            | Self::Unshelve { asset, .. }
            | Self::Comment { asset, .. }
            | Self::Label { asset, .. }
            | Self::Event { asset, .. }
            | Self::Adopt { asset } => asset,
        }
    }
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Schema version.
    pub version: u8,
    /// Unique; the agent applies each id once.
    pub id: String,
    /// Site of the agent it is for.
    pub site: Name,
    /// The agent it is for.
    pub agent: Name,
    /// The person who asks.
    pub issuer: String,
    /// When it was issued.
    pub issued: Micros,
    /// After this instant it is refused and counted.
    pub expires: Micros,
    /// What is asked for.
    pub request: Request,
}

/// The longest command id, issuer and condition, in bytes.
pub const MAX_COMMAND_TEXT: usize = 256;
/// The longest comment, in bytes.
pub const MAX_COMMENT: usize = 2048;
/// The longest shelf: who needs longer takes the channel or the asset out of the configuration.
pub const MAX_SHELF: Micros = 30 * DAY;

impl Command {
    /// Whether texts are bounded and the version is readable; the reason if not.
    pub fn check(&self) -> Result<(), &'static str> {
        if !crate::accepts_version(self.version) {
            return Err("schema_version");
        }
        let condition = match &self.request {
            Request::Acknowledge { condition, .. }
            | Request::Shelve { condition, .. }
            | Request::Unshelve { condition, .. }
            | Request::Comment { condition, .. }
            | Request::Label { condition, .. } => condition.len(),
            Request::Event { components, note, .. } => {
                event::check_texts(components, note.as_deref())?;
                0
            }
            Request::Adopt { .. } => 0,
        };
        if matches!(&self.request, Request::Comment { text, .. } if text.is_empty() || text.len() > MAX_COMMENT) {
            return Err("text_length");
        }
        if self.id.is_empty() || self.id.len().max(self.issuer.len()).max(condition) > MAX_COMMAND_TEXT {
            return Err("text_length");
        }
        Ok(())
    }

    /// Encodes as JSON.
    pub fn encode(&self) -> Result<String, JsonError> {
        json::encode(self)
    }

    /// Decodes and checks; a command that does not pass [`Command::check`] is malformed, and the error says how.
    pub fn decode(bytes: &[u8]) -> Result<Self, JsonError> {
        let command: Self = json::decode(bytes)?;
        command.check().map_err(json::violation)?;
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn acknowledge() -> Command {
        Command {
            version: crate::SCHEMA_VERSION,
            id: "c-1".into(),
            site: Name::new("plant-a").unwrap(),
            agent: Name::new("gw-1").unwrap(),
            issuer: "ada".into(),
            issued: 1,
            expires: 2,
            request: Request::Acknowledge {
                asset: Name::new("pump-1").unwrap(),
                condition: "anomaly".into(),
                occurrence: 1,
            },
        }
    }

    #[test]
    fn a_command_is_read_back() {
        let sent = acknowledge();
        assert_eq!(Command::decode(sent.encode().unwrap().as_bytes()).unwrap(), sent);
    }

    #[test]
    fn a_text_of_the_longest_length_is_accepted_and_a_byte_more_is_not() {
        let long = "x".repeat(MAX_COMMAND_TEXT);
        let fit = Command { id: long.clone(), issuer: long.clone(), ..acknowledge() };
        assert_eq!(fit.check(), Ok(()));
        let longer = alloc::format!("{long}x");
        assert_eq!(Command { id: longer.clone(), ..acknowledge() }.check(), Err("text_length"));
        assert_eq!(Command { issuer: longer.clone(), ..acknowledge() }.check(), Err("text_length"));
        assert_eq!(Command { id: String::new(), ..acknowledge() }.check(), Err("text_length"));
        let asset = Name::new("pump-1").unwrap();
        let request = Request::Acknowledge { asset, condition: longer, occurrence: 1 };
        assert_eq!(Command { request, ..acknowledge() }.check(), Err("text_length"));
    }

    #[test]
    fn a_comment_says_something_and_has_a_bound() {
        let comment = |text: String| Command {
            request: Request::Comment {
                asset: Name::new("pump-1").unwrap(),
                condition: "anomaly".into(),
                occurrence: 1,
                text,
            },
            ..acknowledge()
        };
        assert_eq!(comment("x".repeat(MAX_COMMENT)).check(), Ok(()));
        assert_eq!(comment("x".repeat(MAX_COMMENT + 1)).check(), Err("text_length"));
        assert_eq!(comment(String::new()).check(), Err("text_length"));
    }

    #[test]
    fn an_event_says_what_it_says_within_bounds() {
        let asset = Name::new("pump-1").unwrap();
        let event = |components: Vec<String>, note: Option<String>| {
            let request =
                Request::Event { asset: asset.clone(), event: EventKind::Replaced, at: None, components, note };
            Command { request, ..acknowledge() }
        };
        let least = event(Vec::new(), None);
        assert!(least.encode().unwrap().contains(r#"{"event":{"asset":"pump-1","event":"replaced"}}"#));
        assert_eq!(Command::decode(least.encode().unwrap().as_bytes()).unwrap(), least);
        assert_eq!(event(Vec::new(), Some("x".repeat(MAX_COMMENT + 1))).check(), Err("text_length"));
        let many = event(alloc::vec!["x".into(); 1_000], None).encode().unwrap();
        assert!(Command::decode(many.as_bytes()).unwrap_err().to_string().contains("too_many_components"));
    }

    #[test]
    fn a_command_of_a_far_version_is_refused_by_decode() {
        let far = Command { version: crate::SCHEMA_VERSION + 2, ..acknowledge() };
        let error = Command::decode(far.encode().unwrap().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("schema_version"), "{error}");
    }

    #[test]
    fn a_request_that_is_not_known_is_refused() {
        let text = acknowledge().encode().unwrap().replace("acknowledge", "reboot");
        assert!(Command::decode(text.as_bytes()).is_err());
    }
}
