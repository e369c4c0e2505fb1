//! `heddlectl run` while the daemon under it is stopped, killed, started again and replaced: the command lives on, and its
//! session is given back as what it was.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process;
use crate::run::{WAITS, began, end, pair, start};
use crate::support::{HEDDLED, World, alive, heddlectl, pid, text_of, until, until_within};

/// A copy of both programs, as a package or an archive would put them.
pub(crate) struct Installed(PathBuf);

impl Installed {
    pub(crate) fn new(world: &World, name: &str) -> Self {
        let directory = world.path(name);
        std::fs::create_dir(&directory).expect("made");
        let installed = Self(directory);
        installed.replace();
        installed
    }

    /// Puts new files in the place of the old ones, as an upgrade does: whoever runs the old ones keeps them.
    pub(crate) fn replace(&self) {
        for program in [Path::new(HEDDLED), &heddlectl()] {
            let name = program.file_name().expect("a name");
            let new = self.0.join(name).with_extension("new");
            std::fs::copy(program, &new).expect("copied");
            std::fs::rename(&new, self.0.join(name)).expect("renamed");
        }
    }

    /// Puts a daemon there that says that it is of the next version: the same but for these few bytes.
    pub(crate) fn upgrade(&self) {
        let mut program = std::fs::read(HEDDLED).expect("read");
        let (mine, next) = (SERVER.as_bytes(), NEXT_SERVER.as_bytes());
        assert_eq!(mine.len(), next.len());
        let places: Vec<usize> = memchr::memmem::find_iter(&program, mine).collect();
        assert!(!places.is_empty(), "it says its version");
        for place in places {
            program[place..place + next.len()].copy_from_slice(next);
        }
        let new = self.0.join("heddled.new");
        std::fs::write(&new, program).expect("written");
        std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("mode");
        std::fs::rename(&new, self.heddled()).expect("renamed");
    }

    pub(crate) fn heddled(&self) -> PathBuf {
        self.0.join("heddled")
    }

    /// `run` of this heddlectl, which may start the daemon itself.
    fn run(&self, world: &World, script: &str) -> Child {
        let mut command = Command::new(self.0.join("heddlectl"));
        world.environment(&mut command).args(["run", "-t", "x", "--", "sh", "-c", script]).stdin(Stdio::null());
        command.env_remove("HEDDLE_NO_AUTOSTART").stderr(Stdio::piped()).spawn().expect("started")
    }
}

const SERVER: &str = concat!("heddled/", env!("CARGO_PKG_VERSION"));
/// As long as ours.
const NEXT_SERVER: &str = "heddled/9.9.9";

/// Whether a process has ended, and nobody has taken note of it.
fn is_zombie(pid: i32) -> bool {
    let stat = text_of(Path::new(&format!("/proc/{pid}/stat")));
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[test]
fn whatever_is_done_to_the_daemon_the_command_lives_and_its_session_too() {
    let mut world = World::with_daemon();
    let other = Installed::new(&world, "other");
    let child = start(&world, WAITS);
    let command = began(&world);
    let id = world.session("x").expect("a session")["session_id"].clone();
    for round in 0..9 {
        match round % 3 {
            0 => world.kill_daemon(),
            _ => world.stop_daemon(),
        }
        assert!(alive(command));
        if round % 3 == 2 {
            // Another file, and at the next turn another one still.
            other.replace();
            world.start_daemon_of(&other.heddled());
        } else {
            world.start_daemon();
        }
        assert_eq!(world.standing("x"), pair("active", "-"), "round {round}");
        let refused = world.run(&["reserve", "-t", "x", "--at-tip"]);
        assert_eq!(refused.code, Some(3), "and nobody else has it: {refused}");
    }
    end(&world);
    let said = world.said(&process::output_of(child));
    assert_eq!(said.code, Some(0), "{said}");
    assert!(!said.stderr.contains("no longer") && !said.stderr.contains("not given back"), "{said}");
    assert_eq!(world.standing("x"), pair("complete", "released"));
    assert_eq!(world.session("x").expect("a session")["session_id"], id);
}

#[test]
fn the_watch_starts_the_daemon_that_an_upgrade_has_put_in_its_place() {
    let mut world = World::new();
    let installed = Installed::new(&world, "installed");
    world.start_daemon_of(&installed.heddled());
    let child = installed.run(&world, WAITS);
    let command = began(&world);
    let mut before = world.recorded_daemon().expect("a daemon");
    world.kill_daemon();
    for round in 0..4 {
        installed.replace();
        until("another daemon serves", || {
            world.recorded_daemon() != Some(before) && world.run(&["list"]).code == Some(0)
        });
        let daemon = world.recorded_daemon().expect("a daemon");
        let program = std::fs::read_link(format!("/proc/{daemon}/exe")).expect("a program");
        assert!(program.starts_with(world.path("installed")), "{}", program.display());
        assert_eq!(world.standing("x"), pair("active", "-"), "round {round}");
        before = daemon;
        kill(Pid::from_raw(daemon), Signal::SIGKILL).expect("killed");
        until("it is gone", || !alive(daemon));
        assert!(alive(command));
    }
    // It ends while there is no daemon, or a new one is on its way.
    end(&world);
    let said = world.said(&process::output_of(child));
    assert_eq!(said.code, Some(0), "{said}");
    assert_eq!(world.standing("x"), pair("complete", "released"), "{said}");
}

#[test]
fn a_daemon_of_the_next_version_under_a_run_is_told_once_and_holds_on() {
    let mut world = World::with_daemon();
    let other = Installed::new(&world, "other");
    other.upgrade();
    let mut command = world.command(&["run", "-t", "x", "--", "sh", "-c", WAITS]);
    let said = std::fs::File::create(world.path("said")).expect("a file");
    let mut child = command.stderr(said).spawn().expect("started");
    began(&world);
    for _ in 0..2 {
        world.kill_daemon();
        world.start_daemon_of(&other.heddled());
        let mut look = world.command(&["daemon", "status", "--json"]);
        until("the run is back", || {
            let status: serde_json::Value =
                serde_json::from_slice(&process::run(&mut look).stdout).expect("no word of a version in it");
            // Beside this look.
            status["info"]["counts"]["connections"] == 2 && text_of(&world.path("said")).contains("is newer")
        });
    }
    end(&world);
    assert_eq!(process::wait(&mut child).code(), Some(0));
    let said = text_of(&world.path("said"));
    assert_eq!(said.matches("warning: heddled 9.9.9 is newer than heddlectl").count(), 1, "{said}");
    let beside = world.path("other/heddlectl");
    assert!(said.contains(&format!("next: {} status", beside.display())), "{said}");
    let session = world.run(&["list", "-q", "-t", "x", "--json"]).stdout;
    assert!(session.contains("\"complete\"") && session.contains("\"released\""), "{session}");
}

#[test]
fn a_command_that_ends_while_the_daemon_is_not_there_is_given_back_when_it_is() {
    let mut world = World::with_daemon();
    for round in 0..6 {
        let child = start(&world, WAITS);
        let command = began(&world);
        match round % 2 {
            0 => world.kill_daemon(),
            _ => world.stop_daemon(),
        }
        end(&world);
        until("the command has ended", || is_zombie(command));
        if round % 3 == 0 {
            // Whoever else looks for the daemon meanwhile changes nothing.
            assert_eq!(world.run(&["list"]).code, Some(69));
        }
        world.start_daemon();
        let said = world.said(&process::output_of(child));
        assert_eq!(said.code, Some(0), "{said}");
        assert_eq!(world.standing("x"), pair("complete", "released"), "round {round}: {said}");
        assert!(said.stderr.contains("waiting for the daemon, to give x back to it"), "{said}");
        for name in ["ready", "stop"] {
            std::fs::remove_file(world.path("app").join(name)).expect("removed");
        }
    }
}

#[test]
fn one_that_may_start_the_daemon_does_so_to_give_its_session_back() {
    let mut world = World::with_daemon();
    let run = |world: &World| {
        let mut command = world.command(&["run", "-q", "-t", "x", "--", "sh", "-c", WAITS]);
        command.env_remove("HEDDLE_NO_AUTOSTART").spawn().expect("started")
    };
    for round in 0..6 {
        let mut child = run(&world);
        began(&world);
        if round == 0 {
            world.kill_daemon();
        } else {
            let daemon = world.recorded_daemon().expect("a daemon");
            kill(Pid::from_raw(daemon), Signal::SIGKILL).expect("killed");
        }
        end(&world);
        assert_eq!(process::wait(&mut child).code(), Some(0));
        assert_eq!(world.standing("x"), pair("complete", "released"), "round {round}");
        for name in ["ready", "stop"] {
            std::fs::remove_file(world.path("app").join(name)).expect("removed");
        }
    }
}

#[test]
fn who_does_not_want_to_wait_for_the_daemon_need_not() {
    let mut world = World::with_daemon();
    let mut command = world.command(&["run", "-t", "x", "--", "sh", "-c", WAITS]);
    let said = std::fs::File::create(world.path("said")).expect("a file");
    let mut child = command.stderr(said).spawn().expect("started");
    let waits = began(&world);
    world.kill_daemon();
    end(&world);
    until("it waits", || text_of(&world.path("said")).contains("waiting for the daemon"));
    assert!(is_zombie(waits));
    kill(pid(&child), Signal::SIGINT).expect("sent");
    let mut ended = None;
    until_within("it ends", Duration::from_secs(4), || {
        ended = child.try_wait().expect("asked");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "the command's own code");
    assert!(text_of(&world.path("said")).contains("the session was not given back"));
    world.start_daemon();
    assert_eq!(world.standing("x"), pair("abandoned", "process_exited"));
}

#[test]
fn a_daemon_with_another_registry_knows_nothing_of_the_reservation() {
    let mut world = World::with_daemon();
    let child = start(&world, &format!("trap 'exit 5' TERM; {WAITS}"));
    began(&world);
    world.kill_daemon();
    std::fs::rename(world.path("state"), world.path("state.away")).expect("renamed");
    world.start_daemon();
    let said = world.said(&process::output_of(child));
    assert_eq!(said.code, Some(5), "{said}");
    assert!(said.stderr.contains("holds x no longer: the daemon does not know it any more"), "{said}");
}
