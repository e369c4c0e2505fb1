//! The daemon about itself, as a card.

use std::fmt::Write as _;

use proto_schema::{Health, Info};

use super::color::{ERROR, GOOD};
use super::human::{Card, Page, count};
use super::text::{age, clean};

/// Renders `daemon.info`.
pub(crate) fn info(info: &Info, page: Page) -> String {
    let counts = &info.counts;
    Card::new(&format!("heddled {} is running", info.version), 9, page)
        .fact("pid", &format!("{}, for {}", info.pid, age(page.now_ms - info.started_at.unix_ms())))
        .fact("socket", &info.socket)
        .fact("state", &info.state_dir)
        .fact("registry", &format!("{}, revision {}", info.registry, info.revision))
        .fact("sessions", &format!("{} active, {} kept", counts.active_sessions, counts.sessions))
        .fact(
            "threads",
            &format!("{}, {}", count(counts.threads, "thread"), {
                let plural = if counts.repositories == 1 { "repository" } else { "repositories" };
                format!("in {} {plural}", counts.repositories)
            }),
        )
        .fact(
            "clients",
            &match counts.waiters {
                0 => count(counts.connections, "connection"),
                waiters => format!("{}, {waiters} waiting for a thread", count(counts.connections, "connection")),
            },
        )
        .maybe("set aside", (counts.quarantined > 0).then(|| count(counts.quarantined, "unreadable record")))
        .end()
}

/// Renders `daemon.health`.
pub(crate) fn health(health: &Health) -> String {
    let mut page = String::new();
    for check in &health.checks {
        let (style, word) = if check.clean { (GOOD, "ok  ") } else { (ERROR, "BAD ") };
        // Writing to a String cannot fail.
        writeln!(page, "  {style}{word}{style:#}  {}: {}", clean(&check.name), clean(&check.summary)).ok();
    }
    page
}
