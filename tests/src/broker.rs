//! The MQTT broker: a real mosquitto with the very configuration that `deploy/mosquitto/mosquitto.conf` ships.
//!
//! Only place is replaced (listener, folder, and the user where the tests run as root). If the shipped file loses one of
//! those lines, or gains a second, starting fails: the tests cannot drift away from what is deployed.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::clock::eventually;
use crate::folder::{Folder, repository};
use crate::ports::Port;
use crate::process::{Process, Spec};
use crate::tools::program;

/// How long mosquitto may take to listen or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// As shipped.
    Shipped,
    /// Without `message_size_limit`: a broker that was never given our file.
    Permissive,
}

/// A running mosquitto.
#[derive(Debug)]
pub struct Broker {
    process: Process,
    port: Port,
}

impl Broker {
    /// Starts a broker whose files lie in `folder`, and waits until it listens.
    pub fn start(folder: &Folder, policy: Policy) -> Self {
        let port = Port::reserve();
        let data = folder.subfolder("mosquitto");
        let shipped = shipped_configuration();
        let text =
            std::fs::read_to_string(&shipped).unwrap_or_else(|e| panic!("cannot read {}: {e}", shipped.display()));
        let configuration = folder.write("mosquitto.conf", configure(&text, &port, &data, policy));
        let process = Spec::new("mosquitto", program("mosquitto"), folder.path()).arg("-c").arg(configuration).start();
        let mut broker = Self { process, port };
        broker.await_ready();
        broker
    }

    fn await_ready(&mut self) {
        // mosquitto reads its persistent sessions before it listens.
        eventually("mosquitto listens", PATIENCE, || {
            self.process.assert_running();
            TcpStream::connect(("127.0.0.1", self.port.number())).map(|_| ()).map_err(|e| e.to_string())
        });
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The process behind it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it in good order.
    pub fn stop(&mut self) {
        self.process.stop(PATIENCE);
    }

    /// Starts it again on the same port and files.
    pub fn start_again(&mut self) {
        self.process.start_again();
        self.await_ready();
    }

    /// Publishes one message with `mosquitto_pub`, QoS 1, and returns once the broker has acknowledged it.
    pub fn publish(&self, topic: &str, payload: &[u8]) {
        let output = self.try_publish(topic, payload, false);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mosquitto_pub to {topic} failed ({}): {error}", output.status);
    }

    /// As [`Broker::publish`], and the broker keeps the message for later subscribers.
    pub fn publish_retained(&self, topic: &str, payload: &[u8]) {
        let output = self.try_publish(topic, payload, true);
        assert!(output.status.success(), "mosquitto_pub to {topic} failed ({})", output.status);
    }

    /// Publishes what the broker may refuse; the answer is `mosquitto_pub`'s.
    pub fn try_publish(&self, topic: &str, payload: &[u8], retain: bool) -> Output {
        let mut publisher = Command::new("timeout")
            .arg("60")
            .arg(program("mosquitto_pub"))
            .args(["-h", "127.0.0.1", "-p", &self.port().to_string(), "-q", "1", "-t", topic, "-s"])
            .args(retain.then_some("-r"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub was found by require()");
        let mut input = publisher.stdin.take().expect("standard input was asked for");
        input.write_all(payload).expect("mosquitto_pub reads its standard input to the end");
        drop(input);
        publisher.wait_with_output().expect("a started process can be waited for")
    }

    /// The retained message of a topic, read with `mosquitto_sub`; `None` if there is none within a second.
    pub fn retained(&self, topic: &str) -> Option<Vec<u8>> {
        let output = Command::new(program("mosquitto_sub"))
            .args(["-h", "127.0.0.1", "-p", &self.port().to_string(), "-t", topic, "-C", "1", "-W", "1", "-N"])
            .stdin(Stdio::null())
            .output()
            .expect("mosquitto_sub was found by require()");
        output.status.success().then_some(output.stdout)
    }
}

/// The shipped configuration at another place.
fn configure(shipped: &str, port: &Port, data: &Path, policy: Policy) -> String {
    let mut replaced = [0, 0];
    let mut text = String::new();
    for line in shipped.lines() {
        match line.split_whitespace().next() {
            Some("listener") => {
                replaced[0] += 1;
                text += &format!("listener {} 127.0.0.1\n", port.number());
            }
            Some("persistence_location") => {
                replaced[1] += 1;
                text += &format!("persistence_location {}/\n", data.display());
            }
            Some("message_size_limit") if policy == Policy::Permissive => {}
            _ => {
                text += line;
                text.push('\n');
            }
        }
    }
    assert_eq!(replaced, [1, 1], "the shipped mosquitto.conf has one listener and one persistence_location");
    if rustix::process::getuid().is_root() {
        // Else mosquitto would become the user `mosquitto`, who may not write below target/.
        text += "user root\n";
    }
    text
}

/// Settings of a mosquitto configuration: (name, value), comments left out.
pub fn settings(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        })
        .collect()
}

/// The configuration that is shipped.
pub fn shipped_configuration() -> PathBuf {
    repository().join("deploy/mosquitto/mosquitto.conf")
}
