//! Reads a TOML table key by key and collects everything wrong with it, instead of stopping at the first fault.
//!
//! Each problem names the key, the rule, the value found and a remedy. A key nobody asked for is a problem too.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use fettle_wire::Micros;
use toml::{Table, Value};

use super::values;

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, with its table.
    pub key: String,
    /// What must hold.
    pub rule: String,
    /// What was found.
    pub value: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; found {}; {}", self.key, self.rule, self.value, self.remedy)
    }
}

/// One table being read.
pub(super) struct Reader<'a> {
    table: &'a Table,
    prefix: String,
    asked: BTreeSet<&'static str>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: &'a Table, prefix: &str) -> Self {
        Self { table, prefix: prefix.into(), asked: BTreeSet::new(), problems: Vec::new() }
    }

    pub(super) fn problem(&mut self, key: &str, rule: impl Into<String>, value: impl fmt::Display, remedy: &str) {
        let key = format!("{}{key}", self.prefix);
        self.problems.push(Problem { key, rule: rule.into(), value: value.to_string(), remedy: remedy.into() });
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.insert(key);
        self.table.get(key)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let value = self.value(key)?;
        let text = value.as_str();
        if text.is_none() {
            self.problem(key, "is a text", value, "put it in quotation marks");
        }
        text
    }

    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.value(key) else { return default };
        match value.as_integer().and_then(|i| u64::try_from(i).ok()).filter(|i| range.contains(i)) {
            Some(integer) => integer,
            None => {
                let rule = format!("is a whole number from {} to {}", range.start(), range.end());
                self.problem(key, rule, value, &format!("leave it out for {default}"));
                default
            }
        }
    }

    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<f64>, default: f64) -> f64 {
        let Some(value) = self.value(key) else { return default };
        let number = value.as_float().or_else(|| value.as_integer().map(|i| i as f64));
        match number.filter(|n| range.contains(n)) {
            Some(number) => number,
            None => {
                let rule = format!("is a number from {} to {}", range.start(), range.end());
                self.problem(key, rule, value, &format!("leave it out for {default}"));
                default
            }
        }
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.value(key) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.problem(key, "is true or false", value, &format!("leave it out for {default}"));
            default
        })
    }

    /// A duration of at least `least` microseconds.
    pub(super) fn duration(&mut self, key: &'static str, least: Micros) -> Option<Micros> {
        let value = self.value(key)?;
        let duration = value.as_str().and_then(values::duration).filter(|d| *d >= least);
        if duration.is_none() {
            let rule = match least {
                Micros::MIN => "is a duration".to_owned(),
                least => format!("is a duration of at least {} s", least as f64 * 1e-6),
            };
            self.problem(key, rule, value, "write a number and us, ms, s, min, h or d, such as \"10s\"");
        }
        duration
    }

    pub(super) fn bytes(&mut self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.value(key) else { return default };
        let bytes = value
            .as_integer()
            .and_then(|i| u64::try_from(i).ok())
            .or_else(|| value.as_str().and_then(values::bytes))
            .filter(|b| range.contains(b));
        bytes.unwrap_or_else(|| {
            let rule = format!("is a size from {} to {} bytes", range.start(), range.end());
            self.problem(key, rule, value, "write a number and KiB, MiB or GiB, such as \"256KiB\"");
            default
        })
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<&'a str>> {
        let value = self.value(key)?;
        let texts = value.as_array().and_then(|a| a.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        if texts.is_none() {
            self.problem(key, "is a list of texts", value, "write it as [\"a\", \"b\"]");
        }
        texts
    }

    /// A table below this one; an empty one where it is absent.
    pub(super) fn table(&mut self, key: &'static str) -> Option<&'a Table> {
        let value = self.value(key)?;
        let table = value.as_table();
        if table.is_none() {
            self.problem(key, "is a table", value, &format!("write it as [{key}]"));
        }
        table
    }

    /// Tables written as `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<&'a Table> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let tables = value.as_array().and_then(|a| a.iter().map(Value::as_table).collect::<Option<Vec<_>>>());
        if tables.is_none() {
            self.problem(key, "is a list of tables", value, &format!("write each as [[{key}]]"));
        }
        tables.unwrap_or_default()
    }

    /// What was wrong, keys nobody asked for included.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        for (key, value) in self.table {
            if !self.asked.contains(key.as_str()) {
                let known: Vec<&str> = self.asked.iter().copied().collect();
                let rule = "is not a known key".to_owned();
                let remedy = format!("remove it, or use one of {}", known.join(", "));
                self.problem(key, rule, value, &remedy);
            }
        }
        self.problems
    }
}
