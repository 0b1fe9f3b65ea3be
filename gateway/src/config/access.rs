//! The rules of `listen`, `[tls]`, `[access]` and `[webhook]`: another address than loopback needs TLS and tokens.

use std::net::SocketAddr;
use std::path::Path;

use fettle_wire::Priority;

use super::checked::{Access, Problems, ServerTls, Webhook, check_file, say};
use super::raw::{RawAccess, RawTls, RawWebhook};
use crate::access::tokens::Tokens;
use crate::api::tls::Certificate;

/// `is_open`: TLS and tokens are asked for; whether they are right is said where they are checked.
pub(super) fn check_listen(text: &str, is_open: bool, problems: &mut Problems) -> Option<SocketAddr> {
    let Ok(address) = text.parse::<SocketAddr>() else {
        say(problems, "listen", "an address and a port", text, "write it like \"127.0.0.1:8080\" (no host name)");
        return None;
    };
    if !address.ip().is_loopback() && !is_open {
        let rule = "a loopback address, unless there are [tls] and [access] token_file: whoever reaches it may \
                    acknowledge alarms";
        let remedy = "listen on 127.0.0.1 or [::1]; or add [tls] with cert_file and key_file, and [access] with a \
                      token_file made of lines that `fettle-gateway token NAME operator` prints";
        say(problems, "listen", rule, text, remedy);
        return None;
    }
    Some(address)
}

pub(super) fn check_tls(raw: Option<RawTls>, folder: &Path, problems: &mut Problems) -> Option<Option<ServerTls>> {
    let Some(raw) = raw else { return Some(None) };
    if !cfg!(feature = "tls") {
        let remedy = "use a package (it has TLS) or build with --features tls; or remove [tls] and listen on loopback";
        say(problems, "tls", "only in a build with the feature tls", "[tls]", remedy);
        return None;
    }
    let (Some(cert_file), Some(key_file)) = (raw.cert_file, raw.key_file) else {
        let remedy = "name the PEM files of the certificate chain and of its PKCS#8 key";
        say(problems, "tls", "cert_file and key_file are both needed", "one or none of them", remedy);
        return None;
    };
    let cert_file = check_file("tls.cert_file", &cert_file, folder, problems);
    let key_file = check_file("tls.key_file", &key_file, folder, problems);
    let tls = ServerTls { cert_file: cert_file?, key_file: key_file? };
    if let Some(fault) = Certificate::open(&tls).err() {
        let remedy = "an own certificate to try: openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem \
                      -days 365 -subj /CN=HOST -addext subjectAltName=DNS:HOST";
        say(problems, "tls", "a certificate and its key", &fault, remedy);
        return None;
    }
    Some(Some(tls))
}

pub(super) fn check_access(raw: RawAccess, folder: &Path, problems: &mut Problems) -> Option<Access> {
    let wrong = raw.hosts.iter().find(|host| {
        host.is_empty() || host.contains("//") || host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/')
    });
    if let Some(host) = wrong {
        let remedy = "write what stands in the browser's address between // and /, like \"fleet.example.org\"";
        say(problems, "access.hosts", "host names", &format!("{host:?}"), remedy);
    }
    let token_file = match raw.token_file {
        None => None,
        Some(text) => {
            let path = check_file("access.token_file", &text, folder, problems)?;
            if let Err(fault) = Tokens::open(&path) {
                let remedy = "add lines that `fettle-gateway token NAME viewer` or `.. operator` prints";
                say(problems, "access.token_file", "lines of name, role and hash", &fault.to_string(), remedy);
                return None;
            }
            Some(path)
        }
    };
    Some(Access { token_file, hosts: raw.hosts })
}

pub(super) fn check_webhook(
    raw: Option<RawWebhook>,
    folder: &Path,
    problems: &mut Problems,
) -> Option<Option<Webhook>> {
    let Some(raw) = raw else { return Some(None) };
    let url = raw.url.unwrap_or_default();
    let is_url = url.split_once("://").is_some_and(|(scheme, rest)| {
        matches!(scheme, "http" | "https") && !rest.is_empty() && !rest.contains(char::is_whitespace)
    });
    if !is_url {
        let remedy = "write where the receiver listens, like \"http://127.0.0.1:9095/hook\"";
        say(problems, "webhook.url", "required: an http or https address", &format!("{url:?}"), remedy);
        return None;
    }
    if url.starts_with("https") && !cfg!(feature = "tls") {
        let remedy = "use a package (it has TLS) or build with --features tls; or send to http on loopback";
        say(problems, "webhook.url", "https only in a build with the feature tls", &url, remedy);
        return None;
    }
    let token_file = match raw.token_file {
        None => None,
        Some(text) => Some(check_file("webhook.token_file", &text, folder, problems)?),
    };
    let least = match raw.priority.as_deref().unwrap_or("low") {
        "low" => Priority::Low,
        "medium" => Priority::Medium,
        "high" => Priority::High,
        "critical" => Priority::Critical,
        other => {
            let remedy = "write the least priority that is told";
            say(problems, "webhook.priority", "one of low, medium, high, critical", &format!("{other:?}"), remedy);
            return None;
        }
    };
    let page = raw.page.unwrap_or_default().trim_end_matches('/').to_owned();
    Some(Some(Webhook { url, token_file, least, page }))
}
