//! A small service manager: it listens, and hands the socket to each daemon that it starts.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Client, Daemon, Place, eventually};

/// What becomes the daemon: the shell knows its own pid, and keeps it. The socket comes in as standard input.
const BECOME: &str = r#"export LISTEN_PID=$$; exec "$0" 3<&0 </dev/null"#;

/// The socket, which outlives the daemons.
pub(crate) struct Activator {
    pub(crate) place: Place,
    listener: UnixListener,
}

impl Activator {
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let folder = place.root.join("heddle");
        std::fs::DirBuilder::new().mode(0o700).create(folder).unwrap();
        let listener = UnixListener::bind(place.socket()).unwrap();
        std::fs::set_permissions(place.socket(), PermissionsExt::from_mode(0o600)).unwrap();
        Self { place, listener }
    }

    /// The daemon with the socket handed over, ready to be started.
    pub(crate) fn command(&self) -> Command {
        let plain = self.place.command();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.place.root.join("log")).unwrap();
        let mut command = Command::new("/bin/sh");
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
            .args(["-c", BECOME])
            .arg(plain.get_program())
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "heddled.socket");
        let listener: OwnedFd = self.listener.try_clone().unwrap().into();
        command.current_dir("/").stdin(listener).stdout(Stdio::null()).stderr(log);
        command
    }

    /// Starts one, and does not wait for it.
    pub(crate) fn launch(&self) -> Daemon<'_> {
        self.place.launch(&mut self.command())
    }

    /// Starts one, and waits until it answers.
    #[track_caller]
    pub(crate) fn start(&self) -> Daemon<'_> {
        let daemon = self.launch();
        self.until_served_by(&daemon);
        daemon
    }

    /// Waits until this one answers, and not one before it.
    #[track_caller]
    pub(crate) fn until_served_by(&self, daemon: &Daemon<'_>) {
        eventually("the daemon that was started answers", || {
            let mut client = Client::try_connect(&self.place.socket()).unwrap();
            let info = client.try_call("daemon.info", &json!({})).ok()?.unwrap();
            (info["pid"] == daemon.pid()).then_some(())
        });
    }
}
