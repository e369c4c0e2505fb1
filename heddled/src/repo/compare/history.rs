//! How two commits part: what each has that the other lacks, and the best of what both have.
//!
//! It is Git's own walk, from both towards the past, newest first, which ends where everything left is known to be common.
//! Git's commit graph is used where there is one; there the order is right whatever the clocks said. Elsewhere a commit that
//! says that it is older than its parents may be passed too late; the walk goes on a little longer for that, as Git's does.
//!
//! Commits are read as they are ([`objects`](crate::repo::objects)): neither `replace` refs nor grafts count. What lies
//! behind the boundary of a shallow clone does not exist here, as for Git.

use std::collections::{BinaryHeap, HashMap};

use gix::ObjectId;

use crate::repo::error::Error;

const OPERATION: &str = "read the history";

/// Reached from the tip.
const TIP: u8 = 1;
/// Reached from the target.
const TARGET: u8 = 2;
/// Reached from both.
const BOTH: u8 = TIP | TARGET;
/// Reached from a commit that both have: no best one.
const STALE: u8 = 4;

/// The generation of what the commit graph lacks: it is younger than all that is there.
const NOT_IN_GRAPH: u32 = u32::MAX;

/// How many common commits are still looked at when, by their times, none leads to what one side seems to have alone. Git
/// looks at five.
const SLOP: u32 = 32;

/// How young a commit is: by its generation where the commit graph has it, then by its time. A child is younger.
pub(super) type Age = (u32, i64);

/// A commit that was looked at.
pub(super) struct Commit {
    pub(super) parents: Vec<ObjectId>,
    pub(super) root: ObjectId,
    age: Age,
    sides: u8,
    is_queued: bool,
}

impl Commit {
    /// Whether only the target has it.
    pub(super) fn is_targets(&self) -> bool {
        self.sides & BOTH == TARGET
    }

    /// How young it is.
    pub(super) fn age(&self) -> Age {
        self.age
    }

    /// Whether only the tip has it.
    fn is_tips(&self) -> bool {
        self.sides & BOTH == TIP
    }
}

/// How two commits part.
pub(super) struct Parted {
    /// All that was looked at: what one of them has alone is there in full.
    pub(super) commits: HashMap<ObjectId, Commit>,
    /// The best common ancestors, the youngest first.
    pub(super) bases: Vec<ObjectId>,
    /// How many commits the tip has alone.
    pub(super) ahead: u64,
    /// How many commits the target has alone.
    pub(super) behind: u64,
}

/// Whether the history ends at the boundary of a shallow clone, which may be moved.
pub(super) fn is_shallow(library: &gix::Repository) -> Result<bool, Error> {
    Ok(library.shallow_commits().map_err(|error| Error::library(OPERATION, error))?.is_some())
}

/// The commits of one repository.
pub(super) struct History<'a> {
    library: &'a gix::Repository,
    graph: Option<gix::commitgraph::Graph>,
    shallow: Option<gix::shallow::Commits>,
}

impl<'a> History<'a> {
    /// The history as it is now.
    pub(super) fn new(library: &'a gix::Repository) -> Result<Self, Error> {
        let shallow = library.shallow_commits().map_err(|error| Error::library(OPERATION, error))?;
        // A graph knows nothing of a boundary; one that cannot be read is none, as for Git.
        let graph = if shallow.is_some() { None } else { library.commit_graph_if_enabled().ok().flatten() };
        Ok(Self { library, graph, shallow })
    }

    /// How a tip and its target part.
    pub(super) fn part(&self, tip: ObjectId, target: ObjectId) -> Result<Parted, Error> {
        let mut walk = Walk { history: self, commits: HashMap::new(), queue: BinaryHeap::new(), live: 0, oldest: None };
        walk.reach(tip, TIP)?;
        walk.reach(target, TARGET)?;
        walk.run()?;
        let count = |is: fn(&Commit) -> bool| walk.commits.values().filter(|commit| is(commit)).count() as u64;
        let (ahead, behind) = (count(Commit::is_tips), count(Commit::is_targets));
        let bases = walk.commits.iter().filter(|(_, commit)| commit.sides == BOTH);
        let mut bases: Vec<(Age, ObjectId)> = bases.map(|(id, commit)| (commit.age, *id)).collect();
        bases.sort_by(|one, other| other.cmp(one));
        let bases = bases.into_iter().map(|(_, id)| id).collect();
        Ok(Parted { commits: walk.commits, bases, ahead, behind })
    }

    fn read(&self, id: ObjectId) -> Result<Commit, Error> {
        if let Some(graph) = &self.graph
            && let Some(found) = graph.commit_by_id(id)
        {
            let parents = found.iter_parents().map(|parent| parent.map(|parent| graph.id_at(parent).to_owned()));
            let parents = parents.collect::<Result<_, _>>().map_err(|error| Error::library(OPERATION, error))?;
            let time = i64::try_from(found.committer_timestamp()).unwrap_or(i64::MAX);
            let age = (found.generation(), time);
            return Ok(Commit { parents, root: found.root_tree_id().to_owned(), age, sides: 0, is_queued: false });
        }
        let commit = self.library.find_commit(id).map_err(|error| Error::library(OPERATION, error))?;
        let decoded = commit.decode().map_err(|error| Error::library(OPERATION, error))?;
        let is_boundary = self.shallow.as_ref().is_some_and(|boundary| boundary.contains(&id));
        let parents = if is_boundary { Vec::new() } else { decoded.parents().collect() };
        // Git, too, takes a time that it cannot read for the oldest.
        let time = commit.time().map_or(0, |time| time.seconds);
        Ok(Commit { parents, root: decoded.tree(), age: (NOT_IN_GRAPH, time), sides: 0, is_queued: false })
    }
}

struct Walk<'a> {
    history: &'a History<'a>,
    commits: HashMap<ObjectId, Commit>,
    queue: BinaryHeap<(Age, ObjectId)>,
    /// How many in the queue may still be best, or one side's alone.
    live: usize,
    /// The age of the oldest commit that was one of these when it was reached.
    oldest: Option<Age>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let mut slop = SLOP;
        while let Some((age, id)) = self.queue.pop() {
            // What is common and as young as something that is not may still lead to it.
            if self.live == 0 && self.oldest.is_none_or(|oldest| age < oldest) {
                // The commit graph is right about that; clocks may not be.
                if age.0 != NOT_IN_GRAPH || slop == 0 {
                    break;
                }
                slop -= 1;
            }
            let Some(commit) = self.commits.get_mut(&id) else { continue };
            commit.is_queued = false;
            if commit.sides & STALE == 0 {
                self.live -= 1;
            }
            let sides = if commit.sides & BOTH == BOTH { BOTH | STALE } else { commit.sides };
            for parent in commit.parents.clone() {
                self.reach(parent, sides)?;
            }
        }
        Ok(())
    }

    fn reach(&mut self, id: ObjectId, sides: u8) -> Result<(), Error> {
        let commit = match self.commits.entry(id) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(self.history.read(id)?),
        };
        let before = commit.sides;
        commit.sides |= sides;
        if commit.sides == before {
            return Ok(());
        }
        let was_live = commit.is_queued && before & STALE == 0;
        let is_live = commit.sides & STALE == 0;
        if !commit.is_queued {
            commit.is_queued = true;
            self.queue.push((commit.age, id));
        }
        self.live = self.live + usize::from(is_live) - usize::from(was_live);
        if is_live && self.oldest.is_none_or(|oldest| commit.age < oldest) {
            self.oldest = Some(commit.age);
        }
        Ok(())
    }
}
