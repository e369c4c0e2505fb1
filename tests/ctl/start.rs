//! Finding the daemon, and when it is not started.

use crate::fake::Fake;
use crate::support::World;

#[test]
fn no_daemon_and_not_allowed_to_start_one() {
    let world = World::new();
    insta::assert_snapshot!(world.run(&["list"]), @r"
    ! error: no daemon is listening on $ROOT/run/heddle/heddled.sock
    !   HEDDLE_NO_AUTOSTART is set
    ! next: heddlectl daemon start
    [exit 69]
    ");
    let json = world.run(&["list", "--json"]);
    assert_eq!(json.code, Some(69));
    insta::assert_snapshot!(json.stdout, @r#"{"code":69,"message":"no daemon is listening on $ROOT/run/heddle/heddled.sock","data":null}"#);
}

#[test]
fn in_a_sandbox_none_is_started() {
    let world = World::new();
    let mut command = world.command(&["list"]);
    let said = world.say(command.env("HEDDLE_NO_AUTOSTART", "0").env("CODEX_SANDBOX", "seatbelt"));
    insta::assert_snapshot!(said, @r"
    ! error: no daemon is listening on $ROOT/run/heddle/heddled.sock
    !   CODEX_SANDBOX is set: a daemon started inside a sandbox would serve nobody
    !   outside of it
    ! hint: start the daemon outside of the sandbox
    ! next: heddlectl daemon start
    [exit 69]
    ");
}

#[test]
fn the_running_daemon_is_found_by_what_its_lock_says() {
    let world = World::new();
    std::fs::create_dir_all(world.path("elsewhere")).expect("made");
    let socket = world.path("elsewhere/s.sock");
    let _fake = Fake::listen(&socket);
    let lock = serde_json::json!({"pid": 1, "socket": socket, "started_at": "2026-08-01T12:00:00.000Z"});
    std::fs::write(world.path("state/heddled.lock"), format!("{lock}\n")).expect("written");
    assert_eq!(world.run(&["list"]).code, Some(0));
    let named = world.path("run/heddle/other.sock");
    let said = world.run(&["list", "--socket", named.to_str().expect("text")]);
    assert_eq!(said.code, Some(69), "a socket that was named is the one that is meant");
}
