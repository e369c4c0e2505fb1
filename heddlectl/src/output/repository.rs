//! A repository's health, as a card.

use std::fmt::Write as _;

use proto_schema::{Verification, VerificationStatus};

use super::color::{ERROR, GOOD, HINT, WARNING};
use super::human::{Card, Page};
use super::text::{clean, wrap};

/// Where the summaries of the checks begin.
const INDENT: usize = 20;

/// Renders `repo.verify`.
pub(crate) fn card(found: &Verification, page: Page) -> String {
    let title = match found.status {
        VerificationStatus::Clean => "the repository is clean",
        VerificationStatus::Attention => "the repository wants attention",
        VerificationStatus::Broken => "the repository is broken",
    };
    let upstream = found.remote_drift.as_ref().map(|drift| match (drift.ahead, drift.behind) {
        (Some(ahead), Some(behind)) => format!("{}, {ahead} ahead, {behind} behind", drift.upstream),
        (None, _) | (_, None) => drift.upstream.to_string(),
    });
    let mut text =
        Card::new(title, 9, page).maybe("branch", found.git_branch.as_ref()).maybe("upstream", upstream).end();
    text.push('\n');
    let columns = page.width.unwrap_or(usize::MAX);
    for check in &found.checks {
        let (style, word) = match (check.clean, found.status) {
            (true, _) => (GOOD, "ok  "),
            (false, VerificationStatus::Broken) => (ERROR, "BAD "),
            (false, _) => (WARNING, "look"),
        };
        let name = format!("{}:", clean(&check.name));
        // Wrapped without its color, which has no width.
        let lines = wrap(&format!("  {word}  {name:12}"), &clean(&check.summary), INDENT, columns);
        let rest = lines.strip_prefix("  ").and_then(|lines| lines.strip_prefix(word)).unwrap_or(&lines);
        // Writing to a String cannot fail.
        write!(text, "  {style}{word}{style:#}{rest}").ok();
    }
    for (number, command) in found.recovery_commands.iter().enumerate() {
        let word = if number == 0 { "next:" } else { "  or:" };
        writeln!(text, "{HINT}{word}{HINT:#} {}", clean(command)).ok();
    }
    text
}
