//! Clocks that jump and daemons that stand still end nobody.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heddled::clock::ManualClock;
use heddled::coordinator::{Coordinator, Dependencies, Heartbeat, ReserveRequest, Reserved, Running, Settings, hash};
use heddled::liveness::LocalLiveness;
use heddled::registry::{AgentRecord, MarkKey};
use heddled::repo::{Anchor, Claim, Environment, GitRepo, Surroundings};
use heddled::store;
use nix::sys::signal::Signal;
use proto_schema::{EndReason, SessionStatus, Timestamp};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::{Place, Repo, Stopwatch, eventually, key};

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_700_000_000_000;

/// The daemon without its socket, on a clock of ours.
fn coordinator(place: &Place, clock: &Arc<ManualClock>) -> (Coordinator, Running) {
    let state = place.root.join("inside");
    std::fs::create_dir_all(&state).unwrap();
    let opened = store::open(&state, &store::Options::default()).unwrap();
    let (deaths, died) = mpsc::unbounded_channel();
    let liveness = LocalLiveness::start(deaths).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let environment = Environment { path, home: Some(place.root.join("home")), xdg_config_home: None };
    let dependencies = Dependencies {
        clock: clock.clone(),
        liveness: Arc::new(liveness),
        repo: Arc::new(GitRepo::new(environment, Arc::new(|| Timestamp::from_unix_ms(START_MS)))),
        store: opened.store,
        log: opened.log,
        condition: opened.condition,
        deaths: died,
    };
    let settings = Settings {
        max_active: 10,
        max_waiters: 1000,
        worktree_roots: Vec::new(),
        allowed_filters: Vec::new(),
        repos: None,
        claim: Claim {
            id: format!("{:032x}", opened.id).into(),
            state_dir: state,
            key: MarkKey([1; 32]),
            surroundings: Surroundings::default(),
        },
        version: "0".into(),
    };
    Coordinator::start(opened.registry, dependencies, settings).unwrap()
}

fn request(repo: &Path, thread: &str, ttl_ms: u64) -> ReserveRequest {
    ReserveRequest {
        repo: repo.to_owned(),
        thread: thread.parse().unwrap(),
        anchor: Anchor::Tip,
        target_thread: None,
        worktree: None,
        path: None,
        ttl_ms: Some(ttl_ms),
        hold_for_pid: None,
        connection: None,
        peer: None,
        request: None,
        token: None,
        agent: Arc::new(AgentRecord::unknown()),
        wait: None,
    }
}

const BEAT: Heartbeat = Heartbeat { progress: false, usage: None, hold_for_pid: None, peer: None };

async fn status(coordinator: &Coordinator, of: &Reserved) -> (SessionStatus, Option<EndReason>) {
    let (view, _) = coordinator.show(of.view.session.id).unwrap();
    (view.session.status, view.session.end_reason)
}

/// Lets the daemon's own tasks see the time.
async fn passes(clock: &ManualClock, ms: u32) {
    for _ in 0..ms / 50 {
        clock.advance_ms(50);
        tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_is_set_ends_and_extends_nothing() {
    let place = Place::new();
    let repo: Repo = place.repo("r");
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(START_MS), 1_000));
    let (coordinator, running) = coordinator(&place, &clock);
    let kept = coordinator.reserve(request(&repo.path, "kept", 1_000)).await.unwrap();
    let silent = coordinator.reserve(request(&repo.path, "silent", 1_000)).await.unwrap();
    let deadline = coordinator.show(silent.view.session.id).unwrap().0.deadline;
    let mut last = silent.view.session.fencing_token;
    for jump in [HOUR_MS, -HOUR_MS, -24 * HOUR_MS, 24 * HOUR_MS] {
        clock.set_wall(Timestamp::from_unix_ms(START_MS + jump));
        passes(&clock, 100).await;
        for session in [&kept, &silent] {
            assert_eq!(status(&coordinator, session).await.0, SessionStatus::Active, "after a jump of {jump} ms");
        }
        coordinator.heartbeat(kept.view.session.id, hash(&kept.token), BEAT).await.unwrap();
        let now = coordinator.show(silent.view.session.id).unwrap().0.deadline;
        assert_eq!(now, deadline, "a jump of {jump} ms extends nothing");
        let other = coordinator.reserve(request(&repo.path, &format!("t{jump}"), 60_000)).await.unwrap();
        assert!(other.view.session.fencing_token > last, "R2");
        last = other.view.session.fencing_token;
    }
    // 400 of the 1,000 ms have passed, whatever the wall said meanwhile.
    passes(&clock, 500).await;
    assert_eq!(status(&coordinator, &silent).await.0, SessionStatus::Active, "900 ms");
    coordinator.heartbeat(kept.view.session.id, hash(&kept.token), BEAT).await.unwrap();
    clock.advance_ms(250);
    let watch = Stopwatch::start();
    while status(&coordinator, &silent).await.0 == SessionStatus::Active && watch.elapsed() < Duration::from_secs(10) {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&coordinator, &silent).await.1, Some(EndReason::HeartbeatExpired), "1,150 ms");
    assert_eq!(status(&coordinator, &kept).await.0, SessionStatus::Active);
    assert!(coordinator.stop(running, None).await);
}

#[test]
fn a_daemon_that_stood_still_ends_nobody() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut reserve = |thread: &str| {
        let params = json!({"repo": repo.at(), "thread": thread, "ttl_ms": 1000});
        client.ok("agent.reserve", &params)["reservation"].take()
    };
    let (beating, silent) = (reserve("beating"), reserve("silent"));
    daemon.signal(Signal::SIGSTOP);
    // Three times the ttl, and more: the condition waited for is that this time has passed.
    let watch = Stopwatch::start();
    let mut sent = 0;
    eventually("more than every ttl has passed", || {
        if watch.elapsed() > Duration::from_millis(300) * sent {
            client.start("agent.heartbeat", &key(&beating));
            sent += 1;
        }
        (watch.elapsed() > Duration::from_millis(3_200)).then_some(())
    });
    daemon.signal(Signal::SIGCONT);
    for _ in 0..sent {
        let answer = client.receive();
        assert_eq!(answer["result"]["reservation"]["status"], "active", "{answer}");
    }
    assert_eq!(client.ok("agent.validate", &key(&silent))["valid"], true, "nobody could have told it in time");
    assert_eq!(client.ok("agent.heartbeat", &key(&silent))["reservation"]["status"], "active");
    // From then on the time counts again.
    let ended = eventually("both expire", || {
        let (one, two) = (client.show(&beating), client.show(&silent));
        (one["status"] != "active" && two["status"] != "active").then_some([one, two])
    });
    assert!(ended.iter().all(|session| session["end_reason"] == "heartbeat_expired"));
}
