//! What can be told of a thread by a glance: by a few stats of files that were read before, on a local disk.
//!
//! Most reserves need no more, and to hand them to a worker of their own would take several times as long. So it must not
//! wait for anything: whatever has changed, is not remembered or lies on a file system that may be far away is not answered.

use proto_schema::ThreadName;

use super::cache::Place;
use super::names::linked_folder;
use super::opened::Opened;
use super::refs::Target;
use super::{Anchor, Claim, MarkSeen, Sighting};
use crate::registry::Folding;

/// A sighting of a thread that exists, is durable where it is, and of a repository that is marked as this registry's.
pub(super) fn glance(
    place: &Place,
    thread: &ThreadName,
    anchor: &Anchor,
    registry: &Claim,
    era: u64,
) -> Option<Sighting> {
    let repository = &place.repository;
    if !place.is_local || !place.holds_by_itself() {
        return None;
    }
    let id = repository.marker.holds(&repository.git_dir, registry, era)?;
    // Where names are not told apart byte for byte, what is remembered may be another's; and a folder may have become a link.
    if repository.refs.folding != Folding::None || !matches!(linked_folder(&repository.refs, thread), Ok(None)) {
        return None;
    }
    let (Target::Object(tip), true) = repository.refs.remembered(&thread.ref_name())? else { return None };
    let head = place.remembered_head()?;
    let anchor = match anchor {
        Anchor::Tip => tip,
        Anchor::Head => follow(repository, head.target.as_ref()?)?,
        Anchor::Revision(_) => return None,
    };
    let commit = repository.objects.remembered(anchor).filter(|commit| commit.durable)?;
    let checked_out = head.thread.clone();
    Some(Sighting {
        repo: place.located_with(MarkSeen::Id(id)),
        anchor,
        root: commit.root,
        tip: Some(tip),
        checked_out,
    })
}

/// The commit of a HEAD, attached or not.
fn follow(repository: &Opened, head: &Target) -> Option<proto_schema::ObjectId> {
    match head {
        Target::Object(state) => Some(*state),
        Target::Symbolic(name) => match repository.refs.remembered(name)? {
            (Target::Object(state), _) => Some(state),
            (Target::Symbolic(_), _) => None,
        },
    }
}
