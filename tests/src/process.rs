//! One real process: started with its output in a file, ended when dropped, its log shown when the test failed.
//!
//! Invariant: while the handle lives there is at most one process behind it, and none after it is dropped.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{Deadline, between_looks};

/// How many lines of a log are shown when a test fails.
const LINES_SHOWN: usize = 60;

/// What to start.
#[derive(Debug, Clone)]
pub struct Spec {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    log: PathBuf,
}

impl Spec {
    /// A process called `name` in messages, whose log is `<folder>/<name>.log`.
    pub fn new(name: &str, program: impl Into<PathBuf>, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            log: folder.join(format!("{name}.log")),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((key.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it.
    pub fn start(self) -> Process {
        let child = launch(&self);
        Process { spec: self, child: Some(child), ended: None }
    }
}

fn launch(spec: &Spec) -> Child {
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&spec.log)
        .unwrap_or_else(|e| panic!("cannot open {}: {e}", spec.log.display()));
    let _ = writeln!(log, "--- testbed starts {}", spec.name);
    let output = log.try_clone().expect("a file handle can be duplicated");
    Command::new(&spec.program)
        .args(&spec.arguments)
        .envs(spec.environment.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {} ({}): {e}", spec.name, spec.program.display()))
}

/// A running, paused or ended process.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Option<Child>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// The name in messages.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it still runs; once it has ended, its exit status is kept.
    pub fn running(&mut self) -> bool {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            self.ended = Some(status);
            self.child = None;
        }
        self.child.is_some()
    }

    /// Panics, with the log's end, if it has ended.
    pub fn assert_running(&mut self) {
        assert!(self.running(), "{} has ended ({:?}):\n{}", self.spec.name, self.ended, self.log_end());
    }

    /// SIGKILL, as by power loss of the process; returns when it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            self.ended = child.wait().ok();
        }
    }

    /// Sends a signal to the running process.
    pub fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.unwrap_or_else(|| panic!("{} does not run, so it cannot be sent {signal:?}", self.spec.name));
        kill_process(pid, signal).unwrap_or_else(|e| panic!("cannot send {signal:?} to {}: {e}", self.spec.name));
    }

    /// SIGSTOP: the process hangs, its connections stay open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT after [`Process::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self, within: Duration) -> ExitStatus {
        if self.running() {
            self.signal(Signal::TERM);
        }
        self.wait(within)
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = Deadline::new(within);
        while self.running() {
            assert!(!deadline.passed(), "{} did not end within {within:?}:\n{}", self.spec.name, self.log_end());
            between_looks();
        }
        self.ended.unwrap_or_else(|| panic!("{} was never started", self.spec.name))
    }

    /// Starts it again as it was started first; the log goes on in the same file.
    pub fn start_again(&mut self) {
        assert!(!self.running(), "{} still runs", self.spec.name);
        self.child = Some(launch(&self.spec));
    }

    /// Everything it has written to standard output and error, over all starts.
    pub fn log(&self) -> String {
        fs::read(&self.spec.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Resident memory in KiB, while it runs.
    pub fn resident_kib(&self) -> Option<u64> {
        self.memory_kib("VmRSS:")
    }

    /// As [`Process::resident_kib`] without pages of files, which a store mapped into memory has many of.
    pub fn anonymous_kib(&self) -> Option<u64> {
        self.memory_kib("RssAnon:")
    }

    fn memory_kib(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    }

    /// The last lines of the log.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- end of {} ({})\n{}", self.spec.name, self.spec.log.display(), self.log_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_killed_process_is_gone_and_can_be_started_again() {
        let folder = Folder::new("process");
        let mut process = Spec::new("sleeper", "sleep", folder.path()).arg("600").start();
        let first = process.pid();
        assert!(process.running());
        process.kill();
        assert!(!process.running());
        assert_eq!(process.ended.and_then(|status| status.signal()), Some(9));
        process.start_again();
        assert!(process.running());
        assert_ne!(process.pid(), first);
        assert_eq!(process.stop(Duration::from_secs(5)).signal(), Some(15));
    }

    #[test]
    fn the_log_holds_what_was_written() {
        let folder = Folder::new("process");
        let mut process =
            Spec::new("speaker", "sh", folder.path()).args(["-c", "echo out; echo err >&2; exit 3"]).start();
        assert_eq!(process.wait(Duration::from_secs(5)).code(), Some(3));
        assert!(process.log().contains("out\nerr"), "{}", process.log());
    }
}
