//! `heddlectl doctor` in each broken world: it says what is wrong and what mends it, and it changes nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::faults::{Answer, SAME, scripted};
use crate::process;
use crate::support::{Said, World, alive, heddlectl, until};

/// A user that is not us, nor root.
const NOBODY: u32 = 65_534;

/// What a doctor found.
struct Found(Vec<Value>);

impl Found {
    #[track_caller]
    fn of(said: &Said, healthy: bool) -> Self {
        assert_eq!(said.stderr, "", "{said}");
        let report: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        let code = i32::from(!healthy);
        assert_eq!((report["healthy"].as_bool(), said.code), (Some(healthy), Some(code)), "{said}");
        Self(report["checks"].as_array().expect("checks").clone())
    }

    #[track_caller]
    fn check(&self, name: &str) -> &Value {
        let all: Vec<_> = self.0.iter().filter(|check| check["name"] == name).collect();
        assert_eq!(all.len(), 1, "{name} in {:?}", self.0);
        all[0]
    }

    /// How a check stands, what it says, and its command.
    #[track_caller]
    fn told(&self, name: &str) -> (&str, &str, &str) {
        let check = self.check(name);
        (
            check["status"].as_str().expect("a status"),
            check["summary"].as_str().expect("a summary"),
            check["fix"].as_str().unwrap_or_default(),
        )
    }

    /// The names of what is not well.
    fn problems(&self) -> Vec<&str> {
        let is_problem = |check: &&Value| check["status"] == "error" || check["status"] == "warning";
        self.0.iter().filter(is_problem).filter_map(|check| check["name"].as_str()).collect()
    }
}

#[track_caller]
fn well(world: &World) -> Found {
    Found::of(&world.run(&["doctor", "--json"]), true)
}

#[track_caller]
fn ill(world: &World) -> Found {
    Found::of(&world.run(&["doctor", "--json"]), false)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: this takes root");
    }
    root
}

/// Everything below a directory, as far as it can change: path, mode, owner, size, times.
fn tree(directory: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).expect("read") {
        let path = entry.expect("an entry").path();
        let meta = fs::symlink_metadata(&path).expect("there");
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        all.push(format!("{} {:o} {} {} {times:?}", path.display(), meta.mode(), meta.uid(), meta.len()));
        if meta.is_dir() {
            all.extend(tree(&path));
        }
    }
    all.sort();
    all
}

#[test]
fn a_sound_world_is_said_to_be_so_problems_first() {
    let world = World::with_daemon();
    let found = well(&world);
    assert_eq!(found.problems(), [""; 0], "{:?}", found.0);
    let (status, summary, _) = found.told("daemon");
    assert!(status == "ok" && summary.contains("answers: pid "), "{summary}");
    assert_eq!(found.told("lock").0, "ok");
    let said = world.run(&["doctor"]);
    assert!(said.code == Some(0) && said.stdout.ends_with("0 errors, 0 warnings\n"), "{said}");
    assert_eq!(world.run(&["doctor", "-q"]).stdout, "", "quiet: problems alone");
    mode(&world.path("state"), 0o755);
    let said = world.run(&["doctor"]);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(lines[0].starts_with("warn  state_dir"), "{said}");
    assert_eq!(lines[1], "      fix: chmod 700 $ROOT/state");
    assert_eq!(world.run(&["doctor", "-q"]).stdout.lines().count(), 2);
}

#[test]
fn a_registry_that_cannot_be_read_is_not_called_sound() {
    let mut world = World::with_daemon();
    assert_eq!(well(&world).told("store").1, "changes are durable", "the daemon tells");
    world.stop_daemon();
    assert_eq!(well(&world).told("store").0, "ok");
    let checkpoint = world.path("state/base/checkpoint");
    let mut bytes = fs::read(&checkpoint).expect("read");
    bytes[10] ^= 1;
    fs::write(&checkpoint, bytes).expect("written");
    let found = ill(&world);
    let (status, summary, fix) = found.told("store");
    assert!(status == "error" && summary.contains("base/checkpoint: "), "{summary}");
    assert_eq!(fix, "heddlectl daemon verify");
    assert_eq!(world.elsewhere(fix).code, Some(74), "which says more");
}

#[test]
fn it_needs_no_daemon_and_starts_none_and_changes_nothing() {
    let world = World::new();
    fs::create_dir_all(world.path("home/.config/heddle")).expect("made");
    fs::write(world.path("home/.config/heddle/heddled.toml"), "no_such_key = 1\n").expect("written");
    mode(&world.path("run/heddle"), 0o755);
    let before = tree(&world.path(""));
    let mut command = world.command(&["doctor", "--json"]);
    let found = Found::of(&world.say(command.env_remove("HEDDLE_NO_AUTOSTART")), false);
    let (status, summary, fix) = found.told("configuration");
    assert!(status == "error" && summary.contains("unknown key 'no_such_key'"), "{summary}");
    assert!(fix.ends_with("heddled --check-config"), "{fix}");
    assert_eq!(found.told("daemon").0, "ok", "one that does not run is started when it is needed");
    assert_eq!(found.told("socket_dir").0, "warning");
    assert_eq!(before, tree(&world.path("")));
    assert!(!world.path("state").exists());
    assert_eq!(
        ill(&world).told("daemon"),
        (
            "warning",
            "it is not running, and HEDDLE_NO_AUTOSTART keeps commands from starting it",
            "heddlectl daemon start"
        )
    );
}

#[test]
fn without_a_home_and_outside_of_a_repository() {
    let world = World::new();
    let mut command = world.command(&["doctor", "--json"]);
    command.env_remove("HOME").env_remove("HEDDLE_STATE_DIR").env_remove("XDG_CONFIG_HOME").current_dir("/");
    let found = Found::of(&world.say(&mut command), false);
    let (status, summary, fix) = found.told("environment");
    assert!(status == "error" && summary.contains("HOME") && fix.starts_with("export HOME=/"), "{summary} {fix}");
    assert_eq!(found.told("repository").0, "skipped");
    assert_eq!(found.told("git").0, "ok", "D1: what is broken keeps nothing else from being looked at");
    let mut command = world.command(&["doctor", "--json"]);
    let found = Found::of(&world.say(command.env("HEDDLE_STATE_DIR", "state")), false);
    assert_eq!(found.told("environment").2, "export HEDDLE_STATE_DIR=$ROOT/app/state");
    let gone = world.path("gone");
    fs::create_dir(&gone).expect("made");
    let script = format!("rmdir {} && exec {} doctor -q", gone.display(), heddlectl().display());
    let mut shell = Command::new("sh");
    world.environment(&mut shell).args(["-c", &script]).current_dir(&gone).env_remove("HEDDLE_NO_AUTOSTART");
    assert_eq!(world.say(&mut shell).code, Some(0), "a directory that was removed is no reason to fail");
}

#[test]
fn what_a_killed_daemon_left_is_told_apart_from_a_daemon() {
    let mut world = World::with_daemon();
    let pid = world.recorded_daemon().expect("a daemon");
    world.kill_daemon();
    let found = well(&world);
    assert_eq!(found.problems(), ["socket", "lock", "daemon"]);
    assert!(found.told("socket").1.contains("nobody listens"), "{:?}", found.told("socket"));
    let (_, summary, fix) = found.told("lock");
    assert!(summary.contains(&format!("names pid {pid}, which is gone")), "{summary}");
    assert_eq!(world.elsewhere(fix).code, Some(0), "its command mends it");
    assert_eq!(well(&world).problems(), [""; 0]);
}

#[test]
fn a_daemon_that_was_stopped_by_a_signal_is_named_with_what_wakes_it() {
    let world = World::with_daemon();
    let pid = world.recorded_daemon().expect("a daemon");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP).expect("stopped");
    let found = ill(&world);
    let (status, summary, fix) = found.told("daemon");
    assert!(status == "error" && summary.contains(&format!("pid {pid} does not answer within 1.5 s")), "D2: {summary}");
    assert!(summary.contains("stopped by a signal"), "{summary}");
    assert_eq!(fix, format!("kill -CONT {pid}"));
    assert_eq!(world.elsewhere(fix).code, Some(0));
    assert_eq!(well(&world).problems(), [""; 0]);
}

#[test]
fn a_daemon_that_cannot_bind_its_socket_again_is_found_by_its_lock() {
    let mut world = World::with_daemon();
    let pid = world.recorded_daemon().expect("a daemon");
    // The daemon does not remove what is no socket.
    fs::write(world.path("run/heddle/other"), "").expect("written");
    fs::rename(world.path("run/heddle/other"), world.socket()).expect("in its place");
    let found = ill(&world);
    let (status, summary, fix) = found.told("daemon");
    assert!(status == "error" && summary.contains(&format!("pid {pid} runs and holds the lock")), "{summary}");
    assert_eq!(fix, "heddlectl daemon stop && heddlectl daemon start");
    let other = world.path("run/heddle/other.sock");
    let found = Found::of(&world.run(&["doctor", "--json", "--socket", other.to_str().expect("text")]), false);
    let (_, summary, fix) = found.told("daemon");
    assert!(summary.contains("you asked for another socket"), "{summary}");
    assert_eq!(
        fix,
        format!("heddlectl --socket {} status", world.socket().display())
            .replace(&world.path("").display().to_string(), "$ROOT/")
    );
    let stopped = world.run(&["daemon", "stop"]);
    assert!(stopped.code == Some(0) && stopped.stdout.contains(&format!("was stopped: pid {pid}")), "{stopped}");
    until("it has ended", || world.is_daemon_gone());
    assert!(!alive(pid));
}

#[test]
fn directories_and_sockets_that_are_not_the_users_alone() {
    let world = World::with_daemon();
    mode(&world.path("run/heddle"), 0o777);
    let found = ill(&world);
    assert_eq!(found.told("socket_dir").0, "error");
    assert!(found.told("daemon").1.contains("nothing was sent"), "{:?}", found.told("daemon"));
    mode(&world.path("run/heddle"), 0o700);
    mode(&world.path("state"), 0o777);
    mode(&world.socket(), 0o666);
    let found = ill(&world);
    assert_eq!(found.problems(), ["state_dir", "socket"]);
    for name in ["state_dir", "socket"] {
        let fix = found.told(name).2.replace("$ROOT/", &world.path("").display().to_string());
        assert_eq!(world.elsewhere(&fix).code, Some(0), "{fix}");
    }
    assert_eq!(well(&world).problems(), [""; 0]);
    let world = World::new();
    fs::create_dir(world.path("real")).expect("made");
    symlink(world.path("real"), world.path("state")).expect("linked");
    fs::write(world.socket(), "").expect("written");
    let found = ill(&world);
    assert!(found.told("state_dir").1.contains("a symbolic link"), "{:?}", found.told("state_dir"));
    assert_eq!(found.told("state_dir").2, "export HEDDLE_STATE_DIR=$ROOT/real");
    assert!(found.told("socket").1.contains("not a socket"), "{:?}", found.told("socket"));
    assert!(found.told("socket").2.starts_with("mv "), "{:?}", found.told("socket"));
}

#[test]
fn what_belongs_to_another_user_is_named() {
    if !is_root() {
        return;
    }
    let world = World::with_daemon();
    let give = |name: &str| std::os::unix::fs::chown(world.path(name), Some(NOBODY), None).expect("given");
    give("run/heddle/heddled.sock");
    assert_eq!(ill(&world).told("socket").0, "error");
    give("state");
    let found = ill(&world);
    let (status, summary, fix) = found.told("state_dir");
    assert!(
        status == "error" && summary.contains("belongs to") && fix.starts_with("sudo chown -R "),
        "{summary} {fix}"
    );
    give("run");
    let found = ill(&world);
    let (status, summary, fix) = found.told("runtime_dir");
    assert!(status == "error" && summary.contains("belongs to") && fix.contains("XDG_RUNTIME_DIR"), "{summary} {fix}");
    let mut command = world.command(&["doctor", "--json"]);
    let found = Found::of(&world.say(command.env("SUDO_UID", "1").env("SUDO_USER", "x")), false);
    let (status, summary, fix) = found.told("user");
    assert!(status == "warning" && summary.contains("by sudo") && fix.starts_with("sudo -u "), "{summary} {fix}");
}

#[test]
fn without_a_runtime_directory_the_daemon_is_found_by_its_lock() {
    let world = World::with_daemon();
    let mut command = world.command(&["doctor", "--json"]);
    let found = Found::of(&world.say(command.env_remove("XDG_RUNTIME_DIR")), true);
    assert!(found.told("runtime_dir").1.contains("the daemon was found at"), "{:?}", found.told("runtime_dir"));
    assert_eq!(found.told("daemon").0, "ok");
    let mut command = world.command(&["doctor", "--json"]);
    let found = Found::of(&world.say(command.env("XDG_RUNTIME_DIR", "/nonexistent/run")), true);
    assert_eq!(found.told("runtime_dir").0, "warning");
}

#[test]
fn a_path_that_is_too_long_is_told_with_a_shorter_one() {
    let world = World::new();
    let long = format!("/{}", "a".repeat(120));
    let found = Found::of(&world.run(&["doctor", "--json", "--socket", &long]), false);
    let (status, summary, fix) = found.told("socket_path");
    assert!(status == "error" && summary.contains("121 bytes"), "{summary}");
    assert!(fix.starts_with("export HEDDLE_SOCKET=/tmp/heddle-"), "{fix}");
}

/// The filter that a sandbox puts between a process and every Unix socket: the call fails with EPERM.
const SANDBOX: &str = r"
import ctypes, os, struct, sys
number = {'x86_64': 42, 'aarch64': 203}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
filters = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in code))
program = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', len(code), ctypes.addressof(filters)))
assert libc.prctl(38, 1, 0, 0, 0) == 0, 'no new privileges'
assert libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn a_sandbox_that_blocks_unix_sockets_is_told_apart_from_no_daemon() {
    let world = World::with_daemon();
    let mut python = Command::new("python3");
    world.environment(&mut python).arg("-c").arg(SANDBOX).arg(heddlectl()).args(["doctor", "--json"]);
    python.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    if let Some(home) = std::env::var_os("PYENV_ROOT") {
        python.env("PYENV_ROOT", home);
    }
    let Ok(output) = process::try_run(&mut python) else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let found = Found::of(&world.said(&output), false);
    let (status, summary, fix) = found.told("sandbox");
    assert!(status == "error" && summary.contains("Operation not permitted"), "{summary}");
    assert!(summary.contains("does not say that no daemon is running") && fix == "heddlectl daemon start", "{summary}");
    assert_eq!(found.check("sandbox")["details"]["seccomp"], 2);
    assert!(found.told("daemon").1.contains("forbidden"), "{:?}", found.told("daemon"));
    let idle = World::new();
    let mut command = idle.command(&["doctor", "--json"]);
    let found = Found::of(&idle.say(command.env("CODEX_SANDBOX", "seatbelt")), true);
    assert!(found.told("sandbox").1.contains("CODEX_SANDBOX is set"), "{:?}", found.told("sandbox"));
}

#[test]
fn a_directory_that_may_not_be_entered_is_not_the_absence_of_a_daemon() {
    if !is_root() {
        return;
    }
    let world = World::with_daemon();
    let mut command = world.command(&["doctor", "--json"]);
    // The world is root's alone.
    command.uid(NOBODY).gid(NOBODY).current_dir("/").env("HOME", "/");
    let Ok(output) = process::try_run(&mut command) else {
        eprintln!("skipped: another user cannot start the program here");
        return;
    };
    let found = Found::of(&world.said(&output), false);
    assert!(found.told("sandbox").1.contains("Permission denied"), "{:?}", found.told("sandbox"));
    assert_eq!(found.told("daemon").0, "error");
}

#[test]
fn a_daemon_in_another_pid_namespace_is_said_to_be_there() {
    let works = process::try_run(Command::new("unshare").args(["--pid", "--fork", "true"]));
    if !works.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no pid namespace can be made here");
        return;
    }
    let world = World::with_daemon();
    let mut inside = Command::new("unshare");
    world
        .environment(&mut inside)
        .args(["--pid", "--fork", "--kill-child"])
        .arg(heddlectl())
        .args(["doctor", "--json"]);
    let found = Found::of(&world.say(&mut inside), true);
    let (status, summary, fix) = found.told("pid_namespace");
    assert!(status == "warning" && summary.contains("another pid namespace"), "{summary}");
    assert!(fix.contains("--no-hold-for-agent"), "{fix}");
    assert_eq!(found.told("daemon").0, "ok");
    assert_eq!(well(&world).told("pid_namespace").0, "ok");
}

fn answer(call: &Value) -> Option<String> {
    let limits = json!({"line_bytes": 1, "connections": 1, "calls_in_flight": 1, "batch": 1, "active_sessions": 1,
        "waiters": 1, "subscriptions": 1, "events_behind": 1, "request_timeout_ms": 1});
    let counts = json!({"connections": 1, "subscriptions": 0, "active_sessions": 0, "waiters": 0, "sessions": 0,
        "threads": 0, "repositories": 0, "quarantined": 1});
    let info = json!({"version": "99.0.0", "protocol": [1, 1], "pid": 1, "started_at": "2096-01-02T03:04:05.678Z",
        "socket": "/s", "state_dir": "/d", "registry": "0", "boot_id": "b", "counts": counts, "limits": limits,
        "revision": 1});
    let bad = |name: &str| json!({"name": name, "clean": false, "summary": format!("{name} is broken")});
    let health = json!({"healthy": false, "checks": [bad("store"), bad("records"), bad("of_tomorrow")]});
    let result = match call["method"].as_str()? {
        "daemon.info" => info,
        "daemon.health" => health,
        _ => return None,
    };
    Some(json!({"jsonrpc": "2.0", "id": call["id"], "result": result}).to_string())
}

#[test]
fn a_daemon_of_another_version_and_one_that_is_not_well() {
    let world = World::new();
    let answers: &[Answer] = &[answer];
    let _calls = scripted(&world, "heddled/99.0.0", answers);
    let found = ill(&world);
    let (status, summary, fix) = found.told("version");
    assert!(status == "warning" && summary.contains("heddled 99.0.0 is running"), "{summary}");
    assert_eq!(fix, "heddlectl daemon stop && heddlectl daemon start");
    for name in ["store", "records", "of_tomorrow"] {
        let (status, summary, fix) = found.told(name);
        assert!(
            status == "error" && summary == format!("{name} is broken") && fix.starts_with("heddlectl daemon"),
            "{fix}"
        );
    }
    assert!(found.told("clock").1.contains("the clock was set back"), "{:?}", found.told("clock"));
}

#[test]
fn what_answers_and_is_no_daemon_is_told_as_such() {
    let world = World::new();
    let answers: &[Answer] = &[|_| Some("220 smtp.example.com".to_owned())];
    let _calls = scripted(&world, SAME, answers);
    let found = ill(&world);
    assert!(found.told("daemon").1.contains("no daemon of this protocol"), "{:?}", found.told("daemon"));
}

#[test]
fn state_in_memory_and_a_disk_that_is_full() {
    let world = World::new();
    if Path::new("/dev/shm").is_dir() {
        let mut command = world.command(&["doctor", "--json"]);
        let found = Found::of(&world.say(command.env("HEDDLE_STATE_DIR", "/dev/shm/heddle-doctor/none")), true);
        let (status, summary, _) = found.told("state_filesystem");
        assert!(status == "warning" && summary.contains("tmpfs"), "{summary}");
    }
    fs::create_dir(world.path("small")).expect("made");
    mode(&world.path("small"), 0o700);
    let small = world.path("small").display().to_string();
    let mounted =
        process::try_run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=700", "none", &small]));
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no file system can be mounted here");
        return;
    }
    let mut command = world.command(&["doctor", "--json"]);
    let said = world.say(command.env("HEDDLE_STATE_DIR", &small));
    assert!(process::run(Command::new("umount").arg(&small)).status.success());
    let found = Found::of(&said, false);
    let (status, summary, _) = found.told("state_space");
    assert!(status == "error" && (summary.contains("MiB are free") || summary.contains("more files")), "{summary}");
}

#[test]
fn too_few_descriptors_for_the_connections() {
    let world = World::new();
    let mut shell = Command::new("sh");
    world.environment(&mut shell).args(["-c", "ulimit -n 300; exec \"$0\" doctor --json"]).arg(heddlectl());
    let found = Found::of(&world.say(&mut shell), true);
    let (status, summary, fix) = found.told("open_files");
    assert!(status == "warning" && summary.contains("300 files") && summary.contains("4096 connections"), "{summary}");
    assert_eq!(fix, "sudo prlimit --pid $$ --nofile=4608:4608");
}

#[test]
fn a_service_that_ends_with_the_login() {
    let world = World::new();
    assert_eq!(well(&world).told("linger").0, "skipped");
    fs::create_dir_all(world.path("home/.config/systemd/user")).expect("made");
    fs::write(world.path("home/.config/systemd/user/heddled.service"), "").expect("written");
    let found = well(&world);
    let (status, _, fix) = found.told("linger");
    assert!(status == "ok" || fix.starts_with("loginctl enable-linger "), "{fix}");
}

#[test]
fn an_old_git_and_none() {
    let world = World::new();
    fs::create_dir(world.path("bin")).expect("made");
    let mut command = world.command(&["doctor", "--json"]);
    let found = Found::of(&world.say(command.env("PATH", world.path("bin"))), false);
    assert!(found.told("git").1.contains("no git in the PATH"), "{:?}", found.told("git"));
    fs::write(world.path("bin/git"), "#!/bin/sh\necho git version 2.30.2\n").expect("written");
    mode(&world.path("bin/git"), 0o755);
    let mut command = world.command(&["doctor", "--json"]);
    let found = Found::of(&world.say(command.env("PATH", world.path("bin"))), true);
    let (status, summary, _) = found.told("git");
    assert!(status == "warning" && summary.contains("2.30.2") && summary.contains("2.38"), "{summary}");
}

#[test]
fn worktrees_that_are_left_over() {
    let world = World::with_daemon();
    let (gone, locked) = (world.path("gone"), world.path("locked"));
    for path in [&gone, &locked] {
        let path = path.to_str().expect("text");
        world.git(&["worktree", "add", "--quiet", "--detach", path]);
    }
    let session = format!("agent-{}", "a".repeat(20));
    let reason = format!("reserved by {session}");
    world.git(&["worktree", "lock", "--reason", &reason, locked.to_str().expect("text")]);
    fs::remove_dir_all(&gone).expect("removed");
    let said = world.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let found: Vec<&Value> = checks.iter().filter(|check| check["name"] == "worktrees").collect();
    assert_eq!((found.len(), said.code), (2, Some(0)), "{said}");
    assert!(found[1]["summary"].as_str().expect("text").contains(&session), "{said}");
    for check in found {
        assert_eq!(check["status"], "warning");
        let fix = check["fix"].as_str().expect("a fix").replace("$ROOT/", &world.path("").display().to_string());
        assert_eq!(world.elsewhere(&fix).code, Some(0), "{fix}");
    }
    let found = well(&world);
    assert_eq!(found.told("worktrees").0, "ok");
    // One that is reserved is not left over.
    let said = world.run(&["reserve", "-q", "--no-hold-for-agent", "--thread", "w", "--worktree"]);
    assert_eq!(said.code, Some(0), "{said}");
    assert_eq!(well(&world).told("worktrees").0, "ok");
}

#[test]
fn a_repository_of_another_registry_and_one_that_git_does_not_trust() {
    let world = World::with_daemon();
    world.reserve("x");
    assert!(well(&world).told("repository").1.contains("is this registry's"));
    let mark = world.path("app/.git/heddle-registry");
    fs::write(&mark, format!("{}\n/elsewhere/state\n", "0".repeat(32))).expect("written");
    let found = ill(&world);
    let (status, summary, fix) = found.told("repository");
    assert!(status == "error" && summary.contains("/elsewhere/state"), "{summary}");
    assert_eq!(fix, "heddlectl repo adopt --reason '<why>' --repo $ROOT/app");
    if is_root() {
        std::os::unix::fs::chown(world.path("app/.git"), Some(NOBODY), None).expect("given");
        std::os::unix::fs::chown(world.path("app"), Some(NOBODY), None).expect("given");
        let found = ill(&world);
        let (_, summary, fix) = found.told("repository");
        assert!(summary.contains("dubious ownership") && fix.contains("safe.directory"), "{summary} {fix}");
    }
}

#[test]
fn a_configuration_that_heddlectl_does_not_see() {
    let world = World::new();
    fs::create_dir_all(world.path("home/.config/heddle")).expect("made");
    let toml = format!("state_dir = '{}'\n", world.path("other").display());
    fs::write(world.path("home/.config/heddle/heddled.toml"), toml).expect("written");
    let mut command = world.command(&["doctor", "--json"]);
    let found = Found::of(&world.say(command.env_remove("HEDDLE_STATE_DIR")), true);
    assert_eq!(found.told("configuration").2, "export HEDDLE_STATE_DIR=$ROOT/other");
}

#[test]
fn a_log_that_is_too_long_is_cut_when_a_daemon_starts_and_shown_whole() {
    let world = World::new();
    fs::create_dir(world.path("state")).expect("made");
    mode(&world.path("state"), 0o700);
    let log = world.path("state/heddled.log");
    fs::write(&log, "the last line of the one before\n").expect("written");
    let long = fs::OpenOptions::new().write(true).open(&log).expect("opened");
    long.set_len(41 * 1024 * 1024).expect("long");
    mode(&log, 0o600);
    let found = well(&world);
    assert!(found.told("log").1.contains("41 MiB") && found.told("log").2.contains("daemon start"));
    assert_eq!(world.run(&["daemon", "start", "-q"]).code, Some(0));
    until("it is moved aside", || world.path("state/heddled.log.1").exists());
    let found = well(&world);
    let fix = found.told("log").2.replace("$ROOT/", &world.path("").display().to_string());
    assert_eq!((world.elsewhere(&fix).code, well(&world).told("log").0), (Some(0), "ok"), "{fix}");
    let text = fs::read_to_string(&log).expect("read");
    assert!(text.contains("serving"), "O3: {text}");
    assert_eq!(fs::metadata(&log).expect("there").mode() & 0o777, 0o600);
    let said = world.run(&["daemon", "logs", "-n", "1"]);
    assert!(said.code == Some(0) && said.stdout.lines().count() == 1 && said.stdout.contains("INFO"), "{said}");
    assert_eq!(world.run(&["daemon", "reload", "-q"]).code, Some(0));
    until("it is said", || world.run(&["daemon", "logs"]).stdout.contains("read again"));
    let said = world.json(&["daemon", "logs", "-n", "2"]);
    assert_eq!(said["lines"].as_array().map(Vec::len), Some(2));
    assert_eq!(world.run(&["daemon", "stop", "-q"]).code, Some(0));
}
