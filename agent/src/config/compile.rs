//! From as typed to as run: every key of the agent's own file, its rule, its default and its remedy.
//!
//! A broken rule is reported and the default stands in, so that what follows is still checked; the result is thrown
//! away if anything was reported. Rules over two keys come last in their section. Files that the configuration names
//! are read here (passwords) or tried (certificates): a running agent must not find out later.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fettle_wire::frame::MAX_FRAME;
use fettle_wire::{Name, Unit};
use toml::de::DeValue;

use super::checked::{
    ClockConfig, ForeignTemplate, JournalConfig, KafkaConfig, Mechanism, MqttConfig, OutboxConfig, Secret, TlsConfig,
};
use super::quantity::{DURATION_FORM, SIZE_FORM, duration, exact_size, show_duration, show_size, size};
use super::raw::{Rule, Section, plain, switch, text, whole};

/// Room for topic and properties beside the largest frame.
const PACKET_OVERHEAD: u32 = 16 * 1024;
/// Commit batches that the broker must be allowed to hand out before it waits for us.
const BATCHES_IN_FLIGHT: usize = 4;
const MIB: u64 = 1 << 20;

pub(super) const NAME_RULE: &str = "must be 1 to 64 of A-Z a-z 0-9 . _ - without a leading dot";

pub(super) fn name(value: &DeValue<'_>) -> Option<Name> {
    Name::new(value.as_str()?).ok()
}

pub(super) fn unit(value: &DeValue<'_>) -> Option<Unit> {
    Unit::from_code(value.as_str()?).ok()
}

pub(super) fn unit_rule() -> String {
    let codes: Vec<&str> = Unit::all().map(Unit::code).collect();
    format!("must be a known UCUM code: {}", codes.join(" "))
}

fn address(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((host, port)) => !host.is_empty() && host.trim() == host && port.parse::<u16>().is_ok_and(|p| p > 0),
        None => false,
    }
}

/// Reads a duration between `least` and `most`, or takes `default`.
fn interval(section: &Section<'_, '_>, key: &'static str, [least, most, default]: [Duration; 3]) -> Duration {
    let [low, high] = [show_duration(least), show_duration(most)];
    let rule = format!("must be from {low} to {high}, and {DURATION_FORM}");
    let remedy = format!("write \"{}\" if in doubt", show_duration(default));
    let read = |v: &DeValue<'_>| duration(v.as_str()?).filter(|d| (least..=most).contains(d));
    section.get(key, Rule(&rule, &remedy), read).unwrap_or(default)
}

/// Reads a size of at least `least`, or takes `default`.
pub(super) fn bytes(section: &Section<'_, '_>, key: &'static str, least: u64, default: u64) -> u64 {
    let rule = format!("must be at least {}, and {SIZE_FORM}", exact_size(least));
    let remedy = format!("write \"{}\" if in doubt", exact_size(default));
    section.get(key, Rule(&rule, &remedy), |v| size(v.as_str()?).filter(|s| *s >= least)).unwrap_or(default)
}

pub(super) fn mqtt(section: &Section<'_, '_>, folder: &Path, site: &str, agent: &str, batch: usize) -> MqttConfig {
    let host = section.require(
        "host",
        Rule("must be a host name or an address", "write the broker's, e.g. \"127.0.0.1\""),
        |v| plain(v).filter(|h| !h.contains(char::is_whitespace) && !h.contains('/')),
    );
    let port = section.get(
        "port",
        Rule("must be a TCP port from 1 to 65535", "write the broker's port: 1883, or 8883 with TLS"),
        whole(1..=u16::MAX),
    );
    let client_id = section.get(
        "client_id",
        Rule("must be 1 to 128 printable characters", "remove the line to be called fettle-<site>-<agent>"),
        |v| plain(v).filter(|t| t.len() <= 128),
    );
    let expiry = section.get(
        "session_expiry_s",
        Rule(
            "must be a whole number of seconds from 60 to 4294967294",
            "write 604800 for a week: as long as the agent may be away without the broker forgetting what waits for it",
        ),
        whole(60..=u32::MAX - 1),
    );
    let max_packet = section.get(
        "max_packet",
        Rule(
            "must be from 272KiB (the largest frame and its topic) to 16MiB, and a whole number and a unit",
            "write \"272KiB\"",
        ),
        |v| {
            u32::try_from(size(v.as_str()?)?)
                .ok()
                .filter(|n| (MAX_FRAME as u32 + PACKET_OVERHEAD..=16 << 20).contains(n))
        },
    );
    let (username, password) = credentials(section, folder);
    let config = MqttConfig {
        host: host.unwrap_or_default(),
        port: port.unwrap_or(1883),
        client_id: client_id.unwrap_or_else(|| format!("fettle-{site}-{agent}")),
        username,
        password,
        session_expiry: Duration::from_secs(u64::from(expiry.unwrap_or(604_800))),
        receive_maximum: receive_maximum(section, batch),
        max_packet: max_packet.unwrap_or(MAX_FRAME as u32 + PACKET_OVERHEAD),
        tcp_nodelay: section
            .get(
                "tcp_nodelay",
                Rule(
                    "must be true or false",
                    "write false, or true where acknowledgements must leave at once, in more and smaller packets",
                ),
                switch,
            )
            .unwrap_or(false),
        tls: tls(&section.section("tls"), folder),
        foreign: section.sections("foreign").iter().filter_map(foreign).collect(),
    };
    section.finish();
    config
}

fn receive_maximum(section: &Section<'_, '_>, batch: usize) -> u16 {
    let least = batch.saturating_mul(BATCHES_IN_FLIGHT);
    let default = u16::try_from(least.max(8_192)).unwrap_or(u16::MAX);
    let rule = Rule("must be a whole number from 1 to 65535", "remove the line to take what suits journal.batch");
    let typed = section.get("receive_maximum", rule, whole(1..=u16::MAX)).unwrap_or(default);
    if usize::from(typed) < least {
        let rule = format!(
            "must be at least {BATCHES_IN_FLIGHT} commit batches, {BATCHES_IN_FLIGHT} x journal.batch = {least}, or the broker waits for us in every commit"
        );
        let remedy =
            format!("write {least} or more, or a journal.batch of at most {}", usize::from(typed) / BATCHES_IN_FLIGHT);
        section.report_value("receive_maximum", typed.to_string(), Rule(&rule, &remedy));
    }
    typed
}

/// `username` and `password_file`: both or none.
fn credentials(section: &Section<'_, '_>, folder: &Path) -> (Option<String>, Option<Secret>) {
    let username = section.get(
        "username",
        Rule("must be a text of 1 to 256 characters", "write the name the broker knows"),
        plain,
    );
    let file = section.get(
        "password_file",
        Rule(
            "must be the path of a file",
            "write the password alone into a file that only the agent's user can read, and its path here",
        ),
        plain,
    );
    if username.is_some() && file.is_none() && !section.has("password_file") {
        section.report(
            "password_file",
            Rule("must be given with username", "write the path of a file with the password alone"),
        );
    }
    if file.is_some() && username.is_none() && !section.has("username") {
        section.report(
            "username",
            Rule("must be given with password_file", "write the user's name, or remove password_file"),
        );
    }
    let password = file.and_then(|file| {
        let path = folder.join(&file);
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim_end_matches(['\r', '\n']).is_empty() => {
                Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            Ok(_) => {
                section.report(
                    "password_file",
                    Rule("must hold the password, and the file is empty", "write the password alone into it"),
                );
                None
            }
            Err(e) => {
                let rule = format!("must be a readable text file ({}: {e})", path.display());
                section.report("password_file", Rule(&rule, "create it, readable by the agent's user only"));
                None
            }
        }
    });
    (username, password)
}

fn tls(section: &Section<'_, '_>, folder: &Path) -> Option<TlsConfig> {
    if !section.is_present() {
        return None;
    }
    let file = |key: &'static str| {
        let typed = section.get(
            key,
            Rule("must be the path of a PEM file", "write its path; it is taken from the folder of this file"),
            plain,
        )?;
        let path = folder.join(typed);
        if let Err(e) = fs::File::open(&path) {
            let rule = format!("must be a readable PEM file ({}: {e})", path.display());
            section.report(key, Rule(&rule, "correct the path or the file's permissions"));
        }
        Some(path)
    };
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    if ca_file.is_none() && !section.has("ca_file") {
        section.report(
            "ca_file",
            Rule("must be given", "write the path of the PEM of the authority that signed the broker's certificate"),
        );
    }
    if section.has("cert_file") != section.has("key_file") {
        let absent = if section.has("cert_file") { "key_file" } else { "cert_file" };
        section.report(absent, Rule("cert_file and key_file must be given together", "write both, or neither"));
    }
    if !cfg!(feature = "tls") {
        section.report_name(
            "tls",
            Rule(
                "this build has no TLS",
                "install the package, or build with --features tls; or remove the section where the network is trusted",
            ),
        );
    }
    section.finish();
    Some(TlsConfig { ca_file: ca_file?, cert_file, key_file })
}

fn foreign(section: &Section<'_, '_>) -> Option<ForeignTemplate> {
    let rule = Rule(
        "must be levels separated by /: texts, +, {asset} or {channel}, each placeholder once and alone in its level",
        "write e.g. \"sensors/{asset}/{channel}\"",
    );
    let topic = section.require("topic", rule, |v| text(v).filter(|t| is_template(t)));
    let [asset, channel] =
        ["asset", "channel"].map(|key| section.get(key, Rule(NAME_RULE, "write the name used in the registry"), name));
    let unit =
        section.get("unit", Rule(&unit_rule(), "write the code of what the publisher sends, e.g. \"Cel\""), unit);
    if let Some(topic) = &topic {
        let captures = topic.split('/').any(|level| level == "{asset}");
        if captures == section.has("asset") {
            let rule = Rule(
                "the asset must come from {asset} in the topic or from the key asset, one of the two",
                "keep one of them",
            );
            section.report("asset", rule);
        }
        if topic.split('/').any(|level| level == "{channel}") && section.has("channel") {
            section.report("channel", Rule("the topic has {channel} already", "remove the key or the placeholder"));
        }
        if topic.starts_with("fettle/") {
            section.report(
                "topic",
                Rule("must not lie below fettle/, where our own frames are", "write the publisher's own topic"),
            );
        }
    }
    section.finish();
    Some(ForeignTemplate { topic: topic?, asset, channel, unit })
}

fn is_template(topic: &str) -> bool {
    let level = |level: &str| match level {
        "+" | "{asset}" | "{channel}" => true,
        text => !text.is_empty() && !text.contains(['+', '#', '{', '}', '\0', '$']),
    };
    let once = |word: &str| topic.matches(word).count() <= 1;
    topic.len() <= 1024 && topic.split('/').all(level) && once("{asset}") && once("{channel}")
}

pub(super) fn kafka(section: &Section<'_, '_>, folder: &Path) -> KafkaConfig {
    let brokers = section.require(
        "brokers",
        Rule("must be host:port, several separated by commas", "write e.g. \"kafka-1:9092,kafka-2:9092\""),
        |v| plain(v).filter(|t| t.split(',').all(address)),
    );
    let prefix = section.get("prefix", Rule(NAME_RULE, "remove the line for fettle"), name);
    let (username, password) = credentials(section, folder);
    let mechanism = section.get(
        "mechanism",
        Rule("must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", "write the one the cluster asks for"),
        |v| {
            let typed = v.as_str()?;
            Mechanism::ALL.into_iter().find(|m| m.as_str() == typed)
        },
    );
    if mechanism.is_some() && username.is_none() && !section.has("username") {
        section.report(
            "mechanism",
            Rule("means nothing without username", "write username and password_file, or remove it"),
        );
    }
    let mechanism = mechanism.unwrap_or(Mechanism::Plain);
    if username.is_some() && mechanism != Mechanism::Plain && !cfg!(feature = "tls") {
        section.report(
            "mechanism",
            Rule("SCRAM needs OpenSSL, and this build has none", "install the package, or build with --features tls"),
        );
    }
    let config = KafkaConfig {
        brokers: brokers.unwrap_or_default(),
        prefix: prefix.or_else(|| Name::new("fettle").ok()).unwrap_or_else(placeholder),
        username,
        password,
        mechanism,
        tls: tls(&section.section("tls"), folder),
    };
    section.finish();
    config
}

/// Stands where a name was refused; the configuration it is part of is never used.
pub(super) fn placeholder() -> Name {
    // Invariant: the literal is a name (tested below).
    #[expect(clippy::unwrap_used, reason = "a literal that a test checks")]
    Name::new("absent").unwrap()
}

pub(super) fn journal(section: &Section<'_, '_>) -> JournalConfig {
    const DAY: Duration = Duration::from_secs(86_400);
    let max_bytes = bytes(section, "max_bytes", 16 * MIB, 4 << 30);
    let config = JournalConfig {
        commit_interval: interval(
            section,
            "commit_interval",
            [Duration::from_millis(1), Duration::from_secs(10), Duration::from_millis(50)],
        ),
        batch: section
            .get(
                "batch",
                Rule("must be a whole number of messages from 1 to 16383", "write 1024"),
                whole(1..=16_383_i64),
            )
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(1024),
        keep_bytes: bytes(section, "keep_bytes", MIB, (2 << 30).min(max_bytes / 2)),
        keep: interval(section, "keep", [Duration::from_secs(3600), DAY * 3650, DAY * 7]),
        max_bytes,
    };
    section.finish();
    config
}

pub(super) fn outbox(section: &Section<'_, '_>, journal: &JournalConfig) -> OutboxConfig {
    let default = (256 * MIB).min(journal.max_bytes / 8);
    let max_bytes = bytes(section, "max_bytes", MIB, default);
    let room = journal.max_bytes / 4 * 3;
    if journal.keep_bytes.saturating_add(max_bytes) > room {
        let rule = format!(
            "journal.keep_bytes + outbox.max_bytes = {} must fit into three quarters of journal.max_bytes, {}; the rest is for state and for pages being rewritten",
            show_size(journal.keep_bytes.saturating_add(max_bytes)),
            show_size(room)
        );
        section.report_value(
            "max_bytes",
            show_size(max_bytes),
            Rule(&rule, "raise journal.max_bytes or lower one of the two"),
        );
    }
    section.finish();
    OutboxConfig { max_bytes }
}

pub(super) fn ledger(section: &Section<'_, '_>) -> Duration {
    let range = [Duration::from_secs(1), Duration::from_secs(86_400), Duration::from_secs(60)];
    let value = interval(section, "interval", range);
    section.finish();
    value
}

pub(super) fn http(section: &Section<'_, '_>) -> SocketAddr {
    let rule = Rule(
        "must be a loopback address and a port, because metrics and status are served without a password",
        "write \"127.0.0.1:9464\", and let a local Prometheus agent or proxy carry it further",
    );
    let read = |v: &DeValue<'_>| v.as_str()?.parse::<SocketAddr>().ok().filter(|a| a.ip().is_loopback());
    let listen = section.get("listen", rule, read).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9464)));
    section.finish();
    listen
}

pub(super) fn clock(section: &Section<'_, '_>) -> ClockConfig {
    let rule = Rule(
        "must be auto, synced, free_running or unknown",
        "write \"auto\", or \"synced\" where chrony, PTP or GNSS keeps the clock",
    );
    let quality = section.get("quality", rule, |v| match v.as_str()? {
        "auto" => Some(ClockConfig::Auto),
        "synced" => Some(ClockConfig::Synced),
        "free_running" => Some(ClockConfig::FreeRunning),
        "unknown" => Some(ClockConfig::Unknown),
        _ => None,
    });
    section.finish();
    quality.unwrap_or_default()
}

/// The registry's file and its text, where it is not in this file.
pub(super) fn registry_file(section: &Section<'_, '_>, folder: &Path) -> Option<(PathBuf, String)> {
    let example = "write e.g. registry = \"registry.toml\", taken from the folder of this file";
    let path = folder.join(section.get("registry", Rule("must be the path of the registry file", example), plain)?);
    if section.has("assets") || section.has("generation") {
        let rule = "assets are either in this file or in another";
        section
            .report("registry", Rule(rule, "remove the line, or move [assets] and generation into the file it names"));
    }
    match fs::read_to_string(&path) {
        Ok(text) => Some((path, text)),
        Err(e) => {
            let rule = format!("must be a readable text file ({}: {e})", path.display());
            section.report("registry", Rule(&rule, "correct the path, or create the file"));
            // Absent is not empty: nothing must be said about assets that were never read.
            Some((path, String::new()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_is_a_name() {
        assert_eq!(placeholder().as_str(), "absent");
    }

    #[test]
    fn templates_take_whole_levels_only() {
        for good in ["sensors/{asset}/{channel}", "uns/+/line-1/{asset}", "a"] {
            assert!(is_template(good), "{good}");
        }
        for bad in ["", "/a", "a//b", "a/#", "a/b{asset}", "{asset}/{asset}", "$SYS/x", "a/+b"] {
            assert!(!is_template(bad), "{bad}");
        }
    }

    #[test]
    fn a_kafka_address_has_host_and_port() {
        assert!(address("kafka-1:9092") && address("[::1]:9092"));
        assert!(!address("kafka-1") && !address(":9092") && !address("k:0") && !address(" k:1"));
    }
}
