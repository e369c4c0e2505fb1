//! Sockets, locks and state directories that are somebody else's, or nobody's.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::{Value, json};

use crate::support::{Client, Place, Repo, eventually, key};

#[test]
fn a_stale_socket_is_replaced() {
    let place = Place::new();
    let mut daemon = place.start();
    daemon.kill();
    assert!(place.socket().exists(), "kill -9 leaves the socket");
    UnixStream::connect(place.socket()).unwrap_err();
    daemon.restart();
    daemon.stop();
    assert!(!place.socket().exists());
}

fn prepare_socket_directory(place: &Place) {
    let directory = place.socket().parent().unwrap().to_owned();
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn a_socket_that_somebody_listens_on_is_left_alone() {
    let place = Place::new();
    prepare_socket_directory(&place);
    let listener = UnixListener::bind(place.socket()).unwrap();
    let (code, told) = place.run(&mut place.command());
    assert_eq!(code, Some(69), "{told}");
    assert!(told.contains("something else is listening") && told.contains(place.socket().to_str().unwrap()), "{told}");
    let _connection = UnixStream::connect(place.socket()).unwrap();
    // One was the daemon's own look, which said nothing.
    listener.accept().unwrap();
    listener.accept().unwrap();
}

#[test]
fn a_file_in_the_place_of_the_socket_is_left_alone() {
    let place = Place::new();
    prepare_socket_directory(&place);
    std::fs::write(place.socket(), "precious").unwrap();
    let (code, told) = place.run(&mut place.command());
    assert_eq!(code, Some(69), "{told}");
    assert!(told.contains("is not a socket"), "{told}");
    assert_eq!(std::fs::read_to_string(place.socket()).unwrap(), "precious");
}

#[test]
fn a_second_daemon_with_the_same_state_says_who_the_first_is() {
    let place = Place::new();
    let daemon = place.start();
    let other_socket = place.root.join("heddle-2/d.sock");
    let (code, told) = place.run(place.command().env("HEDDLE_SOCKET", &other_socket));
    assert_eq!(code, Some(69), "{told}");
    assert!(told.contains(&format!("pid {}", daemon.pid())), "{told}");
    assert!(told.contains(place.socket().to_str().unwrap()), "{told}");
    assert!(!other_socket.exists(), "the lock comes before the socket");
    daemon.client().ok("daemon.info", &json!({}));
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.socket()), 0o600);
    assert_eq!(mode(place.socket().parent().unwrap().to_owned()), 0o700);
    assert_eq!(mode(place.state()), 0o700);
}

#[test]
fn two_daemons_never_grant_one_repository() {
    let (ours, theirs) = (Place::new(), Place::new());
    let (mut first, second) = (ours.start(), theirs.start());
    let repo = ours.repo("r");
    let held = first.client().reserve(repo.at(), "t");
    let mut other = second.client();
    let reserve = json!({"repo": repo.at(), "thread": "t"});
    let adopt = json!({"repo": repo.at(), "reason": "the other one is gone"});
    for (method, params) in [
        ("agent.reserve", &reserve),
        ("agent.reserve", &json!({"repo": repo.at(), "thread": "another"})),
        ("repo.adopt", &adopt),
    ] {
        let fault = other.refused("repository_unavailable", method, params);
        assert_eq!(fault.details()["registry"], ours.state().to_str().unwrap(), "the owner is named: {fault:?}");
    }
    assert!(!repo.branches().contains_key("another"));
    assert_eq!(first.client().show(&held)["status"], "active");

    first.stop();
    other.refused("repository_unavailable", "agent.reserve", &reserve);
    other.ok("repo.adopt", &adopt);
    let taken = other.reserve(repo.at(), "t");
    first.restart();
    let mut client = first.client();
    let fault = client.refused("repository_unavailable", "agent.reserve", &json!({"repo": repo.at(), "thread": "t"}));
    assert_eq!(fault.details()["registry"], theirs.state().to_str().unwrap());
    assert_eq!(other.ok("agent.validate", &key(&taken))["valid"], true);
}

#[test]
fn what_is_wrong_at_the_start_has_its_exit_code() {
    let place = Place::new();
    let code = |command: &mut std::process::Command, part: &str| {
        let (code, told) = place.run(command);
        assert!(told.contains(part), "{told}");
        code
    };
    assert_eq!(code(place.command().arg("--no-such-flag"), "--no-such-flag"), Some(2));
    assert_eq!(code(place.command().args(["--config", "/none.toml"]), "/none.toml"), Some(78));
    assert_eq!(code(place.command().env("HEDDLE_SOCKET", "relative"), "absolute"), Some(78));
    let long = place.root.join("x".repeat(120));
    assert_eq!(code(place.command().env("HEDDLE_SOCKET", long), "107"), Some(78));
    place.configure("default_tll_ms = 5\n");
    assert_eq!(code(&mut place.command(), "default_ttl_ms"), Some(78));
    place.configure("");
    let open = place.root.join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::write(open.join("somebody-s"), "").unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(code(place.command().env("HEDDLE_STATE_DIR", &open), "others can enter"), Some(77));
    let link = place.root.join("link");
    std::os::unix::fs::symlink(place.root.join("tmp"), &link).unwrap();
    assert_eq!(code(place.command().env("HEDDLE_STATE_DIR", &link), "not a directory"), Some(77));
    assert_eq!(std::fs::metadata(&open).unwrap().permissions().mode() & 0o777, 0o755, "left as it was");
}

#[test]
fn information_says_where_the_daemon_is() {
    let place = Place::new();
    let daemon = place.start();
    let info = daemon.client().ok("daemon.info", &json!({}));
    assert_eq!(info["socket"], place.socket().to_str().unwrap());
    assert_eq!(info["state_dir"], place.state().to_str().unwrap());
    assert_ne!(info["boot_id"], Value::Null);
}

#[test]
fn the_fencing_tokens_of_a_later_registry_are_higher() {
    let (ours, theirs) = (Place::new(), Place::new());
    let (repo, second_repo) = (ours.repo("r"), ours.repo("s"));
    let (mut first, mut second) = (ours.start(), theirs.start());
    let grant = |client: &mut Client, repo: &Repo| {
        let held = client.reserve(repo.at(), "t");
        client.release(&held);
        held["fencing_token"].as_u64().unwrap()
    };
    let adopt = |client: &mut Client| client.ok("repo.adopt", &json!({"repo": repo.at(), "reason": "a test"}));
    let mut client = first.client();
    // Ahead of the other one, which has granted nothing yet, and before it came here.
    let mut last = (0..5).map(|_| grant(&mut client, &repo)).max().unwrap();
    let elsewhere = grant(&mut second.client(), &second_repo);
    assert!(elsewhere < last, "each counts for itself");
    for round in 0..3 {
        // Whoever stopped, and however.
        if round == 1 {
            first.kill();
        } else {
            first.stop();
        }
        let mut client = second.client();
        adopt(&mut client);
        let token = grant(&mut client, &repo);
        assert!(token > last, "R2, of the repository: {token} after {last}");
        // What a crash cuts off right after it is not lost.
        second.kill();
        second.restart();
        last = grant(&mut second.client(), &repo);
        assert!(last > token && last < 1 << 53, "R2: {last} after {token}");
        first.restart();
        std::mem::swap(&mut first, &mut second);
    }
}

#[test]
fn sessions_of_a_repository_that_another_registry_took_over_have_ended() {
    let (ours, theirs) = (Place::new(), Place::new());
    let repo = ours.repo("repo");
    let mut daemon = ours.start();
    let held = daemon.client().reserve(repo.at(), "x");
    daemon.stop();
    let other = theirs.start();
    let mut client = other.client();
    client.refused("repository_unavailable", "agent.reserve", &json!({"repo": repo.at(), "thread": "x"}));
    client.ok("repo.adopt", &json!({"repo": repo.at(), "reason": "a test"}));
    client.reserve(repo.at(), "x");
    daemon.restart();
    let ended = daemon.client().show(&held);
    assert_eq!(ended["status"], "abandoned", "two registries never grant one thread: {ended}");
}

#[test]
fn a_session_ends_once_its_repository_is_seen_to_be_taken_over() {
    let (ours, theirs) = (Place::new(), Place::new());
    let repo = ours.repo("repo");
    let mut daemon = ours.start();
    let held = daemon.client().reserve(repo.at(), "x");
    daemon.kill();
    let other = theirs.start();
    other.client().ok("repo.adopt", &json!({"repo": repo.at(), "reason": "a test"}));
    let taken = other.client().reserve(repo.at(), "x");
    // As on a disk that is mounted later.
    let away = format!("{}.away", repo.at());
    std::fs::rename(repo.at(), &away).unwrap();
    daemon.restart();
    assert_eq!(daemon.client().show(&held)["status"], "active", "nobody can tell yet");
    std::fs::rename(&away, repo.at()).unwrap();
    let ended = eventually("two registries never grant one thread", || {
        let session = daemon.client().show(&held);
        (session["status"] != "active").then_some(session)
    });
    assert_eq!((&ended["status"], &ended["end_reason"]), (&json!("abandoned"), &json!("evicted")));
    assert_eq!(other.client().show(&taken)["status"], "active");
}

#[test]
fn a_branch_of_a_repository_that_was_taken_over_is_not_moved() {
    let (ours, theirs) = (Place::new(), Place::new());
    let repo = ours.repo("repo");
    let (daemon, other) = (ours.start(), theirs.start());
    let held = daemon.client().reserve(repo.at(), "x");
    // So that nobody can see that it runs.
    std::fs::rename(ours.state(), ours.root.join("state.away")).unwrap();
    let new = repo.loose_commit("HEAD", "more");
    other.client().ok("repo.adopt", &json!({"repo": repo.at(), "reason": "a test"}));
    let mut update = key(&held);
    update["expected"] = held["anchor_state"].clone();
    update["new"] = json!(new);
    // Refused by the mark, or because the session has ended already.
    daemon.client().call("thread.update", &update).unwrap_err();
    assert_eq!(repo.branches().get("x").map(String::as_str), held["anchor_state"].as_str());
}

#[test]
fn a_repository_that_does_not_answer_holds_up_no_other_and_no_stop() {
    let place = Place::new();
    let repo = place.repo("good");
    let mut daemon = place.start();
    // More than read at a time. A reader waits here for whoever would write, as on a disk that does not answer.
    let stuck: Vec<Client> = (0..6)
        .map(|n| {
            let repo = place.repo(&format!("stuck-{n}"));
            nix::unistd::mkfifo(&repo.path.join(".git/packed-refs"), nix::sys::stat::Mode::S_IRUSR).unwrap();
            let mut client = daemon.client();
            client.start("agent.reserve", &json!({"repo": repo.at(), "thread": "t"}));
            client
        })
        .collect();
    daemon.client().reserve(repo.at(), "t");
    daemon.client().ok("daemon.shutdown", &json!({"drain_ms": 100}));
    let status = daemon.ended();
    assert!(status.success(), "{status}");
    drop(stuck);
}
