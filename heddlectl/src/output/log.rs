//! The operation log as a table.

use proto_schema::Operation;
use serde_json::Value;

use super::human::{Columns, Page, Row, table};

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
