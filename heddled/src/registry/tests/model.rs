//! The registry against a model so naive that it is seen to be right: a list of sessions, scanned.
//!
//! After each step R1 to R5 are checked; the wall clock jumps as it likes.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at the changes it is about")]

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use proto_schema::{EndReason, SessionStatus};

use super::*;
use crate::registry::{ENDED_KEPT_MS, Merging, Observation, Refusal, merge, observe};

const THREADS: [&str; 3] = ["a", "b", "b-c"];

/// A session as the model sees it.
#[derive(Clone, Debug)]
struct Known {
    number: u64,
    repo: u64,
    thread: &'static str,
    request: Option<u8>,
    anchor: u8,
    recorded: u8,
    status: SessionStatus,
    reason: Option<EndReason>,
    /// None: nothing under way. Some(None): Git work of the reserve. Some(Some(new)): a move.
    intent: Option<Option<u8>>,
    ended_at: i64,
    pid: Option<i32>,
}

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        repo: u64,
        thread: &'static str,
        anchor: u8,
        tip: Option<u8>,
        request: Option<u8>,
        worktree: bool,
    },
    Settle {
        pick: u64,
        created: bool,
    },
    Release {
        pick: u64,
        right: bool,
        status: SessionStatus,
    },
    Evict {
        pick: u64,
    },
    End {
        pick: u64,
        reason: EndReason,
    },
    BeginMove {
        pick: u64,
        new: u8,
    },
    FinishMove {
        pick: u64,
        moved: bool,
    },
    Hold {
        pick: u64,
        pid: Option<i32>,
    },
    Check {
        pick: u64,
        right: bool,
    },
    /// A thread's work was found in its target.
    Merge {
        repo: u64,
        thread: &'static str,
    },
    /// Plain Git moved or deleted a branch.
    Observe {
        repo: u64,
        thread: &'static str,
        tip: Option<u8>,
        ended: Option<u64>,
    },
    Clock {
        ms: i64,
    },
    /// What is too old goes.
    Prune,
}

/// What the model expects as an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Change,
    Stands,
    LiveOwner,
    Drift,
    NotFound,
    Token,
    Inactive,
    Busy,
    Conflict,
}

#[derive(Clone, Debug, Default)]
struct Model {
    sessions: Vec<Known>,
    next: u64,
    now: i64,
    answer: Option<Answer>,
}

fn active(known: &Known) -> bool {
    known.status == SessionStatus::Active
}

impl Model {
    fn reserve(&mut self, step: &Step) -> Answer {
        let Step::Reserve { repo, thread, anchor, tip, request, worktree } = step else { return Answer::NotFound };
        if let Some(known) = self.sessions.iter().find(|known| request.is_some() && known.request == *request) {
            return match (known.repo == *repo && known.thread == *thread, active(known)) {
                (false, _) => Answer::Conflict,
                (true, true) => Answer::Stands,
                (true, false) => Answer::Inactive,
            };
        }
        let owner = |known: &&Known| active(known) && known.repo == *repo && known.thread == *thread;
        if let Some(owner) = self.sessions.iter().find(owner) {
            return if owner.anchor == *anchor { Answer::LiveOwner } else { Answer::Drift };
        }
        if tip.is_some_and(|tip| tip != *anchor) {
            return Answer::Drift;
        }
        self.next += 1;
        self.sessions.push(Known {
            number: self.next,
            repo: *repo,
            thread,
            request: *request,
            anchor: *anchor,
            recorded: *anchor,
            status: SessionStatus::Active,
            reason: None,
            intent: (tip.is_none() || *worktree).then_some(None),
            ended_at: 0,
            pid: None,
        });
        Answer::Change
    }

    fn step(&mut self, step: &Step) -> Option<Answer> {
        let now = self.now;
        let (pick, token) = match step {
            Step::Clock { ms } => {
                self.now += ms;
                return None;
            }
            Step::Prune => {
                let limit = now - ENDED_KEPT_MS;
                self.sessions.retain(|known| active(known) || known.ended_at >= limit);
                return None;
            }
            Step::Observe { .. } | Step::Merge { .. } => return None,
            Step::Reserve { .. } => return Some(self.reserve(step)),
            Step::Release { pick, right, .. } | Step::Check { pick, right } => (*pick, *right),
            Step::Settle { pick, .. }
            | Step::Evict { pick }
            | Step::End { pick, .. }
            | Step::BeginMove { pick, .. }
            | Step::FinishMove { pick, .. }
            | Step::Hold { pick, .. } => (*pick, true),
        };
        let Some(known) = self.sessions.iter_mut().find(|known| known.number == pick) else {
            return Some(Answer::NotFound);
        };
        if !token {
            return Some(Answer::Token);
        }
        if !active(known) {
            return Some(match step {
                Step::Release { status, .. } if *status == known.status => Answer::Stands,
                Step::End { .. } => Answer::Stands,
                _ => Answer::Inactive,
            });
        }
        let end = |known: &mut Known, status, reason| {
            (known.status, known.reason, known.ended_at, known.intent) = (status, Some(reason), now, None);
        };
        match step {
            Step::End { reason: EndReason::ReserveFailed, .. } => {
                end(known, SessionStatus::Abandoned, EndReason::ReserveFailed);
            }
            Step::Release { .. }
            | Step::Evict { .. }
            | Step::End { .. }
            | Step::BeginMove { .. }
            | Step::Check { .. }
                if known.intent.is_some() =>
            {
                return Some(Answer::Busy);
            }
            Step::Settle { .. } if matches!(known.intent, Some(Some(_))) => return Some(Answer::Busy),
            Step::FinishMove { .. } if matches!(known.intent, Some(None)) => return Some(Answer::Busy),
            Step::Settle { .. } => known.intent = None,
            Step::Release { status, .. } => end(known, *status, EndReason::Released),
            Step::Evict { .. } => end(known, SessionStatus::Abandoned, EndReason::Evicted),
            Step::End { reason, .. } => end(known, SessionStatus::Abandoned, *reason),
            Step::BeginMove { new, .. } => known.intent = Some(Some(*new)),
            Step::FinishMove { moved, .. } => {
                if let (Some(Some(new)), true) = (known.intent, moved) {
                    known.recorded = new;
                }
                known.intent = None;
            }
            Step::Hold { pid, .. } if *pid == known.pid => return Some(Answer::Stands),
            Step::Hold { pid, .. } => known.pid = *pid,
            Step::Clock { .. }
            | Step::Prune
            | Step::Reserve { .. }
            | Step::Observe { .. }
            | Step::Merge { .. }
            | Step::Check { .. } => {}
        }
        Some(Answer::Change)
    }
}

fn command(step: &Step, number: u64, now: i64) -> Option<Command> {
    Some(match step {
        Step::Clock { .. } | Step::Prune | Step::Observe { .. } | Step::Merge { .. } => return None,
        Step::Reserve { repo, thread, anchor, tip, request, worktree } => {
            // The secret is the request's own, as a caller repeats it; so are its parameters.
            let token = request.map_or(number, |request| 200 + u64::from(request));
            let digests = [(*thread, 1), (if *repo == 1 { "one" } else { "two" }, 1)];
            Command::Reserve(Box::new(Reserve {
                token_hash: secret(token),
                request: request.map(|request| super::request(&format!("r{request}"), &digests)),
                repo: super::repo(*repo),
                anchor: state(*anchor),
                tip: tip.map(state),
                worktree: *worktree,
                at: at(now),
                ..reserve(number, thread)
            }))
        }
        Step::Settle { pick, created } => Command::Settle { session: id(*pick), created: *created, path: None },
        Step::Release { pick, status, .. } => release(*pick, *status),
        Step::Evict { pick } => evict(*pick),
        Step::End { pick, reason } => end(*pick, *reason),
        Step::BeginMove { pick, new } => begin_move(*pick, 1, *new),
        Step::FinishMove { pick, moved } => finish_move(*pick, *moved),
        Step::Check { pick, .. } => check(*pick, 1, true),
        Step::Hold { pick, pid } => {
            let hold =
                HoldRecord { ttl_ms: Some(300_000), process: pid.map(process), connection: false, further_token: None };
            Command::Hold { session: id(*pick), token_hash: secret(*pick), hold }
        }
    })
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(model: &Self) -> BoxedStrategy<Step> {
        // Mostly the latest sessions, and sometimes one that never was.
        let next = model.next;
        let pick = || (0..6_u64).prop_map(move |back| (next + 1).saturating_sub(back));
        let status = || select(vec![SessionStatus::Complete, SessionStatus::Abandoned]);
        let reasons = vec![
            EndReason::ProcessExited,
            EndReason::HeartbeatExpired,
            EndReason::ConnectionLost,
            EndReason::ReserveFailed,
            EndReason::HolderUnknown,
        ];
        prop_oneof![
            5 => (1..3_u64, select(&THREADS[..]), 1..3_u8, prop::option::of(1..3_u8), prop::option::of(0..4_u8), any::<bool>())
                .prop_map(|(repo, thread, anchor, tip, request, worktree)| Step::Reserve {
                    repo, thread, anchor, tip, request, worktree: worktree && request.is_some(),
                }),
            3 => (pick(), any::<bool>()).prop_map(|(pick, created)| Step::Settle { pick, created }),
            2 => (pick(), prop::bool::weighted(0.8), status())
                .prop_map(|(pick, right, status)| Step::Release { pick, right, status }),
            1 => pick().prop_map(|pick| Step::Evict { pick }),
            2 => (pick(), select(reasons)).prop_map(|(pick, reason)| Step::End { pick, reason }),
            2 => (pick(), 1..9_u8).prop_map(|(pick, new)| Step::BeginMove { pick, new }),
            2 => (pick(), any::<bool>()).prop_map(|(pick, moved)| Step::FinishMove { pick, moved }),
            1 => (pick(), prop::option::of(1..3)).prop_map(|(pick, pid)| Step::Hold { pick, pid }),
            1 => (pick(), prop::bool::weighted(0.8)).prop_map(|(pick, right)| Step::Check { pick, right }),
            2 => (1..3_u64, select(&THREADS[..])).prop_map(|(repo, thread)| Step::Merge { repo, thread }),
            2 => (1..3_u64, select(&THREADS[..]), prop::option::of(1..9_u8), prop::option::of(pick()))
                .prop_map(|(repo, thread, tip, ended)| Step::Observe { repo, thread, tip, ended }),
            2 => (-ENDED_KEPT_MS / 2..ENDED_KEPT_MS / 2).prop_map(|ms| Step::Clock { ms }),
            2 => Just(Step::Prune),
        ]
        .boxed()
    }

    fn apply(mut model: Self, step: &Step) -> Self {
        model.answer = model.step(step);
        model
    }
}

#[derive(Default)]
struct Tested {
    registry: Registry,
    entries: Vec<Entry>,
    ended: Vec<Arc<SessionRecord>>,
    granted: u64,
}

impl Tested {
    fn observe(&mut self, now: i64, repo: u64, thread: &str, tip: Option<u8>, ended: Option<u64>) {
        let Some(repo) = self.registry.repo_at(super::repo(repo).key) else { return };
        let (thread, tip, seen) = ((repo.id, thread.parse().unwrap()), tip.map(state), self.registry.revision());
        let observation = Observation { thread, tip, seen, ended: ended.map(id) };
        if let Some(change) = observe(&self.registry, &observation) {
            self.entries.push(happen(&mut self.registry, now, change));
            assert_eq!(self.registry.thread(&observation.thread).unwrap().current_state, tip);
            assert_eq!(observe(&self.registry, &observation), None, "once");
        }
    }
}

impl Tested {
    fn merge(&mut self, now: i64, repo: u64, thread: &str) {
        let Some(repo) = self.registry.repo_at(super::repo(repo).key) else { return };
        let (thread, seen) = ((repo.id, thread.parse().unwrap()), self.registry.revision());
        let merging = Merging { thread, tip: state(50), merged_state: state(51), seen };
        let Some(change) = merge(&self.registry, &merging) else { return };
        assert_eq!(self.registry.holder(&merging.thread), None, "nobody works on it");
        let before = self.registry.clone();
        self.entries.push(happen(&mut self.registry, now, change));
        assert_eq!(merge(&self.registry, &merging), None, "once");
        for session in self.registry.sessions(None) {
            let was = before.session(session.id).unwrap();
            let is_meant = session.thread_key() == merging.thread && was.status == SessionStatus::Complete;
            let (status, end_reason) = match is_meant {
                true => (SessionStatus::Merged, Some(EndReason::Merged)),
                false => (was.status, was.end_reason),
            };
            let expected = SessionRecord { status, end_reason, ..SessionRecord::clone(was) };
            assert_eq!(**session, expected, "R4: a complete session becomes merged, and nothing else of it changes");
        }
        let known = |old: &Arc<SessionRecord>| self.registry.session(old.id).cloned();
        self.ended = self.ended.iter().filter_map(known).collect();
    }
}

fn answer(registry: &Registry, command: &Command) -> (Answer, Option<Change>) {
    let answer = match decide(registry, command) {
        Ok(Decision::Change(change)) => return (Answer::Change, Some(change)),
        Ok(Decision::Stands(_)) => Answer::Stands,
        Err(Refusal::LiveOwner { .. }) => Answer::LiveOwner,
        Err(Refusal::AnchorDrift { .. }) => Answer::Drift,
        Err(Refusal::IdempotencyConflict { .. }) => Answer::Conflict,
        Err(Refusal::NotFound) => Answer::NotFound,
        Err(Refusal::TokenMismatch) => Answer::Token,
        Err(Refusal::Inactive(_)) => Answer::Inactive,
        Err(Refusal::Busy) => Answer::Busy,
        Err(other @ (Refusal::Outdated | Refusal::TooManySessions { .. } | Refusal::NameConflict { .. })) => {
            panic!("{other:?}")
        }
    };
    (answer, None)
}

/// The command with the secret of the session that it names.
fn with_secret(registry: &Registry, command: &mut Command, right: bool) {
    match command {
        Command::Release { session, token_hash, .. }
        | Command::BeginMove { session, token_hash, .. }
        | Command::Check { session, token_hash, .. }
        | Command::Hold { session, token_hash, .. } => {
            let known = registry.session(*session).map(|session| session.token_hash);
            *token_hash = known.filter(|_| right).unwrap_or(TokenHash([255; 32]));
        }
        _ => {}
    }
}

impl StateMachineTest for Tested {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        Self::default()
    }

    fn apply(mut tested: Self, model: &Model, step: Step) -> Self {
        if let Step::Observe { repo, thread, tip, ended } = step {
            tested.observe(model.now, repo, thread, tip, ended);
            return tested;
        }
        if let Step::Merge { repo, thread } = step {
            tested.merge(model.now, repo, thread);
            return tested;
        }
        if matches!(step, Step::Prune) {
            let change = Change::Pruned { as_of: at(model.now) };
            tested.entries.push(happen(&mut tested.registry, model.now, change));
            return tested;
        }
        let number = tested.granted + 1;
        let Some(mut command) = command(&step, number, model.now) else { return tested };
        with_secret(
            &tested.registry,
            &mut command,
            !matches!(step, Step::Release { right: false, .. } | Step::Check { right: false, .. }),
        );
        let before = tested.registry.clone();
        let (answer, change) = answer(&tested.registry, &command);
        assert_eq!(Some(answer), model.answer, "{step:?}");
        assert_eq!(before, tested.registry, "deciding changes nothing");
        let Some(change) = change else { return tested };
        if let Change::Reserved { session, .. } = &change {
            assert!(session.fencing_token.0 > tested.granted, "R2");
            tested.granted = session.fencing_token.0;
        }
        let ended = if let Change::Ended(ending) = &change { Some(ending.session) } else { None };
        tested.entries.push(happen(&mut tested.registry, model.now, change));
        tested.ended.extend(ended.and_then(|id| tested.registry.session(id).cloned()));
        tested
    }

    fn check_invariants(tested: &Self, model: &Model) {
        let registry = &tested.registry;
        let all: Vec<_> = registry.sessions(None).collect();
        assert_eq!(all.len(), model.sessions.len(), "the same sessions are kept");
        for known in &model.sessions {
            let session = registry.session(id(known.number)).expect("a session that the model knows");
            if session.status == SessionStatus::Merged {
                assert_eq!((known.status, session.end_reason), (SessionStatus::Complete, Some(EndReason::Merged)));
            } else {
                assert_eq!((session.status, session.end_reason), (known.status, known.reason));
            }
            assert_eq!(session.recorded_state, state(known.recorded), "the state it last recorded");
            assert_eq!(session.intent.is_some(), known.intent.is_some());
            let pid = session.hold.process.as_ref().map(|process| process.pid);
            assert_eq!(pid, known.pid);
        }
        let mut threads: Vec<_> =
            all.iter().filter(|session| session.is_active()).map(|one| one.thread_key()).collect();
        let active = threads.len();
        threads.sort();
        threads.dedup();
        assert_eq!(threads.len(), active, "R1");
        assert_eq!(registry.active_count(), active);
        for session in &tested.ended {
            if let Some(now) = registry.session(session.id) {
                assert_eq!(now, session, "R4");
            }
        }
        assert_eq!(restored(registry), *registry, "R5: the indexes say what the records say");
        let mut replayed = Registry::default();
        tested.entries.iter().for_each(|entry| replayed.apply(entry));
        assert_eq!(replayed, *registry, "R5: from nothing");
        // Where the clock went back by more than the time ended sessions are kept, an entry from before may forget a session
        // whose end is in the checkpoint already.
        let times = || tested.entries.iter().map(|entry| entry.at.unix_ms());
        if times().max().unwrap_or(0) - times().min().unwrap_or(0) <= ENDED_KEPT_MS {
            tested.entries.iter().for_each(|entry| replayed.apply(entry));
            assert_eq!(replayed, *registry, "R5: on top of everything");
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_registry_is_what_the_model_says(sequential 1..40 => Tested);
}
