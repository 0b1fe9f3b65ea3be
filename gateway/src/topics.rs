//! `topics apply|check`: the fleet's Kafka topics as they must be, against what the cluster has.
//!
//! All topics have equally many partitions: the state of partition n lives in partition n of the fleet topic. Settings
//! that deviate are put right; the number of partitions and of replicas never, because that would move assets to other
//! partitions, or data between brokers: it is said, with the remedy.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use crate::clock;
use crate::config::Config;
use crate::kafka::{self, LinkError, Quiet};

const CALL: Duration = Duration::from_secs(15);
const DAY_MS: u64 = 86_400_000;

/// Why the topics could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// Kafka.
    #[error("{0}; is Kafka running at kafka.brokers, and may this user describe and alter topics?")]
    Link(#[from] LinkError),
    /// One topic.
    #[error("topic {topic}: the broker refused: {reason}")]
    Refused {
        /// The topic.
        topic: String,
        /// Why.
        reason: String,
    },
    /// No runtime.
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
}

impl From<KafkaError> for TopicsError {
    fn from(error: KafkaError) -> Self {
        Self::Link(LinkError::Kafka(error))
    }
}

/// A topic as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replication: i32,
    /// Settings.
    pub settings: BTreeMap<&'static str, String>,
}

/// A topic as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Partitions.
    pub partitions: i32,
    /// The smallest number of replicas of any partition.
    pub replication: i32,
    /// Every setting.
    pub settings: BTreeMap<String, String>,
    /// Those set on this very topic, which a change must repeat.
    pub own: BTreeMap<String, String>,
}

/// One way in which a topic is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// The topic.
    pub topic: String,
    /// What.
    pub what: String,
    /// As it must be.
    pub wanted: String,
    /// As it is.
    pub found: String,
    /// What to do.
    pub remedy: &'static str,
    /// Whether `apply` puts it right.
    pub curable: bool,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, what, wanted, found, remedy, .. } = self;
        write!(f, "{topic}: {what} is {found}, must be {wanted}; {remedy}")
    }
}

/// Every topic of the fleet.
pub fn wanted(config: &Config) -> Vec<Wanted> {
    let topics = config.kafka.topics();
    let (partitions, replication) = (config.topics.partitions, config.topics.replication);
    let in_sync = (replication - 1).max(1).to_string();
    let kept = |name: String, days: u64| {
        let settings = BTreeMap::from([
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", (days * DAY_MS).to_string()),
            ("min.insync.replicas", in_sync.clone()),
        ]);
        Wanted { name, partitions, replication, settings }
    };
    let compacted = BTreeMap::from([
        ("cleanup.policy", "compact".to_owned()),
        ("min.insync.replicas", in_sync.clone()),
        // Small segments and an early cleaner keep what a new instance has to read close to what is known.
        ("segment.bytes", (64_u64 << 20).to_string()),
        ("min.cleanable.dirty.ratio", "0.2".to_owned()),
    ]);
    // Few records, and far larger ones: no reason for small segments.
    let released = |name: String| {
        let settings = BTreeMap::from([
            ("cleanup.policy", "compact".to_owned()),
            ("max.message.bytes", (1_u64 << 20).to_string()),
            ("min.insync.replicas", in_sync.clone()),
        ]);
        Wanted { name, partitions, replication, settings }
    };
    vec![
        kept(topics.alerts(), 30),
        kept(topics.health(), 7),
        kept(topics.ledger(), 7),
        kept(topics.evidence(), 7),
        kept(topics.commands(), 30),
        released(topics.releases()),
        released(topics.rollouts()),
        Wanted { name: topics.fleet(), partitions, replication, settings: compacted },
    ]
}

/// Every way in which `found` is not `wanted`.
pub fn compare(wanted: &Wanted, found: Option<&Found>) -> Vec<Deviation> {
    let mut out = Vec::new();
    let mut say = |what: &str, must: &str, is: &str, remedy, curable| {
        let (topic, what) = (wanted.name.clone(), what.to_owned());
        out.push(Deviation { topic, what, wanted: must.into(), found: is.into(), remedy, curable });
    };
    let Some(found) = found else {
        say("the topic", "there", "absent", "`topics apply` creates it", true);
        return out;
    };
    if found.partitions != wanted.partitions {
        let remedy = "set topics.partitions to what is there, or make the topics anew under another kafka.prefix: \
                      another number would move assets to other partitions";
        say("partitions", &wanted.partitions.to_string(), &found.partitions.to_string(), remedy, false);
    }
    if found.replication < wanted.replication {
        let remedy = "move replicas with kafka-reassign-partitions.sh, or lower topics.replication";
        say("replication", &wanted.replication.to_string(), &found.replication.to_string(), remedy, false);
    }
    for (key, must) in &wanted.settings {
        let is = found.settings.get(*key).map_or("not told by the broker", String::as_str);
        if is != must {
            say(key, must, is, "`topics apply` sets it", true);
        }
    }
    out
}

struct Cluster {
    admin: AdminClient<Quiet>,
    options: AdminOptions,
}

impl Cluster {
    fn new(config: &Config) -> Result<Self, TopicsError> {
        let client = kafka::base(&config.kafka, "topics")?;
        let admin = client.create_with_context(Quiet)?;
        let options = AdminOptions::new().request_timeout(Some(CALL)).operation_timeout(Some(CALL));
        Ok(Self { admin, options })
    }

    async fn find(&self, name: &str) -> Result<Option<Found>, TopicsError> {
        let mut found = {
            // All topics: asking for one by name may create it.
            let metadata = self.admin.inner().fetch_metadata(None, CALL)?;
            let whole = |t: &MetadataTopic| t.error().is_none() && t.partitions().iter().all(|p| p.error().is_none());
            let Some(topic) = metadata.topics().iter().find(|t| t.name() == name && whole(t)) else {
                return Ok(None);
            };
            let replicas = topic.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0);
            Found {
                partitions: i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX),
                replication: i32::try_from(replicas).unwrap_or(i32::MAX),
                ..Found::default()
            }
        };
        let described = self.admin.describe_configs(&[ResourceSpecifier::Topic(name)], &self.options).await?;
        for resource in described {
            let resource = match resource {
                Ok(resource) => resource,
                Err(RDKafkaErrorCode::UnknownTopicOrPartition) => return Ok(None),
                Err(code) => return Err(refused(name, &code)),
            };
            for entry in resource.entries {
                let Some(value) = entry.value else { continue };
                if entry.source == ConfigSource::DynamicTopic {
                    found.own.insert(entry.name.clone(), value.clone());
                }
                found.settings.insert(entry.name, value);
            }
        }
        Ok(Some(found))
    }

    async fn create(&self, wanted: &Wanted) -> Result<(), TopicsError> {
        let mut topic = NewTopic::new(&wanted.name, wanted.partitions, TopicReplication::Fixed(wanted.replication));
        for (key, value) in &wanted.settings {
            topic = topic.set(key, value);
        }
        for result in self.admin.create_topics(&[topic], &self.options).await? {
            result.map_err(|(topic, code)| refused(&topic, &code))?;
        }
        self.wait_until_shown(&wanted.name).await
    }

    /// A topic that was created is told of by the brokers a moment later.
    async fn wait_until_shown(&self, name: &str) -> Result<(), TopicsError> {
        let until = clock::monotonic() + CALL;
        while self.find(name).await?.is_none() {
            if clock::monotonic() > until {
                return Err(refused(name, &"it was created, but no broker tells of it; run the command again"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The call replaces all settings of the topic, so those that are not ours are repeated.
    async fn alter(&self, wanted: &Wanted, found: &Found) -> Result<(), TopicsError> {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(&wanted.name));
        for (key, value) in found.own.iter().filter(|(key, _)| !wanted.settings.contains_key(key.as_str())) {
            change = change.set(key, value);
        }
        for (key, value) in &wanted.settings {
            change = change.set(key, value);
        }
        for result in self.admin.alter_configs(&[change], &self.options).await? {
            result.map_err(|(_, code)| refused(&wanted.name, &code))?;
        }
        Ok(())
    }
}

fn refused(topic: &str, reason: &dyn fmt::Display) -> TopicsError {
    TopicsError::Refused { topic: topic.into(), reason: reason.to_string() }
}

fn block_on<T>(work: impl Future<Output = Result<T, TopicsError>>) -> Result<T, TopicsError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(TopicsError::Runtime)?;
    runtime.block_on(work)
}

/// Every deviation of every topic.
pub fn check(config: &Config) -> Result<Vec<Deviation>, TopicsError> {
    block_on(async {
        let cluster = Cluster::new(config)?;
        let mut out = Vec::new();
        for topic in wanted(config) {
            out.extend(compare(&topic, cluster.find(&topic.name).await?.as_ref()));
        }
        Ok(out)
    })
}

/// Creates what is absent and sets what deviates; what was done, one line each.
pub fn apply(config: &Config) -> Result<Vec<String>, TopicsError> {
    block_on(async {
        let cluster = Cluster::new(config)?;
        let mut done = Vec::new();
        for topic in wanted(config) {
            let found = cluster.find(&topic.name).await?;
            let curable: Vec<Deviation> = compare(&topic, found.as_ref()).into_iter().filter(|d| d.curable).collect();
            match found {
                None => {
                    cluster.create(&topic).await?;
                    let Wanted { name, partitions, replication, .. } = &topic;
                    done.push(format!("{name}: created, {partitions} partitions, {replication} replicas"));
                }
                Some(found) if !curable.is_empty() => {
                    cluster.alter(&topic, &found).await?;
                    done.extend(curable.iter().map(|d| format!("{}: {} set to {}", d.topic, d.what, d.wanted)));
                }
                Some(_) => done.push(format!("{}: as it must be", topic.name)),
            }
        }
        Ok(done)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = "store = \"x\"\n[kafka]\nbrokers = \"h:1\"\nprefix = \"acme\"\n[topics]\nreplication = 3\n";
        crate::config::parse(text, std::path::Path::new(".")).unwrap()
    }

    fn as_wanted(wanted: &Wanted) -> Found {
        let settings: BTreeMap<String, String> =
            wanted.settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let (partitions, replication) = (wanted.partitions, wanted.replication);
        Found { partitions, replication, own: settings.clone(), settings }
    }

    #[test]
    fn all_topics_have_equally_many_partitions_and_the_fleet_is_compacted() {
        let wanted = wanted(&config());
        let names: Vec<&str> = wanted.iter().map(|w| w.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "acme.alerts",
                "acme.health",
                "acme.ledger",
                "acme.evidence",
                "acme.commands",
                "acme.releases",
                "acme.rollouts",
                "acme.fleet"
            ]
        );
        assert!(wanted.iter().all(|w| w.partitions == 6 && w.settings["min.insync.replicas"] == "2"));
        assert!(wanted[5..].iter().all(|w| w.settings["cleanup.policy"] == "compact"));
        assert_eq!(wanted[3].settings["retention.ms"], "604800000");
        assert_eq!(wanted[4].settings["retention.ms"], "2592000000");
    }

    #[test]
    fn every_deviation_is_told_and_partitions_are_not_cured() {
        for topic in wanted(&config()) {
            assert_eq!(compare(&topic, Some(&as_wanted(&topic))), []);
            let mut found = as_wanted(&topic);
            found.partitions = 1;
            found.replication = 1;
            found.settings.insert("cleanup.policy".into(), "nonsense".into());
            let told = compare(&topic, Some(&found));
            let told: Vec<(&str, bool)> = told.iter().map(|d| (d.what.as_str(), d.curable)).collect();
            assert_eq!(told, [("partitions", false), ("replication", false), ("cleanup.policy", true)]);
            assert!(compare(&topic, None)[0].curable);
        }
    }
}
