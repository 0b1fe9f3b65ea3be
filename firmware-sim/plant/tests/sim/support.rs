//! What the tests of the sim need around it: a real mosquitto of their own, and a stand-in for the agent that keeps
//! frames in memory and confirms them as the contract says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fettle_sim::Config;
use fettle_wire::topic::Native;
use fettle_wire::{Durable, Frame};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

const MOSQUITTO: &str = "/usr/sbin/mosquitto";

/// A mosquitto on a port of its own, stopped when dropped.
pub(crate) struct Broker {
    pub(crate) port: u16,
    config: PathBuf,
    child: Option<Child>,
}

impl Broker {
    /// Makes a broker's configuration and starts it; `None`, said aloud, where mosquitto is not installed.
    pub(crate) fn start(folder: &Path, extra: &str) -> Option<Self> {
        let mut broker = Self::prepare(folder, extra)?;
        broker.up();
        Some(broker)
    }

    /// Like [`Self::start`], but leaves it down.
    pub(crate) fn prepare(folder: &Path, extra: &str) -> Option<Self> {
        if !Path::new(MOSQUITTO).exists() {
            eprintln!("SKIPPED: {MOSQUITTO} is not installed; install the Debian package mosquitto to run this test");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n{extra}\n"
        );
        std::fs::write(&config, text).unwrap();
        Some(Self { port, config, child: None })
    }

    pub(crate) fn up(&mut self) {
        let mut command = Command::new(MOSQUITTO);
        command.arg("-c").arg(&self.config).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        // A listening socket is the only sign mosquitto gives.
        for _ in 0..1_000 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("mosquitto does not listen on port {}", self.port);
    }

    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.down();
    }
}

type Boots = BTreeMap<(String, u64), Boot>;

/// What the stand-in knows of one boot.
#[derive(Debug, Default)]
pub(crate) struct Boot {
    /// Sequence to (channel, time, value).
    pub(crate) frames: BTreeMap<u64, Vec<(String, Option<i64>, f64)>>,
    /// Below it, what is not here is lost.
    pub(crate) oldest: u64,
    /// Settled below it.
    pub(crate) next: u64,
    /// Copies.
    pub(crate) duplicates: u64,
    /// Frames that came on the topic of waveforms, which also are in `frames`, without readings: time, rate, samples.
    pub(crate) waveforms: BTreeMap<u64, (Option<i64>, f64, usize)>,
}

/// A test double of the agent.
pub(crate) struct Agent {
    pub(crate) seen: Arc<Mutex<Boots>>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    /// Subscribes and confirms every 100 ms.
    pub(crate) fn start(port: u16, site: &str) -> Self {
        let seen = Arc::new(Mutex::new(Boots::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(port, site.to_owned(), Arc::clone(&seen), Arc::clone(&stop)));
        Self { seen, stop, task }
    }

    pub(crate) async fn stop(self) -> Boots {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        Arc::into_inner(self.seen).unwrap().into_inner().unwrap()
    }
}

async fn run(port: u16, site: String, seen: Arc<Mutex<Boots>>, stop: Arc<AtomicBool>) {
    let mut options = MqttOptions::new("stand-in", "127.0.0.1", port);
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(600));
    options.set_max_packet_size(Some(300_000));
    let (client, mut events) = AsyncClient::new(options, 10_000);
    let mut confirm = tokio::time::interval(Duration::from_millis(100));
    let mut connected = false;
    while !stop.load(Ordering::Relaxed) {
        let mut poll = std::pin::pin!(events.poll());
        let polled = loop {
            tokio::select! {
                polled = &mut poll => break polled,
                _ = confirm.tick() => {
                    if connected {
                        publish(&client, &site, &seen);
                    }
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        };
        match polled {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                connected = true;
                for filter in fettle_wire::topic::agent_filters(&fettle_wire::Name::new(&site).unwrap()) {
                    client.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                take(&site, &publish.topic, &publish.payload, &mut seen.lock().unwrap());
            }
            Ok(_) => {}
            Err(_) => {
                connected = false;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

fn take(site: &str, topic: &[u8], payload: &[u8], boots: &mut Boots) {
    let topic = std::str::from_utf8(topic).unwrap();
    let frame = Frame::decode(payload).unwrap();
    let asset = match fettle_wire::topic::parse(site, topic).unwrap() {
        Native::Readings { asset } => {
            assert!(frame.waveform.is_none());
            asset
        }
        Native::Waveform { asset, channel } => {
            assert_eq!(frame.channels, [channel]);
            asset
        }
        other => panic!("nobody subscribed to {other:?}"),
    };
    let boot = boots.entry((asset.to_owned(), frame.boot)).or_default();
    if let Some(waveform) = &frame.waveform {
        boot.waveforms.insert(frame.sequence, (frame.time, waveform.rate, waveform.samples.len() / 2));
    }
    let readings = frame.readings.iter();
    let readings = readings.map(|r| (frame.channels[usize::from(r.0)].to_owned(), frame.time.map(|t| t + r.1), r.2));
    if let Some(before) = boot.frames.insert(frame.sequence, readings.clone().collect()) {
        assert_eq!(before, readings.collect::<Vec<_>>(), "the same sequence carries the same readings");
        boot.duplicates += 1;
    }
    boot.oldest = boot.oldest.max(frame.oldest);
    while boot.next < boot.oldest || boot.frames.contains_key(&boot.next) {
        boot.next += 1;
    }
}

fn publish(client: &AsyncClient, site: &str, seen: &Mutex<Boots>) {
    let boots = seen.lock().unwrap();
    let mut assets: BTreeMap<&str, Durable> = BTreeMap::new();
    for ((asset, boot), state) in boots.iter() {
        let durable = assets.entry(asset).or_insert_with(|| Durable { version: 1, ..Durable::default() });
        durable.confirmed.push((*boot, state.next));
    }
    for (asset, durable) in assets {
        let topic = fettle_wire::topic::durable(site, asset);
        // A full queue is no harm: the next round says more.
        let _ = client.try_publish(topic, QoS::AtLeastOnce, true, durable.encode().unwrap());
    }
}

/// Reads a configuration; `extra` may override nothing, only add.
pub(crate) fn config(folder: &Path, port: u16, top: &str, tables: &str) -> Config {
    let text = format!("site = \"test\"\n{top}\n[mqtt]\nport = {port}\n{tables}");
    Config::parse(&text, folder).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// Every sequence below `next`, so that what is missing can be told.
pub(crate) fn missing(boot: &Boot, next: u64) -> BTreeSet<u64> {
    (0..next).filter(|s| !boot.frames.contains_key(s)).collect()
}
