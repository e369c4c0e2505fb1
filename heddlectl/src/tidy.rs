//! Puts away the token files that are of no more use, on the way of commands that talk to the daemon anyway.
//!
//! A file goes when its session is known to have ended: so said by a list, or asked for when the file is old. The token of
//! a session that ended a moment ago stays for a while, so that a release can be repeated.

use proto_schema::{Kind, Reservation, SessionStatus, ShowParams};

use crate::app::App;
use crate::client::{CallError, Client};
use crate::clock;
use crate::error::Error;
use crate::tokens::Tokens;

/// How long after its end a session's token is kept.
const KEPT_MS: i64 = 3_600_000;
/// How many old files are asked about at once.
const ASKED: usize = 16;

/// Puts away after a list: the sessions in it that ended, and old files.
pub(crate) fn after_list(app: &App, client: &mut Client, listed: &[Reservation]) {
    let now_ms = clock::wall_ms();
    let tokens = Tokens::beside(client.socket(), app.connector.uid);
    let ended = listed.iter().filter(|one| {
        one.status != SessionStatus::Active && one.completed_at.is_some_and(|at| now_ms - at.unix_ms() > KEPT_MS)
    });
    tokens.forget(ended.map(|one| one.session_id));
    old(client, &tokens, now_ms);
}

/// Puts away after a reserve: old files, and not each time, for that costs a look at every file.
pub(crate) fn after_reserve(app: &App, client: &mut Client, fencing_token: u64) {
    if fencing_token.is_multiple_of(32) {
        old(client, &Tokens::beside(client.socket(), app.connector.uid), clock::wall_ms());
    }
}

/// Asks about old files. What cannot be found out is left as it is, without a word: it is no part of what was asked for.
fn old(client: &mut Client, tokens: &Tokens, now_ms: i64) {
    for session_id in tokens.old(now_ms).into_iter().take(ASKED) {
        let over = match client.call("agent.show", &ShowParams { session_id }) {
            Ok(answer) => answer
                .read::<proto_schema::Chain>()
                .is_ok_and(|chain| chain.reservation.status != SessionStatus::Active),
            Err(CallError::Broken(_)) => return,
            Err(error @ CallError::Failed(_)) => Error::from(error).kind() == Some(Kind::AgentSessionNotFound),
        };
        if over {
            tokens.forget(std::iter::once(session_id));
        }
    }
}
