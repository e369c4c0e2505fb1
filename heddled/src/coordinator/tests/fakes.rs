//! Processes and branches that are made up, with the faults that the real ones have.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proto_schema::{HolderProblem, ObjectId, ThreadName};

use crate::liveness::{Liveness, Unidentified, Verdict};
use crate::registry::{Folding, HolderProcess, RepoKey, RepositoryId};
use crate::repo::{
    Anchor, Capture, CaptureRefused, CaptureRequest, Cause, Claim, Comparison, Conflicts, Error, Expected, Identity,
    Inspection, LinkedWorktree, Located, MarkSeen, MergeRequest, Pair, PreparedCapture, RefsVersion, Removal,
    RemoveRequest, Repo, Sighting, StatusRequest, ThreadToInspect, Whereabouts, WorktreeStatus,
};
use crate::store::memory::{Fault, MemoryDisk};

pub(super) fn state(number: u8) -> ObjectId {
    ObjectId::from_bytes(&[number; 20]).unwrap()
}

/// The id in the mark of the one repository.
const MARK: RepositoryId = RepositoryId([1; 16]);

/// How the next change of a branch goes wrong.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum GitFault {
    /// Nothing was done.
    Before,
    /// It was done, and could not be told.
    After,
}

/// What happens in the middle of something that Git does.
pub(super) type Hook = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(super) struct FakeRepo {
    pub(super) refs: Mutex<BTreeMap<ThreadName, ObjectId>>,
    pub(super) fault: Mutex<Option<GitFault>>,
    pub(super) unreadable: Mutex<bool>,
    /// Whether the next look at a branch is one that a mistake of ours ends.
    pub(super) panics: Mutex<bool>,
    /// What plain Git does to a branch right after the next look at it.
    pub(super) meanwhile: Mutex<Option<(ThreadName, ObjectId)>>,
    /// The linked worktrees, and the thread that each is on.
    pub(super) worktrees: Mutex<BTreeMap<PathBuf, ThreadName>>,
    /// What happens at a later look at a single branch, and at which.
    pub(super) looking: Mutex<Option<(usize, Hook)>>,
    /// What happens before the next worktree is removed.
    pub(super) removing: Mutex<Option<Hook>>,
    /// What worktrees have: the commit that the next capture makes. Without it there is no worktree to capture.
    pub(super) work: Mutex<Option<ObjectId>>,
    /// The captures that are prepared, and neither finished nor undone.
    pub(super) prepared: Mutex<BTreeSet<ObjectId>>,
    /// Whether captures and looks hang, and whether they hear that they are cancelled.
    pub(super) hangs: AtomicBool,
    pub(super) hears: AtomicBool,
    /// How many captures and looks have begun.
    pub(super) begun: AtomicUsize,
    /// The disk that fails as soon as the next branch was moved, and how.
    pub(super) failing: Mutex<Option<(MemoryDisk, Fault)>>,
}

impl FakeRepo {
    /// Begins work in a worktree, which may hang.
    fn hang(&self, cancelled: &AtomicBool) -> Result<(), Error> {
        self.begun.fetch_add(1, Ordering::AcqRel);
        for _ in 0..60_000 {
            if !self.hangs.load(Ordering::Acquire) {
                break;
            }
            if self.hears.load(Ordering::Acquire) && cancelled.load(Ordering::Acquire) {
                return Err(CaptureRefused::Cancelled.into());
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }
}

fn unavailable(operation: &'static str) -> Error {
    let source = io::Error::from(io::ErrorKind::Other);
    Error::Unavailable { operation, cause: Cause::Io { path: "/r/.git".into(), source } }
}

impl FakeRepo {
    pub(super) fn at(&self, thread: &ThreadName) -> Option<ObjectId> {
        self.refs.lock().get(thread).copied()
    }
}

impl Repo for FakeRepo {
    fn clear_lock(&self, _: &Path, _: &ThreadName, _: ObjectId) -> Result<bool, Error> {
        Ok(false)
    }

    fn locate(&self, _: &Path) -> Result<Located, Error> {
        if *self.unreadable.lock() {
            return Err(unavailable("find the repository"));
        }
        let worktree = Some(Path::new("/r").into());
        let key = RepoKey { device: 1, inode: 1 };
        Ok(Located {
            key,
            git_dir: Path::new("/r/.git").into(),
            shown: "/r".into(),
            worktree,
            folding: Folding::None,
            mark: MarkSeen::Id(MARK),
            born: None,
        })
    }

    fn remembered(&self, _: &Path) -> Option<Arc<Path>> {
        Some(Path::new("/r/.git").into())
    }

    fn mount_of(&self, _: &Path) -> Arc<Path> {
        Path::new("/").into()
    }

    fn find(&self, _: &Path, _: &Path) -> Whereabouts {
        Whereabouts::Unknown
    }

    fn sight(&self, path: &Path, thread: &ThreadName, anchor: &Anchor) -> Result<Sighting, Error> {
        let repo = self.locate(path)?;
        assert!(!std::mem::take(&mut *self.panics.lock()), "a look at a branch panics");
        let tip = self.at(thread);
        let anchor = tip.filter(|_| *anchor == Anchor::Tip).unwrap_or(state(1));
        if let Some((thread, state)) = self.meanwhile.lock().take() {
            self.refs.lock().insert(thread, state);
        }
        Ok(Sighting { repo, anchor, root: state(100), tip, checked_out: None })
    }

    fn glance(&self, path: &Path, thread: &ThreadName, anchor: &Anchor, _: &Claim, _: u64) -> Option<Sighting> {
        if *self.panics.lock() {
            // That is for the reader.
            return None;
        }
        // A thread that is there, as the real one; the fault is left to whoever reads.
        let disturbed = self.meanwhile.lock().is_some();
        if disturbed { None } else { self.sight(path, thread, anchor).ok().filter(|found| found.tip.is_some()) }
    }

    fn tip(&self, _: &Path, thread: &ThreadName) -> Result<Option<ObjectId>, Error> {
        let mut looking = self.looking.lock();
        let due = looking.take_if(|(looks, _)| {
            *looks -= 1;
            *looks == 0
        });
        drop(looking);
        if let Some((_, pause)) = due {
            pause();
        }
        if *self.unreadable.lock() { Err(unavailable("read the ref")) } else { Ok(self.at(thread)) }
    }

    fn tips(&self, _: &Path, threads: &[&ThreadName]) -> Result<Vec<Result<Option<ObjectId>, Error>>, Error> {
        if *self.unreadable.lock() {
            return Err(unavailable("read the refs"));
        }
        Ok(threads.iter().map(|thread| Ok(self.at(thread))).collect())
    }

    fn version(&self, _: &Path, _: &BTreeSet<PathBuf>) -> Option<RefsVersion> {
        None
    }

    fn compare_and_swap(
        &self,
        _: &Path,
        thread: &ThreadName,
        expected: Expected,
        new: ObjectId,
        _: &str,
    ) -> Result<(), Error> {
        let fault = self.fault.lock().take();
        if fault == Some(GitFault::Before) {
            return Err(unavailable("write the ref"));
        }
        let expected = match expected {
            Expected::Absent => None,
            Expected::At(state) => Some(state),
        };
        let actual = self.at(thread);
        if actual != expected {
            return Err(Error::Conflict { expected, actual });
        }
        self.refs.lock().insert(thread.clone(), new);
        if let Some((disk, fault)) = self.failing.lock().take() {
            disk.fail_next(fault);
        }
        if fault.is_some() { Err(unavailable("sync the ref")) } else { Ok(()) }
    }

    fn commit_root(&self, _: &Path, _: ObjectId) -> Result<ObjectId, Error> {
        Ok(state(100))
    }

    fn claim(&self, _: &Path, _: &Claim, _: u64, _: Identity) -> Result<RepositoryId, Error> {
        Ok(MARK)
    }

    fn own_era(&self, _: &Path, _: &Claim) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    fn era_to_adopt(&self, _: &Path, _: &Claim, era: u64) -> Result<u64, Error> {
        Ok(era)
    }

    fn is_one(&self, one: &Path, other: &Path) -> Result<bool, Error> {
        Ok(one == other)
    }

    fn adopt(&self, _: &Path, _: &Claim, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn check_worktree(&self, _: &Located, _: &ThreadName, _: Option<&Path>, _: &[PathBuf]) -> Result<(), Error> {
        Ok(())
    }

    fn worktree(
        &self,
        _: &Located,
        thread: &ThreadName,
        _: Option<&Path>,
        _: &[PathBuf],
        _: &str,
    ) -> Result<PathBuf, Error> {
        if self.fault.lock().take().is_some() {
            return Err(unavailable("make the worktree"));
        }
        let path = PathBuf::from(format!("/r.worktrees/{}", thread.as_str()));
        self.worktrees.lock().insert(path.clone(), thread.clone());
        Ok(path)
    }

    fn delete_branch(&self, _: &Path, thread: &ThreadName, at: ObjectId) -> Result<(), Error> {
        let mut branches = self.refs.lock();
        if branches.get(thread) == Some(&at) {
            branches.remove(thread);
        }
        Ok(())
    }

    fn unlock_worktree(&self, _: &Located, _: &Path, _: &str) -> Result<(), Error> {
        Ok(())
    }

    fn registered_worktree(&self, _: &Located, path: &Path) -> Result<PathBuf, Error> {
        let is_there = self.worktrees.lock().contains_key(path);
        if is_there { Ok(path.to_owned()) } else { Err(Error::WorktreeNotFound { path: path.to_owned() }) }
    }

    fn linked_worktrees(&self, _: &Path) -> Result<Vec<LinkedWorktree>, Error> {
        let linked = self.worktrees.lock().clone();
        Ok(linked.into_iter().map(|(path, thread)| LinkedWorktree { path, thread, locked: None }).collect())
    }

    fn remove_worktree(&self, request: &RemoveRequest<'_>) -> Result<Removal, Error> {
        if let Some(pause) = self.removing.lock().take() {
            pause();
        }
        if !request.dry_run {
            self.worktrees.lock().remove(request.worktree);
        }
        Ok(Removal::Removed)
    }

    fn checked_out_at(&self, _: &Path, _: &ThreadName) -> Result<Option<PathBuf>, Error> {
        Ok(None)
    }

    fn compare(&self, _: &Path, pair: Pair) -> Result<Arc<Comparison>, Error> {
        Ok(Arc::new(Comparison {
            merge_base: pair.target.or(Some(pair.base)),
            ahead: u64::from(Some(pair.tip) != pair.target),
            behind: 0,
            changed_paths: Vec::new(),
            changed_count: 0,
            impact: Vec::new(),
        }))
    }

    fn merged_by(&self, _: &Path, tip: ObjectId, target: ObjectId) -> Result<Option<ObjectId>, Error> {
        Ok((tip == target).then_some(target))
    }

    fn conflicts(&self, _: &MergeRequest<'_>) -> Result<Conflicts, Error> {
        Ok(Conflicts { paths: Vec::new(), count: 0 })
    }

    fn inspect(&self, _: &Path, _: &[ThreadToInspect]) -> Result<Inspection, Error> {
        Err(unavailable("look at the repository"))
    }

    fn status(&self, request: &StatusRequest<'_>) -> Result<WorktreeStatus, Error> {
        self.hang(request.cancelled)?;
        Ok(WorktreeStatus::default())
    }

    fn prepare_capture(&self, request: &CaptureRequest<'_>) -> Result<Capture, Error> {
        let new = self.work.lock().ok_or_else(|| unavailable("capture the worktree"))?;
        self.hang(request.cancelled)?;
        self.prepared.lock().insert(new);
        let prepared =
            PreparedCapture { worktree_git_dir: request.git_dir.to_owned(), parent: request.recorded_state, new };
        Ok(Capture::Prepared { prepared, root: state(100), changed_paths: Vec::new(), changed_count: 1 })
    }

    fn finish_capture(&self, _: &Path, prepared: &PreparedCapture, _: &str) -> Result<(), Error> {
        self.prepared.lock().remove(&prepared.new);
        Ok(())
    }

    fn clear_captures(&self, _: &Path) -> Result<(), Error> {
        Ok(())
    }

    fn undo_capture(&self, _: &Path, prepared: &PreparedCapture) -> Result<(), Error> {
        self.prepared.lock().remove(&prepared.new);
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct FakeLiveness {
    pub(super) dead: Mutex<BTreeSet<i32>>,
    pub(super) watched: Mutex<BTreeMap<i32, usize>>,
}

pub(super) fn process(pid: i32) -> HolderProcess {
    HolderProcess { pid, start_time: 1, boot_id: "boot".into(), pid_namespace: 1, namespace_id: 0 }
}

impl Liveness for FakeLiveness {
    fn descends(&self, _: i32, _: u64, _: &HolderProcess) -> bool {
        false
    }

    fn identify(&self, _: Option<i32>, pid: i32) -> Result<HolderProcess, Unidentified> {
        if self.dead.lock().contains(&pid) { Err(HolderProblem::NoSuchProcess.into()) } else { Ok(process(pid)) }
    }

    fn check(&self, holder: &HolderProcess) -> Verdict {
        if self.dead.lock().contains(&holder.pid) { Verdict::Exited } else { Verdict::Alive }
    }

    fn is_being_reaped(&self, _: &HolderProcess) -> bool {
        false
    }

    fn may_have_succeeded(&self, _: &HolderProcess) -> bool {
        false
    }

    fn watch(&self, holder: &HolderProcess) {
        *self.watched.lock().entry(holder.pid).or_default() += 1;
    }

    fn unwatch(&self, holder: &HolderProcess) {
        let mut watched = self.watched.lock();
        let count = watched.get_mut(&holder.pid).expect("each unwatch ends a watch");
        *count -= 1;
    }
}
