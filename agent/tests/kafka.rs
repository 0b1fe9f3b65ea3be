//! Claims about the uplink, against librdkafka's mock cluster; the last ones against a real Kafka where `FETTLE_KAFKA` names
//! one (`host:port`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use fettle_agent::config::checked::{KafkaConfig, Mechanism};
use fettle_agent::uplink::producer::Report;
use fettle_agent::uplink::{FromKafka, Inbox, Outgoing, Producer};
use fettle_wire::{Lane, Name};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

/// A test that waits longer than this for one report has failed.
const PATIENCE: Duration = Duration::from_secs(60);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn config(brokers: &str, prefix: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: brokers.into(),
        prefix: Name::new(prefix).unwrap(),
        username: None,
        password: None,
        mechanism: Mechanism::Plain,
        tls: None,
    }
}

fn reports() -> (Report, Receiver<FromKafka>) {
    let (sender, receiver) = channel();
    (Arc::new(move |report| drop(sender.send(report))), receiver)
}

fn record(lane: Lane, sequence: u64) -> Outgoing {
    let key = format!("plant/asset-{}", sequence % 7);
    Outgoing { lane, sequence, topic: topic(lane), key, payload: format!("{sequence}").into_bytes() }
}

fn topic(lane: Lane) -> String {
    format!("fettle.{lane:?}").to_lowercase()
}

/// Sends, waiting while the lane is full or held; reports that come meanwhile are kept.
fn send(producer: &Producer, mut record: Outgoing, reports: &Receiver<FromKafka>, kept: &mut Vec<FromKafka>) {
    while let Err(back) = producer.send(record) {
        record = back;
        match reports.recv_timeout(Duration::from_millis(20)) {
            Ok(report) => kept.push(report),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("the producer is gone"),
        }
    }
}

/// Reports until `enough`; connection changes are left out.
fn collect(reports: &Receiver<FromKafka>, mut kept: Vec<FromKafka>, enough: usize) -> Vec<FromKafka> {
    kept.retain(|report| !matches!(report, FromKafka::Connected(_)));
    while kept.len() < enough {
        match reports.recv_timeout(PATIENCE).expect("no further report") {
            FromKafka::Connected(_) => {}
            report => kept.push(report),
        }
    }
    kept
}

fn delivered(reports: &[FromKafka], lane: Lane) -> Vec<u64> {
    let sequence = |report: &FromKafka| match report {
        FromKafka::Delivered { lane: of, sequence } if *of == lane => Some(*sequence),
        _ => None,
    };
    reports.iter().filter_map(sequence).collect()
}

/// Everything in a topic: (partition, key, value) in the order of each partition.
fn read(brokers: &str, topic: &str, enough: usize) -> Vec<(i32, String, String)> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers).set("group.id", "judge").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    let mut all = Vec::new();
    // After the last expected one, a moment for one too many.
    while let Some(one) = consumer.poll(if all.len() < enough { PATIENCE } else { Duration::from_millis(700) }) {
        let one = one.unwrap();
        all.push((one.partition(), text(one.key()), text(one.payload())));
    }
    all
}

/// That each key's records are in rising order without repetition, and all `count` are there.
fn assert_once_in_order(all: &[(i32, String, String)], count: u64) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, key, value) in all {
        let sequence: u64 = value.parse().unwrap();
        let before = last.insert(key, sequence);
        assert!(before.is_none_or(|before| before < sequence), "{key}: {sequence} after {before:?}");
    }
    assert_eq!(all.len() as u64, count);
}

#[test]
fn every_record_is_reported_once_and_stands_in_kafka_in_the_order_of_its_lane() {
    let cluster = Cluster::new(1).unwrap();
    Lane::ALL.iter().for_each(|lane| cluster.create_topic(&topic(*lane), 3, 1).unwrap());
    let (report, told) = reports();
    let producer = Producer::new(&config(&cluster.bootstrap_servers(), "fettle"), report).unwrap();
    let mut kept = Vec::new();
    for sequence in 0..3_000 {
        for lane in Lane::ALL {
            send(&producer, record(lane, sequence), &told, &mut kept);
        }
    }
    let all = collect(&told, kept, 3_000 * Lane::ALL.len());
    for lane in Lane::ALL {
        let mut sequences = delivered(&all, lane);
        sequences.sort_unstable();
        assert!(sequences.into_iter().eq(0..3_000), "{lane:?}");
        assert_once_in_order(&read(&cluster.bootstrap_servers(), &topic(lane), 3_000), 3_000);
    }
    assert!(producer.flush(PATIENCE));
    assert_eq!(producer.under_way(), 0);
}

#[test]
fn the_partition_of_a_key_is_the_one_that_java_computes() {
    // Apache Kafka, clients, UtilsTest.testMurmur2: "foobar" -790332482, "21" -973932308, the third -985981536.
    let cases = [("foobar", 6), ("21", 0), ("a-little-bit-long-string", 2)];
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("fettle.health", 10, 1).unwrap();
    let (report, told) = reports();
    let producer = Producer::new(&config(&cluster.bootstrap_servers(), "fettle"), report).unwrap();
    for (sequence, (key, _)) in (0..).zip(cases) {
        let record = Outgoing { key: key.into(), ..record(Lane::Health, sequence) };
        send(&producer, record, &told, &mut Vec::new());
    }
    let mut found: Vec<_> =
        read(&cluster.bootstrap_servers(), "fettle.health", 3).into_iter().map(|r| (r.1, r.0)).collect();
    found.sort();
    let mut expected = cases.map(|(key, partition)| (key.to_owned(), partition));
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn kafka_away_at_the_start_and_again_in_the_middle_costs_neither_a_record_nor_the_order() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("fettle.health", 3, 1).unwrap();
    cluster.broker_down(-1).unwrap();
    let (report, told) = reports();
    let producer = Producer::new(&config(&cluster.bootstrap_servers(), "fettle"), report).unwrap();
    let mut kept = Vec::new();
    for sequence in 0..500 {
        send(&producer, record(Lane::Health, sequence), &told, &mut kept);
    }
    assert!(!producer.flush(Duration::from_secs(3)), "delivered to nobody");
    cluster.broker_up(-1).unwrap();
    for sequence in 500..4_000 {
        if sequence % 1_000 == 0 {
            // Some under way, and room for those that come while it is away.
            while producer.under_way() > 300 {
                kept.push(told.recv_timeout(PATIENCE).unwrap());
            }
            cluster.broker_down(-1).unwrap();
        } else if sequence % 1_000 == 400 {
            // Until nothing more comes of the broker that is away.
            while let Ok(report) = told.recv_timeout(Duration::from_millis(500)) {
                kept.push(report);
            }
            cluster.broker_up(-1).unwrap();
        }
        send(&producer, record(Lane::Health, sequence), &told, &mut kept);
    }
    let all = collect(&told, kept, 4_000);
    assert_eq!(delivered(&all, Lane::Health).len(), 4_000, "nothing failed");
    assert_once_in_order(&read(&cluster.bootstrap_servers(), "fettle.health", 4_000), 4_000);
}

#[test]
fn while_kafka_is_away_a_full_lane_leaves_room_for_alerts() {
    let cluster = Cluster::new(1).unwrap();
    cluster.broker_down(-1).unwrap();
    let (report, _told) = reports();
    let producer = Producer::new(&config(&cluster.bootstrap_servers(), "fettle"), report).unwrap();
    let taken = (0..).take_while(|sequence| producer.send(record(Lane::Health, *sequence)).is_ok()).count();
    assert!((100..10_000).contains(&taken), "{taken}");
    producer.send(record(Lane::Alerts, 0)).unwrap();
    assert_eq!(producer.under_way(), taken + 1);
}

#[test]
fn after_a_fatal_error_all_under_way_fail_once_and_the_new_producer_delivers_them() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("fettle.alerts", 1, 1).unwrap();
    let (report, told) = reports();
    let producer = Producer::new(&config(&cluster.bootstrap_servers(), "fettle"), report).unwrap();
    send(&producer, record(Lane::Alerts, 0), &told, &mut Vec::new());
    assert_eq!(delivered(&collect(&told, Vec::new(), 1), Lane::Alerts), [0]);
    // A desynchronised sequence is what an idempotent producer cannot repair.
    cluster
        .request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER; 3]);
    let mut kept = Vec::new();
    for sequence in 1..50 {
        send(&producer, record(Lane::Alerts, sequence), &told, &mut kept);
    }
    let first = collect(&told, kept, 49);
    let mut failed: Vec<u64> = Vec::new();
    for report in &first {
        match report {
            FromKafka::Failed { lane: Lane::Alerts, sequence, fatal: false, .. } => failed.push(*sequence),
            FromKafka::Delivered { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(!failed.is_empty(), "the error did not show");
    failed.sort_unstable();
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    let (mut kept, expected) = (Vec::new(), failed.len());
    for sequence in failed.clone() {
        send(&producer, record(Lane::Alerts, sequence), &told, &mut kept);
    }
    let mut second = delivered(&collect(&told, kept, expected), Lane::Alerts);
    second.sort_unstable();
    assert_eq!(second, failed);
}

#[test]
fn a_record_that_kafka_can_never_take_fails_for_good_and_its_lane_goes_on() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("fettle.ledger", 1, 1).unwrap();
    let (report, told) = reports();
    let producer = Producer::new(&config(&cluster.bootstrap_servers(), "fettle"), report).unwrap();
    let large = Outgoing { payload: vec![b'x'; 2 << 20], ..record(Lane::Ledger, 0) };
    let mut kept = Vec::new();
    send(&producer, large, &told, &mut kept);
    send(&producer, record(Lane::Ledger, 1), &told, &mut kept);
    let all = collect(&told, kept, 2);
    assert!(matches!(&all[0], FromKafka::Failed { sequence: 0, fatal: true, .. }), "{all:?}");
    assert_eq!(delivered(&all, Lane::Ledger), [1]);
}

#[test]
fn what_is_under_way_at_a_stop_is_reported_failed() {
    let cluster = Cluster::new(1).unwrap();
    cluster.broker_down(-1).unwrap();
    let (report, told) = reports();
    let producer = Producer::new(&config(&cluster.bootstrap_servers(), "fettle"), report).unwrap();
    (0..10).for_each(|sequence| producer.send(record(Lane::Alerts, sequence)).unwrap());
    drop(producer);
    let failed = |report: &FromKafka| matches!(report, FromKafka::Failed { fatal: false, .. });
    assert_eq!(told.try_iter().filter(failed).count(), 10);
}

/// Commands to two agents, in turn, into one partition.
fn produce_commands(brokers: &str, topic: &str, range: std::ops::Range<u32>) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for n in range {
        let key = if n % 2 == 0 { "plant/gw-1" } else { "plant/gw-2" };
        let payload = n.to_string();
        producer.send(BaseRecord::to(topic).partition(0).key(key).payload(&payload)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Commands and progress until offset `last` of partition 0 is told.
fn commands(told: &Receiver<FromKafka>, last: i64) -> (Vec<(i64, String)>, Vec<i64>) {
    let (mut commands, mut progress) = (Vec::new(), Vec::new());
    loop {
        let reached = match told.recv_timeout(PATIENCE).expect("no further command") {
            FromKafka::Command { partition: 0, offset, payload } => {
                commands.push((offset, String::from_utf8(payload).unwrap()));
                offset
            }
            FromKafka::Progress { partition: 0, offset } => {
                progress.push(offset);
                offset
            }
            other => panic!("{other:?}"),
        };
        if reached == last {
            return (commands, progress);
        }
    }
}

#[test]
fn commands_for_this_agent_come_from_the_stored_offset_on_and_the_offset_of_others_is_told() {
    let cluster = Cluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("fettle.commands", 2, 1).unwrap();
    produce_commands(&brokers, "fettle.commands", 0..10);
    let (report, told) = reports();
    let inbox = Inbox::new(&config(&brokers, "fettle"), "plant/gw-1".into(), BTreeMap::from([(0, 4)]), report).unwrap();
    let (found, progress) = commands(&told, 9);
    assert_eq!(found, [(6, "6".into()), (8, "8".into())]);
    assert_eq!(progress, [9]);
    produce_commands(&brokers, "fettle.commands", 10..12);
    assert_eq!(commands(&told, 11).0, [(10, "10".into())]);
    drop(inbox);
    let (report, told) = reports();
    let _inbox = Inbox::new(&config(&brokers, "fettle"), "plant/gw-2".into(), BTreeMap::new(), report).unwrap();
    assert_eq!(commands(&told, 11).0.len(), 6, "nothing stored: from the beginning");
}

#[test]
fn the_topic_of_commands_may_come_later_and_kafka_too() {
    let cluster = Cluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.broker_down(-1).unwrap();
    let (report, told) = reports();
    let _inbox = Inbox::new(&config(&brokers, "fettle"), "plant/gw-1".into(), BTreeMap::new(), report).unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(3)), Err(RecvTimeoutError::Timeout));
    cluster.broker_up(-1).unwrap();
    cluster.create_topic("fettle.commands", 1, 1).unwrap();
    produce_commands(&brokers, "fettle.commands", 0..1);
    assert_eq!(commands(&told, 0).0, [(0, "0".into())]);
}

#[test]
fn a_real_kafka_takes_records_once_in_order_and_brings_commands() {
    let Ok(brokers) = std::env::var("FETTLE_KAFKA") else {
        eprintln!("SKIPPED: FETTLE_KAFKA names no Kafka");
        return;
    };
    // Names of its own for each run, so that a cluster can be used twice.
    let prefix = format!("uplink-{}", std::process::id());
    let topic = format!("{prefix}.health");
    let (report, told) = reports();
    let producer = Producer::new(&config(&brokers, &prefix), report).unwrap();
    let mut kept = Vec::new();
    for sequence in 0..5_000 {
        let record = Outgoing { topic: topic.clone(), ..record(Lane::Health, sequence) };
        send(&producer, record, &told, &mut kept);
    }
    let all = collect(&told, kept, 5_000);
    assert_eq!(delivered(&all, Lane::Health).len(), 5_000);
    assert_once_in_order(&read(&brokers, &topic, 5_000), 5_000);
    let topic = format!("{prefix}.commands");
    produce_commands(&brokers, &topic, 0..10);
    let (report, told) = reports();
    let _inbox = Inbox::new(&config(&brokers, &prefix), "plant/gw-1".into(), BTreeMap::from([(0, 4)]), report).unwrap();
    assert_eq!(commands(&told, 9).0, [(6, "6".into()), (8, "8".into())]);
}
