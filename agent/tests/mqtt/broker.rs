//! What the MQTT tests share: a mosquitto of their own, a link that can be cut, a session with its channels, a publisher.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fettle_agent::acquire::session::{self, SessionError};
use fettle_agent::acquire::{FromBroker, Inbound, ToBroker};
use fettle_agent::config::checked::MqttConfig;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A test that waits longer than this has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A port of the loopback that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// mosquitto, configured as deploy/ ships it, without persistence.
pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    child: Child,
}

impl Mosquitto {
    /// `None`, said aloud, where mosquitto is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_at(free_port())
    }

    pub(crate) fn start_at(port: u16) -> Option<Self> {
        let Some(program) =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|p| Path::new(p).exists())
        else {
            eprintln!("SKIPPED: mosquitto is not installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n\
             max_queued_bytes 268435456\nmax_inflight_messages 0\n"
        );
        std::fs::write(&file, text).unwrap();
        let child = Command::new(program).arg("-c").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let mut broker = Self { port, folder, child };
        broker.wait_until_it_listens();
        Some(broker)
    }

    fn wait_until_it_listens(&mut self) {
        for _ in 0..3000 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "mosquitto ended; see {}", self.folder.path().display());
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("mosquitto does not listen on {}", self.port);
    }

    /// kill -9.
    pub(crate) fn kill(mut self) -> u16 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.port
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// A configuration for the broker at `port`.
pub(crate) fn config(port: u16) -> MqttConfig {
    MqttConfig {
        host: "127.0.0.1".into(),
        port,
        client_id: format!("fettle-test-{port}"),
        username: None,
        password: None,
        session_expiry: Duration::from_secs(3600),
        receive_maximum: 8192,
        max_packet: 300_000,
        tcp_nodelay: true,
        tls: None,
        foreign: Vec::new(),
    }
}

/// A running session and the core's ends of its channels.
pub(crate) struct Running {
    pub(crate) events: mpsc::Receiver<FromBroker>,
    pub(crate) orders: mpsc::UnboundedSender<ToBroker>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), SessionError>>,
    /// Messages that came and were not asked for yet.
    left: std::collections::VecDeque<Inbound>,
    marks: u32,
}

impl Running {
    pub(crate) fn start(config: MqttConfig, filters: &[&str], capacity: usize) -> Self {
        let (inbound, events) = mpsc::channel(capacity);
        let (orders, outbound) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let task = tokio::spawn(session::run(config, filters, inbound, outbound, stopped));
        Self { events, orders, stop, task, left: Default::default(), marks: 0 }
    }

    /// The next thing the session tells.
    pub(crate) async fn event(&mut self) -> FromBroker {
        assert!(self.left.is_empty(), "messages before the next event: {:?}", self.left);
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("the session tells nothing")
            .expect("it has ended")
    }

    /// The next message; any other event is a failure.
    pub(crate) async fn message(&mut self) -> Inbound {
        while self.left.is_empty() {
            match self.event().await {
                FromBroker::Messages(messages) => self.left.extend(messages),
                other => panic!("{other:?} instead of a message"),
            }
        }
        self.left.pop_front().unwrap()
    }

    pub(crate) fn acknowledge(&self, tickets: &[u64]) {
        self.orders.send(ToBroker::Acknowledge(tickets.to_vec())).unwrap();
    }

    pub(crate) fn publish(&self, topic: &str, payload: &str) {
        let order = ToBroker::Publish { topic: topic.into(), payload: payload.into(), retain: true };
        self.orders.send(order).unwrap();
    }

    /// Stops the session and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.stop.send(true).unwrap();
        self.events.close();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it does not stop").unwrap().unwrap();
    }

    /// Waits until the broker has done everything that was asked of it so far: its subscription, acknowledgements.
    /// A later publication proves it, because the broker works in order.
    pub(crate) async fn wait_until_done(&mut self, port: u16) {
        self.marks += 1;
        let (topic, mark) = (format!("mark/{port}"), self.marks.to_string());
        self.publish(&topic, &mark);
        wait_until_retained(port, &topic, &mark).await;
    }
}

/// Waits until the broker retains `payload` on `topic`.
pub(crate) async fn wait_until_retained(port: u16, topic: &str, payload: &str) {
    let (topic, payload) = (topic.to_owned(), payload.to_owned());
    let waiting = tokio::task::spawn_blocking(move || while retained(port, &topic) != payload.as_bytes() {});
    tokio::time::timeout(PATIENCE, waiting).await.expect("the broker does not retain it").unwrap();
}

/// What the broker retains on `topic`: waits for the first. Short topics and payloads only.
fn retained(port: u16, topic: &str) -> Vec<u8> {
    let mut stream = Publisher::connect(port).stream;
    let length = topic.len() as u8;
    stream.write_all(&[0x82, length + 5, 0, 1, 0, length]).unwrap();
    stream.write_all(topic.as_bytes()).unwrap();
    stream.write_all(&[0]).unwrap();
    let mut suback = [0; 5];
    stream.read_exact(&mut suback).unwrap();
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    let mut rest = vec![0; usize::from(head[1]) - 2];
    stream.read_exact(&mut rest).unwrap();
    rest.split_off(topic.len())
}

/// A publisher of MQTT 3.1.1 messages with QoS 1, byte by byte, so that nothing under test is also the judge.
pub(crate) struct Publisher {
    stream: TcpStream,
    sent: u32,
    acknowledged: u32,
}

impl Publisher {
    pub(crate) fn connect(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        // CONNECT, clean session, keep alive 0, empty client id.
        stream.write_all(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0]).unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0x20, 2, 0, 0]);
        Self { stream, sent: 0, acknowledged: 0 }
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.sent += 1;
        let id = ((self.sent - 1) % 65_535 + 1) as u16;
        self.stream.write_all(&encode(topic, payload, id)).unwrap();
    }

    /// Waits until the broker has acknowledged everything, and says how much it has refused by closing: never anything.
    pub(crate) fn wait(&mut self) {
        let mut acknowledgement = [0; 4];
        while self.acknowledged < self.sent {
            self.stream.read_exact(&mut acknowledgement).unwrap();
            assert_eq!(acknowledgement[0], 0x40);
            self.acknowledged += 1;
        }
    }
}

/// PUBLISH with QoS 1.
pub(crate) fn encode(topic: &str, payload: &[u8], id: u16) -> Vec<u8> {
    let mut remaining = 4 + topic.len() + payload.len();
    let mut bytes = vec![0x32];
    loop {
        let more = remaining >= 128;
        bytes.push((remaining % 128) as u8 | if more { 0x80 } else { 0 });
        remaining /= 128;
        if !more {
            break;
        }
    }
    bytes.extend((topic.len() as u16).to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    bytes
}
