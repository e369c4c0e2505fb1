//! Processes that hold sessions: dead ones do not, living ones do, whatever they look like.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Holder, Place, Process, eventually, key};

fn held_by(repo: &str, thread: &str, pid: i32) -> Value {
    json!({"repo": repo, "thread": thread, "hold_for_pid": pid})
}

#[test]
fn an_unreaped_zombie_holds_nothing() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut holder = Holder::start();
    let held = client.ok("agent.reserve", &held_by(repo.at(), "t", holder.pid()))["reservation"].take();
    assert_eq!(held["hold"]["process"]["pid"], holder.pid());
    assert_eq!(held["hold"]["heartbeat"], Value::Null, "without ttl_ms the process alone holds");
    holder.kill_only();
    eventually("it has ended", || (client.show(&held)["end_reason"] == "process_exited").then_some(()));
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", holder.pid())).unwrap();
    assert!(stat.contains(") Z "), "nobody has waited for it yet: {stat}");
    client.refused("holder_not_found", "agent.reserve", &held_by(repo.at(), "t", holder.pid()));
    client.refused("agent_session_inactive", "agent.heartbeat", &key(&held));
}

#[test]
fn a_dead_process_cannot_become_a_holder() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut holder = Holder::start();
    let pid = holder.pid();
    holder.kill_and_wait();
    for (pid, why) in [(pid, "it has exited"), (i32::MAX, "there is none"), (0, "no pid"), (-1, "no pid")] {
        match client.call("agent.reserve", &held_by(repo.at(), "t", pid)) {
            Err(fault) if fault.kind() == "holder_not_found" => {
                assert_eq!(fault.details(), &json!({"pid": pid, "reason": "no such process"}), "{why}");
            }
            Err(fault) if pid <= 0 && fault.kind() == "invalid_params" => {}
            other => panic!("{pid} ({why}): {other:?}"),
        }
    }
    assert!(!repo.branches().contains_key("t"), "what is refused makes no branch");
    let held = client.reserve(repo.at(), "t");
    let mut moved = key(&held);
    moved["hold_for_pid"] = pid.into();
    client.refused("holder_not_found", "agent.heartbeat", &moved);
    assert_eq!(client.show(&held)["status"], "active", "a hold that could not be moved stays where it was");
}

#[test]
fn a_hold_that_was_moved_counts_for_the_new_process_alone() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let (mut first, mut second) = (Holder::start(), Holder::start());
    let held = client.ok("agent.reserve", &held_by(repo.at(), "t", first.pid()))["reservation"].take();
    let mut moved = key(&held);
    moved["hold_for_pid"] = second.pid().into();
    client.ok("agent.heartbeat", &moved);
    first.kill_and_wait();
    // A death that was seen is followed by a commit; another session's tells that it would have been there by now.
    let other = Holder::start();
    let witness = client.ok("agent.reserve", &held_by(repo.at(), "w", other.pid()))["reservation"].take();
    drop(other);
    eventually("the witness has ended", || (client.show(&witness)["status"] == "abandoned").then_some(()));
    assert_eq!(client.show(&held)["status"], "active");
    second.kill_and_wait();
    eventually("it has ended", || (client.show(&held)["end_reason"] == "process_exited").then_some(()));
}

#[test]
fn holders_that_died_while_the_daemon_was_down_are_found_dead_at_its_start() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let (mut dead, alive) = (Holder::start(), Holder::start());
    let mut client = daemon.client();
    let lost = client.ok("agent.reserve", &held_by(repo.at(), "lost", dead.pid()))["reservation"].take();
    let kept = client.ok("agent.reserve", &held_by(repo.at(), "kept", alive.pid()))["reservation"].take();
    daemon.kill();
    dead.kill_and_wait();
    daemon.restart();
    let mut client = daemon.client();
    assert_eq!(client.show(&lost)["end_reason"], "process_exited");
    assert_eq!(client.show(&kept)["status"], "active");
    drop(alive);
    eventually("it has ended", || (client.show(&kept)["end_reason"] == "process_exited").then_some(()));
}

const IN_NAMESPACE: &str = "HEDDLED_TEST_IN_NAMESPACE";

/// In a pid namespace of its own, where the next pid can be chosen and nobody else takes one.
#[test]
fn a_reused_pid_is_not_the_holder() {
    if std::env::var_os(IN_NAMESPACE).is_some() {
        return reuse_a_pid();
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "holders::a_reused_pid_is_not_the_holder", "--nocapture"])
        .env(IN_NAMESPACE, "1")
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    if told.starts_with("unshare:") {
        eprintln!("NOT TESTED: this system forbids making pid namespaces: {told}");
        return;
    }
    assert!(output.status.success(), "{told}");
    assert!(told.contains("PID REUSED") || told.contains("NOT TESTED"), "{told}");
    eprintln!("{told}");
}

fn reuse_a_pid() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut holder = Holder::start();
    let pid = holder.pid();
    let held = client.ok("agent.reserve", &held_by(repo.at(), "t", pid))["reservation"].take();
    // While the daemon is down, so that it cannot see the death itself.
    daemon.kill();
    holder.kill_and_wait();
    if std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).is_err() {
        eprintln!("NOT TESTED: this system forbids choosing a pid");
        return;
    }
    let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let other = Process { child };
    assert_eq!(other.pid(), pid, "the pid is used again");
    eprintln!("PID REUSED");
    daemon.restart();
    let ended = daemon.client().show(&held);
    assert_eq!((&ended["status"], &ended["end_reason"]), (&json!("abandoned"), &json!("process_exited")));
}
