//! The configuration as typed: a TOML table that is asked for its keys one by one, collecting every problem.
//!
//! A [`Section`] remembers which keys it was asked for; [`Section::finish`] turns away every other one. So the list of
//! known keys is never written down a second time. A wrong value is reported and read as absent, and reading goes on:
//! one run finds everything. Nothing here knows a rule of the agent; those are in `compile`.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Problem;

/// One file's text and the problems found in it so far.
pub(super) struct Source<'a> {
    file: String,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

/// Stands for the key where a line is not TOML.
const SYNTAX: &str = "(syntax)";
/// The longest value shown in a message, in characters.
const MAX_SHOWN: usize = 60;

impl<'a> Source<'a> {
    pub(super) fn new(file: String, text: &'a str) -> Self {
        Self { file, text, problems: RefCell::default() }
    }

    /// Parses; what is not TOML is reported by line and skipped, so that the rest is still read.
    pub(super) fn parse(&self) -> Spanned<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let at = error.span().map(|span| span.start);
            let line = at.map(|at| self.line(at));
            let value = at.map_or_else(|| "(the whole file)".to_owned(), |at| self.line_text(at));
            let message = error.message().replace('\n', " ");
            self.push(Problem {
                file: self.file.clone(),
                line,
                key: SYNTAX.to_owned(),
                value,
                rule: format!("not TOML: {message}"),
                remedy: "write key = value, texts in \"quotes\", sections in [brackets], each key once".to_owned(),
            });
        }
        table
    }

    pub(super) fn push(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Every problem found, in the order of the file.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        // What could be read of a line that is not TOML says nothing.
        let broken: Vec<_> = problems.iter().filter(|p| p.key == SYNTAX).map(|p| p.line).collect();
        problems.retain(|p| p.key == SYNTAX || p.line.is_none() || !broken.contains(&p.line));
        problems.sort_by_key(|p| p.line.unwrap_or(usize::MAX));
        problems
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
    }

    fn line_text(&self, at: usize) -> String {
        let line = self.text.lines().nth(self.line(at) - 1).unwrap_or_default();
        match line.split_once('=') {
            Some((key, _)) if is_secret(key) => "(not shown)".to_owned(),
            _ => format!("`{}`", shorten(line.trim())),
        }
    }
}

/// What must hold for a key, and what to write if it does not.
#[derive(Clone, Copy)]
pub(super) struct Rule<'r>(pub(super) &'r str, pub(super) &'r str);

/// One table of the file.
pub(super) struct Section<'s, 'a> {
    source: &'s Source<'a>,
    path: String,
    table: Option<&'s DeTable<'a>>,
    line: Option<usize>,
    seen: RefCell<Vec<&'static str>>,
    finished: Cell<bool>,
}

impl<'s, 'a> Section<'s, 'a> {
    pub(super) fn root(source: &'s Source<'a>, table: &'s DeTable<'a>) -> Self {
        Self::new(source, String::new(), Some(table), None)
    }

    fn new(source: &'s Source<'a>, path: String, table: Option<&'s DeTable<'a>>, line: Option<usize>) -> Self {
        Self { source, path, table, line, seen: RefCell::default(), finished: Cell::new(false) }
    }

    /// Whether the section is in the file.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The value of `key` as typed.
    fn raw(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'a>>> {
        self.seen.borrow_mut().push(key);
        self.table?.get(key)
    }

    /// Whether `key` is in the section, rightly typed or not.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.raw(key).is_some()
    }

    /// The value of `key` through `read`; a value that `read` refuses is reported and read as absent.
    pub(super) fn get<T>(
        &self,
        key: &'static str,
        rule: Rule<'_>,
        read: impl FnOnce(&DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.raw(key)?;
        let result = read(value.get_ref());
        if result.is_none() {
            self.report_at(key, value, rule);
        }
        result
    }

    /// As [`Section::get`]; an absent key is reported as well.
    pub(super) fn require<T>(
        &self,
        key: &'static str,
        rule: Rule<'_>,
        read: impl FnOnce(&DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.report(key, rule);
            return None;
        }
        self.get(key, rule, read)
    }

    /// Reports `key` as breaking `rule`, with the value it has.
    pub(super) fn report(&self, key: &'static str, rule: Rule<'_>) {
        match self.raw(key) {
            Some(value) => self.report_at(key, value, rule),
            None => self.problem(key, "(absent)".to_owned(), self.line, rule),
        }
    }

    /// Reports `key` with a value that was not typed but follows (a default).
    pub(super) fn report_value(&self, key: &'static str, value: String, rule: Rule<'_>) {
        let line = self.raw(key).map(|v| self.source.line(v.span().start)).or(self.line);
        self.problem(key, value, line, rule);
    }

    fn report_at(&self, key: &str, value: &Spanned<DeValue<'_>>, rule: Rule<'_>) {
        let shown = if is_secret(key) { "(not shown)".to_owned() } else { show(value.get_ref()) };
        self.problem(key, shown, Some(self.source.line(value.span().start)), rule);
    }

    fn problem(&self, key: &str, value: String, line: Option<usize>, Rule(rule, remedy): Rule<'_>) {
        self.source.push(Problem {
            file: self.source.file.clone(),
            line,
            key: self.key(key),
            value,
            rule: rule.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The sub-table `key`; an absent one is an empty section.
    pub(super) fn section(&self, key: &'static str) -> Section<'s, 'a> {
        let value = self.raw(key);
        let table = value.and_then(|v| v.get_ref().as_table());
        if value.is_some() && table.is_none() {
            self.report(key, Rule("must be a table", &format!("write [{}] and its keys below it", self.key(key))));
        }
        Section::new(self.source, self.key(key), table, value.map(|v| self.source.line(v.span().start)))
    }

    /// The elements of the array of tables `key`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'s, 'a>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let rule = format!("write [[{}]] and the element's keys below it, once for each", self.key(key));
        let Some(array) = value.get_ref().as_array() else {
            self.report(key, Rule("must be a list of tables", &rule));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (i, element) in array.iter().enumerate() {
            let path = format!("{}[{i}]", self.key(key));
            let line = Some(self.source.line(element.span().start));
            match element.get_ref().as_table() {
                Some(table) => sections.push(Section::new(self.source, path, Some(table), line)),
                None => {
                    self.problem(&format!("{key}[{i}]"), show(element.get_ref()), line, Rule("must be a table", &rule));
                }
            }
        }
        sections
    }

    /// Every sub-table of `key` whatever its name, in the order of names.
    pub(super) fn named(&self, key: &'static str) -> Vec<(&'s str, Section<'s, 'a>)> {
        let parent = self.section(key);
        parent.finished.set(true);
        let mut named = Vec::new();
        for (name, value) in parent.table.into_iter().flat_map(|t| t.iter()) {
            let name: &'s str = name.get_ref();
            let line = Some(self.source.line(value.span().start));
            match value.get_ref().as_table() {
                Some(table) => {
                    named.push((name, Section::new(self.source, parent.key(name), Some(table), line)));
                }
                None => {
                    let remedy = format!("write [{}] and its keys below it", parent.key(name));
                    parent.problem(name, show(value.get_ref()), line, Rule("must be a table", &remedy));
                }
            }
        }
        named
    }

    /// Reports the section's own name.
    pub(super) fn report_name(&self, name: &str, rule: Rule<'_>) {
        self.source.push(Problem {
            file: self.source.file.clone(),
            line: self.line,
            key: self.path.clone(),
            value: format!("{:?}", shorten(name)),
            rule: rule.0.to_owned(),
            remedy: rule.1.to_owned(),
        });
    }

    /// Turns away every key nobody asked for. To be called once, after the last question.
    pub(super) fn finish(&self) {
        self.finished.set(true);
        let seen = self.seen.borrow();
        for (key, value) in self.table.into_iter().flat_map(|t| t.iter()) {
            if seen.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let mut known = seen.clone();
            known.sort_unstable();
            known.dedup();
            let remedy = match nearest(key.get_ref(), &known) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("remove it; known here are {}", known.join(", ")),
            };
            let rule = if self.path.is_empty() {
                "no such key at the top of the file".to_owned()
            } else {
                format!("no such key in [{}]", self.path)
            };
            let line = Some(self.source.line(key.span().start));
            let shown = if is_secret(key.get_ref()) { "(not shown)".to_owned() } else { show(value.get_ref()) };
            self.problem(key.get_ref(), shown, line, Rule(&rule, &remedy));
        }
    }
}

impl Drop for Section<'_, '_> {
    fn drop(&mut self) {
        debug_assert!(self.finished.get() || self.table.is_none(), "[{}] was read and not finished", self.path);
    }
}

/// A text.
pub(super) fn text(value: &DeValue<'_>) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A text that is not empty and has no control characters, at most 256 bytes.
pub(super) fn plain(value: &DeValue<'_>) -> Option<String> {
    text(value).filter(|t| !t.trim().is_empty() && t.len() <= 256 && !t.chars().any(char::is_control))
}

/// `true` or `false`.
pub(super) fn switch(value: &DeValue<'_>) -> Option<bool> {
    value.as_bool()
}

/// A whole number inside `range`.
pub(super) fn whole<T: TryFrom<i64> + PartialOrd>(
    range: std::ops::RangeInclusive<T>,
) -> impl FnOnce(&DeValue<'_>) -> Option<T> {
    move |value| {
        let integer = value.as_integer()?;
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
        T::try_from(number).ok().filter(|n| range.contains(n))
    }
}

/// A finite number, whole or not.
pub(super) fn number(value: &DeValue<'_>) -> Option<f64> {
    let number = match value {
        DeValue::Float(float) => float.as_str().parse::<f64>().ok()?,
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok()? as f64,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// A finite number above 0.
pub(super) fn positive(value: &DeValue<'_>) -> Option<f64> {
    number(value).filter(|n| *n > 0.0)
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let secret = ["password", "secret", "token", "passphrase"].iter().any(|word| key.contains(word));
    secret && !key.trim_end().ends_with("_file")
}

fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{:?}", shorten(text)),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(array) => {
            let mut text = "[".to_owned();
            for (i, element) in array.iter().enumerate() {
                let comma = if i == 0 { "" } else { ", " };
                // Writing to a String cannot fail.
                let _ = write!(text, "{comma}{}", show(element.get_ref()));
            }
            text.push(']');
            shorten(&text)
        }
        DeValue::Table(_) => "(a table)".to_owned(),
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MAX_SHOWN).collect();
    short.push_str("..");
    short
}

/// The known word that a typing slip could have meant.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let slips = 1 + word.chars().count() / 4;
    let (distance, near) = known.iter().map(|k| (distance(word, k), *k)).min()?;
    (distance <= slips).then_some(near)
}

/// Levenshtein distance (Wagner and Fischer 1974), in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_does_not() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("prot", &["host", "port"]), Some("port"));
        assert_eq!(nearest("colour", &["host", "port"]), None);
    }

    #[test]
    fn a_password_typed_into_the_file_is_not_shown() {
        let source = Source::new("f.toml".to_owned(), "password = \"hunter2\"\n");
        let table = source.parse();
        Section::root(&source, table.get_ref()).finish();
        let problems = source.into_problems();
        assert_eq!(problems.len(), 1);
        assert!(!problems[0].to_string().contains("hunter2"), "{}", problems[0]);
    }

    #[test]
    fn a_syntax_error_names_its_line_and_the_rest_is_still_read() {
        let source = Source::new("f.toml".to_owned(), "a = 1\nb = = 2\nc = \"x\"\n");
        let table = source.parse();
        let root = Section::root(&source, table.get_ref());
        assert_eq!(root.get("c", Rule("", ""), text).as_deref(), Some("x"));
        root.get("a", Rule("", ""), number);
        root.get("b", Rule("", ""), |_| Some(()));
        root.finish();
        drop(root);
        assert_eq!(source.into_problems()[0].line, Some(2));
    }
}
