//! A world of one test: its own home, runtime directory, state, repository and daemon, and a cleared environment.

use std::fs;
use std::io::BufReader;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{ledger, process};

/// The daemon's program.
pub(crate) const HEDDLED: &str = env!("CARGO_BIN_EXE_heddled");

/// heddlectl's program.
pub(crate) fn heddlectl() -> PathBuf {
    let program = Path::new(HEDDLED).with_file_name("heddlectl");
    assert!(program.is_file(), "{} is missing: run `cargo build --workspace` first", program.display());
    program
}

/// The world.
pub(crate) struct World {
    root: tempfile::TempDir,
    daemon: Option<Child>,
}

impl World {
    /// With a repository that has one commit on `main`, and no daemon.
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("hc").tempdir().expect("a directory");
        for name in ["home", "run", "run/heddle", "app", "app/src"] {
            fs::create_dir(root.path().join(name)).expect("made");
        }
        fs::set_permissions(root.path().join("run"), fs::Permissions::from_mode(0o700)).expect("mode");
        fs::set_permissions(root.path().join("run/heddle"), fs::Permissions::from_mode(0o700)).expect("mode");
        let world = Self { root, daemon: None };
        world.git(&["init", "--quiet", "--initial-branch=main"]);
        fs::write(world.path("app/src/a.txt"), "one\n").expect("written");
        world.git(&["add", "."]);
        world.git(&["commit", "--quiet", "--message=Begin"]);
        world
    }

    /// With a daemon that serves.
    pub(crate) fn with_daemon() -> Self {
        let mut world = Self::new();
        world.start_daemon();
        world
    }

    /// Starts the daemon, which must not run, and waits until it serves.
    pub(crate) fn start_daemon(&mut self) {
        self.start_daemon_of(Path::new(HEDDLED));
    }

    /// The same with another program.
    pub(crate) fn start_daemon_of(&mut self, program: &Path) {
        let mut command = Command::new(program);
        self.environment(&mut command).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(self.path("heddled.log")).expect("a log"));
        self.daemon = Some(command.spawn().expect("heddled starts"));
        let socket = self.socket();
        until("the daemon serves", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    }

    /// Kills the daemon with signal 9.
    pub(crate) fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon");
        daemon.kill().expect("killed");
        process::wait(&mut daemon);
    }

    /// Whether the daemon that was started here has ended; takes note of it.
    pub(crate) fn is_daemon_gone(&mut self) -> bool {
        let ended = self.daemon.as_mut().is_none_or(|daemon| !matches!(daemon.try_wait(), Ok(None)));
        if ended {
            self.daemon = None;
        }
        ended
    }

    /// Tells the daemon to stop, and waits until it has.
    pub(crate) fn stop_daemon(&mut self) {
        let daemon = self.daemon.as_ref().expect("a daemon");
        kill(pid(daemon), Signal::SIGTERM).expect("told");
        self.reap_daemon();
    }

    /// Waits for the daemon, which was told to stop.
    pub(crate) fn reap_daemon(&mut self) {
        process::wait(&mut self.daemon.take().expect("a daemon"));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.root.path()).expect("real").join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/heddle/heddled.sock")
    }

    /// The token file of a session.
    pub(crate) fn token_file(&self, session: &str) -> PathBuf {
        self.path("state/sessions").join(session)
    }

    /// Names of the token files.
    pub(crate) fn token_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("state/sessions")).into_iter().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    /// Gives a command this world's environment.
    pub(crate) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env_clear().env("HOME", self.path("home")).env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("HEDDLE_STATE_DIR", self.path("state"));
        command.env("XDG_CONFIG_HOME", self.path("home/.config")).env("TMPDIR", self.path("home"));
        command.env("HEDDLE_NO_AUTOSTART", "1").current_dir(self.path("app"));
        process::with_default_signals(command)
    }

    /// heddlectl with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(heddlectl());
        self.environment(&mut command).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs heddlectl and gives what it said.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.say(&mut self.command(arguments))
    }

    /// Runs heddlectl, which must end within `time`.
    #[track_caller]
    pub(crate) fn run_within(&self, arguments: &[&str], time: Duration) -> Said {
        let mut command = self.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        self.said(&process::output_within(child, time))
    }

    /// Starts heddlectl, to be read from and waited for.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Begun<'_> {
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        Begun { world: self, child, stderr }
    }

    /// Everything that the daemon which was started here has logged.
    pub(crate) fn daemon_log(&self) -> String {
        text_of(&self.path("heddled.log"))
    }

    /// A connection to the daemon's socket, unless its queue is full.
    pub(crate) fn connect_without_waiting(&self) -> nix::Result<OwnedFd> {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let endpoint = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(endpoint.as_raw_fd(), &UnixAddr::new(&self.socket())?)?;
        Ok(endpoint)
    }

    /// Runs heddlectl, which must succeed, and gives the JSON that it printed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[&["--json"], arguments].concat());
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{arguments:?}: {said}");
        serde_json::from_str(&said.stdout).expect("JSON")
    }

    /// Reserves a thread by heartbeats and gives the session's id.
    pub(crate) fn reserve(&self, thread: &str) -> String {
        let said = self.run(&["reserve", "-q", "--no-hold-for-agent", "--thread", thread]);
        assert_eq!(said.code, Some(0), "{said}");
        said.stdout.trim_end().to_owned()
    }

    /// The newest session on a thread, whatever became of it.
    pub(crate) fn session(&self, thread: &str) -> Option<Value> {
        self.json(&["list", "--thread", thread, "--limit", "1"])["reservations"].get(0).cloned()
    }

    /// How the newest session on a thread stands: its status and why it ended.
    pub(crate) fn standing(&self, thread: &str) -> (String, String) {
        let session = self.session(thread).expect("a session");
        let text = |name: &str| session[name].as_str().unwrap_or("-").to_owned();
        (text("status"), text("end_reason"))
    }

    pub(crate) fn say(&self, command: &mut Command) -> Said {
        let output: Output = process::run(command);
        ledger::note(&output.stdout);
        if !command.get_args().any(|argument| argument == "--show-token") {
            ledger::check("what a command printed", &[&*output.stdout, &output.stderr].concat());
        }
        self.said(&output)
    }

    /// What was said, with the place of this world taken out.
    pub(crate) fn said(&self, output: &Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*self.path("").to_string_lossy(), "$ROOT/");
        Said { stdout: text(&output.stdout), stderr: text(&output.stderr), code: output.status.code() }
    }

    /// Runs Git in the repository, and gives what it printed.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        self.environment(&mut command);
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.com");
        }
        let output = process::run(command.args(arguments));
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that was recommended in a shell that is somewhere else.
    pub(crate) fn elsewhere(&self, command: &str) -> Said {
        let mut shell = Command::new("sh");
        let path = format!("{}:/usr/bin:/bin", heddlectl().parent().expect("a folder").display());
        self.environment(&mut shell).env("PATH", path).current_dir("/").args(["-c", command]);
        for role in ["AUTHOR", "COMMITTER"] {
            shell.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.com");
        }
        self.say(&mut shell)
    }

    /// The pid of the daemon that wrote its record here, whoever started it.
    pub(crate) fn recorded_daemon(&self) -> Option<i32> {
        let record: Value = serde_json::from_str(text_of(&self.path("state/heddled.lock")).lines().next()?).ok()?;
        i32::try_from(record["pid"].as_i64()?).ok()
    }
}

impl World {
    fn end_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().ok();
            process::wait(&mut daemon);
            return;
        }
        // One that heddlectl started: it is this world's only if it says so itself.
        let Some(pid) = self.recorded_daemon() else { return };
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(&*self.path("state").to_string_lossy()) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            if !std::thread::panicking() {
                until("the daemon is gone", || !alive(pid));
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end_daemon();
        for name in self.token_files() {
            ledger::note(&fs::read(self.token_file(&name)).unwrap_or_default());
        }
        ledger::search(self.root.path());
    }
}

/// A command that runs.
pub(crate) struct Begun<'a> {
    world: &'a World,
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Begun<'_> {
    /// The next line that it writes to stderr.
    #[track_caller]
    pub(crate) fn line_of_stderr(&mut self) -> String {
        process::read_line(&mut self.stderr)
    }

    /// Waits for its end. What was read of stderr is not in it.
    #[track_caller]
    pub(crate) fn ended(self) -> Said {
        self.world.said(&process::output_of(self.child))
    }
}

/// What a command said, and how it ended.
#[must_use]
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl Said {
    /// The same with everything that differs from run to run replaced by a word.
    pub(crate) fn steady(&self) -> Self {
        Self { stdout: steady(&self.stdout), stderr: steady(&self.stderr), code: self.code }
    }

    /// The error object of a command that was given --json.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        assert_eq!(self.stderr, "", "with --json nothing is said on stderr");
        serde_json::from_str(&self.stdout).expect("an error object")
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        write!(f, "{}{}[exit {code}]", self.stdout, indent(&self.stderr))
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("! {line}\n")).collect()
}

/// Replaces ids, states and instants by words.
pub(crate) fn steady(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = |of: fn(char) -> bool| rest.find(|character| !of(character)).unwrap_or(rest.len());
        let hex = run(|character| matches!(character, '0'..='9' | 'a'..='f'));
        if rest.len() >= 26 && rest.starts_with("agent-") && rest.is_char_boundary(26) {
            out.push_str("$AGENT");
            rest = &rest[26..];
        } else if rest.len() >= 24 && rest.is_char_boundary(24) && instant(&rest.as_bytes()[..24]) {
            out.push_str("$AT");
            rest = &rest[24..];
        } else if hex >= 10 && rest[..hex].contains(|character: char| character.is_ascii_digit()) {
            out.push_str("$STATE");
            rest = &rest[hex..];
        } else {
            let word = run(|character| character.is_ascii_alphanumeric()).max(first.len_utf8());
            out.push_str(&rest[..word]);
            rest = &rest[word..];
        }
    }
    // A slow machine needs a second between the answer and the print.
    out.replace("4m59s left", "5m00s left")
}

fn instant(bytes: &[u8]) -> bool {
    let form = b"dddd-dd-ddTdd:dd:dd.dddZ";
    bytes.iter().zip(form).all(|(byte, form)| if *form == b'd' { byte.is_ascii_digit() } else { byte == form })
}

/// Whether a process is there.
pub(crate) fn alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

/// The pid of a child.
pub(crate) fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
}

/// Waits until something is so; fails when it does not come to be in time.
pub(crate) fn until(what: &str, so: impl FnMut() -> bool) {
    until_within(what, Duration::from_secs(20), so);
}

/// The same, with another time.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test waits for a condition of another process")]
pub(crate) fn until_within(what: &str, time: Duration, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while !so() {
        assert!(Instant::now() < deadline, "it did not come to be: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Reads a file that may not be there yet.
pub(crate) fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
