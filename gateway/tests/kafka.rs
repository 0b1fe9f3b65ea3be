//! The gateway's binary against a real Kafka: hand-over, crashes, acknowledgement, a lost disk.
//!
//! Needs a broker at FETTLE_KAFKA (host:port); says so loudly when there is none. Each test has its own topic prefix,
//! so they run beside each other and beside whatever else the broker holds.
#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use fettle_wire::{
    AlarmState, Alert, Change, Envelope, Health, Identity, Lane, LedgerEntry, Name, Priority, Rul, Tally, Verdict,
    topic,
};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::to_raw_value;

const PATIENCE: u32 = 1_200; // polls of 50 ms: 60 s

fn broker(test: &str) -> Option<String> {
    let broker = std::env::var("FETTLE_KAFKA").ok().filter(|b| !b.is_empty());
    if broker.is_none() {
        eprintln!("SKIPPED: {test}: set FETTLE_KAFKA=host:port to a running Kafka");
    }
    broker
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A folder, a prefix, and the gateways in it. Gateways still running at the end are killed.
struct Bed {
    folder: tempfile::TempDir,
    broker: String,
    prefix: String,
    /// The end of each configuration.
    more: String,
    gateways: Vec<Gateway>,
}

struct Gateway {
    child: Child,
    port: u16,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn get(&self, path: &str) -> Option<(u16, Value)> {
        request(self.port, "GET", path, "")
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit code.
    fn stop(mut self) -> Option<i32> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        self.child.wait().unwrap().code()
    }
}

fn request(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let body = if head.to_lowercase().contains("chunked") { unchunk(body) } else { body.to_owned() };
    Some((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
}

fn unchunk(mut text: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        out.push_str(&rest[..size]);
        text = &rest[size + 2..];
    }
    out
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50)); // between two looks
    }
    panic!("waited too long for {what}");
}

impl Bed {
    fn new(broker: &str, test: &str) -> Self {
        let prefix = format!("t{}-{test}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        Self { folder, broker: broker.into(), prefix, more: String::new(), gateways: Vec::new() }
    }

    fn config(&self, instance: &str, port: u16, partitions: i32) -> PathBuf {
        let (broker, prefix) = (&self.broker, &self.prefix);
        let path = self.folder.path().join(format!("{instance}.toml"));
        let text = format!(
            "listen = \"127.0.0.1:{port}\"\nstore = \"{instance}\"\ninstance = \"{instance}\"\n\
             [kafka]\nbrokers = \"{broker}\"\nprefix = \"{prefix}\"\n\
             [intake]\nbatch = 100\ninterval = \"20ms\"\n[topics]\npartitions = {partitions}\n{more}",
            more = self.more
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn start(&mut self, instance: &str) {
        let port = free_port();
        let config = self.config(instance, port, 4);
        let log = std::fs::File::create(self.folder.path().join(format!("{instance}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_fettle-gateway"))
            .args(["run", "--config"])
            .arg(config)
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        self.gateways.push(Gateway { child, port });
    }

    fn topics(&self, what: &str, partitions: i32) -> Output {
        let config = self.config("topics", free_port(), partitions);
        let mut command = Command::new(env!("CARGO_BIN_EXE_fettle-gateway"));
        command.args(["topics", what, "--config"]).arg(config).output().unwrap()
    }

    fn apply(&self) {
        let done = self.topics("apply", 4);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn producer(&self) -> ThreadedProducer<DefaultProducerContext> {
        ClientConfig::new().set("bootstrap.servers", &self.broker).set("enable.idempotence", "true").create().unwrap()
    }

    fn send(&self, producer: &ThreadedProducer<DefaultProducerContext>, sent: &Sent) {
        let topic = format!("{}.{}", self.prefix, sent.lane.as_str());
        producer.send(BaseRecord::to(&topic).key(&sent.key).payload(&sent.payload)).map_err(|(e, _)| e).unwrap();
    }
}

struct Sent {
    lane: Lane,
    key: String,
    payload: String,
}

fn sent(identity: &Identity, lane: Lane, sequence: u64, key: String, about: &str, body: &impl Serialize) -> Sent {
    let body = to_raw_value(body).unwrap();
    let envelope = Envelope::new(identity, lane, sequence, &[about.as_bytes()], body);
    Sent { lane, key, payload: envelope.encode().unwrap() }
}

fn identity() -> Identity {
    Identity { site: name("plant-a"), agent: name("gw-1"), incarnation: 42 }
}

fn health(sequence: u64, asset: &str, window_end: i64) -> Sent {
    let body = Health {
        asset: name(asset),
        window_start: 0,
        window_end,
        revision: 0,
        verdict: Verdict::Normal,
        reason: None,
        health_index: Some(1.0),
        score: None,
        p_value: None,
        contributions: Vec::new(),
        baseline: 1.0,
        rul: Rul::None { reason: "no_limit".into() },
        indicators: Vec::new(),
        flags: Vec::new(),
        release: None,
        rul_contributions: Vec::new(),
        life: None,
        age: None,
    };
    let about = format!("{asset}|{window_end}");
    sent(&identity(), Lane::Health, sequence, topic::asset_key("plant-a", asset), &about, &body)
}

fn ledger(sequence: u64, asset: &str, used: u64) -> Sent {
    let body = LedgerEntry {
        asset: name(asset),
        quarantined: false,
        at: 1,
        frames: used,
        readings: Tally { received: used, used, ..Tally::default() },
        nodes: Vec::new(),
        retired_received: 0,
        retired_missing: 0,
    };
    let key = topic::ledger_key("plant-a", "gw-1", asset);
    sent(&identity(), Lane::Ledger, sequence, key, &format!("{asset}|{sequence}"), &body)
}

fn alert(sequence: u64, change: Change, state: AlarmState, by: Option<(&str, &str)>) -> Sent {
    let body = Alert {
        asset: name("pump-0"),
        condition: "anomaly".into(),
        occurrence: 1,
        change,
        state,
        priority: Priority::High,
        raised_at: 1_700_000_000_000_000,
        at: 1_700_000_000_000_000,
        score: 40.0,
        p_value: None,
        message: "behaves unusually".into(),
        contributions: Vec::new(),
        flags: Vec::new(),
        shelved_until: None,
        comment: None,
        label: None,
        by: by.map(|(person, _)| person.into()),
        command: by.map(|(_, command)| command.into()),
    };
    let key = topic::asset_key("plant-a", "pump-0");
    sent(&identity(), Lane::Alerts, sequence, key, &format!("pump-0|anomaly|1|{change:?}"), &body)
}

/// Sums over the partitions: (applied, duplicates, conflicts, rejected).
fn counts(ledger: &Value) -> (u64, u64, u64, u64) {
    let records = ledger["records"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sum = |key: &str| records.iter().filter_map(|r| r[key].as_u64()).sum();
    let rejected = records.iter().filter_map(|r| r["rejected"].as_object());
    let rejected = rejected.flat_map(|r| r.values()).filter_map(Value::as_u64).sum();
    (sum("applied"), sum("duplicates"), sum("conflicts"), rejected)
}

fn wait_for_counts(gateway: &Gateway, wanted: (u64, u64, u64, u64)) -> Value {
    let mut last = None;
    for _ in 0..PATIENCE {
        if let Some((200, ledger)) = gateway.get("/api/v1/ledger") {
            last = Some(counts(&ledger));
            if last == Some(wanted) {
                return ledger;
            }
        }
        std::thread::sleep(Duration::from_millis(50)); // between two looks
    }
    panic!("waited for {wanted:?}, last seen {last:?}");
}

fn log(bed: &Bed, instance: &str) -> String {
    std::fs::read_to_string(bed.folder.path().join(format!("{instance}.log"))).unwrap_or_default()
}

#[test]
fn topics_are_created_checked_and_put_right() {
    let Some(broker) = broker("topics_are_created_checked_and_put_right") else { return };
    let bed = Bed::new(&broker, "topics");
    let absent = bed.topics("check", 4);
    assert_eq!(absent.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&absent.stdout).contains("absent"));
    bed.apply();
    assert!(bed.topics("check", 4).status.success());
    let other = bed.topics("check", 5);
    assert_eq!(other.status.code(), Some(1));
    let told = String::from_utf8_lossy(&other.stdout).into_owned();
    assert_eq!(told.matches("partitions is 4, must be 5").count(), 6, "{told}");
    bed.apply(); // again: nothing to do
}

#[test]
fn instances_that_die_mid_stream_lose_nothing_and_double_nothing() {
    let Some(broker) = broker("instances_that_die_mid_stream_lose_nothing_and_double_nothing") else { return };
    let mut bed = Bed::new(&broker, "die");
    bed.apply();
    bed.start("gw-a");
    bed.start("gw-b");
    let producer = bed.producer();
    let rounds = 300;
    for round in 0..rounds {
        for asset in 0..10_u64 {
            let (asset_name, number) = (format!("pump-{asset}"), round * 10 + asset);
            bed.send(&producer, &health(number, &asset_name, 60_000_000 * (round as i64 + 1)));
            bed.send(&producer, &ledger(number, &asset_name, round + 1));
        }
        match round {
            // Killed once something was taken in, while the rest is coming.
            100 => {
                wait_for("the first records", || {
                    let (_, ledger) = bed.gateways[0].get("/api/v1/ledger")?;
                    (counts(&ledger).0 > 0).then_some(())
                });
                bed.gateways.remove(0).kill();
            }
            150 => bed.start("gw-a"),
            200 => {
                bed.gateways.remove(0).kill(); // gw-b
                bed.start("gw-b");
            }
            _ => {}
        }
    }
    // An agent that did not hear of the delivery sends again.
    for asset in 0..10_u64 {
        let number = (rounds - 1) * 10 + asset;
        bed.send(&producer, &health(number, &format!("pump-{asset}"), 60_000_000 * rounds as i64));
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let (first, second) = (&bed.gateways[0], &bed.gateways[1]);
    let one = wait_for_counts(first, (rounds * 20, 10, 0, 0));
    let other = wait_for_counts(second, (rounds * 20, 10, 0, 0));
    assert_eq!(one, other, "both show the same");
    assert_eq!(one["totals"]["readings"]["used"], rounds * 10);
    assert_eq!(one["totals"]["balances"], true);
    let (_, assets) = first.get("/api/v1/assets").unwrap();
    assert_eq!(assets["total"], 10);
    let ends = assets["assets"].as_array().unwrap().iter().map(|a| a["health"]["window_end"].as_i64());
    assert!(ends.into_iter().all(|end| end == Some(60_000_000 * rounds as i64)), "{assets}");
    let owned: usize = wait_for("all partitions to be owned", || {
        let owned = bed.gateways.iter().map(|g| Some(g.get("/healthz")?.1["partitions"].as_array()?.len()));
        owned.sum::<Option<usize>>().filter(|owned| *owned == 4)
    });
    assert_eq!(owned, 4);
    for gateway in bed.gateways.drain(..) {
        assert_eq!(gateway.stop(), Some(0));
    }
}

#[test]
fn an_acknowledgement_is_pending_until_the_agent_confirms_it_on_every_instance() {
    let Some(broker) = broker("an_acknowledgement_is_pending_until_the_agent_confirms_it") else { return };
    let mut bed = Bed::new(&broker, "ack");
    bed.apply();
    bed.start("gw-a");
    bed.start("gw-b");
    let producer = bed.producer();
    bed.send(&producer, &health(0, "pump-0", 60));
    bed.send(&producer, &alert(0, Change::Raised, AlarmState::Unacknowledged, None));
    producer.flush(Duration::from_secs(30)).unwrap();
    for gateway in &bed.gateways {
        wait_for("the alarm", || {
            let (_, alarms) = gateway.get("/api/v1/alarms?open=true")?;
            (alarms["total"] == 1).then_some(())
        });
    }
    let path = "/api/v1/alarms/plant-a/pump-0/anomaly/acknowledge";
    let body = "{\"person\": \"Ada\", \"occurrence\": 1}";
    let post = |gateway: &Gateway| request(gateway.port, "POST", path, body).unwrap();
    let id = wait_for("the command to be sent", || {
        let (status, answer) = post(&bed.gateways[0]);
        (status == 202).then(|| answer["pending"][0]["command"].as_str().unwrap().to_owned())
    });
    for gateway in &bed.gateways {
        wait_for("the pending acknowledgement", || {
            let (_, alarms) = gateway.get("/api/v1/alarms?open=true")?;
            (alarms["alarms"][0]["pending"]["command"] == id.as_str()).then_some(())
        });
    }
    let (status, again) = post(&bed.gateways[1]);
    assert_eq!((status, again["pending"][0]["command"].as_str()), (202, Some(id.as_str())));
    assert_eq!(commands(&bed), [(topic::command_key("plant-a", "gw-1"), id.clone())], "sent once");
    bed.send(&producer, &alert(1, Change::Acknowledged, AlarmState::Acknowledged, Some(("Ada", &id))));
    for gateway in &bed.gateways {
        let alarm = wait_for("the confirmation", || {
            let (_, alarms) = gateway.get("/api/v1/alarms")?;
            (alarms["alarms"][0]["state"] == "acknowledged").then(|| alarms["alarms"][0].clone())
        });
        assert_eq!((alarm["acknowledged_by"].as_str(), alarm.get("pending")), (Some("Ada"), None));
    }
    assert_eq!(post(&bed.gateways[0]).0, 200);
    for gateway in &bed.gateways {
        let entry = wait_for("the confirmation in the audit log", || {
            let (_, audit) = gateway.get("/api/v1/audit")?;
            (audit["entries"][0]["outcome"] == "confirmed").then(|| audit["entries"][0].clone())
        });
        let told = ["person", "what", "command"].map(|field| entry[field].as_str().unwrap_or_default().to_owned());
        assert_eq!(told, ["Ada".to_owned(), "acknowledge".to_owned(), id.clone()]);
    }
}

/// A webhook's receiver, which fails at first; the status of each notice that it took.
fn receiver(failures: usize) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut reader = std::io::BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while std::io::BufRead::read_line(&mut reader, &mut line).unwrap() > 2 {
                let told = line.to_lowercase();
                length = told.strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let code = if n < failures { 503 } else { 200 };
            write!(reader.get_mut(), "HTTP/1.1 {code} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            if code == 200 && tell.send(body["status"].as_str().unwrap().to_owned()).is_err() {
                return;
            }
        }
    });
    (url, told)
}

fn waiting(gateway: &Gateway) -> Option<u64> {
    let (_, text) = gateway.get("/metrics")?;
    let line = text.as_str()?.lines().find_map(|line| line.strip_prefix("fettle_gateway_webhook_waiting "))?;
    line.parse().ok()
}

#[test]
fn a_raise_and_a_return_are_told_once_over_a_change_of_owner_and_a_restart() {
    let Some(broker) = broker("a_raise_and_a_return_are_told_once_over_a_change_of_owner") else { return };
    let mut bed = Bed::new(&broker, "hook");
    let (url, told) = receiver(2);
    bed.more = format!("[webhook]\nurl = \"{url}\"\n");
    bed.apply();
    bed.start("gw-a");
    bed.start("gw-b");
    let producer = bed.producer();
    bed.send(&producer, &alert(0, Change::Raised, AlarmState::Unacknowledged, None));
    let patience = Duration::from_secs(60);
    assert_eq!(told.recv_timeout(patience).as_deref(), Ok("firing"));
    for gateway in &bed.gateways {
        wait_for("the notice to leave its alarm", || (waiting(gateway)? == 0).then_some(()));
    }
    bed.gateways.remove(0).kill();
    bed.send(&producer, &alert(1, Change::Returned, AlarmState::ReturnedUnacknowledged, None));
    assert_eq!(told.recv_timeout(patience).as_deref(), Ok("resolved"), "and no second \"firing\" before it");
    wait_for("the notice to leave its alarm", || (waiting(&bed.gateways[0])? == 0).then_some(()));
    assert_eq!(bed.gateways.remove(0).stop(), Some(0));
    bed.start("gw-b");
    bed.send(&producer, &alert(2, Change::Acknowledged, AlarmState::Normal, Some(("Ada", "c"))));
    wait_for("the acknowledgement", || {
        let (_, alarms) = bed.gateways[0].get("/api/v1/alarms?state=normal")?;
        (alarms["total"] == 1).then_some(())
    });
    assert!(told.try_recv().is_err(), "nothing is told twice");
}

/// (key, id) of every command on the topic.
fn commands(bed: &Bed) -> Vec<(String, String)> {
    let topic = format!("{}.commands", bed.prefix);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &bed.broker)
        .set("group.id", format!("{}-look", bed.prefix))
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_range(&topic, 0, 3);
    list.set_all_offsets(rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let (mut found, mut ended) = (Vec::new(), 0);
    while ended < 4 {
        match consumer.poll(Duration::from_secs(10)).expect("the commands topic does not answer") {
            Ok(message) => {
                let command = fettle_wire::Command::decode(message.payload().unwrap()).unwrap();
                found.push((String::from_utf8_lossy(message.key().unwrap()).into_owned(), command.id));
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    found
}

#[test]
fn a_lost_disk_is_rebuilt_and_unusable_records_are_counted_and_passed() {
    let Some(broker) = broker("a_lost_disk_is_rebuilt_and_unusable_records_are_counted_and_passed") else { return };
    let mut bed = Bed::new(&broker, "disk");
    bed.apply();
    bed.start("gw-a");
    let producer = bed.producer();
    bed.send(&producer, &health(0, "pump-0", 60));
    for payload in ["not JSON", "{}", "[1,2"] {
        let sent = Sent { lane: Lane::Health, key: "plant-a/pump-0".into(), payload: payload.into() };
        bed.send(&producer, &sent);
    }
    bed.send(&producer, &health(1, "pump-0", 120));
    let conflicting = {
        let mut other: Health =
            serde_json::from_str(Envelope::decode(health(2, "pump-0", 120).payload.as_bytes()).unwrap().body.get())
                .unwrap();
        other.health_index = Some(0.1);
        sent(&identity(), Lane::Health, 2, "plant-a/pump-0".into(), "pump-0|120", &other)
    };
    bed.send(&producer, &conflicting);
    producer.flush(Duration::from_secs(30)).unwrap();
    let before = wait_for_counts(&bed.gateways[0], (2, 0, 1, 3));
    assert_eq!(before["conflicts"], 1);
    assert_eq!(bed.gateways.remove(0).stop(), Some(0), "{}", log(&bed, "gw-a"));
    std::fs::remove_dir_all(bed.folder.path().join("gw-a")).unwrap();
    bed.start("gw-a");
    let after = wait_for_counts(&bed.gateways[0], (2, 0, 1, 3));
    assert_eq!(after, before);
    // And it goes on where it was.
    bed.send(&producer, &health(1, "pump-0", 120));
    bed.send(&producer, &health(3, "pump-0", 180));
    producer.flush(Duration::from_secs(30)).unwrap();
    wait_for_counts(&bed.gateways[0], (3, 1, 1, 3));
    let (_, lag) = wait_for("a measured lag", || {
        bed.gateways[0].get("/api/v1/lag").filter(|(_, lag)| lag["measured_at"].is_i64() && lag["total"] == 0)
    });
    assert_eq!(lag["partitions"].as_array().unwrap().len(), 12);
}

/// Hours, days and so on before now, on a full minute.
fn minutes_ago(minutes: i64) -> i64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    (now / 60 - minutes) * 60_000_000
}

#[test]
fn every_instance_reads_the_whole_history_and_a_lost_one_is_read_again() {
    let Some(broker) = broker("every_instance_reads_the_whole_history_and_a_lost_one_is_read_again") else { return };
    let mut bed = Bed::new(&broker, "history");
    bed.apply();
    bed.start("gw-a");
    bed.start("gw-b");
    let producer = bed.producer();
    let begin = minutes_ago(300);
    for n in 0..200_u64 {
        bed.send(&producer, &health(n, "pump-0", begin + n as i64 * 60_000_000));
    }
    bed.send(&producer, &alert(0, Change::Raised, AlarmState::Unacknowledged, None));
    producer.flush(Duration::from_secs(30)).unwrap();
    let path = "/api/v1/assets/plant-a/pump-0/history?resolution=raw&points=5000";
    let whole = |gateway: &Gateway| {
        wait_for("200 records in the history", || {
            let (_, history) = gateway.get(path)?;
            (history["records"] == 200).then_some(history)
        })
    };
    let (one, other) = (whole(&bed.gateways[0]), whole(&bed.gateways[1]));
    assert_eq!(one, other, "each of the two has all of it");
    for gateway in &bed.gateways {
        wait_for("the alert in the log", || {
            let (_, log) = gateway.get("/api/v1/alarms/history")?;
            (log["changes"].as_array()?.len() == 1).then_some(())
        });
    }
    // Killed, not stopped: what was committed is whole. Then its disk is gone.
    bed.gateways.remove(0).kill();
    bed.start("gw-a");
    assert_eq!(whole(&bed.gateways[1]), one, "read on where it was");
    bed.gateways.remove(1).kill();
    std::fs::remove_dir_all(bed.folder.path().join("gw-a/history")).unwrap();
    bed.start("gw-a");
    assert_eq!(whole(&bed.gateways[1]), one, "read again from the topic");
}

#[test]
fn without_kafka_the_gateway_answers_and_ends_when_told_to() {
    let mut bed = Bed::new("127.0.0.1:1", "absent");
    bed.start("gw-a");
    let (status, health) = wait_for("an answer", || bed.gateways[0].get("/healthz"));
    assert_eq!((status, health["intake"].as_str()), (200, Some("waiting_for_kafka")));
    let (status, page) = bed.gateways[0].get("/").unwrap();
    assert!(status == 200 && page.as_str().unwrap().contains("/app/app.js"));
    assert_eq!(bed.gateways.remove(0).stop(), Some(0), "{}", log(&bed, "gw-a"));
    assert!(Path::new(&bed.folder.path().join("gw-a/lock")).exists());
}
