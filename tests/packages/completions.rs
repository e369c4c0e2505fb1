//! What shells complete, as bash, zsh and fish themselves say it: commands, options, and the threads and sessions that
//! there are at that moment. It never starts a daemon, never fails, and never waits for one that does not answer.
//!
//! A shell is given what is known after 150 ms. On a machine that is busy that may be less than there is, so what is to be
//! told is waited for: the key is pressed again.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::is_installed;
use crate::support::{Said, World, heddlectl, until, until_within};

/// Tells bash to complete these words, the last of which is begun, and prints what it would.
const BASH: &str = r#"
eval "$(heddlectl completions bash)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
_clap_complete_heddlectl heddlectl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
complete -p heddlectl >&2
"#;

/// Runs a real interactive zsh on a terminal of its own, types the line and a tab into it, and prints what it shows.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty -b shell zsh -f -i
zpty -w shell 'PS1= PS2= RPS1=; fpath=($FUNCTIONS $fpath); autoload -Uz compinit && compinit -u -d $HOME/dump; zstyle ":completion:*" list-prompt ""; LISTMAX=1000; stty -echo; print READY'
zpty -r -m shell line '*READY*'
zpty -w -n shell "$1"$'\t'
zpty -w -n shell $'\t'
zpty -r -m shell line "*$2*" && print -r -- "$line"
zpty -d shell
"#;

/// A shell with heddlectl in its PATH.
fn shell(world: &World, program: &str, arguments: &[&str]) -> Command {
    let folder = heddlectl().parent().expect("a folder").display().to_string();
    let mut shell = Command::new(program);
    world.environment(&mut shell).env("PATH", format!("{folder}:/usr/local/bin:/usr/bin:/bin")).args(arguments);
    shell
}

fn bash(world: &World, words: &[&str]) -> Vec<String> {
    let said = world.say(shell(world, "bash", &["--norc", "-c", BASH, "bash"]).args(words));
    assert!(said.stderr.starts_with("complete ") && said.stderr.lines().count() == 1, "nothing else is said: {said}");
    said.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn fish(world: &World, line: &str) -> Vec<String> {
    let script = format!("heddlectl completions fish | source\ncomplete -C '{line}'");
    let said = world.say(&mut shell(world, "fish", &["--no-config", "-c", &script]));
    assert_eq!((said.stderr.as_str(), said.code), ("", Some(0)), "{said}");
    said.stdout.lines().map(str::to_owned).collect()
}

/// Presses the key until this is what the shell says.
#[track_caller]
fn eventually<T: PartialEq + std::fmt::Debug>(mut ask: impl FnMut() -> T, wanted: &T) {
    let mut last = None;
    until(&format!("the shell says {wanted:?}"), || {
        let said = ask();
        let is_it = said == *wanted;
        if last.as_ref() != Some(&said) {
            eprintln!("the shell says {said:?}");
            last = Some(said);
        }
        is_it
    });
}

/// A world with a session on `fix-login` and a branch `feature/x`.
fn world() -> (World, String) {
    let world = World::with_daemon();
    let task = ["--task", "Fix the login: at last", "--harness", "codex"];
    let reserve = ["reserve", "-q", "--no-hold-for-agent", "--thread", "fix-login"];
    let said = world.run(&[&reserve[..], &task].concat());
    assert_eq!(said.code, Some(0), "{said}");
    world.git(&["branch", "feature/x"]);
    // Git lets a branch be called so; nobody wants it on a command line.
    world.git(&["update-ref", "refs/heads/$(touch${IFS}hacked)", "HEAD"]);
    (world, said.stdout.trim_end().to_owned())
}

#[test]
fn bash_completes_threads_and_sessions() {
    let (world, session) = world();
    let says = |words: &[&str], wanted: &[&str]| {
        eventually(|| bash(&world, words), &wanted.iter().map(ToString::to_string).collect());
    };
    says(&["heddlectl", "va"], &["validate"]);
    says(&["heddlectl", "reserve", "--at"], &["--at-tip"]);
    says(&["heddlectl", "run", "--thread", ""], &["feature/x", "fix-login", "main"]);
    says(&["heddlectl", "run", "--thread", "=", "fix"], &["fix-login"]);
    says(&["heddlectl", "thread", "show", "f"], &["feature/x", "fix-login"]);
    says(&["heddlectl", "heartbeat", "--session", ""], &[&session]);
    says(&["heddlectl", "evict", "agent-"], &[&session]);
    says(&["heddlectl", "run", "--thread", "x", "--", "heddlec"], &["heddlectl"]);
    assert!(!world.path("app/hacked").exists(), "and no branch has become a command");
    fs::create_dir(world.path("app/$(touch hacked)")).expect("made");
    says(&["heddlectl", "--repo", "$"], &["'$(touch hacked)/'"]);
}

#[test]
fn another_repository_and_another_socket_are_looked_at_where_the_line_names_them() {
    let (world, session) = world();
    let (app, socket) = (world.path("app"), world.socket());
    let (app, socket) = (app.to_str().expect("text"), socket.to_str().expect("text"));
    let from = |words: &[&str]| {
        let mut shell = shell(&world, "bash", &["--norc", "-c", BASH, "bash"]);
        shell.current_dir("/").env_remove("XDG_RUNTIME_DIR").env("HEDDLE_STATE_DIR", "/nonexistent").args(words);
        let said = world.say(&mut shell);
        said.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(from(&["heddlectl", "list", "--thread", ""]).is_empty(), "no repository, and no daemon");
    eventually(|| from(&["heddlectl", "--repo", app, "list", "--thread", "fe"]), &vec!["feature/x".to_owned()]);
    eventually(|| from(&["heddlectl", "--socket", socket, "log", "--session", ""]), &vec![session.clone()]);
}

#[test]
fn fish_completes_threads_and_sessions_with_what_they_are_for() {
    if !is_installed("fish") {
        return;
    }
    let (world, session) = world();
    let says = |line: &str, wanted: &[&str]| {
        eventually(|| fish(&world, line), &wanted.iter().map(ToString::to_string).collect());
    };
    let task = "by codex: Fix the login: at last";
    says("heddlectl list --thread f", &["feature/x\ta branch", &format!("fix-login\theld {task}")]);
    says("heddlectl evict --session ", &[&format!("{session}\tfix-login {task}")]);
    says("heddlectl run --thread=fe", &["--thread=feature/x\ta branch"]);
}

#[test]
fn zsh_completes_threads_with_what_they_are_for() {
    if !is_installed("zsh") {
        return;
    }
    let (world, _) = world();
    let functions = world.path("home/functions");
    fs::create_dir(&functions).expect("made");
    let script = world.run(&["completions", "zsh"]);
    fs::write(functions.join("_heddlectl"), &script.stdout).expect("written");
    let type_line = |line: &str, wanted: &str| -> Said {
        let mut zsh = shell(&world, "timeout", &["20", "zsh", "-f", "-c", ZSH, "zsh", line, wanted]);
        world.say(zsh.env("FUNCTIONS", &functions).env("TERM", "dumb"))
    };
    // Each time it is a new shell, so this is the first key that is pressed in it.
    until_within("zsh shows them", Duration::from_secs(120), || {
        let said = type_line("heddlectl list --thread f", "held by codex: Fix the login: at last");
        said.stdout.contains("a branch") && said.stdout.contains("feature/x") && said.stdout.contains("fix-login")
    });
    let said = type_line("heddlectl vali", "validate");
    assert!(said.stdout.contains("heddlectl validate"), "{said}");
}

#[test]
fn completing_starts_no_daemon_and_says_nothing_where_there_is_none() {
    let world = World::new();
    let words = ["heddlectl", "list", "--thread", ""];
    let mut shell = shell(&world, "bash", &["--norc", "-c", BASH, "bash"]);
    // Starting one is not forbidden here.
    shell.env_remove("HEDDLE_NO_AUTOSTART").args(words);
    until("Git's branches are told", || {
        let said = world.say(&mut shell);
        assert_eq!(said.stderr.lines().count(), 1, "only what the test itself asks for: {said}");
        said.stdout == "main\n"
    });
    assert!(world.recorded_daemon().is_none() && !world.path("state").exists(), "nothing was made");
    for line in [&["--repo", "/nonexistent"][..], &["--socket", "/nonexistent/s"], &["--socket", "x/y"]] {
        let said = bash(&world, &[&["heddlectl"], line, &["log", "--session", ""]].concat());
        assert!(said.is_empty(), "{line:?}: {said:?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a shell waits is what this is about")]
fn a_daemon_that_does_not_answer_keeps_no_shell_waiting() {
    let (world, _) = world();
    let daemon = Pid::from_raw(world.recorded_daemon().expect("a daemon"));
    kill(daemon, Signal::SIGSTOP).expect("stopped");
    let mut ask = Command::new(heddlectl());
    world.environment(&mut ask).env("HEDDLE_COMPLETE", "fish").args(["--", "heddlectl", "list", "--thread", "f"]);
    // What Git knows is told all the same. A shell waits for 150 ms; the rest is for a machine that has no processor to spare.
    eventually(
        || {
            let begun = Instant::now();
            let said = world.say(&mut ask);
            let took = begun.elapsed();
            assert!(took.as_secs() < 10, "{took:?}");
            said.stdout
        },
        &"feature/x\ta branch\nfix-login\ta branch\n".to_owned(),
    );
    kill(daemon, Signal::SIGCONT).expect("goes on");
}

#[test]
fn an_unknown_shell_and_a_line_that_is_none_are_no_matter() {
    let world = World::new();
    for (shell, words) in [("tcsh", &["--", "heddlectl", ""][..]), ("bash", &["--"]), ("fish", &["--", ""])] {
        let mut ask = Command::new(heddlectl());
        let said = world.say(world.environment(&mut ask).env("HEDDLE_COMPLETE", shell).args(words));
        assert_eq!(said.stderr, "", "{shell} {words:?}");
        assert!(said.code.is_some_and(|code| code < 2), "{shell} {words:?}: {said}");
    }
    let mut off = Command::new(heddlectl());
    let said = world.say(world.environment(&mut off).env("HEDDLE_COMPLETE", "").arg("--version"));
    assert!(said.stdout.starts_with("heddlectl "), "switched off: {said}");
}
