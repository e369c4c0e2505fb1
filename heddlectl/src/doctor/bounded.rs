//! Looks and programs that end in time, whatever they meet (D2).

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::clock;

/// How long one look may take.
pub(crate) const LOOK: Duration = Duration::from_secs(10);

/// How long the daemon may take, so that all of it ends within 3 s where only the daemon hangs.
pub(crate) const DAEMON: Duration = Duration::from_millis(1_500);

/// How long a program may take: less, so that the look can say which it was.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);

/// How often something is looked at again.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// The most that is read of what a program says.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// Does it on a thread of its own; none if it did not end in time. The thread ends with this process.
pub(crate) fn within<T: Send + 'static>(time: Duration, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, seen) = mpsc::channel();
    let looking = std::thread::Builder::new().name("look".to_owned()).spawn(move || {
        // Nobody waits any more for one that is late.
        done.send(look()).ok();
    });
    looking.ok()?;
    seen.recv_timeout(time).ok()
}

/// What a program said, and how it ended.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// Whether it succeeded.
    pub(crate) success: bool,
    /// Its standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// Why there is nothing that a program said.
#[derive(Clone, Debug)]
pub(crate) enum Silent {
    /// It cannot be started.
    NotStarted(String),
    /// It did not end in time, and was killed.
    Late,
}

/// Runs a program to its end, which comes in time.
pub(crate) fn run(command: &mut Command) -> Result<Said, Silent> {
    run_within(command, ANSWER)
}

/// The same with another time. A program that is late is killed.
pub(crate) fn run_within(command: &mut Command, time: Duration) -> Result<Said, Silent> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|cause| Silent::NotStarted(cause.to_string()))?;
    let deadline = clock::now() + time;
    // Read beside the wait: one that says much would wait for its reader.
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let left = || deadline.saturating_duration_since(clock::now());
    let (Ok(stdout), Ok(stderr)) = (stdout.recv_timeout(left()), stderr.recv_timeout(left())) else {
        return Err(end(&mut child));
    };
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                let stderr = String::from_utf8_lossy(&stderr).into_owned();
                return Ok(Said { success: status.success(), stdout, stderr });
            }
            Ok(None) if !left().is_zero() => clock::pause(Duration::from_millis(1)),
            Ok(None) | Err(_) => return Err(end(&mut child)),
        }
    }
}

fn read(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (done, all) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            // What was read until it broke is what there is.
            stream.take(MOST_BYTES).read_to_end(&mut bytes).ok();
        }
        done.send(bytes).ok();
    });
    all
}

fn end(child: &mut Child) -> Silent {
    // Our own child, by its own handle; one that ended meanwhile is fine.
    child.kill().ok();
    child.wait().ok();
    Silent::Late
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let said = run(Command::new("sleep").arg("1000"));
        assert!(matches!(said, Err(Silent::Late)), "D2: {said:?}");
        let said = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).expect("it ends");
        assert_eq!((said.success, &*said.stdout, &*said.stderr), (false, &b"out\n"[..], "err\n"));
        assert!(matches!(run(&mut Command::new("/nonexistent")), Err(Silent::NotStarted(_))));
        assert_eq!(within(Duration::from_millis(1), || std::thread::park_timeout(Duration::from_secs(5))), None, "D2");
    }
}
