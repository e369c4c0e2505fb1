//! Git's words: the name of a thread, and the id of an object.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::from_text;

/// Where Git keeps branches.
const PREFIX: &str = "refs/heads/";

/// Why a string cannot name a thread, with a name that can where one could be made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadNameError {
    /// What is wrong, as a clause: "it begins with `-`".
    pub problem: &'static str,
    /// A valid name made from the refused one.
    pub suggestion: String,
}

impl fmt::Display for ThreadNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a thread name: {}; try `{}`", self.problem, self.suggestion)
    }
}

impl std::error::Error for ThreadNameError {}

/// A named line of work: the branch `refs/heads/<thread>`.
///
/// At most 200 bytes that `git check-ref-format --branch` accepts: a branch that exists can have any such name. A branch that
/// is made new has a narrower one, see [`ThreadName::check_new`]. A leading `refs/heads/` is taken off.
///
/// ```
/// use proto_schema::ThreadName;
/// assert!("feature/login".parse::<ThreadName>().is_ok());
/// assert_eq!("refs/heads/fix".parse::<ThreadName>().unwrap().as_str(), "fix");
/// let refused = "feature//log in".parse::<ThreadName>().unwrap_err();
/// assert_eq!(refused.suggestion, "feature/log-in");
/// assert!("feat(api)".parse::<ThreadName>().unwrap().check_new().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadName(Arc<str>);

impl ThreadName {
    /// The most bytes a name may have.
    pub const MAX_BYTES: usize = 200;

    /// The name that sorts before every other: where a listing begins.
    #[must_use]
    pub fn least() -> Self {
        Self("!".into())
    }

    /// The thread of a branch, by the full name of its ref; `None` for other refs and for names that no thread can have.
    #[must_use]
    pub fn of_ref(name: &str) -> Option<Self> {
        let name = name.strip_prefix(PREFIX)?;
        Self::problem(name).is_none().then(|| Self(name.into()))
    }

    /// Checks that a branch of this name may be made: beyond what Git asks, only `A-Z a-z 0-9 _ . / @ + = -`, so that the name
    /// needs no quotes in any shell and is the same text everywhere.
    ///
    /// # Errors
    /// The name has another character.
    pub fn check_new(&self) -> Result<(), ThreadNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_./@+=-".contains(&byte);
        if self.0.bytes().all(allowed) {
            return Ok(());
        }
        let problem = "only A-Z a-z 0-9 _ . / @ + = - may be used in the name of a new branch";
        Err(ThreadNameError { problem, suggestion: self.suggest_new() })
    }

    /// A name made from this one that [`Self::check_new`] accepts.
    #[must_use]
    pub fn suggest_new(&self) -> String {
        Self::suggest(&self.0)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as text that can be kept without a copy.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The branch: `refs/heads/<thread>`.
    #[must_use]
    pub fn ref_name(&self) -> String {
        format!("refs/heads/{}", self.0)
    }

    fn problem(text: &str) -> Option<&'static str> {
        if text.is_empty() {
            return Some("it is empty");
        }
        if text.len() > Self::MAX_BYTES {
            return Some("it has more than 200 bytes");
        }
        if text.chars().any(|character| character.is_control() || " ~^:?*[\\".contains(character)) {
            return Some("Git allows no space, no control character and none of ~ ^ : ? * [ \\ in a branch name");
        }
        if text.starts_with(PREFIX) {
            return Some("`refs/heads/` stands in it twice");
        }
        if text.starts_with('-') {
            return Some("it begins with `-`");
        }
        if text.contains("..") || text.contains("@{") {
            return Some("it contains `..` or `@{`");
        }
        if text == "@" || text == "HEAD" {
            return Some("Git uses this name itself");
        }
        if text.starts_with('/') || text.ends_with('/') || text.contains("//") {
            return Some("a part between slashes is empty");
        }
        if text.split('/').any(|part| part.starts_with('.') || part.ends_with(".lock")) {
            return Some("a part begins with `.` or ends with `.lock`");
        }
        if text.ends_with('.') {
            return Some("it ends with `.`");
        }
        None
    }

    fn suggest(text: &str) -> String {
        let text = text.trim_start_matches(PREFIX);
        let mut name = String::new();
        for part in text.split('/') {
            let mut clean = String::new();
            for character in part.chars() {
                let keep = character.is_ascii_alphanumeric() || "_.@+=-".contains(character);
                let character = if keep { character } else { '-' };
                if matches!((clean.chars().last(), character), (Some('.'), '.') | (Some('-'), '-')) {
                    continue;
                }
                clean.push(character);
            }
            let mut clean = clean.trim_matches(['.', '-']);
            while let Some(shorter) = clean.strip_suffix(".lock") {
                clean = shorter.trim_end_matches(['.', '-']);
            }
            if clean.is_empty() {
                continue;
            }
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(clean);
        }
        name.truncate(Self::MAX_BYTES);
        let name = name.trim_end_matches(['.', '-', '/']).trim_end_matches(".lock");
        match Self::problem(name) {
            None => name.to_owned(),
            Some(_) => "work".to_owned(),
        }
    }
}

impl fmt::Display for ThreadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ThreadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for ThreadName {
    type Err = ThreadNameError;

    fn from_str(text: &str) -> Result<Self, ThreadNameError> {
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        match Self::problem(text) {
            None => Ok(Self(text.into())),
            Some(problem) => Err(ThreadNameError { problem, suggestion: Self::suggest(text) }),
        }
    }
}

impl Serialize for ThreadName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ThreadName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return from_text(deserializer, "a thread name");
        }
        // A record that a daemon has stored. It is read as it is: an older version has stored `refs/heads/x` as a name of its
        // own, and that thread must not be taken for `x`.
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let tail = name.trim_start_matches(PREFIX);
        match Self::problem(tail) {
            None => Ok(Self((&*name).into())),
            Some(problem) => Err(serde::de::Error::custom(problem)),
        }
    }
}

impl JsonSchema for ThreadName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ThreadName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": Self::MAX_BYTES,
            "pattern": "^[^\\x00-\\x20\\x7f~^:?*\\[\\\\]+$",
            "description": "A thread: the branch `refs/heads/<thread>`, as `git check-ref-format --branch` accepts it; a new one of `A-Z a-z 0-9 _ . / @ + = -` only.",
        })
    }
}

/// Why a string is not an object id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectIdError;

impl fmt::Display for ObjectIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object id is 40 (sha1) or 64 (sha256) lowercase hexadecimal digits")
    }
}

impl std::error::Error for ObjectIdError {}

/// The id of a Git object in full lowercase hex: a state (a commit) or a root (a tree), sha1 or sha256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    bytes: [u8; 32],
    length: u8,
}

impl ObjectId {
    /// Makes an id of a raw hash.
    ///
    /// # Errors
    /// The hash has neither 20 nor 32 bytes.
    pub fn from_bytes(raw: &[u8]) -> Result<Self, ObjectIdError> {
        let (length @ 20 | length @ 32) = raw.len() else { return Err(ObjectIdError) };
        let mut bytes = [0; 32];
        bytes[..length].copy_from_slice(raw);
        Ok(Self { bytes, length: if length == 20 { 20 } else { 32 } })
    }

    /// The raw hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn write<'a>(&self, out: &'a mut [u8; 64]) -> &'a str {
        let length = 2 * usize::from(self.length);
        data_encoding::HEXLOWER.encode_mut_str(self.as_bytes(), &mut out[..length])
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.write(&mut [0; 64]))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write(&mut [0; 64]))
    }
}

impl FromStr for ObjectId {
    type Err = ObjectIdError;

    fn from_str(text: &str) -> Result<Self, ObjectIdError> {
        if !matches!(text.len(), 40 | 64) {
            return Err(ObjectIdError);
        }
        let mut raw = [0; 32];
        match data_encoding::HEXLOWER.decode_mut(text.as_bytes(), &mut raw[..text.len() / 2]) {
            Ok(length) => Self::from_bytes(&raw[..length]),
            Err(_) => Err(ObjectIdError),
        }
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.write(&mut [0; 64]))
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "an object id")
    }
}

impl JsonSchema for ObjectId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ObjectId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$",
            "description": "A Git object id in full lowercase hex, sha1 or sha256.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suggestion_is_itself_a_thread_name() {
        let long = "x/".repeat(200);
        for text in [
            "",
            "-rf",
            "..",
            "a..b",
            "/a",
            "a/",
            "a//b",
            "a\nb",
            "a b",
            ".x",
            "x.lock",
            "x.lock.lock",
            "@",
            "HEAD",
            "a:b",
            "ü ü",
            "$(rm) x",
            "refs/heads/refs/heads/x",
            "refs/heads/",
            "\u{85}x",
            ".lock",
            "a/.lock",
            "~",
            &long,
            "a...b",
            "a.-.lock",
            "x.",
            "a@{b",
        ] {
            let refused = text.parse::<ThreadName>().expect_err(text);
            assert!(refused.suggestion.parse::<ThreadName>().is_ok(), "{text:?} -> {:?}", refused.suggestion);
        }
    }

    /// A branch can be held under whatever name Git let it have; one that is made new has a name that needs no quotes.
    #[test]
    fn a_name_that_exists_may_be_any_that_git_allows() {
        for text in ["feat(api)", "fix#12", "bücher", "🚀", "a!b", "$(rm)", "'", "@a", "a@b", "x{1}", "refs/x", "a;b"]
        {
            let name = text.parse::<ThreadName>().expect(text);
            assert_eq!(name.ref_name(), format!("refs/heads/{text}"));
            assert!(ThreadName::least() <= name, "{text}");
            let new = name.check_new();
            let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'@' || byte == b'/');
            assert_eq!(new.is_ok(), is_plain, "{text}");
            if let Err(refused) = new {
                assert!(refused.suggestion.parse::<ThreadName>().unwrap().check_new().is_ok(), "{text}");
            }
        }
        for text in ["a b", "a~", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a\tb", "a\u{7f}", "a\u{9b}", "a@{b"] {
            assert!(text.parse::<ThreadName>().is_err(), "{text:?}");
        }
    }

    /// One branch has one name.
    #[test]
    fn the_full_name_of_a_branch_is_its_name() {
        let name = |text: &str| text.parse::<ThreadName>();
        assert_eq!(name("refs/heads/x"), name("x"));
        assert_eq!(serde_json::from_str::<ThreadName>("\"refs/heads/x\"").unwrap().as_str(), "x");
        assert!(name("refs/heads/refs/heads/x").is_err());
        assert_eq!(ThreadName::of_ref("refs/heads/x"), name("x").ok());
        assert_eq!(ThreadName::of_ref("refs/heads/refs/heads/x"), None);
        assert_eq!(ThreadName::of_ref("refs/tags/x"), None);
    }

    #[test]
    fn an_object_id_is_full_lowercase_hex() {
        for text in ["a".repeat(40), "0".repeat(64)] {
            assert_eq!(text.parse::<ObjectId>().unwrap().to_string(), text);
        }
        for text in ["a".repeat(39), "A".repeat(40), "g".repeat(40), String::new()] {
            assert_eq!(text.parse::<ObjectId>(), Err(ObjectIdError));
        }
    }
}
