//! Reservations: as rows of `list`, and one as a card.

use proto_schema::{Alive, EndReason, Reservation, SessionStatus};

use super::human::{Card, Columns, Page, Row, table};
use super::text::{age, fit, left};

/// The most that the column of the holder gets.
const HOLDER_MOST: usize = 11;

/// Who holds it: the harness, else what else is known of the agent.
pub(crate) fn agent(reservation: &Reservation) -> Option<String> {
    let known = [&reservation.harness, &reservation.model, &reservation.provider];
    known.into_iter().flatten().next().map(ToString::to_string)
}

fn holder(reservation: &Reservation) -> String {
    agent(reservation).unwrap_or_else(|| "-".to_owned())
}

fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Released => "released",
        EndReason::ProcessExited => "its process exited",
        EndReason::BootChanged => "the machine was restarted",
        EndReason::HeartbeatExpired => "no heartbeat came in time",
        EndReason::ConnectionLost => "its connection was lost",
        EndReason::Evicted => "evicted by an operator",
        EndReason::ReserveFailed => "its reserve failed",
        EndReason::Merged => "its work was merged",
        EndReason::HolderUnknown => "its process could not be looked at, and nothing renewed it",
    }
}

/// How it ended and when, once it has.
pub(crate) fn ended(reservation: &Reservation, now_ms: i64) -> Option<String> {
    let why = reservation.end_reason.map_or("ended", reason);
    let at = reservation.completed_at?;
    Some(format!("{why} {} ago", age(now_ms - at.unix_ms())))
}

/// Time left of a session that heartbeats keep alive.
fn time_left(reservation: &Reservation, now_ms: i64) -> String {
    let active = reservation.status == SessionStatus::Active;
    let heartbeat = reservation.hold.heartbeat.as_ref().filter(|_| active);
    heartbeat.map_or_else(|| "-".to_owned(), |heartbeat| left(heartbeat.expires_at.unix_ms() - now_ms))
}

/// How the connection of a session that one holds is.
fn connection(reservation: &Reservation) -> &'static str {
    match (reservation.alive, &reservation.hold.process) {
        (Alive::Unknown, None) => "its connection is lost; it ends unless it is resumed within 10 s",
        // The wire has one word for both.
        (Alive::Unknown, Some(_)) => "its connection is lost, or its process cannot be looked at from here",
        (Alive::Alive | Alive::Dead, _) => "while its connection is open",
    }
}

/// What keeps it alive, in words.
pub(crate) fn held(reservation: &Reservation, now_ms: i64) -> String {
    let hold = &reservation.hold;
    let mut words = Vec::new();
    if let Some(process) = &hold.process {
        let unknown = if reservation.alive == Alive::Unknown && !hold.connection {
            ", which cannot be looked at from here"
        } else {
            ""
        };
        words.push(format!("while process {} lives{unknown}", process.pid));
    }
    if let Some(heartbeat) = &hold.heartbeat {
        let ttl = left(i64::try_from(heartbeat.ttl_ms).unwrap_or(i64::MAX));
        words.push(format!("{} left, {ttl} from each heartbeat", left(heartbeat.expires_at.unix_ms() - now_ms)));
    }
    if hold.connection {
        words.push(connection(reservation).to_owned());
    }
    words.join("; ")
}

fn row(reservation: &Reservation, page: Page) -> Row {
    let mut facts: Vec<_> = ended(reservation, page.now_ms).into_iter().collect();
    if reservation.status == SessionStatus::Active {
        facts.extend(reservation.hold.process.as_ref().map(|process| format!("process {}", process.pid)));
        facts.extend(reservation.hold.connection.then(|| connection(reservation).to_owned()));
    }
    // `show` has the whole task; a path must be whole everywhere.
    facts.extend(reservation.task.as_ref().map(|task| page.line(task.as_str())));
    facts.extend(reservation.path.as_ref().map(ToString::to_string));
    Row {
        cells: vec![
            reservation.session_id.to_string(),
            reservation.status.as_str().to_owned(),
            reservation.thread.to_string(),
            fit(&holder(reservation), page.width.map_or(usize::MAX, |_| HOLDER_MOST)).into_owned(),
            age(page.now_ms - reservation.started_at.unix_ms()),
            time_left(reservation, page.now_ms),
        ],
        facts,
        faint: reservation.status != SessionStatus::Active,
    }
}

/// Renders `agent.list`.
pub(crate) fn list(reservations: &[Reservation], page: Page) -> String {
    let heading = &["SESSION", "STATUS", "THREAD", "HOLDER", "AGE", "LEFT"];
    let rows: Vec<_> = reservations.iter().map(|one| row(one, page)).collect();
    table(&Columns { heading, right: &[4, 5], elastic: 2 }, &rows, page)
}

/// Renders one reservation with everything that is known of it.
pub(crate) fn card(title: &str, reservation: &Reservation, page: Page) -> String {
    let agent = [&reservation.harness, &reservation.provider, &reservation.model, &reservation.thinking_level];
    let agent: Vec<_> = agent.into_iter().flatten().map(ToString::to_string).collect();
    let active = reservation.status == SessionStatus::Active;
    let usage = reservation.usage_summary.map(|usage| {
        format!(
            "{} tokens in, {} out, {} thinking, {} tool calls, ${}.{:06}",
            usage.input_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
            usage.tool_calls,
            usage.cost_micros_usd / 1_000_000,
            usage.cost_micros_usd % 1_000_000
        )
    });
    let since = age(page.now_ms - reservation.started_at.unix_ms());
    let status = match ended(reservation, page.now_ms) {
        Some(ended) => format!("{}: {ended}", reservation.status.as_str()),
        None => format!("{}, for {since}", reservation.status.as_str()),
    };
    Card::new(title, 8, page)
        .fact("session", &reservation.session_id.to_string())
        .fact("thread", reservation.thread.as_str())
        .fact("status", &status)
        .maybe("held", active.then(|| held(reservation, page.now_ms)))
        .fact("anchor", &reservation.anchor_state.to_string())
        .fact("fencing", &reservation.fencing_token.to_string())
        .maybe("agent", (!agent.is_empty()).then(|| agent.join(" / ")))
        .maybe("policy", reservation.policy.as_ref().map(proto_schema::Text::as_str))
        .maybe("task", reservation.task.as_ref().map(proto_schema::Text::as_str))
        .maybe("path", reservation.path.as_deref())
        .fact("repo", &reservation.repo)
        .maybe("parent", reservation.parent_session_id.map(|id| id.to_string()))
        .maybe("usage", usage)
        .fact("started", &reservation.started_at.to_string())
        .maybe("ended", reservation.completed_at.map(|at| at.to_string()))
        .end()
}
