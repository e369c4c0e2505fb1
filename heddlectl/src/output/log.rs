//! The operation log as a table, and as lines while it grows.

use proto_schema::Operation;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::color::STRONG;
use super::human::{Columns, Page, Row, table};
use super::text::{clean, fit};

/// How many columns a thread has among lines.
const THREAD: usize = 18;
/// How many columns a session has.
const SESSION: usize = 26;
/// In fewer columns values say nothing.
const LEAST: usize = 10;

/// The values of an operation, those that say something: `reason="gone for lunch" end_reason=evicted`.
///
/// What people wrote comes first and what has parts last, for the line may be cut at its end.
fn detail(value: &Value) -> String {
    let mut values: Vec<_> = value.as_object().into_iter().flatten().collect();
    values.sort_by_key(|(name, value)| (value.is_object(), !matches!(name.as_str(), "reason" | "task")));
    let words = values.into_iter().filter_map(|(name, value)| match value {
        Value::Null => None,
        Value::String(text) if text.contains(' ') => Some(format!("{name}={text:?}")),
        Value::String(text) => Some(format!("{name}={text}")),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(format!("{name}={value}")),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Renders `oplog.list`, oldest first.
pub(crate) fn table_of(operations: &[Operation], page: Page) -> String {
    let rows: Vec<_> = operations
        .iter()
        .map(|operation| {
            let detail = Some(detail(&operation.detail)).filter(|detail| !detail.is_empty());
            Row {
                cells: vec![
                    operation.revision.to_string(),
                    // To the second: `2026-08-01 12:00:00`.
                    operation.at.to_string().get(..19).unwrap_or_default().replace('T', " "),
                    operation.kind.as_str().to_owned(),
                    operation.thread.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                    operation.session_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
                ],
                facts: detail.map(|detail| page.line(&detail)).into_iter().collect(),
                faint: false,
            }
        })
        .collect();
    let heading = &["REV", "AT (UTC)", "WHAT", "THREAD", "SESSION"];
    table(&Columns { heading, right: &[0], elastic: 3 }, &rows, page)
}

/// The heading of lines.
pub(crate) fn heading(page: Page) -> String {
    let at = if page.width.is_some() { "AT (UTC)" } else { "AT (UTC)           " };
    format!("{STRONG}{:>6}  {at}  {:<14}  {:<THREAD$}  SESSION{STRONG:#}\n", "REV", "WHAT", "THREAD")
}

/// Renders one operation as one line. The session stays whole, for commands take it; of the values a terminal shows what it
/// has room for.
pub(crate) fn line(operation: &Operation, page: Page) -> String {
    let at = operation.at.to_string();
    // Whoever looks knows the day; whoever reads it from a file later does not.
    let at = if page.width.is_some() { at.get(11..19) } else { at.get(..19) }.unwrap_or_default().replace('T', " ");
    let begin = format!("{:>6}  {at}  {:<14}  ", operation.revision, operation.kind.as_str());
    let room = page.beside(begin.len() + SESSION + 2, 8);
    let thread = operation.thread.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let (thread, columns) = (fit(&thread, room).into_owned(), THREAD.min(room));
    let mut line = format!("{begin}{thread:<columns$}");
    if let Some(session) = operation.session_id {
        line = format!("{line}  {session}");
    }
    let detail = clean(&detail(&operation.detail)).replace('\n', " ");
    let room = page.beside(line.width() + 2, 0);
    if !detail.is_empty() && room >= LEAST {
        line = format!("{line}  {}", fit(&detail, room));
    }
    line + "\n"
}

/// Renders one of a kind that this version does not know.
pub(crate) fn bare(revision: u64, kind: &str) -> String {
    format!("{revision:>6}  {}\n", clean(kind).replace('\n', "\\n"))
}
