//! The report laid out for a person at a terminal: what is wrong first in each line, then the numbers.
//!
//! Colour marks only what needs somebody, and only on a terminal. At most [`MAX_ROWS`] assets are listed unless all are
//! asked for, those with trouble first.

use std::fmt::Write as _;

use fettle_wire::time::{Rfc3339, SECOND};
use fettle_wire::{ClockQuality, Micros, Tally};

use super::report::{AssetStatus, Phase, Report};
use crate::config::quantity::show_size;

/// Assets listed unless all are asked for.
pub const MAX_ROWS: usize = 20;

/// How to lay out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layout {
    /// Mark trouble with colour.
    pub colour: bool,
    /// List every asset.
    pub all: bool,
}

/// The whole table.
pub fn render(report: &Report, layout: Layout) -> String {
    let mut page = Page { text: String::new(), layout };
    head(report, &mut page);
    connections(report, &mut page);
    store(report, &mut page);
    trouble(report, &mut page);
    ledger(report, &mut page);
    quarantine(report, &mut page);
    page.text
}

struct Page {
    text: String,
    layout: Layout,
}

impl Page {
    fn line(&mut self, label: &str, content: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "  {label:<9} {content}");
    }

    fn title(&mut self, title: &str) {
        let _ = writeln!(self.text, "\n{title}");
    }

    fn bad(&self, text: &str) -> String {
        if self.layout.colour { format!("\x1b[1;31m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn good(&self, text: &str) -> String {
        if self.layout.colour { format!("\x1b[32m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn head(report: &Report, page: &mut Page) {
    let Report { site, agent, version, incarnation, .. } = report;
    let reasons = report.not_ready();
    let state = match report.phase {
        Phase::Running if reasons.is_empty() => page.good("ready"),
        _ => page.bad("NOT READY"),
    };
    let running = span(report.uptime_s);
    let _ = writeln!(page.text, "fettle-agent {version}  {site}/{agent}  {state}, running for {running}");
    for reason in reasons {
        let reason = page.bad(&reason);
        page.line("", &reason);
    }
    let clock = match report.clock {
        ClockQuality::Synced => "synced".to_owned(),
        ClockQuality::FreeRunning => "free-running".to_owned(),
        ClockQuality::Unknown => page.bad("never set: event times cannot be checked"),
    };
    page.line("clock", &format!("{}, {clock}", seconds_only(report.at)));
    let configuration = &report.configuration;
    let mut text = format!("generation {}, incarnation {incarnation}", configuration.generation);
    if configuration.reload_failures > 0 {
        let _ = write!(text, ", {}", page.bad(&format!("{} reloads refused", configuration.reload_failures)));
    }
    page.line("config", &text);
}

fn connections(report: &Report, page: &mut Page) {
    let mqtt = &report.mqtt;
    let state = if mqtt.connected { page.good("connected") } else { page.bad("NOT CONNECTED") };
    let lost = plural(mqtt.session_lost, "session lost", "sessions lost");
    let lost = if mqtt.session_lost > 0 { page.bad(&lost) } else { lost };
    page.line(
        "MQTT",
        &format!(
            "{state} {}; {} messages ({}), {} unacknowledged, {}, {lost}",
            mqtt.broker,
            thousands(mqtt.received_messages),
            show_size(mqtt.received_bytes),
            thousands(mqtt.unacknowledged),
            plural(mqtt.reconnects, "reconnect", "reconnects"),
        ),
    );
    let kafka = &report.kafka;
    let state = if kafka.connected { page.good("connected") } else { page.bad("NOT CONNECTED") };
    let lag = match (kafka.lag_records, kafka.lag_oldest_s) {
        (0, _) => "nothing waits".to_owned(),
        (records, None) => format!("{} wait", plural(records, "record", "records")),
        (records, Some(age)) => {
            format!("{} wait, the oldest for {}", plural(records, "record", "records"), span(age))
        }
    };
    page.line(
        "Kafka",
        &format!(
            "{state} {}; {lag}; {} delivered, {} in flight, {} errors",
            kafka.brokers,
            thousands(kafka.delivered),
            thousands(kafka.in_flight),
            thousands(kafka.errors)
        ),
    );
    if let (false, Some(error)) = (kafka.connected, &kafka.last_error) {
        page.line("", error);
    }
    let refused: u64 = kafka.commands_refused.values().sum();
    let mut text = format!("{} applied", thousands(kafka.commands_applied));
    if refused > 0 {
        let _ = write!(text, ", {} refused ({})", thousands(refused), reasons(&kafka.commands_refused));
    }
    page.line("commands", &text);
    let events = &report.events;
    let refused: u64 = events.refused.values().sum();
    if events.taken + events.duplicate + refused > 0 {
        let mut text = format!(
            "{} taken, {} of them late, {} known already",
            thousands(events.taken),
            thousands(events.late),
            thousands(events.duplicate)
        );
        if refused > 0 {
            let _ = write!(text, ", {} refused ({})", thousands(refused), reasons(&events.refused));
        }
        page.line("events", &text);
    }
}

fn store(report: &Report, page: &mut Page) {
    let journal = &report.journal;
    let fill = share(journal.store_bytes, journal.store_max_bytes);
    let fill_text =
        format!("{} of {} used ({fill:.0} %)", show_size(journal.store_bytes), show_size(journal.store_max_bytes));
    let left = match journal.days_left {
        Some(days) if days < 2.0 => page.bad(&format!("full in {days:.1} days")),
        Some(days) => format!("full in {days:.0} days at this rate"),
        None => "not growing".to_owned(),
    };
    let fill_text = if fill >= 90.0 { page.bad(&fill_text) } else { fill_text };
    page.line("store", &format!("{fill_text}, {left}"));
    let since = journal.oldest_entry.map(|at| format!(" since {}", seconds_only(at))).unwrap_or_default();
    page.line("replay", &format!("{} of raw entries kept{since}", show_size(journal.raw_bytes)));
    let spread = &journal.commit_seconds;
    let failures = plural(journal.commit_failures, "failed", "failed");
    let failures = if journal.commit_failures > 0 { page.bad(&failures) } else { failures };
    let last = journal.last_commit.map(|at| format!(", last {} ago", span((report.at - at) as f64 / SECOND as f64)));
    page.line(
        "commits",
        &format!(
            "{}, median {:.1} ms, p99 {:.1} ms, longest {:.1} ms, {failures}{}",
            thousands(journal.commits),
            spread.p50 * 1e3,
            spread.p99 * 1e3,
            spread.max * 1e3,
            last.unwrap_or_default()
        ),
    );
    let lanes: Vec<String> = report
        .outbox
        .iter()
        .map(|(lane, status)| {
            let shed = if status.shed > 0 { format!(" ({} shed)", thousands(status.shed)) } else { String::new() };
            format!("{lane} {}{shed}", thousands(status.records))
        })
        .collect();
    let bytes: u64 = report.outbox.values().map(|lane| lane.bytes).sum();
    let fill = share(bytes, report.outbox_max_bytes);
    let waiting = if lanes.is_empty() { "nothing waits".to_owned() } else { lanes.join(", ") };
    let (bytes, most) = (show_size(bytes), show_size(report.outbox_max_bytes));
    page.line("outbox", &format!("{waiting}; {bytes} of {most} ({fill:.0} %)"));
    let recovery = &report.recovery;
    page.line(
        "start",
        &format!("{} entries replayed in {:.3} s", thousands(recovery.entries_replayed), recovery.seconds),
    );
}

fn trouble(report: &Report, page: &mut Page) {
    let alarms = plural(report.engine.alarms_open, "open alarm", "open alarms");
    let alarms = if report.engine.alarms_open > 0 { page.bad(&alarms) } else { alarms };
    page.line(
        "engine",
        &format!(
            "{}, {alarms}, {} evaluations",
            plural(report.engine.assets, "asset", "assets"),
            thousands(report.engine.evaluations)
        ),
    );
    for (class, text) in report.releases.lines() {
        page.line("release", &format!("{class}: {text}"));
    }
    let letters = &report.dead_letters;
    if letters.count > 0 {
        page.line(
            "unusable",
            &format!(
                "{}, {} kept: fettle-agent dead-letters lists them",
                plural(letters.count, "message", "messages"),
                thousands(letters.kept)
            ),
        );
    }
}

fn ledger(report: &Report, page: &mut Page) {
    page.title("Readings    received = used + late + duplicate + rejected + shed");
    let mut rows: Vec<&AssetStatus> = report.assets.iter().collect();
    let troubled =
        |a: &AssetStatus| (!a.readings.balances(), a.lost > 0, a.missing > 0, !a.readings.rejected.is_empty());
    rows.sort_by(|a, b| troubled(b).cmp(&troubled(a)).then_with(|| a.asset.cmp(&b.asset)));
    let shown = if page.layout.all { rows.len() } else { rows.len().min(MAX_ROWS) };
    let width = rows[..shown].iter().map(|a| a.asset.len()).max().unwrap_or(0).max(5);
    let _ = writeln!(
        page.text,
        "  {:<width$} {:>13} {:>13} {:>9} {:>9} {:>9} {:>9} {:>9}  balance",
        "", "received", "used", "late", "duplicate", "rejected", "shed", "missing"
    );
    let missing = report.assets.iter().map(|a| a.missing).sum();
    row(page, width, "all", &report.ledger, missing);
    for asset in &rows[..shown] {
        row(page, width, &asset.asset, &asset.readings, asset.missing);
    }
    if shown < rows.len() {
        let _ = writeln!(page.text, "  and {} more; --all lists them", thousands((rows.len() - shown) as u64));
    }
    for (what, counts) in [("rejected", &report.ledger.rejected), ("shed", &report.ledger.shed)] {
        if !counts.is_empty() {
            page.line(what, &reasons(counts));
        }
    }
}

fn row(page: &mut Page, width: usize, name: &str, tally: &Tally, missing: u64) {
    let (rejected, shed) = (tally.rejected.values().sum(), tally.shed.values().sum());
    let balance = if tally.balances() { "exact".to_owned() } else { page.bad("BROKEN") };
    let _ = writeln!(
        page.text,
        "  {name:<width$} {:>13} {:>13} {:>9} {:>9} {:>9} {:>9} {:>9}  {balance}",
        thousands(tally.received),
        thousands(tally.used),
        thousands(tally.late),
        thousands(tally.duplicate),
        thousands(rejected),
        thousands(shed),
        thousands(missing),
    );
}

fn quarantine(report: &Report, page: &mut Page) {
    let quarantined = &report.engine.quarantined;
    if quarantined.is_empty() {
        return;
    }
    page.title(&format!(
        "Quarantined  {} unknown to the registry, counted and not judged",
        plural(quarantined.len() as u64, "asset", "assets")
    ));
    let shown = if page.layout.all { quarantined.len() } else { quarantined.len().min(MAX_ROWS) };
    for unknown in &quarantined[..shown] {
        let _ = writeln!(page.text, "  {}  {}", unknown.asset, plural(unknown.readings, "reading", "readings"));
    }
    if shown < quarantined.len() {
        let _ = writeln!(page.text, "  and {} more; --all lists them", thousands((quarantined.len() - shown) as u64));
    }
    let first = &quarantined[0].asset;
    let _ = writeln!(
        page.text,
        "  To take one into service, describe it in the registry ([assets.{first}]) and run fettle-agent reload,\n  \
         or send the command adopt for it from the fleet gateway."
    );
}

fn reasons(counts: &std::collections::BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts.iter().map(|(reason, count)| format!("{reason} {}", thousands(*count))).collect();
    parts.join(", ")
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { many })
}

/// `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time span with the two units that say most.
fn span(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `2026-11-21 09:45:14 UTC`.
fn seconds_only(at: Micros) -> String {
    let text = Rfc3339(at).to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{date} {} UTC", time.split('.').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn the_table_says_what_a_person_asks() {
        let text = render(&example(), Layout::default());
        println!("{text}");
        for part in [
            "plant-a/gw-1  ready",
            "connected 127.0.0.1:1883",
            "NOT CONNECTED 127.0.0.1:9092; 812 records wait, the oldest for 12 min 34 s",
            "full in 12 days",
            "1,000,120",
            "exact",
            "fan-9  40 readings",
            "fettle-agent reload",
            "pump: pump-life 3; in shadow pump-life 4, agreed 118 of 120 steps (144 needed); before pump-life 2",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains('\x1b'), "no colour was asked for");
        assert!(text.lines().all(|line| line.len() <= 132), "{text}");
    }

    #[test]
    fn an_account_that_does_not_balance_is_shouted() {
        let mut report = example();
        report.assets[0].readings.used -= 1;
        assert!(render(&report, Layout::default()).contains("BROKEN"));
    }

    #[test]
    fn a_large_site_is_cut_and_says_so() {
        let mut report = example();
        for i in 0..100 {
            let mut asset = report.assets[1].clone();
            asset.asset = fettle_wire::Name::new(&format!("motor-{i}")).unwrap();
            report.assets.push(asset);
        }
        let text = render(&report, Layout::default());
        assert!(text.contains("and 82 more; --all lists them"), "{text}");
        assert!(render(&report, Layout { all: true, colour: false }).contains("motor-99"));
    }

    #[test]
    fn spans_and_numbers_read_well() {
        assert_eq!(span(0.2), "0.2 s");
        assert_eq!(span(59.0), "59 s");
        assert_eq!(span(3_661.0), "1 h 1 min");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(12), "12");
    }
}
