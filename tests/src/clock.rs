//! The testbed's clock: deadlines, and the only pause in it.
//!
//! A test never sleeps until something has "surely" happened. It asks [`eventually`] for a condition, which looks again
//! and again until the condition holds or the deadline has passed; the short pause between two looks bounds what looking
//! costs and decides nothing.

use std::time::{Duration, Instant};

/// Between two looks at a condition: long enough to cost nothing, short beside everything that is waited for.
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);

/// An instant by which something must have happened.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    started: Instant,
    within: Duration,
}

impl Deadline {
    /// A deadline `within` from now.
    pub fn new(within: Duration) -> Self {
        Self { started: now(), within }
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        self.elapsed() >= self.within
    }

    /// Time since the deadline was set.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

#[expect(clippy::disallowed_methods, reason = "the testbed's one clock")]
fn now() -> Instant {
    Instant::now()
}

/// Wall time now, microseconds since 1970, for event times of hand-made messages.
#[expect(clippy::disallowed_methods, reason = "the testbed's one clock")]
pub fn wall() -> fettle_wire::Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    fettle_wire::Micros::try_from(since.as_micros()).unwrap_or(fettle_wire::Micros::MAX)
}

/// The short pause between two looks at a condition. Not for anything else.
pub(crate) fn between_looks() {
    std::thread::sleep(BETWEEN_LOOKS);
}

/// Looks at `probe` until it gives a value and returns that; after `within` panics with `what` was awaited and with what
/// the last look saw.
pub fn eventually<T>(what: &str, within: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Deadline::new(within);
    loop {
        match probe() {
            Ok(value) => return value,
            Err(seen) if deadline.passed() => {
                panic!("waited {} s for: {what}; last seen: {seen}", within.as_secs_f64())
            }
            Err(_) => between_looks(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_to_hold_is_returned() {
        let mut looks = 0;
        let value = eventually("three looks", Duration::from_secs(5), || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("{looks} looks")) }
        });
        assert_eq!(value, 3);
    }

    #[test]
    #[should_panic(expected = "last seen: never")]
    fn a_condition_that_never_holds_says_what_was_seen_last() {
        eventually("nothing", Duration::from_millis(1), || Err::<(), _>("never".to_owned()));
    }
}
