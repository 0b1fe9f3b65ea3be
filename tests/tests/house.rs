//! The rules of the house that a test can hold: who imports whom, a header on every file, paths named in
//! ARCHITECTURE.md, lints and `unsafe` in every crate, clocks and pauses, licences, one broker configuration.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use testbed::folder::repository;

/// Crate folder, and the crates of the house that it may import.
const MAY_IMPORT: [(&str, &[&str]); 9] = [
    ("wire", &[]),
    ("models", &["fettle-wire"]),
    ("models/eval", &["fettle-models", "fettle-wire"]),
    ("agent", &["fettle-models", "fettle-wire"]),
    ("gateway", &["fettle-models", "fettle-wire"]),
    ("firmware-sim/firmware", &["fettle-wire"]),
    ("firmware-sim/plant", &["fettle-firmware", "fettle-wire"]),
    ("tests", &["fettle-wire", "fettle-models", "fettle-agent", "fettle-gateway", "fettle-firmware", "fettle-sim"]),
    ("tests/demo", &["fettle-agent", "fettle-gateway", "fettle-sim", "fettle-wire"]),
];

/// Crates in which one module opens LMDB, which is `unsafe`.
const OPENS_LMDB: [&str; 2] = ["agent", "gateway"];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

/// Every Rust file below `folder`, generated ones left out.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display())) {
        let path = entry.expect("a folder's entry can be read").path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn manifest(folder: &str) -> toml::Table {
    let path = repository().join(folder).join("Cargo.toml");
    read(&path).parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_member_of_the_workspace_is_known_to_this_test() {
    let members: BTreeSet<String> = manifest("")["workspace"]["members"]
        .as_array()
        .expect("members are a list")
        .iter()
        .filter_map(|m| m.as_str().map(str::to_owned))
        .collect();
    let known = MAY_IMPORT.iter().map(|(folder, _)| (*folder).to_owned()).collect();
    assert_eq!(members, known);
}

#[test]
fn each_crate_imports_only_whom_it_may() {
    for (folder, allowed) in MAY_IMPORT {
        let manifest = manifest(folder);
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for name in table.keys().filter(|name| name.starts_with("fettle-")) {
                assert!(
                    allowed.contains(&name.as_str()),
                    "{folder}/Cargo.toml [{section}] imports {name}; {folder} may import {allowed:?}"
                );
            }
        }
    }
}

#[test]
fn each_crate_takes_the_lints_of_the_workspace() {
    for (folder, _) in MAY_IMPORT {
        let lints = manifest(folder).get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool);
        assert_eq!(lints, Some(true), "{folder}/Cargo.toml: [lints] workspace = true");
    }
}

#[test]
fn each_file_begins_by_saying_what_it_is() {
    let without: Vec<_> = sources(&repository()).into_iter().filter(|path| !read(path).starts_with("//! ")).collect();
    let without: Vec<_> = without.iter().map(|path| shown(path)).collect();
    assert!(without.is_empty(), "no `//!` header: {without:#?}");
}

#[test]
fn unsafe_code_is_forbidden_but_where_lmdb_is_opened() {
    for (folder, _) in MAY_IMPORT {
        let source = repository().join(folder).join("src");
        let roots = ["lib.rs", "main.rs"].map(|name| source.join(name)).into_iter().filter(|path| path.exists());
        let binaries = source.join("bin");
        let binaries = if binaries.is_dir() { sources(&binaries) } else { Vec::new() };
        for root in roots.chain(binaries) {
            let text = read(&root);
            let library_with_lmdb = OPENS_LMDB.contains(&folder) && root.ends_with("lib.rs");
            let wanted = if library_with_lmdb { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
            assert!(text.contains(wanted), "{} needs {wanted}", shown(&root));
        }
        let opens = |path: &PathBuf| {
            let text = read(path);
            text.contains("(unsafe_code")
                && text.lines().any(|l| l.trim_start().starts_with("#[") && l.contains("(unsafe_code"))
                || text.lines().any(|l| {
                    l.trim_start().starts_with("#![allow(unsafe_code")
                        || l.trim_start().starts_with("#![expect(unsafe_code")
                })
        };
        let exceptions: Vec<_> = sources(&source).into_iter().filter(opens).collect();
        let limit = usize::from(OPENS_LMDB.contains(&folder));
        assert!(exceptions.len() <= limit, "{folder}: at most {limit} file may allow unsafe code: {exceptions:?}");
    }
}

#[test]
fn reading_a_clock_is_a_lint_and_each_exception_gives_its_reason() {
    let lint = read(&repository().join("clippy.toml"));
    for method in ["std::time::Instant::now", "std::time::SystemTime::now"] {
        assert!(lint.contains(method), "clippy.toml no longer disallows {method}");
    }
    // Split, so that this file does not name what it looks for.
    let (lint, allow) = (concat!("clippy::", "disallowed_methods"), concat!("allow(", "clippy::"));
    for path in sources(&repository()) {
        let text = read(&path);
        let silenced = text.lines().any(|line| line.contains(allow) && line.contains(lint));
        assert!(
            !silenced,
            "{}: use #[expect(.., reason = ..)], which says why and is noticed when not needed",
            shown(&path)
        );
    }
}

/// The longest pause between two looks at a condition, in milliseconds.
const LONGEST_PAUSE: u64 = 50;

#[test]
fn no_test_sleeps_for_longer_than_between_two_looks() {
    let this = repository().join("tests/tests/house.rs");
    for (folder, _) in MAY_IMPORT {
        let tests = repository().join(folder).join("tests");
        for path in if tests.is_dir() { sources(&tests) } else { Vec::new() } {
            let text = read(&path);
            let pauses = text.match_indices("thread::sleep(").filter(|_| path != this);
            for (at, _) in pauses {
                let call = text[at..].lines().next().unwrap_or_default();
                let short = pause_of(call).is_some_and(|milliseconds| milliseconds <= LONGEST_PAUSE);
                assert!(short, "{}: {call}: look for the condition, at most {LONGEST_PAUSE} ms apart", shown(&path));
            }
        }
    }
}

/// Milliseconds of `thread::sleep(Duration::from_millis(10))`, where they are written there.
fn pause_of(call: &str) -> Option<u64> {
    call.split_once("from_millis(")?.1.split(')').next()?.parse().ok()
}

#[test]
fn every_path_named_in_the_architecture_exists() {
    let text = read(&repository().join("ARCHITECTURE.md"));
    let missing: Vec<_> = named_paths(&text).into_iter().filter(|path| !repository().join(path).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what does not exist: {missing:#?}");
}

/// Words between backticks that begin with a folder of this repository; `a/{b,c}.rs` names two.
fn named_paths(text: &str) -> BTreeSet<String> {
    let tops: BTreeSet<String> = fs::read_dir(repository())
        .expect("the repository can be listed")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let quoted = text.split('`').skip(1).step_by(2);
    let words = quoted.filter(|word| !word.contains([' ', '\n', '<', '*', '(']));
    let paths = words.filter(|word| word.split_once('/').is_some_and(|(top, _)| tops.contains(top)));
    paths.flat_map(expand).collect()
}

fn expand(path: &str) -> Vec<String> {
    let path = path.split("::").next().unwrap_or(path).trim_end_matches('/');
    match path.split_once('{').and_then(|(head, rest)| rest.split_once('}').map(|(list, tail)| (head, list, tail))) {
        Some((head, list, tail)) => {
            list.split(',').flat_map(|item| expand(&format!("{head}{}{tail}", item.trim()))).collect()
        }
        None => vec![path.to_owned()],
    }
}

#[test]
fn braces_and_items_in_a_named_path_are_understood() {
    let text = "see `tests/src/{clock,ports}.rs`, `tests/src/lib.rs::x`, `fettle/1/<site>` and `other/place`";
    let expected = ["tests/src/clock.rs", "tests/src/ports.rs", "tests/src/lib.rs"].map(str::to_owned);
    assert_eq!(named_paths(text), BTreeSet::from(expected));
}

#[test]
fn dependencies_have_allowed_licences_and_sources() {
    match testbed::licences::check(&repository()) {
        Ok(packages) => assert!(packages > 100, "only {packages} packages were judged"),
        Err(broken) => panic!("{}", broken.join("\n")),
    }
}

#[test]
fn the_local_broker_differs_from_the_shipped_one_only_in_place() {
    let elsewhere = |settings: Vec<(String, String)>| -> Vec<_> {
        settings
            .into_iter()
            .filter(|(name, _)| !["listener", "persistence_location"].contains(&name.as_str()))
            .collect()
    };
    let shipped = testbed::broker::settings(&testbed::broker::shipped_configuration());
    let local = testbed::broker::settings(&repository().join("deploy/examples/local/mosquitto.conf"));
    assert_eq!(elsewhere(local), elsewhere(shipped));
}
