//! Whether a target has the work of a thread, and by which commit it got it.
//!
//! The commits that are looked at are those by which the two part, which [`Repo::compare`](crate::repo::Repo::compare) counts
//! one by one, too: there is no further bound.

use std::collections::{HashMap, HashSet};
use std::iter::successors;

use gix::ObjectId;

use super::history::{Commit, Parted};

/// The target's commit that has the work of the tip.
///
/// Where the target contains the tip it is the first commit of the target's own line that does: the merge, or the tip itself
/// after a fast-forward. Else it is the first commit of that line, or the oldest elsewhere, that only the target has and
/// whose tree is the tip's, unless a merge base has that tree: then the thread has changed nothing that could be there.
pub(super) fn merged_by(parted: &Parted, tip: ObjectId, target: ObjectId) -> Option<ObjectId> {
    if parted.ahead == 0 {
        return Some(first_containing(parted, tip, target));
    }
    let root_of = |id: &ObjectId| parted.commits.get(id).map(|commit| commit.root);
    let root = root_of(&tip)?;
    if parted.bases.is_empty() || parted.bases.iter().any(|base| root_of(base) == Some(root)) {
        return None;
    }
    let is_squash = |commit: &Commit| commit.is_targets() && commit.root == root;
    let line = successors(Some(target), |id| parted.commits.get(id)?.parents.first().copied());
    let line = line.map_while(|id| Some((id, parted.commits.get(&id).filter(|commit| commit.is_targets())?)));
    if let Some((id, _)) = line.filter(|(_, commit)| is_squash(commit)).last() {
        return Some(id);
    }
    let elsewhere = parted.commits.iter().filter(|(_, commit)| is_squash(commit));
    elsewhere.map(|(id, commit)| (commit.age(), *id)).min().map(|(_, id)| id)
}

/// The first commit of the target's own line, which is that of first parents, that has the tip.
fn first_containing(parted: &Parted, tip: ObjectId, target: ObjectId) -> ObjectId {
    let targets = parted.commits.iter().filter(|(_, commit)| commit.is_targets());
    let mut children: HashMap<ObjectId, Vec<ObjectId>> = HashMap::new();
    for (id, commit) in targets {
        commit.parents.iter().for_each(|parent| children.entry(*parent).or_default().push(*id));
    }
    let mut containing = HashSet::from([tip]);
    let mut found = vec![tip];
    while let Some(id) = found.pop() {
        let children = children.get(&id).into_iter().flatten();
        found.extend(children.filter(|child| containing.insert(**child)));
    }
    let mut first = target;
    while first != tip
        && let Some(parent) = parted.commits.get(&first).and_then(|commit| commit.parents.first())
        && containing.contains(parent)
    {
        first = *parent;
    }
    first
}
