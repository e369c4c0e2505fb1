//! A backup onto a full disk fails in order and leaves nothing.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::run::{command, say, word};
use crate::support::Place;

/// Runs the program where `disk` is a file system of its own that has no room, in a name space of its own. None where the
/// machine does not allow that.
fn on_a_full_disk(place: &Place, disk: &std::path::Path) -> Option<crate::run::Said> {
    let script = r#"mount -t tmpfs -o size=8k none "$1" && head -c 6000 /dev/zero >"$1/room" || exit 99
        "$2" backup "$1/b"; code=$?; ls -A "$1"; exit $code"#;
    let program = command(place, &[]);
    let mut shell = Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", word(disk)]);
    shell.arg(program.get_program()).env_clear().stdin(Stdio::null());
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let said = say(shell.stdout(Stdio::piped()).stderr(Stdio::piped()));
    (!matches!(said.code, Some(1 | 32 | 99 | 127))).then_some(said)
}

#[test]
fn a_backup_onto_a_full_disk_says_so_and_leaves_nothing() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for number in 0..60 {
        client.reserve(repo.at(), &format!("t/{number}"));
    }
    let disk = place.root.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let Some(said) = on_a_full_disk(&place, &disk) else {
        // Not `println!`: what a passing test prints is not shown.
        writeln!(std::io::stdout(), "disk_full: not run here: no name space with a file system of its own").unwrap();
        return;
    };
    assert_eq!(said.code, Some(74), "{said:?}");
    assert!(said.stderr.contains("No space left on device"), "{said:?}");
    assert_eq!(said.stdout, "room\n", "nothing is left: {said:?}");
    assert_eq!(client.ok("daemon.health", &json!({}))["healthy"], true, "and the daemon goes on");
}
