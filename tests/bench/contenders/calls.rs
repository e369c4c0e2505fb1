//! What is said to the daemon: request lines put together by hand, answers looked through and not parsed.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::script::{Script, find, text_after};

/// The right to a thread, as the daemon granted it.
#[derive(Clone, Default)]
pub(crate) struct Grant {
    /// Names the session.
    pub(crate) session: Vec<u8>,
    /// Its secret.
    pub(crate) token: Vec<u8>,
}

impl Grant {
    fn read(&mut self, line: &[u8]) -> anyhow::Result<()> {
        check(line)?;
        let session = text_after(line, b"\"session_id\":\"").context("the grant names no session")?;
        let token = text_after(line, b"\"reservation_token\":\"").context("the grant has no token")?;
        self.session.clear();
        self.session.extend_from_slice(session);
        self.token.clear();
        self.token.extend_from_slice(token);
        Ok(())
    }

    /// The call of a method that needs nothing but session and token.
    fn call(&self, method: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"");
        out.extend_from_slice(method.as_bytes());
        out.extend_from_slice(b"\",\"params\":{\"session_id\":\"");
        out.extend_from_slice(&self.session);
        out.extend_from_slice(b"\",\"reservation_token\":\"");
        out.extend_from_slice(&self.token);
        out.extend_from_slice(b"\"}}\n");
    }
}

/// Fails unless the answer is a result; the daemon puts that before its content, so a short look is enough.
fn check(line: &[u8]) -> anyhow::Result<()> {
    let head = &line[..line.len().min(64)];
    if find(head, b"\"result\":").is_none() || find(head, b"\"error\":").is_some() {
        bail!("the daemon answered {}", String::from_utf8_lossy(line));
    }
    Ok(())
}

/// A call of agent.reserve at the thread's tip.
fn reserve(repo: &Path, thread: &str, ttl_ms: Option<u64>) -> Vec<u8> {
    let repo = json!(repo.to_string_lossy());
    let ttl = ttl_ms.map_or_else(String::new, |ttl| format!(",\"ttl_ms\":{ttl}"));
    let params = format!("{{\"repo\":{repo},\"thread\":\"{thread}\",\"at_tip\":true{ttl}}}");
    format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"agent.reserve\",\"params\":{params}}}\n").into_bytes()
}

/// Reserve and release, each connection its own thread.
pub(crate) struct Cycle {
    reserves: Vec<Vec<u8>>,
    grants: Vec<Grant>,
    held: Vec<bool>,
    left: usize,
}

impl Cycle {
    /// Cycles over the threads `<prefix><connection>` of `repo`.
    pub(crate) fn new(repo: &Path, prefix: &str, connections: usize) -> Self {
        let reserves = (0..connections).map(|number| reserve(repo, &format!("{prefix}{number}"), None)).collect();
        Self { reserves, grants: vec![Grant::default(); connections], held: vec![false; connections], left: usize::MAX }
    }

    /// The same, `cycles` times and no more.
    pub(crate) fn limited(self, cycles: usize) -> Self {
        Self { left: cycles, ..self }
    }
}

impl Script for Cycle {
    fn request(&mut self, connection: usize, out: &mut Vec<u8>) {
        if self.held[connection] {
            self.grants[connection].call("agent.release", out);
        } else {
            self.left = self.left.saturating_sub(1);
            out.extend_from_slice(&self.reserves[connection]);
        }
    }

    fn answer(&mut self, connection: usize, line: &[u8]) -> anyhow::Result<bool> {
        let held = self.held[connection];
        if held {
            check(line)?;
        } else {
            self.grants[connection].read(line)?;
        }
        self.held[connection] = !held;
        Ok(held)
    }

    fn has_more(&self, _: usize) -> bool {
        self.left > 0
    }
}

/// Heartbeats, each connection of its own session.
pub(crate) struct Heartbeat {
    requests: Vec<Vec<u8>>,
}

impl Heartbeat {
    /// Keeps the sessions of `grants` alive.
    pub(crate) fn new(grants: &[Grant]) -> Self {
        let line = |grant: &Grant| {
            let mut line = Vec::new();
            grant.call("agent.heartbeat", &mut line);
            line
        };
        Self { requests: grants.iter().map(line).collect() }
    }
}

impl Script for Heartbeat {
    fn request(&mut self, connection: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.requests[connection]);
    }

    fn answer(&mut self, _: usize, line: &[u8]) -> anyhow::Result<bool> {
        check(line)?;
        Ok(true)
    }
}

/// Reserves a number of threads, one after the other, and keeps the grants.
pub(crate) struct Reserve<'a> {
    repo: &'a Path,
    prefix: String,
    ttl_ms: Option<u64>,
    sent: usize,
    count: usize,
    /// What was granted so far.
    pub(crate) grants: Vec<Grant>,
}

impl<'a> Reserve<'a> {
    /// Reserves `<prefix>0`, `<prefix>1`, ... of `repo`.
    pub(crate) fn new(repo: &'a Path, prefix: &str, count: usize) -> Self {
        Self { repo, prefix: prefix.to_owned(), ttl_ms: None, sent: 0, count, grants: Vec::with_capacity(count) }
    }

    /// The same with a time to live.
    pub(crate) fn with_ttl(self, ttl_ms: u64) -> Self {
        Self { ttl_ms: Some(ttl_ms), ..self }
    }
}

impl Script for Reserve<'_> {
    fn request(&mut self, _: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&reserve(self.repo, &format!("{}{}", self.prefix, self.sent), self.ttl_ms));
        self.sent += 1;
    }

    fn answer(&mut self, _: usize, line: &[u8]) -> anyhow::Result<bool> {
        let mut grant = Grant::default();
        grant.read(line)?;
        self.grants.push(grant);
        Ok(true)
    }

    fn has_more(&self, _: usize) -> bool {
        self.sent < self.count
    }
}

/// Gives a number of threads back.
pub(crate) struct Release<'a> {
    grants: std::slice::Iter<'a, Grant>,
}

impl<'a> Release<'a> {
    /// Ends the sessions of `grants` as complete.
    pub(crate) fn new(grants: &'a [Grant]) -> Self {
        Self { grants: grants.iter() }
    }
}

impl Script for Release<'_> {
    fn request(&mut self, _: usize, out: &mut Vec<u8>) {
        if let Some(grant) = self.grants.next() {
            grant.call("agent.release", out);
        }
    }

    fn answer(&mut self, _: usize, line: &[u8]) -> anyhow::Result<bool> {
        check(line)?;
        Ok(true)
    }

    fn has_more(&self, _: usize) -> bool {
        self.grants.len() > 0
    }
}

/// One request again and again.
pub(crate) struct Repeat {
    line: Vec<u8>,
}

impl Repeat {
    /// Calls `method` with `params`.
    pub(crate) fn new(method: &str, params: &serde_json::Value) -> Self {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        Self { line: format!("{request}\n").into_bytes() }
    }
}

impl Script for Repeat {
    fn request(&mut self, _: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.line);
    }

    fn answer(&mut self, _: usize, line: &[u8]) -> anyhow::Result<bool> {
        check(line)?;
        Ok(true)
    }
}
