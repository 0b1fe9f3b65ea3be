//! The API over a real socket, with a store and without Kafka.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fettle_wire::{Change, Command};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::fleet::asset::{AlarmRecord, Origin, alarm_key, command_key};
use crate::fleet::changelog::Feed;
use crate::fleet::store::Change as StoreChange;
use crate::intake::record::tests::{alert, name};
use crate::requests::{Ask, Decision, decide};

fn alarm() -> AlarmRecord {
    let origin = Origin { site: name("plant-a"), agent: name("gw-1"), incarnation: "0000000000000001".into() };
    AlarmRecord::new(origin, alert("pump", "limit.temperature", 2, Change::Raised), 0, Vec::new())
}

fn pending_command() -> Command {
    command_of(&alarm(), &Ask::Acknowledge { occurrence: 2 })
}

fn command_of(alarm: &AlarmRecord, ask: &Ask) -> Command {
    match decide(Some(alarm), &[], ask, "ada", crate::clock::wall()) {
        Decision::Send(command) => command,
        other => panic!("{other:?}"),
    }
}

pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) api: Arc<Api>,
    _folder: tempfile::TempDir,
}

impl Running {
    pub(super) async fn start(values: Vec<(String, Vec<u8>)>) -> Self {
        Self::start_with(values, "", tempfile::tempdir().unwrap()).await
    }

    pub(super) async fn start_with(values: Vec<(String, Vec<u8>)>, more: &str, folder: tempfile::TempDir) -> Self {
        let text = format!("store = \"gw\"\n[kafka]\nbrokers = \"127.0.0.1:1\"\n{more}");
        let config = crate::config::parse(&text, folder.path()).unwrap();
        let store = Arc::new(Store::open(&config.store).unwrap());
        let history = History::open(&config.store.join("history"), config.history, "fettle").unwrap();
        let metrics = Arc::<Metrics>::default();
        let changes: Vec<_> = values.into_iter().map(|(key, v)| StoreChange { key, value: Some(v) }).collect();
        store.apply(store.epoch(), &changes, &BTreeMap::new()).unwrap();
        let api = Arc::new(Api {
            store,
            history: Arc::new(history),
            hub: Arc::new(Hub::with_room(Arc::clone(&metrics), 1 << 20)),
            status: Arc::default(),
            metrics,
            commands: Commands::new(&config.kafka).unwrap(),
            cache: Arc::default(),
            access: Access::new(&config).unwrap(),
            places: places(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = listen::Serving::plain(Duration::from_millis(300), Arc::clone(&api.metrics));
        if let Some(tls) = &config.tls {
            serving = serving.with(tls).unwrap();
        }
        tokio::spawn(listen::serve(listener, router(Arc::clone(&api)), serving));
        Self { address, api, _folder: folder }
    }

    pub(super) async fn send(&self, request: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A body that is refused may find the connection closed.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, answer)
    }

    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path}"), "", "").await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.send(&format!("POST {path}"), "Content-Type: application/json\r\n", body).await
    }
}

fn with_alarm() -> Vec<(String, Vec<u8>)> {
    vec![(alarm_key("plant-a", "pump", "limit.temperature"), serde_json::to_vec(&alarm()).unwrap())]
}

const ACK: &str = "/api/v1/alarms/plant-a/pump/limit.temperature/acknowledge";

fn act(what: &str) -> String {
    ACK.replace("acknowledge", what)
}

#[tokio::test]
async fn every_page_answers_on_an_empty_store() {
    let running = Running::start(Vec::new()).await;
    for path in [
        "/",
        "/app/app.js",
        "/app/app.css",
        "/app/uPlot.js",
        "/api/v1/openapi.json",
        "/api/v1/sites",
        "/api/v1/audit",
        "/api/v1/alarms/history",
        "/healthz",
        "/metrics",
        "/api/v1/assets",
        "/api/v1/alarms",
        "/api/v1/ledger",
        "/api/v1/lag",
        "/api/v1/session",
    ] {
        let (status, answer) = running.get(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{path}");
    }
}

#[tokio::test]
async fn what_cannot_be_met_is_a_problem_with_its_detail() {
    let running = Running::start(with_alarm()).await;
    let long = format!("{{\"person\": \"{}\", \"occurrence\": 2}}", "x".repeat(MAX_BODY));
    for (status, answer) in [
        (404, running.get("/nothing").await),
        (404, running.get("/api/v1/assets/plant-a/none").await),
        (400, running.get("/api/v1/alarms?open=perhaps").await),
        (400, running.get("/api/v1/assets?colour=red").await),
        (400, running.get("/api/v1/assets?state=red").await),
        (400, running.get("/api/v1/assets?priority=red").await),
        (400, running.get("/api/v1/assets?order=red").await),
        (400, running.get("/api/v1/alarms?state=red").await),
        (400, running.get("/api/v1/alarms/history?asset=pump").await),
        (400, running.get("/api/v1/audit?cursor=red").await),
        (404, running.get("/app/nothing.js").await),
        (404, running.get("/api/v1/assets/plant-a/none/history").await),
        (400, running.get("/api/v1/assets/plant-a/none/history?resolution=2h").await),
        (404, running.get("/api/v1/assets/plant-a/none/evidence").await),
        (404, running.get(&format!("/api/v1/assets/plant-a/{}/evidence", "x".repeat(600))).await),
        (404, running.get("/api/v1/assets/plant-a/none/evidence/00000000000000000000000000000000").await),
        (404, running.get(&format!("/api/v1/assets/plant-a/{}/evidence/{}", "x".repeat(600), "0".repeat(32))).await),
        (404, running.get("/api/v1/assets/plant-a/none/evidence/x").await),
        (400, running.get("/api/v1/assets/plant-a/none/evidence?occasion=red").await),
        (400, running.get("/api/v1/assets/plant-a/none/evidence?occurrence=red").await),
        (400, running.get("/api/v1/assets/plant-a/none/evidence?cursor=red").await),
        (400, running.get("/api/v1/assets/plant-a/none/history?from=5&to=5").await),
        (
            403,
            running
                .send(&format!("POST {ACK}"), "Content-Type: application/json\r\nOrigin: http://evil\r\n", "{}")
                .await,
        ),
        (403, running.send(&format!("POST {ACK}"), "Sec-Fetch-Site: cross-site\r\n", "{}").await),
        (405, running.post("/api/v1/alarms", "{}").await),
        (415, running.send(&format!("POST {ACK}"), "Content-Type: text/plain\r\n", "{}").await),
        (400, running.post(ACK, "{\"person\": \"ada\"}").await),
        (400, running.post(ACK, "{\"person\": \" \", \"occurrence\": 2}").await),
        (413, running.post(ACK, &long).await),
        (409, running.post(ACK, "{\"person\": \"ada\", \"occurrence\": 1}").await),
        (404, running.post("/api/v1/alarms/plant-a/fan/x/acknowledge", "{\"person\": \"a\", \"occurrence\": 1}").await),
        (404, running.post("/api/v1/assets/plant-a/fan/adopt", "{\"person\": \"ada\"}").await),
        (503, running.post(ACK, "{\"person\": \"ada\", \"occurrence\": 2}").await),
        (400, running.post(&act("shelve"), "{\"person\": \"ada\", \"until\": 5}").await),
        (400, running.post(&act("shelve"), "{\"person\": \"ada\", \"until\": 9000000000000000000}").await),
        (400, running.post(&act("shelve"), "{\"until\": 3000000000}").await),
        (503, running.post(&act("shelve"), "{\"person\": \"ada\", \"until\": 3000000000}").await),
        (400, running.post(&act("comment"), "{\"person\": \"ada\", \"occurrence\": 2, \"text\": \" \"}").await),
        (409, running.post(&act("comment"), "{\"person\": \"ada\", \"occurrence\": 1, \"text\": \"x\"}").await),
        (400, running.post(&act("label"), "{\"person\": \"ada\", \"occurrence\": 2, \"label\": \"bad\"}").await),
        (404, running.post("/api/v1/alarms/plant-a/fan/x/unshelve", "{\"person\": \"ada\"}").await),
    ] {
        assert_eq!(answer.0, status, "{}", answer.1);
        assert!(answer.1.contains("application/problem+json") && answer.1.contains("\"detail\":\""), "{}", answer.1);
    }
}

#[tokio::test]
async fn an_acknowledgement_on_its_way_is_answered_as_pending_and_not_sent_again() {
    let command = pending_command();
    let mut values = with_alarm();
    let key = command_key("plant-a", "pump", &command.id);
    values.push((key, command.encode().unwrap().into_bytes()));
    let running = Running::start(values).await;
    running.api.status.set_caught_up(Feed::Commands, true);
    let (status, answer) = running.post(ACK, "{\"person\": \"bob\", \"occurrence\": 2}").await;
    assert_eq!(status, 202, "{answer}");
    assert!(answer.contains("\"person\":\"ada\""), "{answer}");
    let (_, alarms) = running.get("/api/v1/alarms?open=true").await;
    assert!(alarms.contains("\"pending\":{\"what\":\"acknowledge\",\"person\":\"ada\""), "{alarms}");
}

#[tokio::test]
async fn every_request_about_an_alarm_is_pending_until_confirmed_and_not_sent_again() {
    let (mut values, until) = (with_alarm(), 3_000_000_000);
    for ask in [
        Ask::Shelve { until },
        Ask::Comment { occurrence: 2, text: "noise".into() },
        Ask::Label { occurrence: 2, label: fettle_wire::Label::FalseAlarm },
    ] {
        let command = command_of(&alarm(), &ask);
        let key = command_key("plant-a", "pump", &command.id);
        values.push((key, command.encode().unwrap().into_bytes()));
    }
    let running = Running::start(values).await;
    running.api.status.set_caught_up(Feed::Commands, true);
    for (what, body) in [
        ("shelve", format!("{{\"person\": \"bob\", \"until\": {until}}}")),
        ("comment", "{\"person\": \"bob\", \"occurrence\": 2, \"text\": \" noise \"}".to_owned()),
        ("label", "{\"person\": \"bob\", \"occurrence\": 2, \"label\": \"false_alarm\"}".to_owned()),
    ] {
        let (status, answer) = running.post(&act(what), &body).await;
        assert_eq!(status, 202, "{answer}");
        assert!(answer.contains(&format!("\"pending\":[{{\"what\":\"{what}\",\"person\":\"ada\"")), "{answer}");
    }
    let (status, answer) = running.post(&act("unshelve"), "{\"person\": \"bob\"}").await;
    assert_eq!((status, answer.contains("\"status\":\"unshelved\"")), (200, true), "{answer}");
    let (_, alarms) = running.get("/api/v1/alarms?shelved=false").await;
    assert!(alarms.contains("\"text\":\"noise\"") && alarms.contains("\"label\":\"false_alarm\""), "{alarms}");
    let (_, alarms) = running.get("/api/v1/alarms?shelved=true").await;
    assert!(alarms.contains("\"total\":0"), "asked for is not done: {alarms}");
}

#[tokio::test]
async fn lists_are_given_in_pages() {
    let mut values = Vec::new();
    for n in 0..5 {
        let mut entry = crate::intake::record::tests::account(&format!("pump-{n}"), 1);
        entry.quarantined = n == 4;
        let record = crate::fleet::asset::AccountRecord {
            origin: alarm().origin,
            entry,
            seen: 0,
            recent: Vec::new(),
            earlier: fettle_wire::Tally::default(),
            earlier_frames: 0,
            conflicts: 0,
        };
        let key = crate::fleet::asset::ledger_key("plant-a", "gw-1", &format!("pump-{n}"));
        values.push((key, serde_json::to_vec(&record).unwrap()));
    }
    let running = Running::start(values).await;
    let (_, first) = running.get("/api/v1/assets?limit=2&order=name").await;
    assert!(first.contains("\"next\":\"plant-a/pump-1\"") && first.contains("\"total\":5"), "{first}");
    let (_, last) = running.get("/api/v1/assets?limit=2&order=name&cursor=plant-a/pump-3").await;
    assert!(last.contains("\"asset\":\"pump-4\"") && !last.contains("\"next\""), "{last}");
    let (_, ledger) = running.get("/api/v1/ledger?limit=1").await;
    assert!(ledger.contains("\"accounts\":5") && ledger.contains("\"next\":\"plant-a/gw-1/pump-0\""), "{ledger}");
}

mod access;
mod document;
mod evidence;
mod live;
