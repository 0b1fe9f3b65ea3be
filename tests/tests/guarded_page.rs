//! A fleet gateway that others than its own machine may reach: TLS that a strict client accepts and a lax one cannot
//! weaken, and the page behind it, where a wrong token is refused and a right one lets in as who it belongs to.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;
use testbed::browser::{Browser, DESK, PHONE, Page};
use testbed::ports::Port;
use testbed::process::Spec;
use testbed::{Binary, Folder, Process, Tool, eventually, require};

const PATIENCE: Duration = Duration::from_secs(60);
const LIVE: &str = "document.querySelector('#link.on') !== null";
const LOGIN: &str = "document.querySelector('dialog[open] #token') !== null";
/// Prints the SHA-256 of a certificate's public key, in base64: how Chromium is told to trust it and no other.
const KEY_HASH: &str = "openssl x509 -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64 -A";

struct Guarded {
    process: Process,
    port: Port,
    /// By name: the token.
    tokens: [(&'static str, String); 2],
    folder: Folder,
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

/// As docs/runbook-gateway.md has it, for the address that tests use.
fn make_certificate(folder: &Path) {
    let output = run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"])
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
        .current_dir(folder));
    text(&output);
}

/// A token of its own for a person, and the line that knows it.
fn make_token(name: &str, role: &str) -> (String, String) {
    let printed = text(&run(Command::new(Binary::Gateway.path()).args(["token", name, role])));
    let line = printed.lines().find(|line| line.contains("sha256:")).unwrap().trim().to_owned();
    let token = printed.split_whitespace().find(|word| word.len() >= 32 && !word.contains(':')).unwrap().to_owned();
    (token, line)
}

/// Starts a gateway whose Kafka never answers: the page does not need it to be opened. `None` in a build without TLS.
fn start() -> Option<Guarded> {
    let (folder, port, nobody) = (Folder::new("guarded-page"), Port::reserve(), Port::reserve());
    make_certificate(folder.path());
    let (operator, viewer) = (make_token("Ada Lovelace", "operator"), make_token("control room", "viewer"));
    folder.write("tokens", format!("{}\n{}\n", operator.1, viewer.1));
    let configuration = folder.write(
        "gateway.toml",
        format!(
            "listen = \"{}\"\nstore = \"gateway\"\ninstance = \"gateway\"\n[kafka]\nbrokers = \"{}\"\n\
             [tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n[access]\ntoken_file = \"tokens\"\n",
            port.address(),
            nobody.address()
        ),
    );
    let checked = run(Command::new(Binary::Gateway.path()).args(["check", "--config"]).arg(&configuration));
    if String::from_utf8_lossy(&checked.stderr).contains("only in a build with the feature tls") {
        testbed::tools::skip("fettle-gateway with TLS", "this build has none", "build with --features tls");
        return None;
    }
    text(&checked);
    let spec = Spec::new("fettle-gateway", Binary::Gateway.path(), folder.path());
    let process = spec.args(["run", "--config"]).arg(configuration).start();
    Some(Guarded { process, port, tokens: [("operator", operator.0), ("viewer", viewer.0)], folder })
}

impl Guarded {
    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.port.address())
    }

    fn token(&self, role: &str) -> &str {
        &self.tokens.iter().find(|(of, _)| *of == role).unwrap().1
    }

    /// The status that curl is answered with, or why it got no answer. It trusts our certificate and checks its name.
    fn curl(&self, arguments: &[&str], url: &str) -> Result<String, String> {
        let output = run(Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--output", "/dev/null"])
            .args(["--write-out", "%{http_code}", "--noproxy", "*"])
            .args(arguments)
            .arg(url)
            .current_dir(self.folder.path()));
        if output.status.success() {
            Ok(text(&output))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn trusting(&self, path: &str) -> Result<String, String> {
        self.curl(&["--cacert", "cert.pem"], &self.url(path))
    }

    fn await_ready(&mut self) {
        eventually("the gateway answers over TLS", PATIENCE, || {
            self.process.assert_running();
            self.trusting("/healthz")
        });
    }
}

/// Enters a token where the page asks for it.
fn enter(page: &Page, token: &str) {
    page.click("document.querySelector('#token')");
    page.value("document.querySelector('#token').select()");
    page.type_text(token);
    page.press("Enter");
}

fn assert_no_barrier(page: &Page, when: &str) {
    let barriers = page.barriers();
    assert!(barriers.is_empty(), "axe-core, {when}:\n{}", barriers.join("\n"));
}

/// The log-in on a desk and on a phone; a wrong token is told so and leaves the person where they were.
fn a_wrong_token_is_refused(page: &Page) {
    page.await_true("it asks for a token", PATIENCE, LOGIN);
    assert_no_barrier(page, "at the log-in");
    page.resize(PHONE);
    page.photograph("login-phone");
    page.resize(DESK);
    enter(page, "not-a-token");
    let refused = "document.querySelector('dialog[open] .bad')?.innerText.trim().length > 10";
    page.await_true("it says that the token is wrong", PATIENCE, refused);
    page.photograph("login-refused");
    page.press("Escape");
    assert_eq!(page.value(LOGIN), json!(true), "there is no way around the log-in");
    assert_eq!(page.value("fetch('/api/v1/alarms').then((a) => a.status)"), json!(401));
}

fn a_right_one_lets_in(page: &Page, token: &str, name: &str) {
    enter(page, token);
    page.await_true("the page is live", PATIENCE, LIVE);
    let who = page.value("[document.querySelector('#person').value, document.querySelector('#person').readOnly]");
    assert_eq!(who, json!([name, true]), "the token's name, which nobody can change");
    assert_eq!(page.value("fetch('/api/v1/alarms').then((a) => a.status)"), json!(200));
    assert_eq!(page.value("document.cookie"), json!(""), "no script can read the session");
}

#[test]
fn a_wrong_token_is_refused_and_a_right_one_lets_in_over_tls() {
    if !require(&[Tool::Chromium, Tool::Openssl, Tool::Curl]) {
        return;
    }
    let Some(mut guarded) = start() else { return };
    guarded.await_ready();
    let certificate = guarded.folder.path().join("cert.pem");
    let hash = text(&run(Command::new("sh").args(["-c", KEY_HASH]).arg(certificate)));
    let trusted = format!("--ignore-certificate-errors-spki-list={hash}");
    let browser = Browser::start_with(&guarded.folder, &[&trusted]);
    let page = browser.open(&guarded.url("/#/alarms"));

    a_wrong_token_is_refused(&page);
    a_right_one_lets_in(&page, guarded.token("viewer"), "control room");
    let ask = "fetch('/api/v1/alarms/s/a/c/acknowledge', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{\"occurrence\": 1}' }).then((a) => a.status)";
    assert_eq!(page.value(ask), json!(403), "a viewer asks for nothing");
    page.photograph("logged-in");
    page.click("document.querySelector('#logout')");
    page.await_true("after the log-out it asks again", PATIENCE, LOGIN);
    a_right_one_lets_in(&page, guarded.token("operator"), "Ada Lovelace");
    let past = page.value(ask);
    assert!(past != json!(401) && past != json!(403), "an operator is let through, Kafka is away: {past}");

    // The browser itself reports each answer that is an error; the page has nothing to complain of.
    let own = page.complaints().into_iter().filter(|c| c.source != "network").collect::<Vec<_>>();
    assert_eq!(own, [], "the page complained");
}

#[test]
fn only_tls_of_today_is_spoken_and_a_renewed_certificate_is_taken_without_a_restart() {
    if !require(&[Tool::Openssl, Tool::Curl]) {
        return;
    }
    let Some(mut guarded) = start() else { return };
    guarded.await_ready();
    let (page, trust) = (guarded.url("/"), ["--cacert", "cert.pem"]);
    assert_eq!(guarded.trusting("/").as_deref(), Ok("200"));
    let no_trust = guarded.curl(&[], &page).unwrap_err();
    assert!(no_trust.contains("certificate"), "who does not know the certificate does not go on: {no_trust}");
    let other_name = ["--cacert", "cert.pem", "--resolve", &format!("localhost:{}:127.0.0.1", guarded.port.number())];
    let by_name = guarded.curl(&other_name, &format!("https://localhost:{}/", guarded.port.number())).unwrap_err();
    assert!(by_name.contains("subject"), "it is for its own name only: {by_name}");
    guarded.curl(&[&trust[..], &["--tls-max", "1.1"]].concat(), &page).expect_err("TLS 1.1 is out of date");
    guarded.curl(&[], &page.replace("https", "http")).expect_err("nothing is told without TLS");

    // One that connects and says nothing keeps nobody waiting.
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(guarded.port.address()).unwrap()).collect();
    assert_eq!(guarded.trusting("/healthz").as_deref(), Ok("200"));
    drop(silent);

    let session = ["--cacert", "cert.pem", "--header", &format!("Authorization: Bearer {}", guarded.token("viewer"))];
    assert_eq!(guarded.curl(&session, &guarded.url("/api/v1/alarms")).as_deref(), Ok("200"));
    guarded.folder.write("key.pem", "half a file");
    assert_eq!(guarded.trusting("/").as_deref(), Ok("200"), "files that do not go together change nothing");
    make_certificate(guarded.folder.path());
    eventually("the renewed certificate is shown", PATIENCE, || {
        guarded.process.assert_running();
        guarded.trusting("/")
    });
}
