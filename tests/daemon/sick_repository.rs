//! A repository that does not answer costs only those who ask for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use crate::mounts::not_run;
use crate::support::{Client, Daemon, Holder, Place, Process, Repo, Stopwatch, eventually, within};

/// Far less than a caller of the sick repository waits.
const SOON: Duration = Duration::from_secs(8);

/// The files of a Git directory that an agent can replace.
const FILES: [&str; 4] = ["config", "packed-refs", "HEAD", "objects/info/alternates"];

/// Puts a FIFO in the place of a file: whoever opens it to read waits for a writer.
fn make_fifo(path: &Path) {
    std::fs::remove_file(path).ok();
    nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
}

/// What every caller of other repositories is still given.
fn assert_others_are_served(daemon: &Daemon<'_>, healthy: &Repo, round: &str) {
    let watch = Stopwatch::start();
    let mut client = daemon.client();
    client.ok("thread.list", &json!({"repo": healthy.at()}));
    client.ok("repo.verify", &json!({"repo": healthy.at()}));
    client.ok("agent.list", &json!({"repo": healthy.at(), "alive_only": true}));
    // An existing branch, a new one, and one with a holder that has to be looked at.
    let holder = Holder::start();
    for thread in ["main", round] {
        let held = client.reserve(healthy.at(), thread);
        client.release(&held);
    }
    let params = json!({"repo": healthy.at(), "thread": format!("{round}-held"), "hold_for_pid": holder.pid()});
    let held = client.ok("agent.reserve", &params)["reservation"].clone();
    client.release(&held);
    assert!(watch.elapsed() < SOON, "the others waited for {:?}", watch.elapsed());
}

/// A repository with a session that a process holds, and the process.
fn held(daemon: &Daemon<'_>, place: &Place, name: &str) -> (Repo, Value, Process) {
    let (repo, holder) = (place.repo(name), Holder::start());
    let params = json!({"repo": repo.at(), "thread": "held", "hold_for_pid": holder.pid()});
    let session = daemon.client().ok("agent.reserve", &params)["reservation"].clone();
    (repo, session, holder)
}

fn end_reason(daemon: &Daemon<'_>, session: &Value) -> Value {
    daemon.client().show(session)["end_reason"].clone()
}

#[test]
fn a_fifo_in_a_repository_closes_that_repository_alone() {
    for file in FILES {
        let place = Place::new();
        let mut daemon = place.start();
        let healthy = place.repo("healthy");
        let (sick, session, mut holder) = held(&daemon, &place, "sick");
        make_fifo(&sick.path.join(".git").join(file));
        // Twelve times what one connection may have under way, from callers that hang up.
        for _ in 0..11 {
            let mut asking = daemon.client();
            for number in 0..60 {
                let (method, params) = if number % 2 == 0 {
                    ("thread.list", json!({"repo": sick.at()}))
                } else {
                    ("agent.reserve", json!({"repo": sick.at(), "thread": "x", "anchor": "HEAD"}))
                };
                asking.start(method, &params);
            }
        }
        assert_others_are_served(&daemon, &healthy, "under-attack");
        holder.kill_and_wait();
        within(SOON, "its thread is free", || (end_reason(&daemon, &session) == "process_exited").then_some(()));
        // Nor does a restart wait for it, and it is no way out for anybody else either.
        let watch = Stopwatch::start();
        daemon.kill();
        daemon.restart();
        assert_others_are_served(&daemon, &healthy, "after-restart");
        daemon.stop();
        assert!(watch.elapsed() < SOON * 3, "{file}: {:?}", watch.elapsed());
    }
}

#[test]
fn a_fifo_in_the_place_of_a_file_is_refused_by_name() {
    for file in ["config", "packed-refs", "HEAD", "objects/info/alternates", "refs/heads/main"] {
        let place = Place::new();
        let daemon = place.start();
        let repo = place.repo("r");
        let path = repo.path.join(".git").join(file);
        make_fifo(&path);
        let params = json!({"repo": repo.at(), "thread": "main"});
        let refused = daemon.client().refused("repository_unavailable", "agent.reserve", &params);
        assert!(refused.0["data"]["error"].as_str().unwrap().contains(path.to_str().unwrap()), "{file}: {refused:?}");
    }
}

#[test]
fn a_start_waits_for_no_repository() {
    for file in FILES {
        let place = Place::new();
        let mut daemon = place.start();
        let (sick, session, _holder) = held(&daemon, &place, "sick");
        daemon.kill();
        make_fifo(&sick.path.join(".git").join(file));
        daemon.restart();
        assert_eq!(end_reason(&daemon, &session), Value::Null, "{file}: its sessions stay");
        let mut client = daemon.client();
        client.ok(
            "agent.heartbeat",
            &json!({
                "session_id": session["session_id"], "reservation_token": session["reservation_token"],
            }),
        );
    }
}

#[test]
fn rules_that_are_no_files_delay_no_other_look_and_no_other_capture() {
    let place = Place::new();
    let daemon = place.start();
    let healthy = place.repo("healthy");
    healthy.git(&["config", "user.name", "Ada"]);
    healthy.git(&["config", "user.email", "ada@example.org"]);
    let mut asking: Vec<Client> = Vec::new();
    for (number, name) in [".gitignore", ".gitattributes", ".gitignore", ".gitattributes"].into_iter().enumerate() {
        let sick = place.repo(&format!("sick-{number}"));
        make_fifo(&sick.path.join(name));
        let mut client = daemon.client();
        client.start("repo.verify", &json!({"repo": sick.at()}));
        asking.push(client);
        let mut client = daemon.client();
        let held = client.ok("agent.reserve", &json!({"repo": sick.at(), "thread": "main"}))["reservation"].clone();
        let params = json!({"session_id": held["session_id"], "reservation_token": held["reservation_token"]});
        let refused = client.refused("repository_unavailable", "agent.capture", &params);
        assert!(refused.0["data"]["error"].as_str().unwrap().contains(name), "{refused:?}");
    }
    let watch = Stopwatch::start();
    let mut client = daemon.client();
    client.ok("repo.verify", &json!({"repo": healthy.at()}));
    let held = client.ok("agent.reserve", &json!({"repo": healthy.at(), "thread": "main"}))["reservation"].clone();
    std::fs::write(healthy.path.join("new"), "new").unwrap();
    let params = json!({"session_id": held["session_id"], "reservation_token": held["reservation_token"]});
    client.ok("agent.capture", &params);
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
}

/// A mounted file system that stops answering when its server is stopped.
struct Bindfs {
    path: PathBuf,
    server: Process,
}

impl Bindfs {
    fn mount(root: &Path) -> Option<Self> {
        let (origin, path) = (root.join("origin"), root.join("mounted"));
        std::fs::create_dir(&origin).unwrap();
        std::fs::create_dir(&path).unwrap();
        // In the foreground: its process is ours.
        let mut command = Command::new("bindfs");
        command.args(["-f", "--no-allow-other"]).args([&origin, &path]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let mut mounted = Self { path, server: Process { child } };
        let is_mounted = |path: &Path| {
            let list = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            list.contains(path.to_str().unwrap())
        };
        let up = eventually("it is mounted, or cannot be", || {
            if mounted.server.child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            is_mounted(&mounted.path).then_some(true)
        });
        up.then_some(mounted)
    }
}

impl Drop for Bindfs {
    fn drop(&mut self) {
        // A stopped server is continued by the end of its connection.
        Command::new("umount").arg("--lazy").arg(&self.path).status().ok();
        self.server.child.kill().ok();
    }
}

#[test]
fn a_file_system_that_hangs_closes_what_is_on_it_alone() {
    let place = Place::new();
    let Some(mounted) = Bindfs::mount(&place.root) else {
        return not_run("bindfs is not there, or may not mount");
    };
    let mut daemon = place.start();
    let healthy = place.repo("healthy");
    let sick = Repo::new(&place.root, "mounted/sick");
    let mut holder = Holder::start();
    let params = json!({"repo": sick.at(), "thread": "held", "hold_for_pid": holder.pid()});
    let session = daemon.client().ok("agent.reserve", &params)["reservation"].clone();
    for folder in 0..60 {
        std::fs::create_dir(sick.path.join(format!("folder-{folder}"))).unwrap();
    }
    mounted.server.signal(Signal::SIGSTOP);
    let mut asking = Vec::new();
    for _ in 0..11 {
        let mut client = daemon.client();
        for folder in 0..60 {
            let path = format!("{}/folder-{folder}", sick.at());
            client.start("thread.list", &json!({"repo": path}));
        }
        asking.push(client);
    }
    assert_others_are_served(&daemon, &healthy, "beside-a-hung-disk");
    holder.kill_and_wait();
    within(SOON, "its thread is free", || (end_reason(&daemon, &session) == "process_exited").then_some(()));
    // All of them are answered, each within its time.
    for mut client in asking {
        for _ in 0..60 {
            let kind = client.receive()["error"]["data"]["kind"].clone();
            assert!(kind == "limit_exceeded" || kind == "repository_unavailable", "{kind}");
        }
    }
    let watch = Stopwatch::start();
    daemon.kill();
    daemon.restart();
    assert_others_are_served(&daemon, &healthy, "started-beside-a-hung-disk");
    daemon.stop();
    assert!(watch.elapsed() < SOON * 3, "a stop does not wait for it: {:?}", watch.elapsed());
    daemon.restart();
    mounted.server.signal(Signal::SIGCONT);
    within(Duration::from_secs(60), "it is served once it answers", || {
        daemon.client().call("thread.list", &json!({"repo": sick.at()})).ok()
    });
}

/// An agent's broken `.git` is no repository, so its callers wait for the one above it, and with no others.
#[test]
fn a_broken_git_in_a_folder_of_a_hung_repository_costs_no_other_repository() {
    for (folders, is_file) in [(260, false), (12, true)] {
        let place = Place::new();
        let Some(mounted) = Bindfs::mount(&place.root) else {
            return not_run("bindfs is not there, or may not mount");
        };
        let mut daemon = place.start();
        let (healthy, sick) = (place.repo("healthy"), place.repo("sick"));
        let (objects, away) = (sick.path.join(".git/objects"), mounted.path.join("objects"));
        // Everything but the objects is on the file system of the others, which answers.
        sick.git(&["repack", "-adq"]);
        std::fs::create_dir(&away).unwrap();
        std::fs::remove_dir_all(&objects).unwrap();
        std::os::unix::fs::symlink(&away, &objects).unwrap();
        for folder in 0..folders {
            let dot_git = sick.path.join(format!("folder-{folder}/.git"));
            std::fs::create_dir_all(dot_git.parent().unwrap()).unwrap();
            if is_file { std::fs::write(dot_git, "broken\n") } else { std::fs::create_dir(dot_git) }.unwrap();
        }
        // It is known before, as a repository that is worked in is.
        assert_others_are_served(&daemon, &healthy, "before");
        mounted.server.signal(Signal::SIGSTOP);
        let paths: Vec<_> = (0..folders).map(|folder| format!("{}/folder-{folder}", sick.at())).collect();
        let calls: Vec<_> = (0..10).flat_map(|_| &paths).collect();
        let mut asking = Vec::new();
        for calls in calls.chunks(60) {
            let mut client = daemon.client();
            for path in calls {
                client.start("thread.list", &json!({"repo": path}));
            }
            asking.push(client);
        }
        // All of them have come in once one of the last connection's was refused: the sick repository's lane is full.
        for client in asking.iter_mut().rev().take(1) {
            assert_eq!(client.receive()["error"]["data"]["kind"], "limit_exceeded");
        }
        assert_others_are_served(&daemon, &healthy, "beside-broken-folders");
        assert_others_are_served(&daemon, &place.repo("new"), "not-known-before");
        drop(asking);
        daemon.kill();
    }
}
