//! MQTT: the only file that knows rumqttc.
//!
//! rumqttc's own account of what is in flight is not believed, because it forgets: it clears its pending publishes when
//! the broker has no session, keeps a stale collision over a reconnect, and reconnects for ever with a frame the broker
//! will never take. So a [`Session`] lives from one connection to its end and is then thrown away with everything in
//! it; the nodes' rings are what remains (F1), and a new session starts clean. Within a session every publish has a
//! [`Ticket`], matched with the broker's acknowledgement here.
//!
//! - C1: at most `window` publishes are handed over without acknowledgement, and never more than the broker's Receive
//!   Maximum, so that rumqttc's queue stays empty and a packet id is never taken twice.
//! - C2: a frame larger than the broker's Maximum Packet Size never reaches rumqttc, which would break the connection.
//! - C3: [`EventLoop::poll`] is polled to its end: cancelled halfway, it loses a publish.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Filter, Packet, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};

/// What rumqttc yields for one poll.
pub(super) type Polled = Result<Event, ConnectionError>;

/// What connects to the broker.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Client id, unique at the broker.
    pub client_id: String,
    /// User and password.
    pub credentials: Option<(String, String)>,
    /// Publishes without acknowledgement at most.
    pub inflight: u16,
    /// Whether small writes leave at once.
    pub tcp_nodelay: bool,
    /// Topics of durable confirmations to subscribe to.
    pub confirmations: Vec<String>,
}

/// Whom an acknowledgement is for; `None` for a copy that nobody waits for.
pub(super) type Ticket = Option<(usize, u64, u64)>;

/// What happened, in the sim's words.
#[derive(Debug)]
pub(super) enum Happened {
    /// The broker took the connection.
    Connected,
    /// The broker acknowledged a publish.
    Acknowledged(Ticket),
    /// The broker refused a publish.
    Refused(Ticket, PubAckReason),
    /// A message on a confirmation topic.
    Confirmation(Bytes, Bytes),
    /// The broker refused a subscription: no confirmation will come.
    NotSubscribed(SubscribeReasonCode),
    /// Nothing of interest.
    Nothing,
}

/// Why a publish was not handed over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotPublished {
    /// Larger than the broker takes: (packet, limit), bytes.
    TooLarge(usize, usize),
    /// rumqttc did not take it.
    NotTaken,
}

/// Filters in one SUBSCRIBE.
const FILTERS: usize = 200;
/// The largest packet taken from the broker: a confirmation with its topic is smaller than 5 KiB.
const MAX_INCOMING: u32 = 16 * 1024;

/// What belongs to one connection, beside rumqttc's event loop.
pub(super) struct Desk {
    client: AsyncClient,
    confirmations: Vec<String>,
    handed: VecDeque<Ticket>,
    open: Vec<Option<Ticket>>,
    outstanding: usize,
    window: usize,
    max_packet: usize,
    connected: bool,
}

/// Begins a session. Nothing is sent before the event loop is polled.
pub(super) fn open(settings: &ClientSettings) -> (Desk, EventLoop) {
    let mut options = MqttOptions::new(settings.client_id.clone(), settings.host.clone(), settings.port);
    options.set_clean_start(true);
    options.set_keep_alive(Duration::from_secs(10));
    options.set_connection_timeout(5);
    options.set_outgoing_inflight_upper_limit(settings.inflight);
    options.set_max_packet_size(Some(MAX_INCOMING));
    if let Some((user, password)) = &settings.credentials {
        options.set_credentials(user.clone(), password.clone());
    }
    let window = usize::from(settings.inflight);
    let subscribes = settings.confirmations.len().div_ceil(FILTERS);
    // Room for a full window, and for every SUBSCRIBE twice.
    let (client, mut events) = AsyncClient::new(options, window + 2 * subscribes + 8);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(settings.tcp_nodelay);
    events.options.set_network_options(network);
    let confirmations = settings.confirmations.clone();
    let desk = Desk {
        client,
        confirmations,
        handed: VecDeque::new(),
        open: Vec::new(),
        outstanding: 0,
        window,
        max_packet: usize::MAX,
        connected: false,
    };
    (desk, events)
}

impl Desk {
    /// How many publishes may be handed over now.
    pub(super) fn room(&self) -> usize {
        if self.connected { self.window.saturating_sub(self.outstanding) } else { 0 }
    }

    /// Hands a QoS 1 publish over.
    pub(super) fn publish(&mut self, topic: &str, bytes: Bytes, ticket: Ticket) -> Result<(), NotPublished> {
        // Fixed header 5, topic length 2, packet id 2, property length 1.
        let packet = bytes.len() + topic.len() + 10;
        if packet > self.max_packet {
            return Err(NotPublished::TooLarge(packet, self.max_packet));
        }
        let handed = self.client.try_publish(topic, QoS::AtLeastOnce, false, bytes);
        handed.map_err(|_| NotPublished::NotTaken)?;
        self.handed.push_back(ticket);
        self.outstanding += 1;
        Ok(())
    }

    /// Subscribes to the confirmations, which also brings the retained ones again.
    pub(super) fn subscribe(&self) {
        for lot in self.confirmations.chunks(FILTERS) {
            let filters = lot.iter().map(|topic| Filter::new(topic.clone(), QoS::AtLeastOnce));
            if let Err(e) = self.client.try_subscribe_many(filters) {
                tracing::warn!("cannot subscribe to confirmations yet: {e}");
            }
        }
    }

    /// Says goodbye; the event loop must be polled on until the connection ends.
    pub(super) fn disconnect(&self) {
        // A full queue means a dead connection, which needs no goodbye.
        let _ = self.client.try_disconnect();
    }

    /// Puts one event of rumqttc into the sim's words.
    pub(super) fn interpret(&mut self, event: Event) -> Happened {
        match event {
            Event::Outgoing(Outgoing::Publish(id)) => {
                let ticket = self.handed.pop_front().flatten();
                let id = usize::from(id);
                if self.open.len() <= id {
                    self.open.resize(id + 1, None);
                }
                self.open[id] = Some(ticket);
                Happened::Nothing
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                let Some(ticket) = self.open.get_mut(usize::from(ack.pkid)).and_then(Option::take) else {
                    return Happened::Nothing;
                };
                self.outstanding = self.outstanding.saturating_sub(1);
                match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Happened::Acknowledged(ticket),
                    reason => Happened::Refused(ticket, reason),
                }
            }
            Event::Incoming(Packet::ConnAck(ack)) => {
                self.accept(&ack);
                Happened::Connected
            }
            Event::Incoming(Packet::Publish(publish)) => Happened::Confirmation(publish.topic, publish.payload),
            Event::Incoming(Packet::SubAck(ack)) => ack
                .return_codes
                .into_iter()
                .find(|code| !matches!(code, SubscribeReasonCode::Success(_)))
                .map_or(Happened::Nothing, Happened::NotSubscribed),
            _ => Happened::Nothing,
        }
    }

    fn accept(&mut self, ack: &ConnAck) {
        self.connected = true;
        if let Some(properties) = &ack.properties {
            self.window = self.window.min(properties.receive_max.map_or(usize::MAX, usize::from)).max(1);
            self.max_packet = properties.max_packet_size.map_or(usize::MAX, |m| m as usize);
        }
        self.subscribe();
    }
}
