//! Every MQTT topic and every Kafka topic and key, in one file.
//!
//! Written with checked names ([`crate::Name`]), so that no level can hold `/`, `+`, `#` or `$`, be empty or start with
//! a dot, and no Kafka topic leaves Kafka's alphabet or its 249 characters. Read without: [`parse`] takes any topic apart
//! and leaves it to the door to reject what is not a name.
//!
//! Must never be bypassed: a topic or key spelled elsewhere would part ways with this file.

use alloc::format;
use alloc::string::String;

use crate::id::Name;

/// What a topic of our own MQTT tree means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native<'a> {
    /// `fettle/1/<site>/<asset>`: a frame of readings.
    Readings {
        /// The asset.
        asset: &'a str,
    },
    /// `fettle/1/<site>/<asset>/<channel>/waveform`: a frame with one waveform block.
    Waveform {
        /// The asset.
        asset: &'a str,
        /// The channel.
        channel: &'a str,
    },
    /// `fettle/1/<site>/<asset>/event`: what happened to the machine itself.
    Event {
        /// The asset.
        asset: &'a str,
    },
    /// `fettle/1/<site>/<asset>/durable`: our own confirmation.
    Durable {
        /// The asset.
        asset: &'a str,
    },
}

/// First level and version of our MQTT tree.
pub const MQTT_ROOT: &str = "fettle/1";

/// Where an asset's frames of readings go.
pub fn readings(site: &str, asset: &str) -> String {
    format!("{MQTT_ROOT}/{site}/{asset}")
}

/// Where one channel's waveform frames go.
pub fn waveform(site: &str, asset: &str, channel: &str) -> String {
    format!("{MQTT_ROOT}/{site}/{asset}/{channel}/waveform")
}

/// Where it is told what happened to the machine itself.
pub fn event(site: &str, asset: &str) -> String {
    format!("{MQTT_ROOT}/{site}/{asset}/event")
}

/// Where the agent confirms what is on disk.
pub fn durable(site: &str, asset: &str) -> String {
    format!("{MQTT_ROOT}/{site}/{asset}/durable")
}

/// The filters that an agent of `site` subscribes to in our own tree.
pub fn agent_filters(site: &Name) -> [String; 3] {
    ["+", "+/+/waveform", "+/event"].map(|below| format!("{MQTT_ROOT}/{site}/{below}"))
}

/// Takes a topic of our own tree apart; `None` for every other topic. Asset and channel are not checked to be names.
pub fn parse<'a>(site: &str, topic: &'a str) -> Option<Native<'a>> {
    let rest = topic.strip_prefix(MQTT_ROOT)?.strip_prefix('/')?.strip_prefix(site)?.strip_prefix('/')?;
    let mut levels = rest.split('/');
    match (levels.next(), levels.next(), levels.next(), levels.next()) {
        (Some(asset), None, None, None) => Some(Native::Readings { asset }),
        (Some(asset), Some("event"), None, None) => Some(Native::Event { asset }),
        (Some(asset), Some("durable"), None, None) => Some(Native::Durable { asset }),
        (Some(asset), Some(channel), Some("waveform"), None) => Some(Native::Waveform { asset, channel }),
        _ => None,
    }
}

/// The Kafka topics of one fleet. One fleet per prefix, `fettle` unless configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTopics {
    prefix: Name,
}

impl KafkaTopics {
    /// The topics below `prefix`.
    pub fn new(prefix: Name) -> Self {
        Self { prefix }
    }
    /// Changes of alarms, JSON, key site/asset.
    pub fn alerts(&self) -> String {
        format!("{}.alerts", self.prefix)
    }
    /// Health records and aggregates, JSON, key site/asset.
    pub fn health(&self) -> String {
        format!("{}.health", self.prefix)
    }
    /// Ledger entries, JSON, key site/agent/asset.
    pub fn ledger(&self) -> String {
        format!("{}.ledger", self.prefix)
    }
    /// Waveform blocks with their spectra, JSON, key site/asset.
    pub fn evidence(&self) -> String {
        format!("{}.evidence", self.prefix)
    }
    /// Commands to agents, JSON, key site/agent.
    pub fn commands(&self) -> String {
        format!("{}.commands", self.prefix)
    }
    /// Parts of release files, CBOR, key hash/index, compacted.
    pub fn releases(&self) -> String {
        format!("{}.releases", self.prefix)
    }
    /// What each class of machines is to run, JSON, key class, compacted.
    pub fn rollouts(&self) -> String {
        format!("{}.rollouts", self.prefix)
    }
    /// What the fleet gateways know, compacted.
    pub fn fleet(&self) -> String {
        format!("{}.fleet", self.prefix)
    }
}

/// The key of alerts, health records and evidence: an asset's history stays in one partition.
pub fn asset_key(site: &str, asset: &str) -> String {
    format!("{site}/{asset}")
}

/// The key of ledger entries.
pub fn ledger_key(site: &str, agent: &str, asset: &str) -> String {
    format!("{site}/{agent}/{asset}")
}

/// The key of a part of a release file.
pub fn part_key(hash: &str, index: u32) -> String {
    format!("{hash}/{index}")
}

/// The key of commands.
pub fn command_key(site: &str, agent: &str) -> String {
    format!("{site}/{agent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_taken_apart_again() {
        assert_eq!(readings("s", "a"), "fettle/1/s/a");
        assert_eq!(parse("s", &readings("s", "a")), Some(Native::Readings { asset: "a" }));
        assert_eq!(waveform("s", "a", "c"), "fettle/1/s/a/c/waveform");
        assert_eq!(parse("s", &waveform("s", "a", "c")), Some(Native::Waveform { asset: "a", channel: "c" }));
        assert_eq!(durable("s", "a"), "fettle/1/s/a/durable");
        assert_eq!(parse("s", &durable("s", "a")), Some(Native::Durable { asset: "a" }));
        assert_eq!(event("s", "a"), "fettle/1/s/a/event");
        assert_eq!(parse("s", &event("s", "a")), Some(Native::Event { asset: "a" }));
        // A channel may have the name of a kind of topic.
        let odd = waveform("s", "durable", "waveform");
        assert_eq!(parse("s", &odd), Some(Native::Waveform { asset: "durable", channel: "waveform" }));
    }

    #[test]
    fn other_topics_are_not_ours() {
        for topic in [
            "",
            "fettle",
            "fettle/1",
            "fettle/1/s",
            "fettle/1/sa",
            "fettle/1/other/a",
            "fettle/1/ss/a",
            "fettle/2/s/a",
            "fettle/11/s/a",
            "/fettle/1/s/a",
            "fettle/1/s/a/c",
            "fettle/1/s/a/c/wave",
            "fettle/1/s/a/c/waveform/",
            "fettle/1/s/a/durable/",
            "fettle/1/s/a/event/",
        ] {
            assert_eq!(parse("s", topic), None, "{topic}");
        }
        // Empty levels are taken apart and rejected by the door as names.
        assert_eq!(parse("s", "fettle/1/s/"), Some(Native::Readings { asset: "" }));
    }

    #[test]
    fn the_filters_see_what_nodes_send_and_not_our_own_confirmations() {
        let site = Name::new("s").unwrap();
        let [frames, waveforms, events] = agent_filters(&site);
        assert_eq!((frames.as_str(), waveforms.as_str()), ("fettle/1/s/+", "fettle/1/s/+/+/waveform"));
        let sees = |filter: &str, topic: &str| {
            filter.split('/').count() == topic.split('/').count()
                && filter.split('/').zip(topic.split('/')).all(|(f, t)| f == "+" || f == t)
        };
        assert!(sees(&frames, &readings("s", "a")) && sees(&waveforms, &waveform("s", "a", "c")));
        assert!(sees(&events, &event("s", "a")) && !sees(&events, &durable("s", "a")));
        assert!(!sees(&frames, &durable("s", "a")) && !sees(&waveforms, &durable("s", "a")));
    }

    #[test]
    fn kafka_topics_stay_inside_kafkas_alphabet_and_length() {
        let topics = KafkaTopics::new(Name::new(&"p".repeat(crate::id::MAX_NAME)).unwrap());
        let all =
            [topics.alerts(), topics.health(), topics.ledger(), topics.evidence(), topics.commands(), topics.fleet()];
        for topic in all {
            assert!(topic.len() <= 249 && Name::check(&topic[crate::id::MAX_NAME - 1..]).is_ok(), "{topic}");
        }
        assert_eq!(KafkaTopics::new(Name::new("fettle").unwrap()).alerts(), "fettle.alerts");
    }

    #[test]
    fn keys_keep_an_assets_history_together() {
        assert_eq!(asset_key("s", "a"), "s/a");
        assert_eq!(ledger_key("s", "g", "a"), "s/g/a");
        assert_eq!(command_key("s", "g"), "s/g");
    }
}
