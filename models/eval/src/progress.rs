//! Progress on standard error: one line that is drawn over on a terminal, and silence elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;

const WIDTH: usize = 30;

/// A bar over a known number of steps, shared by the threads that make them.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<(String, usize, usize)>,
    shown: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { state: Mutex::default(), shown: std::io::stderr().is_terminal() }
    }
}

impl Progress {
    /// One that is never shown.
    pub fn silent() -> Self {
        Self { state: Mutex::default(), shown: false }
    }

    /// Begins a bar of `steps`.
    pub fn begin(&self, what: &str, steps: usize) {
        self.with(|state| *state = (what.to_owned(), 0, steps));
    }

    /// One step is done.
    pub fn step(&self) {
        self.with(|state| state.1 = (state.1 + 1).min(state.2));
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }

    fn with(&self, change: impl FnOnce(&mut (String, usize, usize))) {
        // A thread that died while it drew leaves nothing worse than a wrong bar.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut state);
        if self.shown {
            let (what, done, all) = &*state;
            let full = WIDTH * done / (*all).max(1);
            eprint!("\r\x1b[K{what} [{}{}] {done}/{all}", "#".repeat(full), ".".repeat(WIDTH - full));
            // Progress that cannot be shown is no reason to stop.
            let _ = std::io::stderr().flush();
        }
    }
}
