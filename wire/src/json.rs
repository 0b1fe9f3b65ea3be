//! JSON for what people, Flink SQL and dashboards read.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// The largest JSON record that is read, in bytes.
pub const MAX_JSON: usize = 1 << 20;

/// Why a text was not accepted.
#[derive(Debug)]
pub enum JsonError {
    /// More bytes than the limit: (length, limit).
    TooLarge(usize, usize),
    /// Not the JSON that was expected; the message has line and column.
    Malformed(serde_json::Error),
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(length, limit) => write!(f, "{length} bytes are more than the limit of {limit}"),
            Self::Malformed(e) => write!(f, "malformed JSON: {e}"),
        }
    }
}

impl core::error::Error for JsonError {}

/// Encodes as compact JSON. Fails only for maps with non-text keys, which none of this crate's types has.
pub fn encode<T: Serialize>(value: &T) -> Result<String, JsonError> {
    serde_json::to_string(value).map_err(JsonError::Malformed)
}

/// Decodes at most [`MAX_JSON`] bytes.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, JsonError> {
    if bytes.len() > MAX_JSON {
        return Err(JsonError::TooLarge(bytes.len(), MAX_JSON));
    }
    serde_json::from_slice(bytes).map_err(JsonError::Malformed)
}
