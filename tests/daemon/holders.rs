//! Processes that hold sessions: dead ones do not, living ones do, whatever they look like.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Client, Holder, Place, Process, eventually, key};

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

/// Runs a test again in a pid namespace of its own, where the next pid can be chosen and nobody else takes one. True in there.
fn in_pid_namespace(test: &str) -> bool {
    if std::env::var_os(IN_NAMESPACE).is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(IN_NAMESPACE, "1")
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    if told.starts_with("unshare:") {
        eprintln!("NOT TESTED: this system forbids making pid namespaces: {told}");
        return false;
    }
    assert!(output.status.success(), "{told}");
    assert!(told.contains("PID REUSED") || told.contains("NOT TESTED"), "{told}");
    eprintln!("{told}");
    false
}

fn uptime() -> String {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    text.split(' ').next().unwrap().to_owned()
}

/// A process that gets the pid of one that has ended; none where the system forbids choosing it.
fn reuse(pid: i32) -> Option<Process> {
    if std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).is_err() {
        eprintln!("NOT TESTED: this system forbids choosing a pid");
        return None;
    }
    let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let other = Process { child };
    assert_eq!(other.pid(), pid, "the pid is used again");
    eprintln!("PID REUSED");
    Some(other)
}

#[test]
fn a_reused_pid_is_not_the_holder() {
    if !in_pid_namespace("holders::a_reused_pid_is_not_the_holder") {
        return;
    }
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
    let Some(_other) = reuse(pid) else { return };
    daemon.restart();
    let ended = daemon.client().show(&held);
    assert_eq!((&ended["status"], &ended["end_reason"]), (&json!("abandoned"), &json!("process_exited")));
}

#[test]
fn a_process_that_ends_while_its_caller_waits_hands_its_pid_to_no_other_holder() {
    if !in_pid_namespace("holders::a_process_that_ends_while_its_caller_waits_hands_its_pid_to_no_other_holder") {
        return;
    }
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let (mut client, mut waiter) = (daemon.client(), daemon.client());
    let held = client.reserve(repo.at(), "t");
    let mut named = Holder::start();
    let (pid, began) = (named.pid(), uptime());
    let mut params = held_by(repo.at(), "t", pid);
    params["wait_ms"] = 60_000.into();
    waiter.start("agent.reserve", &params);
    eventually("it waits", || (client.ok("daemon.info", &json!({}))["counts"]["waiters"] == 1).then_some(()));
    named.kill_and_wait();
    // The kernel counts start times in hundredths of a second, and uptime with them.
    eventually("a process that starts now starts later", || (uptime() != began).then_some(()));
    let Some(_stranger) = reuse(pid) else { return };
    client.release(&held);
    let answer = waiter.receive();
    assert_eq!(answer["error"]["data"]["kind"], "holder_not_found", "{answer}");
    assert_eq!(answer["error"]["data"]["details"]["reason"], "no such process");
}

#[test]
fn a_process_that_cannot_be_looked_at_for_want_of_descriptors_is_not_called_dead() {
    const FILES: usize = 96;
    let place = Place::new();
    let daemon = {
        let direct = place.command();
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {FILES}; exec \"$0\""), direct.get_program().to_str().unwrap()]);
        limited.env_clear().envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
        limited.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        place.launch(&mut limited)
    };
    let repo = place.repo("r");
    let mut client = eventually("the daemon listens", || Client::try_connect(&place.socket()).ok());
    let held = client.reserve(repo.at(), "t");
    let holder = Holder::start();
    let mut moved = key(&held);
    moved["hold_for_pid"] = holder.pid().into();
    let crowd: Vec<Client> = (0..FILES).map(|_| daemon.client()).collect();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    eventually("it has no descriptor left", || (open() >= FILES).then_some(()));
    let fault = client.refused("limit_exceeded", "agent.heartbeat", &moved);
    assert_eq!((&fault.0["data"]["retryable"], &fault.details()["limit"]), (&json!(true), &json!("open_files")));
    assert!(fault.0["message"].as_str().unwrap().contains("Too many open files"), "{}", fault.0);
    drop(crowd);
    eventually("it has descriptors again", || client.call("agent.heartbeat", &moved).ok());
    assert_eq!(client.show(&held)["hold"]["process"]["pid"], holder.pid());
}

#[test]
fn a_hold_that_a_daemon_in_another_pid_namespace_cannot_judge_lives_by_its_token() {
    let place = Place::new();
    let mut first = place.start();
    let repo = place.repo("r");
    let mut client = first.client();
    let holder = Holder::start();
    let by_process = client.ok("agent.reserve", &held_by(repo.at(), "p", holder.pid()))["reservation"].take();
    let mut with_ttl = held_by(repo.at(), "b", holder.pid());
    with_ttl["ttl_ms"] = 1000.into();
    let with_ttl = client.ok("agent.reserve", &with_ttl)["reservation"].take();
    first.kill();
    let direct = place.command();
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    inside
        .arg(direct.get_program())
        .env_clear()
        .envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
    inside.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut second = place.launch(&mut inside);
    let client = eventually("the daemon answers, or cannot be started there", || {
        if second.has_ended() {
            return Some(None);
        }
        let mut client = Client::try_connect(&place.socket()).ok()?;
        client.try_call("daemon.info", &json!({})).ok().map(|_| Some(client))
    });
    let Some(mut client) = client else {
        eprintln!("NOT TESTED: this system forbids making pid namespaces");
        return;
    };
    let held = client.show(&by_process);
    assert_eq!((&held["status"], &held["alive"]), (&json!("active"), &json!("unknown")));
    assert_eq!(held["hold"]["heartbeat"]["ttl_ms"], 300_000, "it has to be renewed by its token");
    let expires = held["hold"]["heartbeat"]["expires_at"].as_str().unwrap().to_owned();
    eventually("its token renews it", || {
        client.ok("agent.heartbeat", &key(&by_process));
        (client.show(&by_process)["hold"]["heartbeat"]["expires_at"].as_str().unwrap() > expires.as_str()).then_some(())
    });
    let fault = client.refused("live_owner", "agent.reserve", &json!({"repo": repo.at(), "thread": "p"}));
    let condition = fault.0["data"]["unsafe_condition"].as_str().unwrap();
    assert!(condition.contains("another pid namespace"), "{condition}");
    eventually("nobody renewed the other", || (client.show(&with_ttl)["end_reason"] == "holder_unknown").then_some(()));
}
