//! P5: `heddlectl` as a whole process, from spawn to exit, against `git rev-parse HEAD` as a whole process.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::Bench;
use crate::contenders::calls::Grant;
use crate::contenders::heddled::{Heddled, environment};
use crate::report::{Goal, Report, Subject};
use crate::repository::{self, Repository};
use crate::schedule::{self, Contender, Sample};
use crate::{clock, driver};

/// Sessions that `list` shows.
const LISTED: usize = 10;

/// Runs the measure.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let directory = bench.root.join("p5");
    let repository = Repository::make(&directory.join("repo"))?;
    repository.branches(&[], "work/", 1)?;
    let window = bench.options.slice();
    let client = Client { program: client(), home: directory.join("heddled"), repo: repository.path.clone() };
    if !client.program.exists() {
        report.note("heddlectl is not built: cargo build --release. P5 has no figures of ours.");
    }
    let measured = !bench.options.peers_only && client.program.exists();
    let heddled = measured.then(|| Heddled::start(&client.home)).transpose()?;
    let mut contenders = vec![Contender::new("git rev-parse", |_| {
        times(window, || timed(repository::git(&repository.path).args(["rev-parse", "HEAD"])).map(|done| done.0))
    })];
    if let Some(heddled) = &heddled {
        contenders.extend(ours(&client, heddled, window)?);
    }
    let found = schedule::rotate(bench.options, contenders)?;
    report.noise += found.noise;
    for (name, bound) in [("heartbeat", 1.5), ("list", 1.5), ("reserve", 2.0)] {
        let measure = format!("P5 heddlectl {name}");
        let about = Subject { measure: &measure, connections: None, unit: "ms" };
        report.compare(about, name, &[("git rev-parse", Some(Goal::RatioAtMost(bound)))], &found);
    }
    Ok(())
}

/// `heddlectl`, beside the daemon.
fn client() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_heddled")).with_file_name("heddlectl")
}

/// How `heddlectl` is called.
struct Client {
    program: PathBuf,
    home: PathBuf,
    repo: PathBuf,
}

impl Client {
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(environment(&self.home)).arg(name).arg("--repo").arg(&self.repo);
        command
    }
}

/// The three commands that agents run most.
fn ours<'a>(client: &'a Client, heddled: &'a Heddled, window: Duration) -> anyhow::Result<[Contender<'a>; 3]> {
    let grants = heddled.reserve_all(&client.repo, "held/", LISTED)?;
    let held = grants.first().context("nothing is held")?;
    let session = String::from_utf8(held.session.clone())?;
    let token_file = client.home.join("token");
    std::fs::write(&token_file, [&held.token[..], b"\n"].concat())?;
    std::fs::set_permissions(&token_file, PermissionsExt::from_mode(0o600))?;
    let heartbeat = move |_| {
        times(window, || {
            let mut command = client.command("heartbeat");
            command.args(["--session", &session, "--token-file"]).arg(&token_file);
            timed(&mut command).map(|done| done.0)
        })
    };
    let list = move |_| times(window, || timed(&mut client.command("list")).map(|done| done.0));
    let reserve = move |_| {
        times(window, || {
            let mut command = client.command("reserve");
            command.args(["--thread", "work/0", "--at-tip", "--json", "--show-token"]);
            let (span, output) = timed(&mut command)?;
            heddled.release_all(&[grant(&output)?])?;
            Ok(span)
        })
    };
    Ok([Contender::new("heartbeat", heartbeat), Contender::new("list", list), Contender::new("reserve", reserve)])
}

/// Runs `once` for the length of a slice; the figure is the median in milliseconds.
fn times(window: Duration, mut once: impl FnMut() -> anyhow::Result<Duration>) -> anyhow::Result<Sample> {
    let mut latencies = driver::latencies()?;
    let mut spans = Vec::new();
    let start = clock::now();
    while start.elapsed() < window {
        let span = once()?;
        latencies.record(driver::nanoseconds(span))?;
        spans.push(schedule::milliseconds(span));
    }
    Ok(Sample { figure: schedule::median(spans), latencies })
}

/// Runs a process to its end, reading what it prints.
fn timed(command: &mut Command) -> anyhow::Result<(Duration, Vec<u8>)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let began = clock::now();
    let output = command.spawn().and_then(std::process::Child::wait_with_output)?;
    let span = began.elapsed();
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    Ok((span, output.stdout))
}

/// The grant that `heddlectl reserve --json --show-token` printed.
fn grant(output: &[u8]) -> anyhow::Result<Grant> {
    let value: Value = serde_json::from_slice(output)?;
    let text = |name: &str| {
        let member = value.pointer(&format!("/reservation/{name}")).unwrap_or(&Value::Null);
        member.as_str().map(|text| text.as_bytes().to_vec()).with_context(|| format!("no {name} in {}", json!(value)))
    };
    Ok(Grant { session: text("session_id")?, token: text("reservation_token")? })
}
