//! Reserving: what is read of Git before the writer is asked, and what is done to Git after it said yes.
//!
//! The order is that of docs/design/reserve.md: the record is durable before the branch is made, and the branch before the answer.

use std::path::PathBuf;
use std::sync::Arc;

use proto_schema::{EndReason, HolderProblem, ProbeSource, ReservationToken, SessionId, ThreadName, Timestamp};
use tokio::sync::oneshot;
use tracing::warn;

use super::failure::Failure;
use super::identity::Identified;
use super::make::make;
use super::message::{Done, Message};
use super::pool::{self, Job, PATIENCE};
use super::shared::Shared;
use super::snapshot::View;
use super::wait::{Patience, Waiting};
use super::waiting::Seat;
use super::{Coordinator, hash};
use crate::liveness::Unidentified;
use crate::registry::{
    AgentRecord, Command, ConnectionId, Decision, HoldRecord, HolderProcess, Refusal, RepoSeen, RequestRecord, Reserve,
    SessionRecord, TokenHash, decide, replay,
};
use crate::repo::{Anchor, MarkSeen, Sighting, shown};

/// How often the branch is read again when the thread changes under the reader.
const READS: usize = 16;

const MAKE: &str = "make the branch";

/// A request for a thread, as the server took it from the wire.
#[derive(Clone, Debug)]
pub struct ReserveRequest {
    /// A path in the repository.
    pub repo: PathBuf,
    /// The thread.
    pub thread: ThreadName,
    /// Where to reserve it.
    pub anchor: Anchor,
    /// What it is meant for, where the caller said so.
    pub target_thread: Option<ThreadName>,
    /// Whether a linked worktree is wanted, and where.
    pub worktree: Option<Option<PathBuf>>,
    /// The worktree the agent works in, where the caller said so.
    pub path: Option<PathBuf>,
    /// Heartbeats count, with this time to live.
    pub ttl_ms: Option<u64>,
    /// The process that holds it.
    pub hold_for_pid: Option<i32>,
    /// The connection that holds it.
    pub connection: Option<ConnectionId>,
    /// The caller's own pid, by the socket's peer credentials.
    pub peer: Option<i32>,
    /// The request, where the caller named it.
    pub request: Option<RequestRecord>,
    /// The caller's own secret.
    pub token: Option<ReservationToken>,
    /// Who the agent is.
    pub agent: Arc<AgentRecord>,
    /// Whether the caller waits for a thread that is held, and for how long.
    pub wait: Option<Patience>,
}

impl ReserveRequest {
    fn hold(&self, process: Option<HolderProcess>) -> HoldRecord {
        HoldRecord { ttl_ms: self.ttl_ms, process, connection: self.connection.is_some(), further_token: None }
    }
}

/// A request on its way, with what was drawn for it.
#[derive(Clone)]
struct Asked {
    request: Arc<ReserveRequest>,
    id: SessionId,
    token_hash: TokenHash,
    /// The process that would hold the session, as it was when the call came: its pid may be another's when its turn comes.
    holder: Option<Result<HolderProcess, Unidentified>>,
    /// The caller's seat in the thread's queue, where it would wait.
    seat: Option<Seat>,
}

/// A thread that was reserved.
#[derive(Clone, Debug)]
pub struct Reserved {
    /// The session.
    pub view: View,
    /// Its secret.
    pub token: ReservationToken,
    /// Whether an earlier call with this request_id did the work.
    pub replayed: bool,
}

impl AgentRecord {
    /// An agent that nothing is known of.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            task: None,
            provider: None,
            model: None,
            harness: None,
            thinking_level: None,
            policy: None,
            probe_source: ProbeSource::None,
            probe_confidence: 0.0,
            parent_session_id: None,
            client_instance_id: None,
            native_actor_key: None,
            native_parent_actor_key: None,
            native_instance_key: None,
            attach_precedence: Vec::new(),
            winning_attach_rule: None,
        }
    }
}

impl Coordinator {
    /// Reserves a thread, after a wait where the caller would wait. On return the session and its branch are durable.
    ///
    /// # Errors
    /// Whatever step failed first; nothing has changed then but the end of dead sessions, except when the branch or the
    /// worktree could not be made after the session was recorded: then it is recorded as failed, and the cause is told.
    pub async fn reserve(&self, request: ReserveRequest) -> Result<Reserved, Failure> {
        let (id, secret) = draw()?;
        let (token, connection) = (request.token.clone().unwrap_or(secret), request.connection);
        let is_anchored = matches!(request.anchor, Anchor::Revision(_));
        let mut waiting = request.wait.as_ref().map(|patience| Waiting::new(&self.shared, id, patience, is_anchored));
        let seat = waiting.as_ref().map(Waiting::seat);
        let holder = request.hold_for_pid.map(|pid| self.shared.liveness.identify(request.peer, pid));
        let asked = Asked { request: Arc::new(request), id, token_hash: hash(&token), holder, seat };
        let done = match self.ask_at_a_glance(&asked, waiting.as_mut()).await? {
            Some(done) => {
                waiting.into_iter().for_each(|waiting| waiting.answered(true));
                done
            }
            None => {
                let coordinator = self.clone();
                // A task of its own: a caller that is dropped after the grant must not leave its Git work undone, for while
                // that is open nothing and nobody can end the session.
                let asking = tokio::spawn(async move { coordinator.ask_and_settle(asked, waiting).await });
                asking.await.unwrap_or(Err(Failure::Broken("reserving")))?
            }
        };
        let view = match connection.filter(|_| !done.fresh) {
            // Whoever knows the request and its secret is the owner, on a new connection perhaps.
            Some(connection) => self.resume(done.session.id, hash(&token), connection).await?,
            None => self.snapshot().view(&done.session),
        };
        Ok(Reserved { view, token, replayed: !done.fresh })
    }

    /// Steps 0 to 6 of a reserve that leaves nothing to do: its thread exists, and a glance at it is enough.
    async fn ask_at_a_glance(&self, asked: &Asked, waiting: Option<&mut Waiting>) -> Result<Option<Done>, Failure> {
        if self.known(asked)?.is_some() {
            return Ok(None);
        }
        let Some(reserve) = glance(&self.shared, asked, &self.settings()) else { return Ok(None) };
        let (reply, answer) = oneshot::channel();
        self.shared.reserve_for(reserve, asked.seat.clone(), reply);
        match answer.await.unwrap_or(Err(Failure::ShuttingDown)) {
            Ok(done) if done.fresh => Ok(Some(done)),
            Ok(_) | Err(Failure::Refused(Refusal::Outdated) | Failure::BeingRemoved(_)) => Ok(None),
            Err(Failure::Queued) => {
                waiting.into_iter().for_each(Waiting::take_seat);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn ask_and_settle(&self, mut asked: Asked, waiting: Option<Waiting>) -> Result<Done, Failure> {
        let done = match waiting {
            Some(waiting) => self.wait_for_thread(&mut asked, waiting).await?,
            None => self.ask_for_thread(&asked, None).await?,
        };
        if done.fresh && done.session.intent.is_none() {
            return Ok(done);
        }
        let session = self.settle(&asked.request, done.session).await?;
        Ok(Done { session, fresh: done.fresh })
    }

    /// What an earlier call with the same request has made: whatever has become of the repository since, the same request has
    /// the same answer.
    fn known(&self, asked: &Asked) -> Result<Option<Arc<SessionRecord>>, Failure> {
        let Some(record) = &asked.request.request else { return Ok(None) };
        Ok(replay(&self.shared.committed.load().registry, record, asked.token_hash)?)
    }

    /// The same, and again at each turn of the caller in the thread's queue, until it is granted or refused, or its wait ends.
    async fn wait_for_thread(&self, asked: &mut Asked, mut waiting: Waiting) -> Result<Done, Failure> {
        let answer = loop {
            asked.seat = Some(waiting.seat());
            if let Err(failure) = waiting.turn().await {
                break Err(failure);
            }
            match self.ask_for_thread(asked, Some(&mut waiting)).await {
                Err(Failure::Queued) => waiting.take_seat(),
                answer => break answer,
            }
        };
        waiting.answered(answer.as_ref().is_ok_and(|done| done.fresh));
        answer
    }

    /// Steps 0 to 6: what is known, what Git says, what the registry says.
    async fn ask_for_thread(&self, asked: &Asked, mut waiting: Option<&mut Waiting>) -> Result<Done, Failure> {
        for _ in 0..READS {
            if let Some(session) = self.known(asked)? {
                return self.join(session).await;
            }
            let begun = self.shared.removals.begun();
            let answer = self.look_and_ask(asked);
            let answer = match &mut waiting {
                Some(waiting) => waiting.unless_over(answer).await?,
                None => answer.await,
            };
            if let Ok(Err(failure)) = &answer
                && let Some(era) = failure.later_era()
            {
                self.enter_era(era + 1).await?;
                continue;
            }
            match answer.unwrap_or(Err(Failure::ShuttingDown)) {
                Err(Failure::Refused(Refusal::Outdated)) => {}
                Err(Failure::BeingRemoved(until)) => until.passed().await,
                Err(Failure::Recovering(repo)) => self.shared.recovery.wait_for(repo).await?,
                Err(failure @ Failure::Repo(_)) => match self.shared.removals.of(&asked.request.thread) {
                    // What it has seen may be a worktree that was half gone.
                    Some(until) => until.passed().await,
                    None if self.shared.removals.begun() != begun => {}
                    None => return Err(failure),
                },
                other => return other,
            }
        }
        Err(Failure::Contended { reads: READS })
    }

    /// Has the branch looked at, and the writer asked.
    fn look_and_ask(&self, asked: &Asked) -> oneshot::Receiver<Result<Done, Failure>> {
        let (reply, answer) = oneshot::channel();
        let (shared, settings, asked) = (Arc::clone(&self.shared), self.settings(), asked.clone());
        if asked.seat.as_ref().is_some_and(Seat::is_taken)
            && let Some(reserve) = glance(&shared, &asked, &settings)
        {
            // Its turn has come: a thread that is waited for changes hands at once where a glance is enough.
            shared.reserve_for(reserve, asked.seat, reply);
            return answer;
        }
        // The thread that reads asks the writer itself: coming back here first would cost every reserve a wake-up. Once the
        // writer is asked, its answer is waited for: it may be a grant.
        let (writer, seat) = (Arc::clone(&self.shared), asked.seat.clone());
        let path = asked.request.repo.clone();
        let submit = move |lane, reply| {
            let job = Job { lane, what: "read the branch", to_its_end: false };
            let pool = Arc::clone(&writer);
            pool.work.submit(
                job,
                reply,
                move || see(&shared, &asked, &settings),
                move |seen, reply| match seen {
                    Ok(reserve) => writer.reserve_for(reserve, seat, reply),
                    // Fails when the caller has gone.
                    Err(failure) => drop(reply.send(Err(failure))),
                },
            );
        };
        match self.shared.known_lane_of(&path) {
            Some(lane) => submit(lane, reply),
            None => {
                let shared = Arc::clone(&self.shared);
                tokio::spawn(async move {
                    match shared.lane_of(&path).await {
                        Ok(lane) => submit(lane, reply),
                        Err(failure) => drop(reply.send(Err(failure))),
                    }
                });
            }
        }
        answer
    }

    /// What a known request has made, once its Git work is done.
    async fn join(&self, session: Arc<SessionRecord>) -> Result<Done, Failure> {
        if session.intent.is_none() {
            return Ok(Done { session, fresh: false });
        }
        let (reply, answer) = oneshot::channel();
        let repo = self.snapshot().registry.repo(session.repo).cloned();
        self.shared.post(Message::Join { session: session.id, reply })?;
        match (tokio::time::timeout(PATIENCE, answer).await, repo) {
            (Ok(answer), _) => answer.unwrap_or(Err(Failure::ShuttingDown)),
            (Err(_), Some(repo)) => Err(pool::no_answer(&repo.git_dir, MAKE)),
            (Err(_), None) => Err(Failure::Broken("a session without repository")),
        }
    }

    /// Step 7: the branch, and the worktree where one is wanted.
    async fn settle(
        &self,
        request: &Arc<ReserveRequest>,
        session: Arc<SessionRecord>,
    ) -> Result<Arc<SessionRecord>, Failure> {
        let wants_path = request.worktree.is_some() && session.path.is_none();
        if session.intent.is_none() && !wants_path {
            return Ok(session);
        }
        let (coordinator, making, repo) = (self.clone(), Arc::clone(request), session.repo);
        // A task of its own: where the repository does not answer, the outcome is recorded when it does.
        let mut made = tokio::spawn(async move { coordinator.make_and_record(&making, session).await });
        loop {
            let taken = self.shared.worktrees.turns_taken(repo);
            if let Ok(made) = tokio::time::timeout(PATIENCE, &mut made).await {
                return made.unwrap_or(Err(Failure::Broken("making the branch")));
            }
            // Many worktrees before this one may take longer together: while they are made, the repository answers.
            if self.shared.worktrees.turns_taken(repo) == taken {
                break;
            }
        }
        if request.request.is_none() {
            // Its caller gets no token, and cannot ask for it again.
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                let Ok(Ok(session)) = made.await else { return };
                let command = Command::End { session: session.id, reason: EndReason::ConnectionLost };
                if let Err(error) = shared.finish(command).await {
                    warn!(session = %session.id, ?error, "a session nobody has the token of could not be ended");
                }
            });
        }
        Err(pool::no_answer(&request.repo, MAKE))
    }

    /// Makes the branch and the worktree, and records what became of it.
    async fn make_and_record(
        &self,
        request: &Arc<ReserveRequest>,
        session: Arc<SessionRecord>,
    ) -> Result<Arc<SessionRecord>, Failure> {
        let turn = match &request.worktree {
            Some(_) => Some(self.shared.worktrees.turn(session.repo).await),
            None => None,
        };
        let (shared, request) = (Arc::clone(&self.shared), Arc::clone(request));
        let settings = self.settings();
        let record = Arc::clone(&session);
        let committed = self.snapshot();
        let repo = committed.registry.repo(session.repo).ok_or(Failure::Broken("a session without repository"))?;
        let work = move || {
            let _turn = turn;
            make(&shared, &request, &record, &settings)
        };
        let made = self.shared.change_repo(&repo.git_dir, MAKE, work).await;
        match made {
            Ok((created, path)) => {
                let settle = Command::Settle { session: session.id, created, path };
                self.shared.finish(settle).await.map(|done| done.session).map_err(Failure::after_git)
            }
            Err(failure) => {
                if session.intent.is_some() {
                    let command = Command::End { session: session.id, reason: EndReason::ReserveFailed };
                    if let Err(error) = self.shared.finish(command).await {
                        warn!(session = %session.id, ?error, "a failed reserve could not be recorded as failed");
                    }
                }
                Err(failure)
            }
        }
    }
}

/// Draws a session's id and a secret.
fn draw() -> Result<(SessionId, ReservationToken), Failure> {
    let mut bytes = [0; 48];
    getrandom::fill(&mut bytes).map_err(|_| Failure::Broken("drawing random bytes"))?;
    let (id, secret) = bytes.split_at(16);
    let id = id.iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    let secret = secret.try_into().map_err(|_| Failure::Broken("drawing random bytes"))?;
    Ok((SessionId::from_random(id), ReservationToken::from_bytes(secret)))
}

/// What is asked of the registry, where a glance at the repository is enough to say it.
fn glance(shared: &Shared, asked: &Asked, settings: &super::Settings) -> Option<Reserve> {
    let request = &asked.request;
    // A process, a path and a worktree have to be looked at.
    if request.hold_for_pid.is_some() || request.path.is_some() || request.worktree.is_some() {
        return None;
    }
    let committed = shared.committed.load();
    let (seen, era) = (committed.registry.revision(), committed.registry.era());
    let sighting = shared.repo.glance(&request.repo, &request.thread, &request.anchor, &settings.claim, era)?;
    settings.check_served(&sighting.repo).ok()?;
    shared.recovery.refuse_pending(&sighting.repo).ok()?;
    let known = committed.registry.repo_at(sighting.repo.key)?;
    let is_it = known.mark.is_some_and(|mark| sighting.repo.mark == MarkSeen::Id(mark));
    if !is_it || *known.git_dir != *sighting.repo.git_dir {
        return None;
    }
    let path = sighting.repo.worktree.as_deref().map(shown);
    let hold = request.hold(None);
    let limits = (shared.clock.wall(), settings.max_active);
    Some(Reserve { hold, path, era, ..asked.reserve(sighting, (seen, false), limits) })
}

/// Reads what Git says, and makes of it what is asked of the registry.
fn see(shared: &Shared, asked: &Asked, settings: &super::Settings) -> Result<Reserve, Failure> {
    let request = &asked.request;
    let committed = shared.committed.load();
    let seen = committed.registry.revision();
    let sighting = shared.repo.sight(&request.repo, &request.thread, &request.anchor)?;
    settings.check_served(&sighting.repo)?;
    shared.recovery.refuse_pending(&sighting.repo)?;
    let Identified { repo, known, identity, moved } = shared.identify(sighting.repo.clone())?;
    let sighting = Sighting { repo: repo.clone(), ..sighting };
    let path = match (&request.path, &request.worktree) {
        (Some(path), _) => Some(shown(&shared.repo.registered_worktree(&repo, path)?)),
        (None, None) => repo.worktree.as_deref().map(shown),
        (None, Some(_)) => None,
    };
    let process = asked.living_holder(shared)?;
    let hold = request.hold(process);
    let (era, limits) = (committed.registry.era(), (shared.clock.wall(), settings.max_active));
    let reserve = Reserve { hold, path, era, ..asked.reserve(sighting, (seen, moved), limits) };
    let mut command = Command::Reserve(Box::new(reserve));
    let would_be_granted = || matches!(decide(&committed.registry, &command), Ok(Decision::Change(_)));
    if let Some(path) = &request.worktree
        && would_be_granted()
    {
        // Looked at again when it is made: here so that what is refused leaves no branch and no session.
        shared.repo.check_worktree(&repo, &request.thread, path.as_deref(), &settings.worktree_roots)?;
    }
    // What is refused anyway leaves no mark in the repository; a repository that is known has its mark.
    if known.is_some() || would_be_granted() {
        let mark = shared.repo.claim(&repo.git_dir, &settings.claim, era, identity)?;
        if let Command::Reserve(reserve) = &mut command {
            reserve.repo.mark = Some(mark);
        }
    }
    let Command::Reserve(reserve) = command else { return Err(Failure::Broken("reserve")) };
    Ok(*reserve)
}

impl Asked {
    /// The process that was named when the call came, if it lives.
    fn living_holder(&self, shared: &Shared) -> Result<Option<HolderProcess>, Failure> {
        let (Some(pid), Some(holder)) = (self.request.hold_for_pid, self.holder.clone()) else { return Ok(None) };
        let holder = holder.map_err(|why| Failure::unidentified(pid, why))?;
        if shared.liveness.check(&holder).is_dead() {
            return Err(Failure::Holder { pid, problem: HolderProblem::NoSuchProcess });
        }
        Ok(Some(holder))
    }

    /// What is asked of the registry, but for the path, the era and what holds the session.
    fn reserve(&self, sighting: Sighting, (seen, moved): (u64, bool), (at, max_active): (Timestamp, usize)) -> Reserve {
        let Sighting { repo, anchor, root, tip, checked_out } = sighting;
        let request = &self.request;
        Reserve {
            id: self.id,
            token_hash: self.token_hash,
            request: request.request.clone(),
            repo: RepoSeen {
                key: repo.key,
                git_dir: repo.git_dir,
                shown: repo.shown,
                moved,
                folding: repo.folding,
                mark: None,
                born: repo.born,
            },
            thread: request.thread.clone(),
            anchor,
            root,
            tip,
            seen,
            era: 0,
            hold: HoldRecord::default(),
            connection: request.connection,
            agent: Arc::clone(&request.agent),
            path: None,
            target_thread: request.target_thread.clone().or(checked_out).filter(|target| *target != request.thread),
            worktree: request.worktree.is_some(),
            at,
            max_active,
        }
    }
}
