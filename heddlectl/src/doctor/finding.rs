//! What a check found.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

/// How it stands with what was looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// It does not work.
    Error,
    /// It works, and will not always.
    Warning,
    /// It is as it should be.
    Ok,
    /// It could not be looked at, or is not there to be looked at.
    Skipped,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// What was looked at; stable.
    pub(crate) name: Cow<'static, str>,
    /// How it stands.
    pub(crate) status: Status,
    /// What was found, in a sentence.
    pub(crate) summary: String,
    /// The command that mends it, where one does.
    pub(crate) fix: Option<String>,
    /// The facts.
    pub(crate) details: Map<String, Value>,
}

impl Finding {
    fn new(name: impl Into<Cow<'static, str>>, status: Status, summary: impl Into<String>) -> Self {
        Self { name: name.into(), status, summary: summary.into(), fix: None, details: Map::new() }
    }

    /// It is as it should be.
    pub(crate) fn ok(name: impl Into<Cow<'static, str>>, summary: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, summary)
    }

    /// It works, and will not always.
    pub(crate) fn warning(name: &'static str, summary: impl Into<String>) -> Self {
        Self::new(name, Status::Warning, summary)
    }

    /// It does not work.
    pub(crate) fn error(name: impl Into<Cow<'static, str>>, summary: impl Into<String>) -> Self {
        Self::new(name, Status::Error, summary)
    }

    /// There is nothing to look at.
    pub(crate) fn skipped(name: &'static str, summary: impl Into<String>) -> Self {
        Self::new(name, Status::Skipped, summary)
    }

    /// Adds the command that mends it.
    pub(crate) fn fix(mut self, command: impl Into<String>) -> Self {
        self.fix = Some(command.into());
        self
    }

    /// Adds a command made of words, quoted for a shell.
    pub(crate) fn fix_words<const COUNT: usize>(self, words: [&str; COUNT]) -> Self {
        self.fix(shell_words::join(words))
    }

    /// Adds a fact.
    pub(crate) fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }
}
