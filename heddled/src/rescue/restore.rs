//! `heddled restore`: a backup in place of the registry that is there, under the daemon's lock.
//!
//! What happened since the backup was made is unknown to it, and must not be undone where that could hurt:
//!
//! - T1: fencing tokens go on above everything that was or may have been granted since: in a later era than the backup, the
//!   registry that is there, and every mark in a repository that either of them knows. A repository that neither knows is
//!   found out by its mark when it is reserved in.
//! - T2: no session comes back as a holder that may have ended since. It stays active, held as it is now, where the registry
//!   that is there can be read, is the same one, and has it active, and no change of Git of it was under way; else it is
//!   ended as `evicted`, by an operation. Where that registry has a session active that the backup does not know, or a
//!   change of Git under way, which only it can bring to its end, the restore is refused unless it is forced.
//! - T3: revisions go on above those that were told of since, so that nobody who follows the log misses anything.
//! - T4: the registry keeps its id, so that the marks in repositories stay true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto_schema::{EndReason, SessionId, SessionStatus};

use super::error::RescueError;
use super::error::problem;
use super::workspace::Workspace;
use crate::clock::{Clock, SystemClock};
use crate::daemon::git_environment;
use crate::lifecycle::{Lock, LockError};
use crate::paths::secure_dir;
use crate::registry::{Actor, Change, Ending, Entry, MarkKey, Registry, SessionRecord, before_era};
use crate::repo::{Claim, GitRepo, Repo as _, Surroundings};
use crate::store::{self, BackupHead, Counted, Image, Options, RealDisk, Staged};

/// How many revisions are passed over where nobody knows how many were given since: more than any day has, and few of those
/// that the log keeps.
const PASSED_OVER: u64 = 100_000;

/// How many entries are written in one batch.
const BATCH: usize = 256;

/// A restore that was done.
pub(super) struct Restored {
    pub(super) state_dir: PathBuf,
    pub(super) file: PathBuf,
    pub(super) head: BackupHead,
    /// Where the state is that was there before.
    pub(super) before: Option<PathBuf>,
    pub(super) registry: Registry,
    /// The sessions that were active in the backup and are not any more.
    pub(super) ended: Vec<SessionId>,
    /// The sessions that were active before and that the backup does not know.
    pub(super) forgotten: Vec<SessionId>,
    pub(super) notes: Vec<String>,
}

/// What is known of the state that is there.
enum Present {
    Absent,
    /// It cannot be read as a whole; perhaps what it has counted.
    Unreadable(String, Option<Counted>),
    Known(u128, Box<Registry>),
}

pub(super) fn run(workspace: &Workspace<'_>, file: &Path, force: bool) -> Result<Restored, RescueError> {
    let (state_dir, file) = (workspace.config.state_dir.clone(), workspace.absolute(file));
    let scratch = workspace.scratch()?;
    // Before the lock: what cannot be restored keeps no daemon from starting.
    store::unpack(&file, scratch.path())?;
    secure_dir(&state_dir)?;
    let lock = Lock::acquire(&state_dir, &workspace.config.socket, workspace.now());
    let _lock = lock.map_err(|error| match error {
        LockError::Held(record) => RescueError::Running {
            state_dir: state_dir.clone(),
            file: file.clone(),
            pid: record.map(|record| record.pid),
        },
        error @ (LockError::Foreign { .. } | LockError::Io { .. }) => RescueError::Lock(error),
    })?;
    let staged = Staged::begin(&state_dir, workspace.now(), &RealDisk)?;
    let head = store::unpack(&file, staged.directory())?;
    let backup = store::examine(staged.directory())?;
    let present = look(workspace, &state_dir)?;
    let refused = other_registry(&present, backup.id).map(|other| {
        let (state_dir, file) = (state_dir.clone(), file.clone());
        RescueError::OtherRegistry { state_dir, file, backup: hex(backup.id), present: hex(other) }
    });
    let refused = refused.or_else(|| in_the_way(&backup.registry, &present, &state_dir, &file));
    if let Some(refused) = refused.filter(|_| !force) {
        staged.give_up(&RealDisk)?;
        return Err(refused);
    }
    let mut notes = backup.problems;
    notes.extend(backup.notes);
    if let Present::Unreadable(why, _) = &present {
        notes.push(format!(
            "the state that was there cannot be read, so what happened since the backup is unknown: {why}"
        ));
    }
    let mut opened = staged.open(&backup.batches, backup.id, &Options::default())?;
    let mut registry = opened.registry.clone();
    let raise = raise(workspace, &registry, &present, backup.id);
    registry = store::append(&mut opened, &registry, &[raise])?;
    let key = key_of(&registry, &present, backup.id).map(Change::MarkKeyDrawn);
    registry = append(workspace, &mut opened, &registry, key.into_iter())?;
    let held: Vec<_> = registry.active(None).filter_map(|session| held_since(session, &present)).collect();
    for some in held.chunks(BATCH) {
        registry = append(workspace, &mut opened, &registry, some.iter().cloned())?;
    }
    let ended: Vec<_> = registry.active(None).filter(|session| !stays(session, &present, backup.id)).cloned().collect();
    for some in ended.chunks(BATCH) {
        registry = append(workspace, &mut opened, &registry, some.iter().map(|session| end(session, &head)))?;
    }
    opened.store.close(&registry)?;
    let before = staged.commit(&RealDisk)?;
    let ended = ended.iter().map(|session| session.id).collect();
    let forgotten = forgotten(&registry, &present);
    Ok(Restored { state_dir, file, head, before, registry, ended, forgotten, notes })
}

/// Appends changes, one batch of them.
fn append(
    workspace: &Workspace<'_>,
    opened: &mut store::Opened,
    registry: &Registry,
    changes: impl Iterator<Item = Change>,
) -> Result<Registry, RescueError> {
    let mut after = registry.clone();
    let entries = changes.map(|change| {
        let entry = after.entry(workspace.now(), change);
        after.apply(&entry);
        entry
    });
    let entries: Vec<_> = entries.collect();
    Ok(store::append(opened, registry, &entries)?)
}

fn hex(id: u128) -> String {
    format!("{id:032x}")
}

/// Reads the state that is there, as far as it can be read: it may be the reason for the restore.
fn look(workspace: &Workspace<'_>, state_dir: &Path) -> Result<Present, RescueError> {
    let scratch = workspace.scratch()?;
    let image = Image::take(state_dir).and_then(|image| image.unpack(scratch.path()));
    Ok(match image.and_then(|()| store::examine(scratch.path())) {
        Ok(examined) => Present::Known(examined.id, Box::new(examined.registry)),
        Err(store::Error::Absent { .. }) => Present::Absent,
        Err(error) => Present::Unreadable(problem(&error), store::counted(state_dir)),
    })
}

/// The registry that is there, where it is another one and has granted anything.
fn other_registry(present: &Present, backup: u128) -> Option<u128> {
    let (id, fencing) = match present {
        Present::Absent | Present::Unreadable(_, None) => return None,
        Present::Unreadable(_, Some(counted)) => (counted.id, counted.counters.fencing),
        Present::Known(id, registry) => (*id, registry.counters().fencing),
    };
    (id != backup && fencing > 0).then_some(id)
}

/// Has tokens and revisions go on above everything that may have been given (T1, T3).
fn raise(workspace: &Workspace<'_>, backup: &Registry, present: &Present, id: u128) -> Entry {
    let state_dir = workspace.config.state_dir.clone();
    let claim = key_of(backup, present, id).map(|key| Claim {
        id: hex(id).into(),
        state_dir,
        key,
        surroundings: Surroundings::default(),
    });
    let clock = workspace.clock;
    let repo = GitRepo::new(git_environment(workspace.environment), Arc::new(move || SystemClock::wall(&clock)));
    let mut git_dirs: BTreeSet<_> = backup.repos().map(|repo| Arc::clone(&repo.git_dir)).collect();
    let (mut era, mut revision) = (backup.era(), backup.revision());
    match present {
        Present::Known(_, registry) => {
            git_dirs.extend(registry.repos().map(|repo| Arc::clone(&repo.git_dir)));
            era = era.max(registry.era());
            revision = revision.max(registry.revision());
        }
        Present::Unreadable(_, Some(counted)) => {
            era = era.max(counted.counters.era());
            revision = revision.max(counted.counters.revision) + PASSED_OVER;
        }
        Present::Absent | Present::Unreadable(_, None) => revision += PASSED_OVER,
    }
    // A repository that is not there any more, or cannot be read now, says it when it is reserved in. What this registry has
    // not signed does not count: whoever can write in a repository could use the eras up.
    let own = |git_dir: &Arc<Path>| repo.own_era(git_dir, claim.as_ref()?).ok()?;
    let era = git_dirs.iter().filter_map(own).fold(era, u64::max) + 1;
    Entry { revision, at: workspace.now(), change: Change::FencingRaised { to: before_era(era) } }
}

/// What the marks of this registry are signed with. A backup of an older version does not have it.
fn key_of(backup: &Registry, present: &Present, id: u128) -> Option<MarkKey> {
    let counters = match present {
        Present::Known(present, registry) if *present == id => Some(registry.counters()),
        Present::Unreadable(_, Some(counted)) if counted.id == id => Some(counted.counters),
        Present::Known(..) | Present::Unreadable(..) | Present::Absent => None,
    };
    backup.counters().mark_key.or(counters.and_then(|counters| counters.mark_key))
}

/// Whether a session of the backup may go on (T2).
fn stays(session: &SessionRecord, present: &Present, backup: u128) -> bool {
    let Present::Known(id, registry) = present else { return false };
    let now = registry.session(session.id);
    let is_same = now.is_some_and(|now| now.is_active() && now.fencing_token == session.fencing_token);
    *id == backup && is_same && session.intent.is_none()
}

/// How a session that may go on is held by now, where that is another way than in the backup.
fn held_since(session: &SessionRecord, present: &Present) -> Option<Change> {
    let Present::Known(_, registry) = present else { return None };
    let now = registry.session(session.id).filter(|now| now.is_active() && now.hold != session.hold)?;
    Some(Change::Held { session: session.id, hold: now.hold.clone() })
}

/// What the registry that is there knows and the backup does not, and what must not be lost (T2).
fn in_the_way(backup: &Registry, present: &Present, state_dir: &Path, file: &Path) -> Option<RescueError> {
    let Present::Known(_, registry) = present else { return None };
    let (state_dir, file) = (state_dir.to_owned(), file.to_owned());
    if registry.active(None).any(|session| session.intent.is_some()) {
        return Some(RescueError::Unsettled { state_dir, file });
    }
    let sessions = forgotten(backup, present);
    (!sessions.is_empty()).then_some(RescueError::Unknown { state_dir, file, sessions })
}

fn end(session: &SessionRecord, head: &BackupHead) -> Change {
    let executable = std::env::current_exe().ok().map(|path| path.to_string_lossy().into());
    let note = format!("the registry was restored from a backup made at {}", head.made_at);
    Change::Ended(Box::new(Ending {
        session: session.id,
        status: SessionStatus::Abandoned,
        reason: EndReason::Evicted,
        by: Some(Actor { pid: i32::try_from(std::process::id()).ok(), executable }),
        note: note.parse().ok(),
    }))
}

fn forgotten(restored: &Registry, present: &Present) -> Vec<SessionId> {
    let Present::Known(_, before) = present else { return Vec::new() };
    before.active(None).map(|session| session.id).filter(|id| restored.session(*id).is_none()).collect()
}
