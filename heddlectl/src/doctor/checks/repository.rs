//! The repository that we are in: whether Git trusts it, which registry decides about it, and the room where it lies.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::git::git;
use super::storage;
use crate::doctor::{Finding, Scene};
use crate::files;

/// The common Git directory of the worktree that we are in, or why it cannot be told.
pub(super) fn common_dir(scene: &Scene) -> Option<Result<PathBuf, String>> {
    let top = &scene.worktree.as_ref()?.top;
    let said = git(&scene.env, top, &["rev-parse", "--path-format=absolute", "--git-common-dir"]);
    Some(match said {
        Ok(said) if said.success => {
            let line = said.stdout.strip_suffix(b"\n").unwrap_or(&said.stdout);
            Ok(PathBuf::from(OsStr::from_bytes(line)))
        }
        Ok(said) => Err(said.stderr.lines().next().unwrap_or("git fails").trim_start_matches("fatal: ").to_owned()),
        Err(_) => Err("git cannot be run".to_owned()),
    })
}

/// Which registry decides about the repository.
pub(super) fn registry(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "repository";
    if let Some((path, why)) = &scene.unreadable {
        let path = path.display().to_string();
        let summary = format!("it cannot be told whether this is a repository: {path}: {why}");
        return vec![Finding::error(NAME, summary).fix_words(["ls", "-ld", &path])];
    }
    let Some(found) = common_dir(scene) else {
        return vec![Finding::skipped(NAME, "this is no worktree of a repository")];
    };
    let top = scene.worktree.as_ref().map(|worktree| worktree.top.display().to_string()).unwrap_or_default();
    let git_dir = match found {
        Ok(git_dir) => git_dir,
        Err(why) => {
            let finding = Finding::error(NAME, format!("Git does not open {top}: {why}"));
            let distrusted = why.contains("dubious ownership");
            let words = ["git", "config", "--global", "--add", "safe.directory", &top];
            return vec![if distrusted {
                finding.fix_words(words)
            } else {
                finding.fix_words(["git", "-C", &top, "status"])
            }];
        }
    };
    let Some((id, state)) = marker(&git_dir) else {
        return vec![Finding::ok(NAME, format!("{top}; no agent has reserved anything in it yet"))];
    };
    let own = match scene.daemon() {
        Some(daemon) => *daemon.info.registry == id,
        None => scene.state.as_deref() == Some(&state),
    };
    if own {
        return vec![Finding::ok(NAME, format!("{top} is this registry's")).detail("registry", id)];
    }
    let summary =
        format!("{top} belongs to the registry in {}, not to this one: reserves are refused", state.display());
    vec![
        Finding::error(NAME, summary)
            .fix_words(["heddlectl", "repo", "adopt", "--reason", "<why>", "--repo", &top])
            .detail("registry", id)
            .detail("state_dir", state.display().to_string()),
    ]
}

/// The registry's id and its state directory, as the mark in the repository says them.
fn marker(git_dir: &Path) -> Option<(String, PathBuf)> {
    let mut bytes = Vec::new();
    files::open_no_follow(&git_dir.join("heddle-registry")).ok()?.take(16 * 1024).read_to_end(&mut bytes).ok()?;
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let id = String::from_utf8(lines.next()?.split(|byte| *byte == b' ').next()?.to_vec()).ok()?;
    Some((id, PathBuf::from(OsStr::from_bytes(lines.next()?))))
}

/// The room where the repository lies.
pub(super) fn space(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "repository_space";
    let Some(Ok(git_dir)) = common_dir(scene) else { return vec![Finding::skipped(NAME, "there is no repository")] };
    let finding = storage::space(NAME, &git_dir);
    let top = scene.worktree.as_ref().map(|worktree| worktree.top.display().to_string()).unwrap_or_default();
    vec![finding.fix_words(["heddlectl", "thread", "clean", "--repo", &top])]
}
