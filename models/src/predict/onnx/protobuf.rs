//! As much of the protobuf wire format as ONNX files of dense networks need. Reading never allocates by what a length
//! promises. Format: "Encoding" in the Protocol Buffers documentation.

/// A message under construction; fields stand in the order in which they are added.
#[derive(Debug, Clone, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(value);
    }

    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    pub(super) fn message(&mut self, field: u32, message: &Message) {
        self.bytes(field, &message.0);
    }

    pub(super) fn packed(&mut self, field: u32, values: &[u64]) {
        let mut inner = Message::default();
        values.iter().for_each(|v| inner.varint(*v));
        self.message(field, &inner);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// One field's content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// 4 or 8 bytes of a fixed length; nothing we read has any.
    Fixed,
}

/// The fields of a message in order; ends after the first error, which is the offset within the message.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn field(&mut self) -> Option<(u32, Field<'a>)> {
        let key = varint(self.bytes, &mut self.at)?;
        let number = u32::try_from(key >> 3).ok()?;
        let fixed = match key & 7 {
            0 => {
                let value = varint(self.bytes, &mut self.at)?;
                return Some((number, Field::Number(value)));
            }
            1 => 8,
            5 => 4,
            2 => {
                let length = usize::try_from(varint(self.bytes, &mut self.at)?).ok()?;
                let end = self.at.checked_add(length)?;
                let inner = self.bytes.get(self.at..end)?;
                self.at = end;
                return Some((number, Field::Bytes(inner)));
            }
            _ => return None,
        };
        self.at = self.at.checked_add(fixed).filter(|end| *end <= self.bytes.len())?;
        Some((number, Field::Fixed))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), usize>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let began = self.at;
        let field = self.field();
        if field.is_none() {
            self.at = self.bytes.len();
        }
        Some(field.ok_or(began))
    }
}

/// Packed numbers; the offset of the first that is none.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<u64>, usize> {
    let (mut at, mut values) = (0, Vec::new());
    while at < bytes.len() {
        values.push(varint(bytes, &mut at).ok_or(at)?);
    }
    Ok(values)
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            // The tenth byte has room for one bit.
            return (shift < 63 || byte < 2).then_some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_documentation() {
        let mut message = Message::default();
        message.number(1, 150);
        message.text(2, "testing");
        assert_eq!(message.0, b"\x08\x96\x01\x12\x07testing");
        let fields: Vec<_> = Fields::new(&message.0).collect();
        assert_eq!(fields, [Ok((1, Field::Number(150))), Ok((2, Field::Bytes(b"testing")))]);
    }

    #[test]
    fn what_breaks_off_is_an_error_and_ends() {
        for bytes in
            [&b"\x08"[..], b"\x12\x07test", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0b", b"\x09\x00"]
        {
            assert_eq!(Fields::new(bytes).collect::<Vec<_>>(), [Err(0)], "{bytes:x?}");
        }
        assert!(unpack(&[0xFF; 11]).is_err());
        assert_eq!(unpack(b"\x96\x01\x01"), Ok(vec![150, 1]));
    }
}
