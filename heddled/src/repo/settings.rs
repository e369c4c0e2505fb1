//! What the user's own configuration of Git says: whom reflogs name, whether they are written, and which repositories of
//! other users are safe.
//!
//! Git itself is asked, once, and again when one of the files it answered from has changed. Without a `git` program
//! there is no configuration. `safe.directory` of a repository's own configuration never counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::program::{Environment, Program, Setting};
use super::stamp::Stamp;

/// When Git writes a reflog that does not exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogUpdates {
    /// Never.
    Never,
    /// For branches, remote branches, notes and HEAD: all that is written here.
    Always,
}

/// The settings that count here, of one configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) log_updates: Option<LogUpdates>,
    safe: Vec<String>,
}

impl Settings {
    fn from_list(list: &[Setting]) -> Self {
        let mut settings = Self::default();
        let mut committer = (None, None);
        for Setting { key, value, .. } in list.iter().filter(|setting| setting.is_users()) {
            match key.as_str() {
                "user.name" => settings.name.clone_from(value),
                "user.email" => settings.email.clone_from(value),
                "committer.name" => committer.0.clone_from(value),
                "committer.email" => committer.1.clone_from(value),
                "core.logallrefupdates" => settings.log_updates = Some(log_updates(value.as_deref())),
                // An empty value takes back those before it, as Git has it.
                "safe.directory" => match value.as_deref() {
                    None | Some("") => settings.safe.clear(),
                    Some(directory) => settings.safe.push(directory.to_owned()),
                },
                _ => {}
            }
        }
        settings.name = committer.0.or(settings.name);
        settings.email = committer.1.or(settings.email);
        settings
    }

    /// Whether `safe.directory` names a directory, given canonical.
    pub(super) fn is_safe(&self, directory: &Path, home: Option<&Path>) -> bool {
        self.safe.iter().any(|safe| {
            if safe == "*" {
                return true;
            }
            let (safe, is_prefix) = match safe.strip_suffix("/*") {
                Some(parent) => (parent, true),
                None => (safe.as_str(), false),
            };
            let safe = match (safe.strip_prefix("~/"), home) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => PathBuf::from(safe),
            };
            let safe = std::fs::canonicalize(&safe).unwrap_or(safe);
            safe.is_absolute() && if is_prefix { directory.starts_with(&safe) } else { directory == safe }
        })
    }
}

/// What a value of `core.logAllRefUpdates` means; no value means true.
pub(super) fn log_updates(value: Option<&str>) -> LogUpdates {
    match value.map(str::to_ascii_lowercase).as_deref() {
        Some("false" | "no" | "off" | "0" | "") => LogUpdates::Never,
        _ => LogUpdates::Always,
    }
}

type Version = Vec<(PathBuf, Option<Stamp>)>;

/// The user's settings as last read, with the versions of the files they were read from.
pub(super) struct UserSettings {
    program: Program,
    read: Mutex<Option<(Version, Arc<Settings>)>>,
}

impl UserSettings {
    pub(super) fn new(program: Program) -> Self {
        Self { program, read: Mutex::new(None) }
    }

    /// The settings as they are now: a few stats, and the `git` program when a file has changed.
    pub(super) fn current(&self) -> Arc<Settings> {
        let read = self.read.lock().clone();
        if let Some((version, settings)) = read {
            let is_current = |(file, stamp): &(PathBuf, Option<Stamp>)| stamp_of(file) == *stamp;
            if version.iter().all(is_current) {
                return settings;
            }
        }
        // The versions are taken before the content is read: a change in between is then noticed the next time.
        let usual = usual_files(self.program.environment()).into_iter();
        let mut version: Version = usual.map(|file| (file.clone(), stamp_of(&file))).collect();
        let list = self.program.settings(Path::new("/dev/null/no-repository")).unwrap_or_default();
        for file in list.iter().filter_map(|setting| setting.file.clone()) {
            if !version.iter().any(|(known, _)| *known == file) {
                version.push((file.clone(), stamp_of(&file)));
            }
        }
        let settings = Arc::new(Settings::from_list(&list));
        *self.read.lock() = Some((version, Arc::clone(&settings)));
        settings
    }
}

/// The files of a configuration that is the user's or the machine's, as far as it includes no others.
pub(super) fn usual_files(environment: &Environment) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/gitconfig")];
    files.extend(environment.home.iter().map(|home| home.join(".gitconfig")));
    let xdg = environment.xdg_config_home.clone();
    let xdg = xdg.or_else(|| environment.home.as_ref().map(|home| home.join(".config")));
    files.extend(xdg.map(|directory| directory.join("git/config")));
    files
}

fn stamp_of(file: &Path) -> Option<Stamp> {
    Stamp::at(file).unwrap_or(None)
}
