//! Threads: as rows of `thread list`, and one as a card.

use proto_schema::{Freshness, ObjectId, Thread, ThreadMode, ThreadState};

use super::human::{Card, Columns, Page, Row, count, table};
use super::sessions;
use super::text::age;

/// A state in the few characters that are enough to tell it from others.
fn short(state: Option<&ObjectId>) -> String {
    state.map_or_else(|| "-".to_owned(), |state| state.to_string().chars().take(10).collect())
}

/// How far a thread is from its target, in a few characters: `+3 -1`.
fn distance(thread: &Thread) -> String {
    match (thread.ahead, thread.behind) {
        (Some(ahead), Some(behind)) => format!("+{ahead} -{behind}"),
        (Some(ahead), None) => format!("+{ahead}"),
        (None, _) => "-".to_owned(),
    }
}

fn freshness(thread: &Thread) -> Option<String> {
    let (ahead, behind) = (thread.ahead?, thread.behind);
    let stands = match thread.freshness {
        Freshness::Current => "it has all of its target's commits",
        Freshness::Stale => "its target has moved on",
        Freshness::Unknown => return Some(format!("{} since its base", count(ahead, "commit"))),
    };
    Some(format!("{} ahead, {} behind: {stands}", ahead, behind.unwrap_or_default()))
}

/// What the agent said of its work when it last had it checked.
fn said(thread: &Thread) -> Option<String> {
    let verification = thread.verification_summary.as_ref();
    let number = |number: Option<u64>, word: &str| number.map(|number| format!("{} {word}", count(number, "test")));
    let parts: Vec<String> = [
        verification.and_then(|summary| number(summary.tests_passed, "passed")),
        verification.and_then(|summary| number(summary.tests_failed, "failed")),
        verification.and_then(|summary| summary.coverage_pct).map(|percent| format!("{percent} % covered")),
        verification.and_then(|summary| summary.lint_warnings).map(|number| count(number, "lint warning")),
        thread.confidence_summary.map(|confidence| format!("confidence {}", confidence.value)),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What kinds of files it touches, as far as those who integrate it must know.
fn impact(thread: &Thread) -> Option<String> {
    let names: Vec<&str> = thread.impact_categories.iter().map(|category| category.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The command that leads on.
fn next(thread: &Thread) -> String {
    let (name, repo) = (thread.thread.as_str(), &*thread.repo);
    let command = |words: &[&str]| shell_words::join(words);
    match (thread.state, &thread.holder, &thread.target_thread) {
        (_, Some(holder), _) => format!("heddlectl show --session {}", holder.session_id),
        (ThreadState::Ready, None, Some(target)) => {
            // Where the target cannot be switched to, nothing is merged into something else.
            let switch = command(&["git", "-C", repo, "switch", target.as_str()]);
            format!("{switch} && {}", command(&["git", "-C", repo, "merge", "--no-edit", name]))
        }
        (ThreadState::Merged, None, _) => command(&["heddlectl", "thread", "clean", "--repo", repo]),
        (_, None, _) => command(&["heddlectl", "reserve", "--thread", name, "--at-tip", "--repo", repo]),
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
                    distance(thread),
                    held_by,
                    age(page.now_ms - thread.updated_at.unix_ms()),
                ],
                facts: thread.task.iter().map(|task| page.line(task.as_str())).collect(),
                faint: matches!(thread.state, ThreadState::Merged | ThreadState::Abandoned),
            }
        })
        .collect();
    let heading = &["THREAD", "STATE", "TIP", "AHEAD", "HELD BY", "AGE"];
    table(&Columns { heading, right: &[5], elastic: 0 }, &rows, page)
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
        .maybe("stands", freshness(thread))
        .maybe("changed", changed)
        .maybe("touches", impact(thread))
        .maybe("checked", said(thread))
        .maybe("task", thread.task.as_ref().map(proto_schema::Text::as_str))
        .fact("work", mode)
        .maybe("path", thread.execution_path.as_deref())
        .fact("repo", &thread.repo)
        .fact("updated", &format!("{} ({} ago)", thread.updated_at, age(page.now_ms - thread.updated_at.unix_ms())))
        .fact("next", &next(thread))
        .end()
}
