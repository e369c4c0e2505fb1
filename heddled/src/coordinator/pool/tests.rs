//! The pool beside file systems that hang, which are made up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;
use crate::clock::ManualClock;

/// A file system that answers no question before it is told to.
#[derive(Default)]
struct Hanging {
    answers: Mutex<bool>,
    told: Condvar,
    asked: AtomicUsize,
}

impl Hanging {
    fn ask(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock();
        while !*answers {
            self.told.wait(&mut answers);
        }
    }

    fn answer(&self) {
        *self.answers.lock() = true;
        self.told.notify_all();
    }

    /// Waits until so many have asked.
    fn wait_for(&self, count: usize) {
        for _ in 0..20_000 {
            if self.asked.load(Ordering::SeqCst) >= count {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("{} of {count} have asked", self.asked.load(Ordering::SeqCst));
    }
}

struct Scene {
    pool: Pool,
    clock: Arc<ManualClock>,
    hanging: Arc<Hanging>,
}

impl Scene {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(proto_schema::Timestamp::from_unix_ms(0), 0));
        let pool = Pool::start(Limits::SHORT, clock.clone()).unwrap();
        Self { pool, clock, hanging: Arc::default() }
    }

    fn pass(&self, ms: u64) {
        for _ in 0..ms / 250 {
            self.clock.advance_ms(250);
            self.pool.sweep();
        }
    }

    /// Asks a repository that hangs.
    fn ask(&self, lane: Lane, to_its_end: bool) -> oneshot::Receiver<Result<(), Failure>> {
        let (reply, answer) = oneshot::channel();
        let hanging = Arc::clone(&self.hanging);
        let work = move || {
            hanging.ask();
            Ok(())
        };
        self.pool.submit(Job { lane, what: "read", to_its_end }, reply, work, |done, reply| drop(reply.send(done)));
        answer
    }

    /// Asks a healthy one, and waits for the answer.
    fn ask_healthy(&self, lane: Lane) {
        let (done, answered) = mpsc::channel();
        let (reply, _answer) = oneshot::channel::<Result<(), Failure>>();
        let then = move |_: Result<(), Failure>, _| done.send(()).unwrap();
        self.pool.submit(Job { lane, what: "read", to_its_end: true }, reply, || Ok(()), then);
        answered.recv_timeout(Duration::from_secs(20)).expect("a healthy repository is served");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.hanging.answer();
    }
}

fn calls(name: &str) -> Lane {
    Lane::Calls(Path::new(name).into())
}

fn answer<T>(mut answer: oneshot::Receiver<Result<T, Failure>>) -> Option<Result<T, Failure>> {
    answer.try_recv().ok()
}

#[test]
fn a_repository_that_hangs_has_eight_threads_and_no_other_waits_for_it() {
    let scene = Scene::new();
    let asked: Vec<_> = (0..60).map(|_| scene.ask(calls("/sick"), false)).collect();
    scene.hanging.wait_for(PER_LANE);
    for number in 0..200 {
        scene.ask_healthy(calls(&format!("/healthy-{number}")));
    }
    assert_eq!(scene.hanging.asked.load(Ordering::SeqCst), PER_LANE);
    scene.pass(Limits::SHORT.stuck_after_ms);
    let refused = asked
        .into_iter()
        .filter_map(answer)
        .filter(|answer| matches!(answer, Err(Failure::RepositoryBusy { repo, max: PER_LANE, .. }) if repo == "/sick"));
    assert_eq!(refused.count(), 60 - PER_LANE, "what waits behind them is refused");
    let late = answer(scene.ask(calls("/sick"), false));
    assert!(matches!(late, Some(Err(Failure::RepositoryBusy { .. }))), "and so is who comes then, at once: {late:?}");
}

#[test]
fn callers_of_a_read_wait_for_half_a_minute_and_those_of_a_change_for_its_end() {
    let scene = Scene::new();
    let (read, change) = (scene.ask(calls("/sick"), false), scene.ask(calls("/sick"), true));
    scene.hanging.wait_for(2);
    scene.pass(29_000);
    let (mut read, mut change) = (read, change);
    assert!(read.try_recv().is_err(), "not before");
    scene.pass(1_000);
    let refused = read.try_recv().expect("an answer");
    assert!(matches!(refused, Err(Failure::Repo(_))), "{refused:?}");
    assert!(change.try_recv().is_err(), "its outcome must be known");
    scene.hanging.answer();
    assert!(change.blocking_recv().unwrap().is_ok());
}

#[test]
fn a_caller_that_goes_leaves_its_place_to_the_next() {
    let scene = Scene::new();
    let running: Vec<_> = (0..PER_LANE).map(|_| scene.ask(calls("/sick"), false)).collect();
    scene.hanging.wait_for(PER_LANE);
    drop((0..100).map(|_| scene.ask(calls("/sick"), false)).collect::<Vec<_>>());
    scene.pass(250);
    let waiting = scene.pool.0.state.lock().lanes[&calls("/sick")].queue.len();
    assert_eq!((waiting, running.len()), (0, PER_LANE));
}

#[test]
fn a_repository_that_is_slow_refuses_nobody() {
    let scene = Scene::new();
    let (one, next) = mpsc::channel::<()>();
    let (done, finished) = mpsc::channel::<()>();
    let next = Arc::new(Mutex::new(next));
    let mut asked = Vec::new();
    for _ in 0..64 {
        let (reply, answer) = oneshot::channel();
        let (next, done) = (Arc::clone(&next), done.clone());
        let work = move || {
            next.lock().recv().unwrap();
            Ok(())
        };
        let job = Job { lane: calls("/slow"), what: "read", to_its_end: true };
        scene.pool.submit(job, reply, work, move |result, reply| {
            drop(reply.send(result));
            done.send(()).unwrap();
        });
        asked.push(answer);
    }
    // Four answers a second.
    for _ in 0..64 {
        scene.pass(250);
        one.send(()).unwrap();
        finished.recv_timeout(Duration::from_secs(20)).expect("one more is served");
    }
    for answer in asked {
        assert!(answer.blocking_recv().unwrap().is_ok(), "none is refused while the others go on");
    }
}

#[test]
fn upkeep_runs_one_at_a_time_beside_the_calls() {
    let scene = Scene::new();
    let upkeep = || Lane::Upkeep(Path::new("/sick").into());
    let asked: Vec<_> = (0..3).map(|_| scene.ask(upkeep(), true)).collect();
    scene.hanging.wait_for(1);
    scene.ask_healthy(calls("/sick"));
    assert_eq!(scene.hanging.asked.load(Ordering::SeqCst), 1);
    scene.hanging.answer();
    asked.into_iter().for_each(|answer| answer.blocking_recv().unwrap().unwrap());
}

#[test]
fn a_hundred_repositories_that_hang_leave_threads_to_the_others() {
    let scene = Scene::new();
    let mut asked = Vec::new();
    for number in 0..100 {
        let lane = || calls(&format!("/sick-{number}"));
        asked.extend((0..12).map(|_| scene.ask(lane(), false)));
    }
    // Sixteen have eight; the rest has one or two, and there is room left.
    scene.hanging.wait_for(200);
    scene.ask_healthy(calls("/healthy"));
    let threads = scene.pool.0.state.lock().threads;
    assert!(threads < MOST_THREADS, "{threads} threads");
}

/// As where each folder of one sick repository is taken for a repository of its own.
#[test]
fn any_number_of_lanes_that_hang_leaves_threads_to_those_that_have_answered() {
    let scene = Scene::new();
    let healthy: Vec<Lane> = (0..20).map(|number| calls(&format!("/healthy-{number}"))).collect();
    for lane in &healthy {
        scene.ask_healthy(lane.clone());
    }
    let _answers: Vec<_> =
        (0..1000).flat_map(|number| [(); 3].map(|()| scene.ask(calls(&format!("/sick-{number}")), false))).collect();
    scene.hanging.wait_for(MOST_THREADS - FOR_ANSWERED);
    for lane in &healthy {
        scene.ask_healthy(lane.clone());
    }
    scene.pass(60_000);
    for lane in &healthy {
        scene.ask_healthy(lane.clone());
    }
    assert_eq!(scene.hanging.asked.load(Ordering::SeqCst), MOST_THREADS - FOR_ANSWERED);
    scene.hanging.answer();
}

#[test]
fn a_job_that_panics_takes_no_thread_along() {
    let scene = Scene::new();
    for _ in 0..20 {
        let (reply, answer) = oneshot::channel::<Result<(), Failure>>();
        let job = Job { lane: calls("/r"), what: "read", to_its_end: true };
        scene.pool.submit(
            job,
            reply,
            || panic!("a job that panics"),
            |done: Result<(), _>, reply| {
                drop(reply.send(done));
            },
        );
        let done = answer.blocking_recv().unwrap();
        assert!(matches!(done, Err(Failure::Broken("read"))), "{done:?}");
    }
    scene.ask_healthy(calls("/r"));
}
