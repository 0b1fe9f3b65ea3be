//! The door: from a Kafka record's bytes to a checked [`Record`], or the reason why not.
//!
//! Bytes here come from strangers. A record is turned away for what would break an invariant later: another topic's
//! lane, a key that would put an asset's history in two partitions, texts too long for a key of the store, a signature
//! that is wrong. The reason is counted and the partition goes on (G4).

use fettle_wire::evidence::{MAX_POINTS, MAX_SAMPLES, Spectrum};
use fettle_wire::record::EnvelopeError;
use fettle_wire::{Alert, Envelope, Evidence, Health, Lane, LedgerEntry, Micros, topic};
use serde::Deserialize;

use crate::config::Signatures;
use crate::fleet::asset::{Known, Origin};

/// The longest condition of an alert, in bytes.
pub const MAX_CONDITION: usize = 128;
/// The most reasons in one account.
pub const MAX_REASONS: usize = 256;
/// The largest record of evidence that is looked into, in bytes: four times what an agent writes at most.
pub const MAX_EVIDENCE: usize = 256 << 10;
/// The longest unit or name of a line of evidence, in bytes.
const MAX_WORD: usize = 32;

/// What Kafka handed over.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The lane that this topic carries.
    pub lane: Lane,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Kafka's time of the record.
    pub at: Micros,
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub payload: &'a [u8],
}

/// A body by lane.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// From the alerts.
    Alert(Box<Alert>),
    /// From the health records.
    Health(Box<Health>),
    /// From the ledger.
    Ledger(Box<LedgerEntry>),
}

/// A record that may change what is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Who wrote it.
    pub origin: Origin,
    /// Its lane.
    pub lane: Lane,
    /// Its number in incarnation and lane.
    pub sequence: u64,
    /// Its id and content hash.
    pub known: Known,
    /// What it says.
    pub body: Body,
}

/// Decodes and checks; the error is the reason that is counted.
pub fn decode(incoming: &Incoming<'_>, signatures: &Signatures) -> Result<Record, &'static str> {
    let envelope = open(incoming, signatures)?;
    let body = decode_body(&envelope)?;
    if expected_key(&envelope, &body).as_bytes() != incoming.key {
        return Err("wrong_key");
    }
    let known = Known { id: envelope.id, content: envelope.content };
    let origin = Origin { site: envelope.site, agent: envelope.agent, incarnation: envelope.incarnation };
    Ok(Record { origin, lane: envelope.lane, sequence: envelope.sequence, known, body })
}

/// Decodes and checks evidence, which is no [`Body`]: it is looked at and has no part in the fleet's state.
pub fn decode_evidence(
    incoming: &Incoming<'_>,
    signatures: &Signatures,
) -> Result<(Envelope, Box<Evidence>), &'static str> {
    if incoming.payload.len() > MAX_EVIDENCE {
        return Err("too_large");
    }
    let envelope = open(incoming, signatures)?;
    let evidence: Box<Evidence> = read(&envelope)?;
    if topic::asset_key(&envelope.site, &evidence.asset).as_bytes() != incoming.key {
        return Err("wrong_key");
    }
    if evidence.condition.as_deref().is_some_and(|condition| !is_condition(condition)) {
        return Err("bad_condition");
    }
    let is_even = |s: &Spectrum| s.frequencies.len() == s.values.len() && s.values.len() <= MAX_POINTS;
    let is_whole = is_even(&evidence.spectrum) && is_even(&evidence.envelope);
    let words = evidence.lines.iter().map(|line| line.name.as_str()).chain([evidence.unit.as_str()]);
    let samples = evidence.samples.len();
    if !is_whole
        || !samples.is_multiple_of(2)
        || samples > 2 * MAX_SAMPLES
        || words.into_iter().any(|w| w.len() > MAX_WORD)
    {
        return Err("malformed_body");
    }
    // JSON has no number that is not finite.
    if evidence.rate <= 0.0 {
        return Err("malformed_body");
    }
    Ok((envelope, evidence))
}

fn open(incoming: &Incoming<'_>, signatures: &Signatures) -> Result<Envelope, &'static str> {
    let envelope = Envelope::decode(incoming.payload).map_err(|e| match e {
        EnvelopeError::Json(_) => "malformed_json",
        EnvelopeError::Version(_) => "schema_version",
        EnvelopeError::Content => "content_hash",
        EnvelopeError::Signature => "signature",
    })?;
    check_signature(&envelope, signatures)?;
    if envelope.lane == incoming.lane { Ok(envelope) } else { Err("wrong_lane") }
}

fn read<'a, T: Deserialize<'a>>(envelope: &'a Envelope) -> Result<Box<T>, &'static str> {
    envelope.body().map(Box::new).map_err(|_| "malformed_body")
}

fn is_condition(text: &str) -> bool {
    text.len() <= MAX_CONDITION && !text.chars().any(|c| c.is_control() || c == '|')
}

/// Absent is accepted unless required; wrong never is.
fn check_signature(envelope: &Envelope, signatures: &Signatures) -> Result<(), &'static str> {
    match signatures.key(&envelope.site, &envelope.agent) {
        Some(key) if envelope.signature.is_some() => envelope.verify(key).map_err(|_| "signature"),
        _ if signatures.required => Err("signature"),
        _ => Ok(()),
    }
}

fn decode_body(envelope: &Envelope) -> Result<Body, &'static str> {
    match envelope.lane {
        Lane::Alerts => {
            let alert: Box<Alert> = read(envelope)?;
            if !is_condition(&alert.condition) {
                return Err("bad_condition");
            }
            Ok(Body::Alert(alert))
        }
        Lane::Health => Ok(Body::Health(read(envelope)?)),
        Lane::Ledger => {
            let entry: Box<LedgerEntry> = read(envelope)?;
            if entry.readings.rejected.len() + entry.readings.shed.len() > MAX_REASONS {
                return Err("too_many_reasons");
            }
            Ok(Body::Ledger(entry))
        }
        // Evidence has no part in the fleet's state and travels on a topic of its own: see [`decode_evidence`].
        Lane::Evidence => Err("wrong_lane"),
    }
}

fn expected_key(envelope: &Envelope, body: &Body) -> String {
    match body {
        Body::Alert(alert) => topic::asset_key(&envelope.site, &alert.asset),
        Body::Health(health) => topic::asset_key(&envelope.site, &health.asset),
        Body::Ledger(entry) => topic::ledger_key(&envelope.site, &envelope.agent, &entry.asset),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use fettle_wire::evidence::Line;
    use fettle_wire::{AlarmState, Change, Identity, Name, Occasion, Priority, Rul, Tally, Verdict};
    use serde_json::value::to_raw_value;

    use super::*;

    pub(crate) fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    pub(crate) fn identity(incarnation: u64) -> Identity {
        Identity { site: name("plant-a"), agent: name("gw-1"), incarnation }
    }

    pub(crate) fn alert(asset: &str, condition: &str, occurrence: u64, change: Change) -> Alert {
        let state = match change {
            Change::Raised | Change::Shelved | Change::Unshelved => AlarmState::Unacknowledged,
            Change::Acknowledged | Change::Commented | Change::Labelled => AlarmState::Acknowledged,
            Change::Returned => AlarmState::ReturnedUnacknowledged,
        };
        let at = 1_000_000 * occurrence as i64;
        Alert {
            asset: name(asset),
            condition: condition.into(),
            occurrence,
            change,
            state,
            priority: Priority::High,
            raised_at: at,
            at,
            score: 40.0,
            p_value: Some(1e-6),
            message: "behaves unusually".into(),
            contributions: Vec::new(),
            flags: Vec::new(),
            shelved_until: None,
            comment: None,
            label: None,
            by: None,
            command: None,
        }
    }

    pub(crate) fn health(asset: &str, window_end: i64, revision: u32) -> Health {
        Health {
            asset: name(asset),
            window_start: window_end - 1_800_000_000,
            window_end,
            revision,
            verdict: Verdict::Normal,
            reason: None,
            health_index: Some(1.0),
            score: Some(2.0),
            p_value: Some(0.4),
            contributions: Vec::new(),
            baseline: 1.0,
            rul: Rul::None { reason: "no_limit".into() },
            indicators: Vec::new(),
            flags: Vec::new(),
            release: None,
            rul_contributions: Vec::new(),
            life: None,
            age: None,
        }
    }

    pub(crate) fn account(asset: &str, used: u64) -> LedgerEntry {
        LedgerEntry {
            asset: name(asset),
            quarantined: false,
            at: 1,
            frames: used,
            readings: Tally { received: used, used, ..Tally::default() },
            nodes: Vec::new(),
            retired_received: 0,
            retired_missing: 0,
        }
    }

    /// One that an agent would send: `samples` of a ramp, with every optional field.
    pub(crate) fn evidence(asset: &str, at: i64, samples: usize, alarm: Option<u64>) -> Evidence {
        let line = |name: &str, frequency, strength| Line { name: name.into(), frequency, strength };
        Evidence {
            asset: name(asset),
            channel: name("acceleration"),
            time: at,
            occasion: if alarm.is_some() { Occasion::Alarm } else { Occasion::Periodic },
            condition: alarm.map(|_| "anomaly".into()),
            occurrence: alarm,
            rate: 25_600.0,
            unit: "m/s2".into(),
            scale: 0.0048,
            offset: 0.0,
            samples: (0..samples).flat_map(|n| (n as i16).to_le_bytes()).collect(),
            spectrum: Spectrum { frequencies: vec![6.25, 100.5, 12_800.0], values: vec![0.01, 1.25, 0.002] },
            envelope: Spectrum { frequencies: vec![1.5, 89.6], values: vec![0.1, 3.5] },
            band: (3_200.0, 6_400.0),
            joined: 16_384,
            lines: vec![line("bpfo", 89.62, Some(21.5)), line("ftf", 9.96, None)],
            speed: Some(25.0),
            speed_assumed: true,
        }
    }

    pub(crate) fn evidence_envelope(identity: &Identity, sequence: u64, evidence: &Evidence) -> Envelope {
        let about = format!("{}|{}|{}|{:?}", evidence.asset, evidence.channel, evidence.time, evidence.occurrence);
        let raw = to_raw_value(evidence).unwrap();
        Envelope::new(identity, Lane::Evidence, sequence, &[about.as_bytes()], raw)
    }

    pub(crate) fn envelope(identity: &Identity, sequence: u64, body: &Body) -> Envelope {
        let (lane, about, raw) = match body {
            Body::Alert(a) => {
                let about = format!("{}|{}|{}|{:?}", a.asset, a.condition, a.occurrence, a.change);
                (Lane::Alerts, about, to_raw_value(a).unwrap())
            }
            Body::Health(h) => {
                let about = format!("{}|{}|{}", h.asset, h.window_end, h.revision);
                (Lane::Health, about, to_raw_value(h).unwrap())
            }
            Body::Ledger(l) => (Lane::Ledger, format!("{}|{sequence}", l.asset), to_raw_value(l).unwrap()),
        };
        Envelope::new(identity, lane, sequence, &[about.as_bytes()], raw)
    }

    fn incoming<'a>(lane: Lane, key: &'a str, payload: &'a str) -> Incoming<'a> {
        Incoming {
            topic: "fettle.x",
            lane,
            partition: 0,
            offset: 0,
            at: 5,
            key: key.as_bytes(),
            payload: payload.as_bytes(),
        }
    }

    fn health_text() -> String {
        envelope(&identity(7), 3, &Body::Health(Box::new(health("pump", 60, 0)))).encode().unwrap()
    }

    #[test]
    fn a_record_as_an_agent_writes_it_passes() {
        let text = health_text();
        let record = decode(&incoming(Lane::Health, "plant-a/pump", &text), &Signatures::default()).unwrap();
        assert_eq!((record.sequence, record.origin.incarnation.as_str()), (3, "0000000000000007"));
        assert!(matches!(record.body, Body::Health(h) if h.window_end == 60));
    }

    #[test]
    fn each_way_of_being_unusable_has_its_reason() {
        let text = health_text();
        let long = alert("pump", &"c".repeat(129), 1, Change::Raised);
        let long = envelope(&identity(7), 0, &Body::Alert(Box::new(long))).encode().unwrap();
        for (lane, key, text, reason) in [
            (Lane::Health, "plant-a/pump", "{", "malformed_json"),
            (Lane::Health, "plant-a/pump", "", "malformed_json"),
            (Lane::Health, "plant-a/pump", &text.replace("\"version\":1", "\"version\":9"), "schema_version"),
            (Lane::Health, "plant-a/pump", &text.replace("\"baseline\":1.0", "\"baseline\":2.0"), "content_hash"),
            (Lane::Alerts, "plant-a/pump", &text, "wrong_lane"),
            (Lane::Health, "plant-a/fan", &text, "wrong_key"),
            (Lane::Health, "", &text, "wrong_key"),
            (Lane::Health, "plant-a/pump", &text.replace("0000000000000007", "|"), "malformed_json"),
            (Lane::Alerts, "plant-a/pump", &long, "bad_condition"),
        ] {
            assert_eq!(decode(&incoming(lane, key, text), &Signatures::default()).unwrap_err(), reason, "{text}");
        }
    }

    #[test]
    fn evidence_passes_as_an_agent_writes_it_and_not_otherwise() {
        let written = |change: &dyn Fn(&mut Evidence)| {
            let mut evidence = evidence("pump", 60, 6_144, Some(2));
            change(&mut evidence);
            evidence_envelope(&identity(7), 3, &evidence).encode().unwrap()
        };
        let judge = |lane, key: &str, text: &str| {
            decode_evidence(&incoming(lane, key, text), &Signatures::default())
                .map(|(_, evidence)| evidence.samples.len())
        };
        let good = written(&|_| ());
        assert_eq!(judge(Lane::Evidence, "plant-a/pump", &good), Ok(12_288));
        assert_eq!(judge(Lane::Evidence, "plant-a/fan", &good), Err("wrong_key"));
        assert_eq!(judge(Lane::Evidence, "plant-a/pump", &health_text()), Err("wrong_lane"));
        assert_eq!(decode(&incoming(Lane::Health, "plant-a/pump", &good), &Signatures::default()), Err("wrong_lane"));
        let forged = good.replacen("\"rate\":25600.0", "\"rate\":25601.0", 1);
        assert_eq!(judge(Lane::Evidence, "plant-a/pump", &forged), Err("content_hash"));
        type Spoil = fn(&mut Evidence);
        for (reason, spoil) in [
            ("malformed_body", (|e| e.samples.extend([0, 0])) as Spoil),
            ("malformed_body", |e| e.samples.truncate(7)),
            ("malformed_body", |e| e.spectrum.values.truncate(1)),
            ("malformed_body", |e| e.envelope.values.push(1.0)),
            ("malformed_body", |e| e.rate = 0.0),
            ("malformed_body", |e| e.unit = "m".repeat(33)),
            ("malformed_body", |e| e.lines[0].name = "b".repeat(33)),
            ("bad_condition", |e| e.condition = Some("c".repeat(129))),
            ("too_large", |e| e.samples = vec![0; 200_000]),
        ] {
            assert_eq!(judge(Lane::Evidence, "plant-a/pump", &written(&spoil)), Err(reason));
        }
    }

    #[test]
    fn a_body_of_another_lane_is_malformed() {
        let body = Body::Ledger(Box::new(account("pump", 1)));
        let mut wrong = envelope(&identity(7), 0, &body);
        wrong.lane = Lane::Health;
        let text = wrong.encode().unwrap();
        let result = decode(&incoming(Lane::Health, "plant-a/pump", &text), &Signatures::default());
        assert_eq!(result.unwrap_err(), "malformed_body");
    }

    #[test]
    fn a_signature_is_believed_only_if_it_is_the_listed_keys() {
        let ours = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let theirs = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
        let public = fettle_wire::record::Hex(ours.verifying_key().as_bytes()).to_string();
        let rules = |required: bool| {
            let text = format!(
                "store = \"x\"\n[kafka]\nbrokers = \"h:1\"\n[signatures]\nrequired = {required}\n\
                 keys = [{{ site = \"plant-a\", agent = \"gw-1\", public_key = \"{public}\" }}]\n"
            );
            crate::config::parse(&text, std::path::Path::new(".")).unwrap().signatures
        };
        let unsigned = envelope(&identity(7), 3, &Body::Health(Box::new(health("pump", 60, 0))));
        let signed = |key| {
            let mut copy = unsigned.clone();
            copy.sign(key);
            copy.encode().unwrap()
        };
        let judge =
            |text: &str, rules: &Signatures| decode(&incoming(Lane::Health, "plant-a/pump", text), rules).map(|_| ());
        assert_eq!(judge(&signed(&ours), &rules(true)), Ok(()));
        assert_eq!(judge(&signed(&theirs), &rules(false)), Err("signature"));
        assert_eq!(judge(&unsigned.encode().unwrap(), &rules(true)), Err("signature"));
        assert_eq!(judge(&unsigned.encode().unwrap(), &rules(false)), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_door_panic(payload: Vec<u8>, key: Vec<u8>) {
            let incoming = Incoming { topic: "t", lane: Lane::Alerts, partition: 0, offset: 0, at: 0, key: &key, payload: &payload };
            let _ = (decode(&incoming, &Signatures::default()), decode_evidence(&incoming, &Signatures::default()).is_ok());
        }
    }
}
