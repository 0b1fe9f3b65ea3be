//! The log: `tracing` to stderr, for people or as JSON lines, each message limited in rate.
//!
//! One place in the code may write [`BURST`] lines in [`WINDOW`]; what it writes beyond is counted, and the count is
//! written with the place's next line. So a broker that refuses us ten times a second costs a line a second and hides
//! nothing else. Lines name what is in docs/metrics.md (`event=...`). Secrets cannot reach the log: they are
//! [`crate::config::Secret`], which shows nothing.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};

use fettle_wire::time::Rfc3339;
use tracing::callsite::Identifier;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt::format::{Format, JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::clock;

/// Lines that one place in the code may write in [`WINDOW`].
pub const BURST: u32 = 10;
/// The span over which lines are counted, us.
pub const WINDOW: u64 = 10_000_000;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("{filter:?} is not a log filter; write a level like \"info\", or \"info,fettle_agent::uplink=debug\"")]
    Filter {
        /// As typed.
        filter: String,
        /// What is wrong with it, unless a name or a level is simply absent.
        source: Option<ParseError>,
    },
    /// A log was started before.
    #[error("the log was started twice")]
    Twice(#[source] TryInitError),
}

/// Starts the log of this process.
pub fn start(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let parsed = parse(filter).map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(colour);
    let registry = tracing_subscriber::registry().with(parsed);
    match format {
        LogFormat::Text => registry
            .with(layer.event_format(Limited::new(Format::default().with_timer(Utc), suppressed_text)))
            .try_init(),
        LogFormat::Json => registry
            .with(layer.fmt_fields(JsonFields::new()).event_format(Limited::new(
                Format::default().json().flatten_event(true).with_timer(Utc),
                suppressed_json,
            )))
            .try_init(),
    }
    .map_err(LogError::Twice)
}

/// Levels, for everything or for one module: `Targets`, because the filter that also knows spans brings a whole engine of
/// regular expressions with it. An absent name or level it would read as "errors only", silently.
fn parse(filter: &str) -> Result<Targets, Option<ParseError>> {
    let directives: Vec<_> = filter.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    if directives.iter().any(|directive| directive.starts_with('=') || directive.ends_with('=')) {
        return Err(None);
    }
    directives.join(",").parse().map_err(Some)
}

/// RFC 3339 in UTC, from the agent's own clock.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", Rfc3339(clock::wall()))
    }
}

/// Writes the line that says how many were left out: (count, file, line in it).
type WriteSuppressed = fn(&mut Writer<'_>, u64, &str, u32) -> fmt::Result;

fn suppressed_text(writer: &mut Writer<'_>, count: u64, file: &str, line: u32) -> fmt::Result {
    let now = Rfc3339(clock::wall());
    writeln!(
        writer,
        "{now}  INFO fettle_agent::log: left out lines like the next event=\"log.suppressed\" count={count} place={file}:{line}"
    )
}

fn suppressed_json(writer: &mut Writer<'_>, count: u64, file: &str, line: u32) -> fmt::Result {
    let now = Rfc3339(clock::wall());
    writeln!(
        writer,
        "{{\"timestamp\":\"{now}\",\"level\":\"INFO\",\"message\":\"left out lines like the next\",\"event\":\"log.suppressed\",\"count\":{count},\"place\":\"{file}:{line}\",\"target\":\"fettle_agent::log\"}}"
    )
}

/// A line format that leaves out what comes too often.
struct Limited<F> {
    inner: F,
    limiter: Limiter,
    write_suppressed: WriteSuppressed,
}

impl<F> Limited<F> {
    fn new(inner: F, write_suppressed: WriteSuppressed) -> Self {
        Self { inner, limiter: Limiter::default(), write_suppressed }
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        match self.limiter.admit(metadata.callsite(), clock::process_micros()) {
            Admission::LeaveOut => return Ok(()),
            Admission::Write { left_out: 0 } => {}
            Admission::Write { left_out } => {
                let place = (metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0));
                (self.write_suppressed)(&mut writer, left_out, place.0, place.1)?;
            }
        }
        self.inner.format_event(ctx, writer, event)
    }
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
enum Admission {
    /// It is written, after as many like it were left out.
    Write { left_out: u64 },
    /// It is counted.
    LeaveOut,
}

#[derive(Default)]
struct Spent {
    since: u64,
    lines: u32,
    left_out: u64,
}

/// Counts lines per place in the code. Bounded: there are as many places as the program has.
#[derive(Default)]
struct Limiter(Mutex<HashMap<Identifier, Spent>>);

impl Limiter {
    fn admit(&self, place: Identifier, now: u64) -> Admission {
        // A panic elsewhere while counting leaves counts that are still counts.
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = places.entry(place).or_insert_with(|| Spent { since: now, ..Spent::default() });
        if now.saturating_sub(spent.since) >= WINDOW {
            spent.since = now;
            spent.lines = 0;
        }
        if spent.lines >= BURST {
            spent.left_out += 1;
            return Admission::LeaveOut;
        }
        spent.lines += 1;
        Admission::Write { left_out: std::mem::take(&mut spent.left_out) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(run: impl FnOnce()) -> Vec<String> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let format = Limited::new(Format::default().json().flatten_event(true).with_timer(Utc), suppressed_json);
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(format);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), run);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn one_place_that_shouts_does_not_drown_another() {
        let lines = lines(|| {
            for i in 0..1000 {
                tracing::warn!(i, "again");
            }
            tracing::info!("quiet");
        });
        assert_eq!(lines.len(), BURST as usize + 1);
        for line in &lines {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(json["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
        }
        assert!(lines.last().unwrap().contains("quiet"));
    }

    #[test]
    fn what_was_left_out_is_counted_when_the_place_speaks_again() {
        let limiter = Limiter::default();
        let place = tracing::callsite!(name: "x", kind: tracing::metadata::Kind::EVENT, fields: );
        let place = tracing::Callsite::metadata(place).callsite();
        let admit = |now| limiter.admit(place.clone(), now);
        for _ in 0..BURST {
            assert_eq!(admit(5), Admission::Write { left_out: 0 });
        }
        assert_eq!(admit(6), Admission::LeaveOut);
        assert_eq!(admit(WINDOW + 4), Admission::LeaveOut);
        assert_eq!(admit(WINDOW + 5), Admission::Write { left_out: 2 });
        assert_eq!(admit(WINDOW + 6), Admission::Write { left_out: 0 });
    }

    #[test]
    fn the_line_about_lines_left_out_is_json_too() {
        let mut text = String::new();
        suppressed_json(&mut Writer::new(&mut text), 7, "src/a.rs", 12).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((json["count"].as_u64(), json["place"].as_str()), (Some(7), Some("src/a.rs:12")));
    }

    #[test]
    fn a_filter_names_a_level_for_all_or_for_one_module() {
        let level = |filter: &str, target: &str| {
            let targets = parse(filter).unwrap();
            [tracing::Level::ERROR, tracing::Level::INFO, tracing::Level::DEBUG]
                .map(|level| targets.would_enable(target, &level))
        };
        assert_eq!(level("info", "fettle_agent"), [true, true, false]);
        assert_eq!(level("warn, fettle_agent::uplink=debug,", "fettle_agent::uplink::producer"), [true, true, true]);
        assert_eq!(level("warn, fettle_agent::uplink=debug,", "fettle_agent::core"), [true, false, false]);
        assert!(parse("info,fettle_agent=").is_err() && parse("info,a=b").is_err());
    }

    #[test]
    fn a_wrong_filter_is_shown_with_an_example() {
        let error = start("info,=,=", LogFormat::Text).unwrap_err();
        assert!(error.to_string().contains("info,=,="), "{error}");
    }
}
