//! Starting programs and waiting for them: with the signals that they expect, and never for ever.
#![allow(dead_code, reason = "each suite takes what it needs")]

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};

/// How long a program may take before a test gives up. Far beyond what is expected: the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// How often it is checked whether a program has ended.
const LOOK: Duration = Duration::from_millis(1);

/// Starts a command's process with the default disposition of every signal. Tests that are run in the background of a
/// script, or by `nohup`, inherit ignored signals, and an ignored signal stays ignored in every program that they start.
#[expect(unsafe_code, reason = "the closure only makes system calls, which is safe between fork and exec")]
pub(crate) fn with_default_signals(command: &mut Command) -> &mut Command {
    let reset = || {
        for of in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2] {
            // SAFETY: no handler is installed or replaced by one: the default needs none.
            unsafe { signal(of, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: `signal` is async-signal-safe, and nothing is allocated.
    unsafe { command.pre_exec(reset) }
}

/// Waits until a process has ended; kills it and fails when that takes too long.
#[track_caller]
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    wait_within(child, DEADLINE)
}

/// The same with another deadline.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test waits for the end of another process")]
pub(crate) fn wait_within(child: &mut Child, time: Duration) -> ExitStatus {
    let deadline = Instant::now() + time;
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status;
        }
        if Instant::now() >= deadline {
            child.kill().ok();
            child.wait().ok();
            panic!("pid {} did not end within {time:?}, and was killed", child.id());
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until a process has ended, and returns what it wrote to the pipes that are still there.
#[track_caller]
pub(crate) fn output_of(child: Child) -> Output {
    output_within(child, DEADLINE)
}

/// The same with another deadline. A pipe that a process in the background keeps open does not hold this up for ever.
#[track_caller]
pub(crate) fn output_within(mut child: Child, time: Duration) -> Output {
    drop(child.stdin.take());
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    let status = wait_within(&mut child, time);
    let text = |pipe: Option<std::sync::mpsc::Receiver<Vec<u8>>>| {
        pipe.map(|pipe| pipe.recv_timeout(DEADLINE).expect("the end of its output")).unwrap_or_default()
    };
    Output { status, stdout: text(stdout), stderr: text(stderr) }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).ok();
        sender.send(bytes).ok();
    });
    receiver
}

/// Runs a program to its end, with its output. Its standard input is empty unless it was set.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    output_of(child.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}")))
}

/// The same, where the program may not be there.
#[track_caller]
pub(crate) fn try_run(command: &mut Command) -> std::io::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map(output_of)
}

/// Everything that a pipe still has, as text. Fails when its end does not come in time.
#[track_caller]
pub(crate) fn rest_of(pipe: impl Read + Send + 'static) -> String {
    let bytes = read_all(pipe).recv_timeout(DEADLINE).expect("the end of the output");
    String::from_utf8(bytes).expect("text")
}

/// Reads one line of a pipe; the empty text at its end. Fails when no line comes in time.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test waits for the output of another process")]
pub(crate) fn read_line<P: Read + AsFd>(pipe: &mut BufReader<P>) -> String {
    let deadline = Instant::now() + DEADLINE;
    let mut line = Vec::new();
    loop {
        if pipe.buffer().is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).expect("some minutes");
            let ready = poll(&mut [PollFd::new(pipe.get_ref().as_fd(), PollFlags::POLLIN)], left);
            assert!(
                ready == Err(nix::errno::Errno::EINTR) || ready.expect("a pipe") > 0,
                "no line within {DEADLINE:?}, but {:?}",
                String::from_utf8_lossy(&line)
            );
            if ready.is_err() {
                continue;
            }
        }
        let bytes = pipe.fill_buf().expect("readable");
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(bytes.len(), |end| end + 1);
        line.extend_from_slice(&bytes[..used]);
        pipe.consume(used);
        if end.is_some() || used == 0 {
            return String::from_utf8(line).expect("text");
        }
    }
}
