//! What people are shown of the fleet: one pass over the copy, at one instant.
//!
//! The ledger is checked here (W1, W2 of `fettle_wire::ledger`): whether each account balances and what the sums are.
//! Cost: every record is read once; [`Cache`] makes one pass serve all that ask within ten times its own duration.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fettle_wire::{Command, Health, Micros, Name, NoVerdict, NodeAccount, Priority, Request, Rul, Tally, Verdict};
use serde::Serialize;
use utoipa::ToSchema;

use super::asset::{
    ALARM, ASSET, AccountRecord, AlarmRecord, AssetRecord, COMMAND, COUNT, Counts, LEDGER, OWNER, Owner, Rejected,
};
use super::store::{Store, StoreError};
use crate::alarms::{self, AlarmView, Pending};
use crate::api::schema;
use crate::clock;

/// One asset in a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetView {
    /// The site.
    #[schema(value_type = String)]
    pub site: Name,
    /// The asset.
    #[schema(value_type = String)]
    pub asset: Name,
    /// The agent that told of it last.
    #[schema(value_type = String)]
    pub agent: Name,
    /// Kafka's time of the newest record about it, microseconds UTC.
    #[schema(value_type = i64)]
    pub seen: Micros,
    /// Whether it waits for adoption.
    pub quarantined: bool,
    /// The adoption on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Pending>,
    /// The newest health, without indicators; absent until the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthView>,
    /// Open alarms that are not shelved.
    pub open_alarms: usize,
    /// Alarms, open or not, that a person has shelved.
    pub shelved_alarms: usize,
    /// The highest priority among those open ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Priority>)]
    pub highest: Option<Priority>,
    /// The highest priority among those that nobody has acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Priority>)]
    pub unacknowledged: Option<Priority>,
    /// Records with a known id and another content.
    pub conflicts: u64,
}

/// Health in a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthView {
    /// End of the window, microseconds UTC.
    #[schema(value_type = i64)]
    pub window_end: Micros,
    /// Revision of that window.
    pub revision: u32,
    /// The verdict.
    #[schema(value_type = schema::Verdict)]
    pub verdict: Verdict,
    /// Why none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::NoVerdict>)]
    pub reason: Option<NoVerdict>,
    /// 1 healthy .. 0 failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_index: Option<f64>,
    /// The statistic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Its tail probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// Share of the baseline that is learned.
    pub baseline: f64,
    /// Remaining useful life.
    #[schema(value_type = schema::Rul)]
    pub rul: Rul,
    /// Data quality.
    pub flags: Vec<String>,
}

impl HealthView {
    fn of(health: Health) -> Self {
        let Health {
            window_end, revision, verdict, reason, health_index, score, p_value, baseline, rul, flags, ..
        } = health;
        Self { window_end, revision, verdict, reason, health_index, score, p_value, baseline, rul, flags }
    }
}

/// One account.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountView {
    /// The site.
    #[schema(value_type = String)]
    pub site: Name,
    /// The agent.
    #[schema(value_type = String)]
    pub agent: Name,
    /// The agent's store.
    pub incarnation: String,
    /// The asset.
    #[schema(value_type = String)]
    pub asset: Name,
    /// Whether it waits for adoption.
    pub quarantined: bool,
    /// Wall time of the account, microseconds UTC.
    #[schema(value_type = i64)]
    pub at: Micros,
    /// Messages received in this incarnation.
    pub frames: u64,
    /// What became of the readings in this incarnation.
    #[schema(value_type = schema::Tally)]
    pub readings: Tally,
    /// W1: received = used + late + duplicate + rejected + shed.
    pub balances: bool,
    /// W2, for every listed boot: next = received + missing.
    pub nodes_balance: bool,
    /// Frames missing over all boots.
    pub missing: u64,
    /// Of those, lost for good.
    pub lost: u64,
    /// Boots of the asset's nodes.
    #[schema(value_type = Vec<schema::NodeAccount>)]
    pub nodes: Vec<NodeAccount>,
    /// Readings of earlier incarnations.
    #[schema(value_type = schema::Tally)]
    pub earlier: Tally,
    /// Messages of earlier incarnations.
    pub earlier_frames: u64,
    /// Records with a known id and another content.
    pub conflicts: u64,
}

impl AccountView {
    fn of(record: AccountRecord) -> Self {
        let AccountRecord { origin, entry, earlier, earlier_frames, conflicts, .. } = record;
        let sum = |each: fn(&NodeAccount) -> u64| entry.nodes.iter().map(each).fold(0, u64::saturating_add);
        Self {
            site: origin.site,
            agent: origin.agent,
            incarnation: origin.incarnation,
            quarantined: entry.quarantined,
            at: entry.at,
            frames: entry.frames,
            balances: entry.readings.balances(),
            nodes_balance: entry.nodes.iter().all(NodeAccount::balances),
            missing: sum(|node| node.missing).saturating_add(entry.retired_missing),
            lost: sum(|node| node.lost),
            asset: entry.asset,
            readings: entry.readings,
            nodes: entry.nodes,
            earlier,
            earlier_frames,
            conflicts,
        }
    }
}

/// Sums over all accounts, earlier incarnations included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Accounts.
    pub accounts: usize,
    /// Messages received.
    pub frames: u64,
    /// What became of the readings.
    #[schema(value_type = schema::Tally)]
    pub readings: Tally,
    /// W1 of the sums.
    pub balances: bool,
    /// Accounts that do not balance (W1 or W2).
    pub unbalanced: usize,
    /// Frames missing.
    pub missing: u64,
    /// Of those, lost for good.
    pub lost: u64,
}

impl Totals {
    fn of(accounts: &[AccountView]) -> Self {
        let mut totals = Self { accounts: accounts.len(), ..Self::default() };
        for account in accounts {
            totals.frames = totals.frames.saturating_add(account.frames).saturating_add(account.earlier_frames);
            totals.readings.add(&account.readings);
            totals.readings.add(&account.earlier);
            totals.unbalanced += usize::from(!account.balances || !account.nodes_balance);
            totals.missing = totals.missing.saturating_add(account.missing);
            totals.lost = totals.lost.saturating_add(account.lost);
        }
        totals.balances = totals.readings.balances();
        totals
    }
}

/// What became of one partition's records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartitionCounts {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Changed what is known, since the topic's first record, exact over any crash; so are all counts here.
    pub applied: u64,
    /// Known already.
    pub duplicates: u64,
    /// Known id, other content.
    pub conflicts: u64,
    /// Not usable, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The last one that was not usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rejected: Option<Rejected>,
}

/// Everything that is shown.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// When it was made, wall time.
    pub at: Micros,
    /// Every asset, by site and name.
    pub assets: Vec<AssetView>,
    /// Every alarm, most urgent first.
    pub alarms: Vec<AlarmView>,
    /// Every account, by site, agent and asset.
    pub accounts: Vec<AccountView>,
    /// Their sums.
    pub totals: Totals,
    /// What became of the records.
    pub records: Vec<PartitionCounts>,
    /// Who owns which partition, as last written.
    pub owners: BTreeMap<i32, Name>,
}

impl Overview {
    /// Reads the copy.
    pub fn read(store: &Store, now: Micros) -> Result<Self, StoreError> {
        let mut commands = BTreeMap::new();
        store.scan(COMMAND, |_, command: Command| {
            let asset = (command.site.clone(), command.request.asset().clone());
            commands.entry(asset).or_insert_with(Vec::new).push(command);
        })?;
        let mut alarms = Vec::new();
        store.scan(ALARM, |_, record: AlarmRecord| {
            let asset = (record.origin.site.clone(), record.alert.asset.clone());
            let sent = commands.get(&asset).map_or(&[][..], Vec::as_slice);
            alarms.push(alarms::view(record, sent, now));
        })?;
        alarms::sort(&mut alarms);
        let mut accounts = Vec::new();
        let mut assets = BTreeMap::new();
        store.scan(ASSET, |_, record: AssetRecord| {
            let asset = asset_view(record);
            assets.insert((asset.site.clone(), asset.asset.clone()), asset);
        })?;
        store.scan(LEDGER, |_, record: AccountRecord| {
            add_account(&mut assets, &record);
            accounts.push(AccountView::of(record));
        })?;
        add_alarms(&mut assets, &alarms);
        add_adoptions(&mut assets, commands.values().flatten(), now);
        let mut records = Vec::new();
        store.scan(COUNT, |key, counts: Counts| {
            let mut parts = key.split('|').skip(1);
            if let (Some(topic), Some(Ok(partition))) = (parts.next(), parts.next().map(str::parse)) {
                let Counts { applied, duplicates, conflicts, rejected, last_rejected } = counts;
                let topic = topic.into();
                let counts =
                    PartitionCounts { topic, partition, applied, duplicates, conflicts, rejected, last_rejected };
                records.push(counts);
            }
        })?;
        records.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let mut owners = BTreeMap::new();
        store.scan(OWNER, |key, owner: Owner| {
            if let Some(Ok(partition)) = key.split('|').nth(1).map(str::parse) {
                owners.insert(partition, owner.instance);
            }
        })?;
        let totals = Totals::of(&accounts);
        Ok(Self { at: now, assets: assets.into_values().collect(), alarms, accounts, totals, records, owners })
    }

    /// Records with a known id and another content, over the fleet.
    pub fn conflicts(&self) -> u64 {
        self.records.iter().map(|r| r.conflicts).fold(0, u64::saturating_add)
    }
}

impl AssetView {
    /// Sorts assets, most urgent first: who waits for a person, what is open, what is abnormal, what has no verdict;
    /// then by health index and by the median of the remaining life; then by name, so that the order is total.
    pub fn urgency(&self) -> String {
        let rank = |priority: Option<Priority>| priority.map_or(4, |p| 3 - p as u8);
        let standing = match self.health.as_ref().map(|h| h.verdict) {
            Some(Verdict::Abnormal) => 0,
            _ if self.quarantined => 1,
            None | Some(Verdict::None) => 2,
            Some(Verdict::Normal) => 3,
        };
        let (unacknowledged, open) = (rank(self.unacknowledged), rank(self.highest));
        let index = self.health.as_ref().and_then(|h| h.health_index).unwrap_or(1.0);
        let life = match self.health.as_ref().map(|h| &h.rul) {
            Some(Rul::Interval { p50, .. }) => *p50,
            _ => f64::MAX,
        };
        // Bounded before they are cut to whole numbers: what a record holds may be anything finite.
        let (index, life) = ((index.clamp(0.0, 1.0) * 1e4) as u32, life.clamp(0.0, 9e11) as u64);
        format!("{unacknowledged}{open}{standing}-{index:05}-{life:012}-{}/{}", self.site, self.asset)
    }
}

fn asset_view(record: AssetRecord) -> AssetView {
    let AssetRecord { origin, health, seen, conflicts, .. } = record;
    AssetView {
        site: origin.site,
        asset: health.asset.clone(),
        agent: origin.agent,
        seen,
        quarantined: false,
        adoption: None,
        health: Some(HealthView::of(health)),
        open_alarms: 0,
        shelved_alarms: 0,
        highest: None,
        unacknowledged: None,
        conflicts,
    }
}

type Assets = BTreeMap<(Name, Name), AssetView>;

/// An asset is also known by its account alone: quarantined, or before its first health.
fn add_account(assets: &mut Assets, record: &AccountRecord) {
    let key = (record.origin.site.clone(), record.entry.asset.clone());
    let asset = assets.entry(key).or_insert_with(|| AssetView {
        site: record.origin.site.clone(),
        asset: record.entry.asset.clone(),
        agent: record.origin.agent.clone(),
        seen: record.seen,
        quarantined: false,
        adoption: None,
        health: None,
        open_alarms: 0,
        shelved_alarms: 0,
        highest: None,
        unacknowledged: None,
        conflicts: 0,
    });
    asset.seen = asset.seen.max(record.seen);
    asset.quarantined |= record.entry.quarantined;
    asset.conflicts = asset.conflicts.saturating_add(record.conflicts);
}

fn add_alarms(assets: &mut Assets, alarms: &[AlarmView]) {
    for alarm in alarms {
        let Some(asset) = assets.get_mut(&(alarm.site.clone(), alarm.asset.clone())) else { continue };
        asset.conflicts = asset.conflicts.saturating_add(alarm.conflicts);
        if alarm.shelved_until.is_some() {
            asset.shelved_alarms += 1;
            continue;
        }
        asset.open_alarms += usize::from(alarm.open);
        if alarm.open {
            asset.highest = asset.highest.max(Some(alarm.priority));
        }
        if alarm.calls() {
            asset.unacknowledged = asset.unacknowledged.max(Some(alarm.priority));
        }
    }
}

fn add_adoptions<'a>(assets: &mut Assets, commands: impl Iterator<Item = &'a Command>, now: Micros) {
    for command in commands {
        let Request::Adopt { asset } = &command.request else { continue };
        if let Some(view) = assets.get_mut(&(command.site.clone(), asset.clone()))
            && view.quarantined
        {
            view.adoption = Some(Pending::of(command, now));
        }
    }
}

/// One pass for all that ask while nothing changed, or within ten times the pass's own duration.
#[derive(Default)]
pub struct Cache {
    last: Mutex<Option<Cached>>,
}

struct Cached {
    generation: u64,
    made: Instant,
    cost: Duration,
    overview: Arc<Overview>,
}

impl Cache {
    /// The overview; blocks while it is made.
    pub fn get(&self, store: &Store) -> Result<Arc<Overview>, StoreError> {
        // Whoever died while making one has stored nothing.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = store.generation();
        let begun = clock::monotonic();
        if let Some(cached) = &*last {
            let age = begun.duration_since(cached.made);
            // Expiries pass without a change of the copy, hence the minute.
            if (cached.generation == generation && age < Duration::from_secs(60)) || age < cached.cost * 10 {
                return Ok(Arc::clone(&cached.overview));
            }
        }
        let overview = Arc::new(Overview::read(store, clock::wall())?);
        let made = clock::monotonic();
        *last = Some(Cached { generation, made, cost: made - begun, overview: Arc::clone(&overview) });
        Ok(overview)
    }
}

#[cfg(test)]
mod tests {
    use fettle_wire::Change;

    use super::*;
    use crate::fleet::asset::{Origin, alarm_key, asset_key, ledger_key};
    use crate::fleet::store::Change as StoreChange;
    use crate::intake::record::tests::{account, alert, health, name};

    fn origin() -> Origin {
        Origin { site: name("plant-a"), agent: name("gw-1"), incarnation: "0000000000000001".into() }
    }

    fn put<T: Serialize>(store: &Store, key: String, value: &T) {
        let change = StoreChange { key, value: serde_json::to_vec(value).ok() };
        store.apply(store.epoch(), &[change], &BTreeMap::new()).unwrap();
    }

    fn put_account(store: &Store, asset: &str, quarantined: bool, unbalanced: u64) {
        let mut entry = account(asset, 10);
        entry.quarantined = quarantined;
        entry.readings.received += unbalanced;
        let (recent, earlier) = (Vec::new(), Tally { received: 5, used: 5, ..Tally::default() });
        let record =
            AccountRecord { origin: origin(), entry, seen: 9, recent, earlier, earlier_frames: 5, conflicts: 0 };
        put(store, ledger_key("plant-a", "gw-1", asset), &record);
    }

    #[test]
    fn quarantined_assets_are_listed_and_the_sums_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        put_account(&store, "pump", false, 0);
        put_account(&store, "stray", true, 1);
        let overview = Overview::read(&store, 0).unwrap();
        assert_eq!(overview.assets.len(), 2);
        assert!(overview.assets[1].quarantined && overview.assets[1].health.is_none());
        let Totals { readings, balances, unbalanced, frames, .. } = overview.totals;
        assert_eq!((readings.received, readings.used, frames), (31, 30, 30));
        assert!(!balances && unbalanced == 1);
    }

    #[test]
    fn the_less_healthy_and_the_sooner_failing_come_first() {
        let asset = |name: &str, index: f64, life: Option<f64>| {
            let mut health = health(name, 60, 0);
            health.health_index = Some(index);
            if let Some(p50) = life {
                let channel = Name::new("temperature").unwrap();
                health.rul = Rul::Interval { p10: p50 / 2.0, p50, p90: None, method: "m".into(), channel };
            }
            asset_view(AssetRecord { origin: origin(), health, seen: 1, recent: vec![], conflicts: 0 })
        };
        let mut assets =
            [asset("d", 1.0, None), asset("c", 1.0, Some(9e9)), asset("b", 1.0, Some(8e4)), asset("a", 0.5, None)];
        assets.sort_by_key(AssetView::urgency);
        assert_eq!(assets.each_ref().map(|a| a.asset.to_string()), ["a", "b", "c", "d"]);
    }

    #[test]
    fn assets_with_an_unacknowledged_alarm_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for asset in ["calm", "loud"] {
            let record =
                AssetRecord { origin: origin(), health: health(asset, 60, 0), seen: 1, recent: vec![], conflicts: 0 };
            put(&store, asset_key("plant-a", asset), &record);
        }
        let alert = alert("loud", "anomaly", 1, Change::Raised);
        let mut record = AlarmRecord::new(origin(), alert, 1, vec![]);
        record.conflicts = 2;
        put(&store, alarm_key("plant-a", "loud", "anomaly"), &record);
        let overview = Overview::read(&store, 0).unwrap();
        let first = overview.assets.iter().min_by_key(|a| a.urgency()).unwrap();
        assert_eq!((&*first.asset, first.open_alarms, first.conflicts), ("loud", 1, 2));
        assert_eq!((first.unacknowledged, first.highest), (Some(Priority::High), Some(Priority::High)));
        record.alert.shelved_until = Some(9);
        put(&store, alarm_key("plant-a", "loud", "anomaly"), &record);
        let overview = Overview::read(&store, 0).unwrap();
        let first = overview.assets.iter().min_by_key(|a| a.urgency()).unwrap();
        assert_eq!(&*first.asset, "calm", "a shelved alarm calls nobody");
        assert_eq!(overview.assets.iter().map(|a| (a.open_alarms, a.shelved_alarms)).max(), Some((0, 1)));
    }
}
