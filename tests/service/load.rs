//! An upgrade under load: daemons are stopped, killed and overlapped while callers go on, and none of them is refused.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::activator::Activator;
use crate::support::{Client, Stopwatch, within};

/// How often the daemon is replaced, by each of the three ways.
const ROUNDS: usize = 3;

/// How many calls each caller must have had answered before the daemon is replaced again.
const BETWEEN: u64 = 3;

struct Callers {
    socket: PathBuf,
    over: AtomicBool,
    answered: Vec<AtomicU64>,
    lost: AtomicU64,
    /// The longest that a call took, in milliseconds, the lost connections and the daemon's absence included.
    longest: AtomicU64,
}

impl Callers {
    /// What every client does: a call whose answer was lost is made again, on a new connection. Nothing else is forgiven.
    fn call(&self, client: &mut Option<Client>, method: &str, params: &Value) -> Value {
        let watch = Stopwatch::start();
        loop {
            let connected = client.get_or_insert_with(|| Client::connect(&self.socket));
            match connected.try_call(method, params) {
                Ok(answer) => {
                    let took = u64::try_from(watch.elapsed().as_millis()).unwrap();
                    self.longest.fetch_max(took, Ordering::Relaxed);
                    return answer.unwrap_or_else(|fault| panic!("{method} was refused: {fault:?}"));
                }
                Err(_) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    *client = None;
                }
            }
        }
    }

    fn repeat(&self, caller: usize, mut what: impl FnMut()) {
        while !self.over.load(Ordering::Relaxed) {
            what();
            self.answered[caller].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until each has gone on.
    fn go_on(&self) {
        let counts = || self.answered.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let before = counts();
        within(std::time::Duration::from_secs(60), "every caller goes on", || {
            counts().iter().zip(&before).all(|(now, before)| *now >= before + BETWEEN).then_some(())
        });
    }
}

fn heddlectl(activator: &Activator, repo: &Path, arguments: &[&str]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_heddled")).with_file_name("heddlectl");
    let mut command = Command::new(program);
    command.env_clear().env("HOME", activator.place.root.join("home")).env("PATH", "/usr/bin:/bin");
    command.env("HEDDLE_SOCKET", activator.place.socket()).env("HEDDLE_STATE_DIR", activator.place.state());
    command.env("HEDDLE_NO_AUTOSTART", "1").args(arguments).current_dir(repo);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "heddlectl {arguments:?}: {}\n{out}{err}", output.status);
    out.trim_end().to_owned()
}

#[test]
fn no_call_is_lost_when_the_daemon_is_replaced_or_killed() {
    under_load(true);
}

/// Where no daemon is killed, that holds for calls as well that must not be made twice.
#[test]
fn no_call_of_any_kind_is_lost_when_the_daemon_is_replaced_in_order() {
    under_load(false);
}

fn under_load(kills: bool) {
    let activator = Activator::new();
    let mut daemon = activator.start();
    let repo = activator.place.repo("r");
    let held = daemon.client().reserve(repo.at(), "held");
    let guarded = json!({"session_id": held["session_id"], "reservation_token": held["reservation_token"]});
    let callers = Callers {
        socket: activator.place.socket(),
        over: AtomicBool::new(false),
        answered: (0..5).map(|_| AtomicU64::new(0)).collect(),
        lost: AtomicU64::new(0),
        longest: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        for caller in 0..3 {
            let (callers, guarded) = (&callers, &guarded);
            let method = ["agent.heartbeat", "agent.validate", "daemon.info"][caller];
            let params = if method == "daemon.info" { json!({}) } else { guarded.clone() };
            let mut client = None;
            scope.spawn(move || callers.repeat(caller, || drop(callers.call(&mut client, method, &params))));
        }
        let (callers, activator, at) = (&callers, &activator, Path::new(repo.at()));
        let session = held["session_id"].as_str().unwrap();
        scope.spawn(move || callers.repeat(3, || drop(heddlectl(activator, at, &["show", "--session", session]))));
        scope.spawn(move || {
            let mut number = 0;
            callers.repeat(4, || {
                number += 1;
                let thread = format!("t{number}");
                let session = heddlectl(activator, at, &["reserve", "-q", "--no-hold-for-agent", "-t", &thread]);
                if kills {
                    heddlectl(activator, at, &["release", "-q", "--session", &session]);
                } else {
                    heddlectl(activator, at, &["evict", "-q", "--session", &session, "--reason", "a test"]);
                }
            });
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            callers.go_on();
            for _ in 0..ROUNDS {
                daemon.stop();
                daemon = activator.launch();
                callers.go_on();
                if kills {
                    daemon.kill();
                    daemon = activator.launch();
                    callers.go_on();
                }
                let next = activator.launch();
                daemon.signal(Signal::SIGTERM);
                assert_eq!(daemon.ended().code(), Some(0), "{}", activator.place.log());
                daemon = next;
                callers.go_on();
            }
        }));
        callers.over.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
    let (lost, longest) = (callers.lost.load(Ordering::Relaxed), callers.longest.load(Ordering::Relaxed));
    eprintln!("{lost} connections were lost; the longest call took {longest} ms");
    assert!(lost > 0, "daemons went away under their callers");
    let shown = daemon.client().show(&held);
    assert_eq!((&shown["status"], &shown["fencing_token"]), (&json!("active"), &held["fencing_token"]));
}
