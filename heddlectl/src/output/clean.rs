//! What `thread clean` removed, and what it kept.

use std::fmt::Write as _;

use proto_schema::CleanResult;

use super::color::STRONG;
use super::human::{Page, count};
use super::text::{clean, wrap};

/// Before the thread, its worktree and the reason.
const INDENT: usize = 9;

/// Renders `thread.clean`. Paths are never broken, so that they can be copied.
pub(crate) fn report(result: &CleanResult, dry_run: bool, page: Page) -> String {
    if result.removed.is_empty() && result.kept.is_empty() {
        return "There is nothing to clean: no thread of this repository has a linked worktree.\n".to_owned();
    }
    let columns = page.width.unwrap_or(usize::MAX);
    let line = |word: &str, text: &str| wrap(&format!("{word:INDENT$}"), &clean(text), INDENT, columns);
    let path = |path: &str| format!("{:INDENT$}{}\n", "", clean(path));
    let mut text = String::new();
    for removed in &result.removed {
        let word = if dry_run { "would go" } else { "removed" };
        // Writing to a String cannot fail.
        write!(text, "{STRONG}{}{STRONG:#}", line(word, removed.thread.as_str())).ok();
        text += &path(&removed.worktree);
    }
    for kept in &result.kept {
        text += &line("kept", kept.thread.as_str());
        text += &path(&kept.worktree);
        text += &line("", &kept.reason);
    }
    text + &wrap("", &sentence(result, dry_run), 0, columns)
}

fn sentence(result: &CleanResult, dry_run: bool) -> String {
    let removed = count(result.removed.len() as u64, "worktree");
    let gone = match (result.removed.is_empty(), dry_run) {
        (true, false) => return "Nothing was removed.".to_owned(),
        (true, true) => return "Nothing would be removed.".to_owned(),
        (false, false) if result.removed.len() == 1 => format!("{removed} was removed"),
        (false, false) => format!("{removed} were removed"),
        (false, true) => format!("{removed} would be removed"),
    };
    let branches = if result.removed.len() == 1 { "its branch stays" } else { "their branches stay" };
    format!("{gone}; {branches}.")
}
