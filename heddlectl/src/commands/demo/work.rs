//! The demo's second half: an agent works in a worktree of its own, has the daemon commit it, and has it checked.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proto_schema::{
    CaptureParams, CaptureResult, ReadyParams, ReadyResult, ReadyStatus, Reservation, ReserveResult, WorktreeRequest,
};

use super::stage::Stage;
use super::{Agent, THREAD, indented, ms, release, step};
use crate::client::Client;
use crate::clock;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{problem, text};

/// The file that the agent writes.
const FILE: &str = "heddle-demo.txt";

/// How long it took.
pub(super) struct Took {
    pub(super) capture: Duration,
    pub(super) ready: Duration,
}

/// Plays it; none where the repository's files cannot be checked out, as those of a partial clone.
pub(super) fn play(
    agent: &Agent,
    stage: &Stage,
    client: &mut Client,
    say: &dyn Fn(&str) -> Result<(), Error>,
) -> Result<Option<Took>, Error> {
    let worktree = Some(WorktreeRequest::default());
    let (ReserveResult { reservation, .. }, took) = match agent.reserve_in(stage, client, worktree) {
        Ok(granted) => granted,
        Err(refused) => {
            say(&step(4, "agent B asks for a worktree of its own", "not to be had in this clone"))?;
            say(&indented(&problem::render(&Error::from(refused).report(), text::WRAP - 5)))?;
            return Ok(None);
        }
    };
    let path = reservation.path.clone().ok_or_else(|| Error::garbled("the reservation has no worktree"))?;
    say(&step(4, "agent B takes it in a worktree of its own", &format!("checked out in {}", ms(took))))?;

    let file = Path::new(&*path).join(FILE);
    fs::write(&file, "Written by an agent.\n").map_err(|cause| Error::io("write", &file, &cause))?;
    let (captured, capture) = captured(client, &reservation)?;
    let state = captured.capture.state.to_string();
    let what = format!("it writes {FILE}; heddlectl capture");
    say(&step(5, &what, &format!("commit {} in {}", state.get(..10).unwrap_or(&state), ms(capture))))?;

    let (checked, ready) = checked(client, &reservation)?;
    let outcome = match (checked.status, &checked.report.target_thread) {
        (ReadyStatus::Blocked, _) => return Err(wrong("a thread with one new file is not ready")),
        (ReadyStatus::Completed, Some(target)) => format!("ready for {target} in {}", ms(ready)),
        (ReadyStatus::Completed, None) => format!("ready in {}", ms(ready)),
    };
    say(&step(6, "heddlectl ready", &outcome))?;
    release(client, &reservation)?;
    if !captured.capture.created || captured.capture.changed_count != 1 || checked.report.ahead != 1 {
        return Err(wrong("the capture does not have what the agent wrote"));
    }
    Ok(Some(Took { capture, ready }))
}

fn wrong(what: &str) -> Error {
    Error::local(Exit::UNEXPECTED, format!("{what}: this is a defect, in {THREAD}"))
}

fn captured(client: &mut Client, reservation: &Reservation) -> Result<(CaptureResult, Duration), Error> {
    let params = CaptureParams {
        session_id: reservation.session_id.into(),
        reservation_token: super::token(reservation)?.into(),
        worktree: None,
        message: "Fix the login form".parse().ok(),
        confidence: Some(0.9),
    };
    let before = clock::now();
    let answer = client.call("agent.capture", &params).map_err(Error::from)?;
    Ok((answer.read()?, clock::now() - before))
}

fn checked(client: &mut Client, reservation: &Reservation) -> Result<(ReadyResult, Duration), Error> {
    let params = ReadyParams {
        session_id: reservation.session_id.into(),
        reservation_token: super::token(reservation)?.into(),
        worktree: None,
        message: None,
        confidence: Some(0.9),
        verification: None,
    };
    let before = clock::now();
    let answer = client.call("agent.ready", &params).map_err(Error::from)?;
    Ok((answer.read()?, clock::now() - before))
}
