//! Golden bytes: what version 1 wrote, kept in `testdata/v1/` and read for ever.
//!
//! `<name>.cbor` or `<name>.json` is the input, `<name>.txt` says for a person what it means. Each input is decoded, shown
//! and compared with the text, and encoded again and compared byte for byte. A change that breaks this test breaks what
//! lies in journals and topics already. When the schema grows, its own bytes go to a `v2/` beside this one, and of version 1
//! only the decoding is compared: never bless it away.
//!
//! `FETTLE_BLESS=1 cargo test -p fettle-wire --test golden` writes the files from the samples below.

use std::fs;
use std::path::PathBuf;

use ed25519_dalek::SigningKey;
use fettle_wire::evidence::{Line, Spectrum};
use fettle_wire::time::{MINUTE, SECOND};
use fettle_wire::{
    AlarmState, Alert, AssetEvent, Change, ClockQuality, Command, Contribution, Durable, Envelope, EventKind, Evidence,
    Frame, Health, Identity, Indicator, Label, Lane, LedgerEntry, Name, NodeAccount, Occasion, Priority, Quality,
    Request, Rul, Tally, Verdict, Waveform, json,
};
use serde::Serialize;
use serde_json::value::RawValue;

/// 2026-11-21T09:45:14Z.
const NOW: i64 = 1_795_254_314 * SECOND;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/v1").join(name)
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// Holds one sample against its files: the bytes as `sample` encodes today, and `show` of what they decode to.
fn golden(file_name: &str, sample: &[u8], show: impl Fn(&[u8]) -> (String, Vec<u8>)) {
    let stem = file_name.split('.').next().expect("a stem");
    let (input, text) = (file(file_name), file(&format!("{stem}.txt")));
    if std::env::var_os("FETTLE_BLESS").is_some() {
        fs::write(&input, sample).expect("writable");
        fs::write(&text, show(sample).0).expect("writable");
    }
    let bytes = fs::read(&input).expect("the input exists");
    let (shown, encoded) = show(&bytes);
    assert_eq!(shown, fs::read_to_string(&text).expect("the text exists"), "{file_name} means something else");
    assert_eq!(encoded, bytes, "{file_name} is encoded otherwise");
    assert_eq!(sample, bytes, "{file_name} is not what this sample encodes to");
}

fn pretty(value: &impl std::fmt::Debug) -> String {
    format!("{value:#?}\n")
}

fn head() -> Frame<'static> {
    Frame {
        version: 1,
        boot: 0xfedc_ba98_7654_3210,
        sequence: 70_000,
        oldest: 69_990,
        time: Some(NOW),
        uptime: 86_400_000_000,
        clock: ClockQuality::Synced,
        channels: vec![],
        readings: vec![],
        flags: vec![],
        waveform: None,
    }
}

fn golden_frame(file_name: &str, frame: &Frame<'_>) {
    golden(file_name, &frame.encode().expect("encodable"), |bytes| {
        let frame = Frame::decode(bytes).expect("a frame");
        (pretty(&frame), frame.encode().expect("encodable"))
    });
}

#[test]
fn a_frame_of_readings() {
    let readings = vec![(0, 0, 70.1), (1, 0, 1480.0), (0, 1_000_000, -0.5), (1, -250_000, 1e300)];
    let flags = vec![(2, Quality::Uncertain), (3, Quality::Bad)];
    golden_frame("frame.cbor", &Frame { channels: vec!["temperature", "speed"], readings, flags, ..head() });
}

#[test]
fn a_frame_of_a_node_without_a_clock() {
    let (time, clock) = (None, ClockQuality::Unknown);
    let readings = vec![(0, 0, 3.5)];
    golden_frame("frame-no-clock.cbor", &Frame { time, clock, channels: vec!["pressure"], readings, ..head() });
}

#[test]
fn a_frame_with_a_waveform() {
    let samples = [0x00, 0x00, 0x01, 0x00, 0xff, 0xff, 0xff, 0x7f, 0x00, 0x80];
    let waveform = Some(Waveform { rate: 25_600.0, scale: 0.001, offset: -1.0, samples: &samples });
    golden_frame("frame-waveform.cbor", &Frame { channels: vec!["vibration"], waveform, ..head() });
}

#[test]
fn a_confirmation() {
    let durable = Durable { version: 1, confirmed: vec![(0xfedc_ba98_7654_3210, 70_001), (7, 0)] };
    golden("durable.cbor", &durable.encode().expect("encodable"), |bytes| {
        let durable = Durable::decode(bytes).expect("a confirmation");
        (pretty(&durable), durable.encode().expect("encodable"))
    });
}

#[test]
fn an_event_of_a_machine() {
    let event = AssetEvent {
        version: 1,
        id: "plc-7/2026-11-21/3".into(),
        kind: EventKind::Failed,
        at: Some(NOW),
        components: vec!["bearing_de".into()],
        note: Some("seized".into()),
        person: None,
    };
    golden("event.cbor", &event.encode().expect("encodable"), |bytes| {
        let event = AssetEvent::decode(bytes).expect("an event");
        (pretty(&event), event.encode().expect("encodable"))
    });
}

fn golden_envelope<T>(file_name: &str, lane: Lane, signed: bool, body: &T)
where
    T: Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let identity = Identity { site: name("plant-a"), agent: name("gw-1"), incarnation: 0x0123_4567_89ab_cdef };
    let body = RawValue::from_string(json::encode(body).expect("encodable")).expect("JSON");
    let mut envelope = Envelope::new(&identity, lane, 42, &[b"pump-1", b"golden"], body);
    // The engine's version is the crate's, which may change; the golden bytes may not.
    envelope.engine = "0.1.0".into();
    let key = SigningKey::from_bytes(&[7; 32]);
    if signed {
        envelope.sign(&key);
    }
    golden(file_name, envelope.encode().expect("encodable").as_bytes(), |bytes| {
        let envelope = Envelope::decode(bytes).expect("an envelope");
        assert_eq!(envelope.verify(&key.verifying_key()).is_ok(), signed);
        let body: T = envelope.body().expect("a body of its lane");
        assert_eq!(json::encode(&body).expect("encodable"), envelope.body.get());
        (pretty(&(&envelope, body)), envelope.encode().expect("encodable").into_bytes())
    });
}

fn contributions() -> Vec<Contribution> {
    let one = |channel, share, value, expected, unit: &str| Contribution {
        channel: name(channel),
        share,
        value,
        expected,
        unit: unit.into(),
    };
    vec![one("vibration", 0.75, 0.0071, 0.0023, "m/s"), one("temperature", 0.25, 351.25, 343.1, "K")]
}

#[test]
fn an_envelope_with_an_alert() {
    let alert = Alert {
        asset: name("pump-1"),
        condition: "anomaly".into(),
        occurrence: 3,
        change: Change::Acknowledged,
        state: AlarmState::Acknowledged,
        priority: Priority::High,
        raised_at: NOW - 5 * MINUTE,
        at: NOW,
        score: 31.401_234,
        p_value: Some(1.2e-7),
        message: "vibration is 3.1 times what the baseline expects".into(),
        contributions: contributions(),
        flags: vec!["imputed:pressure".into()],
        shelved_until: None,
        comment: None,
        label: None,
        by: Some("ada".into()),
        command: Some("c-17".into()),
    };
    golden_envelope("envelope-alerts.json", Lane::Alerts, true, &alert);
}

#[test]
fn an_envelope_with_a_health_record() {
    let indicator = Indicator {
        channel: name("vibration"),
        unit: "m/s".into(),
        count: 1_800,
        mean: 0.0071,
        variance: 1.5e-7,
        skewness: Some(0.12),
        kurtosis: Some(3.4),
        min: 0.0051,
        max: 0.0093,
        rms: 0.007_110_555,
        slope: Some(1.1e-9),
    };
    let health = Health {
        asset: name("pump-1"),
        window_start: NOW - 30 * MINUTE,
        window_end: NOW,
        revision: 1,
        verdict: Verdict::Abnormal,
        reason: None,
        health_index: Some(0.4),
        score: Some(31.401_234),
        p_value: Some(1.2e-7),
        contributions: contributions(),
        baseline: 1.0,
        rul: Rul::Interval {
            p10: 86_400.0,
            p50: 172_800.0,
            p90: None,
            method: "level_rate_first_passage".into(),
            channel: name("vibration"),
        },
        indicators: vec![indicator],
        flags: vec![],
        release: None,
        rul_contributions: Vec::new(),
        life: None,
        age: None,
    };
    golden_envelope("envelope-health.json", Lane::Health, false, &health);
    let lived = Health { life: Some(3), age: Some(7_776_000.5), ..health };
    golden_envelope("envelope-health-life.json", Lane::Health, false, &lived);
}

#[test]
fn an_envelope_with_a_ledger_entry() {
    let mut readings = Tally { received: 100, used: 90, late: 4, duplicate: 3, ..Tally::default() };
    readings.reject("not_finite", 2);
    readings.shed("too_many_assets", 1);
    let node = NodeAccount {
        boot: "fedcba9876543210".into(),
        next: 70_001,
        received: 69_998,
        missing: 3,
        lost: 1,
        missing_ranges: vec![(5, 5), (100, 101)],
    };
    let entry = LedgerEntry {
        asset: name("pump-1"),
        quarantined: false,
        at: NOW,
        frames: 70_010,
        readings,
        nodes: vec![node],
        retired_received: 12,
        retired_missing: 0,
    };
    golden_envelope("envelope-ledger.json", Lane::Ledger, false, &entry);
}

#[test]
fn an_envelope_with_evidence() {
    let line = |name: &str, frequency, strength| Line { name: name.into(), frequency, strength };
    let evidence = Evidence {
        asset: name("pump-1"),
        channel: name("acceleration"),
        time: NOW,
        occasion: Occasion::Alarm,
        condition: Some("anomaly".into()),
        occurrence: Some(3),
        rate: 25_600.0,
        unit: "m/s2".into(),
        scale: 0.0048,
        offset: -0.5,
        samples: vec![0x00, 0x00, 0x01, 0x00, 0xff, 0xff, 0xff, 0x7f, 0x00, 0x80],
        spectrum: Spectrum { frequencies: vec![6.25, 100.5, 12_800.0], values: vec![0.01, 1.25, 0.002] },
        envelope: Spectrum { frequencies: vec![0.0, 89.6], values: vec![0.0, 3.5] },
        band: (3_200.0, 6_400.0),
        joined: 16_384,
        lines: vec![line("bpfo", 89.62, Some(21.5)), line("ftf", 9.96, None)],
        speed: Some(25.0),
        speed_assumed: false,
    };
    golden_envelope("envelope-evidence.json", Lane::Evidence, false, &evidence);
}

fn golden_command(file_name: &str, request: Request) {
    let command = Command {
        version: 1,
        id: "c-17".into(),
        site: name("plant-a"),
        agent: name("gw-1"),
        issuer: "ada".into(),
        issued: NOW,
        expires: NOW + 60 * MINUTE,
        request,
    };
    golden(file_name, command.encode().expect("encodable").as_bytes(), |bytes| {
        let command = Command::decode(bytes).expect("a command");
        (pretty(&command), command.encode().expect("encodable").into_bytes())
    });
}

#[test]
fn commands() {
    let acknowledge = Request::Acknowledge { asset: name("pump-1"), condition: "anomaly".into(), occurrence: 3 };
    golden_command("command-acknowledge.json", acknowledge);
    golden_command("command-adopt.json", Request::Adopt { asset: name("pump-2") });
    let (asset, condition) = (name("pump-1"), String::from("limit.temperature"));
    let shelve = Request::Shelve { asset: asset.clone(), condition: condition.clone(), until: NOW + 60 * MINUTE };
    golden_command("command-shelve.json", shelve);
    let unshelve = Request::Unshelve { asset: asset.clone(), condition: condition.clone() };
    golden_command("command-unshelve.json", unshelve);
    let text = "seal replaced on Friday".into();
    let comment = Request::Comment { asset: asset.clone(), condition: condition.clone(), occurrence: 2, text };
    golden_command("command-comment.json", comment);
    let event = Request::Event {
        asset: asset.clone(),
        event: EventKind::MaintenanceDone,
        at: Some(NOW - 60 * MINUTE),
        components: vec!["bearing_de".into(), "seal".into()],
        note: Some("done on Friday".into()),
    };
    golden_command("command-event.json", event);
    let label = Request::Label { asset, condition, occurrence: 2, label: Label::MaintenanceDone };
    golden_command("command-label.json", label);
}
