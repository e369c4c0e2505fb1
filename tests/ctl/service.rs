//! The daemon as a service: without a manager, and under a real one.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process;
use crate::support::{World, alive, heddlectl, text_of, until, until_within};
use crate::systemd::Systemd;

#[test]
fn without_a_manager_nothing_is_installed_and_a_way_out_is_named() {
    let world = World::new();
    for arguments in [&["service", "install"][..], &["service", "install", "--dry-run"], &["service", "uninstall"]] {
        let said = world.run(arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(3), ""), "{said}");
        assert!(said.stderr.starts_with("error: heddled cannot be a service here\n"), "{said}");
        assert!(said.stderr.ends_with("next: heddlectl daemon start\n"), "{said}");
    }
    assert!(!world.path("home/.config").exists(), "nothing was written");
    let said = world.run(&["service", "status"]);
    assert_eq!(said.code, Some(0), "{said}");
    let status = world.json(&["service", "status"]);
    assert_eq!(
        (&status["service"]["manager"], &status["service"]["installed"]),
        (&"null".parse().expect("JSON"), &false.into())
    );
    assert!(status["daemon"].is_null(), "and no daemon was started for that");
}

fn unit(world: &World, name: &str) -> std::path::PathBuf {
    world.path("home/.config/systemd/user").join(name)
}

#[test]
fn a_daemon_becomes_a_service_and_is_one_no_more() {
    let mut world = World::new();
    let Some(systemd) = Systemd::of(&world) else { return };
    world.start_daemon();
    let session = world.reserve("x");

    let planned = world.run(&["service", "install", "--dry-run"]);
    assert_eq!(planned.code, Some(0), "{planned}");
    assert!(!unit(&world, "heddled.service").exists() && world.run(&["list"]).code == Some(0), "nothing was done");
    // The test is the parent of the daemon that is stopped, and has to take note of its end.
    let mut install = world.command(&["service", "install"]);
    let installing = install.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    until("it is stopped", || world.is_daemon_gone());
    let installed = world.said(&process::output_of(installing));
    assert_eq!(installed.code, Some(0), "{installed}");
    assert_eq!(planned.stdout.replace("would: ", ""), installed.stdout, "what was said was done");
    assert_eq!(world.standing("x").0, "active", "sessions stay");
    let daemon = systemd.daemon(&world).expect("the service runs one");
    assert_eq!(world.recorded_daemon(), Some(daemon));

    let again = world.run(&["service", "install"]);
    assert_eq!(again.stdout, "the daemon is a service already, and nothing has to be done\n", "{again}");
    assert_eq!(systemd.daemon(&world), Some(daemon), "and it was left alone");
    let status = world.json(&["service", "status"]);
    let service = &status["service"];
    for (name, expected) in [("installed", true), ("enabled", true), ("listening", true), ("outdated", false)] {
        assert_eq!(service[name], expected, "{name}: {status}");
    }
    assert_eq!((&status["daemon"]["runs_as"], &service["pid"]), (&"service".into(), &daemon.into()), "{status}");

    // A unit of yesterday is brought up to date; one of somebody else is not touched.
    let file = unit(&world, "heddled.service");
    std::fs::write(&file, text_of(&file).replace("TasksMax=2048", "TasksMax=1024")).expect("written");
    assert_eq!(world.json(&["service", "status"])["service"]["outdated"], true);
    assert_eq!(world.run(&["service", "install"]).code, Some(0));
    assert!(text_of(&file).contains("TasksMax=2048"));
    let own = unit(&world, "heddled.socket");
    let ours = text_of(&own);
    std::fs::write(&own, ours.split_once('\n').expect("lines").1).expect("written");
    let refused = world.run(&["service", "install"]);
    assert_eq!(refused.code, Some(3), "{refused}");
    assert!(refused.stderr.contains("somebody else wrote") && refused.stderr.contains("--force"), "{refused}");
    assert_eq!(world.run(&["service", "install", "--force"]).code, Some(0));
    assert_eq!(text_of(&own), ours);

    let daemon = systemd.daemon(&world);
    let removed = world.run(&["service", "uninstall"]);
    assert_eq!(removed.code, Some(0), "{removed}");
    assert!(removed.stderr.contains("$ROOT/state"), "it says where the registry stays: {removed}");
    assert!(!file.exists() && !own.exists());
    assert!(daemon.is_none_or(|pid| !alive(pid)) && !world.socket().exists());
    assert_eq!(world.run(&["list"]).code, Some(69), "nothing serves");
    let mut eager = world.command(&["show", "--session", &session]);
    let said = world.say(eager.env_remove("HEDDLE_NO_AUTOSTART"));
    assert!(said.stdout.contains("active"), "detached again, with the sessions: {said}");
    assert_eq!(systemd.daemon(&world), None);
}

#[test]
fn a_service_comes_back_from_crashes_and_hangs_and_loses_no_call_when_it_is_replaced() {
    let world = World::new();
    let Some(systemd) = Systemd::of(&world) else { return };
    let installed = world.run(&["service", "install"]);
    assert_eq!(installed.code, Some(0), "{installed}");
    let hasty = unit(&world, "heddled.service.d/hasty.conf");
    std::fs::create_dir_all(hasty.parent().expect("a folder")).expect("made");
    std::fs::write(&hasty, "[Service]\nWatchdogSec=4\n").expect("written");
    systemd.systemctl(&world, &["daemon-reload"]).expect("reloaded");

    let looked = world.run(&["doctor"]);
    assert!(looked.stdout.contains("its service starts it at the next call"), "{looked}");
    assert_eq!(systemd.daemon(&world), None, "to look at it starts nothing");

    let session = world.reserve("x");
    let mut daemon = systemd.daemon(&world).expect("the first call started it");
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        kill(Pid::from_raw(daemon), signal).expect("sent");
        until_within("systemd starts another", std::time::Duration::from_secs(60), || {
            systemd.daemon(&world).is_some_and(|now| now != daemon)
        });
        assert_eq!(world.standing("x").0, "active", "after {signal}");
        daemon = systemd.daemon(&world).expect("it runs");
    }

    // A busy machine may well hold a daemon up for that long.
    std::fs::remove_file(hasty).expect("removed");
    systemd.systemctl(&world, &["daemon-reload"]).expect("reloaded");
    systemd.systemctl(&world, &["restart", "heddled.service"]).expect("restarted");
    let daemon = systemd.daemon(&world);

    let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let said = world.run(&["show", "--session", &session]);
                    assert_eq!(said.code, Some(0), "no call is lost: {said}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let replaced = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..3 {
                let before = calls.load(Ordering::Relaxed);
                systemd.systemctl(&world, &["restart", "heddled.service"]).expect("restarted");
                until("callers go on", || calls.load(Ordering::Relaxed) > before + 4);
            }
        }));
        over.store(true, Ordering::Relaxed);
        replaced.expect("replaced");
    });
    assert_ne!(systemd.daemon(&world), daemon);
    assert_eq!(world.standing("x").0, "active");
}

/// What the unit forbids is nothing that Git needs: a worktree is made, and a capture goes through a content filter.
#[test]
fn git_work_is_done_under_the_units_restrictions() {
    let world = World::new();
    let Some(systemd) = Systemd::of(&world) else { return };
    world.git(&["config", "--global", "user.name", "A"]);
    world.git(&["config", "--global", "user.email", "a@example.com"]);
    world.git(&["config", "--global", "filter.lfs.clean", "git-lfs clean -- %f"]);
    world.git(&["config", "--global", "filter.lfs.required", "true"]);
    world.git(&["config", "core.sharedRepository", "group"]);
    assert_eq!(world.run(&["service", "install"]).code, Some(0));
    let said = world.run(&["reserve", "-q", "--no-hold-for-agent", "-t", "work", "--worktree"]);
    assert_eq!(said.code, Some(0), "{said}");
    let session = said.stdout.trim_end();
    let worktree = world.path("app.worktrees/work");
    std::fs::write(worktree.join(".gitattributes"), "*.bin filter=lfs\n").expect("written");
    std::fs::write(worktree.join("large.bin"), "large").expect("written");
    std::fs::write(worktree.join("small.txt"), "small").expect("written");
    let said = world.say(world.command(&["capture", "-q", "--session", session]).current_dir(&worktree));
    assert_eq!(said.code, Some(0), "{said}");
    assert!(world.git(&["show", "work:large.bin"]).starts_with("version https://git-lfs"));
    assert_eq!(world.git(&["show", "work:small.txt"]), "small");
    assert!(systemd.daemon(&world).is_some());
}

/// What has to be started is started through the service, by whoever comes first.
#[test]
fn a_command_that_needs_the_daemon_starts_its_service() {
    let world = World::new();
    let Some(systemd) = Systemd::of(&world) else { return };
    assert_eq!(world.run(&["service", "install"]).code, Some(0));
    systemd.systemctl(&world, &["stop", "heddled.socket", "heddled.service"]).expect("stopped");
    assert_eq!(world.run(&["list"]).code, Some(69), "HEDDLE_NO_AUTOSTART is set");
    let eager = |arguments: &[&str]| {
        let mut command = Command::new(heddlectl());
        world.environment(&mut command).args(arguments).env_remove("HEDDLE_NO_AUTOSTART");
        world.say(&mut command)
    };
    let said = eager(&["list"]);
    assert_eq!(said.code, Some(0), "{said}");
    assert!(systemd.daemon(&world).is_some(), "the service runs it");
    let said = world.run(&["daemon", "stop"]);
    assert!(said.stdout.contains("was stopped") && said.stderr.contains("systemctl"), "{said}");
    assert_eq!(world.run(&["daemon", "stop"]).stdout, "no daemon is running\n", "and none is started to be stopped");
    assert_eq!(systemd.daemon(&world), None);
    assert_eq!(world.run(&["list"]).code, Some(0), "the socket is still there");

    // A configuration that is wrong is told of, and mended without more than the mending.
    systemd.systemctl(&world, &["stop", "heddled.socket", "heddled.service"]).expect("stopped");
    let file = world.path("home/.config/heddle/heddled.toml");
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    std::fs::write(&file, "nonsense = 1\n").expect("written");
    for _ in 0..2 {
        let said = eager(&["list"]);
        assert_eq!(said.code, Some(78), "{said}");
        assert!(said.stderr.contains("nonsense") && said.stderr.contains("heddled --check-config"), "{said}");
    }
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(eager(&["list"]).code, Some(0));
}

/// Units that a package brought count as installed once they are enabled, and are not shadowed by others.
#[test]
fn units_of_a_package_are_enabled_and_not_replaced() {
    let world = World::new();
    let Some(systemd) = Systemd::of(&world) else { return };
    let packaged = world.path("home/.local/share/systemd/user");
    std::fs::create_dir_all(&packaged).expect("made");
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("packaging/systemd");
    for name in ["heddled.service", "heddled.socket"] {
        let text = text_of(&source.join(name)).replace("/usr/bin/heddled", crate::support::HEDDLED);
        std::fs::write(packaged.join(name), text).expect("written");
    }
    systemd.systemctl(&world, &["daemon-reload"]).expect("reloaded");
    let usual = |arguments: &[&str]| world.say(world.command(arguments).env_remove("HEDDLE_STATE_DIR"));
    let status = usual(&["service", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert_eq!((&status["service"]["installed"], &status["service"]["enabled"]), (&true.into(), &false.into()));
    let said = usual(&["service", "install"]);
    assert_eq!(said.code, Some(0), "{said}");
    assert!(!said.stdout.contains("write "), "{said}");
    assert!(!unit(&world, "heddled.service").exists());
    assert_eq!(usual(&["list"]).code, Some(0), "{said}");
    assert!(systemd.daemon(&world).is_some(), "the package's service runs it");
    let said = usual(&["service", "uninstall"]);
    assert_eq!(said.code, Some(0), "{said}");
    assert!(packaged.join("heddled.service").exists(), "what a package brought is the package's to remove");
    assert_eq!(usual(&["list"]).code, Some(69));
}
