//! One MQTT connection: from CONNACK to its end. It moves packets between the socket and the session's accounts.
//!
//! Part of [`super::session`], which says what is promised. Here is the turn that fulfils it: take whole packets out of what
//! was read, hand over what the core takes, encode what may leave, then wait for whatever comes first. Every future in that
//! wait can be dropped without loss.
//!
//! It must never wait for the core, and never read while a full batch waits for it.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::ToBroker;
use super::packet::{self, Reader, Received, SUBSCRIPTION, Welcome};
use super::session::{Session, stopped};
use super::socket::{Connector, Socket};

/// Reads are at least this far apart while messages flow. Adds at most as much to a message's way; tokio rounds it up to 2 ms.
const PACE: Duration = Duration::from_millis(1);
/// Room made for one read.
const READ: usize = 64 << 10;
/// No more is encoded while this many bytes wait to be written.
const WRITE: usize = 256 << 10;
/// Publications under way at most.
const WINDOW: u16 = 1_000;
/// Seconds between signs of life.
pub(super) const KEEP_ALIVE: u16 = 30;
/// How often filters that the broker refused are asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long a stop waits for the broker to have what was sent.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a connection ended.
pub(super) enum End {
    Stop,
    Lost(String),
}

/// Connects and says hello; the error is a reason for people.
pub(super) async fn open(connector: Connector, hello: Bytes, limit: u32) -> Result<(Link, Welcome), String> {
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
pub(super) struct Link {
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
    /// Serves the connection until it ends.
    pub(super) async fn converse(&mut self, session: &mut Session, welcome: &Welcome) -> End {
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
            if packet::disconnect(&mut self.output).is_err() {
                return;
            }
            while !self.output.is_empty() && self.exchange(false).await.is_ok() {}
            let _ = self.socket.shutdown().await;
            // The broker closes when it has worked through all that was sent. mosquitto takes one packet a turn: were the agent
            // back before that, its new connection would take the session over and the rest would be handed out again.
            while self.exchange(true).await.is_ok() {
                self.input.clear();
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
