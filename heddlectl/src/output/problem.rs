//! An error as people read it.

use std::fmt::Write as _;

use super::color::{ERROR, HINT};
use super::text::{clean, wrap};
use crate::error::Report;

/// Renders an error: what is wrong, the facts, what to do, the command to run, other commands.
///
/// Commands are never broken into lines: they are there to be copied.
pub(crate) fn render(report: &Report<'_>, columns: usize) -> String {
    let mut page = format!("{ERROR}error:{ERROR:#} {}\n", clean(report.message));
    for (word, fact) in &report.facts {
        let fact = clean(fact);
        page += &match *word {
            "" => wrap("  ", &fact, 2, columns),
            word => wrap(&format!("  {:<6}", format!("{word}:")), &fact, 8, columns),
        };
    }
    if let Some(hint) = report.hint {
        // The escapes of the style have no width, so the text is wrapped before it is styled.
        let wrapped = wrap("hint:", &clean(hint), 6, columns);
        page += &wrapped.replacen("hint:", &format!("{HINT}hint:{HINT:#}"), 1);
    }
    for (index, command) in report.commands.iter().enumerate() {
        // Writing to a String cannot fail.
        match index {
            0 => writeln!(page, "{HINT}next:{HINT:#} {}", clean(command)).ok(),
            _ => writeln!(page, "  or: {}", clean(command)).ok(),
        };
    }
    page
}
