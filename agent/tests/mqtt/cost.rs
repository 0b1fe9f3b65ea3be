//! What a message costs: processor time of the session beside a bare rumqttc subscriber with manual acknowledgements, in one
//! run on one broker; and how long a single message takes. `cargo test -p fettle-agent --test mqtt -- --ignored --nocapture cost` prints it.

use std::time::Duration;

use fettle_agent::acquire::{FromBroker, ToBroker, session};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::broker::{Mosquitto, Publisher, Running, config, wait_until_retained};

const MESSAGES: usize = 60_000;
const PAYLOAD: usize = 200;

/// Nanoseconds that this thread has run.
fn processor_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn on_thread(run: impl Future<Output = u64> + Send + 'static) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run)
    })
}

/// A bare subscriber: nanoseconds a message.
async fn bare(id: String, port: u16, nodelay: bool, ready: mpsc::UnboundedSender<()>) -> u64 {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    options.set_clean_start(false).set_session_expiry_interval(Some(3600)).set_receive_maximum(Some(8192));
    options.set_max_packet_size(Some(300_000)).set_manual_acks(true);
    let mut network = options.network_options();
    network.set_tcp_nodelay(nodelay);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::new(options, 20_000);
    client.subscribe("t/+", QoS::AtLeastOnce).await.unwrap();
    let (mut seen, mut before) = (0, 0);
    while seen < MESSAGES {
        match events.poll().await.unwrap() {
            Event::Incoming(Packet::SubAck(_)) => {
                ready.send(()).unwrap();
                before = processor_time();
            }
            Event::Incoming(Packet::Publish(publish)) => {
                seen += 1;
                client.try_ack(&publish).unwrap();
            }
            _ => {}
        }
    }
    (processor_time() - before) / MESSAGES as u64
}

/// The session with a core that acknowledges at once: nanoseconds a message, both together.
async fn ours(id: String, port: u16, nodelay: bool, ready: mpsc::UnboundedSender<()>) -> u64 {
    let config =
        fettle_agent::config::checked::MqttConfig { tcp_nodelay: nodelay, client_id: id.clone(), ..config(port) };
    let (inbound, mut events) = mpsc::channel(16);
    let (orders, outbound) = mpsc::unbounded_channel();
    let (_stop, stopped) = watch::channel(false);
    let session = session::run(config, vec!["t/+".into()], inbound, outbound, stopped);
    let core = async {
        let (mut seen, mut batches, mut before) = (0, 0, 0);
        while seen < MESSAGES {
            match events.recv().await.unwrap() {
                FromBroker::Connected { .. } => {
                    orders
                        .send(ToBroker::Publish { topic: id.clone(), payload: b"ready".to_vec(), retain: true })
                        .unwrap();
                    let (ready, id) = (ready.clone(), id.clone());
                    tokio::spawn(async move {
                        wait_until_retained(port, &id, "ready").await;
                        ready.send(()).unwrap();
                    });
                    before = processor_time();
                }
                FromBroker::Messages(messages) => {
                    seen += messages.len();
                    batches += 1;
                    orders.send(ToBroker::Acknowledge(messages.iter().map(|m| m.ticket).collect())).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        let cost = (processor_time() - before) / MESSAGES as u64;
        println!("    {} messages a batch", MESSAGES / batches);
        cost
    };
    tokio::select! {
        cost = core => cost,
        ended = session => panic!("{ended:?}"),
    }
}

/// Publishes at `rate` a second, or as fast as the broker takes it.
fn feed(port: u16, rate: Option<usize>) {
    let mut publisher = Publisher::connect(port);
    let payload = vec![b'x'; PAYLOAD];
    let step = rate.map_or(500, |rate| rate / 500);
    for from in (0..MESSAGES).step_by(step) {
        for _ in from..(from + step).min(MESSAGES) {
            publisher.publish("t/a", &payload);
        }
        match rate {
            Some(_) => std::thread::sleep(Duration::from_millis(2)),
            None => publisher.wait(),
        }
    }
    publisher.wait();
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_message_beside_a_bare_subscriber() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    let port = mosquitto.port;
    for rate in [None, Some(20_000), Some(2_000)] {
        for nodelay in [false, true] {
            let (ready, mut told) = mpsc::unbounded_channel();
            let thread = on_thread(bare(format!("bare-{rate:?}-{nodelay}"), port, nodelay, ready));
            told.blocking_recv().unwrap();
            feed(port, rate);
            let theirs = thread.join().unwrap();
            let (ready, mut told) = mpsc::unbounded_channel();
            let thread = on_thread(ours(format!("ours-{rate:?}-{nodelay}"), port, nodelay, ready));
            told.blocking_recv().unwrap();
            feed(port, rate);
            let ours = thread.join().unwrap();
            println!("rate {rate:?}/s, tcp_nodelay {nodelay}: bare {theirs} ns, session {ours} ns a message");
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn cost_in_time_of_a_single_message() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut session = Running::start(config(mosquitto.port), &["t/+"], 16);
        session.event().await;
        session.wait_until_done(mosquitto.port).await;
        let mut publisher = Publisher::connect(mosquitto.port);
        let mut all = Vec::new();
        for _ in 0..400 {
            let since = Instant::now();
            publisher.publish("t/a", b"23.4");
            let message = session.message().await;
            all.push(since.elapsed().as_micros());
            // Acknowledged as after a commit: later, while other messages come.
            let orders = session.orders.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(30)).await;
                let _ = orders.send(ToBroker::Acknowledge(vec![message.ticket]));
            });
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        all.sort_unstable();
        println!("published -> handed over: p50 {} us, p90 {} us, p99 {} us", all[200], all[360], all[396]);
        session.stop().await;
    });
}
