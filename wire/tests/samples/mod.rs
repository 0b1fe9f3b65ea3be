//! Random values of every type on the wire, for the property tests. Only what a sound writer can send: finite numbers,
//! checked names. What a stranger can send is in `hostile.rs`.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;

use fettle_wire::evidence::{Line, Spectrum};
use fettle_wire::frame::FrameReading;
use fettle_wire::{
    AlarmState, Alert, Change, ClockQuality, Command, Contribution, Durable, Envelope, EventKind, Evidence, Frame,
    Health, Identity, Indicator, Label, Lane, LedgerEntry, Micros, Name, NoVerdict, NodeAccount, Occasion, Priority,
    Quality, Request, Rul, Tally, Verdict, Waveform,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::FileFailurePersistence;
use serde_json::value::RawValue;

/// `cases` runs whose failing seeds are kept beside the test.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let failure_persistence = Some(Box::new(FileFailurePersistence::WithSource("regressions")) as _);
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
}

pub(crate) fn name() -> impl Strategy<Value = Name> + Clone {
    "[A-Za-z0-9_-][A-Za-z0-9._-]{0,12}".prop_map(|text| Name::new(&text).expect("made of the alphabet"))
}

pub(crate) fn finite() -> impl Strategy<Value = f64> + Clone {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![Just(0.1), -1e3..1e3f64, POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO]
}

fn share() -> impl Strategy<Value = f64> + Clone {
    0.0..=1.0f64
}

fn time() -> impl Strategy<Value = Micros> + Clone {
    fettle_wire::time::EARLIEST..fettle_wire::time::LATEST
}

/// A counter that JSON readers hold exactly.
fn count() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![0..100u64, 0..1u64 << 53]
}

fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof!["[ -~]{0,20}", "\\PC{0,8}"]
}

fn unit() -> impl Strategy<Value = String> + Clone {
    select(fettle_wire::Unit::all().map(|u| u.si_code().to_owned()).collect::<Vec<_>>())
}

fn reading(channels: usize) -> impl Strategy<Value = FrameReading> {
    (0..channels as u16, any::<i64>(), finite())
}

fn quality() -> impl Strategy<Value = Quality> {
    select(&[Quality::Good, Quality::Uncertain, Quality::Bad][..])
}

/// The parts of a frame that own what the frame borrows.
#[derive(Debug, Clone)]
pub(crate) struct OwnedFrame {
    head: (u64, u64, u64, Option<Micros>, u64, ClockQuality),
    channels: Vec<String>,
    readings: Vec<FrameReading>,
    flags: Vec<(u32, Quality)>,
    waveform: Option<(f64, f64, f64, Vec<u8>)>,
}

impl OwnedFrame {
    pub(crate) fn frame(&self) -> Frame<'_> {
        let (boot, sequence, kept, time, uptime, clock) = self.head;
        Frame {
            version: fettle_wire::SCHEMA_VERSION,
            boot,
            sequence,
            oldest: sequence.min(kept),
            time,
            uptime,
            clock,
            channels: self.channels.iter().map(String::as_str).collect(),
            readings: self.readings.clone(),
            flags: self.flags.clone(),
            waveform: self.waveform.as_ref().map(|(rate, scale, offset, samples)| Waveform {
                rate: *rate,
                scale: *scale,
                offset: *offset,
                samples,
            }),
        }
    }
}

pub(crate) fn frame() -> impl Strategy<Value = OwnedFrame> {
    let clock = select(&[ClockQuality::Synced, ClockQuality::FreeRunning, ClockQuality::Unknown][..]);
    let head = (any::<u64>(), any::<u64>(), any::<u64>(), option::of(any::<i64>()), any::<u64>(), clock);
    let readings = vec(text(), 1..6).prop_flat_map(|channels| {
        let n = channels.len();
        vec(reading(n), 1..40).prop_flat_map(move |readings| {
            let flags = vec((0..readings.len() as u32, quality()), 0..4);
            (Just(channels.clone()), Just(readings), flags, Just(None))
        })
    });
    let samples = vec(any::<[u8; 2]>(), 1..40).prop_map(|pairs| pairs.concat());
    let block = (0.1..1e6f64, finite(), finite(), samples);
    let waveform = (text(), block).prop_map(|(c, w)| (vec![c], Vec::new(), Vec::new(), Some(w)));
    (head, prop_oneof![3 => readings, 1 => waveform]).prop_map(|(head, (channels, readings, flags, waveform))| {
        OwnedFrame { head, channels, readings, flags, waveform }
    })
}

pub(crate) fn durable() -> impl Strategy<Value = Durable> {
    vec(any::<(u64, u64)>(), 0..16).prop_map(|confirmed| Durable { version: fettle_wire::SCHEMA_VERSION, confirmed })
}

fn contribution() -> impl Strategy<Value = Contribution> {
    (name(), share(), finite(), finite(), unit()).prop_map(|(channel, share, value, expected, unit)| Contribution {
        channel,
        share,
        value,
        expected,
        unit,
    })
}

fn label() -> impl Strategy<Value = Label> {
    select(&[Label::Confirmed, Label::FalseAlarm, Label::MaintenanceDone][..])
}

pub(crate) fn alert() -> impl Strategy<Value = Alert> {
    let states =
        [AlarmState::Normal, AlarmState::Unacknowledged, AlarmState::Acknowledged, AlarmState::ReturnedUnacknowledged];
    let kind = (
        select(
            &[
                Change::Raised,
                Change::Returned,
                Change::Acknowledged,
                Change::Shelved,
                Change::Unshelved,
                Change::Commented,
                Change::Labelled,
            ][..],
        ),
        select(states.to_vec()),
        select(&[Priority::Low, Priority::Medium, Priority::High, Priority::Critical][..]),
    );
    let condition = prop_oneof![Just("anomaly".to_owned()), name().prop_map(|c| format!("limit.{c}"))];
    let person = (option::of(time()), option::of(text()), option::of(label()), option::of(text()), option::of(text()));
    let words = (text(), vec(contribution(), 0..4), vec(text(), 0..3), person);
    (name(), condition, 1..1u64 << 53, kind, time(), time(), finite(), option::of(share()), words).prop_map(
        |(asset, condition, occurrence, (change, state, priority), raised_at, at, score, p_value, words)| {
            let (message, contributions, flags, (shelved_until, comment, label, by, command)) = words;
            Alert {
                asset,
                condition,
                occurrence,
                change,
                state,
                priority,
                raised_at,
                at,
                score,
                p_value,
                message,
                contributions,
                flags,
                shelved_until,
                comment,
                label,
                by,
                command,
            }
        },
    )
}

fn indicator() -> impl Strategy<Value = Indicator> {
    let shape = (option::of(finite()), option::of(finite()), option::of(finite()));
    let variance = finite().prop_map(f64::abs);
    let rms = finite().prop_map(f64::abs);
    (name(), unit(), count(), finite(), variance, shape, finite(), finite(), rms).prop_map(
        |(channel, unit, count, mean, variance, (skewness, kurtosis, slope), min, max, rms)| Indicator {
            channel,
            unit,
            count,
            mean,
            variance,
            skewness,
            kurtosis,
            min,
            max,
            rms,
            slope,
        },
    )
}

fn rul() -> impl Strategy<Value = Rul> {
    let life = || 0.0..1e9f64;
    prop_oneof![
        (life(), life(), option::of(life()), text(), name())
            .prop_map(|(p10, p50, p90, method, channel)| Rul::Interval { p10, p50, p90, method, channel }),
        text().prop_map(|reason| Rul::None { reason }),
    ]
}

pub(crate) fn health() -> impl Strategy<Value = Health> {
    let reasons = [
        NoVerdict::BaselineNotLearned,
        NoVerdict::InputsMissing,
        NoVerdict::RegimeUnknown,
        NoVerdict::NothingMonitored,
        NoVerdict::Degenerate,
    ];
    let verdict = prop_oneof![
        Just((Verdict::Normal, None)),
        Just((Verdict::Abnormal, None)),
        select(reasons.to_vec()).prop_map(|r| (Verdict::None, Some(r))),
    ];
    let scores = (option::of(share()), option::of(finite()), option::of(share()), share());
    let lists = (vec(contribution(), 0..4), vec(indicator(), 0..4), vec(text(), 0..3));
    let lived = (option::of(1..1u64 << 53), option::of(0.0..1e9f64));
    (name(), time(), time(), any::<u32>(), verdict, scores, rul(), lists, lived).prop_map(
        |(asset, window_start, window_end, revision, (verdict, reason), scores, rul, lists, (life, age))| {
            let (health_index, score, p_value, baseline) = scores;
            let (contributions, indicators, flags) = lists;
            Health {
                asset,
                window_start,
                window_end,
                revision,
                verdict,
                reason,
                health_index,
                score,
                p_value,
                contributions,
                baseline,
                rul,
                indicators,
                flags,
                release: None,
                rul_contributions: Vec::new(),
                life,
                age,
            }
        },
    )
}

fn reasons() -> impl Strategy<Value = BTreeMap<String, u64>> {
    btree_map("[a-z_]{1,12}", count(), 0..4)
}

fn account() -> impl Strategy<Value = NodeAccount> {
    (any::<u64>(), 0..1u64 << 52, 0..1u64 << 52, vec((count(), count()), 0..4)).prop_map(
        |(boot, received, missing, missing_ranges)| NodeAccount {
            boot: format!("{boot:016x}"),
            next: received + missing,
            received,
            missing,
            lost: missing / 2,
            missing_ranges,
        },
    )
}

pub(crate) fn ledger() -> impl Strategy<Value = LedgerEntry> {
    let tally = (0..1u64 << 20, 0..1u64 << 20, 0..1u64 << 20, reasons(), reasons()).prop_map(
        |(used, late, duplicate, rejected, shed)| {
            let received = used + late + duplicate + rejected.values().chain(shed.values()).sum::<u64>();
            Tally { received, used, late, duplicate, rejected, shed }
        },
    );
    (name(), any::<bool>(), time(), count(), tally, vec(account(), 0..4), count(), count()).prop_map(
        |(asset, quarantined, at, frames, readings, nodes, retired_received, retired_missing)| LedgerEntry {
            asset,
            quarantined,
            at,
            frames,
            readings,
            nodes,
            retired_received,
            retired_missing,
        },
    )
}

fn spectrum() -> impl Strategy<Value = Spectrum> {
    vec((0.0..1e6f64, 0.0..1e6f64), 0..20).prop_map(|points| {
        let (frequencies, values) = points.into_iter().unzip();
        Spectrum { frequencies, values }
    })
}

pub(crate) fn evidence() -> impl Strategy<Value = Evidence> {
    let alarm = prop_oneof![
        Just((Occasion::Periodic, None, None)),
        (name(), 1..1u64 << 53).prop_map(|(c, n)| (Occasion::Alarm, Some(format!("limit.{c}")), Some(n))),
    ];
    let line = (name(), 0.0..1e4f64, option::of(finite())).prop_map(|(name, frequency, strength)| Line {
        name: name.to_string(),
        frequency,
        strength,
    });
    let block = (1.0..1e6f64, unit(), finite(), finite(), vec(any::<[u8; 2]>(), 0..40), 0..20_000u64);
    let speed = (option::of(0.0..1e3f64), any::<bool>());
    let found = (spectrum(), spectrum(), (0.0..1e5f64, 0.0..1e5f64), vec(line, 0..4), speed);
    (name(), name(), time(), alarm, block, found).prop_map(|(asset, channel, time, alarm, block, found)| {
        let (occasion, condition, occurrence) = alarm;
        let (rate, unit, scale, offset, samples, joined) = block;
        let (spectrum, envelope, band, lines, (speed, speed_assumed)) = found;
        let samples = samples.concat();
        Evidence {
            asset,
            channel,
            time,
            occasion,
            condition,
            occurrence,
            rate,
            unit,
            scale,
            offset,
            samples,
            spectrum,
            envelope,
            band,
            joined,
            lines,
            speed,
            speed_assumed,
        }
    })
}

fn event() -> impl Strategy<Value = Request> {
    let kinds = [EventKind::Failed, EventKind::Replaced, EventKind::MaintenanceDone];
    let said = (vec("[ -~]{1,64}", 0..4), option::of("[ -~]{1,40}"));
    (name(), select(kinds.to_vec()), option::of(time()), said)
        .prop_map(|(asset, event, at, (components, note))| Request::Event { asset, event, at, components, note })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let request = prop_oneof![
        (name(), name(), count()).prop_map(|(asset, c, occurrence)| Request::Acknowledge {
            asset,
            condition: c.to_string(),
            occurrence
        }),
        (name(), name(), time()).prop_map(|(asset, c, until)| Request::Shelve {
            asset,
            condition: c.to_string(),
            until
        }),
        (name(), name()).prop_map(|(asset, c)| Request::Unshelve { asset, condition: c.to_string() }),
        (name(), name(), count(), "[ -~]{1,40}").prop_map(|(asset, c, occurrence, text)| Request::Comment {
            asset,
            condition: c.to_string(),
            occurrence,
            text
        }),
        (name(), name(), count(), label()).prop_map(|(asset, c, occurrence, label)| Request::Label {
            asset,
            condition: c.to_string(),
            occurrence,
            label
        }),
        event(),
        name().prop_map(|asset| Request::Adopt { asset }),
    ];
    ("[ -~]{1,40}", name(), name(), text(), time(), time(), request).prop_map(
        |(id, site, agent, issuer, issued, expires, request)| Command {
            version: fettle_wire::SCHEMA_VERSION,
            id,
            site,
            agent,
            issuer,
            issued,
            expires,
            request,
        },
    )
}

/// An envelope around a body of its lane, signed every other time.
pub(crate) fn envelope() -> impl Strategy<Value = Envelope> {
    let json = |text: Result<String, fettle_wire::json::JsonError>| text.expect("finite values encode");
    let body = prop_oneof![
        alert().prop_map(move |b| (Lane::Alerts, json(fettle_wire::json::encode(&b)))),
        health().prop_map(move |b| (Lane::Health, json(fettle_wire::json::encode(&b)))),
        ledger().prop_map(move |b| (Lane::Ledger, json(fettle_wire::json::encode(&b)))),
        evidence().prop_map(move |b| (Lane::Evidence, json(fettle_wire::json::encode(&b)))),
    ];
    (name(), name(), any::<u64>(), count(), body, option::of(any::<[u8; 32]>())).prop_map(
        |(site, agent, incarnation, sequence, (lane, body), secret)| {
            let identity = Identity { site, agent, incarnation };
            let body = RawValue::from_string(body).expect("JSON");
            let mut envelope = Envelope::new(&identity, lane, sequence, &[b"sample"], body);
            if let Some(secret) = secret {
                envelope.sign(&ed25519_dalek::SigningKey::from_bytes(&secret));
            }
            envelope
        },
    )
}
