//! The MQTT session: one task that connects, reads, acknowledges what the core has on disk, and publishes confirmations.
//!
//! Place in the flow: between the broker's socket and the core. It decides nothing about messages; `link` serves
//! one connection, `ticket` and `pending` keep the accounts, `packet` knows the bytes.
//!
//! - **Session.** MQTT 5, clean start off, session expiry, Receive Maximum and Maximum Packet Size announced. When the broker
//!   has forgotten the session the core is told, and everything is subscribed again. Where it kept it, it hands out again what
//!   was not acknowledged: as new messages with new tickets, because packet ids die with their connection (A1).
//! - **Cost.** Most of a subscriber's cost is one read, one wake-up and one write per message. Here a read takes all that has
//!   arrived, the next one comes a millisecond later at the earliest, and all acknowledgements that lie ready leave in one write.
//!   `docs/benchmarks.md` has the figures.
//! - **Nagle.** Brokers leave Nagle's algorithm on towards us, and should: mosquitto's `set_tcp_nodelay` costs every subscriber
//!   30-40 %. But then a message waits until our kernel has confirmed the one before, which Linux puts off up to 40 ms on a
//!   connection that also sends. So each read asks for that confirmation (TCP_QUICKACK): a single message arrives after 0.14 ms
//!   in the median instead of 25 ms (measured), and under load the paced reads still let the broker fill its segments.
//!   `tcp_nodelay` on our own socket is off by default: each write carries all there is, and neither rate nor latency differed
//!   measurably, also not with 100 messages under way at most, as rumqttd hands them out.
//! - **Back-pressure.** While the core is busy one batch is filled up to [`BATCH`] messages or [`BATCH_BYTES`], then reading
//!   stops and TCP holds the broker back; acknowledgements and pings go on.
//! - **Failure.** A lost or refused connection is tried again for ever, after 100 ms, doubled up to 30 s. Only a
//!   configuration that cannot work (certificates that cannot be read) ends the task with an error.
//!
//! It must never acknowledge what the core did not name, never wait for the core with acknowledgements in hand, and never
//! panic on what the network brings.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::link::{End, KEEP_ALIVE, open};
use super::packet::{self, Message};
use super::pending::{Pending, Publication};
use super::socket::Connector;
use super::ticket::Tickets;
use super::{FromBroker, Inbound, ToBroker};
use crate::config::checked::MqttConfig;

/// A batch towards the core holds about this many messages.
const BATCH: usize = 2048;
/// And about this many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// The most that TCP, TLS and CONNECT may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest pause before another attempt.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// A connection that lasted this long was a good one: the pause begins anew.
const STABLE: Duration = Duration::from_secs(5);
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

/// The accounts of a session, over all its connections.
pub(super) struct Session {
    limit: u32,
    pub(super) filters: Vec<String>,
    pub(super) inbound: mpsc::Sender<FromBroker>,
    pub(super) outbound: mpsc::UnboundedReceiver<ToBroker>,
    pub(super) stop: watch::Receiver<bool>,
    tickets: Tickets,
    pub(super) pending: Pending,
    /// What the core has not taken yet, oldest first; at most one `Messages` that can still grow, the last.
    pub(super) events: VecDeque<FromBroker>,
    /// Bytes of payload in that batch.
    batch_bytes: usize,
    /// A stop was asked for, or the core is gone.
    pub(super) ending: bool,
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
    pub(super) fn take(&mut self, order: ToBroker, out: Option<&mut BytesMut>) {
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
    pub(super) fn add(&mut self, message: Message) {
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
    pub(super) fn has_room(&self) -> bool {
        match self.events.back() {
            Some(FromBroker::Messages(batch)) => batch.len() < BATCH && self.batch_bytes < BATCH_BYTES,
            _ => true,
        }
    }

    /// Hands over what the core takes without waiting.
    pub(super) fn hand_over(&mut self) {
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
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
