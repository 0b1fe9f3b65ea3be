//! An MQTT broker with one subscriber's session, at QoS 1: a bounded window of unacknowledged messages, everything in it
//! handed out again (DUP) on a new connection, retained confirmations. It keeps the promises of MQTT 5.0, 4.4, and no more:
//! killed, it comes back without the session, or with the session as it was last saved, which is some seconds old.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// A message as the broker holds it.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
}

/// A message on its way to the agent.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) id: u64,
    pub(crate) publication: Publication,
    pub(crate) again: bool,
}

#[derive(Debug, Clone, Default)]
struct Session {
    waiting: VecDeque<Publication>,
    unacknowledged: VecDeque<(u64, Publication)>,
}

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) up: bool,
    window: usize,
    session: Option<Session>,
    saved: Option<Session>,
    /// The agent's connection, by number.
    pub(crate) connection: Option<u64>,
    connections: u64,
    next_id: u64,
    retained: BTreeMap<String, Vec<u8>>,
}

impl Broker {
    pub(crate) fn new(window: usize) -> Self {
        Self {
            up: true,
            window,
            session: None,
            saved: None,
            connection: None,
            connections: 0,
            next_id: 1,
            retained: BTreeMap::new(),
        }
    }

    /// A publisher's message is here. Without a session nobody wants it.
    pub(crate) fn publish(&mut self, publication: Publication) {
        if let Some(session) = &mut self.session {
            session.waiting.push_back(publication);
        }
    }

    /// The agent connects: its connection's number and whether its session was there.
    pub(crate) fn connect(&mut self) -> (u64, bool) {
        let present = self.session.is_some();
        self.session.get_or_insert_default();
        self.connections += 1;
        self.connection = Some(self.connections);
        (self.connections, present)
    }

    /// What was handed out on an older connection and not acknowledged there.
    pub(crate) fn again(&self) -> Vec<Delivery> {
        let Some(session) = &self.session else { return Vec::new() };
        let again = |(id, publication): &(u64, Publication)| Delivery {
            id: *id,
            publication: publication.clone(),
            again: true,
        };
        session.unacknowledged.iter().map(again).collect()
    }

    /// What the window lets out now.
    pub(crate) fn pump(&mut self) -> Vec<Delivery> {
        let mut out = Vec::new();
        let (Some(session), Some(_)) = (&mut self.session, self.connection) else { return out };
        while session.unacknowledged.len() < self.window
            && let Some(publication) = session.waiting.pop_front()
        {
            session.unacknowledged.push_back((self.next_id, publication.clone()));
            out.push(Delivery { id: self.next_id, publication, again: false });
            self.next_id += 1;
        }
        out
    }

    pub(crate) fn acknowledged(&mut self, connection: u64, ids: &[u64]) {
        if self.connection != Some(connection) {
            return;
        }
        if let Some(session) = &mut self.session {
            session.unacknowledged.retain(|(id, _)| !ids.contains(id));
        }
    }

    pub(crate) fn retain(&mut self, topic: String, payload: Vec<u8>) {
        self.retained.insert(topic, payload);
    }

    pub(crate) fn retained(&self, topic: &str) -> Option<Vec<u8>> {
        self.retained.get(topic).cloned()
    }

    /// Writes the session to the broker's disk.
    pub(crate) fn save(&mut self) {
        if self.up {
            self.saved = self.session.clone();
        }
    }

    pub(crate) fn kill(&mut self, with_session: bool) {
        self.up = false;
        self.connection = None;
        if with_session {
            self.session = self.saved.clone();
        } else {
            (self.session, self.saved) = (None, None);
            self.retained.clear();
        }
    }

    /// Messages that the agent has not acknowledged.
    pub(crate) fn held(&self) -> usize {
        self.session.as_ref().map_or(0, |s| s.waiting.len() + s.unacknowledged.len())
    }
}
