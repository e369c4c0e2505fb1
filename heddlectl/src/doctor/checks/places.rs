//! The configuration, the directories and the socket: whose they are, and who may enter.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Access, access};

use super::surroundings::name_of;
use crate::doctor::bounded::Silent;
use crate::doctor::probe::Reach;
use crate::doctor::scene::Configuration;
use crate::doctor::{Finding, Scene};
use crate::paths::SOCKET_PATH_MAX;

/// The configuration, as the daemon's own program reads it.
pub(super) fn configuration(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "configuration";
    let (program, said) = match &scene.configuration {
        Configuration::NoProgram(why) => return vec![Finding::error(NAME, why.clone())],
        Configuration::NotRun(Silent::Late) => {
            return vec![Finding::error(
                NAME,
                "`heddled --check-config` does not end: its file cannot be read in time",
            )];
        }
        Configuration::NotRun(Silent::NotStarted(why)) => {
            return vec![Finding::error(NAME, format!("heddled cannot be run: {why}"))];
        }
        Configuration::Said(program, said) => (program, said),
    };
    if !said.success {
        let first = said.stderr.lines().next().unwrap_or("it says nothing").trim_start_matches("error: ").to_owned();
        let finding = Finding::error(NAME, first).fix_words([&program.display().to_string(), "--check-config"]);
        return vec![finding.detail("said", said.stderr.trim_end())];
    }
    // heddlectl does not read the file: what that alone says of places, it does not know.
    let state = scene.state.as_ref().map(|path| path.display().to_string());
    match scene.setting("state_dir") {
        Some(configured) if Some(&configured) != state.as_ref() => {
            let summary = format!("the configuration has state_dir {configured}, which heddlectl does not look into");
            let export = format!("export HEDDLE_STATE_DIR={}", shell_words::quote(&configured));
            vec![Finding::warning(NAME, summary).fix(export)]
        }
        _ => vec![Finding::ok(NAME, "the configuration is sound").detail("program", program.display().to_string())],
    }
}

/// The directory of the registry.
pub(super) fn state_dir(scene: &Scene) -> Vec<Finding> {
    let Some(path) = &scene.state else { return vec![Finding::skipped("state_dir", "there is no place for it")] };
    vec![directory("state_dir", path, scene.uid)]
}

/// The directory of the socket.
pub(super) fn socket_dir(scene: &Scene) -> Vec<Finding> {
    let Some(path) = scene.tried.parent() else { return vec![Finding::skipped("socket_dir", "there is no socket")] };
    vec![directory("socket_dir", path, scene.uid)]
}

/// Whether a directory is the user's alone, as the daemon asks of its directories.
fn directory(name: &'static str, path: &Path, uid: u32) -> Finding {
    let shown = path.display().to_string();
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            return Finding::ok(name, format!("{shown} is not there yet; the daemon makes it"));
        }
        Err(cause) => return Finding::error(name, format!("{shown} cannot be looked at: {cause}")),
    };
    if meta.is_symlink() {
        let finding = Finding::error(name, format!("{shown} is a symbolic link, which the daemon does not follow"));
        let variable = if name == "state_dir" { "HEDDLE_STATE_DIR" } else { "HEDDLE_SOCKET" };
        let file = if name == "state_dir" { "" } else { "heddled.sock" };
        return match fs::canonicalize(path) {
            Ok(real) => {
                let real = if file.is_empty() { real } else { real.join(file) };
                finding.fix(format!("export {variable}={}", shell_words::quote(&real.display().to_string())))
            }
            Err(_) => finding.fix_words(["rm", &shown]),
        };
    }
    if !meta.is_dir() {
        return Finding::error(name, format!("{shown} is not a directory")).fix_words([
            "mv",
            &shown,
            &format!("{shown}.old"),
        ]);
    }
    let mode = meta.mode() & 0o7777;
    if meta.uid() != uid {
        let summary =
            format!("{shown} belongs to {}, not to you: somebody else may have made it first", name_of(meta.uid()));
        let finding = Finding::error(name, summary).detail("owner", meta.uid());
        return finding.fix_words(["sudo", "chown", "-R", &name_of(uid), &shown]);
    }
    if mode & 0o077 != 0 {
        let what = if mode & 0o022 != 0 { "others may write into" } else { "others can enter" };
        let summary = format!("{what} {shown}: its mode is {mode:04o}, and should be 0700");
        let finding = if mode & 0o022 != 0 { Finding::error(name, summary) } else { Finding::warning(name, summary) };
        return finding.fix_words(["chmod", "700", &shown]).detail("mode", format!("{mode:04o}"));
    }
    if access(path, Access::WRITE_OK | Access::EXEC_OK | Access::READ_OK).is_err() {
        let summary = format!("{shown} cannot be written: its mode is {mode:04o}, or its file system is read-only");
        return Finding::error(name, summary).fix_words(["chmod", "700", &shown]);
    }
    if let Some((above, mode)) = writable_by_all_above(path) {
        let summary = format!("every user may move or replace {shown}: {above} has mode {mode:04o}");
        return Finding::warning(name, summary).fix_words(["chmod", "o-w", &above]);
    }
    Finding::ok(name, shown)
}

/// The first directory above a path in which every user may rename or replace what lies there. In one with the sticky bit, as
/// `/tmp` has it, only owners may.
fn writable_by_all_above(path: &Path) -> Option<(String, u32)> {
    path.ancestors().skip(1).find_map(|directory| {
        let mode = fs::metadata(directory).ok()?.mode() & 0o7777;
        (mode & 0o1002 == 0o002).then(|| (directory.display().to_string(), mode))
    })
}

/// Whether the socket's path fits into a socket address.
pub(super) fn socket_path(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "socket_path";
    let Ok((path, _)) = &scene.socket else { return vec![Finding::skipped(NAME, "there is none")] };
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let summary =
            format!("the socket's path has {length} bytes, and may have {SOCKET_PATH_MAX}: {}", path.display());
        let shorter = format!("export HEDDLE_SOCKET=/tmp/heddle-{}/heddled.sock", scene.uid);
        return vec![Finding::error(NAME, summary).fix(shorter)];
    }
    vec![Finding::ok(NAME, path.display().to_string())]
}

/// What is at the socket's path.
pub(super) fn socket(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "socket";
    let path = scene.tried.display().to_string();
    let meta = match fs::symlink_metadata(&scene.tried) {
        Ok(meta) => meta,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            return vec![Finding::ok(NAME, "there is none: no daemon listens")];
        }
        Err(cause) => return vec![Finding::error(NAME, format!("{path} cannot be looked at: {cause}"))],
    };
    if !meta.file_type().is_socket() {
        let summary = format!("{path} is not a socket, and the daemon does not replace it");
        return vec![Finding::error(NAME, summary).fix_words(["mv", &path, &format!("{path}.old")])];
    }
    if meta.uid() != scene.uid {
        let summary = format!("{path} belongs to {}, not to you", name_of(meta.uid()));
        return vec![Finding::error(NAME, summary).detail("owner", meta.uid())];
    }
    if matches!(scene.reach, Reach::Stale) {
        let summary = format!("nobody listens on {path}: its daemon was killed; the next one replaces it");
        return vec![Finding::warning(NAME, summary).fix("heddlectl daemon start")];
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let summary = format!("the mode of {path} is {mode:04o}, and should be 0600");
        return vec![Finding::warning(NAME, summary).fix_words(["chmod", "600", &path])];
    }
    vec![Finding::ok(NAME, path)]
}
