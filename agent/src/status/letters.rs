//! The dead letters as a list: what could not be used, newest first, for `fettle-agent dead-letters`.
//!
//! Reads the store beside a running agent and changes nothing. Payloads come from strangers: for people they are shown
//! with every control character escaped, so that a message cannot write on somebody's terminal.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use fettle_wire::record::Hex;
use fettle_wire::time::Rfc3339;
use serde::Serialize;

use crate::core::dead::DeadLetter;
use crate::journal::store::{Store, StoreError};
use crate::journal::{dead_key, open};

/// How much of a payload a line shows, in characters.
const SHOWN: usize = 100;

/// One dead letter, as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    topic: &'a str,
    reason: &'a str,
    detail: &'a str,
    length: u64,
    payload: String,
}

/// The newest `most` dead letters of `store`, one a line.
pub fn list(store: &dyn Store, most: usize, json: bool) -> Result<String, StoreError> {
    let mut letters = Vec::new();
    let mut damaged = 0_u64;
    store.scan(&dead_key(0), b"e", &mut |key, value| {
        match open(key, value).ok().and_then(|bytes| DeadLetter::decode(&bytes).ok()) {
            Some(letter) => letters.push(letter),
            None => damaged += 1,
        }
        ControlFlow::Continue(())
    })?;
    let mut text = String::new();
    for letter in letters.iter().rev().take(most) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", if json { as_json(letter) } else { for_people(letter) });
    }
    if letters.is_empty() && !json {
        text.push_str("no message was put aside\n");
    }
    if damaged > 0 && !json {
        let _ = writeln!(text, "{damaged} more cannot be read: their records are damaged");
    }
    Ok(text)
}

fn as_json(letter: &DeadLetter) -> String {
    let line = Line {
        at: Rfc3339(letter.at).to_string(),
        topic: &letter.topic,
        reason: &letter.reason,
        detail: &letter.detail,
        length: letter.length,
        payload: Hex(&letter.payload).to_string(),
    };
    // Invariant: texts and numbers; JSON holds them all.
    serde_json::to_string(&line).unwrap_or_default()
}

fn for_people(letter: &DeadLetter) -> String {
    let DeadLetter { reason, detail, topic, length, payload, .. } = letter;
    let beginning = String::from_utf8_lossy(&payload[..payload.len().min(SHOWN)]);
    let (topic, detail) = (topic.escape_debug(), detail.escape_debug());
    format!("{}  {reason}  {topic}  {detail}; {length} bytes: {}", Rfc3339(letter.at), beginning.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::model::Model;
    use crate::journal::seal;
    use crate::journal::store::Write;

    fn store() -> Model {
        let mut store = Model::default();
        let writes: Vec<Write> = (0..3_u64)
            .map(|i| {
                let letter = DeadLetter::new(i as i64, "malformed_json", format!("number {i}"), "a/b", b"\x1b[2J{");
                Write::Put(dead_key(i).to_vec(), seal(&dead_key(i), &letter.encode()))
            })
            .chain([Write::Put(dead_key(9).to_vec(), b"torn".to_vec())])
            .collect();
        store.commit(&writes).unwrap();
        store
    }

    #[test]
    fn the_newest_come_first_and_cannot_write_on_the_terminal() {
        let text = list(&store(), 2, false).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("number 2") && lines[1].contains("number 1"), "{text}");
        assert!(!text.contains('\x1b') && text.contains("\\u{1b}[2J{"), "{text}");
        assert!(lines[2].starts_with("1 more cannot be read"), "{text}");
    }

    #[test]
    fn every_json_line_is_json_and_holds_the_payload() {
        let text = list(&store(), 10, true).unwrap();
        assert_eq!(text.lines().count(), 3);
        for line in text.lines() {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(json["payload"].as_str(), Some("1b5b324a7b"));
        }
    }

    #[test]
    fn an_empty_store_says_so() {
        assert_eq!(list(&Model::default(), 10, false).unwrap(), "no message was put aside\n");
    }
}
