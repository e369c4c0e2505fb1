//! What `ready` found: whether the thread can be integrated, what stands in the way, and what to run next.

use std::fmt::Write as _;

use proto_schema::{Finding, ReadyResult, ReadyStatus};

use super::color::{ERROR, GOOD, STRONG};
use super::human::{Page, count};
use super::text::{clean, wrap};

/// The most paths of one finding that are shown.
const SHOWN: usize = 10;

/// Renders the answer.
pub(crate) fn report(result: &ReadyResult, page: Page) -> String {
    let (thread, report) = (result.thread.thread.as_str(), &result.report);
    let mut text = String::new();
    if let Some(state) = &result.captured_state {
        // Writing to a String cannot fail.
        writeln!(text, "captured {}", state.to_string().get(..12).unwrap_or_default()).ok();
    }
    let changes = count(report.changed_count, "path");
    match result.status {
        ReadyStatus::Completed => {
            let into = report.target_thread.as_ref().map(|target| format!(" for {target}")).unwrap_or_default();
            writeln!(text, "{GOOD}ready{GOOD:#}: {STRONG}{thread}{STRONG:#}{into}").ok();
        }
        ReadyStatus::Blocked => {
            writeln!(text, "{ERROR}blocked{ERROR:#}: {STRONG}{thread}{STRONG:#}").ok();
        }
    }
    let distance = match &report.target_thread {
        Some(target) => format!("{} ahead of {target}, {} behind; {changes} changed", report.ahead, report.behind),
        None => format!("{} since its base; {changes} changed", count(report.ahead, "commit")),
    };
    writeln!(text, "  {distance}").ok();
    for finding in &report.blockers {
        found(&mut text, "blocker", finding, page);
    }
    for finding in &report.warnings {
        found(&mut text, "warning", finding, page);
    }
    // A command is not broken into lines: it is there to be copied.
    writeln!(text, "  next:    {}", clean(&result.recommended_action)).ok();
    text
}

fn found(text: &mut String, word: &str, finding: &Finding, page: Page) {
    let columns = page.width.unwrap_or(usize::MAX);
    *text += &wrap(&format!("  {word}:"), &clean(&finding.summary), 11, columns);
    for path in finding.paths.iter().take(SHOWN) {
        writeln!(text, "             {}", clean(path)).ok();
    }
    if finding.paths.len() > SHOWN {
        writeln!(text, "             … and {} more", finding.paths.len() - SHOWN).ok();
    }
}
