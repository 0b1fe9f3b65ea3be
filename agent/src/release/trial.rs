//! A release is opened in a process of its own first, with bounds on memory and time: what a file can do to a runtime that
//! we did not write is not known, and the agent must outlive it (K1).
//!
//! The child is this very program, called with [`WORD`] and the keys; it reads the file from its standard input and
//! answers with one line of JSON. What it says is not believed beyond "it can be opened": the agent opens the file again.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use fettle_models::release::{Key, Policy, Refusal, open};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::policy::MAX_FILE;

/// The argument that makes a program the child of a trial.
pub const WORD: &str = "try-release";
/// Address space of the child, bytes.
const MEMORY: u64 = 1 << 30;
/// Processor seconds of the child.
const PROCESSOR: u64 = 10;
/// How long the agent waits for it.
const WAIT: Duration = Duration::from_secs(30);

/// What the child answers.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// Absent if the file can be opened.
    reason: Option<String>,
    text: String,
}

/// Why a trial found a release wanting: the reason in one word, and for people.
pub type Finding = (String, String);

/// If this process was called to try a release, does so; `main` returns at once with what comes back.
pub fn answer_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(WORD) {
        return None;
    }
    let keys: Vec<Key> = arguments.filter_map(|text| Key::parse(&text)).collect();
    Some(match bound().and_then(|()| read()) {
        Ok(bytes) => {
            let answer = judge(&bytes, &keys);
            println!("{}", serde_json::to_string(&answer).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{WORD}: {error}");
            ExitCode::FAILURE
        }
    })
}

fn bound() -> std::io::Result<()> {
    for (resource, most) in [(Resource::As, MEMORY), (Resource::Cpu, PROCESSOR), (Resource::Core, 0)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

fn read() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn judge(bytes: &[u8], keys: &[Key]) -> Answer {
    // Whether it fits the machines here is asked by the agent, who knows them.
    match open(bytes, &Policy { keys, floor: &|_| 0, fits: &|_, _| Ok(()) }) {
        Ok(_) => Answer { reason: None, text: String::new() },
        Err(refusal) => Answer { reason: Some(refusal.reason().to_owned()), text: refusal.to_string() },
    }
}

/// Has a child open the file.
///
/// # Errors
/// The child's refusal, or `trial` if it died, hung or could not be started.
pub fn run(bytes: &[u8], keys: &[Key]) -> Result<(), Finding> {
    let program = std::env::current_exe().map_err(|e| failed(format!("could not be found: {e}")))?;
    run_in(&program, bytes, keys)
}

fn failed(what: String) -> Finding {
    let refusal = Refusal::Trial(what);
    (refusal.reason().to_owned(), refusal.to_string())
}

/// As [`run`], in a child of another program that [`answer_if_asked`] is called in.
///
/// # Errors
/// As [`run`].
pub fn run_in(program: &Path, bytes: &[u8], keys: &[Key]) -> Result<(), Finding> {
    let mut child = Command::new(program)
        .arg(WORD)
        .args(keys.iter().map(Key::text))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(format!("could not be started: {e}")))?;
    let said = listen(&mut child, bytes);
    if said.is_none() {
        // It may have ended meanwhile; then there is nothing to kill.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| failed(format!("cannot be waited for: {e}")))?;
    let Some(said) = said else { return Err(failed(format!("did not answer within {} s", WAIT.as_secs()))) };
    match serde_json::from_slice::<Answer>(&said) {
        Ok(Answer { reason: None, .. }) if status.success() => Ok(()),
        Ok(Answer { reason: Some(reason), text }) => Err((reason, text)),
        _ => Err(failed(format!("ended with {status}"))),
    }
}

/// Gives the child the file and returns what it says; `None` if it takes too long.
fn listen(child: &mut Child, bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut input, mut output) = (child.stdin.take()?, child.stdout.take()?);
    let file = bytes.to_vec();
    // A child that ends early closes its end; its answer or status says why.
    let feed = std::thread::spawn(move || drop(input.write_all(&file)));
    let (sender, said) = mpsc::channel();
    let hear = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = output.by_ref().take(1 << 16).read_to_end(&mut text);
        drop(sender.send(text));
    });
    let text = said.recv_timeout(WAIT).ok();
    if text.is_some() {
        let _ = (feed.join(), hear.join());
    }
    text
}
