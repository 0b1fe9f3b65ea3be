//! The MQTT session: one task that connects, reads, acknowledges what the core has on disk, and publishes confirmations.
//!
//! Place in the flow: between the broker's socket and the core. It decides nothing about messages; [`super::ticket`] and
//! [`super::pending`] keep the accounts, [`super::packet`] knows the bytes.
//!
//! - **Session.** MQTT 5, clean start off, session expiry, Receive Maximum and Maximum Packet Size announced. When the broker
//!   has forgotten the session the core is told, and everything is subscribed again. Where it kept it, it hands out again what
//!   was not acknowledged: as new messages with new tickets, because packet ids die with their connection (A1).
//! - **Cost.** Most of a subscriber's cost is one read, one wake-up and one write per message. Here a read takes all that has
//!   arrived, the next one comes [`PACE`] later at the earliest, and all acknowledgements that lie ready leave in one write.
//!   `docs/benchmarks.md` has the figures.
//! - **Nagle.** `tcp_nodelay` on our socket is about what *we* send. Each write already carries all there is, so it saves no
//!   packet and costs none; without it our PUBACKs can wait 40 ms for the broker's delayed TCP acknowledgement, which matters
//!   where a broker hands out few messages at a time (rumqttd: 100). So the agent sets it by default. The broker's own
//!   `set_tcp_nodelay` is another matter: it sends each message as a segment of its own and costs every subscriber 30-40 %.
//! - **Back-pressure.** While the core is busy one batch is filled up to [`BATCH`] messages or [`BATCH_BYTES`], then reading
//!   stops and TCP holds the broker back; acknowledgements and pings go on.
//! - **Failure.** A lost or refused connection is tried again for ever, after 100 ms, doubled up to 30 s. Only a
//!   configuration that cannot work (certificates that cannot be read) ends the task with an error.
//!
//! It must never acknowledge what the core did not name, never wait for the core with acknowledgements in hand, and never
//! panic on what the network brings.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::packet::{self, Message, Reader, Received, SUBSCRIPTION, Welcome};
use super::pending::{Pending, Publication};
use super::socket::{Connector, Socket};
use super::ticket::Tickets;
use super::{FromBroker, Inbound, ToBroker};
use crate::config::checked::MqttConfig;

/// Reads are at least this far apart while messages flow. Adds at most as much to a message's way; tokio rounds it up to 2 ms.
const PACE: Duration = Duration::from_millis(1);
/// A batch towards the core holds about this many messages.
const BATCH: usize = 2048;
/// And about this many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// Room made for one read.
const READ: usize = 64 << 10;
/// No more is encoded while this many bytes wait to be written.
const WRITE: usize = 256 << 10;
/// Publications under way at most.
const WINDOW: u16 = 1_000;
/// Seconds between signs of life.
const KEEP_ALIVE: u16 = 30;
/// The most that TCP, TLS and CONNECT may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest pause before another attempt.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// A connection that lasted this long was a good one: the pause begins anew.
const STABLE: Duration = Duration::from_secs(5);
/// How often filters that the broker refused are asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long a stop waits for the broker to confirm what is under way.
const FAREWELL: Duration = Duration::from_secs(1);
/// Told and not yet taken changes of the connection; at this many no further attempt is made.
const UNTOLD: usize = 4;

/// Why the task ended with an error. Trying again without another configuration cannot help.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// TLS cannot be set up.
    #[error("[mqtt]: {0}")]
    Tls(String),
    /// A packet that can never be sent.
    #[error("[mqtt]: {0}; shorten client_id, user or topics")]
    Packet(String),
}

/// Whether this build can do what the configuration asks for.
pub fn supported(config: &MqttConfig) -> Result<(), String> {
    super::socket::supported(config.tls.as_ref())
}

/// Keeps the session until `stop` turns true or the core drops its ends of the channels. `filters` are subscribed to with
/// QoS 1. On a stop, acknowledgements that already lie in `outbound` are sent, and publications are given a second.
pub async fn run(
    config: MqttConfig,
    filters: Vec<String>,
    inbound: mpsc::Sender<FromBroker>,
    outbound: mpsc::UnboundedReceiver<ToBroker>,
    stop: watch::Receiver<bool>,
) -> Result<(), SessionError> {
    supported(&config).map_err(SessionError::Tls)?;
    let connector = Connector::new(&config).map_err(SessionError::Tls)?;
    let mut hello = BytesMut::new();
    packet::connect(&config, KEEP_ALIVE, &mut hello).map_err(|e| SessionError::Packet(e.to_string()))?;
    let mut session = Session {
        limit: config.max_packet,
        filters,
        inbound,
        outbound,
        stop,
        tickets: Tickets::new(),
        pending: Pending::default(),
        events: VecDeque::new(),
        batch_bytes: 0,
        ending: false,
    };
    session.keep(&connector, hello.freeze()).await;
    tracing::debug!("the MQTT session has ended");
    Ok(())
}

struct Session {
    limit: u32,
    filters: Vec<String>,
    inbound: mpsc::Sender<FromBroker>,
    outbound: mpsc::UnboundedReceiver<ToBroker>,
    stop: watch::Receiver<bool>,
    tickets: Tickets,
    pending: Pending,
    /// What the core has not taken yet, oldest first; at most one `Messages` that can still grow, the last.
    events: VecDeque<FromBroker>,
    /// Bytes of payload in that batch.
    batch_bytes: usize,
    /// A stop was asked for, or the core is gone.
    ending: bool,
}

/// How a connection ended.
enum End {
    Stop,
    Lost(String),
}

impl Session {
    /// Connects again and again.
    async fn keep(&mut self, connector: &Connector, hello: Bytes) {
        let (mut pause, mut told, mut before) = (BACK_OFF.0, None, false);
        while !self.ending {
            let attempt = timeout(CONNECT_TIMEOUT, open(connector.clone(), hello.clone(), self.limit));
            let reason = match self.meanwhile(attempt).await {
                None => return,
                Some(Err(_)) => format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
                Some(Ok(Err(reason))) => reason,
                Some(Ok(Ok((mut link, welcome)))) => {
                    let since = Instant::now();
                    if before && !welcome.session_present {
                        self.events.push_back(FromBroker::SessionLost);
                    }
                    self.events.push_back(FromBroker::Connected { session_present: welcome.session_present });
                    (told, before) = (None, true);
                    tracing::debug!(session_present = welcome.session_present, "connected to the MQTT broker");
                    let end = link.converse(self, &welcome).await;
                    self.tickets.void();
                    self.pending.connection_lost();
                    if since.elapsed() >= STABLE {
                        pause = BACK_OFF.0;
                    }
                    match end {
                        End::Stop => return,
                        End::Lost(reason) => reason,
                    }
                }
            };
            if told.as_ref() != Some(&reason) {
                tracing::debug!(reason, "not connected to the MQTT broker; trying again");
                self.events.push_back(FromBroker::Disconnected { reason: reason.clone() });
                told = Some(reason);
            }
            self.meanwhile(sleep(pause)).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    /// Waits for `future` while the channels are served. `None` on a stop.
    async fn meanwhile<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let inbound = self.inbound.clone();
        loop {
            if self.ending {
                return None;
            }
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => self.ending = true,
                output = &mut future, if self.events.len() <= UNTOLD => return Some(output),
                permit = inbound.reserve(), if !self.events.is_empty() => match (permit, self.events.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    _ => self.ending = true,
                },
                order = self.outbound.recv() => match order {
                    Some(order) => self.take(order, None),
                    None => self.ending = true,
                },
            }
        }
    }

    /// Carries out what the core asks for; acknowledgements go to `out`, without a connection nowhere.
    fn take(&mut self, order: ToBroker, out: Option<&mut BytesMut>) {
        match (order, out) {
            (ToBroker::Publish { topic, payload, retain }, _) => {
                self.pending.put(Publication { topic, payload: payload.into(), retain });
                let dropped = self.pending.take_dropped();
                if dropped > 0 {
                    tracing::warn!(
                        dropped,
                        "too many topics wait for the MQTT broker; the oldest confirmations are dropped"
                    );
                }
            }
            (ToBroker::Acknowledge(tickets), Some(out)) => {
                for id in tickets.into_iter().filter_map(|ticket| self.tickets.acknowledge(ticket)) {
                    if let Err(error) = packet::acknowledge(id, out) {
                        tracing::error!(%error, "a message is not acknowledged");
                    }
                }
            }
            (ToBroker::Acknowledge(_), None) => {}
        }
    }

    /// Adds a message to the batch that waits for the core.
    fn add(&mut self, message: Message) {
        let inbound = Inbound {
            ticket: self.tickets.open(message.id),
            topic: String::from_utf8_lossy(&message.topic).into_owned(),
            payload: message.payload,
            redelivered: message.redelivered,
            oversize: message.oversize,
        };
        let size = inbound.payload.len();
        if let Some(FromBroker::Messages(batch)) = self.events.back_mut() {
            batch.push(inbound);
            self.batch_bytes += size;
        } else {
            self.events.push_back(FromBroker::Messages(vec![inbound]));
            self.batch_bytes = size;
        }
    }

    /// Whether another read may be taken: the waiting batch is neither full nor large.
    fn has_room(&self) -> bool {
        match self.events.back() {
            Some(FromBroker::Messages(batch)) => batch.len() < BATCH && self.batch_bytes < BATCH_BYTES,
            _ => true,
        }
    }

    /// Hands over what the core takes without waiting.
    fn hand_over(&mut self) {
        while let Some(event) = self.events.pop_front() {
            match self.inbound.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => return self.events.push_front(event),
                Err(TrySendError::Closed(_)) => self.ending = true,
            }
        }
    }
}

/// Resolves when a stop is asked for, or nobody can ask for it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Connects and says hello; the error is a reason for people.
async fn open(connector: Connector, hello: Bytes, limit: u32) -> Result<(Link, Welcome), String> {
    let socket = connector.connect().await.map_err(|e| format!("cannot connect: {e}"))?;
    let mut link = Link {
        socket,
        reader: Reader::new(limit),
        input: BytesMut::new(),
        output: BytesMut::from(&hello[..]),
        quiet_until: None,
        more: false,
        subscribing: false,
        refused: Vec::new(),
    };
    loop {
        match link.exchange(true).await.map_err(|e| e.to_string())? {
            0 => {}
            _ => match link.reader.next(&mut link.input).map_err(|e| e.to_string())? {
                Some(Received::ConnAck(Welcome { refused: Some(reason), .. })) => return Err(reason),
                Some(Received::ConnAck(welcome)) => return Ok((link, welcome)),
                Some(_) => return Err("the broker did not begin with CONNACK".into()),
                None => {}
            },
        }
    }
}

/// One connection.
struct Link {
    socket: Socket,
    reader: Reader,
    input: BytesMut,
    output: BytesMut,
    /// No read before this.
    quiet_until: Option<Instant>,
    /// The last read filled its room: there is more.
    more: bool,
    /// A SUBSCRIBE is under way.
    subscribing: bool,
    /// Filters of the SUBSCRIBE under way, then those of them that were refused.
    refused: Vec<String>,
}

impl Link {
    async fn converse(&mut self, session: &mut Session, welcome: &Welcome) -> End {
        let keep_alive = Duration::from_secs(u64::from(welcome.keep_alive.unwrap_or(KEEP_ALIVE)));
        let beat = if keep_alive.is_zero() { Duration::from_secs(u64::from(KEEP_ALIVE)) } else { keep_alive };
        let mut heartbeat = tokio::time::interval_at(Instant::now() + beat, beat);
        let mut heard = Instant::now();
        let mut ask = Instant::now();
        // The session may hold subscriptions of an earlier configuration; ours are asked for in every case.
        self.refused = session.filters.clone();
        let inbound = session.inbound.clone();
        loop {
            // What came with CONNACK, and what the last read left.
            if let Err(end) = self.digest(session) {
                return end;
            }
            session.hand_over();
            if session.ending {
                return self.farewell(session).await;
            }
            if !self.subscribing && !self.refused.is_empty() && Instant::now() >= ask {
                ask = Instant::now() + ASK_AGAIN;
                if let Err(end) = self.subscribe() {
                    return end;
                }
            }
            if let Err(end) = self.publish(session, welcome) {
                return end;
            }
            let (reading, quiet_until) = (session.has_room(), self.quiet_until);
            tokio::select! {
                biased;
                () = stopped(&mut session.stop) => session.ending = true,
                order = session.outbound.recv(), if self.output.len() < WRITE => self.orders(session, order),
                permit = inbound.reserve(), if !session.events.is_empty() => {
                    match (permit, session.events.pop_front()) {
                        (Ok(permit), Some(event)) => permit.send(event),
                        _ => session.ending = true,
                    }
                }
                moved = self.exchange(reading && quiet_until.is_none()) => match moved {
                    Ok(0) => {}
                    Ok(_) => heard = Instant::now(),
                    Err(error) => return End::Lost(error.to_string()),
                },
                () = until(quiet_until) => self.quiet_until = None,
                _ = heartbeat.tick() => {
                    // Without reading nothing can be heard; that is our own doing, not the broker's silence.
                    if reading && heard.elapsed() > beat * 3 / 2 {
                        return End::Lost(format!("the broker has been silent for {} s", heard.elapsed().as_secs()));
                    }
                    if !reading {
                        heard = Instant::now();
                    }
                    if let Err(error) = packet::ping(&mut self.output) {
                        return End::Lost(error.to_string());
                    }
                }
            }
        }
    }

    /// Takes an order and all that lie behind it, so that they leave in one write.
    fn orders(&mut self, session: &mut Session, first: Option<ToBroker>) {
        let mut order = first;
        while let Some(one) = order {
            session.take(one, Some(&mut self.output));
            if self.output.len() >= WRITE {
                return;
            }
            order = match session.outbound.try_recv() {
                Ok(next) => Some(next),
                Err(mpsc::error::TryRecvError::Empty) => return,
                Err(mpsc::error::TryRecvError::Disconnected) => None,
            };
        }
        session.ending = true;
    }

    /// Writes what waits and, if `reading`, reads once; says how many bytes were read, 0 if only something was written.
    /// Nothing is lost when the future is dropped.
    async fn exchange(&mut self, reading: bool) -> io::Result<usize> {
        let Self { socket, input, output, .. } = self;
        if reading && input.capacity() - input.len() < READ / 4 {
            input.reserve(READ);
        }
        let wrote = !output.is_empty();
        let read = poll_fn(|cx| {
            while !output.is_empty() {
                match pin!(socket.write_buf(output)).poll(cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            // Also with nothing left to write: TLS may hold bytes of an earlier turn.
            if let Poll::Ready(Err(error)) = pin!(socket.flush()).poll(cx) {
                return Poll::Ready(Err(error));
            }
            if reading && let Poll::Ready(read) = pin!(socket.read_buf(input)).poll(cx) {
                return Poll::Ready(match read {
                    Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed the connection")),
                    other => other,
                });
            }
            // With all written, the turn goes on: more may have become possible to encode.
            if wrote && output.is_empty() { Poll::Ready(Ok(0)) } else { Poll::Pending }
        })
        .await?;
        self.more = self.input.capacity() == self.input.len();
        Ok(read)
    }

    /// Takes whole packets out of what was read.
    fn digest(&mut self, session: &mut Session) -> Result<(), End> {
        let mut messages = false;
        while let Some(received) = self.reader.next(&mut self.input).map_err(|e| End::Lost(e.to_string()))? {
            match received {
                Received::Message(message) => {
                    messages = true;
                    session.add(message);
                }
                Received::PubAck(id) => session.pending.acknowledged(id),
                Received::SubAck(SUBSCRIPTION, outcomes) => self.subscribed(outcomes),
                Received::SubAck(..) | Received::PingResponse => {}
                Received::Disconnect(reason) => return Err(End::Lost(reason)),
                Received::ConnAck(_) => return Err(End::Lost("the broker sent a second CONNACK".into())),
            }
        }
        if messages {
            if !self.more {
                self.quiet_until = Some(Instant::now() + PACE);
            }
            self.socket.confirm_now();
        }
        Ok(())
    }

    fn subscribe(&mut self) -> Result<(), End> {
        self.subscribing = true;
        packet::subscribe(SUBSCRIPTION, &self.refused, &mut self.output).map_err(|e| End::Lost(e.to_string()))
    }

    /// A refused filter harms only itself: it is said aloud, and asked for again later.
    fn subscribed(&mut self, outcomes: Vec<Option<String>>) {
        self.subscribing = false;
        let asked = std::mem::take(&mut self.refused);
        for (filter, outcome) in asked.into_iter().zip(outcomes) {
            if let Some(code) = outcome {
                tracing::error!(
                    filter,
                    code,
                    "the MQTT broker refuses this subscription: allow the agent's user to read it in the broker's access list"
                );
                self.refused.push(filter);
            }
        }
    }

    /// Encodes publications while there is room.
    fn publish(&mut self, session: &mut Session, welcome: &Welcome) -> Result<(), End> {
        let window = welcome.window.min(WINDOW);
        while self.output.len() < WRITE
            && let Some((id, publication)) = session.pending.next(window)
        {
            let retain = publication.retain && welcome.retains;
            packet::publish(id, publication, retain, &mut self.output).map_err(|e| End::Lost(e.to_string()))?;
        }
        Ok(())
    }

    /// Sends what the core has already asked for, waits a moment for the broker to have it, and takes leave.
    async fn farewell(&mut self, session: &mut Session) -> End {
        while let Ok(order) = session.outbound.try_recv() {
            session.take(order, Some(&mut self.output));
        }
        let rest = async {
            while !(session.pending.is_empty() && self.output.is_empty()) {
                let unlimited =
                    Welcome { window: WINDOW, refused: None, session_present: true, keep_alive: None, retains: true };
                let (sent, read) = (self.publish(session, &unlimited), self.exchange(true).await);
                if sent.is_err() || read.is_err() || self.digest_acknowledgements(session).is_err() {
                    return;
                }
            }
            if packet::disconnect(&mut self.output).is_ok() {
                while !self.output.is_empty() && self.exchange(false).await.is_ok() {}
                let _ = self.socket.shutdown().await;
            }
        };
        let _ = timeout(FAREWELL, rest).await;
        End::Stop
    }

    /// As [`Link::digest`], but messages are left to the broker, which hands them out again.
    fn digest_acknowledgements(&mut self, session: &mut Session) -> Result<(), ()> {
        while let Some(received) = self.reader.next(&mut self.input).map_err(drop)? {
            match received {
                Received::PubAck(id) => session.pending.acknowledged(id),
                Received::Disconnect(_) => return Err(()),
                _ => {}
            }
        }
        Ok(())
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
