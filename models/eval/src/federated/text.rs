//! The figures for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Report, SetReport};
use crate::report::text::number;

fn counts(counts: &BTreeMap<&'static str, u64>) -> String {
    let all: Vec<String> = counts.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

/// The whole report.
pub fn text(report: &Report) -> String {
    let asked = &report.asked;
    let mut out = format!(
        "{} sites, {:.0} % online, split {}, {} attack{}; seed {}; judged on {}\n",
        asked.sites,
        100.0 * asked.online,
        name(&asked.split),
        asked.attackers,
        if asked.attackers > 0 { format!(" ({})", name(&asked.attack)) } else { String::new() },
        asked.seed,
        if asked.held_out { "held-out train units" } else { "the test file" },
    );
    let _ = writeln!(
        out,
        "{:<8}{:>9}{:>9}{:>11}{:>8}{:>9}{:>10}{:>10}{:>12}",
        "RMSE", "central", "local", "federated", "gap", "rounds", "bytes", "us merge", "s federated"
    );
    for (set, r) in &report.sets {
        let _ = writeln!(
            out,
            "{set:<8}{:>9}{:>9}{:>11}{:>+8.2}{:>9}{:>10}{:>10.0}{:>12.1}",
            number(r.rmse_central, 2),
            number(r.rmse_local, 2),
            number(r.rmse_federated, 2),
            r.rmse_federated - r.rmse_central,
            r.outcome.rounds,
            r.outcome.update_bytes,
            r.outcome.merge_us,
            r.seconds[2],
        );
    }
    report.sets.iter().for_each(|(set, r)| out += &details(set, r));
    report.skipped.iter().for_each(|(set, reason)| {
        let _ = writeln!(out, "{set}: left out, {reason}");
    });
    out
}

fn details(set: &str, r: &SetReport) -> String {
    let o = &r.outcome;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{set}: {} units at sites, {} of the root set, {} judged; {} weights; best local {}",
        r.units.0,
        r.units.1,
        r.judged,
        r.parameters,
        number(r.rmse_local_best, 2)
    );
    let _ = writeln!(
        out,
        "  {} hours; {} updates taken, {} a merge, {} versions stale; validation {} -> {}; void: {}",
        o.ticks,
        o.accepted,
        number(o.merged, 1),
        number(o.staleness, 1),
        number(o.rmse_begin, 2),
        number(o.rmse_end, 2),
        counts(&o.voided)
    );
    let _ = writeln!(
        out,
        "  refused: {}; statistics refused: {}{}",
        counts(&o.refused),
        counts(&o.statistics_refused),
        o.bits_changed.map(|n| format!("; {n} bits differ from a run without the attackers")).unwrap_or_default()
    );
    out
}

/// As the command line and the JSON call it.
fn name<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
