//! The figures as a table for a terminal.

use std::fmt::Write as _;

use crate::cmapss::evaluate::{Headline, Report, SetReport, Variant};
use crate::fit::Summary;
use crate::lives::LeftOut;

/// A number, or a dash where there is none.
pub(crate) fn number(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "-".into() }
}

fn line(name: &str, h: &Headline, d: &Headline) -> String {
    let with =
        |value: f64, deviation: f64, digits| format!("{} +- {}", number(value, digits), number(deviation, digits));
    format!(
        "{name:<18}{:>16}{:>12}{:>16}{:>10}{:>8}{:>10}{:>10}\n",
        with(h.rmse_capped, d.rmse_capped, 2),
        number(h.rmse_uncapped, 2),
        with(h.score_capped, d.score_capped, 0),
        number(h.coverage, 3),
        number(h.width, 1),
        number(h.seconds_train, 1),
        number(h.us_infer, 1),
    )
}

/// What a training on lives of a plant has found.
pub fn trained(summary: &Summary, left_out: &LeftOut, step_seconds: f64) -> String {
    let hours = |steps: f64| steps * step_seconds / 3600.0;
    format!(
        "{} lives of steps of {step_seconds} s, {} rows; {left_out}\n\
         channels that tell of wear: {}\n\
         regimes: {}; networks: {} of {} parameters, epochs {:?}\n\
         on lives held out: RMSE {} steps ({} h), NASA score {} a life\n",
        summary.lives,
        summary.rows,
        summary.channels.join(", "),
        summary.regimes,
        summary.members,
        summary.parameters,
        summary.epochs,
        number(summary.held_out_told, 2),
        number(hours(summary.held_out_told), 2),
        number(summary.held_out_score, 2),
    )
}

/// The whole report.
pub fn text(report: &Report) -> String {
    let mut out = format!(
        "{:<18}{:>16}{:>12}{:>16}{:>10}{:>8}{:>10}{:>10}\n",
        "last rows", "RMSE capped", "uncapped", "NASA score", "coverage", "width", "s train", "us p99"
    );
    for (name, set) in &report.sets {
        out += &line(name, &set.figures.mean, &set.figures.deviation);
        if let Some(v) = &set.without_age {
            out += &line(&format!("{name} without age"), &v.mean, &v.deviation);
        }
    }
    for (name, set) in &report.sets {
        out += &details(name, set);
    }
    if let Some(p) = &report.pooled {
        let _ = writeln!(out, "pooled: coverage {}, width {}", number(p.coverage, 3), number(p.width, 1));
    }
    out
}

fn details(name: &str, set: &SetReport) -> String {
    let mut out = String::new();
    let t = &set.figures.training;
    let _ = writeln!(
        out,
        "{name}: {} lives, {} rows, {} regimes, channels {}; {} members of {} parameters, trees weigh {}",
        t.lives,
        t.rows,
        t.regimes,
        t.channels.join(" "),
        t.members,
        t.parameters,
        t.tree_weight
    );
    let _ = writeln!(
        out,
        "  held out: networks {}, trees {}, both {}, told {}, score per unit {}; filter gain {} soft {}; epochs {:?}",
        number(t.held_out_networks, 3),
        number(t.held_out_trees.unwrap_or(f64::NAN), 3),
        number(t.held_out_both, 3),
        number(t.held_out_told, 3),
        number(t.held_out_score, 3),
        t.filter.gain,
        t.filter.soft,
        t.epochs
    );
    if let Some(cv) = &set.cross_validated {
        let _ = writeln!(
            out,
            "  cross-validated over {} units: RMSE {}, score per unit {}, coverage {}, width {}",
            cv.lives,
            number(cv.rmse_capped, 3),
            number(cv.score_capped / cv.lives as f64, 3),
            number(cv.coverage, 3),
            number(cv.width, 1)
        );
    }
    out += &windows(&set.figures);
    for (kind, account) in [("train", Some(&set.train_lines)), ("test", set.test_lines.as_ref())] {
        let Some(a) = account else { continue };
        let odd = a.duplicates + a.out_of_order + a.gaps + a.unusable.values().sum::<usize>();
        if odd > 0 {
            let unusable: Vec<String> = a.unusable.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
            let _ = writeln!(
                out,
                "  {kind} file: {} lines, {} used, {} duplicate, {} out of order, {} cycles missing; unusable: {}",
                a.lines,
                a.used,
                a.duplicates,
                a.out_of_order,
                a.gaps,
                if unusable.is_empty() { "none".into() } else { unusable.join(", ") }
            );
        }
    }
    if let Some(reason) = &set.reason {
        let _ = writeln!(out, "  no figures on the test file: {reason}");
    }
    out
}

fn windows(v: &Variant) -> String {
    let none: Vec<String> = v.none.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    let mut out = format!("  test rows: {} predicted; none: {}\n", v.predicted, none.join(", "));
    if let Some(w) = &v.windows {
        let _ = writeln!(
            out,
            "  all rows: RMSE capped {}, uncapped {}, penalty {} a row, coverage {}, width {}, alpha-lambda {}, horizon {}",
            number(w.figures.rmse_capped, 2),
            number(w.figures.rmse_uncapped, 2),
            number(w.figures.score_capped, 3),
            number(w.figures.coverage, 3),
            number(w.figures.width, 1),
            number(w.alpha_lambda, 3),
            number(w.prognostic_horizon, 1)
        );
    }
    out
}
