//! What was done or found, in words and as JSON.

use std::path::Path;

use serde::Serialize;

use super::backup::Made;
use super::restore::Restored;
use super::verify::Verified;
use crate::registry::Registry;
use crate::store::{BackupHead, Examined};

/// A report in both forms.
pub(super) struct Report {
    pub(super) text: String,
    pub(super) json: String,
    /// Whether nothing is wrong.
    pub(super) is_sound: bool,
}

/// What a registry has.
#[derive(Serialize)]
struct Content {
    registry: String,
    revision: u64,
    fencing_token: u64,
    repositories: usize,
    threads: usize,
    sessions: usize,
    active_sessions: usize,
    operations: u64,
    oldest_operation: Option<u64>,
}

impl Content {
    fn of(examined: &Examined) -> Self {
        let registry = &examined.registry;
        let (sessions, threads, repositories) = registry.sizes();
        Self {
            registry: format!("{:032x}", examined.id),
            revision: registry.revision(),
            fencing_token: registry.counters().fencing,
            repositories,
            threads,
            sessions,
            active_sessions: registry.active_count(),
            operations: examined.operations,
            oldest_operation: examined.oldest,
        }
    }

    fn text(&self) -> String {
        format!(
            "revision {}, {} ({} active), {}, {}, {}",
            self.revision,
            count(self.sessions as u64, "session"),
            self.active_sessions,
            count(self.threads as u64, "thread"),
            if self.repositories == 1 {
                "1 repository".to_owned()
            } else {
                format!("{} repositories", self.repositories)
            },
            count(self.operations, "operation"),
        )
    }
}

fn count(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn command(words: &[&str]) -> String {
    shell_words::join([&["heddlectl", "daemon"], words].concat())
}

fn json<T: Serialize>(value: &T) -> String {
    // Strings and numbers can always be written.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

#[derive(Serialize)]
struct BackupJson<'a> {
    path: String,
    bytes: u64,
    version: &'a str,
    made_at: String,
    format: u32,
    content: Content,
    problems: &'a [String],
    notes: &'a [String],
}

/// What `backup` says.
pub(super) fn backup(made: Made) -> Report {
    let Made { path, bytes, head, examined } = made;
    let (content, path) = (Content::of(&examined), shown(&path));
    let mut said = vec![format!("backed up to {path}: {}, {bytes} bytes\n", content.text())];
    if !examined.problems.is_empty() {
        let problems = count(examined.problems.len() as u64, "problem");
        said.push(format!(
            "the backup is whole, and what it was made of has {problems}:\n{}",
            lines(&examined.problems)
        ));
        said.push(format!("next: {}\n", command(&["verify"])));
    }
    let BackupHead { version, made_at, format, .. } = &head;
    let (problems, notes) = (&*examined.problems, &*examined.notes);
    let made_at = made_at.to_string();
    let report = BackupJson { path, bytes, version, made_at, format: *format, content, problems, notes };
    Report { is_sound: report.problems.is_empty(), json: json(&report), text: said.concat() }
}

#[derive(Serialize)]
struct VerifyJson {
    ok: bool,
    path: String,
    /// `state` or `backup`.
    what: &'static str,
    version: Option<String>,
    made_at: Option<String>,
    content: Option<Content>,
    problems: Vec<String>,
    notes: Vec<String>,
    primary_command: Option<String>,
}

/// What `verify` says.
pub(super) fn verify(verified: Verified) -> Report {
    let Verified { path, head, is_backup, found } = verified;
    let path = shown(&path);
    let (content, problems, notes) = match found {
        Ok(examined) => (Some(Content::of(&examined)), examined.problems, examined.notes),
        Err(problem) => (None, vec![problem], Vec::new()),
    };
    let ok = problems.is_empty();
    let primary_command = (!ok).then(|| command(&if is_backup { ["backup", "FILE"] } else { ["restore", "FILE"] }));
    let mut said = vec![match &content {
        Some(content) if ok => format!("{path} is sound: {}\n", content.text()),
        Some(content) => {
            let problems = count(problems.len() as u64, "problem");
            format!("{path} can be opened, and has {problems}: {}\n", content.text())
        }
        None => format!("{path} cannot be used:\n"),
    }];
    if let Some(head) = &head {
        said.push(format!("made by heddled {} at {}\n", head.version, head.made_at));
    }
    said.push(lines(&problems));
    said.extend(notes.iter().map(|note| format!("note: {note}\n")));
    if let Some(command) = &primary_command {
        let hint = match (is_backup, content.is_some()) {
            (true, _) => "use another backup, or make a new one of a state that is sound",
            (false, true) => "a start sets aside what cannot be read; what a backup still has comes back with it",
            (false, false) => "nothing was changed; restore a backup, the state that is there is moved aside for it",
        };
        said.push(format!("hint: {hint}\nnext: {command}\n"));
    }
    let (version, made_at) = head.map(|head| (head.version, head.made_at.to_string())).unzip();
    let what = if is_backup { "backup" } else { "state" };
    let report = VerifyJson { ok, path, what, version, made_at, content, problems, notes, primary_command };
    Report { is_sound: ok, json: json(&report), text: said.concat() }
}

#[derive(Serialize)]
struct RestoreJson {
    state_dir: String,
    file: String,
    version: String,
    made_at: String,
    /// Where the state is that was there before.
    before: Option<String>,
    revision: u64,
    fencing_token: u64,
    sessions: usize,
    active_sessions: usize,
    /// Active in the backup, and ended by the restore.
    ended: Vec<String>,
    /// Active before the restore, and unknown to the backup.
    forgotten: Vec<String>,
    notes: Vec<String>,
}

/// What `restore` says.
pub(super) fn restore(restored: Restored) -> Report {
    let Restored { state_dir, file, head, before, registry, ended, forgotten, notes } = restored;
    let (state_dir, file) = (shown(&state_dir), shown(&file));
    let counters = Registry::counters(&registry);
    let mut said = vec![format!("restored {state_dir} from {file}, made at {}\n", head.made_at)];
    if let Some(before) = &before {
        said.push(format!("what was there is in {}\n", shown(before)));
    }
    let active = registry.active_count();
    said.push(format!(
        "{} of the backup: {active} active, {} ended by this restore\n",
        count(registry.sizes().0 as u64, "session"),
        ended.len()
    ));
    if !forgotten.is_empty() {
        said.push(format!(
            "{} had begun since and must reserve again:\n",
            count(forgotten.len() as u64, "active session")
        ));
        said.push(lines(&forgotten.iter().map(ToString::to_string).collect::<Vec<_>>()));
    }
    said.extend(notes.iter().map(|note| format!("note: {note}\n")));
    said.push(format!("next: {}\n", command(&["start"])));
    let report = RestoreJson {
        state_dir,
        file,
        version: head.version,
        made_at: head.made_at.to_string(),
        before: before.as_deref().map(shown),
        revision: counters.revision,
        fencing_token: counters.fencing,
        sessions: registry.sizes().0,
        active_sessions: active,
        ended: ended.iter().map(ToString::to_string).collect(),
        forgotten: forgotten.iter().map(ToString::to_string).collect(),
        notes,
    };
    Report { text: said.concat(), json: json(&report), is_sound: true }
}
