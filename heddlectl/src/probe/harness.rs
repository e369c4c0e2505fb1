//! The harnesses that are known: their marks in the environment, their programs, their own session ids.

use std::path::Path;

use crate::env::Env;

/// One harness.
#[derive(Debug, PartialEq)]
pub(crate) struct Harness {
    /// Its name, as reservations show it.
    pub(crate) name: &'static str,
    /// Who makes its models, where it has but one maker.
    pub(crate) provider: Option<&'static str>,
    /// Variables that it sets for what it runs: a name, or a name and its value.
    marks: &'static [(&'static str, Option<&'static str>)],
    /// The variable that has its own session id.
    pub(crate) session: Option<&'static str>,
    /// Names of its program.
    programs: &'static [&'static str],
    /// Variables that name its model.
    models: &'static [&'static str],
}

/// The harnesses that can be recognised.
pub(crate) const HARNESSES: &[Harness] = &[
    Harness {
        name: "claude-code",
        provider: Some("anthropic"),
        marks: &[("CLAUDECODE", None), ("CLAUDE_CODE_ENTRYPOINT", None)],
        session: Some("CLAUDE_CODE_SESSION_ID"),
        programs: &["claude", "claude-code"],
        models: &["CLAUDE_MODEL", "ANTHROPIC_MODEL"],
    },
    Harness {
        name: "codex",
        provider: Some("openai"),
        marks: &[("CODEX_SANDBOX", None), ("CODEX_SANDBOX_NETWORK_DISABLED", None), ("CODEX_CI", None)],
        session: Some("CODEX_THREAD_ID"),
        programs: &["codex"],
        models: &["CODEX_MODEL", "OPENAI_MODEL"],
    },
    Harness {
        name: "cursor",
        provider: None,
        marks: &[("CURSOR_AGENT", None)],
        session: Some("CURSOR_CONVERSATION_ID"),
        // Not `cursor`: that is the editor, in whose terminal people work too.
        programs: &["cursor-agent"],
        models: &[],
    },
    Harness {
        name: "gemini-cli",
        provider: Some("google"),
        marks: &[("GEMINI_CLI", None)],
        session: None,
        programs: &["gemini", "gemini-cli"],
        models: &[],
    },
    Harness {
        name: "qwen-code",
        provider: None,
        marks: &[("QWEN_CODE", None)],
        session: Some("QWEN_CODE_SESSION_ID"),
        programs: &["qwen", "qwen-code"],
        models: &[],
    },
    Harness {
        name: "opencode",
        provider: None,
        marks: &[("OPENCODE", None)],
        session: Some("OPENCODE_SESSION_ID"),
        programs: &["opencode"],
        models: &["OPENCODE_MODEL"],
    },
    Harness {
        name: "goose",
        provider: None,
        marks: &[("GOOSE_TERMINAL", None), ("AGENT", Some("goose"))],
        session: Some("AGENT_SESSION_ID"),
        programs: &["goose"],
        models: &[],
    },
    Harness {
        name: "amp",
        provider: None,
        marks: &[("AGENT", Some("amp"))],
        session: Some("AMP_CURRENT_THREAD_ID"),
        programs: &["amp"],
        models: &[],
    },
    Harness {
        name: "copilot",
        provider: None,
        marks: &[("COPILOT_CLI", None), ("COPILOT_AGENT", None)],
        session: Some("COPILOT_AGENT_SESSION_ID"),
        programs: &["copilot"],
        models: &[],
    },
    Harness {
        name: "aider",
        provider: None,
        marks: &[],
        session: None,
        programs: &["aider"],
        models: &["AIDER_MODEL"],
    },
];

/// The variables that name a model; the first that is set counts.
const MODELS: &[&str] =
    &["CODEX_MODEL", "CLAUDE_MODEL", "ANTHROPIC_MODEL", "OPENAI_MODEL", "OPENCODE_MODEL", "AIDER_MODEL"];

/// The variables that may name the model of this harness: not those that belong to another.
pub(crate) fn models(harness: Option<&'static Harness>) -> impl Iterator<Item = &'static str> {
    let other = move |name: &str| match harness {
        Some(known) if !known.models.contains(&name) => HARNESSES.iter().any(|other| other.models.contains(&name)),
        Some(_) | None => false,
    };
    MODELS.iter().copied().filter(move |name| !other(name))
}

impl Harness {
    /// Whether the environment has one of its marks.
    pub(crate) fn marks(&self, env: &Env) -> bool {
        self.marks.iter().any(|(name, value)| match value {
            Some(value) => env.text(name) == Some(value),
            None => env.flag(name),
        })
    }

    /// The harness whose program this is: by the last part of its path, without what names a script.
    pub(crate) fn of_program(program: &str) -> Option<&'static Self> {
        let name = Path::new(program).file_name()?.to_str()?;
        let name = name.trim_start_matches('-');
        let name = [".js", ".mjs", ".cjs", ".py", ".exe"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        HARNESSES.iter().find(|harness| harness.programs.contains(&name))
    }

    /// The harness whose package this script is part of: `.../@anthropic-ai/claude-code/cli.js`.
    pub(crate) fn of_script(script: &str) -> Option<&'static Self> {
        Self::of_program(script).or_else(|| {
            let mut parts = script.rsplit('/').skip(1).take(3);
            parts.find_map(|part| HARNESSES.iter().find(|harness| harness.programs.contains(&part)))
        })
    }
}
