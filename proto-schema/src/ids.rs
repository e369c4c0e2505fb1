//! Identifiers: of a session, and of a request that may be repeated.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::{BASE32_NOPAD, Encoding};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a string is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdError(pub(crate) &'static str);

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for IdError {}

/// Lowercase base32 (RFC 4648 alphabet) without padding, canonical: the encoding of ids and tokens on the wire.
pub(crate) fn base32() -> &'static Encoding {
    use std::sync::OnceLock;
    static LOWER: OnceLock<Encoding> = OnceLock::new();
    LOWER.get_or_init(|| {
        let mut specification = BASE32_NOPAD.specification();
        specification.symbols.make_ascii_lowercase();
        // The specification is BASE32_NOPAD's own with its case changed, so it is valid; fall back to itself otherwise.
        specification.encoding().unwrap_or(BASE32_NOPAD)
    })
}

/// The symbols of lowercase base32, in the order of their values.
const SYMBOLS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Names one session for ever: `agent-` and 20 lowercase base32 characters (100 random bits, drawn by the daemon).
///
/// ```
/// use proto_schema::SessionId;
/// let id: SessionId = "agent-abcdefghij234567abcd".parse().unwrap();
/// assert_eq!(id.to_string(), "agent-abcdefghij234567abcd");
/// assert!("agent-ABCDEFGHIJ234567ABCD".parse::<SessionId>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u128);

impl SessionId {
    const PREFIX: &'static str = "agent-";
    const SYMBOLS: usize = 20;

    /// Makes an id of the low 100 bits of `random`.
    #[must_use]
    pub fn from_random(random: u128) -> Self {
        Self(random & ((1 << 100) - 1))
    }

    fn write(self, out: &mut [u8; 26]) -> &str {
        out[..6].copy_from_slice(Self::PREFIX.as_bytes());
        for (index, slot) in out[6..].iter_mut().enumerate() {
            let shift = 5 * (Self::SYMBOLS - 1 - index);
            *slot = SYMBOLS[((self.0 >> shift) & 31) as usize];
        }
        std::str::from_utf8(out).unwrap_or_default()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.write(&mut [0; 26]))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write(&mut [0; 26]))
    }
}

impl FromStr for SessionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        const WRONG: IdError = IdError("a session id is `agent-` and 20 lowercase base32 characters");
        let symbols = text.strip_prefix(Self::PREFIX).ok_or(WRONG)?;
        if symbols.len() != Self::SYMBOLS {
            return Err(WRONG);
        }
        symbols
            .bytes()
            .try_fold(0u128, |bits, symbol| {
                let value = match symbol {
                    b'a'..=b'z' => symbol - b'a',
                    b'2'..=b'7' => symbol - b'2' + 26,
                    _ => return Err(WRONG),
                };
                Ok(bits << 5 | u128::from(value))
            })
            .map(Self)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.write(&mut [0; 26]))
    }
}

/// Reads a value from a JSON string through its `FromStr`, without a copy where the input allows.
pub(crate) fn from_text<'de, D, T>(deserializer: D, expecting: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    struct Visitor<T>(&'static str, std::marker::PhantomData<T>);
    impl<T: FromStr> de::Visitor<'_> for Visitor<T>
    where
        T::Err: fmt::Display,
    {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Visitor(expecting, std::marker::PhantomData))
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a session id")
    }
}

impl JsonSchema for SessionId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SessionId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^agent-[a-z2-7]{20}$",
            "description": "One session: `agent-` and 20 lowercase base32 characters.",
        })
    }
}

/// Names one request of a caller, so that repeating it repeats nothing: 1 to 128 bytes of `[A-Za-z0-9_.:-]`, not beginning
/// with `.` or `-` (clients keep files of that name).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for RequestId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) || text.starts_with(['.', '-']) {
            return Err(IdError(
                "a request id is 1 to 128 characters of A-Z a-z 0-9 _ . : - and does not begin with . or -",
            ));
        }
        Ok(Self(text.into()))
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a request id")
    }
}

impl JsonSchema for RequestId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RequestId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9_:][A-Za-z0-9_.:-]{0,127}$",
            "description": "One request of a caller; the same id again gives the same answer.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_reads_back_what_it_wrote() {
        for random in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = SessionId::from_random(random);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn ids_that_could_be_taken_for_paths_or_options_are_refused() {
        for text in ["", ".", "..", "-x", "a/b", "a\nb", "a\0b", "a b", &"a".repeat(129)] {
            assert!(text.parse::<RequestId>().is_err(), "{text:?}");
        }
        for text in ["agent-", "agent-abcdefghij234567abc", "agent-abcdefghij234567abc1", "x"] {
            assert!(text.parse::<SessionId>().is_err(), "{text:?}");
        }
    }
}
