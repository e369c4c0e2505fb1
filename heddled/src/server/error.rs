//! The wire's errors: one way to make each, with the code and the rest of the table.

use std::sync::Arc;

use jsonrpsee::types::ErrorObjectOwned;
use proto_schema::{ErrorData, Kind};
use serde::Serialize;
use serde_json::json;

use crate::observe::masked;

/// An error on its way to the wire, and for the log alone what caused it.
#[derive(Clone, Debug)]
pub struct WireError(pub(super) Box<ErrorData>, Option<Box<str>>);

impl WireError {
    /// An error with what is wrong, what to do, and the facts.
    pub(super) fn new(kind: Kind, error: impl Into<String>, hint: impl Into<String>, details: &impl Serialize) -> Self {
        let data = ErrorData {
            kind,
            error: error.into(),
            hint: hint.into(),
            unsafe_condition: None,
            would_change: None,
            preserved: None,
            primary_command: None,
            recovery_commands: Vec::new(),
            retryable: kind.retryable(),
            retry_after_ms: None,
            details: serde_json::to_value(details).unwrap_or_else(|_| json!({})),
            request: None,
        };
        Self(Box::new(data), None)
    }

    /// Adds why it is refused: the unsafe condition, what would have changed, what was left untouched.
    pub(super) fn because(mut self, condition: impl Into<String>, would: &str, preserved: &str) -> Self {
        self.0.unsafe_condition = Some(condition.into());
        self.0.would_change = Some(would.to_owned());
        self.0.preserved = Some(preserved.to_owned());
        self
    }

    /// Adds the commands that help, the primary first.
    pub(super) fn with_commands(mut self, commands: Vec<String>) -> Self {
        self.0.primary_command = commands.first().cloned();
        self.0.recovery_commands = commands;
        self
    }

    /// Adds when to try again.
    pub(super) fn retry_after(mut self, ms: u64) -> Self {
        self.0.retry_after_ms = Some(ms);
        self
    }

    /// What the log is told of the cause.
    pub(super) fn cause(&self) -> &str {
        self.1.as_deref().unwrap_or_default()
    }

    /// Names the answer, as the log does.
    pub(super) fn named(mut self, request: &str) -> Self {
        self.0.request = Some(Arc::from(request));
        self
    }
}

impl From<WireError> for ErrorObjectOwned {
    fn from(error: WireError) -> Self {
        let (code, message) = (error.0.kind.code(), error.0.error.clone());
        Self::owned(code, message, Some(*error.0))
    }
}

/// The line is not JSON.
pub(super) fn not_json(problem: &serde_json::Error) -> WireError {
    let hint = "send one JSON-RPC 2.0 message a line, as UTF-8 JSON";
    WireError::new(Kind::ParseError, format!("the line is not JSON: {problem}"), hint, &json!({}))
}

/// The JSON is not a call.
pub(super) fn invalid_request(problem: &str) -> WireError {
    let problem = excerpt(problem);
    let hint = r#"send {"jsonrpc":"2.0","id":1,"method":"..","params":{..}}"#;
    WireError::new(Kind::InvalidRequest, format!("the message is not a JSON-RPC 2.0 call: {problem}"), hint, &json!({}))
}

/// There is no such method.
pub(super) fn no_method(name: &str) -> WireError {
    // What was sent is repeated only as far as it can be read at a glance.
    let name: String = masked(name).chars().filter(|character| !character.is_control()).take(64).collect();
    WireError::new(
        Kind::MethodNotFound,
        format!("there is no method `{name}`"),
        "rpc.discover lists the methods",
        &json!({}),
    )
    .with_commands(vec!["heddlectl schema".to_owned()])
}

/// A limit is reached.
pub(super) fn limit(name: &str, value: usize, max: usize) -> WireError {
    let details = proto_schema::LimitDetails { limit: name.to_owned(), value: value as u64, max: max as u64 };
    let hint = format!("try again later, or raise `{name}` under [limits] in heddled.toml");
    WireError::new(Kind::LimitExceeded, format!("the limit `{name}` of {max} is reached"), hint, &details)
}

/// The peer is another user.
pub(super) fn unauthorized() -> WireError {
    let hint = "each user runs a daemon of their own";
    WireError::new(Kind::UnauthorizedPeer, "this daemon serves another user", hint, &json!({}))
        .with_commands(vec!["heddlectl daemon start".to_owned()])
}

/// A defect of the daemon; its caller is told no more than that, the log its cause.
pub(super) fn internal(cause: impl ToString) -> WireError {
    let hint = "the daemon's log has the cause; please report it";
    let mut error = WireError::new(Kind::Internal, "an internal error", hint, &json!({}));
    error.1 = Some(cause.to_string().into());
    error
}

/// The beginning of a text, as far as an error repeats it: a token that was sent in the wrong place is not told.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 200;
    let text = masked(text);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A parameter is not what it should be.
pub(super) fn invalid_params(field: &str, expected: &str) -> WireError {
    // Both may repeat what was sent, which may be a whole line.
    let (field, expected) = (&excerpt(field), &excerpt(expected));
    let details = proto_schema::InvalidParamsDetails { field: field.to_owned(), expected: expected.to_owned() };
    let hint = "rpc.discover describes each method's parameters";
    WireError::new(Kind::InvalidParams, format!("the parameter `{field}` is not valid: {expected}"), hint, &details)
        .with_commands(vec!["heddlectl schema".to_owned()])
}
