//! Free text with a limit: what callers say about themselves and their work.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::from_text;

/// Why a string is refused as one line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError(pub(crate) String);

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TextError {}

/// One line of text: at most `MAX` bytes, no control characters, so that it can be printed to a terminal as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const MAX: usize>(Arc<str>);

/// One attribution field (provider, model, harness, thinking level, policy, ..): 256 bytes.
pub type Attribution = Text<256>;
/// A key of the harness's own: 256 bytes.
pub type NativeKey = Text<256>;
/// `name/version` of a client: 256 bytes.
pub type ClientName = Text<256>;
/// What a session is for: 4,096 bytes.
pub type Task = Text<4096>;
/// Why somebody broke the glass: 1,024 bytes.
pub type Reason = Text<1024>;
/// An absolute path: 4,096 bytes.
pub type PathText = Text<4096>;
/// A Git revision, as `git rev-parse` takes it: 4,096 bytes.
pub type Revision = Text<4096>;

impl<const MAX: usize> Text<MAX> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl<const MAX: usize> FromStr for Text<MAX> {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if text.len() > MAX {
            return Err(TextError(format!("at most {MAX} bytes are allowed, these are {}", text.len())));
        }
        if text.chars().any(char::is_control) {
            return Err(TextError("control characters are not allowed".to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<const MAX: usize> Serialize for Text<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "one line of text")
    }
}

impl<const MAX: usize> JsonSchema for Text<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Text{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MAX, "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$" })
    }
}
