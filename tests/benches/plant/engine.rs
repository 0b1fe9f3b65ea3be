//! The engine and the codec alone: their own benchmarks, run and quoted.

use std::process::{Command, Stdio};

use crate::table::{Row, Table};

/// ns a reading of the engine.
const BUDGET: f64 = 250.0;

pub(crate) fn measure(table: &mut Table) {
    let text = run("fettle-models", "engine", &[]);
    let figures: Vec<_> = text.lines().filter_map(nanoseconds).collect();
    let reference = figures.iter().find(|(what, _)| what == "reference").map(|(_, each)| *each);
    for (what, each) in figures.iter().filter(|(what, _)| what != "reference") {
        let row = Row::new(format!("engine, {what}"), *each, "ns/reading").at_most(BUDGET);
        table.add(match reference {
            Some(reference) => row.beside("a map of running means", reference),
            None => row,
        });
    }
    for (what, each) in criterion(&run("fettle-wire", "codec", &["--measurement-time", "2", "--warm-up-time", "1"])) {
        table.add(Row::new(format!("codec, {what}"), each, "ns").note("wall time, criterion's middle estimate"));
    }
}

fn run(package: &str, bench: &str, arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["bench", "--package", package, "--bench", bench, "--"])
        .args(arguments)
        .current_dir(testbed::folder::repository())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs this benchmark, so it can be started");
    assert!(output.status.success(), "cargo bench of {package} ended with {}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `<what>: <number> ns a reading`
fn nanoseconds(line: &str) -> Option<(String, f64)> {
    let (what, rest) = line.split_once(": ")?;
    Some((what.to_owned(), rest.strip_suffix(" ns a reading")?.parse().ok()?))
}

/// Criterion's report: `<what>  time:   [<low> <unit> <middle> <unit> <high> <unit>]`, the name on a line of its own if it
/// is long.
fn criterion(text: &str) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    let mut name = "";
    for line in text.lines() {
        let Some((before, times)) = line.split_once("time:") else {
            name = line.trim();
            continue;
        };
        let what = if before.trim().is_empty() { name } else { before.trim() };
        let fields: Vec<_> = times.trim().trim_start_matches('[').split_whitespace().collect();
        let scale = match fields.get(3) {
            Some(&"ns") => 1.0,
            Some(&"µs") => 1e3,
            Some(&"ms") => 1e6,
            _ => continue,
        };
        if let Some(middle) = fields.get(2).and_then(|number| number.parse::<f64>().ok()) {
            found.push((what.to_owned(), middle * scale));
        }
    }
    found
}
