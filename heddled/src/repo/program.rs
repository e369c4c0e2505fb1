//! The `git` program, for the few things that are not done in process: worktrees, captures, the user's configuration.
//!
//! It runs without a shell and with an environment made from nothing, so that no `GIT_*` variable of whoever started the
//! daemon changes its meaning. Configuration of the repository never makes it run a command: hooks, the file system
//! monitor, lazy fetches and transports are off, and content filters are set to what the user's own configuration says.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proto_schema::ObjectId;

use super::error::{Cause, Error};

/// The most bytes of stderr that an error keeps: its end, where Git says what was fatal.
const STDERR_KEPT: usize = 2048;

/// What the daemon's own environment contributes: where programs and the user's configuration are.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `PATH`, where `git` is looked for.
    pub path: OsString,
    /// `HOME`, where `.gitconfig` is.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`, where `git/config` is.
    pub xdg_config_home: Option<PathBuf>,
}

/// One setting of a configuration, as `git config --list` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// `system`, `global`, `local`, `worktree`.
    pub(super) scope: String,
    /// The file it stands in, where it stands in a file.
    pub(super) file: Option<PathBuf>,
    /// Section and name in lower case, the subsection as written.
    pub(super) key: String,
    /// `None` for a key without `=`, which means true.
    pub(super) value: Option<String>,
}

impl Setting {
    /// What `git config --list -z --show-scope --show-origin` says, without what the command line set.
    pub(super) fn parse(output: &[u8]) -> Vec<Self> {
        let mut fields = output.split(|byte| *byte == 0);
        let mut settings = Vec::new();
        while let (Some(scope), Some(origin), Some(entry)) = (fields.next(), fields.next(), fields.next()) {
            if scope == b"command" {
                continue;
            }
            let (key, value) = match entry.iter().position(|byte| *byte == b'\n') {
                Some(at) => (&entry[..at], Some(String::from_utf8_lossy(&entry[at + 1..]).into_owned())),
                None => (entry, None),
            };
            settings.push(Self {
                scope: String::from_utf8_lossy(scope).into_owned(),
                file: origin.strip_prefix(b"file:").map(|file| PathBuf::from(OsStr::from_bytes(file))),
                key: String::from_utf8_lossy(key).into_owned(),
                value,
            });
        }
        settings
    }

    /// Whether the user or the machine's administrator wrote it, and not the repository.
    pub(super) fn is_users(&self) -> bool {
        matches!(self.scope.as_str(), "system" | "global")
    }
}

/// The program with what it needs to run.
#[derive(Clone, Debug)]
pub(super) struct Program {
    environment: Environment,
}

impl Program {
    pub(super) fn new(environment: Environment) -> Self {
        Self { environment }
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The program, with all that it needs but its arguments; it and what it starts are looked for in `places`.
    pub(super) fn command(&self, git_dir: &Path, places: &OsStr) -> Command {
        // Where the program is named by its path, the daemon's memory is not copied to start it: that takes longer than Git.
        let mut command = Command::new(found_in(places).unwrap_or_else(|| PathBuf::from("git")));
        command.env_clear().stdin(Stdio::null()).current_dir("/");
        command.env("PATH", places);
        if let Some(home) = &self.environment.home {
            command.env("HOME", home);
        }
        if let Some(directory) = &self.environment.xdg_config_home {
            command.env("XDG_CONFIG_HOME", directory);
        }
        command.env("LANG", "C").env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
        // Objects that a partial clone lacks are not fetched, and no transport of any kind is used.
        command.env("GIT_NO_LAZY_FETCH", "1").env("GIT_ALLOW_PROTOCOL", "");
        command.env("GIT_DIR", git_dir);
        command.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
        command.args(["-c", "submodule.recurse=false", "-c", "core.askPass="]);
        command
    }

    fn run(mut command: Command, name: &'static str) -> Result<Vec<u8>, Error> {
        let output = command.output().map_err(|source| Error::io("run git", Path::new("git"), source))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(failed(name, &output.stderr))
    }

    /// Every setting that applies in the repository; in none when `git_dir` is no repository.
    pub(super) fn settings(&self, git_dir: &Path) -> Result<Vec<Setting>, Error> {
        Self::run(self.list(git_dir, &self.environment.path), "config").map(|output| Setting::parse(&output))
    }

    /// Lists every setting that applies, for [`Setting::parse`].
    pub(super) fn list(&self, git_dir: &Path, places: &OsStr) -> Command {
        let mut command = self.command(git_dir, places);
        command.args(["config", "--list", "-z", "--show-scope", "--show-origin"]);
        command
    }

    /// Deletes a ref that is at `at`, with its reflog.
    pub(super) fn delete_ref(&self, git_dir: &Path, name: &str, at: ObjectId) -> Result<(), Error> {
        let mut command = self.command(git_dir, &self.environment.path);
        command.args(["update-ref", "--no-deref", "-d", name, &at.to_string()]);
        Self::run(command, "update-ref").map(drop)
    }

    /// Runs `git worktree` in the repository with content filters that only the user's configuration defines.
    pub(super) fn worktree(&self, git_dir: &Path, arguments: &[&OsStr]) -> Result<(), Error> {
        let mut command = self.command(git_dir, &self.environment.path);
        let filters = filters(&self.settings(git_dir)?);
        command.env("GIT_CONFIG_COUNT", filters.len().to_string());
        for (index, (key, value)) in filters.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key).env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command.arg("worktree").args(arguments);
        Self::run(command, "worktree").map(drop)
    }
}

/// The first `git` in the places of a `PATH` that may be executed.
fn found_in(places: &OsStr) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| {
        std::fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(places).filter(|place| place.is_absolute()).map(|place| place.join("git")).find(is_program)
}

/// The program said that it failed, and why.
pub(super) fn failed(command: &'static str, stderr: &[u8]) -> Error {
    let stderr = stderr.trim_ascii();
    let kept = stderr.get(stderr.len().saturating_sub(STDERR_KEPT)..).unwrap_or_default();
    let stderr = String::from_utf8_lossy(kept).into_owned();
    Error::Unavailable { operation: "run git", cause: Cause::Program { command, stderr } }
}

/// The settings that leave no content filter but the user's own `lfs`: every other that is configured is made empty,
/// which is Git's way to say that there is none, and what the repository says of `lfs` is overruled.
///
/// Only what is configured is overruled: an empty `process` would disable a `smudge` that stands alone.
fn filters(settings: &[Setting]) -> Vec<(String, String)> {
    let mut overruled: Vec<(String, String)> = Vec::new();
    for Setting { key, .. } in settings {
        let Some((driver, name)) = key.strip_prefix("filter.").and_then(|rest| rest.rsplit_once('.')) else { continue };
        if overruled.iter().any(|(known, _)| known == key) {
            continue;
        }
        let users = settings.iter().rev().find(|setting| setting.key == *key && setting.is_users());
        let value = match users {
            Some(setting) if driver == "lfs" => setting.value.clone().unwrap_or_else(|| "true".to_owned()),
            _ if name == "required" => "false".to_owned(),
            _ => String::new(),
        };
        overruled.push((key.clone(), value));
    }
    overruled
}
