//! Every reservation token that this process has seen, and the search for them where they must not be.
//!
//! What clients send and receive is noted here. When a test is over, everything that its daemon and its commands left behind is
//! searched for what has the form of a token, and for the secret part of each that was seen, for a log that hides the prefix
//! hides nothing. A token belongs into the answer of its own caller and into the files in `<state>/sessions/`.
//!
//! With HEDDLED_TEST_LEDGER, a directory, the tokens are written there too: whoever ran the whole suite can then search what it
//! printed (`tests/secrets/printed.rs`).
#![allow(dead_code, reason = "each suite takes what it needs")]

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

/// How a token begins, and how many symbols follow.
const PREFIX: &[u8] = b"hrt_";
const SYMBOLS: usize = 52;

/// Blocks of nothing but zeros, as preallocated files have them, are not looked at symbol by symbol.
const BLOCK: usize = 4096;

static SEEN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// Fewer different symbols no random secret has: `hrt_aaa...` of an example is none.
const LEAST_DIFFERENT: usize = 10;

fn is_symbol(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'2'..=b'7')
}

fn is_random(secret: &str) -> bool {
    secret.bytes().collect::<HashSet<u8>>().len() >= LEAST_DIFFERENT
}

/// Calls back with each run of symbols that is long enough to have a secret in it, and with whether a token's prefix is before.
fn runs(bytes: &[u8], mut found: impl FnMut(&str, bool)) {
    let zeros = [0; BLOCK];
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == 0 && bytes[at..].starts_with(&zeros) {
            at += BLOCK;
            continue;
        }
        let length = bytes[at..].iter().take_while(|byte| is_symbol(**byte)).count();
        if length >= SYMBOLS {
            let run = std::str::from_utf8(&bytes[at..at + length]).unwrap();
            found(run, bytes[..at].ends_with(PREFIX));
        }
        at += length + 1;
    }
}

/// Notes the tokens in what was sent or received.
pub(crate) fn note(bytes: &[u8]) {
    runs(bytes, |run, is_token| {
        if is_token && is_random(&run[..SYMBOLS]) && SEEN.lock().unwrap().insert(run[..SYMBOLS].to_owned()) {
            write_down(&run[..SYMBOLS]);
        }
    });
}

fn write_down(secret: &str) {
    let Some(directory) = std::env::var_os("HEDDLED_TEST_LEDGER") else { return };
    let path = Path::new(&directory).join(format!("{}.tokens", std::process::id()));
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    // Without the prefix: the ledger itself is no leak.
    writeln!(file, "{secret}").unwrap();
}

/// Whether something has what only a token's owner may have.
pub(crate) fn has_secret(bytes: &[u8], seen: &HashSet<String>) -> bool {
    let mut has = false;
    runs(bytes, |run, is_token| {
        let mut windows = (0..=run.len() - SYMBOLS).map(|start| &run[start..start + SYMBOLS]);
        has = has || is_token && is_random(&run[..SYMBOLS]) || windows.any(|window| seen.contains(window));
    });
    has
}

/// Whether a file has a token and nothing else: somebody made it to be brought with --token-file.
fn is_token_file(content: &[u8]) -> bool {
    let token = content.strip_suffix(b"\n").unwrap_or(content).strip_prefix(PREFIX);
    token.is_some_and(|secret| secret.len() == SYMBOLS && secret.iter().all(|byte| is_symbol(*byte)))
}

/// Fails if something that was printed has a token in it.
#[track_caller]
pub(crate) fn check(what: &str, bytes: &[u8]) {
    let has = has_secret(bytes, &SEEN.lock().unwrap());
    // Not the text: it is printed.
    assert!(!has, "a reservation token is in {what}");
}

/// Fails if a file below a directory has a token in it; but for those of the directories called `sessions`.
pub(crate) fn search(root: &Path) {
    if std::thread::panicking() {
        return;
    }
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        // What another process removes meanwhile is not there to be found.
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && entry.file_name() != "sessions" => directories.push(path),
                Ok(kind) if kind.is_file() => {
                    if let Ok(content) = std::fs::read(&path)
                        && !is_token_file(&content)
                    {
                        check(&path.display().to_string(), &content);
                    }
                }
                _ => {}
            }
        }
    }
}
