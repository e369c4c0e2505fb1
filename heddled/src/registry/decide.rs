//! Says what a command would change, or why it may not. Never changes anything itself.

use std::sync::Arc;

use proto_schema::{EndReason, FencingToken, SessionId, SessionStatus, ThreadMode};

use super::change::{Change, Ending};
use super::command::{Command, Reserve};
use super::holder::HolderProcess;
use super::record::{HoldRecord, Intent, Pulse, RepoId, RepoRecord, RequestRecord, SessionRecord, TokenHash};
use super::refusal::Refusal;
use super::state::Registry;

/// A yes of the registry.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// This would change.
    Change(Change),
    /// It is so already; nothing changes.
    Stands(Arc<SessionRecord>),
}

/// Says what `command` would change in `registry`.
///
/// # Errors
/// The refusal, when it may not be; nothing has changed then, and nothing would.
pub fn decide(registry: &Registry, command: &Command) -> Result<Decision, Refusal> {
    match command {
        Command::Reserve(reserve) => decide_reserve(registry, reserve),
        Command::Settle { session, created, path } => {
            let session = active(find(registry, *session)?)?;
            // A repeated request may make its worktree late, and must not close the intent of a move.
            if matches!(session.intent, Some(Intent::Move { .. } | Intent::Capture(_))) {
                return Err(Refusal::Busy);
            }
            Ok(Decision::Change(Change::Settled { session: session.id, created: *created, path: path.clone() }))
        }
        Command::Release { session, token_hash, status } => {
            let session = authorized(registry, *session, *token_hash)?;
            // A complete session that was merged since was still released as complete.
            let is_merged = session.status == SessionStatus::Merged && *status == SessionStatus::Complete;
            if session.status == *status || is_merged {
                return Ok(Decision::Stands(Arc::clone(session)));
            }
            end(active(session)?, *status, EndReason::Released)
        }
        Command::Evict { session, by, note } => {
            let session = active(find(registry, *session)?)?;
            settled(session)?;
            Ok(Decision::Change(Change::Ended(Box::new(Ending {
                session: session.id,
                status: SessionStatus::Abandoned,
                reason: EndReason::Evicted,
                by: Some(by.clone()),
                note: Some(note.clone()),
            }))))
        }
        Command::End { session, reason } => {
            let session = find(registry, *session)?;
            match (session.is_active(), reason) {
                (false, _) => Ok(Decision::Stands(Arc::clone(session))),
                // Only whoever did the Git work says that it failed, and so that it is over.
                (true, EndReason::ReserveFailed) => ended(session, SessionStatus::Abandoned, *reason),
                (true, _) => end(session, SessionStatus::Abandoned, *reason),
            }
        }
        Command::BeginMove { session, token_hash, intent } => {
            let session = active(authorized(registry, *session, *token_hash)?)?;
            settled(session)?;
            Ok(Decision::Change(Change::MoveIntended { session: session.id, intent: intent.clone() }))
        }
        Command::FinishMove { session, moved } => {
            let session = active(find(registry, *session)?)?;
            // The Git work of a reserve is settled, not finished: until then there may be no record of the thread.
            if matches!(session.intent, Some(Intent::Create | Intent::Worktree)) {
                return Err(Refusal::Busy);
            }
            Ok(Decision::Change(match (&session.intent, moved) {
                (Some(Intent::Move { expected, new }), true) => {
                    Change::Moved { session: session.id, before: *expected, after: *new }
                }
                (Some(Intent::Capture(capture)), true) => capture.change(session.id),
                _ => Change::MoveDropped { session: session.id },
            }))
        }
        Command::Check { session, token_hash, ready, checked, seen } => {
            let session = active(authorized(registry, *session, *token_hash)?)?;
            settled(session)?;
            let thread = registry.thread(&session.thread_key());
            // What was checked is not what is there now.
            if thread.is_some_and(|thread| thread.revision > *seen) {
                return Err(Refusal::Outdated);
            }
            let before = thread.and_then(|thread| thread.checked);
            let checked = checked.with_what_was_said(before);
            Ok(Decision::Change(Change::Checked { session: session.id, ready: *ready, checked }))
        }
        Command::Hold { session, token_hash, hold } => {
            let session = active(authorized(registry, *session, *token_hash)?)?;
            if session.hold == *hold {
                return Ok(Decision::Stands(Arc::clone(session)));
            }
            Ok(Decision::Change(Change::Held { session: session.id, hold: hold.clone() }))
        }
        Command::AddToken { session, process, token_hash } => add_token(registry, *session, process, *token_hash),
    }
}

fn add_token(
    registry: &Registry,
    session: SessionId,
    process: &HolderProcess,
    token_hash: TokenHash,
) -> Result<Decision, Refusal> {
    let session = active(find(registry, session)?)?;
    // The proof is about this process: the hold may have moved to another since.
    if session.hold.process.as_ref() != Some(process) {
        return Err(Refusal::TokenMismatch);
    }
    if session.accepts(token_hash) {
        return Ok(Decision::Stands(Arc::clone(session)));
    }
    let hold = HoldRecord { further_token: Some(token_hash), ..session.hold.clone() };
    Ok(Decision::Change(Change::Held { session: session.id, hold }))
}

/// Answers a request that is known already: the session it made, if the request is the same.
///
/// # Errors
/// `IdempotencyConflict` when it was used for something else, `Inactive` when its session has ended: never a new grant.
pub fn replay(
    registry: &Registry,
    request: &RequestRecord,
    token_hash: TokenHash,
) -> Result<Option<Arc<SessionRecord>>, Refusal> {
    let Some(session) = registry.request(&request.id) else { return Ok(None) };
    let before = session.request.as_ref().map(|before| before.params.as_slice()).unwrap_or_default();
    repeats((before, session.token_hash), request, token_hash)?;
    active(session).map(|session| Some(Arc::clone(session)))
}

/// Lets a request pass that is the same as the one of its id before, whose parameters and secret these were.
///
/// # Errors
/// `IdempotencyConflict`.
pub fn repeats(
    (params, secret): (&[super::ParamDigest], TokenHash),
    request: &RequestRecord,
    token_hash: TokenHash,
) -> Result<(), Refusal> {
    let conflict = |differing| Refusal::IdempotencyConflict { request: request.id.clone(), differing };
    if secret != token_hash {
        return Err(conflict(vec!["reservation_token".to_owned()]));
    }
    let differing = differing(params, &request.params);
    if differing.is_empty() { Ok(()) } else { Err(conflict(differing)) }
}

/// The names of the parameters that are not the same in both.
fn differing(before: &[super::ParamDigest], now: &[super::ParamDigest]) -> Vec<String> {
    let only_in = |these: &[super::ParamDigest], those: &[super::ParamDigest]| {
        these.iter().filter(|digest| !those.contains(digest)).map(|(name, _)| name.to_string()).collect::<Vec<_>>()
    };
    let mut names = only_in(before, now);
    names.extend(only_in(now, before));
    names.sort();
    names.dedup();
    names
}

/// Finds a session and checks the secret that was shown for it. The order of checks everywhere: not found, token, inactive.
///
/// # Errors
/// `NotFound`, `TokenMismatch`.
pub fn authorized(registry: &Registry, id: SessionId, token_hash: TokenHash) -> Result<&Arc<SessionRecord>, Refusal> {
    let session = find(registry, id)?;
    if session.accepts(token_hash) { Ok(session) } else { Err(Refusal::TokenMismatch) }
}

/// Finds a session.
///
/// # Errors
/// `NotFound`.
pub fn find(registry: &Registry, id: SessionId) -> Result<&Arc<SessionRecord>, Refusal> {
    registry.session(id).ok_or(Refusal::NotFound)
}

/// Lets only an active session pass.
///
/// # Errors
/// `Inactive`.
pub fn active(session: &Arc<SessionRecord>) -> Result<&Arc<SessionRecord>, Refusal> {
    if session.is_active() { Ok(session) } else { Err(Refusal::Inactive(Arc::clone(session))) }
}

/// From the recording of an intent to its outcome the session cannot end, and its thread is not granted.
fn settled(session: &SessionRecord) -> Result<(), Refusal> {
    if session.intent.is_none() { Ok(()) } else { Err(Refusal::Busy) }
}

fn end(session: &Arc<SessionRecord>, status: SessionStatus, reason: EndReason) -> Result<Decision, Refusal> {
    settled(session)?;
    ended(session, status, reason)
}

#[expect(clippy::unnecessary_wraps, reason = "it is the last step of decisions that can refuse")]
fn ended(session: &Arc<SessionRecord>, status: SessionStatus, reason: EndReason) -> Result<Decision, Refusal> {
    let ending = Ending { session: session.id, status, reason, by: None, note: None };
    Ok(Decision::Change(Change::Ended(Box::new(ending))))
}

fn decide_reserve(registry: &Registry, reserve: &Reserve) -> Result<Decision, Refusal> {
    let repeated = reserve.request.as_ref().map(|request| replay(registry, request, reserve.token_hash)).transpose()?;
    if let Some(session) = repeated.flatten() {
        return Ok(Decision::Stands(session));
    }
    if registry.era() > reserve.era {
        return Err(Refusal::Outdated);
    }
    let known = match reserve.repo.mark.and_then(|mark| registry.repo_marked(mark)) {
        Some(known) => Some(known),
        None => registry.repo_at(reserve.repo.key),
    };
    let is_another = |repo: &&Arc<RepoRecord>| {
        reserve.repo.mark.is_some() && repo.mark.is_some_and(|mark| Some(mark) != reserve.repo.mark)
    };
    if known.is_some_and(|repo| is_another(&repo)) {
        return Err(Refusal::Outdated);
    }
    if let Some(repo) = known {
        free(registry, repo.id, reserve)?;
    }
    if let Some(tip) = reserve.tip.filter(|tip| *tip != reserve.anchor) {
        return Err(Refusal::AnchorDrift { owner: None, reserved: tip, requested: reserve.anchor });
    }
    let value = registry.active_count();
    if value >= reserve.max_active {
        return Err(Refusal::TooManySessions { value, max: reserve.max_active });
    }
    let repo = match known {
        Some(repo) if !reserve.repo.moved && (repo.mark.is_some() || reserve.repo.mark.is_none()) => Arc::clone(repo),
        _ => Arc::new(RepoRecord {
            id: known.map_or(RepoId(registry.counters.repo + 1), |repo| repo.id),
            key: reserve.repo.key,
            git_dir: Arc::clone(&reserve.repo.git_dir),
            shown: Arc::clone(&reserve.repo.shown),
            mark: reserve.repo.mark,
            born: reserve.repo.born,
        }),
    };
    let is_new = known.is_none_or(|known| *known != repo);
    let session = Arc::new(grant(registry, repo.id, reserve));
    Ok(Decision::Change(Change::Reserved { session, repo: is_new.then_some(repo) }))
}

/// Lets a thread pass that nobody holds and of which the caller has the latest.
fn free(registry: &Registry, repo: RepoId, reserve: &Reserve) -> Result<(), Refusal> {
    let key = (repo, reserve.thread.clone());
    if let Some(owner) = registry.holder(&key) {
        if owner.anchor_state != reserve.anchor {
            let (reserved, requested) = (owner.anchor_state, reserve.anchor);
            return Err(Refusal::AnchorDrift { owner: Some(Arc::clone(owner)), reserved, requested });
        }
        let id = |request: &RequestRecord| request.id.clone();
        let same_request =
            reserve.request.is_some() && owner.request.as_ref().map(id) == reserve.request.as_ref().map(id);
        return Err(Refusal::LiveOwner { owner: Arc::clone(owner), same_request });
    }
    if let Some(existing) = registry.held_as(&key, reserve.repo.folding) {
        return Err(Refusal::NameConflict { existing });
    }
    if let Some(existing) = registry.beside(&key).filter(|_| reserve.tip.is_none()) {
        return Err(Refusal::NameConflict { existing });
    }
    match registry.thread(&key) {
        Some(thread) if thread.revision > reserve.seen => Err(Refusal::Outdated),
        _ => Ok(()),
    }
}

fn grant(registry: &Registry, repo: RepoId, reserve: &Reserve) -> SessionRecord {
    let thread = registry.thread(&(repo, reserve.thread.clone()));
    let intent = match (reserve.tip, reserve.worktree) {
        (None, _) => Some(Intent::Create),
        (Some(_), true) => Some(Intent::Worktree),
        (Some(_), false) => None,
    };
    SessionRecord {
        id: reserve.id,
        repo,
        thread: reserve.thread.clone(),
        thread_id: thread.map_or(registry.counters.thread + 1, |thread| thread.id),
        status: SessionStatus::Active,
        end_reason: None,
        intent,
        anchor_state: reserve.anchor,
        anchor_root: reserve.root,
        fencing_token: FencingToken(registry.counters.fencing + 1),
        token_hash: reserve.token_hash,
        hold: reserve.hold.clone(),
        recorded_state: reserve.anchor,
        pulse: Pulse { heartbeat_at: reserve.at, last_progress_at: reserve.at, usage: None },
        started_at: reserve.at,
        completed_at: None,
        path: reserve.path.clone(),
        agent: Arc::clone(&reserve.agent),
        request: reserve.request.clone(),
        thread_created: false,
        target_thread: reserve.target_thread.clone(),
        mode: if reserve.worktree { ThreadMode::Worktree } else { ThreadMode::InPlace },
    }
}

#[cfg(test)]
mod tests;
