//! What an error says beside its kind: what is wrong, why it is refused, and the exact commands that get the caller out.

use std::sync::Arc;

use proto_schema::{
    AnchorDriftDetails, EventsCompactedDetails, FencingDetails, HolderDetails, HolderProblem, IdempotencyDetails,
    InactiveDetails, Kind, LimitDetails, LiveOwnerDetails, NameDetails, NoDetails, ObjectId, Outcome, PathText,
    RepositoryProblem, ReserveParams, SessionId, StoreDetails, ThreadName, WaitTimeoutDetails,
};

pub(super) mod capture;
mod clean;
pub(super) mod findings;
pub(super) mod git;
mod mark;
mod worktree;

pub(super) use clean::stays;
use git::{git, name_conflict, not_found};

use super::context::Context;
use super::error::{WireError, internal, invalid_params, limit};
use super::wire;
use crate::coordinator::{Failure, View};
use crate::registry::{Refusal, SessionRecord};

const UNTOUCHED: &str = "no ref and no reservation was changed";

/// What the call was about, as far as its parameters say: for the commands.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) repo: Option<String>,
    pub(super) thread: Option<String>,
    pub(super) session: Option<SessionId>,
    pub(super) anchor: Option<String>,
}

impl About {
    pub(super) fn session(session: SessionId) -> Self {
        Self { session: Some(session), ..Self::default() }
    }

    pub(super) fn repo(repo: &PathText) -> Self {
        Self { repo: Some(repo.to_string()), ..Self::default() }
    }

    pub(super) fn reserve(params: &ReserveParams) -> Self {
        Self {
            repo: Some(params.repo.to_string()),
            thread: Some(params.thread.to_string()),
            session: None,
            anchor: params.anchor.as_ref().map(|anchor| anchor.to_string()),
        }
    }

    /// About the capture of a worktree: the one named, else the session's.
    pub(super) fn capture(context: &Context, session: SessionId, named: Option<&PathText>) -> Self {
        let snapshot = context.coordinator.snapshot();
        let record = snapshot.registry.session(session);
        let own = record.and_then(|record| record.path.as_deref());
        Self {
            repo: named.map(PathText::as_str).or(own).map(str::to_owned),
            thread: record.map(|record| record.thread.to_string()),
            ..Self::session(session)
        }
    }

    /// `heddlectl` with these words, and with the repository where it is known.
    fn command(&self, words: &[&str]) -> String {
        let repo = self.repo.iter().flat_map(|repo| ["--repo", repo.as_str()]);
        shell_words::join(["heddlectl"].into_iter().chain(words.iter().copied()).chain(repo))
    }

    /// `git` with these words, in the repository where it is known.
    fn git(&self, words: &[&str]) -> String {
        let repo = self.repo.iter().flat_map(|repo| ["-C", repo.as_str()]);
        shell_words::join(["git"].into_iter().chain(repo).chain(words.iter().copied()))
    }

    /// The same, in the repository of its session where the call named none: who is told a command may be anywhere.
    fn placed(&self, context: &Context) -> Self {
        let registry = &context.coordinator.snapshot().registry;
        let of_session = || registry.repo(registry.session(self.session?)?.repo).map(|repo| repo.shown.to_string());
        Self { repo: self.repo.clone().or_else(of_session), ..self.clone() }
    }

    fn show_thread(&self, thread: &str) -> String {
        self.command(&["thread", "show", thread])
    }

    fn reserve_at_tip(&self, thread: &str) -> String {
        self.command(&["reserve", "--thread", thread, "--at-tip"])
    }

    fn wait_for(&self, thread: &str) -> String {
        self.command(&["reserve", "--thread", thread, "--wait", "10m"])
    }
}

/// Reads the name of the thread that a call is about.
pub(super) fn thread_name(name: &str, about: &About) -> Result<ThreadName, WireError> {
    name.parse().map_err(|refused: proto_schema::ThreadNameError| {
        let error = format!("this cannot be a thread's name: {}", refused.problem);
        let hint = format!("use a name that Git takes as a branch, such as `{}`", refused.suggestion);
        name_invalid(error, hint, refused.suggestion, about)
    })
}

/// No thread can have this name; another, that it can have.
fn name_invalid(error: String, hint: String, suggestion: String, about: &About) -> WireError {
    let command = about.command(&["reserve", "--thread", &suggestion]);
    WireError::new(Kind::ThreadNameInvalid, error, hint, &NameDetails { suggestion }).with_commands(vec![command])
}

/// Makes the wire's error of a failure.
pub(super) fn explain(context: &Context, failure: &Failure, about: &About) -> WireError {
    let about = &about.placed(context);
    match failure {
        Failure::Refused(refusal) => refused(context, refusal, about),
        Failure::Repo(error) => git(error, about),
        Failure::Holder { pid, problem } => holder(*pid, *problem, about),
        Failure::HolderUnreadable { pid, cause } => holder_unreadable(*pid, cause),
        Failure::Store(outcome) => store(*outcome),
        Failure::Stale(session) => stale(context, session, about),
        Failure::Invalid { field, expected } => invalid_params(field, expected),
        Failure::Compacted { after, oldest } => compacted(*after, *oldest, about),
        Failure::NotServed(path) => not_found(path, RepositoryProblem::NotServed),
        Failure::ThreadNotFound => {
            let thread = about.thread.as_deref().unwrap_or("<thread>");
            let error = format!("no thread '{thread}' is known in this repository");
            WireError::new(Kind::ThreadNotFound, error, "reserve it to begin it", &NoDetails {})
                .with_commands(vec![about.reserve_at_tip(thread), about.command(&["thread", "list"])])
        }
        Failure::WaitTimeout { owner, position } => wait_timeout(context, owner, *position, about),
        Failure::TooManyWaiters { value, max } => {
            limit("waiters", *value, *max).with_commands(vec!["heddlectl list --all-repos --alive-only".to_owned()])
        }
        Failure::Queued => internal("a caller that does not wait was queued"),
        Failure::Overloaded { max } => limit("inbox", *max + 1, *max).retry_after(100),
        Failure::RepositoryBusy { repo, value, max } => busy(repo, *value, *max),
        Failure::Contended { reads } => {
            let error = format!("the thread changed each of the {reads} times that it was looked at");
            let details = LimitDetails { limit: "reads".to_owned(), value: *reads as u64, max: *reads as u64 };
            WireError::new(Kind::LimitExceeded, error, "others reserve it or move it right now: call again", &details)
                .because("what was seen of the branch was outdated", "the grant would be of another state", UNTOUCHED)
                .with_commands(vec![about.show_thread(about.thread.as_deref().unwrap_or("<thread>"))])
                .retry_after(100)
        }
        Failure::BeingRemoved(_) => {
            let error = "its worktree is being removed";
            WireError::new(Kind::Internal, error, "call again", &NoDetails {})
        }
        Failure::Recovering(_) => internal("a repository that is not settled was not waited for"),
        Failure::ShuttingDown => WireError::new(
            Kind::ShuttingDown,
            "the daemon is stopping",
            "call again once it has started",
            &NoDetails {},
        )
        .with_commands(vec!["heddlectl daemon start".to_owned()])
        .retry_after(1000),
        Failure::Broken(what) => internal(what),
    }
}

/// A repository does not answer, and has as many calls under way as it may have.
fn busy(repo: &str, value: usize, max: usize) -> WireError {
    let error = format!("{max} calls are under way in {repo}, and it does not answer");
    let hint = "its file system may hang: call again once it answers; other repositories are served";
    let details = LimitDetails { limit: "calls_per_repository".to_owned(), value: value as u64, max: max as u64 };
    WireError::new(Kind::LimitExceeded, error, hint, &details)
        .with_commands(vec!["heddlectl doctor".to_owned()])
        .retry_after(5000)
}

fn refused(context: &Context, refusal: &Refusal, about: &About) -> WireError {
    match refusal {
        Refusal::LiveOwner { owner, same_request } => live_owner(context, owner, *same_request, about),
        Refusal::AnchorDrift { owner, reserved, requested } => {
            drift(context, owner.as_ref(), *reserved, *requested, about)
        }
        Refusal::IdempotencyConflict { request, differing } => {
            let error = format!("the request_id {request} was used with another {}", differing.join(", "));
            let hint = "repeat the request exactly as it was, or send it under a new request_id";
            let details = IdempotencyDetails { request_id: request.clone(), differing: differing.clone() };
            WireError::new(Kind::IdempotencyConflict, error, hint, &details)
                .because("one request_id stands for one request", "two requests would pass as one", UNTOUCHED)
                .with_commands(vec![about.command(&["list"])])
        }
        Refusal::NotFound => {
            let session = about.session.map_or_else(|| "that".to_owned(), |session| session.to_string());
            let thread = about.thread.as_deref().unwrap_or("<thread>");
            let error = format!("no session {session} is known");
            WireError::new(Kind::AgentSessionNotFound, error, "reserve the thread", &NoDetails {})
                .because(
                    "this daemon never had it, or it ended so long ago that it is forgotten",
                    "an unknown session would change the repository",
                    "no heartbeat, capture, ref or worktree was changed",
                )
                .with_commands(vec![
                    format!(
                        "heddlectl reserve --thread {}",
                        if thread == "<thread>" { thread.into() } else { shell_words::quote(thread) }
                    ),
                    "heddlectl list --all-repos".to_owned(),
                ])
        }
        Refusal::TokenMismatch => {
            let session = about.session.map_or_else(String::new, |session| session.to_string());
            let hint = "use the token that this session's reserve answered; an operator ends it with evict";
            WireError::new(
                Kind::ReservationTokenMismatch,
                "the reservation token is not this session's",
                hint,
                &NoDetails {},
            )
            .because("the caller does not hold this session", "somebody else's session would change", UNTOUCHED)
            .with_commands(vec![format!("heddlectl show --session {session}")])
        }
        Refusal::Inactive(session) => inactive(context, session, about),
        Refusal::TooManySessions { value, max } => limit("active_sessions", *value, *max)
            .with_commands(vec!["heddlectl list --all-repos --alive-only".to_owned()]),
        Refusal::NameConflict { existing } => name_conflict(existing, about),
        Refusal::Outdated | Refusal::Busy => {
            WireError::new(Kind::Internal, "the thread changed while it was looked at", "call again", &NoDetails {})
        }
    }
}

/// A length of time in the largest unit that it is a whole number of.
fn span(ms: u64) -> String {
    let (unit_ms, unit) = [(3_600_000, " h"), (60_000, " min"), (1_000, " s")]
        .into_iter()
        .find(|(unit_ms, _)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms))
        .unwrap_or((1, " ms"));
    format!("{}{unit}", ms / unit_ms)
}

fn held_by(context: &Context, view: &View) -> String {
    let hold = &view.session.hold;
    let process = |pid: i32| match view.deadline.filter(|_| view.has_unknown_holder) {
        Some(deadline) => format!(
            "for process {pid} of another pid namespace, which cannot be looked at: free in {} s unless it is renewed",
            context.coordinator.until(deadline).div_ceil(1000)
        ),
        None => format!("for process {pid}"),
    };
    let connection = || match context.coordinator.since_lost(view) {
        Some((ago, left)) => format!(
            "by its connection, which was lost {} s ago: free in {} s unless it is resumed",
            ago / 1000,
            left.div_ceil(1000)
        ),
        None => "by its connection".to_owned(),
    };
    let holds = [
        hold.process.as_ref().map(|holder| process(holder.pid)),
        hold.ttl_ms.map(|ttl| format!("by heartbeats within {}", span(ttl))),
        hold.connection.then(connection),
    ];
    let holds: Vec<String> = holds.into_iter().flatten().collect();
    ["held", &holds.join(" and ")].join(" ")
}

fn live_owner(context: &Context, owner: &Arc<SessionRecord>, same_request: bool, about: &About) -> WireError {
    let (id, thread) = (owner.id, owner.thread.as_str());
    let snapshot = context.coordinator.snapshot();
    let waiters = snapshot.waiters(owner) as u64;
    let view = snapshot.view(owner);
    let owned = wire::reservation(context, &view, None);
    let details = LiveOwnerDetails { owner: owned, waiters, same_request };
    let hint = "look at who holds it; then wait for it, reserve another thread, or evict the holder with a reason";
    WireError::new(Kind::LiveOwner, format!("thread '{thread}' is held by {id}"), hint, &details)
        .because(holds(context, &view), "a second writer would start a competing history", UNTOUCHED)
        .with_commands(ways_out(owner, about))
}

fn holds(context: &Context, view: &View) -> String {
    let owner = &view.session;
    let (id, thread, since) = (owner.id, &owner.thread, owner.started_at);
    format!("{id} holds '{thread}' since {since} at {}, {}", owner.anchor_state, held_by(context, view))
}

/// What helps whoever wants a thread that is held.
fn ways_out(owner: &SessionRecord, about: &About) -> Vec<String> {
    let (id, thread) = (owner.id, owner.thread.as_str());
    let evict = format!("heddlectl evict --session {id} --reason '<why>'");
    vec![about.show_thread(thread), about.wait_for(thread), evict]
}

fn wait_timeout(context: &Context, owner: &Arc<SessionRecord>, position: usize, about: &About) -> WireError {
    let view = context.coordinator.snapshot().view(owner);
    let details = WaitTimeoutDetails { owner: wire::reservation(context, &view, None), position: position as u64 };
    let thread = &owner.thread;
    let before = match position {
        1 => "you were the next".to_owned(),
        _ => format!("{} others were before you", position - 1),
    };
    let hint = "look at who holds it; then wait longer, reserve another thread, or evict the holder with a reason";
    WireError::new(Kind::WaitTimeout, format!("thread '{thread}' was not free in time; {before}"), hint, &details)
        .because(holds(context, &view), "a second writer would start a competing history", UNTOUCHED)
        .with_commands(ways_out(owner, about))
}

fn drift(
    context: &Context,
    owner: Option<&Arc<SessionRecord>>,
    reserved: ObjectId,
    requested: ObjectId,
    about: &About,
) -> WireError {
    let thread = owner.map_or_else(|| about.thread.as_deref().unwrap_or_default(), |owner| owner.thread.as_str());
    let snapshot = context.coordinator.snapshot();
    let shown = owner.map(|owner| wire::reservation(context, &snapshot.view(owner), None));
    let waiters = owner.map_or(0, |owner| snapshot.waiters(owner) as u64);
    let details = AnchorDriftDetails { owner: shown, reserved_anchor: reserved, requested_anchor: requested, waiters };
    let (condition, hint, commands) = match owner {
        Some(owner) => (
            format!("{} holds '{thread}' at {reserved}, not at {requested}", owner.id),
            "look at who holds it; then wait for it and take it over at its tip, or reserve another thread",
            ways_out(owner, about),
        ),
        None => (
            format!("'{thread}' stands at {reserved}, the request says {requested}"),
            "the thread has moved on: reserve it at its tip",
            vec![about.reserve_at_tip(thread), about.show_thread(thread)],
        ),
    };
    let stands = if owner.is_some() { "is held" } else { "stands" };
    let error = format!("thread '{thread}' {stands} at another state than the one asked for");
    WireError::new(Kind::AnchorDrift, error, hint, &details)
        .because(condition, "the same name would fork into two histories", UNTOUCHED)
        .with_commands(commands)
}

fn no_longer(session: &SessionRecord) -> String {
    format!("{} holds '{}' no longer", session.id, session.thread)
}

/// How a session ended, and who holds its thread now.
fn ended(context: &Context, session: &SessionRecord) -> String {
    let how = session.end_reason.map_or("ended", proto_schema::EndReason::as_str);
    let when = session.completed_at.unwrap_or_default();
    let snapshot = context.coordinator.snapshot();
    let now = match snapshot.registry.holder(&session.thread_key()) {
        Some(holder) => format!("{} holds the thread now", holder.id),
        None => "nobody holds the thread now".to_owned(),
    };
    format!("it is {} since {when} ({how}); {now}", session.status.as_str())
}

fn inactive(context: &Context, session: &SessionRecord, about: &About) -> WireError {
    let details =
        InactiveDetails { status: session.status, end_reason: session.end_reason, completed_at: session.completed_at };
    let hint = "stop writing; reserve the thread again to go on";
    WireError::new(Kind::AgentSessionInactive, no_longer(session), hint, &details)
        .because(
            ended(context, session),
            "a writer that lost its right would write",
            "nothing was changed, not even its heartbeat",
        )
        .with_commands(vec![
            about.reserve_at_tip(session.thread.as_str()),
            format!("heddlectl show --session {}", session.id),
        ])
}

fn stale(context: &Context, session: &SessionRecord, about: &About) -> WireError {
    let snapshot = context.coordinator.snapshot();
    let current = snapshot.registry.holder(&session.thread_key()).map(|holder| holder.fencing_token);
    let details = FencingDetails { held: session.fencing_token, current };
    let hint = "stop writing; reserve the thread again to go on";
    WireError::new(Kind::FencingTokenStale, no_longer(session), hint, &details)
        .because(ended(context, session), "a writer that lost its right would write", "nothing was written")
        .with_commands(vec![about.reserve_at_tip(session.thread.as_str())])
}

fn compacted(after: u64, oldest: u64, about: &About) -> WireError {
    let error = format!("what happened after revision {after} is no longer kept: the oldest is revision {oldest}");
    let resume = oldest.saturating_sub(1).to_string();
    WireError::new(
        Kind::EventsCompacted,
        error,
        "go on with the oldest that is kept; what happened before it can only be seen by what is now",
        &EventsCompactedDetails { oldest },
    )
    .because(
        format!("revisions {} to {resume} are gone", after + 1),
        "a subscriber would believe that it had seen everything",
        "the subscription was not made",
    )
    .with_commands(vec![about.command(&["watch", "--after", &resume]), about.command(&["log", "--after", &resume])])
}

fn store(outcome: Outcome) -> WireError {
    let hint = match outcome {
        Outcome::NotApplied => "mend the disk, then start the daemon again; nothing was changed",
        Outcome::Unknown => "mend the disk, start the daemon again, and look before you repeat: it may have happened",
    };
    WireError::new(Kind::StoreUnavailable, "the change could not be made durable", hint, &StoreDetails { outcome })
        .with_commands(vec!["heddlectl daemon stop".to_owned(), "heddlectl daemon start".to_owned()])
}

/// The system did not let the daemon look at the process, for want of descriptors as a rule.
fn holder_unreadable(pid: i32, cause: &str) -> WireError {
    let error = format!("process {pid} cannot be looked at: {cause}");
    let most = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let details = LimitDetails { limit: "open_files".to_owned(), value: most, max: most };
    WireError::new(Kind::LimitExceeded, error, "call again once the daemon has fewer files open", &details)
        .because("the daemon does not know whether it lives", "a thread would be held for nobody", UNTOUCHED)
        .with_commands(vec!["heddlectl doctor".to_owned()])
        .retry_after(1000)
}

fn holder(pid: i32, problem: HolderProblem, about: &About) -> WireError {
    let (error, hint) = match problem {
        HolderProblem::NoSuchProcess => (
            format!("there is no live process {pid} to hold the session"),
            "name a process that lives as long as the work, or hold it by heartbeats",
        ),
        HolderProblem::OtherNamespace => (
            format!("process {pid} is named from another pid namespace than the daemon's"),
            "inside a container hold the session by heartbeats: send a ttl and no process",
        ),
        HolderProblem::OtherUser => {
            (format!("process {pid} is another user's"), "name a process of your own, or hold it by heartbeats")
        }
    };
    let thread = about.thread.as_deref().unwrap_or("<thread>");
    WireError::new(Kind::HolderNotFound, error, hint, &HolderDetails { pid, reason: problem })
        .because("the session would have no holder", "a thread would be held for nobody", UNTOUCHED)
        .with_commands(vec![about.command(&["reserve", "--thread", thread, "--ttl", "5m"])])
}
