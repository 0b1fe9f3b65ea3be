//! The configuration: TOML as typed, checked rule by rule, then as run.
//!
//! `raw` reads the file and keeps an eye on unknown keys, `compile`, `engine` and `registry` hold the rules, `checked` is what the
//! agent runs with, `error` says what is wrong. [`load`] gives either a configuration that breaks no rule or the list of
//! all that are broken; nothing in between. It is called at start, by `check`, and at each reload, where a refused file
//! leaves the running configuration as it is.

pub mod checked;
mod compile;
mod engine;
pub mod error;
pub mod quantity;
mod raw;
mod registry;
mod releases;

use std::fs;
use std::path::{Path, PathBuf};

use fettle_models::{Registry, Settings};

pub use checked::{
    Checked, ClockConfig, ForeignTemplate, JournalConfig, KafkaConfig, Mechanism, MqttConfig, OutboxConfig, Secret,
    TlsConfig,
};
pub use error::{ConfigError, Problem};

use raw::{Rule, Section, Source, plain, switch};

/// Reads and checks the agent's configuration and the registry it names. Paths inside are taken from the folder of
/// `file`. Fails with every broken rule of both files.
pub fn load(file: &Path) -> Result<Checked, ConfigError> {
    let text = fs::read_to_string(file).map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let source = Source::new(file.display().to_string(), &text);
    let table = source.parse();
    let root = Section::root(&source, table.get_ref());
    let (mut checked, registry_file) = compile_root(&root, file, &folder);
    drop(root);
    let mut problems = source.into_problems();
    if let Some((path, text)) = registry_file {
        let (registry, found) = read_registry(&path, &text, &checked.engine);
        problems.extend(found);
        checked.registry = registry;
    }
    if problems.is_empty() {
        problems.extend(last_look(&checked));
    }
    if problems.is_empty() { Ok(checked) } else { Err(ConfigError::Problems(problems)) }
}

/// What the file says, with stand-ins where a rule was broken, and the text of the registry's file.
fn compile_root(root: &Section<'_, '_>, file: &Path, folder: &Path) -> (Checked, Option<(PathBuf, String)>) {
    let rule = Rule(compile::NAME_RULE, "write the plant's name, e.g. site = \"plant-a\"");
    let site = root.require("site", rule, compile::name).unwrap_or_else(compile::placeholder);
    let rule = Rule(compile::NAME_RULE, "write this gateway's name, e.g. agent = \"gw-1\"");
    let agent = root.require("agent", rule, compile::name).unwrap_or_else(compile::placeholder);
    let store_rule = Rule("must be the path of a folder", "write e.g. store = \"/var/lib/fettle\"");
    let store = root.require("store", store_rule, plain).unwrap_or_default();
    let sign = root.get("sign", Rule("must be true or false", "write true to sign what goes to Kafka"), switch);
    let journal = compile::journal(&root.section("journal"));
    let outbox = compile::outbox(&root.section("outbox"), &journal);
    let mut engine = engine::engine(&root.section("engine"));
    let evidence_bytes = engine::waveform(&root.section("waveform"), &journal, &outbox, &mut engine);
    let lives_bytes = engine::lives(&root.section("lives"), &journal, &outbox, evidence_bytes);
    let registry_file = compile::registry_file(root, folder);
    let registry = match registry_file {
        Some(_) => Registry::default(),
        None => registry::registry(root, &engine),
    };
    let checked = Checked {
        file: file.to_owned(),
        store: folder.join(store),
        sign: sign.unwrap_or(false),
        mqtt: compile::mqtt(&root.section("mqtt"), folder, &site, &agent, journal.batch),
        kafka: compile::kafka(&root.section("kafka"), folder),
        engine,
        registry,
        outbox,
        journal,
        evidence_bytes,
        releases: releases::releases(&root.section("releases")),
        lives_bytes,
        ledger_interval: compile::ledger(&root.section("ledger")),
        http_listen: compile::http(&root.section("http")),
        clock: compile::clock(&root.section("clock")),
        site,
        agent,
    };
    root.finish();
    (checked, registry_file)
}

/// What the engine's own rules find in a registry that broke none of ours: nothing, unless the two drift apart.
fn last_look(checked: &Checked) -> Vec<Problem> {
    let problems = checked.registry.check().into_iter();
    problems
        .map(|p| Problem {
            file: checked.file.display().to_string(),
            line: None,
            key: p.key,
            value: p.value,
            rule: p.rule,
            remedy: p.remedy,
        })
        .collect()
}

fn read_registry(path: &Path, text: &str, settings: &Settings) -> (Registry, Vec<Problem>) {
    let source = Source::new(path.display().to_string(), text);
    let table = source.parse();
    let root = Section::root(&source, table.get_ref());
    let registry = registry::registry(&root, settings);
    root.finish();
    drop(root);
    (registry, source.into_problems())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn in_crate(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    /// Loads `text` as a configuration beside a password file and a registry.
    fn load_text(text: &str) -> Result<Checked, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in
            [("agent.toml", text), ("mqtt-password", "a\n"), ("kafka-password", "b"), ("registry.toml", "")]
        {
            fs::write(folder.path().join(name), content).unwrap();
        }
        load(&folder.path().join("agent.toml"))
    }

    const MINIMAL: &str =
        "site = \"a\"\nagent = \"b\"\nstore = \"s\"\n[mqtt]\nhost = \"h\"\n[kafka]\nbrokers = \"k:9092\"\n";

    #[test]
    fn every_broken_file_is_answered_with_key_rule_value_and_remedy() {
        let folder = in_crate("testdata/config");
        let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
        files.sort();
        assert!(files.len() >= 20, "{} files", files.len());
        for file in files {
            let error = load(&file).expect_err(&file.display().to_string());
            assert!(!error.problems().is_empty());
            let mut said = String::new();
            for problem in error.problems() {
                let Problem { key, value, rule, remedy, .. } = problem;
                assert!([key, value, rule, remedy].iter().all(|part| !part.is_empty()), "{problem:?}");
                let line = problem.to_string().replace(&format!("{}/", folder.display()), "");
                said.push_str(&line);
                said.push('\n');
            }
            let expected = file.with_extension("expected");
            if std::env::var_os("FETTLE_WRITE_EXPECTED").is_some() {
                fs::write(&expected, &said).unwrap();
            }
            assert_eq!(said, fs::read_to_string(&expected).unwrap(), "{}", file.display());
        }
    }

    #[test]
    fn a_minimal_file_takes_the_documented_defaults() {
        let checked = load_text(MINIMAL).unwrap();
        assert_eq!(checked.mqtt.client_id, "fettle-a-b");
        assert_eq!((checked.mqtt.port, checked.mqtt.receive_maximum, checked.mqtt.max_packet), (1883, 8192, 278_528));
        assert_eq!(
            (checked.journal.batch, checked.journal.keep_bytes, checked.outbox.max_bytes),
            (1024, 2 << 30, 256 << 20)
        );
        assert_eq!(checked.engine, Settings::default());
        assert_eq!(checked.kafka.prefix.as_str(), "fettle");
        assert!(checked.store.is_absolute(), "a relative store lies beside the configuration");
    }

    #[test]
    fn a_small_store_shrinks_what_it_keeps_by_itself() {
        let checked = load_text(&format!("{MINIMAL}[journal]\nmax_bytes = \"64MiB\"\n")).unwrap();
        assert_eq!((checked.journal.keep_bytes, checked.outbox.max_bytes), (32 << 20, 8 << 20));
        assert_eq!((checked.evidence_bytes, checked.lives_bytes), (4 << 20, 2 << 20));
    }

    #[test]
    fn the_documents_examples_load_and_equal_the_defaults() {
        let document = fs::read_to_string(in_crate("../docs/config.md")).unwrap();
        let blocks: Vec<&str> = document.split("```toml\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
        let [registry, everything] = blocks.as_slice() else { panic!("two examples, not {}", blocks.len()) };
        let checked = load_text(everything).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(checked.engine, Settings::default());
        assert_eq!(
            checked.mqtt.password.as_ref().map(Secret::reveal),
            Some("a"),
            "the line's end is not the password's"
        );
        let minimal = load_text(MINIMAL).unwrap();
        assert_eq!((checked.journal, checked.outbox), (minimal.journal, minimal.outbox));
        assert_eq!((checked.evidence_bytes, checked.lives_bytes), (minimal.evidence_bytes, 8 << 20));
        let inline = registry.replacen("generation", "site = \"a\"\nagent = \"b\"\nstore = \"s\"\ngeneration", 1);
        let rest = "[mqtt]\nhost = \"h\"\n[kafka]\nbrokers = \"k:9092\"\n";
        let checked = load_text(&format!("{inline}{rest}")).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(checked.registry.assets.len(), 1);
    }

    /// The keys that a section knows, as its answer to an unknown key lists them.
    fn known(section: &str) -> Vec<String> {
        let text = match section {
            "" => "zzzzzzzzzzzzzzzzzzzz = 1\n".to_owned(),
            array if array.starts_with("[[") => format!("{array}\nzzzzzzzzzzzzzzzzzzzz = 1\n"),
            table => format!("[{table}]\nzzzzzzzzzzzzzzzzzzzz = 1\n"),
        };
        let error = load_text(&text).unwrap_err();
        let problem = error.problems().iter().find(|p| p.key.ends_with("zzzz")).unwrap();
        problem.remedy.split("known here are ").nth(1).unwrap().split(", ").map(str::to_owned).collect()
    }

    #[test]
    fn every_key_is_documented() {
        let document = fs::read_to_string(in_crate("../docs/config.md")).unwrap();
        let sections = [
            "",
            "mqtt",
            "mqtt.tls",
            "[[mqtt.foreign]]",
            "kafka",
            "kafka.tls",
            "engine",
            "journal",
            "outbox",
            "waveform",
            "lives",
            "ledger",
            "http",
            "clock",
            "assets.a",
            "assets.a.bearing_geometry",
            "[[assets.a.components]]",
            "assets.a.channels.b",
        ];
        let keys: BTreeSet<String> = sections.into_iter().flat_map(known).collect();
        assert!(keys.len() > 50, "{keys:?}");
        for key in keys {
            let mentions =
                [format!("`{key}`"), format!(".{key}`"), format!("[{key}]"), format!("{key} ="), format!(".{key}]")];
            assert!(mentions.iter().any(|m| document.contains(m.as_str())), "{key} is not in docs/config.md");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_build_without_tls_says_so_instead_of_speaking_in_the_clear() {
        let error = load_text(&format!("{MINIMAL}[mqtt.tls]\nca_file = \"no-such.pem\"\n")).unwrap_err().to_string();
        assert!(error.contains("this build has no TLS") && error.contains("must be a readable PEM file"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Path::new("/no/such/agent.toml")).unwrap_err();
        assert!(error.to_string().contains("/no/such/agent.toml") && error.problems().is_empty());
    }
}
