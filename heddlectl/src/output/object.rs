//! An error of this side of the socket as programs read it: the shape of the wire's error object, so that they need only
//! one way to read.

use serde::Serialize;
use serde_json::json;

use crate::error::Report;
use crate::exit::Exit;

/// The wire's error object, with a kind of ours.
#[derive(Serialize)]
struct Object<'a> {
    /// The exit code: no number of the wire's is that low.
    code: u8,
    message: &'a str,
    data: Data<'a>,
}

/// What `proto_schema::ErrorData` has.
#[derive(Serialize)]
struct Data<'a> {
    kind: &'static str,
    error: &'a str,
    hint: &'a str,
    unsafe_condition: Option<&'a str>,
    would_change: Option<&'a str>,
    preserved: Option<&'a str>,
    primary_command: Option<&'a str>,
    recovery_commands: &'a [&'a str],
    retryable: bool,
    retry_after_ms: Option<u64>,
    details: serde_json::Value,
    request: Option<&'a str>,
}

/// Renders the error; its facts are the details.
pub(crate) fn render(report: &Report<'_>, exit: Exit) -> String {
    let facts: Vec<_> = report.facts.iter().map(|(_, fact)| fact).collect();
    let data = Data {
        kind: exit.kind(),
        error: report.message,
        hint: report.hint.unwrap_or_default(),
        unsafe_condition: None,
        would_change: None,
        preserved: None,
        primary_command: report.commands.first().copied(),
        recovery_commands: &report.commands,
        retryable: exit == Exit::UNREACHABLE,
        retry_after_ms: None,
        details: json!({ "facts": facts }),
        request: None,
    };
    // Strings and numbers can always be written.
    serde_json::to_string(&Object { code: exit.0, message: report.message, data }).unwrap_or_default()
}
