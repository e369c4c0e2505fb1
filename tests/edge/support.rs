//! A helper process: this test binary, started again in a role. It speaks lines on stdout and lives until it is killed
//! or its stdin ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use heddled::lifecycle::{Lock, Shutdown, Stop, bind};
use proto_schema::Timestamp;

const ROLE: &str = "HEDDLED_TEST_ROLE";
const PLACE: &str = "HEDDLED_TEST_PLACE";

/// A running helper; it is killed when this is dropped.
pub(crate) struct Helper {
    pub(crate) child: Child,
    lines: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(role: &str, place: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "support::helper", "--nocapture"])
            .env(ROLE, role)
            .env(PLACE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut helper = Self { child, lines };
        helper.expect("ready");
        helper
    }

    /// Reads until this line comes; fails when the helper ends without it.
    pub(crate) fn expect(&mut self, line: &str) {
        let mut read = String::new();
        loop {
            read.clear();
            assert_ne!(self.lines.read_line(&mut read).unwrap(), 0, "the helper ended before it said '{line}'");
            // The test harness begins the same line.
            if read.trim_end().ends_with(line) {
                return;
            }
        }
    }

    pub(crate) fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Not a test but the helper's entry; without a role it does nothing.
#[test]
fn helper() {
    let (Some(role), Some(place)) = (std::env::var_os(ROLE), std::env::var_os(PLACE)) else { return };
    match role.to_str() {
        Some("daemon") => daemon(Path::new(&place)),
        Some("signals") => signals(),
        other => panic!("no such role: {other:?}"),
    }
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").unwrap();
    stdout.flush().unwrap();
}

/// Takes the lock and listens, like a daemon that has just started.
fn daemon(place: &Path) {
    let socket = place.join("heddle/heddled.sock");
    let lock = Lock::acquire(place, &socket, Timestamp::from_unix_ms(0)).unwrap();
    let (_listener, _guard) = bind(&lock, &socket).unwrap();
    say("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Says what the signals it gets ask for, until they ask to hurry.
fn signals() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.on_signals().unwrap();
        say("ready");
        shutdown.reached(Stop::Drain).await;
        say("drain");
        shutdown.reached(Stop::Hurry).await;
        say("hurry");
    });
}
