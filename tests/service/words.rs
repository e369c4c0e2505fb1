//! What the daemon tells the service manager, heard on a socket of `NOTIFY_SOCKET`.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Client, Place};

struct Manager(UnixDatagram);

impl Manager {
    fn at(place: &Place) -> Self {
        Self(UnixDatagram::bind(place.root.join("notify")).unwrap())
    }

    /// The next words; none when nothing is said for this long.
    fn hears(&self, within: Duration) -> Option<String> {
        let mut words = [0; 4096];
        self.0.set_read_timeout(Some(within)).unwrap();
        let length = self.0.recv(&mut words).ok()?;
        Some(String::from_utf8(words[..length].to_vec()).unwrap())
    }

    /// The next words that are not about what takes long on a busy machine.
    #[track_caller]
    fn hears_soon(&self) -> String {
        loop {
            let words = self.hears(Duration::from_secs(30)).expect("something is said");
            if !words.starts_with("STATUS=") {
                return words;
            }
        }
    }
}

#[test]
fn it_says_when_it_serves_that_it_lives_and_that_it_stops() {
    let place = Place::new();
    let manager = Manager::at(&place);
    let mut command = place.command();
    command.env("NOTIFY_SOCKET", place.root.join("notify")).env("WATCHDOG_USEC", "400000");
    let mut daemon = place.launch(&mut command);
    let words = manager.hears_soon();
    assert_eq!(words, format!("READY=1\nSTATUS=serving on {}", place.socket().display()));
    Client::connect(&place.socket()).ok("daemon.info", &json!({}));
    for _ in 0..3 {
        assert_eq!(manager.hears_soon(), "WATCHDOG=1");
    }
    daemon.signal(Signal::SIGSTOP);
    // What was said before it stood still.
    for _ in 0..3 {
        manager.hears(Duration::from_millis(600));
    }
    assert_eq!(manager.hears(Duration::from_millis(600)), None, "N2: it stands still, and says nothing");
    daemon.signal(Signal::SIGCONT);
    assert_eq!(manager.hears_soon(), "WATCHDOG=1", "it goes on");
    daemon.signal(Signal::SIGTERM);
    let words = loop {
        let words = manager.hears_soon();
        if words != "WATCHDOG=1" {
            break words;
        }
    };
    assert!(words.starts_with("STOPPING=1\n") && words.contains("EXTEND_TIMEOUT_USEC="), "{words}");
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn a_watchdog_that_is_not_for_it_hears_nothing() {
    let place = Place::new();
    let manager = Manager::at(&place);
    let mut command = place.command();
    command.env("NOTIFY_SOCKET", place.root.join("notify")).env("WATCHDOG_USEC", "100000").env("WATCHDOG_PID", "1");
    let _daemon = place.launch(&mut command);
    assert!(manager.hears_soon().starts_with("READY=1"));
    assert_eq!(manager.hears(Duration::from_millis(300)), None);
}

/// Nobody listens where the variable says: that is no reason not to serve.
#[test]
fn a_manager_that_is_gone_stops_nothing() {
    let place = Place::new();
    let manager = Manager::at(&place);
    drop(manager);
    let mut command = place.command();
    command.env("NOTIFY_SOCKET", place.root.join("notify")).env("WATCHDOG_USEC", "100000");
    let mut daemon = place.launch(&mut command);
    crate::support::eventually("it serves", || Client::try_connect(&place.socket()).ok()).ok("daemon.info", &json!({}));
    daemon.stop();
}
