//! Puts away the token files that are of no more use, on the way of commands that talk to the daemon anyway.
//!
//! A file goes when its session is known to have ended: so said by a list, or asked for when the file is old. The token of
//! a session that ended a moment ago stays for a while, so that a release can be repeated.

use proto_schema::{Chain, Kind, Reservation, SessionId, SessionStatus, ShowParams};

use crate::app::App;
use crate::client::Client;
use crate::clock;
use crate::error::Error;

/// How long after its end a session's token is kept.
const KEPT_MS: i64 = 3_600_000;
/// How many old files are asked about at once.
const ASKED: usize = 16;

/// Puts away after a list: the sessions in it that ended, and old files.
pub(crate) fn after_list(app: &App, client: &mut Client, listed: &[Reservation]) {
    tidy(app, client, listed);
}

/// Puts away after a reserve: old files, and not each time, for that costs a look at every file.
pub(crate) fn after_reserve(app: &App, client: &mut Client, fencing_token: u64) {
    if fencing_token.is_multiple_of(32) {
        tidy(app, client, &[]);
    }
}

fn tidy(app: &App, client: &mut Client, listed: &[Reservation]) {
    let now_ms = clock::wall_ms();
    let tokens = app.connector.tokens(client);
    let mut asked = 0;
    for file in tokens.kept() {
        let Some(session_id) = file.session else {
            if tokens.is_abandoned(&file, now_ms) {
                tokens.forget(&file);
            }
            continue;
        };
        let over = match listed.iter().find(|one| one.session_id == session_id) {
            Some(one) => one.completed_at.is_some_and(|at| now_ms - at.unix_ms() > KEPT_MS),
            None if asked < ASKED && tokens.is_old(&file, now_ms) => {
                asked += 1;
                is_over(client, session_id)
            }
            None => false,
        };
        if over {
            tokens.forget(&file);
        }
    }
}

/// Asks whether a session has ended. What cannot be found out is no, without a word: it is no part of what was asked for.
fn is_over(client: &mut Client, session_id: SessionId) -> bool {
    match client.call("agent.show", &ShowParams { session_id: session_id.into() }) {
        Ok(answer) => answer.read::<Chain>().is_ok_and(|chain| chain.reservation.status != SessionStatus::Active),
        Err(error) => Error::from(error).kind() == Some(Kind::AgentSessionNotFound),
    }
}
