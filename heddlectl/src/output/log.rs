//! The operation log as a table.

use proto_schema::Operation;
use serde_json::Value;

use super::human::{Page, Row, table};
use super::text::fit;

/// The values of an operation, those that say something: `end_reason=evicted reason="gone for lunch"`.
fn detail(value: &Value) -> String {
    let words = value.as_object().into_iter().flatten().filter_map(|(name, value)| match value {
        Value::Null => None,
        Value::String(text) if text.contains(' ') => Some(format!("{name}={text:?}")),
        Value::String(text) => Some(format!("{name}={text}")),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(format!("{name}={value}")),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Renders `oplog.list`, oldest first.
pub(crate) fn table_of(operations: &[Operation], page: Page) -> String {
    let revisions = operations.iter().map(|one| one.revision.to_string().len()).max().unwrap_or_default().max(3);
    let kinds = operations.iter().map(|one| one.kind.as_str().len()).max().unwrap_or_default().max(4);
    let thread_width = page.beside(revisions + 19 + kinds + 26 + 4 * 2, 10);
    let rows: Vec<_> = operations
        .iter()
        .map(|operation| {
            let name = operation.thread.as_ref().map_or("-", proto_schema::ThreadName::as_str);
            let thread = fit(name, thread_width).into_owned();
            let detail = detail(&operation.detail);
            let mut below = Vec::new();
            if thread != name {
                below.push(name.to_owned());
            }
            if !detail.is_empty() {
                below.push(fit(&detail, page.beside(4, 20)).into_owned());
            }
            Row {
                cells: vec![
                    operation.revision.to_string(),
                    // To the second: `2026-08-01 12:00:00`.
                    operation.at.to_string().get(..19).unwrap_or_default().replace('T', " "),
                    operation.kind.as_str().to_owned(),
                    thread,
                    operation.session_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
                ],
                below,
                faint: false,
            }
        })
        .collect();
    table(&["REV", "AT (UTC)", "WHAT", "THREAD", "SESSION"], &[0], &rows)
}
