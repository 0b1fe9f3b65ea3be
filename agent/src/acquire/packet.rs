//! MQTT 5 packets: framing of what arrives, encoding of what leaves. The only file that knows rumqttc.
//!
//! Only rumqttc's packet types and their codec are used, not its event loop. That loop was read and left out, because it
//! - writes each acknowledgement by itself, one system call a message, which is most of a subscriber's cost;
//! - forgets publications that wait when the broker has lost the session, and reuses packet ids while they are under way;
//! - answers a packet above its limit by reconnecting, and the broker hands the same packet out again, for ever;
//! - has `unwrap`, `unreachable!` and `unimplemented!` on the way of bytes from the network.
//!
//! Framing is done here, so the codec sees exactly one whole packet. Packets above the limit are never held: a PUBLISH is read
//! up to its packet id, the rest is thrown away as it comes, and the message is handed on as oversize, to be counted and
//! acknowledged. Nothing here panics on bytes from the network.

use bytes::{Buf, Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode, Filter, Login, Packet,
    PubAck, Publish, RetainForwardRule, SubscribeReasonCode,
};

use super::pending::Publication;
use crate::config::checked::MqttConfig;

/// The longest fixed header: type and four bytes of length.
const HEADER: usize = 5;
/// PUBLISH packets have this in the upper half of their first byte.
const PUBLISH: u8 = 3;
/// DISCONNECT.
const DISCONNECT: u8 = 14;
/// The packet id of SUBSCRIBE; publications never use it.
pub(super) const SUBSCRIPTION: u16 = u16::MAX;

/// What is not MQTT 5, or not allowed here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PacketError {
    #[error("the broker sent a packet that is not MQTT 5: {0}")]
    Malformed(String),
    #[error("the broker sent a packet of type {kind} with {length} bytes, above the limit of {limit}")]
    TooLarge { kind: u8, length: usize, limit: usize },
    #[error("cannot encode a packet: {0}")]
    Encode(String),
}

/// A packet from the broker.
#[derive(Debug, PartialEq)]
pub(super) enum Received {
    Message(Message),
    /// Our publication with this packet id has arrived.
    PubAck(u16),
    /// For each filter of the subscription with this packet id: why it was refused, if it was.
    SubAck(u16, Vec<Option<String>>),
    ConnAck(Welcome),
    /// The broker ends the connection, for this reason.
    Disconnect(String),
    PingResponse,
}

/// A message from the broker.
#[derive(Debug, PartialEq)]
pub(super) struct Message {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    /// 0 for QoS 0.
    pub(super) id: u16,
    pub(super) redelivered: bool,
    pub(super) oversize: Option<usize>,
}

/// The broker's answer to CONNECT.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Welcome {
    /// Why it refuses, if it does.
    pub(super) refused: Option<String>,
    pub(super) session_present: bool,
    /// How many publications may be under way towards it.
    pub(super) window: u16,
    /// Seconds, where the broker overrules ours.
    pub(super) keep_alive: Option<u16>,
    /// Whether it retains messages.
    pub(super) retains: bool,
}

/// Takes packets out of a stream of bytes.
#[derive(Debug)]
pub(super) struct Reader {
    limit: usize,
    /// Bytes of an oversize packet still to be thrown away, and its message.
    skipping: Option<(usize, Message)>,
}

impl Reader {
    /// Packets above `limit` bytes, header included, are oversize.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit: limit as usize, skipping: None }
    }

    /// The next whole packet; `None` if more bytes are needed.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Received>, PacketError> {
        if let Some(done) = self.skip(buffer) {
            return Ok(done);
        }
        let Some((kind, header, length)) = frame(buffer)? else { return Ok(None) };
        if length > self.limit {
            return self.begin_oversize(buffer, kind, header, length);
        }
        if buffer.len() < length {
            return Ok(None);
        }
        let mut packet = buffer.split_to(length);
        if kind == DISCONNECT {
            // Reason and properties may be left out (3.14.2.1, 3.14.2.2.1); the codec refuses both.
            return Ok(Some(Received::Disconnect(farewell(packet.get(header).copied().unwrap_or_default()))));
        }
        Packet::read(&mut packet, None).map_err(|e| PacketError::Malformed(e.to_string())).and_then(received).map(Some)
    }

    /// Throws away what belongs to an oversize packet. `Some(None)` while it is not over.
    fn skip(&mut self, buffer: &mut BytesMut) -> Option<Option<Received>> {
        let (left, _) = self.skipping.as_mut()?;
        let now = buffer.len().min(*left);
        buffer.advance(now);
        *left -= now;
        if *left > 0 {
            return Some(None);
        }
        self.skipping.take().map(|(_, message)| Some(Received::Message(message)))
    }

    fn begin_oversize(
        &mut self,
        buffer: &mut BytesMut,
        kind: u8,
        header: usize,
        length: usize,
    ) -> Result<Option<Received>, PacketError> {
        if kind != PUBLISH {
            return Err(PacketError::TooLarge { kind, length, limit: self.limit });
        }
        let (first, head) = (buffer[0], &buffer[header..]);
        let [high, low, rest @ ..] = head else { return Ok(None) };
        let topic_length = usize::from(u16::from_be_bytes([*high, *low]));
        let id_length = if first & 0b0110 == 0 { 0 } else { 2 };
        let needed = 2 + topic_length + id_length;
        if header + needed > length {
            return Err(PacketError::Malformed("a topic longer than its packet".into()));
        }
        if head.len() < needed {
            return Ok(None);
        }
        let id = if id_length == 0 { 0 } else { u16::from_be_bytes([rest[topic_length], rest[topic_length + 1]]) };
        let message = Message {
            topic: Bytes::copy_from_slice(&rest[..topic_length]),
            payload: Bytes::new(),
            id,
            redelivered: first & 0b1000 != 0,
            oversize: Some(length),
        };
        self.skipping = Some((length, message));
        Ok(self.skip(buffer).flatten())
    }
}

/// Type, length of the fixed header and length of the whole packet at the head of `buffer`, once they are there.
fn frame(buffer: &[u8]) -> Result<Option<(u8, usize, usize)>, PacketError> {
    let [first, rest @ ..] = buffer else { return Ok(None) };
    let mut remaining = 0;
    for (place, byte) in rest.iter().take(HEADER - 1).enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let header = 2 + place;
            return Ok(Some((first >> 4, header, header + remaining)));
        }
    }
    if rest.len() < HEADER - 1 { Ok(None) } else { Err(PacketError::Malformed("a length of more than 4 bytes".into())) }
}

fn received(packet: Packet) -> Result<Received, PacketError> {
    match packet {
        Packet::Publish(p) if p.qos == QoS::ExactlyOnce => {
            Err(PacketError::Malformed("a message with QoS 2, which was not subscribed to".into()))
        }
        Packet::Publish(p) => Ok(Received::Message(Message {
            topic: p.topic,
            payload: p.payload,
            id: p.pkid,
            redelivered: p.dup,
            oversize: None,
        })),
        Packet::PubAck(ack) => Ok(Received::PubAck(ack.pkid)),
        Packet::SubAck(ack) => Ok(Received::SubAck(ack.pkid, ack.return_codes.iter().map(refusal).collect())),
        Packet::ConnAck(ack) => Ok(Received::ConnAck(welcome(ack))),
        Packet::PingResp(_) => Ok(Received::PingResponse),
        other => Err(PacketError::Malformed(format!("unexpected {}", kind_of(&other)))),
    }
}

/// The name of a packet's type, without its content.
fn kind_of(packet: &Packet) -> String {
    let text = format!("{packet:?}");
    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

fn refusal(code: &SubscribeReasonCode) -> Option<String> {
    match code {
        SubscribeReasonCode::Success(_) => None,
        other => Some(format!("{other:?}")),
    }
}

fn welcome(ack: ConnAck) -> Welcome {
    let properties = ack.properties.as_ref();
    let no_qos1 = properties.and_then(|p| p.max_qos) == Some(0);
    let refused = match ack.code {
        ConnectReturnCode::Success if no_qos1 => Some("the broker offers QoS 0 only: allow QoS 1 in it".to_owned()),
        ConnectReturnCode::Success => None,
        code => Some(refused_connection(code, properties.and_then(|p| p.reason_string.as_deref()))),
    };
    Welcome {
        refused,
        session_present: ack.session_present,
        window: properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
        keep_alive: properties.and_then(|p| p.server_keep_alive),
        retains: properties.and_then(|p| p.retain_available) != Some(0),
    }
}

fn refused_connection(code: ConnectReturnCode, reason: Option<&str>) -> String {
    use ConnectReturnCode::{BadUserNamePassword, NotAuthorized, RefusedProtocolVersion, UnsupportedProtocolVersion};
    let remedy = match code {
        BadUserNamePassword | NotAuthorized => {
            ": check `username` and `password_file` in [mqtt] and the broker's users"
        }
        RefusedProtocolVersion | UnsupportedProtocolVersion => ": the broker must speak MQTT 5",
        _ => "",
    };
    let said = reason.map(|text| format!(" ({text})")).unwrap_or_default();
    format!("the broker refused the connection with {code:?}{said}{remedy}")
}

fn farewell(code: u8) -> String {
    match DisconnectReasonCode::try_from(code) {
        Ok(reason @ DisconnectReasonCode::SessionTakenOver) => format!(
            "the broker ended the connection with {reason:?}: another client uses the same `client_id`; give each agent its own \
             in [mqtt]"
        ),
        Ok(reason @ DisconnectReasonCode::NotAuthorized) => {
            format!("the broker ended the connection with {reason:?}: check its access list for this user")
        }
        Ok(reason) => format!("the broker ended the connection with {reason:?}"),
        Err(_) => format!("the broker ended the connection with reason {code:#04x}"),
    }
}

fn put(packet: &Packet, out: &mut BytesMut) -> Result<(), PacketError> {
    let before = out.len();
    packet.write(out, None).map(drop).map_err(|e| {
        out.truncate(before);
        PacketError::Encode(e.to_string())
    })
}

/// CONNECT: session kept, limits announced.
pub(super) fn connect(config: &MqttConfig, keep_alive: u16, out: &mut BytesMut) -> Result<(), PacketError> {
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX));
    properties.receive_maximum = Some(config.receive_maximum.max(1));
    properties.max_packet_size = Some(config.max_packet);
    let connect =
        Connect { keep_alive, client_id: config.client_id.clone(), clean_start: false, properties: Some(properties) };
    let password = config.password.as_ref().map(|secret| secret.reveal()).unwrap_or_default();
    let login = config.username.as_ref().map(|user| Login::new(user, password));
    put(&Packet::Connect(connect, None, login), out)
}

/// SUBSCRIBE with QoS 1. What the broker retains is never asked for: it is history, and a bare number in it has no time.
pub(super) fn subscribe(id: u16, filters: &[String], out: &mut BytesMut) -> Result<(), PacketError> {
    let one =
        |path: &String| Filter { retain_forward_rule: RetainForwardRule::Never, ..Filter::new(path, QoS::AtLeastOnce) };
    let mut subscribe = rumqttc::v5::mqttbytes::v5::Subscribe::new_many(filters.iter().map(one), None);
    subscribe.pkid = id;
    put(&Packet::Subscribe(subscribe), out)
}

/// PUBLISH with QoS 1.
pub(super) fn publish(id: u16, publication: &Publication, retain: bool, out: &mut BytesMut) -> Result<(), PacketError> {
    let mut publish = Publish::new(&publication.topic, QoS::AtLeastOnce, publication.payload.clone(), None);
    publish.pkid = id;
    publish.retain = retain;
    put(&Packet::Publish(publish), out)
}

/// PUBACK: 4 bytes.
pub(super) fn acknowledge(id: u16, out: &mut BytesMut) -> Result<(), PacketError> {
    put(&Packet::PubAck(PubAck::new(id, None)), out)
}

/// PINGREQ.
pub(super) fn ping(out: &mut BytesMut) -> Result<(), PacketError> {
    put(&Packet::PingReq(rumqttc::v5::mqttbytes::v5::PingReq), out)
}

/// DISCONNECT: the broker keeps the session.
pub(super) fn disconnect(out: &mut BytesMut) -> Result<(), PacketError> {
    put(&Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection)), out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(topic: &str, size: usize, id: u16) -> BytesMut {
        let mut out = BytesMut::new();
        let publication = Publication { topic: topic.into(), payload: vec![b'x'; size].into(), retain: false };
        publish(id, &publication, false, &mut out).unwrap();
        out
    }

    /// Everything that comes out when `bytes` arrive in pieces of `step`.
    fn read(limit: u32, bytes: &[u8], step: usize) -> Result<Vec<Received>, PacketError> {
        let (mut reader, mut buffer, mut out) = (Reader::new(limit), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(step.max(1)) {
            buffer.extend_from_slice(piece);
            while let Some(one) = reader.next(&mut buffer)? {
                out.push(one);
            }
        }
        Ok(out)
    }

    #[test]
    fn an_oversize_message_is_thrown_away_and_told_and_what_follows_is_read() {
        let mut bytes = message("a/b", 300_000, 7);
        let length = bytes.len();
        bytes.extend_from_slice(&message("c", 3, 8));
        for step in [1, 1000, usize::MAX] {
            let all = read(1000, &bytes, step.min(bytes.len())).unwrap();
            let [Received::Message(large), Received::Message(small)] = &all[..] else { panic!("{all:?}") };
            assert_eq!(
                (&large.topic[..], large.id, large.oversize, large.payload.len()),
                (&b"a/b"[..], 7, Some(length), 0)
            );
            assert_eq!((&small.topic[..], small.id, small.oversize, small.payload.len()), (&b"c"[..], 8, None, 3));
        }
    }

    #[test]
    fn an_oversize_message_is_never_held() {
        let bytes = message("a/b", 10_000_000, 7);
        let (mut reader, mut buffer) = (Reader::new(1000), BytesMut::new());
        let mut told = 0;
        for piece in bytes.chunks(4096) {
            buffer.extend_from_slice(piece);
            told += usize::from(reader.next(&mut buffer).unwrap().is_some());
            assert!(buffer.is_empty());
        }
        assert_eq!(told, 1);
    }

    #[test]
    fn a_packet_of_exactly_the_limit_is_read() {
        let bytes = message("a", 500, 1);
        assert!(
            matches!(&read(bytes.len() as u32, &bytes, 64).unwrap()[..], [Received::Message(m)] if m.oversize.is_none())
        );
        assert!(
            matches!(&read(bytes.len() as u32 - 1, &bytes, 64).unwrap()[..], [Received::Message(m)] if m.oversize.is_some())
        );
    }

    #[test]
    fn a_disconnect_without_reason_and_one_with_are_told_apart() {
        assert!(
            matches!(&read(100, &[0xe0, 0], 1).unwrap()[..], [Received::Disconnect(text)] if text.contains("Normal"))
        );
        assert!(
            matches!(&read(100, &[0xe0, 1, 0x8e], 1).unwrap()[..], [Received::Disconnect(text)] if text.contains("client_id"))
        );
    }

    #[test]
    fn a_broker_of_an_older_version_is_an_error_that_says_so() {
        let error = read(100, &[0x20, 2, 0, 0], 4).unwrap_err().to_string();
        assert!(error.contains("MQTT 5"), "{error}");
        assert!(matches!(&read(100, &[0x20, 3, 0, 0x87, 0], 5).unwrap()[..],
            [Received::ConnAck(Welcome { refused: Some(text), .. })] if text.contains("password_file")));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_from_the_network_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), step in 1..50usize) {
            let _ = read(64, &bytes, step);
        }

        #[test]
        fn packets_with_arbitrary_bodies_never_panic(kind in 0..16u8, flags in 0..16u8, body in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut bytes = vec![kind << 4 | flags, body.len() as u8];
            bytes.extend(body);
            let _ = read(256, &bytes, bytes.len());
            let _ = read(16, &bytes, 3);
        }

        #[test]
        fn messages_are_read_however_the_bytes_are_cut(sizes in prop::collection::vec(0..300usize, 1..20), step in 1..700usize) {
            let mut bytes = BytesMut::new();
            sizes.iter().zip(1..).for_each(|(size, id)| bytes.extend_from_slice(&message("t", *size, id)));
            let all = read(200, &bytes, step).unwrap();
            prop_assert_eq!(all.len(), sizes.len());
            for ((one, size), id) in all.iter().zip(sizes).zip(1..) {
                let Received::Message(m) = one else { panic!() };
                prop_assert_eq!(m.id, id);
                prop_assert!(m.oversize.is_some() || m.payload.len() == size);
            }
        }
    }
}
