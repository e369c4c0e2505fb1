//! The ancestors of a process, as `/proc` shows them. Where there is no `/proc` nothing is found.

use std::fs;
use std::io::Read;
use std::path::Path;

use proto_schema::ProbeProcess;

use super::harness::Harness;

/// How far up we look.
const GENERATIONS: usize = 64;

/// Programs that run others: their first argument that is no option says which.
const INTERPRETERS: &[&str] = &["node", "nodejs", "bun", "deno", "python", "python3", "pypy3", "uv"];

/// Programs that are never a harness, so that their command lines need not be read.
const SHELLS: &[&str] = &["sh", "bash", "dash", "zsh", "fish", "tmux: server", "sshd", "systemd", "sudo", "login"];

/// The beginning of a file of `/proc`, in one read: as much as is looked at.
fn begin(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let length = fs::File::open(path).ok()?.read(&mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// The nearest ancestor of `pid` that is a known harness.
pub(crate) fn nearest(proc: &Path, pid: i32) -> Option<(&'static Harness, ProbeProcess)> {
    let mut pid = parent(proc, pid)?.0;
    for _ in 0..GENERATIONS {
        if pid <= 1 {
            return None;
        }
        let (above, name) = parent(proc, pid)?;
        if let Some(harness) = harness(proc, pid, &name) {
            return Some((harness, ProbeProcess { pid, name: harness.name.parse().ok()? }));
        }
        pid = above;
    }
    None
}

/// A process's parent and its name, out of `stat`: `pid (name) state parent ...`, where the name may have anything in it.
fn parent(proc: &Path, pid: i32) -> Option<(i32, String)> {
    let stat = begin(&proc.join(pid.to_string()).join("stat"))?;
    let stat = String::from_utf8_lossy(&stat);
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    Some((after.split_whitespace().nth(1)?.parse().ok()?, name))
}

fn harness(proc: &Path, pid: i32, name: &str) -> Option<&'static Harness> {
    if let Some(harness) = Harness::of_program(name) {
        return Some(harness);
    }
    if SHELLS.contains(&name) {
        return None;
    }
    let command = begin(&proc.join(pid.to_string()).join("cmdline"))?;
    let mut words = command.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok());
    let program = words.next()?;
    if let Some(harness) = Harness::of_program(program) {
        return Some(harness);
    }
    let program = program.rsplit('/').next()?;
    let interpreter = program.trim_end_matches(|character: char| character.is_ascii_digit() || character == '.');
    if !INTERPRETERS.contains(&program) && !INTERPRETERS.contains(&interpreter) {
        return None;
    }
    Harness::of_script(words.find(|word| !word.starts_with('-') && !word.is_empty())?)
}
