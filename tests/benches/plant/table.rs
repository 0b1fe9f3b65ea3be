//! What was measured, beside its budget and its reference.

use std::path::Path;

use serde::Serialize;

use crate::proc;

/// What a budget asks for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Budget {
    AtMost(f64),
    AtLeast(f64),
    /// No budget: written down because others lean on it.
    None,
}

/// One measured figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    figure: String,
    what: String,
    measured: f64,
    unit: &'static str,
    budget: Budget,
    /// What was measured in the same run to compare with, and its figure.
    reference: Option<(String, f64)>,
    note: String,
    load: String,
}

impl Row {
    /// A figure without budget, reference or note.
    pub(crate) fn new(what: impl Into<String>, measured: f64, unit: &'static str) -> Self {
        let what = what.into();
        let (figure, note) = (String::new(), String::new());
        Self { figure, what, measured, unit, budget: Budget::None, reference: None, note, load: proc::load() }
    }

    pub(crate) fn at_most(self, budget: f64) -> Self {
        Self { budget: Budget::AtMost(budget), ..self }
    }

    pub(crate) fn at_least(self, budget: f64) -> Self {
        Self { budget: Budget::AtLeast(budget), ..self }
    }

    pub(crate) fn beside(self, what: impl Into<String>, measured: f64) -> Self {
        Self { reference: Some((what.into(), measured)), ..self }
    }

    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    fn line(&self) -> String {
        let (budget, verdict) = match self.budget {
            Budget::AtMost(most) => {
                (format!("<= {}", digits(most)), verdict(self.measured / most, self.measured <= most))
            }
            Budget::AtLeast(least) => {
                (format!(">= {}", digits(least)), verdict(self.measured / least, self.measured >= least))
            }
            Budget::None => (String::new(), String::new()),
        };
        let reference = self.reference.as_ref().map_or_else(String::new, |(what, figure)| {
            format!("{what} {} ({:.2} x)", digits(*figure), self.measured / figure)
        });
        let measured = format!("{} {}", digits(self.measured), self.unit);
        format!("| {} | {} | {measured} | {budget} | {verdict} | {reference} | {} |", self.figure, self.what, self.note)
    }
}

fn verdict(ratio: f64, met: bool) -> String {
    format!("{ratio:.2}{}", if met { "" } else { " MISSED" })
}

/// Three or more digits, as many as say something.
fn digits(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => group(number.round() as i64),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

fn group(number: i64) -> String {
    let text = number.unsigned_abs().to_string();
    let mut grouped = String::new();
    for (place, digit) in text.chars().enumerate() {
        if place > 0 && (text.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if number < 0 { format!("-{grouped}") } else { grouped }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Table {
    figure: String,
    rows: Vec<Row>,
}

const HEAD: &str = "| figure | what | measured | budget | measured / budget | reference (measured / reference) | note |
|---|---|---|---|---|---|---|";

impl Table {
    pub(crate) fn new() -> Self {
        Self { figure: String::new(), rows: Vec::new() }
    }

    /// What follows belongs to this figure.
    pub(crate) fn begin(&mut self, figure: &str) {
        figure.clone_into(&mut self.figure);
    }

    /// Adds a row and prints it, so that a run that is broken off has told what it knew.
    pub(crate) fn add(&mut self, row: Row) {
        let row = Row { figure: self.figure.clone(), ..row };
        println!("{}", row.line());
        self.rows.push(row);
    }

    pub(crate) fn print(&self) {
        println!("\n{}; load now {}\n\n{HEAD}", proc::machine(), proc::load());
        self.rows.iter().for_each(|row| println!("{}", row.line()));
    }

    pub(crate) fn write_json(&self, path: &Path) {
        let value = serde_json::json!({ "machine": proc::machine(), "rows": self.rows });
        let text = serde_json::to_string_pretty(&value).expect("finite numbers and texts are JSON");
        std::fs::write(path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }
}
