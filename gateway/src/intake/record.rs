//! The door: from a Kafka record's bytes to a checked [`Record`], or the reason why not.
//!
//! Bytes here come from strangers. A record is turned away for what would break an invariant later: another topic's
//! lane, a key that would put an asset's history in two partitions, texts too long for a key of the store, a signature
//! that is wrong. The reason is counted and the partition goes on (G4).

use fettle_wire::record::EnvelopeError;
use fettle_wire::{Alert, Envelope, Health, Lane, LedgerEntry, Micros, topic};
use serde::Deserialize;

use crate::config::Signatures;
use crate::fleet::asset::{Known, Origin};

/// The longest condition of an alert, in bytes.
pub const MAX_CONDITION: usize = 128;
/// The most reasons in one account.
pub const MAX_REASONS: usize = 256;

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
    let envelope = Envelope::decode(incoming.payload).map_err(|e| match e {
        EnvelopeError::Json(_) => "malformed_json",
        EnvelopeError::Version(_) => "schema_version",
        EnvelopeError::Content => "content_hash",
        EnvelopeError::Signature => "signature",
    })?;
    check_signature(&envelope, signatures)?;
    if envelope.lane != incoming.lane {
        return Err("wrong_lane");
    }
    let body = decode_body(&envelope)?;
    if expected_key(&envelope, &body).as_bytes() != incoming.key {
        return Err("wrong_key");
    }
    let known = Known { id: envelope.id, content: envelope.content };
    let origin = Origin { site: envelope.site, agent: envelope.agent, incarnation: envelope.incarnation };
    Ok(Record { origin, lane: envelope.lane, sequence: envelope.sequence, known, body })
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
    fn read<'a, T: Deserialize<'a>>(envelope: &'a Envelope) -> Result<Box<T>, &'static str> {
        envelope.body().map(Box::new).map_err(|_| "malformed_body")
    }
    match envelope.lane {
        Lane::Alerts => {
            let alert: Box<Alert> = read(envelope)?;
            if alert.condition.len() > MAX_CONDITION || alert.condition.chars().any(|c| c.is_control() || c == '|') {
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
        // Evidence is shown, not kept: it has no part in the fleet's state and its topic is not read here.
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
    use fettle_wire::{AlarmState, Change, Identity, Name, Priority, Rul, Tally, Verdict};
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
            let _ = decode(&incoming, &Signatures::default());
        }
    }
}
