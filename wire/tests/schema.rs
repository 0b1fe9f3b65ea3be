//! The JSON Schemas in `schema/` say what is really sent: whatever a sound writer encodes fits, and what it would never
//! write does not.

mod samples;

use fettle_wire::json;
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::Serialize;
use serde_json::{Value, json as value};

macro_rules! schema {
    ($name:literal) => {
        validator(include_str!(concat!("../schema/", $name, ".schema.json")))
    };
}

fn validator(text: &str) -> Validator {
    let schema: Value = serde_json::from_str(text).expect("JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("a schema of draft 2020-12");
    jsonschema::draft202012::new(&schema).expect("a schema")
}

fn fits(schema: &Validator, value: &Value) -> Result<(), TestCaseError> {
    match schema.validate(value) {
        Ok(()) => Ok(()),
        Err(e) => Err(TestCaseError::fail(format!("{}: {e}", e.instance_path()))),
    }
}

/// Encodes samples as the agent does and holds them against the schema, each also with a field that it does not know.
fn samples_fit<T: Serialize + std::fmt::Debug>(schema: &Validator, samples: impl Strategy<Value = T>) {
    TestRunner::new(samples::config(128))
        .run(&samples, |sample| {
            let mut sent: Value = serde_json::from_str(&json::encode(&sample).expect("encodable")).expect("JSON");
            fits(schema, &sent)?;
            sent["added_later"] = value!([1]);
            fits(schema, &sent)
        })
        .unwrap_or_else(|e| panic!("{e}"));
}

/// Every required field is missed and every listed change is noticed.
fn wrong_samples_are_refused(schema: &Validator, text: &str, good: &Value, wrong: &[(&str, Value)]) {
    assert!(schema.is_valid(good), "{:?}", schema.validate(good).map_err(|e| e.to_string()));
    let definition: Value = serde_json::from_str(text).expect("JSON");
    for field in definition["required"].as_array().expect("a list") {
        let mut less = good.clone();
        less.as_object_mut().expect("an object").remove(field.as_str().expect("a name"));
        assert!(!schema.is_valid(&less), "{field} is not missed");
    }
    for (pointer, replacement) in wrong {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).expect("exists") = replacement.clone();
        assert!(!schema.is_valid(&changed), "{pointer} may be {replacement}");
    }
}

fn golden(name: &str) -> Value {
    let path = format!("{}/testdata/v1/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("a golden file")).expect("JSON")
}

#[test]
fn envelopes_fit_their_schema_and_wrong_ones_do_not() {
    let schema = schema!("envelope");
    samples_fit(&schema, samples::envelope());
    let wrong = [
        ("/version", value!("1")),
        ("/id", value!("short")),
        ("/site", value!("a/b")),
        ("/incarnation", value!(7)),
        ("/lane", value!("alarm")),
        ("/sequence", value!(-1)),
        ("/body", value!("{}")),
    ];
    wrong_samples_are_refused(
        &schema,
        include_str!("../schema/envelope.schema.json"),
        &golden("envelope-alerts"),
        &wrong,
    );
    let mut half_signed = golden("envelope-alerts");
    half_signed["key"] = value!("0123456789abcdef");
    half_signed.as_object_mut().expect("an object").remove("signature");
    assert!(!schema.is_valid(&half_signed));
}

#[test]
fn alerts_fit_their_schema_and_wrong_ones_do_not() {
    let schema = schema!("alert");
    samples_fit(&schema, samples::alert());
    let wrong = [
        ("/occurrence", value!(0)),
        ("/state", value!("shelved?")),
        ("/raised_at", value!("2026-11-21T09:45:14Z")),
        ("/score", value!(null)),
        ("/contributions/0/share", value!(1.5)),
    ];
    let good = &golden("envelope-alerts")["body"];
    wrong_samples_are_refused(&schema, include_str!("../schema/alert.schema.json"), good, &wrong);
}

#[test]
fn health_records_fit_their_schema_and_wrong_ones_do_not() {
    let schema = schema!("health");
    samples_fit(&schema, samples::health());
    let wrong = [
        ("/verdict", value!("none")), // without a reason
        ("/health_index", value!(1.01)),
        ("/rul", value!({"kind": "interval", "p10": 1})),
        ("/rul", value!({"kind": "none"})),
        ("/indicators/0/variance", value!(-1)),
        ("/revision", value!(0.5)),
        ("/life", value!(0)),
        ("/age", value!(-1.0)),
    ];
    let good = &golden("envelope-health-life")["body"];
    wrong_samples_are_refused(&schema, include_str!("../schema/health.schema.json"), good, &wrong);
    assert!(schema.is_valid(&golden("envelope-health")["body"]), "without a life");
}

#[test]
fn ledger_entries_fit_their_schema_and_wrong_ones_do_not() {
    let schema = schema!("ledger");
    samples_fit(&schema, samples::ledger());
    let wrong = [
        ("/quarantined", value!("no")),
        ("/readings/received", value!(-1)),
        ("/readings/rejected", value!({"not_finite": "3"})),
        ("/nodes/0/boot", value!(7)),
        ("/nodes/0/missing_ranges", value!([[1]])),
    ];
    let good = &golden("envelope-ledger")["body"];
    wrong_samples_are_refused(&schema, include_str!("../schema/ledger.schema.json"), good, &wrong);
}

#[test]
fn evidence_fits_its_schema_and_wrong_one_does_not() {
    let schema = schema!("evidence");
    samples_fit(&schema, samples::evidence());
    let wrong = [
        ("/occasion", value!("whim")),
        ("/rate", value!(0)),
        ("/samples", value!("not base 64")),
        ("/samples", value!("A".repeat(16_388))),
        ("/spectrum/values", value!(vec![0.0; 513])),
        ("/band", value!([1.0])),
        ("/lines/0/frequency", value!(-1.0)),
    ];
    let good = &golden("envelope-evidence")["body"];
    wrong_samples_are_refused(&schema, include_str!("../schema/evidence.schema.json"), good, &wrong);
    let mut nameless = good.clone();
    nameless.as_object_mut().expect("an object").remove("condition");
    assert!(!schema.is_valid(&nameless), "an alarm without its condition");
}

#[test]
fn commands_fit_their_schema_and_wrong_ones_do_not() {
    let schema = schema!("command");
    samples_fit(&schema, samples::command());
    let wrong = [
        ("/id", value!("")),
        ("/expires", value!(1.5)),
        ("/request", value!({"reboot": {}})),
        ("/request", value!("adopt")),
        ("/request/acknowledge/occurrence", value!(-1)),
    ];
    let text = include_str!("../schema/command.schema.json");
    wrong_samples_are_refused(&schema, text, &golden("command-acknowledge"), &wrong);
    for other in
        ["command-adopt", "command-shelve", "command-unshelve", "command-comment", "command-label", "command-event"]
    {
        assert!(schema.is_valid(&golden(other)), "{other}");
    }
}
