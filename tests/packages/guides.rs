//! The guides in docs/harnesses: every block that is marked is run, or written to its file, in a repository of its own, with
//! the real programs, and with stand-ins for the agents that run hooks as these document it.
//!
//! A block is marked by the line before it: `<!-- run -->`, `<!-- run: exit 3 -->`, `<!-- file: PATH -->`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Said, World, heddlectl};

/// One marked block.
#[derive(Debug)]
enum Block {
    /// To be run; it ends with this code.
    Run(String, i32),
    /// To be written to this file.
    File(String, String),
}

/// The marked blocks of a guide, in their order.
fn blocks(text: &str) -> Vec<Block> {
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(mark) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        let fence = lines.next().unwrap_or_default();
        assert!(fence.starts_with("```"), "a block follows its mark: {mark}");
        let content: String = lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
        found.push(match mark.split_once(": ") {
            None if mark == "run" => Block::Run(content, 0),
            Some(("run", code)) => Block::Run(content, code.trim_start_matches("exit ").parse().expect("an exit code")),
            Some(("file", path)) => Block::File(path.to_owned(), content),
            _ => panic!("an unknown mark: {mark}"),
        });
    }
    assert!(found.iter().any(|block| matches!(block, Block::Run(..))), "there is something to run");
    found
}

/// One script of all blocks: variables and directories carry over, as in the shell of whoever follows the guide.
fn script(blocks: &[Block]) -> String {
    let mut script = "set -eu\n".to_owned();
    for block in blocks {
        let lines = match block {
            Block::Run(lines, 0) => lines.clone(),
            Block::Run(lines, code) => format!(
                "set +e\n( set -e\n{lines})\nended=$?\nset -e\n\
                 [ $ended -eq {code} ] || {{ echo \"ended with $ended, not {code}\" >&2; exit 99; }}\n"
            ),
            Block::File(path, text) => {
                let folder = Path::new(path).parent().expect("a folder").display();
                format!("mkdir -p '{folder}'\ncat >'{path}' <<'END OF FILE'\n{text}END OF FILE\n")
            }
        };
        script.push_str(&lines);
    }
    script
}

/// What an agent with hooks does: before a write it asks all hooks for it, which refuse with 2; other codes are no refusal.
const HOOKED: &str = r#"#!/usr/bin/env python3
import json, os, subprocess, sys

def hooks(event, tool):
    path = FILE
    if not os.path.exists(path):
        return
    for entry in json.load(open(path))["hooks"].get(event, []):
        matcher = entry.get("matcher", "")
        if tool and matcher and tool not in matcher.split("|"):
            continue
        for hook in entry.get("hooks", [entry]):
            said = json.dumps({"hook_event_name": event, "tool_name": tool, "cwd": os.getcwd()})
            done = subprocess.run(["sh", "-c", hook["command"]], input=said, text=True, capture_output=True)
            with open(os.path.join(os.environ["HOME"], "hooks"), "a") as log:
                print(event, hook["command"], done.returncode, done.stderr.strip(), file=log)
            if done.returncode == 2:
                sys.exit(f"{event} is blocked: {done.stderr}")

name = os.environ.get("HEDDLE_THREAD", "here")
hooks(BEFORE, "Write")
open(f"{name}.txt", "w").write("done\n")
hooks(AFTER, "Write")
subprocess.run(["git", "add", "."], check=True)
subprocess.run(["git", "commit", "--quiet", "--message", f"Work on {name}"], check=True)
if STOP and os.path.exists(FILE):
    open(f"{name}-notes.txt", "w").write("not committed by the agent\n")
    hooks(STOP, "")
"#;

/// What an agent in a sandbox can do: write files, but neither commit nor connect.
const SANDBOXED: &str = r#"#!/bin/sh
[ "$1" = exec ] || exit 2
env -u HEDDLE_NO_AUTOSTART CODEX_SANDBOX_NETWORK_DISABLED=1 HEDDLE_SOCKET=/nonexistent/s HEDDLE_STATE_DIR=/nonexistent \
  heddlectl validate --hook 2>>"$HOME/sandbox" && exit 9
echo done >"$HEDDLE_THREAD.txt"
"#;

fn stand_in(file: &str, before: &str, after: &str, stop: &str) -> String {
    let word = |text: &str| format!("{text:?}");
    let script = HOOKED.replace("FILE", &word(file)).replace("BEFORE", &word(before));
    script.replace("AFTER", &word(after)).replace("STOP", &word(stop))
}

/// Follows a guide with these programs beside heddlectl.
fn follow(guide: &str, programs: &[(&str, &str)]) -> (World, Said) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/harnesses").join(guide);
    let text = fs::read_to_string(path).expect("the guide is there");
    let world = World::with_daemon();
    fs::write(world.path("home/.gitconfig"), "[user]\n\tname = A\n\temail = a@example.com\n").expect("written");
    let bin = world.path("bin");
    fs::create_dir(&bin).expect("made");
    for (name, text) in programs {
        fs::write(bin.join(name), text).expect("written");
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect("mode");
    }
    let mut shell = Command::new("timeout");
    let built = heddlectl().parent().expect("a folder").to_owned();
    world.environment(&mut shell).args(["180", "sh", "-c", &script(&blocks(&text))]);
    shell.env("PATH", format!("{}:{}:/usr/local/bin:/usr/bin:/bin", bin.display(), built.display()));
    let said = world.say(&mut shell);
    assert_eq!(said.code, Some(0), "{guide}: {said}");
    (world, said)
}

/// How the sessions on this thread ended, and the subjects of what is on its branch, newest first.
fn outcome(world: &World, thread: &str) -> ((String, String), Vec<String>) {
    let subjects = world.git(&["log", "--format=%s", thread]);
    (world.standing(thread), subjects.lines().map(str::to_owned).collect())
}

fn complete() -> (String, String) {
    ("complete".to_owned(), "released".to_owned())
}

#[test]
fn the_guide_for_claude_code_does_what_it_says() {
    let claude = stand_in(".claude/settings.json", "PreToolUse", "PostToolUse", "Stop");
    let (world, said) = follow("claude-code.md", &[("claude", &claude)]);
    for thread in ["docs", "tests"] {
        assert_eq!(outcome(&world, thread), (complete(), vec![format!("Work on {thread}"), "Begin".to_owned()]));
    }
    let ((_, reason), subjects) = outcome(&world, "fix-logout");
    assert_eq!(
        (reason.as_str(), subjects[0].as_str()),
        ("released", "capture of fix-logout"),
        "the hook captured: {said}"
    );
    assert_eq!(subjects[1], "Work on fix-logout");
    let hooks = fs::read_to_string(world.path("home/hooks")).expect("hooks were run");
    let ran: Vec<_> = hooks.lines().map(|line| line.split(' ').next().expect("an event")).collect();
    assert_eq!(ran, ["PreToolUse", "PostToolUse", "Stop"], "{hooks}");
    assert!(hooks.lines().all(|line| line.trim_end().ends_with(" 0")), "each of them went well: {hooks}");
    assert_eq!(world.standing("fix-login").0, "merged");
    assert!(!world.path("app.worktrees/fix-login").exists(), "what was merged is cleaned: {said}");
    assert!(said.stderr.contains("no session is active in"), "and without a session the hook says so: {said}");
}

#[test]
fn the_hook_of_claude_code_keeps_an_agent_from_writing_that_has_lost_its_thread() {
    let claude = stand_in(".claude/settings.json", "PreToolUse", "PostToolUse", "Stop");
    let (world, _) = follow("claude-code.md", &[("claude", &claude)]);
    let session = world.reserve("lost");
    assert_eq!(world.run(&["evict", &session, "--reason", "it hangs"]).code, Some(0));
    let mut agent = Command::new(world.path("bin/claude"));
    let built = heddlectl().parent().expect("a folder").to_owned();
    world.environment(&mut agent).env("HEDDLE_SESSION", &session).env("HEDDLE_THREAD", "lost");
    let said = world.say(agent.env("PATH", format!("{}:/usr/bin:/bin", built.display())));
    assert!(said.stderr.contains("PreToolUse is blocked") && said.stderr.contains("evicted"), "{said}");
    assert!(!world.path("app/lost.txt").exists(), "nothing was written");
}

#[test]
fn the_guide_for_codex_does_what_it_says() {
    let (world, said) = follow("codex.md", &[("codex", SANDBOXED)]);
    for thread in ["docs", "tests"] {
        let subjects = vec![format!("capture of {thread}"), "Begin".to_owned()];
        assert_eq!(outcome(&world, thread), (complete(), subjects), "{said}");
    }
    assert_eq!(outcome(&world, "fix-login"), (complete(), vec!["Begin".to_owned()]), "nobody captured");
    assert_eq!(world.standing("fix-logout").0, "merged", "{said}");
    assert!(!world.path("app.worktrees/fix-logout").exists(), "{said}");
    let sandbox = fs::read_to_string(world.path("home/sandbox")).expect("heddlectl was tried inside");
    assert!(sandbox.contains("CODEX_SANDBOX_NETWORK_DISABLED is set"), "the variable is named: {sandbox}");
}

#[test]
fn the_guide_for_cursor_does_what_it_says() {
    let agent = stand_in(".cursor/hooks.json", "preToolUse", "afterFileEdit", "");
    let (world, said) = follow("cursor.md", &[("agent", &agent)]);
    for thread in ["fix-login", "docs", "tests"] {
        let subjects = vec![format!("Work on {thread}"), "Begin".to_owned()];
        assert_eq!(outcome(&world, thread), (complete(), subjects), "{said}");
        assert_eq!(world.session(thread).expect("a session")["harness"], "cursor");
    }
    let (standing, subjects) = outcome(&world, "by-hand");
    assert_eq!((standing, subjects[0].as_str()), (complete(), "Work on here"), "{said}");
    let hooks = fs::read_to_string(world.path("home/hooks")).expect("hooks were run");
    let ran: Vec<_> = hooks.lines().map(|line| line.split(' ').next().expect("an event")).collect();
    assert_eq!(ran, ["preToolUse", "afterFileEdit"], "{hooks}");
    assert!(hooks.lines().all(|line| line.trim_end().ends_with(" 0")), "{hooks}");
}

#[test]
fn the_guide_for_a_harness_of_one_s_own_does_what_it_says() {
    let (world, said) = follow("custom.md", &[]);
    for (thread, subject) in [("one", "Write one"), ("two", "Write two")] {
        assert_eq!(outcome(&world, thread), (complete(), vec![subject.to_owned(), "Begin".to_owned()]), "{said}");
    }
    assert_eq!(world.session("one").expect("a session")["harness"], "my-harness");
    assert_eq!(world.standing("three").1, "evicted");
    assert!(said.stdout.contains("\"kind\":\"live_owner\""), "{said}");
    let usage = &world.session("two").expect("a session")["usage_summary"];
    assert_eq!(usage["tool_calls"], 3, "{usage}");
}
