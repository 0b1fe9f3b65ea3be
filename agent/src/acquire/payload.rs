//! Payloads of foreign publishers: JSON in the shapes that are found in plants, turned into readings.
//!
//! Pure. The core calls [`decode`] with what the topic said ([`Match`]) and the bytes; nothing here knows an asset or reads a
//! clock. A reading without a time keeps `None` and the core gives it its arrival time, marked.
//!
//! Shapes, where the template names the channel:
//! - `23.4`, or `"23.4"`: numbers as text are taken, because PLC gateways and home-grown scripts write them;
//! - `{"value": 23.4, "ts": 1732183514123, "unit": "Cel"}`; other fields are ignored.
//!
//! Where it does not: `{"temperature": 21.3, "pressure": {"value": 1.2, "unit": "bar"}, "ts": ".."}`: every field but time and
//! unit is a channel. A field that is no number is counted as rejected, because nothing is silent.
//!
//! And arrays of these. The time is `ts`, `timestamp` or `time`: RFC 3339 with an offset, or a number since 1970 whose
//! magnitude says whether it is seconds, milliseconds, microseconds or nanoseconds. A time that cannot be read rejects its
//! readings: arrival time would be a guess. `null` is what JavaScript writes for NaN and counts as such.
//!
//! Limits: [`MAX_BYTES`], [`MAX_READINGS`], [`MAX_DEPTH`]. Memory is bounded by a small multiple of the payload; a value is
//! never built as a tree.

use std::borrow::Cow;
use std::fmt;

use fettle_wire::{Micros, Name, Unit};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::template::Match;

/// The largest payload, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// The most readings one payload can carry, usable or not.
pub const MAX_READINGS: usize = 4096;
/// How deep arrays and objects may lie in each other.
pub const MAX_DEPTH: u8 = 4;

/// One value of a foreign publisher.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignReading<'a> {
    /// The channel, a valid name.
    pub channel: Cow<'a, str>,
    /// Event time, if the payload says it; any value, however absurd.
    pub time: Option<Micros>,
    /// The value, finite, in `unit`.
    pub value: f64,
    /// The unit: the payload's, else the template's; `None` leaves it to the registry.
    pub unit: Option<Unit>,
}

/// A payload taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<'a> {
    /// The asset, a valid name.
    pub asset: &'a str,
    /// Usable readings in the order of the payload.
    pub readings: Vec<ForeignReading<'a>>,
    /// Readings that are not usable: ledger reason and how many.
    pub rejected: Vec<(&'static str, u64)>,
}

/// Why a payload brought nothing at all. It counts as one reading, rejected for `reason`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct PayloadError {
    /// The ledger reason.
    pub reason: &'static str,
    /// What was wrong, for a dead letter.
    pub detail: String,
}

fn refuse<T>(reason: &'static str, detail: impl Into<String>) -> Result<T, PayloadError> {
    Err(PayloadError { reason, detail: detail.into() })
}

/// Takes a payload apart.
pub fn decode<'a>(found: Match<'a>, payload: &'a [u8]) -> Result<Decoded<'a>, PayloadError> {
    if let Err(error) = Name::check(found.asset) {
        return refuse("bad_name", format!("asset {:?}: {error}", shortened(found.asset)));
    }
    if payload.len() > MAX_BYTES {
        return refuse("oversized", format!("{} bytes are more than the limit of {MAX_BYTES}", payload.len()));
    }
    if payload.iter().all(u8::is_ascii_whitespace) {
        return refuse("empty", "the payload is empty");
    }
    let mut gather = Gather { unit: found.unit, readings: Vec::new(), rejected: Vec::new(), seen: 0, full: false };
    let mut json = serde_json::Deserializer::from_slice(payload);
    let element = Element { gather: &mut gather, channel: found.channel.map(Cow::Borrowed), depth: 0 };
    let outcome = element.deserialize(&mut json).and_then(|()| json.end());
    if gather.full {
        return refuse("oversized", format!("more than {MAX_READINGS} readings"));
    }
    if let Err(error) = outcome {
        return refuse("malformed_json", error.to_string());
    }
    if gather.seen == 0 {
        return refuse("empty", "the payload holds no reading");
    }
    let Gather { mut readings, rejected, .. } = gather;
    readings.iter_mut().for_each(|reading| reading.unit = reading.unit.or(found.unit));
    Ok(Decoded { asset: found.asset, readings, rejected })
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// What has been found so far.
struct Gather<'a> {
    /// The template's unit.
    unit: Option<Unit>,
    readings: Vec<ForeignReading<'a>>,
    rejected: Vec<(&'static str, u64)>,
    seen: usize,
    full: bool,
}

impl<'a> Gather<'a> {
    fn reject(&mut self, reason: &'static str, count: u64) {
        match self.rejected.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, n)) => *n += count,
            None => self.rejected.push((reason, count)),
        }
    }

    /// Takes one value; `Err` only at [`MAX_READINGS`].
    fn take<E: serde::de::Error>(&mut self, channel: Option<&Cow<'a, str>>, scalar: Scalar) -> Result<(), E> {
        self.seen += 1;
        if self.seen > MAX_READINGS {
            self.full = true;
            return Err(E::custom("too many readings"));
        }
        match (channel, scalar) {
            (None, _) => self.reject("unknown_channel", 1),
            (_, Scalar::NotNumber) => self.reject("malformed_json", 1),
            (Some(channel), _) if Name::check(channel).is_err() => self.reject("bad_name", 1),
            (_, Scalar::NotFinite) => self.reject("not_finite", 1),
            (Some(channel), Scalar::Number(value)) => {
                self.readings.push(ForeignReading { channel: channel.clone(), time: None, value, unit: None });
            }
        }
        Ok(())
    }

    /// Gives what an object said of itself to its readings, those from `start` on that do not know better.
    fn settle(&mut self, start: usize, time: Option<Option<Micros>>, declared: Option<Option<Unit>>) {
        if time == Some(None) {
            let dropped = self.readings.drain(start..).count();
            self.reject("malformed_json", dropped as u64);
        }
        if let Some(Some(time)) = time {
            self.readings[start..].iter_mut().for_each(|reading| _ = reading.time.get_or_insert(time));
        }
        let template = self.unit;
        let contradicts = |unit: Option<Unit>| match (unit, template) {
            (Some(declared), Some(template)) => declared.dimension() != template.dimension(),
            (declared, _) => declared.is_none(),
        };
        match declared {
            Some(unit) if contradicts(unit) => {
                let dropped = self.readings.drain(start..).count();
                self.reject("unit_contradiction", dropped as u64);
            }
            Some(unit) => self.readings[start..].iter_mut().for_each(|reading| reading.unit = reading.unit.or(unit)),
            None => {}
        }
    }
}

/// A single value, whatever it turned out to be.
#[derive(Clone, Copy)]
enum Scalar {
    Number(f64),
    NotFinite,
    NotNumber,
}

impl From<f64> for Scalar {
    fn from(value: f64) -> Self {
        if value.is_finite() { Self::Number(value) } else { Self::NotFinite }
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        text.trim().parse::<f64>().map_or(Self::NotNumber, Self::from)
    }
}

/// Anything that can stand where readings are expected.
struct Element<'g, 'a> {
    gather: &'g mut Gather<'a>,
    channel: Option<Cow<'a, str>>,
    depth: u8,
}

impl Element<'_, '_> {
    fn deeper<E: serde::de::Error>(&self) -> Result<u8, E> {
        if self.depth < MAX_DEPTH {
            Ok(self.depth + 1)
        } else {
            Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")))
        }
    }
}

impl<'a> DeserializeSeed<'a> for Element<'_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The visits of a number, a text, a boolean and null, all to `$take(self, scalar)`.
macro_rules! scalar_visits {
    ($value:ty, $take:expr) => {
        fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<$value, E> {
            $take(self, Scalar::from(value))
        }
        fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<$value, E> {
            $take(self, Scalar::from(value as f64))
        }
        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<$value, E> {
            $take(self, Scalar::from(value as f64))
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$value, E> {
            $take(self, Scalar::from(text))
        }
        fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<$value, E> {
            $take(self, Scalar::NotNumber)
        }
        fn visit_unit<E: serde::de::Error>(self) -> Result<$value, E> {
            $take(self, Scalar::NotFinite)
        }
    };
}

impl<'a> Visitor<'a> for Element<'_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, an object or an array of them")
    }

    scalar_visits!((), |element: Self, scalar| element.gather.take(element.channel.as_ref(), scalar));

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let Self { gather, channel, .. } = self;
        while let Some(()) = items.next_element_seed(Element { gather, channel: channel.clone(), depth })? {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut fields: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let Self { gather, channel, .. } = self;
        let start = gather.readings.len();
        let (mut value, mut time, mut unit) = (None, None, None);
        while let Some(key) = fields.next_key_seed(Text)? {
            match (&*key, &channel) {
                ("ts" | "timestamp" | "time", _) => time = Some(fields.next_value_seed(Time)?),
                ("unit", _) => unit = Some(Unit::from_code(&fields.next_value_seed(Text)?).ok()),
                ("value", Some(_)) => value = Some(fields.next_value_seed(Value)?),
                (_, Some(_)) => _ = fields.next_value::<IgnoredAny>()?,
                (_, None) => fields.next_value_seed(Element { gather, channel: Some(key), depth })?,
            }
        }
        match (&channel, value) {
            (Some(_), Some(scalar)) => gather.take(channel.as_ref(), scalar)?,
            (Some(_), None) => gather.take(channel.as_ref(), Scalar::NotNumber)?,
            (None, _) => {}
        }
        gather.settle(start, time, unit);
        Ok(())
    }
}

/// The `value` of an object: a scalar; an array or object there is not a number.
struct Value;

impl<'a> DeserializeSeed<'a> for Value {
    type Value = Scalar;
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Value {
    type Value = Scalar;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }
    scalar_visits!(Scalar, |_: Self, scalar| Ok(scalar));
    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Scalar, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::NotNumber)
    }
    fn visit_map<A: MapAccess<'a>>(self, mut fields: A) -> Result<Scalar, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::NotNumber)
    }
}

/// A text, borrowed where it has no escapes.
struct Text;

impl<'a> DeserializeSeed<'a> for Text {
    type Value = Cow<'a, str>;
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Cow<'a, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Text {
    type Value = Cow<'a, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(text))
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A time; `None` if it is none.
struct Time;

impl<'a> DeserializeSeed<'a> for Time {
    type Value = Option<Micros>;
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Option<Micros>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Time {
    type Value = Option<Micros>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time: RFC 3339, or a number since 1970")
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Option<Micros>, E> {
        Ok(Some(super::instant::from_integer(value)))
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Option<Micros>, E> {
        Ok(i64::try_from(value).ok().map(super::instant::from_integer))
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Option<Micros>, E> {
        Ok(super::instant::from_float(value))
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<Micros>, E> {
        Ok(super::instant::from_text(text))
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<Option<Micros>, E> {
        Ok(None)
    }
    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Option<Micros>, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-11-21T10:05:14.123Z
    const T: Micros = 1_732_183_514_123_000;

    fn found(channel: Option<&str>) -> Match<'_> {
        Match { asset: "pump", channel, unit: None }
    }

    fn values(decoded: &Decoded<'_>) -> Vec<(String, Option<Micros>, f64)> {
        decoded.readings.iter().map(|r| (r.channel.to_string(), r.time, r.value)).collect()
    }

    fn one(payload: &str) -> Vec<(String, Option<Micros>, f64)> {
        values(&decode(found(Some("t")), payload.as_bytes()).unwrap())
    }

    fn unit(code: &str) -> Option<Unit> {
        Some(Unit::from_code(code).unwrap())
    }

    #[test]
    fn a_bare_number_is_a_reading_without_time_also_as_text() {
        for payload in ["23.4", " 23.4\n", "\"23.4\"", "\" 23.4 \""] {
            assert_eq!(one(payload), [("t".to_owned(), None, 23.4)], "{payload}");
        }
        assert_eq!(one("-7")[0].2, -7.0);
    }

    #[test]
    fn an_object_brings_value_time_and_unit_in_any_order_and_other_fields_are_ignored() {
        for key in ["ts", "time", "timestamp"] {
            let payload =
                format!(r#"{{"quality":{{"a":[1]}},"unit":"Cel","{key}":1732183514123,"value":"21.5","seq":7}}"#);
            let decoded = decode(found(Some("t")), payload.as_bytes()).unwrap();
            assert_eq!(values(&decoded), [("t".to_owned(), Some(T), 21.5)]);
            assert_eq!(decoded.readings[0].unit, unit("Cel"));
            assert!(decoded.rejected.is_empty());
        }
        assert_eq!(one(r#"{"value":1,"ts":"2024-11-21T10:05:14.123Z"}"#)[0].1, Some(T));
        assert_eq!(one(r#"{"v\u0061lue":1}"#)[0].2, 1.0, "escapes in a field's name");
    }

    #[test]
    fn without_a_channel_every_field_but_time_and_unit_is_one() {
        let payload = r#"{"temperature":21.3,"ts":1732183514,"pressure":{"value":1.2,"unit":"bar","ts":1732183515},"device":"x"}"#;
        let decoded = decode(found(None), payload.as_bytes()).unwrap();
        let second = T - 123_000;
        let expected =
            [("temperature".to_owned(), Some(second), 21.3), ("pressure".to_owned(), Some(second + 1_000_000), 1.2)];
        assert_eq!(values(&decoded), expected);
        assert_eq!((decoded.readings[0].unit, decoded.readings[1].unit), (None, unit("bar")));
        assert_eq!(decoded.rejected, [("malformed_json", 1)], "the text field is counted");
    }

    #[test]
    fn arrays_are_taken_apart_in_order() {
        assert_eq!(
            one("[1, {\"value\":2,\"ts\":1732183514}, [3]]").iter().map(|r| r.2).collect::<Vec<_>>(),
            [1.0, 2.0, 3.0]
        );
        let decoded = decode(found(None), br#"[{"a":1,"ts":1732183514},{"a":2}]"#).unwrap();
        assert_eq!(values(&decoded).iter().map(|r| r.1.is_some()).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn what_is_not_usable_is_counted_with_its_reason() {
        let rejected = |channel, payload: &str| decode(found(channel), payload.as_bytes()).unwrap().rejected;
        assert_eq!(rejected(Some("t"), "null"), [("not_finite", 1)]);
        assert_eq!(rejected(Some("t"), "[\"NaN\",\"inf\",1]"), [("not_finite", 2)]);
        assert_eq!(rejected(Some("t"), "[true,\"on\",{\"value\":[1]},{\"val\":1}]"), [("malformed_json", 4)]);
        assert_eq!(rejected(Some("t t"), "1"), [("bad_name", 1)]);
        assert_eq!(rejected(None, r#"{"a b":1,"c":2}"#), [("bad_name", 1)]);
        assert_eq!(rejected(None, "1"), [("unknown_channel", 1)]);
        assert_eq!(rejected(Some("t"), r#"{"value":1,"ts":"yesterday"}"#), [("malformed_json", 1)]);
        assert_eq!(rejected(Some("t"), r#"{"value":1,"ts":null}"#), [("malformed_json", 1)]);
        assert_eq!(rejected(Some("t"), r#"{"value":1,"unit":"furlong"}"#), [("unit_contradiction", 1)]);
    }

    #[test]
    fn the_payloads_unit_may_differ_from_the_templates_only_within_its_dimension() {
        let kelvin = Match { unit: unit("K"), ..found(Some("t")) };
        let decoded = decode(kelvin, br#"{"value":1,"unit":"Cel"}"#).unwrap();
        assert_eq!(decoded.readings[0].unit, unit("Cel"));
        assert_eq!(decode(kelvin, b"1").unwrap().readings[0].unit, unit("K"));
        assert_eq!(decode(kelvin, br#"{"value":1,"unit":"bar"}"#).unwrap().rejected, [("unit_contradiction", 1)]);
    }

    #[test]
    fn what_is_no_payload_at_all_is_refused_with_a_reason() {
        let reason = |found: Match<'_>, payload: &[u8]| decode(found, payload).unwrap_err().reason;
        let t = found(Some("t"));
        assert_eq!(reason(t, b""), "empty");
        assert_eq!(reason(t, b"  \n"), "empty");
        assert_eq!(reason(t, b"[]"), "empty");
        assert_eq!(reason(found(None), br#"{"ts":5}"#), "empty");
        for broken in [&b"{"[..], b"1 2", b"NaN", b"1e999", b"\xff\xfe", b"[[[[[1]]]]]", b"{\"value\":1,}"] {
            assert_eq!(reason(t, broken), "malformed_json", "{}", String::from_utf8_lossy(broken));
        }
        assert_eq!(reason(Match { asset: "a/b", ..t }, b"1"), "bad_name");
        assert_eq!(reason(t, &vec![b' '; MAX_BYTES + 1]), "oversized");
    }

    #[test]
    fn the_number_of_readings_is_bounded() {
        let exactly = format!("[{}1]", "1,".repeat(MAX_READINGS - 1));
        assert_eq!(decode(found(Some("t")), exactly.as_bytes()).unwrap().readings.len(), MAX_READINGS);
        let more = format!("[{}1]", "1,".repeat(MAX_READINGS));
        assert_eq!(decode(found(Some("t")), more.as_bytes()).unwrap_err().reason, "oversized");
    }

    #[test]
    fn four_levels_are_read_and_the_fifth_is_not() {
        assert_eq!(one("[[[[1]]]]").len(), 1);
        assert_eq!(decode(found(Some("t")), b"[[[[[1]]]]]").unwrap_err().reason, "malformed_json");
    }
}
