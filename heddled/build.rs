//! Says which commit is being built, for `--version`: `0.1.0 (8c93040f1 2026-11-28)`.
//!
//! The first of these that is there is believed: `HEDDLE_BUILD_COMMIT` (who builds from an archive sets it), the file that
//! `cargo package` leaves in what it packs, Git. Where none is there, the version stands alone. A debug build does not say
//! its commit: it would be built anew after each one.
//!
//! The build script of `heddlectl` is a link to this file. It never fails a build, and nothing of the machine is in its words.

use std::path::Path;
use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HEDDLE_BUILD_COMMIT");
    let version = variable("CARGO_PKG_VERSION");
    let commit = named().or_else(packed).or_else(|| (variable("PROFILE") == "release").then(checked_out).flatten());
    let commit = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo::rustc-env=HEDDLE_VERSION={version}{commit}");
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// What the builder says, if it is one line.
fn named() -> Option<String> {
    let said = variable("HEDDLE_BUILD_COMMIT");
    let said = said.trim();
    (!said.is_empty() && !said.contains(char::is_control)).then(|| said.to_owned())
}

/// What `cargo package` noted.
fn packed() -> Option<String> {
    let note = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = note.split_once("\"sha1\"")?;
    let id = rest.split('"').nth(1)?;
    (id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id[..9].to_owned())
}

/// The commit that is checked out, and whether what is built differs from it.
fn checked_out() -> Option<String> {
    // An archive that was unpacked within some other repository is not of that repository's commit.
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    let commit = git(&["-c", "core.abbrev=9", "log", "-1", "--no-show-signature", "--date=short", "--format=%h %cd"])?;
    // HEAD and its reflog tell when another commit is checked out, the branch when one is made; a file that is not there
    // would have the script run each time.
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"]).unwrap_or_default();
    for name in ["HEAD", "logs/HEAD", "packed-refs", &branch] {
        let file = git(&["rev-parse", "--git-path", name]).filter(|file| Path::new(file).is_file());
        if let Some(file) = file {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    // What is compiled anew when it changes, so that nothing is called a commit that it is not.
    let built = ["Cargo.toml", "src", "../Cargo.lock", "../Cargo.toml", "../proto-schema/src"];
    built.iter().filter(|path| Path::new(path).exists()).for_each(|path| println!("cargo::rerun-if-changed={path}"));
    let status = ["status", "--porcelain", "--untracked-files=no", "--"];
    let is_dirty = git(&[&status[..], &built].concat()).is_none_or(|changed| !changed.is_empty());
    Some(if is_dirty { format!("{commit}, changed") } else { commit })
}

/// What Git says, if it can be asked.
fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.args(arguments).env("GIT_OPTIONAL_LOCKS", "0").stdin(Stdio::null()).stderr(Stdio::null());
    let said = command.output().ok().filter(|said| said.status.success())?;
    Some(String::from_utf8(said.stdout).ok()?.trim().to_owned())
}
