//! At which paths a merge conflicts, as `git merge-tree --write-tree` finds them.
//!
//! Most merges need no merging: the two sides changed different things ([`independent`]). For the others Git itself is
//! asked, with one process, in a private Git directory as captures are prepared in. What it writes stays there and is
//! removed with it. It reads nothing of the repository but its objects, the boundary of a shallow clone, the attributes and
//! the few settings that [`Snapshot::of_a_merge`](crate::repo::workplace::Snapshot) lists; so no merge driver of the
//! repository runs. Drivers that the user's own configuration defines do.
//!
//! It differs from `git merge-tree` in the main worktree, with the target checked out, in this:
//!
//! - a merge driver that the repository's configuration defines is none: such a file is merged as text, as Git does where
//!   nobody defines it;
//! - `core.attributesFile` counts only when the user or the system says it;
//! - with `merge.renormalize` no content filter runs: what is stored was converted when it was added;
//! - a submodule that both sides moved conflicts: its repository is not looked into. Git takes the one commit that contains
//!   the other, where the submodule is checked out;
//! - `replace` refs and grafts do not count.
//!
//! A merge at which Git crashes, as some versions do at some renames of folders, is an error.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Command;

use super::independent::are_independent;
use super::{Conflicts, History, MergeRequest, attributes};
use crate::repo::error::Error;
use crate::repo::objects::id;
use crate::repo::opened::{Opened, shown_bytes};
use crate::repo::program::{Program, Setting};
use crate::repo::workplace::{
    Bounds, Snapshot, Workplace, Workplaces, copy_rules, private, run, said_why, search_path, wait_for,
};
use crate::repo::worktrees;

const OPERATION: &str = "try the merge";

/// The most paths that are told; all are counted.
const MOST_PATHS: usize = 1000;

/// How Git ends when it is asked for what it does not know: `merge-tree --write-tree` is there since 2.38.
const USAGE: i32 = 129;

/// The paths at which a merge conflicts.
pub(in crate::repo) fn conflicts(
    repository: &Opened,
    (places, program): (&Workplaces, &Program),
    request: &MergeRequest<'_>,
) -> Result<Conflicts, Error> {
    let roots = [request.target, request.tip].map(|state| repository.objects.root(state).and_then(id));
    let [target, tip] = roots;
    let (target, tip) = (target?, tip?);
    let library = repository.objects.library();
    let parted = History::new(&library)?.part(id(request.tip)?, id(request.target)?)?;
    // One contains the other, or there is nothing to merge by.
    if parted.ahead == 0 || parted.behind == 0 || parted.bases.is_empty() {
        return Ok(Conflicts::default());
    }
    let roots = parted.bases.iter().map(|base| parted.commits.get(base).map(|commit| commit.root));
    let roots: Vec<_> = roots.collect();
    if let [base] = roots[..]
        && are_independent(&library, base, target, tip)?
    {
        return Ok(Conflicts::default());
    }
    let trial = Trial { repository, program, request, place: places.make()? };
    let directories = (&*repository.git_dir, &*repository.git_dir);
    let settings = places.settings(directories, program, (repository.now)(), || trial.list())?;
    let settings = Snapshot::of_a_merge(&settings, repository.format.hash);
    trial.lay_out(&settings.text()).map_err(|source| Error::io(OPERATION, &trial.place.path(""), source))?;
    attributes::write(&library, &roots, target, tip, &trial.place.path(WORKTREE))?;
    trial.run()
}

/// The private worktree, which has the attributes and nothing else.
const WORKTREE: &str = "worktree";

/// A merge that Git tries.
struct Trial<'a> {
    repository: &'a Opened,
    program: &'a Program,
    request: &'a MergeRequest<'a>,
    place: Workplace,
}

impl Trial<'_> {
    /// Every setting that applies in the repository.
    fn list(&self) -> Result<Vec<Setting>, Error> {
        let command = self.program.list(&self.repository.git_dir, &self.search_path()?);
        let said = run(command, "config", &self.place.path("stderr"), Bounds::new(self.request.cancelled))?;
        Ok(Setting::parse(&said))
    }

    fn lay_out(&self, settings: &str) -> io::Result<()> {
        let common = &self.repository.git_dir;
        self.place.lay_out(common, settings, None)?;
        private().create(self.place.path(WORKTREE))?;
        copy_rules(&common.join("shallow"), &self.place.path("shallow"))
    }

    fn run(&self) -> Result<Conflicts, Error> {
        let stderr = self.place.path("stderr");
        // It is short, and somebody waits for it.
        let (status, said) = wait_for(self.command()?, &stderr, Bounds::new(self.request.cancelled))?;
        match status.code() {
            Some(0) => Ok(Conflicts::default()),
            Some(1) => Conflicts::told(&said).ok_or_else(|| {
                Error::malformed(OPERATION, Path::new("git"), "it says that the merge conflicts and not where")
            }),
            Some(USAGE) => Err(Error::malformed(
                OPERATION,
                Path::new("git"),
                "it has no `merge-tree --write-tree`, which came with 2.38",
            )),
            _ => Err(said_why("merge-tree", &stderr)?),
        }
    }

    fn command(&self) -> Result<Command, Error> {
        let mut command = self.program.command(&self.place.path(""), &self.search_path()?);
        // Where a merge driver of the user's finds its files.
        let worktree = self.place.path(WORKTREE);
        command.env("GIT_WORK_TREE", &worktree).current_dir(worktree);
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.args(["merge-tree", "--write-tree", "-z", "--name-only", "--messages"]);
        command.args([self.request.target.to_string(), self.request.tip.to_string()]);
        Ok(command)
    }

    /// `PATH` without what leads into a worktree, where an agent may put a program called like a merge driver.
    fn search_path(&self) -> Result<OsString, Error> {
        let worktrees = worktrees::all(self.repository)?;
        let is_within = |real: &Path| worktrees.iter().any(|worktree| real.starts_with(&worktree.path));
        Ok(search_path(self.program, is_within))
    }
}

impl Conflicts {
    /// Reads what `git merge-tree` says of a merge that conflicts: its tree, the paths that conflict, an empty field, and
    /// messages. Where it cannot tell where a folder went, only a message names the folder.
    fn told(said: &[u8]) -> Option<Self> {
        let mut fields = said.split(|byte| *byte == 0).skip(1);
        let mut paths: Vec<&[u8]> = fields.by_ref().take_while(|path| !path.is_empty()).collect();
        if paths.is_empty() {
            let mut named = BTreeSet::new();
            while let Some(number) = fields.next().and_then(|number| std::str::from_utf8(number).ok()?.parse().ok()) {
                let of_message: Vec<&[u8]> = fields.by_ref().take(number).collect();
                let (kind, _) = (fields.next()?, fields.next()?);
                if kind.starts_with(b"CONFLICT") {
                    named.extend(of_message);
                }
            }
            paths.extend(named);
        }
        let count = paths.len() as u64;
        let paths = paths.into_iter().take(MOST_PATHS).map(shown_bytes).collect();
        (count > 0).then_some(Self { paths, count })
    }
}
