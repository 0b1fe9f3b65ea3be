//! The trace: a running hash over every event and effect in order, printed line by line when a seed is replayed.

use crate::random::{mix, mix_bytes};

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: u64,
    print: bool,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        Self { hash: 0, lines: 0, print }
    }

    /// Takes note of something at virtual time `at` (microseconds).
    pub(crate) fn note(&mut self, at: u64, what: &str, numbers: &[u64]) {
        self.hash = mix(&[self.hash, at, mix_bytes(what.as_bytes())]);
        self.hash = mix(&[self.hash, mix(numbers)]);
        self.lines += 1;
        if self.print {
            println!("{:>12.6} {what} {numbers:?}", at as f64 / 1e6);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }
}
