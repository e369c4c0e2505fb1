//! Who the agent is, by its environment and its ancestors.

use std::fs;

use super::*;

/// A fake `/proc`: (pid, parent, name, command line).
fn proc(processes: &[(i32, i32, &str, &[&str])]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for (pid, parent, name, command) in processes {
        let folder = root.path().join(pid.to_string());
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join("stat"), format!("{pid} ({name}) S {parent} 1 1 0 -1")).expect("written");
        fs::write(folder.join("cmdline"), command.join("\0")).expect("written");
    }
    root
}

fn found(variables: &[(&str, &str)], processes: &[(i32, i32, &str, &[&str])]) -> Found {
    let root = proc(processes);
    look(&AgentArgs::default(), &Env::of(variables), None, root.path(), 100)
}

#[expect(clippy::ref_option, reason = "fields are looked at, not taken")]
fn text(value: &Option<Attribution>) -> Option<&str> {
    value.as_ref().map(Attribution::as_str)
}

const SHELL: (i32, i32, &str, &[&str]) = (100, 90, "heddlectl", &["heddlectl"]);

#[test]
fn nobody_is_nobody() {
    let found = found(&[("CURSOR_TRACE_ID", "x")], &[SHELL, (90, 1, "bash", &["-bash"])]);
    assert_eq!(found.probe, Probe { source: ProbeSource::None, confidence: 0.0, process: None });
    assert_eq!((text(&found.harness), found.process), (None, None));
}

#[test]
fn every_harness_is_known_by_its_marks() {
    for (variables, name, provider, key) in [
        (&[("CLAUDECODE", "1"), ("CLAUDE_CODE_SESSION_ID", "s1")][..], "claude-code", Some("anthropic"), Some("s1")),
        (&[("CLAUDE_CODE_ENTRYPOINT", "cli")], "claude-code", Some("anthropic"), None),
        (&[("CODEX_SANDBOX", "seatbelt"), ("CODEX_THREAD_ID", "t")], "codex", Some("openai"), Some("t")),
        (&[("CODEX_CI", "1")], "codex", Some("openai"), None),
        (&[("CURSOR_AGENT", "1"), ("CURSOR_CONVERSATION_ID", "c")], "cursor", None, Some("c")),
        (&[("GEMINI_CLI", "1")], "gemini-cli", Some("google"), None),
        (&[("QWEN_CODE", "1"), ("QWEN_CODE_SESSION_ID", "q")], "qwen-code", None, Some("q")),
        (&[("OPENCODE", "1"), ("OPENCODE_SESSION_ID", "o")], "opencode", None, Some("o")),
        (&[("AGENT", "goose"), ("AGENT_SESSION_ID", "g")], "goose", None, Some("g")),
        (&[("AGENT", "amp"), ("AMP_CURRENT_THREAD_ID", "a")], "amp", None, Some("a")),
        (&[("COPILOT_CLI", "1"), ("COPILOT_AGENT_SESSION_ID", "p")], "copilot", None, Some("p")),
        (&[("AI_AGENT", "devin")], "devin", None, None),
    ] {
        let found = found(variables, &[SHELL]);
        assert_eq!(text(&found.harness), Some(name), "{variables:?}");
        assert_eq!(text(&found.provider), provider, "{variables:?}");
        assert_eq!(text(&found.native_actor_key), key, "{variables:?}");
        assert_eq!(found.probe.source, ProbeSource::ArgvEnv);
    }
}

#[test]
fn blank_and_placeholder_values_are_absent() {
    let found = found(
        &[("CLAUDECODE", "0"), ("HEDDLE_AGENT_MODEL", " "), ("CODEX_MODEL", "Unknown"), ("AI_AGENT", "none")],
        &[SHELL],
    );
    assert_eq!((text(&found.harness), text(&found.model)), (None, None));
    assert_eq!(found.probe.source, ProbeSource::None);
}

#[test]
fn the_nearest_known_ancestor_is_the_agent() {
    let found = found(
        &[],
        &[
            (100, 90, "heddlectl", &["heddlectl"]),
            (90, 80, "bash (x) y", &["bash", "-c", "codex"]),
            (80, 70, "node-MainThread", &["/usr/bin/node", "--no-warnings", "/opt/@anthropic-ai/claude-code/cli.js"]),
            (70, 1, "codex", &["codex"]),
        ],
    );
    assert_eq!(text(&found.harness), Some("claude-code"));
    assert_eq!((found.probe.source, found.probe.confidence), (ProbeSource::ProcessTree, 0.7));
    assert_eq!(found.process.map(|process| process.pid), Some(80));
}

#[test]
fn scripts_are_known_by_their_names() {
    for command in [
        &["/usr/bin/python3.12", "/home/me/.local/bin/aider"][..],
        &["python3", "-u", "/venv/bin/aider", "--yes"],
        &["aider"],
    ] {
        let found = found(&[], &[SHELL, (90, 1, "whatever", command)]);
        assert_eq!(text(&found.harness), Some("aider"), "{command:?}");
    }
}

#[test]
fn an_editor_is_no_agent() {
    assert_eq!(text(&found(&[], &[SHELL, (90, 1, "cursor", &["/opt/cursor/cursor"])]).harness), None);
}

#[test]
fn what_is_said_wins_over_what_is_found() {
    let said = AgentArgs { model: Some("m1".parse().expect("text")), ..AgentArgs::default() };
    let env = Env::of(&[("CLAUDECODE", "1"), ("ANTHROPIC_MODEL", "m2"), ("HEDDLE_AGENT_POLICY", "default")]);
    let root = proc(&[SHELL]);
    let found = look(&said, &env, None, root.path(), 100);
    assert_eq!((text(&found.model), text(&found.harness)), (Some("m1"), Some("claude-code")));
    assert_eq!(text(&found.policy), Some("default"), "a policy may be called so");
    assert_eq!((found.probe.source, found.probe.confidence), (ProbeSource::ExplicitPayload, 1.0));

    let env = Env::of(&[("CLAUDECODE", "1"), ("HEDDLE_AGENT_HARNESS", "mine"), ("ANTHROPIC_MODEL", "m2")]);
    let found = look(&AgentArgs::default(), &env, None, root.path(), 100);
    assert_eq!((text(&found.harness), text(&found.provider), text(&found.model)), (Some("mine"), None, None));
    assert_eq!(found.probe.source, ProbeSource::ArgvEnv);
}

#[test]
fn another_harness_s_model_is_not_taken() {
    let found = found(&[("CLAUDECODE", "1"), ("OPENAI_MODEL", "gpt"), ("CLAUDE_MODEL", "opus")], &[SHELL]);
    assert_eq!(text(&found.model), Some("opus"));
}

#[test]
fn the_command_that_is_about_to_run_is_the_agent() {
    let root = proc(&[SHELL]);
    let env = Env::of(&[("CLAUDECODE", "1"), ("CODEX_THREAD_ID", "t")]);
    let found = look(&AgentArgs::default(), &env, Some(OsStr::new("/usr/bin/codex")), root.path(), 100);
    assert_eq!(text(&found.harness), Some("codex"));
    assert_eq!(found.native_actor_key, None, "its own id is not known before it runs");
}
