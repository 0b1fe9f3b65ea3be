//! The reference: a bare rumqttc subscriber with manual acknowledgements, in a process of its own.
//!
//! It does what every such subscriber must: takes each message from rumqttc's event loop and acknowledges it. It decodes
//! nothing and keeps nothing. The benchmark's own executable runs as it ([`be`]) and is started by [`Bare::start`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
use serde::{Deserialize, Serialize};
use testbed::process::{Process, Spec};
use testbed::{Folder, eventually};

use crate::clock::now;
use crate::frames::Packets;
use crate::proc;

/// The site whose frames it takes.
pub(crate) const SITE: &str = "bare";
/// The same window as the agent's.
const RECEIVE_MAXIMUM: u16 = 8_192;
/// A message below this asset ends it.
const LAST: &str = "last";
const READY: &str = "subscribed";

/// What it reports at its end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Messages taken.
    pub(crate) messages: u64,
    /// Processor time from the first of them until the last is acknowledged, us.
    pub(crate) cpu_us: f64,
    /// Wall time between them, s.
    pub(crate) seconds: f64,
}

impl Report {
    /// us of processor time a message.
    pub(crate) fn each(&self) -> f64 {
        self.cpu_us / self.messages as f64
    }

    /// Messages a second of wall time.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }
}

/// The message that ends it.
pub(crate) fn last(packets: &mut Packets) {
    packets.add(&fettle_wire::topic::readings(SITE, LAST), b"");
}

/// Its process.
pub(crate) struct Bare {
    process: Process,
}

impl Bare {
    /// Starts it as a subscriber of whoever listens on `port`.
    pub(crate) fn start(folder: &Folder, port: u16) -> Self {
        let program = std::env::current_exe().expect("the system tells the path of the running executable");
        static STARTED: AtomicU32 = AtomicU32::new(0);
        // A log of its own: an earlier one says "subscribed" already.
        let name = format!("bare-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let process = Spec::new(&name, program, folder.path()).args(["--bare-port", &port.to_string()]).start();
        Self { process }
    }

    /// Waits until its subscription stands.
    pub(crate) fn await_subscribed(&mut self) {
        eventually("the bare subscriber has subscribed", Duration::from_secs(20), || {
            self.process.assert_running();
            if self.process.log().contains(READY) { Ok(()) } else { Err(self.process.log_end()) }
        });
    }

    /// Waits until it has seen the last message.
    pub(crate) fn finish(mut self) -> Report {
        let status = self.process.wait(Duration::from_secs(120));
        assert!(status.success(), "the bare subscriber ended with {status}:\n{}", self.process.log_end());
        let log = self.process.log();
        let line = log.lines().rfind(|line| line.starts_with('{')).expect("it reports before it ends");
        serde_json::from_str(line).expect("it reports JSON")
    }
}

/// Is the bare subscriber until the last message has come.
pub(crate) fn be(port: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio starts");
    let report = runtime.block_on(subscribe(port));
    println!("{}", serde_json::to_string(&report).expect("finite numbers are JSON"));
}

async fn subscribe(port: u16) -> Report {
    let mut options = MqttOptions::new("bare", "127.0.0.1", port);
    options.set_manual_acks(true).set_clean_start(true).set_receive_maximum(Some(RECEIVE_MAXIMUM));
    options.set_max_packet_size(Some(1 << 20)).set_keep_alive(Duration::from_secs(60));
    let (client, mut events) = AsyncClient::new(options, 1 << 17);
    client.try_subscribe(format!("fettle/1/{SITE}/+"), QoS::AtLeastOnce).expect("the queue is empty");
    let mut first = None;
    let (mut messages, mut acknowledged, mut last) = (0, 0, None);
    loop {
        match events.poll().await.expect("the connection holds") {
            Event::Incoming(Incoming::SubAck(_)) => println!("{READY}"),
            Event::Incoming(Incoming::Publish(publish)) => {
                let (began, cpu) = *first.get_or_insert_with(|| (now(), proc::cpu(std::process::id())));
                client.try_ack(&publish).expect("the queue holds more than the window");
                messages += 1;
                last = publish.topic.ends_with(LAST.as_bytes()).then_some((began, cpu));
            }
            Event::Outgoing(Outgoing::PubAck(_)) => acknowledged += 1,
            _ => {}
        }
        if let Some((began, cpu)) = last.filter(|_| acknowledged == messages) {
            let spent = proc::cpu(std::process::id()) - cpu;
            let seconds = began.elapsed().as_secs_f64();
            return Report { messages, cpu_us: spent.as_secs_f64() * 1e6, seconds };
        }
    }
}
