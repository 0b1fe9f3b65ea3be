//! Names of sites, assets, channels and agents: bounded, and safe inside MQTT topics, Kafka keys and file names.
//!
//! A [`Name`] that exists has been checked, however it came to be: typed, parsed or read by serde. Names are compared
//! byte by byte and case counts; nothing is trimmed or folded, so a text has one name or none.
//!
//! Must never become a way around the check: no constructor without it.

use alloc::boxed::Box;
use alloc::string::String;
use core::borrow::Borrow;
use core::fmt;
use core::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 64;

/// A checked name: 1 to 64 bytes of `A-Z a-z 0-9 . _ -`, not starting with a dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty.
    Empty,
    /// The text has this many bytes, more than [`MAX_NAME`].
    TooLong(usize),
    /// This character is not one of `A-Z a-z 0-9 . _ -` (or is a leading dot).
    Character(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a name must not be empty"),
            Self::TooLong(length) => write!(f, "a name has at most {MAX_NAME} bytes, this one has {length}"),
            Self::Character(c) => {
                write!(
                    f,
                    "a name is made of A-Z a-z 0-9 . _ - and does not start with a dot; {c:?} is not allowed there"
                )
            }
        }
    }
}

impl core::error::Error for NameError {}

impl Name {
    /// Checks `text` and makes a name of it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Checks `text` without keeping it.
    pub fn check(text: &str) -> Result<(), NameError> {
        match text.len() {
            0 => return Err(NameError::Empty),
            n if n > MAX_NAME => return Err(NameError::TooLong(n)),
            _ => {}
        }
        if text.starts_with('.') {
            return Err(NameError::Character('.'));
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            Some(c) => Err(NameError::Character(c)),
            None => Ok(()),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl core::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::check(&text)?;
        Ok(Self(text.into_boxed_str()))
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::json;

    #[test]
    fn names_have_1_to_64_bytes_of_the_alphabet() {
        let longest = "x".repeat(MAX_NAME);
        for text in ["a", "A-1_b.c", "-", "_", "0", longest.as_str()] {
            assert_eq!(Name::new(text).map(|n| n.to_string()), Ok(text.to_string()));
        }
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new(&"x".repeat(MAX_NAME + 1)), Err(NameError::TooLong(65)));
        assert_eq!(Name::new(".."), Err(NameError::Character('.')));
        for (text, c) in [("a/b", '/'), ("a+", '+'), ("#", '#'), ("a b", ' '), ("a\0", '\0'), ("ä", 'ä'), ("a|", '|')]
        {
            assert_eq!(Name::new(text), Err(NameError::Character(c)));
        }
    }

    #[test]
    fn a_name_is_checked_when_it_is_read() {
        assert_eq!(json::decode::<Name>(b"\"pump-1\"").unwrap().as_str(), "pump-1");
        let error = json::decode::<Name>(b"\"pump/1\"").unwrap_err().to_string();
        assert!(error.contains("'/' is not allowed"), "{error}");
    }

    #[test]
    fn a_map_by_name_is_searched_by_text() {
        let map: alloc::collections::BTreeMap<Name, u8> =
            ["b", "a", "B"].into_iter().map(|n| (Name::new(n).unwrap(), 1)).collect();
        assert!(map.contains_key("a") && map.contains_key("B") && !map.contains_key("A"));
    }
}
