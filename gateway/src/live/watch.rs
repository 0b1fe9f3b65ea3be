//! Finds out what changed in the fleet and tells the pages: the difference between two overviews.
//!
//! Comparing whole states cannot miss a change, whatever order records came in or how often they were read. The pass
//! that it needs is the one the API shares ([`Cache`]), so its cost stays below a tenth of the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fettle_wire::Name;
use serde::Serialize;

use super::Hub;
use crate::alarms::AlarmView;
use crate::fleet::Store;
use crate::fleet::overview::{AssetView, Cache, Overview, Totals};
use crate::pace::Stop;
use crate::status::{Shown, Status};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(250);
/// More changes than this at once are not told one by one: pages begin again.
const MANY: usize = 2_000;

/// Watches until stopped.
pub struct Watch {
    /// The copy of the fleet.
    pub store: Arc<Store>,
    /// Shared with the API.
    pub cache: Arc<Cache>,
    /// What the threads say.
    pub status: Arc<Status>,
    /// Who is told.
    pub hub: Arc<Hub>,
    /// When to end.
    pub stop: Stop,
}

/// The sums, as pages show them.
#[derive(Serialize)]
struct LedgerEvent<'a> {
    totals: &'a Totals,
    conflicts: u64,
}

/// What this instance does.
#[derive(Serialize)]
struct StatusEvent<'a> {
    instance: &'a Shown,
    lag: i64,
    /// Why the lag could not be measured lately: Kafka does not answer, so nothing new comes either.
    lag_error: Option<&'a str>,
}

impl Watch {
    /// Runs until stopped.
    pub fn run(self) {
        let mut last: Option<Arc<Overview>> = None;
        let mut said = None;
        while !self.stop.wait(EVERY) {
            let shown = self.status.show();
            let (lag, lag_error) = (shown.lag.total, shown.lag.error.as_deref());
            let status = StatusEvent { instance: &shown, lag, lag_error };
            let present = serde_json::to_string(&status).unwrap_or_default();
            if said.as_ref() != Some(&present) {
                self.hub.publish("status", &status);
                said = Some(present);
            }
            match self.cache.get(&self.store) {
                Ok(now) => {
                    if let Some(before) = &last
                        && !Arc::ptr_eq(before, &now)
                    {
                        tell(&self.hub, before, &now);
                    }
                    last = Some(now);
                }
                // Said by whoever asks through the API, and by the copying thread.
                Err(error) => tracing::debug!(%error, "the overview cannot be read"),
            }
        }
    }
}

type Key<'a> = (&'a Name, &'a Name, &'a str);

fn assets(overview: &Overview) -> BTreeMap<Key<'_>, &AssetView> {
    overview.assets.iter().map(|a| ((&a.site, &a.asset, ""), a)).collect()
}

fn alarms(overview: &Overview) -> BTreeMap<Key<'_>, &AlarmView> {
    overview.alarms.iter().map(|a| ((&a.site, &a.asset, a.condition.as_str()), a)).collect()
}

fn changed<'a, T: PartialEq>(before: &BTreeMap<Key<'_>, &T>, now: &BTreeMap<Key<'_>, &'a T>) -> Vec<&'a T> {
    now.iter().filter(|(key, value)| before.get(*key) != Some(*value)).map(|(_, value)| *value).collect()
}

fn tell(hub: &Hub, before: &Overview, now: &Overview) {
    let (assets_before, assets_now) = (assets(before), assets(now));
    let (alarms_before, alarms_now) = (alarms(before), alarms(now));
    let is_gone = assets_before.keys().any(|key| !assets_now.contains_key(key))
        || alarms_before.keys().any(|key| !alarms_now.contains_key(key));
    let (assets, alarms) = (changed(&assets_before, &assets_now), changed(&alarms_before, &alarms_now));
    if is_gone || assets.len() + alarms.len() > MANY {
        hub.publish("reset", &serde_json::Map::new());
        return;
    }
    // Alarms first: they are what somebody waits for.
    alarms.into_iter().for_each(|alarm| hub.publish("alarm", alarm));
    assets.into_iter().for_each(|asset| hub.publish("asset", asset));
    if before.totals != now.totals || before.conflicts() != now.conflicts() {
        hub.publish("ledger", &LedgerEvent { totals: &now.totals, conflicts: now.conflicts() });
    }
}

#[cfg(test)]
mod tests {
    use fettle_wire::Change;

    use super::*;
    use crate::fleet::asset::{AlarmRecord, Origin};
    use crate::intake::record::tests::{alert, name};
    use crate::live::Next;

    fn overview(changes: &[(&str, Change)]) -> Overview {
        let view = |(asset, change): &(&str, Change)| {
            let origin = Origin { site: name("plant-a"), agent: name("gw-1"), incarnation: "0".repeat(16) };
            let alert = alert(asset, "anomaly", 1, *change);
            crate::alarms::view(AlarmRecord::new(origin, alert, 0, Vec::new()), &[], 0)
        };
        Overview { alarms: changes.iter().map(view).collect(), ..Overview::default() }
    }

    fn told(before: &Overview, now: &Overview) -> String {
        let hub = Arc::new(Hub::new(Arc::default()));
        let (mut place, _) = hub.listen(None).unwrap();
        tell(&hub, before, now);
        match place.read() {
            Next::Events(text) => text,
            _ => String::new(),
        }
    }

    #[test]
    fn only_what_changed_is_told() {
        let before = overview(&[("a", Change::Raised), ("b", Change::Raised)]);
        let now = overview(&[("a", Change::Raised), ("b", Change::Acknowledged), ("c", Change::Raised)]);
        let text = told(&before, &now);
        assert_eq!(text.matches("event: alarm").count(), 2, "{text}");
        assert!(text.contains("\"asset\":\"b\"") && text.contains("\"asset\":\"c\""));
        assert_eq!(told(&now, &now), "");
    }

    #[test]
    fn what_is_gone_makes_pages_begin_again() {
        let text = told(&overview(&[("a", Change::Raised)]), &overview(&[]));
        assert!(text.contains("event: reset"), "{text}");
    }
}
