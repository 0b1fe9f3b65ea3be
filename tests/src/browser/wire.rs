//! The DevTools protocol over Chromium's debugging pipe: JSON messages that end with a zero byte, requests on its file
//! descriptor 3, answers and events on 4. No port is opened, so nobody else on the machine can drive the browser.
//!
//! A thread reads what comes: answers wait for whoever asked, complaints (warnings, errors, exceptions) are kept by the
//! session they belong to, everything else is passed over.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::ChildStdin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a page said that a person with the developer tools open would see in yellow or red.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Who says it: `console`, `exception`, or the browser's own `network`, `security`, `deprecation`, ..
    pub source: String,
    /// In its words.
    pub text: String,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Wire {
    input: Mutex<(u64, ChildStdin)>,
    heard: Arc<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<u64, Value>,
    complaints: HashMap<String, Vec<Complaint>>,
    ended: bool,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, message: Value) {
        let mut state = self.lock();
        if let Some(id) = message["id"].as_u64() {
            state.answers.insert(id, message);
        } else if let Some(complaint) = complaint(&message) {
            let session = message["sessionId"].as_str().unwrap_or_default().to_owned();
            state.complaints.entry(session).or_default().push(complaint);
        }
        drop(state);
        self.news.notify_all();
    }
}

impl Wire {
    /// Speaks through `input`, and reads `output` until it ends.
    pub(super) fn new(input: ChildStdin, output: impl Read + Send + 'static) -> Self {
        let heard = Arc::new(Heard::default());
        let hears = Arc::clone(&heard);
        std::thread::spawn(move || {
            let (mut output, mut message) = (BufReader::new(output), Vec::new());
            while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                // What is not JSON cannot be an answer; whoever waits for one runs into its deadline.
                if let Ok(value) = serde_json::from_slice(&message) {
                    hears.take(value);
                }
                message.clear();
            }
            hears.lock().ended = true;
            hears.news.notify_all();
        });
        Self { input: Mutex::new((0, input)), heard }
    }

    /// Asks, and waits for the answer's `result`. An empty session means the browser itself.
    pub(super) fn ask(&self, session: &str, method: &str, parameters: &Value) -> Result<Value, String> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.0 += 1;
        let id = input.0;
        let mut request = json!({ "id": id, "method": method, "params": parameters });
        if !session.is_empty() {
            request["sessionId"] = session.into();
        }
        input.1.write_all(format!("{request}\0").as_bytes()).map_err(|e| format!("{method}: {e}"))?;
        drop(input);
        let waits = |state: &mut State| !state.answers.contains_key(&id) && !state.ended;
        let waited = self.heard.news.wait_timeout_while(self.heard.lock(), PATIENCE, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let answer = state.answers.remove(&id);
        drop(state);
        let mut answer = answer.ok_or_else(|| format!("{method}: the browser did not answer"))?;
        match answer.get("error") {
            Some(error) => Err(format!("{method}: {error}")),
            None => Ok(answer["result"].take()),
        }
    }

    /// What a session's page has complained of since this was last asked.
    pub(super) fn complaints(&self, session: &str) -> Vec<Complaint> {
        self.heard.lock().complaints.remove(session).unwrap_or_default()
    }
}

fn complaint(message: &Value) -> Option<Complaint> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let about = &message["params"];
    match message["method"].as_str()? {
        "Runtime.consoleAPICalled" if ["warning", "error", "assert"].contains(&about["type"].as_str()?) => {
            let said = about["args"].as_array()?.iter();
            let said: Vec<_> = said.map(|a| a["value"].as_str().map_or_else(|| a.to_string(), str::to_owned)).collect();
            Some(Complaint { source: "console".to_owned(), text: said.join(" ") })
        }
        "Runtime.exceptionThrown" => {
            let details = &about["exceptionDetails"];
            let said = format!("{} {}", text(&details["text"]), text(&details["exception"]["description"]));
            Some(Complaint { source: "exception".to_owned(), text: said })
        }
        "Log.entryAdded" if ["warning", "error"].contains(&about["entry"]["level"].as_str()?) => {
            let entry = &about["entry"];
            let said = format!("{} {}", text(&entry["text"]), text(&entry["url"]));
            Some(Complaint { source: text(&entry["source"]), text: said })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_errors_and_exceptions_are_complaints_and_logs_are_not() {
        let console = |kind: &str| json!({ "method": "Runtime.consoleAPICalled", "params": { "type": kind, "args": [{ "value": "so" }, { "value": 3 }] } });
        assert_eq!(complaint(&console("log")), None);
        assert_eq!(complaint(&console("warning")).unwrap().text, "so {\"value\":3}");
        let thrown = json!({ "method": "Runtime.exceptionThrown", "params": { "exceptionDetails": { "text": "Uncaught",
            "exception": { "description": "TypeError: x" } } } });
        assert_eq!(complaint(&thrown).unwrap().text, "Uncaught TypeError: x");
        let refused = json!({ "method": "Log.entryAdded", "params": { "entry": { "level": "error", "source": "security",
            "text": "Refused", "url": "u" } } });
        let expected = Complaint { source: "security".to_owned(), text: "Refused u".to_owned() };
        assert_eq!(complaint(&refused), Some(expected));
    }
}
