//! The document against the routes, and every answer against the document, by a reader that knows nothing but the
//! document: the `jsonschema` crate, and the schema of OpenAPI 3.1 itself.

use std::collections::BTreeSet;

use fettle_wire::time::MINUTE;
use fettle_wire::{Indicator, Rul};
use serde_json::{Value, json};

use super::*;
use crate::api::openapi::Document;
use crate::fleet::asset::{
    AccountRecord, AssetRecord, Counts, Known, Owner, Rejected, asset_key, count_key, owner_key,
};
use crate::history::evidence::Exhibit;
use crate::history::store::{Batch, Said};
use crate::intake::record::tests::{account, health};

fn document() -> Value {
    use utoipa::OpenApi;
    serde_json::to_value(Document::openapi()).unwrap()
}

#[test]
fn the_document_is_valid_openapi() {
    let schema = include_str!("../../../testdata/openapi-3.1.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let document = document();
    let errors: Vec<String> = validator.iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(document["openapi"], "3.1.0");
    let mut broken = document;
    broken["paths"]["/healthz"]["get"]["responses"]["200"] = json!({"descripton": 1});
    assert!(!validator.is_valid(&broken), "the schema must be able to refuse");
}

#[test]
fn every_route_is_described_and_everything_described_is_a_route() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone())))
        .collect();
    let routed: BTreeSet<(String, String)> =
        routes().listed.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(described, routed);
}

/// A fleet in which every optional field occurs somewhere.
fn fleet() -> Vec<(String, Vec<u8>)> {
    let origin = Origin { site: name("plant-a"), agent: name("gw-1"), incarnation: "0000000000000001".into() };
    let known = Known { id: fettle_wire::RecordId([1; 16]), content: fettle_wire::RecordId([2; 16]) };
    let mut values = Vec::new();
    let mut put = |key: String, value: Value| values.push((key, serde_json::to_vec(&value).unwrap()));
    for asset in ["pump", "fan"] {
        let record = AssetRecord {
            origin: origin.clone(),
            health: full_health(asset, 60),
            seen: 9,
            recent: vec![known],
            conflicts: 1,
        };
        put(asset_key("plant-a", asset), json!(record));
    }
    let mut entry = account("stray", 7);
    entry.quarantined = true;
    entry.readings.reject("not_finite", 0);
    entry.nodes.push(fettle_wire::NodeAccount {
        boot: "0".repeat(16),
        next: 9,
        received: 5,
        missing: 4,
        lost: 1,
        missing_ranges: vec![(2, 5)],
    });
    let stray = AccountRecord {
        origin: origin.clone(),
        entry,
        seen: 3,
        recent: Vec::new(),
        earlier: fettle_wire::Tally::default(),
        earlier_frames: 0,
        conflicts: 0,
    };
    put(crate::fleet::asset::ledger_key("plant-a", "gw-1", "stray"), json!(stray));
    let mut waiting = alarm();
    waiting.alert.p_value = Some(1e-9);
    waiting.alert.flags = vec!["restamped".into()];
    waiting.alert.contributions = full_health("pump", 60).contributions;
    put(alarm_key("plant-a", "pump", "limit.temperature"), json!(waiting));
    let mut done = alarm();
    done.alert = alert("fan", "anomaly", 1, Change::Acknowledged);
    done.alert.by = Some("ada".into());
    done.alert.label = Some(fettle_wire::Label::Confirmed);
    done.alert.comment = Some("bearing ordered".into());
    put(alarm_key("plant-a", "fan", "anomaly"), json!(done));
    let mut shelved = alarm();
    shelved.alert = alert("fan", "limit.pressure", 1, Change::Shelved);
    shelved.alert.shelved_until = Some(9_000_000_000);
    put(alarm_key("plant-a", "fan", "limit.pressure"), json!(shelved));
    let rejected = Some(Rejected { offset: 3, reason: "malformed_json".into() });
    let counts = Counts {
        applied: 3,
        rejected: BTreeMap::from([("malformed_json".into(), 1)]),
        last_rejected: rejected,
        ..Counts::default()
    };
    put(count_key("fettle.health", 0), json!(counts));
    put(owner_key(0), json!(Owner { instance: name("gw-a"), session: "0".repeat(16), commits: 4 }));
    for ask in every_ask() {
        let command = command_of(&alarm(), &ask);
        put(command_key("plant-a", "pump", &command.id), json!(command));
    }
    values
}

fn every_ask() -> [Ask; 4] {
    [
        Ask::Acknowledge { occurrence: 2 },
        Ask::Shelve { until: 3_000_000_000 },
        Ask::Comment { occurrence: 2, text: "noise".into() },
        Ask::Label { occurrence: 2, label: fettle_wire::Label::FalseAlarm },
    ]
}

fn full_health(asset: &str, at: i64) -> fettle_wire::Health {
    let mut health = health(asset, at, 1);
    health.indicators = vec![Indicator {
        channel: name("temperature"),
        unit: "K".into(),
        count: 5,
        mean: 300.0,
        variance: 1.0,
        skewness: Some(0.1),
        kurtosis: Some(3.0),
        min: 299.0,
        max: 301.0,
        rms: 300.1,
        slope: Some(1e-4),
    }];
    health.contributions = vec![fettle_wire::Contribution {
        channel: name("temperature"),
        share: 1.0,
        value: 300.0,
        expected: 290.0,
        unit: "K".into(),
    }];
    health.flags = vec!["restamped".into()];
    (health.life, health.age) = (Some(2), Some(86_400.0));
    if asset == "pump" {
        let (method, channel) = ("level_rate_first_passage".into(), name("temperature"));
        health.rul = Rul::Interval { p10: 1.0, p50: 2.0, p90: Some(3.0), method, channel };
    } else {
        health.verdict = fettle_wire::Verdict::None;
        health.reason = Some(fettle_wire::NoVerdict::InputsMissing);
        health.health_index = None;
    }
    health
}

/// Evidence of the pump with the id `n`.
pub(super) fn exhibit(n: u8, at: Micros, alarm: Option<u64>) -> Exhibit {
    let mut evidence = crate::intake::record::tests::evidence("pump", at, 6_144, alarm);
    if alarm.is_none() {
        // As of a machine without geometry or speed.
        evidence.lines.clear();
        evidence.speed = None;
    }
    let (id, content) = (fettle_wire::RecordId([n; 16]), fettle_wire::RecordId([0; 16]));
    Exhibit { site: name("plant-a"), agent: name("gw-1"), id, content, seen: at, evidence: Box::new(evidence) }
}

async fn running() -> Running {
    let running = Running::start(fleet()).await;
    let begin = 20_778 * time::DAY;
    let healths = (0..200).map(|n| (name("plant-a"), Box::new(full_health("pump", begin + n * MINUTE)))).collect();
    let mut raised = alert("pump", "anomaly", 1, Change::Raised);
    raised.by = Some("ada".into());
    (raised.shelved_until, raised.label) = (Some(5), Some(fettle_wire::Label::FalseAlarm));
    raised.comment = Some("noise".into());
    let origin = Origin { site: name("plant-a"), agent: name("gw-1"), incarnation: "0".repeat(16) };
    let said = Said { origin, id: fettle_wire::RecordId([7; 16]), seen: 5, alert: Box::new(raised) };
    let batch = Batch {
        healths,
        alerts: vec![said],
        evidence: vec![exhibit(1, begin, Some(2)), exhibit(2, begin + MINUTE, None)],
        commands: every_ask().map(|ask| command_of(&alarm(), &ask)).into(),
        ..Batch::default()
    };
    running.api.history.take_in(&batch).unwrap();
    running
}

const TOLD: &str = "/api/v1/assets/plant-a/pump/labels";
const EVIDENCE: &str = "/api/v1/assets/{site}/{asset}/evidence";
const ONE: &str = "/api/v1/assets/{site}/{asset}/evidence/{id}";

/// The schema of one answer, with the components it refers to.
fn schema_of(document: &Value, path: &str, method: &str, status: u16, kind: &str) -> Value {
    let answer = &document["paths"][path][method]["responses"][status.to_string()];
    let described = &answer["content"][kind];
    assert!(described.is_object(), "{method} {path} answers {status} {kind}, which is not described: {answer}");
    let mut schema = described["schema"].clone();
    schema["components"] = document["components"].clone();
    schema
}

fn check(document: &Value, path: &str, method: &str, asked: &str, (status, answer): (u16, String)) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let kind = head.lines().find_map(|l| l.strip_prefix("content-type: ")).unwrap();
    let kind = kind.split(';').next().unwrap();
    let schema = schema_of(document, path, method, status, kind);
    if !kind.ends_with("json") {
        return Value::Null;
    }
    let body: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{asked}: {e}: {body}"));
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&body).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{method} {asked} {status}: {errors:#?}\n{body:#}");
    body
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let (document, running) = (document(), running().await);
    let asset = "/api/v1/assets/{site}/{asset}";
    let mut asked = BTreeSet::new();
    for (path, query) in [
        ("/", "/"),
        ("/app/{file}", "/app/app.js"),
        ("/app/{file}", "/app/none.js"),
        ("/healthz", "/healthz"),
        ("/metrics", "/metrics"),
        ("/api/v1/openapi.json", "/api/v1/openapi.json"),
        ("/api/v1/assets", "/api/v1/assets?limit=1"),
        ("/api/v1/assets", "/api/v1/assets?text=PUMP&state=normal&priority=low"),
        ("/api/v1/assets", "/api/v1/assets?state=what"),
        (asset, "/api/v1/assets/plant-a/pump"),
        (asset, "/api/v1/assets/plant-a/fan"),
        (asset, "/api/v1/assets/plant-a/stray"),
        (asset, "/api/v1/assets/plant-a/none"),
        ("/api/v1/assets/{site}/{asset}/history", "/api/v1/assets/plant-a/pump/history"),
        (
            "/api/v1/assets/{site}/{asset}/history",
            "/api/v1/assets/plant-a/pump/history?points=7&series=temperature,score",
        ),
        ("/api/v1/assets/{site}/{asset}/history", "/api/v1/assets/plant-a/none/history"),
        ("/api/v1/assets/{site}/{asset}/history", "/api/v1/assets/plant-a/pump/history?resolution=2h"),
        (EVIDENCE, "/api/v1/assets/plant-a/pump/evidence"),
        (EVIDENCE, "/api/v1/assets/plant-a/pump/evidence?limit=1"),
        (EVIDENCE, "/api/v1/assets/plant-a/pump/evidence?occasion=what"),
        (EVIDENCE, "/api/v1/assets/plant-a/fan/evidence"),
        (EVIDENCE, "/api/v1/assets/plant-a/none/evidence"),
        (ONE, "/api/v1/assets/plant-a/pump/evidence/01010101010101010101010101010101"),
        (ONE, "/api/v1/assets/plant-a/pump/evidence/02020202020202020202020202020202"),
        (ONE, "/api/v1/assets/plant-a/pump/evidence/03030303030303030303030303030303"),
        (ONE, "/api/v1/assets/plant-a/pump/evidence/what"),
        ("/api/v1/alarms", "/api/v1/alarms"),
        ("/api/v1/alarms", "/api/v1/alarms?limit=1"),
        ("/api/v1/alarms", "/api/v1/alarms?shelved=true"),
        ("/api/v1/alarms", "/api/v1/alarms?state=what"),
        ("/api/v1/alarms/history", "/api/v1/alarms/history"),
        ("/api/v1/alarms/history", "/api/v1/alarms/history?site=plant-a&asset=pump"),
        ("/api/v1/alarms/history", "/api/v1/alarms/history?cursor=what"),
        ("/api/v1/ledger", "/api/v1/ledger?limit=1"),
        ("/api/v1/ledger", "/api/v1/ledger?limit=what"),
        ("/api/v1/lag", "/api/v1/lag"),
        ("/api/v1/session", "/api/v1/session"),
        ("/api/v1/sites", "/api/v1/sites"),
        ("/api/v1/audit", "/api/v1/audit"),
        ("/api/v1/audit", "/api/v1/audit?cursor=what"),
    ] {
        check(&document, path, "get", query, running.get(query).await);
        asked.insert(path);
    }
    let ack = "/api/v1/alarms/{site}/{asset}/{condition}/acknowledge";
    let (adopt, labels) = ("/api/v1/assets/{site}/{asset}/adopt", "/api/v1/assets/{site}/{asset}/labels");
    let [shelve, unshelve, comment, label] =
        ["shelve", "unshelve", "comment", "label"].map(|what| ack.replace("acknowledge", what));
    running.api.status.set_caught_up(Feed::Commands, true);
    for (path, asked, body) in [
        (ack, ACK, "{\"person\": \"bob\", \"occurrence\": 2}"),
        (ack, ACK, "{\"person\": \"bob\", \"occurrence\": 9}"),
        (ack, ACK, "{}"),
        ("/api/v1/session", "/api/v1/session", "{\"token\": \"x\"}"),
        ("/api/v1/session", "/api/v1/session", "{}"),
        ("/api/v1/session/end", "/api/v1/session/end", "{}"),
        (ack, "/api/v1/alarms/plant-a/fan/anomaly/acknowledge", "{\"person\": \"bob\", \"occurrence\": 1}"),
        (ack, "/api/v1/alarms/plant-a/x/anomaly/acknowledge", "{\"person\": \"bob\", \"occurrence\": 1}"),
        (&shelve, &act("shelve"), "{\"person\": \"bob\", \"until\": 3000000000}"),
        (&shelve, &act("shelve"), "{\"person\": \"bob\", \"until\": 0}"),
        (&unshelve, &act("unshelve"), "{\"person\": \"bob\"}"),
        (&comment, &act("comment"), "{\"person\": \"bob\", \"occurrence\": 2, \"text\": \"noise\"}"),
        (&label, &act("label"), "{\"person\": \"bob\", \"occurrence\": 2, \"label\": \"false_alarm\"}"),
        (&label, &act("label"), "{\"person\": \"bob\", \"occurrence\": 2}"),
        (adopt, "/api/v1/assets/plant-a/none/adopt", "{\"person\": \"bob\"}"),
        (labels, TOLD, "{\"person\": \"bob\", \"event\": \"failed\", \"at\": 60000000}"),
        (labels, TOLD, "{\"person\": \"bob\", \"event\": \"replaced\", \"at\": 60000000}"),
        (labels, TOLD, "{\"person\": \"bob\", \"event\": \"replaced\"}"),
        (labels, TOLD, "{\"person\": \"bob\", \"event\": \"replaced\", \"at\": 9000000000000000}"),
        (labels, TOLD, "{\"person\": \"bob\", \"event\": \"failed\", \"at\": 1, \"components\": [\"\"]}"),
        (labels, "/api/v1/assets/plant-a/none/labels", "{\"person\": \"bob\", \"event\": \"failed\", \"at\": 1}"),
    ] {
        check(&document, path, "post", asked, running.post(asked, body).await);
    }
    let gets = document["paths"].as_object().unwrap().iter().filter(|(_, item)| item["get"].is_object());
    let unasked: Vec<&String> = gets.map(|(path, _)| path).filter(|path| !asked.contains(path.as_str())).collect();
    assert_eq!(unasked, ["/api/v1/events"], "what has no end is tested where it is read");
}

#[tokio::test]
async fn the_history_is_bounded_and_says_where_it_comes_from() {
    let (document, running) = (document(), running().await);
    let path = "/api/v1/assets/{site}/{asset}/history";
    let ask = |query: &str| format!("/api/v1/assets/plant-a/pump/history?{query}");
    let few = ask("points=7&series=temperature.mean&resolution=raw");
    let few = check(&document, path, "get", &few, running.get(&few).await);
    assert!(few["at"].as_array().unwrap().len() <= 7 && few["slot"].as_i64() > Some(0), "{few}");
    assert_eq!((few["records"].as_u64(), few["series"].as_array().unwrap().len()), (Some(200), 1));
    let all = ask("points=5000");
    let all = check(&document, path, "get", &all, running.get(&all).await);
    assert_eq!((all["resolution"].as_str(), all["at"].as_array().unwrap().len()), (Some("raw"), 200));
    assert!(all["series"][0].get("min").is_none(), "equal to the mean, and left out");
}

#[tokio::test]
async fn filters_choose_and_the_cursor_goes_through_all() {
    let running = running().await;
    let total = |answer: (u16, String)| {
        let body: Value = serde_json::from_str(answer.1.split_once("\r\n\r\n").unwrap().1).unwrap();
        body["total"].as_u64().unwrap()
    };
    for (query, expected) in [
        ("assets", 3),
        ("assets?text=PuM", 1),
        ("assets?site=elsewhere", 0),
        ("assets?state=quarantined", 1),
        ("assets?state=none", 1),
        ("assets?state=silent", 1),
        ("assets?state=stale", 3),
        ("assets?priority=high", 2),
        ("assets?priority=critical", 0),
        ("alarms?open=true", 3),
        ("alarms?state=acknowledged", 1),
        ("alarms?text=limit", 2),
        ("alarms?shelved=true", 1),
        ("alarms?shelved=false", 2),
        ("ledger?missing=true", 1),
        ("ledger?missing=false", 0),
    ] {
        assert_eq!(total(running.get(&format!("/api/v1/{query}")).await), expected, "{query}");
    }
    let (mut cursor, mut names) = (String::new(), Vec::new());
    loop {
        let (_, answer) = running.get(&format!("/api/v1/assets?limit=1{cursor}")).await;
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        names.push(body["assets"][0]["asset"].as_str().unwrap().to_owned());
        match body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["pump", "fan", "stray"], "the unacknowledged alarm first, then the open one");
}
