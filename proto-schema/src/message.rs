//! The message of a capture's commit: free text of several lines.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::from_text;
use crate::text::TextError;

/// The message of a commit: at most 65,536 bytes, not blank, no control characters but newline and tab, and no `Heddle-`
/// trailer, for those say what the daemon knows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Message(Arc<str>);

impl Message {
    /// The most bytes.
    pub const MAX: usize = 65_536;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a reader of trailers might take the line for one of the daemon's, whatever separators it is configured with.
fn is_heddle_trailer(line: &str) -> bool {
    let line = line.trim_start();
    let is_ours = line.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("heddle-"));
    let rest = line.trim_start_matches(|character: char| character.is_ascii_alphanumeric() || character == '-');
    is_ours && rest.trim_start().starts_with(|character: char| character.is_ascii_punctuation())
}

impl FromStr for Message {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let refused = |problem: &str| Err(TextError(problem.to_owned()));
        if text.len() > Self::MAX {
            return Err(TextError(format!("at most {} bytes are allowed, these are {}", Self::MAX, text.len())));
        }
        if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\t')) {
            return refused("control characters other than newline and tab are not allowed");
        }
        if text.trim().is_empty() {
            return refused("a message says something");
        }
        if text.lines().any(is_heddle_trailer) {
            return refused("trailers that begin with `Heddle-` are the daemon's own");
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "the message of a commit")
    }
}

impl JsonSchema for Message {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Message".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$";
        json_schema!({ "type": "string", "minLength": 1, "maxLength": Self::MAX, "pattern": pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_the_daemon_writes_its_trailers() {
        for text in [
            "work\n\nHeddle-Session: agent-x",
            "work\n\nheddle-fencing-token : 7",
            "work\n\n \tHEDDLE-Agent=x",
            "heddle-confidence#1",
        ] {
            assert!(text.parse::<Message>().is_err(), "{text:?}");
        }
        for text in [
            "heddle-work is done",
            "tell of Heddle-Session: as a word",
            "two\n\n\tlines",
            "a: b",
            "\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert!(text.parse::<Message>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_refused() {
        for text in ["", " \n\t", "a\r\nb", "\u{1b}[2J", "a\0b", "\u{9b}2J", &"x".repeat(65_537)] {
            assert!(text.parse::<Message>().is_err(), "{text:?}");
        }
        assert!("x".repeat(65_536).parse::<Message>().is_ok());
    }
}
