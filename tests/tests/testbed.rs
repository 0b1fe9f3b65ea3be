//! The testbed itself: the brokers really start, lose nothing that their configuration promises to keep, and come back
//! on the same address after kill -9.

use std::time::Duration;

use testbed::kafka::KafkaOptions;
use testbed::{Broker, Folder, Kafka, Policy, Tool, eventually, require};

#[test]
fn mosquitto_as_shipped_keeps_a_retained_message_over_a_restart() {
    if !require(&[Tool::Mosquitto, Tool::MosquittoClients]) {
        return;
    }
    let folder = Folder::new("selftest-mosquitto");
    let mut broker = Broker::start(&folder, Policy::Shipped);
    broker.publish("a/b", b"hello");
    broker.publish_retained("a/c", b"kept");
    broker.stop();
    broker.start_again();
    assert_eq!(broker.retained("a/c").as_deref(), Some(&b"kept"[..]));
    assert_eq!(broker.retained("a/b"), None);
    broker.kill();
    broker.start_again();
}

#[test]
fn the_shipped_broker_takes_no_message_above_the_largest_frame_and_a_permissive_one_does() {
    if !require(&[Tool::Mosquitto, Tool::MosquittoClients]) {
        return;
    }
    let large = vec![b'x'; 300 * 1024];
    for (policy, arrives) in [(Policy::Shipped, false), (Policy::Permissive, true)] {
        let folder = Folder::new("selftest-size");
        let broker = Broker::start(&folder, policy);
        broker.try_publish("large", &large, true);
        let kept = broker.retained("large").is_some_and(|message| message.len() >= large.len());
        assert_eq!(kept, arrives, "{policy:?}");
    }
}

#[test]
fn kafka_keeps_acknowledged_records_over_kill_9_and_answers_on_the_same_port() {
    if !require(&[Tool::Kafka, Tool::Kcat]) {
        return;
    }
    let folder = Folder::new("selftest-kafka");
    let mut kafka = Kafka::start(&folder, KafkaOptions { auto_create: true, port: None });
    kafka.produce("t", "k", r#"{"n":1}"#);
    let read = |kafka: &Kafka| {
        eventually("the record can be read", Duration::from_secs(30), || match kafka.read("t")?.as_slice() {
            [one] => Ok(one.clone()),
            other => Err(format!("{other:?}")),
        })
    };
    let before = read(&kafka);
    assert_eq!((before.key.as_str(), before.value.as_str()), ("k", r#"{"n":1}"#));
    kafka.kill();
    kafka.start_again();
    assert_eq!(read(&kafka), before);
    kafka.stop();
}
