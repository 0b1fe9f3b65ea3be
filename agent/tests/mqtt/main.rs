//! Claims about the MQTT session, against a real mosquitto, a link that can be cut, and a broker that respects no limit.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod broker;
mod cost;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker::{Mosquitto, PATIENCE, Publisher, Running, config, encode, free_port, wait_until_retained};
use fettle_agent::acquire::FromBroker;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Runs a test on a runtime like the agent's.
fn on_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE * 2, test).await.expect("the test took too long") });
}

/// Publishes away from the runtime, because it blocks.
async fn publish(port: u16, topic: &str, payloads: Vec<Vec<u8>>) {
    let topic = topic.to_owned();
    let publishing = tokio::task::spawn_blocking(move || {
        let mut publisher = Publisher::connect(port);
        payloads.iter().for_each(|payload| publisher.publish(&topic, payload));
        publisher.wait();
    });
    publishing.await.unwrap();
}

fn numbers(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range.map(|n| n.to_string().into_bytes()).collect()
}

/// A way to a broker that can be cut: the watch's value says how often it was.
async fn cuttable(port: u16) -> (u16, watch::Sender<u32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = listener.local_addr().unwrap().port();
    let (cut, cuts) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut cuts = cuts.clone();
            cuts.mark_unchanged();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    _ = cuts.changed() => {}
                }
            });
        }
    });
    (way, cut)
}

fn is_disconnected(event: &FromBroker) -> bool {
    matches!(event, FromBroker::Disconnected { .. })
}

#[test]
fn after_kill_9_of_a_broker_without_persistence_the_loss_is_told_and_later_frames_flow() {
    let Some(first) = Mosquitto::start() else { return };
    on_runtime(async {
        let mut session = Running::start(config(first.port), &["t/+"], 16);
        assert_eq!(session.event().await, FromBroker::Connected { session_present: false });
        session.wait_until_done(first.port).await;
        publish(first.port, "t/a", numbers(0..3)).await;
        let mut old = Vec::new();
        for _ in 0..3 {
            old.push(session.message().await.ticket);
        }
        let port = first.kill();
        assert!(is_disconnected(&session.event().await));
        session.publish("confirm/a", "kept over the fall");
        let second = Mosquitto::start_at(port).unwrap();
        assert_eq!(session.event().await, FromBroker::SessionLost);
        assert_eq!(session.event().await, FromBroker::Connected { session_present: false });
        session.wait_until_done(port).await;
        // Acknowledging what the old connection brought must touch nothing of the new one.
        session.acknowledge(&old);
        publish(port, "t/a", numbers(0..500)).await;
        for n in 0..500 {
            let message = session.message().await;
            assert_eq!((&message.payload[..], message.redelivered), (n.to_string().as_bytes(), false));
            session.acknowledge(&[message.ticket]);
        }
        wait_until_retained(port, "confirm/a", "kept over the fall").await;
        session.stop().await;
        drop(second);
    });
}

#[test]
fn what_is_not_acknowledged_comes_again_with_new_tickets_and_old_tickets_are_void() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    on_runtime(async {
        let (way, cut) = cuttable(mosquitto.port).await;
        let mut session = Running::start(config(way), &["t/+"], 16);
        session.event().await;
        session.wait_until_done(mosquitto.port).await;
        publish(mosquitto.port, "t/a", numbers(0..10)).await;
        let mut tickets = Vec::new();
        for _ in 0..10 {
            tickets.push(session.message().await.ticket);
        }
        session.acknowledge(&tickets[..4]);
        session.wait_until_done(mosquitto.port).await;
        cut.send_modify(|cuts| *cuts += 1);
        assert!(is_disconnected(&session.event().await));
        assert_eq!(session.event().await, FromBroker::Connected { session_present: true });
        let mut again = Vec::new();
        for n in 4..10 {
            let message = session.message().await;
            assert_eq!((&message.payload[..], message.redelivered), (n.to_string().as_bytes(), true));
            assert!(message.ticket > tickets[9]);
            again.push(message.ticket);
        }
        // Void: were they not, the broker would take them for the messages that have these packet ids now.
        session.acknowledge(&tickets[4..]);
        session.wait_until_done(mosquitto.port).await;
        cut.send_modify(|cuts| *cuts += 1);
        assert!(is_disconnected(&session.event().await));
        assert_eq!(session.event().await, FromBroker::Connected { session_present: true });
        for n in 4..10 {
            let message = session.message().await;
            assert_eq!(&message.payload[..], n.to_string().as_bytes());
            session.acknowledge(&[message.ticket]);
        }
        session.stop().await;
    });
}

#[test]
fn acknowledgements_that_lie_ready_are_sent_before_a_stop_and_nothing_comes_twice() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    on_runtime(async {
        let mut session = Running::start(config(mosquitto.port), &["t/+"], 16);
        session.event().await;
        session.wait_until_done(mosquitto.port).await;
        publish(mosquitto.port, "t/a", numbers(0..100)).await;
        for _ in 0..100 {
            let message = session.message().await;
            session.acknowledge(&[message.ticket]);
        }
        session.stop().await;
        publish(mosquitto.port, "t/a", numbers(100..101)).await;
        let mut session = Running::start(config(mosquitto.port), &["t/+"], 16);
        assert_eq!(session.event().await, FromBroker::Connected { session_present: true });
        let message = session.message().await;
        assert_eq!((&message.payload[..], message.redelivered), (&b"100"[..], false));
        session.stop().await;
    });
}

#[test]
fn mosquitto_keeps_oversize_messages_to_itself_and_later_frames_flow_on_the_same_connection() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    on_runtime(async {
        let mut session = Running::start(config(mosquitto.port), &["t/+"], 16);
        session.event().await;
        session.wait_until_done(mosquitto.port).await;
        let payloads = vec![vec![b'x'; 300 << 10], vec![b'x'; 10 << 20], b"small".to_vec(), vec![b'y'; 256 << 10]];
        publish(mosquitto.port, "t/a", payloads).await;
        // No Disconnected in between: `message` would fail on it.
        assert_eq!(&session.message().await.payload[..], b"small");
        assert_eq!(session.message().await.payload.len(), 256 << 10);
        session.stop().await;
    });
}

#[test]
fn a_broker_that_ignores_the_announced_limit_is_read_over_and_its_messages_are_told() {
    on_runtime(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let (acknowledged, mut told) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let mut buffer = [0; 4096];
                let _connect = stream.read(&mut buffer).await.unwrap();
                stream.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
                for (id, size) in [(1u16, 300 << 10), (2, 10 << 20), (3, 5)] {
                    // As MQTT 5: a byte of properties before the payload.
                    let mut payload = vec![b'x'; size + 1];
                    payload[0] = 0;
                    stream.write_all(&encode("t/a", &payload, id)).await.unwrap();
                }
                while let Ok(read) = stream.read(&mut buffer).await {
                    if read == 0 {
                        break;
                    }
                    acknowledged.send(buffer[..read].to_vec()).unwrap();
                }
            }
        });
        let mut session = Running::start(config(port), &["t/+"], 16);
        session.event().await;
        for expected in [Some(300 << 10), Some(10 << 20), None] {
            let message = session.message().await;
            assert_eq!(message.topic, "t/a");
            assert_eq!(message.oversize.map(|size| size >> 10), expected.map(|size: usize| size >> 10));
            assert_eq!(message.payload.len(), if expected.is_some() { 0 } else { 5 });
            session.acknowledge(&[message.ticket]);
        }
        let mut bytes = Vec::new();
        while ![[0x40, 2, 0, 1], [0x40, 2, 0, 2], [0x40, 2, 0, 3]].iter().all(|ack| bytes.windows(4).any(|w| w == ack))
        {
            bytes.extend(told.recv().await.unwrap());
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1);
        session.stop().await;
    });
}

#[test]
fn without_a_broker_the_session_waits_and_keeps_only_the_latest_confirmation_of_each_topic() {
    let port = free_port();
    on_runtime(async {
        let mut session = Running::start(config(port), &["t/+"], 16);
        let FromBroker::Disconnected { reason } = session.event().await else { panic!("connected to nothing") };
        assert!(reason.contains("cannot connect"), "{reason}");
        for n in 0..1000 {
            session.publish("confirm/a", &n.to_string());
            session.publish("confirm/b", &n.to_string());
        }
        let Some(mosquitto) = Mosquitto::start_at(port) else { return };
        assert_eq!(session.event().await, FromBroker::Connected { session_present: false });
        session.wait_until_done(port).await;
        // In order of topics' first publication: had older ones been kept, they would come after.
        wait_until_retained(port, "confirm/a", "999").await;
        wait_until_retained(port, "confirm/b", "999").await;
        session.stop().await;
        drop(mosquitto);
    });
}

#[test]
fn a_core_that_takes_nothing_holds_the_broker_back_and_then_gets_everything_in_order() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    on_runtime(async {
        let small = fettle_agent::config::checked::MqttConfig { receive_maximum: 100, ..config(mosquitto.port) };
        let mut session = Running::start(small, &["t/+"], 1);
        session.event().await;
        session.wait_until_done(mosquitto.port).await;
        publish(mosquitto.port, "t/a", numbers(0..20_000)).await;
        let mut last = 0;
        for n in 0..20_000 {
            let message = session.message().await;
            assert_eq!(&message.payload[..], n.to_string().as_bytes());
            assert!(message.ticket > last);
            last = message.ticket;
            session.acknowledge(&[last]);
        }
        session.stop().await;
    });
}

#[test]
fn a_refused_login_is_told_with_its_remedy() {
    on_runtime(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 4096];
                let _connect = stream.read(&mut buffer).await.unwrap();
                stream.write_all(&[0x20, 3, 0, 0x86, 0]).await.unwrap();
            }
        });
        let mut session = Running::start(config(port), &["t/+"], 16);
        let FromBroker::Disconnected { reason } = session.event().await else { panic!("connected") };
        assert!(reason.contains("password_file"), "{reason}");
        session.stop().await;
    });
}

#[test]
fn a_publication_that_a_broker_took_without_acknowledging_is_sent_again() {
    on_runtime(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut session = Running::start(config(port), &["t/+"], 16);
        session.publish("confirm/a", "how far");
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0);
            stream.write_all(&[0x20, 3, 1, 0, 0]).await.unwrap();
            // The connection ends as soon as the publication is there.
            while !bytes.windows(7).any(|part: &[u8]| part == b"how far") {
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(read > 0, "the publication did not come");
                bytes.extend_from_slice(&buffer[..read]);
            }
        }
        assert_eq!(session.event().await, FromBroker::Connected { session_present: true });
        session.stop().await;
    });
}
