//! V1: a process whose main thread has ended shows state `Z`, but it lives as long as another thread does, and holds what
//! it holds.
//!
//! Not a usual test binary: only with a main of its own can the main thread end. Started without a role it is the test,
//! and starts itself again as the process that is looked at.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};

#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;

const NAME: &str = "a_process_lives_on_without_its_main_thread";
const ROLE: &str = "without-main-thread";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut stdout = std::io::stdout();
    if arguments.iter().any(|argument| argument == ROLE) {
        without_main_thread();
    }
    let outcome = if arguments.iter().any(|argument| argument == "--list") {
        // What test runners ask for before they run anything.
        let listed = !arguments.iter().any(|argument| argument == "--ignored");
        if listed { writeln!(stdout, "{NAME}: test").map_err(anyhow::Error::from) } else { Ok(()) }
    } else {
        test().and_then(|()| Ok(writeln!(stdout, "test {NAME} ... ok")?))
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(std::io::stderr(), "test {NAME} ... FAILED: {error:?}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Ends the calling thread alone; another one lives until stdin ends.
fn without_main_thread() -> ! {
    std::thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        // The last thread: the process ends with it.
        end_thread()
    });
    writeln!(std::io::stdout(), "ready").ok();
    end_thread()
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no safe interface ends the main thread alone; nothing is unwound, nothing is shared")]
fn end_thread() -> ! {
    loop {
        // SAFETY: the system call takes an integer and does not return; what the thread owned is leaked.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

#[cfg(not(target_os = "linux"))]
fn end_thread() -> ! {
    loop {
        std::thread::park();
    }
}

#[cfg(target_os = "linux")]
fn test() -> anyhow::Result<()> {
    use anyhow::{Context, anyhow, ensure};
    use heddled::liveness::{Liveness, LocalLiveness, Verdict};
    use serde_json::json;

    let mut child = Command::new(std::env::current_exe()?)
        .arg(ROLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the process without a main thread")?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("no stdout")?;
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(line == "ready\n", "it said {line:?}");
    let (pid, own) = (i32::try_from(child.id())?, i32::try_from(std::process::id())?);
    while !std::fs::read_to_string(format!("/proc/{pid}/stat"))?.contains(") Z ") {
        std::thread::yield_now();
    }

    let place = support::Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    let params = json!({"repo": place.repo("r").at(), "thread": "t", "hold_for_pid": pid});
    let held = client.ok("agent.reserve", &params)["reservation"].take();
    ensure!(client.show(&held)["alive"] == "alive", "V1: to the daemon it lives");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (died, mut deaths) = tokio::sync::mpsc::unbounded_channel();
        let liveness = LocalLiveness::start(died)?;
        let holder = liveness.identify(Some(own), pid).map_err(|problem| anyhow!("V1: identify: {problem:?}"))?;
        ensure!(liveness.check(&holder) == Verdict::Alive, "V1: unwatched");
        liveness.watch(&holder);
        ensure!(liveness.check(&holder) == Verdict::Alive, "V1: watched");
        let other = client.call("agent.reserve", &json!({"repo": params["repo"], "thread": "t"}));
        ensure!(other.is_err_and(|fault| fault.kind() == "live_owner"), "V1: its thread is not free");
        ensure!(deaths.try_recv().is_err(), "V1: its death was reported while it lived");

        drop(child.stdin.take());
        ensure!(deaths.recv().await.as_ref() == Some(&holder), "V4: the end of its last thread is its death");
        ensure!(liveness.check(&holder) == Verdict::Exited, "V2");
        support::eventually("the session has ended", || {
            (client.show(&held)["end_reason"] == "process_exited").then_some(())
        });
        child.wait()?;
        Ok(())
    })
}

#[cfg(not(target_os = "linux"))]
fn test() -> anyhow::Result<()> {
    Ok(())
}
