//! The embedded Kafka: librdkafka's mock cluster with the fleet's topics. It lives as long as [`Embedded`].
//!
//! Groups, transactions and read_committed work; there is no admin interface, so topics are made here and not by
//! `fettle-gateway topics apply`.

use fettle_wire::Name;
use fettle_wire::topic::KafkaTopics;
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// Partitions of each topic.
const PARTITIONS: i32 = 2;

/// A running mock cluster.
pub(crate) struct Embedded {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Embedded {
    /// Starts it with the topics of the fleet `prefix`.
    pub(crate) fn start(prefix: Name) -> Result<Self, KafkaError> {
        let cluster = MockCluster::new(1)?;
        let topics = KafkaTopics::new(prefix);
        let of_agents = [topics.alerts(), topics.health(), topics.ledger(), topics.evidence()];
        for topic in of_agents.into_iter().chain([topics.commands(), topics.fleet()]) {
            cluster.create_topic(&topic, PARTITIONS, 1)?;
        }
        Ok(Self { cluster })
    }

    /// `host:port` of its brokers.
    pub(crate) fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}
