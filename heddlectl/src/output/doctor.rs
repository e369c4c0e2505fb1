//! The findings of `doctor`: problems first, each with its command below it; then what is well, a line each.

use std::fmt::Write as _;

use super::color::{ERROR, FAINT, GOOD, HINT, WARNING};
use super::human::{Page, count};
use super::text::clean;
use crate::doctor::{Finding, Status};

/// How wide the names are.
const NAME: usize = 18;

/// Renders them; when asked to be quiet, the problems alone.
pub(crate) fn page(findings: &[Finding], quiet: bool, page: Page) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.status);
    let mut text = String::new();
    for finding in sorted.into_iter().filter(|finding| !quiet || is_problem(finding)) {
        let (style, word) = match finding.status {
            Status::Error => (ERROR, "BAD "),
            Status::Warning => (WARNING, "warn"),
            Status::Ok => (GOOD, "ok  "),
            Status::Skipped => (FAINT, "-   "),
        };
        let summary = clean(&finding.summary).replace('\n', " ");
        // A problem is told whole; what is well may be cut to the page. Writing to a String cannot fail.
        let shown = if is_problem(finding) {
            summary
        } else {
            super::text::fit(&summary, page.beside(NAME + 8, 20)).into_owned()
        };
        writeln!(text, "{style}{word}{style:#}  {:NAME$} {shown}", finding.name).ok();
        if let Some(fix) = finding.fix.as_deref().filter(|_| is_problem(finding)) {
            writeln!(text, "      {HINT}fix:{HINT:#} {}", clean(fix)).ok();
        }
    }
    if !quiet {
        let many = |status| findings.iter().filter(|finding| finding.status == status).count() as u64;
        writeln!(text, "{}, {}", count(many(Status::Error), "error"), count(many(Status::Warning), "warning")).ok();
    }
    text
}

fn is_problem(finding: &Finding) -> bool {
    matches!(finding.status, Status::Error | Status::Warning)
}
