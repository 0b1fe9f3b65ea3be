//! `[releases]`: whose models may speak here, and on which conditions.

use std::collections::BTreeMap;
use std::time::Duration;

use fettle_models::release::Key;
use toml::de::DeValue;

use super::compile::bytes;
use super::quantity::duration;
use super::raw::{Rule, Section, number, whole};
use crate::release::ReleasePolicy;

const MIB: u64 = 1 << 20;

pub(super) fn releases(section: &Section<'_, '_>) -> ReleasePolicy {
    let keys = section.get(
        "keys",
        Rule(
            "must be a list of ed25519 public keys of 64 hexadecimal digits each",
            "write what fettle-models key shows, e.g. keys = [\"c0ffee…\"]; without keys no release is taken",
        ),
        |value| value.as_array()?.iter().map(|key| Key::parse(key.get_ref().as_str()?)).collect(),
    );
    let floor = section.get(
        "floor",
        Rule("must be a table of classes with whole numbers", "write e.g. floor = { pump = 3 }"),
        floors,
    );
    let steps = section.get(
        "promote_steps",
        Rule(
            "must be a whole number of steps from 1 to 1000000",
            "write 144: a day of one machine at the default step",
        ),
        whole(1..=1_000_000_i64),
    );
    let agreement = section.get("promote_agreement", Rule("must be a share from 0 to 1", "write 0.8"), |v| {
        number(v).filter(|share| (0.0..=1.0).contains(share))
    });
    let latency =
        section.get("latency", Rule("must be from 1us to 1s, and a number and a unit", "write \"1ms\""), |v| {
            duration(v.as_str()?).filter(|d| (Duration::from_micros(1)..=Duration::from_secs(1)).contains(d))
        });
    let ReleasePolicy { max_bytes, promote_steps, promote_agreement, latency_us, .. } = ReleasePolicy::default();
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let policy = ReleasePolicy {
        keys: keys.unwrap_or_default(),
        max_bytes: bytes(section, "max_bytes", MIB, max_bytes),
        floor: floor.unwrap_or_default(),
        promote_steps: steps.map_or(promote_steps, i64::unsigned_abs),
        promote_agreement: agreement.unwrap_or(promote_agreement),
        latency_us: latency.map_or(latency_us, micros),
    };
    section.finish();
    policy
}

fn floors(value: &DeValue<'_>) -> Option<BTreeMap<String, u64>> {
    let entries = value.as_table()?.iter();
    let version = |v: &DeValue<'_>| whole(0..=i64::MAX)(v).map(i64::unsigned_abs);
    entries.map(|(class, v)| Some((class.get_ref().to_string(), version(v.get_ref())?))).collect()
}
