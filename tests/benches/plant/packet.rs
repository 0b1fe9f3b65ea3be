//! The few MQTT 5 packets that a feeder needs, as bytes, from the side of a client and from that of a broker.

/// Packet types, the upper half of the first byte.
pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const SUBSCRIBE: u8 = 8;
pub(crate) const PINGREQ: u8 = 12;
pub(crate) const DISCONNECT: u8 = 14;

/// The property "Receive Maximum".
const RECEIVE_MAXIMUM: u8 = 0x21;

pub(crate) const PINGRESP: [u8; 2] = [0xd0, 0];
/// Accepted, without a session, without limits.
pub(crate) const CONNACK_ACCEPTED: [u8; 5] = [0x20, 3, 0, 0, 0];

fn length(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        out.push(if value > 0 { byte | 0x80 } else { byte });
        if value == 0 {
            return;
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    let size = u16::try_from(text.len()).expect("topics and names of a benchmark are short");
    out.extend(size.to_be_bytes());
    out.extend(text.as_bytes());
}

/// CONNECT with a clean session and without a keep-alive.
pub(crate) fn connect(client: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text("MQTT", &mut body);
    body.extend([5, 0b10, 0, 0, 0]);
    text(client, &mut body);
    let mut out = vec![0x10];
    length(body.len(), &mut out);
    out.extend(body);
    out
}

/// PUBLISH at QoS 1 with packet id 0; says where in `out` the packet id stands.
pub(crate) fn publish(topic: &str, payload: &[u8], out: &mut Vec<u8>) -> usize {
    out.push(0x32);
    length(2 + topic.len() + 2 + 1 + payload.len(), out);
    text(topic, out);
    let id = out.len();
    out.extend([0, 0, 0]);
    out.extend(payload);
    id
}

pub(crate) fn puback(id: [u8; 2]) -> [u8; 4] {
    [0x40, 2, id[0], id[1]]
}

/// SUBACK that grants QoS 1 to every filter of a SUBSCRIBE's body.
pub(crate) fn suback(subscribe: &[u8]) -> Vec<u8> {
    let (properties, size) = variable(&subscribe[2..]).expect("a SUBSCRIBE has properties");
    let mut rest = &subscribe[2 + size + properties..];
    let mut filters = 0;
    while let [high, low, tail @ ..] = rest {
        rest = tail.get(usize::from(u16::from_be_bytes([*high, *low])) + 1..).unwrap_or_default();
        filters += 1;
    }
    let mut out = vec![0x90];
    length(3 + filters, &mut out);
    out.extend([subscribe[0], subscribe[1], 0]);
    out.extend(std::iter::repeat_n(1, filters));
    out
}

/// A number of variable length, and how many bytes it takes.
fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, place + 1));
        }
    }
    None
}

/// The first packet in `bytes` once it is whole: (type, where its body begins, where it ends).
pub(crate) fn first(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (remaining, size) = variable(bytes.get(1..)?)?;
    let end = 1 + size + remaining;
    (bytes.len() >= end).then(|| (bytes[0] >> 4, 1 + size, end))
}

/// How many unacknowledged PUBLISH the sender of this CONNECT or CONNACK takes; 65,535 if it does not say.
pub(crate) fn receive_maximum(kind: u8, body: &[u8]) -> u16 {
    let before = if kind == CONNACK { 2 } else { 10 };
    let mut rest = body.get(before..).and_then(|b| variable(b).and_then(|(n, size)| b.get(size..size + n)));
    while let Some([property, tail @ ..]) = rest {
        let size = match *property {
            RECEIVE_MAXIMUM => return tail.get(..2).map_or(u16::MAX, |b| u16::from_be_bytes([b[0], b[1]])),
            0x11 | 0x27 => 4,
            0x13 | 0x22 => 2,
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => {
                2 + tail.get(..2).map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])))
            }
            _ => 1,
        };
        rest = tail.get(size..);
    }
    u16::MAX
}
