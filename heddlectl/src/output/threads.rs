//! Threads: as rows of `thread list`, and one as a card.

use proto_schema::{Freshness, ObjectId, Thread, ThreadMode, ThreadState};

use super::human::{Card, Columns, Page, Row, table};
use super::sessions;
use super::text::age;

/// A state in the few characters that are enough to tell it from others.
fn short(state: Option<&ObjectId>) -> String {
    state.map_or_else(|| "-".to_owned(), |state| state.to_string().chars().take(10).collect())
}

fn freshness(thread: &Thread) -> Option<&'static str> {
    match thread.freshness {
        Freshness::Current => Some("has all of its target's commits"),
        Freshness::Stale => Some("its target has moved on"),
        Freshness::Unknown => None,
    }
}

/// Renders `thread.list`.
pub(crate) fn list(threads: &[Thread], page: Page) -> String {
    let rows: Vec<_> = threads
        .iter()
        .map(|thread| {
            let held_by = thread.holder.as_ref().map_or_else(|| "-".to_owned(), |holder| holder.session_id.to_string());
            Row {
                cells: vec![
                    thread.thread.to_string(),
                    thread.state.as_str().to_owned(),
                    short(thread.current_state.as_ref()),
                    held_by,
                    age(page.now_ms - thread.updated_at.unix_ms()),
                ],
                facts: thread.task.iter().map(|task| page.line(task.as_str())).collect(),
                faint: matches!(thread.state, ThreadState::Merged | ThreadState::Abandoned),
            }
        })
        .collect();
    let heading = &["THREAD", "STATE", "TIP", "HELD BY", "AGE"];
    table(&Columns { heading, right: &[4], elastic: 0 }, &rows, page)
}

/// Renders one thread with everything that is known of it.
pub(crate) fn card(thread: &Thread, page: Page) -> String {
    let holder = thread.holder.as_ref().map_or_else(
        || "nobody".to_owned(),
        |holder| {
            let agent = sessions::agent(holder).map(|agent| format!("{agent}; ")).unwrap_or_default();
            format!("{} ({agent}{})", holder.session_id, sessions::held(holder, page.now_ms))
        },
    );
    let mode = match thread.mode {
        ThreadMode::Worktree => "in a worktree of its own",
        ThreadMode::InPlace => "in place",
    };
    let changed = (thread.changed_count > 0).then(|| {
        let shown = thread.changed_paths.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(" ");
        format!("{} paths: {shown}{}", thread.changed_count, if thread.changed_count > 8 { " …" } else { "" })
    });
    let tip = thread.current_state.as_ref().map_or_else(|| "there is no such branch".to_owned(), ToString::to_string);
    Card::new(thread.thread.as_str(), 8, page)
        .fact("state", thread.state.as_str())
        .fact("held by", &holder)
        .fact("tip", &tip)
        .fact("base", &thread.base_state.to_string())
        .maybe("merged", thread.merged_state.map(|state| state.to_string()))
        .maybe("target", thread.target_thread.as_ref().map(proto_schema::ThreadName::as_str))
        .maybe("parent", thread.parent_thread.as_ref().map(proto_schema::ThreadName::as_str))
        .maybe("fresh", freshness(thread))
        .maybe("changed", changed)
        .maybe("task", thread.task.as_ref().map(proto_schema::Text::as_str))
        .fact("work", mode)
        .maybe("path", thread.execution_path.as_deref())
        .fact("repo", &thread.repo)
        .fact("updated", &format!("{} ({} ago)", thread.updated_at, age(page.now_ms - thread.updated_at.unix_ms())))
        .end()
}
