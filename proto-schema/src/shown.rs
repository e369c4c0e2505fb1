//! What a caller shows to be let in.

use std::borrow::Cow;
use std::convert::Infallible;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::from_text;

/// A session's id or secret as a caller shows it. Any text is taken: one that is malformed names no session and is nobody's
/// secret, and is answered just as another that is wrong.
///
/// ```
/// use proto_schema::{SessionId, Shown};
/// let shown: Shown<SessionId> = serde_json::from_str(r#""agent-x""#).unwrap();
/// assert_eq!(shown.get(), None);
/// assert!(serde_json::from_str::<Shown<SessionId>>("7").is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown<T>(Option<T>);

impl<T> Shown<T> {
    /// What was shown, if it is well-formed.
    pub fn get(self) -> Option<T> {
        self.0
    }
}

impl<T> From<T> for Shown<T> {
    fn from(shown: T) -> Self {
        Self(Some(shown))
    }
}

impl<T: FromStr> FromStr for Shown<T> {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.parse().ok()))
    }
}

impl<T: Serialize> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Shown<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a string")
    }
}

impl<T: JsonSchema> JsonSchema for Shown<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
