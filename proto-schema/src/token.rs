//! The two tokens: the bearer secret of a reservation, and the public fencing number.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{base32, from_text};

/// Why a string is not a reservation token. It never repeats the string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenError;

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reservation token is `hrt_` and 52 lowercase base32 characters, canonical")
    }
}

impl std::error::Error for TokenError {}

/// The bearer secret of one reservation: `hrt_` and the base32 of 32 random bytes.
///
/// It is on the wire in the calls it authorizes and in the answer of `agent.reserve`, and nowhere else. `Debug` hides it,
/// and there is no `Display`: use [`ReservationToken::expose`] where it must be written.
///
/// ```
/// use proto_schema::ReservationToken;
/// let token = ReservationToken::from_bytes([7; 32]);
/// assert_eq!(format!("{token:?}"), "ReservationToken(..)");
/// assert_eq!(token.expose().parse(), Ok(token));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ReservationToken([u8; 32]);

impl ReservationToken {
    const PREFIX: &'static str = "hrt_";

    /// Makes a token of 32 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes, for hashing.
    #[must_use]
    pub fn secret(&self) -> &[u8; 32] {
        &self.0
    }

    /// The secret as it is written on the wire and in token files.
    #[must_use]
    pub fn expose(&self) -> String {
        let mut text = String::with_capacity(56);
        text.push_str(Self::PREFIX);
        base32().encode_append(&self.0, &mut text);
        text
    }
}

impl fmt::Debug for ReservationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReservationToken(..)")
    }
}

impl FromStr for ReservationToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let symbols = text.strip_prefix(Self::PREFIX).ok_or(TokenError)?;
        if symbols.len() != 52 {
            return Err(TokenError);
        }
        let mut bytes = [0; 32];
        // Non-zero trailing bits are refused, so one secret has one spelling.
        match base32().decode_mut(symbols.as_bytes(), &mut bytes) {
            Ok(32) => Ok(Self(bytes)),
            _ => Err(TokenError),
        }
    }
}

impl Serialize for ReservationToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.expose())
    }
}

impl<'de> Deserialize<'de> for ReservationToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a reservation token")
    }
}

impl JsonSchema for ReservationToken {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ReservationToken".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^hrt_[a-z2-7]{52}$",
            "description": "The bearer secret of one reservation: `hrt_` and the lowercase base32 of 32 random bytes.",
        })
    }
}

/// A public number, under 2^53, that rises with every reservation granted and is never used twice.
///
/// Compare it at the resource: a writer that shows a lower number than one already seen has lost its right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_secret_has_one_spelling() {
        let text = ReservationToken::from_bytes([0; 32]).expose();
        assert_eq!(text.len(), 56);
        let mut other = text.clone();
        other.pop();
        other.push('b'); // Sets a bit after the 256th.
        assert!(other.parse::<ReservationToken>().is_err());
        assert!(text.to_uppercase().parse::<ReservationToken>().is_err());
    }
}
