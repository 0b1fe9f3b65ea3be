//! Commands: requests from the centre to an agent, on `fettle.commands`. Idempotent by id, valid for days offline.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::time::Micros;

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
    /// Take a quarantined asset into service with the channels it has shown.
    Adopt {
        /// The asset.
        asset: Name,
    },
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

/// The longest command id and issuer, in bytes.
pub const MAX_COMMAND_TEXT: usize = 256;

impl Command {
    /// Whether texts are bounded and the version is readable; the reason if not.
    pub fn check(&self) -> Result<(), &'static str> {
        if !crate::accepts_version(self.version) {
            return Err("schema_version");
        }
        if self.id.is_empty() || self.id.len() > MAX_COMMAND_TEXT || self.issuer.len() > MAX_COMMAND_TEXT {
            return Err("text_length");
        }
        Ok(())
    }
}
