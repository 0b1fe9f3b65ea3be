//! How threads end and how they wait before they try again.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// Says to every thread that it is time to end; waiting on it is the only sleep there is.
#[derive(Clone, Default)]
pub struct Stop {
    inner: Arc<(Mutex<bool>, Condvar)>,
}

impl Stop {
    /// Ends every thread.
    pub fn set(&self) {
        // A flag is whole even if a thread died holding the lock.
        *self.inner.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.inner.1.notify_all();
    }

    /// Whether it is time to end.
    pub fn is_set(&self) -> bool {
        *self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, at most until it is time to end; whether it is.
    pub fn wait(&self, time: Duration) -> bool {
        let flag = self.inner.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.inner.1.wait_timeout_while(flag, time, |stop| !*stop);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait: Kafka may be away for days, and is to be found again soon after it came back.
const LONGEST: Duration = Duration::from_secs(4);
/// How often the same trouble is said.
const REMIND: Duration = Duration::from_secs(60);

/// Waits that double up to a bound.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
    said: Option<Instant>,
}

impl Backoff {
    /// After a success.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether this failure is to be logged: the first, then once a minute.
    pub fn is_worth_saying(&mut self) -> bool {
        let now = clock::monotonic();
        let due = self.said.is_none_or(|said| now.duration_since(said) >= REMIND);
        if due {
            self.said = Some(now);
        }
        due
    }

    /// The next wait.
    fn next(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// Waits before the next try.
    pub fn wait(&mut self, stop: &Stop) {
        let wait = self.next();
        stop.wait(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_begin_again_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..6).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 4_000, 4_000]);
        backoff.reset();
        assert_eq!(backoff.next(), FIRST);
    }

    #[test]
    fn the_same_trouble_is_said_once() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_worth_saying());
        assert!(!backoff.is_worth_saying());
    }

    #[test]
    fn a_wait_ends_when_it_is_time_to_end() {
        let stop = Stop::default();
        let other = stop.clone();
        let waiting = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        stop.set();
        assert!(waiting.join().unwrap());
        assert!(stop.is_set());
    }
}
