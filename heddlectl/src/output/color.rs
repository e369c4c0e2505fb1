//! The few styles. Whether they reach the stream is anstream's decision: `--color`, NO_COLOR, and whether it is a terminal.

use anstyle::{AnsiColor, Style};

/// `error:`
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// `warning:`
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// `hint:` and `next:`
pub(crate) const HINT: Style = AnsiColor::Cyan.on_default().bold();
/// The heading of a table, the name of a thing.
pub(crate) const STRONG: Style = Style::new().bold();
/// What is over, and what is beside the point.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// What is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
