//! Every rule of the configuration, with the message a person would read.

use std::path::Path;

use super::*;

fn problems(text: &str) -> Vec<Problem> {
    match parse(text, Path::new("/nowhere")) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Problems(problems)) => problems,
        Err(other) => panic!("{other}"),
    }
}

const GOOD: &str = "store = \"gw\"\n[kafka]\nbrokers = \"127.0.0.1:9092\"\n";

#[test]
fn a_minimal_configuration_has_every_default() {
    let config = parse(GOOD, Path::new("/etc/fettle")).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.store, Path::new("/etc/fettle/gw"));
    assert_eq!(config.kafka.group, "fettle-gateway");
    assert_eq!(config.intake.batch, 1_000);
    assert_eq!(config.topics, Topics { partitions: 6, replication: 1 });
    assert_eq!(config.history, Keep::default());
    let small = parse(&format!("{GOOD}[history]\nmax_bytes = 16777216\n"), Path::new("/etc/fettle")).unwrap();
    assert_eq!(small.history.evidence_bytes, 4 << 20, "a quarter of a small history");
    assert!(config.instance.is_none() && !config.signatures.required);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = "listen = \"0.0.0.0:80\"\ninstance = \"a b\"\nstroe = \"x\"\n[kafka]\nbrokers = 7\nusername = \"u\"\n\
                [intake]\nbatch = 0\ninterval = \"200\"\n[topics]\npartitions = \"six\"\nreplication = 99\n";
    let keys: Vec<String> = problems(text).into_iter().map(|p| p.key).collect();
    for key in [
        "listen",
        "instance",
        "stroe",
        "store",
        "kafka.brokers",
        "kafka.password_file",
        "intake.batch",
        "intake.interval",
        "topics.partitions",
        "topics.replication",
    ] {
        assert!(keys.iter().any(|k| k == key), "{key} is not among {keys:?}");
    }
}

#[test]
fn each_problem_names_key_rule_value_and_remedy() {
    for (more, key, value) in [
        ("listen = \"192.168.1.4:80\"\n", "listen", "192.168.1.4:80"),
        ("listen = \"localhost\"\n", "listen", "localhost"),
        ("listen = \"0.0.0.0:8443\"\naccess = { token_file = \"t\" }\n", "listen", "0.0.0.0:8443"),
        ("[access]\ntoken_file = \"t\"\n", "access.token_file", "t"),
        ("[access]\nhosts = [\"https://x\"]\n", "access.hosts", "https://x"),
        ("[access]\nhosts = \"x\"\n", "access.hosts", "x"),
        ("[webhook]\npriority = \"low\"\n", "webhook.url", "\"\""),
        ("[webhook]\nurl = \"ftp://x\"\n", "webhook.url", "ftp://x"),
        ("[webhook]\nurl = \"http://x\"\npriority = \"bad\"\n", "webhook.priority", "bad"),
        ("[topics]\nreplication = 0\n", "topics.replication", "0"),
        ("[intake]\ninterval = \"5 weeks\"\n", "intake.interval", "\"5 weeks\""),
        ("[signatures]\nrequired = true\n", "signatures.required", "true"),
        (
            "[signatures]\nkeys = [{site=\"a\", agent=\"b\", public_key=\"zz\"}]\n",
            "signatures.keys[0].public_key",
            "zz",
        ),
        ("[signatures]\nkeys = [{site=\"a\", agent=\"b/c\"}]\n", "signatures.keys[0].agent", "\"b/c\""),
        ("[history]\nmax_bytes = 7\n", "history.max_bytes", "7"),
        ("[history]\nmax_bytes = 16777216\nevidence_bytes = 8388609\n", "history.evidence_bytes", "8388609"),
        ("[history]\nraw = \"100d\"\n", "history", "longer"),
        ("[history]\nhours = \"1h\"\n", "history.hours (days)", "0"),
        ("[http]\nport = 1\n", "http", "port"),
    ] {
        let text = if more.starts_with('[') { format!("{GOOD}{more}") } else { format!("{more}{GOOD}") };
        let found = problems(&text);
        let problem = found.iter().find(|p| p.key == key).unwrap_or_else(|| panic!("{key} not in {found:?}"));
        assert!(problem.value.contains(value), "{problem}");
        assert!(!problem.rule.is_empty() && !problem.remedy.is_empty());
    }
}

#[test]
fn text_that_is_not_toml_is_shown_with_its_line() {
    let found = problems("listen = = 3");
    assert_eq!(found.len(), 1);
    assert!(found[0].value.contains("line 1"), "{}", found[0]);
}

#[test]
fn credentials_need_a_password_file_and_a_known_mechanism() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "s3cret\n").unwrap();
    let with =
        |mechanism: &str| format!("{GOOD}username = \"u\"\npassword_file = \"secret\"\nmechanism = \"{mechanism}\"\n");
    assert!(parse(&with("PLAIN"), folder.path()).unwrap().kafka.credentials.is_some());
    let Err(ConfigError::Problems(found)) = parse(&with("KERBEROS"), folder.path()) else { panic!("accepted") };
    assert_eq!(found[0].key, "kafka.mechanism");
}

#[cfg(not(feature = "tls"))]
#[test]
fn tls_is_refused_by_a_build_without_it() {
    assert_eq!(problems(&format!("{GOOD}[kafka.tls]\nca_file = \"x\"\n"))[0].key, "kafka.tls");
    let told = problems(&format!("{GOOD}[tls]\ncert_file = \"c\"\nkey_file = \"k\"\n"));
    assert_eq!((told[0].key.as_str(), told[0].rule.contains("feature tls")), ("tls", true));
}

#[test]
fn an_agents_key_is_found_by_site_and_agent() {
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"; // RFC 8032, 7.1, test 1
    let text = format!("{GOOD}[[signatures.keys]]\nsite = \"a\"\nagent = \"b\"\npublic_key = \"{public}\"\n");
    let config = parse(&text, Path::new(".")).unwrap();
    let name = |text: &str| fettle_wire::Name::new(text).unwrap();
    assert!(config.signatures.key(&name("a"), &name("b")).is_some());
    assert!(config.signatures.key(&name("b"), &name("a")).is_none());
}
