//! Who is the agent that called us: what it says itself, then marks in the environment, then the
//! nearest ancestor process with a known name. An agent that nothing tells of is unknown, not guessed.

mod harness;
mod process;

use std::ffi::OsStr;
use std::path::Path;

use clap::Args;
use proto_schema::{Attribution, Probe, ProbeProcess, ProbeSource, ReserveParams, SessionId};

use crate::env::Env;
use harness::{HARNESSES, Harness};

/// What the caller says of itself; each wins over everything that is found.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AgentArgs {
    /// The maker of the model: anthropic, openai
    #[arg(long, value_name = "NAME", help_heading = "Agent")]
    provider: Option<Attribution>,
    /// The model of the agent
    #[arg(long, value_name = "NAME", help_heading = "Agent")]
    model: Option<Attribution>,
    /// The harness that runs the agent: claude-code, codex
    #[arg(long, value_name = "NAME", help_heading = "Agent")]
    harness: Option<Attribution>,
    /// How much the model thinks
    #[arg(long, value_name = "LEVEL", help_heading = "Agent")]
    thinking_level: Option<Attribution>,
    /// The policy of the harness, as free text
    #[arg(long, value_name = "TEXT", help_heading = "Agent")]
    policy: Option<Attribution>,
    /// The session that started this one [default: $HEDDLE_SESSION]
    #[arg(long, value_name = "ID", help_heading = "Agent")]
    parent_session: Option<SessionId>,
}

/// What was found.
#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    provider: Option<Attribution>,
    model: Option<Attribution>,
    harness: Option<Attribution>,
    thinking_level: Option<Attribution>,
    policy: Option<Attribution>,
    native_actor_key: Option<Attribution>,
    parent_session: Option<SessionId>,
    probe: Probe,
    /// The nearest ancestor that is a known harness: what a reservation outside of `run` is held for.
    pub(crate) process: Option<ProbeProcess>,
}

impl Found {
    /// Puts what was found into the call.
    pub(crate) fn fill(&self, params: &mut ReserveParams) {
        params.provider.clone_from(&self.provider);
        params.model.clone_from(&self.model);
        params.harness.clone_from(&self.harness);
        params.thinking_level.clone_from(&self.thinking_level);
        params.policy.clone_from(&self.policy);
        params.native_actor_key.clone_from(&self.native_actor_key);
        params.parent_session_id = self.parent_session;
        params.probe = Some(self.probe.clone());
    }
}

/// Looks at what the caller said, at the environment, and at the ancestors of process `pid` under `proc`.
///
/// `command` is the program that will hold the reservation, where it is known: the agent itself, perhaps.
pub(crate) fn look(said: &AgentArgs, env: &Env, command: Option<&OsStr>, proc: &Path, pid: i32) -> Found {
    let own = |name: &str| value(env, &format!("HEDDLE_AGENT_{name}"), name != "POLICY");
    let process = process::nearest(proc, pid);
    let marked = HARNESSES.iter().find(|harness| harness.marks(env));
    let other = value(env, "AI_AGENT", true).filter(|name| !matches!(name.as_str(), "1" | "true" | "yes"));
    let started = command.and_then(|command| Harness::of_program(command.to_str()?));
    let above = process.as_ref().map(|(harness, _)| *harness);
    // What is about to run is nearer than what runs us.
    let (known, source, confidence) = match (started, marked, other.is_some(), above) {
        (Some(harness), ..) => (Some(harness), ProbeSource::ArgvEnv, 0.9),
        (_, Some(harness), ..) => (Some(harness), ProbeSource::ArgvEnv, 0.9),
        (_, _, true, _) => (None, ProbeSource::ArgvEnv, 0.8),
        (_, _, _, Some(harness)) => (Some(harness), ProbeSource::ProcessTree, 0.7),
        (None, None, false, None) => (None, ProbeSource::None, 0.0),
    };
    let named = known.map_or(other, |harness| harness.name.parse().ok());
    let model = harness::models(known).find_map(|name| value(env, name, true));
    let thinking = ["THINKING_LEVEL", "CODEX_REASONING_EFFORT", "REASONING_EFFORT"];
    let thinking = thinking.into_iter().find_map(|name| value(env, name, true));

    let explicit = said.provider.is_some() || said.model.is_some() || said.harness.is_some();
    let ours = ["PROVIDER", "MODEL", "HARNESS"].into_iter().any(|name| own(name).is_some());
    let (source, confidence) = if explicit {
        (ProbeSource::ExplicitPayload, 1.0)
    } else if ours {
        (ProbeSource::ArgvEnv, 1.0)
    } else if source == ProbeSource::None && model.is_some() {
        (ProbeSource::ArgvEnv, 0.5)
    } else {
        (source, confidence)
    };
    // Whoever names another harness takes nothing from the one that was found.
    let harness = said.harness.clone().or_else(|| own("HARNESS"));
    let same = harness.is_none() || harness == named;
    let process = process.map(|(_, process)| process);
    Found {
        provider: said
            .provider
            .clone()
            .or_else(|| own("PROVIDER"))
            .or_else(|| known.filter(|_| same).and_then(|harness| harness.provider?.parse().ok())),
        model: said.model.clone().or_else(|| own("MODEL")).or_else(|| model.filter(|_| same)),
        harness: harness.or(named),
        thinking_level: said.thinking_level.clone().or_else(|| own("THINKING_LEVEL")).or(thinking),
        policy: said.policy.clone().or_else(|| own("POLICY")),
        native_actor_key: known
            .filter(|_| same && started.is_none())
            .and_then(|harness| value(env, harness.session?, true)),
        parent_session: said.parent_session.or_else(|| env.text("HEDDLE_SESSION")?.parse().ok()),
        probe: Probe { source, confidence, process: process.clone() },
        process,
    }
}

/// A variable's value, unless it is blank or a placeholder.
fn value(env: &Env, name: &str, default_is_none: bool) -> Option<Attribution> {
    let text = env.text(name)?;
    let placeholder = match text.to_ascii_lowercase().as_str() {
        "unknown" | "none" | "null" | "nil" | "undefined" | "n/a" | "-" => true,
        "default" => default_is_none,
        _ => false,
    };
    if placeholder { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests;
