//! What a refusal says that is about the mark of a repository.

use std::path::Path;

use proto_schema::{Kind, RepositoryDetails};

use super::{About, UNTOUCHED};
use crate::repo::{self, Cause};
use crate::server::error::WireError;

const OPERATION: &str = "claim the repository";

/// The mark does not let this registry decide about the repository.
pub(super) fn mark(error: &repo::Error, about: &About) -> WireError {
    let refusal = |hint: &str, registry: Option<String>| {
        let details = RepositoryDetails { operation: OPERATION.to_owned(), cause: error.to_string(), registry };
        WireError::new(Kind::RepositoryUnavailable, error.to_string(), hint, &details)
    };
    let adopt = || about.command(&["repo", "adopt", "--reason", "<why>"]);
    if let repo::Error::Unavailable { cause: Cause::UntrustedMark { path, .. }, .. } = error {
        let hint = "take the repository over, or, if no other heddled works on it, remove its mark";
        return refusal(hint, None)
            .because(
                "this registry did not write the mark as it is",
                "whoever can write in a repository could use up the fencing tokens of all",
                UNTOUCHED,
            )
            .with_commands(vec![adopt(), remove(path)]);
    }
    if let repo::Error::OwnerHidden { state_dir, marker } = error {
        let hint = "stop the heddled that works there; once no other one works on this repository, remove its mark";
        return refusal(hint, Some(repo::shown(state_dir).to_string()))
            .because(
                "from here its state directory cannot be seen, and so not whether its daemon runs",
                "two daemons could grant one thread twice",
                UNTOUCHED,
            )
            .with_commands(vec![remove(marker)]);
    }
    if let repo::Error::MayBeCopy { recorded } = error {
        let hint = "bring the original back, or, if this is where it was moved to, end its sessions first";
        return refusal(hint, None)
            .because(
                format!(
                    "its mark is that of {}, which is not there, and agents are at work in it",
                    repo::shown(recorded)
                ),
                "two agents could hold one thread: one here, one in the original once it is back",
                UNTOUCHED,
            )
            .with_commands(vec!["heddlectl list --all-repos --status active".to_owned()]);
    }
    let hint = "what was reserved in the repository that was there is not reserved in this one: reserve it again";
    refusal(hint, None)
        .because(
            "it has another mark, or none",
            "a session would write in a repository that it was not granted in",
            UNTOUCHED,
        )
        .with_commands(vec![about.reserve_at_tip(about.thread.as_deref().unwrap_or("<thread>"))])
}

fn remove(marker: &Path) -> String {
    shell_words::join(["rm", "--", &*repo::shown(marker)])
}
