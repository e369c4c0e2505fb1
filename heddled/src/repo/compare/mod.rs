//! Comparing a thread with its target: how far they are apart, what the thread changes, whether merging would conflict.
//!
//! All but the merges that need it is done in process, from commits and trees alone. Commits do not change, so what was said
//! of two of them is remembered; of a shallow clone nothing is, for what it has of the history may change.

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lru::LruCache;
use parking_lot::Mutex;
use proto_schema::{ImpactCategory, ObjectId};

mod attributes;
mod history;
mod impact;
pub(super) mod independent;
mod merge;
mod merged;

use history::{History, Parted};
use impact::Impact;

use super::RepoKey;
use super::error::Error;
use super::objects::id;
use super::opened::{Opened, shown_bytes};
use super::refs::convert;
use super::trees;

pub(super) use merge::conflicts;

/// The most answers that are remembered, of all repositories.
const ANSWERS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// The most paths of a comparison; all are counted.
const MOST_PATHS: usize = 100;

/// How many commits each of two states has that the other lacks.
pub(super) fn apart(library: &gix::Repository, one: ObjectId, other: ObjectId) -> Result<(u64, u64), Error> {
    let Parted { ahead, behind, .. } = History::new(library)?.part(id(one)?, id(other)?)?;
    Ok((ahead, behind))
}

/// Which two states are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The thread's tip.
    pub tip: ObjectId,
    /// Its target's tip; none where no target is known.
    pub target: Option<ObjectId>,
    /// The state at which the thread was first reserved: what it is compared with where there is no target.
    pub base: ObjectId,
}

/// How a thread stands to its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Where both parted: the youngest of the best common ancestors of tip and target; without a target, the base. None for
    /// histories that have nothing in common: then all that the tip has counts as changed.
    pub merge_base: Option<ObjectId>,
    /// How many commits the tip has that the target lacks; without a target, those since the base.
    pub ahead: u64,
    /// How many commits the target has that the tip lacks.
    pub behind: u64,
    /// Which paths differ between the merge base and the tip: the first 100, as the wire shows them.
    pub changed_paths: Vec<Arc<str>>,
    /// How many do.
    pub changed_count: u64,
    /// What kinds of files these are, in order.
    pub impact: Vec<ImpactCategory>,
}

/// What merging a thread into its target would come to. Histories that have nothing in common are not merged: there is no
/// conflict, and [`Comparison::merge_base`] says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts {
    /// The paths that conflict: the first 1,000, as the wire shows them.
    pub paths: Vec<Arc<str>>,
    /// How many do; none for a merge that is clean.
    pub count: u64,
}

/// Looks for the paths at which a merge conflicts.
#[derive(Clone, Copy, Debug)]
pub struct MergeRequest<'a> {
    /// The repository: [`Located::git_dir`](super::Located::git_dir).
    pub git_dir: &'a Path,
    /// The target's tip, which is merged into.
    pub target: ObjectId,
    /// The thread's tip, which is merged.
    pub tip: ObjectId,
    /// Set to true, it ends the merge within a moment.
    pub cancelled: &'a AtomicBool,
}

/// What was said before, by repository and by what was asked.
type Answers<K, V> = Mutex<LruCache<(RepoKey, K), V>>;

/// How threads stand to their targets, as far as it is remembered.
pub(super) struct Comparisons {
    compared: Answers<Pair, Arc<Comparison>>,
    merged: Answers<(ObjectId, ObjectId), Option<ObjectId>>,
}

impl Comparisons {
    pub(super) fn new() -> Self {
        Self { compared: Mutex::new(LruCache::new(ANSWERS)), merged: Mutex::new(LruCache::new(ANSWERS)) }
    }

    /// How a thread stands to its target.
    pub(super) fn compare(&self, repository: &Opened, pair: Pair) -> Result<Arc<Comparison>, Error> {
        let other = pair.target.unwrap_or(pair.base);
        remembered(&self.compared, repository, pair, [pair.tip, other], |library, history, [tip, other]| {
            let parted = history.part(tip, other)?;
            compare(library, repository, pair, &parted).map(Arc::new)
        })
    }

    /// The target's commit that has the work of the thread.
    pub(super) fn merged_by(
        &self,
        repository: &Opened,
        tip: ObjectId,
        target: ObjectId,
    ) -> Result<Option<ObjectId>, Error> {
        remembered(&self.merged, repository, (tip, target), [tip, target], |_, history, [tip, target]| {
            merged::merged_by(&history.part(tip, target)?, tip, target).map(|id| convert(&id)).transpose()
        })
    }
}

/// Answers from what is remembered, else after a look that there are such commits.
fn remembered<K: Hash + Eq, V: Clone>(
    answers: &Answers<K, V>,
    repository: &Opened,
    asked: K,
    commits: [ObjectId; 2],
    answer: impl FnOnce(&gix::Repository, &History<'_>, [gix::ObjectId; 2]) -> Result<V, Error>,
) -> Result<V, Error> {
    let asked = (repository.key, asked);
    let is_shallow = history::is_shallow(&repository.objects.library())?;
    if !is_shallow && let Some(known) = answers.lock().get(&asked) {
        return Ok(known.clone());
    }
    commits.into_iter().try_for_each(|commit| repository.objects.root(commit).map(drop))?;
    // Only now, for what is not there yet is looked for once more.
    let library = repository.objects.library();
    let found = answer(&library, &History::new(&library)?, [id(commits[0])?, id(commits[1])?])?;
    if !is_shallow {
        answers.lock().put(asked, found.clone());
    }
    Ok(found)
}

fn compare(library: &gix::Repository, repository: &Opened, pair: Pair, parted: &Parted) -> Result<Comparison, Error> {
    let new = id(repository.objects.root(pair.tip)?)?;
    let (merge_base, behind) = match pair.target {
        Some(_) => (parted.bases.first().map(|base| convert(base)).transpose()?, parted.behind),
        None => (Some(pair.base), 0),
    };
    let old = merge_base.map(|base| repository.objects.root(base).and_then(id)).transpose()?;
    let (mut changed_paths, mut changed_count, mut impact) = (Vec::new(), 0, Impact::default());
    trees::changes(library, old, Some(new), &mut |path, old, new| {
        if trees::is_path(old, new) {
            changed_count += 1;
            if changed_paths.len() < MOST_PATHS {
                changed_paths.push(shown_bytes(path));
            }
            impact.add(path);
        }
        Ok(())
    })?;
    let impact = impact.categories();
    Ok(Comparison { merge_base, ahead: parted.ahead, behind, changed_paths, changed_count, impact })
}
