//! What is said of the versions: by us in the hello, by the daemon in its answer, and to the user where they differ.
//!
//! A daemon of another version serves all the same, as far as both speak one protocol: so it is a warning, told once, and
//! never in the output.

use std::cmp::Ordering;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use proto_schema::{HelloParams, HelloResult};

use super::CallError;
use crate::error::Error;

const MINE: &str = env!("CARGO_PKG_VERSION");

/// What we say.
pub(super) fn params() -> Result<HelloParams, CallError> {
    let client = format!("heddlectl/{MINE}").parse().map_err(|error| CallError::Failed(Error::garbled(error)))?;
    Ok(HelloParams { protocol: proto_schema::PROTOCOL, client })
}

/// What to say when the daemon at the other end is of another version than this program.
pub(super) fn skew(answer: &str, daemon: &UnixStream) -> Option<String> {
    let hello: HelloResult = serde_json::from_str(answer).ok()?;
    let theirs = hello.server.strip_prefix("heddled/").unwrap_or(&hello.server);
    (theirs != MINE).then(|| told(theirs, || beside(daemon)))
}

/// The same of a daemon that does not know what a hello is.
pub(super) fn without_hello() -> String {
    format!(
        "heddled is older than heddlectl {MINE}, which starts once it is stopped; sessions stay\nnext: heddlectl daemon stop"
    )
}

fn told(theirs: &str, beside: impl FnOnce() -> Option<PathBuf>) -> String {
    match version(theirs).zip(version(MINE)).map(|(theirs, mine)| theirs.cmp(&mine)) {
        Some(Ordering::Less) => format!(
            "heddled {theirs} is older than heddlectl {MINE}, which starts its own once that is stopped; sessions stay\n\
             next: heddlectl daemon stop"
        ),
        Some(Ordering::Greater) => {
            let newer = format!("heddled {theirs} is newer than heddlectl {MINE}");
            match beside() {
                Some(program) => format!(
                    "{newer}; the heddlectl beside it is of its version\nnext: {}",
                    shell_words::join([program.display().to_string().as_str(), "status"])
                ),
                None => format!("{newer}; install the heddlectl of that version"),
            }
        }
        Some(Ordering::Equal) | None => format!("heddled {theirs} is running, this is heddlectl {MINE}"),
    }
}

/// The numbers of a version; what follows them is not compared.
fn version(text: &str) -> Option<[u64; 3]> {
    let numbers = text.split(['-', '+']).next()?;
    let mut parts = numbers.split('.').map(|part| part.parse().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(version)
}

/// The heddlectl beside the daemon's program, if that can be seen and is not this one.
#[cfg(target_os = "linux")]
fn beside(daemon: &UnixStream) -> Option<PathBuf> {
    let peer = nix::sys::socket::getsockopt(daemon, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    let program = std::fs::read_link(format!("/proc/{}/exe", peer.pid())).ok()?;
    let beside = program.parent()?.join("heddlectl");
    (beside.is_file() && std::env::current_exe().ok().as_ref() != Some(&beside)).then_some(beside)
}

#[cfg(not(target_os = "linux"))]
fn beside(_: &UnixStream) -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_version_is_newer_is_told_with_what_helps() {
        let nothing = || None;
        assert!(told("0.0.9", nothing).starts_with("heddled 0.0.9 is older than heddlectl"));
        assert!(told("0.0.9", nothing).ends_with("next: heddlectl daemon stop"));
        let newer = told("99.0.0-rc.1", || Some("/opt/a b/heddlectl".into()));
        assert!(newer.starts_with("heddled 99.0.0-rc.1 is newer than heddlectl"), "{newer}");
        assert!(newer.ends_with("next: '/opt/a b/heddlectl' status"), "{newer}");
        assert!(told("99.0.0", nothing).ends_with("install the heddlectl of that version"));
        for odd in ["1", "next", "1.2.3.4", "", &format!("{MINE}-rc.1")] {
            assert_eq!(told(odd, nothing), format!("heddled {odd} is running, this is heddlectl {MINE}"));
        }
    }
}
