//! A feeder: one MQTT connection over which prepared frames go out at QoS 1, as fast as the other side's window allows, or
//! at a rate.
//!
//! It is a client of mosquitto ([`Flow::to_broker`]) or plays the broker itself ([`Flow::as_broker`]), which leaves the
//! agent alone with its feeder. Sending is one write of many whole packets; what comes back is counted by a thread. Packet
//! ids go round, which is sound because both mosquitto and the agent acknowledge in the order of arrival.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::{now, pause_until};
use crate::frames::Packets;
use crate::packet;

/// The most that one write carries: the other direction's answers wait for it.
const WRITE: usize = 256 << 10;
/// How long anything may take that should take moments.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks of paced feeding.
const BEAT: Duration = Duration::from_millis(2);

/// A connection that feeds.
pub(crate) struct Flow {
    output: Arc<Mutex<TcpStream>>,
    shared: Arc<Shared>,
    window: usize,
    sent: u64,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    acknowledged: u64,
    last: Option<Instant>,
    subscribed: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the lock in hand")
    }
}

/// What sending came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) frames: usize,
    pub(crate) began: Instant,
}

impl Flow {
    /// Connects to a broker as a client.
    pub(crate) fn to_broker(port: u16, name: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the broker listens");
        stream.write_all(&packet::connect(name)).expect("the broker reads CONNECT");
        let (kind, body, rest) = first_packet(&mut stream);
        assert!(kind == packet::CONNACK && body.get(1) == Some(&0), "the broker refuses: {kind} {body:?}");
        let window = usize::from(packet::receive_maximum(kind, &body)).min(1_000);
        Self::new(stream, rest, window)
    }

    /// Waits for a subscriber to connect to `listener`, and until it has subscribed.
    pub(crate) fn as_broker(listener: &TcpListener) -> Self {
        let flow = Self::accept(listener);
        flow.await_subscribed();
        flow
    }

    /// As [`Flow::as_broker`], without waiting for the subscription.
    pub(crate) fn accept(listener: &TcpListener) -> Self {
        let (mut stream, _) = listener.accept().expect("a listener accepts");
        let (kind, body, rest) = first_packet(&mut stream);
        let window = usize::from(packet::receive_maximum(kind, &body));
        stream.write_all(&packet::CONNACK_ACCEPTED).expect("the subscriber reads CONNACK");
        Self::new(stream, rest, window)
    }

    fn new(stream: TcpStream, rest: Vec<u8>, window: usize) -> Self {
        stream.set_nodelay(true).expect("a TCP socket has that option");
        let input = stream.try_clone().expect("a socket can be duplicated");
        let output = Arc::new(Mutex::new(stream));
        let shared = Arc::new(Shared::default());
        let (answers, account) = (Arc::clone(&output), Arc::clone(&shared));
        let reader = std::thread::spawn(move || read(input, rest, &answers, &account));
        Self { output, shared, window, sent: 0, reader: Some(reader) }
    }

    /// Waits until the other side has subscribed.
    pub(crate) fn await_subscribed(&self) {
        self.wait("a subscription", |state| state.subscribed);
    }

    fn wait(&self, what: &str, until: impl Fn(&State) -> bool) {
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), PATIENCE, |s| !until(s) && !s.ended);
        let (state, _) = waited.expect("nobody panics with the lock in hand");
        assert!(until(&state), "waited for {what}: connection ended: {}, {} sent", state.ended, self.sent);
    }

    /// At most so many unacknowledged from now on.
    pub(crate) fn narrow(&mut self, window: usize) {
        self.window = self.window.min(window);
    }

    fn room(&self, acknowledged: u64) -> usize {
        self.window.saturating_sub((self.sent - acknowledged) as usize)
    }

    /// Sends all of `packets` as fast as the window allows, but begins nothing new after `limit`.
    pub(crate) fn send(&mut self, packets: &mut Packets, limit: Duration) -> Sent {
        let began = now();
        let mut next = 0;
        while next < packets.len() && began.elapsed() < limit {
            self.wait("room in the window", |state| self.room(state.acknowledged) > 0);
            let room = self.room(self.acknowledged());
            next = self.write(packets, next, next + room);
        }
        Sent { frames: next, began }
    }

    /// Sends `packets` at `rate` a second; behind its time it catches up as far as the window allows.
    pub(crate) fn pace(&mut self, packets: &mut Packets, rate: f64) -> Sent {
        let began = now();
        let mut next = 0;
        while next < packets.len() {
            let due = (began.elapsed().as_secs_f64() * rate) as usize + 1;
            if due > next {
                self.wait("room in the window", |state| self.room(state.acknowledged) > 0);
                let room = self.room(self.acknowledged());
                next = self.write(packets, next, due.min(next + room));
            }
            pause_until(now() + BEAT);
        }
        Sent { frames: next, began }
    }

    /// Writes packets from `next` on, before `end` and of at most [`WRITE`] bytes; says which is next.
    fn write(&mut self, packets: &mut Packets, next: usize, end: usize) -> usize {
        let (begin, end) = (packets.begin_of(next), end.min(packets.len()));
        let whole = packets.ends[next..end].partition_point(|at| at - begin <= WRITE);
        let end = next + whole.max(1);
        for at in &packets.ids[next..end] {
            let id = (self.sent % self.window as u64 + 1) as u16;
            packets.bytes[*at..*at + 2].copy_from_slice(&id.to_be_bytes());
            self.sent += 1;
        }
        let mut output = self.output.lock().expect("nobody panics with the lock in hand");
        output.write_all(&packets.bytes[begin..packets.ends[end - 1]]).expect("the other side reads");
        end
    }

    /// How many were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.lock().acknowledged
    }

    /// Waits until everything sent is acknowledged; when the last acknowledgement came.
    pub(crate) fn settle(&self) -> Instant {
        self.wait("the last acknowledgement", |state| state.acknowledged == self.sent);
        self.shared.lock().last.unwrap_or_else(now)
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let Ok(output) = self.output.lock() {
            // The other side may be gone already.
            let _ = output.shutdown(Shutdown::Both);
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Reads the packet that opens a conversation: (type, body, what came after it).
fn first_packet(stream: &mut TcpStream) -> (u8, Vec<u8>, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((kind, body, end)) = packet::first(&bytes) {
            return (kind, bytes[body..end].to_vec(), bytes[end..].to_vec());
        }
        let read = stream.read(&mut buffer).expect("the other side speaks first");
        assert!(read > 0, "the other side closed the connection");
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn read(mut input: TcpStream, mut bytes: Vec<u8>, output: &Mutex<TcpStream>, shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut answers = Vec::new();
        let (mut at, mut acknowledged, mut subscribed) = (0, 0, false);
        while let Some((kind, body, end)) = packet::first(&bytes[at..]) {
            let packet = &bytes[at + body..at + end];
            match kind {
                packet::PUBACK => acknowledged += 1,
                packet::PUBLISH if bytes[at] & 0b110 != 0 => answers.extend(packet::puback(id_of(packet))),
                packet::SUBSCRIBE => {
                    answers.extend(packet::suback(packet));
                    subscribed = true;
                }
                packet::PINGREQ => answers.extend(packet::PINGRESP),
                packet::DISCONNECT if packet.first().is_some_and(|reason| *reason > 0) => {
                    eprintln!("the other side disconnects, reason {:#04x}", packet[0]);
                }
                _ => {}
            }
            at += end;
        }
        bytes.drain(..at);
        if !answers.is_empty() {
            let mut output = output.lock().expect("nobody panics with the lock in hand");
            // A connection that is over shows at the next read.
            let _ = output.write_all(&answers);
        }
        if acknowledged > 0 || subscribed {
            let mut state = shared.lock();
            state.acknowledged += acknowledged;
            state.last = Some(now());
            state.subscribed |= subscribed;
            shared.changed.notify_all();
        }
        match input.read(&mut buffer) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => break,
        }
    }
    shared.lock().ended = true;
    shared.changed.notify_all();
}

/// The packet id of a PUBLISH at QoS 1.
fn id_of(publish: &[u8]) -> [u8; 2] {
    let topic = usize::from(u16::from_be_bytes([publish[0], publish[1]]));
    [publish[2 + topic], publish[3 + topic]]
}
