//! What the registry and the repository lie on: the kind of file system, and the room on it.

use std::path::Path;
use std::process::Command;

use rustix::fs::{StatFs, statfs};

use crate::client::start;
use crate::doctor::bounded::{self, ANSWER};
use crate::doctor::scene::Configuration;
use crate::doctor::{Finding, Scene};

/// Room below which nothing can be relied on to be written: a journal segment and a checkpoint.
const TOO_LITTLE: u64 = 64 * 1024 * 1024;

/// Room below which one should know, if it is less than a twentieth of the whole.
const LITTLE: u64 = 1024 * 1024 * 1024;

/// Files below which nothing can be relied on to be made.
const TOO_FEW_FILES: u64 = 1_000;

/// What a kind of file system is, where that matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Several machines may have it mounted.
    Shared(&'static str),
    /// A program stands behind it.
    Relayed(&'static str),
    /// It is in memory.
    Memory(&'static str),
    /// It is a disk of this machine, as far as is known.
    Disk,
}

fn kind(magic: u64) -> Kind {
    match magic {
        0x6969 => Kind::Shared("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Kind::Shared("SMB"),
        0x00c3_6400 => Kind::Shared("Ceph"),
        0x5346_414f => Kind::Shared("AFS"),
        0x0bd0_0bd0 => Kind::Shared("Lustre"),
        0x4750_4653 => Kind::Shared("GPFS"),
        0x7461_636f => Kind::Shared("OCFS2"),
        0x0116_1970 => Kind::Shared("GFS2"),
        0x0102_1997 => Kind::Relayed("9p"),
        0x6573_5546 => Kind::Relayed("FUSE"),
        0x0102_1994 => Kind::Memory("tmpfs"),
        0x8584_58f6 => Kind::Memory("ramfs"),
        _ => Kind::Disk,
    }
}

/// Whether the registry can be read, where no daemon has it open: the daemon's own program reads every record of it.
pub(super) fn store(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "store";
    const VERIFY: &str = "heddlectl daemon verify";
    if scene.daemon().is_some() {
        // It has it open, and tells under the same name how it is: see `daemon::health`.
        return Vec::new();
    }
    let Some(state) = scene.state.as_ref().filter(|state| state.join("format").exists()) else {
        return vec![Finding::skipped(NAME, "there is none yet")];
    };
    let program = match &scene.configuration {
        Configuration::Said(program, said) if said.success => program,
        Configuration::Said(..) | Configuration::NoProgram(_) | Configuration::NotRun(_) => {
            return vec![Finding::skipped(NAME, "there is no program here to read it")];
        }
    };
    let mut command = Command::new(program);
    command.arg("verify").arg("--").arg(state).env_clear().envs(start::meant(&scene.env)).current_dir("/");
    vec![match bounded::run(&mut command) {
        Ok(said) if said.success => Finding::ok(NAME, "every record of it can be read and agrees with the others"),
        Ok(said) => {
            let told = String::from_utf8_lossy(&said.stdout).into_owned() + &said.stderr;
            let what = told.lines().find(|line| line.starts_with(' ')).or(told.lines().next()).unwrap_or_default();
            Finding::error(NAME, format!("it cannot be used: {}", what.trim())).fix(VERIFY)
        }
        Err(_) => Finding::warning(NAME, format!("it was not read within {} s", ANSWER.as_secs())).fix(VERIFY),
    }]
}

/// The nearest directory that is there.
fn there(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

#[cfg(target_os = "linux")]
#[expect(clippy::cast_sign_loss, reason = "the number of a kind, whatever its type")]
fn magic(found: &StatFs) -> u64 {
    found.f_type as u64 & 0xffff_ffff
}

#[cfg(not(target_os = "linux"))]
fn magic(_: &StatFs) -> u64 {
    0
}

/// What kind of file system the registry lies on.
pub(super) fn state_filesystem(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "state_filesystem";
    let Some(state) = &scene.state else { return vec![Finding::skipped(NAME, "there is no state directory")] };
    let found = match statfs(there(state)) {
        Ok(found) => found,
        Err(cause) => return vec![Finding::error(NAME, format!("{}: {cause}", state.display()))],
    };
    vec![judged(kind(magic(&found)), &state.display().to_string()).detail("magic", format!("{:#x}", magic(&found)))]
}

fn judged(kind: Kind, state: &str) -> Finding {
    const NAME: &str = "state_filesystem";
    const ELSEWHERE: &str = "set HEDDLE_STATE_DIR to a directory on a disk of this machine";
    match kind {
        Kind::Shared(name) => Finding::error(
            NAME,
            format!(
                "{state} is on {name}: two machines could each run a daemon on it, and both grant one thread; {ELSEWHERE}"
            ),
        ),
        Kind::Relayed(name) => Finding::warning(
            NAME,
            format!(
                "{state} is on {name}: whether a change survives a power cut is up to what stands behind it; {ELSEWHERE}"
            ),
        ),
        Kind::Memory(name) => Finding::warning(
            NAME,
            format!("{state} is on {name}, in memory: the registry is gone when the machine stops; {ELSEWHERE}"),
        ),
        Kind::Disk => Finding::ok(NAME, format!("{state} is on a disk of this machine")),
    }
}

/// The room for the registry.
pub(super) fn state_space(scene: &Scene) -> Vec<Finding> {
    let Some(state) = &scene.state else { return vec![Finding::skipped("state_space", "there is no state directory")] };
    vec![space("state_space", state)]
}

/// The room on the file system that something lies on.
pub(super) fn space(name: &'static str, path: &Path) -> Finding {
    let found = match rustix::fs::statvfs(there(path)) {
        Ok(found) => found,
        Err(cause) => return Finding::error(name, format!("{}: {cause}", path.display())),
    };
    let room = Room {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        whole: found.f_blocks.saturating_mul(found.f_frsize),
        // A file system that counts no files has no end of them.
        files: (found.f_files > 0).then_some(found.f_favail),
    };
    room.judged(name, &path.display().to_string())
}

struct Room {
    free: u64,
    whole: u64,
    files: Option<u64>,
}

impl Room {
    fn judged(&self, name: &'static str, path: &str) -> Finding {
        let mib = self.free / (1024 * 1024);
        let finding = match self.files {
            Some(files) if files < TOO_FEW_FILES => {
                Finding::error(name, format!("only {files} more files can be made where {path} is: remove some"))
            }
            _ if self.free < TOO_LITTLE => Finding::error(
                name,
                format!("only {mib} MiB are free where {path} is: changes will be refused; free some"),
            ),
            _ if self.free < LITTLE && self.free < self.whole / 20 => {
                Finding::warning(name, format!("only {mib} MiB are free where {path} is"))
            }
            _ => Finding::ok(name, format!("{mib} MiB are free where {path} is")),
        };
        finding.detail("free_bytes", self.free).detail("free_files", self.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn what_is_shared_between_machines_is_an_error_and_what_is_in_memory_a_warning() {
        let of = |magic| judged(kind(magic), "/s").status;
        assert_eq!([of(0x6969), of(0xff53_4d42)], [Status::Error; 2]);
        assert_eq!([of(0x0102_1994), of(0x6573_5546), of(0x0102_1997)], [Status::Warning; 3]);
        assert_eq!([of(0xef53), of(0x794c_7630), of(0x9123_683e)], [Status::Ok; 3]);
    }

    #[test]
    fn room_is_judged_by_bytes_and_by_files() {
        const GIB: u64 = 1024 * 1024 * 1024;
        let of = |free, whole, files| Room { free, whole, files }.judged("state_space", "/s").status;
        assert_eq!(of(TOO_LITTLE - 1, GIB, None), Status::Error);
        assert_eq!(of(100 * GIB, 200 * GIB, Some(3)), Status::Error, "files run out before bytes");
        assert_eq!(of(GIB / 2, 100 * GIB, Some(1 << 20)), Status::Warning);
        assert_eq!(of(GIB / 2, GIB, None), Status::Ok, "half of a small one is free");
        assert_eq!(of(100 * GIB, 200 * GIB, None), Status::Ok);
    }
}
